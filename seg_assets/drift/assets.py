"""Show the drift room in Dagster: the asset `drift_report`, its numbers by day, and its check.

Not here: the verdicts (`drift.verdict`), and what is read and written (`drift.daily`).
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import dagster as dg

from seg_assets.core.settings import Settings
from seg_assets.core.text import markdown_table
from seg_assets.drift.daily import TABLE, DayOfVerdicts, leave_latest_pages, publish_day
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
from seg_assets.segments.strategy import strategies_of

MATCHES = "profiles_match_the_fit_day"
VERDICT_HEAD = ("strategy", "users", "flagged", "streak", "due", "against", "why")


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Build the asset `drift_report`."""

    @dg.asset(
        key=TABLE,
        partitions_def=partitions,
        # One run for a range: each day needs the streak of the day before, and Evidently takes seconds to import.
        backfill_policy=SINGLE_RUN,
        group_name="drift",
        owners=[OWNER],
        kinds={"python", "evidently", "parquet"},
        pool=HEAVY_POOL,
        deps=deps_of(TABLE),
        check_specs=[
            dg.AssetCheckSpec(
                MATCHES,
                partitions_def=partitions,
                asset=TABLE,
                description="No strategy's profiles have drifted from those of its last decision.",
            )
        ],
        metadata={"dagster/column_schema": columns_of(TABLE), "docs": "docs/drift.md"},
    )
    def drift_report(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        """Verdicts: whether the day's users still look like those of the last decision, and what that asks for.

        Evidently compares every watched column in the strategy's own transforms; missing shares and segment shares
        count too. Days in a row make drift, and a shadow refit says whether re-clustering would help.
        """
        return user_errors(lambda: _run(context, shop))()

    return [drift_report]


def _run(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
    settings, lake = shop.settings(), shop.lake()
    strategies = strategies_of(settings)
    run = [publish_day(lake, strategies, settings, day) for day in log_progress(context, days_of_run(context))]
    leave_latest_pages(lake, settings, run)
    return record_days(context, context.asset_key, [day_result(verdicts) for verdicts in run])


def day_result(verdicts: DayOfVerdicts) -> DayResult:
    """Return what the UI shows of a day, and its check."""
    metadata = {
        "day": verdicts.day.isoformat(),
        "dagster/partition_row_count": verdicts.provenance.rows,
        **day_metadata(verdicts.day, verdicts.rows),
    }
    return DayResult(verdicts.day, metadata, [match_check(verdicts.rows)], verdicts.provenance.content_hash)


def day_metadata(day: dt.date, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a headline, numbers per strategy that the UI plots, a table of verdicts, and how to get each page."""
    flagged = [row["strategy"] for row in rows if row["flagged"]]
    due = [f"{row['strategy']} ({row['cause']})" for row in rows if row["cause"]]
    metadata: dict[str, Any] = {
        "strategies_drifted": sum(row["drifted"] for row in rows),
        "strategies_flagged": len(flagged),
        "reclusterings_due": len(due),
        "headline": f"due: {', '.join(due)}" if due else f"flagged: {', '.join(flagged)}" if flagged else "all fine",
        "verdicts": dg.MetadataValue.md(markdown_table(VERDICT_HEAD, [_cells(row) for row in rows])),
    }
    for row in rows:
        name = row["strategy"]
        scores = [c["score"] / c["limit"] for c in row["columns"] if c["score"] is not None]
        if scores:
            metadata[f"{name}_top_score_of_limit"] = float(max(scores))
        metadata[f"{name}_drifted"] = int(row["drifted"])
        metadata[f"{name}_streak"] = int(row["streak"])
        for number in ("share_variation", "shadow_gain"):
            if row[number] is not None:
                metadata[f"{name}_{number}"] = float(row[number])
        if row["flagged"] and scores:
            metadata[f"{name}_report"] = f"seg-assets drift html --strategy {name} --day {day}"
    return metadata


def match_check(rows: list[dict[str, Any]]) -> Check:
    """Pass unless a strategy drifted; say which, and why."""
    drifted = {row["strategy"]: "; ".join(row["reasons"]) for row in rows if row["drifted"]}
    remedy = {"remedy": "the drift sensor re-clusters where that helps; seg-assets drift show --day DAY"}
    return Check(MATCHES, not drifted, {**drifted, **remedy} if drifted else {"strategies": len(rows)})


def _cells(row: Mapping[str, Any]) -> list[Any]:
    """Return a row of the table of verdicts; of many reasons the first four."""
    reasons = row["reasons"]
    shown = "; ".join(reasons[:4]) + (f"; and {len(reasons) - 4} more" if len(reasons) > 4 else "")
    flagged = "yes" if row["flagged"] else "no"
    return [
        row["strategy"],
        row["users"],
        flagged,
        row["streak"],
        row["cause"] or "-",
        row["baseline_day"] or "-",
        shown,
    ]
