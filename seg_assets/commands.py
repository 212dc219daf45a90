"""Commands of the whole chain: `seg-assets init`, `replay`, `demo`, `load`, `rollback`, `ui`, `views`.

Dagster is imported by the commands that run jobs, when they run.

Not here: commands of one room (its `cli` module) and those that look at the lake as a whole (`loop.cli`).
"""

import contextlib
import datetime as dt
import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import click

from seg_assets import demo as panel
from seg_assets.core.calendar import check_in_calendar, check_range
from seg_assets.core.days import check_order, day_range
from seg_assets.core.errors import ConfigError
from seg_assets.core.options import DAY, Number, range_options
from seg_assets.core.settings import Settings, settings_file
from seg_assets.core.stopping import when_stopped
from seg_assets.events.draft.drafting import draft_folder
from seg_assets.events.source import load_source
from seg_assets.init import check_free, dagster_location, shop_name, write_shop
from seg_assets.lake.store import Lake
from seg_assets.profiles.project import project_of
from seg_assets.reports.summary import summarize
from seg_assets.segments.decisions.rollback import rollback_request
from seg_assets.segments.decisions.store import decisions_of_day
from seg_assets.segments.strategy import choose_strategy, strategies_of

DEMO_LAST = dt.date(2017, 4, 2)
PROFILES = "user_profiles"
JOBS = ("daily", "recluster", "refresh")
# More runs than these are counted.
MOST_NAMED = 5
# After this long, Dagster's services are ended all the same.
STOP_SERVICES_SECONDS = 8.0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--from", "exports", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the shop's own files."
)
@click.option(
    "--time-zone", "zone", metavar="ZONE", help="With --from: the shop's zone, and that of times without one."
)
@click.option("--currency", metavar="CODE", help="With --from: the shop's currency, such as EUR.")
def init(folder: Path, exports: Path | None, zone: str | None, currency: str | None) -> int:
    """Write the folder of a new shop: settings, an example source, strategies, and a code location for Dagster.

    FOLDER is made; it must be new or empty. With --from the source is drafted from the files in DIR, which stay where
    they are and become the landing folder. Exit code 1: not one of their lines is accepted.
    """
    folder = folder.expanduser()
    if exports is None:
        if zone or currency:
            raise ConfigError(
                "--time-zone, --currency: only with --from; a shop without files has them in settings.yaml"
            )
        for path in write_shop(folder):
            print(folder / path)
        _note(f"next: cd {shlex.quote(str(folder))} && seg-assets simulate --users 200 --days 40")
        return 0
    check_free(folder)
    exports = exports.expanduser().resolve()
    if exports == folder.resolve() or exports in folder.resolve().parents:
        raise ConfigError(f"{folder}: lies in {exports}, whose files would be read; make the shop beside it")
    # Only to refuse a zone that there is none of by name.
    zone = Settings.from_env({}, time_zone=zone).time_zone if zone else None
    draft = draft_folder(exports, name=shop_name(folder), zone=zone, currency=currency)
    for path in write_shop(folder, exports, draft):
        print(folder / path)
    for line in draft.passed_by:
        _note(f"passed by: {line}")
    for line in draft.account.says():
        _note(line)
    source = folder / "sources" / f"{shop_name(folder)}.yaml"
    for number, question in enumerate(draft.source.questions, 1):
        _note(f"question {number}: {question}")
    answers = (
        f"answer the {len(draft.source.questions)} questions in {source}, then: " if draft.source.questions else ""
    )
    days = f"--from {draft.first_day} --to {draft.last_day}"
    _note(f"next: {answers}cd {shlex.quote(str(folder))} && seg-assets replay {days}")
    return 0 if draft.account.accepted else 1


@click.command()
@range_options("First day, as YYYY-MM-DD.", "Last day, as YYYY-MM-DD.")
@click.option("--live", is_flag=True, help="Run one day at a time, and decide after each.")
@click.option("--again", is_flag=True, help="Also materialize days whose landing files did not change.")
@click.option("--forget-vanished", is_flag=True, help="Read days anew though files that they were read from are gone.")
def replay(first: dt.date, last: dt.date, live: bool, again: bool, forget_vanished: bool) -> int:
    """Materialize days and run the re-clustering loop until nothing is due, without a daemon.

    The code that the drift sensor runs decides what is due. Days whose landing files did not change are left alone.
    """
    settings = Settings.from_env()
    check_range(first, last, settings)
    _replay(settings, first, last, live=live, again=again, forget_vanished=forget_vanished)
    return 0


