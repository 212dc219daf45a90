"""Decide which days to read anew from landing files, and in which runs.

Level-triggered: the landing zone is compared with what the lake's footers say was read, and by which version of the
code. Nothing is remembered of what was asked for before. No clock decides whether a file is complete: a day is taken
when its files look the same (names, sizes, times) on two ticks in a row.

Not here: the sensor that asks (`events.sensor`), when a run that failed is asked for again (`orchestration.runs`), and
what becomes stale once a day was read anew (`loop.staleness`).
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
from seg_assets.events.forward import is_outdated
from seg_assets.events.landing import (
    EVENTS,
    LANDING_KEY,
    REFUSED_KEY,
    STAT_KEY,
    TABLE_OF_KIND,
    LandingFile,
    all_files,
    check_landing,
    day_stat,
    required_feeds,
)
from seg_assets.events.reader import Reader
from seg_assets.events.source import Source
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake

# A range is one run; a run of a quarter is long enough to show progress and short enough to repeat.
MAX_DAYS_OF_A_RUN = 92
# With nothing new in sight the footers are still compared at every fifth tick: a lake can be changed by hand.
IDLE_TICKS = 5

# Tables whose rows carry over from the day before.
_CARRIED = {table for kind, table in TABLE_OF_KIND.items() if kind != EVENTS}
# All tables that a day's landing files become.
LANDED = tuple(t.name for t in TABLES.values() if t.room == "events")


@dataclass(frozen=True)
class Change:
    """What to read anew of a day.

    tables: those to read, in the order in which they are made.
    reasons: why, in words, by the table that is not as it should be.
    state: digest of what the lake has of the day; a run that changes anything leads to another one.
    """

    tables: tuple[str, ...]
    reasons: Mapping[str, str]
    state: str

    @property
    def why(self) -> str:
        """The reasons in words, each once."""
        return "; ".join(dict.fromkeys(self.reasons.values()))


def changed_days(reader: Reader, lake: Lake, days: Sequence[dt.date]) -> dict[dt.date, Change]:
    """Return those of `days` that lack a landed table, or that were read from other files or by another version.

    Files with the same name, size and time are taken as unchanged; any other difference is decided by content. Files
    that are gone (archived after they were read) are no change. Users and products that carry over from a changed day
    are not re-read here: they are stale by hash.

    Returns:
        The days in the order given, with the tables to read anew: all of them, or users and products alone where the
        files of the day's events are gone.

    Raises:
        LandingError: the landing folder, or a file that must be compared, cannot be read.
    """
    changes = {day: _change(reader, lake, day) for day in days}
    return {day: change for day, change in changes.items() if change is not None}


def days_without_data(reader: Reader, lake: Lake, days: Sequence[dt.date]) -> dict[dt.date, str]:
    """Return those of `days` never read that cannot be read yet, and which feed has nothing of them, in words."""
    unread = [day for day in days if not lake.has("raw_events", day)]
    if not unread:
        return {}
    check_landing(reader.landing)
    return {day: why for day in unread if (why := reader.no_data_yet(day))}


def _change(reader: Reader, lake: Lake, day: dt.date) -> Change | None:
    footers = {table: lake.provenance(table, day) for table in LANDED}
    why = _by_footers(footers)
    for kind, table in TABLE_OF_KIND.items():
        footer = footers[table]
        if table not in why and footer is not None and _differs(reader, lake, footer, kind, day):
            why[table] = "landing files changed after they were read"
    if not why:
        return None
    tables = LANDED
    if why.keys() <= _CARRIED and EVENTS in vanished(reader, lake, day):
        # Its events cannot be read again; users and products can.
        tables = tuple(t for t in LANDED if t in why)
    reasons = {t: why[t] for t in LANDED if t in why}
    has = [[t, f.content_hash, f.code_version, f.inputs.get(LANDING_KEY)] for t, f in footers.items() if f is not None]
    return Change(tables, reasons, digest([has, sorted(reasons.items())]))


def _by_footers(footers: Mapping[str, Provenance | None]) -> dict[str, str]:
    """Return the tables of a day that are not there or that another version of the code has read, and why, in words."""
    why: dict[str, str] = {}
    for table, footer in footers.items():
        if footer is None:
            why[table] = "new" if not any(footers.values()) else f"{table} is missing"
        elif is_outdated(table, footer):
            why[table] = f"read by version {footer.code_version} of the code of {table}, now {_version(table)}"
    return why


def _version(table: str) -> str:
    return TABLES[table].code_version


def _differs(reader: Reader, lake: Lake, footer: Provenance, kind: str, day: dt.date) -> bool:
    """Whether the files of a kind are others than a table's day was read from."""
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


