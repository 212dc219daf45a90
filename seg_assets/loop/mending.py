"""Move damaged days out of the tables, and remove what killed runs left behind.

Neither touches a day that is known to be good, nor a file that may hold a decision taken by hand.

Not here: telling what is damaged (`loop.doctor`), and making days again (`loop.replay`).
"""

import contextlib
import datetime as dt
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upath import UPath

from seg_assets.core.days import day_range
from seg_assets.core.errors import DamagedFileError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake import scratch
from seg_assets.lake.stamps import is_remote
from seg_assets.lake.store import Lake
from seg_assets.loop.doctor import Finding, check_name, is_in_the_way, mend_by_hand
from seg_assets.orchestration.instance import instance_folder
from seg_assets.segments.decisions.store import TABLE as DECISIONS
from seg_assets.segments.decisions.store import decisions_of_day, lost_by_hand, rescue

# Folder of the lake that takes files set aside.
DAMAGED = ".damaged"
# A scratch folder is made a moment before its owner holds the lock.
STARTING_SECONDS = 3600.0
# No run takes as long.
UNKNOWN_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Mended:
    """What `set_aside` did.

    moved: where damaged files are now. rewritten: files whose rows were good, written anew in their place.
    left: what stays as it is, in words, since it may hold a decision taken by hand.
    """

    moved: list[Path] = field(default_factory=list)
    rewritten: list[Path] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def set_aside(settings: Settings, findings: Iterable[Finding]) -> Mended:
    """Move damaged files out of the tables to `lake/.damaged`, so that a replay rebuilds those days.

    A run looks at a file's checksum before it reads the file, but not on an object store, nor in a file of a version
    that wrote none: such a file may have been read by runs before anyone noticed that its rows are not what the
    footer says. The days made from it name the right hash and look fresh, so they are moved too: made again they
    come out as they were, or their readers become stale by hash.

    Decisions that all are what their hashes say are written anew in place. A file that may hold a decision taken by
    hand is left: no replay makes that one again.
    """
    lake = Lake.of(settings)
    mended = Mended()
    seen: set[Path] = set()
    damaged = [f for f in findings if f.kind == "damaged"]
    for table, day in dict.fromkeys((f.table, d) for f in damaged for d in day_range(f.first, f.last)):
        if is_in_the_way(lake, table, day):
            mended.moved.append(_put_aside(lake, lake.path(table, day).parent, f"{table}/{day}"))
            continue
        for part in lake.parts(table, day):
            if not _is_damaged(lake, table, day, part):
                continue
            if table == DECISIONS and _stays(lake, part, day, mended):
                continue
            aside = [(table, day, part)]
            if _may_have_been_read(lake, table, day, part):
                aside += _readers(lake, table, day)
            for name, d, p in aside:
                path = lake.path(name, d, p)
                if path not in seen and p in lake.parts(name, d):
                    seen.add(path)
                    mended.moved.append(_put_aside(lake, path, f"{name}/{d}.{p}.parquet"))
    return mended


def collect_garbage(settings: Settings, older_than_seconds: float, *, dry_run: bool = False) -> tuple[list[Path], int]:
    """Remove what killed runs left behind and files set aside, when older than a retention.

    What lies in a scratch place is removed once its owner is gone. Where that cannot be told (another machine's, an
    earlier version's) it stays for a week; what belongs to another user stays. Published days are never looked at: a
    day is replaced in place, so it has no superseded versions.

    Returns:
        The paths removed (or that would be) and their size in bytes.
    """
    lake = Lake.of(settings)
    now = time.time()
    candidates = [(path, now - older_than_seconds) for path in _files_under(lake.root / DAMAGED)]
    candidates += [
        (path, now - max(older_than_seconds, UNKNOWN_SECONDS if owner == "unknown" else STARTING_SECONDS))
        for path in scratch.places(settings, instance_folder(settings))
        if (owner := scratch.owner(path)) != "lives"
    ]
    old, size = [], 0
    for path, limit in candidates:
        try:
            if _modified(path) >= limit:
                continue
            inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            size += sum(_status(p).st_size for p in inside)
        except FileNotFoundError:
            continue  # its run ended just now and took it away
        old.append(path)
        if not dry_run:
            is_folder = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path, ignore_errors=True) if is_folder else path.unlink(missing_ok=True)
    return old, size


def _stays(lake: Lake, strategy: str, day: dt.date, mended: Mended) -> bool:
    """Return whether a damaged file of decisions stays: it was written anew, or may hold what nothing else does."""
    path = lake.path(DECISIONS, day, strategy)
    with contextlib.suppress(DamagedFileError):  # of an earlier day, which stays as it is too
        if rescue(lake, strategy, day):
            mended.rewritten.append(path)
            return True
    lost = lost_by_hand(lake, strategy, day)
    if lost:
        mended.left.append(f"{path}: left in its place, {lost}; {mend_by_hand(path, strategy, day)}")
    return bool(lost)


def _is_damaged(lake: Lake, table: str, day: dt.date, part: str) -> bool:
    try:
        lake.verify(table, day, part)
    except DamagedFileError:
        return True
    return False


def _may_have_been_read(lake: Lake, table: str, day: dt.date, part: str) -> bool:
    """Return whether a run can have read the damaged rows: the footer is of this day, and no checksum was looked at."""
    if table == DECISIONS:
        return False  # each row is checked by its own hash whenever it is read
    try:
        check_name(lake, table, day, part)
    except DamagedFileError:
        return False
    footer = lake.provenance(table, day, part)
    return lake.remote or footer is None or not footer.summed


def _readers(lake: Lake, table: str, day: dt.date) -> Iterator[tuple[str, dt.date, str]]:
    """Yield the published parts that were made from a day of a table; decisions taken by hand stay."""
    for reader in TABLES.values():
        if reader.name == DECISIONS:
            continue
        for source in reader.inputs:
            if source.table == table and source.is_of_days:
                for d in day_range(*source.days_reading(day)):
                    yield from ((reader.name, d, part) for part in lake.parts(reader.name, d))
    for d in lake.days(DECISIONS):
        for part in lake.parts(DECISIONS, d):
            try:
                stored = decisions_of_day(lake, part, d)
            except DamagedFileError:
                continue  # a finding of its own
            read = {place for decision in stored for place in decision.days_read().values()}
            if (table, day) in read and not any(decision.by_hand for decision in stored):
                yield DECISIONS, d, part


def _put_aside(lake: Lake, path: Path, name: str) -> Path:
    """Move a file out of the tables; the retention of `collect_garbage` counts from now."""
    target = lake.root / DAMAGED / name
    if lake.remote:
        # An object store has no rename: copied whole, then removed.
        lake.store.copy(str(path), str(target))
        lake.store.rm_file(str(path))
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    with contextlib.suppress(NotImplementedError, FileNotFoundError):
        os.utime(target, follow_symlinks=False)
    with contextlib.suppress(OSError):  # not empty: other parts are good
        path.parent.rmdir()
    return target


def _files_under(folder: Path | UPath) -> list[Path]:
    """Return everything in a folder that is no folder, links to nothing too."""
    if not folder.is_dir():
        return []
    if is_remote(folder):
        return [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]


def _modified(path: Path) -> float:
    """Return when a file was last written, in seconds since 1970; a store's own time for an object."""
    return path.fs.modified(str(path)).timestamp() if is_remote(path) else _status(path).st_mtime


def _status(path: Path) -> os.stat_result:
    return path.stat() if is_remote(path) else path.lstat()
