"""Run tags: Dagster's own for a range of days, and ours, by which a run says what asked for it.

Not here: tags of assets and their kinds, which stand beside each asset.
"""

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
