"""The Dagster face of the drift room: `drift_report`, its numbers by day, and its check."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from seg_assets.core.settings import Settings
from seg_assets.drift.daily import TABLE, publish_day
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
from seg_assets.segments.strategy import strategies_of

MATCHES = "profiles_match_the_fit_day"


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`drift_report`."""

    @dg.asset(
        key=TABLE,
        partitions_def=partitions,
        # One run for a range: each day needs the streak of the day before, and Evidently takes seconds to import.
        backfill_policy=SINGLE_RUN,
        group_name="drift",
        owners=[OWNER],
        kinds={"python", "evidently", "parquet"},
        retry_policy=IO_RETRY,
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
    def drift_report(context: dg.AssetExecutionContext, shop: Shop) -> dg.MaterializeResult:
        """Verdicts: whether the day's users still look like those of the last decision, and what that asks for.

        Evidently compares every watched column in the strategy's own transforms; missing shares and segment shares
        count too. Days in a row make drift, and a shadow refit says whether re-clustering would help.
        """
        return user_errors(lambda: _run(context, shop))()

    return [drift_report]


def _run(context: dg.AssetExecutionContext, shop: Shop) -> dg.MaterializeResult:
    settings, lake = shop.settings(), shop.lake()
    strategies = strategies_of(settings)
    results = []
    for day in log_progress(context, days_of_run(context)):
        made = publish_day(lake, strategies, settings, day)
        metadata = {
            "day": day.isoformat(),
            "dagster/partition_row_count": made.provenance.rows,
            **day_metadata(made.rows, made.pages),
        }
        results.append(DayResult(day, metadata, [match_check(made.rows)], made.provenance.content_hash))
    return report_days(context, context.asset_key, results)


def day_metadata(rows: list[dict[str, Any]], pages: Mapping[str, Path]) -> dict[str, Any]:
    """A headline, one number per strategy and plot, a table of verdicts, and the path of each page."""
    flagged = [row["strategy"] for row in rows if row["flagged"]]
    due = [f"{row['strategy']} ({row['cause']})" for row in rows if row["cause"]]
    found: dict[str, Any] = {
        "strategies_drifted": sum(row["drifted"] for row in rows),
        "strategies_flagged": len(flagged),
        "reclusterings_due": len(due),
        "headline": f"due: {', '.join(due)}" if due else f"flagged: {', '.join(flagged)}" if flagged else "all fine",
        "verdicts": dg.MetadataValue.md(_table(rows)),
    }
    for row in rows:
        name = row["strategy"]
        scores = [c["score"] / c["limit"] for c in row["columns"] if c["score"] is not None]
        if scores:
            found[f"{name}_top_score_of_limit"] = float(max(scores))
        found[f"{name}_drifted"] = int(row["drifted"])
        found[f"{name}_streak"] = int(row["streak"])
        for number in ("share_variation", "shadow_gain"):
            if row[number] is not None:
                found[f"{name}_{number}"] = float(row[number])
        if name in pages:
            found[f"{name}_report"] = dg.MetadataValue.path(str(pages[name]))
    return found


def match_check(rows: list[dict[str, Any]]) -> Check:
    """Passes unless a strategy drifted; says which, and why."""
    drifted = {row["strategy"]: "; ".join(row["reasons"]) for row in rows if row["drifted"]}
    remedy = {"remedy": "the drift sensor re-clusters where that helps; seg-assets drift show --day DAY"}
    return Check(MATCHES, not drifted, {**drifted, **remedy} if drifted else {"strategies": len(rows)})


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| strategy | users | flagged | streak | due | against | why |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        reasons = row["reasons"]
        shown = "; ".join(reasons[:4]) + (f"; and {len(reasons) - 4} more" if len(reasons) > 4 else "")
        why = shown.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
        lines.append(
            f"| {row['strategy']} | {row['users']:,} | {'yes' if row['flagged'] else 'no'} | {row['streak']} "
            f"| {row['cause'] or '-'} | {row['baseline_day'] or '-'} | {why} |"
        )
    return "\n".join(lines)
