"""Why is a user in a segment, what would move them, and segments told as rules. Exact where it says so.

Drivers of a user's segment are the exact terms of the margin (`Fitted.contributions`). A counterfactual (Wachter,
Mittelstadt and Russell 2018) is the smallest change of one feature, in its own unit, after which the very code that
assigns users gives them another segment on the next day; it is checked by assigning again. Surrogate rules are a
shallow tree on profile columns (Craven and Shavlik 1996): they describe a model, with their fidelity, they are not it.
"""

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.core.sql import literal
from seg_assets.lake.store import Lake
from seg_assets.segments import rules
from seg_assets.segments.daily import moves
from seg_assets.segments.daily.assign import CLUSTER, STATE, TABLE, assign_day, load_for
from seg_assets.segments.decisions.store import champion_as_of
from seg_assets.segments.model import TRUSTED, SegmentModel, marked_names
from seg_assets.segments.space import numbers_of, text_of
from seg_assets.segments.strategy import Strategy

# Values of the population tried per feature before the border is narrowed down.
GRID = 64
# Each narrowing divides the gap by GRID.
NARROWINGS = 3
# Keeps the smallest leaf at 40 users (learn // 500) and the tree's cost apart from the number of users.
TREE_USERS = 20_000
# Fewer users cannot be spared for measuring.
SPLIT_FROM = 100
# Leaves per segment: two tell an "or", more are not read.
LEAVES = 2
MOST_LEAVES = 40


@dataclass(frozen=True)
class Condition:
    """low < column <= high, or column = level / is not level. `unknown`: a null satisfies it too."""

    column: str
    low: float = -np.inf
    high: float = np.inf
    unknown: bool = False
    level: str | None = None

    @property
    def text(self) -> str:
        """In words."""
        if self.level is not None:
            return f"{self.column} is {self.level}" if self.low > 0 else f"{self.column} is not {self.level}"
        also = " (or unknown)" if self.unknown else ""
        if np.isinf(self.low):
            return f"{self.column} <= {self.high:g}{also}"
        if np.isinf(self.high):
            return f"{self.column} > {self.low:g}{also}"
        return f"{self.low:g} < {self.column} <= {self.high:g}{also}"

    def holds(self, values: np.ndarray) -> np.ndarray:
        """(n,) boolean."""
        with np.errstate(invalid="ignore"):
            inside = (values > self.low) & (values <= self.high)
        return np.where(np.isnan(values), self.unknown, inside)


