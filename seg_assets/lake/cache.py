"""Remember what this process has read of files: one store, one budget, one `forget`.

A value is valid for one stamp of its file (`lake.stamps`): a file that was replaced, or changed in place, has another
stamp and is read anew. So a second run in one process sees what a first run in a new process would see. Values that
were not asked for longest go first when the budget is spent.

Not here: what is read (each reader has a `FileCache` of its own), and DuckDB connections (`lake.connections`).
"""

import threading
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from seg_assets.lake.stamps import FileStamp

# Two days of 475,607 users x 24 columns, which the moves of a day read, are 190 MB; everybody's segment on three such
# days is 64 MB; the footers of three years of all tables, 20,000 files, are 40 MB.
BUDGET_BYTES = 400 * 2**20

T = TypeVar("T")

_LOCK = threading.Lock()
# Cache and path to (stamp, value, bytes), the entry asked for last at the end.
_ENTRIES: "OrderedDict[tuple[object, str], tuple[FileStamp, Any, int]]" = OrderedDict()
_TOTAL = [0]


class FileCache(Generic[T]):
    """Values of one kind, by the path of the file that they were read from."""

    def get(self, path: str, stamp: FileStamp) -> T | None:
        """Return what was read of this version of a file; None when nothing was, or it was forgotten."""
        key = (self, path)
        with _LOCK:
            entry = _ENTRIES.get(key)
            if entry is None or entry[0] != stamp:
                return None
            _ENTRIES.move_to_end(key)
            return entry[1]

    def put(self, path: str, stamp: FileStamp, value: T, nbytes: int) -> None:
        """Remember a value of about `nbytes` in place of what was read of any version of that file."""
        with _LOCK:
            _drop((self, path))
            if nbytes > BUDGET_BYTES:
                return
            _ENTRIES[self, path] = (stamp, value, nbytes)
            _TOTAL[0] += nbytes
            while _TOTAL[0] > BUDGET_BYTES:
                _drop(next(iter(_ENTRIES)))

    def discard(self, path: str) -> None:
        """Forget what was read of one file."""
        with _LOCK:
            _drop((self, path))

    def paths(self) -> list[str]:
        """Return the files of which something is remembered, the one asked for last at the end."""
        with _LOCK:
            return [path for cache, path in _ENTRIES if cache is self]


def forget() -> None:
    """Forget everything that was read of any file."""
    with _LOCK:
        _ENTRIES.clear()
        _TOTAL[0] = 0


def _drop(key: tuple[object, str]) -> None:
    entry = _ENTRIES.pop(key, None)
    if entry is not None:
        _TOTAL[0] -= entry[2]
