"""Look up which runs of our tables a Dagster instance has under way, and when one may be asked for again.

Sensors decide from landing zone and lake what is missing or stale; a request carries the digest of that as a tag. What
runs with the same tag became decides only when the request may be made again, never whether.

Not here: asking for a run (`events.sensor`, `loop.sensor`), and the tags of one (`orchestration.tags`).
"""

import datetime as dt
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import dagster as dg

from seg_assets.core.days import day_range
from seg_assets.core.tables import TABLES
from seg_assets.orchestration import tags

IN_FLIGHT = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# The pause after a run that failed doubles from one minute up to this many.
LONGEST_PAUSE_MINUTES = 60
# So many runs within an hour may succeed and be undone, before the pause after them grows.
PATIENT_SUCCESSES = 3
# From so many failures on, a person is told the cause. Fewer may be a full disk or a network that comes back.
TELLING_FAILURES = 3
# Runs of one request that are looked at: more do not make the pause longer.
_RUNS_LOOKED_AT = 10
# How the messages of our own errors begin in Dagster's events.
_OURS = "seg_assets.core.errors."
# The newest come first. Dagster's filter by status is private, and nobody starts so many while an older one is at work.
NEWEST_BACKFILLS = 50


def in_flight(instance: dg.DagsterInstance) -> str:
    """Say what is materializing our tables right now, '' when nothing is.

    Deciding in the middle of a run or a backfill would see half of what it makes.
    """
    for run in _at_work(instance, TABLES):
        return f"run {run.run_id[:8]} ({run.job_name})"
    for backfill in instance.get_backfills(limit=NEWEST_BACKFILLS):
        if backfill.status.value == "REQUESTED":
            return f"backfill {backfill.backfill_id}"
    return ""


def days_at_work(instance: dg.DagsterInstance, tables: Collection[str]) -> dict[dt.date, str]:
    """Return the days of which a run that is queued or under way makes one of `tables`, with what the run is called."""
    days: dict[dt.date, str] = {}
    for run in _at_work(instance, tables):
        if (span := tags.range_of(run.tags)) is not None:
            days.update(dict.fromkeys(day_range(*span), f"run {run.run_id[:8]}"))
    return days


def _at_work(instance: dg.DagsterInstance, tables: Collection[str]) -> Iterator[dg.DagsterRun]:
    """Yield the runs that are queued or under way and make one of these tables."""
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=list(IN_FLIGHT)), limit=100):
        if _makes(record.dagster_run, tables):
            yield record.dagster_run


def _makes(run: dg.DagsterRun, tables: Collection[str]) -> bool:
    """Return whether a run makes one of these tables. One without a selection (None, or none chosen) makes all."""
    return not run.asset_selection or any(key.to_user_string() in tables for key in run.asset_selection)


@dataclass(frozen=True)
class Attempt:
    """A run to ask for: its number among the attempts of this request, from 1, and a run key that no run had yet."""

    number: int
    run_key: str


def next_attempt(instance: dg.DagsterInstance, request: str) -> Attempt | str:
    """Return the next attempt at a request, or why it is not made now.

    None is made while a run of the request is queued or at work. After a failure there is a pause of 1, 2, 4 .. at
    most 60 minutes, for ever. After a run that succeeded the lake asks again because what the run made was lost or
    undone once more, which may be soon, or because the run changed nothing: the pause is a minute, and grows in the
    same way from the fourth such run within an hour on.

    Args:
        instance: where runs are recorded.
        request: the digest of what is missing or stale; runs carry it as the tag `seg/request`.
    """
    filters = dg.RunsFilter(tags={tags.REQUEST: request})
    records = instance.get_run_records(filters=filters, limit=_RUNS_LOOKED_AT)
    busy = next((r.dagster_run for r in records if not r.dagster_run.is_finished), None)
    if busy is not None:
        return f"run {busy.run_id[:8]} of just this is queued or at work"
    if not records:
        return Attempt(1, f"{request}-1")
    newest = records[0]
    failed = newest.dagster_run.status in FAILED
    now = _now()
    alike = 0
    for record in records:
        if (record.dagster_run.status in FAILED) != failed:
            break
        if not failed and now - _ended(record) >= 60 * LONGEST_PAUSE_MINUTES:
            break
        alike += 1
    doublings = alike - 1 if failed else max(0, alike - PATIENT_SUCCESSES)
    due = _ended(newest) + 60 * min(LONGEST_PAUSE_MINUTES, 2**doublings) if alike else now
    run = newest.dagster_run.run_id
    if now < due:
        pause = f"the next attempt is in {max(1, round((due - now) / 60))} min"
        if not failed:
            return f"run {run[:8]} succeeded, and this is still or again missing: {pause}"
        if alike < TELLING_FAILURES:
            return f"run {run[:8]} failed: {pause}"
        return f"{alike} runs failed, the last is {run[:8]} ({why_failed(instance, run)}); mend that: {pause}"
    return Attempt(alike + 1 if failed else 1, f"{request}-{run[:13]}")


def why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return what the first step of a run that failed said, in one line."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event and (error := error_of(event)):
            return error.text[:400]
    return "its process ended before it could say why"


class StepError(NamedTuple):
    """What made a step fail: the name of the error's class and its message in one line."""

    name: str
    text: str


def error_of(event: dg.DagsterEvent) -> StepError | None:
    """Return the error of a failed step that tells a person most; None where the event has none.

    That is the first of ours in the chain of causes, without the name of its class, since it says what to do; else the
    last cause. What led to it is in the run's log.
    """
    error = event.step_failure_data.error if event.is_step_failure else None
    if error is None:
        return None
    chain = [error]
    while chain[-1].cause:
        chain.append(chain[-1].cause)
    ours = next((e for e in chain if e.message.startswith(_OURS)), None)
    if ours is not None:
        return StepError(ours.cls_name or "", " ".join(ours.message.split()).partition(": ")[2])
    return StepError(chain[-1].cls_name or "", " ".join(chain[-1].message.split()))


def _ended(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _now() -> float:
    """Return the time in seconds since 1970. It decides when a run is asked for, and no content."""
    return time.time()
