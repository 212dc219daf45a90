"""Files of text as tables of records: every line of a file comes out once, parsed or with the reason it was not.

Files are read in blocks and split with vectorised code: ten million lines are a matter of seconds. Nothing a file
holds makes it fail as a whole: a line that is no UTF-8, has a NUL byte, is too long, has an open quote or the wrong
number of columns comes out with a `problem`, its line number and its text. DuckDB's and Arrow's own CSV readers
know no line numbers of good rows and lose or glue lines around broken quotes, so records are cut here first.
"""

import codecs
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from seg_assets.core.errors import LandingError
from seg_assets.events.source import CsvOptions

LINE, TEXT, PROBLEM = "__seg_line", "__seg_text", "__seg_problem"
BLOCK = 32 << 20
# The text of a rejected line is kept whole up to this size; what is longer is cut, with a note of its length.
MAX_KEPT = 64 << 20
# A quoted text may run over this many lines. A quote left open must not swallow the rest of the file.
MAX_LINES_OF_A_RECORD = 200

NOT_TEXT = "wrong_encoding"
NUL = "nul_byte"
TOO_LONG = "line_too_long"
OPEN_QUOTE = "unclosed_quote"
RAGGED = "wrong_number_of_columns"
DAMAGED_GZIP = "damaged_gzip"

# Encodings of two byte orders, and how their texts begin when they say which.
_MARKED = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "\ufffd" + "".join(f"\\x{b:02x}" for b in bad), error.end


codecs.register_error("seg_assets_mark", _mark)


@dataclass
class FileSeal:
    """What was really read of a file: filled while it is read."""

    size: int = 0
    mtime_ns: int = 0
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
        """The lines from `start` on, or `length` of them."""
        return Lines(*(a.slice(start, length) for a in (self.number, self.text, self.problem)))

    def plus(self, other: "Lines") -> "Lines":
        """These lines followed by others."""
        return Lines(
            pa.concat_arrays([self.number, other.number]),
            pa.concat_arrays([self.text, other.text]),
            pa.concat_arrays([self.problem, other.problem]),
        )


