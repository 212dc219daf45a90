"""Files that hold many days: each line belongs to its own day, and all days add up to the file."""

import datetime as dt

import duckdb
import pyarrow as pa
import pyarrow.json as paj
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import LandingError
from seg_assets.events.formats import csv
from seg_assets.events.landing import files_of
from tests.events.landing_zone import ORDERS, Landing

MANY = ORDERS.replace("{day}*.csv", "all*.csv").replace("    columns:", "    day: {from: event_time}\n    columns:")
FIRST = dt.date(2024, 3, 3)


def put(shop: Landing, rows: list[str], name: str = "orders/all.csv") -> None:
    shop.put(name, "id,customer,at,kind,amount\n" + "".join(r + "\n" for r in rows))


ROWS = [
    "1,u,2024-03-03 10:00,purchase,1", "2,u,2024-03-04 10:00,purchase,1", "3,u,2024-03-06 10:00,purchase,1",
    "4,u,no time,purchase,1", "5,,2024-03-04 10:00,purchase,1", "6,u", "7,u,1999-01-01,purchase,1",
    "2,u,2024-03-04 10:00,purchase,1",
]  # fmt: skip


def test_promise_04_the_days_of_a_file_add_up_to_its_lines(tmp_path):
    shop = Landing(tmp_path, MANY, first_day=dt.date(2024, 1, 1))
    put(shop, ROWS)
    with shop.open() as reader:
        reads = [shop.read(FIRST + dt.timedelta(days=n), reader=None) for n in range(4)]
        assert reader.days_held() == [dt.date(2024, 3, d) for d in (3, 4, 6)]
    assert sum(r.day.total("lines_read") for r in reads) == len(ROWS)
    assert [r.day.total("accepted") for r in reads] == [1, 1, 0, 1]
    # lines without a day of their own are told under the file's first day, a known day keeps its bad lines
    assert reads[0].reasons() == {5: "not_a_time", 7: "wrong_number_of_columns", 8: "outside_calendar"}
    assert reads[1].reasons() == {6: "no_user"}
    assert reads[1].day.total("duplicates") == 1


def test_a_file_is_parsed_once_for_all_days_of_a_run(tmp_path, monkeypatch):
    shop = Landing(tmp_path, MANY, first_day=dt.date(2024, 1, 1))
    put(shop, ROWS)
    opened = []
    real = csv.read_lines
    monkeypatch.setattr(csv, "read_lines", lambda path, *rest: opened.append(path) or real(path, *rest))
    with shop.open() as reader:
        for n in range(4):
            with duckdb.connect() as con:
                reader.read_day(FIRST + dt.timedelta(days=n), con)
    assert len(opened) == 1


def test_a_day_past_the_last_line_is_no_data_yet_and_a_gap_is_an_empty_day(tmp_path):
    shop = Landing(tmp_path, MANY, first_day=dt.date(2024, 1, 1))
    put(shop, ROWS)
    assert shop.read(dt.date(2024, 3, 5)).accepted == []
    with pytest.raises(LandingError, match=r"no data yet.*2024-03-07.*2024-03-03 \.\. 2024-03-06"):
        shop.read(dt.date(2024, 3, 7))


def test_lines_appended_for_a_new_day_leave_the_digest_of_the_others(tmp_path):
    shop = Landing(tmp_path, MANY, first_day=dt.date(2024, 1, 1))
    put(shop, ROWS)
    with shop.open() as reader:
        before = reader.contents(FIRST, "events"), reader.contents(FIRST + dt.timedelta(days=3), "events")
    put(shop, [*ROWS, "9,u,2024-03-06 11:00,purchase,1"])
    with shop.open() as reader:
        after = reader.contents(FIRST, "events"), reader.contents(FIRST + dt.timedelta(days=3), "events")
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("wrong", ["id,customer,at,kind,discount", "id,customer,at,kind,amt"])
def test_a_file_sent_again_with_another_header_changes_its_days(tmp_path, wrong):
    # The same lines under a corrected header were never read again: only the lines' own text was compared.
    shop = Landing(tmp_path, MANY, first_day=dt.date(2024, 1, 1))
    digests = []
    for header in (wrong, "id,customer,at,kind,amount"):
        shop.put("orders/all.csv", header + "\n" + "".join(r + "\n" for r in ROWS))
        with shop.open() as reader:
            digests.append(reader.contents(FIRST, "events"))
    assert digests[0] != digests[1]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_columns_renamed_in_other_formats_change_their_days_too(tmp_path, ending):
    shop = Landing(tmp_path, MANY.replace("all*.csv", f"all*.{ending}"), first_day=dt.date(2024, 1, 1))
    digests = []
    for name in ("discount", "amount"):
        row = f'{{"id":"1","customer":"u","at":"2024-03-03 10:00","kind":"purchase","{name}":1}}'
        path = shop.put(f"orders/all.{ending}", row + "\n")
        if ending == "parquet":
            pq.write_table(paj.read_json(pa.BufferReader(row.encode())), path)
        with shop.open() as reader:
            digests.append(reader.contents(FIRST, "events"))
    assert digests[0] != digests[1]


def test_monthly_files_are_read_for_their_month_only(tmp_path):
    yaml = MANY.replace("all*.csv", "{day:%Y-%m}.csv")
    shop = Landing(tmp_path, yaml, first_day=dt.date(2024, 1, 1))
    put(shop, ["1,u,2024-03-03 10:00,purchase,1", "2,u,2024-04-03 10:00,purchase,1"], "orders/2024-03.csv")
    shop.put("orders/2024-04.csv", b"\0 never read for March")
    read = shop.read(FIRST)
    assert [f.source_file for f in read.day.files] == ["orders/2024-03.csv"]
    assert read.reasons() == {3: "wrong_day"}


def rows_of(*days: int) -> list[str]:
    return [f"{day}-{n},u{n},2024-03-0{day} {10 + n}:00,purchase,1" for day in days for n in range(3)]


def test_promise_04_a_file_written_anew_without_a_day_has_lost_it_and_one_cut_at_its_edge_too(tmp_path):
    shop = Landing(tmp_path, MANY, first_day=dt.date(2024, 3, 1))
    put(shop, rows_of(1, 2, 3, 4))
    with shop.open() as reader:
        (file,) = files_of(reader.source, reader.landing, "orders")
        held = reader._many_days.days_of(file)
    put(shop, [*rows_of(2)[2:], *rows_of(3, 4, 5)])
    with shop.open() as reader:
        (file,) = files_of(reader.source, reader.landing, "orders")
        lost = {day.day: reader.lost_of(file, day, part.lines, part.content_hash) for day, part in sorted(held.items())}
    assert lost == {1: True, 2: True, 3: False, 4: False}


def test_a_day_at_the_edge_of_a_month_is_told_by_the_files_of_other_months(tmp_path):
    yaml = MANY.replace("all*.csv", "{day:%Y-%m}.csv")
    shop = Landing(tmp_path, yaml, first_day=dt.date(2024, 2, 1))
    head = "id,customer,at,kind,amount\n"
    shop.put("orders/2024-02.csv", head + "1,u,2024-02-27 10:00,purchase,1\n")
    with shop.open() as reader:
        assert "no line of 2024-02-29 or later" in reader.no_data_yet(dt.date(2024, 2, 29))
    shop.put("orders/2024-03.csv", head + "2,u,2024-03-02 10:00,purchase,1\n")
    with shop.open() as reader:
        for day in (dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 3, 1), dt.date(2024, 3, 2)):
            assert reader.no_data_yet(day) == ""
        assert reader.feed_without_data(dt.date(2024, 3, 3)) == "orders"
