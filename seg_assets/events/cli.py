"""Commands of the events room: `seg-assets source check`, `seg-assets source list`, `seg-assets load`."""

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_assets.core.errors import LandingError


def add_commands(subparsers: Any) -> None:
    """Add this room's commands to the command line."""
    source = subparsers.add_parser("source", help="try a source YAML on a sample file, list shipped sources")
    actions = source.add_subparsers(dest="action", metavar="ACTION", required=True)

    check = actions.add_parser(
        "check", help="read a sample file with a source YAML: what was read, what was refused and why, first events"
    )
    check.add_argument("source", metavar="FILE.yaml", help="source YAML, or the name of a shipped source")
    check.add_argument("sample", metavar="SAMPLE", help="one landing file")
    check.add_argument("--feed", help="feed to read it with; default: the one whose file pattern fits, or the only one")
    check.add_argument("--rows", type=int, default=5, metavar="N", help="events and refused lines to show (default 5)")
    check.add_argument("--time-zone", default=None, help="the shop's zone; default: the settings'")
    check.set_defaults(run=run_check)

    listing = actions.add_parser("list", help="list the shipped sources")
    listing.set_defaults(run=run_list)

    load = subparsers.add_parser("load", help="write a public data set as landing files")
    load.add_argument("dataset", choices=["complete_journey"])
    load.add_argument("--landing", type=Path, default=None, metavar="DIR", help="default: the settings' landing folder")
    load.add_argument("--from", dest="first", default=None, metavar="DAY", help="first day (default 2017-01-01)")
    load.add_argument("--to", dest="last", default=None, metavar="DAY", help="last day (default 2017-12-31)")
    load.set_defaults(run=run_load)


def run_list(args: argparse.Namespace) -> int:
    """`seg-assets source list`."""
    from seg_assets.events.source import load_source, shipped_sources

    for name, path in shipped_sources().items():
        source = load_source(name)
        print(f"{name}: {source.description}")
        for feed, spec in source.all_feeds().items():
            print(f"    {feed}: {', '.join(p.text for p in spec.files)}")
        print(f"    {path}")
    return 0


def run_load(args: argparse.Namespace) -> int:
    """`seg-assets load complete_journey`."""
    from seg_assets import demo as complete_journey
    from seg_assets.core.days import parse_range
    from seg_assets.core.settings import Settings

    landing = args.landing or Settings.from_env().landing
    assert landing is not None
    landing = landing.expanduser()
    first, last = parse_range(
        args.first or complete_journey.FIRST_DAY.isoformat(), args.last or complete_journey.LAST_DAY.isoformat()
    )
    done = complete_journey.write_landing(landing, first, last, lambda text: print(text, file=sys.stderr, flush=True))
    lines = ", ".join(f"{n:,} {name}" for name, n in done.lines.items())
    print(f"{landing}: {done.files} files for {done.first} .. {done.last} ({done.changed} new or changed): {lines}")
    print(f"read them with SEG_ASSETS_SOURCE=complete_journey SEG_ASSETS_TIME_ZONE={complete_journey.TIME_ZONE} "
          f"SEG_ASSETS_START_DAY={done.first} SEG_ASSETS_END_DAY={done.last} SEG_ASSETS_LANDING={landing}")  # fmt: skip
    return 0


def run_check(args: argparse.Namespace) -> int:
    """`seg-assets source check`: 0 something was accepted, 1 nothing was."""
    from seg_assets.core.options import check_number
    from seg_assets.core.settings import Settings
    from seg_assets.events.check import check_sample
    from seg_assets.events.source import load_source

    source = load_source(args.source)
    sample = Path(args.sample).expanduser()
    if not sample.is_file():
        raise LandingError(f"{sample}: no such file")
    check_number("--rows", args.rows, 0, 100_000)
    settings = Settings.from_env(**({"time_zone": args.time_zone} if args.time_zone else {}))
    found = check_sample(source, sample.resolve(), settings.time_zone, feed=args.feed, rows=args.rows)
    print(f"{sample} read as feed {found.feed} of source {source.name} ({found.format}); days in {settings.time_zone}")
    if found.note:
        print(found.note)
    print()
    print(f"  lines read  {found.lines_read:>10,}")
    print(f"  accepted    {found.accepted:>10,}")
    print(f"  rejected    {found.rejected:>10,}")
    print(f"  duplicates  {found.duplicates:>10,}")
    if found.unmapped:
        print(f"\nunmapped columns (kept in extra): {', '.join(found.unmapped)}")
    if found.absent:
        print(f"\ncolumns of the mapping that the file lacks: {', '.join(found.absent)}")
    if found.reasons:
        print("\nrejected because")
        for reason, field, count, _, line in found.reasons:
            print(f"  {count:>10,}  {reason}{' (' + field + ')' if field else ''}, first in line {line}")
        for line, reason, field, text in found.refused:
            print(f"    line {line}: {reason}{' ' + field if field else ''}: {_short(text, 160)}")
    if found.days:
        print("\nlines by day")
        for day, count in found.days[:10]:
            print(f"  {day}  {count:>10,}")
        if len(found.days) > 10:
            print(f"  and {len(found.days) - 10} more days, to {found.days[-1][0]}")
    if found.kinds:
        print("\nevents by type")
        for kind, count, amount in found.kinds:
            print(f"  {kind:<18}{count:>10,}" + (f"   amount {amount:,}" if amount is not None else ""))
    if found.rows:
        print(f"\nfirst {len(found.rows)} rows as {found.what}")
        _records(found.columns, found.rows)
    if not found.accepted:
        print("\nnothing was accepted: mend the mapping, docs/sources.md tells what each reason means")
    return 0 if found.accepted else 1


def _records(columns: Sequence[str], rows: Sequence[tuple]) -> None:
    shown = [n for n, _ in enumerate(columns) if any(row[n] is not None for row in rows)]
    width = max((len(columns[n]) for n in shown), default=0)
    for row in rows:
        print()
        for n in shown:
            value = row[n]
            text = value.isoformat(sep=" ") if isinstance(value, dt.datetime) else value
            print(f"  {columns[n]:<{width}}  {_short('' if text is None else str(text), 120)}")


def _short(text: str, limit: int) -> str:
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."
