"""The one daily partitions definition and every computation on days.

The clock is read in one place, `_now`, to tell which days have closed; Dagster reads it for the same. No computation
of a day asks for it.

Dependencies of assets are declared day to day, also where a table reads earlier days. What a day really reads is in
the catalog, and so in its footer, and a day that misses one of those is refused. A Dagster mapping would say it too,
at a price (measured on 1.13): on another table it widens every backfill to the right, onto days without inputs; on
the table itself it breaks a range of all rooms, else one run, into a run for each chained table.
"""

import datetime as dt
from collections.abc import Iterable, Sequence

import dagster as dg

from seg_assets.days import parse_day
from seg_assets.errors import ConfigError
from seg_assets.settings import Settings

ONE_DAY = dt.timedelta(days=1)


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """The shop's calendar: one partition a day, in the shop's time zone."""
    end = settings.end_day + ONE_DAY if settings.end_day else None
    return dg.DailyPartitionsDefinition(
        start_date=settings.start_day.isoformat(),
        end_date=end.isoformat() if end else None,
        timezone=settings.time_zone,
    )


def parse_range(first: str, last: str) -> tuple[dt.date, dt.date]:
    """The first and last day that a command was given, as `YYYY-MM-DD` texts.

    Raises:
        ConfigError: when one is no day, or the last lies before the first.
    """
    days = parse_day(first), parse_day(last)
    check_order(*days)
    return days


def check_order(first: dt.date, last: dt.date) -> None:
    """Raise ConfigError when the last day lies before the first."""
    if last < first:
        raise ConfigError(f"days = {first} .. {last}: the first is after the last; write the earlier day first")


def check_in_calendar(day: dt.date, settings: Settings) -> dt.date:
    """Return `day`, or raise ConfigError when it lies outside the shop's calendar.

    An `end_day` is taken as it was set, also in the future (a simulated shop). Without one the calendar ends with
    yesterday in the shop's time zone: a day is read when it has closed, or its last events would be missing.
    """
    if day < settings.start_day or (settings.end_day and day > settings.end_day):
        last = settings.end_day or "yesterday"
        raise ConfigError(f"day = {day}: outside the calendar {settings.start_day} .. {last} (start_day, end_day)")
    if not settings.end_day and day >= (today := _now().astimezone(settings.zone).date()):
        raise ConfigError(
            f"day = {day}: has not closed yet, today is {today} in {settings.time_zone} (time_zone); "
            f"the last closed day is {today - ONE_DAY}"
        )
    return day


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def day_range(first: dt.date, last: dt.date) -> list[dt.date]:
    """Every day from `first` to `last`, both included; empty when `last` is before `first`."""
    return [first + ONE_DAY * n for n in range((last - first).days + 1)]


def contiguous(days: Iterable[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Sorted (first, last) ranges that cover `days` and nothing else."""
    ranges: list[tuple[dt.date, dt.date]] = []
    for day in sorted(set(days)):
        if ranges and ranges[-1][1] + ONE_DAY == day:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def say_days(days: Sequence[dt.date]) -> str:
    """Days as text for a message: ranges, at most five of them."""
    parts = [f"{a}" if a == b else f"{a} .. {b}" for a, b in contiguous(days)]
    return ", ".join(parts[:5]) + (f" and {len(parts) - 5} more ranges" if len(parts) > 5 else "")


def days_of_run(context: dg.AssetExecutionContext) -> list[dt.date]:
    """The days a run was asked for, oldest first: one, or a contiguous range."""
    return sorted(parse_day(key) for key in context.partition_keys)
