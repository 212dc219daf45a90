"""The whole loop without a daemon: materialize days, then let the sensor's own code decide until it rests.

`drift.decide.plan` is what the drift sensor asks on every tick; here the same requests are run at once, in this
process, as ordinary Dagster runs of the same jobs, so that the UI shows them like any others.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from seg_assets.catalog import TABLES
from seg_assets.errors import SegAssetsError
from seg_assets.lake import Lake
from seg_assets.partitions import check_in_calendar, contiguous, day_range, say_days
from seg_assets.settings import Settings
from seg_assets.tags import of_range

LANDED = [t.name for t in TABLES.values() if t.room == "events"]

# A strategy decides at most once a cool-down, so a year of four strategies stays far below this.
MAX_REQUESTS = 2000

# One console line a run is enough; the UI has the rest.
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class RunFailedError(SegAssetsError):
    """A Dagster run of the replay failed; the lake holds the days that were finished."""


@dataclass(frozen=True)
class Step:
    """One run of the replay."""

    job: str
    first: dt.date
    last: dt.date
    reason: str
    seconds: float


@dataclass
class Replayed:
    """What a replay did, in order."""

    steps: list[Step] = field(default_factory=list)
    resting_because: str = ""

    def count(self, job: str) -> int:
        """Number of runs of one job."""
        return sum(step.job == job for step in self.steps)


def replay(
    settings: Settings,
    first: dt.date,
    last: dt.date,
    *,
    instance: dg.DagsterInstance,
    live: bool = False,
    again: bool = False,
    say: Callable[[str], None] = lambda text: None,
    definitions: dg.Definitions | None = None,
) -> Replayed:
    """Bring the days `first`..`last` to what their landing files say, and decide until the loop rests.

    Days whose landing files did not change are left alone, so a second call changes nothing.

    Args:
        settings: the shop.
        first: first day to materialize.
        last: last day to materialize.
        instance: where runs and events are recorded.
        live: one run a day, deciding after each, as the schedule and the sensor would; else one ranged run first.
        again: materialize every one of the days, also those whose landing files did not change.
        say: called with one line per run.
        definitions: prepared definitions of the same settings (made here otherwise).

    Raises:
        ConfigError: a day outside the calendar.
        RunFailedError: a run failed.
    """
    from seg_assets.build import build_defs

    check_in_calendar(first, settings)
    check_in_calendar(last, settings)
    definitions = definitions or build_defs(settings)
    runner = _Runner(definitions, instance, say)
    lake = Lake.of(settings)
    todo = day_range(first, last) if again else days_to_land(settings, lake, day_range(first, last))
    if not todo:
        say(f"{first} .. {last}: landing files are as they were read")
    elif _is_behind(settings, lake):
        # A day of most rooms reads its own yesterday, which a killed run may have left out: the loop finds its way.
        for start, end in contiguous(todo):
            runner.run("daily", start, end, "landing files not yet read", selection=LANDED)
        _settle(settings, lake, runner, None)
        todo = todo if again else []
    if live:
        for day in todo:
            runner.run("daily", day, day, "the day has closed")
            _settle(settings, lake, runner, day)
    else:
        for start, end in contiguous(todo):
            runner.run("daily", start, end, "asked for again" if again else "landing files not yet read")
    runner.done.resting_because = _settle(settings, lake, runner, None)
    return runner.done


def days_to_land(settings: Settings, lake: Lake, days: list[dt.date]) -> list[dt.date]:
    """Those of `days` that were never read from landing, or whose landing files have changed since."""
    from seg_assets.events.sensor import changed_days

    return changed_days(settings, lake, days)


def _is_behind(settings: Settings, lake: Lake) -> bool:
    from seg_assets.drift import decide
    from seg_assets.segments.strategy import strategies_of

    return bool(decide.plan(lake, strategies_of(settings), settings).requests)


def _settle(settings: Settings, lake: Lake, runner: "_Runner", last_day: dt.date | None) -> str:
    """Run what the sensor's code asks for, until it rests; return why it rests."""
    from seg_assets.drift import decide
    from seg_assets.segments.strategy import strategies_of

    asked: set[str] = set()
    for _ in range(MAX_REQUESTS):
        # Read anew, as each run does: a YAML edited meanwhile would be asked for again and again.
        plan = decide.plan(lake, strategies_of(settings), settings, last_day=last_day)
        if not plan.requests:
            return plan.resting_because
        for request in plan.requests:
            if request.key in asked:
                raise SegAssetsError(
                    f"{request.kind} of {request.first} .. {request.last} was run and is asked for again in the same "
                    f"state of the lake ({request.reason}); run `seg-assets doctor` and report its output as a defect"
                )
            asked.add(request.key)
            runner.run(
                request.kind,
                request.first,
                request.last,
                request.reason,
                run_config=decide.run_config_for(request),
                selection=decide.asset_selection_for(request),
                tags=decide.tags_for(request),
            )
    raise SegAssetsError(
        f"the re-clustering loop did not come to rest after {MAX_REQUESTS} rounds; "
        "run `seg-assets doctor` and report its output as a defect"
    )


class _Runner:
    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, say: Callable[[str], None]) -> None:
        self.repository = definitions.get_repository_def()
        self.instance = instance
        self.say = say
        self.done = Replayed()

    def run(
        self,
        job: str,
        first: dt.date,
        last: dt.date,
        reason: str,
        *,
        run_config: dict[str, Any] | None = None,
        selection: list[str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        days = say_days(day_range(first, last))
        self.say(f"{job:<9} {days}: {reason}")
        started = time.monotonic()
        result = self.repository.get_job(job).execute_in_process(
            instance=self.instance,
            run_config={**QUIET, **(run_config or {})},
            tags={**(tags or {}), **of_range(first, last)},
            asset_selection=[dg.AssetKey(name) for name in selection] if selection else None,
            raise_on_error=False,
        )
        self.done.steps.append(Step(job, first, last, reason, time.monotonic() - started))
        if not result.success:
            raise RunFailedError(f"{job} of {days} failed: {'; '.join(_failures(result))}")


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error and error.cause:
                error = error.cause
            yield f"{event.step_key}: {error.message.strip() if error else 'no message'}"
