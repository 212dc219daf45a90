"""`build_defs` wires every room into one Dagster code location; tests pass their own settings and rooms.

Nothing here computes. Jobs: `daily` (every room), `recluster` (one decision), `refresh` (what a decision or a late
event made stale). Schedules and sensors are off until someone switches them on, or `automation` says so.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg

from seg_assets.core.settings import Settings
from seg_assets.orchestration.assets import Shop
from seg_assets.orchestration.partitions import daily_partitions

# Dagster does not export the type of an asset job that is not yet bound to assets.
AssetJob = Any

# The shop's day is closed and its files have landed by then.
DAILY_HOUR = 3


def build_defs(settings: Settings | None = None) -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors of the shop that `settings` (default: environment) describe."""
    settings = settings or Settings.from_env()
    partitions = daily_partitions(settings)
    with warnings.catch_warnings():
        # Backfill policies and checks per day are beta and preview in the Dagster that we pin: known, and tested.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        assets = _with_freshness(build_assets(settings, partitions))
        jobs = build_jobs()
        return dg.Definitions(
            assets=assets,
            jobs=list(jobs.values()),
            schedules=[_daily_schedule(jobs["daily"], settings)],
            sensors=_build_sensors(settings, jobs),
            resources={"shop": Shop(environment=settings.environment())},
            # One process for all steps: a process per step imports everything again (2.9x, docs/performance.md).
            executor=dg.in_process_executor,
        )


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of every room, in the order the data flows."""
    from seg_assets.drift import assets as drift
    from seg_assets.evaluation import assets as evaluation
    from seg_assets.evaluation import validity_assets as validity
    from seg_assets.events import assets as events
    from seg_assets.loop.planner import say_behind
    from seg_assets.profiles import assets as profiles
    from seg_assets.reports import assets as reports
    from seg_assets.segments import assets as segments
    from seg_assets.segments import model_assets as models

    profiles_of = partial(profiles.build_assets, backlog=say_behind)
    rooms = (models, segments, evaluation, validity, drift, reports)
    builders = [events.build_assets, profiles_of, *(room.build_assets for room in rooms)]
    return [asset for build in builders for asset in build(settings, partitions)]


def build_jobs() -> dict[str, AssetJob]:
    """The jobs by name. Each takes one day or, with range tags, a contiguous range of days in one run."""
    everything = dg.AssetSelection.all()
    landed = dg.AssetSelection.groups("events")
    model = dg.AssetSelection.assets("segment_model")
    selections = {
        "daily": (everything, "Materialize every room for a day or a range of days."),
        "recluster": (model, "Fit a challenger for a day and a strategy, and decide whether it replaces the champion."),
        "refresh": (everything - landed - model, "Recompute what a decision or late events made stale."),
    }
    return {
        name: dg.define_asset_job(name, selection=selection, description=text)
        for name, (selection, text) in selections.items()
    }


def _daily_schedule(job: AssetJob, settings: Settings) -> dg.ScheduleDefinition:
    running = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED
    return dg.build_schedule_from_partitioned_job(
        job,
        name="daily_schedule",
        description="Materialize the day that has just closed.",
        hour_of_day=DAILY_HOUR,
        default_status=running,
    )


def _build_sensors(settings: Settings, jobs: dict[str, AssetJob]) -> Sequence[dg.SensorDefinition]:
    from seg_assets.events.sensor import build_sensors as landing_sensors
    from seg_assets.loop.planner import is_behind
    from seg_assets.loop.sensor import build_sensors as drift_sensors

    behind = partial(is_behind, settings=settings)
    return [*landing_sensors(settings, jobs["daily"], behind), *drift_sensors(settings, jobs)]


def _with_freshness(assets: list[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Say when a day's segments are late: none materialized in the last 26 hours (a day plus the run itself)."""
    import datetime as dt

    policy = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=26))
    watched = {dg.AssetKey(name) for name in ("raw_events", "user_profiles", "user_segments", "drift_report")}

    def fresh(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(freshness_policy=policy) if spec.key in watched else spec

    return [asset.map_asset_specs(fresh) for asset in assets]
