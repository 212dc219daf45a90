"""Run the loop in this process: materialize days, then let the sensor's own code decide until nothing is due.

`planner.plan` is what the drift sensor asks on every tick. `replay` runs what the planner names at once, as ordinary
Dagster runs of the same jobs, so that the UI shows them like any others. The caller hands in the function that builds
the definitions, since this room may not know how the house is wired.

Not here: which runs are due (`planner`), what is stale (`staleness`), the sensor of the daemon (`sensor`).
"""

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

import dagster as dg

from seg_assets.core.calendar import check_in_calendar
from seg_assets.core.days import ONE_DAY, check_order, day_range, say_days
from seg_assets.core.errors import SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.stopping import when_stopped
from seg_assets.core.tables import TABLES
from seg_assets.events.assets import READERS
from seg_assets.events.changes import LANDED, Change, changed_days, days_without_data, runs_of
from seg_assets.events.landing import REFUSED_KEY, files_not_taken, say_not_taken
from seg_assets.events.reader import Reader
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.orchestration import tags
from seg_assets.orchestration.instance import open_instance, prepare_instance
from seg_assets.orchestration.runs import error_of
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.strategy import strategies_of

# A strategy decides at most once a cool-down, so a year of four strategies stays far below this.
MAX_RUNS = 2000

# A range of more days is made in the order of the loop: profiles, then verdicts and decisions, then what hangs on them,
# each once. A shorter one is one run of all rooms, which saves the start of four runs and rarely has a decision inside.
MOST_DAYS_AT_ONCE = 7

# One console line a run is enough: what fails is raised as one error, and the run's log in the UI has the traces.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

# Builds the definitions of a shop: `seg_assets.build.build_defs`, or a function of the caller's own around it.
Build = Callable[[Settings], dg.Definitions]


class RunFailedError(SegAssetsError):
    """A Dagster run in this process failed; the lake holds the days that were finished."""


@dataclass(frozen=True)
class Step:
    """One run of a replay."""

    job: str
    first: dt.date
    last: dt.date
    reason: str
    seconds: float


@dataclass
class Replayed:
    """What a replay ran, in order, and why it ended."""

    steps: list[Step] = field(default_factory=list)
    resting_because: str = ""

    def count(self, job: str) -> int:
        """Return the number of runs of one job."""
        return sum(step.job == job for step in self.steps)


