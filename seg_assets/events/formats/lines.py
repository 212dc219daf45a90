"""Cut a text file into physical lines: every line comes out once, with its number and what is wrong with its text.

Files are read in blocks and cut with vectorised code: ten million lines are a matter of seconds. Nothing that a file
holds makes it fail as a whole: a line that is no UTF-8, has a NUL byte or is too long comes out with a `problem`.

Not here: what the lines hold (`csv`, `jsonl`).
"""

import codecs
import hashlib
import itertools
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.core.errors import LandingError
from seg_assets.events.formats.names import DAMAGED_GZIP, NOT_TEXT, NUL, TOO_LONG

BLOCK = 32 << 20
# The text of a rejected line is whole up to this size; what is longer is cut, with a note of its length.
LONGEST_TEXT = 64 << 20
# A document is held whole, beside the lines that are cut from it.
LONGEST_DOCUMENT = 1 << 30

# Encodings of two byte orders, and how their texts begin when they say which.
_MARKED = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
_ESCAPE_BYTES = "seg_assets_escape_bytes"


@dataclass
class BytesRead:
    """What was really read of a file, filled while it is read. `damaged`: the end of a gzip could not be unpacked."""

    size: int = 0
    sha256: str = ""
    damaged: bool = False


@dataclass
class Lines:
    """Consecutive physical lines: number, text without line end, and what is wrong with each (or null)."""

    number: pa.Array
    text: pa.Array
    problem: pa.Array

    def __len__(self) -> int:
        return len(self.number)

    def slice(self, start: int, length: int | None = None) -> "Lines":
        """Return the lines from `start` on, or `length` of them."""
        return Lines(*(a.slice(start, length) for a in (self.number, self.text, self.problem)))

    def take(self, rows: np.ndarray) -> "Lines":
        """Return the lines at these places."""
        return Lines(*(a.take(pa.array(rows)) for a in (self.number, self.text, self.problem)))

    def plus(self, other: "Lines") -> "Lines":
        """Return these lines followed by others."""
        return Lines(
            pa.concat_arrays([self.number, other.number]),
            pa.concat_arrays([self.text, other.text]),
            pa.concat_arrays([self.problem, other.problem]),
        )


def read_lines(path: Path, read: BytesRead, encoding: str = "utf-8", limit: int = 1 << 20) -> Iterator[Lines]:
    """Yield the physical lines of a file, in blocks; `read` is complete when the file was read to its end.

    Raises:
        LandingError: the file cannot be opened or read.
    """
    number = 1
    try:
        with path.open("rb") as handle:
            read.size = os.fstat(handle.fileno()).st_size
            for block in _whole_lines(_utf8_blocks(_raw_blocks(handle, path, read), encoding)):
                lines = _split(block, number, encoding, limit)
                number += len(lines)
                yield lines
    except OSError as error:
        raise LandingError(f"{path}: cannot be read: {error}; mend its permissions or remove it") from None
    if read.damaged:
        text = "[the rest of this gzip file cannot be unpacked]"
        yield Lines(pa.array([number]), pa.array([text], pa.large_string()), pa.array([DAMAGED_GZIP], pa.string()))


def begins_an_array(path: Path) -> bool:
    """Say whether the first character of a text file that is no blank opens an array of JSON."""
    try:
        with path.open("rb") as handle:
            head = handle.read(4096)
    except OSError:
        return False  # whoever reads the file says so
    if path.name.lower().endswith(".gz"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 4096)
        except zlib.error:
            return False
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.removeprefix(mark)
    return head.replace(b"\0", b"").lstrip().startswith(b"[")


def read_text(path: Path, read: BytesRead, encoding: str) -> str:
    """Return a whole text file; bytes that are no text stand in it in hexadecimal.

    Raises:
        LandingError: the file cannot be read, or is too long to be held whole.
    """
    blocks, size = [], 0
    try:
        with path.open("rb") as handle:
            read.size = os.fstat(handle.fileno()).st_size
            for block in _utf8_blocks(_raw_blocks(handle, path, read), encoding):
                blocks.append(block)
                size += len(block)
                if size > LONGEST_DOCUMENT:
                    raise LandingError(f"{path}: one JSON document of over 1 GiB; deliver JSON lines, or several files")
    except OSError as error:
        raise LandingError(f"{path}: cannot be read: {error}; mend its permissions or remove it") from None
    return b"".join(blocks).decode("utf-8", "backslashreplace")


def mask(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return an array of truth values as NumPy's; null is false."""
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)


