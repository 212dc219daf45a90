"""Segment profiles: exact money, honest numbers, a story that says what sets a segment apart."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.daily.summaries import EXTRA, SCHEMA, TABLE, profile_day
from tests.segments.daily_shop import DAY, BareLake, make_frame, make_model, make_strategy

USERS = [f"u{n:03d}" for n in range(200)]


def profiled(strategy, frame, model):
    assigned = assign_day(strategy, frame, model, None, DAY)
    return profile_day(strategy, frame, assigned, model), assigned


def with_money(frame: pd.DataFrame, value=None) -> pd.DataFrame:
    for column in EXTRA:
        frame[column] = frame["monetary_90d"] if value is None else value
    return frame


def feature(profiles: pd.DataFrame, segment: str, name: str) -> dict:
    row = profiles[profiles["segment_id"] == segment].iloc[0]
    return next(f for f in row["features"] if f["feature"] == name)


def test_users_and_money_of_the_segments_add_up_to_the_shop_to_the_cent():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS), 0.10)
    frame.loc[:20, "inactive_days"] = 400.0
    frame.loc[3, "monetary_90d"] = -1234.56
    profiles, assigned = profiled(strategy, frame, make_model(frame, strategy, ["v-001", "v-002", "v-003"]))
    assert profiles["users"].sum() == 200 and profiles["share"].sum() == pytest.approx(1)
    assert sum(profiles["spend_all"]) == Decimal("20.00")
    exact = sum((Decimal(str(v)) for v in frame["monetary_90d"]), Decimal(0))
    assert sum(profiles["spend_90d"]) == exact
    sizes = assigned["segment_id"].value_counts()
    assert dict(zip(profiles["segment_id"], profiles["users"], strict=True)) == sizes.to_dict()
    assert profiles.set_index("segment_id").loc["v-dormant", "name"] == "Dormant"


def test_spend_beyond_64_bits_of_cents_is_still_exact():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    frame["monetary_all"] = 9e15
    profiles, _ = profiled(strategy, frame, make_model(frame, strategy, ["v-001", "v-002"]))
    assert sum(profiles["spend_all"]) == Decimal(9 * 10**15 * 200)


def test_features_are_what_a_group_by_would_say():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    frame.loc[::9, "orders_90d"] = np.nan
    profiles, assigned = profiled(strategy, frame, make_model(frame, strategy, ["v-001", "v-002"]))
    mine = frame.loc[(assigned["segment_id"] == "v-001").to_numpy(), "orders_90d"]
    told = feature(profiles, "v-001", "orders_90d")
    assert told["mean"] == pytest.approx(mine.mean()) and told["median"] == pytest.approx(mine.median())
    assert told["population_mean"] == pytest.approx(frame["orders_90d"].mean())
    assert told["lift"] == pytest.approx(mine.mean() / frame["orders_90d"].mean())


def test_spend_that_refunds_take_back_has_no_multiple():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    frame["monetary_90d"] = np.where(np.arange(200) % 2, 0.1, -0.1) * (1 + np.arange(200) // 2 % 7)
    profiles, _ = profiled(strategy, frame, make_model(frame, strategy, ["v-001", "v-002"]))
    assert feature(profiles, "v-001", "monetary_90d")["population_mean"] == pytest.approx(0, abs=1e-12)
    assert feature(profiles, "v-001", "monetary_90d")["lift"] is None
    assert feature(profiles, "v-001", "orders_90d")["lift"] > 0


def test_the_story_names_what_was_planted():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    rich = np.arange(200) % 4 == 0
    frame["orders_90d"] = frame["active_days_90d"] = 4.0
    frame["monetary_90d"] = np.where(rich, 5000.0, 50.0)
    model = make_model(frame.iloc[[0, 1]], strategy, ["v-001", "v-002"])
    profiles, assigned = profiled(strategy, frame, model)
    of_rich = assigned["segment_id"][rich].mode()[0]
    story = profiles.set_index("segment_id").loc[of_rich, "story"]
    assert story.startswith("High-spending (monetary 90d 5,000")


def test_the_rule_of_a_planted_segment_finds_it_again():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    frame.loc[:60, "inactive_days"] = 200.0
    profiles, _ = profiled(strategy, frame, make_model(frame, strategy, ["v-001", "v-002"]))
    dormant = profiles.set_index("segment_id").loc["v-dormant"]
    assert dormant["rule"].startswith("inactive_days > ")
    assert dormant["rule_precision"] == 1.0 and dormant["rule_recall"] == 1.0
    assert profiles["rules_fidelity"].iloc[0] > 0.8


def test_a_cluster_without_users_is_still_told():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    model = make_model(frame, strategy, ["v-001", "v-002"])
    frame["tenure_days"] = 1.0
    profiles, _ = profiled(strategy, frame, model)
    assert profiles.set_index("segment_id")["users"].to_dict() == {"v-001": 0, "v-002": 0, "v-new": 200}


@pytest.mark.parametrize("users", [0, 1])
def test_a_day_of_no_or_one_user_constant_and_null_columns_is_published(tmp_path, users):
    strategy = make_strategy()
    model = make_model(make_frame(USERS), strategy, ["v-001", "v-002"])
    frame = with_money(make_frame(USERS).iloc[:users].assign(orders_90d=np.nan, active_days_90d=1.0), np.nan)
    frame = frame.reset_index(drop=True)
    for champion in (None, model):
        profiles, _ = profiled(strategy, frame, champion)
        lake = BareLake(tmp_path / "lake", DAY)
        lake.publish_frame(TABLE, DAY, profiles, SCHEMA)
        assert lake.read(TABLE, DAY)["users"].sum() == users


def test_users_in_another_order_are_refused_rather_than_mixed_up():
    strategy = make_strategy()
    frame = with_money(make_frame(USERS))
    assigned = assign_day(strategy, frame, None, None, DAY)
    with pytest.raises(ValueError, match="same order"):
        profile_day(strategy, frame.iloc[::-1].reset_index(drop=True), assigned, None)
