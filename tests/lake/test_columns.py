"""Columns that a process keeps of profile days: never stale, never mixed, never written to, never too many."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import DamagedFileError
from seg_assets.lake import cache, columns
from seg_assets.segments import features
from seg_assets.segments.features import load_features
from tests.segments.daily_shop import DAY, BareLake, make_frame, make_strategy, publish_profiles

ONE = dt.timedelta(days=1)
USERS = [f"u{n:03d}" for n in range(50)]


@pytest.fixture
def lake(tmp_path):
    cache.forget()
    yield BareLake(tmp_path / "lake", DAY - 30 * ONE)
    cache.forget()


@pytest.fixture
def reads(monkeypatch):
    """Lists of columns that were read from a file, in order."""
    found = []
    read = features._profile_columns

    def noted(con, profiles, kinds, wanted, in_order):
        found.append(list(wanted))
        return read(con, profiles, kinds, wanted, in_order)

    monkeypatch.setattr(features, "_profile_columns", noted)
    return found


def test_a_column_is_read_once_however_many_rooms_ask(lake, reads):
    frame = make_frame(USERS).assign(city=[None, "Ulm"] * 25, gone=[np.nan, 1.0] * 25)
    publish_profiles(lake, DAY, frame)
    first = load_features(lake, make_strategy(), DAY)
    again = load_features(lake, make_strategy(), DAY, extra=["city", "gone", "nowhere"])
    assert load_features(lake, make_strategy(), DAY, extra=["gone"]).equals(again.drop(columns=["city", "nowhere"]))
    assert reads == [[c for c in first.columns if c != "user_id"], ["city", "gone"]]
    cache.forget()
    anew = load_features(lake, make_strategy(), DAY, extra=["city", "gone", "nowhere"])
    pd.testing.assert_frame_equal(again, anew)
    assert again["nowhere"].isna().all() and again["city"].isna().sum() == 25


def test_a_day_that_was_replaced_is_read_anew(lake):
    publish_profiles(lake, DAY, make_frame(USERS, seed=1))
    load_features(lake, make_strategy(), DAY)
    publish_profiles(lake, DAY, make_frame(USERS[:40], seed=2))
    found = load_features(lake, make_strategy(), DAY)
    assert found["orders_90d"].to_list() == make_frame(USERS[:40], seed=2)["orders_90d"].to_list()
    assert len(columns._COLUMNS.paths()) == 1


def test_a_day_that_is_replaced_while_it_is_read_is_not_mixed(lake, monkeypatch):
    publish_profiles(lake, DAY, make_frame(USERS, seed=1))
    load_features(lake, make_strategy(["orders_90d"]), DAY)
    read = features._profile_columns

    def late(*args):
        monkeypatch.setattr(features, "_profile_columns", read)
        publish_profiles(lake, DAY, make_frame(USERS[:40], seed=2))
        return read(*args)

    monkeypatch.setattr(features, "_profile_columns", late)
    found = load_features(lake, make_strategy(), DAY)
    now = make_frame(USERS[:40], seed=2)
    assert (
        found[["orders_90d", "monetary_90d"]].to_numpy().tolist()
        == now[["orders_90d", "monetary_90d"]].to_numpy().tolist()
    )


def test_a_byte_that_changed_is_noticed_though_the_columns_are_kept(lake):
    publish_profiles(lake, DAY, make_frame(USERS))
    load_features(lake, make_strategy(), DAY)
    path = lake.path("user_profiles", DAY)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedFileError, match="user_profiles"):
        load_features(lake, make_strategy(), DAY)


def test_nobody_can_write_to_what_is_kept(lake):
    publish_profiles(lake, DAY, make_frame(USERS))
    frame = load_features(lake, make_strategy(), DAY)
    with pytest.raises(ValueError, match="read-only"):
        frame["orders_90d"].to_numpy()[0] = -1.0
    frame["orders_90d"] = -1.0
    assert (load_features(lake, make_strategy(), DAY)["orders_90d"] > 0).all()


def test_without_room_to_remember_anything_the_same_columns_are_read_each_time(lake, reads, monkeypatch):
    publish_profiles(lake, DAY, make_frame(USERS))
    first = load_features(lake, make_strategy(), DAY)
    cache.forget()
    monkeypatch.setattr(cache, "BUDGET_BYTES", 100)
    for _ in range(2):
        pd.testing.assert_frame_equal(load_features(lake, make_strategy(), DAY), first)
    assert len(reads) == 3


def test_shares_of_categories_are_those_of_the_category_table_that_is_there_now(lake, reads):
    kinds = {"user_id": "VARCHAR", "category": "VARCHAR", "share_90d": "DOUBLE"}
    strategy = make_strategy([{"category_shares": {"top": 2}}])

    def publish(share):
        rows = [(u, "tea", share) for u in USERS[::2]]
        lake.publish_frame("user_category_profiles", DAY, pd.DataFrame(rows, columns=list(kinds)), kinds)

    publish_profiles(lake, DAY, make_frame(USERS))
    publish(1.0)
    assert load_features(lake, strategy, DAY)["category:tea"].to_list() == [1.0, 0.0] * 25
    publish(0.5)
    assert load_features(lake, strategy, DAY, ["tea", "rum"])["category:tea"].to_list() == [0.5, 0.0] * 25
    assert load_features(lake, strategy, DAY, ["tea", "rum"])["category:rum"].to_list() == [0.0] * 50
    assert len(reads) == 1


def test_profiles_that_are_not_in_order_are_sorted(lake):
    frame = make_frame(USERS)
    with lake.connect() as con:
        con.register("frame", frame.sample(frac=1, random_state=3))
        con.execute("create temp table shuffled as select * from frame")
        lake.publish_table(con, "shuffled", "user_profiles", DAY)
    load_features(lake, make_strategy(["orders_90d"]), DAY)
    found = load_features(lake, make_strategy(), DAY)
    assert found["user_id"].to_list() == USERS
    assert found["monetary_90d"].to_list() == frame["monetary_90d"].to_list()
