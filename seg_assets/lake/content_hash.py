"""Hash the rows of a table, whatever their order, and name the kind of that hash.

Not here: hashes of JSON values (`core.digests`), and the checksum of a file's bytes (`lake.checksum`).
"""

import duckdb

from seg_assets.core.digests import digest
from seg_assets.core.sql import identifier, literal

# What decides the hash of given rows: DuckDB's own `hash`, which no document keeps stable between its releases, and the
# formula below. Hashes of two kinds say nothing about each other.
_FORMULA = "xor-sum-1"
HASH_KIND = f"duckdb-{'.'.join(duckdb.__version__.split('.')[:2])}/{_FORMULA}"
# The kind of every file whose footer names none.
FIRST_KIND = f"duckdb-2.0/{_FORMULA}"


def content_of(con: duckdb.DuckDBPyConnection, source: str) -> tuple[int, str]:
    """Return (rows, content hash) of a table of `con`."""
    return con.execute(content_hash_sql(con, source)).fetchone() or (0, "")


def content_hash_sql(con: duckdb.DuckDBPyConnection, source: str) -> str:
    """Return SQL that gives (rows, content hash) of a table of `con`, whatever the order of its rows.

    The hash covers column names, types and the multiset of rows: two aggregates of 64-bit row hashes (a xor, in which
    duplicates cancel, and a sum, in which they do not).
    """
    schema = con.execute(f"describe {identifier(source)}").fetchall()
    shape = digest([(row[0], row[1]) for row in schema])
    columns = ", ".join('"' + row[0].replace('"', '""') + '"' for row in schema)
    return (
        f"select count(*), substr(sha256(concat_ws('|', {literal(shape)}, count(*), "
        f"coalesce(bit_xor(hash({columns})), 0), coalesce(sum(hash({columns})::hugeint), 0))), 1, 16) "
        f"from {identifier(source)}"
    )
