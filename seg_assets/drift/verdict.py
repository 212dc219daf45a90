"""The verdict of a day for one strategy: drifted or not, against which model, why, and whether to re-cluster.

Evidently, missing shares and segment shares flag a day; days in a row make it drift; a shadow refit says whether
re-clustering would help. Statistics alone predict that badly (AUC 0.65 to 0.90 over 258 simulated days), the shadow
well (0.98), so it has the last word on the cause. Everything here is a function of its arguments.
"""

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from seg_assets.core.digests import digest
from seg_assets.core.tables import TABLES
from seg_assets.drift.evidently_report import ColumnDrift, Comparison, Limits, compare
from seg_assets.segments.fitting.reference import describe, population, shadow_gain
from seg_assets.segments.rules import history_days
from seg_assets.segments.strategy import Strategy

if TYPE_CHECKING:
    from seg_assets.segments.decisions.store import Decision
    from seg_assets.segments.model import SegmentModel

BOOTSTRAP, DRIFT, AGE = "bootstrap", "drift", "age"
# A shadow gain this many times the gate's minimum flags a day by itself: no single column needs to move much for
# groups to split.
STRONG_SHADOW = 3.0
# A column over a window of days, and the endings of those that are ratios or means: these do not add up with the days
# of a window, so a window that is still filling does not move them.
_WINDOW = re.compile(r"^(.+)_(\d+)d$")
_RATIOS = ("_rate", "_share", "_mean", "_var", "_size")

SCHEMA = TABLES["drift_report"].types


@dataclass(frozen=True)
class Verdict:
    """One row of drift_report."""

    strategy: str
    strategy_digest: str
    users: int
    model_id: str = ""
    fit_day: dt.date | None = None
    baseline_day: dt.date | None = None
    baseline_id: str = ""
    flagged: bool = False
    streak: int = 0
    drifted: bool = False
    cause: str = ""
    reasons: tuple[str, ...] = ()
    columns: tuple[ColumnDrift, ...] = ()
    share_variation: float | None = None
    shadow_gain: float | None = None
    document: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    # What the page of a flagged day is drawn from: the two descriptions and the limits. None while the baseline's
    # windows fill: every column differs then, on each day, and none of it is drift.
    described: tuple[Mapping[str, Any], Mapping[str, Any], Limits] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def verdict_digest(self) -> str:
        """Hash of what a decision of this day depends on: a score that moved in its ninth digit re-opens nothing."""
        return digest([self.strategy, self.model_id, self.baseline_id, self.cause])

    @property
    def top_score(self) -> float:
        """Greatest score in units of its limit; 1 and more is drift."""
        return max((c.score / c.limit for c in self.columns if c.score is not None), default=0.0)

    def row(self) -> dict[str, Any]:
        """The row as SCHEMA has it."""
        names = ("column", "method", "score", "limit", "drifted", "missing_now", "missing_then")
        plain = {k: v for k, v in vars(self).items() if k in SCHEMA}
        columns = [{k: v for k, v in asdict(c).items() if k in names} for c in self.columns]
        return {**plain, "reasons": list(self.reasons), "columns": columns, "verdict_digest": self.verdict_digest}


@dataclass(frozen=True)
class Instruments:
    """What a verdict measures with. The study of drift.study puts the same numbers there, without Evidently's JSON."""

    describe: Callable[..., dict[str, Any]] = describe
    compare: Callable[..., Comparison] | None = None
    shadow_gain: Callable[..., float | None] = shadow_gain

    def compared(self, *given: Any) -> Comparison:
        """`compare` of the day, looked up when it is called."""
        return (self.compare or compare)(*given)


@dataclass(frozen=True)
class Yesterday:
    """What a verdict needs of the row before it."""

    baseline_id: str
    streak: int


