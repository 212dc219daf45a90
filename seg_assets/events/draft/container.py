"""Look into a file of unknown make: container, encoding, delimiter and header, and some thousand rows as text.

What a file is says its beginning, never its ending. Of a large one the head, the middle and the tail are read. The
delimiter and the quote that DuckDB guesses are taken when our own splitter cuts the sample with them into rows of the
header's width; everything else about a file is ours to find out.

Not here: what the columns mean (`propose`).
"""

import codecs
import gzip
import json
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from seg_assets.core.errors import LandingError
from seg_assets.events.draft.values import DATA_OF_A_LINE
from seg_assets.events.formats.csv import CsvFile
from seg_assets.events.formats.names import LINE, PROBLEM, TEXT
from seg_assets.events.source import CsvOptions

# Bytes of head, middle and tail, each. Rows whose values are looked at, and how many cells at most.
PART = 1 << 19
MOST_ROWS, MOST_CELLS = 1500, 150_000
# No export of a shop is wider: Snowplow's has 131 columns, a shop of many custom fields some hundreds.
MOST_COLUMNS = 2000
# Characters of a file that decide about its delimiter and quote.
_FIRST = 1 << 16
# What our splitter must be able to cut, as a share of the rows of the head.
SOUND = 0.98
MOST_LINES_BEFORE_THE_HEADER = 10
# A file that unpacks to more than this many times its size is no export.
BOMB = 200