def replay(
    settings: Settings,
    first: dt.date,
    last: dt.date,
    *,
    build: Build,
    instance: dg.DagsterInstance,
    live: bool = False,
    again: bool = False,
    forget_vanished: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Replayed:
    """Bring the days `first`..`last` to what their landing files say, and decide until the loop rests.

    Days whose landing files did not change are left alone, so a second call changes nothing. A day that cannot be read
    stops what needs it and nothing else: the days before it are finished, and late files of earlier days are taken in.

    Args:
        settings: the shop.
        first: first day to materialize.
        last: last day to materialize.
        build: builds the definitions of `settings`; called once the days are checked.
        instance: where runs and events are recorded.
        live: one run a day, deciding after each, as the schedule and the sensor would; else one ranged run first.
        again: materialize every one of the days, also those whose landing files did not change.
        forget_vanished: read days anew though files that they were read from are gone, and lose their lines.
        say: called with one line per run.

    Raises:
        ConfigError: a day outside the calendar, or days in the wrong order.
        RunFailedError: a run failed, or one of the days was not made; raised when all else is done.
    """
    check_in_calendar(first, settings)
    check_in_calendar(last, settings)
    check_order(first, last)
    runner = _Runner(build(settings), instance, say, forget_vanished)
    lake = Lake.of(settings)
    days = day_range(first, last)
    with Reader.of(settings) as reader:
        waiting = days_without_data(reader, lake, days)
        readable = [day for day in days if not waiting or day < min(waiting) or lake.has("raw_events", day)]
        if left := files_not_taken(reader.source, reader.landing):
            say(f"landing files: {say_not_taken(left)}")
        if waiting:
            say(waiting[min(waiting)])
        if again:
            todo = dict.fromkeys(readable, Change(LANDED, {"raw_events": "asked for again"}, ""))
        else:
            todo = changed_days(reader, lake, readable)
    failed: list[RunFailedError] = []

    def read(start: dt.date, end: dt.date, tables: tuple[str, ...], *, whole: bool) -> None:
        try:
            runner.run("daily", start, end, todo[start].why, selection=None if whole else tables)
        except RunFailedError as error:
            # What does not need these days is made all the same.
            say(str(error))
            failed.append(error)

    ranges = runs_of(todo)
    if not todo:
        say(f"{first} .. {last}: landing files are as they were read")
    elif (
        planner.is_behind(lake, settings)
        or (not live and [tables for *_, tables in ranges] != [LANDED])
        or (not live and not again and len(todo) > MOST_DAYS_AT_ONCE)
    ):
        # A day of most rooms reads its own yesterday, which a killed run may have left out, or which an earlier range
        # makes stale: only the landed tables are read now, and the loop makes the rest in the right order. In a long
        # range decisions will be due, and what hangs on them would be made twice.
        for start, end, tables in ranges:
            read(start, end, tables, whole=False)
        _run_until_rest(settings, lake, runner, None)
        todo = todo if again else {}
    if live:
        for day, following in zip_longest(todo, list(todo)[1:]):
            read(day, day, todo[day].tables, whole=todo[day].tables == LANDED)
            if failed:
                break
            # Days between this one and the next that changed may rest on this one: they are refreshed before it.
            _run_until_rest(settings, lake, runner, following - ONE_DAY if following else day)
    else:
        for start, end, _ in runs_of(todo):
            read(start, end, LANDED, whole=True)
    runner.replayed.resting_because = _run_until_rest(settings, lake, runner, None)
    if failed:
        raise failed[0]
    _require_made(lake, days, waiting, runner.replayed.resting_because)
    return runner.replayed


def _require_made(lake: Lake, days: Sequence[dt.date], waiting: Mapping[dt.date, str], resting: str) -> None:
    """Raise RunFailedError unless every one of `days` has each table that a day must have."""
    tables = [t.name for t in TABLES.values() if t.required and not t.per_strategy_parts]
    present = {table: set(lake.days(table)) for table in tables}
    missing = [day for day in days if any(day not in there for there in present.values())]
    if not missing:
        return
    footer = lake.provenance("raw_events", missing[0])
    refused = footer.extra.get(REFUSED_KEY) if footer else None
    why = waiting.get(missing[0]) or (f"{refused}; mend the source or deliver the file again" if refused else resting)
    raise RunFailedError(f"{len(missing)} of {len(days)} days were not made, the first is {missing[0]}: {why}")


def run_decision(settings: Settings, request: DecisionRequest, *, build: Build) -> None:
    """Run the job `recluster` once, for a decision asked for by hand, on the shop's own Dagster instance.

    Raises:
        RunFailedError: the run failed; the message says why.
    """
    day = request.day.isoformat()
    asked = {
        "strategy": request.strategy,
        "day": day,
        "cause": request.cause,
        "attempt": request.attempt,
        "note": request.note,
    }
    with open_instance(prepare_instance(settings)) as instance:
        result = run_job(
            build(settings).get_repository_def(),
            instance,
            "recluster",
            request.day,
            request.day,
            run_config={"ops": {"segment_model": {"config": {"requests": [asked]}}}},
            selection=["segment_model"],
            run_tags={tags.STRATEGY: request.strategy, tags.DAY: day, tags.CAUSE: request.cause},
        )
    if not result.success:
        raise RunFailedError(f"{request.cause} of {request.strategy} on {day} failed: {_say_failures(result)}")


def run_job(
    repository: dg.RepositoryDefinition,
    instance: dg.DagsterInstance,
    job: str,
    first: dt.date,
    last: dt.date,
    *,
    run_config: Mapping[str, Any] | None = None,
    selection: Sequence[str] | None = None,
    run_tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run one job over a range of days in this process, with Dagster's console log off.

    Args:
        repository: the definitions, bound.
        instance: where the run is recorded.
        job: name of the job.
        first: first day of the range.
        last: last day of the range.
        run_config: config of the run's steps.
        selection: names of the assets to materialize; None: all of the job.
        run_tags: tags beside those of the range.
    """
    run_id = str(uuid.uuid4())
    with when_stopped(partial(_cancel, instance, run_id)):
        return repository.get_job(job).execute_in_process(
            instance=instance,
            run_config={**QUIET, **(run_config or {})},
            tags={**(run_tags or {}), **tags.of_range(first, last)},
            asset_selection=[dg.AssetKey(name) for name in selection] if selection else None,
            raise_on_error=False,
            run_id=run_id,
        )


def _cancel(instance: dg.DagsterInstance, run_id: str) -> str:
    """Mark a run that is ended with its process as canceled: one that looks at work would keep the sensors waiting."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_canceled(run, "The command that ran it was stopped.")
    return ""


def _say_failures(result: dg.ExecuteInProcessResult) -> str:
    """Return why a run failed, each reason once, and where its log is."""
    reasons = "; ".join(dict.fromkeys(failures(result))) or "no step says why"
    return f"{reasons} (traces: log of run {result.run_id}, seg-assets ui)"


def failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    """Yield a sentence for each blocking check and each step of a run that failed."""
    # Of a range, each day has an evaluation, and the last one names the days.
    for check in {
        (check.asset_key, check.check_name): check for check in result.get_asset_check_evaluations()
    }.values():
        if check.severity == dg.AssetCheckSeverity.ERROR and not check.passed:
            values = "; ".join(f"{key}: {value.value}" for key, value in check.metadata.items())
            yield f"{check.asset_key.to_user_string()} {check.check_name} ({values})"
    for event in result.all_events:
        error = error_of(event)
        if error and error.name != "DagsterAssetCheckFailedError":  # said above, with its numbers
            yield f"{event.step_key}: {error.text}"


def _run_until_rest(settings: Settings, lake: Lake, runner: "_Runner", last_day: dt.date | None) -> str:
    """Run what the planner names until nothing is due; return the planner's reason to rest."""
    keys_run: set[str] = set()
    for _ in range(MAX_RUNS):
        # Strategies are read anew, as each run does: a YAML edited meanwhile would be asked for again and again.
        plan = planner.plan(lake, strategies_of(settings), settings, last_day=last_day)
        if not plan.runs:
            return plan.resting_because
        for planned in plan.runs:
            if planned.key in keys_run:
                raise SegAssetsError(
                    f"{planned.kind} of {planned.first} .. {planned.last} was run and is asked for again in the same "
                    f"state of the lake ({planned.reason}); run `seg-assets doctor` and report its output as a defect"
                )
            keys_run.add(planned.key)
            runner.run(
                planned.kind,
                planned.first,
                planned.last,
                planned.reason,
                run_config=planned.run_config(),
                selection=planned.assets(),
                run_tags=planned.run_tags(),
            )
    raise SegAssetsError(
        f"the re-clustering loop did not come to rest after {MAX_RUNS} rounds; "
        "run `seg-assets doctor` and report its output as a defect"
    )


class _Runner:
    """Runs jobs one after the other, keeps a `Step` of each, and stops at the first that fails."""

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        say: Callable[[str], None],
        forget_vanished: bool = False,
    ) -> None:
        self.repository = definitions.get_repository_def()
        self.instance = instance
        self.say = say
        self.forget_vanished = forget_vanished
        self.replayed = Replayed()

    def run(
        self,
        job: str,
        first: dt.date,
        last: dt.date,
        reason: str,
        *,
        run_config: Mapping[str, Any] | None = None,
        selection: Sequence[str] | None = None,
        run_tags: Mapping[str, str] | None = None,
    ) -> None:
        days = say_days(day_range(first, last))
        self.say(f"{job:<9} {days}: {reason}")
        started = time.monotonic()
        result = run_job(
            self.repository,
            self.instance,
            job,
            first,
            last,
            run_config=run_config or self._config(job, selection),
            selection=selection,
            run_tags=run_tags,
        )
        self.replayed.steps.append(Step(job, first, last, reason, time.monotonic() - started))
        if not result.success:
            raise RunFailedError(f"{job} of {days} failed: {_say_failures(result)}")

    def _config(self, job: str, selection: Sequence[str] | None) -> dict[str, Any]:
        """Run config of the steps that read landing files, when vanished files are to be forgotten."""
        if not self.forget_vanished or job != "daily":
            return {}
        steps = {step for table, step in READERS.items() if selection is None or table in selection}
        return {"ops": {step: {"config": {"forget_vanished": True}} for step in sorted(steps)}}
