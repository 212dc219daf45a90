"""Decide which days to read anew from landing files, and in which runs.

Level-triggered: the landing zone is compared with what the lake's footers say was read. No clock decides whether a file
is complete: a day is taken when its files look the same (names, sizes, times) on two ticks in a row.

Not here: the sensor that asks (`events.sensor`), and what becomes stale once a day was read anew (`loop.staleness`).
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from seg_assets.core.days import ONE_DAY, contiguous, day_range, say_days
from seg_assets.core.digests import digest
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.events.archived import read_before, vanished
from seg_assets.events.landing import (
    EVENTS,
    LANDING_KEY,
    PRODUCTS,
    REFUSED_KEY,
    STAT_KEY,
    USERS,
    LandingFile,
    all_files,
    check_landing,
    day_stat,
    missing_feeds,
    required_feeds,
)
from seg_assets.events.reader import Reader
from seg_assets.events.source import Source, load_source
from seg_assets.lake.store import Lake

# A range is one run; a run of a quarter is long enough to show progress and short enough to repeat.
MAX_DAYS_OF_A_RUN = 92

_TABLES = (("raw_events", EVENTS), ("raw_users", USERS), ("raw_products", PRODUCTS))
# Tables whose rows carry over from the day before.
_CARRIED = {table for table, kind in _TABLES if kind != EVENTS}
# All tables that a day's landing files become.
LANDED = tuple(t.name for t in TABLES.values() if t.room == "events")


def changed_days(
    settings: Settings, lake: Lake, days: Sequence[dt.date], source: Source | None = None
) -> dict[dt.date, tuple[str, ...]]:
    """Return those of `days` never read from landing, or whose landing files or mapping changed since they were read.

    Files with the same name, size and time are taken as unchanged; any other difference is decided by content. Files
    that are gone (archived after they were read) are no change. Users and products that carry over from a changed day
    are not re-read here: they are stale by hash.

    Returns:
        The days in the order given, with the tables to read anew: all of them, or users and products alone where the
        files of the day's events are gone.

    Raises:
        LandingError: the landing folder, or a file that must be compared, cannot be read.
        ConfigError: the source is wrong.
    """
    source = source or load_source(settings.source)
    changed: dict[dt.date, tuple[str, ...]] = {}
    with Reader.of(settings, source) as reader:
        for day in days:
            absent = {table for table in LANDED if not lake.has(table, day)}
            differ = {table for table, kind in _TABLES if table in absent or _differs(reader, lake, table, kind, day)}
            if not absent and not differ:
                continue
            archived = (absent | differ) <= _CARRIED and EVENTS in vanished(reader, lake, day)
            changed[day] = tuple(t for t in LANDED if t in absent | differ) if archived else LANDED
    return changed


def _differs(reader: Reader, lake: Lake, table: str, kind: str, day: dt.date) -> bool:
    """Whether the files of a kind are others than a table's day was read from."""
    footer = lake.provenance(table, day)
    if footer is None:
        return True
    check_landing(reader.landing)
    if reader.stat(day, (kind,)) == footer.extra.get(STAT_KEY):
        return False
    contents = reader.contents(day, kind)
    if reader.digest(contents) == footer.inputs.get(LANDING_KEY):
        return False
    if footer.extra.get(REFUSED_KEY):
        # Not one line was accepted: files that are gone are no archive, but a mended delivery.
        return True
    if not contents and footer.extra.get("landing_files"):
        return False
    if not vanished(reader, lake, day).get(kind):
        return True
    # Archived in part: nothing is new where every file that is left was read as it is.
    return not contents.items() <= read_before(lake, day).items()


@dataclass(frozen=True)
class Range:
    """Days to ask for in one run of `tables`, with the fingerprint of their files and why.

    whole: whether every room can be made, when nothing else is at work or waits.
    """

    first: dt.date
    last: dt.date
    fingerprint: str
    why: str
    tables: tuple[str, ...]
    whole: bool


@dataclass
class Tick:
    """What one tick decided: ranges to run, reasons for what it left, the next cursor."""

    ranges: list[Range] = field(default_factory=list)
    waiting: dict[str, list[dt.date]] = field(default_factory=dict)
    cursor: dict[str, Any] = field(default_factory=dict)

    def wait(self, reason: str, day: dt.date) -> None:
        """Leave a day for a stated reason."""
        self.waiting.setdefault(reason, []).append(day)

    def why(self) -> str:
        """Return the reasons in words."""
        if not self.waiting:
            return "every landed day has been read, and no landing file changed since"
        return "; ".join(f"{reason}: {say_days(days)}" for reason, days in self.waiting.items())