def _looks_changed(reader: Reader, lake: Lake, day: dt.date) -> bool:
    """Whether a day may have to be read anew, without a look into files."""
    footers = {table: lake.provenance(table, day) for table in LANDED}
    return bool(_by_footers(footers)) or any(
        footer is not None and reader.stat(day, (kind,)) != footer.extra.get(STAT_KEY)
        for footer, kind in ((footers[table], kind) for kind, table in TABLE_OF_KIND.items())
    )


@dataclass(frozen=True)
class Range:
    """Days to ask for in one run of `tables`, and why.

    key: hash of the state of the lake and of the landing files that asks; equal state, equal key.
    whole: whether every room can be made, when nothing else is at work or waits.
    """

    first: dt.date
    last: dt.date
    key: str
    why: str
    tables: tuple[str, ...]
    whole: bool


@dataclass
class Tick:
    """What one tick decided: ranges to run, reasons for what it left, the next cursor.

    still: what the last tick that looked said, where nothing has changed since.
    """

    ranges: list[Range] = field(default_factory=list)
    waiting: dict[str, list[dt.date]] = field(default_factory=dict)
    cursor: dict[str, Any] = field(default_factory=dict)
    still: str = ""

    def wait(self, reason: str, day: dt.date) -> None:
        """Leave a day for a stated reason."""
        self.waiting.setdefault(reason, []).append(day)

    def why(self) -> str:
        """Return the reasons in words."""
        if not self.waiting:
            return self.still or "every landed day has been read, and no landing file changed since"
        return "; ".join(f"{reason}: {say_days(days)}" for reason, days in self.waiting.items())


def plan_tick(
    settings: Settings,
    lake: Lake,
    source: Source,
    cursor: Mapping[str, Any],
    days: set[dt.date],
    at_work: Mapping[dt.date, str],
) -> Tick:
    """Decide which days to ask for.

    Args:
        settings: the shop.
        lake: what was read.
        source: the mapping.
        cursor: of the last tick: `seen`, the fingerprints of days whose files may still be changing; `rested`, what
            landing zone and lake looked like when nothing was left to ask; `idle`, the ticks since; `why`.
        days: the calendar's days that may be materialized now.
        at_work: days that are being read, and by what.
    """
    assert settings.landing is not None
    tick = Tick()
    files = all_files(source, settings.landing)
    tables = {table: lake.days(table) for table in LANDED}
    look = _look(settings, source, files, tables, days)
    idle = cursor.get("idle", 0)
    if cursor.get("rested") == look and idle < IDLE_TICKS:
        tick.still = str(cursor.get("why", ""))
        tick.cursor = {**cursor, "idle": idle + 1}
        return tick
    have = set(tables["raw_events"])
    known = set[dt.date]().union(*tables.values())
    seen: Mapping[str, str] = cursor.get("seen", {})
    settled: list[dt.date] = []
    changing: dict[str, str] = {}
    with Reader.of(settings, source) as reader:
        fingerprints = _state(settings, reader, files, known, max(days, default=settings.start_day))
        for day in sorted(fingerprints):
            key = day.isoformat()
            if day not in days:
                # Not an error: today's file before the day has closed.
                tick.wait("outside the calendar's closed days", day)
            elif day in at_work:
                tick.wait(f"read by {at_work[day]} now", day)
            elif day not in have and (feed := reader.feed_without_data(day)):
                tick.wait(f"no data yet from feed {feed}", day)
            elif _looks_changed(reader, lake, day):
                changing[key] = fingerprints[day]
                if seen.get(key) == fingerprints[day]:
                    settled.append(day)
                else:
                    tick.wait("files are new or still changing, taken when they look the same at the next tick", day)
        changed = changed_days(reader, lake, settled)
    wanted: dict[dt.date, Change] = {}
    for day, change in changed.items():
        before = day - ONE_DAY
        if day > settings.start_day and before not in have and before not in wanted:
            tick.wait("waits for the day before it, which was never read (start_day sets the first)", day)
        else:
            wanted[day] = change
    for first, last, those in runs_of(wanted):
        while first <= last:
            end = min(last, first + ONE_DAY * (MAX_DAYS_OF_A_RUN - 1))
            span = day_range(first, end)
            if tick.ranges and first > settings.start_day and first - ONE_DAY not in have:
                for day in day_range(first, last):
                    tick.wait("waits for the run of the days before it", day)
                break
            # Rooms of a day read their own yesterday, which the first range makes stale: the drift sensor's part.
            whole = those == LANDED and not tick.ranges
            key = digest([[str(d), fingerprints[d], wanted[d].state] for d in span])
            tick.ranges.append(Range(first, end, key, _why(wanted, span), those, whole))
            first = end + ONE_DAY
    tick.cursor = {"seen": changing}
    if not tick.ranges and not at_work and dict(seen) == changing:
        tick.cursor |= {"rested": look, "idle": 0, "why": tick.why()[:2000]}
    return tick


