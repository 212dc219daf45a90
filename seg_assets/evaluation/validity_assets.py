"""The Dagster face of out-of-time validity: `segment_validity`, its headline numbers by day and its check."""

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from seg_assets.core.numerics import one_thread
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    HEAVY_POOL,
    IO_RETRY,
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    Shop,
    columns_of,
    deps_of,
    log_progress,
    report_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.segments.strategy import Strategy, strategies_of

TABLE = "segment_validity"
GROUP = "evaluation"
HORIZON_DAYS = 90
SCHEMA = TABLES[TABLE].types
# Metric of evaluation.validity to (outcome, metric) of the table.
PLACES = {
    "r2": ("spend", "r2"),
    "r2_crossfit": ("spend", "r2_crossfit"),
    "spearman": ("spend", "spearman"),
    "lapse_auc": ("lapse", "auc"),
    "active_r2": ("activity", "r2"),
    "mix": ("category_mix", "explained"),
    "coupon_auc": ("coupon", "auc"),
}
# What an analyst would run in an afternoon; the strategies that learn from spend must say more about it.
RIVALS = ("rfm_total", "monetary_quantile", "kmeans_rfm")
BEATS = "beats_rfm"
# A day's intervals need no more: the standard error is then known to a tenth.
REPLICATIONS = 50


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`segment_validity`."""

    @dg.asset(
        key=TABLE,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"python"},
        retry_policy=IO_RETRY,
        pool=HEAVY_POOL,
        deps=deps_of(TABLE),
        check_specs=[
            dg.AssetCheckSpec(
                BEATS,
                partitions_def=partitions,
                asset=TABLE,
                description="Strategies that learn from spend say more about the next 90 days' spend than RFM scores, "
                "spend quantiles and k-means, at as many groups",
            )
        ],
        metadata={"dagster/column_schema": columns_of(TABLE)},
    )
    def segment_validity(context: dg.AssetExecutionContext, shop: Shop) -> dg.MaterializeResult:
        """What the segments of 90 days ago said about what users have done since, beside what others segment with."""
        return user_errors(lambda: run_days(context, shop.settings()))()

    return [segment_validity]


def run_days(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """Judge every day of the run, oldest first; each is published as soon as it is done."""
    lake, strategies = Lake.of(settings), strategies_of(settings)
    results = []
    for day in log_progress(context, days_of_run(context)):
        # Fits of a few thousand users gain nothing from a second thread, which would only burn it waiting for them.
        with one_thread():
            table = validity_of_day(lake, strategies, day, settings.seed)
        lake.publish_frame(TABLE, day, table, SCHEMA)
        results.append(_told(day, table, strategies))
    return report_days(context, dg.AssetKey(TABLE), results)


def validity_of_day(lake: Any, strategies: Mapping[str, Strategy], day: dt.date, seed: int) -> pd.DataFrame:
    """Rows of segment_validity; none while the horizon has not passed since the calendar began.

    Raises:
        MissingDaysError: when the segments or profiles of the day 90 days ago were never materialized.
    """
    import numpy as np

    from seg_assets.evaluation import baselines, validity
    from seg_assets.evaluation import validity_lake as reading

    empty = pd.DataFrame({c: [] for c in SCHEMA})
    before = day - dt.timedelta(days=HORIZON_DAYS)
    if before < lake.start_day:
        return empty
    lake.require("user_segments", [before], f"{TABLE} of {day}")
    origin = reading.load_origin(lake, before, HORIZON_DAYS)
    if len(origin.frame) < 2:
        return empty
    segments = lake.read("user_segments", before, ["strategy", "user_id", "segment_id"])
    forecast = baselines.bg_nbd_spend(origin.frame, HORIZON_DAYS)
    singles = {"last_period": baselines.last_period(origin.frame), "bg_nbd": forecast}
    predictors: dict[str, Any] = {}
    by_count: dict[int, Mapping[str, Any]] = {}
    for name in strategies:
        mine = segments[segments["strategy"] == name].set_index("user_id")["segment_id"]
        if not len(mine):
            continue
        labels = mine.reindex(origin.frame["user_id"]).fillna("").to_numpy(dtype=object).astype(str)
        count = len(np.unique(labels))
        by_count.setdefault(count, reading.group_baselines(origin, count, forecast, seed))
        for predictor, given in ({name: labels} | dict(by_count[count]) | singles).items():
            predictors[f"{name}\n{predictor}"] = [np.asarray(given)]
    judged = validity.judge(predictors, [origin.outcomes], seed=seed, replications=REPLICATIONS)
    rows = []
    for result in judged:
        strategy, predictor = result.predictor.split("\n")
        for metric, estimate in result.estimates.items():
            outcome, said = PLACES[metric]
            rows.append(
                (strategy, predictor, result.groups, outcome, said, estimate.value, estimate.lower, estimate.upper)
            )
    table = pd.DataFrame(rows, columns=list(SCHEMA)) if rows else empty
    # Nine decimals: BLAS kernels differ in the last bits between machines, content hashes must not.
    for column in ("value", "lower", "upper"):
        table[column] = table[column].astype("float64").round(9) + 0.0
    return table


def _told(day: dt.date, table: pd.DataFrame, strategies: Mapping[str, Strategy]) -> DayResult:
    metadata: dict[str, Any] = {"day": day.isoformat(), "dagster/row_count": len(table)}
    if not len(table):
        metadata["why_empty"] = f"no segments of {HORIZON_DAYS} days ago: the horizon has not passed yet"
        return DayResult(day, metadata, [Check(BEATS, True, {"why": metadata["why_empty"]})])
    spend = table[(table["outcome"] == "spend") & (table["metric"] == "r2_crossfit")]
    lines = ["| strategy | predictor | groups | spend r2 (cross-fit) |", "|---|---|---|---|"]
    lost, judged = [], []
    for name, rows in spend.groupby("strategy", sort=True):
        values = dict(zip(rows["predictor"].tolist(), rows["value"].astype(float).tolist(), strict=True))
        groups = dict(zip(rows["predictor"].tolist(), rows["groups"].tolist(), strict=True))
        lines += [f"| {name} | {p} | {groups[p]} | {v:.3f} |" for p, v in values.items() if math.isfinite(v)]
        for shown in (name, "rfm_total"):
            if math.isfinite(values.get(shown, math.nan)):
                metadata[f"spend_r2_{name}" if shown == name else f"spend_r2_{name}_rfm"] = float(values[shown])
        if name in strategies and _learns(strategies[name]):
            judged.append(name)
            best = max((values[r] for r in RIVALS if math.isfinite(values.get(r, math.nan))), default=-math.inf)
            if values.get(name, math.nan) < best:
                lost.append(f"{name} {values[name]:.3f} < {best:.3f}")
    for row in table[(table["predictor"] == table["strategy"]) & table["value"].notna()].itertuples():
        metadata[f"{row.strategy}_{row.outcome}_{row.metric}"] = float(row.value)
    metadata["validity"] = dg.MetadataValue.md("\n".join(lines))
    remedy = "refit by hand (seg-assets recluster), or look at the strategy's features; docs/validity.md"
    why = {"judged": ", ".join(judged) or "no strategy learns from spend"}
    if lost:
        why |= {"lost": "; ".join(lost), "remedy": remedy}
    return DayResult(day, metadata, [Check(BEATS, not lost, why)])


def _learns(strategy: Strategy) -> bool:
    return strategy.algorithm == "outcome_tiers" and strategy.parameters.get("outcome", "monetary") == "monetary"
