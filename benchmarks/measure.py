"""Run a piece of work in a process of its own and measure that process: wall, CPU, peak memory.

This process stays small: on Linux a child's peak begins at what its parent held when it was started.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.shop import ROOT, Place, clean_environment


@dataclass(frozen=True)
class Measured:
    """What a child process cost. `said` is what it returned."""

    cpu_seconds: float
    wall_seconds: float
    peak_memory_mb: float
    said: Mapping[str, Any]

    def numbers(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "cpu_seconds": round(self.cpu_seconds, 2),
            "wall_seconds": round(self.wall_seconds, 2),
            "peak_memory_mb": round(self.peak_memory_mb, 1),
            **self.said,
        }


class ChildError(RuntimeError):
    """A measured piece of work failed; the message ends with what it wrote."""


def run(subject: str, work: str, place: Place, **arguments: Any) -> Measured:
    """Run `benchmarks.task` in a child: function `work` of the module of `subject`.

    Raises:
        ChildError: the child failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        said, log = Path(scratch) / "said.json", Path(scratch) / "log"
        command = [sys.executable, "-m", "benchmarks.task", subject, work, place.to_json(), json.dumps(arguments)]
        with log.open("wb") as out:
            started = time.monotonic()
            child = subprocess.Popen(  # noqa: S603  our own module
                [*command, str(said)],
                cwd=ROOT.parent,
                env=clean_environment(place.environment()),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            # wait4 gives this child's use alone, its own finished children included.
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise ChildError(f"{subject} {work} ended with {child.returncode}:\n{log.read_text()[-4000:]}")
        return Measured(
            usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, json.loads(said.read_text() or "{}")
        )
