"""Small charts as inline SVG: numbers in, safe markup out. No table is read here, no script, nothing fetched.

Colours are classes (`c0` .. `c11`, `g0` .. `g2`) that the page's style sheet sets for light, dark and print. Every
chart has a title and a description for a screen reader; every text that comes from outside is escaped.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 760
LEFT = 46
RIGHT = 12
PALETTE = 12


def number(value: float | int | None, digits: int = 0) -> str:
    """A number for a reader: thousands separated, a dash for none."""
    if value is None or value != value:
        return "–"
    return f"{value:,.{digits}f}"


def short(value: float | int | None) -> str:
    """A number in at most five characters or so: 1.2k, 34k, 1.3M, 0.045."""
    if value is None or value != value:
        return "–"
    size = abs(value)
    for edge, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= edge:
            scaled = value / edge
            return f"{scaled:.1f}{unit}" if abs(scaled) < 10 else f"{scaled:.0f}{unit}"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, a dash for none; something small never reads as nothing."""
    if value is None or value != value:
        return "–"
    if 0 < value < 0.5 * 10 ** -(digits + 2):
        return f"< {10**-digits:g} %"
    return f"{100 * value:.{digits}f} %"


@dataclass(frozen=True)
class Mark:
    """A vertical line on a time chart: a day with a short label. `strong` for what changed the segments."""

    day: dt.date
    label: str
    strong: bool = True


def _x(days: Sequence[dt.date], width: int) -> dict[dt.date, float]:
    first, last = days[0], days[-1]
    span = max((last - first).days, 1)
    return {day: LEFT + (width - LEFT - RIGHT) * (day - first).days / span for day in days}


def _start(kind: str, title: str, description: str, width: float, height: float) -> list[Markup]:
    return [
        Markup(
            '<svg class="chart {}" role="img" viewBox="0 0 {:g} {:g}" preserveAspectRatio="xMidYMid meet" '
            'aria-label="{}"><title>{}</title><desc>{}</desc>'
        ).format(kind, width, height, f"{title}. {description}", title, description)
    ]


def _day_axis(days: Sequence[dt.date], width: int, base: float) -> list[Markup]:
    x = _x(days, width)
    count = min(6, len(days))
    picks = sorted({days[round(n * (len(days) - 1) / max(count - 1, 1))] for n in range(count)})
    parts = [Markup('<line class="axis" x1="{}" x2="{}" y1="{:g}" y2="{:g}"/>').format(LEFT, width - RIGHT, base, base)]
    for n, day in enumerate(picks):
        anchor = "start" if n == 0 else "end" if n == len(picks) - 1 and n > 0 else "middle"
        label = f"{day.day} {day:%b}" + (f" {day.year}" if n == 0 else "")
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{:g}" text-anchor="{}">{}</text>').format(
                x[day], base + 15, anchor, label
            )
        )
    return parts


def _value_axis(ticks: Sequence[tuple[float, str]], width: int) -> list[Markup]:
    parts = []
    for y, label in ticks:
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(LEFT, width - RIGHT, y, y, LEFT - 6, y + 4, label)
        )
    return parts


def _marks(marks: Sequence[Mark], x: Mapping[dt.date, float], top: float, base: float) -> list[Markup]:
    parts = []
    last_label = -1e9
    for mark in marks:
        if mark.day not in x:
            continue
        at = x[mark.day]
        parts.append(
            Markup(
                '<line class="mark{}" x1="{:.1f}" x2="{:.1f}" y1="{:g}" y2="{:g}"><title>{}: {}</title></line>'
            ).format("" if mark.strong else " weak", at, at, top, base, mark.day, mark.label)
        )
        # Labels that would lie on each other are left to the line's own tooltip and the table.
        if at - last_label > 70:
            end = at > WIDTH * 0.8
            parts.append(
                Markup('<text class="tick marklabel" x="{:.1f}" y="{:g}" text-anchor="{}">{}</text>').format(
                    at + (-4 if end else 4), top + 9, "end" if end else "start", mark.label
                )
            )
            last_label = at
    return parts


