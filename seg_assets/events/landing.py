"""List the landing files of a day, and tell whether they changed: names, sizes, times and content hashes, no parsing.

A day's fingerprint (`landing_stat`) is cheap: path, size and modification time of its files. The digest is exact:
the SHA-256 of each file. Both include the source's mapping, so that a day is stale when the YAML changed. A file of
many days gives each day what the calendar lets through, so that its fingerprint includes the calendar; the digest of a
day changes with the calendar only when lines between the old and the new edge move into the day or out of it.

A folder that cannot be listed is an error, never an empty one.

Not here: what files hold (`events.reader`), and which days to read anew (`events.changes`).
"""

import datetime as dt
import fnmatch
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.core.table_spec import Input
from seg_assets.events.file_pattern import FilePattern
from seg_assets.events.source import PRODUCTS, USERS, EventFeed, Source, ignored

EVENTS = "events"
# The key of the landing files in a footer.
LANDING_KEY = Input("landing", "files").key
# The cheap fingerprint of the files a day was read from, in the footer's `extra`.
STAT_KEY = "landing_stat"
# Why no other room may read a day of raw_events, in the footer's `extra`; absent when they may.
REFUSED_KEY = "refused"
# Kinds of feed, each with the table that its lines become.
TABLE_OF_KIND = {EVENTS: "raw_events", USERS: "raw_users", PRODUCTS: "raw_products"}
KINDS = tuple(TABLE_OF_KIND)
# Which kinds of feed each lake table of this room is read from.
KINDS_OF_TABLE = {
    "landed_files": KINDS,
    "rejected_events": KINDS,
    **{table: (kind,) for kind, table in TABLE_OF_KIND.items()},
}

# First and last day of a shop's calendar; None where it has no last day.
Calendar = tuple[dt.date, dt.date | None]


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
        """Return what the cheap fingerprint is made of."""
        return (self.relative, self.size, self.mtime_ns)


def check_landing(landing: Path) -> None:
    """Raise LandingError unless the landing folder exists and can be listed."""
    if not landing.is_dir():
        what = "is not a folder" if landing.exists() else "does not exist"
        raise LandingError(f"landing = {landing}: {what}; create it, or set SEG_ASSETS_LANDING to where files land")
    if not os.access(landing, os.R_OK | os.X_OK):
        raise LandingError(f"landing = {landing}: cannot be listed; mend its permissions")


def files_of(source: Source, landing: Path, feed: str, day: dt.date | None = None) -> list[LandingFile]:
    """Return the files of one feed, sorted by name; with `day`, those that can hold that day."""
    spec = source.all_feeds()[feed]
    by_name = not (isinstance(spec, EventFeed) and spec.many_days)
    if isinstance(spec, EventFeed) and spec.many_days and spec.is_read_whole:
        # The day in a name is that of the delivery, which may tell of any day.
        day = None
    files: dict[str, LandingFile] = {}
    for pattern in spec.files:
        glob = pattern.glob(day) if day is not None else pattern.glob_any()
        for file in _find(landing, pattern, glob, feed, by_name=by_name):
            if day is None or file.day is None or file.day == day:
                files[file.relative] = file
    return [files[name] for name in sorted(files)]


def _find(landing: Path, pattern: FilePattern, glob: str, feed: str, *, by_name: bool) -> Iterator[LandingFile]:
    for path in _expand(landing, glob.split("/")):
        relative = _relative_name(path, landing)
        if ignored(relative) or not pattern.matches(relative):
            continue
        try:
            if not path.is_file():
                continue
            stat = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(path, error) from None
        day = pattern.day_of(relative) if by_name else None
        if by_name and pattern.has_day and day is None:
            continue
        yield LandingFile(feed, relative, path, stat.st_size, stat.st_mtime_ns, day)


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Yield the paths below a folder that a glob names, given by its parts; `Path.glob` hides folders it cannot list.

    Raises:
        LandingError: a folder on the way cannot be listed.
    """
    part, rest = parts[0], parts[1:]
    names = [part]
    if "*" in part or "?" in part:
        matches = re.compile(fnmatch.translate(part)).match
        names = [name for name in _names_in(folder) if matches(name)]
    for name in names:
        if rest:
            yield from _expand(folder / name, rest)
        else:
            yield folder / name


def _names_in(folder: Path) -> list[str]:
    """Return what a folder holds, sorted; nothing where there is no folder."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  names, which is what a pattern is held against
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unlisted(error) from None


