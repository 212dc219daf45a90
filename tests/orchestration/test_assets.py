"""Metadata and check status belong to their day, for a single day and for a range in one run."""

import datetime as dt

import dagster as dg
import pytest

from seg_assets.core.errors import ConfigError, LakeWriteError
from seg_assets.core.settings import Settings
from seg_assets.orchestration.assets import (
    SINGLE_RUN,
    Check,
    DayResult,
    ShopResource,
    log_progress,
    record_days,
    user_errors,
)
from seg_assets.orchestration.partitions import daily_partitions, days_of_run
from seg_assets.orchestration.tags import of_range

KEY = dg.AssetKey("numbers")
BAD_DAY = dt.date(2024, 1, 2)


@pytest.fixture
def job():
    partitions = daily_partitions(Settings.from_env({}, end_day=dt.date(2024, 1, 31)))

    @dg.asset(
        name="numbers",
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        check_specs=[dg.AssetCheckSpec("day_is_good", asset=KEY, partitions_def=partitions)],
    )
    def numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        results = [
            DayResult(day, {"rows": day.day}, [Check("day_is_good", day != BAD_DAY, {"rows": day.day, "on": day})])
            for day in log_progress(context, days_of_run(context))
        ]
        return record_days(context, KEY, results)

    return dg.Definitions(assets=[numbers], jobs=[dg.define_asset_job("job")]).resolve_job_def("job")


def _statuses(instance):
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, "day_is_good"), limit=100
    )
    latest = {}
    for record in records:
        if record.event and record.status.name != "PLANNED":
            latest.setdefault(record.partition, record.status.name)
    return latest


def test_a_range_is_one_run_with_metadata_and_check_status_per_day(job):
    instance = dg.DagsterInstance.ephemeral()
    result = job.execute_in_process(instance=instance, tags=of_range("2024-01-01", "2024-01-03"))
    assert result.success
    records = instance.fetch_materializations(KEY, limit=10).records
    rows = {r.partition_key: r.asset_materialization.metadata["rows"].value for r in records}
    assert rows == {"2024-01-01": 1, "2024-01-02": 2, "2024-01-03": 3}
    statuses = _statuses(instance)
    assert statuses["2024-01-01"] == statuses["2024-01-03"] == "SUCCEEDED"
    assert statuses["2024-01-02"] == "FAILED"


def test_a_range_can_be_run_again_and_the_newest_status_stands(job):
    # A runless event of the same check and day was a duplicate key in Dagster's storage: the second run failed.
    instance = dg.DagsterInstance.ephemeral()
    for last in ("2024-01-03", "2024-01-02"):
        tags = of_range("2024-01-01", last)
        assert job.execute_in_process(instance=instance, tags=tags).success
    assert _statuses(instance)["2024-01-02"] == "FAILED"


def test_a_single_day_has_its_own_status(job):
    instance = dg.DagsterInstance.ephemeral()
    for day in ("2024-01-02", "2024-01-05"):
        assert job.execute_in_process(instance=instance, partition_key=day).success
    assert _statuses(instance) == {"2024-01-02": "FAILED", "2024-01-05": "SUCCEEDED"}


def test_the_run_says_which_days_of_a_range_failed(job):
    result = job.execute_in_process(tags=of_range("2024-01-01", "2024-01-03"))
    (check,) = [e for e in result.get_asset_check_evaluations() if e.partition is None]
    assert not check.passed
    assert check.metadata["failed"].value == "2024-01-02"
    assert check.metadata["days_failed"].value == 1


def test_the_shop_resource_reads_its_settings_when_asked(monkeypatch):
    shop = ShopResource(environment={"SEG_ASSETS_SEED": "7"})
    monkeypatch.setenv("SEG_ASSETS_START_DAY", "2023-05-01")
    assert (shop.settings().seed, shop.settings().start_day) == (7, dt.date(2023, 5, 1))


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConfigError("k = 0: at least 2"), 1),
        (OSError("disk"), 3),
        (LakeWriteError("store away"), 3),
        # The signal of a run that is stopped, as it is and as DuckDB hides it.
        (KeyboardInterrupt("stopped"), 1),
        (RuntimeError("Query interrupted"), 1),
    ],
)
def test_a_fault_of_io_is_retried_and_neither_a_mistake_nor_a_run_that_is_stopped(error, attempts, monkeypatch):
    monkeypatch.setattr("seg_assets.orchestration.assets.RETRY_SECONDS", 0)
    calls = []

    @dg.asset
    @user_errors
    def broken(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        calls.append(shop.settings().seed)
        raise error

    result = dg.materialize([broken], resources={"shop": ShopResource()}, raise_on_error=False)
    assert not result.success
    assert len(calls) == attempts
    assert str(error) in str(result.all_events)


def test_a_check_that_is_not_per_day_is_one_result_of_the_run_that_names_the_days():
    partitions = daily_partitions(Settings.from_env({}, end_day=dt.date(2024, 1, 31)))

    @dg.asset(
        name="numbers",
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        check_specs=[dg.AssetCheckSpec("day_is_good", asset=KEY)],
    )
    def numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        results = [
            DayResult(day, {}, [Check("day_is_good", day != BAD_DAY, per_day=False)]) for day in days_of_run(context)
        ]
        return record_days(context, KEY, results)

    job = dg.Definitions(assets=[numbers], jobs=[dg.define_asset_job("job")]).resolve_job_def("job")
    instance = dg.DagsterInstance.ephemeral()
    result = job.execute_in_process(instance=instance, tags=of_range("2024-01-01", "2024-01-04"))
    assert _statuses(instance) == {None: "FAILED"}
    (check,) = result.get_asset_check_evaluations()
    assert check.metadata["failed"].value == "2024-01-02"
