"""Hash the rows of every lake file anew where its content hash is of another kind, without making a day again.

A content hash is of a kind (`lake.content_hash`): DuckDB's `hash` may change between its releases, and another engine
has another one. Hashes of two kinds say nothing about each other, so that staleness stops at them. This module writes
the rows of such files again, unchanged, under a footer with the hash of today's kind, and puts the new hash wherever a
reader's footer names the old one. A day that was stale before stays stale, and no other becomes so.

A reader is written before what it reads. So a kill leaves, of each pair, either both old, or the reader new, or both
new; in each case a second call ends what the first began.

Not here: what is compared with these hashes (`loop.staleness`, `loop.planner`).
"""

import contextlib
import datetime as dt
from collections.abc import Generator, Iterator
from dataclasses import replace

import duckdb

from seg_assets.core.errors import DamagedFileError
from seg_assets.core.sql import literal
from seg_assets.core.table_spec import Input
from seg_assets.core.tables import TABLES
from seg_assets.lake import content_hash, publish
from seg_assets.lake.provenance import Provenance, input_digest
from seg_assets.lake.stamps import DATA
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import REHASHED_KEY, decisions_of_day
from seg_assets.segments.decisions.store import TABLE as DECISIONS

ROWS = "seg_rehash"


def files_of_other_kinds(lake: Lake) -> Iterator[tuple[str, dt.date, str, Provenance]]:
    """Yield table, day, part and footer of every file whose content hash is of another kind than today's.

    Raises:
        DamagedFileError: a footer cannot be read.
    """
    for table in TABLES:
        for day in lake.days(table):
            for part in lake.parts(table, day):
                footer = lake.provenance(table, day, part)
                if footer is not None and footer.hash_kind != content_hash.HASH_KIND:
                    yield table, day, part, footer


def rehash(lake: Lake) -> int:
    """Give every file of the lake a content hash of today's kind; return the number of files written.

    Raises:
        DamagedFileError: a file is not, to the byte, what was written; files after it are as they were.
        LakeWriteError: a file could not be written; call again when there is room.
    """
    hashes = _Hashes(lake)
    return sum(
        _rehash_file(lake, hashes, table, day, part)
        for table in reversed(TABLES)
        for day in reversed(lake.days(table))
        for part in lake.parts(table, day)
    )


class _Hashes:
    """Content hashes of files as their footers name them, and of today's kind, each computed once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._pairs: dict[tuple[str, dt.date, str], tuple[str, str]] = {}

    def of(self, table: str, day: dt.date, part: str = DATA) -> tuple[str, str] | None:
        """Return (as the footer names it, of today's kind) for one file; None where there is no file."""
        key = (table, day, part)
        if key not in self._pairs:
            footer = self._lake.provenance(table, day, part)
            if footer is None:
                return None
            new = footer.content_hash
            if footer.hash_kind != content_hash.HASH_KIND:
                with _rows_of(self._lake, table, day, part) as con:
                    new = content_hash.content_of(con, ROWS)[1]
            self._pairs[key] = (footer.content_hash, new)
        return self._pairs[key]

    def of_input(self, source: Input, day: dt.date) -> tuple[str, str] | None:
        """Return the digest of an input by the hashes in footers, and by those of today's kind."""
        pairs = [self.of(source.table, d) for d in self._lake.input_days(source, day)]
        known = [pair for pair in pairs if pair is not None]
        if len(known) < len(pairs):
            return None
        return input_digest([old for old, _ in known]), input_digest([new for _, new in known])


def _rehash_file(lake: Lake, hashes: _Hashes, table: str, day: dt.date, part: str) -> bool:
    """Write one file again where its footer names a hash of another kind; return whether it did."""
    footer, pair = lake.provenance(table, day, part), hashes.of(table, day, part)
    if footer is None or pair is None:
        return False
    inputs = dict(footer.inputs)
    for source in TABLES[table].inputs:
        digests = hashes.of_input(source, day) if source.is_of_days else None
        # An input that changed since stays the one that it was: the day is stale, as before.
        if digests and inputs.get(source.key) == digests[0]:
            inputs[source.key] = digests[1]
    extra = dict(footer.extra)
    if table == DECISIONS and (rehashed := _rehashed_inputs(lake, hashes, day, part)):
        extra[REHASHED_KEY] = rehashed
    now = replace(footer, content_hash=pair[1], hash_kind=content_hash.HASH_KIND, inputs=inputs, extra=extra)
    if now == footer:
        return False
    with _rows_of(lake, table, day, part) as con:
        publish.write_day(con, ROWS, lake.path(table, day, part), replace(now, summed=True), lake.root)
    return True


def _rehashed_inputs(lake: Lake, hashes: _Hashes, day: dt.date, strategy: str) -> dict[str, str]:
    """Return the content hashes that a day's decisions name, each with that of the same rows of today's kind.

    A decision's own inputs stay as they are: its id is a hash of them, and the rows of later days name that id.
    """
    rehashed: dict[str, str] = {}
    for decision in decisions_of_day(lake, strategy, day):
        rehashed |= decision.rehashed
        for key, (table, read) in decision.days_read().items():
            pair = hashes.of(table, read) if table in TABLES else None
            if pair and pair[0] != pair[1] and decision.current_inputs[key] == pair[0]:
                rehashed[decision.inputs[key]] = pair[1]
    return rehashed


@contextlib.contextmanager
def _rows_of(lake: Lake, table: str, day: dt.date, part: str) -> Generator[duckdb.DuckDBPyConnection, None, None]:
    """Yield a connection with the rows of a file, in their order, as the table ROWS.

    Raises:
        DamagedFileError: the file has other bytes or another number of rows than its footer says.
    """
    lake.check(table, day, part)
    footer, path = lake.provenance(table, day, part), lake.path(table, day, part)
    with lake.connect() as con:
        file = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
        con.execute(f"create temp table {ROWS} as select * from {file}")
        (rows,) = con.execute(f"select count(*) from {ROWS}").fetchone() or (0,)
        if footer is None or footer.rows != rows:
            raise DamagedFileError(
                f"{path}: holds {rows} rows, its footer says otherwise; re-materialize {table} for {day}"
            )
        yield con
