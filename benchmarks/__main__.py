"""`python -m benchmarks --size small|full`: simulate, measure every subject in processes of their own, compare, report.

Shops are kept under .seg_assets/bench/<size>: a second run simulates and prepares nothing that is there already.
"""

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import measure, report
from benchmarks.shop import ROOT, SIZES, Place, Size

ROOMS = ("events", "profiles", "segments", "evaluation", "drift")
OTHERS = ("floor", "pandas", "polars")
PACKAGES = ("dagster", "dbt-core", "dbt-duckdb", "duckdb", "pandas", "polars", "scikit-learn", "evidently", "pyarrow")
FLAT = ("cpu_seconds", "wall_seconds", "peak_memory_mb")


def main() -> int:
    """Run the parts that were asked for, write results.json and the README's table and chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--home", type=Path, default=ROOT.parent / ".seg_assets" / "bench", help="where shops are kept")
    parser.add_argument("--only", choices=list(PARTS), nargs="*", default=list(PARTS), help="parts to measure anew")
    parser.add_argument("--report-only", action="store_true", help="measure nothing, write README.md from the results")
    args = parser.parse_args()
    if not args.report_only:
        size, home = SIZES[args.size], args.home / args.size
        home.mkdir(parents=True, exist_ok=True)
        results = earlier(size) if set(args.only) != set(PARTS) else {}
        started = time.monotonic()
        # Parts measured anew keep what the others counted of the shop.
        shop_of = {**results.get("shop", {}), **described(size)}
        results |= {"size": size.name, "shop": shop_of, "machine": machine()}
        if size.at_once > 1:
            shop(home / "shop", size.users, size.days, size.pace)  # prepares dbt's manifest for all
        beside = [part for part in args.only if part != "rooms"]
        lanes = [[part] for part in args.only if part == "rooms"] + ([beside] if beside else [])
        lock = threading.Lock()

        def lane(parts: Sequence[str]) -> None:
            for part in parts:
                found = PARTS[part](size, home)
                with lock:
                    results.update(found)
                    results["seconds_of_the_bench"] = round(time.monotonic() - started)
                    report.save(results)

        at_once(size, [partial(lane, parts) for parts in lanes])
    report.write()
    print(report.table_of(report.load_all()))
    return 0


def at_once(size: Size, work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all of it, `size.at_once` pieces at a time. Threads only wait for children."""
    with ThreadPoolExecutor(size.at_once) as pool:
        return [future.result() for future in [pool.submit(piece) for piece in work]]


def say(text: str) -> None:
    """One line of progress."""
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S}  {text}", file=sys.stderr, flush=True)


def measured(subject: str, work: str, place: Place, **arguments: Any) -> dict[str, Any]:
    """Run in a child, say what it cost."""
    found = measure.run(subject, work, place, **arguments).numbers()
    told = " ".join(str(v) for v in arguments.values())
    say(
        f"{subject:9} {work} {told}: {found['cpu_seconds']:.1f} CPU s, {found['wall_seconds']:.1f} s, "
        f"{found['peak_memory_mb']:,.0f} MB"
    )
    return found


def earlier(size: Size) -> dict[str, Any]:
    """What an earlier run of this size found."""
    return report.load_all().get(size.name, {})


