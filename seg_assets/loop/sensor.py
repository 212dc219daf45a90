"""The drift sensor: looks at the lake, asks for the runs that `planner.plan` names, and says why when it rests.

It wakes on its own interval; a look at the newest materializations keeps idle ticks cheap. Nothing hangs on having
seen an event: the plan comes from the lake alone, so a missed tick or a restart changes nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from seg_assets.core.errors import SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.orchestration import tags
from seg_assets.orchestration.runs import in_flight
from seg_assets.segments.strategy import strategies_of

NAME = "drift_sensor"
# A request that failed three times does not mend itself; progress changes its key, and it starts anew at one.
MAX_ATTEMPTS = 3
# With nothing new in the instance the lake is still looked at every tenth tick: days can be made without Dagster.
IDLE_TICKS = 10
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def build_sensors(settings: Settings, jobs: Mapping[str, Any]) -> Sequence[dg.SensorDefinition]:
    """The drift sensor over the jobs `daily`, `recluster` and `refresh`."""
    running = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=NAME,
        jobs=[jobs[name] for name in ("recluster", "refresh", "daily")],
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=running,
        description="Ask for re-clusterings that are due and refresh what is stale, until the loop rests.",
    )
    def drift_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """Ask for re-clusterings that are due and for refreshes of what is stale, until the loop rests."""
        yield from tick(context, settings)

    return [drift_sensor]


def tick(context: dg.SensorEvaluationContext, settings: Settings) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One evaluation: run requests, or one reason why there are none."""
    instance = context.instance
    busy = in_flight(instance)
    if busy:
        yield dg.SkipReason(f"{busy} is at work; deciding when it is done")
        return
    cursor = Cursor.parse(context.cursor)
    newest = newest_materialization(instance)
    if cursor.rested_at == newest and cursor.idle < IDLE_TICKS:
        context.update_cursor(Cursor(newest, cursor.idle + 1, cursor.why).text())
        yield dg.SkipReason(f"nothing materialized since the loop came to rest: {cursor.why}")
        return
    try:
        plan = planner.plan(Lake.of(settings), strategies_of(settings), settings)
    except SegAssetsError as error:
        yield dg.SkipReason(f"cannot decide: {error}")
        return
    if not plan.runs:
        context.update_cursor(Cursor(newest, 0, plan.resting_because).text())
        yield dg.SkipReason(f"the loop rests: {plan.resting_because}")
        return
    context.update_cursor(Cursor(-1, 0, "").text())
    held = []
    for planned in plan.runs:
        attempt = next_attempt(instance, planned)
        if isinstance(attempt, str):
            held.append(attempt)
        else:
            yield run_request(attempt)
    if len(held) == len(plan.runs):
        yield dg.SkipReason("; ".join(held))


def run_request(planned: planner.PlannedRun) -> dg.RunRequest:
    """Return a planned run as Dagster wants it: one day as a partition, several as a range."""
    one = planned.first == planned.last
    return dg.RunRequest(
        run_key=f"{planned.key}-{planned.attempt}",
        job_name=planned.kind,
        run_config=planned.run_config(),
        tags={**planned.run_tags(), tags.ATTEMPT: str(planned.attempt)},
        partition_key=planned.first.isoformat() if one else None,
        asset_selection=[dg.AssetKey(name) for name in planned.assets()],
    )


def next_attempt(instance: dg.DagsterInstance, planned: planner.PlannedRun) -> planner.PlannedRun | str:
    """Return the run with the number of its attempt, or why it is not made again.

    The key holds the state of the lake that asks, so a run that changed anything leads to another key.
    """
    runs = instance.get_runs(filters=dg.RunsFilter(tags={tags.REQUEST: planned.key}), limit=MAX_ATTEMPTS + 1)
    what = f"{planned.kind} {planned.strategy or ', '.join(planned.tables)} of {planned.first} ({planned.reason})"
    if any(run.status == dg.DagsterRunStatus.SUCCESS for run in runs):
        done = next(run for run in runs if run.status == dg.DagsterRunStatus.SUCCESS)
        return f"{what}: run {done.run_id[:8]} succeeded and the lake still asks for it; see seg-assets doctor"
    failures = sum(run.status in FAILED for run in runs)
    if failures >= MAX_ATTEMPTS:
        return (
            f"{what}: gave up after {failures} failed runs, the last is {runs[0].run_id[:8]}; "
            "mend what it says and launch it again"
        )
    return replace(planned, attempt=failures + 1)


def newest_materialization(instance: dg.DagsterInstance) -> int:
    """Storage id of the newest materialization of any table; 0 when there is none."""
    newest = 0
    for table in TABLES:
        records = instance.fetch_materializations(dg.AssetKey(table), limit=1).records
        if records:
            newest = max(newest, records[0].storage_id)
    return newest


@dataclass(frozen=True)
class Cursor:
    """What the last tick knew: the newest materialization when the loop came to rest, and idle ticks since."""

    rested_at: int = -1
    idle: int = 0
    why: str = ""

    def text(self) -> str:
        """As the sensor's cursor."""
        return json.dumps([self.rested_at, self.idle, self.why])

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """The cursor of the last tick; a fresh one when there is none or it is of another version."""
        try:
            rested_at, idle, why = json.loads(text or "")
            return cls(int(rested_at), int(idle), str(why))
        except (ValueError, TypeError):
            return cls()
