"""Say what is wrong with a lake and its instance, per table and day, with the command that mends it.

Nothing is changed here. Not here: moving damaged files out of the way, and removing what killed runs left
(`loop.mending`); hashing rows anew (`loop.rehash`).
"""

import datetime as dt
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from seg_assets.core.calendar import last_closed_day
from seg_assets.core.days import ONE_DAY, contiguous, day_range
from seg_assets.core.errors import ConfigError, DamagedFileError, InstanceError, MissingDaysError, SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.events.changes import changed_days, days_without_data
from seg_assets.events.landing import all_files, files_not_taken, say_not_taken
from seg_assets.events.reader import Reader
from seg_assets.events.source import load_source
from seg_assets.lake import content_hash
from seg_assets.lake.stamps import day_of
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.loop.rehash import files_of_other_kinds
from seg_assets.loop.staleness import Snapshot
from seg_assets.orchestration import tags
from seg_assets.orchestration.instance import instance_folder, open_instance
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.runs import TELLING_FAILURES, why_failed
from seg_assets.segments.decisions.store import TABLE as DECISIONS
from seg_assets.segments.decisions.store import holds_all, lost_by_hand
from seg_assets.segments.strategy import strategies_of

Kind = Literal["missing", "refused", "stale", "damaged", "other hash", "undecided", "failed run", "instance"]
CARRIED = ("raw_users", "raw_products")
# Days without an event between `start_day` and the first one that make one of the two look wrong.
FAR_DAYS = 31
# Failed runs whose causes are looked up; older ones are counted by Dagster alone.
FAILURES_LOOKED_AT = 50
MEND = "seg-assets doctor --verify --mend"

# Takes table, day and part; raises DamagedFileError where the file is damaged.
Look = Callable[[str, dt.date, str], object]


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
        """Return the finding for a terminal: what is wrong, and below it what mends it."""
        days = f"{self.first}" if self.first == self.last else f"{self.first} .. {self.last}"
        return f"{self.kind:<10} {self.table:<22} {days:<24} {self.why}\n{'':<11}mend: {self.mend}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {k: v.isoformat() if isinstance(v, dt.date) else v for k, v in asdict(self).items()}


def look_around(settings: Settings) -> list[str]:
    """Say what a verdict of health is about: which lake, which days, which landing files, how far behind."""
    lake = Lake.of(settings)
    days = lake.days("raw_events")
    if not days:
        return [f"lake {lake.root}: no day", _landing_zone(settings)]
    behind = (last_closed_day(settings) - days[-1]).days
    late = f"{behind} day{'s' if behind > 1 else ''} behind {last_closed_day(settings)}" if behind > 0 else "up to date"
    said = [f"lake {lake.root}: {len(days)} days, {days[0]} .. {days[-1]}, {late}", _landing_zone(settings)]
    first = next((day for day, footer in sorted(lake.provenances("raw_events").items()) if footer.rows), None)
    if first is None:
        said.append("no day has an event yet")
    elif (first - settings.start_day).days > FAR_DAYS:
        said.append(
            f"the first event is of {first}, {(first - settings.start_day).days} days after start_day = "
            f"{settings.start_day}: is start_day, or the source, of another shop?"
        )
    return said


def require_days(settings: Settings) -> None:
    """Raise ConfigError when there is no lake, or no day in it: nothing can be said of its health."""
    lake = Lake.of(settings)
    if not lake.days("raw_events"):
        raise ConfigError(
            f"lake = {lake.root}: holds no day, so there is nothing to examine; set SEG_ASSETS_HOME (or lake) to the "
            "shop's own, or make its first days: seg-assets replay --from DAY --to DAY"
        )


def _landing_zone(settings: Settings) -> str:
    assert settings.landing is not None
    try:
        source = load_source(settings.source)
        taken = len(all_files(source, settings.landing))
        left = files_not_taken(source, settings.landing)
    except SegAssetsError as error:
        return f"landing {settings.landing}: {error}"
    return f"landing {settings.landing}: {taken} files that feeds of {source.name} read, {say_not_taken(left)}"


def examine(settings: Settings, *, verify: bool = False) -> list[Finding]:
    """Return everything that is missing, stale, damaged or undecided, worst kind first.

    Args:
        settings: the shop.
        verify: also read every file whole and compare its rows with the hash in its footer.
    """
    lake = Lake.of(settings)
    damaged = damaged_files(lake, lake.verify if verify else partial(check_name, lake))
    if damaged:
        # Staleness is read from footers: with a damaged one in the way it would be a guess.
        return damaged
    try:
        of_other_kinds = _of_other_kinds(lake)
        findings = [*of_other_kinds, *_missing(settings, lake)]
        if not of_other_kinds:
            findings += _stale_and_undecided(settings, lake)
    except DamagedFileError:
        # Deciding reads verdicts and decisions, rows too: a look at every file's bytes names the days.
        findings = damaged_files(lake, lake.check) or damaged_files(lake, lake.verify)
        if not findings:
            raise
    failed = _failed_runs(settings)
    return [*(_after_failures(finding, failed) for finding in findings), *failed]


