"""Draw small pictures as SVG: elements, documents, scales, and a chart of horizontal bars.

Text is escaped and freed of control characters, so that names out of a shop's data can neither break a picture nor
add markup to it.

Not here: the charts of a report page (`reports.charts`), pictures that one room alone draws (beside what they show),
and Markdown images (`core.text.picture`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from seg_assets.core.text import printable, shortened

Attribute = str | float | None
Point = tuple[float, float]

# Colours of pictures that stand alone: text, quiet text, helping lines, the ground; what is shown, what stands out.
INK, QUIET, FAINT, WHITE = "#333333", "#8a8a8a", "#d9d9d9", "#ffffff"
BLUE, RED = "#1f5fa8", "#c0392b"
# Bars of a bar chart: most characters of a name, and sizes in pixels.
_NAME, _ROW, _BAR, _NAMES_END = 32, 22, 320, 214


def element(name: str, *content: object, **attributes: Attribute) -> Markup:
    """Return one element.

    Args:
        name: name of the element.
        content: elements, and values that are shown as text.
        attributes: `text_anchor` is the attribute text-anchor, `class_` is class; None leaves an attribute out.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(map(_escaped, content))
    return Markup(f"<{name}{words}>{inside}</{name}>" if inside else f"<{name}{words}/>")  # noqa: S704  all escaped


def document(
    width: float,
    height: float,
    parts: Iterable[object],
    /,
    *,
    title: str,
    description: str = "",
    **attributes: Attribute,
) -> Markup:
    """Return a whole picture that takes the size of its place; title and description are for screen readers."""
    return element(
        "svg",
        element("title", title),
        element("desc", description) if description else "",
        *parts,
        role="img",
        viewBox=f"0 0 {_digits(width)} {_digits(height)}",
        aria_label=f"{title}. {description}" if description else title,
        **attributes,
    )


def drawing(width: float, height: float, parts: Iterable[object], *, title: str, font_size: int = 12) -> Markup:
    """Return a picture that stands alone: of its own size, on white, with its own font."""
    ground = rect(0, 0, width, height, fill=WHITE)
    style: dict[str, Any] = {"font_family": "sans-serif", "font_size": font_size, "fill": INK}
    style["xmlns"] = "http://www.w3.org/2000/svg"
    return document(width, height, [ground, *parts], title=title, width=width, height=height, **style)


def rect(x: float, y: float, width: float, height: float, tooltip: str = "", **style: Attribute) -> Markup:
    """Return a rectangle, by its upper left corner."""
    return element("rect", *_tooltip(tooltip), x=x, y=y, width=width, height=height, **style)


def text(x: float, y: float, words: object, *, anchor: str | None = None, **style: Attribute) -> Markup:
    """Return words whose base line starts at (x, y), or ends or has its middle there (`anchor`)."""
    return element("text", words, x=x, y=y, text_anchor=anchor, **style)


def line(start: Point, end: Point, tooltip: str = "", **style: Attribute) -> Markup:
    """Return a straight line between two points."""
    return element("line", *_tooltip(tooltip), x1=start[0], y1=start[1], x2=end[0], y2=end[1], **style)


def circle(centre: Point, radius: float, tooltip: str = "", **style: Attribute) -> Markup:
    """Return a circle."""
    return element("circle", *_tooltip(tooltip), cx=centre[0], cy=centre[1], r=radius, **style)


def polyline(points: Iterable[Point], **style: Attribute) -> Markup:
    """Return a line through points."""
    return element("polyline", points=_points(points), **{"fill": "none", **style})


def polygon(points: Iterable[Point], tooltip: str = "", **style: Attribute) -> Markup:
    """Return a filled area between points."""
    return element("polygon", *_tooltip(tooltip), points=_points(points), **style)


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return the function that takes `low` to `start` and `high` to `end`; where both are one value, all to `start`."""
    reach = (high - low) or 1.0

    def place(value: float) -> float:
        return start + (end - start) * (value - low) / reach

    return place


def bar_chart(title: str, bars: Sequence[tuple[str, int]]) -> Markup:
    """Return counts as horizontal bars, each with its name before and its number behind."""
    most = max((count for _, count in bars), default=0) or 1
    parts: list[Markup] = []
    for row, (name, count) in enumerate(bars):
        top, width = _ROW * row + 4, max(1, round(_BAR * count / most))
        parts += [
            text(_NAMES_END, top + 14, shortened(name, _NAME), anchor="end"),
            rect(_NAMES_END + 6, top + 2, width, 16, fill=BLUE),
            text(_NAMES_END + 12 + width, top + 14, f"{count:,}"),
        ]
    return drawing(640, _ROW * len(bars) + 8, parts, title=title)


def _tooltip(words: str) -> list[Markup]:
    return [element("title", words)] if words else []


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_digits(x)},{_digits(y)}" for x, y in points)


def _escaped(value: object) -> str:
    if isinstance(value, Markup):
        return value
    return _digits(value) if isinstance(value, float) else escape(printable(str(value)))


def _digits(value: float) -> str:
    # A hundredth of a pixel is seen by nobody.
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