def plan_tick(settings: Settings, lake: Lake, source: Source, cursor: dict[str, Any], days: set[dt.date]) -> Tick:
    """Decide which days to ask for.

    Args:
        settings: the shop.
        lake: what was read.
        source: the mapping.
        cursor: of the last tick: the fingerprints of days `seen`, `asked` for, and `done` (read as they are).
        days: the calendar's days that may be materialized now.
    """
    assert settings.landing is not None
    tick = Tick()
    have = set(lake.days("raw_events"))
    state = _state(settings, source, have)
    seen: dict[str, str] = cursor.get("seen", {})
    asked: dict[str, str] = cursor.get("asked", {})
    fingerprints = {day.isoformat(): stat for day, stat in state.items()}
    unchanging = []
    for day in sorted(state):
        key = day.isoformat()
        if day not in days:
            # Not an error: today's file before the day has closed.
            tick.wait("outside the calendar's closed days", day)
        elif cursor.get("done", {}).get(key) == fingerprints[key] and day in have:
            continue
        elif day not in have and (missing := missing_feeds(source, settings.landing, day)):
            tick.wait(f"no data yet from feed {', '.join(missing)}", day)
        elif seen.get(key) != fingerprints[key]:
            tick.wait("files are new or still changing, taken when they look the same at the next tick", day)
        else:
            unchanging.append(day)
    done = {k: v for k, v in cursor.get("done", {}).items() if fingerprints.get(k) == v}
    changed = changed_days(settings, lake, unchanging, source)
    done.update({d.isoformat(): fingerprints[d.isoformat()] for d in unchanging if d not in changed})
    wanted: dict[dt.date, tuple[str, ...]] = {}
    for day in sorted(changed):
        key = day.isoformat()
        before = day - ONE_DAY
        if asked.get(key) == fingerprints[key]:
            tick.wait("asked for already with these files; a failed run is not repeated by the sensor", day)
        elif day > settings.start_day and before not in have and before not in wanted:
            tick.wait("waits for the day before it, which was never read (start_day sets the first)", day)
        else:
            wanted[day] = changed[day]
    asked = {k: v for k, v in asked.items() if fingerprints.get(k) == v}
    for first, last, tables in runs_of(wanted):
        while first <= last:
            end = min(last, first + ONE_DAY * (MAX_DAYS_OF_A_RUN - 1))
            span = day_range(first, end)
            if tick.ranges and first > settings.start_day and first - ONE_DAY not in have:
                for day in day_range(first, last):
                    tick.wait("waits for the run of the days before it", day)
                break
            # Rooms of a day read their own yesterday, which the first range makes stale: the drift sensor's part.
            whole = tables == LANDED and not tick.ranges
            stats = [fingerprints[d.isoformat()] for d in span]
            tick.ranges.append(Range(first, end, digest(stats), _why(span, have), tables, whole))
            asked.update({d.isoformat(): fingerprints[d.isoformat()] for d in span})
            first = end + ONE_DAY
    tick.cursor = {"seen": fingerprints, "asked": asked, "done": done}
    return tick


def runs_of(changed: Mapping[dt.date, tuple[str, ...]]) -> list[tuple[dt.date, dt.date, tuple[str, ...]]]:
    """Return changed days as contiguous ranges of the same tables, oldest first."""
    runs = []
    for first, last in contiguous(changed):
        for tables, days in groupby(day_range(first, last), key=changed.__getitem__):
            span = list(days)
            runs.append((span[0], span[-1], tables))
    return runs


def _why(span: Sequence[dt.date], read: set[dt.date]) -> str:
    """Return why these days are asked for, in words."""
    kinds = {
        "new": [d for d in span if d not in read],
        "landing files changed after they were read": [d for d in span if d in read],
    }
    return "; ".join(f"{kind}: {say_days(days)}" for kind, days in kinds.items() if days)


def _state(settings: Settings, source: Source, have: Iterable[dt.date]) -> dict[dt.date, str]:
    """Return a fingerprint per day: of its dated files, of files that hold many days, of closed days in between.

    Days read before (`have`) are among them where undated users or products are part of every day, though a day's own
    files may be archived.
    """
    assert settings.landing is not None
    by_day: dict[dt.date, list[LandingFile]] = {}
    undated: list[LandingFile] = []
    for file in all_files(source, settings.landing):
        (undated if file.day is None else by_day.setdefault(file.day, [])).append(file)
    state = {day: day_stat(source, files, settings.time_zone) for day, files in by_day.items()}
    # An undated users or products file is part of every day: a changed one makes every day stale.
    if any(f.feed not in source.feeds for f in undated):
        for day in have:
            state.setdefault(day, "archived")
    if any(f.feed in source.feeds for f in undated):
        with Reader.of(settings, source) as reader:
            for day in reader.days_held():
                state.setdefault(day, "")
    if state and not required_feeds(source):
        # Days without a file between two that have one are closed days, and are read as empty.
        for day in day_range(min(state), max(state)):
            state.setdefault(day, "closed")
    stat = digest(sorted(f.stat_key() for f in undated))
    return {day: digest([state[day], stat]) for day in sorted(state)}
