"""`seg-assets simulate`: write a simulated shop's landing files, or deliver its late files.

Not here: what a shop is made of (`simulator.config`) and how its days are written (`simulator.engine`).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seg_assets.core.days import parse_day
from seg_assets.core.settings import Settings
from seg_assets.simulator.config import SimulationConfig, read_scenario, scenario_names
from seg_assets.simulator.engine import simulate as simulate_shop
from seg_assets.simulator.landing import deliver_late
from seg_assets.simulator.truth import Truth

# Options that are fields of SimulationConfig, which says what is wrong with their text.
_FIELDS = {
    "users": ("N", "Users at the start (default: 500)."),
    "days": ("N", "Number of days (default: 40)."),
    "start": ("YYYY-MM-DD", "First day (default: the shop's start_day)."),
    "seed": ("S", "Seed of everything random (default: the shop's seed)."),
    "scenario": (
        "NAME|FILE.yaml",
        "A shipped scenario, or a YAML file (default: plain); `list` lists scenarios.",
    ),
    "shop": ("KIND", "One of retail, one_off, wholesale, subscription, money_only (default: the scenario's)."),
    "events-per-user-day": ("X", "Mean number of events per user and day (default: the shop's)."),
    "growth": ("X", "New users a day, as a share of the users at the start (default: 0.001)."),
    "mobility": ("X", "Chance a day that a user changes segment of their own accord (default: 0)."),
    "products": ("N", "Number of products in the catalogue (default: 400)."),
    "script-day": ("N", "Move the scripts so that the first one starts on this day of the run."),
    "time-zone": ("ZONE", "The shop's time zone (default: the shop's setting)."),
    "format": ("jsonl|parquet", "Format of the event files (default: jsonl)."),
    "late": ("withheld|delivered|on_time", "What becomes of late events (default: withheld)."),
}


def _field_options(command: Callable[..., int]) -> Callable[..., int]:
    # The option that is added last is listed first.
    for name, (metavar, text) in reversed(_FIELDS.items()):
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    return command


@click.command()
@click.option(
    "--landing", type=click.Path(path_type=Path), metavar="DIR", help="Landing folder (default: the shop's landing)."
)
@_field_options
@click.option(
    "--deliver-late",
    "late_day",
    metavar="YYYY-MM-DD|all",
    help="Simulate nothing; bring late files that an earlier simulation withheld into the landing folder.",
)
def simulate(landing: Path | None, late_day: str | None, **fields: str | None) -> int:
    """Write a seeded shop with planted truth as landing files, day by day.

    docs/simulator.md describes scenarios and truth. Exit code 1: no late file waits to be delivered.
    """
    settings = Settings.from_env()
    folder = Path(landing or str(settings.landing)).expanduser()
    if fields["scenario"] == "list":
        for name in scenario_names():
            print(f"{name:13} {read_scenario(name).get('title', '')}")
        return 0
    if late_day:
        return _deliver(folder, late_day)

    given = {name: value for name, value in fields.items() if value is not None}
    shop = {"start": settings.start_day, "seed": settings.seed, "time_zone": settings.time_zone}
    scenario = read_scenario(given.get("scenario", "plain"))
    values: dict[str, Any] = {**{name: value for name, value in shop.items() if name not in scenario}, **given}
    return _simulate(folder, SimulationConfig(**values))


def _simulate(landing: Path, config: SimulationConfig) -> int:
    started = time.perf_counter()
    truth = simulate_shop(landing, config, progress=True)
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
    days = Truth.load(landing).late_days() if which == "all" else [parse_day(which, "--deliver-late")]
    delivered = [path for path in (deliver_late(landing, day) for day in days) if path]
    for path in delivered:
        print(path)
    if not delivered:
        print(f"no late file waits for {which} in {landing}")
    return 0 if delivered else 1
