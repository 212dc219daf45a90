"""Draw the charts of a report page: numbers in, SVG out.

Colours are classes (`c0` .. `c11`, `g0` .. `g2`) that the page's style sheet sets for light, dark and print. Every
chart has a title and a description for a screen reader.

Not here: elements, scales and escaping (`core.svg`), and what a chart shows of a report (`page`).
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from seg_assets.core import svg
from seg_assets.core.text import number, percent, short, shortened

# Most charts are as wide as this, with room for numbers on the left.
WIDTH, LEFT, RIGHT = 760, 46, 12
PALETTE = 12
# Labels of marks that stand nearer than this would lie on each other.
LABEL_GAP = 70

Series = tuple[str, str, Sequence[float | None]]


@dataclass(frozen=True)
class Mark:
    """A vertical line on a time chart: a day with a short label. `strong` for what changed the segments."""

    day: dt.date
    label: str
    strong: bool = True


def stacked_area(
    title: str,
    days: Sequence[dt.date],
    series: Sequence[tuple[str, str, Sequence[float]]],
    marks: Sequence[Mark] = (),
    height: int = 250,
) -> Markup:
    """Draw shares over days, stacked to 100 %. `series`: (name, colour class, one share per day), bottom first."""
    top, base = 18.0, height - 24.0
    y = svg.scale(0, 1, base, top)
    at = _day_places(days)
    parts: list[Markup] = []
    lower = [0.0] * len(days)
    for name, colour, shares in series:
        upper = [below + max(share, 0.0) for below, share in zip(lower, shares, strict=True)]
        if len(days) == 1:
            tall = y(lower[0]) - y(upper[0])
            parts.append(svg.rect(LEFT, y(upper[0]), WIDTH - LEFT - RIGHT, tall, name, class_=colour))
        else:
            roof = [(at[day], y(share)) for day, share in zip(days, upper, strict=True)]
            floor = [(at[day], y(share)) for day, share in zip(days, lower, strict=True)]
            words = f"{name}: {percent(shares[0])} to {percent(shares[-1])}"
            parts.append(svg.polygon([*roof, *reversed(floor)], words, class_=colour))
        lower = upper
    parts += _value_axis([(y(share), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1.0)])
    parts += _day_axis(days, base)
    parts += _mark_lines(marks, at, top - 14, base)
    description = f"{len(series)} segments from {days[0]} to {days[-1]}"
    return _chart("area", WIDTH, height, parts, title, description)


def sparkline(title: str, days: Sequence[dt.date], values: Sequence[float | None], colour: str) -> Markup:
    """Draw one small line, with its first, last, lowest and highest value in the description."""
    known = [(day, value) for day, value in zip(days, values, strict=True) if value is not None and value == value]
    width, height = 180, 44
    if not known:
        return Markup('<span class="quiet">no values</span>')
    low, high = min(value for _, value in known), max(value for _, value in known)
    x = svg.scale(0, (days[-1] - days[0]).days, 4, width - 4)
    y = svg.scale(low, high, height - 6, 6) if high > low else lambda value: height / 2
    points = [(x((day - days[0]).days), y(value)) for day, value in known]
    parts = [svg.polyline(points, class_=f"line {colour}"), svg.circle(points[-1], 3, class_=colour)]
    first, last = known[0][1], known[-1][1]
    description = f"{short(first)} to {short(last)}, lowest {short(low)}, highest {short(high)}"
    return _chart("spark", width, height, parts, title, description)


def lines(
    title: str,
    days: Sequence[dt.date],
    series: Sequence[Series],
    *,
    limit: Sequence[float | None] | None = None,
    flagged: Sequence[dt.date] = (),
    drifted: Sequence[dt.date] = (),
    marks: Sequence[Mark] = (),
    height: int = 210,
    digits: int = 2,
) -> Markup:
    """Draw scores over days beside their limit (dashed); flagged days have a ring, drifted ones a dot."""
    top, base = 24.0, height - 24.0
    every = [*(value for _, _, values in series for value in values), *(limit or ())]
    known = [value for value in every if value is not None and value == value]
    if not known:
        return Markup('<p class="quiet">no values</p>')
    low, high = min(min(known) * 1.1, 0.0), max(max(known), 0.0) * 1.1 or 1.0
    y = svg.scale(low, high, base, top)
    at = _day_places(days)
    ticks = [low + (high - low) * n / 3 for n in range(4)]
    parts = _value_axis([(y(tick), number(tick, digits)) for tick in ticks])
    parts += _day_axis(days, base)
    parts += _mark_lines(marks, at, 4, base)
    for run in _runs(days, limit or (), at, y):
        parts.append(svg.polyline(run, class_="limit"))
    for _, colour, values in series:
        for run in _runs(days, values, at, y):
            # A day between two days without a value has no line to lie on.
            dot = svg.circle(run[0], 2.5, class_=colour)
            parts.append(svg.polyline(run, class_=f"line {colour}") if len(run) > 1 else dot)
    scores = dict(zip(days, series[0][2], strict=True)) if series else {}
    for day in sorted({*flagged, *drifted}):
        score = scores.get(day)
        if score is not None and score == score:
            kind, radius, style = ("drifted", 4.5, "flag") if day in drifted else ("flagged", 3.5, "flag ring")
            words = f"{day}: {kind}, {number(score, digits + 1)}"
            parts.append(svg.circle((at[day], y(score)), radius, words, class_=style))
    last = ", ".join(
        f"{name} {number(next((value for value in reversed(values) if value is not None), None), digits)}"
        for name, _, values in series
    )
    description = f"{days[0]} to {days[-1]}; last: {last}; {len(flagged)} days flagged, {len(drifted)} drifted"
    return _chart("lines", WIDTH, height, parts, title, description)


def null_strip(title: str, rows: Sequence[tuple[str, float, float]], observed: float) -> Markup:
    """Draw the observed silhouette (line) beside each null (mean and two standard deviations).

    `rows`: (name, mean, sd).
    """
    height = 40 + 34 * len(rows)
    left, right = 190, WIDTH - 60
    edges = [observed, 0.0, *(m - 2 * sd for _, m, sd in rows), *(m + 2 * sd for _, m, sd in rows)]
    low, high = min(edges), max(edges)
    x = svg.scale(low, low + (high - low) * 1.08, left, right)
    parts = []
    for n in range(5):
        value = low + (high - low) * n / 4
        parts.append(svg.line((x(value), 16), (x(value), height - 20), class_="grid"))
        parts.append(svg.text(x(value), height - 5, f"{value:.2f}", anchor="middle", class_="tick"))
    for n, (name, mean, sd) in enumerate(rows):
        y, start, end = 34 + 34 * n, x(mean - 2 * sd), x(mean + 2 * sd)
        parts.append(svg.text(left - 12, y + 4, name, anchor="end", class_="label"))
        parts.append(svg.rect(start, y - 7, max(end - start, 2), 14, class_="range", rx=3))
        parts.append(svg.circle((x(mean), y), 4, class_="nulldot"))
    at = x(observed)
    anchor, gap = ("end", 4) if at > WIDTH * 0.7 else ("middle", 0)
    parts.append(svg.line((at, 14), (at, height - 20), class_="observed"))
    parts.append(svg.text(at + gap, 11, f"these segments {observed:.3f}", anchor=anchor, class_="label strong"))
    nulls = "; ".join(f"{name}: {mean:.3f}, sd {sd:.3f}" for name, mean, sd in rows)
    return _chart("strip", WIDTH, height, parts, title, f"These segments {observed:.3f}; {nulls}")


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
    """Draw models from left to right, segments as bars, and a band where users went.

    `links`: (from column, from, to, weight 0..1, kind).
    """
    if not columns:
        return Markup("")
    rows = max((sum(node.column == column for node in nodes) for column in range(len(columns))), default=1)
    width, height = max(WIDTH, 190 * len(columns)), 44 + 30 * max(rows, 1)
    x = svg.scale(0, max(len(columns) - 1, 1), 10, width - 170)
    place: dict[tuple[int, str], svg.Point] = {}
    for column in range(len(columns)):
        for row, node in enumerate(node for node in nodes if node.column == column):
            place[(column, node.segment_id)] = (x(column), 44.0 + 30 * row)
    parts = [svg.text(x(column), 14, label, class_="tick") for column, label in enumerate(columns)]
    for column, old, new, weight, kind in links:
        if (column, old) in place and (column + 1, new) in place:
            words = f"{old} to {new}: {kind}, {percent(weight, 0)}"
            parts.append(_band(place[(column, old)], place[(column + 1, new)], weight, kind, words))
    parts += [_node(node, place[(node.column, node.segment_id)]) for node in nodes]
    changes = "; ".join(f"{old} {kind} {new}" for _, old, new, _, kind in links if kind != "survive")
    description = f"{len(columns)} models; {changes or 'no splits, merges, births or deaths'}"
    return _chart("lineage", width, height, parts, title, description)


def colours(ids: Sequence[str], rules: Sequence[str]) -> dict[str, str]:
    """Return a stable colour class per segment: clusters by the number in their id, rule segments grey.

    The number is permanent, so a segment has the same colour on every day's page.
    """
    classes = {segment: f"g{n % 3}" for n, segment in enumerate(sorted(rules))}
    taken: set[int] = set()
    for n, segment in enumerate(sorted(set(ids) - set(rules))):
        tail = segment.rsplit("-", 1)[-1]
        wish = (int(tail) - 1) % PALETTE if tail.isascii() and tail.isdigit() and int(tail) > 0 else n % PALETTE
        while wish in taken and len(taken) < PALETTE:
            wish = (wish + 1) % PALETTE
        taken.add(wish)
        classes[segment] = f"c{wish}"
    return classes


def _chart(kind: str, width: float, height: float, parts: Sequence[Markup], title: str, description: str) -> Markup:
    return svg.document(width, height, parts, title=title, description=description, class_=f"chart {kind}")


def _day_places(days: Sequence[dt.date]) -> dict[dt.date, float]:
    x = svg.scale(0, (days[-1] - days[0]).days, LEFT, WIDTH - RIGHT)
    return {day: x((day - days[0]).days) for day in days}


def _day_axis(days: Sequence[dt.date], base: float) -> list[Markup]:
    """Draw the axis of days, with the names of at most six of them."""
    at = _day_places(days)
    count = min(6, len(days))
    named = sorted({days[round(n * (len(days) - 1) / max(count - 1, 1))] for n in range(count)})
    parts = [svg.line((LEFT, base), (WIDTH - RIGHT, base), class_="axis")]
    for n, day in enumerate(named):
        anchor = "start" if n == 0 else "end" if n == len(named) - 1 else "middle"
        words = f"{day.day} {day:%b}" + (f" {day.year}" if n == 0 else "")
        parts.append(svg.text(at[day], base + 15, words, anchor=anchor, class_="tick"))
    return parts


def _value_axis(ticks: Sequence[tuple[float, str]]) -> list[Markup]:
    parts = []
    for y, words in ticks:
        parts.append(svg.line((LEFT, y), (WIDTH - RIGHT, y), class_="grid"))
        parts.append(svg.text(LEFT - 6, y + 4, words, anchor="end", class_="tick"))
    return parts


def _mark_lines(marks: Sequence[Mark], at: Mapping[dt.date, float], top: float, base: float) -> list[Markup]:
    parts = []
    last_label = -float("inf")
    for mark in marks:
        if mark.day not in at:
            continue
        x = at[mark.day]
        style = "mark" if mark.strong else "mark weak"
        parts.append(svg.line((x, top), (x, base), f"{mark.day}: {mark.label}", class_=style))
        # A label that has no room is left to the line's own tooltip and the table of decisions.
        if x - last_label > LABEL_GAP:
            anchor, gap = ("end", -4) if x > WIDTH * 0.8 else ("start", 4)
            parts.append(svg.text(x + gap, top + 9, mark.label, anchor=anchor, class_="tick marklabel"))
            last_label = x
    return parts


def _runs(
    days: Sequence[dt.date],
    values: Sequence[float | None],
    at: Mapping[dt.date, float],
    y: Callable[[float], float],
) -> list[list[svg.Point]]:
    """Return the points of each run of days that have a value."""
    runs: list[list[svg.Point]] = [[]]
    for day, value in zip(days, values, strict=False):
        if value is not None and value == value:
            runs[-1].append((at[day], y(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _band(start: svg.Point, end: svg.Point, weight: float, kind: str, words: str) -> Markup:
    x1, y1, x2, y2 = start[0] + 154, start[1] + 2, end[0] - 2, end[1] + 2
    bend = (x1 + x2) / 2
    return svg.element(
        "path",
        svg.element("title", words),
        class_=f"flow {kind}",
        d=f"M{x1:.1f},{y1:.1f} C{bend:.1f},{y1:.1f} {bend:.1f},{y2:.1f} {x2:.1f},{y2:.1f}",
        stroke_width=1.5 + 9 * min(max(weight, 0.0), 1.0),
    )


def _node(node: LineageNode, place: svg.Point) -> Markup:
    x, y = place
    words = f"{node.name} ({node.segment_id}), {percent(node.share)}"
    return svg.element(
        "g",
        svg.rect(x, y - 8, 8, 20, class_=node.colour, rx=2),
        svg.element("text", shortened(node.name, 22), svg.element("title", words), x=x + 14, y=y + 6, class_="label"),
        class_="gone" if node.retired else None,
    )
