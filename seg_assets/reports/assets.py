"""The Dagster face of the reports room: `segment_report`, a page per day and strategy.

Not here: what a page says (`gather`) and how it looks (`page`).
"""

import dagster as dg

from seg_assets.core.digests import digest
from seg_assets.core.settings import Settings
from seg_assets.core.text import DASH, markdown_table, number, percent
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    OWNER,
    SINGLE_RUN,
    DayResult,
    ShopResource,
    log_progress,
    record_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.reports.contents import Report
from seg_assets.reports.gather import build_report
from seg_assets.reports.history import PROFILES, load_history
from seg_assets.reports.page import render
from seg_assets.reports.write import index_path, page_path, write_index
from seg_assets.segments.strategy import strategies_of

KEY = "segment_report"
# Days whose small tables are held at once: bounds memory in a range of a year, and a quarter of past is re-read each.
CHUNK_DAYS = 60


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Return the asset `segment_report`."""

    @dg.asset(
        key=KEY,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        group_name="reports",
        owners=[OWNER],
        kinds={"python", "html"},
        deps=[
            "segment_profiles",
            "segment_moves",
            "segment_evaluation",
            "segment_validity",
            "drift_report",
            "segment_model",
        ],
        metadata={"docs": "docs/evaluation.md"},
    )
    def segment_report(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        """Pages a marketer can read: segments, sizes, moves, drift, models, and how far to trust them.

        One self-contained HTML page per day and strategy under `reports/segments`, and `reports/index.html`. They need
        no network and no server.
        """
        return user_errors(lambda: run_days(context, shop.settings()))()

    return [segment_report]


def run_days(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """Write the pages of every day of the run, oldest first, then the index."""
    lake = Lake.of(settings)
    strategies = strategies_of(settings)
    days = days_of_run(context)
    results = []
    history = None
    for n, day in enumerate(log_progress(context, days)):
        lake.require(PROFILES, [day], f"{KEY} of {day}")
        if history is None or n % CHUNK_DAYS == 0:
            history = load_history(lake, list(strategies), day, days[min(n + CHUNK_DAYS, len(days)) - 1])
        reports = []
        hashes = []
        for name, strategy in strategies.items():
            report = build_report(history, strategy, day)
            text = render(report)
            write_text(page_path(settings, name, day), text)
            reports.append(report)
            hashes.append(digest(text))
        metadata = {
            "day": day.isoformat(),
            "pages": len(reports),
            "index": dg.MetadataValue.url(index_path(settings).as_uri()),
            "overview": dg.MetadataValue.md(overview(reports)),
        }
        for report in reports:
            path = page_path(settings, report.strategy, day)
            metadata[f"{report.strategy}_page"] = dg.MetadataValue.path(str(path))
            metadata[f"{report.strategy}_link"] = dg.MetadataValue.url(path.as_uri())
            metadata[f"{report.strategy}_unusual_flows"] = len(report.week.unusual)
            if report.week.at_risk is not None:
                metadata[f"{report.strategy}_value_at_risk"] = float(report.week.at_risk)
        results.append(DayResult(day, metadata, data_version=digest(hashes)))
    write_index(settings, {name: s.title for name, s in strategies.items()})
    return record_days(context, dg.AssetKey(KEY), results)


def overview(reports: list[Report]) -> str:
    """Return a small table for the UI: a row per strategy."""
    rows = []
    for report in reports:
        clusters = [segment for segment in report.segments if segment.is_cluster]
        largest = max(clusters, key=lambda segment: (segment.users, segment.segment_id), default=None)
        rows.append(
            [
                report.strategy,
                number(report.users),
                len(clusters),
                f"{largest.name} ({percent(largest.share, 0)})" if largest else DASH,
                DASH if report.verdict is None else "yes" if report.verdict.drifted else "no",
                {None: DASH, True: "yes", False: "not shown"}[report.real],
                percent(report.metrics.get("moved_share")),
            ]
        )
    return markdown_table(["strategy", "users", "segments", "largest", "drifted", "real", "moved"], rows)
