"""Replace a local file whole or not at all, and let one process at a time do something.

Not here: day files of the lake, which `lake.store` publishes.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path

from seg_assets.lake.scratch import scratch

# What is done under a lock takes a second. A process that was halted with the lock in its hands holds up no other.
MOST_WAIT_SECONDS = 60.0


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text` (UTF-8, line ends as given), like `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by `content`: a reader sees the old file or the new one, and a kill leaves one of the two."""
    with scratch(path.parent) as folder:
        staged = folder / path.name
        with staged.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        staged.replace(path)


@contextlib.contextmanager
def locked(path: Path, most_wait_seconds: float = MOST_WAIT_SECONDS) -> Generator[bool]:
    """Hold a lock file while the block runs, and yield whether it is held; the lock ends with the process.

    Other processes wait for a while. A folder that cannot be written is used without a lock, and a file system that has
    no locks is taken at its word.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:
        yield False
        return
    try:
        deadline = time.monotonic() + most_wait_seconds
        while not (is_mine := _try_lock(handle)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield is_mine
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Return whether the lock was taken, or cannot be had on this file system."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR)
    return True
