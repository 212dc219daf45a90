"""`seg-assets drift`: verdicts of a day, Evidently's page of any day, and what the loop would run next."""

import argparse


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands of this room."""
    room = subparsers.add_parser("drift", help="verdicts, reports, and what the re-clustering loop would do next")
    commands = room.add_subparsers(dest="drift_command", metavar="COMMAND", required=True)

    parser = commands.add_parser("show", help="verdicts of a day with their reasons")
    parser.add_argument("--day", required=True, metavar="DAY", help="YYYY-MM-DD")
    parser.add_argument("--strategy", metavar="S", help="one strategy (default: all)")
    parser.add_argument("--json", action="store_true", help="records instead of text")
    parser.set_defaults(run=run_show)

    parser = commands.add_parser("html", help="write Evidently's page of a day, flagged or not")
    parser.add_argument("--strategy", required=True, metavar="S")
    parser.add_argument("--day", required=True, metavar="DAY", help="YYYY-MM-DD")
    parser.set_defaults(run=run_html)

    parser = commands.add_parser("plan", help="what the drift sensor would run next, and why; runs nothing")
    parser.set_defaults(run=run_plan)


def run_show(args: argparse.Namespace) -> int:
    """Print what drift_report holds of a day; 1 when it holds nothing for the strategy."""
    import json

    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.settings import Settings
    from seg_assets.drift.daily import TABLE, read_rows
    from seg_assets.lake.store import Lake

    settings = Settings.from_env()
    day = check_in_calendar(parse_day(args.day), settings)
    lake = Lake.of(settings)
    lake.require(TABLE, [day], "seg-assets drift show")
    rows = [row for row in read_rows(lake, day) if args.strategy in (None, row["strategy"])]
    if args.json:
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


def run_html(args: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.errors import ConfigError
    from seg_assets.core.settings import Settings
    from seg_assets.drift.daily import render_html
    from seg_assets.lake.store import Lake
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    day = check_in_calendar(parse_day(args.day), settings)
    strategies = strategies_of(settings)
    if args.strategy not in strategies:
        raise ConfigError(f"--strategy {args.strategy!r}: unknown; one of {', '.join(strategies)}")
    print(render_html(Lake.of(settings), strategies[args.strategy], settings, day))
    return 0


def run_plan(args: argparse.Namespace) -> int:
    """Print the requests of the next plan; 1 when there are any."""
    from seg_assets.core.settings import Settings
    from seg_assets.lake.store import Lake
    from seg_assets.loop.planner import plan
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    found = plan(Lake.of(settings), strategies_of(settings), settings)
    for request in found.runs:
        days = f"{request.first}" if request.first == request.last else f"{request.first} .. {request.last}"
        print(f"{request.kind:<10}{days:<26}{request.strategy or ', '.join(request.tables)}: {request.reason}")
    if not found.runs:
        print(f"the loop rests: {found.resting_because}")
    return 1 if found.runs else 0
