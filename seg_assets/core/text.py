"""Write what people read: numbers, names that fit, Markdown tables and pictures of the Dagster UI.

The UI shows Markdown, in which a text of a landing file could be a link or an image that the browser fetches. So all
text goes into Markdown by `markdown_cell`, `code_span` or `code_block`, and stays text.

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
# What Markdown reads as more than text: its marks, tags, entities, and addresses that become links by themselves.
_ACTIVE = re.compile(r"[\\`*~|\[\]]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&#?\w+;|://|www\.|@", re.IGNORECASE)


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


def markdown_cell(value: Any, *, ours: bool = False) -> str:
    """Return a value as the text of one Markdown table cell: what would be more than text becomes a code span.

    Args:
        value: a number or text from anywhere. `Markup` is taken as it is.
        ours: the text is of our own making and may hold Markdown; no tag, and no end of the cell.
    """
    if isinstance(value, Markup):
        return str(value)
    is_number = not isinstance(value, bool) and isinstance(value, Integral)
    text = " ".join(str(f"{value:,}" if is_number else value).split())
    if ours:
        return _TAG.sub("&lt;", text.replace("|", "\\|"))
    return code_span(text) if _ACTIVE.search(text) else printable(text)


def code_span(text: str) -> str:
    """Return text as a Markdown code span, in or out of a table, which nothing in the text can end."""
    # A renderer that pairs backslashes and one that looks at the last alone both take an odd number for an escape.
    shown = re.sub(r"(\\*)\|", r"\1\1\\|", " ".join(printable(text).split()))
    # For a renderer that should not know code spans: no text and address of a link side by side.
    shown = shown.replace("](", "]\u200b(")
    fence = _fence(shown, 1)
    edge = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{edge}{shown}{edge}{fence}" if shown else ""


def code_block(text: str, language: str = "") -> str:
    """Return text as a Markdown block of code, which nothing in the text can end."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], *, right: int | None = None, ours: bool = False
) -> str:
    """Return a Markdown table.

    Args:
        head: names of the columns.
        rows: cells; text from data stays text (`markdown_cell`).
        right: the first column that is aligned right, as all after it are; None: none is.
        ours: the cells are of our own making and may hold Markdown.
    """
    rules = ["---" if right is None or n < right else "---:" for n in range(len(head))]
    lines = [_markdown_row(head, ours), "|" + "|".join(rules) + "|"]
    return "\n".join(lines + [_markdown_row(row, ours) for row in rows])


def picture(svg: str, title: str) -> str:
    """Return an SVG as a Markdown image that needs no server."""
    shown = re.sub(r"[\[\]\\]", " ", " ".join(title.split()))
    return f"![{shown}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _fence(text: str, least: int) -> str:
    """Return more backticks than stand together anywhere in a text."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def _markdown_row(cells: Sequence[Any], ours: bool) -> str:
    return "| " + " | ".join(markdown_cell(cell, ours=ours) for cell in cells) + " |"
