"""Tell runs whose process is gone from runs at work: Dagster's own launcher for one machine cannot.

Each process of a run holds a scratch folder named for the run while the run's resources are set up. The kernel drops
its lock when the process ends, however it ends: after a SIGKILL of a replay, of a daemon or of a whole machine the run
would otherwise be "started" for ever, and every sensor would wait for it.

Not here: what becomes of the request of such a run (`orchestration.runs`).
"""

import os
from pathlib import Path

import dagster as dg

from seg_assets.lake import scratch

GONE = "its process is gone: killed, or the machine went down"

# Of this process: run to its folder.
_held: dict[str, Path] = {}


def hold(run_id: str) -> None:
    """Say that this process works on a run, until `let_go` or the end of the process."""
    root = _root()
    if root is not None and run_id not in _held:
        _held[run_id] = scratch.take(root, _prefix(run_id))


def let_go(run_id: str) -> None:
    """Say that this process does not work on a run any more."""
    folder = _held.pop(run_id, None)
    if folder is not None:
        scratch.give_back(folder)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process is known to be gone; return their ids.

    A run of which nothing is known (of another machine, or before its resources are set up) is left to Dagster.
    """
    root, ended = _root(), []
    if root is None or not root.is_dir():
        return []
    statuses = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=statuses), limit=100):
        folders = sorted(root.glob(f"{_prefix(run.run_id)}*"))
        if folders and all(scratch.owner(folder) == "gone" for folder in folders):
            instance.report_run_failed(run, GONE)
            for folder in folders:
                scratch.give_back(folder)
            ended.append(run.run_id)
    return ended


def _prefix(run_id: str) -> str:
    return f"{run_id}-"


def _root() -> Path | None:
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) / scratch.RUNS if home else None
