"""Ask for runs of the job `daily` where landing files are new or changed: the landing sensor.

A missed tick, a restart or a lost cursor changes nothing: each tick decides from the landing zone and the lake. A run
that failed is asked for again, after a pause that grows.

Not here: which days are asked for (`events.changes`), and how long the pause is (`orchestration.runs`).
"""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import dagster as dg

from seg_assets.core.days import day_range
from seg_assets.core.errors import SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.events.changes import LANDED, Range, plan_tick
from seg_assets.events.source import load_source
from seg_assets.lake.store import Lake
from seg_assets.orchestration import tags
from seg_assets.orchestration.living import end_dead_runs
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.runs import Attempt, days_at_work, in_flight, next_attempt


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
            end_dead_runs(context.instance)
            at_work = days_at_work(context.instance, LANDED)
            tick = plan_tick(settings, lake, source, cursor if isinstance(cursor, dict) else {}, days, at_work)
            tables_only = bool(tick.ranges) and (bool(in_flight(context.instance)) or is_behind(lake))
        except SegAssetsError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        requests = []
        for asked in tick.ranges:
            attempt = next_attempt(context.instance, asked.key)
            if isinstance(attempt, str):
                for day in day_range(asked.first, asked.last):
                    tick.wait(attempt, day)
            else:
                context.log.info(f"asked for: {asked.why}")
                requests.append(_request(asked, attempt, tables_only))
        text = json.dumps(tick.cursor, sort_keys=True)
        if not requests:
            return dg.SensorResult(skip_reason=tick.why(), cursor=text)
        if tick.waiting:
            context.log.info(f"left: {tick.why()}")
        return dg.SensorResult(run_requests=requests, cursor=text)

    return [landing_sensor]


def _request(asked: Range, attempt: Attempt, tables_only: bool) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=attempt.run_key,
        tags={
            **tags.of_range(asked.first, asked.last),
            tags.CAUSE: "landing",
            tags.WHY: asked.why,
            tags.REQUEST: asked.key,
            tags.ATTEMPT: str(attempt.number),
        },
        asset_selection=None if asked.whole and not tables_only else [dg.AssetKey(table) for table in asked.tables],
    )
