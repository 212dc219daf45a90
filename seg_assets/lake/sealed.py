"""Sealed folders: caches on disk, each file of which is held against its hash before it is used.

A power cut can cut such a file short and a disk can flip a byte of it; what does not hold is made again by its writer.

Not here: day files of the lake, which carry their own checksum (`lake.checksum`).
"""

import contextlib
import hashlib
from pathlib import Path

# A line for each file, and the hash of those lines.
SUMS = "SHA256SUMS"


def seal(folder: Path) -> None:
    """Write the hash of every file of a folder beside them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = "\n".join(f"{_hash(path.read_bytes())}  {path.relative_to(folder).as_posix()}" for path in files)
    (folder / SUMS).write_text(f"{lines}\n{_hash(lines.encode())}", encoding="utf-8")


def read_sealed(folder: Path) -> dict[str, bytes] | None:
    """Return what the files of a sealed folder hold, by name; None when it is not there or not what was sealed."""
    contents = {}
    try:
        lines, total = (folder / SUMS).read_text(encoding="utf-8").rsplit("\n", 1)
        if _hash(lines.encode()) != total:
            return None
        for line in lines.split("\n"):
            total, name = line.split("  ", 1)
            contents[name] = (folder / name).read_bytes()
            if _hash(contents[name]) != total:
                return None
    except (OSError, ValueError):
        return None
    return contents


def put_in_place(fresh: Path, folder: Path) -> None:
    """Rename a sealed folder to its place, unless another process has put a good one there."""
    if folder.exists() and read_sealed(folder) is None:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(fresh.with_name("damaged"))
    try:
        fresh.rename(folder)
    except OSError:
        if read_sealed(folder) is None:
            raise


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
