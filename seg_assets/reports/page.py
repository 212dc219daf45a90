"""Turn a `Report` into one self-contained HTML page: no script, nothing fetched, every text escaped.

The page carries its own content security policy, so that even a hostile segment name that slipped through escaping
could load nothing and run nothing.

Not here: what a page says (`gather`, `words`), how charts are drawn (`charts`), and where pages lie (`write`).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from seg_assets.core.text import DASH, number, percent, short
from seg_assets.reports import charts, words
from seg_assets.reports.contents import DecisionRow, Flow, Report, Validity, Week

TEMPLATES = Path(__file__).parent / "templates"
CLASSES = (*(f"c{n}" for n in range(charts.PALETTE)), "g0", "g1", "g2")
# The metrics of the day that a reader can use, in order: (metric, name, digits or 'percent', how to read it).
QUALITY: tuple[tuple[str, str, int | str, str], ...] = (
    ("silhouette", "Silhouette", 3, "1: users are far closer to their own segment than to any other; 0: on the border"),
    ("simplified_silhouette", "Simplified silhouette", 3, "the same against segment centres, on all users"),
    ("davies_bouldin", "Davies-Bouldin", 2, "spread of neighbouring segments over their distance; smaller is better"),
    (
        "calinski_harabasz",
        "Calinski-Harabasz",
        0,
        "variance between over variance within; larger is better, grows with users",
    ),
    (
        "explained_share",
        "Variance explained",
        "percent",
        "of the differences between users, the part that segments explain",
    ),
    ("representativeness", "Representativeness", "percent", "how well a segment's centre stands for its members"),
    ("balance", "Balance of sizes", 2, "1: all segments equally large; 0: one holds everybody"),
    ("coverage", "Coverage", "percent", "users that have a segment; must be 100 %"),
    ("moved_share", "Moved since yesterday", "percent", "users whose segment differs from yesterday's"),
    ("flip_back_share", "Flipped back", "percent", "of today's moves, those that undo a move of the last seven days"),
    ("weekly_ari", "Agreement with a week ago", 3, "adjusted Rand index: 1 the same groups, 0 as alike as chance"),
    (
        "bootstrap_ari",
        "Agreement over samples",
        3,
        "adjusted Rand index of models fitted on other samples of the users",
    ),
)
# Events of a lineage, in the order in which a decision lists them.
EVENTS = {
    "survive": "kept",
    "split": "split",
    "merge": "merged",
    "birth": "born",
    "death": "retired",
    "revival": "came back",
}
NULL_NAMES = {"copula": "same correlations, no groups", "permuted": "no relation at all"}


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map."""

    text: str
    kind: str
    alpha: str
    title: str


