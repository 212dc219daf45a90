"""The daily tables on a real Dagster instance: ranges, first day, missing days, empty days, checks, provenance."""

import datetime as dt
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml

from seg_assets.core.settings import Settings
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.segments import assets as room
from seg_assets.segments.decisions.store import champion_digest
from seg_assets.segments.strategy import strategies_of
from tests.segments.daily_shop import DAY, FEATURES, make_frame, make_model, promote, publish_day

ONE = dt.timedelta(days=1)
DAYS = [DAY + ONE * n for n in range(4)]
USERS = [f"u{n:03d}" for n in range(80)] + ["o'hara", 'a "b"', "two\nlines", "ünï—✓", "x'; drop table y; --"]
OURS = ("user_segments", "segment_profiles", "segment_moves")


def settings_in(folder: Path) -> Settings:
    home, folder = folder, folder / "strategies"
    folder.mkdir(exist_ok=True)
    for name in ("v", "w"):
        features = [{"column": f, "transform": "log1p"} for f in FEATURES]
        content = {"name": name, "title": name, "features": features, "minimum_share": 0.0}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return Settings(home=home / "home", strategies=folder, start_day=DAY, end_day=DAYS[-1])


@pytest.fixture
def settings(tmp_path) -> Settings:
    return settings_in(tmp_path)


def frame_of(n: int) -> pd.DataFrame:
    frame = make_frame(USERS[: len(USERS) - 4 + n], 0)
    rng = np.random.default_rng(n)
    for feature in FEATURES:
        frame[feature] = frame[feature] * rng.lognormal(0, 0.4, len(frame))
    for window in ("7d", "28d", "all"):
        frame[f"monetary_{window}"] = np.round(frame["monetary_90d"], 2)
    return frame


def model_of(settings: Settings, name: str, seed: int, ids=("001", "002", "003")):
    strategy = strategies_of(settings)[name]
    return make_model(make_frame(USERS, 9), strategy, [f"{name}-{i}" for i in ids], seed)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory) -> Settings:
    """Four days of profiles and two champions, made once; tests work on copies."""
    settings = settings_in(tmp_path_factory.mktemp("profiled"))
    lake = Lake.of(settings)
    for n, day in enumerate(DAYS):
        publish_day(lake, day, frame_of(n))
    promote(lake, DAYS[1], model_of(settings, "v", 1))
    lineage = [{"event": "split", "old_ids": ["v-001"], "new_ids": ["v-001", "v-004"]}]
    promote(lake, DAYS[3], model_of(settings, "v", 2, ("001", "002", "004")), lineage)
    return settings


@pytest.fixture
def lake(settings, profiled) -> Lake:
    shutil.copytree(profiled.lake, settings.lake)
    return Lake.of(settings)


@dataclass(frozen=True)
class Ranged:
    """A shop whose four days were made in one ranged run, and what Dagster recorded of it. Read only."""

    settings: Settings
    lake: Lake
    instance: dg.DagsterInstance


@pytest.fixture(scope="module")
def ranged(tmp_path_factory, profiled):
    settings = settings_in(tmp_path_factory.mktemp("ranged"))
    shutil.copytree(profiled.lake, settings.lake)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(settings, DAYS, instance=instance).success
        yield Ranged(settings, Lake.of(settings), instance)


def run(settings, days, selection=OURS, instance=None, raise_on_error=True):
    assets = room.build_assets(settings, daily_partitions(settings))
    tags = {
        "dagster/asset_partition_range_start": str(days[0]),
        "dagster/asset_partition_range_end": str(days[-1]),
    }
    keys = [dg.AssetKey(name) for name in selection]
    job = dg.define_asset_job("daily", selection=keys)
    defs = dg.Definitions(assets, jobs=[job], resources={"shop": ShopResource(environment=settings.environment())})
    with dg.DagsterInstance.ephemeral() as fresh:
        return defs.get_job_def("daily").execute_in_process(
            instance=instance or fresh, tags=tags, raise_on_error=raise_on_error
        )


