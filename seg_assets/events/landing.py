"""Which landing files a day has, and whether they changed: names, sizes, times and content hashes, no parsing.

A day's fingerprint (`landing_stat`) is cheap: path, size and modification time of its files. The digest is exact:
the SHA-256 of each file. Both include the source's mapping, so that a day is stale when the YAML changed.
"""

import datetime as dt
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.events.source import IGNORED_ENDINGS, PRODUCTS, USERS, EventFeed, FilePattern, Source

EVENTS = "events"
# The key of the landing files in a footer; Input("landing", "files").key.
LANDING_KEY = "landing:files"
# The cheap fingerprint of the files a day was read from, in the footer's `extra`.
STAT_KEY = "landing_stat"
# Why no other room may read a day of raw_events, in the footer's `extra`; not there when they may.
REFUSED_KEY = "refused"


@dataclass(frozen=True)
class LandingFile:
    """One landing file. `day` is the day in its name; None when it holds many days, or is undated."""

    feed: str
    relative: str
    path: Path
    size: int
    mtime_ns: int
    day: dt.date | None

    def stat_key(self) -> tuple[str, int, int]:
        """What the cheap fingerprint is made of."""
        return (self.relative, self.size, self.mtime_ns)


def check_landing(landing: Path) -> None:
    """Raise LandingError unless the landing folder is there and can be listed."""
    if not landing.is_dir():
        what = "is not a folder" if landing.exists() else "does not exist"
        raise LandingError(f"landing = {landing}: {what}; create it, or set SEG_ASSETS_LANDING to where files land")
    if not os.access(landing, os.R_OK | os.X_OK):
        raise LandingError(f"landing = {landing}: cannot be listed; mend its permissions")


def relative_name(path: Path, landing: Path) -> str:
    """Path below the landing folder with /, always valid text."""
    name = path.relative_to(landing).as_posix()
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _find(landing: Path, pattern: FilePattern, glob: str, feed: str, *, by_name: bool) -> Iterator[LandingFile]:
    for path in landing.glob(glob):
        relative = relative_name(path, landing)
        if relative.endswith(IGNORED_ENDINGS) or not pattern.matches(relative):
            continue
        try:
            if not path.is_file():
                continue
            stat = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LandingError(f"{path}: cannot be read: {error}; mend its permissions or remove it") from None
        day = pattern.day_of(relative) if by_name else None
        if by_name and pattern.has_day and day is None:
            continue
        yield LandingFile(feed, relative, path, stat.st_size, stat.st_mtime_ns, day)


def files_of(source: Source, landing: Path, feed: str, day: dt.date | None = None) -> list[LandingFile]:
    """Files of one feed, sorted by name; with `day`, those that can hold that day."""
    spec = source.all_feeds()[feed]
    by_name = not (isinstance(spec, EventFeed) and spec.many_days)
    found: dict[str, LandingFile] = {}
    for pattern in spec.files:
        glob = pattern.glob(day) if day is not None else pattern.glob_any()
        for file in _find(landing, pattern, glob, feed, by_name=by_name):
            if day is None or file.day is None or file.day == day:
                found[file.relative] = file
    return [found[name] for name in sorted(found)]


def name_parts(spec: EventFeed, relative: str) -> dict[str, str]:
    """What a coarse name (a month, a year) fixes: strftime directive to value."""
    for pattern in spec.files:
        match = pattern.regex.match(relative)
        if match and pattern.has_day:
            return {group[0]: value for group, value in match.groupdict().items()}
    return {}


def feeds_of(source: Source, kind: str) -> list[str]:
    """Feed names of `events`, `users` or `products`."""
    if kind == EVENTS:
        return sorted(source.feeds)
    return [kind] if getattr(source, kind) is not None else []


def one_feed_each(files: Iterable[LandingFile]) -> None:
    """Raise ConfigError when one file belongs to two feeds: its lines would be counted twice."""
    seen: dict[str, str] = {}
    for file in files:
        other = seen.setdefault(file.relative, file.feed)
        if other != file.feed:
            raise ConfigError(
                f"landing file {file.relative}: matches the feeds {other} and {file.feed}; "
                "make their file patterns differ"
            )


def day_files(source: Source, landing: Path, day: dt.date, kinds: Sequence[str] = (EVENTS,)) -> list[LandingFile]:
    """All files that can hold lines of a day, of these kinds."""
    found = [f for kind in kinds for name in feeds_of(source, kind) for f in files_of(source, landing, name, day)]
    one_feed_each(found)
    return found


def day_stat(source: Source, files: Iterable[LandingFile], time_zone: str) -> str:
    """Cheap fingerprint of a day's files and of the mapping."""
    return digest([source.digest(), time_zone, sorted(f.stat_key() for f in files)])


def files_digest(source: Source, contents: Mapping[str, str], time_zone: str) -> str:
    """Exact digest of a day's files: relative name to content hash."""
    return digest([source.digest(), time_zone, sorted(contents.items())])


def sha256_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        LandingError: when it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise LandingError(f"{path}: cannot be read: {error}; mend its permissions or remove it") from None


def required_feeds(source: Source) -> list[str]:
    """Event feeds for which a day without a file is 'no data yet'."""
    return [n for n in sorted(source.feeds) if source.feeds[n].closed_days == "error"]


def landing_state(source: Source, landing: Path, time_zone: str = "UTC") -> dict[dt.date, str]:
    """Cheap fingerprint of every day that has a dated file, oldest first.

    Files that hold many days say nothing of their days by name; they count for every day found otherwise, and
    `undated_stat` tells when they changed.

    Raises:
        LandingError: the landing folder cannot be read.
    """
    check_landing(landing)
    by_day: dict[dt.date, list[LandingFile]] = {}
    for name in source.all_feeds():
        for file in files_of(source, landing, name):
            if file.day is not None:
                by_day.setdefault(file.day, []).append(file)
    return {day: day_stat(source, by_day[day], time_zone) for day in sorted(by_day)}


def undated_files(source: Source, landing: Path) -> list[LandingFile]:
    """Files whose day is in no name: event files that hold many days, and undated users and products."""
    return [f for name in source.all_feeds() for f in files_of(source, landing, name) if f.day is None]


def missing_feeds(source: Source, landing: Path, day: dt.date) -> list[str]:
    """Required feeds, with the day in their files' names, that have no file for this day."""
    return [
        n for n in required_feeds(source) if not source.feeds[n].many_days and not files_of(source, landing, n, day)
    ]


def kinds_of_table(table: str) -> tuple[str, ...]:
    """Which kinds of feed a lake table of this room is read from."""
    return {
        "raw_events": (EVENTS,),
        "raw_users": (USERS,),
        "raw_products": (PRODUCTS,),
        "rejected_events": (EVENTS, USERS, PRODUCTS),
        "landed_files": (EVENTS, USERS, PRODUCTS),
    }[table]
