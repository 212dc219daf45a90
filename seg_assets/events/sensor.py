"""The landing sensor: new or changed landing files become runs of the job `daily`.

Level-triggered: each tick compares the landing zone with what the lake's footers say was read. A missed tick, a
restart or a lost cursor changes nothing. No clock decides whether a file is complete: a day is taken when its files
look the same (names, sizes, times) on two ticks in a row.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from seg_assets import tags
from seg_assets.errors import SegAssetsError
from seg_assets.events.landing import (
    EVENTS,
    LANDING_KEY,
    PRODUCTS,
    STAT_KEY,
    USERS,
    check_landing,
    day_files,
    landing_state,
    missing_feeds,
    required_feeds,
    undated_files,
)
from seg_assets.events.read import Reader
from seg_assets.events.source import Source, load_source
from seg_assets.lake import Lake, digest
from seg_assets.partitions import ONE_DAY, contiguous, daily_partitions, day_range, say_days
from seg_assets.settings import Settings

# A range is one run; a run of a quarter is long enough to show progress and short enough to repeat.
MAX_DAYS_OF_A_RUN = 92

_TABLES = (("raw_events", EVENTS), ("raw_users", USERS), ("raw_products", PRODUCTS))


def changed_days(
    settings: Settings, lake: Lake, days: Sequence[dt.date], source: Source | None = None
) -> list[dt.date]:
    """Those of `days` never read from landing, or whose landing files or mapping changed since they were read.

    Files with the same name, size and time are taken as unchanged; any other difference is settled by content. A
    day whose files are all gone (archived after they were read) has not changed. Users and products that come in
    dated files carry forward, so a change of theirs re-opens the days after it too.

    Raises:
        LandingError: the landing folder, or a file that must be compared, cannot be read.
        ConfigError: the source is wrong.
    """
    source = source or load_source(settings.source)
    changed, carried_from = _changed(settings, lake, days, source)
    return [d for d in days if d in changed or (carried_from and d > carried_from)]


def _changed(
    settings: Settings, lake: Lake, days: Sequence[dt.date], source: Source
) -> tuple[set[dt.date], dt.date | None]:
    """Changed days, and the first day whose carried users or products changed."""
    changed: set[dt.date] = set()
    carried: list[dt.date] = []
    with Reader.of(settings, source) as reader:
        for day in days:
            if not all(lake.has(table, day) for table in (*dict(_TABLES), "landed_files", "rejected_events")):
                changed.add(day)
                continue
            for table, kind in _TABLES:
                if _differs(reader, lake, table, kind, day):
                    changed.add(day)
                    feed = source.users if kind == USERS else source.products if kind == PRODUCTS else None
                    if feed is not None and feed.dated:
                        carried.append(day)
    return changed, min(carried, default=None)


def _differs(reader: Reader, lake: Lake, table: str, kind: str, day: dt.date) -> bool:
    found = lake.provenance(table, day)
    if found is None:
        return True
    if kind != EVENTS and day > lake.start_day:
        before = lake.provenance(table, day - ONE_DAY)
        if before is None or found.inputs.get(f"{table}:yesterday") != before.content_hash:
            return True
    check_landing(reader.landing)
    if reader.stat(day, (kind,)) == found.extra.get(STAT_KEY):
        return False
    if not day_files(reader.source, reader.landing, day, (kind,)) and found.extra.get("landing_files"):
        return False
    return reader.digests(day, (kind,))[kind] != found.inputs.get(LANDING_KEY)


@dataclass
class Tick:
    """What one tick decided: ranges to run with fingerprint and reason, reasons for what it left, the next cursor."""

    ranges: list[tuple[dt.date, dt.date, str, str]] = field(default_factory=list)
    waiting: dict[str, list[dt.date]] = field(default_factory=dict)
    cursor: dict[str, Any] = field(default_factory=dict)

    def wait(self, reason: str, day: dt.date) -> None:
        """Leave a day for a stated reason."""
        self.waiting.setdefault(reason, []).append(day)

    def why(self) -> str:
        """The reasons in words."""
        if not self.waiting:
            return "every landed day has been read, and no landing file changed since"
        return "; ".join(f"{reason}: {say_days(days)}" for reason, days in self.waiting.items())


def plan_tick(settings: Settings, lake: Lake, source: Source, cursor: dict[str, Any], days: set[dt.date]) -> Tick:
    """Decide which days to ask for.

    Args:
        settings: the shop.
        lake: what was read.
        source: the mapping.
        cursor: of the last tick: `seen` (day -> fingerprint) and `asked` (day -> fingerprint).
        days: the calendar's days that may be materialized now.
    """
    assert settings.landing is not None
    tick = Tick()
    state = _state(settings, source)
    seen: dict[str, str] = cursor.get("seen", {})
    asked: dict[str, str] = cursor.get("asked", {})
    fingerprints = {day.isoformat(): stat for day, stat in state.items()}
    settled = []
    for day in sorted(state):
        key = day.isoformat()
        if day not in days:
            # not an error: today's file before the day has closed
            tick.wait("outside the calendar's closed days", day)
        elif cursor.get("done", {}).get(key) == fingerprints[key] and lake.has("raw_events", day):
            continue
        elif missing := missing_feeds(source, settings.landing, day):
            tick.wait(f"no data yet from feed {', '.join(missing)}", day)
        elif seen.get(key) != fingerprints[key]:
            tick.wait("files are new or still changing, taken when they look the same at the next tick", day)
        else:
            settled.append(day)
    done = {k: v for k, v in cursor.get("done", {}).items() if fingerprints.get(k) == v}
    changed, carried_from = _changed(settings, lake, settled, source)
    carried = {d for d in state if d in days and carried_from and d > carried_from and lake.has("raw_events", d)}
    done.update({d.isoformat(): fingerprints[d.isoformat()] for d in settled if d not in changed | carried})
    have = set(lake.days("raw_events"))
    wanted: list[dt.date] = []
    for day in sorted(changed | carried):
        key = day.isoformat()
        before = day - ONE_DAY
        if asked.get(key) == fingerprints[key] and day not in carried:
            tick.wait("asked for already with these files; a failed run is not repeated by the sensor", day)
        elif (
            day > settings.start_day and before not in have and before not in wanted and asked.get(str(before)) is None
        ):
            tick.wait("waits for the day before it, which was never read (start_day sets the first)", day)
        else:
            wanted.append(day)
    for first, last in contiguous(wanted):
        while first <= last:
            end = min(last, first + ONE_DAY * (MAX_DAYS_OF_A_RUN - 1))
            span = day_range(first, end)
            stats = [fingerprints[d.isoformat()] for d in span]
            tick.ranges.append((first, end, digest(stats), _why(span, have, changed)))
            first = end + ONE_DAY
    asked = {k: v for k, v in asked.items() if fingerprints.get(k) == v}
    asked.update({d.isoformat(): fingerprints[d.isoformat()] for d in wanted})
    tick.cursor = {"seen": fingerprints, "asked": asked, "done": done}
    return tick


def _why(span: Sequence[dt.date], read: set[dt.date], changed: set[dt.date]) -> str:
    """Why these days are asked for, in words."""
    kinds = {
        "new": [d for d in span if d not in read],
        "landing files changed after they were read": [d for d in span if d in read and d in changed],
        "users or products of an earlier day changed": [d for d in span if d in read and d not in changed],
    }
    return "; ".join(f"{kind}: {say_days(days)}" for kind, days in kinds.items() if days)


def _state(settings: Settings, source: Source) -> dict[dt.date, str]:
    """Fingerprint per day: of its dated files, of files that hold many days, and of closed days in between."""
    assert settings.landing is not None
    state = landing_state(source, settings.landing, settings.time_zone)
    many = [f for f in undated_files(source, settings.landing) if f.feed in source.feeds]
    # An undated users or products file is part of every day: a changed one makes every day stale.
    rest = [f for f in undated_files(source, settings.landing) if f.feed not in source.feeds]
    undated = digest(sorted(f.stat_key() for f in (*many, *rest)))
    if many:
        with Reader.of(settings, source) as reader:
            for day in reader.days_held():
                state.setdefault(day, "")
    if state and not [n for n in required_feeds(source) if not source.feeds[n].many_days]:
        # days without a file between two that have one are closed days, and are read as empty
        for day in day_range(min(state), max(state)):
            state.setdefault(day, "closed")
    return {day: digest([state[day], undated]) for day in sorted(state)}


def build_sensors(settings: Settings, job: Any) -> list[dg.SensorDefinition]:
    """The landing sensor, for the job that materializes days."""
    partitions = daily_partitions(settings)
    running = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="landing_sensor",
        job=job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=running,
        description="Ask for the days whose landing files are new or changed, as contiguous ranges.",
    )
    def landing_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        try:
            cursor = json.loads(context.cursor) if context.cursor else {}
        except ValueError:
            cursor = {}
        try:
            source = load_source(settings.source)
            days = {dt.date.fromisoformat(k) for k in partitions.get_partition_keys()}
            tick = plan_tick(settings, Lake.of(settings), source, cursor, days)
        except SegAssetsError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        text = json.dumps(tick.cursor, sort_keys=True)
        if not tick.ranges:
            return dg.SensorResult(skip_reason=tick.why(), cursor=text)
        for _, _, _, why in tick.ranges:
            context.log.info(f"asked for: {why}")
        if tick.waiting:
            context.log.info(f"left: {tick.why()}")
        return dg.SensorResult(run_requests=[_request(*r) for r in tick.ranges], cursor=text)

    return [landing_sensor]


def _request(first: dt.date, last: dt.date, fingerprint: str, why: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"landing:{first}:{last}:{fingerprint}",
        tags={**tags.of_range(first, last), tags.CAUSE: "landing", tags.WHY: why},
    )
