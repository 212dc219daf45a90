"""When a request may be made again: pauses after failures, causes in words, runs that are still at work."""

import time
import uuid

import dagster as dg
import pytest

from seg_assets.core.errors import LandingError
from seg_assets.orchestration import runs, tags

KEY = "k" * 16


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    hands = Clock()
    monkeypatch.setattr(runs, "_now", hands)
    return hands


def add(instance, status, key=KEY):
    run = dg.DagsterRun("daily", run_id=str(uuid.uuid4()), status=status, tags={tags.REQUEST: key})
    instance.add_run(run)
    return run


def test_a_first_request_is_attempt_one(instance):
    assert runs.next_attempt(instance, KEY) == runs.Attempt(1, f"{KEY}-1")


@pytest.mark.parametrize("status", [s for s in runs.IN_FLIGHT if s != dg.DagsterRunStatus.QUEUED])
def test_nothing_is_asked_while_a_run_of_it_is_queued_or_at_work(instance, clock, status):
    run = add(instance, status)
    clock.ahead = 10 * 86_400
    assert run.run_id[:8] in runs.next_attempt(instance, KEY)


@pytest.mark.parametrize(("failures", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (7, 60), (12, 60)])
@pytest.mark.parametrize("status", runs.FAILED)
def test_the_pause_after_failures_doubles_up_to_an_hour_and_never_becomes_for_ever(
    instance, clock, failures, minutes, status
):
    for _ in range(failures):
        add(instance, status)
    clock.ahead = 60 * minutes - 5
    assert isinstance(runs.next_attempt(instance, KEY), str)
    clock.ahead = 60 * minutes + 5
    attempt = runs.next_attempt(instance, KEY)
    assert isinstance(attempt, runs.Attempt)


def test_each_attempt_has_a_run_key_that_no_run_had(instance, clock):
    keys = set()
    for n in range(5):
        clock.ahead += 3601
        attempt = runs.next_attempt(instance, KEY)
        assert attempt.number == n + 1
        keys.add(attempt.run_key)
        add(instance, dg.DagsterRunStatus.FAILURE)
    assert len(keys) == 5


def test_runs_that_succeed_again_and_again_within_the_hour_are_asked_for_ever_more_rarely(instance, clock):
    for minutes in (1, 1, 1, 2, 4):
        add(instance, dg.DagsterRunStatus.SUCCESS)
        clock.ahead = 60 * minutes - 5
        assert "succeeded, and this is still or again missing" in runs.next_attempt(instance, KEY)
        clock.ahead = 60 * minutes + 5
        assert runs.next_attempt(instance, KEY).number == 1
    clock.ahead = 0
    assert "the next attempt is in 4 min" in runs.next_attempt(instance, KEY)
    clock.ahead = 3700
    assert runs.next_attempt(instance, KEY).number == 1


def test_from_the_third_failure_on_the_cause_is_named(instance, clock):
    @dg.asset(name="raw_events")
    def raw_events():
        raise dg.Failure("feed orders has no landing file for 2024-03-03; wait for it", allow_retries=False)

    for n in range(3):
        assert "wait for it" not in str(runs.next_attempt(instance, KEY)), n
        dg.materialize([raw_events], instance=instance, tags={tags.REQUEST: KEY}, raise_on_error=False)
    told = runs.next_attempt(instance, KEY)
    assert "3 runs failed" in told
    assert "feed orders has no landing file for 2024-03-03; wait for it" in told


def test_of_a_chain_of_errors_ours_is_told_without_its_class(instance):
    @dg.asset(name="raw_events")
    def raw_events():
        raise LandingError("orders.csv: cannot be read; deliver it again") from OSError("Input/output error")

    run = dg.materialize([raw_events], instance=instance, raise_on_error=False)
    assert runs.why_failed(instance, run.run_id) == "orders.csv: cannot be read; deliver it again"


def test_days_at_work_are_those_of_runs_that_make_one_of_the_tables(instance):
    run_tags = tags.of_range("2024-03-01", "2024-03-03")
    for selection, status in (
        ({dg.AssetKey("raw_users")}, dg.DagsterRunStatus.STARTED),
        ({dg.AssetKey("user_segments")}, dg.DagsterRunStatus.STARTED),
        (None, dg.DagsterRunStatus.SUCCESS),
    ):
        instance.add_run(
            dg.DagsterRun("daily", run_id=str(uuid.uuid4()), tags=run_tags, status=status, asset_selection=selection)
        )
        run_tags = tags.of_range("2024-03-05", "2024-03-06")
    assert [str(day) for day in runs.days_at_work(instance, ["raw_events", "raw_users"])] == [
        "2024-03-01", "2024-03-02", "2024-03-03"
    ]  # fmt: skip


@pytest.mark.parametrize("selection", [None, frozenset()])
def test_a_run_without_a_selection_makes_all_tables(instance, selection):
    run_tags = tags.of_range("2024-03-01", "2024-03-02")
    run = dg.DagsterRun(
        "daily", run_id=str(uuid.uuid4()), tags=run_tags, status=dg.DagsterRunStatus.STARTED, asset_selection=selection
    )
    instance.add_run(run)
    assert run.run_id[:8] in runs.in_flight(instance)
    assert len(runs.days_at_work(instance, ["raw_events"])) == 2
