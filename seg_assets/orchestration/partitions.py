"""Define the one daily partitions definition, and read the days that a run was asked for.

Dependencies of assets are declared day to day, also where a table reads earlier days. What a day really reads is in
the catalog, and so in its footer, and a day that misses one of those is refused. A Dagster mapping would say it too,
at a price (measured on 1.13): on another table it widens every backfill to the right, onto days without inputs; on
the table itself it breaks a range of all rooms, else one run, into a run for each chained table.

Not here: arithmetic on days (`core.days`), and which days a shop has (`core.calendar`).
"""

import datetime as dt

import dagster as dg

from seg_assets.core.days import ONE_DAY, parse_day
from seg_assets.core.settings import Settings


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return the shop's calendar: one partition a day, in the shop's time zone."""
    end = settings.end_day + ONE_DAY if settings.end_day else None
    return dg.DailyPartitionsDefinition(
        start_date=settings.start_day.isoformat(),
        end_date=end.isoformat() if end else None,
        timezone=settings.time_zone,
    )


def days_of_run(context: dg.AssetExecutionContext) -> list[dt.date]:
    """Return the days that a run was asked for, oldest first: one, or a contiguous range."""
    return sorted(parse_day(key) for key in context.partition_keys)