@click.command()
@click.option("--to", "last", type=DAY, default=DEMO_LAST, metavar="DAY", help=f"Last day (default: {DEMO_LAST}).")
def demo(last: dt.date) -> int:
    """Take the Complete Journey, a real shop, through every room, and print a summary."""
    settings = Settings.from_env()
    check_range(panel.FIRST_DAY, last, settings)
    started = time.monotonic()
    _note(f"writing the Complete Journey panel to {settings.landing}")
    panel.write_landing(settings.landing, panel.FIRST_DAY, last)
    _replay(settings, panel.FIRST_DAY, last, live=False)
    print(summarize(Lake.of(settings), strategies_of(settings), settings, last))
    _note(f"done in {time.monotonic() - started:.0f} s; open the Dagster UI with: make ui")
    return 0


@click.command()
@click.argument("dataset", type=click.Choice(["complete_journey"]))
@click.option(
    "--landing", type=click.Path(path_type=Path), metavar="DIR", help="Landing folder (default: the shop's landing)."
)
@click.option("--from", "first", type=DAY, metavar="DAY", help="First day (default: 2017-01-01).")
@click.option("--to", "last", type=DAY, metavar="DAY", help="Last day (default: 2017-12-31).")
def load(dataset: str, landing: Path | None, first: dt.date | None, last: dt.date | None) -> int:
    """Write a public data set as landing files."""
    folder = Path(landing or str(Settings.from_env().landing)).expanduser()
    first, last = first or panel.FIRST_DAY, last or panel.LAST_DAY
    check_order(first, last)
    written = panel.write_landing(folder, first, last, _note)
    lines = ", ".join(f"{n:,} {name}" for name, n in written.lines.items())
    days = f"{written.first} .. {written.last}"
    print(f"{folder}: {written.files} files for {days} ({written.changed} new or changed): {lines}")
    print(f"read them with SEG_ASSETS_SOURCE={dataset} SEG_ASSETS_TIME_ZONE={panel.TIME_ZONE} "
          f"SEG_ASSETS_START_DAY={first} SEG_ASSETS_END_DAY={last} SEG_ASSETS_LANDING={folder}")  # fmt: skip
    return 0


@click.command()
@click.argument("name", metavar="STRATEGY")
@click.option("--day", type=DAY, metavar="DAY", help="The day, as YYYY-MM-DD (default: the last day with profiles).")
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded with the decision.")
@click.option("--again", is_flag=True, help="Go one model further back on the same day.")
def rollback(name: str, day: dt.date | None, reason: str, again: bool) -> int:
    """Return STRATEGY to the champion before the present one.

    Nothing is erased: a run of the job `recluster` makes a new decision on the day, and the segments of that day and
    later become stale.
    """
    from seg_assets.build import build_defs
    from seg_assets.loop.replay import run_decision

    settings = Settings.from_env()
    strategy = choose_strategy(settings, name, "STRATEGY")
    lake = Lake.of(settings)
    days = lake.days(PROFILES)
    if not days:
        raise ConfigError(f"rollback of {name}: the lake has no {PROFILES} yet, so there is nothing to undo")
    day = check_in_calendar(day, settings) if day else days[-1]
    lake.require(PROFILES, [day], f"rollback of {name}")
    request, earlier = rollback_request(lake, strategy.name, day, reason, again)
    if earlier is not None:
        print(f"{name}: done already on {day}: {earlier.reason}. One model further back: --again, or a later day")
        return 0
    run_decision(settings, request, build=build_defs)
    decision = decisions_of_day(lake, name, day)[-1]
    print(f"{name}, {day}: {decision.reason}")
    for row in decision.lineage:
        old_ids, new_ids = (", ".join(row[side]) or "nothing" for side in ("old_ids", "new_ids"))
        print(f"  {row['event']:<8} {old_ids} -> {new_ids} ({row['shared_users']:,} users)")
    print(
        f"Stale now: segments, moves, evaluation and verdicts from {day} on. The drift sensor refreshes them, or: "
        f"seg-assets replay --from {day} --to {days[-1]}"
    )
    return 0


