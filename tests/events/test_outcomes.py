"""The stated outcome of each odd line (docs/sources.md)."""

import datetime as dt
import gzip
import json
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import LandingError
from seg_assets.lake.store import Lake
from tests.events.landing_zone import DAY, EVENTS, ORDERS, Landing

HEAD = "id,customer,at,kind,amount\n"


@pytest.fixture
def orders(tmp_path):
    return Landing(tmp_path, ORDERS)


@pytest.fixture
def events(tmp_path):
    return Landing(tmp_path, EVENTS)


def lines(*rows: str) -> str:
    return HEAD + "".join(r + "\n" for r in rows)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def event(**values) -> str:
    return json.dumps({"event_time": "2024-03-04T10:00:00Z", "event_type": "purchase", "user_id": "u", **values})


def test_refunds_are_negative_whichever_way_the_shop_writes_them(orders):
    orders.put("orders/2024-03-04.csv", lines(
        "1,u,2024-03-04 10:00,refund,5.00", "2,u,2024-03-04 10:00,refund,-6.00", "3,u,2024-03-04 10:00,purchase,-7",
    ))  # fmt: skip
    read = orders.read()
    assert {r["event_id"]: (r["event_type"], r["amount"]) for r in read.accepted} == {
        "1": ("refund", Decimal(-5)), "2": ("refund", Decimal(-6)), "3": ("refund", Decimal(-7)),
    }  # fmt: skip


def test_a_source_may_refuse_purchases_with_a_negative_amount(tmp_path):
    shop = Landing(tmp_path, ORDERS.replace("    columns:", "    negative_purchase: reject\n    columns:"))
    shop.put("orders/2024-03-04.csv", lines("3,u,2024-03-04 10:00,purchase,-7"))
    assert shop.read().reasons() == {2: "negative_amount"}


def test_a_zero_price_is_a_purchase_and_no_price_is_none(orders):
    orders.put("orders/2024-03-04.csv", lines("1,u,2024-03-04 10:00,purchase,0", "2,u,2024-03-04 10:00,purchase,"))
    read = orders.read()
    assert [r["amount"] for r in read.accepted] == [0]
    assert read.reasons() == {3: "missing_amount"}


def test_a_line_without_any_user_is_rejected_and_an_anonymous_one_is_not(events):
    events.put("events/2024-03-04.jsonl", "\n".join([
        event(event_id="1", user_id=None, amount=1), event(event_id="2", user_id="  ", amount=1),
        event(event_id="3", user_id=None, anonymous_id="cookie", amount=1),
    ]))  # fmt: skip
    read = events.read()
    assert read.reasons() == {1: "no_user", 2: "no_user"}
    assert [r["anonymous_id"] for r in read.accepted] == ["cookie"]


@pytest.mark.parametrize(
    ("amount", "reason"),
    [("inf", "out_of_range"), ("nan", "not_a_number"), ("1e400", "out_of_range"),
     ("99999999999999999999", "out_of_range"),
     ("1000000001", "out_of_range"), ("twelve", "not_a_number"), ("1,5", "wrong_number_of_columns")],
)  # fmt: skip
def test_amounts_that_are_no_money_are_rejected(orders, amount, reason):
    orders.put(
        "orders/2024-03-04.csv", lines(f"1,u,2024-03-04 10:00,purchase,{amount}", "2,u,2024-03-04 10:00,purchase,3")
    )
    read = orders.read()
    expected = "missing_amount" if amount == "nan" else reason  # CSV writes nan for nothing
    assert read.reasons() == {2: expected}
    assert [r["amount"] for r in read.accepted] == [3]


def test_ratings_outside_one_to_five_are_rejected(events):
    rows = [event(event_id=str(n), event_type="review", rating=r) for n, r in enumerate([0, 1, 5, 5.5, "x", -3])]
    events.put("events/2024-03-04.jsonl", "\n".join(rows))
    assert events.read().reasons() == {
        1: "rating_out_of_range", 4: "rating_out_of_range", 5: "not_a_number", 6: "rating_out_of_range"
    }  # fmt: skip


