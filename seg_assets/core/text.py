"""Write what people read: numbers, names that fit, Markdown tables and pictures of the Dagster UI.

Not here: drawing (`core.svg`), and the words of a report page (`reports.words`).
"""

import base64
import math
import re
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from markupsafe import Markup

# What stands where there is no value.
DASH = "–"
# Begins a tag, where "<" alone is a sign of its own.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def number(value: float | None, digits: int = 0) -> str:
    """Return a number with thousands separated, and a dash for none."""
    return DASH if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def short(value: float | None) -> str:
    """Return a number in about five characters: 1.2k, 34k, 1.3M, 0.05; a dash for none."""
    if value is None or math.isnan(value):
        return DASH
    size = abs(value)
    for edge, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= edge:
            scaled = value / edge
            return f"{scaled:.1f}{unit}" if abs(scaled) < 10 else f"{scaled:.0f}{unit}"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, and a dash for none; a share above nothing never reads as nothing."""
    if value is None or math.isnan(value):
        return DASH
    if 0 < value < 0.5 * 10 ** -(digits + 2):
        return f"< {10**-digits:g} %"
    return f"{100 * value:.{digits}f} %"


def printable(text: str) -> str:
    """Return text with a space in place of every character that cannot be shown."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def shortened(text: str, most: int) -> str:
    """Return text cut to `most` characters, of which the last is then an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def markdown_cell(value: Any) -> str:
    """Return a value as the text of one Markdown table cell, out of which text from data cannot break.

    `Markup` is taken as it is.
    """
    if isinstance(value, Markup):
        return str(value)
    is_number = not isinstance(value, bool) and isinstance(value, Integral)
    text = f"{value:,}" if is_number else str(value)
    return _TAG.sub("&lt;", " ".join(text.split()).replace("|", "\\|"))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, right: int | None = None) -> str:
    """Return a Markdown table.

    Args:
        head: names of the columns.
        rows: cells; text from data cannot break out of its cell.
        right: the first column that is aligned right, as all after it are; None: none is.
    """
    rules = ["---" if right is None or n < right else "---:" for n in range(len(head))]
    lines = [_markdown_row(head), "|" + "|".join(rules) + "|"]
    return "\n".join(lines + [_markdown_row([markdown_cell(value) for value in row]) for row in rows])


def picture(svg: str, title: str) -> str:
    """Return an SVG as a Markdown image that needs no server."""
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
