"""Read a CSV file as tables of records: every record comes out once, parsed or with the reason why not.

Lines that are plainly well formed go through Arrow's reader together; the others, those with a quote left open, an
escape or a lone carriage return, are put together and parsed one by one. Arrow's and DuckDB's readers do not see the
whole file: they know no line numbers of good rows, and lose or glue lines around broken quotes.

Not here: how bytes become physical lines (`lines`), and what an escape stands for (`escapes`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from seg_assets.events.formats.escapes import unescaped
from seg_assets.events.formats.lines import BytesRead, Lines, mask, read_lines
from seg_assets.events.formats.names import (
    DAMAGED_GZIP,
    LINE,
    NOT_TEXT,
    NUL,
    OPEN_QUOTE,
    PROBLEM,
    RAGGED,
    TEXT,
    unique_names,
)
from seg_assets.events.source import CsvOptions

# A quoted text may run over this many lines. A quote left open must not swallow the rest of the file.
MAX_LINES_OF_A_RECORD = 200
# The line that ends the data of PostgreSQL's COPY.
_END_OF_COPY = "\\."


class _Record(NamedTuple):
    """One record put together from physical lines: how many, their text, and its fields or what is wrong with it."""

    lines: int
    text: str
    fields: list[str | None] | None
    problem: str | None


@dataclass
class CsvFile:
    """One CSV file. `columns` is known once the first table came out, `read` when the last one did.

    `needed` are the columns that a header must have: a lone first line that lacks one is a line, not a header.
    `nulls` are the texts that mean nothing, in a file with an escape: they are compared before anything is unescaped.
    """

    path: Path
    options: CsvOptions
    encoding: str = "utf-8"
    limit: int = 1 << 20
    needed: Sequence[str] = ()
    nulls: Sequence[str] = ()
    columns: list[str] | None = None
    read: BytesRead = field(default_factory=BytesRead)

    def __post_init__(self) -> None:
        self._header: Lines | None = None
        opt = self.options
        d, q, e = (re.escape(c) for c in (opt.delimiter, opt.quote, opt.escape))
        escaped = rf"|{e}[\s\S]" if e else ""
        bare = rf"[^{d}{q}{e}\r\n]"
        inside = rf"[^{q}{e}]|{q}{q}"
        # What an escape may stand before for a line to mean what it says: in a dialect, only the N of a null.
        harmless = rf"{e}N" if opt.dialect else rf"(?:{bare}|{e}{bare})*" if e else ""
        one = rf"{bare}*" + (f"|{harmless}" if harmless else "")
        if q:
            one = rf"{q}(?:{inside}{rf'|{e}{bare}' if e and not opt.dialect else ''})*{q}|{one}"
        self._well_formed = rf"^(?:{one})(?:{d}(?:{one}))*$"
        self.inside = re.compile(rf"(?:[^{q}{e}]+|{q}{q}{escaped})*") if q else re.compile("")
        # A quote inside a bare text (5" pipe) is a character like any other.
        self.bare = re.compile(rf"(?:[^{d}{e}\r\n]+{escaped})*" if q else rf"(?:[^{d}{e}]+{escaped})*")

    def tables(self) -> Iterator[pa.Table]:
        """Yield tables of line, text, problem and one string column per column of the file."""
        if self.options.columns and not self.options.header:
            self.columns = unique_names(self.options.columns)
        unfinished: Lines | None = None
        records = 0
        skip = self.options.skip
        blocks = read_lines(self.path, self.read, self.encoding, self.limit)
        block = next(blocks, None)
        while block is not None:
            following = next(blocks, None)
            if skip and block.problem[0].as_py() != DAMAGED_GZIP:
                skipped = min(skip, len(block))
                block, skip = block.slice(skipped), skip - skipped
            lines = unfinished.plus(block) if unfinished is not None else block
            table, unfinished = self._parse(lines, last=following is None)
            if table is not None and len(table):
                records += len(table)
                yield table
            block = following
        if not records and self._header is not None and not self._is_header():
            header = self._header
            yield self._table(header.number, header.text, [None], header.problem)

    def _is_header(self) -> bool:
        have = {c.casefold() for c in self.columns or ()}
        return all(c.casefold() in have for c in self.needed)

    def _parse(self, lines: Lines, *, last: bool) -> tuple[pa.Table | None, Lines | None]:
        """Return the records of these lines, and the lines at the end whose record may go on in the next block."""
        if self.columns is None:
            lines = self._take_header(lines)
            if self.columns is None:
                return None, None
        end = len(lines)
        if not end:
            return None, None
        sound, plain, odd = self._look_at(lines)
        assembled: list[tuple[int, _Record]] = []
        free = 0  # the first line that is not part of an assembled record
        for i in map(int, np.flatnonzero(odd)):
            if i < free:
                continue
            record = self._assemble(lines, i, last=last)
            if record is None:
                end = i
                break
            assembled.append((i, record))
            free = i + record.lines
            plain[i:free] = False
        unfinished = lines.slice(end) if end < len(lines) else None
        plain[end:] = False
        parts = []
        if plain.any():
            chosen = lines if plain.all() else lines.take(np.flatnonzero(plain))
            parts.append(self._parse_plain(chosen.number, chosen.text))
        if assembled:
            numbers = lines.number.take(pa.array([i for i, _ in assembled]))
            _, texts, fields, problems = zip(*(record for _, record in assembled), strict=True)
            parts.append(self._table(numbers, texts, fields, problems))
        if not sound[:end].all():
            bad = lines.take(np.flatnonzero(~sound[:end]))
            parts.append(self._table(bad.number, bad.text, [None] * len(bad), bad.problem))
        return (pa.concat_tables(parts) if parts else None), unfinished

    def _look_at(self, lines: Lines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which lines have no problem, which of them are a record each, and which must be put together."""
        opt = self.options
        sound = mask(pc.is_null(lines.problem))
        empty = lines.text if opt.delimiter.isspace() else pc.ascii_trim_whitespace(lines.text)
        filled = sound & ~mask(pc.equal(empty, ""))
        if opt.dialect == "postgres_text":
            filled &= ~mask(pc.equal(lines.text, _END_OF_COPY))
        odd = mask(pc.match_substring(lines.text, "\r"))
        marked = np.zeros(len(lines), dtype=bool)
        for mark in filter(None, (opt.quote, opt.escape)):
            marked |= mask(pc.match_substring(lines.text, mark))
        looked_at = np.flatnonzero(marked & ~odd & sound)
        if len(looked_at):
            fine = mask(pc.match_substring_regex(lines.text.take(pa.array(looked_at)), self._well_formed))
            odd[looked_at[~fine]] = True
        return sound, filled & ~odd, filled & odd

    def _take_header(self, lines: Lines) -> Lines:
        """Take the column names from the first line that is not blank, and return the lines after it."""
        for i in range(len(lines)):
            if lines.problem[i].as_py() == DAMAGED_GZIP:
                # Nothing of the file could be unpacked: this line says so and names no columns.
                self.columns = []
                return lines.slice(i)
            if lines.text[i].as_py().strip() == "":
                continue
            record = self._assemble(lines, i, last=True, header=True)
            assert record is not None  # only a record that is not the last one waits for another block
            used, text = record.lines, record.text
            names = self.options.columns or record.fields or text.split(self.options.delimiter)
            self.columns = unique_names([name or "" for name in names])
            if used > 1 and not self._is_header():
                # A quote left open: the lines after it are not part of the header.
                used, text = 1, lines.text[i].as_py()
                self.columns = unique_names(text.split(self.options.delimiter))
            one = lines.slice(i, 1)
            self._header = Lines(one.number, pa.array([text], pa.large_string()), one.problem)
            return lines.slice(i + used)
        return lines.slice(len(lines))

    def _assemble(self, lines: Lines, at: int, *, last: bool, header: bool = False) -> _Record | None:
        """Return the record that starts at line `at`; None when the next block is needed to tell where it ends."""
        first = text = lines.text[at].as_py()
        wanted = None if header else len(self.columns or ())
        scan = _Scan(self, () if header else self.nulls)
        for used in range(1, MAX_LINES_OF_A_RECORD + 1):
            fields = scan.fields_of(text)
            if fields is not None:
                if wanted is None or len(fields) == wanted:
                    return _Record(used, text, None if scan.fault else fields, scan.fault)
                if used > 1:
                    break
                return _Record(used, text, None, RAGGED)
            if scan.hopeless:
                break
            if at + used >= len(lines):
                if not last and len(text) < self.limit:
                    return None
                break
            if lines.problem[at + used].is_valid or len(text) > self.limit:
                break
            text += "\n" + lines.text[at + used].as_py()
        return _Record(1, first, None, scan.open)

    def _parse_plain(self, number: pa.Array, text: pa.Array) -> pa.Table:
        """Parse records that are complete and well formed with Arrow's reader; line numbers travel as a column."""
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

        types = {c: pa.large_string() for c in columns} | {LINE: pa.int64()}
        parsed = pacsv.read_csv(
            pa.BufferReader(buffer),
            read_options=pacsv.ReadOptions(
                # Threads for one block of lines cost a millisecond and win nothing.
                column_names=[LINE, *columns],
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
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                null_values=list(self.nulls) if opt.escape else [],
                strings_can_be_null=bool(opt.escape),
                quoted_strings_can_be_null=not opt.dialect,
                check_utf8=False,
            ),
        )
        if len(parsed) + len(ragged) != len(number):
            texts = text.to_pylist()
            scanned = [_Scan(self, self.nulls).fields_of(t) for t in texts]
            problems = [OPEN_QUOTE if f is None else RAGGED if len(f) != len(columns) else None for f in scanned]
            fields = [f if p is None else None for f, p in zip(scanned, problems, strict=True)]
            return self._table(number, texts, fields, problems)
        if not ragged:
            return _with_texts(parsed, text)
        bad = np.isin(number.to_numpy(), np.asarray(ragged, dtype=np.int64))
        good_at, bad_at = pa.array(np.flatnonzero(~bad)), pa.array(np.flatnonzero(bad))
        refused = self._table(number.take(bad_at), text.take(bad_at), [None] * len(bad_at), [RAGGED] * len(bad_at))
        return pa.concat_tables([_with_texts(parsed, text.take(good_at)), refused])

    def _table(
        self,
        number: pa.Array,
        text: Sequence[str] | pa.Array,
        fields: Sequence[list[str | None] | None],
        problem: Sequence[str | None] | pa.Array,
    ) -> pa.Table:
        """Return records parsed one by one as a table like the others."""
        data: dict[str, pa.Array] = {
            LINE: number,
            TEXT: text if isinstance(text, pa.Array) else pa.array(text, pa.large_string()),
            PROBLEM: problem if isinstance(problem, pa.Array) else pa.array(problem, pa.string()),
        }
        for k, column in enumerate(self.columns or []):
            data[column] = pa.array([None if f is None else f[k] for f in fields], pa.large_string())
        return pa.table(data)


