"""Shops for the tests: a simulated landing zone, settings of a fresh home, and a lake's contents by hash."""

import datetime as dt
from pathlib import Path

import dagster as dg

from seg_assets.build import build_defs
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.loop.replay import Replayed, replay
from seg_assets.simulator import SimulationConfig, Truth, simulate

START = dt.date(2024, 1, 1)
DAYS = 26
SHIFT = 16
STRATEGIES = Path(__file__).parent / "strategies"

# rejected_events and landed_files name files and lines, so they differ when the same events come in other files.
BY_FILE = {"rejected_events", "landed_files"}


def day(n: int) -> dt.date:
    """Day n of the test calendar, from 0."""
    return START + dt.timedelta(days=n)


def land(folder: Path, **config) -> Truth:
    """Simulate a shop into `folder/landing`."""
    return simulate(folder, SimulationConfig(**{"users": 250, "start": START, "seed": 7, **config}))


def shop(home: Path, landing: Path, **overrides) -> Settings:
    """Settings of a fresh home on that landing zone."""
    values = {"home": home, "landing": landing, "source": "simulator", "strategies": STRATEGIES, "start_day": START}
    return Settings.from_env({}, **{**values, **overrides})


def run(settings: Settings, first: int, last: int, *, live: bool = False, instance=None) -> Replayed:
    """Replay days of the test calendar on an instance of their own."""
    return replay(
        settings,
        day(first),
        day(last),
        build=build_defs,
        live=live,
        instance=instance or dg.DagsterInstance.ephemeral(),
    )


def contents(settings: Settings, *, without: set[str] = frozenset()) -> dict[tuple[str, str, str], str]:
    """Content hash of every published file, by table, day and part."""
    lake = Lake.of(settings)
    return {
        (table, d.isoformat(), part): lake.provenance(table, d, part).content_hash
        for table in TABLES
        if table not in without
        for d in lake.days(table)
        for part in lake.parts(table, d)
    }


def differences(ours: dict, theirs: dict) -> list[tuple]:
    """Files that only one lake has, or whose contents differ; empty for equal lakes."""
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