@click.command()
@click.option("--port", type=Number(1, 65_535), default=3000, metavar="PORT", help="Port to listen on (default: 3000).")
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Address to listen on (default: 127.0.0.1).")
def ui(port: int, host: str) -> int:
    """Start the Dagster UI and daemon on this shop's instance; Ctrl-C stops both."""
    from seg_assets.orchestration.instance import prepare_instance

    settings = Settings.from_env()
    # A mistake in a YAML of the shop is said in a line, which Dagster's services would bury in traces.
    strategies_of(settings)
    load_source(settings.source)
    project_of(settings)
    folder = prepare_instance(settings)
    file = settings_file()
    location = dagster_location(file)
    _note(f"Dagster UI on http://{host}:{port}  (instance {folder}); stop with Ctrl-C")
    command = [sys.executable, "-m", "dagster", "dev", *location, "--host", host, "--port", str(port)]
    # Named, not read: what is changed in the file counts when the code location is loaded again.
    shop = {"SEG_ASSETS_SETTINGS": str(file)} if file else settings.environment()
    environment = {**os.environ, **shop, "DAGSTER_HOME": str(folder)}
    # A session of its own: stopped while it starts, Dagster leaves processes behind, which are ended as one group.
    started: list[subprocess.Popen] = []
    with when_stopped(partial(_stop_services, started)):
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))  # noqa: S603  our own words
        return 2 if started[0].wait() else 0


def _stop_services(started: list[subprocess.Popen]) -> str:
    """Stop Dagster's processes: in order, and where that takes long, at once."""
    while not started:
        time.sleep(0.01)  # it is being started just now
    services = started[0]
    services.terminate()
    deadline = time.monotonic() + STOP_SERVICES_SECONDS
    while time.monotonic() < deadline and _has_processes(services.pid):
        services.poll()
        if services.returncode is not None:
            # The one that would stop the others is gone.
            deadline = min(deadline, time.monotonic() + 1)
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(services.pid, signal.SIGKILL)
    return "the UI and the daemon have ended"


def _has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@click.command()
def views() -> int:
    """Print SQL that makes one view per lake table, for any DuckDB."""
    print(Lake.of(Settings.from_env()).views_sql(), end="")
    return 0


def _replay(
    settings: Settings, first: dt.date, last: dt.date, *, live: bool, again: bool = False, forget_vanished: bool = False
) -> None:
    from seg_assets.build import build_defs
    from seg_assets.loop.replay import replay
    from seg_assets.orchestration import assets as orchestration
    from seg_assets.orchestration.instance import open_instance, prepare_instance

    folder = prepare_instance(settings)
    bar = _ProgressBar()
    orchestration.on_progress = bar.show
    try:
        with open_instance(folder) as instance, when_stopped(bar.how_far):
            done = replay(
                settings,
                first,
                last,
                build=build_defs,
                instance=instance,
                live=live,
                again=again,
                forget_vanished=forget_vanished,
                say=bar.note,
            )
    finally:
        bar.close()
        orchestration.on_progress = None
    seconds = sum(step.seconds for step in done.steps)
    _note(
        f"{len(day_range(first, last))} days, {len(done.steps)} runs ({done.count('daily')} daily, "
        f"{done.count('recluster')} recluster, {done.count('refresh')} refresh) in {seconds:.0f} s; "
        f"the loop rests: {done.resting_because}"
    )


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _ProgressBar:
    """Progress of the room at work: a tqdm bar on a terminal, elsewhere a line per room when it is done."""

    def __init__(self) -> None:
        self.bar = None
        self.name = ""
        self.started = time.monotonic()
        self.terminal = sys.stderr.isatty()
        # Lines of the runs, of which the last is at work, and how far that one is.
        self.runs: list[str] = []
        self.at_work = ""

    def show(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` days of the asset `name` are done."""
        self.at_work = f" at {name}, {done} of {total}"
        if name != self.name or (self.bar is not None and done < self.bar.n):
            self.close()
            self.name = name
            if self.terminal:
                from tqdm import tqdm

                self.bar = tqdm(total=total, desc=f"  {name}", unit="day", leave=False)
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
        elif done == total:
            now = time.monotonic()
            days = f"{total} table days" if name == "dbt_profiles" else f"{total} day{'s' if total > 1 else ''}"
            _note(f"  {name}: {days}, {now - self.started:.1f} s")
            self.started = now

    def note(self, text: str) -> None:
        """Print a line of the replay; a new run begins."""
        self.close()
        if text.startswith(JOBS):
            self.runs.append(" ".join(text.split(":")[0].split()))
            self.at_work = ""
        self.started = time.monotonic()
        _note(text)

    def how_far(self) -> str:
        """Say what was finished and what was at work."""
        if not self.runs:
            return "no run had begun"
        *ended, last = self.runs
        finished = ", ".join(ended) or "no run"
        if len(ended) > MOST_NAMED:
            finished = f"{len(ended)} runs, the last {ended[-1]}"
        return f"finished: {finished}; at work: {last}{self.at_work}. Days are kept; run it again to go on"

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        self.name = ""
