"""`seg-assets evaluate` and `decisions`: a published day's evaluation, and what decisions cost and were worth."""

import argparse


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands of this room."""
    parser = subparsers.add_parser("evaluate", help="how good the segments of a day are, beside data without groups")
    parser.add_argument("--strategy", metavar="S", help="one strategy (default: all)")
    parser.add_argument("--day", required=True, metavar="DAY", help="YYYY-MM-DD")
    parser.add_argument("--json", action="store_true", help="records instead of a table")
    parser.set_defaults(run=run_evaluate)

    parser = subparsers.add_parser("decisions", help="a strategy's decisions, what they cost and were worth")
    parser.add_argument("strategy", metavar="STRATEGY")
    parser.add_argument("--ledger", action="store_true", help="costs, and the worth one horizon later")
    parser.add_argument("--horizon", type=int, default=90, metavar="DAYS", help="of the worth (default 90)")
    parser.add_argument("--json", action="store_true", help="records instead of text")
    parser.set_defaults(run=run_decisions)


def run_evaluate(args: argparse.Namespace) -> int:
    """Print what segment_evaluation holds of the day; 1 when nothing is there for the strategy."""
    import json

    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.errors import ConfigError
    from seg_assets.core.settings import Settings
    from seg_assets.evaluation.daily import FLOW_DAY, FLOW_WEEK, TABLE
    from seg_assets.lake.store import Lake
    from seg_assets.segments.fitting.stability import band
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    day = check_in_calendar(parse_day(args.day), settings)
    names = list(strategies_of(settings))
    if args.strategy is not None and args.strategy not in names:
        raise ConfigError(f"--strategy {args.strategy!r}: unknown; one of {', '.join(names)}")
    frame = Lake.of(settings).read(TABLE, day)
    frame = frame[frame["strategy"].isin([args.strategy] if args.strategy else names)]
    if args.json:
        records = [
            {**row, "value": None if row["value"] != row["value"] else row["value"]} for row in frame.to_dict("records")
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
            said = "  ".join(f"{m} {_number(v).strip()}" for m, v in values.items() if m != "trusted")
            print(f"  {segment:<28}{said}" + (f"  ({band(values['jaccard'])})" if "jaccard" in values else ""))
    return 0 if len(frame) else 1


def run_decisions(args: argparse.Namespace) -> int:
    """Print a strategy's decisions; 1 when there are none."""
    import json

    from seg_assets.core.errors import ConfigError, did_you_mean
    from seg_assets.core.options import check_number
    from seg_assets.core.settings import Settings
    from seg_assets.evaluation.ledger import ledger, table
    from seg_assets.lake.store import Lake
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    known = strategies_of(settings)
    if args.strategy not in known:
        hint = did_you_mean(args.strategy, known)
        raise ConfigError(f"STRATEGY {args.strategy!r}: no such strategy{hint}; there are: {', '.join(known)}")
    check_number("--horizon", args.horizon, 1, 3_650)
    strategy = known[args.strategy]
    entries = ledger(Lake.of(settings), strategy, worth=args.ledger, horizon_days=args.horizon)
    if args.json:
        print(json.dumps([e.record() for e in entries], indent=2, allow_nan=False))
    else:
        print(table(entries, strategy.name, costs=args.ledger))
    return 0 if entries else 1


def _number(value: float) -> str:
    if value != value:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4f}"
