"""The real Dagster daemon in processes of its own, and waiting until the loop rests."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest

from seg_assets.core.settings import Settings
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.segments.strategy import strategies_of

PATIENCE = 900
SENSOR_SECONDS = 5


@contextlib.contextmanager
def daemon(settings: Settings, instance_folder: Path, log: Path, extra: Mapping[str, str] | None = None) -> Iterator:
    """`dagster-daemon run` on this shop; stopped, with all that it started, at the end."""
    environment = {
        **os.environ,
        **settings.environment(),
        **(extra or {}),
        "DAGSTER_HOME": str(instance_folder),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dagster-daemon"), "run", "-m", "seg_assets.definitions"],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def wait_for_rest(settings: Settings, instance: dg.DagsterInstance, process: subprocess.Popen, log: Path, days: int):
    """Wait until all days are there, the plan rests, no run is under way, and that stays so for several ticks."""
    lake = Lake.of(settings)
    deadline = time.monotonic() + PATIENCE
    quiet_since = None
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        busy = [r for r in instance.get_runs() if not r.is_finished]
        complete = len(lake.days("drift_report")) == days
        if busy or not complete or planner.plan(lake, strategies_of(settings), settings).runs:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 5 * SENSOR_SECONDS:
            return
        time.sleep(2)
    pytest.fail(f"not at rest after {PATIENCE} s; the daemon said: {log.read_text()[-3000:]}")
