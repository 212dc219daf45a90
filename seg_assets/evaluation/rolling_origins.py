"""Out-of-time validity of a strategy over rolling origins, beside what others segment with.

An origin is a day on which the recipe is fitted anew, and whose users are judged by what they do in the days after it.

Not here: the metrics (`validity`), the baselines (`baselines`), what is read for one origin (`validity_lake`), and the
daily table `segment_validity` (`validity_assets`).
"""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seg_assets.core.days import say_days
from seg_assets.core.errors import MissingDaysError
from seg_assets.evaluation import baselines, validity
from seg_assets.evaluation import validity_lake as reading
from seg_assets.lake.store import Lake
from seg_assets.segments.strategy import Strategy

PROFILES = "user_profiles"
# Metrics that the text table has room for.
SHOWN = ("r2", "r2_crossfit", "spearman", "lapse_auc", "active_r2", "mix", "coupon_auc")

# A predictor: its name, and its number of groups (0: a number per user).
Key = tuple[str, int]


def require_profiles(lake: Lake, days: Sequence[dt.date], horizon_days: int) -> None:
    """Raise MissingDaysError naming the days whose profiles are missing, and the command that makes them."""
    wanted = sorted({*days, *(day + dt.timedelta(days=horizon_days) for day in days)})
    missing = lake.missing(PROFILES, wanted)
    if missing:
        raise MissingDaysError(
            f"validate reads {PROFILES} of {say_days(missing)}, never materialized: an origin's outcome is known only "
            f"{horizon_days} days after it. Land the files, then: seg-assets replay --from {lake.start_day} "
            f"--to {wanted[-1]}; or ask for earlier origins"
        )


def validate(
    lake: Lake,
    strategy: Strategy,
    days: Sequence[dt.date],
    counts: Sequence[int],
    *,
    horizon_days: int = 90,
    replications: int = 100,
    stability: int = 10,
    ceiling: bool = False,
    seed: int = 0,
    progress: Callable[[int, int, dt.date], None] | None = None,
) -> list[dict[str, Any]]:
    """Judge a strategy and the baselines at every origin; return a record per predictor and group count.

    Everything that a predictor uses at an origin is known on that day: the recipe is fitted there, and outcome-guided
    recipes learn from outcomes that end there.

    Args:
        lake: holds the profiles of the origins and of a horizon after each.
        strategy: the recipe.
        days: the origins.
        counts: numbers of groups to compare at.
        horizon_days: days after an origin whose events are the outcome.
        replications: bootstrap replications behind the intervals; 0: no intervals.
        stability: bootstrap refits of an origin; 0: none.
        ceiling: also judge a forecast that knows what other users did in the horizon.
        seed: seed of fits, baselines and bootstraps.
        progress: called after each origin with its number, their count and the day.

    Returns:
        Records with predictor, groups, origins, not_computed (origins at which it could not be), the metrics, their
        intervals, and bootstrap_ari where it was measured.
    """
    predictions: dict[Key, list[np.ndarray]] = {}
    agreement: dict[Key, list[float]] = {}
    origins = []
    for n, day in enumerate(days, 1):
        origin = reading.load_origin(lake, day, horizon_days)
        origins.append(origin)
        users = origin.frame["user_id"]
        forecast = baselines.bg_nbd_spend(origin.frame, horizon_days)
        of_day: dict[Key, Any] = {}
        for k in counts:
            recipe = reading.fixed_k(strategy, k)
            labels = reading.fitted_labels(lake, recipe, day, users, seed)
            of_day[strategy.name, k] = labels.nearest
            of_day[f"{strategy.name}+rules", k] = labels.shipped
            # The refits cost most, and neighbouring origins agree: every third origin is enough.
            if stability and n % 3 == 1:
                ari = reading.bootstrap_ari(recipe, labels, day, seed, stability)
                agreement.setdefault((strategy.name, k), []).append(ari)
            for name, groups in reading.group_baselines(origin, k, forecast, seed).items():
                of_day[name, k] = groups
        before = day - dt.timedelta(days=horizon_days)
        earlier = reading.load_origin(lake, before, horizon_days) if lake.has(PROFILES, before) else None
        for name, numbers in reading.single_baselines(origin, earlier, forecast, horizon_days).items():
            of_day[name, 0] = numbers
        if ceiling:
            of_day["boosted_ceiling", 0] = reading.boosted_ceiling(lake, strategy, origin, seed)
        for key, prediction in of_day.items():
            predictions.setdefault(key, []).append(np.asarray(prediction))
        if progress:
            progress(n, len(days), day)
    judged = validity.judge(
        {f"{name}\n{k}": per_day for (name, k), per_day in predictions.items() if len(per_day) == len(days)},
        [origin.outcomes for origin in origins],
        seed=seed,
        replications=replications,
    )
    records = []
    for result in judged:
        name, k = result.predictor.split("\n")
        record = {**result.record(), "predictor": name}
        # A forecast that could not be computed was asked for as k groups all the same.
        record["groups"] = result.groups or int(k)
        steady = [value for value in agreement.get((name, int(k)), []) if math.isfinite(value)]
        if (name, int(k)) in agreement:
            record["bootstrap_ari"] = round(float(np.mean(steady)), 6) if steady else None
        records.append(record)
    ours = (strategy.name, f"{strategy.name}+rules")
    return sorted(records, key=lambda r: (r["predictor"] not in ours, r["predictor"], r["groups"]))


def text_table(records: Sequence[dict[str, Any]], strategy: str, days: Sequence[dt.date], horizon_days: int) -> str:
    """Return the records of `validate` as text: each value with the half width of its interval."""
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
    lines += [
        f"{row['predictor']}: not computed at {row['not_computed']} of {row['origins']} origins, which its numbers "
        f"leave out: {reading.WHY_NOT_COMPUTED}"
        for row in records
        if row["not_computed"]
    ]
    unmeasured = [metric for metric in SHOWN if all(row.get(metric) is None for row in records)]
    if records and unmeasured:
        lines.append(f"{', '.join(unmeasured)}: nothing to measure: no user differs in it, or the shop has none of it")
    lines.append("Definitions: docs/validity.md. –: no number (see there); groups –: a number per user, no groups.")
    return "\n".join(lines)
