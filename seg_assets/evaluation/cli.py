"""Commands of the evaluation room: `seg-assets evaluate`, `decisions` and `validate`. Each reads the lake and prints.

Not here: how segments (`daily`), decisions (`ledger`) and recipes (`rolling_origins`) are judged.
"""

import datetime as dt
import json
import math
import sys

import click

from seg_assets.core.calendar import check_in_calendar, check_range
from seg_assets.core.errors import ConfigError
from seg_assets.core.options import (
    Number,
    day_option,
    json_option,
    one_strategy_option,
    range_options,
    strategy_option,
)
from seg_assets.core.settings import Settings
from seg_assets.evaluation.daily import FLOW_DAY, FLOW_WEEK, TABLE
from seg_assets.evaluation.ledger import ledger, table
from seg_assets.evaluation.rolling_origins import require_profiles, text_table
from seg_assets.evaluation.rolling_origins import validate as validate_recipe
from seg_assets.evaluation.validity_lake import origin_days
from seg_assets.lake.store import Lake
from seg_assets.segments.fitting.stability import band
from seg_assets.segments.strategy import choose_strategies, choose_strategy


@click.command()
@strategy_option
@day_option
@json_option
def evaluate(name: str | None, day: dt.date, as_json: bool) -> int:
    """Show how good the segments of a day are, beside data without groups.

    Exit code 1: the day has no evaluation of the strategy.
    """
    settings = Settings.from_env()
    check_in_calendar(day, settings)
    names = list(choose_strategies(settings, name))
    frame = Lake.of(settings).read(TABLE, day)
    frame = frame[frame["strategy"].isin(names)]
    if as_json:
        records = [
            {**row, "value": None if math.isnan(row["value"]) else row["value"]} for row in frame.to_dict("records")
        ]
        print(json.dumps(records, indent=2))
        return 0 if records else 1
    for strategy, rows in frame.groupby("strategy", sort=True):
        print(f"{strategy}, {day}")
        for row in rows[rows["segment_id"] == ""].itertuples():
            print(f"  {row.metric:<24}{_number(row.value)}")
        parts = rows[(rows["segment_id"] != "") & ~rows["metric"].str.startswith((FLOW_DAY, FLOW_WEEK))]
        for segment, numbers in parts.groupby("segment_id", sort=True):
            values = dict(zip(numbers["metric"], numbers["value"], strict=True))
            text = "  ".join(f"{m} {_number(v).strip()}" for m, v in values.items() if m != "trusted")
            print(f"  {segment:<28}{text}" + (f"  ({band(values['jaccard'])})" if "jaccard" in values else ""))
    return 0 if len(frame) else 1


@click.command()
@click.argument("name", metavar="STRATEGY")
@click.option("--ledger", "costs", is_flag=True, help="Also print costs, and the worth one horizon later.")
@click.option(
    "--horizon",
    type=Number(1, 3_650),
    default=90,
    metavar="DAYS",
    help="Days after a decision over which its worth is measured (default: 90).",
)
@json_option
def decisions(name: str, costs: bool, horizon: int, as_json: bool) -> int:
    """List the decisions of STRATEGY; with --ledger also what each cost and was worth.

    Exit code 1: there is no decision yet.
    """
    settings = Settings.from_env()
    strategy = choose_strategy(settings, name, "STRATEGY")
    entries = ledger(Lake.of(settings), strategy, worth=costs, horizon_days=horizon)
    if as_json:
        print(json.dumps([entry.record() for entry in entries], indent=2, allow_nan=False))
    else:
        print(table(entries, strategy.name, costs=costs))
    return 0 if entries else 1


@click.command()
@one_strategy_option
@range_options("First origin, as YYYY-MM-DD.", "Last day that may be an origin.")
@click.option("--step", type=Number(1, 3_650), default=7, metavar="DAYS", help="Days between origins (default: 7).")
@click.option("--groups", default="5,8,10", metavar="K,K", help="Numbers of groups to compare at (default: 5,8,10).")
@click.option(
    "--horizon",
    type=Number(1, 3_650),
    default=90,
    metavar="DAYS",
    help="Days after an origin that are predicted (default: 90).",
)
@click.option(
    "--replications",
    type=Number(0, 10_000),
    default=100,
    metavar="N",
    help="Bootstrap replications behind the intervals (default: 100; 0: no intervals).",
)
@click.option(
    "--stability",
    type=Number(0, 1_000),
    default=10,
    metavar="N",
    help="Bootstrap refits of every third origin (default: 10; 0: none).",
)
@click.option("--ceiling", is_flag=True, help="Also a boosted forecast that knows other users' future.")
@json_option
def validate(
    name: str,
    first: dt.date,
    last: dt.date,
    step: int,
    groups: str,
    horizon: int,
    replications: int,
    stability: int,
    ceiling: bool,
    as_json: bool,
) -> int:
    """Compare what a strategy's segments and baselines say about what users do next.

    The recipe is fitted anew on each origin, a day of the range, and judged by what its users did in the days after.
    """
    settings = Settings.from_env()
    strategy = choose_strategy(settings, name)
    counts = _counts(groups)
    check_range(first, last, settings)
    days = origin_days(first, last, step)
    lake = Lake.of(settings)
    require_profiles(lake, days, horizon)
    records = validate_recipe(
        lake,
        strategy,
        days,
        counts,
        horizon_days=horizon,
        replications=replications,
        stability=stability,
        ceiling=ceiling,
        seed=settings.seed,
        progress=None if as_json and not sys.stderr.isatty() else _progress,
    )
    print(
        json.dumps(records, indent=2, allow_nan=False) if as_json else text_table(records, strategy.name, days, horizon)
    )
    return 0


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 2 or counts[-1] > 200:
        raise ConfigError(f"--groups {text!r}: whole numbers from 2 to 200, with commas, for example 5,8,10")
    return counts


def _progress(n: int, total: int, day: dt.date) -> None:
    print(f"\rorigin {day}, {n} of {total}", end="\n" if n == total else "", file=sys.stderr, flush=True)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4f}"
