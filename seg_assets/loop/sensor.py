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

from seg_assets.core.digests import digest
from seg_assets.core.errors import SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.orchestration import tags
from seg_assets.orchestration.living import end_dead_runs
from seg_assets.orchestration.runs import in_flight, next_attempt
from seg_assets.segments.strategy import strategies_digest, strategies_of

NAME = "drift_sensor"
# With nothing new in the instance the lake is looked at every fifth tick: days are made, and lost, without Dagster.
IDLE_TICKS = 5


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
    end_dead_runs(instance)
    busy = in_flight(instance)
    if busy:
        yield dg.SkipReason(f"{busy} is at work; deciding when it is done")
        return
    cursor = Cursor.parse(context.cursor)
    newest = newest_materialization(instance)
    try:
        lake, strategies = Lake.of(settings), strategies_of(settings)
        shop = digest([strategies_digest(strategies), lake.shop_inputs, settings.seed, str(settings.end_day)])
        if (cursor.rested_at, cursor.shop) == (newest, shop) and cursor.idle < IDLE_TICKS:
            context.update_cursor(replace(cursor, idle=cursor.idle + 1).text())
            yield dg.SkipReason(f"nothing materialized since the loop came to rest: {cursor.why}")
            return
        plan = planner.plan(lake, strategies, settings)
    except SegAssetsError as error:
        yield dg.SkipReason(f"cannot decide: {error}")
        return
    if not plan.runs:
        context.update_cursor(Cursor(newest, 0, plan.resting_because, shop).text())
        yield dg.SkipReason(f"the loop rests: {plan.resting_because}")
        return
    context.update_cursor(Cursor().text())
    held_back = []
    for planned in plan.runs:
        attempt = next_attempt(instance, planned.key)
        if isinstance(attempt, str):
            what = f"{planned.kind} {planned.strategy or ', '.join(planned.tables)} of {planned.first}"
            held_back.append(f"{what} ({planned.reason}): {attempt}")
        else:
            yield run_request(replace(planned, attempt=attempt.number), attempt.run_key)
    if len(held_back) == len(plan.runs):
        yield dg.SkipReason("; ".join(held_back))


def run_request(planned: planner.PlannedRun, run_key: str) -> dg.RunRequest:
    """Return a planned run as Dagster takes it: one day as a partition, several as a range."""
    single = planned.first == planned.last
    return dg.RunRequest(
        run_key=run_key,
        job_name=planned.kind,
        run_config=planned.run_config(),
        tags={**planned.run_tags(), tags.ATTEMPT: str(planned.attempt)},
        partition_key=planned.first.isoformat() if single else None,
        asset_selection=[dg.AssetKey(name) for name in planned.assets()],
    )


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
    """State of the last tick.

    rested_at: the newest materialization when the loop came to rest. idle: ticks since. why: it rests.
    shop: digest of the strategies, features and settings that the plan was made with.
    """

    rested_at: int = -1
    idle: int = 0
    why: str = ""
    shop: str = ""

    def text(self) -> str:
        """Return the text that Dagster keeps."""
        return json.dumps([self.rested_at, self.idle, self.why, self.shop])

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Return the cursor of the last tick; a fresh one when there is none or another version wrote it."""
        try:
            rested_at, idle, why, shop = json.loads(text or "")
            return cls(int(rested_at), int(idle), str(why), str(shop))
        except (ValueError, TypeError):
            return cls()