def test_negative_quantities_are_for_refunds_only(events):
    events.put("events/2024-03-04.jsonl", "\n".join([
        event(event_id="1", quantity=-2, amount=3), event(event_id="2", event_type="refund", quantity=-2, amount=3),
    ]))  # fmt: skip
    read = events.read()
    assert read.reasons() == {1: "negative_quantity"}
    assert [(r["event_id"], r["quantity"]) for r in read.accepted] == [("2", 2)]


def test_days_other_than_the_files_are_rejected_the_future_too(orders):
    orders.put("orders/2024-03-04.csv", lines(
        "1,u,2024-03-03 23:59:59,purchase,1", "2,u,2031-01-01 10:00,purchase,1", "3,u,2024-03-04 23:59:59,purchase,1",
        "4,u,0001-01-01,purchase,1", "5,u,infinity,purchase,1", "6,u,yesterday,purchase,1", "7,u,,purchase,1",
        "8,u,2024-02-30 10:00,purchase,1",
    ))  # fmt: skip
    read = orders.read()
    assert read.reasons() == {
        2: "wrong_day", 3: "wrong_day", 5: "time_out_of_range", 6: "not_a_time", 7: "not_a_time", 8: "missing_time",
        9: "not_a_time",
    }  # fmt: skip
    assert [r["event_id"] for r in read.accepted] == ["3"]


def test_the_day_is_taken_in_the_shops_zone_and_naive_times_in_the_feeds(tmp_path):
    yaml = ORDERS.replace("name: orders", "name: orders\ntime_zone: Europe/Berlin")
    shop = Landing(tmp_path, yaml, time_zone="America/New_York")
    shop.put("orders/2024-03-04.csv", lines(
        "1,u,2024-03-05 05:59:00,purchase,1", "2,u,2024-03-05T04:59:00Z,purchase,1",
        "3,u,2024-03-05 06:00:00,purchase,1",
        "4,u,2024-03-04T23:00:00-05:00,purchase,1",
    ))  # fmt: skip
    read = shop.read()
    assert {r["event_id"]: r["event_time"] for r in read.accepted} == {
        "1": utc("2024-03-05 04:59"), "2": utc("2024-03-05 04:59"), "4": utc("2024-03-05 04:00"),
    }  # fmt: skip
    assert read.reasons() == {4: "wrong_day"}


def test_unknown_event_types_are_rejected_and_upper_case_is_not(orders):
    orders.put("orders/2024-03-04.csv", lines(
        "1,u,2024-03-04 10:00,PURCHASE,1", "2,u,2024-03-04 10:00,heartbeat,1", "3,u,2024-03-04 10:00,,1",
    ))  # fmt: skip
    assert orders.read().reasons() == {3: "unknown_event_type", 4: "missing_event_type"}


def test_duplicates_are_found_by_event_id_and_the_survivor_does_not_depend_on_file_names(tmp_path):
    first, second = (
        "1,u,2024-03-04 10:00,purchase,1\n",
        "1,u,2024-03-04 09:00,purchase,2\n1,u,2024-03-04 10:00,purchase,1\n",
    )
    accepted = []
    for n, names in enumerate([("a", "b"), ("b", "a")]):
        folder = tmp_path / str(n)
        folder.mkdir()
        shop = Landing(folder, ORDERS)
        for name, text in zip(names, (first, second), strict=True):
            shop.put(f"orders/2024-03-04.{name}.csv", HEAD + text)
        read = shop.read()
        accepted.append(read.accepted)
        assert sum(f.duplicates for f in read.day.files) == 2
    assert accepted[0] == accepted[1]
    assert accepted[0][0]["amount"] == 2


def test_equal_lines_without_ids_are_events_of_their_own_but_a_file_delivered_twice_adds_nothing(tmp_path):
    shop = Landing(tmp_path, ORDERS.replace("      event_id: id\n", ""))
    text = lines(
        "x,u,2024-03-04 10:00,purchase,1", "x,u,2024-03-04 10:00,purchase,1", "x,u,2024-03-04 10:00,purchase,2"
    )
    shop.put("orders/2024-03-04.csv", text)
    once = shop.read()
    assert len(once.accepted) == 3
    shop.put("orders/2024-03-04.again.csv", text)
    twice = shop.read()
    assert twice.accepted == once.accepted
    assert twice.day.total("duplicates") == 3


