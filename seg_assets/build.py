"""Wire every room into one Dagster code location.

`build_defs` puts together what the rooms build: assets, checks, jobs, schedules, sensors and the resource `shop`. Its
arguments add to that or replace it, for tests and for users who merge the result into `Definitions` of their own.
Schedules and sensors are off until somebody switches them on, or the setting `automation` does.

Not here: what an asset computes (`assets.py` of each room), when the loop runs what (`seg_assets.loop`).
"""

import datetime as dt
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg

from seg_assets.core import numerics
from seg_assets.core.settings import Settings
from seg_assets.drift import assets as drift_assets
from seg_assets.drift import evidently_report
from seg_assets.evaluation import assets as evaluation_assets
from seg_assets.evaluation import validity_assets
from seg_assets.events import assets as events_assets
from seg_assets.events import sensor as landing_sensor
from seg_assets.loop import sensor as drift_sensor
from seg_assets.loop.planner import is_behind, say_behind
from seg_assets.orchestration.ahead import Importer, import_ahead
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.profiles import assets as profiles_assets
from seg_assets.profiles import runner as dbt_runner
from seg_assets.reports import assets as reports_assets
from seg_assets.segments import assets as segments_assets
from seg_assets.segments import model_assets

# Dagster does not export the type of an asset job that is not yet bound to assets.
AssetJob = Any
Asset = dg.AssetsDefinition | dg.AssetSpec
Item = TypeVar("Item")

# The shop's day is closed and its files have landed by then.
DAILY_HOUR = 3

# In the order in which the data flows.
BUILDERS = (
    events_assets.build_assets,
    partial(profiles_assets.build_assets, backlog=say_behind),
    model_assets.build_assets,
    segments_assets.build_assets,
    evaluation_assets.build_assets,
    validity_assets.build_assets,
    drift_assets.build_assets,
    reports_assets.build_assets,
)

# Libraries that steps of a run use, in the order in which a day needs them.
IMPORTERS = (
    Importer(frozenset({"dbt_profiles"}), dbt_runner.import_dbt),
    Importer(
        frozenset({"segment_model", "user_segments", "segment_evaluation", "segment_validity", "drift_report"}),
        numerics.libraries,
    ),
    Importer(frozenset({"drift_report"}), evidently_report.import_evidently),
)


class ImportingShop(ShopResource):
    """The shop's settings; a run that asks for them begins to import what its later steps need."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Begin to import what the run's later steps need."""
        super().setup_for_execution(context)
        run, instance = context.run, context.instance
        if run is not None and instance is not None and run.execution_plan_snapshot_id:
            plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
            import_ahead(plan.step_keys_to_execute, IMPORTERS)


def build_defs(
    settings: Settings | Path | None = None,
    *,
    assets: Sequence[Asset] = (),
    asset_checks: Sequence[dg.AssetChecksDefinition] = (),
    jobs: Sequence[AssetJob] = (),
    schedules: Sequence[dg.ScheduleDefinition] = (),
    sensors: Sequence[dg.SensorDefinition] = (),
    resources: Mapping[str, Any] | None = None,
    executor: dg.ExecutorDefinition | None = dg.in_process_executor,
) -> dg.Definitions:
    """Build the code location of one shop.

    What is given replaces what has the same asset keys, name or resource key, and stands beside the rest. The jobs
    `daily`, `recluster` and `refresh` select the assets of this project only, so a merged code location may hold
    assets with other partitions. docs/architecture.md shows how to merge.

    Args:
        settings: the shop, or its settings file; default: what `Settings.from_env` reads.
        assets: further assets, or others for ours.
        asset_checks: further checks.
        jobs: further jobs, or others for ours. The sensors ask for `daily`, `recluster` and `refresh` by name.
        schedules: further schedules, or another `daily_schedule`.
        sensors: further sensors, or others for `landing_sensor` and `drift_sensor`.
        resources: further resources, or another `shop`.
        executor: of every job; None leaves the choice to the `Definitions` that this is merged into. The default is
            one process for all steps: a process per step imports everything again (2.9 times the time of a small
            shop's day, docs/performance.md).
    """
    if not isinstance(settings, Settings):
        settings = Settings.from_env(file=settings)
    with warnings.catch_warnings():
        # Backfill policies and checks per day are beta and preview in the Dagster that we pin: known, and tested.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        ours = build_assets(settings, daily_partitions(settings))
        named_jobs = {job.name: job for job in _replaced(build_jobs(ours), jobs, _name)}
        return dg.Definitions(
            assets=_replaced(ours, assets, _keys),
            asset_checks=list(asset_checks),
            jobs=list(named_jobs.values()),
            schedules=_replaced([_daily_schedule(named_jobs["daily"], settings)], schedules, _name),
            sensors=_replaced(_build_sensors(settings, named_jobs), sensors, _name),
            resources={"shop": ImportingShop(environment=settings.environment()), **(resources or {})},
            executor=executor,
        )


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Build the assets of every room, in the order in which the data flows."""
    return _with_freshness([asset for build in BUILDERS for asset in build(settings, partitions)])


def build_jobs(assets: Sequence[dg.AssetsDefinition]) -> list[AssetJob]:
    """Build the jobs over `assets`. Each takes one day or, with range tags, a contiguous range of days in one run."""
    everything = dg.AssetSelection.assets(*(key for asset in assets for key in asset.keys))
    landed = dg.AssetSelection.groups("events")
    model = dg.AssetSelection.assets("segment_model")
    selections = {
        "daily": (everything, "Materialize every room for a day or a range of days."),
        "recluster": (model, "Fit a challenger for a day and a strategy, and decide whether it replaces the champion."),
        "refresh": (everything - landed - model, "Recompute what a decision or late events made stale."),
    }
    return [
        dg.define_asset_job(name, selection=selection, description=text)
        for name, (selection, text) in selections.items()
    ]


def _replaced(ours: Iterable[Item], given: Sequence[Item], identity: Callable[[Item], frozenset[object]]) -> list[Item]:
    """Put `given` after `ours`, of which those are left out whose whole identity is given."""
    taken = frozenset[object]().union(*map(identity, given))
    return [*(item for item in ours if not identity(item) <= taken), *given]


def _name(item: Any) -> frozenset[object]:
    return frozenset({item.name})


def _keys(asset: Asset) -> frozenset[object]:
    return frozenset({asset.key}) if isinstance(asset, dg.AssetSpec) else frozenset(asset.keys)


def _daily_schedule(job: AssetJob, settings: Settings) -> dg.ScheduleDefinition:
    running = dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED
    return dg.build_schedule_from_partitioned_job(
        job,
        name="daily_schedule",
        description="Materialize the day that has just closed.",
        hour_of_day=DAILY_HOUR,
        default_status=running,
    )


def _build_sensors(settings: Settings, jobs: Mapping[str, AssetJob]) -> list[dg.SensorDefinition]:
    behind = partial(is_behind, settings=settings)
    return [
        *landing_sensor.build_sensors(settings, jobs["daily"], behind),
        *drift_sensor.build_sensors(settings, jobs),
    ]


def _with_freshness(assets: list[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Say when a day's tables are late: none materialized in the last 26 hours (a day plus the run itself)."""
    policy = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=26))
    watched = {dg.AssetKey(name) for name in ("raw_events", "user_profiles", "user_segments", "drift_report")}

    def with_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(freshness_policy=policy) if spec.key in watched else spec

    return [asset.map_asset_specs(with_policy) for asset in assets]
