"""Show how a fit of a day would choose k, what each feature adds, and a picture of both: `seg-assets tune`.

The samples, criteria and rule are those of a fit (`choosing`), with the champion of the day before: what `tune` chooses
is what a fit of the day would choose. Reads the lake, writes nothing to it.

Not here: the criteria and the rule themselves (`choosing`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from markupsafe import Markup

from seg_assets.core import svg
from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.core.numerics import distinct_rows, fit_seed
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.features import CATEGORIES, PROFILES, load_features
from seg_assets.segments.fitting import choosing
from seg_assets.segments.fitting.choosing import CRITERIA, Choice, format_estimate
from seg_assets.segments.fitting.fit import prepare
from seg_assets.segments.fitting.outcome import load_outcome, outcome_frame
from seg_assets.segments.strategy import Strategy

# Days that validity looks ahead, when the strategy does not say: a quarter.
HORIZON_DAYS = 90
# Looked at beside a strategy's only k: two fewer, three more.
FEWER, MORE = 2, 3


@dataclass(frozen=True)
class Tuned:
    """What `tune` measured, and what a fit would choose.

    choice: k, rows (see choosing.Choice) and why.
    features: rows of choosing.drop_one, at that k.
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
        """Return JSON-ready content."""
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
    *,
    champion_k: int | None,
) -> Tuned:
    """Measure every k of the strategy's range, or from counts[0] to counts[1], on the profiles of a day.

    Args:
        lake: the lake.
        strategy: what to tune.
        day: the day.
        seed: `settings.seed`.
        counts: least and most segments looked at; default: the strategy's range, widened when it is a single k.
        features: also measure what each feature adds.
        champion_k: number of segments of the champion of the day before, None without one.

    Raises:
        MissingDaysError: the profiles of the day were never materialized.
        ConfigError: nothing can be fitted on that day, and why.
    """
    for table in (PROFILES, CATEGORIES):
        lake.require(table, [day], f"tune {strategy.name}")
    frame = load_features(lake, strategy, day)
    outcome, validity = _outcome(lake, strategy, day)
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
        validity=validity,
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
    """Return what a fit would choose, with a table also where it would not make one."""
    distinct = distinct_rows(X)
    k = strategy.k
    low, high = counts or ((k.min, k.max) if k.min < k.max else (max(2, k.min - FEWER), k.max + MORE))
    low, high = min(low, distinct), min(high, distinct)
    voters = choosing.voters_of(strategy, outcome)
    if algorithms.named(strategy.algorithm).chooses_k:
        choice = choosing.choose_k(strategy, X, champion_k, seed, outcome)
        rows = choosing.measure(strategy, X, [high], seed, outcome)
        return replace(choice, rows=choosing.elect(strategy, rows, None, voters).rows)
    rows = choosing.measure(strategy, X, range(low, high + 1), seed, outcome)
    free = choosing.elect(strategy, rows, champion_k, voters)
    if k.min == k.max and counts is None:
        return replace(free, k=min(k.min, distinct), reason=f"k.min = k.max = {k.min}; left to the rule: {free.reason}")
    return free


def _outcome(lake: Lake, strategy: Strategy, day: dt.date) -> tuple[Outcome | None, str]:
    """Load what users did in the horizon up to the day, and say what validity is measured on."""
    guided = algorithms.named(strategy.algorithm).is_guided
    try:
        outcome = (
            load_outcome(lake, strategy, day)
            if guided
            else outcome_frame(lake, strategy, day, horizon_days=HORIZON_DAYS)
        )
    except MissingDaysError as error:
        if guided:
            raise
        return None, f"not measured: {error}"
    if outcome is None:
        return None, "not measured: no user takes part in clustering on this day"
    if not outcome.horizon_days:
        return (outcome if guided else None), f"not measured: {outcome.basis}"
    what = " and ".join(str(c) for c in outcome.values.columns)
    days, start = outcome.horizon_days, outcome.day
    return outcome, f"{what} of the {days} days after {start}, by groups of {start}, of users held out"


# ---- in words --------------------------------------------------------------------------------------------------


def say(tuned: Tuned) -> str:
    """Write the tables as text."""
    lines = [
        f"{tuned.strategy} on {tuned.day}: {tuned.users:,} users, {tuned.sample:,} drawn, criteria on at most "
        f"{choosing.SELECTION_USERS:,} of them, ± one standard error",
        "",
        *_text_table(*_k_table(tuned)),
        "",
        f"chosen: k = {tuned.choice.k}. {tuned.choice.reason}",
    ]
    if tuned.champion_k is not None:
        lines.append(f"champion: k = {tuned.champion_k}; it stays unless another is named by two criteria more")
    lines.append(f"validity: {tuned.validity}")
    if tuned.features:
        lines += ["", f"what each feature adds at k = {tuned.choice.k} (the loss without it, paired):", ""]
        lines += _text_table(*_feature_table(tuned))
    lines += [f"left out: {column}: {why}" for column, why in sorted(tuned.dropped.items())]
    lines.append("* the criterion names this k. How each is measured and names: docs/strategies.md")
    return "\n".join(lines)


def _k_table(tuned: Tuned) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: each criterion at each k, with a star where it names the k."""
    head = ["k", *(c.title for c in CRITERIA.values()), "smallest", "named by"]
    rows = []
    for row in tuned.choice.rows:
        cells = [
            format_estimate(row[name], row[f"{name}_error"]) + (" *" if name in row["named_by"] else "")
            for name in CRITERIA
        ]
        mark = ">" if row["k"] == tuned.choice.k else ""
        small = f"{row['smallest_share']:.1%}" + ("" if row["admissible"] else " (too small)")
        rows.append([f"{mark}{row['k']}", *cells, small, str(row["votes"])])
    return head, rows


def _feature_table(tuned: Tuned) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: what each feature adds."""
    head = ["feature", "validity it adds", "stability it adds", "groups without it agree"]
    rows = []
    for row in tuned.features:
        agree = "–" if row["agreement"] is None else f"{row['agreement']:.2f}"
        cells = [_signed(row[f"{name}_added"], row[f"{name}_added_error"]) for name in ("validity", "stability")]
        rows.append([row["feature"], *cells, agree])
    return head, rows


