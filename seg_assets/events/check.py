"""Try a source on one sample file, outside of any lake: what `seg-assets source check` shows.

Not here: how the result is printed (`events.cli`).
"""

import datetime as dt
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from seg_assets.core.errors import ConfigError
from seg_assets.events.accounts import FileAccount, Rejections
from seg_assets.events.contract import RAW_EVENTS, REJECTED_EVENTS
from seg_assets.events.file_pattern import FilePattern
from seg_assets.events.reader import Reader
from seg_assets.events.source import KEYED_TABLES, PRODUCTS, USERS, DayFrom, EventFeed, Source
from seg_assets.events.store import (
    ACCEPTED,
    REJECTED,
    TABLE_REJECTED,
    TABLE_ROWS,
    close_file_access,
    column_types,
    rejections,
)
from seg_assets.lake.scratch import SAMPLE, scratch


@dataclass
class Sample:
    """What became of a sample file.

    reasons: most frequent first. refused: line, reason, column and text of the first rejected lines.
    days: accepted lines by day. kinds: number and amount of the events of each type. rows: the first accepted ones.
    """

    feed: str
    format: str
    what: str
    note: str = ""
    lines_read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    unmapped: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    reasons: list[Rejections] = field(default_factory=list)
    refused: list[tuple[int, str, str, str]] = field(default_factory=list)
    days: list[tuple[dt.date, int]] = field(default_factory=list)
    kinds: list[tuple[str, int, Any]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[tuple] = field(default_factory=list)

    def count(self, account: FileAccount) -> None:
        """Add what became of some of the file's lines."""
        self.lines_read += account.lines_read
        self.accepted += account.accepted
        self.rejected += account.rejected
        self.duplicates += account.duplicates
        self.unmapped, self.absent = account.unmapped, account.absent


def check_sample(source: Source, path: Path, time_zone: str, *, feed: str | None = None, rows: int = 5) -> Sample:
    """Read one file with one feed of a source, and return what became of it, with `rows` examples.

    Every day of the file is read, whether its name has the day or not.

    Raises:
        ConfigError: no such feed, or no feed fits the file.
    """
    name = feed or _feed_for(source, path)
    spec = source.all_feeds().get(name)
    if spec is None:
        raise ConfigError(f"--feed = {name!r}: unknown; one of {', '.join(source.all_feeds())}")
    file_format = spec.format_of(path.name) or spec.format_of(spec.files[0].text) or "csv"
    sample = Sample(name, file_format, "events" if isinstance(spec, EventFeed) else name)
    with scratch(None, SAMPLE) as landing, duckdb.connect(":memory:") as con:
        copy = landing / ("sample.gz" if path.name.lower().endswith(".gz") else "sample")
        try:
            copy.symlink_to(path)
        except OSError:
            shutil.copyfile(path, copy)
        close_file_access(con)
        only = {"files": (FilePattern(text=copy.name),), "format": file_format}
        if isinstance(spec, EventFeed):
            # Days are taken from the lines, so that a wrong day in the name shows as such and not as an empty result.
            only |= {"day": DayFrom(**{"from": "event_time"}), "closed_days": "normal"}
            feeds = {"feeds": {name: spec.model_copy(update=only)}, USERS: None, PRODUCTS: None}
        else:
            feeds = {USERS: None, PRODUCTS: None, name: spec.model_copy(update=only)}
        with Reader(source.model_copy(update=feeds), landing, time_zone=time_zone) as reader:
            if isinstance(spec, EventFeed):
                _check_events(spec, path, reader, con, sample, rows)
            else:
                _check_table(name, reader, con, sample, rows)
    return sample


def _feed_for(source: Source, path: Path) -> str:
    """Return the feed whose pattern fits the end of the file's path; the only event feed otherwise."""
    parts = path.parts
    for start in range(max(len(parts) - 4, 0), len(parts)):
        relative = "/".join(parts[start:])
        fits = [n for n, spec in source.all_feeds().items() if spec.matches(relative)]
        if len(fits) == 1:
            return fits[0]
    for n, spec in source.all_feeds().items():
        if any(FilePattern(text=Path(p.text).name).matches(path.name) for p in spec.files):
            return n
    if len(source.feeds) == 1:
        return next(iter(source.feeds))
    raise ConfigError(
        f"{path.name}: fits the file pattern of no feed; say --feed, one of {', '.join(source.all_feeds())}"
    )


def _check_events(
    spec: EventFeed, path: Path, reader: Reader, con: duckdb.DuckDBPyConnection, sample: Sample, rows: int
) -> None:
    """Read every day of a file of events, and refuse what is not of the day in its name."""
    con.execute(f"create temp table sample_accepted (day date, {column_types(RAW_EVENTS)})")
    con.execute(f"create temp table sample_rejected ({column_types(REJECTED_EVENTS)})")
    for day in reader.days_held():
        for account in reader.read_day(day, con).files:
            sample.count(account)
        con.execute(f"insert into sample_accepted select date '{day}', * from {ACCEPTED}")
        con.execute(f"insert into sample_rejected select * from {REJECTED}")
    sample.reasons = rejections(con, "sample_rejected")
    sample.refused = _first_rejected(con, "sample_rejected", rows)
    if not spec.many_days:
        days = (pattern.day_of("/".join(path.parts[-k:])) for pattern in spec.files for k in range(1, 5))
        named = next((day for day in days if day is not None), None)
        if named is None:
            sample.note = (
                "its name has no day, so lines of any day are taken here; in the landing zone it must have one"
            )
        else:
            _refuse_other_days(named, reader.time_zone, con, sample)
    sample.days = con.execute("select day, count(*) from sample_accepted group by 1 order by 1").fetchall()
    sample.kinds = con.execute(
        "select event_type, count(*), sum(amount) from sample_accepted group by 1 order by 1"
    ).fetchall()
    sample.columns = list(RAW_EVENTS)
    sample.rows = con.execute(
        f"select * exclude (day) from sample_accepted order by day, event_time, event_id limit {rows}"
    ).fetchall()


def _refuse_other_days(named: dt.date, time_zone: str, con: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    row = con.execute(f"select count(*) from sample_accepted where day <> date '{named}'").fetchone()
    outside = row[0] if row else 0
    if not outside:
        return
    con.execute(f"delete from sample_accepted where day <> date '{named}'")
    sample.accepted -= outside
    sample.rejected += outside
    sample.note = f"the name says {named}, and {outside:,} lines are of another day in {time_zone}: wrong_day"
    sample.reasons.append(Rejections("wrong_day", "event_time", outside, "", 0))
    sample.reasons.sort(key=lambda r: (-r.lines, r.reason, r.column))


def _check_table(kind: str, reader: Reader, con: duckdb.DuckDBPyConnection, sample: Sample, rows: int) -> None:
    """Read a file of users or products, whatever its day."""
    read = reader.read_table(kind, dt.date(2000, 1, 1), con)
    for account in read.files:
        sample.count(account)
    sample.reasons = read.rejections
    sample.refused = _first_rejected(con, TABLE_REJECTED, rows)
    sample.columns = list(KEYED_TABLES[kind][0])
    sample.rows = con.execute(f"select * from {TABLE_ROWS} order by 1 limit {rows}").fetchall()


def _first_rejected(con: duckdb.DuckDBPyConnection, table: str, rows: int) -> list[tuple[int, str, str, str]]:
    return con.execute(f"select line, reason, field, original from {table} order by line limit {rows}").fetchall()