def described(size: Size) -> dict[str, Any]:
    """The shops."""
    return {
        "users": size.users, "days": size.days, "range_users": size.range_users, "range_days": size.range_days,
        "flat_users": size.flat_users, "flat_days": list(size.flat_days), "at_once": size.at_once,
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Cores, memory, versions, and how busy the machine was with other work."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30, 1),
        "load_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


# Shops whose instance and manifest this process has made ready: several parts use one.
_prepared: set[Path] = set()


def shop(home: Path, users: int, days: int, pace: float) -> tuple[Place, dict[str, Any]]:
    """A simulated and prepared shop; what is already there is kept."""
    place, done = Place.of(home, days), home / "simulated.json"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        found = measured("ours", "simulate", place, users=users, days=days, pace=pace)
        done.write_text(json.dumps(found))
    # dbt's prepared manifest is of the project, not of the shop.
    for known in sorted(home.parent.glob("*/dbt")):
        if known.parent != home and not (home / "dbt").exists():
            shutil.copytree(known, home / "dbt")
    if home not in _prepared:
        measured("ours", "prepare", place)
        _prepared.add(home)
    return place, json.loads(done.read_text())


# ---- rooms and the whole day -----------------------------------------------------------------------------------------


def rooms(size: Size, home: Path) -> dict[str, Any]:
    """Each room and the whole last day, all subjects."""
    place, simulated = shop(home / "shop", size.users, size.days, size.pace)
    history = past(place)
    whole: dict[str, Any] = {}
    take_away(place)
    ordinary = measured("ours", "day_ordinary", place)
    take_away(place)
    whole["ours"] = measured("ours", "day_fitted", place)
    take_away(place)
    found: dict[str, Any] = {room: {"ours": measured("ours", "room", place, name=room)} for room in ROOMS}
    reports = measured("ours", "room", place, name="reports")

    def other(subject: str) -> None:
        for room in ROOMS:
            found[room][subject] = measured(subject, "room", place, name=room)
        whole[subject] = measured(subject, "whole_day", place)

    at_once(size, [partial(other, subject) for subject in OTHERS])
    verdicts = at_once(size, [partial(measured, "verify", "subject", place, name=subject) for subject in OTHERS])
    differences = {}
    for subject, verdict in zip(OTHERS, verdicts, strict=True):
        differences[subject] = verdict["differences"]
        whole[subject]["inertia_ours_to_theirs"] = verdict["inertia_ours_to_theirs"]
    for room in ROOMS:
        found[room] |= flattened(found[room], [f for s in OTHERS for f in differences[s][room]])
    found["whole_day"] = whole | flattened(whole, [f for s in OTHERS for r in ROOMS for f in differences[s][r]])
    found["differences"] = differences
    found["ordinary_day"] = {"ours": ordinary, **{k: ordinary[k] for k in FLAT}}
    found["reports"] = {"ours": reports}
    found["cold"] = cold(history, whole)
    found["shop"] = described(size) | {"events": simulated["events"], "profiles": whole["ours"]["rows"]}
    return found


def past(place: Place) -> dict[str, Any]:
    """What the days before the last one cost; each step is kept, so that a bench can be taken up again."""
    done = Path(place.home) / "history.json"
    history = json.loads(done.read_text()) if done.exists() else {}
    span = {"first": place.first, "last": place.days[-2].isoformat()}
    steps: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("events", "landed", span),
        ("activity", "activity", span),
        ("day_before", "before", {}),
        ("sql", "compile_sql", {}),
    )
    for name, work, arguments in steps:
        if name not in history:
            history[name] = measured("ours", work, place, **arguments)
            done.write_text(json.dumps(history))
    return {name: cost for name, cost in history.items() if name != "sql"}


def take_away(place: Place) -> None:
    """Forget the last day: its tables, and what is remembered of models first fitted on it."""
    for folder in place.lake.glob(f"*/day={place.day}"):
        shutil.rmtree(folder)
    memos = place.lake / ".memo" / "evaluation"
    for memo in sorted(memos.glob("*.json"), key=lambda p: p.stat().st_mtime)[1:]:
        memo.unlink()


def flattened(subjects: dict[str, Any], differences: list[str]) -> dict[str, Any]:
    """The flat keys: ours, the ratios, and whether results are equal."""
    ours, floor, pandas = subjects["ours"], subjects.get("floor"), subjects.get("pandas")
    found = {key: ours[key] for key in FLAT}
    found["cpu_ratio_floor"] = ratio(ours, floor, "cpu_seconds")
    found["cpu_ratio_pandas_to_ours"] = ratio(pandas, ours, "cpu_seconds")
    found["wall_ratio_pandas_to_ours"] = ratio(pandas, ours, "wall_seconds")
    found["cpu_ratio_polars_to_ours"] = ratio(subjects.get("polars"), ours, "cpu_seconds")
    found["peak_ratio_ours_to_pandas"] = ratio(ours, pandas, "peak_memory_mb")
    found["equal_results"] = not differences
    return found


def ratio(a: Any, b: Any, key: str) -> float:
    """One subject's figure by another's."""
    return round(a[key] / max(b[key], 1e-9), 3)