def test_an_empty_file_and_a_header_alone_are_an_empty_day(orders):
    for content in (b"", HEAD.encode(), b"\n\n", b"\xef\xbb\xbf"):
        orders.put("orders/2024-03-04.csv", content)
        read = orders.read()
        assert (read.day.total("lines_read"), read.accepted, read.rejected) == (0, [], [])


def test_a_day_without_a_file_is_no_data_yet(orders):
    with pytest.raises(LandingError, match=r"no data yet: feed orders .* 2024-03-04"):
        orders.read()


def test_a_day_without_a_file_is_empty_where_closed_days_are_normal(tmp_path):
    shop = Landing(tmp_path, ORDERS.replace("    columns:", "    closed_days: normal\n    columns:"))
    assert shop.read().accepted == []


def test_a_landing_folder_that_is_not_there_or_no_folder_is_said(tmp_path, orders):
    orders.root.rmdir()
    with pytest.raises(LandingError, match="does not exist"):
        orders.read()
    orders.root.write_text("a file")
    with pytest.raises(LandingError, match="is not a folder"):
        orders.read()


def test_files_still_being_written_are_not_read(orders):
    orders.put("orders/2024-03-04.csv", lines("1,u,2024-03-04 10:00,purchase,1"))
    orders.put("orders/2024-03-04.csv.part", lines("2,u,2024-03-04 10:00,purchase,1"))
    orders.put("orders/2024-03-04.csv.tmp", lines("3,u,2024-03-04 10:00,purchase,1"))
    assert [f.source_file for f in orders.read().day.files] == ["orders/2024-03-04.csv"]


def test_a_half_written_last_line_is_rejected_and_the_rest_is_read(orders, events):
    orders.put("orders/2024-03-04.csv", lines("1,u,2024-03-04 10:00,purchase,1") + "2,u,2024-03")
    assert orders.read().reasons() == {3: "wrong_number_of_columns"}
    events.put("events/2024-03-04.jsonl", event(event_id="1", amount=1) + "\n" + event(event_id="2", amount=1)[:40])
    assert events.read().reasons() == {2: "not_json"}


def test_a_last_line_without_a_line_end_is_a_line(orders):
    orders.put("orders/2024-03-04.csv", lines("1,u,2024-03-04 10:00,purchase,1").rstrip("\n"))
    assert len(orders.read().accepted) == 1