def runs_of(changed: Mapping[dt.date, Change]) -> list[tuple[dt.date, dt.date, tuple[str, ...]]]:
    """Return changed days as contiguous ranges of the same tables, oldest first."""
    runs = []
    for first, last in contiguous(changed):
        for tables, days in groupby(day_range(first, last), key=lambda day: changed[day].tables):
            span = list(days)
            runs.append((span[0], span[-1], tables))
    return runs


def _why(changed: Mapping[dt.date, Change], span: Sequence[dt.date]) -> str:
    """Return why these days are asked for, in words."""
    kinds: dict[str, list[dt.date]] = {}
    for day in span:
        kinds.setdefault(changed[day].why, []).append(day)
    return "; ".join(f"{why}: {say_days(days)}" for why, days in kinds.items())


def _look(
    settings: Settings,
    source: Source,
    files: Iterable[LandingFile],
    tables: Mapping[str, Sequence[dt.date]],
    days: Iterable[dt.date],
) -> str:
    """Return a digest of all that a tick sees without opening a file: landing zone, landed tables, what may be read."""
    return digest([
        source.digest(settings.time_zone), str(settings.start_day), str(settings.end_day), str(max(days, default="")),
        sorted(f.stat_key() for f in files),
        [[table, _version(table), [str(day) for day in of]] for table, of in tables.items()],
    ])  # fmt: skip


def _state(
    settings: Settings, reader: Reader, files: Iterable[LandingFile], known: Iterable[dt.date], last_closed: dt.date
) -> dict[dt.date, str]:
    """Return a fingerprint per day: of its dated files, of files that hold many days, of closed days in between.

    Days of which the lake has a landed table (`known`) are among them, though their own files may be archived.
    """
    source = reader.source
    by_day: dict[dt.date, list[LandingFile]] = {}
    undated: list[LandingFile] = []
    for file in files:
        (undated if file.day is None else by_day.setdefault(file.day, [])).append(file)
    calendar = (settings.start_day, settings.end_day)
    state = {day: day_stat(source, of_day, settings.time_zone, calendar) for day, of_day in by_day.items()}
    if any(f.feed in source.feeds for f in undated):
        for day in reader.days_held():
            state.setdefault(day, "")
    landed = [day for day in state if day <= last_closed]
    if landed and not required_feeds(source):
        # Days without a file before one that has one are closed days, from the calendar's first on, and are read as
        # empty. A day that has not closed yet (a phone whose clock says 2042) says nothing about the days before it.
        for day in day_range(settings.start_day, max(landed)):
            state.setdefault(day, "closed")
    for day in known:
        state.setdefault(day, "archived")
    stat = digest(sorted(f.stat_key() for f in undated))
    return {day: digest([state[day], stat]) for day in sorted(state)}
