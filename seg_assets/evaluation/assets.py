"""Show the evaluation room in Dagster: the asset `segment_evaluation`, its numbers by day and its checks.

Not here: how a day is measured (`evaluation.daily`), and out-of-time validity (`evaluation.validity_assets`).
"""

import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.core.text import markdown_table
from seg_assets.evaluation.daily import SCHEMA, TABLE, evaluate_day
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
from seg_assets.segments.decisions.store import champion_as_of, champion_digest
from seg_assets.segments.fitting import stability
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_digest, strategies_of

GROUP = "evaluation"
REAL = "segmentation_beats_its_null"
COVERED = "coverage_is_complete"
TRUSTED = "segments_are_trusted"
MOVED = "moved_share_in_bounds"
# Measured on the real panel: frozen models with hysteresis move 1 to 2 % of users a day, without it 4 %. Past 10 % a
# list bought yesterday is another list today. A new model may relabel what its gate allows.
MOST_MOVED = 0.10
# Numbers that the UI plots over days, by metric; each gets one series per strategy.
PLOTTED = (
    "silhouette",
    "davies_bouldin",
    "calinski_harabasz",
    "balance",
    "coverage",
    "moved_share",
    "flip_back_share",
    "weekly_ari",
    "bootstrap_ari",
    "representativeness",
)
# Columns of the table that the UI shows of a day.
SHOWN = ("segments", "silhouette", "null_copula_mean", "beats_null", "bootstrap_ari", "moved_share", "weekly_ari")


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Build the asset `segment_evaluation`."""

    @dg.asset(
        key=TABLE,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"python", "parquet"},
        pool=HEAVY_POOL,
        code_version=TABLES[TABLE].code_version,
        deps=deps_of(TABLE),
        check_specs=[
            dg.AssetCheckSpec(
                REAL,
                partitions_def=partitions,
                asset=TABLE,
                description="The groups are more than data without groups would give.",
            ),
            dg.AssetCheckSpec(
                COVERED,
                partitions_def=partitions,
                asset=TABLE,
                description="Every known user has a segment in every strategy.",
            ),
            dg.AssetCheckSpec(
                TRUSTED,
                partitions_def=partitions,
                asset=TABLE,
                description="Bootstrap Jaccard of every segment is 0.6 or more.",
            ),
            dg.AssetCheckSpec(
                MOVED,
                partitions_def=partitions,
                asset=TABLE,
                description=f"At most {MOST_MOVED:.0%} of the users changed segment since yesterday.",
            ),
        ],
        metadata={"dagster/column_schema": columns_of(TABLE), "docs": "docs/evaluation.md"},
    )
    def segment_evaluation(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        """How good the segments of a day are: compact, real, stable, balanced, steady.

        Silhouette (sampled, with its error), Davies-Bouldin and Calinski-Harabasz beside data without groups; bootstrap
        stability per segment; coverage, balance and representativeness; users moved since yesterday and in a week.
        """
        return user_errors(lambda: run_days(context, shop.settings()))()

    return [segment_evaluation]


def run_days(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """Evaluate every day of the run, oldest first; each is published as soon as it is done."""
    lake = Lake.of(settings)
    strategies = strategies_of(settings)
    results = []
    for day in log_progress(context, days_of_run(context)):
        frame = evaluate_day(lake, strategies, settings, day)
        inputs = {
            "segment_model:champion": champion_digest(lake, strategies, day),
            STRATEGIES_KEY: strategies_digest(strategies),
        }
        published = lake.publish_frame(TABLE, day, frame, SCHEMA, inputs=inputs)
        champions = {name: champion_as_of(lake, name, day) for name in strategies}
        fitted_today = {name for name, champion in champions.items() if champion is not None and champion.day == day}
        metadata = {"day": day.isoformat(), "dagster/partition_row_count": published.rows, **day_metadata(frame)}
        results.append(DayResult(day, metadata, checks_of(frame, strategies, fitted_today), published.content_hash))
    return record_days(context, dg.AssetKey(TABLE), results)


def day_metadata(frame: pd.DataFrame) -> dict[str, Any]:
    """Return one number per strategy and plotted metric, and a table of the whole."""
    whole = whole_numbers(frame)
    metadata: dict[str, Any] = {}
    for strategy, numbers in whole.items():
        for metric in PLOTTED:
            value = numbers.get(metric, math.nan)
            if not math.isnan(value):
                metadata[f"{strategy}_{metric}_value"] = float(value)
    metadata["evaluation"] = (
        dg.MetadataValue.md(_whole_text(whole)) if whole else dg.MetadataValue.text("nothing was segmented")
    )
    return metadata


def whole_numbers(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return strategy to metric to value of the segmentation as a whole."""
    whole: dict[str, dict[str, float]] = {}
    for name, segment, metric, value in zip(*(frame[c].tolist() for c in SCHEMA), strict=True):
        if segment == "":
            whole.setdefault(name, {})[metric] = value
    return whole


