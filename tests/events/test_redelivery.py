"""What is delivered again adds nothing, whatever else the second delivery says (docs/sources.md)."""

import datetime as dt
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets.core.tables import TABLES
from tests.events.landing_zone import Landing

SHOP = """
name: shop
feeds:
  f:
    files: "{day}*.%s"
    columns: {event_time: at, event_type: kind, user_id: user, amount: amount}
"""
ROWS = [
    {
        "at": "2024-03-04T10:00:00Z",
        "kind": "purchase",
        "user": f"u{n % 2}",
        "amount": 10 + n // 2,
        "till": {"b": 1},
        "aa": n % 3,
    }
    for n in range(6)
]
# Two of the same in one basket, told apart by nothing that is mapped.
ROWS += [ROWS[0], {**ROWS[0], "aa": 7}]


def put(shop: Landing, name: str, rows: list[dict]) -> None:
    if name.endswith("jsonl"):
        shop.put(name, "\n".join(map(json.dumps, rows)))
    elif name.endswith("parquet"):
        pq.write_table(pa.table({c: [str(r[c]) for r in rows] for c in rows[0]}), shop.root / name)
    else:
        text = "\n".join(",".join(f'"{r[c]}"' for c in rows[0]) for r in rows)
        shop.put(name, ",".join(rows[0]) + "\n" + text.replace("'", "") + "\n")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("again", ["key order", "export time", "line order"])
def test_a_second_delivery_adds_no_event_and_no_money(tmp_path, ending, again):
    shop = Landing(tmp_path, SHOP % ending)
    first = [{**r, "exported_at": "2024-03-05"} for r in ROWS]
    put(shop, f"2024-03-04.{ending}", first)
    once = shop.read()
    second = {
        "key order": [dict(reversed(r.items())) for r in first],
        "export time": [{**r, "exported_at": "2024-03-06", "extracted": 1} for r in first],
        "line order": first[::-1],
    }[again]
    put(shop, f"2024-03-04.again.{ending}", second)
    twice = shop.read()
    assert len(once.accepted) == len(ROWS)
    assert [r["event_id"] for r in twice.accepted] == [r["event_id"] for r in once.accepted]
    assert sum(r["amount"] for r in twice.accepted) == sum(r["amount"] for r in once.accepted)
    if again != "export time":
        assert twice.accepted == once.accepted


def test_extra_of_json_is_sorted_by_key(tmp_path):
    shop = Landing(tmp_path, SHOP % "jsonl")
    odd = {"z/~": 1, 'q"u\\': {"b": 1, "a": [1, None]}, "": None, "é": "x"}
    put(shop, "2024-03-04.jsonl", [{**ROWS[0], **odd}])
    (row,) = shop.read().accepted
    extra = json.loads(row["extra"])
    assert list(extra) == sorted(extra)
    assert extra == {"till": {"b": 1}, "aa": 0, **odd}


def test_lakes_with_ids_of_the_old_kind_are_named_as_written_by_another_version():
    for table in ("landed_files", "rejected_events", "raw_events", "raw_users", "raw_products"):
        assert int(TABLES[table].code_version) >= 2, table


def test_a_macs_second_file_is_not_read(tmp_path):
    shop = Landing(tmp_path, SHOP.replace("{day}*", "*{day}*") % "parquet")
    put(shop, "2024-03-04.parquet", ROWS)
    shop.put("._2024-03-04.parquet", b"\0\5\x16\7Mac OS X")
    assert len(shop.read(dt.date(2024, 3, 4)).accepted) == len(ROWS)
    assert not shop.source.feeds["f"].matches("._2024-03-04.parquet")
