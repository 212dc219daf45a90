"""What a run in this process asks of dbt: settings and days, handed past dbt's own variables.

New values of `--vars` or of environment variables switch dbt's partial parsing off (2.3 CPU seconds a run), so the
days travel in this module. dbt works in threads of its own, hence one asking at a time, behind a lock.
"""

import contextlib
import datetime as dt
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seg_assets.core.settings import Settings
from seg_assets.lake.provenance import Provenance


def _silent(table: str, day: dt.date, provenance: Provenance) -> None:
    """Say nothing."""


@dataclass
class Asked:
    """One asking: what is wanted, what came of it."""

    settings: Settings
    days: Sequence[dt.date]
    models: Sequence[str] = ()
    published: Callable[[str, dt.date, Provenance], None] = _silent
    failures: list[Exception] = field(default_factory=list)


_lock = threading.Lock()
_current: list[Asked] = []


def asked() -> Asked | None:
    """The asking under way in this process, if any."""
    return _current[-1] if _current else None


@contextlib.contextmanager
def ask(wanted: Asked) -> Iterator[Asked]:
    """Make `wanted` the asking under way; waits for an earlier one to end."""
    with _lock:
        _current.append(wanted)
        try:
            yield wanted
        finally:
            _current.pop()


def spill_folder(settings: Settings) -> Path:
    """Where dbt's in-memory database spills; DuckDB makes it when needed and removes its files."""
    return Path(tempfile.gettempdir()) / f"seg_assets_spill_{uuid.uuid4().hex}"