def test_one_line_in_another_encoding_does_not_lose_the_file(orders):
    good = "1,Zoë,2024-03-04 10:00,purchase,1\n".encode()
    bad = "2,Zoë,2024-03-04 10:00,purchase,1\n".encode("latin-1")
    orders.put("orders/2024-03-04.csv", HEAD.encode() + good + bad)
    read = orders.read()
    assert [r["user_id"] for r in read.accepted] == ["Zoë"]
    assert [(r["line"], r["reason"], r["original"]) for r in read.rejected] == [
        (3, "wrong_encoding", "2,Zo\\xeb,2024-03-04 10:00,purchase,1")
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-32"])
def test_other_encodings_are_read_when_the_source_says_so(tmp_path, encoding):
    shop = Landing(tmp_path, ORDERS.replace("    columns:", f"    encoding: {encoding}\n    columns:", 1))
    shop.put("orders/2024-03-04.csv", lines("1,Zoë,2024-03-04 10:00,purchase,1").encode(encoding))
    assert [r["user_id"] for r in shop.read().accepted] == ["Zoë"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_without_a_mark_is_little_endian(tmp_path, encoding, order):
    shop = Landing(tmp_path, ORDERS.replace("    columns:", f"    encoding: {encoding}\n    columns:", 1))
    text = lines("1,Zoë,2024-03-04 10:00,purchase,1")
    shop.put("orders/2024-03-04.csv", text.encode(f"{encoding}-{order}"))
    assert [r["user_id"] for r in shop.read().accepted] == (["Zoë"] if order == "le" else [])
    assert shop.read().day.total("rejected") == (0 if order == "le" else 1)
    shop.put("orders/2024-03-04.csv", ("\ufeff" + text).encode(f"{encoding}-{order}"))
    assert [r["user_id"] for r in shop.read().accepted] == ["Zoë"]


def test_a_mark_at_the_start_windows_line_ends_and_blank_lines_are_no_matter(orders):
    text = lines("1,u,2024-03-04 10:00,purchase,1", "", "2,u,2024-03-04 10:00,purchase,1").replace("\n", "\r\n")
    orders.put("orders/2024-03-04.csv", b"\xef\xbb\xbf" + text.encode())
    read = orders.read()
    assert len(read.accepted) == 2
    assert read.day.total("lines_read") == 2


def test_nul_bytes_reject_their_line_only(orders, events):
    orders.put("orders/2024-03-04.csv", lines("1,u\0,2024-03-04 10:00,purchase,1", "2,u,2024-03-04 10:00,purchase,1"))
    assert orders.read().reasons() == {2: "nul_byte"}
    events.put(
        "events/2024-03-04.jsonl", event(event_id="1", amount=1, user_id="a\0b") + "\n" + event(event_id="2", amount=1)
    )
    assert events.read().reasons() == {1: "nul_byte"}


def test_a_backslash_before_u0000_is_no_nul_byte(events):
    paths = [r"C:\u0000", r"C:\\u0000", "C:\\\0"]
    events.put("events/2024-03-04.jsonl", "\n".join(event(event_id=p, amount=1) for p in paths))
    read = events.read()
    assert read.reasons() == {3: "nul_byte"}
    assert {r["event_id"] for r in read.accepted} == set(paths[:2])


def test_a_line_of_ten_megabytes_is_rejected_with_its_whole_text(orders, events):
    long = "x" * 10_000_000
    orders.put(
        "orders/2024-03-04.csv", lines(f"1,{long},2024-03-04 10:00,purchase,1", "2,u,2024-03-04 10:00,purchase,1")
    )
    read = orders.read()
    assert read.reasons() == {2: "line_too_long"}
    assert len(read.rejected[0]["original"]) > 10_000_000
    assert len(read.accepted) == 1
    events.put(
        "events/2024-03-04.jsonl", event(event_id="1", amount=1, note=long) + "\n" + event(event_id="2", amount=1)
    )
    assert events.read().reasons() == {1: "line_too_long"}


def test_a_line_of_ten_megabytes_can_be_allowed(tmp_path):
    shop = Landing(tmp_path, EVENTS.replace("    columns:", "    max_line_bytes: 20000000\n    columns:"))
    shop.put("events/2024-03-04.jsonl", event(event_id="1", amount=1, note="x" * 10_000_000))
    read = shop.read()
    assert len(read.accepted[0]["extra"]) > 10_000_000


def test_ids_keep_quotes_and_newlines_lose_spaces_around_and_have_a_limit(events):
    ids = ['a"b', "a'b", "a\nb", "  a ", "x" * 256, "x" * 257, "; drop table raw_events --"]
    events.put(
        "events/2024-03-04.jsonl", "\n".join(event(event_id=str(n), user_id=i, amount=1) for n, i in enumerate(ids))
    )
    read = events.read()
    assert read.reasons() == {6: "too_long"}
    assert {r["user_id"] for r in read.accepted} == {'a"b', "a'b", "a\nb", "a", "x" * 256, "; drop table raw_events --"}


def test_quoted_newlines_are_one_line_and_a_quote_left_open_takes_no_other_line_with_it(orders):
    orders.put("orders/2024-03-04.csv", HEAD + '1,"two\nlines",2024-03-04 10:00,purchase,1\n'
               '2,"open,2024-03-04 10:00,purchase,1\n3,u,2024-03-04 10:00,purchase,1\n'
               '4,5" pipe,2024-03-04 10:00,purchase,1\n5,"a ""b""",2024-03-04 10:00,purchase,1\n')  # fmt: skip
    read = orders.read()
    assert read.reasons() == {4: "unclosed_quote"}
    assert [r["user_id"] for r in read.accepted] == ["two\nlines", "u", '5" pipe', 'a "b"']


def test_columns_named_like_sql_are_columns(tmp_path):
    yaml = '''
feeds:
  f:
    files: "{day}.csv"
    event_type: purchase
    columns: {user_id: '"select"', event_time: '"order"', amount: '"from ""x"""', product_id: '"Group By;--"'}
'''
    shop = Landing(tmp_path, yaml)
    shop.put("2024-03-04.csv", 'select,order,"from ""x""","Group By;--","new\nline",TABLE\nu,2024-03-04,1.5,p,n,t\n')
    (row,) = shop.read().accepted
    assert (row["user_id"], row["amount"], row["product_id"]) == ("u", Decimal("1.50"), "p")
    assert json.loads(row["extra"]) == {"new\nline": "n", "TABLE": "t"}


def test_unknown_columns_are_kept_in_extra(orders, events):
    orders.put("orders/2024-03-04.csv", "id,customer,at,kind,amount,colour,size\n1,u,2024-03-04,purchase,1,red,\n")
    assert json.loads(orders.read().accepted[0]["extra"]) == {"colour": "red"}
    events.put("events/2024-03-04.jsonl", event(event_id="1", amount=1, colour="red", deep={"a": [1, 2]}))
    assert json.loads(events.read().accepted[0]["extra"]) == {"colour": "red", "deep": {"a": [1, 2]}}


def test_the_same_lines_with_their_columns_in_another_order_are_the_same_events(tmp_path):
    # Without event_id they counted twice: the id is made from the content, and extra kept the file's order.
    shop = Landing(tmp_path, ORDERS.replace("      event_id: id\n", "").replace("[id, kind", "[kind"))
    shop.put("orders/2024-03-04.csv", "customer,at,kind,amount,note,colour\nu,2024-03-04 10:00,purchase,1,gift,red\n")
    once = shop.read().accepted
    shop.put(
        "orders/2024-03-04.again.csv", "colour,note,amount,kind,at,customer\nred,gift,1,purchase,2024-03-04 10:00,u\n"
    )
    assert shop.read().accepted == once
    assert once[0]["extra"] == '{"colour":"red","note":"gift"}'


def test_extra_is_json_where_a_file_says_nan_or_infinity(events, parquet):
    row = event(event_id="1", amount=1, note='NaN, "Infinity": ', more=["NaN", 1]).removesuffix("}")
    events.put("events/2024-03-04.jsonl", row + ', "x": NaN, "y": [-Infinity, Infinity, {"NaN": NaN}]}')

    def strict(text: str) -> dict:
        return json.loads(text, parse_constant=pytest.fail)

    assert strict(events.read().accepted[0]["extra"]) == {
        "note": 'NaN, "Infinity": ', "more": ["NaN", 1], "x": None, "y": [None, None, {"NaN": None}],
    }  # fmt: skip
    nan, inf = float("nan"), float("inf")
    read = parquet(x=pa.array([nan, inf, 1.5]), note=pa.array(["NaN"] * 3), deep=pa.array([[nan], [-inf], None]))
    assert [strict(r["extra"]) for r in sorted(read.accepted, key=lambda r: r["user_id"])] == [
        {"deep": [None], "note": "NaN"}, {"deep": [None], "note": "NaN"}, {"note": "NaN", "x": 1.5},
    ]  # fmt: skip


def test_a_column_the_mapping_reads_and_the_header_lacks_rejects_the_files_lines(orders):
    orders.put(
        "orders/2024-03-04.csv", "id,client,at,kind,amount\n1,u,2024-03-04,purchase,1\n2,u,2024-03-04,purchase,1\n"
    )
    read = orders.read()
    assert [(r["reason"], r["field"]) for r in read.rejected] == [("missing_column", "customer")] * 2


def test_an_unknown_channel_or_device_is_kept_beside(orders):
    orders.put("orders/2024-03-04.csv", "id,customer,at,kind,amount,channel,device\n"
               "1,u,2024-03-04,purchase,1,Kiosk,watch\n"
               "2,u,2024-03-04,purchase,1,WEB,Mobile\n")  # fmt: skip
    one, two = orders.read().accepted
    assert (one["channel"], one["device"], json.loads(one["extra"])) == (
        None,
        "other",
        {"channel": "Kiosk", "device": "watch"},
    )
    assert (two["channel"], two["device"], two["extra"]) == ("web", "mobile", None)


def test_an_expression_that_fails_on_a_line_rejects_that_line(tmp_path):
    shop = Landing(tmp_path, ORDERS.replace("amount: amount", "amount: (amount::integer) * 2"))
    shop.put("orders/2024-03-04.csv", lines("1,u,2024-03-04,purchase,x", "2,u,2024-03-04,purchase,3"))
    read = shop.read()
    assert read.reasons() == {2: "expression_failed"}
    assert read.accepted[0]["amount"] == 6


def test_gzip_files_are_read_and_a_truncated_one_keeps_what_can_be_unpacked(tmp_path):
    shop = Landing(tmp_path, EVENTS.replace("jsonl", "jsonl.gz"))
    rows = "\n".join(event(event_id=str(n), amount=n, note=str(hash(n) ** 3)) for n in range(3000))
    whole = gzip.compress(rows.encode(), mtime=0)
    shop.put("events/2024-03-04.jsonl.gz", whole)
    assert len(shop.read().accepted) == 3000
    shop.put("events/2024-03-04.jsonl.gz", whole[: len(whole) // 2])
    read = shop.read()
    assert 0 < len(read.accepted) < 3000
    assert "damaged_gzip" in {r["reason"] for r in read.rejected}


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("cut", ["no gzip", "no byte of it", "in its header", "between lines"])
def test_promise_04_a_csv_that_is_no_gzip_or_is_cut_is_told(tmp_path, cut, skip):
    # A day of a hundred purchases in plain text, named .csv.gz, was an empty day without a word.
    shop = Landing(
        tmp_path, ORDERS.replace(".csv", ".csv.gz").replace("    columns:", f"    csv: {{skip: {skip}}}\n    columns:")
    )
    text = ("x\n" * skip + lines(*(f"{n},u{n},2024-03-04 10:00,purchase,1" for n in range(100)))).encode()
    packed = gzip.compress(text, mtime=0)
    stored = gzip.compress(text, 0, mtime=0)
    part = {"no gzip": text, "no byte of it": packed[:11], "in its header": stored[:29], "between lines": stored[:90]}
    shop.put("orders/2024-03-04.csv.gz", part[cut])
    read = shop.read()
    assert [r["reason"] for r in read.rejected][-1] == "damaged_gzip"
    assert read.day.total("rejected") >= 1
    assert bool(read.accepted) == (cut == "between lines")


def test_promise_04_a_first_line_that_is_no_header_is_not_lost(orders):
    orders.put("orders/2024-03-04.csv", "1,u,2024-03-04 10:00,purchase,1\n")
    read = orders.read()
    assert [(r["line"], r["reason"], r["field"], r["original"]) for r in read.rejected] == [
        (1, "missing_column", "customer", "1,u,2024-03-04 10:00,purchase,1")
    ]
    orders.put("orders/2024-03-04.csv", "1,\0u,2024-03-04 10:00,purchase,1\n")
    assert orders.read().reasons() == {1: "nul_byte"}


def test_promise_04_a_quote_left_open_in_the_header_takes_no_line_with_it(orders):
    orders.put("orders/2024-03-04.csv", '"' + lines("1,u,2024-03-04,purchase,1", '2,5",2024-03-04,purchase,1'))
    assert {r["user_id"] for r in orders.read().accepted} == {"u", '5"'}


def test_parquet_is_read_with_its_own_types(tmp_path):
    yaml = """
feeds:
  f:
    files: "{day}.parquet"
    event_type: purchase
    columns: {user_id: user, event_time: at, amount: amount}
"""
    shop = Landing(tmp_path, yaml)
    pd.DataFrame({
        "user": [12.0, None, 13.0], "at": pd.to_datetime(["2024-03-04 10:00"] * 3),
        "amount": [1.005, 1.0, float("inf")], "other": [[1, 2], None, [3]],
    }).to_parquet(shop.root / "2024-03-04.parquet")  # fmt: skip
    read = shop.read()
    assert [(r["user_id"], r["amount"]) for r in read.accepted] == [("12", Decimal("1.01"))]
    assert read.reasons() == {2: "no_user", 3: "out_of_range"}
    assert json.loads(read.accepted[0]["extra"]) == {"other": [1, 2]}


PARQUET = """
time_zone: UTC
feeds:
  f:
    files: "{day}.parquet"
    event_type: view_item
    columns: {user_id: user, anonymous_id: cookie, event_time: at}
    optional: [cookie]
"""


@pytest.fixture
def parquet(tmp_path):
    """A Parquet file of one row per value of the named column, and how it is read."""
    shop = Landing(tmp_path, PARQUET, time_zone="Europe/Berlin")

    def read(**columns: pa.Array):
        n = len(next(iter(columns.values())))
        at = pa.array([utc("2024-03-04 10:00")] * n, pa.timestamp("us"))
        table = pa.table({"user": [f"u{i}" for i in range(n)], "at": at} | columns)
        pq.write_table(table, shop.root / "2024-03-04.parquet")
        return shop.read()

    return read


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_parquet_times_of_every_unit_are_read_with_and_without_a_zone(parquet, unit, zone):
    # pandas writes timestamp[ns, tz], which DuckDB cannot cast: the run of the whole day failed.
    times = pa.array([utc("2024-03-04 10:00")], pa.timestamp(unit, zone))
    read = parquet(at=times, seen=times)
    assert [r["event_time"] for r in read.accepted] == [utc("2024-03-04 10:00")]
    seen = json.loads(read.accepted[0]["extra"])["seen"]
    assert seen == "2024-03-04 10:00:00" + ("+00" if zone else "")


def test_an_expression_computes_with_nanoseconds_that_have_a_zone(tmp_path):
    shop = Landing(tmp_path, PARQUET.replace("event_time: at", "event_time: '\"at\" + interval 1 hour'"))
    at = pa.array([utc("2024-03-04 10:00")], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"user": ["u"], "at": at}), shop.root / "2024-03-04.parquet")
    assert [r["event_time"] for r in shop.read().accepted] == [utc("2024-03-04 11:00")]


def test_ids_that_parquet_keeps_as_doubles_are_the_ids_of_integer_files(parquet):
    nan = float("nan")
    ids = [12.0, 1234567890123456.0, 1e18, -0.0, 1.5, nan, float("inf"), None]
    read = parquet(user=pa.array(ids, pa.float64()))
    assert {r["user_id"] for r in read.accepted} == {"12", "1234567890123456", "1000000000000000000", "0", "1.5"}
    assert read.reasons() == {6: "no_user", 7: "no_user", 8: "no_user"}
    read = parquet(user=pa.array([nan, nan]), cookie=pa.array(["x", "y"]))
    assert {(r["user_id"], r["anonymous_id"]) for r in read.accepted} == {(None, "x"), (None, "y")}


def _invalid(kind: str):
    raw = pa.py_buffer(b"a\xffbb")
    texts = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], np.int32)), raw])
    second, far = pa.timestamp("s"), 253_402_300_799_000
    return {
        "text": texts,
        "texts in a list": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), texts),
        "texts in a struct": pa.StructArray.from_arrays([texts], ["q"]),
        "nul": pa.array(["a\0b", "bb"]),
        "nul in a list": pa.array([["a\0b"], ["bb"]]),
        "seconds": pa.array([far, 0], second),
        "seconds in a list": pa.array([[far], [0]], pa.list_(second)),
        "milliseconds with a zone": pa.array([2**62, 0], pa.timestamp("ms", "UTC")),
        "microseconds": pa.array([-(2**63), 0], pa.timestamp("us")),
        "duration": pa.array([2**62, 0], pa.duration("s")),
        "time of day": pa.array([2**62, 0], pa.time64("us")),
    }[kind]


