"""`seg-assets`: the command line. Each room adds its own commands; they import what they need when they run."""

import argparse
import atexit
import os
import sys
from collections.abc import Sequence

from seg_assets import __version__
from seg_assets.core.errors import SegAssetsError


def build_parser() -> argparse.ArgumentParser:
    """The parser with the commands of every room."""
    from seg_assets import commands
    from seg_assets.drift import cli as drift
    from seg_assets.evaluation import cli as evaluation
    from seg_assets.evaluation import validity_cli as validity
    from seg_assets.events import cli as events
    from seg_assets.reports import cli as reports
    from seg_assets.segments import cli as segments
    from seg_assets.simulator import cli as simulator

    parser = argparse.ArgumentParser(
        prog="seg-assets",
        description="User segments that stay right every day. Settings come from SEG_ASSETS_* variables.",
    )
    parser.add_argument("--version", action="version", version=f"seg-assets {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for room in (commands, events, simulator, segments, evaluation, validity, drift, reports):
        room.add_commands(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 fine, 1 it found something wrong, 2 it could not run."""
    # Evidently's own service and Dagster's uploader would post statistics otherwise.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except SegAssetsError as error:
        print(f"seg-assets: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def entry() -> None:
    """What the console script and `python -m seg_assets.cli` run."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The work is done and every file is closed. A normal exit would let DuckDB's binding print pages about leaked
    # instances that dbt and Dagster still hold (duckdb 2.0); exit handlers run first.
    atexit._run_exitfuncs()
    os._exit(code)


if __name__ == "__main__":
    entry()
