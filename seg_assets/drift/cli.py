"""Commands about drift verdicts: `seg-assets drift show` and `drift html`.

Not here: `drift plan`, which asks the planner of all rooms (`loop.cli`).
"""

import datetime as dt
import json

import click

from seg_assets.core.calendar import check_in_calendar
from seg_assets.core.options import day_option, json_option, one_strategy_option, strategy_option
from seg_assets.core.settings import Settings
from seg_assets.drift.daily import TABLE, read_rows, render_html
from seg_assets.lake.store import Lake
from seg_assets.segments.strategy import choose_strategy


@click.command()
@day_option
@strategy_option
@json_option
def show(day: dt.date, name: str | None, as_json: bool) -> int:
    """Print the verdicts of a day with their reasons.

    Exit code 1: the day has no verdict on the strategy.
    """
    settings = Settings.from_env()
    check_in_calendar(day, settings)
    lake = Lake.of(settings)
    lake.require(TABLE, [day], "seg-assets drift show")
    rows = [row for row in read_rows(lake, day) if name in (None, row["strategy"])]
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
        return 0 if rows else 1
    for row in rows:
        against = f"against {row['baseline_day']}" if row["baseline_day"] else "no model yet"
        state = "drifted" if row["drifted"] else "flagged" if row["flagged"] else "fine"
        due = f", re-clustering due ({row['cause']})" if row["cause"] else ""
        print(f"{row['strategy']}, {day}: {state}, {against}, {row['users']:,} users, streak {row['streak']}{due}")
        for reason in row["reasons"]:
            print(f"  {reason}")
    return 0 if rows else 1


@click.command()
@one_strategy_option
@day_option
def html(name: str, day: dt.date) -> int:
    """Write Evidently's page of a day, flagged or not, and print where it is."""
    settings = Settings.from_env()
    check_in_calendar(day, settings)
    print(render_html(Lake.of(settings), choose_strategy(settings, name), settings, day))
    return 0
