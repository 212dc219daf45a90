"""Runs whose process is gone do not keep the sensors waiting."""

import multiprocessing
import time
import uuid

import dagster as dg
import pytest

from seg_assets.lake.scratch import RUNS
from seg_assets.orchestration import living, runs


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def started(instance):
    run = dg.DagsterRun("daily", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    return run


def hold_and_wait(run_id, ready):
    living.hold(run_id)
    ready.set()
    time.sleep(600)


def test_promise_19_a_run_whose_process_was_killed_is_ended_and_one_that_lives_is_not(instance, tmp_path):
    context = multiprocessing.get_context("fork")
    killed, alive = started(instance), started(instance)
    workers = []
    for run in (killed, alive):
        ready = context.Event()
        worker = context.Process(target=hold_and_wait, args=(run.run_id, ready))
        worker.start()
        assert ready.wait(30)
        workers.append(worker)
    assert living.end_dead_runs(instance) == []
    workers[0].kill()
    workers[0].join(30)
    assert living.end_dead_runs(instance) == [killed.run_id]
    assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(alive.run_id).status == dg.DagsterRunStatus.STARTED
    assert runs.in_flight(instance).startswith(f"run {alive.run_id[:8]}")
    assert [path.name[:36] for path in (tmp_path / RUNS).iterdir()] == [alive.run_id]
    workers[1].kill()
    workers[1].join(30)


def test_a_run_of_which_nothing_is_known_is_left_to_dagster(instance):
    run = started(instance)
    assert living.end_dead_runs(instance) == []
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED


def test_a_run_that_ended_leaves_nothing_behind(instance, tmp_path):
    run = started(instance)
    living.hold(run.run_id)
    living.hold(run.run_id)
    assert len(list((tmp_path / RUNS).iterdir())) == 1
    living.let_go(run.run_id)
    living.let_go(run.run_id)
    assert list((tmp_path / RUNS).iterdir()) == []
