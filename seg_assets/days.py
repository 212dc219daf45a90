"""A day as a text or a value: one way to write it, and the years that a calendar may have."""

import datetime as dt
from typing import Annotated, Any

from pydantic import BeforeValidator

from seg_assets.errors import ConfigError

# No shop's history leaves them, every day before and after exists, and nanoseconds since 1970 hold each (to 2262).
FIRST_YEAR, LAST_YEAR = 1900, 2200


def _only_days(value: Any) -> dt.date:
    """A date, or its `YYYY-MM-DD` text: no number of seconds, no time of day, no other way to write it."""
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


def parse_day(text: str) -> dt.date:
    """A `YYYY-MM-DD` text as a date.

    Raises:
        ConfigError: for anything else, also for valid dates written in another way.
    """
    try:
        return _only_days(text)
    except ValueError as error:
        raise ConfigError(f"day = {text!r}: {error}") from None
