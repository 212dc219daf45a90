"""The whole loop without a daemon: materialize days, then let the sensor's own code decide until it rests.

`loop.planner.plan` is what the drift sensor asks on every tick; here the same runs are made at once, in this
process, as ordinary Dagster runs of the same jobs, so that the UI shows them like any others.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import dagster as dg

from seg_assets.core.calendar import check_in_calendar
from seg_assets.core.days import ONE_DAY, check_order, day_range, say_days
from seg_assets.core.errors import SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.lake.store import Lake
from seg_assets.orchestration.tags import of_range

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
    forget_vanished: bool = False,
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
        forget_vanished: read days anew though files that they were read from are gone, and lose their lines.
        say: called with one line per run.
        definitions: prepared definitions of the same settings (made here otherwise).

    Raises:
        ConfigError: a day outside the calendar, or days in the wrong order.
        RunFailedError: a run failed.
    """
    from seg_assets.build import build_defs
    from seg_assets.events.sensor import LANDED, changed_days, runs_of
    from seg_assets.loop.planner import is_behind

    check_in_calendar(first, settings)
    check_in_calendar(last, settings)
    check_order(first, last)
    definitions = definitions or build_defs(settings)
    runner = _Runner(definitions, instance, say, forget_vanished)
    lake = Lake.of(settings)
    days = day_range(first, last)
    todo = dict.fromkeys(days, LANDED) if again else changed_days(settings, lake, days)
    reason = "asked for again" if again else "landing files not yet read"
    ranges = runs_of(todo)
    if not todo:
        say(f"{first} .. {last}: landing files are as they were read")
    elif is_behind(lake, settings) or (not live and [tables for *_, tables in ranges] != [LANDED]):
        # A day of most rooms reads its own yesterday, which a killed run may have left out, or an earlier range makes
        # stale: the loop finds its way.
        for start, end, tables in ranges:
            runner.run("daily", start, end, "landing files not yet read", selection=tables)
        _settle(settings, lake, runner, None)
        todo = todo if again else {}
    if live:
        for day, following in zip_longest(todo, list(todo)[1:]):
            whole = todo[day] == LANDED
            runner.run("daily", day, day, "the day has closed", selection=None if whole else todo[day])
            # Days that are there already rest on this one.
            _settle(settings, lake, runner, following - ONE_DAY if following else day)
    else:
        for start, end, _ in runs_of(todo):
            runner.run("daily", start, end, reason)
    runner.done.resting_because = _settle(settings, lake, runner, None)
    return runner.done


def _settle(settings: Settings, lake: Lake, runner: "_Runner", last_day: dt.date | None) -> str:
    """Run what the sensor's code asks for, until it rests; return why it rests."""
    from seg_assets.loop import planner
    from seg_assets.segments.strategy import strategies_of

    asked: set[str] = set()
    for _ in range(MAX_REQUESTS):
        # Read anew, as each run does: a YAML edited meanwhile would be asked for again and again.
        plan = planner.plan(lake, strategies_of(settings), settings, last_day=last_day)
        if not plan.runs:
            return plan.resting_because
        for planned in plan.runs:
            if planned.key in asked:
                raise SegAssetsError(
                    f"{planned.kind} of {planned.first} .. {planned.last} was run and is asked for again in the same "
                    f"state of the lake ({planned.reason}); run `seg-assets doctor` and report its output as a defect"
                )
            asked.add(planned.key)
            runner.run(
                planned.kind,
                planned.first,
                planned.last,
                planned.reason,
                run_config=planned.run_config(),
                selection=planned.assets(),
                tags=planned.run_tags(),
            )
    raise SegAssetsError(
        f"the re-clustering loop did not come to rest after {MAX_REQUESTS} rounds; "
        "run `seg-assets doctor` and report its output as a defect"
    )


class _Runner:
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
        self.done = Replayed()

    def run(
        self,
        job: str,
        first: dt.date,
        last: dt.date,
        reason: str,
        *,
        run_config: dict[str, Any] | None = None,
        selection: Sequence[str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        days = say_days(day_range(first, last))
        self.say(f"{job:<9} {days}: {reason}")
        started = time.monotonic()
        result = self.repository.get_job(job).execute_in_process(
            instance=self.instance,
            run_config={**QUIET, **(run_config or self._config(job, selection))},
            tags={**(tags or {}), **of_range(first, last)},
            asset_selection=[dg.AssetKey(name) for name in selection] if selection else None,
            raise_on_error=False,
        )
        self.done.steps.append(Step(job, first, last, reason, time.monotonic() - started))
        if not result.success:
            raise RunFailedError(f"{job} of {days} failed: {'; '.join(_failures(result))}")

    def _config(self, job: str, selection: Sequence[str] | None) -> dict[str, Any]:
        """Run config of a run that reads landing files, by step."""
        from seg_assets.events.assets import READERS

        if not self.forget_vanished or job != "daily":
            return {}
        steps = {step for table, step in READERS.items() if selection is None or table in selection}
        return {"ops": {step: {"config": {"forget_vanished": True}} for step in sorted(steps)}}


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    blocking = [c for c in result.get_asset_check_evaluations() if c.severity == dg.AssetCheckSeverity.ERROR]
    for check in blocking:
        if not check.passed:
            told = "; ".join(f"{key}: {value.value}" for key, value in check.metadata.items())
            yield f"{check.asset_key.to_user_string()} {check.check_name} ({told})"
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error and error.cause:
                error = error.cause
            yield f"{event.step_key}: {error.message.strip() if error else 'no message'}"
