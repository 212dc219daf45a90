"""Which days a shop's calendar has.

The clock is read in one place, `_now`, to tell which days have closed; Dagster reads the clock for the same purpose.
No computation of a day asks for the time.

Not here: arithmetic on days (`core.days`), and Dagster's partitions (`orchestration.partitions`).
"""

import datetime as dt

from seg_assets.core.days import ONE_DAY, check_order
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings


def check_in_calendar(day: dt.date, settings: Settings) -> dt.date:
    """Return `day`, or raise ConfigError when it lies outside the shop's calendar.

    An `end_day` is taken as it was set, also in the future (a simulated shop). Without one the calendar ends with
    yesterday in the shop's time zone: a day is read when it has closed, or its last events would be missing.
    """
    if day < settings.start_day or (settings.end_day and day > settings.end_day):
        last = settings.end_day or "yesterday"
        raise ConfigError(f"day = {day}: outside the calendar {settings.start_day} .. {last} (start_day, end_day)")
    closed = last_closed_day(settings)
    if day > closed:
        raise ConfigError(
            f"day = {day}: has not closed yet, today is {closed + ONE_DAY} in {settings.time_zone} (time_zone); "
            f"the last closed day is {closed}"
        )
    return day


def last_closed_day(settings: Settings) -> dt.date:
    """Return the last day that may be read: `end_day` where it is set, else yesterday in the shop's time zone."""
    return settings.end_day or _now().astimezone(settings.zone).date() - ONE_DAY


def check_range(first: dt.date, last: dt.date, settings: Settings) -> tuple[dt.date, dt.date]:
    """Return the range, or raise ConfigError when it is reversed or leaves the shop's calendar."""
    check_order(first, last)
    return check_in_calendar(first, settings), check_in_calendar(last, settings)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
