"""Look up which runs of our tables a Dagster instance has under way.

Not here: asking for a run (`events.sensor`, `loop.sensor`), and the tags of one (`orchestration.tags`).
"""

import dagster as dg

from seg_assets.core.tables import TABLES

IN_FLIGHT = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
# The newest come first. Dagster's filter by status is private, and nobody starts so many while an older one is at work.
NEWEST_BACKFILLS = 50


def in_flight(instance: dg.DagsterInstance) -> str:
    """Say what is materializing our tables right now, '' when nothing is.

    Deciding in the middle of a run or a backfill would see half of what it makes.
    """
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=list(IN_FLIGHT)), limit=100):
        run = record.dagster_run
        chosen = run.asset_selection
        if chosen is None or any(key.to_user_string() in TABLES for key in chosen):
            return f"run {run.run_id[:8]} ({run.job_name})"
    for backfill in instance.get_backfills(limit=NEWEST_BACKFILLS):
        if backfill.status.value == "REQUESTED":
            return f"backfill {backfill.backfill_id}"
    return ""