def judge_day(
    strategy: Strategy,
    day: dt.date,
    frame: pd.DataFrame,
    *,
    seed: int,
    champion: "Decision | None",
    baseline: "Decision | None",
    yesterday: Yesterday | None,
    instruments: Instruments = Instruments(),
) -> Verdict:
    """The verdict of `day`.

    Args:
        strategy: its `drift`, `fit` and `gate` give the limits.
        day: the day judged.
        frame: profiles of the day as `load_features` gives them for the champion.
        seed: `settings.seed`.
        champion: promoted last, strictly before `day`.
        baseline: decided last, strictly before `day`, promoted or not.
        yesterday: the strategy's row of the day before; None on the first day.
        instruments: what is measured with.
    """
    users = population(strategy, frame)
    if champion is None or baseline is None:
        return _before_the_first_fit(strategy, frame, users, seed)
    model = champion.segment_model()
    begun = Verdict(
        strategy=strategy.name,
        strategy_digest=strategy.digest(),
        users=len(users),
        model_id=model.model_id,
        fit_day=champion.day,
        baseline_day=baseline.day,
        baseline_id=baseline.decision_id,
    )
    filling = _filling(strategy, frame, (day - baseline.day).days)
    old, age = _aged(strategy, day, baseline.day, filling)
    if users.empty:
        return _with(begun, reasons=["no user takes part in clustering on this day", *age])
    if old and not why_not_fitted(strategy, users, seed):
        begun = _with(begun, cause=AGE, reasons=age)
    then = baseline.reference
    if then.get("model_id") != model.model_id:
        return _with(begun, reasons=["the last decision carries no reference of this model, nothing to compare", *age])
    limits = limits_for(strategy, min(len(users), int(then["users"])))
    now = instruments.describe(strategy, users, model)
    comparison = instruments.compared(now, then, limits, strategy.drift.positions)
    variation = total_variation(now["segments"], then["segments"])
    gain = _gain_above_baseline(users, model, then, instruments)
    reasons = _flags(strategy, comparison, variation, gain, limits)
    flagged = bool(reasons)
    streak = 0
    if flagged:
        same = yesterday is not None and yesterday.baseline_id == baseline.decision_id
        streak = 1 + (yesterday.streak if same and yesterday else 0)
    # While windows fill, users differ from the baseline by what could be seen of them: that is no drift.
    drifted = streak >= strategy.drift.days_in_row and filling is None
    cause, said = _cause(strategy, day, baseline.day, drifted, gain, old)
    refused = why_not_fitted(strategy, users, seed) if cause else ""
    if refused:
        cause, said = "", [*said, f"no re-clustering: {refused}"]
    return _with(
        begun,
        flagged=flagged,
        streak=streak,
        drifted=drifted,
        cause=cause,
        reasons=[*reasons, *age, *said],
        columns=comparison.columns,
        share_variation=variation,
        shadow_gain=gain,
        document=comparison.document,
        described=(now, then, limits) if filling is None else None,
    )


def limits_for(strategy: Strategy, users: int) -> Limits:
    """The strategy's limits at this many users. Distances of equal samples shrink as 1/sqrt(users); so do limits."""
    grow = math.sqrt(max(1.0, strategy.drift.limit_users / max(users, 1)))
    return Limits(round(strategy.drift.limit * grow, 9), round(min(1.0, strategy.drift.missing_points * grow), 9))


def total_variation(now: Mapping[str, float], then: Mapping[str, float]) -> float:
    """Half the summed absolute differences of segment shares: the least share of users that changed segment."""
    names = {*now, *then}
    return round(sum(abs(now.get(n, 0.0) - then.get(n, 0.0)) for n in sorted(names)) / 2, 9)


def why_not_fitted(strategy: Strategy, users: pd.DataFrame, seed: int) -> str:
    """Why no model can be fitted on these users (`segments.fit` would refuse), '' when one can."""
    from seg_assets.core.numerics import distinct_rows, fit_seed, sample_rows
    from seg_assets.segments.space import FeatureSpace

    if len(users) < strategy.fit.minimum_users:
        return f"{len(users)} users take part in clustering, a fit needs {strategy.fit.minimum_users}"
    rows = sample_rows(users["user_id"], strategy.fit.sample, fit_seed(seed, strategy.name))
    sample = users.iloc[rows].reset_index(drop=True)
    space = FeatureSpace.fit(sample, strategy)
    if not space.axes:
        return "no feature tells users apart"
    return "all users are alike in every feature" if distinct_rows(space.transform(sample)) < 2 else ""


def settled_after(strategy: Strategy) -> int:
    """Days of history from which on users can be compared: the longest window that adds up, of what is watched or used.

    `drift.settled_after_days` says otherwise. `_all` totals have no window to fill.
    """
    if strategy.drift.settled_after_days is not None:
        return strategy.drift.settled_after_days
    named = [f.column for f in strategy.features if f.column] + list(strategy.drift.columns)
    found = [_WINDOW.match(name) for name in named]
    return max((int(m.group(2)) for m in found if m and not m.group(1).endswith(_RATIOS)), default=0)


