"""What is planted shows in the data, and the truth says so."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from seg_assets.simulator import SimulationConfig, Truth, scenario_names, simulate
from tests.simulator.reading import events_of

DAY = 14
START = pd.Timestamp("2024-01-01")
SPLIT_DAY = START + pd.Timedelta(days=DAY)


def run(tmp_path, scenario: str, **fields) -> tuple[Truth, pd.DataFrame]:
    fields = {"users": 300, "days": 28, "seed": 11, "script_day": DAY, "events_per_user_day": 2, **fields}
    truth = simulate(tmp_path, SimulationConfig(scenario=scenario, **fields))
    return truth, events_of(tmp_path)


def per_day(events: pd.DataFrame, users: set[str]) -> tuple[float, float]:
    """Mean daily events of these users in the two weeks before and after the scripted day."""
    mine = events[events["user_id"].isin(users)]
    return (mine["day"] < SPLIT_DAY).sum() / DAY, (mine["day"] >= SPLIT_DAY).sum() / DAY


def members(truth: Truth, segment: str, day: int) -> set[str]:
    segments = truth.segments_on(START + dt.timedelta(days=day))
    return set(segments[segments == segment].index)


def test_segments_of_a_plain_shop_differ_and_stay(tmp_path):
    truth, events = run(tmp_path, "plain", users=500)
    assert truth.scripts == []
    assert not truth.membership["user_id"].duplicated().any()
    segment = truth.users.set_index("user_id")["segment"]
    events["segment"] = events["user_id"].map(segment)
    users = segment.value_counts()
    lines = events[events["event_type"] == "purchase"].groupby("segment").size() / users
    views = events[events["event_type"] == "view_item"].groupby("segment").size() / users
    assert lines["family"] > 10 * lines["browser"]
    assert views["browser"] > 3 * views["occasional"]
    price = events[events["event_type"] == "purchase"].groupby("segment")["amount"].mean()
    assert price["big_spender"] > 4 * price["bargain"]
    before, after = per_day(events, set(segment[segment == "loyal"].index))
    assert 0.8 < after / before < 1.25


def test_spend_has_a_heavy_tail(tmp_path):
    _, events = run(tmp_path, "plain", users=800)
    spend = events.groupby("user_id")["amount"].sum().sort_values(ascending=False)
    spend = spend[spend > 0]
    assert spend.head(len(spend) // 10).sum() > 0.3 * spend.sum()
    assert spend.mean() > 1.4 * spend.median()


def test_visits_follow_the_hour_and_the_day_of_the_week(tmp_path):
    _, events = run(tmp_path, "plain", users=800, days=21)
    at = pd.to_datetime(events["event_time"], utc=True)
    by_hour = at.dt.hour.value_counts()
    assert by_hour.loc[[19, 20, 21]].mean() > 3 * by_hour.loc[[3, 4, 5]].mean()
    by_weekday = at.dt.dayofweek.value_counts()
    assert by_weekday.loc[[5, 6]].mean() > 1.15 * by_weekday.loc[[0, 1, 2]].mean()


def test_events_per_user_and_day_are_what_was_asked_for(tmp_path):
    for wanted in (0.5, 3.0):
        truth = simulate(tmp_path, SimulationConfig(users=1000, days=14, events_per_user_day=wanted, growth=0))
        assert truth.counts["clean_events"].sum() / 14_000 == pytest.approx(wanted, rel=0.12)


def test_a_shift_changes_one_segment_from_its_day_on_and_no_membership(tmp_path):
    truth, events = run(tmp_path, "shift")
    before, after = per_day(events, members(truth, "bargain", 0))
    assert after > 2.5 * before
    others = per_day(events, members(truth, "loyal", 0) | members(truth, "family", 0))
    assert 0.8 < others[1] / others[0] < 1.25
    assert not truth.membership["user_id"].duplicated().any()
    (script,) = truth.scripts
    assert (script["kind"], script["day"], script["segment"]) == ("shift", "2024-01-15", "bargain")
    assert script["users"] == len(members(truth, "bargain", DAY - 1))


def test_a_ramp_moves_users_one_by_one(tmp_path):
    script = {"kind": "death", "day": 5, "segment": "loyal", "ramp_days": 9}
    truth, _ = run(tmp_path, "plain", scripts=[script], script_day=None)
    sizes = [len(members(truth, "loyal", day)) for day in (4, 9, 14)]
    assert sizes[0] > sizes[1] > sizes[2] == 0
    assert truth.scripts[0]["last_day"] == "2024-01-15"


def test_a_split_gives_half_of_a_segment_another_behaviour(tmp_path):
    truth, events = run(tmp_path, "split")
    parents = members(truth, "family", DAY - 1)
    children = members(truth, "new_parent", DAY)
    assert children < parents
    assert 0.35 < len(children) / len(parents) < 0.65
    after = events[(events["day"] >= SPLIT_DAY) & (events["event_type"] == "purchase")]
    baby = after["category"].eq("baby").groupby(after["user_id"].isin(children)).mean()
    assert baby[True] > 2 * baby[False]


def test_a_merge_makes_two_segments_one(tmp_path):
    truth, events = run(tmp_path, "merge")
    both = members(truth, "loyal", DAY - 1) | members(truth, "bargain", DAY - 1)
    assert both <= members(truth, "all_round", DAY)
    assert not members(truth, "loyal", 27) | members(truth, "bargain", 27)
    late = events[(events["day"] >= SPLIT_DAY) & (events["event_type"] == "purchase")]
    was_loyal = late["user_id"].isin(members(truth, "loyal", 0))
    was_bargain = late["user_id"].isin(members(truth, "bargain", 0))
    assert abs((late[was_loyal]["discount"] > 0).mean() - (late[was_bargain]["discount"] > 0).mean()) < 0.15


def test_users_of_a_dead_segment_fall_silent(tmp_path):
    truth, events = run(tmp_path, "death", days=32)
    dead = members(truth, "bargain", DAY - 1)
    assert dead <= members(truth, "gone", DAY + 7)
    # A refund or a review of an old order may still come in.
    silent = events[(events["day"] > SPLIT_DAY + pd.Timedelta(days=7)) & events["user_id"].isin(dead)]
    assert set(silent["event_type"]) <= {"refund", "review"}
    assert not members(truth, "bargain", 31)


def test_a_born_cohort_was_never_seen_before(tmp_path):
    truth, events = run(tmp_path, "birth")
    cohort = members(truth, "trend", 27)
    assert len(cohort) == 60
    seen = events[events["user_id"].isin(cohort)]
    assert seen["user_id"].nunique() > 50
    assert seen["day"].min() >= SPLIT_DAY
    assert (truth.users.set_index("user_id").loc[list(cohort), "signup_day"] >= SPLIT_DAY).all()
    assert seen["channel"].eq("social").mean() > 0.4


def test_a_promotion_lifts_its_days_only(tmp_path):
    truth, events = run(tmp_path, "promotion")
    orders = events[events["event_type"] == "purchase"].groupby("day")["order_id"].nunique()
    sale = pd.date_range(SPLIT_DAY, periods=4)
    usual = [d + pd.Timedelta(days=w) for d in sale for w in (-7, 7)]
    assert orders.loc[sale].mean() > 1.8 * orders.loc[usual].mean()
    assert not truth.membership["user_id"].duplicated().any()
    exposed = events[(events["event_type"] == "campaign_exposure") & (events["day"] == SPLIT_DAY)]
    assert exposed["campaign_id"].eq("promo-20240115").sum() > 100


def test_bots_look_at_pages_all_day_and_never_buy(tmp_path):
    truth, events = run(tmp_path, "messy", days=12, script_day=None)
    bots = set(truth.users[truth.users["is_bot"]]["user_id"])
    assert len(bots) == 2
    mine = events[events["user_id"].isin(bots)]
    assert set(mine["event_type"]) <= {"view_item", "search"}
    assert mine.groupby(["user_id", "day"]).size().median() > 80
    people = events[~events["user_id"].isin(bots)]
    assert people.groupby(["user_id", "day"]).size().quantile(0.99) < 80


def test_users_may_change_segment_of_their_own_accord(tmp_path):
    truth, _ = run(tmp_path, "plain", days=10, mobility=0.02)
    changes = truth.membership["user_id"].duplicated().sum()
    assert 20 < changes < 100


def test_one_off_buyers_come_in_one_burst(tmp_path):
    truth, events = run(tmp_path, "one_off", days=40)
    segment = truth.users.set_index("user_id")["segment"]
    buyers = events[events["user_id"].map(segment).eq("gift_buyer") & (events["event_type"] == "view_item")]
    spans = buyers.groupby("user_id")["day"].agg(lambda days: (days.max() - days.min()).days)
    assert spans.max() < 5


def test_wholesalers_have_huge_orders_and_large_refunds(tmp_path):
    _, events = run(tmp_path, "wholesale", users=500)
    orders = events[events["event_type"] == "purchase"].groupby("order_id")["amount"].sum()
    assert orders.max() > 100 * orders.median()
    refunds = events[events["event_type"] == "refund"]["amount"]
    assert refunds.min() < -5 * events[events["event_type"] == "purchase"]["amount"].median()


def test_subscribers_order_every_thirty_days(tmp_path):
    truth, events = run(tmp_path, "subscription", users=60, days=95)
    basic = members(truth, "basic_plan", 0)
    orders = events[(events["event_type"] == "purchase") & events["user_id"].isin(basic)]
    gaps = orders.sort_values("day").groupby("user_id")["day"].diff().dropna().dt.days
    assert len(gaps) > 50
    assert set(gaps) == {30}


def test_a_money_only_shop_records_purchases_with_date_and_money(tmp_path):
    _, events = run(tmp_path, "money_only")
    assert set(events.columns) - {"day"} == {"event_id", "user_id", "event_time", "event_type", "amount"}
    assert set(events["event_type"]) == {"purchase"}
    assert not (tmp_path / "users").exists()
    assert not (tmp_path / "products.csv").exists()


def test_every_shipped_scenario_runs_and_tells_its_script(tmp_path):
    kinds = set()
    for name in scenario_names():
        truth = simulate(tmp_path / name, SimulationConfig(users=40, days=3, scenario=name, script_day=1))
        assert truth.counts["clean_events"].sum() > 0
        assert np.isin(truth.users["segment"], [*truth.script["segments"], *truth.membership["segment"]]).all()
        kinds |= {script["kind"] for script in truth.scripts}
        assert all(script["expected"] for script in truth.scripts)
    assert kinds >= {"promotion", "shift", "split", "merge", "death", "birth", "duplicates", "corrupt"}
