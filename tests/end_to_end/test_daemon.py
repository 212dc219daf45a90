"""The real daemon, in processes of its own: landing sensor, runs, drift sensor, re-clustering, rest."""

import collections

import dagster as dg
import pytest

from seg_assets.lake.store import Lake
from seg_assets.orchestration.instance import prepare_instance
from seg_assets.segments.decisions.store import decisions
from tests.end_to_end.daemon import SENSOR_SECONDS, daemon, wait_for_rest
from tests.end_to_end.shop import contents, day, differences, land, run, shop

DAYS = 24
SHIFT = 15


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "a home with spaces"
    land(tmp_path / "landing", days=DAYS, scenario="shift", script_day=SHIFT, users=200)
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    last = day(DAYS - 1)
    return shop(folder, tmp_path / "landing", end_day=last, automation=True, sensor_seconds=SENSOR_SECONDS)


def test_promise_07_the_daemon_finds_the_shift_reclusters_once_per_cause_and_rests(home, tmp_path):
    folder, log = prepare_instance(home), tmp_path / "daemon.log"
    with daemon(home, folder, log) as process, dg.DagsterInstance.from_config(str(folder)) as instance:
        wait_for_rest(home, instance, process, log, DAYS)
        runs = instance.get_runs()
    assert {r.status for r in runs} == {dg.DagsterRunStatus.SUCCESS}
    asked = collections.Counter((r.tags["seg/strategy"], r.tags["seg/day"]) for r in runs if r.job_name == "recluster")
    assert asked, "the planted shift led to no re-clustering"
    assert set(asked.values()) == {1}
    lake = Lake.of(home)
    decided = [(s, d.day.isoformat()) for s in ("behaviour", "value") for d in decisions(lake, s) if d.cause == "drift"]
    assert sorted(asked) == sorted(decided)
    # What the daemon did is what a replay does.
    replayed = shop(tmp_path / "replayed", tmp_path / "landing", end_day=day(DAYS - 1))
    run(replayed, 0, DAYS - 1)
    assert differences(contents(home), contents(replayed)) == []
