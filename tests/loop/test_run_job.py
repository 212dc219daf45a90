"""One run in this process: how it ends when the process is told to stop, and what is said when it fails."""

import datetime as dt
import threading

import dagster as dg
import pytest

from seg_assets.core.errors import ConfigError, LakeWriteError
from seg_assets.core.stopping import stop_all
from seg_assets.loop import replay
from seg_assets.orchestration.assets import user_errors
from seg_assets.orchestration.runs import in_flight

DAY = dt.date(2024, 1, 1)
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-10")


def repository(compute, checks=()):
    @dg.asset(
        name="rows",
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec(name, asset="rows", blocking=True, partitions_def=DAYS) for name in checks],
    )
    @user_errors
    def rows(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return compute(context)

    job = dg.define_asset_job("daily", selection=dg.AssetSelection.all())
    return dg.Definitions(assets=[rows], jobs=[job], executor=dg.in_process_executor).get_repository_def()


def test_a_run_whose_process_is_told_to_stop_is_canceled_and_holds_up_no_sensor(tmp_path):
    begun, end = threading.Event(), threading.Event()

    def wait(context) -> dg.MaterializeResult:
        begun.set()
        end.wait(60)
        return dg.MaterializeResult()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        arguments = (repository(wait), instance, "daily", DAY, DAY)
        command = threading.Thread(target=replay.run_job, args=arguments, daemon=True)
        command.start()
        assert begun.wait(60)
        assert instance.get_runs()[0].status == dg.DagsterRunStatus.STARTED
        stop_all()
        assert instance.get_runs()[0].status == dg.DagsterRunStatus.CANCELED
        assert in_flight(instance) == ""
        end.set()
        command.join()


MISTAKE = ConfigError("k = 0: at least 2\nin value.yaml")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MISTAKE, "rows: k = 0: at least 2 in value.yaml"),
        (LakeWriteError("no room; make some"), "rows: no room; make some"),
        (OSError(28, "No space left on device"), "rows: OSError: [Errno 28] No space left on device"),
    ],
)
def test_a_step_that_fails_is_said_in_one_line_and_its_trace_is_not_on_the_terminal(error, said, capfd, monkeypatch):
    monkeypatch.setattr("seg_assets.orchestration.assets.RETRY_SECONDS", 0)

    def fail(context):
        try:
            raise OSError("the cause beneath")
        except OSError as cause:
            raise error from (cause if isinstance(error, LakeWriteError) else None)

    with dg.DagsterInstance.ephemeral() as instance:
        result = replay.run_job(repository(fail), instance, "daily", DAY, DAY)
        assert list(replay.failures(result)) == [said]
        assert replay._say_failures(result) == f"{said} (traces: log of run {result.run_id}, seg-assets ui)"
        log = str(instance.all_logs(result.run_id))
    assert "Traceback" in log or "stack" in log
    printed = capfd.readouterr()
    assert (printed.out + printed.err).strip() == ""


def test_a_blocking_check_that_fails_is_said_once(capfd):
    def compute(context):
        for day in context.partition_keys:
            context.log_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey("rows"),
                    check_name="good",
                    passed=False,
                    metadata={"share": 1.0},
                    severity=dg.AssetCheckSeverity.ERROR,
                    partition=day,
                )
            )
        whole = dg.AssetCheckResult(passed=False, check_name="good", metadata={"days_failed": 2})
        return dg.MaterializeResult(check_results=[whole])

    with dg.DagsterInstance.ephemeral() as instance:
        result = replay.run_job(repository(compute, ["good"]), instance, "daily", DAY, DAY + dt.timedelta(days=1))
    assert list(replay.failures(result)) == ["rows good (days_failed: 2)"]