_MARKS = (",", ";", "\t", "|")
_NO_DATA = (
    (b"\xff\xd8\xff", "a photo (JPEG)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"%PDF", "a PDF document; export CSV instead"),
    (b"\xd0\xcf\x11\xe0", "an old workbook (.xls); save it as CSV"),
    (b"SQLite format 3", "a database (SQLite); export its tables as CSV"),
    (b"Obj\x01", "Avro, which is not read; export Parquet or JSON lines"),
    (b"ORC", "ORC, which is not read; export Parquet"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd, which is not read; unpack it, or pack it with gzip"),
    (b"BZh", "packed with bzip2, which is not read; unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "packed with xz, which is not read; unpack it, or pack it with gzip"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
)
_GZIP, _ZIP, _PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"


class NoDataError(LandingError):
    """A file that holds no rows that could be drafted: empty, a photo, an archive, out of reach."""


@dataclass
class FileSample:
    """What was seen of a file.

    relative: its name below the folder of all files, as a source names it.
    format: csv, jsonl or parquet; `json` for an array or a wrapped answer of an API.
    columns: names; of JSON, the paths of values (`customer.id`).
    rows: values as text, a row per record, in file order; at most MOST_ROWS.
    whole: whether the sample is all of the file. parts: the bytes that were read, cut at line ends.
    notes: what is odd about the file.
    """

    path: Path
    relative: str
    format: str
    size: int
    encoding: str = "utf-8"
    csv: CsvOptions = field(default_factory=CsvOptions)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    whole: bool = True
    parts: list[bytes] = field(default_factory=list)
    table: pa.Table | None = None
    notes: list[str] = field(default_factory=list)

    def values(self, column: str) -> list[str | None]:
        """Return the values of a column."""
        at = self.columns.index(column)
        return [row[at] for row in self.rows]

    def write(self, path: Path) -> None:
        """Write what was read as a file of the same format."""
        if self.table is not None:
            pq.write_table(self.table, path)
            return
        data = b"".join(part if part.endswith((b"\n", b"\r")) else part + b"\n" for part in self.parts)
        path.write_bytes(gzip.compress(data, mtime=0) if path.name.lower().endswith(".gz") else data)


def look_into(path: Path, relative: str | None = None) -> FileSample:
    """Return what can be seen of a file.

    Raises:
        NoDataError: saying what the file is, and what to do.
    """
    try:
        return _look_into(path, relative or path.name)
    except OSError as error:
        raise NoDataError(f"{path}: cannot be read: {error.strerror or error}; mend its permissions") from None


def _look_into(path: Path, relative: str) -> FileSample:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise NoDataError(f"{path}: no file; name files, or the folder of a shop with init --from")
    with path.open("rb") as handle:
        head = handle.read(PART)
    if not head.strip():
        raise NoDataError(f"{path}: empty; export it again")
    for magic, what in _NO_DATA:
        if head.startswith(magic):
            raise NoDataError(f"{path}: {what}")
    if head.startswith(_ZIP):
        raise NoDataError(f"{path}: {_archive(path)}")
    if head.startswith(_PARQUET):
        return _parquet(path, relative, status.st_size)
    packed = head.startswith(_GZIP)
    if packed != path.name.lower().endswith(".gz"):
        raise NoDataError(
            f"{path}: " + ("gzip without the ending .gz; rename it" if packed else "named .gz, and no gzip")
        )
    if packed:
        data = _unpacked(path, head)
        parts, whole = [data], len(data) < PART
        if whole and status.st_size > PART:
            whole = False
    else:
        parts, whole = _parts(path, head, status.st_size)
    return _text(path, relative, status.st_size, parts, whole=whole)


def _archive(path: Path) -> str:
    """Say what a zip archive is and what to do; nothing of it is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        return f"a damaged zip archive ({error}); download it again"
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names:
        return "a workbook, which is not read; save it as CSV"
    outside = next((n for n in names if n.startswith(("/", "\\")) or ".." in n.replace("\\", "/").split("/")), None)
    if outside is not None:
        return f"a zip archive whose member {outside[:100]!r} lies outside of it, so it is not to be trusted"
    if any(n.lower().endswith(".zip") for n in names):
        return "a zip archive that holds others; unpack all of them"
    size = sum(member.file_size for member in members)
    if size > BOMB * max(path.stat().st_size, 1):
        return f"a zip archive that would unpack to {size:,} bytes, {BOMB} times its size and more: not an export"
    shown = ", ".join(name[:60] for name in names[:3]) + (" .." if len(names) > 3 else "")
    return f"a zip archive of {len(names)} members ({shown}); unpack it and draft what it holds"


def _unpacked(path: Path, head: bytes) -> bytes:
    """Return the first bytes of a gzip file, unpacked."""
    out, data, unpack = b"", head, zlib.decompressobj(wbits=31)
    try:
        while data and len(out) < PART:
            out += unpack.decompress(data, PART - len(out))
            data = unpack.unused_data if unpack.eof else b""
            unpack = zlib.decompressobj(wbits=31) if unpack.eof else unpack
    except zlib.error as error:
        if not out:
            raise NoDataError(f"{path}: a damaged gzip file ({error}); download it again") from None
    if not out.strip():
        raise NoDataError(f"{path}: empty; export it again")
    if out.startswith((_GZIP, _ZIP, _PARQUET)):
        raise NoDataError(f"{path}: a packed file within gzip; unpack it once")
    return _whole_lines(out, start=True) if len(out) >= PART else out


def _parts(path: Path, head: bytes, size: int) -> tuple[list[bytes], bool]:
    """Return head, middle and tail of a file as whole lines, and whether they are all of it."""
    if size <= len(head):
        return [head], True
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return [head], False
    if size <= 3 * PART:
        return [path.read_bytes()], True
    parts = [_whole_lines(head, start=True)]
    with path.open("rb") as handle:
        for at in ((size - PART) // 2, size - PART):
            handle.seek(at)
            parts.append(_whole_lines(handle.read(PART), start=False))
    return [part for part in parts if part], False


def _whole_lines(data: bytes, *, start: bool) -> bytes:
    first = 0 if start else data.find(b"\n") + 1
    end = data.rfind(b"\n") + 1
    return data[first:end] if end > first else data if start else b""


# ---- text ------------------------------------------------------------------------------------------------------------


def _text(path: Path, relative: str, size: int, parts: list[bytes], *, whole: bool) -> FileSample:
    encoding, note = _encoding(parts)
    texts = [part.decode(encoding, "replace").removeprefix("\ufeff") for part in parts]
    if texts[0].count("\0") > 0:
        raise NoDataError(f"{path}: no text (it holds NUL bytes); export CSV, JSON lines or Parquet")
    sample = FileSample(path, relative, "csv", size, encoding, whole=whole, parts=parts)
    if note:
        sample.notes.append(note)
    begin = texts[0].lstrip()
    width = max(begin.partition("\n")[0].count(mark) for mark in _MARKS) + 1
    if width > MOST_COLUMNS and begin[0] not in "[{":
        raise NoDataError(f"{path}: {width:,} columns, and at most {MOST_COLUMNS:,} are looked at; export fewer")
    if begin[:100].lower().startswith(("<!doctype", "<html", "<?xml")):
        raise NoDataError(f"{path}: a web page or XML, not an export; export CSV, JSON lines or Parquet")
    if begin.startswith("{") or (begin.startswith("[") and begin[1:].lstrip()[:1] in ("{", "[", "]")):
        _json(sample, texts)
    else:
        _csv(sample, texts)
    if len(sample.columns) > MOST_COLUMNS:
        raise NoDataError(
            f"{path}: {len(sample.columns):,} columns, and at most {MOST_COLUMNS:,} are looked at; export fewer"
        )
    if not sample.rows:
        raise NoDataError(f"{path}: a header without a line below it; export days with orders")
    return sample


def _encoding(parts: Sequence[bytes]) -> tuple[str, str]:
    """Return the encoding of a text, and a note where it is a guess."""
    head = parts[0]
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32", ""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", ""
    odd, even = head[1:2000:2].count(0), head[0:2000:2].count(0)
    if max(odd, even) > 300 and min(odd, even) < 20:
        return ("utf-16-le" if odd > even else "utf-16-be"), "encoding: UTF-16 without a mark, by its NUL bytes"
    for part in parts:
        try:
            # A character may be cut at the end of the sample.
            codecs.getincrementaldecoder("utf-8")().decode(part)
        except UnicodeDecodeError:
            windows = any(0x80 <= byte <= 0x9F for byte in part)
            return ("cp1252" if windows else "latin-1"), "encoding: no UTF-8; a guess, look at the first umlauts"
    return "utf-8", ""


def _csv(sample: FileSample, texts: Sequence[str]) -> None:
    """Find delimiter, quote and header, and cut the sample into rows."""
    with tempfile.TemporaryDirectory(prefix="seg_assets_draft_") as folder:
        file = Path(folder) / "part.csv"
        file.write_text(texts[0], "utf-8", newline="")
        head = Path(folder) / "head.csv"
        head.write_text(_first_lines(texts[0]), "utf-8", newline="")
        options, sound = _dialect(head, texts[0])
        if options is None:
            raise NoDataError(
                f"{sample.path}: neither delimited columns, JSON lines nor Parquet: no delimiter of , ; tab | cuts it "
                "into rows of one width"
            )
        cut = CsvFile(file, options)
        rows = [row for row, problem in _rows(cut) if problem is None]
        columns = cut.columns or []
        if _no_header(columns, rows):
            names = tuple(f"column_{n}" for n in range(1, len(columns) + 1))
            options = options.model_copy(update={"header": False, "columns": names})
            rows.insert(0, list(columns))
            columns = list(names)
            sample.notes.append("header: none, by the first line's values; name the columns in csv.columns")
        if sound < 1:
            sample.notes.append(f"{1 - sound:.1%} of the first rows have another number of columns, and are refused")
        parts = [rows]
        for text in texts[1:]:
            file.write_text(text, "utf-8", newline="")
            part = CsvFile(file, options.model_copy(update={"header": False, "columns": tuple(columns), "skip": 0}))
            parts.append([row for row, problem in _rows(part) if problem is None])
    again = [row for part in parts for row in part if [v or "" for v in row] == list(columns)]
    if again:
        sample.notes.append(
            f"the header stands {len(again) + 1} times in the sample; the further ones are refused lines"
        )
        parts = [[row for row in part if [v or "" for v in row] != list(columns)] for part in parts]
    sample.csv, sample.columns, sample.rows = options, columns, _spread(parts, len(columns))


def _first_lines(text: str) -> str:
    return text if len(text) < _FIRST else text[: text.rfind("\n", 0, _FIRST) + 1] or text


def _dialect(head: Path, text: str) -> tuple[CsvOptions | None, float]:
    """Return delimiter, quote and lines before the header, and the share of rows that they cut well."""
    guessed, quote = _sniffed(head)
    marks = [guessed] if guessed else []
    marks += [mark for mark in _MARKS if mark not in marks and mark in text]
    quotes = list(dict.fromkeys([quote or '"', '"', ""]))
    best: tuple[float, int, CsvOptions | None] = (0.0, 1, None)
    for mark in marks:
        for one in quotes:
            if mark == one:
                continue
            plain = CsvOptions(delimiter=mark, quote=one)
            for skip in dict.fromkeys((0, _before_the_header(head, plain))):
                options = plain.model_copy(update={"skip": skip})
                file = CsvFile(head, options)
                problems = [problem for _, problem in _rows(file)]
                width = len(file.columns or [])
                if width < 2:
                    continue
                # A header alone is well cut by what cuts it into most columns.
                sound = problems.count(None) / len(problems) if problems else 0.9
                if sound >= SOUND:
                    return options, sound
                best = max(best, (sound, width, options), key=lambda b: b[:2])
    return (best[2], best[0]) if best[0] > 0.5 else (None, 0.0)


def _sniffed(head: Path) -> tuple[str, str]:
    """Return DuckDB's guess of delimiter and quote; empty texts where it has none that could be ours."""
    with duckdb.connect(":memory:") as con:
        try:
            row = con.execute("select Delimiter, Quote from sniff_csv(?, all_varchar := true)", [str(head)]).fetchone()
        except duckdb.Error:
            return "", ""
    mark, quote = row or ("", "")
    fine = mark == "\t" or (len(mark) == 1 and 31 < ord(mark) < 127 and not mark.isalnum())
    return (mark if fine else ""), (quote if quote in ('"', "'") else "")


def _before_the_header(head: Path, options: CsvOptions) -> int:
    """Return how many lines stand before the first one that has as many columns as most."""
    with head.open(encoding="utf-8", newline="") as handle:
        lines = [line for line, _ in zip(handle, range(200), strict=False)]
    counts = [line.count(options.delimiter) for line in lines]
    common = max(set(counts), key=lambda c: (counts.count(c), c), default=0)
    at = counts.index(common) if common else 0
    return at if at <= MOST_LINES_BEFORE_THE_HEADER else 0


def _rows(file: CsvFile) -> Iterator[tuple[list[str | None], str | None]]:
    """Yield the rows of a file in its order, each with what is wrong with it."""
    for table in file.tables():
        names = [c for c in table.column_names if c not in (LINE, TEXT, PROBLEM)]
        table = table.sort_by(LINE)
        columns = [table[c].to_pylist() for c in names]
        problems = table[PROBLEM].to_pylist()
        for n, problem in enumerate(problems):
            yield [column[n] for column in columns], problem


def _no_header(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> bool:
    """Say whether the first line holds values like those below it: times, numbers, ids of machines."""
    alike = 0
    for n, name in enumerate(columns):
        if DATA_OF_A_LINE.fullmatch(name.strip()):
            below = [row[n] for row in rows[:50] if row[n]]
            alike += bool(below) and all(DATA_OF_A_LINE.fullmatch((v or "").strip()) for v in below)
    return alike > 0


def _spread(parts: Sequence[list[list[str | None]]], width: int) -> list[list[str | None]]:
    """Return the first rows of each part, as many of all as may be looked at."""
    most = min(MOST_ROWS, max(MOST_CELLS // max(width, 1), 50))
    rest = len(parts) - 1
    share = most if not rest else most // 2
    rows = parts[0][:share]
    for part in parts[1:]:
        rows += part[: (most - share) // rest]
    return rows


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _json(sample: FileSample, texts: Sequence[str]) -> None:
    """Read JSON lines; else an array or an answer of an API as far as the sample goes."""
    sample.format = "jsonl"
    records: list[list[dict[str, Any]]] = []
    bad = 0
    for text in texts:
        records.append([])
        for line in text.splitlines()[:MOST_ROWS]:
            if not line.strip():
                continue
            value = _loaded(line)
            if isinstance(value, dict):
                records[-1].append(value)
            else:
                bad += 1
    good = sum(map(len, records))
    if not good or bad > good or (good == 1 and _wrapped(records[0][0])):
        sample.format, records = "json", [_records_of(texts[0])]
        if not records[0]:
            raise NoDataError(f"{sample.path}: begins like JSON, and is none; export JSON lines, one object per line")
    elif bad:
        sample.notes.append(f"{bad} of the first {good + bad} lines are no JSON objects, and are refused")
    flat = [[_flat(record) for record in part] for part in records]
    sample.columns = list(dict.fromkeys(key for part in flat for record in part for key in record))
    parts: list[list[list[str | None]]] = [[[r.get(c) for c in sample.columns] for r in part] for part in flat]
    sample.rows = _spread(parts, len(sample.columns))


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wrapped(record: dict[str, Any]) -> bool:
    """Say whether an object is an answer that holds the records: {"orders": [..]}."""
    lists = [v for v in record.values() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v[:5])]
    return len(record) <= 5 and len(lists) == 1 and not any(isinstance(v, str) and len(v) > 60 for v in record.values())


def _records_of(text: str) -> list[dict[str, Any]]:
    """Return the first objects of an array, or of the one array that an object holds."""
    begin = text.find("[")
    if begin < 0:
        value = _loaded(text)
        return [value] if isinstance(value, dict) else []
    decoder, at, out = json.JSONDecoder(), begin + 1, []
    while len(out) < MOST_ROWS:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        if isinstance(value, dict):
            out.append(value)
    return out


def _flat(record: dict[str, Any], before: str = "", depth: int = 0) -> dict[str, str | None]:
    """Return the values of an object by path, as text; arrays stay JSON."""
    out: dict[str, str | None] = {}
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value and depth < 4 and "." not in key:
            out |= _flat(value, f"{name}.", depth + 1)
        elif value is None or isinstance(value, str):
            out[name] = value
        else:
            out[name] = json.dumps(value, ensure_ascii=False)
    return out


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def _parquet(path: Path, relative: str, size: int) -> FileSample:
    try:
        with pq.ParquetFile(path) as file:
            groups, names = file.num_row_groups, file.schema_arrow.names
            if len(names) > MOST_COLUMNS:
                raise NoDataError(
                    f"{path}: {len(names):,} columns, and at most {MOST_COLUMNS:,} are looked at; export fewer"
                )
            most = min(MOST_ROWS, max(MOST_CELLS // max(len(names), 1), 50))
            chosen = sorted({0, groups // 2, groups - 1}) if groups else []
            batches = [next(file.iter_batches(most // len(chosen), row_groups=[g]), None) for g in chosen]
            table = pa.Table.from_batches([b for b in batches if b is not None], file.schema_arrow)
            whole = len(table) == file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise NoDataError(f"{path}: a damaged Parquet file ({str(error).splitlines()[0]}); export it again") from None
    if not len(table):
        raise NoDataError(f"{path}: a Parquet file without rows; export days with orders")
    sample = FileSample(path, relative, "parquet", size, whole=whole, table=table)
    records = [_flat(record) for record in _as_texts(table)]
    sample.columns = list(dict.fromkeys(key for record in records for key in record))
    sample.rows = [[record.get(c) for c in sample.columns] for record in records]
    return sample


def _as_texts(table: pa.Table) -> Iterator[dict[str, Any]]:
    for record in table.to_pylist():
        yield {
            key: value if value is None or isinstance(value, str | dict | bool | int | float) else str(value)
            for key, value in json.loads(json.dumps(record, default=str)).items()
        }
