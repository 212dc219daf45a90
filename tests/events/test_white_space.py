"""White space is what Unicode says it is: around ids, categories, numbers and times, and between thousands."""

import sys
import unicodedata
from decimal import Decimal

import pytest

from seg_assets.events.mapping import WHITE_SPACE
from tests.events.landing_zone import DAY, EVENTS, ORDERS, Landing

HEAD = "id,customer,at,kind,amount,product\n"


def test_the_list_is_unicodes():
    # Python counts the four separators of ASCII as well, which Unicode's property White_Space does not.
    ours = {c for c in map(chr, range(sys.maxunicode)) if c.isspace() and not "\x1c" <= c <= "\x1f"} | {"\ufeff"}
    assert set(WHITE_SPACE) == ours
    assert {c for c in ours if unicodedata.category(c).startswith("Z")} <= set(WHITE_SPACE)


@pytest.mark.parametrize("blank", sorted(set(WHITE_SPACE) - set("\r\n")))
def test_white_space_around_a_value_is_dropped(tmp_path, blank):
    shop = Landing(tmp_path, ORDERS)
    rows = [("1001", ""), (f"1001{blank}", blank), (f"{blank}1001", blank), (f" {blank} 1001 {blank}", blank)]
    text = "".join(f"{n},{i},2024-03-04 10:00{b},purchase{b},{b}5{b},{i}\n" for n, (i, b) in enumerate(rows))
    shop.put("orders/2024-03-04.csv", HEAD + text)
    read = shop.read()
    assert read.rejected == []
    assert {(r["user_id"], r["product_id"], r["amount"]) for r in read.accepted} == {("1001", "1001", Decimal(5))}


def test_white_space_alone_is_nobody(tmp_path):
    shop = Landing(tmp_path, ORDERS)
    shop.put("orders/2024-03-04.csv", HEAD + "1,\u00a0\u3000,2024-03-04 10:00,purchase,5,x\n")
    assert shop.read().reasons() == {2: "no_user"}


def test_a_byte_order_mark_inside_a_file_is_no_part_of_a_line(tmp_path):
    shop = Landing(tmp_path, ORDERS)
    row = '{},"u,1",2024-03-04 10:00,purchase,5,x\n'
    shop.put(
        "orders/2024-03-04.csv",
        b"\xef\xbb\xbf" + HEAD.encode() + row.format(1).encode() + b"\xef\xbb\xbf" + row.format(2).encode(),
    )
    assert [(r["event_id"], r["user_id"]) for r in shop.read().accepted] == [("1", "u,1"), ("2", "u,1")]
    shop = Landing(tmp_path, EVENTS)
    line = b'{"event_id":"%d","user_id":"u","event_time":"2024-03-04","event_type":"view_item"}\n'
    shop.put("events/2024-03-04.jsonl", b"\xef\xbb\xbf" + line % 1 + b"\xef\xbb\xbf" + line % 2)
    assert len(shop.read(DAY).accepted) == 2


@pytest.mark.parametrize(("thousands", "text", "amount"), [
    (" ", "1\u202f234,50", "1234.50"), (" ", "1\u00a0234\u00a0567,5", "1234567.50"), (" ", "1 234,50", "1234.50"),
    ("\\u202f", "1\u202f234,50", "1234.50"), ("\\xa0", "1\u00a0234,50", "1234.50"), ("'", "1\u2019234,50", "1234.50"),
    ("\\u2019", "1'234,50", "1234.50"), ("_", "12_000", "12000"), (" ", "1\u202f23", None), ("", "12_000", None),
    ("", "1\u202f234", None), ("", "1_0", None),
])  # fmt: skip
def test_thousands_are_set_off_by_what_the_source_says_only(tmp_path, thousands, text, amount):
    yaml = ORDERS.replace(
        "    columns:", f"    csv: {{delimiter: ';'}}\n    decimal: ','\n    thousands: \"{thousands}\"\n    columns:"
    )
    shop = Landing(tmp_path, yaml)
    shop.put("orders/2024-03-04.csv", HEAD.replace(",", ";") + f"1;u;2024-03-04;purchase;{text};x\n")
    read = shop.read()
    assert [r["amount"] for r in read.accepted] == ([Decimal(amount)] if amount else [])
    assert read.reasons() == ({} if amount else {2: "not_a_number"})


@pytest.mark.parametrize("text", ["12_000", "1_0.5", "1e1_0"])
def test_underscores_are_no_part_of_a_number_by_default(tmp_path, text):
    shop = Landing(tmp_path, ORDERS)
    shop.put("orders/2024-03-04.csv", HEAD + f"1,u,2024-03-04,purchase,{text},x\n")
    assert shop.read().reasons() == {2: "not_a_number"}