@pytest.mark.parametrize(("kind", "reason", "text"), [
    ("text", "wrong_encoding", "a\\xff"), ("texts in a list", "wrong_encoding", "list"),
    ("texts in a struct", "wrong_encoding", "struct"), ("nul", "nul_byte", "a\\u0000b"),
    ("nul in a list", "nul_byte", "a\\u0000b"), ("seconds", "time_out_of_range", "253402300799000"),
    ("seconds in a list", "time_out_of_range", "list"),
    ("milliseconds with a zone", "time_out_of_range", str(2**62)),
    ("microseconds", "time_out_of_range", str(-(2**63))), ("duration", "time_out_of_range", str(2**62)),
    ("time of day", "time_out_of_range", str(2**62)),
])  # fmt: skip
def test_a_parquet_value_that_no_engine_holds_refuses_its_row_only(parquet, kind, reason, text):
    # One of them failed the whole day, some with a database that had to be opened again.
    read = parquet(note=_invalid(kind))
    assert [(r["line"], r["reason"]) for r in read.rejected] == [(1, reason)]
    assert text in read.rejected[0]["original"].replace("\\\\", "\\")
    assert [r["user_id"] for r in read.accepted] == ["u1"]


def test_a_mapped_parquet_text_that_is_none_refuses_its_row_only(parquet):
    read = parquet(user=_invalid("text"))
    assert read.reasons() == {1: "wrong_encoding"}
    assert [r["user_id"] for r in read.accepted] == ["bb"]