def _signed(value: float | None, error: float | None) -> str:
    """Write a difference with its sign and error, a dash where it was not measured."""
    return "–" if value is None else f"{value:+.4f} ±{error or 0.0:.4f}"


def _text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table for a terminal, columns aligned to the right."""
    widths = [max(len(str(row[j])) for row in [head, *rows]) for j in range(len(head))]
    return ["  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]


# ---- the picture -----------------------------------------------------------------------------------------------

PANEL_WIDTH, PANEL_HEIGHT, ACROSS = 240, 150, 4


def picture(tuned: Tuned) -> str:
    """Draw a panel per criterion over k: bars of one standard error, filled dots where it names the k."""
    panels = [c for c in CRITERIA.values() if any(r[c.name] is not None for r in tuned.choice.rows)]
    heading = f"{tuned.title} on {tuned.day}: {tuned.choice.k} segments"
    key = "Bars: one standard error. Filled: the criterion names this k. Line: the k that is chosen."
    parts = [svg.text(12, 20, heading, font_size=14), svg.text(12, 38, key, fill=svg.QUIET)]
    for n, criterion in enumerate(panels):
        parts += _panel(tuned, criterion, n % ACROSS * PANEL_WIDTH, 50 + n // ACROSS * PANEL_HEIGHT)
    height = 56 - (-len(panels) // ACROSS) * PANEL_HEIGHT
    title = f"{tuned.title} on {tuned.day}: how many segments"
    return svg.drawing(ACROSS * PANEL_WIDTH, height, parts, title=title, font_size=11)


def _panel(tuned: Tuned, criterion: choosing.Criterion, left: float, top: float) -> list[Markup]:
    known = [r for r in tuned.choice.rows if r[criterion.name] is not None]
    value = [float(r[criterion.name]) for r in known]
    error = [float(r[f"{criterion.name}_error"] or 0.0) for r in known]
    low = min(v - e for v, e in zip(value, error, strict=True))
    high = max(v + e for v, e in zip(value, error, strict=True))
    ks = [r["k"] for r in tuned.choice.rows]
    x0, x1, y0, y1 = left + 40, left + PANEL_WIDTH - 16, top + PANEL_HEIGHT - 30, top + 26
    x, y = svg.scale(ks[0], ks[-1], x0, x1), svg.scale(low, high, y0, y1)
    vote = "" if criterion.name in tuned.choice.voters else ", no say"
    better = "more is better" if criterion.more_is_better else "less is better"
    parts = [
        svg.text(left + 12, top + 14, criterion.title),
        svg.text(x1, top + 14, better + vote, anchor="end", fill=svg.QUIET),
        svg.text(x0 - 4, y1 + 4, f"{high:.3g}", anchor="end", fill=svg.QUIET),
        svg.text(x0 - 4, y0 + 4, f"{low:.3g}", anchor="end", fill=svg.QUIET),
    ]
    if ks[0] <= tuned.choice.k <= ks[-1]:
        at = x(tuned.choice.k)
        parts.append(svg.line((at, y1 - 6), (at, y0 + 4), stroke=svg.FAINT))
    points = [(x(r["k"]), y(v)) for r, v in zip(known, value, strict=True)]
    parts.append(svg.polyline(points, stroke=svg.BLUE, stroke_opacity=0.4))
    for row, (at, middle), v, e in zip(known, points, value, error, strict=True):
        fill = svg.BLUE if criterion.name in row["named_by"] else svg.WHITE
        words = f"k = {row['k']}: {format_estimate(row[criterion.name], row[f'{criterion.name}_error'])}"
        parts.append(svg.line((at, y(v - e)), (at, y(v + e)), stroke=svg.BLUE))
        parts.append(svg.circle((at, middle), 3.5, words, fill=fill, stroke=svg.BLUE))
    return parts + [svg.text(x(k), y0 + 18, k, anchor="middle", fill=svg.QUIET) for k in ks]


def page(tuned: Tuned) -> str:
    """Write the picture and both tables as one HTML file without scripts, which asks the network for nothing."""

    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>{body}</table>"

    features = f"<h2>What each feature adds</h2>{table(*_feature_table(tuned))}" if tuned.features else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(tuned.title)}: how many segments, {tuned.day}</title><style>"
        "body{font-family:sans-serif;color:#333;max-width:980px;margin:2em auto;padding:0 1em}"
        "svg{max-width:100%;height:auto}table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
        "td,th{border-bottom:1px solid #ddd;padding:4px 8px;text-align:right;white-space:nowrap}"
        "</style></head><body>"
        f"<h1>{escape(tuned.title)}, {tuned.day}</h1>"
        f"<p><b>k = {tuned.choice.k}.</b> {escape(tuned.choice.reason)}.</p>"
        f"<p>{tuned.users:,} users, {tuned.sample:,} drawn, criteria on at most {choosing.SELECTION_USERS:,} of them. "
        f"Validity: {escape(tuned.validity)}.</p>{picture(tuned)}"
        f"<h2>Criteria</h2>{table(*_k_table(tuned))}<p>* the criterion names this k; ± one standard error.</p>"
        f"{features}</body></html>"
    )
