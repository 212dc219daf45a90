"""What is wrong with a lake and its instance, per table and day, with the command that mends it.

Reads only, but for two: `set_aside` moves damaged days out of the tables, and with them the days that may have been
made from damaged rows; `collect_garbage` removes leftovers of killed runs. Neither touches a day that is known good,
nor a file that may hold a decision taken by hand.
"""

import contextlib
import datetime as dt
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from upath import UPath

from seg_assets.core.days import ONE_DAY, contiguous, day_range
from seg_assets.core.errors import DamagedFileError, InstanceError, MissingDaysError, SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES, Input
from seg_assets.lake.store import STAGING, Lake, day_of, is_remote

Kind = Literal["missing", "refused", "stale", "damaged", "undecided", "failed run", "instance"]
DAMAGED = ".damaged"
DECISIONS = "segment_model"
CARRIED = ("raw_users", "raw_products")
MEND = "seg-assets doctor --verify --mend"
# What lies in the staging area or a spill folder for less may be a run's that is still at work.
IN_USE_SECONDS = 3600.0


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, over a contiguous range of days."""

    kind: Kind
    table: str
    first: dt.date
    last: dt.date
    why: str
    mend: str

    def text(self) -> str:
        """One line for a terminal."""
        days = f"{self.first}" if self.first == self.last else f"{self.first} .. {self.last}"
        return f"{self.kind:<10} {self.table:<22} {days:<24} {self.why}\n{'':<11}mend: {self.mend}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {k: v.isoformat() if isinstance(v, dt.date) else v for k, v in asdict(self).items()}


def examine(settings: Settings, *, verify: bool = False) -> list[Finding]:
    """Everything that is missing, stale, damaged or undecided, worst kind first.

    Args:
        settings: the shop.
        verify: also read every file whole and compare its rows with the hash in its footer.
    """
    lake = Lake.of(settings)
    damaged = _damaged(lake, lake.verify if verify else partial(_check_name, lake))
    if damaged:
        # Staleness is read from footers: with a damaged one in the way it would be a guess.
        return damaged
    try:
        found = [*_missing(settings, lake), *_stale_and_undecided(settings, lake)]
    except DamagedFileError:
        # Deciding reads verdicts and decisions, rows too: the days are named by a look at every file's bytes.
        found = _damaged(lake, lake.check) or _damaged(lake, lake.verify)
        if not found:
            raise
    return [*found, *_failed_runs(settings)]


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
        if _in_the_way(lake, table, day):
            mended.moved.append(_put_aside(lake, lake.path(table, day).parent, f"{table}/{day}"))
            continue
        for part in lake.parts(table, day):
            if not _is_damaged(lake, table, day, part):
                continue
            if table == DECISIONS and _keep_decisions(lake, part, day, mended):
                continue
            aside = [(table, day, part)]
            if _reads_well(lake, table, day, part):
                aside += _readers(lake, table, day)
            for name, d, p in aside:
                path = lake.path(name, d, p)
                if path not in seen and p in lake.parts(name, d):
                    seen.add(path)
                    mended.moved.append(_put_aside(lake, path, f"{name}/{d}.{p}.parquet"))
    return mended


def _keep_decisions(lake: Lake, strategy: str, day: dt.date, mended: Mended) -> bool:
    """Whether a damaged file of decisions stays: it was written anew, or may hold what nothing else does."""
    from seg_assets.segments.decisions.store import lost_by_hand, rescue

    path = lake.path(DECISIONS, day, strategy)
    with contextlib.suppress(DamagedFileError):  # of an earlier day, which stays as it is too
        if rescue(lake, strategy, day):
            mended.rewritten.append(path)
            return True
    lost = lost_by_hand(lake, strategy, day)
    if lost:
        mended.left.append(f"{path}: left in its place, {lost}; {_by_hand(path, strategy, day)}")
    return bool(lost)


def _by_hand(path: Path, strategy: str, day: dt.date) -> str:
    """What to do about a file that may hold decisions taken by hand."""
    return (
        f"restore it from a copy, or give up what it holds: rm {shlex.quote(str(path))}; "
        f"seg-assets replay --from {day} --to {day}; and take the decision again "
        f"(seg-assets rollback {strategy} --day {day}, or cause manual: docs/strategies.md)"
    )


def _is_damaged(lake: Lake, table: str, day: dt.date, part: str) -> bool:
    try:
        lake.verify(table, day, part)
    except DamagedFileError:
        return True
    return False


def _reads_well(lake: Lake, table: str, day: dt.date, part: str) -> bool:
    """Whether a run can have read the rows: the footer is of this day, and no checksum was looked at."""
    if table == DECISIONS:
        return False  # each row is checked by its own hash whenever it is read
    try:
        _check_name(lake, table, day, part)
    except DamagedFileError:
        return False
    found = lake.provenance(table, day, part)
    return lake.remote or found is None or not found.summed


def _readers(lake: Lake, table: str, day: dt.date) -> Iterator[tuple[str, dt.date, str]]:
    """Published parts that were made from a day of a table; decisions taken by hand stay."""
    for reader in TABLES.values():
        if reader.name == DECISIONS:
            continue
        for source in reader.inputs:
            if source.table == table:
                for d in _days_reading(source, day):
                    yield from ((reader.name, d, part) for part in lake.parts(reader.name, d))
    from seg_assets.segments.decisions.store import decisions_of_day

    for d in lake.days(DECISIONS):
        for part in lake.parts(DECISIONS, d):
            try:
                there = decisions_of_day(lake, part, d)
            except DamagedFileError:
                continue  # a finding of its own
            read = {key for decision in there for key in decision.inputs}
            now, earlier = f"{table}:day", f"{table}:horizon-{(d - day).days}"
            if ((d == day and now in read) or earlier in read) and not any(x.by_hand for x in there):
                yield DECISIONS, d, part


def _days_reading(source: Input, day: dt.date) -> list[dt.date]:
    """Days of a table that read `day` of one of its inputs."""
    if source.window == "day":
        return [day]
    if source.window == "yesterday":
        return [day + ONE_DAY]
    if source.window == "horizon":
        return [day + ONE_DAY * source.days]
    if source.window == "trailing":
        return [day + ONE_DAY * n for n in range(source.days)]
    return []


def _in_the_way(lake: Lake, table: str, day: dt.date) -> bool:
    """Whether something that is no folder lies where a day's folder belongs, so that the day cannot be written."""
    folder = lake.path(table, day).parent
    return not lake.remote and os.path.lexists(folder) and not folder.is_dir()


