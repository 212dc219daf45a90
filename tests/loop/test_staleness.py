"""What is stale, from footers alone: the right days, for the right reason, and in no time for years of days."""

import dataclasses
import os
import shutil
import time

import pytest

from seg_assets.core.days import day_range
from seg_assets.core.errors import DamagedFileError
from seg_assets.core.tables import TABLES
from seg_assets.loop import staleness
from seg_assets.loop.staleness import Snapshot, stale
from tests.drift.small_shop import Shop, day


class Bare(Shop):
    """A shop in which every table is one row that names its inputs; 3 ms a day and table."""

    def make(self, table, d):
        if table in ("user_profiles", "drift_report"):
            inputs = {"segment_model:baseline": self.baseline} if table == "drift_report" else {}
            self._publish(table, d, inputs, str(self.lake.inputs_of(table, d)))
        elif table != "segment_model":
            super().make(table, d)

    @property
    def baseline(self):
        return staleness.baseline_digest(self.lake, list(self.strategies), day(0))


@pytest.fixture
def shop(tmp_path):
    made = Bare(tmp_path)
    made.daily(0, 9)
    return made


def days_of(shop, table):
    return [(d - day(0)).days for d, _ in stale(shop.lake, shop.strategies).get(table, [])]


def test_a_lake_just_made_has_nothing_stale(shop):
    assert stale(shop.lake, shop.strategies) == {}


def test_a_changed_day_makes_exactly_its_direct_readers_stale_and_names_the_input(shop):
    shop.land([day(4)], "late")
    found = stale(shop.lake, shop.strategies)
    assert set(found) == {"user_daily_activity", "user_category_activity", "identity_links"}
    assert found["user_daily_activity"] == [(day(4), "raw_events:day changed since")]


def test_a_change_reaches_every_day_whose_window_holds_it(shop):
    shop.land([day(4)], "late")
    shop.make("user_daily_activity", day(4))
    assert days_of(shop, "user_profiles") == [4, 5, 6, 7, 8, 9]
    assert days_of(shop, "user_lifetime") == [4]


def test_a_refresh_stops_where_the_content_came_out_the_same(shop):
    before = shop.lake.provenance("user_daily_activity", day(4))
    shop.land([day(4)], "late")
    shop._publish("user_daily_activity", day(4), {}, str(shop.lake.inputs_of("user_daily_activity", day(4))))
    after = shop.lake.provenance("user_daily_activity", day(4))
    assert after.content_hash != before.content_hash
    # The same content under new inputs: its readers have nothing to do.
    shop.land([day(4)])
    shop.make("user_daily_activity", day(4))
    assert shop.lake.provenance("user_daily_activity", day(4)).content_hash == before.content_hash
    assert days_of(shop, "user_profiles") == []


def test_what_may_change_is_told_ahead_along_chains_and_windows(shop):
    shop.land([day(4)], "late")
    dirty = Snapshot(shop.lake, shop.strategies).dirty()
    assert dirty["user_daily_activity"] == [day(4)]
    assert dirty["user_lifetime"] == day_range(day(4), day(9))
    assert dirty["drift_report"] == day_range(day(4), day(9))


def test_a_missing_day_is_found_and_one_that_cannot_be_made_is_told_apart(shop):
    shop.lake.drop("user_segments", day(9))
    (item,) = [i for i in Snapshot(shop.lake, shop.strategies).stale() if i.table == "user_segments"]
    assert (item.day, item.why, item.computable) == (day(9), staleness.MISSING, True)
    for table in ("raw_events", "user_daily_activity"):
        shop.lake.drop(table, day(6))
    hopeless = {(i.table, i.day) for i in Snapshot(shop.lake, shop.strategies).stale() if not i.computable}
    assert ("user_profiles", day(8)) in hopeless
    assert ("user_profiles", day(5)) not in hopeless


def test_a_raised_code_version_makes_every_day_of_the_table_stale(shop, monkeypatch):
    monkeypatch.setitem(TABLES, "segment_moves", dataclasses.replace(TABLES["segment_moves"], code_version="99"))
    found = stale(shop.lake, shop.strategies)
    assert [d for d, _ in found["segment_moves"]] == day_range(day(0), day(9))
    assert "version 1 of the code, now 99" in found["segment_moves"][0][1]


def test_days_after_the_last_one_asked_for_are_as_if_they_were_not_there(shop):
    shop.land([day(7)], "late")
    assert Snapshot(shop.lake, shop.strategies, day(6)).stale() == []
    assert Snapshot(shop.lake, shop.strategies, day(7)).stale() != []


def test_a_damaged_file_is_named_and_never_taken_for_fresh(shop):
    path = shop.lake.path("user_lifetime", day(3))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedFileError, match="user_lifetime"):
        stale(shop.lake, shop.strategies)


def test_what_is_no_day_in_a_tables_folder_is_passed_by(shop):
    folder = shop.lake.root / "user_segments"
    for name in (".DS_Store", "notes.txt", "day=2030-01-01"):
        (folder / name).write_text("x")
    good = shop.lake.path("user_segments", day(5))
    for name in ("day=20240105", "day=2024-W01-5", f"{good.parent.name}.bak", "day=9999-12-31"):
        (folder / name).mkdir()
        shutil.copy(good, folder / name)
    assert stale(shop.lake, shop.strategies) == {}


@pytest.mark.parametrize("thing", ["pipe", "loop of links"])
def test_what_is_no_file_in_a_days_place_is_named_and_never_waited_for(shop, thing):
    path = shop.lake.path("user_segments", day(3))
    path.unlink()
    os.mkfifo(path) if thing == "pipe" else path.symlink_to(path.name)
    with pytest.raises(DamagedFileError, match=str(path)):
        stale(shop.lake, shop.strategies)


def test_a_look_at_unchanged_days_costs_microseconds_a_file(shop):
    """Three years are 19,000 files; a sensor tick must not take more than two seconds of CPU for them."""
    Snapshot(shop.lake, shop.strategies).stale()
    files = sum(len(shop.lake.days(t)) for t in TABLES)
    started = time.process_time()
    for _ in range(20):
        Snapshot(shop.lake, shop.strategies).stale()
    assert (time.process_time() - started) / 20 / files < 150e-6
