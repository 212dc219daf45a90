"""The asset `segment_model` in real Dagster runs: sparse days, ranges, requests, what the UI is told."""

import datetime as dt

import dagster as dg
import numpy as np
import pytest
import yaml

from seg_assets.core.settings import Settings
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.tags import of_range
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.model_assets import KEY, SegmentModelConfig, build_assets
from tests.segments.fit_shop import DAY, SPEC, START, lake_at, publish, publish_verdict, users

DAYS = [DAY + dt.timedelta(days=n) for n in range(4)]


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "value.yaml").write_text(yaml.safe_dump(SPEC))
    settings = Settings(
        home=tmp_path, lake=tmp_path / "lake", strategies=folder, start_day=START, end_day=dt.date(2024, 12, 31)
    )
    lake = lake_at(tmp_path)
    for day in DAYS:
        publish(lake, day, users())
    return settings, lake


def run(settings, instance, first, last=None, requests=(), force=False):
    """A run of the asset for a day or a range, as the UI launches it."""
    (asset,) = build_assets(settings, daily_partitions(settings))
    tags = of_range(first, last)
    definitions = dg.Definitions([asset], resources={"shop": ShopResource(environment=settings.environment())})
    job = definitions.get_implicit_global_asset_job_def()
    config = {"ops": {"segment_model": {"config": {"requests": list(requests), "force": force}}}}
    return job.execute_in_process(
        instance=instance,
        partition_key=None if last else str(first),
        tags=tags if last else None,
        run_config=config,
        raise_on_error=False,
    )


def told(instance, day):
    """Metadata of the latest materialization of a day."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[str(day)]), limit=1
    ).records
    return records[0].asset_materialization.metadata


def test_a_ranged_run_fits_once_and_tells_each_day_what_was_decided(shop):
    settings, lake = shop
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(settings, instance, DAYS[0], DAYS[3]).success
        assert lake.days("segment_model") == [DAYS[0]], "a sparse asset: only the day of the fit holds rows"
        first, second = told(instance, DAYS[0]), told(instance, DAYS[1])
        assert first["decision"].value == "value: bootstrap, promoted"
        assert "Frequent big spenders" in first["value_segments"].value
        assert first["value_k"].value == 4
        assert second["decision"].value == "none"
        assert "is in force" in second["strategies"].value


def test_promise_07_a_request_is_done_once_and_an_outdated_one_not_at_all(shop):
    settings, lake = shop
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(settings, instance, DAYS[0]).success
        champion = decisions.champion_as_of(lake, "value", DAYS[2])
        changed = users()
        mine = np.flatnonzero(changed["user_id"].str.startswith("regulars"))[::2]
        changed.loc[mine, "monetary_90d"] *= 300
        publish(lake, DAYS[2], changed)
        publish_verdict(lake, DAYS[2], "value", champion.model_id, "drift")
        request = {
            "strategy": "value",
            "day": str(DAYS[2]),
            "cause": "drift",
            "against_model_id": champion.model_id,
            "attempt": 1,
        }
        assert run(settings, instance, DAYS[2], requests=[request]).success
        after = decisions.decisions(lake, "value")
        assert [d.cause for d in after] == ["bootstrap", "drift"]
        assert "survive" in told(instance, DAYS[2])["value_lineage"].value
        assert run(settings, instance, DAYS[2], requests=[{**request, "attempt": 2}]).success
        outdated = {**request, "against_model_id": "aaaaaaaaaaaa"}
        assert run(settings, instance, DAYS[2], requests=[outdated]).success
        assert [d.decision_id for d in decisions.decisions(lake, "value")] == [d.decision_id for d in after]
        assert "aaaaaaaaaaaa" in told(instance, DAYS[2])["strategies"].value


def test_promise_11_a_wrong_request_fails_at_once_naming_what_is_allowed(shop):
    settings, lake = shop
    with dg.DagsterInstance.ephemeral() as instance:
        for wrong, said in (
            ({"strategy": "valu", "day": str(DAYS[0])}, "did you mean 'value'"),
            ({"strategy": "value", "day": str(DAYS[1])}, "launch it for that day"),
            ({"strategy": "value", "day": str(DAYS[0]), "cause": "whim"}, "bootstrap, drift, age"),
        ):
            result = run(settings, instance, DAYS[0], requests=[wrong])
            assert not result.success
            failures = [e for e in result.all_events if e.is_step_failure]
            assert len(failures) == 1, "not retried: no retry mends a typo"
            assert said in failures[0].step_failure_data.user_failure_data.description
        assert not lake.days("segment_model")


def test_promise_04_a_day_whose_profiles_are_missing_fails_by_name_and_keeps_the_days_before(shop):
    settings, lake = shop
    lake.drop("user_profiles", DAYS[2])
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(settings, instance, DAYS[0], DAYS[3])
        assert not result.success
        failure = next(e for e in result.all_events if e.is_step_failure)
        assert str(DAYS[2]) in failure.step_failure_data.user_failure_data.description
        assert lake.days("segment_model") == [DAYS[0]]


def test_the_check_says_when_a_champion_reads_what_the_profiles_no_longer_have(shop):
    settings, lake = shop
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(settings, instance, DAYS[0]).success
        publish(lake, DAYS[1], users().drop(columns="monetary_90d"))
        result = run(settings, instance, DAYS[1])
        assert result.success
        (check,) = result.get_asset_check_evaluations()
        assert not check.passed
        assert "monetary_90d" in str(check.metadata["value"])


def test_an_empty_config_is_what_the_schedule_gives():
    assert SegmentModelConfig() == SegmentModelConfig(requests=[], force=False)