def hashes(lake: Lake) -> dict:
    return {(t, d): lake.provenance(t, d).content_hash for t in OURS for d in lake.days(t)}


def test_promise_01_a_range_in_one_run_equals_day_by_day(settings, lake, ranged):
    for day in DAYS:
        assert run(settings, [day]).success
    assert len(hashes(lake)) == len(OURS) * len(DAYS)
    assert hashes(lake) == hashes(ranged.lake)


def test_every_known_user_of_every_day_has_one_segment_per_strategy(ranged):
    lake = ranged.lake
    for n, day in enumerate(DAYS):
        found = lake.read("user_segments", day)
        assert sorted(found["user_id"]) == sorted([*frame_of(n)["user_id"]] * 2)
        assert found["segment_id"].notna().all()
        assert set(found.loc[found["strategy"] == "w", "segment_id"]) == {"w-unassigned"}
    assert set(lake.read("user_segments", DAYS[0])["segment_id"]) == {"v-unassigned", "w-unassigned"}
    assert (lake.read("user_segments", DAYS[1]).query("strategy == 'v'")["kind"] == "cluster").all()


def test_promise_09_in_the_lake_every_move_adds_up_across_a_new_champion(ranged):
    lake = ranged.lake
    for day in DAYS:
        found = lake.read("segment_moves", day)
        sums = [sum(c["user"] + c["model"] for c in row) for row in found["contributions"]]
        assert np.abs(np.array(sums) - found["margin_change"]).max() <= 1e-9
    last = lake.read("segment_moves", DAYS[3])
    newborn = last[(last["to_segment"] == "v-004") & (last["from_segment"] == "v-001")]
    assert len(newborn) and not newborn["margin_before"].any()
    first = lake.read("segment_moves", DAYS[0])
    assert set(first["kind"]) == {"entered"} and len(first) == 2 * len(frame_of(0))


def test_promise_04_a_day_whose_yesterday_was_never_made_is_refused_by_name(settings, lake):
    result = run(settings, [DAYS[2]], ["user_segments"], raise_on_error=False)
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure)
    text = failure.step_failure_data.error.to_string()
    assert "MissingDaysError" in text and str(DAYS[1]) in text
    assert not any(e.event_type_value == "STEP_UP_FOR_RETRY" for e in result.all_events)
    assert not lake.has("user_segments", DAYS[2])


def test_promise_02_profiles_of_a_later_day_change_nothing_before_it(settings, ranged):
    shutil.copytree(ranged.settings.lake, settings.lake)
    lake = Lake.of(settings)
    before = hashes(lake)
    publish_day(lake, DAYS[3], frame_of(3).assign(orders_90d=1.0))
    run(settings, DAYS)
    changed = {key for key, value in hashes(lake).items() if before[key] != value}
    assert changed and {day for _, day in changed} == {DAYS[3]}


def test_a_footer_names_the_champion_and_everything_that_was_read(ranged):
    lake = ranged.lake
    champion = champion_digest(lake, ["v", "w"], DAYS[1])
    for table in OURS:
        inputs = lake.provenance(table, DAYS[1]).inputs
        assert inputs["segment_model:champion"] == champion
        assert inputs["user_segments:yesterday" if table != "segment_profiles" else "user_segments:day"] != "none"


def test_each_day_of_a_range_has_its_own_checks_and_numbers_in_the_ui(ranged):
    instance = ranged.instance
    key = dg.AssetKey("user_segments")
    events = instance.fetch_materializations(key, limit=100).records
    told = {e.partition_key: e.asset_materialization.metadata for e in events}
    assert set(told) == {str(d) for d in DAYS}
    assert told[str(DAYS[0])]["users"].value == len(frame_of(0))
    assert 0 <= told[str(DAYS[2])]["v_moved_share"].value < 1
    assert "data:image/svg+xml;base64," in told[str(DAYS[2])]["v_segments"].value
    for name, table in (("every_user_has_a_segment", "user_segments"), ("explanations_add_up", "segment_moves")):
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey(table), name), limit=100
        )
        passed = {r.partition for r in history if r.status.name == "SUCCEEDED"}
        assert passed >= {str(day) for day in DAYS}


