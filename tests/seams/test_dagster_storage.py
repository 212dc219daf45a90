"""The event log that keeps its connections: what it writes is Dagster's, and nothing is lost by keeping them."""

import datetime as dt
import multiprocessing
import os
import re
import shlex
import sqlite3
import subprocess
import threading
import traceback
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from seg_assets.core.errors import InstanceError
from seg_assets.core.settings import Settings
from seg_assets.orchestration.assets import Check, DayResult, record_days
from seg_assets.orchestration.instance import open_instance, prepare_instance
from seg_assets.seams import dagster_storage
from seg_assets.seams.dagster_storage import MOST_OPEN, KeptEventLogStorage

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
    folder = prepare_instance(Settings.from_env())
    opt_in(folder)
    return folder


def opt_in(folder: Path) -> None:
    """Uncomment the storage in a home's dagster.yaml, as its comment says."""
    text = (folder / "dagster.yaml").read_text()
    at = text.index("# storage:")
    end = text.index("\n\n", at)
    (folder / "dagster.yaml").write_text(text[:at] + re.sub(r"^# ", "", text[at:end], flags=re.M) + text[end:])


def kept(instance: dg.DagsterInstance) -> KeptEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    return storage


def test_a_home_that_did_not_opt_in_is_opened_by_dagsters_own_class(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with open_instance(prepare_instance(Settings.from_env({}, home=tmp_path))) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage


def test_with_the_seam_off_dagsters_own_class_opens_the_same_files(folder, monkeypatch):
    with open_instance(folder) as instance:
        materialize(instance, "2024-01-02")
    monkeypatch.setenv("SEG_ASSETS_SEAMS", "off")
    with open_instance(folder) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert days_of(plain) == {"2024-01-02"}
        materialize(plain, "2024-01-03")
    monkeypatch.setenv("SEG_ASSETS_SEAMS", "dagster_storage")
    with open_instance(folder) as instance:
        assert days_of(kept(instance) and instance) == {"2024-01-02", "2024-01-03"}


def test_a_home_that_opted_in_keeps_connections_in_dagsters_own_files(folder):
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


@pytest.fixture
def commits(monkeypatch):
    """Commits of the event log so far, by shard."""
    found: list[str] = []
    begin = KeptEventLogStorage._engine

    def counted(self: KeptEventLogStorage, shard: str):
        found.append(shard)
        return begin(self, shard)

    monkeypatch.setattr(KeptEventLogStorage, "_engine", counted)
    return found


def test_the_days_of_a_range_are_one_transaction_and_each_has_its_event_and_its_check(folder, commits):
    @dg.asset(
        partitions_def=DAYS,
        check_specs=[dg.AssetCheckSpec("fine", asset="many", partitions_def=DAYS)],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def many(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        days = [dt.date.fromisoformat(key) for key in context.partition_keys]
        return record_days(
            context,
            dg.AssetKey("many"),
            [DayResult(day, {"day": str(day)}, [Check("fine", day.day != 2, per_day=True)]) for day in days],
        )

    with open_instance(folder) as instance:
        asked = []
        for first, last in (("2024-01-01", "2024-01-03"), ("2024-01-04", "2024-01-23")):
            commits.clear()
            tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            assert dg.materialize([many], instance=instance, tags=tags).success
            asked.append(commits.count("index"))
        assert asked[0] == asked[1], "no more transactions for 20 days than for 3"
        found = instance.fetch_materializations(dg.AssetKey("many"), limit=100).records
        assert sorted(r.partition_key for r in found) == [f"2024-01-{n:02d}" for n in range(1, 24)]
        of_day = {r.partition_key: r.asset_materialization for r in found}
        assert all(said and said.metadata["day"].value == day for day, said in of_day.items())
        key = dg.AssetCheckKey(dg.AssetKey("many"), "fine")
        checked = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
        verdicts = {c.partition: c.status.value for c in checked if c.partition}
        assert len(verdicts) == 23
        assert [day for day, said in verdicts.items() if said != "SUCCEEDED"] == ["2024-01-02"]
        latest = instance.get_latest_materialization_event(dg.AssetKey("many"))
        assert latest and latest.asset_materialization
        assert latest.asset_materialization.partition == "2024-01-23"


def test_a_failure_in_the_middle_of_a_batch_leaves_nothing_of_it(folder):
    with open_instance(folder) as instance:
        storage = kept(instance)

        def both() -> None:
            with storage.at_once():
                report(instance, "2024-01-02")
                report(instance, "2024-01-03")
                raise RuntimeError("disk full")

        with pytest.raises(RuntimeError):
            both()
        assert days_of(instance) == set()
        report(instance, "2024-01-04")
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


def garbage(files):
    for path in files:
        path.write_bytes(b"garbage" * 500)


def cut(files):
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("harm", [garbage, cut])
def test_a_damaged_storage_is_named_in_one_line_and_the_printed_remedy_heals_it(folder, harm):
    with open_instance(folder) as instance:
        materialize(instance, "2024-01-02")
    files = sorted(folder.rglob("*.db"))
    harm(files)
    with (
        pytest.raises(InstanceError, match=r"\.db.*: Dagster's storage is damaged") as told,
        open_instance(folder) as it,
    ):
        it.get_runs(limit=1)
    assert "\n" not in str(told.value)
    (remedy,) = re.findall(r"find .* -delete", str(told.value))
    subprocess.run(shlex.split(remedy), check=True)
    with open_instance(folder) as instance:
        materialize(instance, "2024-01-02")


def test_a_dagster_yaml_that_cannot_be_read_is_named(folder):
    (folder / "dagster.yaml").write_text("storage: [")
    with pytest.raises(InstanceError, match=r"dagster\.yaml: cannot be used"), open_instance(folder):
        pass


def test_a_storage_that_another_process_holds_is_named(folder):
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
    held = sqlite3.connect(folder / "history" / "runs.db", isolation_level=None)
    held.execute("begin exclusive")
    with pytest.raises(InstanceError, match=r"runs\.db: Dagster's storage is in use"), open_instance(folder):
        raise sqlite3.OperationalError("database is locked")
    held.close()
