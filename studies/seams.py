"""`python -m studies.seams`: what each seam saves, on the whole day of the bench's shop and on days of the real panel.

Each setting is measured in a process of its own, in turns, so that other work on the machine meets all alike; the
median of the turns is shown.

Not here: that a lake is the same with every seam off (`make golden` with SEG_ASSETS_SEAMS=off).
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import __main__ as bench
from benchmarks.shop import SIZES
from seg_assets.seams.switches import SEAMS, VARIABLE

# A home opts in to `dagster_storage`, so that a shop that changed nothing has the other two.
SHIPPED = [name for name in SEAMS if name != "dagster_storage"]
SETTINGS = {
    "all on": ",".join(SHIPPED),
    **{f"without {name}": ",".join(other for other in SHIPPED if other != name) for name in SHIPPED},
    "all off": "off",
}
PANEL = {
    "SEG_ASSETS_SOURCE": "complete_journey",
    "SEG_ASSETS_TIME_ZONE": "America/New_York",
    "SEG_ASSETS_START_DAY": "2017-01-01",
    "SEG_ASSETS_END_DAY": "2017-12-31",
}


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a row for each setting."""
    parser = argparse.ArgumentParser(prog="seams", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--home", type=Path, required=True, help="folder for the shops; kept")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--panel-days", type=int, default=14)
    args = parser.parse_args(argv)
    seconds: dict[str, dict[str, list[float]]] = {name: {"day": [], "panel": []} for name in SETTINGS}
    size, home = SIZES[args.size], args.home.resolve() / args.size
    place, _ = bench.shop(home / "shop", size.users, size.days, size.pace)
    bench.past(place)
    for _ in range(args.turns):
        for name, value in SETTINGS.items():
            os.environ[VARIABLE] = value
            bench.take_away(place)
            seconds[name]["day"].append(bench.measured("ours", "day_fitted", place)["cpu_seconds"])
            seconds[name]["panel"].append(panel_seconds(home / "panel", args.panel_days))
    print("| seams | whole day, CPU s | panel, CPU s a day |\n|---|---|---|")
    for name, by_shop in seconds.items():
        day, panel = (statistics.median(by_shop[shop]) for shop in ("day", "panel"))
        print(f"| {name} | {day:.1f} | {panel / args.panel_days:.2f} |")
    return 0


def panel_seconds(home: Path, days: int) -> float:
    """Return the CPU seconds of a replay of the panel's first days in a fresh lake."""
    environment = {**os.environ, **PANEL, "SEG_ASSETS_HOME": str(home), "SEG_ASSETS_LANDING": str(home / "landing")}
    last = f"2017-01-{days:02d}"
    command = [sys.executable, "-m", "seg_assets.cli"]
    if not (home / "landing").exists():
        load = [*command, "load", "complete_journey", "--from", "2017-01-01", "--to", last]
        subprocess.run(load, env=environment, check=True, capture_output=True)  # noqa: S603  our own words
    for made in ("lake", "dagster", "reports"):
        shutil.rmtree(home / made, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    replay = [*command, "replay", "--from", "2017-01-01", "--to", last]
    subprocess.run(replay, env=environment, check=True, capture_output=True)  # noqa: S603  our own words
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
