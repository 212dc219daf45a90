"""Run the drift sensor: look at the lake, ask for the runs that `planner.plan` names, and say why when there are none.

The sensor wakes on its own interval; looking at the newest materialization first keeps idle ticks cheap. The plan comes
from the lake alone and not from events that a tick saw, so a missed tick or a restart changes nothing.

Not here: what is due (`planner`), the same loop without a daemon (`replay`), new landing files (`events.sensor`).
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
# A run that failed three times does not mend itself. Progress changes its key, and counting starts anew at one.
MAX_ATTEMPTS = 3
# With nothing new in the instance the lake is still looked at every tenth tick: days can be made without Dagster.
IDLE_TICKS = 10
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def build_sensors(settings: Settings, jobs: Mapping[str, Any]) -> Sequence[dg.SensorDefinition]:
    """Build the drift sensor over the jobs `daily`, `recluster` and `refresh`."""
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
    """Evaluate the sensor once: yield run requests, or one reason why there are none."""
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
    held_back = []
    for planned in plan.runs:
        attempt = next_attempt(instance, planned)
        if isinstance(attempt, str):
            held_back.append(attempt)
        else:
            yield run_request(attempt)
    if len(held_back) == len(plan.runs):
        yield dg.SkipReason("; ".join(held_back))


def run_request(planned: planner.PlannedRun) -> dg.RunRequest:
    """Return a planned run as Dagster takes it: one day as a partition, several as a range."""
    single = planned.first == planned.last
    return dg.RunRequest(
        run_key=f"{planned.key}-{planned.attempt}",
        job_name=planned.kind,
        run_config=planned.run_config(),
        tags={**planned.run_tags(), tags.ATTEMPT: str(planned.attempt)},
        partition_key=planned.first.isoformat() if single else None,
        asset_selection=[dg.AssetKey(name) for name in planned.assets()],
    )


def next_attempt(instance: dg.DagsterInstance, planned: planner.PlannedRun) -> planner.PlannedRun | str:
    """Return the planned run with the number of its attempt, or why it is not asked for again.

    The key holds the state of the lake that asks, so a run that changed anything leads to another key.
    """
    runs = instance.get_runs(filters=dg.RunsFilter(tags={tags.REQUEST: planned.key}), limit=MAX_ATTEMPTS + 1)
    what = f"{planned.kind} {planned.strategy or ', '.join(planned.tables)} of {planned.first} ({planned.reason})"
    succeeded = next((run for run in runs if run.status == dg.DagsterRunStatus.SUCCESS), None)
    if succeeded:
        return f"{what}: run {succeeded.run_id[:8]} succeeded and the lake still asks for it; see seg-assets doctor"
    failures = sum(run.status in FAILED for run in runs)
    if failures >= MAX_ATTEMPTS:
        return (
            f"{what}: gave up after {failures} failed runs, the last is {runs[0].run_id[:8]}; "
            "mend what it says and launch it again"
        )
    return replace(planned, attempt=failures + 1)


def newest_materialization(instance: dg.DagsterInstance) -> int:
    """Return the storage id of the newest materialization of any table; 0 when there is none."""
    newest = 0
    for table in TABLES:
        records = instance.fetch_materializations(dg.AssetKey(table), limit=1).records
        if records:
            newest = max(newest, records[0].storage_id)
    return newest


@dataclass(frozen=True)
class Cursor:
    """State of the last tick: the newest materialization when the loop came to rest, idle ticks since, and why."""

    rested_at: int = -1
    idle: int = 0
    why: str = ""

    def text(self) -> str:
        """Return the text that Dagster keeps."""
        return json.dumps([self.rested_at, self.idle, self.why])

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Return the cursor of the last tick; a fresh one when there is none or another version wrote it."""
        try:
            rested_at, idle, why = json.loads(text or "")
            return cls(int(rested_at), int(idle), str(why))
        except (ValueError, TypeError):
            return cls()
