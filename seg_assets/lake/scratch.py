"""Scratch folders: where every writer puts what is not ready yet, and whether who made one still lives.

A process holds a lock on the file `.owner` of each of its scratch folders. The kernel drops the lock when the process
ends, however it ends, so nobody is misled by a clock, by the number of a process that was given out again, or by a
process in another container; locks of NFS reach other machines.

Every writer takes its folder from `scratch` or `take`, in one of the `places` that `seg-assets gc` looks at. Not here:
what is removed when (`loop.mending`).
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal

from seg_assets.core.settings import Settings
from seg_assets.core.stopping import at_stop

OWNER = ".owner"
# How names begin in the machine's folder for temporary files, which is anybody's.
SPILL, STAGED, SAMPLE = "seg_assets_spill_", "seg_assets_staging_", "seg_assets_check_"
# How names begin in folders of ours.
FRESH = ".new-"
# Folder of the lake in which day files are written.
STAGING = ".staging"
# Folder of a Dagster instance in which each process of a run has one of its own (`orchestration.living`).
RUNS = ".runs"

# Of this process: folder to the process that took it and the handle that holds its lock.
_taken: dict[Path, tuple[int, int]] = {}


@contextlib.contextmanager
def scratch(root: Path | None, prefix: str = FRESH) -> Generator[Path]:
    """Give a fresh scratch folder under `root` (None: the machine's for temporary files), removed on leaving."""
    folder = take(root, prefix)
    try:
        yield folder
    finally:
        give_back(folder)


def take(root: Path | None, prefix: str = FRESH) -> Path:
    """Make a scratch folder that only this user may enter; it is this process's until `give_back` or its end."""
    root = temporary() if root is None else root
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{prefix}{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    handle = os.open(folder / OWNER, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _taken[folder] = os.getpid(), handle
    os.write(handle, socket.gethostname().encode())
    with contextlib.suppress(OSError):  # a file system without locks: `owner` says that it cannot tell
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder


def give_back(folder: Path) -> None:
    """Remove a scratch folder of this process."""
    shutil.rmtree(folder, ignore_errors=True)
    _, handle = _taken.pop(folder, (0, None))
    if handle is not None:
        os.close(handle)


def owner(folder: Path) -> Literal["lives", "gone", "unknown"]:
    """Return what is known of the process that took a scratch folder; what another user owns is taken to live."""
    try:
        if folder.lstat().st_uid != os.geteuid():
            return "lives"
        handle = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return "unknown"
    except OSError:
        return "lives"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Not every network file system carries locks from one machine to another.
        return "gone" if os.read(handle, 300) == socket.gethostname().encode() else "unknown"
    except BlockingIOError:
        return "lives"
    except OSError:
        return "unknown"
    finally:
        os.close(handle)


def temporary() -> Path:
    """Return the machine's folder for temporary files."""
    return Path(tempfile.gettempdir())


def places(settings: Settings, instance: Path) -> Iterator[Path]:
    """Yield everything that lies where writers take scratch folders, of whatever owner.

    Args:
        settings: the shop.
        instance: the folder of its Dagster instance.
    """
    for prefix in (SPILL, STAGED, SAMPLE):
        yield from _children(temporary(), f"{prefix}*")
    for root in (settings.home / "dbt", settings.home / "dbt" / "projects", instance):
        yield from _children(root, f"{FRESH}*")
    yield from _children(instance / RUNS, "*")
    # Earlier versions gave other names to what they put there.
    for root in (settings.home / "dbt" / "runs", Path(str(settings.lake)) / STAGING):
        yield from _children(root, "*")
    assert settings.reports is not None
    if settings.reports.is_dir():
        yield from sorted(settings.reports.rglob(f"{FRESH}*"))


def _children(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern)) if root.is_dir() else []


def _give_all_back() -> str:
    for folder, (process, _) in list(_taken.items()):
        if process == os.getpid():  # not the parent's of a forked process
            give_back(folder)
    return ""


atexit.register(_give_all_back)
at_stop(_give_all_back)
