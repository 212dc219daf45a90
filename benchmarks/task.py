"""The child process: `python -m benchmarks.task SUBJECT WORK PLACE ARGUMENTS RESULT`."""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.shop import Place

MODULES = {
    "ours": "benchmarks.ours",
    "floor": "benchmarks.floor",
    "pandas": "benchmarks.by_pandas",
    "polars": "benchmarks.by_polars",
    "verify": "benchmarks.verify",
    "overheads": "benchmarks.overheads",
}


def main(subject: str, work: str, place: str, arguments: str, result: str) -> None:
    """Call the function and write what it returned."""
    function = getattr(importlib.import_module(MODULES[subject]), work)
    said = function(Place.from_json(place), **json.loads(arguments))
    Path(result).write_text(json.dumps(said or {}))


if __name__ == "__main__":
    main(*sys.argv[1:])
