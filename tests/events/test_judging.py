"""A day is judged feed by feed: one that is refused whole stops the day, and the last good tables stay."""

import datetime as dt
import hashlib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import LandingError
from seg_assets.core.settings import Settings
from seg_assets.events.assets import connect_to_lake_only, publish_table_day, read_and_publish
from seg_assets.events.formats import parquet
from seg_assets.events.formats.lines import BytesRead
from seg_assets.events.judging import UsualLines
from seg_assets.events.landing import REFUSED_KEY, files_not_taken
from seg_assets.events.reader import Reader
from seg_assets.events.source import load_source
from seg_assets.lake.store import Lake

FIRST = dt.date(2024, 3, 1)
YAML = """
name: shop
feeds:
  orders:
    files: "orders/{day}.csv"
    event_type: purchase
    columns: {event_id: id, user_id: user, event_time: at, amount: amount}
  reviews:
    files: "reviews/{day}.csv"
    closed_days: normal
    columns: {event_id: id, user_id: user, event_time: at, rating: stars, event_type: kind}
    values: {event_type: {review: review, draft: null}}
users: {files: users.csv, columns: {user_id: id, region: region}}
"""


class Shop:
    def __init__(self, root):
        self.source = root / "shop.yaml"
        self.source.write_text(YAML)
        self.landing = root / "landing"
        self.settings = Settings(
            home=root / "home", landing=self.landing, source=str(self.source), start_day=FIRST, threads=1
        )
        self.lake = Lake.of(self.settings)

    def put(self, name, text):
        (self.landing / name).parent.mkdir(parents=True, exist_ok=True)
        (self.landing / name).write_text(text)

    def orders(self, day, lines=20, amount="5"):
        rows = "".join(f"o{day}-{n},u{n},{day} 10:00:00,{amount}\n" for n in range(lines))
        self.put(f"orders/{day}.csv", "id,user,at,amount\n" + rows)

    def reviews(self, day, stars="5", kind="review", lines=3):
        rows = "".join(f"r{day}-{n},u{n},{day} 11:00:00,{stars},{kind}\n" for n in range(lines))
        self.put(f"reviews/{day}.csv", "id,user,at,stars,kind\n" + rows)

    def users(self, header="id", rows=20):
        self.put("users.csv", f"{header},region\n" + "".join(f"u{n},north\n" for n in range(rows)))

    def read(self, day=FIRST):
        with Reader.of(self.settings) as reader, connect_to_lake_only(self.lake) as con:
            return read_and_publish(reader, self.lake, day, con, UsualLines(self.lake))

    def read_users(self, day=FIRST):
        with Reader.of(self.settings) as reader, connect_to_lake_only(self.lake) as con:
            return publish_table_day(reader, self.lake, "raw_users", "users", day, con)

    def hashes(self):
        tables = ("raw_events", "rejected_events", "landed_files")
        return [f.content_hash for t in tables if (f := self.lake.provenance(t, FIRST)) is not None]


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path)
    made.orders(FIRST)
    made.reviews(FIRST)
    made.users()
    return made


def checks_of(result):
    return {check.name: check for check in result.checks}


def test_promise_04_a_small_feed_that_is_refused_whole_stops_the_day_though_it_is_under_2_percent(shop):
    shop.orders(FIRST, lines=400)
    shop.reviews(FIRST, stars="nine", lines=2)
    result = shop.read()["raw_events"]
    assert (
        "feed reviews: not one of 2 lines was accepted" in shop.lake.provenance("raw_events", FIRST).extra[REFUSED_KEY]
    )
    check = checks_of(result)["rejected_share_is_small"]
    assert not check.passed
    assert check.severity.name == "ERROR"
    assert len(shop.lake.read("rejected_events", FIRST)) == 2


def test_promise_04_a_feed_refused_whole_never_replaces_a_day_that_was_read(shop):
    shop.read()
    before = shop.hashes()
    shop.reviews(FIRST, stars="nine")
    with pytest.raises(
        LandingError, match=r"feed reviews: not one of 3 lines was accepted \(\w+ of rating, first in rev"
    ):
        shop.read()
    assert shop.hashes() == before


def test_lines_left_out_on_purpose_and_duplicates_are_not_refused(shop):
    shop.reviews(FIRST, kind="draft")
    shop.read()
    footer = shop.lake.provenance("raw_events", FIRST)
    assert REFUSED_KEY not in footer.extra
    assert footer.rows == 20


def test_over_2_percent_of_one_feed_is_a_warning_that_names_the_feed(shop):
    shop.put(
        f"reviews/{FIRST}.csv", f"id,user,at,stars,kind\nr1,u1,{FIRST} 10:00,5,review\nr2,u1,{FIRST} 10:00,x,review\n"
    )
    check = checks_of(shop.read()["raw_events"])["rejected_share_is_small"]
    assert (check.passed, check.severity.name) == (False, "WARN")
    assert check.metadata["feeds_above_it"] == "reviews: 50.0%"


@pytest.mark.parametrize("wrong", [{"header": "customer"}, {"rows": 0}])
def test_promise_04_users_that_all_are_refused_or_gone_leave_the_last_good_table(shop, wrong):
    shop.read_users()
    before = shop.lake.provenance("raw_users", FIRST).content_hash
    shop.users(**wrong)
    with pytest.raises(LandingError, match=r"raw_users of 2024-03-01.*users.csv.*the last good table stays"):
        shop.read_users()
    assert shop.lake.provenance("raw_users", FIRST).content_hash == before
    # What needs the new table waits: the next day has none.
    with pytest.raises(LandingError):
        shop.read_users(FIRST + dt.timedelta(days=1))
    assert not shop.lake.has("raw_users", FIRST + dt.timedelta(days=1))