def _after_failures(finding: Finding, failed: Sequence[Finding]) -> Finding:
    """Return a finding with the cause of the run that just failed on its days, so that nobody is sent into it again."""
    for run in failed:
        if run.table == finding.table and run.first <= finding.last and finding.first <= run.last:
            return replace(finding, mend=f"mend what failed ({run.why}); {finding.mend}")
    return finding


def damaged_files(lake: Lake, look: Look) -> list[Finding]:
    """Return a finding for every part that `look` says is damaged, and for what lies in a day's way."""
    findings = []
    for table in TABLES:
        for day in _blocked_days(lake, table):
            why = f"{lake.path(table, day).parent}: is no folder, so the day cannot be written"
            findings.append(Finding("damaged", table, day, day, why, _mend_file(lake, table, day)))
        for day in lake.days(table):
            for part in lake.parts(table, day):
                try:
                    look(table, day, part)
                except MissingDaysError:
                    continue  # gone meanwhile
                except DamagedFileError as error:
                    findings.append(_damage(lake, table, day, part, str(error)))
    return findings


def check_name(lake: Lake, table: str, day: dt.date, part: str) -> None:
    """Raise DamagedFileError for a good file in a wrong place: its footer names its table, day and part."""
    footer = lake.provenance(table, day, part)
    if footer and not footer.is_of(table, day, part):
        raise DamagedFileError(
            f"{lake.path(table, day, part)}: is {footer.table} of {footer.day} by its footer; "
            f"re-materialize {table} for {day}"
        )


def is_in_the_way(lake: Lake, table: str, day: dt.date) -> bool:
    """Return whether something that is no folder lies where a day's folder belongs, so that no day can be written."""
    folder = lake.path(table, day).parent
    return not lake.remote and os.path.lexists(folder) and not folder.is_dir()


def mend_by_hand(path: Path, strategy: str, day: dt.date) -> str:
    """Say what to do about a file that may hold decisions taken by hand."""
    return (
        f"restore it from a copy, or give up what it holds: rm {shlex.quote(str(path))}; "
        f"seg-assets replay --from {day} --to {day}; and take the decision again "
        f"(seg-assets rollback {strategy} --day {day}, or cause manual: docs/strategies.md)"
    )


def _damage(lake: Lake, table: str, day: dt.date, part: str, why: str) -> Finding:
    if table == DECISIONS:
        lost = "" if holds_all(lake, part, day) else lost_by_hand(lake, part, day)
        if lost:
            mend = mend_by_hand(lake.path(table, day, part), part, day)
            return Finding("damaged", table, day, day, f"{why}; {lost}", mend)
    return Finding("damaged", table, day, day, why, _mend_file(lake, table, day))


def _mend_file(lake: Lake, table: str, day: dt.date) -> str:
    # Users and products carry forward: the next day was made from this one, and is read again too.
    last = day + ONE_DAY if table in CARRIED and lake.has(table, day + ONE_DAY) else day
    return f"{MEND}; {_replay(day, last)}"


def _replay(first: dt.date, last: dt.date) -> str:
    return f"seg-assets replay --from {first} --to {last}"


def _blocked_days(lake: Lake, table: str) -> list[dt.date]:
    folder = lake.root / table
    if lake.remote or not folder.is_dir():
        return []
    days = [day for child in folder.iterdir() if (day := day_of(child.name)) is not None]
    return sorted(day for day in days if is_in_the_way(lake, table, day))


def _of_other_kinds(lake: Lake) -> list[Finding]:
    days: dict[tuple[str, str], list[dt.date]] = {}
    for table, day, _, footer in files_of_other_kinds(lake):
        days.setdefault((table, footer.hash_kind), []).append(day)
    return [
        Finding(
            "other hash",
            table,
            first,
            last,
            f"content hashes of the kind {kind}, this version computes {content_hash.HASH_KIND}: they say nothing "
            "about each other, so that nobody can tell what is stale",
            "seg-assets rehash",
        )
        for (table, kind), those in days.items()
        for first, last in contiguous(those)
    ]


