"""The drift sensor on a real (ephemeral) instance: what it asks Dagster for, and when it holds back."""

import dataclasses
import datetime as dt
import time

import dagster as dg
import pytest

from seg_assets.core.settings import Settings
from seg_assets.loop import planner, sensor
from seg_assets.orchestration import runs

DAY = dt.date(2024, 1, 10)
RECLUSTER = planner.PlannedRun(
    kind="recluster",
    first=DAY,
    last=DAY,
    tables=("segment_model",),
    reason="drift on 2024-01-10",
    key="k" * 16,
    strategy="value",
    cause="drift",
    against_model_id="abc",
)
REFRESH = planner.PlannedRun("refresh", DAY, DAY + dt.timedelta(days=4), ("drift_report",), "stale", "r" * 16)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, start_day=dt.date(2024, 1, 1))


@pytest.fixture
def planned(monkeypatch):
    """Set what the plan says; returns how often it was asked."""
    state = {"plan": planner.Plan([], "all is well"), "asked": 0}

    def plan(lake, strategies, settings, last_day=None):
        state["asked"] += 1
        return state["plan"]

    monkeypatch.setattr(sensor.planner, "plan", plan)
    return state


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves on, by minutes."""

    class Clock:
        ahead = 0.0

        def advance(self, minutes: float) -> None:
            self.ahead += 60 * minutes + 1

    hands = Clock()
    monkeypatch.setattr(runs, "_now", lambda: time.time() + hands.ahead)
    return hands


def ticked(instance, settings, cursor=None):
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    return list(sensor.tick(context, settings)), context.cursor


def run_of(instance, request, status, attempt=1, job="recluster"):
    with_tags = {**request.run_tags()}
    run = dg.DagsterRun(job_name=job, status=status, tags=with_tags)
    instance.add_run(run)
    return run


def test_a_due_decision_becomes_one_run_of_its_day_with_its_config_and_tags(instance, settings, planned):
    planned["plan"] = planner.Plan([RECLUSTER])
    (asked,), _ = ticked(instance, settings)
    assert (asked.job_name, asked.partition_key, asked.run_key) == ("recluster", "2024-01-10", f"{RECLUSTER.key}-1")
    assert asked.run_config == RECLUSTER.run_config()
    assert asked.tags["seg/strategy"] == "value"
    assert asked.asset_selection == [dg.AssetKey("segment_model")]


def test_a_refresh_of_days_is_one_ranged_run(instance, settings, planned):
    planned["plan"] = planner.Plan([REFRESH])
    (asked,), _ = ticked(instance, settings)
    assert (asked.job_name, asked.partition_key) == ("refresh", None)
    assert asked.tags["dagster/asset_partition_range_start"] == "2024-01-10"
    assert asked.tags["dagster/asset_partition_range_end"] == "2024-01-14"


def test_the_same_lake_asked_twice_gives_the_same_run_key_so_dagster_launches_one(instance, settings, planned):
    planned["plan"] = planner.Plan([RECLUSTER])
    (first,), cursor = ticked(instance, settings)
    (second,), _ = ticked(instance, settings, cursor)
    assert first.run_key == second.run_key


def test_while_a_run_is_at_work_nothing_is_decided(instance, settings, planned):
    run = run_of(instance, REFRESH, dg.DagsterRunStatus.STARTED, job="refresh")
    planned["plan"] = planner.Plan([RECLUSTER])
    (skipped,), _ = ticked(instance, settings)
    assert run.run_id[:8] in skipped.skip_message
    assert planned["asked"] == 0


def test_a_failed_run_is_tried_again_after_a_pause_under_a_new_key(instance, settings, planned, clock):
    planned["plan"] = planner.Plan([RECLUSTER])
    keys = set()
    for attempt in (1, 2, 3, 4):
        (asked,), _ = ticked(instance, settings)
        keys.add(asked.run_key)
        assert asked.run_config["ops"]["segment_model"]["config"]["requests"][0]["attempt"] == attempt
        run_of(instance, RECLUSTER, dg.DagsterRunStatus.FAILURE)
        (skipped,), _ = ticked(instance, settings)
        assert "the next attempt is in" in skipped.skip_message
        clock.advance(2 ** (attempt - 1))
    assert len(keys) == 4


def test_a_state_of_the_lake_that_moved_on_starts_again_at_the_first_attempt(instance, settings, planned):
    for _ in range(3):
        run_of(instance, RECLUSTER, dg.DagsterRunStatus.FAILURE)
    planned["plan"] = planner.Plan([dataclasses.replace(RECLUSTER, key="n" * 16)])
    (asked,), _ = ticked(instance, settings)
    assert asked.run_key == "n" * 16 + "-1"


def test_promise_07_a_run_that_just_succeeded_is_not_repeated_for_the_same_state(instance, settings, planned, clock):
    run_of(instance, RECLUSTER, dg.DagsterRunStatus.SUCCESS)
    planned["plan"] = planner.Plan([RECLUSTER])
    (skipped,), _ = ticked(instance, settings)
    assert "succeeded, and this is still or again missing" in skipped.skip_message


def test_promise_19_a_state_that_comes_back_is_asked_for_again_though_its_run_once_succeeded(
    instance, settings, planned, clock
):
    run_of(instance, REFRESH, dg.DagsterRunStatus.SUCCESS, job="refresh")
    planned["plan"] = planner.Plan([REFRESH])
    clock.advance(2)
    (asked,), _ = ticked(instance, settings)
    assert asked.job_name == "refresh"


def test_one_request_that_waits_does_not_hold_back_another(instance, settings, planned, clock):
    for _ in range(3):
        run_of(instance, RECLUSTER, dg.DagsterRunStatus.FAILURE)
    planned["plan"] = planner.Plan([RECLUSTER, dataclasses.replace(RECLUSTER, strategy="behaviour", key="b" * 16)])
    (asked,), _ = ticked(instance, settings)
    assert asked.tags["seg/strategy"] == "behaviour"


def test_at_rest_ticks_do_not_look_at_the_lake_until_something_is_materialized_or_some_ticks_passed(
    instance, settings, planned
):
    (skipped,), cursor = ticked(instance, settings)
    assert skipped.skip_message == "the loop rests: all is well"
    for _ in range(sensor.IDLE_TICKS):
        (skipped,), cursor = ticked(instance, settings, cursor)
    assert planned["asked"] == 1
    assert "nothing materialized since" in skipped.skip_message
    _, cursor = ticked(instance, settings, cursor)
    assert planned["asked"] == 2
    instance.report_runless_asset_event(dg.AssetMaterialization("user_profiles", partition="2024-01-10"))
    ticked(instance, settings, cursor)
    assert planned["asked"] == 3


def test_a_lost_or_foreign_cursor_is_a_fresh_one(instance, settings, planned):
    for cursor in ("", "17", "not json", '{"a": 1}'):
        ticked(instance, settings, cursor)
    assert planned["asked"] == 4


def test_a_damaged_lake_is_said_and_the_tick_does_not_fail(instance, settings):
    folder = settings.lake / "raw_events" / "day=2024-01-01"
    folder.mkdir(parents=True)
    (folder / "data.parquet").write_bytes(b"half a file")
    (skipped,), _ = ticked(instance, settings)
    assert "cannot decide" in skipped.skip_message
    assert "raw_events" in skipped.skip_message


def test_the_sensor_is_off_until_automation_is_switched_on(settings):
    @dg.asset
    def one():
        return None

    jobs = {name: dg.define_asset_job(name, selection=[one]) for name in ("daily", "recluster", "refresh")}
    (off,) = sensor.build_sensors(settings, jobs)
    (on,) = sensor.build_sensors(settings.model_copy(update={"automation": True}), jobs)
    assert (off.default_status, on.default_status) == (
        dg.DefaultSensorStatus.STOPPED,
        dg.DefaultSensorStatus.RUNNING,
    )
    assert off.description
