"""Commands that concern the whole chain: replay, demo, ui, doctor, gc, views."""

import argparse
import datetime as dt
import os
import sys
import time

from seg_assets.core.calendar import check_in_calendar
from seg_assets.core.days import day_range, parse_range
from seg_assets.core.options import check_number
from seg_assets.core.settings import Settings

DEMO_FIRST = dt.date(2017, 1, 1)
DEMO_LAST = dt.date(2017, 4, 2)


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands of this module."""
    parser = subparsers.add_parser("replay", help="materialize days and let the sensor's own code decide, no daemon")
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last day, YYYY-MM-DD")
    parser.add_argument("--live", action="store_true", help="one run a day, deciding after each")
    parser.add_argument("--again", action="store_true", help="also days whose landing files did not change")
    parser.add_argument(
        "--forget-vanished", action="store_true", help="re-read days though files they were read from are gone"
    )
    parser.set_defaults(run=run_replay)

    parser = subparsers.add_parser("demo", help="the real demo shop through every room, with a summary")
    parser.add_argument("--to", dest="last", default=DEMO_LAST.isoformat(), metavar="DAY", help="last day")
    parser.set_defaults(run=run_demo)

    parser = subparsers.add_parser("ui", help="the Dagster UI and daemon on this shop's instance")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.set_defaults(run=run_ui)

    parser = subparsers.add_parser("doctor", help="what is missing, stale, damaged or undecided, and what mends it")
    parser.add_argument("--verify", action="store_true", help="read every file whole and compare it with its hash")
    parser.add_argument("--mend", action="store_true", help="set damaged files aside, so that a replay rebuilds them")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    parser.set_defaults(run=run_doctor)

    parser = subparsers.add_parser("gc", help="remove leftovers older than a retention, never a file in use")
    parser.add_argument("--older-than-hours", type=float, default=24.0, metavar="H")
    parser.add_argument("--dry-run", action="store_true")
    parser.set_defaults(run=run_gc)

    parser = subparsers.add_parser("views", help="print SQL that makes one view per lake table, for any DuckDB")
    parser.set_defaults(run=run_views)


def run_replay(args: argparse.Namespace) -> int:
    """`seg-assets replay`."""
    settings = Settings.from_env()
    first, last = parse_range(args.first, args.last)
    _replay(settings, first, last, live=args.live, again=args.again, forget_vanished=args.forget_vanished)
    return 0


def run_demo(args: argparse.Namespace) -> int:
    """`seg-assets demo`."""
    from seg_assets.demo import write_landing
    from seg_assets.lake.store import Lake
    from seg_assets.reports.summary import summarize
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    first, last = (check_in_calendar(day, settings) for day in parse_range(DEMO_FIRST.isoformat(), args.last))
    started = time.monotonic()
    _say(f"landing the Complete Journey panel in {settings.landing}")
    write_landing(settings.landing, first, last)
    _replay(settings, first, last, live=False)
    strategies = strategies_of(settings)
    print(summarize(Lake.of(settings), strategies, settings, last))
    _say(f"done in {time.monotonic() - started:.0f} s; open the Dagster UI with: make ui")
    return 0


def run_ui(args: argparse.Namespace) -> int:
    """`seg-assets ui`: this process becomes `dagster dev` on this shop, so that whoever stops it stops all."""
    from seg_assets.orchestration.instance import prepare_instance

    check_number("--port", args.port, 1, 65_535)
    settings = Settings.from_env()
    folder = prepare_instance(settings)
    _say(f"Dagster UI on http://{args.host}:{args.port}  (instance {folder}); stop with Ctrl-C")
    command = [sys.executable, "-m", "dagster", "dev", "-m", "seg_assets.definitions"]
    command += ["--host", args.host, "--port", str(args.port)]
    environment = {**os.environ, **settings.environment(), "DAGSTER_HOME": str(folder)}
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606  our own words only


def run_doctor(args: argparse.Namespace) -> int:
    """`seg-assets doctor`: 0 healthy, 1 something was found."""
    import json

    from seg_assets.loop.doctor import examine
    from seg_assets.loop.mending import set_aside

    settings = Settings.from_env()
    findings = examine(settings, verify=args.verify)
    if args.json:
        print(json.dumps([f.as_dict() for f in findings], indent=2))
    else:
        for finding in findings:
            print(finding.text())
        print(f"{len(findings)} findings" if findings else "healthy: nothing missing, stale, damaged or undecided")
    if args.mend:
        mended = set_aside(settings, findings)
        for path in mended.moved:
            _say(f"set aside {path}")
        for path in mended.rewritten:
            _say(f"wrote {path} anew: its decisions are what their hashes say")
        for told in mended.left:
            _say(told)
    return 1 if findings else 0


def run_gc(args: argparse.Namespace) -> int:
    """`seg-assets gc`."""
    from seg_assets.loop.mending import collect_garbage

    check_number("--older-than-hours", args.older_than_hours, 0, 1_000_000)
    removed, size = collect_garbage(Settings.from_env(), args.older_than_hours * 3600, dry_run=args.dry_run)
    verb = "would remove" if args.dry_run else "removed"
    print(f"{verb} {len(removed)} leftovers, {size / 1e6:.1f} MB")
    for path in removed[:50]:
        print(f"  {path}")
    return 0


def run_views(args: argparse.Namespace) -> int:
    """`seg-assets views`."""
    from seg_assets.lake.store import Lake

    print(Lake.of(Settings.from_env()).views_sql(), end="")
    return 0


def _replay(
    settings: Settings, first: dt.date, last: dt.date, *, live: bool, again: bool = False, forget_vanished: bool = False
) -> None:
    from seg_assets.loop.replay import replay
    from seg_assets.orchestration import assets as orchestration
    from seg_assets.orchestration.instance import open_instance, prepare_instance

    folder = prepare_instance(settings)
    bar = _ProgressBar()
    orchestration.on_progress = bar.show
    try:
        with open_instance(folder) as instance:
            done = replay(
                settings, first, last, instance=instance, live=live, again=again, forget_vanished=forget_vanished,
                say=bar.say,
            )  # fmt: skip
    finally:
        bar.close()
        orchestration.on_progress = None
    seconds = sum(step.seconds for step in done.steps)
    _say(
        f"{len(day_range(first, last))} days, {len(done.steps)} runs ({done.count('daily')} daily, "
        f"{done.count('recluster')} recluster, {done.count('refresh')} refresh) in {seconds:.0f} s; "
        f"the loop rests: {done.resting_because}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _ProgressBar:
    """The room at work: one tqdm bar on a terminal, elsewhere a line per room when it is through."""

    def __init__(self) -> None:
        self.bar = None
        self.name = ""
        self.started = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def show(self, name: str, done: int, total: int) -> None:
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
            _say(f"  {name}: {days}, {now - self.started:.1f} s")
            self.started = now

    def say(self, text: str) -> None:
        """A line of the replay: a new run begins."""
        self.close()
        self.started = time.monotonic()
        _say(text)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        self.name = ""