def cold(history: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """From nothing: what ours paid for all days before the last one, and the last one, beside pandas once."""
    parts = {**history, "day": whole["ours"]}
    ours = {
        "cpu_seconds": round(sum(p["cpu_seconds"] for p in parts.values()), 2),
        "wall_seconds": round(sum(p["wall_seconds"] for p in parts.values()), 2),
        "peak_memory_mb": max(p["peak_memory_mb"] for p in parts.values()),
        "rows": whole["ours"]["rows"],
    }
    return {
        "ours": ours,
        "parts": parts,
        "pandas": whole["pandas"],
        "cpu_ratio_pandas_to_ours": ratio(whole["pandas"], ours, "cpu_seconds"),
        "peak_ratio_ours_to_pandas": ratio(ours, whole["pandas"], "peak_memory_mb"),
        "days_to_break_even": _break_even(ours, whole["ours"], whole["pandas"]),
    }


def _break_even(history: dict[str, Any], ours: dict[str, Any], pandas: dict[str, Any]) -> float | None:
    """Days after which pandas, which pays the whole day every day, has paid more; None: never."""
    saved = pandas["cpu_seconds"] - ours["cpu_seconds"]
    return round((history["cpu_seconds"] - ours["cpu_seconds"]) / saved, 1) if saved > 0 else None


# ---- ranges, late days, overheads ------------------------------------------------------------------------------------


def ranges(size: Size, home: Path) -> dict[str, Any]:
    """A long range of days in one run beside one day in one run: the cost of a day in each."""
    for name in ("lake", "dagster"):
        shutil.rmtree(home / "range" / name, ignore_errors=True)
    _prepared.discard(home / "range")
    place, _ = shop(home / "range", size.range_users, size.range_days + 1, size.pace)
    first, last = place.first, place.days[-2].isoformat()
    many = measured("ours", "day_range", place, first=first, last=last)
    one = measured("ours", "day_range", place, first=place.last, last=place.last)
    per_day = round(many["cpu_seconds"] / many["days"], 3)
    return {
        "range_365": {
            "users": size.range_users,
            "days": many["days"],
            "range": many,
            "single_day": one,
            "cpu_seconds_per_day": per_day,
            "ratio_range_day_to_single_day": round(per_day / one["cpu_seconds"], 4),
        }
    }


def flat(size: Size, home: Path) -> dict[str, Any]:
    """The room of profiles on a late day beside an early one."""
    early, late = size.flat_days
    if size.flat_users == size.range_users:
        place, _ = shop(home / "range", size.range_users, size.range_days + 1, size.pace)
    else:
        place, _ = shop(home / "flat", size.flat_users, late, size.pace)
    days = {early: place.days[early - 1], late: place.days[late - 1]}
    if not place.table("user_lifetime", days[late]).exists():
        span = {"first": place.first, "last": place.last}
        measured("ours", "landed", place, **span)
        measured("ours", "activity", place, **span)
    # Twice each, in turns, and the lower counts: another's work on the machine only ever adds.
    costs: dict[int, list[dict[str, Any]]] = {early: [], late: []}
    for _ in range(2 if size.at_once == 1 else 1):
        for n, day in days.items():
            costs[n].append(measured("ours", "profiles_of", place, day=day.isoformat()))
    best = {n: min(c, key=lambda m: m["cpu_seconds"]) for n, c in costs.items()}
    return {
        "flat": {
            "users": size.flat_users,
            "early_day": early,
            "late_day": late,
            "early": best[early],
            "late": best[late],
            "cpu_ratio_late_to_early": ratio(best[late], best[early], "cpu_seconds"),
        }
    }


def overheads(size: Size, home: Path) -> dict[str, Any]:
    """What is paid beside computing."""
    place, _ = shop(home / "range", size.range_users, size.range_days + 1, size.pace)
    found: dict[str, Any] = {}
    for _ in range(2):  # the first load may compile bytecode
        loaded = measured("overheads", "load", place)
    found["load_of_the_code_location"] = {k: loaded[k] for k in ("import_dagster", "code_location")}
    found["load_of_the_code_location"]["process"] = {
        k: loaded[k] for k in ("cpu_seconds", "wall_seconds", "peak_memory_mb")
    }
    if not place.table("raw_events", place.day).exists():
        measured("ours", "day_range", place, first=place.first, last=place.last)
    for work in ("start", "dbt"):
        found |= {k: v for k, v in measured("overheads", work, place).items() if isinstance(v, dict)}
    years = Place.of(home / "years", 3 * 365)
    shutil.rmtree(years.home, ignore_errors=True)
    found |= {k: v for k, v in measured("overheads", "tick", years).items() if k.startswith("tick")}
    shutil.rmtree(years.home, ignore_errors=True)
    return {"overheads": found}


PARTS: dict[str, Callable[[Size, Path], dict[str, Any]]] = {
    "rooms": rooms, "range": ranges, "flat": flat, "overheads": overheads,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
