"""Ask for runs of the job `daily` where landing files are new or changed: the landing sensor.

A missed tick, a restart or a lost cursor changes nothing: each tick decides from the landing zone and the lake.

Not here: which days are asked for (`events.changes`).
"""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import dagster as dg

from seg_assets.core.errors import SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.events.changes import Range, plan_tick
from seg_assets.events.source import load_source
from seg_assets.lake.store import Lake
from seg_assets.orchestration import tags
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.runs import in_flight


def build_sensors(
    settings: Settings, job: Any, is_behind: Callable[[Lake], bool] = lambda lake: False
) -> list[dg.SensorDefinition]:
    """Build the landing sensor, for the job that materializes days.

    `is_behind` says whether something in a lake waits for the drift sensor. A day whose yesterday is stale would be
    made from it, and fail its tests: then, and beside other runs, only landing tables are asked for. The drift sensor
    asks for the rest when its turn has come.
    """
    partitions = daily_partitions(settings)
    running = dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="landing_sensor",
        job=job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=running,
        description="Ask for the days whose landing files are new or changed, as contiguous ranges.",
    )
    def landing_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        try:
            cursor = json.loads(context.cursor) if context.cursor else {}
        except ValueError:
            cursor = {}
        try:
            source = load_source(settings.source)
            days = {dt.date.fromisoformat(k) for k in partitions.get_partition_keys()}
            lake = Lake.of(settings)
            tick = plan_tick(settings, lake, source, cursor, days)
            tables_only = bool(tick.ranges) and (bool(in_flight(context.instance)) or is_behind(lake))
        except SegAssetsError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        text = json.dumps(tick.cursor, sort_keys=True)
        if not tick.ranges:
            return dg.SensorResult(skip_reason=tick.why(), cursor=text)
        for asked in tick.ranges:
            context.log.info(f"asked for: {asked.why}")
        if tick.waiting:
            context.log.info(f"left: {tick.why()}")
        return dg.SensorResult(run_requests=[_request(asked, tables_only) for asked in tick.ranges], cursor=text)

    return [landing_sensor]


def _request(asked: Range, tables_only: bool) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"landing:{asked.first}:{asked.last}:{asked.fingerprint}",
        tags={**tags.of_range(asked.first, asked.last), tags.CAUSE: "landing", tags.WHY: asked.why},
        asset_selection=None if asked.whole and not tables_only else [dg.AssetKey(table) for table in asked.tables],
    )
