"""Make the measurements behind docs/choosing.md again: `python -m studies.compare_cli` (`make choosing`)."""

import argparse
import sys


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.compare_cli",
        description="Measures out-of-time validity, stability, agreement with planted groups and cost of every "
        "algorithm. Needs no lake; with --panel it also reads user_profiles of one, and writes nothing to it.",
    )
    parser.add_argument("--panel", metavar="HOME", help="home folder with the lake of the Complete Journey panel")
    parser.add_argument("--write", metavar="FILE.md", help="put the tables between the markers of a document")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return run_compare(parser.parse_args())


def run_compare(args: argparse.Namespace) -> int:
    """Measure, print, and write the document when asked to."""
    import datetime as dt
    from pathlib import Path

    from seg_assets.core.errors import ConfigError
    from seg_assets.lake.store import Lake
    from studies import compare

    document = Path(args.write) if args.write else None
    try:
        text = document.read_text(encoding="utf-8") if document else ""
    except OSError as error:
        raise ConfigError(f"--write {args.write!r}: cannot be read: {error}") from None

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    measured = []
    if args.panel:
        lake = Lake(Path(args.panel).expanduser() / "lake", dt.date(2017, 1, 1))
        measured = compare.panel(lake, say=say)
    measured += compare.simulated(say=say)
    seconds = compare.timed()
    made = compare.sections(measured, seconds)
    if document:
        document.write_text(compare.between_markers(text, made), encoding="utf-8")
    print(compare.to_json(measured, seconds) if args.json else "\n\n".join(made.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
