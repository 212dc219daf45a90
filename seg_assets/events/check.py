"""Try a source on one sample file, outside of any lake: what `seg-assets source check` shows.

The file is put into a landing zone of its own and read by the reader of the runs, so that what a run would refuse is
refused here too.

Not here: how the result is printed (`events.cli`), and what a person may want to change (`events.hints`).
"""

import datetime as dt
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.core.sql import literal
from seg_assets.events.accounts import ON_PURPOSE, ON_PURPOSE_SQL, FileAccount, Rejections
from seg_assets.events.contract import RAW_EVENTS, REJECTED_EVENTS
from seg_assets.events.day import ACCEPTED_LINES, BAD_LINES
from seg_assets.events.file_pattern import FilePattern
from seg_assets.events.hints import hints_of
from seg_assets.events.landing import all_files, one_feed_each
from seg_assets.events.persons import Ids, ids_of
from seg_assets.events.reader import Reader
from seg_assets.events.source import KEYED_TABLES, PRODUCTS, USERS, DayFrom, EventFeed, Source
from seg_assets.events.store import (
    REJECTED,
    TABLE_REJECTED,
    TABLE_ROWS,
    close_file_access,
    column_names,
    column_types,
    rejections,
)
from seg_assets.lake.scratch import SAMPLE, scratch

