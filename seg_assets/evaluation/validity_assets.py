"""Show out-of-time validity in Dagster: `segment_validity`, its headline numbers by day and its check.

Not here: the rows of the table (`evaluation.validity_lake`), and the measures (`evaluation.validity`).
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from seg_assets.core.numerics import one_thread
from seg_assets.core.settings import Settings
from seg_assets.core.text import markdown_table
from seg_assets.evaluation.validity_lake import (
    HORIZON_DAYS,
    SCHEMA,
    TABLE,
    beside_rivals,
    unknown_of,
    validity_of_day,
)
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    HEAVY_POOL,
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    ShopResource,
    columns_of,
    deps_of,
    log_progress,
    record_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.segments.strategy import Strategy, strategies_of

GROUP = "evaluation"
BEATS = "beats_rfm"


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Build the asset `segment_validity`."""

    @dg.asset(
        key=TABLE,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"python"},
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
    def segment_validity(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
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
        results.append(day_result(day, table, strategies))
    return record_days(context, dg.AssetKey(TABLE), results)


def day_result(day: dt.date, table: pd.DataFrame, strategies: Mapping[str, Strategy]) -> DayResult:
    """Return the numbers, the table and the check of a day."""
    metadata: dict[str, Any] = {"day": day.isoformat(), "dagster/row_count": len(table)}
    if not len(table):
        metadata["why_empty"] = f"no segments of {HORIZON_DAYS} days ago: the horizon has not passed yet"
        return DayResult(day, metadata, [Check(BEATS, True, {"why": metadata["why_empty"]})])
    spend = table[(table["outcome"] == "spend") & (table["metric"] == "r2_crossfit") & table["value"].notna()]
    rows = []
    for name, mine in spend.groupby("strategy", sort=True):
        for predictor, groups, value in zip(mine["predictor"], mine["groups"], mine["value"], strict=True):
            rows.append([name, predictor, int(groups), f"{value:.3f}"])
            if predictor in (name, "rfm_total"):
                metadata[f"spend_r2_{name}" if predictor == name else f"spend_r2_{name}_rfm"] = float(value)
    for row in table[(table["predictor"] == table["strategy"]) & table["value"].notna()].itertuples():
        metadata[f"{row.strategy}_{row.outcome}_{row.metric}"] = float(row.value)
    head = ("strategy", "predictor", "groups", "spend r2 (cross-fit)")
    unknown = {
        name: unknown_of(mine.to_dict("records")).sentences for name, mine in table.groupby("strategy", sort=True)
    }
    if any(unknown.values()):
        metadata["unknown"] = " ".join(f"{name}: {' '.join(said)}" for name, said in unknown.items() if said)
    metadata["validity"] = dg.MetadataValue.md(markdown_table(head, rows))
    return DayResult(day, metadata, [_beats_rivals(table, strategies)])


def _beats_rivals(table: pd.DataFrame, strategies: Mapping[str, Strategy]) -> Check:
    compared = beside_rivals(table, strategies)
    lost = [f"{c.strategy} {c.own:.3f} < {c.best_rival:.3f}" for c in compared if c.lost]
    why = {"judged": ", ".join(c.strategy for c in compared if c.measured) or "nothing"}
    if not compared:
        why = {"judged": "no strategy learns from spend"}
    unmeasured = [c.strategy for c in compared if not c.measured]
    if unmeasured:
        why["nothing_to_measure"] = f"{', '.join(unmeasured)}: no user's spend differed since, or no rival has a number"
    if lost:
        remedy = "refit by hand (a run of the job `recluster`), or look at the strategy's features; docs/validity.md"
        why |= {"lost": "; ".join(lost), "remedy": remedy}
    return Check(BEATS, not lost, why)