def _missing(settings: Settings, lake: Lake) -> list[Finding]:
    have = [day for day in lake.days("raw_events") if settings.end_day is None or day <= settings.end_day]
    if not have:
        return []
    of_all = (day for table in TABLES for day in lake.days(table))
    last = max(day for day in of_all if settings.end_day is None or day <= settings.end_day)
    gaps = lake.missing("raw_events", day_range(settings.start_day, last))
    try:
        with Reader.of(settings) as reader:
            waiting = days_without_data(reader, lake, gaps)
            changed = changed_days(reader, lake, have)
    except SegAssetsError as error:
        findings = list(_raw_findings("missing", gaps, "never materialized, and later days read it"))
        first, last = have[0], have[-1]
        return [*findings, Finding("stale", "raw_events", first, last, str(error), "restore the landing files")]
    findings = list(
        _raw_findings("missing", [d for d in gaps if d not in waiting], "never materialized, and later days read it")
    )
    for first, last in contiguous(waiting):
        mend = f"deliver what is missing, or wait for it; {_replay(first, last)}"
        findings.append(Finding("missing", "raw_events", first, last, waiting[first], mend))
    by_reason: dict[tuple[str, str], list[dt.date]] = {}
    for day, change in changed.items():
        for table, why in change.reasons.items():
            by_reason.setdefault((table, why), []).append(day)
    for (table, why), days in by_reason.items():
        for first, last in contiguous(days):
            findings.append(Finding("stale", table, first, last, why, _replay(first, last)))
    return findings


def _raw_findings(kind: Kind, days: Iterable[dt.date], why: str) -> Iterator[Finding]:
    for first, last in contiguous(days):
        yield Finding(kind, "raw_events", first, last, why, _replay(first, last))


def _stale_and_undecided(settings: Settings, lake: Lake) -> list[Finding]:
    strategies = strategies_of(settings)
    findings = []
    now = Snapshot(lake, strategies, settings.end_day)
    for day, why in now.refused.items():
        mend = f"mend the source or deliver the file again, then {_replay(day, day)}"
        findings.append(Finding("refused", "raw_events", day, day, f"{why}; nothing is made of the day", mend))
    reasons: dict[tuple[str, str, bool], list[dt.date]] = {}
    for item in now.stale():
        reasons.setdefault((item.table, item.why, item.computable), []).append(item.day)
    for (table, why, computable), those in reasons.items():
        for first, last in contiguous(those):
            kind: Kind = "stale" if lake.has(table, first) or lake.parts(table, first) else "missing"
            mend = _replay(first, last) if computable else "follows by itself once what it waits for is there"
            findings.append(Finding(kind, table, first, last, why, mend))
    for run in planner.plan(lake, strategies, settings).runs:
        if run.kind == "recluster":
            mend = _replay(run.first, run.last)
            findings.append(Finding("undecided", f"{DECISIONS}/{run.strategy}", run.first, run.last, run.reason, mend))
    return findings


@dataclass(frozen=True)
class _FailedRun:
    """A run that failed: the tables it was to make (None: all), the days, and what it said."""

    tables: frozenset[str] | None
    first: dt.date
    last: dt.date
    cause: str


def _failed_runs(settings: Settings) -> list[Finding]:
    """Return the days whose latest materialization failed, by the instance's own partition status."""
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


def _failed_in(settings: Settings, instance: dg.DagsterInstance) -> list[Finding]:
    findings = []
    partitions = daily_partitions(settings)
    failed_runs: list[_FailedRun] | None = None
    for table in TABLES:
        statuses = instance.get_status_by_partition(dg.AssetKey(table), partitions.get_partition_keys(), partitions)
        failed = [dt.date.fromisoformat(k) for k, v in (statuses or {}).items() if v and v.name == "FAILED"]
        for first, last in contiguous(failed):
            if failed_runs is None:
                failed_runs = list(_newest_failures(instance))
            runs = [
                run
                for run in failed_runs
                if run.first <= last and first <= run.last and (run.tables is None or table in run.tables)
            ]
            cause = f": {runs[0].cause}" if runs else "; its log says why"
            again = f" ({len(runs)} runs of them failed)" if len(runs) >= TELLING_FAILURES else ""
            why = f"the last run of these days failed{again}{cause}"
            mend = f"mend what the run says; seg-assets replay --again --from {first} --to {last}"
            findings.append(Finding("failed run", table, first, last, why, mend))
    return findings


def _newest_failures(instance: dg.DagsterInstance) -> Iterator[_FailedRun]:
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    for record in instance.get_run_records(filters=filters, limit=FAILURES_LOOKED_AT):
        run = record.dagster_run
        span = tags.range_of(run.tags)
        if span is not None:
            tables = frozenset(key.to_user_string() for key in run.asset_selection) if run.asset_selection else None
            yield _FailedRun(tables, *span, why_failed(instance, run.run_id))
