"""The real daemon, in processes of its own: landing sensor, runs, drift sensor, re-clustering, rest."""

import collections
import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from seg_assets.drift import decide
from seg_assets.instance import prepare_instance
from seg_assets.lake import Lake
from seg_assets.segments.decisions import decisions
from seg_assets.segments.strategy import load_strategies
from tests.end_to_end.shop import STRATEGIES, contents, day, differences, land, run, shop

DAYS = 24
SHIFT = 15
PATIENCE = 900
SENSOR_SECONDS = 5


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "a home with spaces"
    land(tmp_path / "landing", days=DAYS, scenario="shift", script_day=SHIFT, users=200)
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    return shop(folder, tmp_path / "landing", end_day=day(DAYS - 1), automation=True, sensor_seconds=SENSOR_SECONDS)


def test_promise_07_the_daemon_finds_the_shift_reclusters_once_per_cause_and_rests(home, tmp_path):
    folder = prepare_instance(home)
    environment = {**os.environ, **home.environment(), "DAGSTER_HOME": str(folder), "DO_NOT_TRACK": "1"}
    log = (tmp_path / "daemon.log").open("wb")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-m", "seg_assets.definitions"],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            _wait_for_rest(home, instance, daemon, tmp_path / "daemon.log")
            runs = instance.get_runs()
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(60)
        log.close()
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


def _wait_for_rest(home, instance, daemon, log):
    """Wait until every day is there, the plan rests, no run is under way, and stays so for several sensor ticks."""
    lake = Lake.of(home)
    strategies = load_strategies(STRATEGIES)
    deadline = time.monotonic() + PATIENCE
    quiet_since = None
    while time.monotonic() < deadline:
        assert daemon.poll() is None, log.read_text()[-3000:]
        busy = [r for r in instance.get_runs() if not r.is_finished]
        complete = len(lake.days("drift_report")) == DAYS
        if busy or not complete or decide.plan(lake, strategies, home).requests:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 5 * SENSOR_SECONDS:
            return
        time.sleep(2)
    pytest.fail(f"not at rest after {PATIENCE} s; the daemon said: {log.read_text()[-3000:]}")
