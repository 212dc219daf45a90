"""`seg-assets simulate`: write a simulated shop's landing files, or deliver its late files."""

import argparse
import time
from pathlib import Path
from typing import Any

# Options that are fields of SimulationConfig. They stay text here: the configuration says what is wrong with them.
_FIELDS = {
    "users": ("N", "users at the start (default 500)"),
    "days": ("N", "number of days (default 40)"),
    "start": ("YYYY-MM-DD", "first day (default: the shop's start_day)"),
    "seed": ("S", "seed of everything random (default: the shop's seed)"),
    "scenario": ("NAME|FILE.yaml", "a shipped scenario or a YAML file (default plain; `list` prints them)"),
    "shop": ("KIND", "retail, one_off, wholesale, subscription or money_only (default: the scenario's)"),
    "events-per-user-day": ("X", "mean number of events per user and day (default: the shop's)"),
    "growth": ("X", "new users a day, as a share of the users at the start (default 0.001)"),
    "mobility": ("X", "chance a day that a user changes segment of their own accord (default 0)"),
    "products": ("N", "size of the catalogue (default 400)"),
    "script-day": ("N", "move the scripts so that the first one starts on this day of the run"),
    "time-zone": ("ZONE", "the shop's time zone (default: the shop's setting)"),
    "format": ("jsonl|parquet", "format of the event files (default jsonl)"),
    "late": ("withheld|delivered|on_time", "what to do with late events (default withheld)"),
}


def add_commands(subparsers: Any) -> None:
    """Add `simulate` to the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="write a simulated shop with planted truth as landing files",
        description="Write a seeded shop with planted truth as landing files, day by day. See docs/simulator.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--landing", type=Path, metavar="DIR", help="landing folder (default: the shop's landing)")
    for name, (metavar, text) in _FIELDS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text)
    parser.add_argument(
        "--deliver-late",
        metavar="YYYY-MM-DD|all",
        help="simulate nothing; bring withheld late files of an earlier simulation into the landing folder",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, list scenarios, or deliver late files; 1 when there was nothing to deliver."""
    from seg_assets.core.settings import Settings
    from seg_assets.simulator.config import SimulationConfig, read_scenario, scenario_names

    settings = Settings.from_env()
    landing = Path(args.landing or str(settings.landing)).expanduser()
    if args.scenario == "list":
        for name in scenario_names():
            print(f"{name:13} {read_scenario(name).get('title', '')}")
        return 0
    if args.deliver_late:
        return _deliver(landing, args.deliver_late)

    given = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in _FIELDS}
    given = {name: value for name, value in given.items() if value is not None}
    shop = {"start": settings.start_day, "seed": settings.seed, "time_zone": settings.time_zone}
    scenario = read_scenario(given.get("scenario", "plain"))
    config = SimulationConfig(**{**{k: v for k, v in shop.items() if k not in scenario}, **given})
    return _simulate(landing, config)


def _simulate(landing: Path, config: Any) -> int:
    from seg_assets.simulator.engine import simulate

    started = time.perf_counter()
    truth = simulate(landing, config, progress=True)
    seconds = time.perf_counter() - started
    counts = truth.counts
    events = int(counts["clean_events"].sum())
    print(f"{config.days} days from {config.start} to {config.last_day()}: {len(truth.users):,} users, "
          f"{events:,} events in {landing} ({seconds:.1f} s, {events / max(seconds, 1e-9):,.0f} events/s)")  # fmt: skip
    dirt = {name: int(counts[name].sum()) for name in ("duplicates", "corrupt_lines", "late_events")}
    if any(dirt.values()):
        print("dirt: " + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in dirt.items()))
    for script in truth.scripts:
        print(f"{script['day']}  {script['kind']}: {script['expected']}")
    waiting = truth.late_days()
    if waiting:
        print(f"{len(waiting)} late files wait in {truth.folder / 'late'}; --deliver-late all brings them in")
    print(f"planted truth: {truth.folder}")
    return 0


def _deliver(landing: Path, which: str) -> int:
    from seg_assets.core.days import parse_day
    from seg_assets.simulator.landing import deliver_late
    from seg_assets.simulator.truth import Truth

    days = Truth.load(landing).late_days() if which == "all" else [parse_day(which)]
    found = [path for path in (deliver_late(landing, day) for day in days) if path]
    for path in found:
        print(path)
    if not found:
        print(f"no late file waits for {which} in {landing}")
    return 0 if found else 1
