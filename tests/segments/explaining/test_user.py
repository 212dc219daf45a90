"""Explanations in words: terms that add up, and counterfactuals that hold when they are tried."""

import datetime as dt

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.explaining.counterfactual import nearest_counterfactual
from seg_assets.segments.explaining.text import say
from seg_assets.segments.explaining.user import Driver, Explanation, drivers_of, explain_user
from tests.segments.daily_shop import DAY, BareLake, make_frame, make_model, make_strategy

ONE = dt.timedelta(days=1)
USERS = [f"u{n:03d}" for n in range(120)] + ["o'hara\nnewline"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_counterfactual_moves_the_user_when_it_is_tried_and_half_of_it_does_not(seed):
    strategy = make_strategy(hysteresis={"margin": 0.3, "dwell_days": 5})
    frame = make_frame(USERS, seed)
    frame["orders_90d"] = np.rint(frame["orders_90d"]) + 1
    model = make_model(frame, strategy, ["v-001", "v-002", "v-003"], seed)
    assigned = assign_day(strategy, frame, model, None, DAY)
    found = 0
    for n in range(0, 60, 6):
        user, state = frame.iloc[[n]].reset_index(drop=True), assigned.iloc[[n]].reset_index(drop=True)
        second, _ = drivers_of(model, user, state["segment_id"][0])
        change = nearest_counterfactual(strategy, model, user, state, frame, second, DAY)
        if change is None:
            continue
        found += 1
        moved = assign_day(strategy, user.assign(**{change.feature: change.needed}), model, state, DAY + ONE)
        assert moved["segment_id"][0] == second
        half = (change.now + change.needed) / 2
        halfway = assign_day(strategy, user.assign(**{change.feature: half}), model, state, DAY + ONE)
        assert halfway["segment_id"][0] != second
        if change.feature == "orders_90d":
            assert change.needed == int(change.needed)
    assert found >= 3


def test_the_counterfactual_is_the_smallest_of_all_single_features():
    strategy = make_strategy(hysteresis={"margin": 0.0, "dwell_days": 1})
    frame = make_frame(USERS, 4)
    model = make_model(frame, strategy, ["v-001", "v-002"], 3)
    assigned = assign_day(strategy, frame, model, None, DAY)
    user, state = frame.iloc[[7]].reset_index(drop=True), assigned.iloc[[7]].reset_index(drop=True)
    second, _ = drivers_of(model, user, state["segment_id"][0])
    change = nearest_counterfactual(strategy, model, user, state, frame, second, DAY)
    assert change is not None
    here = model.space.transform(user)[0]
    for column in model.space.sources:
        values = np.linspace(0, frame[column].max(), 2000)
        tried = user.iloc[np.zeros(len(values), dtype=int)].reset_index(drop=True).assign(**{column: values})
        reached = (model.assign(tried)["segment_id"] == second).to_numpy()
        effort = np.sqrt(((model.space.transform(tried) - here) ** 2).sum(axis=1))
        # A tenth of the way may be given up for a round number.
        assert effort[reached].min(initial=np.inf) >= change.effort * 0.85


def test_the_terms_of_a_users_segment_add_up_to_the_margin():
    strategy = make_strategy()
    frame = make_frame(USERS, 2)
    model = make_model(frame, strategy, ["v-001", "v-002", "v-003"], 2)
    assigned = assign_day(strategy, frame, model, None, DAY)
    for n in range(0, 100, 10):
        _, drivers = drivers_of(model, frame.iloc[[n]], assigned["segment_id"][n])
        assert sum(d.term for d in drivers) == pytest.approx(assigned["margin"][n], abs=1e-9)


def test_what_no_column_stands_behind_is_said_in_words_and_nothing_has_no_sign():
    move = {
        "kind": "moved", "from_segment": "v-new", "to_segment": "v-001", "waited_days": 0, "cause": "rule",
        "margin_before": -1.0, "margin_after": -0.0, "user_part": 1.0, "model_part": -1e-17,
        "contributions": [{"feature": "(intercept)", "user": 1.0, "model": 0.0}],
    }  # fmt: skip
    drivers = (Driver("(intercept)", 0.4, None, None, None), Driver("orders_90d", 0.1, None, None, None))
    explained = Explanation(
        "v", "u", DAY, "v-001", "One", "cluster", DAY, 0.5, 0.5, "v-002", "Two", None, 0, "", drivers, None, move
    )
    text = say(explained)
    assert "+0.4000  the model's own weighting, the same for every user" in text
    assert "Margin -1 -> 0: the user +1, the model 0" in text
    assert text.count("the model's own weighting") == 2
    assert "(intercept)" not in text
    assert "orders_90d = unknown" in text


def shop(tmp_path, strategy, frames, model):
    from seg_assets.segments.assets import assign_lake_day, move_lake_day
    from tests.segments.daily_shop import promote, publish_day

    lake = BareLake(tmp_path / "lake", DAY)
    for n, frame in enumerate(frames):
        publish_day(lake, DAY + ONE * n, frame)
        if n == 0 and model is not None:
            promote(lake, DAY, model)
        assign_lake_day(lake, {"v": strategy}, DAY + ONE * n)
        move_lake_day(lake, {"v": strategy}, DAY + ONE * n)
    return lake


def test_explain_says_where_since_when_why_the_last_move_and_what_would_change_it(tmp_path):
    strategy = make_strategy(hysteresis={"margin": 0.0, "dwell_days": 0})
    before, after = make_frame(USERS, 1), make_frame(USERS, 2)
    model = make_model(before, strategy, ["v-001", "v-002", "v-003"], 1)
    lake = shop(tmp_path, strategy, [before, after], model)
    moves = lake.read("segment_moves", DAY + ONE)
    moves = moves[moves["kind"] == "moved"]
    row = moves.iloc[0]
    text = say(explain_user(lake, strategy, row["user_id"], DAY + ONE))
    assert f"is in {row['to_segment']}, Name of {row['to_segment']}" in text
    assert f"since {DAY + ONE} (1 day)" in text
    assert f"came from {row['from_segment']} on {DAY + ONE}" in text and "cause: user" in text
    assert "instead of" in text or "no change of a single feature" in text
    stayed = sorted(set(USERS) - set(moves["user_id"]))[0]
    assert f"since {DAY} (2 days)" in say(explain_user(lake, strategy, stayed, DAY + ONE))


def test_explain_says_the_rule_of_those_who_are_not_clustered(tmp_path):
    strategy = make_strategy(eligibility={"minimum_orders": 2})
    frame = make_frame(USERS, 1)
    frame.loc[0, "inactive_days"], frame.loc[1, "tenure_days"], frame.loc[2, "orders_all"] = 120.0, 3.0, 1.0
    ids = frame["user_id"].tolist()
    lake = shop(tmp_path, strategy, [frame], make_model(frame, strategy, ["v-001", "v-002"]))
    said = [say(explain_user(lake, strategy, u, DAY)) for u in ids[:3]]
    assert "No event for 120 days; dormant from 90 on" in said[0]
    assert "First seen 3 days ago; new until 14" in said[1]
    assert "orders_all is 1 (at least 2)" in said[2]
    unassigned = shop(tmp_path / "none", strategy, [frame], None)
    assert "no model yet" in say(explain_user(unassigned, strategy, ids[0], DAY))


def test_a_user_or_day_that_is_not_there_is_named(tmp_path):
    strategy = make_strategy()
    frame = make_frame(USERS, 1)
    lake = shop(tmp_path, strategy, [frame], make_model(frame, strategy, ["v-001", "v-002"]))
    assert "o'hara\\nnewline" in say(explain_user(lake, strategy, "o'hara\nnewline", DAY))
    with pytest.raises(ConfigError, match="nobody"):
        explain_user(lake, strategy, "nobody", DAY)
    with pytest.raises(MissingDaysError, match=str(DAY + ONE)):
        explain_user(lake, strategy, "u001", DAY + ONE)
