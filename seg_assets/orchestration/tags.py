"""Run tags: Dagster's own for a range of days, and ours, by which a run says what asked for it.

Not here: tags of assets and their kinds, which stand beside each asset.
"""

import datetime as dt
from collections.abc import Mapping

PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"

STRATEGY = "seg/strategy"
DAY = "seg/day"
CAUSE = "seg/cause"
REQUEST = "seg/request"
ATTEMPT = "seg/attempt"
WHY = "seg/why"


def of_range(first: object, last: object) -> dict[str, str]:
    """Return the tags of one run over the days `first` to `last` (dates, or their text)."""
    return {RANGE_START: str(first), RANGE_END: str(last)}


def range_of(of_run: Mapping[str, str]) -> tuple[dt.date, dt.date] | None:
    """Return the first and last day that a run's tags name, None where they name none."""
    single = of_run.get(PARTITION)
    first, last = of_run.get(RANGE_START, single), of_run.get(RANGE_END, single)
    try:
        return (dt.date.fromisoformat(first), dt.date.fromisoformat(last)) if first and last else None
    except ValueError:
        return None  # keys of somebody else's partitions
