"""Guard what is read, changed and written again: a change that somebody else makes in between is never lost.

In a folder one process holds a lock from reading to renaming. An object store has no lock: there an object is replaced
only where it still is the one that was read (`lake.publish`).

Not here: days that are computed from other days alone and replaced whole; the last writer of such a day is right.
"""

import contextlib
import re
from collections.abc import Generator
from pathlib import Path

from upath import UPath

from seg_assets.core.errors import ConfigError, LakeWriteError
from seg_assets.lake.files import locked
from seg_assets.lake.stamps import is_remote

# Folder of the lake that holds the locks. They stay: one that is removed while somebody waits for it guards nothing.
LOCKS = ".locks"
# Writing decisions of years takes seconds; who holds a lock longer hangs, or waits for a slow disk.
LONGEST_WAIT_SECONDS = 600.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@contextlib.contextmanager
def hold(root: Path | UPath, name: str) -> Generator[None]:
    """Hold the lock `name` of a lake in a folder, after whoever holds it now; do nothing for an object store.

    The lock is the process's: it ends with the process, however that ends.

    Raises:
        LakeWriteError: the lock cannot be had: no permission, or somebody holds it for ten minutes.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"lock = {name!r}: letters, digits, - and _ only")
    if is_remote(root):
        yield
        return
    path = Path(str(root)) / LOCKS / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise LakeWriteError(f"{path}: the lock cannot be made: {error}; mend the permissions or make room") from error
    with locked(path, LONGEST_WAIT_SECONDS) as is_mine:
        if not is_mine:
            raise LakeWriteError(
                f"{path}: another process has held this lock for {LONGEST_WAIT_SECONDS / 60:.0f} minutes; see whether "
                "its run hangs, stop it, and run this again"
            )
        yield
