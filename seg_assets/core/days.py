"""Days of the calendar as values and texts, ranges of days, and the names of time zones.

Not here: which days a shop has (`core.calendar`), and Dagster's partitions (`orchestration.partitions`).
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator

from seg_assets.core.errors import ConfigError

# No shop's history leaves these years. A day before and after each exists, and nanoseconds since 1970 reach to 2262.
FIRST_YEAR, LAST_YEAR = 1900, 2200
ONE_DAY = dt.timedelta(days=1)

# Files of the time zone folder that name no place: their content differs from machine to machine, or is no time.
NO_ZONES = {"localtime", "posixrules", "Factory"}


def _only_days(value: Any) -> dt.date:
    """Return a date from a date or its `YYYY-MM-DD` text; refuse seconds, times of day and other ways to write it."""
    day = None
    if type(value) is dt.date:
        day = value
    elif isinstance(value, str):
        try:
            day = dt.date.fromisoformat(value)
        except ValueError:
            day = None
        if day is not None and day.isoformat() != value:
            day = None
    if day is None:
        raise ValueError("not a day; write it as YYYY-MM-DD, for example 2024-01-31")
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"a day of the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


# A field of a configuration that is a day.
Day = Annotated[dt.date, BeforeValidator(_only_days)]


def parse_day(text: str, place: str = "day =") -> dt.date:
    """Return a `YYYY-MM-DD` text as a date.

    Raises:
        ConfigError: for anything else, also for valid dates written in another way; `place` is named in the message.
    """
    try:
        return _only_days(text)
    except ValueError as error:
        raise ConfigError(f"{place} {text!r}: {error}") from None


def check_order(first: dt.date, last: dt.date) -> None:
    """Raise ConfigError when the last day lies before the first."""
    if last < first:
        raise ConfigError(f"days = {first} .. {last}: the first is after the last; write the earlier day first")


def day_range(first: dt.date, last: dt.date) -> list[dt.date]:
    """Return every day from `first` to `last`, both included; none when `last` is before `first`."""
    return [first + ONE_DAY * n for n in range((last - first).days + 1)]


def contiguous(days: Iterable[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Return sorted (first, last) ranges that cover `days` and nothing else."""
    ranges: list[tuple[dt.date, dt.date]] = []
    for day in sorted(set(days)):
        if ranges and ranges[-1][1] + ONE_DAY == day:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def say_days(days: Sequence[dt.date]) -> str:
    """Return days as text for a message: ranges, at most five of them."""
    parts = [f"{a}" if a == b else f"{a} .. {b}" for a, b in contiguous(days)]
    return ", ".join(parts[:5]) + (f" and {len(parts) - 5} more ranges" if len(parts) > 5 else "")


@cache
def zone_names() -> frozenset[str]:
    """Return the IANA names that this machine knows; looked up once in a process, a walk through 500 files."""
    return frozenset(available_timezones()) - NO_ZONES


def _only_zones(value: str) -> str:
    if value not in zone_names():
        raise ValueError("unknown time zone; use an IANA name such as Europe/Berlin")
    return value


# A field of a configuration that is a time zone.
Zone = Annotated[str, AfterValidator(_only_zones)]