def _put_aside(lake: Lake, path: Path, name: str) -> Path:
    """Move a file out of the tables; the retention of `gc` counts from now."""
    target = lake.root / DAMAGED / name
    if lake.remote:
        # An object store has no rename: copied whole, then removed.
        lake.root.fs.copy(str(path), str(target))
        lake.root.fs.rm_file(str(path))
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    with contextlib.suppress(NotImplementedError, FileNotFoundError):
        os.utime(target, follow_symlinks=False)
    with contextlib.suppress(OSError):  # not empty: other parts are good
        path.parent.rmdir()
    return target


def collect_garbage(settings: Settings, older_than_seconds: float, *, dry_run: bool = False) -> tuple[list[Path], int]:
    """Remove what killed runs left behind and files set aside, when older than a retention.

    Leftovers of runs are kept for an hour in any case: a run may be at work on them. Published days are never looked
    at: a day is replaced in place, so it has no superseded versions.

    Returns:
        The paths removed (or that would be) and their size in bytes.
    """
    lake = Lake.of(settings)
    now = time.time()
    staging = lake.stage_path().parent if lake.remote else lake.root / STAGING
    set_aside_then, of_runs = now - older_than_seconds, now - max(older_than_seconds, IN_USE_SECONDS)
    found = [(path, set_aside_then) for path in _files_under(lake.root / DAMAGED)]
    found += [(path, of_runs) for path in _files_under(staging)]
    found += [(path, of_runs) for path in sorted(Path(tempfile.gettempdir()).glob("seg_assets_spill_*"))]
    old, size = [], 0
    for path, limit in found:
        try:
            if _modified(path) >= limit:
                continue
            inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            size += sum(_status(p).st_size for p in inside)
        except FileNotFoundError:
            continue  # its run ended just now and took it away
        old.append(path)
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return old, size


def _files_under(folder: Path | UPath) -> list[Path]:
    """Everything in a folder that is no folder, links to nowhere too."""
    if not folder.is_dir():
        return []
    if is_remote(folder):
        return [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]


def _modified(path: Path) -> float:
    """When a file was last written, in seconds since 1970; a store's own time for an object."""
    return path.fs.modified(str(path)).timestamp() if is_remote(path) else _status(path).st_mtime


def _status(path: Path) -> os.stat_result:
    return path.stat() if is_remote(path) else path.lstat()


Look = Callable[[str, dt.date, str], object]


def _damaged(lake: Lake, look: Look) -> list[Finding]:
    """A finding for every part that `look` finds damaged, and for what lies in a day's way."""
    findings = []
    for table in TABLES:
        for day in _blocked_days(lake, table):
            why = f"{lake.path(table, day).parent}: is no folder, so the day cannot be written"
            findings.append(Finding("damaged", table, day, day, why, _mend(lake, table, day)))
        for day in lake.days(table):
            for part in lake.parts(table, day):
                try:
                    look(table, day, part)
                except MissingDaysError:
                    continue  # gone meanwhile
                except DamagedFileError as error:
                    findings.append(_damage(lake, table, day, part, str(error)))
    return findings


def _damage(lake: Lake, table: str, day: dt.date, part: str, why: str) -> Finding:
    if table == DECISIONS:
        from seg_assets.segments.decisions.store import holds_all, lost_by_hand

        path = lake.path(table, day, part)
        lost = "" if holds_all(lake, part, day) else lost_by_hand(lake, part, day)
        if lost:
            return Finding("damaged", table, day, day, f"{why}; {lost}", _by_hand(path, part, day))
    return Finding("damaged", table, day, day, why, _mend(lake, table, day))


