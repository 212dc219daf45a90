"""The text of an id is the same, whatever format it came in and whichever way that format writes a number."""

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets.events.formats.jsonl import plain_numbers
from tests.events.landing_zone import Landing, connection

SHOP = """
name: shop
feeds:
  f:
    files: "{day}.%s"
    event_type: view_item
    columns: {event_id: id, event_time: at, user_id: user, anonymous_id: anon, product_id: product, order_id: basket,
              session_id: visit, category: cat}
users:
  files: users.%s
  columns: {user_id: user}
"""
COLUMNS = ("user", "product", "basket", "visit", "cat")
CONTRACT = ("user_id", "product_id", "order_id", "session_id", "category")


def lines(*values: str) -> str:
    """One event a value, in every id, as the text of a JSON number."""
    return "\n".join(
        json.dumps({"id": f"e{n}", "at": "2024-03-04T10:00:00Z", "anon": "a"})[:-1]
        + "".join(f', "{c}": {value}' for c in COLUMNS)
        + "}"
        for n, value in enumerate(values)
    )


@pytest.fixture
def read_json(tmp_path):
    def read(*values: str) -> list[str | None]:
        shop = Landing(tmp_path, SHOP.split("users:")[0] % "jsonl")
        shop.put("2024-03-04.jsonl", lines(*values))
        rows = shop.read().accepted
        for row in rows:
            assert len({row[c] for c in CONTRACT}) == 1, "the same rule for every id"
        return [row["user_id"] for row in sorted(rows, key=lambda r: int(r["event_id"][1:]))]

    return read


@pytest.mark.parametrize(("written", "text"), [
    ("4711", "4711"), ("4711.0", "4711"), ("4711.000", "4711"), ("-3.0", "-3"), ("0.0", "0"),
    ("1.2345678E7", "12345678"),
    ("1e5", "100000"), ("1E+05", "100000"), ("471100e-2", "4711"), ("NaN", None), ("nan", None), ("Infinity", None),
    ("-Infinity", None), ("76561198000000001.0", "76561198000000001"),
    ("7.6561198000000001e16", "76561198000000001"),
    ("76561198000000000000000001", "76561198000000000000000001"), ("47.50", "47.5"), ("1e-5", "1e-05"),
    ('"4711.0"', "4711.0"), ('"NaN"', "NaN"), ('"1e5"', "1e5"), ('"a\\",\\"b\\": 5.0,"', 'a","b": 5.0,'),
    ("null", None),
])  # fmt: skip
def test_a_json_number_is_its_digits_and_a_text_is_as_it_is_written(read_json, written, text):
    assert read_json(written) == [text]


def test_numbers_inside_of_nested_values_are_digits_too(tmp_path):
    yaml = SHOP.split("users:")[0].replace("user_id: user", "user_id: \"payload->>'$.user.id'\"") % "jsonl"
    shop = Landing(tmp_path, yaml)
    shop.put(
        "2024-03-04.jsonl", '{"at": "2024-03-04T10:00:00Z", "payload": {"user": {"id": 4711.0}, "all": [1.0, NaN]}}'
    )
    (row,) = shop.read().accepted
    assert row["user_id"] == "4711"
    assert row["extra"] is None


@pytest.mark.parametrize("odd", ['{"a": 1.0.0}', '{"a": +1.0}', '{"a": 1.0', '{"a" 5.0, }', '{"a": --1.0, "b": .0,}'])
def test_what_is_no_json_does_not_become_json(odd):
    (plain,) = plain_numbers(pa.array([odd], pa.large_string())).to_pylist()
    assert connection().execute("select json_valid(?)", [plain]).fetchone() == (False,)


@pytest.mark.parametrize("kind", [
    pa.int64(), pa.float64(), pa.decimal128(38, 0), pa.decimal128(38, 2), pa.decimal128(38, 10), pa.string()
])  # fmt: skip
def test_parquet_gives_the_ids_that_json_gives(tmp_path, read_json, kind):
    values = [4711, -3, 0, 123456789012345]
    shop = Landing(tmp_path, SHOP % ("parquet", "parquet"))
    typed = pa.array(
        [Decimal(v) for v in values] if pa.types.is_decimal(kind) else values, None if kind == pa.string() else kind
    )
    ids = pa.array(list(map(str, values))) if kind == pa.string() else typed
    n = len(values)
    table = pa.table({"id": [f"e{i}" for i in range(n)], "at": ["2024-03-04T10:00:00Z"] * n, "anon": ["a"] * n})
    for column in COLUMNS:
        table = table.append_column(column, ids)
    pq.write_table(table, shop.root / "2024-03-04.parquet")
    pq.write_table(pa.table({"user": ids}), shop.root / "users.parquet")
    rows = sorted(shop.read().accepted, key=lambda r: r["event_id"])
    assert [r["user_id"] for r in rows] == read_json(*map(str, values)) == list(map(str, values))
    assert all(r[c] == r["user_id"] for r in rows for c in CONTRACT)


def test_a_missing_number_is_nothing_and_not_out_of_range(tmp_path):
    yaml = SHOP.split("users:")[0].replace("category: cat", "discount: cat") % "parquet"
    shop = Landing(tmp_path, yaml)
    columns = {c: ["u"] for c in COLUMNS} | {"cat": [float("nan")], "id": ["e"], "at": ["2024-03-04"], "anon": ["a"]}
    pq.write_table(pa.table(columns), shop.root / "2024-03-04.parquet")
    assert [r["discount"] for r in shop.read().accepted] == [None]


@pytest.mark.parametrize(("thousands", "written", "amount"), [
    ("", "1.5", "1.50"), (".", "1.234", "1.23"), (".", '"1.234"', "1234"), (".", '"1.234,5"', "1234.50"),
    (".", "1234.0", "1234"),
])  # fmt: skip
def test_a_number_of_json_has_a_point_whatever_the_mark_in_texts(tmp_path, thousands, written, amount):
    marks = f"decimal: ','\n    thousands: '{thousands}'\n    columns:"
    shop = Landing(
        tmp_path, SHOP.split("users:")[0].replace("category: cat", "amount: cat").replace("columns:", marks) % "jsonl"
    )
    shop.put("2024-03-04.jsonl", lines(written))
    assert [r["amount"] for r in shop.read().accepted] == [Decimal(amount)]
