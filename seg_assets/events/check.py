"""Try a source on one sample file, outside of any lake: what `seg-assets source check` prints."""

import datetime as dt
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from seg_assets.core.errors import ConfigError
from seg_assets.events.contract import RAW_EVENTS, RAW_PRODUCTS, RAW_USERS
from seg_assets.events.reader import Reader, seal
from seg_assets.events.source import PRODUCTS, USERS, DayFrom, EventFeed, FilePattern, Source, TableFeed


@dataclass
class Sample:
    """What became of a sample file."""

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
    reasons: list[tuple[str, str, int, str, int]] = field(default_factory=list)
    refused: list[tuple[int, str, str, str]] = field(default_factory=list)
    days: list[tuple[dt.date, int]] = field(default_factory=list)
    kinds: list[tuple[str, int, Any]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[tuple] = field(default_factory=list)


def check_sample(source: Source, sample: Path, time_zone: str, *, feed: str | None = None, rows: int = 5) -> Sample:
    """Read one file with one feed of a source.

    Every day of the file is read, whether its name has the day or not.

    Raises:
        ConfigError: no such feed, or no feed can be told for the file.
    """
    name = feed or _feed_for(source, sample)
    spec = source.all_feeds().get(name)
    if spec is None:
        raise ConfigError(f"--feed = {name!r}: unknown; one of {', '.join(source.all_feeds())}")
    kind = spec.format_of(sample.name) or spec.format_of(spec.files[0].text) or "csv"
    found = Sample(name, kind, "events" if isinstance(spec, EventFeed) else name)
    with tempfile.TemporaryDirectory(prefix="seg_assets_check_") as folder:
        landing = Path(folder)
        copy = landing / ("sample.gz" if sample.name.lower().endswith(".gz") else "sample")
        try:
            copy.symlink_to(sample)
        except OSError:
            shutil.copyfile(sample, copy)
        with duckdb.connect(":memory:") as con:
            seal(con)
            if isinstance(spec, EventFeed):
                _check_events(source, spec, sample, landing, copy.name, time_zone, rows, con, found)
            else:
                _check_table(source, spec, landing, copy.name, time_zone, rows, con, found)
    return found


def _feed_for(source: Source, sample: Path) -> str:
    """The feed whose pattern fits the end of the sample's path; the only event feed otherwise."""
    parts = sample.parts
    for start in range(max(len(parts) - 4, 0), len(parts)):
        relative = "/".join(parts[start:])
        fits = [n for n, spec in source.all_feeds().items() if spec.matches(relative)]
        if len(fits) == 1:
            return fits[0]
    for n, spec in source.all_feeds().items():
        if any(FilePattern(text=Path(p.text).name).matches(sample.name) for p in spec.files):
            return n
    if len(source.feeds) == 1:
        return next(iter(source.feeds))
    raise ConfigError(
        f"{sample.name}: fits the file pattern of no feed; say --feed, one of {', '.join(source.all_feeds())}"
    )


def _check_events(
    source: Source,
    spec: EventFeed,
    sample: Path,
    landing: Path,
    name: str,
    time_zone: str,
    rows: int,
    con: duckdb.DuckDBPyConnection,
    found: Sample,
) -> None:
    day = next(
        (d for p in spec.files for k in range(1, 5) if (d := p.day_of("/".join(sample.parts[-k:]))) is not None), None
    )
    if spec.day == "name" and day is None:
        found.note = "its name has no day, so lines of any day are taken here; in the landing zone it must have one"
    # Days are taken from the lines, so that a wrong day in the name shows as such and not as an empty result.
    many = spec.model_copy(
        update={
            "files": (FilePattern(text=name),),
            "format": found.format,
            "day": DayFrom(**{"from": "event_time"}),
            "closed_days": "normal",
        }
    )
    alone = source.model_copy(update={"feeds": {found.feed: many}, "users": None, "products": None})
    with Reader(alone, landing, time_zone=time_zone) as reader:
        days = reader.days_held()
        shown: list[tuple] = []
        amounts: dict[str, list[Any]] = {}
        reasons: dict[tuple[str, str], list[int]] = {}
        outside = 0
        for d in days:
            read = reader.read_day(d, con)
            for file in read.files:
                found.lines_read += file.lines_read
                found.rejected += file.rejected
                found.duplicates += file.duplicates
                found.unmapped, found.absent = file.unmapped, file.absent
                if spec.day == "name" and day is not None and d != day:
                    outside += file.accepted
                    found.rejected += file.accepted
                else:
                    found.accepted += file.accepted
            for reason, column, count, _, line in read.reasons:
                kept = reasons.setdefault((reason, column), [0, line])
                kept[0] += count
                kept[1] = min(kept[1], line)
            refused = con.execute(f"select line, reason, field, original from seg_rejected order by line limit {rows}")
            found.refused = sorted([*found.refused, *refused.fetchall()])[:rows]
            if spec.day == "name" and day is not None and d != day:
                reasons.setdefault(("wrong_day", "event_time"), [0, 0])[0] += read.total("accepted")
                continue
            if read.total("accepted"):
                found.days.append((d, read.total("accepted")))
            if len(shown) < rows:
                query = f"select * from seg_accepted order by event_time, event_id limit {rows - len(shown)}"
                shown += con.execute(query).fetchall()
            for kind, count, amount in con.execute(
                "select event_type, count(*), sum(amount) from seg_accepted group by 1"
            ).fetchall():
                total = amounts.setdefault(kind, [0, None])
                total[0] += count
                if amount is not None:
                    total[1] = amount + (total[1] or 0)
    if outside:
        found.note = f"the name says {day}, and {outside:,} lines are of another day in {time_zone}: wrong_day"
    found.reasons = [
        (reason, column, n, name, line)
        for (reason, column), (n, line) in sorted(reasons.items(), key=lambda kv: (-kv[1][0], kv[0]))
    ]
    found.kinds = [(k, n, a) for k, (n, a) in sorted(amounts.items())]
    found.columns, found.rows = list(RAW_EVENTS), shown


def _check_table(
    source: Source,
    spec: TableFeed,
    landing: Path,
    name: str,
    time_zone: str,
    rows: int,
    con: duckdb.DuckDBPyConnection,
    found: Sample,
) -> None:
    kind = found.feed
    only = spec.model_copy(update={"files": (FilePattern(text=name),), "format": found.format})
    alone = source.model_copy(update={USERS: None, PRODUCTS: None, kind: only})
    with Reader(alone, landing, time_zone=time_zone) as reader:
        read = reader.read_table(kind, dt.date(2000, 1, 1), con)
    for file in read.files:
        found.lines_read, found.accepted = file.lines_read, file.accepted
        found.rejected, found.duplicates = file.rejected, file.duplicates
        found.unmapped, found.absent = file.unmapped, file.absent
    found.reasons = read.reasons
    refused = con.execute(f"select line, reason, field, original from seg_table_refused order by line limit {rows}")
    found.refused = refused.fetchall()
    found.columns = list(RAW_USERS if kind == USERS else RAW_PRODUCTS)
    found.rows = con.execute(f"select * from seg_table order by 1 limit {rows}").fetchall()
