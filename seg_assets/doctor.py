"""What is wrong with a lake and its instance, per table and day, with the command that mends it.

Reads only, but for two: `set_aside` moves damaged days out of the tables, and with them the days that may have been
made from damaged rows; `collect_garbage` removes leftovers of killed runs. Neither touches a day that is known good.
"""

import contextlib
import datetime as dt
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from seg_assets.catalog import TABLES, Input
from seg_assets.errors import DamagedFileError, SegAssetsError
from seg_assets.lake import STAGING, Lake, is_remote
from seg_assets.partitions import ONE_DAY, contiguous, day_range
from seg_assets.settings import Settings

Kind = Literal["missing", "refused", "stale", "damaged", "undecided", "failed run"]
DAMAGED = ".damaged"
DECISIONS = "segment_model"
CARRIED = ("raw_users", "raw_products")


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
    damaged = _damaged(lake, verify=verify)
    if damaged:
        # Staleness is read from footers: with a damaged one in the way it would be a guess.
        return damaged
    return [*_missing(settings, lake), *_stale_and_undecided(settings, lake), *_failed_runs(settings)]


def set_aside(settings: Settings, findings: Iterable[Finding]) -> list[Path]:
    """Move damaged files out of the tables to `lake/.damaged`, so that a replay rebuilds those days.

    A run looks at a file's checksum before it reads the file, but not on an object store, nor in a file of a version
    that wrote none: such a file may have been read by runs before anyone noticed that its rows are not what the
    footer says. The days made from it name the right hash and look fresh, so they are moved too: made again they
    come out as they were, or their readers become stale by hash.

    Returns:
        Where the files are now.
    """
    lake = Lake.of(settings)
    moved: dict[Path, Path] = {}
    for finding in findings:
        if finding.kind != "damaged":
            continue
        for day in day_range(finding.first, finding.last):
            for part in lake.parts(finding.table, day):
                if not _is_damaged(lake, finding.table, day, part):
                    continue
                aside = [(finding.table, day, part)]
                if _reads_well(lake, finding.table, day, part):
                    aside += _readers(lake, finding.table, day)
                for name, d, p in aside:
                    path = lake.path(name, d, p)
                    if path not in moved and path.exists():
                        moved[path] = _move_aside(lake, name, d, p)
    return list(moved.values())


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
    from seg_assets.segments.decisions import decisions_of_day

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


def _move_aside(lake: Lake, table: str, day: dt.date, part: str) -> Path:
    path = lake.path(table, day, part)
    target = lake.root / DAMAGED / table / f"{day}.{part}.parquet"
    if lake.remote:
        # An object store has no rename: copied whole, then removed.
        lake.root.fs.copy(str(path), str(target))
        lake.root.fs.rm_file(str(path))
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    with contextlib.suppress(OSError):  # not empty: other parts are good
        path.parent.rmdir()
    return target


def collect_garbage(settings: Settings, older_than_seconds: float, *, dry_run: bool = False) -> tuple[list[Path], int]:
    """Remove what killed runs left behind and files set aside, when older than a retention.

    Published days are never looked at: a day is replaced in place, so it has no superseded versions.

    Returns:
        The paths removed (or that would be) and their size in bytes.
    """
    lake = Lake.of(settings)
    limit = time.time() - older_than_seconds
    staging = lake.stage_path().parent if lake.remote else lake.root / STAGING
    folders = [lake.root / DAMAGED, staging]
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
    found += sorted(Path(tempfile.gettempdir()).glob("seg_assets_spill_*"))
    old, size = [], 0
    for path in found:
        try:
            if _modified(path) >= limit:
                continue
            inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            size += sum(p.stat().st_size for p in inside)
        except FileNotFoundError:
            continue  # its run ended just now and took it away
        old.append(path)
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return old, size


def _modified(path: Path) -> float:
    """When a file was last written, in seconds since 1970; a store's own time for an object."""
    return path.fs.modified(str(path)).timestamp() if is_remote(path) else path.stat().st_mtime


def _damaged(lake: Lake, *, verify: bool) -> list[Finding]:
    findings = []
    for table in TABLES:
        for day in lake.days(table):
            for part in lake.parts(table, day):
                try:
                    if verify:
                        lake.verify(table, day, part)
                    else:
                        _check_name(lake, table, day, part)
                except DamagedFileError as error:
                    # Users and products carry forward: the next day was made from this one, and is read again too.
                    last = day + ONE_DAY if table in CARRIED and lake.has(table, day + ONE_DAY) else day
                    mend = f"seg-assets doctor --verify --mend; seg-assets replay --from {day} --to {last}"
                    findings.append(Finding("damaged", table, day, day, str(error), mend))
    return findings


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
    from seg_assets.events.sensor import changed_days

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
    from seg_assets.drift import decide
    from seg_assets.drift.staleness import Snapshot, stale
    from seg_assets.segments.strategy import strategies_of

    strategies = strategies_of(settings)
    findings = []
    for day, why in Snapshot(lake, strategies).refused.items():
        mend = f"mend the source or deliver the file again, then seg-assets replay --from {day} --to {day}"
        findings.append(Finding("refused", "raw_events", day, day, f"{why}; nothing is made of the day", mend))
    for table, days in stale(lake, strategies).items():
        reasons: dict[str, list[dt.date]] = {}
        for day, why in days:
            reasons.setdefault(why, []).append(day)
        for why, those in reasons.items():
            for first, last in contiguous(those):
                kind: Kind = "stale" if lake.has(table, first) or lake.parts(table, first) else "missing"
                mend = f"seg-assets replay --from {first} --to {last}"
                findings.append(Finding(kind, table, first, last, why, mend))
    for request in decide.plan(lake, strategies, settings).requests:
        if request.kind == "recluster":
            mend = f"seg-assets replay --from {request.first} --to {request.last}"
            table = f"{DECISIONS}/{request.strategy}"
            findings.append(Finding("undecided", table, request.first, request.last, request.reason, mend))
    return findings


def _failed_runs(settings: Settings) -> list[Finding]:
    """Days whose latest materialization attempt failed, by the instance's own partition status."""
    import dagster as dg

    from seg_assets.instance import instance_folder, open_instance

    folder = instance_folder(settings)
    if not (folder / "dagster.yaml").exists():
        return []
    findings = []
    with open_instance(folder) as instance:
        from seg_assets.partitions import daily_partitions

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