def test_a_first_users_file_without_rows_is_an_empty_table(shop):
    shop.users(rows=0)
    shop.read_users()
    assert shop.lake.provenance("raw_users", FIRST).rows == 0


def test_rows_fallen_to_under_half_are_a_warning(shop):
    shop.read_users()
    shop.users(rows=9)
    check = checks_of(shop.read_users())["rows_have_not_halved"]
    assert (check.passed, check.severity.name) == (False, "WARN")
    assert (check.metadata["rows"], check.metadata["rows_before"]) == (9, 20)
    assert checks_of(shop.read_users())["rows_have_not_halved"].passed


def test_lines_under_a_tenth_of_the_same_weekday_are_a_warning_from_the_third_week_on(shop):
    weeks = [FIRST + dt.timedelta(days=7 * n) for n in range(4)]
    passed = []
    for day, lines in zip(weeks, (20, 30, 1, 3), strict=True):
        shop.orders(day, lines=lines)
        shop.reviews(day)
        check = checks_of(shop.read(day)["raw_events"])["feeds_have_their_usual_lines"]
        passed.append(check.passed)
    assert passed == [True, True, False, True], "3 of a median of 20 are more than a tenth"
    assert check.severity.name == "WARN"


def test_files_that_no_feed_reads_are_named_and_unfinished_or_hidden_ones_are_not(shop):
    for name in (
        "orders/2024-03-02.CSV",
        "orders/2024-02-30.csv",
        "new/orders/2024-03-02.csv",
        "orders_2024-03-02.csv",
    ):
        shop.put(name, "x\n")
    for name in ("orders/2024-03-02.csv.part", "orders/.2024-03-02.csv.x", ".git/config"):
        shop.put(name, "x\n")
    assert files_not_taken(load_source(str(shop.source)), shop.landing) == [
        "new/orders/2024-03-02.csv", "orders/2024-02-30.csv", "orders/2024-03-02.CSV", "orders_2024-03-02.csv"
    ]  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_an_error_and_no_empty_day(shop, monkeypatch):
    import os

    real = os.listdir

    def listdir(folder):
        if str(folder).endswith("users"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    shop.source.write_text(YAML.replace("files: users.csv", "files: 'users/*.csv'"))
    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(LandingError, match=r"users: cannot be listed: .*Permission denied.*mend its permissions"):
        shop.read_users()


def test_promise_20_a_parquet_file_renamed_into_place_while_it_is_read_is_another_file(tmp_path, monkeypatch):
    path, fresh = tmp_path / "x.parquet", tmp_path / "fresh.parquet"
    pq.write_table(pa.table({"id": [f"old{n}" for n in range(30)]}), path, row_group_size=10)
    pq.write_table(pa.table({"id": ["new"]}), fresh)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(parquet, "ROWS", 10)
    read, rows = BytesRead(), []
    with duckdb.connect() as con:
        for table, _ in parquet.parquet_tables(path, read, con):
            if fresh.exists():
                fresh.rename(path)
            rows += table["id"].to_pylist()
    assert rows == [f"old{n}" for n in range(30)]
    assert read.sha256 == before != hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_parquet_file_that_is_written_to_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": [f"old{n}" for n in range(30)]}), path, row_group_size=10)
    monkeypatch.setattr(parquet, "ROWS", 10)
    with duckdb.connect() as con, pytest.raises(LandingError, match="was written to while it was read"):
        for _ in parquet.parquet_tables(path, BytesRead(), con):
            with path.open("ab") as handle:
                handle.write(b"more")


def test_promise_04_an_events_file_that_is_emptied_never_empties_a_day_that_was_read(shop):
    shop.read()
    before = shop.hashes()
    shop.orders(FIRST, lines=0)
    with pytest.raises(LandingError, match="feed orders has no line any more, it had 20; the day stays"):
        shop.read()
    assert shop.hashes() == before


def test_promise_04_a_pattern_that_no_longer_takes_the_files_of_a_day_never_empties_it(shop):
    shop.read()
    shop.source.write_text(YAML.replace("orders/{day}.csv", 'exports/{day}.csv"\n    closed_days: "normal'))
    with pytest.raises(LandingError, match=r"it would lose 20 of its events.*orders/2024-03-01.csv"):
        shop.read()
    # Taken out of the source on purpose, while its files lie there, a feed is no loss.
    shop.source.write_text(YAML.replace("  orders:", "  tills:").replace("orders/{day}.csv", "tills/{day}.csv"))
    with pytest.raises(LandingError, match="no data yet: feed tills"):
        shop.read()


def test_promise_04_one_of_several_users_files_that_is_refused_whole_is_named(shop):
    shop.source.write_text(YAML.replace("files: users.csv", "files: 'users*.csv'"))
    shop.put("users-2.csv", "id,region\nv1,south\n")
    shop.read_users()
    before = shop.lake.provenance("raw_users", FIRST).content_hash
    shop.put("users-2.csv", "customer,region\nv1,south\n")
    with pytest.raises(LandingError, match=r"not one of 1 lines of users-2\.csv was accepted"):
        shop.read_users()
    assert shop.lake.provenance("raw_users", FIRST).content_hash == before
