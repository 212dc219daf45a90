"""Text that people read: Markdown tables and pictures of the Dagster UI.

Not here: the words of a page (`reports.words`), and drawing (`reports.charts`).
"""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def markdown_cell(value: Any) -> str:
    """Return a value as the text of one Markdown table cell, out of which text from data cannot break."""
    text = f"{value:,}" if isinstance(value, int | np.integer) and not isinstance(value, bool) else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; text from data cannot break out of its cell."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(markdown_cell(v) for v in row) + " |" for row in rows])


def picture(svg: str, title: str) -> str:
    """Return an SVG as a Markdown image that needs no server."""
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
