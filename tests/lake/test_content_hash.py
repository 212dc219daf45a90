"""The content hash of rows is a fact of its kind: a DuckDB of the same series that hashes otherwise is noticed here."""

import duckdb

from seg_assets.lake import content_hash
from seg_assets.lake.content_hash import content_of

ROWS = """
    create temp table every_type as select * from (values
        ('o''brien', 1::bigint, 2::integer, 1.5::double, 1.10::decimal(18, 2), true, date '2024-01-31',
         timestamptz '2024-01-31 10:00:00+00', timestamp '2024-01-31 10:00:00', ['a', null],
         {'column': 'x', 'score': 0.5::double}),
        (null, null, null, 'nan'::double, null, null, null, null, null, null, null)
    ) as t (a, b, c, d, e, f, g, h, i, j, k)
"""


def test_every_column_type_hashes_as_it_did_when_this_kind_was_named():
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    con.execute(ROWS)
    assert content_hash.HASH_KIND == "duckdb-2.0/xor-sum-1"
    assert content_of(con, "every_type") == (2, "519d1014bb313d2b")