ACCEPTED_ROWS, REJECTED_ROWS = "sample_accepted", "sample_rejected"
# How workbooks begin: those of today are zip archives.
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass
class Sample:
    """What became of a sample file.

    reasons: most frequent first. refused: line, reason, column and text of the first rejected lines. aside: why lines
    were left out on purpose; other_money: the money in each currency that is not the shop's.
    ids: of the accepted events.
    left_out: lines left out on purpose; they are not among the rejected. omitted: their reasons.
    held: the days that the file has lines of. days: accepted lines by day.
    kinds: number and amount of the events of each type; months: the same by month.
    hours: events by hour of day in the shop's zone. users: different user_ids; guests: events without one.
    rows: the first accepted ones, in the order of the file. money: amounts by day.
    hints: what may be changed about what was refused or looks odd. questions: those of a draft.
    """

    feed: str
    format: str
    what: str
    note: str = ""
    lines_read: int = 0
    accepted: int = 0
    left_out: int = 0
    rejected: int = 0
    duplicates: int = 0
    extra: str = "keep"
    held: list[dt.date] = field(default_factory=list)
    users: int = 0
    guests: int = 0
    events: int = 0
    unmapped: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    reasons: list[Rejections] = field(default_factory=list)
    omitted: list[Rejections] = field(default_factory=list)
    other_money: dict[str, Decimal] = field(default_factory=dict)
    refused: list[tuple[int, str, str, str]] = field(default_factory=list)
    days: list[tuple[dt.date, int]] = field(default_factory=list)
    kinds: list[tuple[str, int, Any]] = field(default_factory=list)
    months: list[tuple[str, str, int, Any]] = field(default_factory=list)
    hours: list[tuple[int, int]] = field(default_factory=list)
    money: list[tuple[dt.date, Any]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[tuple] = field(default_factory=list)
    ids: Ids | None = None
    hints: list[str] = field(default_factory=list)
    questions: Sequence[str] = ()

    def count(self, account: FileAccount) -> None:
        """Add what became of some of the file's lines."""
        self.lines_read += account.lines_read
        self.accepted += account.accepted
        self.left_out += account.left_out
        self.rejected += account.rejected
        self.duplicates += account.duplicates
        self.events += account.events
        self.unmapped, self.absent = account.unmapped, account.absent

    def explain(self, reasons: Sequence[Rejections]) -> None:
        """Note why lines were refused, and why lines were left out on purpose."""
        self.reasons = [r for r in reasons if r.reason not in ON_PURPOSE]
        self.omitted = [r for r in reasons if r.reason in ON_PURPOSE]


def check_sample(
    source: Source,
    path: Path,
    time_zone: str,
    *,
    first_day: dt.date = dt.date(1970, 1, 1),
    last_day: dt.date | None = None,
    feed: str | None = None,
    rows: int = 5,
    most_days: int | None = None,
) -> Sample:
    """Read one file with one feed of a source, and return what became of it, with `rows` examples.

    A file whose name has its day is read for that day; of any other every day is, or the first `most_days`.

    Raises:
        ConfigError: no such feed, no feed fits the file, or several do.
        LandingError: the file is a workbook.
    """
    with path.open("rb") as handle:
        if handle.read(4) in _WORKBOOKS:
            raise LandingError(f"{path}: a workbook or zip archive, which is not read; save it as CSV")
    relative, fitting = _place(source, path)
    name = feed or (fitting[0] if fitting else _feed_by_name(source, path))
    spec = source.all_feeds().get(name)
    if spec is None:
        raise ConfigError(f"--feed = {name!r}: unknown; one of {', '.join(source.all_feeds())}")
    file_format = spec.format_of(path.name) or spec.format_of(spec.files[0].text) or "csv"
    sample = Sample(name, file_format, "events" if isinstance(spec, EventFeed) else name)
    selected = isinstance(spec, EventFeed) and spec.is_selected
    sample.extra, sample.questions = "drop" if selected else spec.extra, source.questions
    with scratch(None, SAMPLE) as landing, duckdb.connect(":memory:") as con:
        in_place = isinstance(spec, EventFeed) and name in fitting
        copy = landing / (relative if fitting else "sample" + ".gz" * path.name.lower().endswith(".gz"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy.symlink_to(path)
        except OSError:
            shutil.copyfile(path, copy)
        if fitting:
            one_feed_each(source, all_files(source, landing))
        close_file_access(con)
        only: dict[str, Any] = {"format": file_format}
        if not in_place:
            only["files"] = (FilePattern(text=copy.relative_to(landing).as_posix()),)
        if isinstance(spec, EventFeed):
            only["closed_days"] = "normal"
            if not in_place:
                only["day"] = DayFrom(**{"from": "event_time"})
            spec = spec.model_copy(update=only)
            # A SELECT reads its other feeds too, of which there is no file.
            others = {n: source.feeds[n] for n in source.selected_feeds if selected}
            feeds = {"feeds": others | {name: spec}, USERS: None, PRODUCTS: None}
        else:
            feeds = {USERS: None, PRODUCTS: None, name: spec.model_copy(update=only)}
        one_feed = source.model_copy(update=feeds)
        with Reader(one_feed, landing, time_zone=time_zone, first_day=first_day, last_day=last_day) as reader:
            if isinstance(spec, EventFeed):
                _check_events(spec, relative if in_place else None, reader, con, sample, rows, time_zone, most_days)
            else:
                _check_table(name, reader, con, sample, rows)
        tables = (ACCEPTED_ROWS, REJECTED_ROWS) if isinstance(spec, EventFeed) else (TABLE_ROWS, TABLE_REJECTED)
        sample.hints = hints_of(source, spec, sample, time_zone, (first_day, last_day), *tables, con)
    return sample


def _place(source: Source, path: Path) -> tuple[str, list[str]]:
    """Return the end of a file's path that some feeds' patterns fit, and these feeds."""
    for start in range(max(len(path.parts) - 4, 0), len(path.parts)):
        relative = "/".join(path.parts[start:])
        fitting = [n for n, spec in source.all_feeds().items() if spec.matches(relative)]
        if fitting:
            return relative, fitting
    return path.name, []


def _feed_by_name(source: Source, path: Path) -> str:
    """Return the feed with a pattern that the file's name fits, in whatever folder; the only event feed otherwise."""
    for n, spec in source.all_feeds().items():
        if any(FilePattern(text=Path(p.text).name).matches(path.name) for p in spec.files):
            return n
    if len(source.feeds) == 1:
        return next(iter(source.feeds))
    raise ConfigError(
        f"{path.name}: fits the file pattern of no feed; say --feed, one of {', '.join(source.all_feeds())}"
    )


def _check_events(
    spec: EventFeed,
    relative: str | None,
    reader: Reader,
    con: duckdb.DuckDBPyConnection,
    sample: Sample,
    rows: int,
    time_zone: str,
    most_days: int | None,
) -> None:
    """Read a file of events: of the day in its name, or every day that it holds."""
    con.execute(f"create temp table {ACCEPTED_ROWS} (day date, line bigint, {column_types(RAW_EVENTS)})")
    con.execute(f"create temp table {REJECTED_ROWS} ({column_types(REJECTED_EVENTS)})")
    sample.held = list(_days(spec, relative, reader, sample))
    for day in sample.held[:most_days]:
        for account in reader.read_day(day, con).files:
            if account.feed == sample.feed:
                sample.count(account)
        for code, money in con.execute(
            f"select field, sum(money) from {BAD_LINES} where money is not null group by 1 order by 1"
        ).fetchall():
            sample.other_money[code] = sample.other_money.get(code, Decimal(0)) + money
        con.execute(
            f"insert into {ACCEPTED_ROWS} select date '{day}', line, {column_names(RAW_EVENTS)} from {ACCEPTED_LINES}"
        )
        con.execute(f"insert into {REJECTED_ROWS} select * from {REJECTED}")
    sample.explain(rejections(con, REJECTED_ROWS))
    sample.refused = _first_rejected(con, REJECTED_ROWS, rows)
    sample.days = con.execute(f"select day, count(*) from {ACCEPTED_ROWS} group by 1 order by 1").fetchall()
    sample.kinds = con.execute(
        f"select event_type, count(*), sum(amount) from {ACCEPTED_ROWS} group by 1 order by 1"
    ).fetchall()
    sample.months = con.execute(
        f"select strftime(day, '%Y-%m'), event_type, count(*), sum(amount) from {ACCEPTED_ROWS} "
        "group by 1, 2 order by 1, 2"
    ).fetchall()
    sample.money = con.execute(
        f"select day, sum(amount) from {ACCEPTED_ROWS} where amount is not null group by 1 order by 1"
    ).fetchall()
    hour = f"hour(timezone({literal(time_zone)}, timezone('UTC', event_time)))"
    sample.hours = con.execute(f"select {hour}, count(*) from {ACCEPTED_ROWS} group by 1 order by 1").fetchall()
    sample.users, sample.guests = con.execute(
        f"select count(distinct user_id), count(*) - count(user_id) from {ACCEPTED_ROWS}"
    ).fetchall()[0]
    sample.ids = ids_of(con, ACCEPTED_ROWS, "day")
    sample.columns = list(RAW_EVENTS)
    sample.rows = con.execute(
        f"select {column_names(RAW_EVENTS)} from {ACCEPTED_ROWS} order by line limit {rows}"
    ).fetchall()


def _days(spec: EventFeed, relative: str | None, reader: Reader, sample: Sample) -> Sequence[dt.date]:
    """Return the days to read a file for, and note what a run does otherwise."""
    if relative is None or spec.many_days:
        if relative is None:
            sample.note = "no feed has its place, so lines of any day are taken; in the landing zone its name decides"
        return reader.days_held()
    day = next((day for pattern in spec.files if (day := pattern.day_of(relative)) is not None), None)
    if day is None:
        sample.note = f"{relative}: its name has a day that does not exist, so no run reads it"
        return []
    if day < reader.first_day or (reader.last_day is not None and day > reader.last_day):
        sample.note = f"no run reads it: the calendar goes from {reader.first_day} to {reader.last_day or 'yesterday'}"
    return [day]


def _check_table(kind: str, reader: Reader, con: duckdb.DuckDBPyConnection, sample: Sample, rows: int) -> None:
    """Read a file of users or products, whatever its day."""
    read = reader.read_table(kind, dt.date(2000, 1, 1), con)
    for account in read.files:
        sample.count(account)
    sample.explain(read.rejections)
    sample.refused = _first_rejected(con, TABLE_REJECTED, rows)
    sample.columns = list(KEYED_TABLES[kind][0])
    sample.rows = con.execute(f"select * from {TABLE_ROWS} order by 1 limit {rows}").fetchall()


def _first_rejected(con: duckdb.DuckDBPyConnection, table: str, rows: int) -> list[tuple[int, str, str, str]]:
    return con.execute(
        f"select line, reason, field, original from {table} where reason not in ({ON_PURPOSE_SQL}) "
        f"order by line limit {rows}"
    ).fetchall()