def _raw_blocks(handle: BinaryIO, path: Path, seal: FileSeal) -> Iterator[bytes]:
    """Bytes of a file, unpacked when it is gzip; a damaged end is noted in the seal, not raised."""
    sha = hashlib.sha256()
    unpack = zlib.decompressobj(wbits=31) if path.name.lower().endswith(".gz") else None
    fresh = True
    while block := handle.read(BLOCK // 4 if unpack else BLOCK):
        sha.update(block)
        if unpack is None:
            yield block
            continue
        if seal.damaged:
            continue
        data = block
        try:
            while data:
                out = unpack.decompress(data, BLOCK)
                fresh = False
                if out:
                    yield out
                if unpack.eof:
                    data = unpack.unused_data
                    # Some tools pad the end with zeros, which gzip says to ignore.
                    data = b"" if not data.strip(b"\0") else data
                    unpack, fresh = zlib.decompressobj(wbits=31), True
                else:
                    data = unpack.unconsumed_tail
                    if not data:
                        break
        except zlib.error:
            seal.damaged = True
    if unpack is not None and not fresh:
        seal.damaged = True
    seal.sha256 = sha.hexdigest()


def _utf8_blocks(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The same text as UTF-8, without a byte order mark."""
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
    decoder = codecs.getincrementaldecoder(encoding)("seg_assets_mark")
    for block in blocks:
        text = decoder.decode(block)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        yield text.encode("utf-8", "backslashreplace")
    yield decoder.decode(b"", final=True).encode("utf-8", "backslashreplace")


def _whole_lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks that end at a line's end (the last one may not)."""
    carry: list[bytes] = []
    held = cut = 0
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
            room = MAX_KEPT - held
            carry.append(block[:room] if room > 0 else b"")
            held += len(carry[-1])
            cut += len(block) - len(carry[-1])
            continue
        if cut:
            first = block.index(b"\n")
            carry.append(b" ... [cut: %d more bytes]\n" % (cut + first))
            block, at = block[first + 1 :], at - first - 1
            cut = 0
        yield b"".join([*carry, block[: at + 1]])
        carry, held = [block[at + 1 :]], len(block) - at - 1
    if cut:
        carry.append(b" ... [cut: %d more bytes]" % cut)
    rest = b"".join(carry)
    if rest:
        yield rest


def _split(block: bytes, first: int, encoding: str, limit: int) -> Lines:
    """Lines of a block of whole lines, numbered from `first`."""
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
        problems.update(dict.fromkeys(np.flatnonzero(_mask(pc.match_substring(text, "\ufffd"))), NOT_TEXT))
    text = pc.ascii_rtrim(text, characters="\r\n")
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


def _mask(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)


def read_lines(path: Path, seal: FileSeal, encoding: str = "utf-8", limit: int = 1 << 20) -> Iterator[Lines]:
    """Physical lines of a file, in blocks; fills `seal` when it is read to its end.

    Raises:
        LandingError: the file cannot be opened or read.
    """
    number = 1
    try:
        with path.open("rb") as handle:
            stat = os.fstat(handle.fileno())
            seal.size, seal.mtime_ns = stat.st_size, stat.st_mtime_ns
            for block in _whole_lines(_utf8_blocks(_raw_blocks(handle, path, seal), encoding)):
                lines = _split(block, number, encoding, limit)
                number += len(lines)
                yield lines
    except OSError as error:
        raise LandingError(f"{path}: cannot be read: {error}; mend its permissions or remove it") from None
    if seal.damaged:
        text = "[the rest of this gzip file cannot be unpacked]"
        yield Lines(pa.array([number]), pa.array([text], pa.large_string()), pa.array([DAMAGED_GZIP], pa.string()))


# ---- JSON lines -----------------------------------------------------------------------------------------------


def jsonl_records(path: Path, seal: FileSeal, encoding: str = "utf-8", limit: int = 1 << 20) -> Iterator[pa.Table]:
    """Lines of a JSON lines file as tables (line, text, problem); blank lines are no lines."""
    for lines in read_lines(path, seal, encoding, limit):
        table = pa.table({LINE: lines.number, TEXT: lines.text, PROBLEM: lines.problem})
        yield table.filter(pc.not_equal(pc.ascii_trim_whitespace(lines.text), ""))


# ---- CSV --------------------------------------------------------------------------------------------------------


@dataclass
class CsvFile:
    """One CSV file as tables of records. `columns` is known once the first table came out.

    `needed` are the columns that a header must have: a lone first line that lacks one is a line, not a header.
    """

    path: Path
    options: CsvOptions
    encoding: str = "utf-8"
    limit: int = 1 << 20
    needed: Sequence[str] = ()
    columns: list[str] | None = None
    seal: FileSeal = field(default_factory=FileSeal)

    def __post_init__(self) -> None:
        self._header: Lines | None = None
        d, q, e = (re.escape(c) for c in (self.options.delimiter, self.options.quote, self.options.escape))
        if q:
            escaped = rf"|{e}[\s\S]" if e else ""
            inside = rf"(?:[^{q}{e}]|{q}{q}{escaped})*"
            bare = rf"[^{d}{q}\r\n]*"
            one = rf"(?:{q}{inside}{q}|{bare})"
            self._strict = rf"^{one}(?:{d}{one})*$"
            self.inside = re.compile(rf"(?:[^{q}{e}]+|{q}{q}{escaped})*")
            # A quote inside a bare text (5" pipe) is a character like any other.
            self.bare = re.compile(rf"[^{d}\r\n]*")
        else:
            self._strict = ""
            self.inside = self.bare = re.compile(rf"[^{d}]*")

    def records(self) -> Iterator[pa.Table]:
        """Tables of line, text, problem and one string column per column of the file."""
        if self.options.columns and not self.options.header:
            self.columns = unique_names(self.options.columns)
        held: Lines | None = None
        found = 0
        skip = self.options.skip
        blocks = read_lines(self.path, self.seal, self.encoding, self.limit)
        block = next(blocks, None)
        while block is not None:
            following = next(blocks, None)
            if skip and block.problem[0].as_py() != DAMAGED_GZIP:
                taken = min(skip, len(block))
                block, skip = block.slice(taken), skip - taken
            lines = held.plus(block) if held is not None else block
            table, held = self._cut(lines, last=following is None)
            if table is not None and len(table):
                found += len(table)
                yield table
            block = following
        if not found and self._header is not None and not self._is_header():
            header = self._header
            yield self._table(header.number, header.text, [None], header.problem)

    def _is_header(self) -> bool:
        have = {c.casefold() for c in self.columns or ()}
        return all(c.casefold() in have for c in self.needed)

    def _cut(self, lines: Lines, *, last: bool) -> tuple[pa.Table | None, Lines | None]:
        if self.columns is None:
            lines = self._take_header(lines)
            if self.columns is None:
                return None, None
        opt = self.options
        n = len(lines)
        if not n:
            return None, None
        sound = _mask(pc.is_null(lines.problem))
        blank = _mask(pc.equal(pc.ascii_trim_whitespace(lines.text), "")) & sound
        if opt.delimiter.isspace():
            blank = _mask(pc.equal(lines.text, "")) & sound
        odd = _mask(pc.match_substring(lines.text, "\r"))
        if opt.escape:
            odd |= _mask(pc.match_substring(lines.text, opt.escape))
        if opt.quote:
            quoted = np.flatnonzero(_mask(pc.match_substring(lines.text, opt.quote)) & ~odd & sound)
            if len(quoted):
                fine = _mask(pc.match_substring_regex(lines.text.take(pa.array(quoted)), self._strict))
                odd[quoted[~fine]] = True
        odd &= sound & ~blank
        fast = sound & ~blank & ~odd
        slow: list[tuple[int, str, list[str] | None, str | None]] = []
        free = 0
        keep_from = n
        for i in np.flatnonzero(odd):
            if i < free:
                continue
            used, text, fields, problem = self._assemble(lines, int(i), last=last)
            if used == 0:
                # The record may go on in the next block: look at it again from its first line.
                keep_from = int(i)
                break
            slow.append((int(i), text, fields, problem))
            if used > 1:
                fast[i + 1 : i + used] = False
                blank[i + 1 : i + used] = True
                sound[i + 1 : i + used] = True
            free = int(i) + used
        held = lines.slice(keep_from) if keep_from < n else None
        fast[keep_from:] = False
        parts = []
        chosen = np.flatnonzero(fast)
        if len(chosen):
            at = pa.array(chosen)
            some = (
                lines if len(chosen) == n else Lines(*(a.take(at) for a in (lines.number, lines.text, lines.problem)))
            )
            parts.append(self._parse_fast(some.number, some.text))
        if slow:
            numbers = lines.number.take(pa.array([s[0] for s in slow]))
            parts.append(self._table(numbers, [s[1] for s in slow], [s[2] for s in slow], [s[3] for s in slow]))
        bad = np.flatnonzero(~sound[:keep_from])
        if len(bad):
            at = pa.array(bad)
            parts.append(
                self._table(lines.number.take(at), lines.text.take(at), [None] * len(bad), lines.problem.take(at))
            )
        return (pa.concat_tables(parts) if parts else None), held

    def _take_header(self, lines: Lines) -> Lines:
        """Take the column names from the first line that is not blank."""
        for i in range(len(lines)):
            if lines.problem[i].as_py() == DAMAGED_GZIP:
                # nothing of the file could be unpacked: this line says so and names no columns
                self.columns = []
                return lines.slice(i)
            if lines.text[i].as_py().strip() == "":
                continue
            used, text, fields, _ = self._assemble(lines, i, last=True, header=True)
            names = self.options.columns or fields or text.split(self.options.delimiter)
            self.columns = unique_names(names)
            if used > 1 and not self._is_header():
                # a quote left open: the lines after it are not part of the header
                used, text = 1, lines.text[i].as_py()
                self.columns = unique_names(text.split(self.options.delimiter))
            one = lines.slice(i, 1)
            self._header = Lines(one.number, pa.array([text], pa.large_string()), one.problem)
            return lines.slice(i + used)
        return lines.slice(len(lines))

    def _assemble(
        self, lines: Lines, at: int, *, last: bool, header: bool = False
    ) -> tuple[int, str, list[str] | None, str | None]:
        """The record that starts at line `at`: lines used, text, fields, problem. 0 lines: needs the next block."""
        text = lines.text[at].as_py()
        alone = text
        wanted = None if header else len(self.columns or ())
        scan = _Scan(self)
        for used in range(1, MAX_LINES_OF_A_RECORD + 1):
            fields = scan.on(text)
            if fields is not None:
                if used > 1 and wanted is not None and len(fields) != wanted:
                    break
                ragged = wanted is not None and len(fields) != wanted
                return used, text, None if ragged else fields, RAGGED if ragged else None
            if scan.hopeless:
                break
            if at + used >= len(lines):
                if not last and len(text) < self.limit:
                    return 0, alone, None, None
                break
            if lines.problem[at + used].is_valid or len(text) > self.limit:
                break
            text += "\n" + lines.text[at + used].as_py()
        return 1, alone, None, OPEN_QUOTE

    def parse(self, text: str) -> list[str] | None:
        """Fields of one record's text; None when a quote is open or stands where it cannot."""
        return _Scan(self).on(text)

    def _parse_fast(self, number: pa.Array, text: pa.Array) -> pa.Table:
        """Parse records that are complete and well formed, with Arrow's reader; line numbers travel as a column."""
        opt, columns = self.options, self.columns or []
        mark, nothing, end_of_line = (pa.scalar(c, pa.large_string()) for c in (opt.delimiter, "", "\n"))
        joined = pc.binary_join_element_wise(number.cast(pa.large_string()), text, mark)
        joined = pc.binary_join_element_wise(joined, nothing, end_of_line)
        if isinstance(joined, pa.ChunkedArray):
            joined = joined.combine_chunks()
        start, end = (np.frombuffer(joined.buffers()[1], np.int64)[joined.offset + k] for k in (0, len(joined)))
        buffer = joined.buffers()[2].slice(int(start), int(end - start))
        longest = int(pc.max(pc.binary_length(joined)).as_py())
        ragged: list[int] = []

        def refuse(row: pacsv.InvalidRow) -> str:
            ragged.append(int(row.text.split(opt.delimiter, 1)[0].strip(opt.quote)))
            return "skip"

        names = [LINE, *columns]
        types = {c: pa.large_string() for c in columns} | {LINE: pa.int64()}
        parsed = pacsv.read_csv(
            pa.BufferReader(buffer),
            read_options=pacsv.ReadOptions(
                # threads for one block of lines cost a millisecond and win nothing
                column_names=names,
                block_size=max(1 << 20, 2 * longest + 64),
                use_threads=buffer.size > 1 << 20,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=opt.delimiter,
                quote_char=opt.quote or False,
                double_quote=True,
                escape_char=False,
                newlines_in_values=False,
                ignore_empty_lines=False,
                invalid_row_handler=refuse,
            ),
            convert_options=pacsv.ConvertOptions(column_types=types, strings_can_be_null=False, check_utf8=False),
        )
        if len(parsed) + len(ragged) != len(number):
            values = text.to_pylist()
            found = [self.parse(v) for v in values]
            problems = [OPEN_QUOTE if f is None else RAGGED if len(f) != len(columns) else None for f in found]
            fields = [f if p is None else None for f, p in zip(found, problems, strict=True)]
            return self._table(number, values, fields, problems)
        if not ragged:
            return _arranged(parsed, text, columns)
        bad = np.isin(number.to_numpy(), np.asarray(ragged, dtype=np.int64))
        good_at, bad_at = pa.array(np.flatnonzero(~bad)), pa.array(np.flatnonzero(bad))
        refused = self._table(number.take(bad_at), text.take(bad_at), [None] * len(bad_at), [RAGGED] * len(bad_at))
        return pa.concat_tables([_arranged(parsed, text.take(good_at), columns), refused])

    def _table(
        self,
        number: pa.Array,
        text: Sequence[str] | pa.Array,
        fields: Sequence[list[str] | None],
        problem: Sequence[str | None] | pa.Array,
    ) -> pa.Table:
        columns = self.columns or []
        data: dict[str, pa.Array] = {
            LINE: number,
            TEXT: text if isinstance(text, pa.Array) else pa.array(text, pa.large_string()),
            PROBLEM: problem if isinstance(problem, pa.Array) else pa.array(problem, pa.string()),
        }
        for k, column in enumerate(columns):
            data[column] = pa.array([None if f is None else f[k] for f in fields], pa.large_string())
        return pa.table(data)


class _Scan:
    """The fields of a record whose text may grow by lines; what was looked at once is not looked at again.

    `hopeless` when no line after it can complete the record: a quote stands where it cannot.
    """

    def __init__(self, file: CsvFile) -> None:
        self._file = file
        self._fields: list[str] = []
        self._start = 0  # of the field at hand
        self._quoted_to = 0  # how far that field was read, if it is quoted and open
        self.hopeless = False

    def on(self, text: str) -> list[str] | None:
        """The fields of the text, which goes on from the one before; None when a quote is open or is out of place."""
        file, opt = self._file, self._file.options
        while True:
            if opt.quote and text.startswith(opt.quote, self._start):
                end = _end(file.inside, text, self._quoted_to or self._start + 1)
                if not text.startswith(opt.quote, end):
                    # at the end of the text, or at an escape that ends it
                    self._quoted_to = end
                    return None
                value = text[self._start + 1 : end].replace(opt.quote * 2, opt.quote)
                end += 1
            else:
                end = _end(file.bare, text, self._start)
                value = text[self._start : end]
            if end < len(text) and text[end] != opt.delimiter:
                self.hopeless = True
                return None
            if opt.escape:
                value = re.sub(re.escape(opt.escape) + r"([\s\S])", r"\1", value)
            self._fields.append(value)
            self._start, self._quoted_to = end + 1, 0
            if end >= len(text):
                return self._fields


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _arranged(parsed: pa.Table, text: pa.Array, columns: list[str]) -> pa.Table:
    """Parsed rows, in line order, with the text of their lines."""
    data = {LINE: parsed[LINE], TEXT: text, PROBLEM: pa.nulls(len(parsed), pa.string())}
    data.update({c: parsed[c] for c in columns})
    return pa.table(data)


def unique_names(names: Sequence[str]) -> list[str]:
    """Column names as a table can have them: trimmed, none empty, none twice (upper and lower case are the same)."""
    taken = {LINE.casefold(), TEXT.casefold(), PROBLEM.casefold()}
    found = []
    for n, name in enumerate(names, 1):
        base = name.strip().replace("\x00", "") or f"column_{n}"
        candidate, k = base, 2
        while candidate.casefold() in taken:
            candidate, k = f"{base}_{k}", k + 1
        taken.add(candidate.casefold())
        found.append(candidate)
    return found