def test_an_empty_shop_is_said_and_not_an_error(settings):
    lake = Lake.of(settings)
    for day in DAYS[:2]:
        publish_day(lake, day, frame_of(0).iloc[:0])
    result = run(settings, DAYS[:1])
    assert result.success
    told = next(e for e in result.asset_materializations_for_node("user_segments"))
    assert told.metadata["users"].value == 0 and "no users" in told.metadata["empty"].value
    assert run(settings, DAYS[1:2]).success and lake.provenance("segment_moves", DAYS[1]).rows == 0


def test_a_user_without_a_segment_turns_the_blocking_check_red(settings, lake, monkeypatch):
    whole = room.assign.assign_day
    monkeypatch.setattr(room.assign, "assign_day", lambda *a: whole(*a).iloc[1:])
    result = run(settings, DAYS[:1], ["user_segments"], raise_on_error=False)
    failed = {c.check_name for c in result.get_asset_check_evaluations() if not c.passed}
    assert failed == {"every_user_has_a_segment"} and not result.success
    day = room.assign_lake_day(lake, strategies_of(settings), DAY)
    check = next(c for c in day.checks if c.name == "every_user_has_a_segment")
    assert check.metadata["v_without_segment"] == 1 and "re-materialize" in check.metadata["remedy"]


def test_a_user_in_two_segments_turns_the_check_red(settings, lake, monkeypatch):
    whole = room.assign.assign_day
    monkeypatch.setattr(room.assign, "assign_day", lambda *a: pd.concat([whole(*a), whole(*a).iloc[:1]]))
    day = room.assign_lake_day(lake, strategies_of(settings), DAY)
    assert not next(c for c in day.checks if c.name == "no_user_has_two_segments").passed


def test_a_small_segment_and_a_restless_day_are_warned_of(settings, lake):
    for file in settings.strategies.glob("*.yaml"):
        content = yaml.safe_load(file.read_text()) | {"minimum_share": 0.45}
        content["hysteresis"] = {"margin": 0.0, "dwell_days": 0}
        file.write_text(yaml.safe_dump(content))
    strategies = strategies_of(settings)
    checks = {}
    for day in DAYS:
        for found in (
            room.assign_lake_day(lake, strategies, day),
            room.move_lake_day(lake, strategies, day),
        ):
            checks.update({(c.name, day): c for c in found.checks})
    small = checks["segments_keep_minimum_share", DAYS[2]]
    assert not small.passed and small.severity == dg.AssetCheckSeverity.WARN and "v" in small.metadata
    restless = checks["moved_share_is_small", DAYS[2]]
    assert not restless.passed and "no new champion" in restless.metadata["v"]
    assert checks["moved_share_is_small", DAYS[1]].passed


def test_the_command_line_explains_and_migrates(ranged, monkeypatch, capsys):
    from seg_assets.core.errors import ConfigError
    from seg_assets.segments import cli

    for name, value in ranged.settings.environment().items():
        monkeypatch.setenv(name, value)

    def call(name: str, *words: str) -> str:
        assert getattr(cli, name).main(list(words), standalone_mode=False) == 0
        return capsys.readouterr().out

    text = call("explain", "o'hara", "--day", str(DAYS[2]))
    assert "v: o'hara on" in text and "w-unassigned" in text and "terms add up" in text
    table = call("migration", "--strategy", "v", "--from", str(DAYS[1]), "--to", str(DAYS[2]))
    assert "value at risk" in table and "v-001 = Name of v-001" in table
    cells = json.loads(call("migration", "--strategy", "v", "--from", str(DAYS[1]), "--to", str(DAYS[2]), "--json"))
    assert sum(c["users"] for c in cells) == len(frame_of(2))
    with pytest.raises(ConfigError, match="did you mean"):
        call("explain", "o'hara", "--day", str(DAYS[2]), "--strategy", "vv")
    with pytest.raises(ConfigError, match="outside the calendar"):
        call("explain", "o'hara", "--day", "2020-01-01")
