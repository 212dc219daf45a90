"""Hold files of many days, parsed once for all days of a run, and give out each day's lines.

Not here: what becomes of a day's lines (`events.day`).
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from seg_assets.core.errors import SegAssetsError
from seg_assets.events.accounts import FileAccount
from seg_assets.events.contract import RAW_EVENTS
from seg_assets.events.day import BAD_LINES, GOOD_LINES, MONEY
from seg_assets.events.landing import LandingFile, name_parts
from seg_assets.events.mapping import FeedMapping
from seg_assets.events.records import read_records
from seg_assets.events.source import EventFeed
from seg_assets.events.store import MAPPED, close_file_access, column_names, column_types, insert_rows, map_records
from seg_assets.lake.connections import connect

_LINES = "seg_lines_of_files"


@dataclass(frozen=True)
class DayOfFile:
    """The lines that a file holds of one day: how many, their bytes, and a hash of their texts."""

    lines: int
    bytes: int
    content_hash: str


@dataclass(frozen=True)
class _ParsedFile:
    """A parsed file: its number in _LINES, what it holds of each day, and the first and last day of accepted lines."""

    number: int
    account: FileAccount
    days: Mapping[dt.date, DayOfFile]
    first: dt.date | None
    last: dt.date | None


class ManyDayFiles:
    """Files of many days in a DuckDB of their own, which is opened for the first of them.

    Args:
        mapping_of: the mapping of a feed, by its name.
        first_day: of the calendar.
        last_closed: the last day that is over; lines of later ones say nothing about what has landed.
        threads, memory_limit: of the DuckDB.
    """

    def __init__(
        self,
        mapping_of: Callable[[str], FeedMapping],
        first_day: dt.date,
        last_closed: dt.date,
        threads: int,
        memory_limit: str,
    ) -> None:
        self._mapping_of = mapping_of
        self._first_day = first_day
        self._last_closed = last_closed
        self._threads = threads
        self._memory_limit = memory_limit
        self._parsed: dict[tuple, _ParsedFile] = {}
        self._con: duckdb.DuckDBPyConnection | None = None
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        """Forget every file."""
        self._stack.close()
        self._con = None
        self._parsed.clear()

    def days_of(self, file: LandingFile) -> Mapping[dt.date, DayOfFile]:
        """Return what a file holds of each day."""
        return self._parse(file).days

    def no_data_yet(self, name: str, files: Sequence[LandingFile], day: dt.date) -> str:
        """Say that a day lies outside of what the files of a feed hold; '' when it lies inside.

        Only accepted lines of days that have closed are evidence: a line of a phone whose clock says 2042 tells nothing
        about yesterday's export.
        """
        parsed = [self._parse(file) for file in files]
        firsts = [p.first for p in parsed if p.first]
        lasts = [p.last for p in parsed if p.last]
        if any(day in p.days for p in parsed) or (firsts and min(firsts) <= day <= max(lasts)):
            return ""
        held = f"they hold {min(firsts)} .. {max(lasts)}" if firsts else "there are none with a valid day"
        return (
            f"no data yet: feed {name} has no line of {day} or later in its {len(files)} landing files ({held}); "
            "wait for it, or say closed_days: normal in the source when days without lines are normal"
        )

    def copy_day(
        self, file: LandingFile, day: dt.date, con: duckdb.DuckDBPyConnection, number: int
    ) -> FileAccount | None:
        """Copy a file's lines of a day to `con`, as the file with this number; None when the file has none."""
        parsed = self._parse(file)
        part = parsed.days.get(day)
        if part is None:
            return None
        for target, columns, test in (
            (GOOD_LINES, f"line, 0, {column_names(RAW_EVENTS)}", "reason is null"),
            (BAD_LINES, f"line, reason, field, original, {MONEY}", "reason is not null"),
        ):
            rows = self._open().sql(
                f"select {columns} from {_LINES} where file_no = {parsed.number} and day = date '{day}' and {test} "
                "order by line"
            )
            insert_rows(con, target, rows.to_arrow_table(), first=str(number))
        return replace(parsed.account, bytes=part.bytes, sha256=part.content_hash, lines_read=part.lines)

    def _parse(self, file: LandingFile) -> _ParsedFile:
        """Parse a file once, and hold its lines by day."""
        key = (file.feed, *file.stat_key())
        if key in self._parsed:
            return self._parsed[key]
        con, number = self._open(), len(self._parsed)
        mapping = self._mapping_of(file.feed)
        assert isinstance(mapping.feed, EventFeed)
        parts = name_parts(mapping.feed, file.relative)
        account = FileAccount(file.relative, file.feed, file.size)
        header: list[str] = []

        def chunks():
            for shape, table in read_records(file, mapping, con, account):
                shape.name_parts = parts
                if mapping.feed.format_of(file.relative) == "csv":
                    # Texts of JSON and Parquet records name their columns, lines of CSV do not.
                    header[:] = shape.columns
                yield shape, table

        map_records(con, mapping, chunks(), (
            f"insert into {_LINES} select {number}, day, line, line_hash, line_bytes, reason, field, original, "
            f"{column_names(RAW_EVENTS)} from {MAPPED}",
        ))  # fmt: skip
        row = con.execute(
            f"select min(day), min(day) filter (where good), max(day) filter (where good) from "
            f"(select day, reason is null and day <= ? as good from {_LINES} where file_no = {number})",
            [self._last_closed],
        ).fetchone()
        held, first, last = row or (None, None, None)
        # Lines without a day of their own are accounted for under one stated day: the first one that the file holds.
        con.execute(f"update {_LINES} set day = ? where file_no = {number} and day is null", [held or self._first_day])
        days = {
            day: DayOfFile(*values)
            for day, *values in con.execute(
                "select day, count(*), sum(line_bytes)::bigint, "
                "md5(concat(count(*), '|', bit_xor(line_hash), '|', sum(line_hash::hugeint), ?)) "
                f"from {_LINES} where file_no = {number} group by 1",
                ["".join("|" + c for c in header)],
            ).fetchall()
        }
        if sum(day.lines for day in days.values()) != account.lines_read:
            raise SegAssetsError(f"{file.relative}: lines do not reconcile after splitting by day; report this defect")
        self._parsed[key] = _ParsedFile(number, account, days, first, last)
        return self._parsed[key]

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            self._con = self._stack.enter_context(connect(self._threads, self._memory_limit, private=True))
            close_file_access(self._con)
            self._con.execute(
                f"create temp table {_LINES} (file_no integer, day date, line bigint, line_hash ubigint, "
                f"line_bytes bigint, reason varchar, field varchar, original varchar, {column_types(RAW_EVENTS)})"
            )
        return self._con