def stacked_area(
    title: str,
    days: Sequence[dt.date],
    series: Sequence[tuple[str, str, Sequence[float]]],
    marks: Sequence[Mark] = (),
    height: int = 250,
) -> Markup:
    """Shares over days, stacked to 100 %. `series`: (name, colour class, one share per day), bottom first."""
    top, base = 18.0, height - 24.0
    x = _x(days, WIDTH)

    def y(share: float) -> float:
        return base - (base - top) * share

    parts = _start("area", title, f"{len(series)} segments from {days[0]} to {days[-1]}", WIDTH, height)
    low = [0.0] * len(days)
    for name, colour, values in series:
        high = [a + max(b, 0.0) for a, b in zip(low, values, strict=True)]
        if len(days) == 1:
            parts.append(
                Markup('<rect class="{}" x="{}" width="{}" y="{:.1f}" height="{:.1f}"><title>{}</title></rect>').format(
                    colour, LEFT, WIDTH - LEFT - RIGHT, y(high[0]), y(low[0]) - y(high[0]), name
                )
            )
        else:
            upper = " ".join(f"{x[d]:.1f},{y(v):.1f}" for d, v in zip(days, high, strict=True))
            lower = " ".join(f"{x[d]:.1f},{y(v):.1f}" for d, v in reversed(list(zip(days, low, strict=True))))
            parts.append(
                Markup('<polygon class="{}" points="{} {}"><title>{}: {} to {}</title></polygon>').format(
                    colour, upper, lower, name, percent(values[0]), percent(values[-1])
                )
            )
        low = high
    parts += _value_axis([(y(s), f"{100 * s:.0f} %") for s in (0, 0.25, 0.5, 0.75, 1.0)], WIDTH)
    parts += _day_axis(days, WIDTH, base)
    parts += _marks(marks, x, top - 14, base)
    return Markup("").join([*parts, Markup("</svg>")])


def sparkline(title: str, days: Sequence[dt.date], values: Sequence[float | None], colour: str) -> Markup:
    """One small line with its first, last, lowest and highest value in the description."""
    known = [(d, v) for d, v in zip(days, values, strict=True) if v is not None and v == v]
    width, height = 180, 44
    if not known:
        return Markup('<span class="quiet">no values</span>')
    low, high = min(v for _, v in known), max(v for _, v in known)
    span = (high - low) or 1.0
    length = max((days[-1] - days[0]).days, 1)
    points = [
        (4 + (width - 8) * (d - days[0]).days / length, height - 6 - (height - 12) * (v - low) / span) for d, v in known
    ]
    if high == low:
        points = [(a, height / 2) for a, _ in points]
    told = f"{short(known[0][1])} to {short(known[-1][1])}, lowest {short(low)}, highest {short(high)}"
    parts = _start("spark", title, told, width, height)
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts.append(Markup('<polyline class="line {}" points="{}"/>').format(colour, line))
    parts.append(Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(colour, *points[-1]))
    return Markup("").join([*parts, Markup("</svg>")])