def test_a_parquet_date_of_a_far_year_is_out_of_range(parquet):
    assert parquet(at=pa.array([108_000_000, 19_786], pa.date32())).reasons() == {1: "time_out_of_range"}
    assert parquet(at=pa.array([2**63 - 2, 0], pa.timestamp("us", "UTC"))).reasons()[1] == "time_out_of_range"


@pytest.mark.parametrize("kind", ["float16", "decimal256(50, 2)"])
def test_a_parquet_type_that_cannot_be_read_is_named_with_its_column(parquet, kind):
    column = pa.array(np.array([1.5], np.float16)) if kind == "float16" else pa.array([1]).cast(pa.decimal256(50, 2))
    with pytest.raises(LandingError, match=r"2024-03-04\.parquet: column price is of type .*cast it on export"):
        parquet(price=column)


def test_a_damaged_parquet_file_is_named(tmp_path):
    shop = Landing(
        tmp_path, "feeds: {f: {files: '{day}.parquet', event_type: purchase, columns: {user_id: u, event_time: t}}}"
    )
    shop.put("2024-03-04.parquet", b"PAR1 and nothing else")
    with pytest.raises(LandingError, match=r"2024-03-04\.parquet: cannot be read as Parquet"):
        shop.read()


def test_users_are_updated_by_dated_files_and_carried_forward(tmp_path):
    shop = Landing(
        tmp_path,
        EVENTS + "users: {files: 'users/{day}.csv', columns: {user_id: id, region: region, signup_day: day}}\n",
    )
    shop.put("users/2024-03-04.csv", "id,region,day\n1,north,2024-01-01\n2,south,\n2,west,\n3,x,tomorrow\n")
    shop.put("users/2024-03-06.csv", "id,region,day\n2,east,\n")
    table, yesterday = [], None
    with shop.open() as reader:
        for n in range(3):
            with Lake(tmp_path / "lake", DAY).connect() as con:
                read = reader.read_table("users", DAY + dt.timedelta(days=n), con, yesterday)
                assert all(f.reconciles for f in read.files)
                rows = con.execute(f"select user_id, region from ({read.query}) order by 1").fetchall()
            table.append(dict(rows))
            values = ", ".join(f"('{u}', '{r}')" for u, r in rows)
            yesterday = (
                "select u as user_id, null::varchar sex, null::varchar age_band, r as region, "
                f"null::varchar income_band, null::integer household_size, null::date signup_day, "
                f"null::varchar extra from (values {values}) t(u, r)"
            )
    assert table == [{"1": "north", "2": "west"}, {"1": "north", "2": "west"}, {"1": "north", "2": "east"}]


def test_a_shop_without_users_has_an_empty_table_and_a_missing_static_file_is_said(tmp_path):
    with duckdb.connect() as con, Landing(tmp_path, EVENTS).open() as reader:
        assert con.execute(reader.read_table("users", DAY, con).query).fetchall() == []
    shop = Landing(tmp_path, EVENTS + "products: {files: p.csv, columns: {product_id: id}}\n")
    with duckdb.connect() as con, shop.open() as reader, pytest.raises(LandingError, match=r"p\.csv is not there"):
        reader.read_table("products", DAY, con)
