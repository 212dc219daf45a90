"""`seg-assets validate`: what a strategy's segments say about what users do next, beside what others segment with."""

import argparse
import datetime as dt
import json
import math
import sys
from typing import Any

SHOWN = ("r2", "r2_crossfit", "spearman", "lapse_auc", "active_r2", "mix", "coupon_auc")


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands of this module."""
    parser = subparsers.add_parser(
        "validate", help="out-of-time validity of a strategy over rolling origins, beside baselines"
    )
    parser.add_argument("--strategy", required=True, metavar="S", help="a strategy of the shop")
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="first origin, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last origin at most")
    parser.add_argument("--step", type=int, default=7, metavar="DAYS", help="days between origins (default 7)")
    parser.add_argument("--groups", default="5,8,10", metavar="K,K", help="group counts to compare at")
    parser.add_argument("--horizon", type=int, default=90, metavar="DAYS", help="days after an origin (default 90)")
    parser.add_argument("--replications", type=int, default=100, metavar="N", help="of the intervals; 0: none")
    parser.add_argument("--stability", type=int, default=10, metavar="N", help="bootstrap refits per origin; 0: none")
    parser.add_argument("--ceiling", action="store_true", help="also a boosted forecast that knows other users' future")
    parser.add_argument("--json", action="store_true", help="records instead of a table")
    parser.set_defaults(run=run_validate)


def run_validate(args: argparse.Namespace) -> int:
    """Refit the recipe at each origin and print one row per predictor and group count."""
    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_range
    from seg_assets.core.errors import ConfigError
    from seg_assets.core.options import check_number
    from seg_assets.core.settings import Settings
    from seg_assets.evaluation.validity_lake import origin_days
    from seg_assets.lake.store import Lake
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    strategies = strategies_of(settings)
    if args.strategy not in strategies:
        raise ConfigError(f"--strategy {args.strategy!r}: unknown; one of {', '.join(strategies)}")
    counts = _counts(args.groups)
    check_number("--step", args.step, 1, 3_650)
    check_number("--horizon", args.horizon, 1, 3_650)
    check_number("--replications", args.replications, 0, 10_000)
    check_number("--stability", args.stability, 0, 1_000)
    first, last = (check_in_calendar(day, settings) for day in parse_range(args.first, args.last))
    days = origin_days(first, last, args.step)
    lake = Lake.of(settings)
    require_profiles(lake, days, args.horizon)
    records = validate(
        lake,
        strategies[args.strategy],
        days,
        counts,
        horizon_days=args.horizon,
        replications=args.replications,
        stability=args.stability,
        ceiling=args.ceiling,
        seed=settings.seed,
        progress=None if args.json and not sys.stderr.isatty() else _progress,
    )
    if args.json:
        print(json.dumps(records, indent=2, allow_nan=False))
    else:
        print(table(records, args.strategy, days, args.horizon))
    return 0


def _counts(text: str) -> list[int]:
    from seg_assets.core.errors import ConfigError

    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 2 or counts[-1] > 200:
        raise ConfigError(f"--groups {text!r}: whole numbers from 2 to 200, with commas, for example 5,8,10")
    return counts


def require_profiles(lake: Any, days: list[dt.date], horizon_days: int) -> None:
    """Raise MissingDaysError naming the days whose profiles are missing, and the command that makes them."""
    from seg_assets.core.days import say_days
    from seg_assets.core.errors import MissingDaysError

    wanted = sorted({*days, *(d + dt.timedelta(days=horizon_days) for d in days)})
    gone = lake.missing("user_profiles", wanted)
    if gone:
        raise MissingDaysError(
            f"validate reads user_profiles of {say_days(gone)}, never materialized: an origin's outcome is known only "
            f"{horizon_days} days after it. Land the files, then: seg-assets replay --from {lake.start_day} "
            f"--to {wanted[-1]}; or ask for earlier origins"
        )


def validate(
    lake: Any,
    strategy: Any,
    days: list[dt.date],
    counts: list[int],
    *,
    horizon_days: int = 90,
    replications: int = 100,
    stability: int = 10,
    ceiling: bool = False,
    seed: int = 0,
    progress: Any = None,
) -> list[dict[str, Any]]:
    """One record per predictor and group count: predictor, groups, origins, the metrics, intervals, bootstrap_ari.

    Everything a predictor uses at an origin is known on that day: the recipe is refitted there, outcome-guided ones
    learn from outcomes that end there.
    """
    import numpy as np

    from seg_assets.evaluation import baselines, validity
    from seg_assets.evaluation import validity_lake as reading

    predictors: dict[tuple[str, int], list[Any]] = {}
    ari: dict[tuple[str, int], list[float]] = {}
    origins = []
    for n, day in enumerate(days, 1):
        origin = reading.load_origin(lake, day, horizon_days)
        origins.append(origin)
        users = origin.frame["user_id"]
        forecast = baselines.bg_nbd_spend(origin.frame, horizon_days)
        found: dict[tuple[str, int], Any] = {}
        for k in counts:
            recipe = reading.fixed_k(strategy, k)
            labels = reading.fitted_labels(lake, recipe, day, users, seed)
            found[strategy.name, k] = labels.nearest
            found[f"{strategy.name}+rules", k] = labels.shipped
            # The refits cost most, and neighbouring origins agree: every third is enough.
            if stability and n % 3 == 1:
                again = reading.bootstrap_ari(recipe, labels, day, seed, stability)
                ari.setdefault((strategy.name, k), []).append(again)
            for name, given in reading.group_baselines(origin, k, forecast, seed).items():
                found[name, k] = given
        before = day - dt.timedelta(days=horizon_days)
        earlier = reading.load_origin(lake, before, horizon_days) if lake.has("user_profiles", before) else None
        for name, given in reading.single_baselines(origin, earlier, forecast).items():
            found[name, 0] = given
        if ceiling:
            found["boosted_ceiling", 0] = reading.boosted_ceiling(lake, strategy, origin, seed)
        for key, given in found.items():
            predictors.setdefault(key, []).append(np.asarray(given))
        if progress:
            progress(n, len(days), day)
    judged = validity.judge(
        {f"{name}\n{k}": v for (name, k), v in predictors.items() if len(v) == len(days)},
        [o.outcomes for o in origins],
        seed=seed,
        replications=replications,
    )
    records = []
    for result in judged:
        name, k = result.predictor.split("\n")
        record = {**result.record(), "predictor": name}
        if (name, int(k)) in ari:
            record["bootstrap_ari"] = _finite(float(np.nanmean(ari[name, int(k)])))
        records.append(record)
    ours = (strategy.name, f"{strategy.name}+rules")
    return sorted(records, key=lambda r: (r["predictor"] not in ours, r["predictor"], r["groups"]))


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def table(records: list[dict[str, Any]], strategy: str, days: list[dt.date], horizon_days: int) -> str:
    """The records as text: value and half width of its interval."""
    lines = [
        f"{strategy}: what groups of a day say about the {horizon_days} days after it, {len(days)} origins "
        f"{days[0]} .. {days[-1]}",
        f"{'predictor':<20}{'groups':>7}" + "".join(f"{m:>16}" for m in SHOWN) + f"{'ARI':>7}",
    ]
    for row in records:
        cells = []
        for metric in SHOWN:
            value, interval = row.get(metric), row["intervals"].get(metric)
            text = "–" if value is None else f"{value:.3f}"
            if value is not None and interval and interval[1] is not None:
                text += f" ±{(interval[1] - interval[0]) / 2:.3f}"
            cells.append(f"{text:>16}")
        steady = row.get("bootstrap_ari")
        ari = "" if steady is None else f"{steady:7.2f}"
        lines.append(f"{row['predictor']:<20}{row['groups'] or '–':>7}{''.join(cells)}{ari}")
    lines.append("Definitions: docs/validity.md. groups –: a number per user, no groups.")
    return "\n".join(lines)


def _progress(n: int, total: int, day: dt.date) -> None:
    print(f"\rorigin {day}, {n} of {total}", end="\n" if n == total else "", file=sys.stderr, flush=True)
