"""Run the product: which code, in which environment, and what to do when a command fails.

What is run, and in which order, is in `history`. Nothing of the product is imported.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# All that a child gets of the caller's environment. A SEG_ASSETS_* or DAGSTER_HOME of the caller would change the lake.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
# `--help` is laid out for this width; nothing else reads the variable.
WIDTH = {"COLUMNS": "200"}
QUIET = {"DO_NOT_TRACK": "1", "DAGSTER_DISABLE_TELEMETRY": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
# A step takes at most two minutes on a quiet machine.
PATIENCE_SECONDS = 1800


class GoldenError(Exception):
    """A history could not be built or read."""


@dataclass(frozen=True)
class Product:
    """The code under proof.

    root: folder that holds the package `seg_assets`.
    extra: environment variables beside our own.
    """

    root: Path = ROOT
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Name every variable of a child: a few inherited ones, ours, the shop's settings, the extra ones."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {**inherited, **QUIET, **WIDTH, "PYTHONPATH": str(self.root), **(settings or {}), **self.extra}

    def command(
        self, words: Sequence[str], settings: Mapping[str, str], log: Path, *, fine: Sequence[int] = (0,)
    ) -> str:
        """Run `seg-assets WORDS` and return what it wrote to standard output.

        Raises:
            GoldenError: the exit code is not one of `fine`; with the end of what was written.
        """
        done = self.python(["-m", "seg_assets.cli", *words], settings, cwd=log.parent)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ seg-assets {' '.join(words)}\n{done.stdout}{done.stderr}")
        if done.returncode not in fine:
            raise GoldenError(f"seg-assets {' '.join(words)}: exit {done.returncode}\n{_tail(done)}")
        return done.stdout

    def script(self, code: str, settings: Mapping[str, str], cwd: Path, given: str = "") -> str:
        """Run Python source text with the product importable; return standard output.

        Raises:
            GoldenError: the script failed.
        """
        done = self.python(["-c", code], settings, cwd=cwd, given=given)
        if done.returncode:
            raise GoldenError(f"a probe of the product failed: exit {done.returncode}\n{_tail(done)}")
        return done.stdout

    def python(
        self, words: Sequence[str], settings: Mapping[str, str], cwd: Path, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run our own interpreter in the child's environment."""
        return subprocess.run(
            [sys.executable, *words],
            env=self.environment(settings),
            cwd=cwd,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def check_import(self, cwd: Path) -> None:
        """Make sure that a child imports the package of `root`, not an installed one.

        Raises:
            GoldenError: another one is imported.
        """
        imported = self.script("import seg_assets; print(seg_assets.__file__)", {}, cwd).strip()
        if self.root.resolve() not in Path(imported).resolve().parents:
            raise GoldenError(f"children import {imported}, not the package of {self.root}")

    def shipped_strategies(self) -> list[Path]:
        """List the strategy files that the package ships, wherever it keeps them."""
        folders = {
            path.parent for path in (self.root / "seg_assets").rglob("value.yaml") if path.parent.name == "strategies"
        }
        if len(folders) != 1:
            raise GoldenError(f"{self.root}: not one folder of shipped strategies but {sorted(map(str, folders))}")
        return sorted(folders.pop().glob("*.yaml"))


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Lay out the files of a commit in a temporary folder.

    Raises:
        GoldenError: no such commit.
    """
    packed = subprocess.run(["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        raise GoldenError(f"--base {commit}: {packed.stderr.decode(errors='replace').strip()}")
    folder = Path(tempfile.mkdtemp(prefix="golden base "))
    try:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extractall(folder, filter="data")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit_name(commit: str) -> str:
    """Name a commit by its short hash; the words given where git does not know better."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", commit], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or commit


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr)[-3000:]