@dataclass(frozen=True)
class _Filling:
    """The baseline's windows were not full: days of history then and now, and the days that they need."""

    then: int
    now: int
    needed: int


def _filling(strategy: Strategy, frame: pd.DataFrame, since_baseline: int) -> _Filling | None:
    """How the baseline's windows were filled, None when they were full: then the two days can be compared."""
    now, needed = history_days(frame), settled_after(strategy)
    return _Filling(now - since_baseline, now, needed) if needed and now - since_baseline < needed else None


def _before_the_first_fit(strategy: Strategy, frame: pd.DataFrame, users: pd.DataFrame, seed: int) -> Verdict:
    history, needed = history_days(frame), strategy.fit.minimum_history_days
    verdict = Verdict(strategy=strategy.name, strategy_digest=strategy.digest(), users=len(users))
    waits = why_not_fitted(strategy, users, seed)
    if history < needed:
        waits = f"{history} days of history, a first fit needs {needed}"
    if waits:
        return _with(verdict, reasons=["no model yet: " + waits])
    return _with(verdict, cause=BOOTSTRAP, reasons=["no model yet, and enough users and history for a first fit"])


def _flags(
    strategy: Strategy, comparison: Comparison, variation: float, gain: float | None, limits: Limits
) -> list[str]:
    reasons = [
        f"{c.column}: {c.method} distance {c.score:.3f}, limit {c.limit:.3f}"
        for c in comparison.columns
        if c.drifted and c.score is not None
    ]
    reasons += [
        f"{c.column}: missing {c.missing_then:.1%} -> {c.missing_now:.1%}, limit {limits.missing:.1%} points"
        for c in comparison.columns
        if c.missing_drifted
    ]
    allowed = share_limit(strategy, limits)
    if variation >= allowed:
        reasons.append(f"segment shares: {variation:.1%} of users elsewhere, limit {allowed:.1%}")
    strong = STRONG_SHADOW * strategy.gate.minimum_gain
    if gain is not None and strong > 0 and gain >= strong:
        reasons.append(f"shadow refit: gain {gain:+.1%}, limit {strong:.1%}")
    return reasons


def share_limit(strategy: Strategy, limits: Limits) -> float:
    """Limit of the segment shares' total variation; it grows with few users like the others."""
    return min(1.0, strategy.drift.share_variation * limits.distance / strategy.drift.limit)


def _cause(
    strategy: Strategy, day: dt.date, baseline_day: dt.date, drifted: bool, gain: float | None, old: bool
) -> tuple[str, list[str]]:
    """(cause, what is said about it) of a day."""
    waited = (day - baseline_day).days
    if not drifted:
        return (AGE, []) if old else ("", [])
    if waited < strategy.drift.cool_down_days:
        return "", [f"cool-down: day {waited} of {strategy.drift.cool_down_days} since the last decision"]
    if gain is not None and gain < strategy.gate.minimum_gain:
        asked = strategy.gate.minimum_gain
        said = f"re-clustering would not help: a shadow refit gains {gain:+.1%}, the gate asks {asked:.1%}"
        return (AGE if old else ""), [said]
    return DRIFT, []


def _aged(strategy: Strategy, day: dt.date, baseline_day: dt.date, filling: _Filling | None) -> tuple[bool, list[str]]:
    """(whether the last decision is too old to stand, what is said about it).

    A decision on windows that were still filling is old as soon as they are full.
    """
    age, limit = (day - baseline_day).days, strategy.drift.maximum_age_days
    if filling is not None and filling.now < filling.needed:
        return False, [
            f"windows: {filling.now} of the {filling.needed} days of history that the longest one holds; "
            "until then differences may be growth, and nothing is asked for"
        ]
    if filling is not None:
        said = f"age: the last decision rests on {filling.then} days of history, windows of {filling.needed} are full"
        return age >= strategy.drift.cool_down_days, [said]
    old = limit is not None and age >= limit
    return old, [f"age: {age} days since the last decision, limit {limit}"] if old else []


def _gain_above_baseline(
    users: pd.DataFrame, model: "SegmentModel", then: Mapping[str, Any], instruments: Instruments
) -> float | None:
    gain = instruments.shadow_gain(users, model, seed=0)
    if gain is None:
        return None
    return round(gain - max(0.0, float(then["shadow_gain"] or 0.0)), 6)


def _with(verdict: Verdict, *, reasons: Sequence[str], **changes: Any) -> Verdict:
    from dataclasses import replace

    return replace(verdict, reasons=tuple(reasons), **changes)
