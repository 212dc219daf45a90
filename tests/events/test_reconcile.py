"""Whatever a file holds, each of its lines is accounted for, and none more."""

import codecs
import json
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seg_assets.events import records
from seg_assets.events.formats import lines, names
from seg_assets.events.formats.csv import CsvFile
from seg_assets.events.mapping import FeedMapping
from seg_assets.events.source import CsvOptions
from tests.events.landing_zone import EVENTS, ORDERS, Landing

GOOD = b"1,u,2024-03-04 10:00,purchase,1\n"
pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf",
                     b"id,customer,at,kind,amount\n",
                     GOOD, GOOD[:17], b'2,"a\nb",2024-03-04,purchase,1\n', b'3,"open,2024-03-04,purchase,1\n', b"\n\n",
                     b"4,u,2024-03-04,purchase,1,2\n"]),
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(
    st.sampled_from(["event_id", "user_id", "event_time", "event_type", "amount", "rating", "x"]), values
)
bounded = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@bounded
@given(st.lists(pieces, max_size=14).map(b"".join))
def test_promise_04_garbage_csv_always_reconciles_and_good_lines_after_it_survive(content):
    with tempfile.TemporaryDirectory() as folder:
        shop = Landing(Path(folder), ORDERS)
        shop.put("orders/2024-03-04.csv", b"id,customer,at,kind,amount\n" + content)
        read = shop.read()
        (file,) = read.day.files
        assert file.lines_read == file.accepted + file.rejected + file.duplicates
        assert file.rejected == len(read.rejected)
        assert len({r["line"] for r in read.rejected}) == file.rejected
        # a blank line closes what an open quote began; the good line after it is never lost
        shop.put(
            "orders/2024-03-04.csv", b"id,customer,at,kind,amount\n" + content + b"\n\n" + GOOD.replace(b"1,u", b"z,u")
        )
        again = shop.read()
        assert "z" in {r["event_id"] for r in again.accepted} or '"' in content.decode("latin-1")


@bounded
@given(st.lists(st.one_of(objects.map(lambda o: json.dumps(o).encode()), st.binary(max_size=40)), max_size=10))
@example([b"\x00\r\x00"])
@example([codecs.BOM_UTF8])
def test_promise_04_garbage_json_lines_always_reconcile(rows):
    with tempfile.TemporaryDirectory() as folder:
        shop = Landing(Path(folder), EVENTS)
        shop.put("events/2024-03-04.jsonl", b"\n".join(rows))
        read = shop.read()
        (file,) = read.day.files
        assert file.lines_read == file.accepted + file.rejected + file.duplicates
        assert file.lines_read == sum(bool(line.strip(b" \t\r\n\v\f")) for line in _lines(b"\n".join(rows)))


def _lines(content: bytes) -> list[bytes]:
    """The lines of a file; those of old Macs end with a lone carriage return."""
    content = content.removeprefix(codecs.BOM_UTF8)
    mac = b"\n" not in content and b"\r" in content[:-1]
    return content.split(b"\r" if mac else b"\n")


@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_promise_04_blocks_cut_files_anywhere_without_losing_a_line(tmp_path, monkeypatch, quote):
    path = tmp_path / "f.csv"
    rows = [f"{n},{quote}text {n}{chr(10) if quote and n % 7 == 0 else ''}{quote},é{n}" for n in range(400)]
    path.write_text("a,b,c\n" + "\n".join(rows) + "\n", encoding="utf-8")
    by_block = []
    for block in (13, 64, 1000, 1 << 20):
        monkeypatch.setattr(lines, "BLOCK", block)
        tables = list(CsvFile(path, CsvOptions(quote=quote)).tables())
        rows_read = sorted(
            (r[names.LINE], r["a"], r["b"], r["c"], r[names.PROBLEM]) for t in tables for r in t.to_pylist()
        )
        assert len(rows_read) == 400
        assert all(r[4] is None for r in rows_read)
        by_block.append(rows_read)
    assert all(f == by_block[0] for f in by_block)


def test_promise_04_deeply_nested_json_is_refused_and_nothing_breaks(tmp_path):
    shop = Landing(tmp_path, EVENTS)
    deep = "[" * 200_000 + "]" * 200_000
    good = '{"event_id": "1", "user_id": "u", "event_time": "2024-03-04", "event_type": "purchase", "amount": 1}'
    nested = '{"user_id": ' + deep + "}"
    shop.put("events/2024-03-04.jsonl", "\n".join([deep, nested, good, '{"a":' * 100_000]))
    read = shop.read()
    assert len(read.accepted) == 1
    assert len(read.rejected) == 3


def test_many_small_files_are_mapped_at_once_and_give_what_each_alone_gives(tmp_path, monkeypatch):
    # Two thousand files of one line took 153 s: each was planned and stored alone.
    mapped = []
    real = FeedMapping.sql
    monkeypatch.setattr(FeedMapping, "sql", lambda *args: mapped.append(1) or real(*args))
    shop = Landing(tmp_path, ORDERS)
    for n in range(20):
        header = b"id,customer,at,kind,amount" + (b",colour" if n % 5 == 0 else b"")
        more = b",red" if n % 5 == 0 else b""
        rows = [
            b"%d,u%d,2024-03-04 10:00,purchase,1" % (n, n),
            b"x,u,2024-03-04 10:00,purchase,2",
            b"y,,2024-03-04,x,1",
        ]
        shop.put(f"orders/2024-03-04.{n:02}.csv", b"".join(r + b"\n" for r in [header, *(r + more for r in rows)]))
    together = shop.read()
    assert len(mapped) == 2
    monkeypatch.setattr(records, "TOGETHER", 1)
    alone = shop.read()
    assert len(mapped) == 22
    assert together == alone
    assert [(f.accepted + f.duplicates, f.rejected) for f in together.day.files] == [(2, 1)] * 20
    assert {(r["source_file"], r["line"]) for r in together.rejected} == {
        (f"orders/2024-03-04.{n:02}.csv", 4) for n in range(20)
    }


def test_quotes_left_open_cost_no_more_than_their_lines(tmp_path):
    # Each of them was parsed again with every one of the two hundred lines after it: 3,000 took 73 s.

    path = tmp_path / "f.csv"
    path.write_text("a,b\n" + f'"open,{"x" * 2000}\n' * 1000)
    before = time.process_time()
    assert sum(len(t) for t in CsvFile(path, CsvOptions()).tables()) == 1000
    assert time.process_time() - before < 5
