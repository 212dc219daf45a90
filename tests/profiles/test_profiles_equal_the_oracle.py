"""The profiles in the lake are those of an independent, slow computation from all raw events."""

import datetime as dt
import math

import pytest

from seg_assets.lake.store import Lake
from seg_assets.profiles import runner
from seg_assets.profiles.project import profile_columns
from tests.profiles import oracle
from tests.profiles.conftest import SHOWN
from tests.profiles.shop import History, event, put_day


def same(found, wanted) -> bool:
    if found is None or wanted is None:
        return found is None and wanted is None
    if isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(wanted, dt.date):
        return found.date() == wanted
    return found == wanted


def assert_same_profiles(lake: Lake, history: History, day: dt.date, columns) -> None:
    found = {r["user_id"]: r for r in oracle.plain(lake.read("user_profiles", day))}
    wanted = oracle.profiles(history.events, day, history.products, history.attributes)
    assert set(found) == set(wanted), f"users of {day}"
    for user, row in wanted.items():
        assert set(row) == set(columns), "the oracle computes every column"
        wrong = {c: (found[user][c], v) for c, v in row.items() if not same(found[user][c], v)}
        assert not wrong, f"{user!r} on {day}: column: (found, wanted) {wrong}"


def assert_same_category_profiles(lake: Lake, history: History, day: dt.date) -> None:
    found = {(r["user_id"], r["category"]): r for r in oracle.plain(lake.read("user_category_profiles", day))}
    known = oracle.links(history.events, day)
    recent: dict[str, list[dict]] = {}
    for e in history.events:
        user = e["user_id"] if e["user_id"] is not None else known.get(e["anonymous_id"])
        if user is not None and 0 <= (day - e["day"]).days < 90:
            recent.setdefault(user, []).append(e)
    wanted = {
        (user, category): row
        for user, own in recent.items()
        for category, row in oracle.category_profiles(own, history.products).items()
    }
    assert set(found) == set(wanted)
    for key, row in wanted.items():
        for column in ("orders_90d", "monetary_90d", "views_90d", "carts_90d", "share_90d"):
            assert same(found[key][column], row[column]), f"{key} on {day}: {column}"


@pytest.mark.parametrize("n", SHOWN)
def test_every_column_of_every_profile_equals_a_full_scan_of_raw_events(shop, n):
    assert_same_profiles(shop.lake, shop.history, shop.history.days[n], profile_columns(shop.settings))


@pytest.mark.parametrize("n", SHOWN)
def test_every_category_profile_equals_a_full_scan_of_raw_events(shop, n):
    assert_same_category_profiles(shop.lake, shop.history, shop.history.days[n])


def test_the_random_shop_hits_every_rule(shop):
    """An oracle that is never put to the test proves nothing: each hard case is in the history."""
    lake, last = shop.lake, shop.history.days[-1]
    profiles = lake.read("user_profiles", last)
    early = lake.read("user_profiles", shop.history.days[6])
    assert sorted(early.loc[early["is_suspected_bot"], "user_id"]) == ["robot", "slow robot"]
    linked = lake.read("identity_links", last)
    assert len(linked) > 20
    assert linked["user_id"].duplicated().any(), "a user with several visitors"
    assert (profiles["orders_90d"] != profiles["orders_all"]).any(), "orders that left the longest window"
    assert any(not len(lake.read("raw_events", d)) for d in shop.history.days), "empty days"
    for column in profiles.columns.drop(
        ["age_band", "income_band", "household_size", "dimensions", "is_suspected_bot"]
    ):
        assert profiles[column].nunique(dropna=False) > 1, f"{column} says nothing here"


@pytest.mark.parametrize("seed", range(2, 5))
def test_random_short_histories_equal_the_oracle_on_every_day(fresh, models, seed):
    lake = Lake.of(fresh)
    history = History(seed=seed, days=5, users=4, events_a_day=30)
    history.put(lake)
    runner.build(fresh, history.days, models)
    for day in history.days:
        assert_same_profiles(lake, history, day, profile_columns(fresh))
        assert_same_category_profiles(lake, history, day)


def test_all_dbt_tests_pass_on_the_random_shop(shop, tests):
    assert set(shop.built.tests) == set(tests)
    assert [t for t in shop.built.tests.values() if t.failures or t.error or t.skipped] == []


def test_a_visitor_nobody_knows_has_no_profile_and_a_login_brings_the_history_along(fresh, models):
    lake = Lake.of(fresh)
    first = event(dt.date(2024, 1, 1), "e1", "view_item", anonymous_id="cookie")
    second = event(dt.date(2024, 1, 2), "e2", "view_item", anonymous_id="cookie", user_id="ann")
    put_day(lake, first["day"], [first])
    put_day(lake, second["day"], [second])
    runner.build(fresh, [first["day"], second["day"]], models)
    assert len(lake.read("user_profiles", first["day"])) == 0
    (ann,) = oracle.plain(lake.read("user_profiles", second["day"]))
    assert (ann["user_id"], ann["views_all"], ann["tenure_days"], ann["active_days_all"]) == ("ann", 2, 1, 2)


def test_an_absurd_amount_is_cut_and_does_not_stop_the_day(fresh, models):
    lake = Lake.of(fresh)
    day = dt.date(2024, 1, 1)
    rows = [event(day, f"e{n}", "purchase", user_id="ann", amount="9999999999999999.99") for n in range(200)]
    put_day(lake, day, rows)
    runner.build(fresh, [day], models)
    (ann,) = oracle.plain(lake.read("user_profiles", day))
    assert ann["order_value_max_all"] == 1e11
    assert ann["monetary_all"] == 200e11
    assert ann["order_value_var_all"] == 0