@dataclass(frozen=True)
class HeatRow:
    """One row of a heat map: where users came from."""

    name: str
    users: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Heat:
    """A heat map of moves between segments."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        number=number,
        percent=percent,
        short=short,
        feature=words.feature,
        value=words.value,
        css=_css_percent,
        bar=_bar,
        signed=lambda v: f"{v:+,d}".replace("-", "−"),
        signed_percent=lambda v: f"{100 * v:+.1f} %".replace("-", "−"),
        signed_number=lambda v, digits: f"{v:+.{digits}f}".replace("-", "−"),
        nice_day=lambda d: f"{d:%A}, {d.day} {d:%B %Y}",
        cause=lambda c: words.CAUSES.get(c, c),
    )
    return environment


@functools.cache
def _style() -> Markup:
    # Our own file with our own class names, so it is not escaped.
    return Markup(_environment().get_template("style.css").render(colour_classes=CLASSES))  # noqa: S704


def render(report: Report) -> str:
    """Return the page of one day and strategy. The same report gives the same text, byte for byte."""
    clusters = [s for s in report.segments if s.is_cluster]
    rules = [s for s in report.segments if not s.is_cluster]
    tested = [s for s in clusters if s.trusted is not None]
    return (
        _environment()
        .get_template("report.html")
        .render(
            r=report,
            style=_style(),
            sentences=words.summary(report),
            clusters=clusters,
            rules=rules,
            clustered=sum(s.users for s in clusters),
            tested=tested,
            untrusted=sum(s.trusted is False for s in tested),
            age_days=(report.day - report.fit_day).days if report.fit_day else 0,
            area=_area(report),
            legend=_stack_order(report),
            multiples=_multiples(report),
            week_heat=_heat(
                report,
                report.week_flows,
                "of the users in a segment a week ago (row), where they are today (column)",
                report.week,
            ),
            day_heat=_heat(
                report, report.day_flows, "of the users in a segment yesterday (row), where they are today (column)"
            ),
            week_top=_top(report.week_flows),
            drift_chart=_drift(report),
            lineage=_lineage(report),
            decisions=[(d, _story(d)) for d in reversed(report.decisions)],
            strip=_strip(report),
            stability=[s for s in clusters if s.jaccard is not None],
            quality=_quality(report),
            validity=_validity(report),
        )
    )


def render_index(strategies: Sequence[tuple[str, Sequence[tuple[str, Sequence[tuple[str, str]]]]]]) -> str:
    """Return the index page. `strategies`: (name, months of (month, (day, link) newest first))."""
    return _environment().get_template("index.html").render(strategies=strategies, style=_style())


def _css_percent(share: float | None) -> str:
    return f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}"


def _bar(score: float) -> str:
    """Return the length of one side of a diverging bar, in percent of the whole; three standard deviations fill it."""
    return f"{50 * min(abs(score) / 3.0, 1.0):.1f}"


def _stack_order(report: Report) -> list[str]:
    rows = {s.segment_id: s for s in report.segments}
    rules = [i for i in report.sizes if report.colours.get(i, "g0").startswith("g")]
    clusters = [i for i in report.sizes if i not in rules]
    gone = [i for i in clusters if i not in rows]
    return [*sorted(set(clusters) - set(gone)), *sorted(gone), *sorted(rules)]


def _model_marks(report: Report, *, every: bool = False) -> list[charts.Mark]:
    return [
        charts.Mark(d.day, "new model" if d.promoted else "not promoted", d.promoted)
        for d in report.decisions
        if (d.promoted or every) and d.day in report.days
    ]


def _area(report: Report) -> Markup | None:
    if not report.days or not report.sizes:
        return None
    totals = [sum(values[n] for values in report.sizes.values()) for n in range(len(report.days))]
    series = []
    for segment in _stack_order(report):
        shares = [v / t if t else 0.0 for v, t in zip(report.sizes[segment], totals, strict=True)]
        name = report.names.get(segment, segment)
        series.append((name, report.colours.get(segment, "g0"), shares))
    return charts.stacked_area("Share of users per segment", report.days, series, _model_marks(report))


def _multiples(report: Report) -> list[tuple[str, Markup, int]]:
    if len(report.days) < 2:
        return []
    multiples = []
    for segment in _stack_order(report):
        values = report.sizes[segment]
        title = f"Users in {report.names.get(segment, segment)}"
        chart = charts.sparkline(title, report.days, values, report.colours.get(segment, "g0"))
        multiples.append((segment, chart, values[-1]))
    return multiples


def _heat(report: Report, flows: Sequence[Flow], caption: str, week: Week | None = None) -> Heat | None:
    if not flows:
        return None
    order = {s.segment_id: n for n, s in enumerate(report.segments)}
    flagged = {(u.old, u.new) for u in week.unusual} if week else set()

    def place(segment: str) -> tuple[int, str]:
        return (order.get(segment, len(order)), segment)

    olds = sorted({f.old for f in flows}, key=place)
    news = sorted({f.new for f in flows}, key=place)
    counts = {(f.old, f.new): f.users for f in flows}
    rows = []
    for old in olds:
        total = sum(counts.get((old, new), 0) for new in news)
        cells = []
        for new in news:
            users = counts.get((old, new), 0)
            share = users / total if total else 0.0
            names = f"{report.names.get(old, old)} → {report.names.get(new, new)}: {users:,} users"
            if week and (old, new) in week.shares:
                _, low, high, expected = week.shares[(old, new)]
                names += f"; 95 % interval {percent(low)} to {percent(high)}"
                names += f"; earlier weeks {percent(expected)}" if expected is not None else ""
            odd = (old, new) in flagged
            names += "; unusual" if odd else ""
            marks = (("stay", old == new), ("hot", share > 0.55), ("none", users == 0), ("odd", odd))
            kind = " ".join(word for word, on in marks if on)
            text = percent(share, 0 if share >= 0.1 or share == 0 else 1) if users else "·"
            # The root lets small flows be seen beside the diagonal.
            cells.append(Cell(text, kind, f"{0.92 * share**0.5 if users else 0:.3f}", names))
        rows.append(HeatRow(report.names.get(old, old), total, tuple(cells)))
    return Heat(caption, tuple(report.names.get(n, n) for n in news), tuple(rows))


def _top(flows: Sequence[Flow], most: int = 4) -> list[Flow]:
    moved = [f for f in flows if f.old != f.new and f.users]
    return sorted(moved, key=lambda f: (-f.users, f.old, f.new))[:most]


def _drift(report: Report) -> Markup | None:
    verdicts = {d.day: d for d in report.drift}
    if not verdicts or not report.days:
        return None
    scores = [verdicts[d].score if d in verdicts else None for d in report.days]
    limits = [verdicts[d].limit if d in verdicts else None for d in report.days]
    return charts.lines(
        f"{report.drift_score_name} by day",
        report.days,
        [(report.drift_score_name, "c0", scores)],
        limit=limits,
        flagged=[d.day for d in report.drift if d.flagged],
        drifted=[d.day for d in report.drift if d.drifted],
        marks=_model_marks(report, every=True),
        digits=2,
    )


def _lineage(report: Report) -> Markup | None:
    models = [d for d in report.decisions if d.promoted][-5:]
    if not models:
        return None
    nodes: list[charts.LineageNode] = []
    links: dict[tuple[int, str, str], tuple[int, str, str, float, str]] = {}
    for column, decision in enumerate(models):
        ids = sorted(decision.names) or sorted({new for _, _, news, _ in decision.lineage for new in news})
        after = models[column + 1] if column + 1 < len(models) else None
        dead = {old for kind, olds, _, _ in (after.lineage if after else ()) if kind == "death" for old in olds}
        for segment in ids:
            name = decision.names.get(segment, report.names.get(segment, segment))
            share = decision.shares.get(segment, float("nan"))
            colour = report.colours.get(segment, "g2")
            nodes.append(charts.LineageNode(column, segment, name, share, colour, segment in dead))
        if column:
            for kind, olds, news, share in decision.lineage:
                for old in olds:
                    for new in news:
                        # A part of a split may survive too: the survivor's own row knows its share.
                        known = links.get((column - 1, old, new))
                        weight = share if share is not None else known[3] if known else 0.3
                        kind_shown = known[4] if known and known[4] != "survive" else kind
                        links[(column - 1, old, new)] = (column - 1, old, new, weight, kind_shown)
    labels = [f"{d.day}  {words.CAUSES.get(d.cause, d.cause)}" for d in models]
    return charts.lineage("Lineage of the segments", labels, nodes, list(links.values()))


def _story(decision: DecisionRow) -> str:
    """Say what a decision did to the segments."""
    counts: dict[str, list[str]] = {}
    for kind, olds, news, _ in decision.lineage:
        if kind in ("split", "merge"):
            counts.setdefault(kind, []).append(f"{', '.join(olds)} into {', '.join(news)}")
        elif kind == "death":
            counts.setdefault(kind, []).append(", ".join(olds))
        else:
            counts.setdefault(kind, []).append(", ".join(news or olds))
    parts = []
    for kind in (*EVENTS, *sorted(set(counts) - set(EVENTS))):
        if kind in counts:
            items, event = sorted(set(counts[kind])), EVENTS.get(kind, kind)
            parts.append(f"{len(items)} {event}" if kind == "survive" else f"{event}: {'; '.join(items)}")
    would = "" if decision.promoted else "would have: "
    return would + ", ".join(parts) if parts else DASH


def _strip(report: Report) -> Markup | None:
    observed = report.metrics.get("null_observed")
    rows = [
        (label, report.metrics[f"null_{key}_mean"], report.metrics.get(f"null_{key}_sd") or 0.0)
        for key, label in NULL_NAMES.items()
        if report.metrics.get(f"null_{key}_mean") is not None
    ]
    if observed is None or not rows:
        return None
    return charts.null_strip("Silhouette beside data without groups", rows, observed)


def _quality(report: Report) -> list[dict[str, Any]]:
    rows = []
    for metric, name, digits, helptext in QUALITY:
        value = report.metrics.get(metric)
        if value is None:
            continue
        text = percent(value) if digits == "percent" else number(value, int(digits))
        series = report.series.get(metric)
        known = [v for v in series or () if v is not None]
        spark = charts.sparkline(f"{name} over days", report.days, series, "c0") if series and len(known) > 1 else ""
        rows.append({"name": name, "value": text, "spark": spark, "help": helptext})
    return rows


def _validity(report: Report) -> list[tuple[str, list[dict[str, Any]]]]:
    by_metric: dict[str, list[Validity]] = {}
    for item in report.validity:
        by_metric.setdefault(item.metric, []).append(item)
    bars = []
    for metric, items in by_metric.items():
        top = max([0.0, *(max(v.high or v.value, v.value) for v in items)]) or 1.0
        ranked = sorted(items, key=lambda v: (-v.value, v.predictor))
        bars.append((metric, [_validity_bar(item, top) for item in ranked]))
    return bars


def _validity_bar(item: Validity, top: float) -> dict[str, Any]:
    bar = {
        "label": item.predictor + (f" ({item.groups} groups)" if item.groups else ""),
        "ours": item.ours,
        "width": _css_percent(item.value / top),
        "from": None,
        "span": None,
        "text": number(item.value, 3),
    }
    low, high = item.low, item.high
    if low is not None and high is not None and low == low and high == high:
        bar |= {"from": _css_percent(low / top), "span": _css_percent((high - max(low, 0.0)) / top)}
    return bar
