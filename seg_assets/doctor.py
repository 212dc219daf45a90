"""What is wrong with a lake and its instance, per table and day, with the command that mends it.

Reads only; `set_aside` and `collect_garbage` are the two that move or remove, and neither touches a good day.
"""

import datetime as dt
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from seg_assets.catalog import TABLES
from seg_assets.errors import DamagedFileError, SegAssetsError
from seg_assets.lake import STAGING, Lake
from seg_assets.partitions import contiguous, day_range
from seg_assets.settings import Settings

Kind = Literal["missing", "stale", "damaged", "undecided", "failed run"]
DAMAGED = ".damaged"


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
    """Move damaged files out of the tables to `lake/.damaged`, so that a replay rebuilds those days."""
    lake = Lake.of(settings)
    moved = []
    for finding in findings:
        if finding.kind != "damaged":
            continue
        for day in day_range(finding.first, finding.last):
            for part in lake.parts(finding.table, day):
                try:
                    lake.verify(finding.table, day, part)
                    _check_name(lake, finding.table, day, part)
                except DamagedFileError:
                    path = lake.path(finding.table, day, part)
                    target = lake.root / DAMAGED / finding.table / f"{day}.{part}.parquet"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(target)
                    moved.append(target)
            folder = lake.path(finding.table, day).parent
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return moved


def collect_garbage(settings: Settings, older_than_seconds: float, *, dry_run: bool = False) -> tuple[list[Path], int]:
    """Remove what killed runs left behind and files set aside, when older than a retention.

    Published days are never looked at: a day is replaced in place, so it has no superseded versions.

    Returns:
        The paths removed (or that would be) and their size in bytes.
    """
    lake = Lake.of(settings)
    limit = time.time() - older_than_seconds
    found: list[Path] = []
    for folder in (lake.root / STAGING, lake.root / DAMAGED):
        if folder.is_dir():
            found += [Path(p) for p in folder.rglob("*") if p.is_file() and p.stat().st_mtime < limit]
    for folder in Path(tempfile.gettempdir()).glob("seg_assets_spill_*"):
        if folder.stat().st_mtime < limit:
            found.append(folder)
    size = 0
    for path in sorted(found):
        size += path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return sorted(found), size


def _damaged(lake: Lake, *, verify: bool) -> list[Finding]:
    findings = []
    for table in TABLES:
        for day in lake.days(table):
            for part in lake.parts(table, day):
                try:
                    if verify:
                        lake.verify(table, day, part)
                    else:
                        lake.provenance(table, day, part)
                    _check_name(lake, table, day, part)
                except DamagedFileError as error:
                    mend = f"seg-assets doctor --verify --mend; seg-assets replay --from {day} --to {day}"
                    findings.append(Finding("damaged", table, day, day, str(error), mend))
    return findings


def _check_name(lake: Lake, table: str, day: dt.date, part: str) -> None:
    """Raise DamagedFileError for a good file in a wrong place: its footer names its table, day and part."""
    found = lake.provenance(table, day, part)
    if found and (found.table, found.day, found.part) != (table, day.isoformat(), part):
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
    from seg_assets.replay import days_to_land

    try:
        changed = days_to_land(settings, lake, have)
    except SegAssetsError as error:
        first, last = have[0], have[-1]
        return [*findings, Finding("stale", "raw_events", first, last, str(error), "restore the landing files")]
    return findings + [
        Finding("stale", "raw_events", a, b, "landing files changed since", f"seg-assets replay --from {a} --to {b}")
        for a, b in contiguous(changed)
    ]


def _stale_and_undecided(settings: Settings, lake: Lake) -> list[Finding]:
    from seg_assets.drift import decide
    from seg_assets.drift.staleness import stale
    from seg_assets.segments.strategy import strategies_of

    strategies = strategies_of(settings)
    findings = []
    for table, days in stale(lake, strategies).items():
        reasons: dict[str, list[dt.date]] = {}
        for day, why in days:
            reasons.setdefault(why, []).append(day)
        for why, those in reasons.items():
            for first, last in contiguous(those):
                kind: Kind = "stale" if lake.has(table, first) or lake.parts(table, first) else "missing"
                mend = f"seg-assets replay --from {first} --to {last}"
                findings.append(Finding(kind, table, first, last, why, mend))
    if not findings:
        for request in decide.plan(lake, strategies, settings).requests:
            mend = f"seg-assets replay --from {request.first} --to {request.last}"
            findings.append(
                Finding(
                    "undecided", f"segment_model/{request.strategy}", request.first, request.last, request.reason, mend
                )
            )
    return findings


def _failed_runs(settings: Settings) -> list[Finding]:
    """Days whose latest materialization attempt failed, by the instance's own partition status."""
    import dagster as dg

    from seg_assets.instance import instance_folder

    folder = instance_folder(settings)
    if not (folder / "dagster.yaml").exists():
        return []
    findings = []
    with dg.DagsterInstance.from_config(str(folder)) as instance:
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
                    "the last run of these days failed",
                    f"seg-assets replay --from {a} --to {b}",
                )
                for a, b in contiguous(failed)
            ]
    return findings
