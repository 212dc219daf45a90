"""Put a checksum into a Parquet file, between its last column and its footer, where no reader looks.

Columns are found by their place from the start and the footer by its place from the end, so the file stays what it is
for every reader of Parquet, and one rename publishes data and checksum together. A byte that flipped in a column often
still decodes, to another number.

Not here: the hash of the rows (`lake.content_hash`), which says nothing about bytes.
"""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

MARK = b"SEGSUM01"
_SIZE = 16
_TAIL = 8  # length of the footer, and Parquet's four letters
_BLOCK = 1 << 20


def add(path: Path) -> None:
    """Put the checksum into a Parquet file that nobody reads yet.

    Raises:
        OSError: the file is no Parquet file, or the disk is full.
    """
    with path.open("r+b") as handle:
        start = _footer_start(handle)
        if start is None:
            raise OSError(f"{path} is not a Parquet file")
        handle.seek(start)
        footer = handle.read()
        total = _sum(handle, start, footer)
        handle.seek(start)
        handle.write(MARK + total + footer)


def holds(path: Path) -> bool:
    """Return whether a file has a checksum and its bytes are those that were written."""
    with path.open("rb") as handle:
        footer_start = _footer_start(handle)
        start = -1 if footer_start is None else footer_start - len(MARK) - _SIZE
        if start < 0:
            return False
        handle.seek(start)
        if handle.read(len(MARK)) != MARK:
            return False
        written, footer = handle.read(_SIZE), handle.read()
        return written == _sum(handle, start, footer)


def _footer_start(handle: BinaryIO) -> int | None:
    size = handle.seek(0, os.SEEK_END)
    if size < 2 * _TAIL:
        return None
    handle.seek(size - _TAIL)
    tail = handle.read(_TAIL)
    start = size - _TAIL - int.from_bytes(tail[:4], "little")
    return start if tail[4:] == b"PAR1" and start >= 4 else None


def _sum(handle: BinaryIO, end: int, footer: bytes) -> bytes:
    """Return the checksum of the bytes up to `end` and of the footer (BLAKE2b: a gigabyte a second)."""
    total = hashlib.blake2b(digest_size=_SIZE)
    handle.seek(0)
    left = end
    while left > 0:
        block = handle.read(min(_BLOCK, left))
        if not block:
            break
        total.update(block)
        left -= len(block)
    total.update(footer)
    return total.digest()
