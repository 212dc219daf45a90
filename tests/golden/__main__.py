"""`python -m tests.golden`: build the golden lake and compare it with the record; `--base` makes the record anew.

What is built is in `history`, what is compared in `record`. `make golden` runs this.
"""

import argparse
import platform
import resource
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tests.golden import history, lake, names
from tests.golden.product import GoldenError, Product, checkout, commit_name
from tests.golden.record import FOLDER, Record, compare, count_by_table, read_record, summary, write_record

PARTS = ("names", "simulated", "panel")
# More than a screen of differences tells nothing that the first screen does not.
SHOWN = 40
# What the last digits of a fit may depend on, beside the processor.
PACKAGES = ("dagster", "dbt-core", "duckdb", "evidently", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
ADVICE = (
    "Last digits of floats may depend on the processor and on versions. `make golden BASE=<commit>` makes the record "
    "anew from that commit's code on this machine, and then compares."
)


def main(argv: list[str] | None = None) -> int:
    """Build and compare; 0 equal, 1 something differs, 2 a step failed."""
    parser = argparse.ArgumentParser(prog="golden", description=__doc__, epilog=ADVICE)
    parser.add_argument(
        "--base", metavar="COMMIT", help="make the record anew from this commit's code; compare nothing"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part (may be repeated)")
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="build with this variable too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="build in this empty folder and leave it")
    parser.add_argument(
        "--record", type=Path, default=FOLDER, metavar="DIR", help="the record (default: the committed one)"
    )
    args = parser.parse_args(argv)
    extra = dict(_pair(parser, text) for text in args.env)
    parts = [part for part in PARTS if not args.only or part in args.only]
    try:
        if args.base:
            with checkout(args.base) as root:
                return _renew(Product(root, extra), parts, args.keep, args.record, args.base)
        return _compare(Product(extra=extra), parts, args.keep, args.record)
    except GoldenError as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2


def build(product: Product, parts: list[str], keep: Path | None, progress: "Progress") -> Record:
    """Build parts of the golden lake and read them as a record.

    Raises:
        GoldenError: a step failed, or `keep` is not empty.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise GoldenError(f"--keep {keep}: not empty")
    folder = (keep or Path(tempfile.mkdtemp(prefix="golden lake "))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record: Record = {}
    try:
        product.check_import(folder)
        if "names" in parts:
            progress.say("names: commands, options, settings, definitions")
            record["names"] = names.read_names(product)
        if "simulated" in parts:
            built = history.build_simulated(product, folder / "simulated", progress.say)
            record |= lake.read_lake(built, "simulated")
        if "panel" in parts:
            built = history.build_panel(product, folder / "panel", progress.say)
            record |= lake.read_lake(built, "panel")
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    progress.end()
    return record


class Progress:
    """Lines that say what step is at work, with seconds by the clock since the start."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one step."""
        print(f"{time.monotonic() - self.started:5.0f} s  {text}", flush=True)

    def end(self) -> None:
        """Print what all children took."""
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.say(f"built with {spent.ru_utime + spent.ru_stime:.0f} CPU seconds")


def _compare(product: Product, parts: list[str], keep: Path | None, folder: Path) -> int:
    recorded = read_record(folder)
    if not recorded:
        raise GoldenError(f"{folder}: no record; make one with --base COMMIT")
    built = build(product, parts, keep, Progress())
    differences = compare(recorded, built)
    if not differences:
        print(f"{summary(built)}: equal")
        return 0
    for difference in differences[:SHOWN]:
        print(difference)
    if len(differences) > SHOWN:
        print(f"... and {len(differences) - SHOWN} more")
    print(f"{summary(built)}: {len(differences)} differences: {count_by_table(differences)}")
    about = recorded.get("about", {})
    for name, value in about_this_machine().items():
        if name in about and about[name] != value:
            print(f"note: the record was made with {name} {about[name]}, this is {value}")
    print(ADVICE)
    return 1


def _renew(product: Product, parts: list[str], keep: Path | None, folder: Path, base: str) -> int:
    recorded = read_record(folder)
    built = build(product, parts, keep, Progress())
    differences = compare(recorded, built)
    about = {"commit": commit_name(base), **about_this_machine()}
    write_record({**built, "about": about}, folder)
    print(f"recorded {base}: {summary(built)}; {len(differences)} lines differ from the record before")
    return 0


def about_this_machine() -> dict[str, str]:
    """Versions that numbers may depend on, as lines of the section `about`; never compared, only named."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def _pair(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        parser.error(f"--env {text!r}: NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
