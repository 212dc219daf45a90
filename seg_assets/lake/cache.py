"""What this process has read of published days, kept under the version of their file and bounded in bytes.

A day that was replaced, or changed in place, has another version (`Lake.version`) and is read anew.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from seg_assets.lake.store import Version

T = TypeVar("T")


class Kept(dict[Version, T]):
    """Version to what was read of it; the last one is what was asked for last.

    Args:
        size: bytes of what was read.
    """

    def __init__(self, size: Callable[[T], int]) -> None:
        super().__init__()
        self.size = size
        self.lock = threading.Lock()

    def keep(self, version: Version, value: T, most_bytes: int) -> None:
        """Keep it instead of what was kept of any version of that file; what was not asked for longest goes first."""
        with self.lock:
            for other in [v for v in self if v.path == version.path]:
                del self[other]
            self[version] = value
            sizes = {v: self.size(kept) for v, kept in self.items()}
            while sum(sizes.values()) > most_bytes:
                oldest = next(iter(sizes))
                del self[oldest], sizes[oldest]

    def forget(self) -> None:
        """Forget everything."""
        with self.lock:
            self.clear()