@dataclass(frozen=True)
class Rule:
    """A segment as a rule: any of `terms`, each all of its conditions. Precision and recall are of held-out users."""

    segment_id: str
    text: str
    precision: float
    recall: float
    terms: tuple[tuple[Condition, ...], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Counterfactual:
    """The smallest change of one feature that moves the user.

    effort: distance in model space, what changes of different features are compared by.
    """

    feature: str
    now: float | str | None
    needed: float | str
    segment_id: str
    effort: float


@dataclass(frozen=True)
class Driver:
    """One feature's exact term of the margin; positive speaks for the segment, negative for the second."""

    feature: str
    term: float
    value: float | str | None
    segment_mean: float | None
    second_mean: float | None


@dataclass(frozen=True)
class Explanation:
    """Everything that is said of one user and strategy."""

    strategy: str
    user_id: str
    day: dt.date
    segment_id: str
    name: str
    kind: str
    since_day: dt.date
    confidence: float | None
    margin: float | None
    second_id: str | None
    second_name: str | None
    proposed: str | None
    proposed_days: int
    reason: str
    drivers: tuple[Driver, ...]
    counterfactual: Counterfactual | None
    last_move: Mapping | None
    jaccard: float | None = None


# ---- surrogate rules ------------------------------------------------------------------------------------------


def surrogate_rules(frame: pd.DataFrame, labels: pd.Series | Sequence[str], seed: int = 0) -> tuple[list[Rule], float]:
    """Segments as rules on columns, and the fidelity of the tree behind them.

    Args:
        frame: columns that rules may speak of, numbers or text; `user_id` is left out.
        labels: segment of each row.
        seed: of the sample and of the tree's ties.

    Returns:
        One rule per segment that the tree speaks of, by segment id; share of held-out users whom the tree gives their
        segment. With fewer than SPLIT_FROM users the tree is measured on those it has seen.
    """
    from sklearn.tree import DecisionTreeClassifier

    y = np.asarray(pd.Series(labels), dtype=object)
    order = np.random.default_rng(seed).permutation(len(y))
    half = len(y) // 2
    if len(y) < SPLIT_FROM:
        learn = test = np.arange(len(y))
        chosen = order
    else:
        chosen = np.concatenate([order[:half][:TREE_USERS], order[half:][:TREE_USERS]])
        learn, test = np.split(np.arange(len(chosen)), [min(half, TREE_USERS)])
    # Only the sample is made into a matrix, not every user of the day.
    y = y[chosen].astype(str)
    names, X, levels = _tree_columns(frame.iloc[chosen])
    segments = sorted(set(y))
    if not len(y) or not names:
        return [], 0.0
    tree = DecisionTreeClassifier(
        max_leaf_nodes=int(np.clip(LEAVES * len(segments), 2, MOST_LEAVES)),
        min_samples_leaf=max(1, len(learn) // 500),
        random_state=seed,
    )
    tree.fit(X[learn], y[learn])
    fidelity = float((tree.predict(X[test]) == y[test]).mean())
    leaves: dict[str, list[tuple[int, tuple[Condition, ...]]]] = {}
    for segment, users, conditions in _leaves(tree, names, levels, np.isnan(X).any(axis=0)):
        leaves.setdefault(segment, []).append((users, conditions))
    found = []
    index = {name: j for j, name in enumerate(names)}
    for segment in sorted(leaves):
        terms = tuple(c for _, c in sorted(leaves[segment], key=lambda item: -item[0])[:LEAVES])
        said = np.zeros(len(test), dtype=bool)
        for conditions in terms:
            said |= np.all([c.holds(X[test, index[_key(c)]]) for c in conditions] or [np.ones(len(test), bool)], axis=0)
        mine = y[test] == segment
        both = int((said & mine).sum())
        text = " or ".join(_all_of(c, len(terms) > 1) for c in terms)
        precision = both / int(said.sum()) if said.any() else 0.0
        recall = both / int(mine.sum()) if mine.any() else 0.0
        found.append(Rule(segment, text, precision, recall, terms))
    return found, fidelity


def _key(condition: Condition) -> str:
    return condition.column if condition.level is None else f"{condition.column}={condition.level}"


def _all_of(conditions: Sequence[Condition], bracket: bool) -> str:
    text = " and ".join(c.text for c in conditions) or "everyone"
    return f"({text})" if bracket and len(conditions) > 1 else text


def _tree_columns(frame: pd.DataFrame) -> tuple[list[str], np.ndarray, dict[str, tuple[str, str]]]:
    """Numbers as they are, text as indicators of its ten commonest levels."""
    names: list[str] = []
    parts: list[np.ndarray] = []
    levels: dict[str, tuple[str, str]] = {}
    for column in frame.columns:
        if column == "user_id":
            continue
        if pd.api.types.is_numeric_dtype(frame[column]):
            names.append(column)
            parts.append(numbers_of(frame[column], np.nan))
            continue
        values = text_of(frame[column])
        counts = pd.Series(values).value_counts()
        for level in sorted(counts.index, key=lambda v: (-counts[v], v))[:10]:
            name = f"{column}={level}"
            names.append(name)
            levels[name] = (column, level)
            parts.append((values == level).astype(float))
    # float32 is what the tree compares in; rounding here keeps its borders and our text the same numbers.
    X = np.column_stack(parts).astype(np.float32).astype(np.float64) if parts else np.zeros((len(frame), 0))
    X[~np.isfinite(X)] = np.nan
    return names, X, levels


def _leaves(tree, names: list[str], levels: Mapping[str, tuple[str, str]], has_null: np.ndarray):
    """(segment, users, conditions) of each leaf; conditions on one column are merged."""
    t = tree.tree_
    stack: list[tuple[int, dict[int, tuple[float, float, bool]]]] = [(0, {})]
    while stack:
        node, bounds = stack.pop()
        if t.children_left[node] == -1:
            segment = str(tree.classes_[int(t.value[node][0].argmax())])
            yield (
                segment,
                int(t.n_node_samples[node]),
                tuple(
                    _condition(names[j], low, high, unknown and bool(has_null[j]), levels)
                    for j, (low, high, unknown) in bounds.items()
                ),
            )
            continue
        j, border = int(t.feature[node]), float(f"{t.threshold[node]:.6g}")
        low, high, unknown = bounds.get(j, (-np.inf, np.inf, True))
        left_null = bool(t.missing_go_to_left[node])
        stack.append((t.children_right[node], {**bounds, j: (max(low, border), high, unknown and not left_null)}))
        stack.append((t.children_left[node], {**bounds, j: (low, min(high, border), unknown and left_null)}))


def _condition(name: str, low: float, high: float, unknown: bool, levels: Mapping[str, tuple[str, str]]) -> Condition:
    if name in levels:
        column, level = levels[name]
        return Condition(column, low, high, unknown, level)
    return Condition(name, low, high, unknown)


# ---- one user -------------------------------------------------------------------------------------------------


def nearest_counterfactual(
    strategy: Strategy,
    champion: SegmentModel,
    user: pd.DataFrame,
    state: pd.DataFrame,
    population: pd.DataFrame,
    target: str,
    day: dt.date,
) -> Counterfactual | None:
    """The smallest change of one feature that gives the user segment `target` on the next day, at once.

    Values are looked for within what the day's users have, so none is out of this world. None: no single feature does.

    Args:
        strategy: rules and hysteresis.
        champion: the model.
        user: one row of features.
        state: the user's row in user_segments (at least STATE).
        population: features of the day, for the range of values.
        target: segment to reach.
        day: the day of `state`.
    """
    here = champion.space.transform(user)[0]
    best: Counterfactual | None = None
    for column in dict.fromkeys(champion.space.sources):
        if column not in population.columns:
            continue
        found = _reach(strategy, champion, user, state, population[column], column, target, day, here)
        if found and (best is None or found.effort < best.effort - 1e-12):
            best = found
    return best


def _reach(
    strategy: Strategy,
    champion: SegmentModel,
    user: pd.DataFrame,
    state: pd.DataFrame,
    values: pd.Series,
    column: str,
    target: str,
    day: dt.date,
    here: np.ndarray,
) -> Counterfactual | None:
    if not pd.api.types.is_numeric_dtype(values):
        options = sorted(set(values.dropna().astype(str)) - {str(user[column].iloc[0])})[:GRID]
        reached = _outcomes(strategy, champion, user, state, column, options, day) == target
        tried = [o for o, ok in zip(options, reached, strict=True) if ok]
        return _cheapest(champion, user, column, tried, target, here)
    known = numbers_of(values, np.nan)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    whole = bool((known == np.rint(known)).all())
    now = float(numbers_of(user[column], np.nan)[0])
    start = now if np.isfinite(now) else float(np.median(known))
    grid = np.unique(np.quantile(known, np.linspace(0, 1, GRID), method="nearest"))
    tried = []
    for side in (grid[grid > start], grid[grid < start][::-1]):
        found = _border(strategy, champion, user, state, column, side, start, whole, target, day)
        if found is not None:
            tried.append(found)
    if not np.isfinite(now):
        tried += [v for v in (start,) if _outcomes(strategy, champion, user, state, column, [v], day)[0] == target]
    return _cheapest(champion, user, column, tried, target, here)


def _border(
    strategy: Strategy,
    champion: SegmentModel,
    user: pd.DataFrame,
    state: pd.DataFrame,
    column: str,
    side: np.ndarray,
    start: float,
    whole: bool,
    target: str,
    day: dt.date,
) -> float | None:
    """The first value on the way from `start` along `side` that reaches the target, narrowed down and made round."""
    last, path = start, side
    reached: float | None = None
    for _ in range(NARROWINGS + 1):
        if not len(path):
            break
        hits = _outcomes(strategy, champion, user, state, column, path, day) == target
        if not hits.any():
            break
        first = int(np.argmax(hits))
        reached = float(path[first])
        last = float(path[first - 1]) if first else last
        path = np.linspace(last, reached, GRID + 1)[1:]
        if whole:
            path = np.unique(np.rint(path)) if reached > last else np.unique(np.rint(path))[::-1]
    if reached is None:
        return None
    away = 1.0 if reached > start else -1.0
    for digits in (2, 3, 4, 6):
        step = 1.0 if whole else 10.0 ** (np.floor(np.log10(max(abs(reached), 1e-9))) + 1 - digits)
        round_ = float(f"{away * np.ceil(away * reached / step) * step:.10g}")
        # A rounder number that costs a tenth more of the way is the better answer for a reader.
        close = abs(round_ - reached) <= 0.1 * abs(reached - start)
        if close and _outcomes(strategy, champion, user, state, column, [round_], day)[0] == target:
            return round_
    return reached


def _outcomes(
    strategy: Strategy,
    champion: SegmentModel,
    user: pd.DataFrame,
    state: pd.DataFrame,
    column: str,
    options: Sequence | np.ndarray,
    day: dt.date,
) -> np.ndarray:
    """Segment the user would have on the next day, per value of one column. The daily code decides."""
    n = len(options)
    if not n:
        return np.zeros(0, dtype=object)
    ids = pd.array([f"{i:06d}" for i in range(n)], dtype="str")
    many = user.iloc[np.zeros(n, dtype=int)].reset_index(drop=True)
    many[column] = pd.array(list(options), dtype="str") if isinstance(options[0], str) else np.asarray(options, float)
    many["user_id"] = ids
    states = state.iloc[np.zeros(n, dtype=int)].reset_index(drop=True)
    # The change is asked for alone: not the one day more that a standing proposal would have waited.
    states = states.assign(user_id=ids, proposed_segment_id=None, proposed_days=0)
    found = assign_day(strategy, many, champion, states, day + dt.timedelta(days=1))
    return found["segment_id"].to_numpy(dtype=object)


def _cheapest(
    champion: SegmentModel, user: pd.DataFrame, column: str, values: Sequence, target: str, here: np.ndarray
) -> Counterfactual | None:
    best = None
    for value in values:
        changed = user.copy()
        changed[column] = [value]
        effort = float(np.sqrt(((champion.space.transform(changed)[0] - here) ** 2).sum()))
        if best is None or effort < best.effort:
            best = Counterfactual(column, _value(user, column), value, target, effort)
    return best


def explain_user(lake: Lake, strategy: Strategy, user_id: str, day: dt.date) -> Explanation:
    """Everything there is to say of one user and strategy on a day.

    Raises:
        MissingDaysError: the day was never materialized. ConfigError: the user has no segment on it.
    """
    lake.require(TABLE, [day], "explain")
    row = lake.read(TABLE, day, where=f"strategy = {literal(strategy.name)} and user_id = {literal(user_id)}")
    if not len(row):
        raise ConfigError(
            f"user = {user_id!r}: not in user_segments of {day} for strategy {strategy.name}; "
            "ids are matched whole, capitals and blanks too"
        )
    decision = champion_as_of(lake, strategy.name, day)
    champion = decision.segment_model() if decision else None
    names = marked_names(strategy, champion)
    at = row.iloc[0]
    frame = load_for(lake, strategy, day, [champion] if champion else [])
    user = frame[(frame["user_id"] == user_id).to_numpy()].reset_index(drop=True)
    drivers: tuple[Driver, ...] = ()
    second = counterfactual = None
    if champion is not None and at["kind"] == CLUSTER and at["segment_id"] in champion.segment_ids:
        second, drivers = drivers_of(champion, user, at["segment_id"])
        if second is not None:
            counterfactual = nearest_counterfactual(strategy, champion, user, row[list(STATE)], frame, second, day)
    return Explanation(
        strategy=strategy.name,
        user_id=user_id,
        day=day,
        segment_id=at["segment_id"],
        name=names.get(at["segment_id"], at["segment_id"]),
        kind=at["kind"],
        since_day=pd.Timestamp(at["since_day"]).date(),
        confidence=_number(at["confidence"]),
        margin=_number(at["margin"]),
        second_id=second,
        second_name=names.get(second or ""),
        proposed=None if pd.isna(at["proposed_segment_id"]) else str(at["proposed_segment_id"]),
        proposed_days=int(at["proposed_days"]),
        reason=_reason(strategy, str(at["segment_id"]), user) if at["kind"] != CLUSTER else "",
        jaccard=champion.jaccard.get(at["segment_id"]) if champion else None,
        drivers=drivers,
        counterfactual=counterfactual,
        last_move=_last_move(lake, strategy.name, user_id, pd.Timestamp(at["since_day"]).date()),
    )


def drivers_of(champion: SegmentModel, user: pd.DataFrame, segment_id: str) -> tuple[str | None, tuple[Driver, ...]]:
    """The second segment and the exact terms of the margin over it, strongest first; their sum is the margin."""
    if champion.n_clusters < 2:
        return None, ()
    X = champion.space.transform(user)
    scores = champion.scores(X)[0]
    own = champion.segment_ids.index(segment_id)
    second = int(np.argmin(np.where(np.arange(len(scores)) == own, np.inf, scores)))
    terms = champion.fitted.contributions(X, np.array([own]), np.array([second]))[0]
    mine, other = champion.segments[own].means, champion.segments[second].means
    total: dict[str, float] = {}
    for source, term in zip([*champion.space.sources, moves.INTERCEPT], terms, strict=True):
        total[source] = total.get(source, 0.0) + float(term)
    found = [
        Driver(f, t, _value(user, f), _number(mine.get(f)), _number(other.get(f))) for f, t in total.items() if t != 0
    ]
    return champion.segment_ids[second], tuple(sorted(found, key=lambda d: (-abs(d.term), d.feature)))


def _last_move(lake: Lake, strategy: str, user_id: str, since: dt.date) -> Mapping | None:
    if not lake.has(moves.TABLE, since):
        return None
    wanted = f"strategy = {literal(strategy)} and user_id = {literal(user_id)}"
    with lake.connect() as con:
        found = con.execute(f"select * from {lake.scan(moves.TABLE, [since])} where {wanted}").fetchone()
        names = [column[0] for column in con.description or []]
    return dict(zip(names, found, strict=True)) if found else None


def _reason(strategy: Strategy, segment_id: str, user: pd.DataFrame) -> str:
    limits = strategy.rules
    rule = rules.rule_of(strategy.name, segment_id)
    if rule == rules.UNASSIGNED:
        return "The strategy has no model yet: too few eligible users or too little history."
    if rule == rules.BOT:
        return "The profile says: suspected bot."
    if rule == rules.OUTLIER:
        return "Too far from every segment to belong to one."
    if rule == rules.DORMANT:
        return f"No event for {_say(_value(user, 'inactive_days'))} days; dormant from {limits.dormant_after_days} on."
    tenure = _value(user, "tenure_days")
    if isinstance(tenure, float) and limits.new_within_days is not None and tenure < limits.new_within_days:
        return f"First seen {_say(tenure)} days ago; new until {limits.new_within_days}."
    who = strategy.eligibility
    short = [
        f"{c} is {_say(v)} (at least {w:g})"
        for c, w in who.minimums.items()
        if not isinstance(v := _value(user, c), float) or v < w
    ]
    return "Too little is known to cluster: " + (", ".join(short) or f"none of {', '.join(who.any_known)}") + "."


# ---- in words -------------------------------------------------------------------------------------------------


def say(found: Explanation) -> str:
    """An explanation as text."""
    lines = [f"{found.strategy}: {_quoted(found.user_id)} on {found.day} is in {found.segment_id}, {found.name}"]
    stay = (found.day - found.since_day).days + 1
    lines.append(f"  since {found.since_day} ({stay} day{'s' if stay != 1 else ''})")
    if found.jaccard is not None and found.jaccard < TRUSTED:
        lines.append(
            f"  do not rely on this segment: in resamples of the users it came out again to {found.jaccard:.0%} only "
            f"(under {TRUSTED:.0%} is untrusted)"
        )
    if found.kind != CLUSTER:
        lines.append(f"  by rule: {found.reason}")
    elif found.second_id is None:
        lines.append("  the model has one segment")
    else:
        lines.append(
            f"  confidence {found.confidence or 0:.2f}; next is {found.second_id}, {found.second_name}, "
            f"{found.margin or 0:.4g} further away"
            if (found.margin or 0) >= 0
            else f"  held: {found.second_id}, {found.second_name}, is nearer by {-(found.margin or 0):.4g}"
        )
        if found.proposed:
            lines.append(f"  proposed for {found.proposed} for {found.proposed_days} day(s) in a row")
        lines.append(f"  why {found.segment_id} and not {found.second_id} (terms add up to the margin):")
        for driver in found.drivers[:6]:
            means = ""
            if driver.segment_mean is not None and driver.second_mean is not None:
                means = (
                    f" ({found.segment_id}: {driver.segment_mean:,.4g}, {found.second_id}: {driver.second_mean:,.4g})"
                )
            lines.append(f"    {driver.term:+10.4f}  {driver.feature} = {_say(driver.value)}{means}")
        rest = found.drivers[6:]
        if rest:
            lines.append(f"    {sum(d.term for d in rest):+10.4f}  {len(rest)} others")
        lines.append("  " + _say_counterfactual(found))
    lines += ["  " + line for line in _say_move(found.last_move, found.since_day)]
    return "\n".join(lines)


def _say_counterfactual(found: Explanation) -> str:
    change = found.counterfactual
    if change is None:
        return f"no change of a single feature would move them to {found.second_id} at once"
    by = ""
    if isinstance(change.now, float) and isinstance(change.needed, float):
        by = f" ({change.needed - change.now:+,.6g})"
    return (
        f"would move to {change.segment_id} at once with {change.feature} = {_say(change.needed)} "
        f"instead of {_say(change.now)}{by}, all else unchanged"
    )


def _say_move(move: Mapping | None, day: dt.date) -> list[str]:
    if move is None:
        return [f"how they came here: segment_moves of {day} says nothing"]
    if move["kind"] == moves.ENTERED:
        return [f"entered on {day}: not known the day before"]
    waited = f", after waiting {move['waited_days']} day(s)" if move["waited_days"] else ""
    margin = f"{move['margin_before']:+.4g} -> {move['margin_after']:+.4g}"
    lines = [
        f"came from {move['from_segment']} on {day}{waited}; cause: {move['cause']}. "
        f"Margin {margin}: the user {move['user_part']:+.4g}, the model {move['model_part']:+.4g}"
    ]
    for part in itertools.islice(move["contributions"], 5):
        lines.append(f"  {part['user'] + part['model']:+10.4f}  {part['feature']}" + _split(part))
    return lines


def _split(part: Mapping) -> str:
    return f" (user {part['user']:+.4f}, model {part['model']:+.4f})" if part["user"] and part["model"] else ""


def _value(user: pd.DataFrame, column: str) -> float | str | None:
    if column not in user.columns or pd.isna(user[column].iloc[0]):
        return None
    value = user[column].iloc[0]
    return str(value) if isinstance(value, str) else float(value)


def _number(value) -> float | None:
    return None if value is None or pd.isna(value) or not np.isfinite(value) else float(value)


def _say(value: float | str | None) -> str:
    if value is None:
        return "unknown"
    return repr(value) if isinstance(value, str) else f"{value:,.6g}"


def _quoted(user_id: str) -> str:
    return user_id if user_id.isprintable() and user_id.strip() == user_id and user_id else repr(user_id)
