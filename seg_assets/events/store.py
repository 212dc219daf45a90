"""Own the temporary tables that a read of landing files fills: their names, their columns, and how rows get into them.

Who queries what was read uses the names below.

Not here: what is computed between the tables (`events.day`, `events.users_products`, `events.many_days`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from seg_assets.core.sql import identifier, literal
from seg_assets.events.accounts import Rejections
from seg_assets.events.mapping import FeedMapping, RecordShape

# What `Reader.read_day` leaves: the rows of raw_events, rejected_events and landed_files, with their columns.
ACCEPTED, REJECTED, FILES = "seg_accepted", "seg_rejected", "seg_files"
# What `Reader.read_table` leaves: rows of the day's users or products files, and their rejected lines.
TABLE_ROWS, TABLE_REJECTED = "seg_table", "seg_table_rejected"
# Records of a file, and what the mapping makes of them.
CHUNK, MAPPED = "seg_chunk", "seg_mapped"
_INCOMING = "seg_incoming"
# Rows of an Arrow batch: DuckDB spreads batches over its threads.
BATCH = 60_000


def column_names(contract: Mapping[str, str]) -> str:
    """Return the columns of a contract as a SQL list."""
    return ", ".join(identifier(c) for c in contract)


def column_types(contract: Mapping[str, str]) -> str:
    """Return the columns of a contract with their types, as `create table` wants them."""
    return ", ".join(f"{identifier(c)} {kind}" for c, kind in contract.items())


def close_file_access(con: duckdb.DuckDBPyConnection, *folders: Path) -> None:
    """Close the file system to a connection, but for these folders. What a source says in SQL runs after this.

    The expressions are checked when a source is loaded; this is the second lock on the same door.
    """
    allowed = ", ".join(literal(str(f)) for f in folders)
    con.execute(f"set allowed_directories = [{allowed}]")
    con.execute("set enable_external_access = false")


def insert_rows(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, first: str = "") -> None:
    """Insert all rows at once (one by one, two thousand take five seconds), after the SQL of a first column."""
    con.register(_INCOMING, rows)
    con.execute(f"insert into {table} select {first + ', ' if first else ''}* from {_INCOMING}")
    con.unregister(_INCOMING)


def map_records(
    con: duckdb.DuckDBPyConnection,
    mapping: FeedMapping,
    chunks: Iterable[tuple[RecordShape, pa.Table]],
    inserts: Sequence[str],
) -> None:
    """Map chunks of records into the table MAPPED, one after the other; `inserts` take its rows from there."""
    # A cast of a time without a zone uses the connection's.
    con.execute(f"set timezone = {literal(mapping.feed_zone)}")
    try:
        for shape, table in chunks:
            con.register(CHUNK, pa.Table.from_batches(table.to_batches(max_chunksize=BATCH), table.schema))
            try:
                con.execute(f"create or replace temp table {MAPPED} as {mapping.sql(con, shape, CHUNK)}")
            finally:
                con.unregister(CHUNK)
            for insert in inserts:
                con.execute(insert)
    finally:
        con.execute("set timezone = 'UTC'")
    con.execute(f"drop table if exists {MAPPED}")


def rejections(con: duckdb.DuckDBPyConnection, table: str) -> list[Rejections]:
    """Return the rejected lines of a table with the columns of rejected_events by reason, most frequent first."""
    rows = con.execute(
        "select reason, coalesce(field, ''), count(*) n, arg_min(source_file, (source_file, line)), "
        f"arg_min(line, (source_file, line)) from {table} group by 1, 2 order by n desc, 1, 2"
    ).fetchall()
    return [Rejections(*row) for row in rows]
