"""Build the two histories: a simulated shop with everything that can happen to it, and a month of the real panel.

Only commands, settings and the lake's layout are used. What is recorded of the result is in `lake`.
"""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.golden.product import GoldenError, Product

PACKAGE = Path(__file__).parent
SCENARIO = PACKAGE / "shop.yaml"
QUICK_STRATEGIES = PACKAGE / "strategies"

START = dt.date(2024, 1, 1)
# The first fits of the shipped strategies come after four weeks, a taught fit of quick_value after eight.
LAST = START + dt.timedelta(days=57)
# The first replay ends soon after the first fits and the first re-clustering, so that the late file re-opens them.
BEFORE_LATE = START + dt.timedelta(days=32)
LATE = START + dt.timedelta(days=24)
# Its landing file goes away after it was read: the day must stay as it was.
ARCHIVED = START + dt.timedelta(days=3)
# Days that are deleted from the lake and must come back as they were.
REMOVED = (("user_daily_activity", START + dt.timedelta(days=9)), ("user_segments", START + dt.timedelta(days=30)))
ROLLED_BACK = "quick_behaviour"

PANEL_FIRST, PANEL_LAST = dt.date(2017, 1, 1), dt.date(2017, 1, 31)

Say = Callable[[str], None]


def build_simulated(product: Product, folder: Path, say: Say) -> Path:
    """Build the simulated shop; return its lake.

    Raises:
        GoldenError: a step failed, or did not do what the history needs.
    """
    strategies = folder / "strategies"
    strategies.mkdir(parents=True)
    for path in [*product.shipped_strategies(), *sorted(QUICK_STRATEGIES.glob("*.yaml"))]:
        shutil.copyfile(path, strategies / path.name)
    home = folder / "home"
    lake, landing = home / "lake", home / "landing"
    settings = {
        "SEG_ASSETS_HOME": str(home),
        "SEG_ASSETS_SOURCE": "simulator",
        "SEG_ASSETS_STRATEGIES": str(strategies),
        "SEG_ASSETS_START_DAY": START.isoformat(),
        "SEG_ASSETS_END_DAY": LAST.isoformat(),
        "SEG_ASSETS_SEED": "5",
    }

    def run(*words: str) -> str:
        say(f"simulated: seg-assets {' '.join(words)}")
        return product.command(words, settings, folder / "log.txt")

    run("simulate", "--scenario", str(SCENARIO))
    run("replay", "--from", START.isoformat(), "--to", BEFORE_LATE.isoformat())
    run("simulate", "--deliver-late", LATE.isoformat())
    say(f"simulated: archive the landing file of {ARCHIVED}; delete {len(REMOVED)} days of the lake")
    (landing / "events" / f"{ARCHIVED}.jsonl").unlink()
    for table, day in REMOVED:
        shutil.rmtree(lake / table / f"day={day}")
    run("replay", "--from", START.isoformat(), "--to", LAST.isoformat())
    run("rollback", ROLLED_BACK, "--reason", "the golden lake has one")
    run("replay", "--from", START.isoformat(), "--to", LAST.isoformat())
    _check_healthy(run("doctor", "--verify", "--json"))
    return lake


def build_panel(product: Product, folder: Path, say: Say) -> Path:
    """Build a month of the real panel with the shipped strategies; return its lake.

    Raises:
        GoldenError: a step failed.
    """
    folder.mkdir(parents=True)
    home = folder / "home"
    settings = {
        "SEG_ASSETS_HOME": str(home),
        "SEG_ASSETS_SOURCE": "complete_journey",
        "SEG_ASSETS_TIME_ZONE": "America/New_York",
        "SEG_ASSETS_START_DAY": PANEL_FIRST.isoformat(),
        "SEG_ASSETS_END_DAY": PANEL_LAST.isoformat(),
    }

    def run(*words: str) -> str:
        say(f"panel: seg-assets {' '.join(words)}")
        return product.command(words, settings, folder / "log.txt")

    days = ("--from", PANEL_FIRST.isoformat(), "--to", PANEL_LAST.isoformat())
    run("load", "complete_journey", *days)
    run("replay", *days)
    return home / "lake"


def _check_healthy(printed: str) -> None:
    findings = json.loads(printed)
    if findings:
        raise GoldenError(f"doctor --verify names {len(findings)} findings of a lake just built: {findings[:3]}")
