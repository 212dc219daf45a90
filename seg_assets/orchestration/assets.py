"""Make what the Dagster faces of all rooms share: the shop's resource, metadata and check status by day, specs.

Rooms take a contiguous range of days in one run. Dagster then stores an asset check without a partition, so that the
status of each day is logged as an event of its own (measured on Dagster 1.13; see docs/architecture.md).

Not here: partitions and the days of a run (`orchestration.partitions`), run tags (`orchestration.tags`).
"""

import contextlib
import datetime as dt
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import dagster as dg

from seg_assets.core.errors import LakeWriteError, SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.table_spec import Column
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.orchestration import living

P = ParamSpec("P")
R = TypeVar("R")

OWNER = "team:data-platform"
SINGLE_RUN = dg.BackfillPolicy.single_run()
# Disk and network hiccups pass; bad data does not, and raises dg.Failure(allow_retries=False). Asked for by each step
# (`user_errors`) and no policy of Dagster's, which takes a run that is stopped for a fault of the step and goes on.
MOST_RETRIES = 2
RETRY_SECONDS = 4
# DuckDB puts this RuntimeError in the place of whatever a signal's handler raised while a query was at work.
QUERY_INTERRUPTED = "Query interrupted"
# One slot protects memory: two rooms of a million users at once do not fit in a small machine.
HEAVY_POOL = "seg_heavy"
# Events of one transaction where the storage can write many at once: other processes wait 3 ms for each.
EVENTS_AT_ONCE = 100


class ShopResource(dg.ConfigurableResource):
    """The settings as a Dagster resource: each run reads them when it starts, never at import.

    The fields are the settings as environment variables, so that tests override them in one place.
    """

    environment: dict[str, str] = {}  # noqa: RUF012  a pydantic field

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Say that this process works on the run."""
        if context.run is not None:
            living.hold(context.run.run_id)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Say that this process does not work on the run any more."""
        if context.run is not None:
            living.let_go(context.run.run_id)

    def settings(self) -> Settings:
        """Return the settings of this shop."""
        return Settings.from_env({**os.environ, **self.environment})

    def lake(self) -> Lake:
        """Return the lake of this shop."""
        return Lake.of(self.settings())


@dataclass(frozen=True)
class Check:
    """Outcome of one asset check for one day. `name` is a true statement, `passed` says whether it holds."""

    name: str
    passed: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    # Whether each day of a range has a status of its own. An event costs Dagster 20 to 40 ms, so the many small data
    # tests (25 for each day of profiles) are one result of the run, which names the days that failed; their specs
    # then declare no partitions, or the days would stay "planned" for ever.
    per_day: bool = True


@dataclass(frozen=True)
class DayResult:
    """What an asset tells the UI about one day."""

    day: dt.date
    metadata: Mapping[str, Any]
    checks: Sequence[Check] = ()
    data_version: str | None = None


def record_days(
    context: dg.AssetExecutionContext, asset_key: dg.AssetKey, results: Sequence[DayResult]
) -> dg.MaterializeResult:
    """Attach each day's metadata and check status to its own partition, and return the run's result.

    With one day, checks travel with the result and Dagster stores their partition. With a range, each day's
    status is an event of its own, and the run's result says how many days failed.
    """
    by_check: dict[str, list[tuple[dt.date, Check]]] = {}
    ranged = len(results) > 1
    events: list[dg.AssetCheckEvaluation] = []
    for result in results:
        if ranged:
            context.add_asset_metadata(dict(result.metadata), asset_key=asset_key, partition_key=result.day.isoformat())
        for check in result.checks:
            by_check.setdefault(check.name, []).append((result.day, check))
            if ranged and check.per_day:
                events.append(
                    dg.AssetCheckEvaluation(
                        asset_key=asset_key,
                        check_name=check.name,
                        passed=check.passed,
                        metadata=_normalized(check.metadata),
                        severity=check.severity,
                        partition=result.day.isoformat(),
                    )
                )
    # Events of this run, not runless ones: Dagster stores a second runless event of the same check and day as a
    # duplicate key, so that a range could be run only once.
    # A home may have opted in to a storage that can write many events at once (seams.dagster_storage).
    at_once = getattr(context.instance.event_log_storage, "at_once", contextlib.nullcontext)
    for start in range(0, len(events), EVENTS_AT_ONCE):
        with at_once():
            for event in events[start : start + EVENTS_AT_ONCE]:
                context.log_event(event)
    return dg.MaterializeResult(
        asset_key=asset_key,
        metadata=dict(results[0].metadata) if len(results) == 1 else {"days": len(results)},
        check_results=[_combined(asset_key, name, items) for name, items in by_check.items()],
    )


