"""Read a JSON lines file as tables of records. Not here: what the JSON of a line holds (`events.mapping`)."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.events.formats.lines import BytesRead, read_lines
from seg_assets.events.formats.names import LINE, PROBLEM, TEXT


def jsonl_tables(path: Path, read: BytesRead, encoding: str = "utf-8", limit: int = 1 << 20) -> Iterator[pa.Table]:
    """Yield the lines of a file as tables of line, text and problem; blank lines are no lines."""
    for lines in read_lines(path, read, encoding, limit):
        table = pa.table({LINE: lines.number, TEXT: lines.text, PROBLEM: lines.problem})
        yield table.filter(pc.not_equal(pc.ascii_trim_whitespace(lines.text), ""))
