"""`seg-assets tune`: the table that a fit of the day would choose k from, what each feature adds, and a picture.

The samples, criteria and rule are those of a fit (`choosing`), with the champion of the day before: what is chosen here
is what a fit of the day would choose. Reads the lake, writes nothing to it.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from seg_assets.core import numerics
from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.fitting import choosing
from seg_assets.segments.fitting.choosing import CRITERIA, Choice, said
from seg_assets.segments.strategy import Strategy

# Days that validity looks ahead, when the strategy does not say: a quarter.
HORIZON_DAYS = 90
# Looked at beside a strategy's only k: two fewer, three more.
FEWER, MORE = 2, 3


@dataclass(frozen=True)
class Tuned:
    """What `tune` found.

    choice: k, rows (see choosing.Choice) and why. features: rows of choosing.drop_one, at that k.
    validity: what validity was measured on, or why it was not.
    """

    strategy: str
    title: str
    day: dt.date
    users: int
    sample: int
    champion_k: int | None
    choice: Choice
    features: list[dict[str, Any]]
    validity: str
    dropped: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {
            "strategy": self.strategy,
            "day": self.day.isoformat(),
            "users": self.users,
            "sample": self.sample,
            "selection_users": min(self.sample, choosing.SELECTION_USERS),
            "champion_k": self.champion_k,
            "k": self.choice.k,
            "reason": self.choice.reason,
            "voters": list(self.choice.voters),
            "validity": self.validity,
            "table": self.choice.rows,
            "features": self.features,
            "dropped": dict(self.dropped),
        }


def tune(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    seed: int,
    counts: tuple[int, int] | None = None,
    features: bool = True,
) -> Tuned:
    """Measure every k of the strategy's range, or from counts[0] to counts[1], on the profiles of a day.

    Args:
        lake: the lake.
        strategy: what to tune.
        day: the day.
        seed: `settings.seed`.
        counts: least and most segments looked at; default: the strategy's range, widened when it is a single k.
        features: also measure what each feature adds.

    Raises:
        MissingDaysError: the profiles of the day were never materialized.
        ConfigError: nothing can be fitted on that day, and why.
    """
    from seg_assets.core.numerics import fit_seed
    from seg_assets.segments.features import CATEGORIES, PROFILES, load_features
    from seg_assets.segments.fitting.fit import prepare

    for table in (PROFILES, CATEGORIES):
        lake.require(table, [day], f"tune {strategy.name}")
    champion = decisions.champion_before(lake, strategy.name, day)
    champion_k = champion.segment_model().n_clusters if champion else None
    frame = load_features(lake, strategy, day)
    outcome, told = _outcome(lake, strategy, day)
    its_seed = fit_seed(seed, strategy.name)
    ready = prepare(strategy, frame, its_seed, outcome)
    if ready.reason:
        raise ConfigError(f"tune {strategy.name} on {day}: nothing can be fitted: {ready.reason}")
    outcome = ready.outcome
    choice = chosen(strategy, ready.X, champion_k, its_seed, outcome, counts)
    owners = [axis.feature for axis in ready.space.axes]
    added = choosing.drop_one(strategy, ready.X, owners, choice.k, its_seed, outcome) if features else []
    return Tuned(
        strategy=strategy.name,
        title=strategy.title,
        day=day,
        users=len(ready.users),
        sample=len(ready.sample),
        champion_k=champion_k,
        choice=choice,
        features=added,
        validity=told,
        dropped=ready.space.dropped,
    )


def chosen(
    strategy: Strategy,
    X: Any,
    champion_k: int | None,
    seed: int,
    outcome: Outcome | None,
    counts: tuple[int, int] | None = None,
) -> Choice:
    """What a fit would choose, with a table also where it would not make one."""
    distinct = numerics.distinct_rows(X)
    k = strategy.k
    low, high = counts or ((k.min, k.max) if k.min < k.max else (max(2, k.min - FEWER), k.max + MORE))
    low, high = min(low, distinct), min(high, distinct)
    voters = choosing.voters_of(strategy, outcome)
    if getattr(algorithms.module_of(strategy.algorithm), "CHOOSES_K", False):
        found = choosing.choose_k(strategy, X, champion_k, seed, outcome)
        rows = choosing.measure(strategy, X, [high], seed, outcome)
        return replace(found, rows=choosing.elect(strategy, rows, None, voters).rows)
    rows = choosing.measure(strategy, X, range(low, high + 1), seed, outcome)
    free = choosing.elect(strategy, rows, champion_k, voters)
    if k.min == k.max and counts is None:
        return replace(free, k=min(k.min, distinct), reason=f"k.min = k.max = {k.min}; left to the rule: {free.reason}")
    return free


def _outcome(lake: Lake, strategy: Strategy, day: dt.date) -> tuple[Outcome | None, str]:
    """What users did in the horizon up to the day, and what to say of it."""
    from seg_assets.segments.fitting.outcome import outcome_frame

    guided = algorithms.is_guided(strategy.algorithm)
    try:
        found = (
            algorithms.outcome_for(strategy.algorithm, lake, strategy, day)
            if guided
            else outcome_frame(lake, strategy, day, horizon_days=HORIZON_DAYS)
        )
    except MissingDaysError as error:
        if guided:
            raise
        return None, f"not measured: {error}"
    if found is None:
        return None, "not measured: no user takes part in clustering on this day"
    days = getattr(found, "horizon_days", 0)
    if not days:
        return (found if guided else None), f"not measured: {found.basis}"
    what = " and ".join(str(c) for c in found.values.columns)
    return found, f"{what} of the {days} days after {found.day}, by groups of {found.day}, of users held out"


# ---- in words --------------------------------------------------------------------------------------------------


def say(found: Tuned) -> str:
    """The tables as text."""
    lines = [
        f"{found.strategy} on {found.day}: {found.users:,} users, {found.sample:,} drawn, criteria on at most "
        f"{choosing.SELECTION_USERS:,} of them, ± one standard error",
        "",
        *_text_table(*_k_table(found)),
        "",
        f"chosen: k = {found.choice.k}. {found.choice.reason}",
    ]
    if found.champion_k is not None:
        lines.append(f"champion: k = {found.champion_k}; it stays unless another is named by two criteria more")
    lines.append(f"validity: {found.validity}")
    if found.features:
        lines += ["", f"what each feature adds at k = {found.choice.k} (the loss without it, paired):", ""]
        lines += _text_table(*_feature_table(found))
    lines += [f"left out: {column}: {why}" for column, why in sorted(found.dropped.items())]
    lines.append("* the criterion names this k. How each is measured and names: docs/strategies.md")
    return "\n".join(lines)


def _k_table(found: Tuned) -> tuple[list[str], list[list[str]]]:
    head = ["k", *(c.title for c in CRITERIA.values()), "smallest", "named by"]
    rows = []
    for row in found.choice.rows:
        cells = [said(row[name], row[f"{name}_error"]) + (" *" if name in row["named_by"] else "") for name in CRITERIA]
        mark = ">" if row["k"] == found.choice.k else ""
        small = f"{row['smallest_share']:.1%}" + ("" if row["admissible"] else " (too small)")
        rows.append([f"{mark}{row['k']}", *cells, small, str(row["votes"])])
    return head, rows


def _feature_table(found: Tuned) -> tuple[list[str], list[list[str]]]:
    head = ["feature", "validity it adds", "stability it adds", "groups without it agree"]
    rows = []
    for row in found.features:
        agree = "–" if row["agreement"] is None else f"{row['agreement']:.2f}"
        cells = [_signed(row[f"{name}_added"], row[f"{name}_added_error"]) for name in ("validity", "stability")]
        rows.append([row["feature"], *cells, agree])
    return head, rows


def _signed(value: float | None, error: float | None) -> str:
    return "–" if value is None else f"{value:+.4f} ±{error or 0.0:.4f}"


def _text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(str(row[j])) for row in [head, *rows]) for j in range(len(head))]
    return ["  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]


# ---- the picture -----------------------------------------------------------------------------------------------

PANEL_WIDTH, PANEL_HEIGHT, ACROSS = 240, 150, 4
INK, QUIET, OURS = "#333333", "#8a8a8a", "#1f5fa8"


def picture(found: Tuned) -> str:
    """One SVG: a panel per criterion over k, bars of one standard error, filled dots where it names the k."""
    panels = [c for c in CRITERIA.values() if any(r[c.name] is not None for r in found.choice.rows)]
    down = -(-len(panels) // ACROSS)
    width, height = ACROSS * PANEL_WIDTH, 56 + down * PANEL_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
        f"<title>{escape(found.title)} on {found.day}: how many segments</title>"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        f'<text x="12" y="20" font-size="14" fill="{INK}">{escape(found.title)} on {found.day}: '
        f"{found.choice.k} segments</text>"
        f'<text x="12" y="38" fill="{QUIET}">Bars: one standard error. Filled: the criterion names this k. '
        f"Line: the k that is chosen.</text>"
    ]
    for n, criterion in enumerate(panels):
        x, y = n % ACROSS * PANEL_WIDTH, 50 + n // ACROSS * PANEL_HEIGHT
        parts.append(_panel(found, criterion, x, y))
    return "".join(parts) + "</svg>"


def _panel(found: Tuned, criterion: choosing.Criterion, left: float, top: float) -> str:
    known = [r for r in found.choice.rows if r[criterion.name] is not None]
    value = [float(r[criterion.name]) for r in known]
    error = [float(r[f"{criterion.name}_error"] or 0.0) for r in known]
    low = min(v - e for v, e in zip(value, error, strict=True))
    high = max(v + e for v, e in zip(value, error, strict=True))
    reach = (high - low) or 1.0
    ks = [r["k"] for r in found.choice.rows]
    span = max(ks[-1] - ks[0], 1)
    x0, x1, y0, y1 = left + 40, left + PANEL_WIDTH - 16, top + PANEL_HEIGHT - 30, top + 26

    def x(k: int) -> float:
        return x0 + (x1 - x0) * (k - ks[0]) / span

    def y(v: float) -> float:
        return y0 + (y1 - y0) * (v - low) / reach

    voter = criterion.name in found.choice.voters
    better = "more is better" if criterion.more_is_better else "less is better"
    parts = [
        f'<text x="{left + 12}" y="{top + 14}" fill="{INK}">{escape(criterion.title)}</text>'
        f'<text x="{x1}" y="{top + 14}" text-anchor="end" fill="{QUIET}">{better}{"" if voter else ", no say"}</text>'
        f'<text x="{x0 - 4}" y="{y1 + 4}" text-anchor="end" fill="{QUIET}">{high:.3g}</text>'
        f'<text x="{x0 - 4}" y="{y0 + 4}" text-anchor="end" fill="{QUIET}">{low:.3g}</text>'
    ]
    if ks[0] <= found.choice.k <= ks[-1]:
        at = x(found.choice.k)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y1 - 6}" y2="{y0 + 4}" stroke="#d9d9d9"/>')
    points = " ".join(f"{x(r['k']):.1f},{y(v):.1f}" for r, v in zip(known, value, strict=True))
    parts.append(f'<polyline points="{points}" fill="none" stroke="{OURS}" stroke-opacity="0.4"/>')
    for row, v, e in zip(known, value, error, strict=True):
        at = x(row["k"])
        fill = OURS if criterion.name in row["named_by"] else "#ffffff"
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(v - e):.1f}" y2="{y(v + e):.1f}" stroke="{OURS}"/>'
            f'<circle cx="{at:.1f}" cy="{y(v):.1f}" r="3.5" fill="{fill}" stroke="{OURS}">'
            f"<title>k = {row['k']}: {said(row[criterion.name], row[f'{criterion.name}_error'])}</title></circle>"
        )
    parts += [f'<text x="{x(k):.1f}" y="{y0 + 18}" text-anchor="middle" fill="{QUIET}">{k}</text>' for k in ks]
    return "".join(parts)


def page(found: Tuned) -> str:
    """The picture and both tables as one HTML file without scripts, which asks the network for nothing."""

    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>{body}</table>"

    features = f"<h2>What each feature adds</h2>{table(*_feature_table(found))}" if found.features else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(found.title)}: how many segments, {found.day}</title><style>"
        "body{font-family:sans-serif;color:#333;max-width:980px;margin:2em auto;padding:0 1em}"
        "svg{max-width:100%;height:auto}table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
        "td,th{border-bottom:1px solid #ddd;padding:4px 8px;text-align:right;white-space:nowrap}"
        "</style></head><body>"
        f"<h1>{escape(found.title)}, {found.day}</h1>"
        f"<p><b>k = {found.choice.k}.</b> {escape(found.choice.reason)}.</p>"
        f"<p>{found.users:,} users, {found.sample:,} drawn, criteria on at most {choosing.SELECTION_USERS:,} of them. "
        f"Validity: {escape(found.validity)}.</p>{picture(found)}"
        f"<h2>Criteria</h2>{table(*_k_table(found))}<p>* the criterion names this k; ± one standard error.</p>"
        f"{features}</body></html>"
    )
