"""`seg-assets report`: write the page of a day from what is in the lake, and open it."""

import argparse

# `--open` without a path: the page's usual place.
USUAL = ""


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands of this room."""
    parser = subparsers.add_parser("report", help="write the HTML page of a day and strategy, and say where it is")
    parser.add_argument("--strategy", metavar="S", help="one strategy (default: all)")
    parser.add_argument("--day", required=True, metavar="DAY", help="YYYY-MM-DD")
    parser.add_argument(
        "--open",
        nargs="?",
        const=USUAL,
        metavar="PATH",
        help="also open it in a browser; with PATH it is written there instead (one strategy only)",
    )
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Write the pages and print their paths."""
    import webbrowser
    from pathlib import Path

    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.errors import ConfigError, did_you_mean
    from seg_assets.core.settings import Settings
    from seg_assets.lake.files import write_text
    from seg_assets.lake.store import Lake
    from seg_assets.reports.gather import PROFILES, build_report, load_history
    from seg_assets.reports.page import render
    from seg_assets.reports.write import page_path, write_index
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    day = check_in_calendar(parse_day(args.day), settings)
    strategies = strategies_of(settings)
    if args.strategy is not None and args.strategy not in strategies:
        hint = did_you_mean(args.strategy, strategies)
        raise ConfigError(f"--strategy {args.strategy!r}: no such strategy{hint}; there are: {', '.join(strategies)}")
    if args.open and args.strategy is None:
        raise ConfigError("--open PATH: one path holds one page; give --strategy too")
    lake = Lake.of(settings)
    lake.require(PROFILES, [day], f"the report of {day}")
    chosen = [args.strategy] if args.strategy else list(strategies)
    history = load_history(lake, chosen, day, day)
    for name in chosen:
        path = Path(args.open).expanduser().resolve() if args.open else page_path(settings, name, day)
        write_text(path, render(build_report(history, strategies[name], day)))
        print(path)
        if args.open is not None:
            webbrowser.open(path.as_uri())
    if not args.open:
        write_index(settings, {name: s.title for name, s in strategies.items()})
    return 0