def lines(
    title: str,
    days: Sequence[dt.date],
    series: Sequence[tuple[str, str, Sequence[float | None]]],
    *,
    limit: Sequence[float | None] | None = None,
    flagged: Sequence[dt.date] = (),
    drifted: Sequence[dt.date] = (),
    marks: Sequence[Mark] = (),
    height: int = 210,
    digits: int = 2,
) -> Markup:
    """Scores over days beside their limit (dashed); flagged days have a ring, drifted ones a dot."""
    top, base = 24.0, height - 24.0
    x = _x(days, WIDTH)
    every = [v for _, _, values in series for v in values if v is not None and v == v]
    every += [v for v in (limit or []) if v is not None and v == v]
    if not every:
        return Markup('<p class="quiet">no values</p>')
    high = max(max(every), 0.0) * 1.1 or 1.0
    low = min(min(every) * 1.1, 0.0)

    def y(value: float) -> float:
        return base - (base - top) * (value - low) / (high - low)

    last = ", ".join(
        f"{name} {number(next((v for v in reversed(values) if v is not None), None), digits)}"
        for name, _, values in series
    )
    parts = _start(
        "lines",
        title,
        f"{days[0]} to {days[-1]}; last: {last}; {len(flagged)} days flagged, {len(drifted)} drifted",
        WIDTH,
        height,
    )
    parts += _value_axis(
        [(y(low + (high - low) * n / 3), number(low + (high - low) * n / 3, digits)) for n in range(4)], WIDTH
    )
    parts += _day_axis(days, WIDTH, base)
    parts += _marks(marks, x, 4, base)

    def runs(values: Sequence[float | None]) -> list[str]:
        found, current = [], []
        for day, value in zip(days, values, strict=True):
            if value is None or value != value:
                if current:
                    found.append(current)
                current = []
            else:
                current.append(f"{x[day]:.1f},{y(value):.1f}")
        return [" ".join(run) for run in [*found, current] if run]

    if limit is not None:
        parts += [Markup('<polyline class="limit" points="{}"/>').format(run) for run in runs(limit)]
    for _, colour, values in series:
        for run in runs(values):
            if " " in run:
                parts.append(Markup('<polyline class="line {}" points="{}"/>').format(colour, run))
            else:
                cx, cy = run.split(",")
                parts.append(Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"/>').format(colour, cx, cy))
    if series:
        values = dict(zip(days, series[0][2], strict=True))
        for day in sorted({*flagged, *drifted}):
            value = values.get(day)
            if value is not None and value == value:
                parts.append(
                    Markup(
                        '<circle class="flag{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {}, {}</title></circle>'
                    ).format(
                        "" if day in drifted else " ring",
                        x[day],
                        y(value),
                        4.5 if day in drifted else 3.5,
                        day,
                        "drifted" if day in drifted else "flagged",
                        number(value, digits + 1),
                    )
                )
    return Markup("").join([*parts, Markup("</svg>")])


def null_strip(title: str, rows: Sequence[tuple[str, float, float]], observed: float) -> Markup:
    """The observed silhouette (line) beside each null (mean and two standard deviations). `rows`: (name, mean, sd)."""
    height = 40 + 34 * len(rows)
    left, right = 190, WIDTH - 60
    edges = [observed, 0.0, *(m - 2 * s for _, m, s in rows), *(m + 2 * s for _, m, s in rows)]
    low, high = min(edges), max(edges)
    span = (high - low) * 1.08 or 1.0

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / span

    told = "; ".join(f"{name}: {m:.3f}, sd {s:.3f}" for name, m, s in rows)
    parts = _start("strip", title, f"These segments {observed:.3f}; {told}", WIDTH, height)
    for n in range(5):
        value = low + (high - low) * n / 4
        parts.append(
            Markup(
                '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="16" y2="{1}"/>'
                '<text class="tick" x="{0:.1f}" y="{2}" text-anchor="middle">{3:.2f}</text>'
            ).format(x(value), height - 20, height - 5, value)
        )
    for n, (name, mean, sd) in enumerate(rows):
        y = 34 + 34 * n
        parts.append(
            Markup(
                '<text class="label" x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect class="range" x="{:.1f}" y="{}" width="{:.1f}" height="14" rx="3"/>'
                '<circle class="nulldot" cx="{:.1f}" cy="{}" r="4"/>'
            ).format(
                left - 12, y + 4, name, x(mean - 2 * sd), y - 7, max(x(mean + 2 * sd) - x(mean - 2 * sd), 2), x(mean), y
            )
        )
    at = x(observed)
    end = at > WIDTH * 0.7
    parts.append(
        Markup(
            '<line class="observed" x1="{0:.1f}" x2="{0:.1f}" y1="14" y2="{1}"/>'
            '<text class="label strong" x="{2:.1f}" y="11" text-anchor="{3}">these segments {4:.3f}</text>'
        ).format(at, height - 20, at + (4 if end else 0), "end" if end else "middle", observed)
    )
    return Markup("").join([*parts, Markup("</svg>")])


@dataclass(frozen=True)
class LineageNode:
    """A segment in one model: column (model), name, share of users, colour class."""

    column: int
    segment_id: str
    name: str
    share: float
    colour: str
    retired: bool = False


def lineage(
    title: str,
    columns: Sequence[str],
    nodes: Sequence[LineageNode],
    links: Sequence[tuple[int, str, str, float, str]],
) -> Markup:
    """Models from left to right, segments as bars, a band where users went.

    `links`: (from column, from, to, weight 0..1, kind).
    """
    if not columns:
        return Markup("")
    rows = max((sum(n.column == c for n in nodes) for c in range(len(columns))), default=1)
    height = 44 + 30 * max(rows, 1)
    width = max(WIDTH, 190 * len(columns))
    step = (width - 180) / max(len(columns) - 1, 1)
    place: dict[tuple[int, str], tuple[float, float]] = {}
    for column in range(len(columns)):
        for row, node in enumerate(n for n in nodes if n.column == column):
            place[(column, node.segment_id)] = (10 + column * step, 44 + 30 * row)
    told = (
        "; ".join(f"{a} {kind} {b}" for _, a, b, _, kind in links if kind != "survive")
        or "no splits, merges, births or deaths"
    )
    parts = _start("lineage", title, f"{len(columns)} models; {told}", width, height)
    for column, label in enumerate(columns):
        parts.append(Markup('<text class="tick" x="{:.1f}" y="14">{}</text>').format(10 + column * step, label))
    for column, old, new, weight, kind in links:
        start, stop = place.get((column, old)), place.get((column + 1, new))
        if not start or not stop:
            continue
        x1, y1, x2, y2 = start[0] + 154, start[1] + 2, stop[0] - 2, stop[1] + 2
        bend = (x1 + x2) / 2
        parts.append(
            Markup(
                '<path class="flow {}" d="M{:.1f},{:.1f} C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}" '
                'stroke-width="{:.1f}"><title>{} to {}: {}, {}</title></path>'
            ).format(
                kind,
                x1,
                y1,
                bend,
                y1,
                bend,
                y2,
                x2,
                y2,
                1.5 + 9 * min(max(weight, 0.0), 1.0),
                old,
                new,
                kind,
                percent(weight, 0),
            )
        )
    for node in nodes:
        x, y = place[(node.column, node.segment_id)]
        name = node.name if len(node.name) <= 22 else node.name[:21] + "…"
        parts.append(
            Markup(
                '<g{}><rect class="{}" x="{:.1f}" y="{:.1f}" width="8" height="20" rx="2"/>'
                '<text class="label" x="{:.1f}" y="{:.1f}">{}<title>{} ({}), {}</title></text></g>'
            ).format(
                Markup(' class="gone"') if node.retired else "",
                node.colour,
                x,
                y - 8,
                x + 14,
                y + 6,
                name,
                node.name,
                node.segment_id,
                percent(node.share),
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])


def colours(ids: Sequence[str], rules: Sequence[str]) -> dict[str, str]:
    """A stable colour class per segment: clusters by the number in their id, rule segments grey.

    The number is permanent, so a segment has the same colour on every day's page.
    """
    found: dict[str, str] = {}
    for n, segment in enumerate(sorted(rules)):
        found[segment] = f"g{n % 3}"
    taken: set[int] = set()
    for n, segment in enumerate(sorted(set(ids) - set(rules))):
        tail = segment.rsplit("-", 1)[-1]
        wish = (int(tail) - 1) % PALETTE if tail.isascii() and tail.isdigit() and int(tail) > 0 else n % PALETTE
        while wish in taken and len(taken) < PALETTE:
            wish = (wish + 1) % PALETTE
        taken.add(wish)
        found[segment] = f"c{wish}"
    return found


def text(value: object) -> Markup:
    """Any value as escaped text."""
    return escape(str(value))