def _normalized(metadata: Mapping[str, Any]) -> dict[str, dg.MetadataValue]:
    plain = {k: v.isoformat() if isinstance(v, dt.date) else v for k, v in metadata.items()}
    return dict(dg.AssetObservation(asset_key="normalize", metadata=plain).metadata)


def _combined(asset_key: dg.AssetKey, name: str, items: list[tuple[dt.date, Check]]) -> dg.AssetCheckResult:
    failed = [day for day, check in items if not check.passed]
    metadata = dict(items[0][1].metadata) if len(items) == 1 else {"days": len(items), "days_failed": len(failed)}
    if failed and len(items) > 1:
        metadata["failed"] = ", ".join(str(d) for d in failed[:20])
        metadata.update({f"first_{k}": v for k, v in next(c for _, c in items if not c.passed).metadata.items()})
    severities = [c.severity for _, c in items if not c.passed]
    worst = dg.AssetCheckSeverity.ERROR if dg.AssetCheckSeverity.ERROR in severities else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=name,
        passed=not failed,
        severity=worst if failed else items[0][1].severity,
        metadata=_normalized(metadata),
    )


def user_errors(compute: Callable[P, R]) -> Callable[P, R]:
    """Wrap an asset's function: an error a user must mend fails the run at once, and any other is retried.

    A full disk or a broken network may pass on a retry; a typo in a YAML or a missing day does not. A run that is
    stopped ends.
    """

    @functools.wraps(compute)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return compute(*args, **kwargs)
        except (dg.Failure, dg.RetryRequested):
            raise
        except Exception as error:
            if isinstance(error, SegAssetsError) and not isinstance(error, LakeWriteError):
                metadata = {"error": type(error).__name__}
                raise dg.Failure(str(error), metadata=metadata, allow_retries=False) from error
            if str(error) == QUERY_INTERRUPTED:
                raise KeyboardInterrupt from error
            raise dg.RetryRequested(MOST_RETRIES, RETRY_SECONDS) from error

    return wrapped


# Set by the command line to draw a progress bar: called with the asset's name, days done and days in all.
on_progress: Callable[[str, int, int], None] | None = None


def log_progress(context: dg.AssetExecutionContext, days: Sequence[dt.date]) -> Iterator[dt.date]:
    """Yield the days of a run, oldest first, and log day n of N with the rate, at most every two seconds."""
    started = last = time.monotonic()
    for n, day in enumerate(days, 1):
        yield day
        if on_progress:
            on_progress(context.op_execution_context.op.name, n, len(days))
        now = time.monotonic()
        if now - last >= 2 or n == len(days):
            rate = n / max(now - started, 1e-9)
            context.log.info(
                f"{context.op_execution_context.op.name}: day {day} done, {n} of {len(days)}, {rate:.2f} days/s"
            )
            last = now


def deps_of(table: str) -> list[dg.AssetDep]:
    """Return the tables that a table reads, as dependencies of the same day (`partitions` says why not of a window)."""
    return [dg.AssetDep(name) for name in TABLES[table].tables_read]


def columns_of(table: str | Sequence[Column]) -> dg.TableSchema:
    """Return names, types and descriptions of a table's columns, or of the columns given, for the UI."""
    columns = TABLES[table].columns if isinstance(table, str) else table
    return dg.TableSchema(columns=[dg.TableColumn(c.name, c.kind, description=c.description) for c in columns])