class _Scan:
    """Cut a record whose text may grow by lines into fields; what was looked at once is not looked at again.

    `hopeless` when no line after the last one can complete the record: a quote stands where it cannot. `open` says
    what is wrong with a record that is not complete, `fault` what is wrong with the texts of one that is.
    """

    def __init__(self, file: CsvFile, nulls: Sequence[str]) -> None:
        self._file = file
        self._nulls = nulls if file.options.escape else ()
        self._fields: list[str | None] = []
        self._start = 0  # of the field at hand
        self._quoted_to = 0  # how far that field was read, if it is quoted and open
        self.hopeless = False
        self.open = OPEN_QUOTE
        self.fault: str | None = None

    def fields_of(self, text: str) -> list[str | None] | None:
        """Return the fields of a text that begins with the one before; None when a quote is open or out of place."""
        file, opt = self._file, self._file.options
        while True:
            quoted = False
            if opt.quote and text.startswith(opt.quote, self._start):
                end = _end_of(file.inside, text, self._quoted_to or self._start + 1)
                if not text.startswith(opt.quote, end):
                    # At the end of the text, or at an escape that ends it.
                    self._quoted_to = end
                    return None
                quoted, value = True, text[self._start + 1 : end]
                end += 1
            else:
                end = _end_of(file.bare, text, self._start)
                value = text[self._start : end]
                if opt.escape and end == len(text) - 1 and text[end] == opt.escape:
                    # The line break belongs to the text.
                    self.open = RAGGED
                    return None
            if end < len(text) and text[end] != opt.delimiter:
                self.hopeless = True
                return None
            self._fields.append(self._meaning(value, quoted=quoted))
            self._start, self._quoted_to = end + 1, 0
            if end >= len(text):
                return self._fields

    def _meaning(self, value: str, *, quoted: bool) -> str | None:
        """Return what a field stands for: null, or its text without escapes."""
        opt = self._file.options
        if value in self._nulls and not (quoted and opt.dialect):
            return None
        if quoted:
            value = value.replace(opt.quote * 2, opt.quote)
        if opt.escape and opt.escape in value:
            value, damaged = unescaped(value, opt)
            self.fault = self.fault or (NOT_TEXT if damaged else NUL if "\0" in value else None)
        return value


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _with_texts(parsed: pa.Table, text: pa.Array) -> pa.Table:
    """Return parsed rows, in line order, with the text of their lines."""
    columns = {c: parsed[c] for c in parsed.column_names}
    return pa.table({LINE: columns.pop(LINE), TEXT: text, PROBLEM: pa.nulls(len(parsed), pa.string()), **columns})