def _relative_name(path: Path, landing: Path) -> str:
    """Return the path below the landing folder with /, always valid text."""
    name = path.relative_to(landing).as_posix()
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_parts(spec: EventFeed, relative: str) -> dict[str, str]:
    """Return what a coarse name (a month, a year) fixes: strftime directive to value."""
    for pattern in spec.files:
        match = pattern.regex.match(relative)
        if match and pattern.has_day:
            return {group[0]: value for group, value in match.groupdict().items()}
    return {}


def feeds_by_kind(source: Source) -> dict[str, list[str]]:
    """Return the names of the feeds of `events`, and of `users` and `products` where there are any."""
    tables = {kind: [kind] for kind in (USERS, PRODUCTS) if getattr(source, kind) is not None}
    return {EVENTS: sorted(source.feeds)} | tables


def one_feed_each(source: Source, files: Iterable[LandingFile]) -> None:
    """Raise ConfigError when one file belongs to two feeds and not each of them says which of its lines it takes.

    A SELECT tells a line by file and number alone, so that its feeds share no file with each other.
    """
    seen: dict[str, str] = {}
    feeds = source.all_feeds()
    for file in files:
        other = seen.setdefault(file.relative, file.feed)
        shared = feeds[other].where and feeds[file.feed].where and not {other, file.feed} <= {*source.selected_feeds}
        if other != file.feed and not shared:
            raise ConfigError(
                f"landing file {file.relative}: matches the feeds {other} and {file.feed}; "
                "make their file patterns differ, or say `where` in both"
            )


def day_files(source: Source, landing: Path, day: dt.date, kinds: Sequence[str]) -> list[LandingFile]:
    """Return all files that can hold lines of a day, of these kinds."""
    feeds = feeds_by_kind(source)
    files = [f for kind in kinds for name in feeds.get(kind, ()) for f in files_of(source, landing, name, day)]
    one_feed_each(source, files)
    return files


def day_stat(source: Source, files: Iterable[LandingFile], time_zone: str, calendar: Calendar) -> str:
    """Return the cheap fingerprint of a day's files, the mapping and, for files of many days, the calendar."""
    chosen = list(files)
    many_days = any((feed := source.feeds.get(f.feed)) is not None and feed.many_days for f in chosen)
    edges = [[str(day) for day in calendar]] if many_days else []
    return digest([source.digest(time_zone), time_zone, sorted(f.stat_key() for f in chosen), *edges])


def files_digest(source: Source, contents: Mapping[str, str], time_zone: str) -> str:
    """Return the exact digest of a day's files, from the content hash of each by its relative name."""
    return digest([source.digest(time_zone), time_zone, sorted(contents.items())])


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        LandingError: when it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> LandingError:
    return LandingError(f"{path}: cannot be read: {error}; mend its permissions or remove it")


def _unlisted(error: OSError) -> LandingError:
    return LandingError(f"{error.filename}: cannot be listed: {error.strerror}; mend its permissions or mount it again")


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and of the folders in it, sorted; hidden ones are left out.

    Raises:
        LandingError: the folder, or one in it, cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise _unlisted(error)

    paths = (Path(at) / name for at, _, files in os.walk(folder, onerror=refuse) for name in files)
    return sorted(path for path in paths if not any(p.startswith(".") for p in path.relative_to(folder).parts))


def required_feeds(source: Source) -> list[str]:
    """Return the event feeds, with the day in their files' names, for which a day without a file is 'no data yet'."""
    feeds = source.feeds
    return [name for name in sorted(feeds) if feeds[name].closed_days == "error" and not feeds[name].many_days]


def all_files(source: Source, landing: Path) -> list[LandingFile]:
    """Return the files of every feed, whatever their day.

    Raises:
        LandingError: the landing folder cannot be read.
    """
    check_landing(landing)
    return [file for name in source.all_feeds() for file in files_of(source, landing, name)]


def files_not_taken(source: Source, landing: Path) -> list[str]:
    """Return the files below the landing folder that no feed reads, sorted: misnamed ones, of days that do not exist.

    Files that are still being written, by their ending, and hidden ones are left out.

    Raises:
        LandingError: the landing folder, or a folder in it, cannot be listed.
    """
    taken = {file.relative for file in all_files(source, landing)}
    names = {_relative_name(path, landing) for path in files_below(landing)}
    return sorted(name for name in names - taken if not ignored(name))


def say_not_taken(names: Sequence[str]) -> str:
    """Say which files no feed reads, at most five of them by name."""
    if not names:
        return "none that no feed reads"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} that no feed reads: {', '.join(names[:5])}{more} (a feed's `files` says which names it reads)"