def _whole_text(whole: Mapping[str, Mapping[str, float]]) -> str:
    head = ["strategy", *(column.replace("_", " ") for column in SHOWN)]
    return markdown_table(
        head, [[name, *(_shown(whole[name].get(c, math.nan)) for c in SHOWN)] for name in sorted(whole)]
    )


def _shown(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value == int(value) else f"{value:.3f}"


def checks_of(frame: pd.DataFrame, strategies: Mapping[str, Strategy], fitted_today: set[str]) -> list[Check]:
    """Return the four checks of a day. Each names the strategies and segments it is about, and what to do.

    Args:
        frame: the day's evaluation.
        strategies: what was evaluated.
        fitted_today: strategies whose champion took over on this day: their gate has allowed a relabelling.
    """
    whole = whole_numbers(frame)
    unreal = [s for s in whole if whole[s].get("beats_null") == 0]
    untested = [s for s in whole if math.isnan(whole[s].get("beats_null", math.nan))]
    uncovered = {s: whole[s].get("coverage", math.nan) for s in whole if whole[s].get("users", 0) > 0}
    uncovered = {s: c for s, c in uncovered.items() if c != 1.0}
    doubted = frame[(frame["metric"] == "trusted") & (frame["value"] == 0)]
    moved = {s: whole[s].get("moved_share_clusters", math.nan) for s in whole}
    limits = {s: (strategies[s].gate.maximum_relabelled if s in fitted_today else MOST_MOVED) for s in whole}
    restless = {s: share for s, share in moved.items() if not math.isnan(share) and share > limits[s]}
    return [
        Check(
            REAL,
            not unreal,
            {
                "strategies_not_shown_to_be_real": ", ".join(sorted(unreal)) or "none",
                "not_tested": ", ".join(sorted(untested)) or "none",
                "remedy": "read these segments as cuts of a continuum and judge them by segment_validity; "
                "other features or fewer segments may show groups (seg-assets tune)",
            },
        ),
        Check(
            COVERED,
            not uncovered,
            {
                "not_covered": ", ".join(f"{s}: {c:.4%}" for s, c in sorted(uncovered.items())) or "none",
                "remedy": "materialize user_segments again for this day from the profiles of this day",
            },
            dg.AssetCheckSeverity.ERROR,
        ),
        Check(
            TRUSTED,
            doubted.empty,
            {
                "untrusted": ", ".join(sorted(doubted["segment_id"])) or "none",
                "limit": stability.TRUSTED,
                "remedy": "do not act on these segments alone; fewer segments (k.max) or other features are steadier",
            },
        ),
        Check(
            MOVED,
            not restless,
            {
                "moved": ", ".join(f"{s}: {share:.1%} of {limits[s]:.0%}" for s, share in sorted(restless.items()))
                or "none",
                "remedy": "look at segment_moves of this day for the reasons; raise hysteresis.margin or dwell_days",
            },
        ),
    ]
