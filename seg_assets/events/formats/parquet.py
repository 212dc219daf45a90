"""Read a Parquet file as tables of records: every row comes out once, rejected if an engine cannot hold its values.

Arrow reads texts that are no UTF-8 and times beyond what a microsecond timestamp reaches as they stand; in DuckDB one
of them fails the query, some the whole database. So they are looked for, taken out, and their rows rejected.

Not here: what the values mean (`events.mapping`).
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg_assets.core.errors import LandingError
from seg_assets.events.formats.lines import BytesRead
from seg_assets.events.formats.names import LINE, NOT_TEXT, OUT_OF_RANGE, PROBLEM, TEXT, unique_names

# Rows read at once.
ROWS = 500_000
# Microseconds from 1970 back to the first instant that DuckDB holds (290309 BC); the last one is farther away.
_REACH = 9_223_372_022_400_000_000
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_UNITS_OF_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def parquet_tables(
    path: Path, read: BytesRead, con: duckdb.DuckDBPyConnection
) -> Iterator[tuple[pa.Table, dict[str, str]]]:
    """Yield rows of a file with line, text (of refused ones) and problem, and the column types as DuckDB calls them.

    The file is opened once, and hashed and read by way of that handle: one that is renamed into its place meanwhile is
    another file, which the next look at the landing folder notices.

    Args:
        path: the file.
        read: gets the hash and the size of what was read.
        con: the connection whose names for types are wanted.

    Raises:
        LandingError: the file cannot be read, was written to while it was read, or has a column of a type that DuckDB
            does not know.
    """
    try:
        with path.open("rb") as handle, pq.ParquetFile(handle) as file:
            before = _state_of(handle)
            handle.seek(0)
            read.sha256, read.size = hashlib.file_digest(handle, "sha256").hexdigest(), before[0]
            names = unique_names(file.schema_arrow.names)
            line = 1
            for batch in file.iter_batches(batch_size=ROWS):
                table = _records(names, batch, line)
                line += len(batch)
                yield table, _column_types(path, table, names, con)
            if _state_of(handle) != before:
                raise LandingError(f"{path}: was written to while it was read; deliver files under another name first")
    except (OSError, pa.ArrowException) as error:
        raise LandingError(f"{path}: cannot be read as Parquet: {error}; deliver it again") from None


def _state_of(handle: BinaryIO) -> tuple[int, int]:
    """Return the size of an open file and when it was last written to, in nanoseconds."""
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns


def _records(names: list[str], batch: pa.RecordBatch, first: int) -> pa.Table:
    """Return a batch as a table of records numbered from `first`, without the values that DuckDB cannot hold."""
    n = len(batch)
    columns = [_plain(c) for c in batch.columns]
    problems: dict[int, str] = {}
    sound = []
    for column in columns:
        bad = np.zeros(n, dtype=bool)
        for reason, rows in _faults(column).items():
            bad |= rows
            problems = {**dict.fromkeys(np.flatnonzero(rows).tolist(), reason), **problems}
        sound.append(column.take(pa.array(np.arange(n), mask=bad)) if bad.any() else column)
    texts = {i: _row_text({c: v[i] for c, v in zip(names, columns, strict=True)}) for i in problems}
    data = {
        LINE: pa.array(np.arange(first, first + n, dtype=np.int64)),
        TEXT: pa.array(map(texts.get, range(n)), pa.large_string()) if texts else pa.nulls(n, pa.large_string()),
        PROBLEM: pa.array(map(problems.get, range(n)), pa.string()) if problems else pa.nulls(n, pa.string()),
    }
    return pa.table(data | dict(zip(names, sound, strict=True)))


def _row_text(row: dict[str, pa.Scalar]) -> str:
    return json.dumps({name: _as_json(value) for name, value in row.items()}, ensure_ascii=False, default=str)


def _plain(column: pa.Array) -> pa.Array:
    """Return times with a zone in microseconds: DuckDB's nanosecond type with one has no arithmetic and few casts."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns" and kind.tz is not None:
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column


def _faults(array: pa.Array) -> dict[str, np.ndarray]:
    """Return which rows hold a value that DuckDB cannot, by reason."""
    kind = array.type
    if pa.types.is_struct(kind):
        faults: dict[str, np.ndarray] = {}
        for child in array.flatten():
            for reason, rows in _faults(child).items():
                faults[reason] = faults.get(reason, np.zeros(len(array), dtype=bool)) | rows
        return faults
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        parents = pc.list_parent_indices(array).to_numpy()
        return {
            reason: np.isin(np.arange(len(array)), parents[rows]) for reason, rows in _faults(array.flatten()).items()
        }
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return {NOT_TEXT: np.array([value.is_valid and not _is_text(value) for value in array])}
        return {}
    limits: tuple[int, int] | None = None
    if (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit in _MICROSECONDS:
        limits = -(_REACH // _MICROSECONDS[kind.unit]), _REACH // _MICROSECONDS[kind.unit]
    elif pa.types.is_time(kind):
        limits = 0, _UNITS_OF_A_DAY[kind.unit]
    if limits is None:
        return {}
    number = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    outside = pc.or_(pc.less(number, limits[0]), pc.greater(number, limits[1])).fill_null(False)
    rows = outside.to_numpy(zero_copy_only=False)
    return {OUT_OF_RANGE: rows} if rows.any() else {}


def _is_text(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _as_json(value: pa.Scalar) -> Any:
    """Return a value as JSON can show it, also a broken one."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        if isinstance(value, pa.StringScalar | pa.LargeStringScalar | pa.StringViewScalar):
            return value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    except (ValueError, OverflowError):
        if isinstance(value, pa.TimestampScalar | pa.DurationScalar | pa.Time32Scalar | pa.Time64Scalar):
            return f"{value.value} {value.type}"
    return f"[a {value.type} that cannot be told]"


def _column_types(path: Path, table: pa.Table, names: list[str], con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the column types as DuckDB calls them.

    Raises:
        LandingError: naming the column whose type DuckDB does not know.
    """
    try:
        return _described(table, con)
    except duckdb.Error:
        for name in names:
            try:
                _described(table.select([name]), con)
            except duckdb.Error:
                raise LandingError(
                    f"{path}: column {name} is of type {table.schema.field(name).type}, which DuckDB cannot read; "
                    "cast it on export, for example to double, decimal(38, 2) or text"
                ) from None
        raise


def _described(table: pa.Table, con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    con.register("seg_shape", table)
    try:
        return {
            name: kind
            for name, kind, *_ in con.execute("describe seg_shape").fetchall()
            if name not in (LINE, TEXT, PROBLEM)
        }
    finally:
        con.unregister("seg_shape")