def _raw_blocks(handle: BinaryIO, path: Path, read: BytesRead) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked when it is gzip; a damaged end is noted in `read`, not raised."""
    sha = hashlib.sha256()
    unpack = zlib.decompressobj(wbits=31) if path.name.lower().endswith(".gz") else None
    at_start = True  # of a gzip member
    while block := handle.read(BLOCK // 4 if unpack else BLOCK):
        sha.update(block)
        if unpack is None:
            yield block
            continue
        if read.damaged:
            continue
        data = block
        try:
            while data:
                out = unpack.decompress(data, BLOCK)
                at_start = False
                if out:
                    yield out
                if unpack.eof:
                    data = unpack.unused_data
                    # Some tools pad the end with zeros, which gzip says to ignore.
                    data = b"" if not data.strip(b"\0") else data
                    unpack, at_start = zlib.decompressobj(wbits=31), True
                else:
                    data = unpack.unconsumed_tail
                    if not data:
                        break
        except zlib.error:
            read.damaged = True
    if unpack is not None and not at_start:
        read.damaged = True
    read.sha256 = sha.hexdigest()


def _escape_bytes(error: UnicodeError) -> tuple[str, int]:
    """Stand in for bytes that an encoding does not know: U+FFFD, which marks the line, and the bytes in hexadecimal."""
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "\ufffd" + "".join(f"\\x{b:02x}" for b in bad), error.end


def _utf8_blocks(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the same text as UTF-8, without a byte order mark."""
    first = True
    if encoding == "utf-8":
        for block in blocks:
            yield block.removeprefix(codecs.BOM_UTF8) if first else block
            first = False
        return
    if encoding in _MARKED:
        # Without a mark of its byte order a text is taken as little-endian, as Windows writes it.
        head = next(blocks, b"")
        blocks = itertools.chain([head], blocks)
        encoding += "" if head.startswith(_MARKED[encoding]) else "-le"
    codecs.register_error(_ESCAPE_BYTES, _escape_bytes)
    decoder = codecs.getincrementaldecoder(encoding)(_ESCAPE_BYTES)
    for block in blocks:
        text = decoder.decode(block)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        yield text.encode("utf-8", "backslashreplace")
    yield decoder.decode(b"", final=True).encode("utf-8", "backslashreplace")


def _whole_lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks that end at a line's end (the last one may not)."""
    pending: list[bytes] = []  # the begun line
    size = cut = 0  # its bytes in `pending`, and those left out
    ending = b""
    for block in blocks:
        if not block:
            continue
        if not ending:
            # Files of old Macs end lines with a lone carriage return.
            ending = b"\r" if b"\n" not in block and b"\r" in block[:-1] else b"\n"
        if ending == b"\r":
            block = block.replace(b"\r", b"\n")
        at = block.rfind(b"\n")
        if at < 0:
            room = LONGEST_TEXT - size
            pending.append(block[:room] if room > 0 else b"")
            size += len(pending[-1])
            cut += len(block) - len(pending[-1])
            continue
        if cut:
            first = block.index(b"\n")
            pending.append(b" ... [cut: %d more bytes]\n" % (cut + first))
            block, at = block[first + 1 :], at - first - 1
            cut = 0
        yield b"".join([*pending, block[: at + 1]])
        pending, size = [block[at + 1 :]], len(block) - at - 1
    if cut:
        pending.append(b" ... [cut: %d more bytes]" % cut)
    rest = b"".join(pending)
    if rest:
        yield rest


def _split(block: bytes, first: int, encoding: str, limit: int) -> Lines:
    """Return the lines of a block of whole lines, numbered from `first`."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == 10) + 1
    if not len(ends) or ends[-1] != len(block):
        ends = np.append(ends, len(block))
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    n = len(ends)
    number = pa.array(np.arange(first, first + n, dtype=np.int64))
    binary = pa.Array.from_buffers(pa.large_binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(block)])
    problems: dict[int, str] = {}
    try:
        text = binary.cast(pa.large_string())
    except pa.ArrowInvalid:
        values = []
        for i, raw in enumerate(binary.to_pylist()):
            try:
                values.append(raw.decode("utf-8"))
            except UnicodeDecodeError:
                values.append(raw.decode("utf-8", "backslashreplace"))
                problems[i] = NOT_TEXT
        text = pa.array(values, pa.large_string())
    if encoding != "utf-8" and b"\xef\xbf\xbd" in block:
        problems.update(dict.fromkeys(np.flatnonzero(mask(pc.match_substring(text, "\ufffd"))), NOT_TEXT))
    text = pc.ascii_rtrim(text, characters="\r\n")
    if codecs.BOM_UTF8 in block:
        # Of a file that was appended to another.
        text = pc.utf8_ltrim(text, characters="\ufeff")
    zeros = np.flatnonzero(data == 0)
    if len(zeros):
        problems.update(dict.fromkeys(np.unique(np.searchsorted(ends, zeros, side="right")), NUL))
        text = pc.replace_substring(text, "\x00", "\\x00")
    long = np.flatnonzero(np.diff(offsets) > limit + 2)
    problems.update(dict.fromkeys(long, TOO_LONG))
    problem = np.full(n, None, dtype=object)
    for i, reason in problems.items():
        problem[i] = reason
    return Lines(number, text, pa.array(problem, pa.string()))
