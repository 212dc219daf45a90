"""The event log that keeps its connections: what it writes is Dagster's, and nothing is lost by keeping them."""

import multiprocessing
import os
import sqlite3
import threading
import traceback
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from seg_assets import dagster_storage
from seg_assets.dagster_storage import MOST_OPEN, KeptEventLogStorage
from seg_assets.instance import open_instance, prepare_instance
from seg_assets.settings import Settings

DAYS = dg.DailyPartitionsDefinition("2024-01-01")


@dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("fine", asset="rows")])
def rows(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """A table."""
    return dg.MaterializeResult(
        metadata={"day": context.partition_key}, check_results=[dg.AssetCheckResult(check_name="fine", passed=True)]
    )


def materialize(instance: dg.DagsterInstance, day: str) -> None:
    assert dg.materialize([rows], partition_key=day, instance=instance).success


def days_of(instance: dg.DagsterInstance) -> set[str]:
    return {r.partition_key for r in instance.fetch_materializations(dg.AssetKey("rows"), limit=1000).records}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "a home" / "dagster"))
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path / "a home"))
    return prepare_instance(Settings.from_env())


def kept(instance: dg.DagsterInstance) -> KeptEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    return storage


def test_our_dagster_yaml_keeps_connections_in_dagsters_own_files(folder):
    with open_instance(folder) as instance:
        assert type(kept(instance)) is KeptEventLogStorage
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        materialize(instance, "2024-01-02")
        runs = [r.run_id for r in instance.get_runs()]
        assert (folder / "history" / "runs" / f"{runs[0]}.db").exists()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with open_instance(folder) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert days_of(plain) == {"2024-01-02"}
        assert len(plain.all_logs(runs[0])) > 5
        materialize(plain, "2024-01-03")


def test_an_instance_is_opened_without_the_environment_and_leaves_it_as_it_was(folder, monkeypatch):
    for named in (None, "/elsewhere"):
        if named:
            monkeypatch.setenv("DAGSTER_HOME", named)
        else:
            monkeypatch.delenv("DAGSTER_HOME")
        with open_instance(folder) as instance:
            assert os.environ.get("DAGSTER_HOME") == named
            assert kept(instance).path_for_shard("index").startswith(str(folder))
            assert days_of(instance) == set()


def test_what_another_process_or_class_writes_is_seen_at_once(folder):
    with open_instance(folder) as instance:
        materialize(instance, "2024-01-02")
        beside = SqliteEventLogStorage(kept(instance)._base_dir)
        with dg.DagsterInstance.from_config(str(folder)) as other:
            materialize(other, "2024-01-03")
        assert days_of(instance) == {"2024-01-02", "2024-01-03"}
        assert len(beside.get_materialized_partitions(dg.AssetKey("rows"))) == 2


def test_few_databases_stay_open_whatever_the_number_of_runs(folder):
    with open_instance(folder) as instance:
        for n in range(MOST_OPEN + 4):
            materialize(instance, f"2024-02-{n + 1:02d}")
        storage = kept(instance)
        assert len(storage._open) == MOST_OPEN
        for run in instance.get_runs():
            assert any(e.is_dagster_event for e in instance.all_logs(run.run_id))
        instance.dispose()
        assert not storage._open


def test_a_wipe_by_somebody_else_is_noticed_before_the_next_write(folder):
    with open_instance(folder) as instance:
        materialize(instance, "2024-01-02")
        run = instance.get_runs()[0].run_id
        SqliteEventLogStorage(kept(instance)._base_dir).wipe()
        assert instance.all_logs(run) == []
        materialize(instance, "2024-01-03")
        assert days_of(instance) == {"2024-01-03"}
        elsewhere = folder.parent / "another"
        elsewhere.mkdir()
        history = folder / "history" / "runs"
        for file in history.iterdir():
            file.rename(elsewhere / file.name)
        again = SqliteEventLogStorage(str(history))
        again.dispose()
        materialize(instance, "2024-01-05")
        assert days_of(instance) == {"2024-01-05"}
        assert again.get_materialized_partitions(dg.AssetKey("rows")) == {"2024-01-05"}
        instance.wipe()
        assert instance.get_runs() == []
        materialize(instance, "2024-01-04")
        assert days_of(instance) == {"2024-01-04"}


def three_days(folder: Path, first: int) -> None:
    with open_instance(folder) as own:
        for n in range(first, first + 3):
            materialize(own, f"2024-03-{n:02d}")


def report(instance: dg.DagsterInstance, day: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("rows", partition=day))


def test_threads_and_processes_write_side_by_side_and_nothing_is_lost(folder):
    spawn = multiprocessing.get_context("spawn")
    with open_instance(folder) as instance:
        others = [spawn.Process(target=three_days, args=(folder, first)) for first in (1, 4)]
        # As the webserver and the daemon do: threads of one process share the instance.
        threads = [threading.Thread(target=report, args=(instance, f"2024-03-{n:02d}")) for n in (7, 8, 9)]
        for worker in [*others, *threads]:
            worker.start()
        for worker in [*others, *threads]:
            worker.join(120)
        assert [other.exitcode for other in others] == [0, 0]
        assert days_of(instance) == {f"2024-03-{n:02d}" for n in range(1, 10)}


def test_a_forked_child_opens_its_own_connections_and_leaves_its_parents_alone(folder):
    with open_instance(folder) as instance:
        materialize(instance, "2024-01-02")
        storage = kept(instance)
        before = dict(storage._open)
        child = os.fork()
        if child == 0:
            try:
                fine = days_of(instance) == {"2024-01-02"} and not set(storage._open.values()) & set(before.values())
                materialize(instance, "2024-01-03")
                os._exit(0 if fine and dagster_storage._of_parents else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        materialize(instance, "2024-01-04")
        assert days_of(instance) == {"2024-01-02", "2024-01-03", "2024-01-04"}
        index = Path(storage.path_for_shard("index"))
    with sqlite3.connect(index) as con:
        assert con.execute("pragma integrity_check").fetchone() == ("ok",)
