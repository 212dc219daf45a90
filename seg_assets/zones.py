"""Names of time zones."""

from functools import cache
from zoneinfo import available_timezones

# Files of the time zone folder that name no place: what they say differs from machine to machine, or is no time.
NO_ZONES = {"localtime", "posixrules", "Factory"}


@cache
def zone_names() -> frozenset[str]:
    """The IANA names this machine knows. Looked up once in a process: each time walks a folder of 500 files."""
    return frozenset(available_timezones()) - NO_ZONES
