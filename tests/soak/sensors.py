"""The daemon in small: both sensors in turn, on an instance that remembers runs and their keys, in sensor time.

What Dagster's daemon does with a request is done here too: a run key that had a run launches nothing, and a run whose
process is gone is reported as failed. The clock of the pauses moves on by one interval of the sensors a round.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import dagster as dg

from seg_assets.build import build_defs
from seg_assets.core.settings import Settings
from seg_assets.loop.replay import QUIET
from seg_assets.orchestration import runs

NAMES = ("landing_sensor", "drift_sensor")
# A round of both sensors; settings.sensor_seconds of a shop that changed nothing.
SECONDS = 30.0
# Rounds without a request after which the sensors are at rest: more than the ticks between two looks at an idle lake.
ROUNDS_OF_REST = 8
START = 1_700_000_000.0


class NotAtRestError(Exception):
    """The sensors did not come to rest in time."""


class Sensors:
    """Both sensors of a shop.

    Args:
        settings: the shop.
        instance: remembers runs, in memory or in a folder.
        cursors: folder that keeps the cursors; None: they live as long as this object.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, cursors: Path | None = None) -> None:
        self.repository = build_defs(settings).get_repository_def()
        self.instance = instance
        self.folder = cursors
        self.cursors = {name: self._kept(name) for name in NAMES}
        self.said = dict.fromkeys(NAMES, "")
        self.keys: list[str] = []
        self.failed: list[str] = []
        self.now = START
        # By run, when it ended, or was seen to have ended.
        self.ends: dict[str, float] = {}
        for run in instance.get_runs():
            if not run.is_finished:
                instance.report_run_failed(run)

    def until_rest(self, minutes: float) -> float:
        """Tick until nothing is asked for any more; return the sensor time of the last request, in minutes.

        Raises:
            NotAtRestError: something is asked for, or waits for its next attempt, after so many minutes.
        """
        begun, busy, quiet = self.now, self.now, 0
        while quiet < ROUNDS_OF_REST:
            if self.now - begun > 60 * minutes + SECONDS * ROUNDS_OF_REST:
                raise NotAtRestError(f"not at rest after {minutes} minutes of sensor time: {self.said}")
            launched = self.round()
            waiting = any("the next attempt is in" in text for text in self.said.values())
            quiet = 0 if launched or waiting else quiet + 1
            busy = self.now if launched else busy
        if busy - begun > 60 * minutes:
            raise NotAtRestError(f"asked for runs after {(busy - begun) / 60:.1f} minutes of sensor time: {self.said}")
        return (busy - begun) / 60

    def round(self) -> int:
        """Evaluate each sensor once, run what it asks for, and return how many runs that were."""
        self.now += SECONDS
        launched = 0
        for name in NAMES:
            with self._clock():
                context = dg.build_sensor_context(
                    instance=self.instance, cursor=self.cursors[name], repository_def=self.repository
                )
                tick = self.repository.get_sensor_def(name).evaluate_tick(context)
            self.said[name] = tick.skip_message or ""
            for request in tick.run_requests or ():
                launched += self._launch(request)
            if tick.cursor is not None:
                self.cursors[name] = tick.cursor
                if self.folder:
                    (self.folder / f"{name}.cursor").write_text(tick.cursor)
        return launched

    def _launch(self, request: dg.RunRequest) -> int:
        if self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key or ""})):
            return 0
        tags = {**request.tags, "dagster/run_key": request.run_key or ""}
        one_day = tags.pop("dagster/partition", request.partition_key)
        self.keys.append(request.run_key or "")
        with self._clock():
            result = self.repository.get_job(request.job_name or "daily").execute_in_process(
                instance=self.instance,
                run_config={**QUIET, **(request.run_config or {})},
                tags=tags,
                partition_key=one_day,
                asset_selection=list(request.asset_selection) if request.asset_selection else None,
                raise_on_error=False,
            )
        self.ends[result.run_id] = self.now
        if not result.success:
            self.failed.append(request.run_key or "")
        return 1

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Let pauses and the ends of runs be told in sensor time."""

        def ended(record: dg.RunRecord) -> float:
            return self.ends.setdefault(record.dagster_run.run_id, self.now)

        with mock.patch.object(runs, "_now", lambda: self.now), mock.patch.object(runs, "_ended", ended):
            yield

    def _kept(self, name: str) -> str | None:
        path = self.folder / f"{name}.cursor" if self.folder else None
        return path.read_text() if path and path.exists() else None