def _mend(lake: Lake, table: str, day: dt.date) -> str:
    # Users and products carry forward: the next day was made from this one, and is read again too.
    last = day + ONE_DAY if table in CARRIED and lake.has(table, day + ONE_DAY) else day
    return f"{MEND}; seg-assets replay --from {day} --to {last}"


def _blocked_days(lake: Lake, table: str) -> list[dt.date]:
    folder = lake.root / table
    if lake.remote or not folder.is_dir():
        return []
    days = [day for child in folder.iterdir() if (day := day_of(child.name)) is not None]
    return sorted(day for day in days if _in_the_way(lake, table, day))


def _check_name(lake: Lake, table: str, day: dt.date, part: str) -> None:
    """Raise DamagedFileError for a good file in a wrong place: its footer names its table, day and part."""
    found = lake.provenance(table, day, part)
    if found and not found.is_of(table, day, part):
        raise DamagedFileError(
            f"{lake.path(table, day, part)}: is {found.table} of {found.day} by its footer; "
            f"re-materialize {table} for {day}"
        )


def _missing(settings: Settings, lake: Lake) -> list[Finding]:
    have = lake.days("raw_events")
    if not have:
        return []
    gaps = lake.missing("raw_events", day_range(settings.start_day, have[-1]))
    findings = [
        Finding(
            "missing",
            "raw_events",
            a,
            b,
            "never materialized, and later days read it",
            f"seg-assets replay --from {a} --to {b}",
        )
        for a, b in contiguous(gaps)
    ]
    from seg_assets.events.changes import changed_days

    try:
        changed = changed_days(settings, lake, have)
    except SegAssetsError as error:
        first, last = have[0], have[-1]
        return [*findings, Finding("stale", "raw_events", first, last, str(error), "restore the landing files")]
    return findings + [
        Finding(
            "stale",
            "raw_events",
            a,
            b,
            "landing files changed since, or another table of theirs is missing",
            f"seg-assets replay --from {a} --to {b}",
        )
        for a, b in contiguous(changed)
    ]


def _stale_and_undecided(settings: Settings, lake: Lake) -> list[Finding]:
    from seg_assets.loop import planner
    from seg_assets.loop.staleness import Snapshot
    from seg_assets.segments.strategy import strategies_of

    strategies = strategies_of(settings)
    findings = []
    now = Snapshot(lake, strategies)
    for day, why in now.refused.items():
        mend = f"mend the source or deliver the file again, then seg-assets replay --from {day} --to {day}"
        findings.append(Finding("refused", "raw_events", day, day, f"{why}; nothing is made of the day", mend))
    reasons: dict[tuple[str, str], list[dt.date]] = {}
    for item in now.stale():
        reasons.setdefault((item.table, item.why), []).append(item.day)
    for (table, why), those in reasons.items():
        for first, last in contiguous(those):
            kind: Kind = "stale" if lake.has(table, first) or lake.parts(table, first) else "missing"
            mend = f"seg-assets replay --from {first} --to {last}"
            findings.append(Finding(kind, table, first, last, why, mend))
    for request in planner.plan(lake, strategies, settings).requests:
        if request.kind == "recluster":
            mend = f"seg-assets replay --from {request.first} --to {request.last}"
            table = f"{DECISIONS}/{request.strategy}"
            findings.append(Finding("undecided", table, request.first, request.last, request.reason, mend))
    return findings


def _failed_runs(settings: Settings) -> list[Finding]:
    """Days whose latest materialization attempt failed, by the instance's own partition status."""
    from seg_assets.orchestration.instance import instance_folder, open_instance

    folder = instance_folder(settings)
    if not (folder / "dagster.yaml").exists():
        return []
    try:
        with open_instance(folder) as instance:
            return _failed_in(settings, instance)
    except InstanceError as error:
        first, last = settings.start_day, settings.end_day or settings.start_day
        mend = "see there; what is said of the lake holds all the same"
        return [Finding("instance", "dagster", first, last, str(error), mend)]


def _failed_in(settings: Settings, instance: Any) -> list[Finding]:
    import dagster as dg

    from seg_assets.orchestration.partitions import daily_partitions

    findings = []
    partitions = daily_partitions(settings)
    for table in TABLES:
        statuses = instance.get_status_by_partition(dg.AssetKey(table), partitions.get_partition_keys(), partitions)
        failed = [dt.date.fromisoformat(k) for k, v in (statuses or {}).items() if v and v.name == "FAILED"]
        findings += [
            Finding(
                "failed run",
                table,
                a,
                b,
                "the last run of these days failed; its log says why",
                f"seg-assets replay --again --from {a} --to {b}",
            )
            for a, b in contiguous(failed)
        ]
    return findings
