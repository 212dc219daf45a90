"""Moves are explained exactly: contributions add up, split into user and model, whatever the models and users are."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.daily.moves import SCHEMA, changes, contribution_sums, moves_of_day, worst_error
from tests.segments.daily_shop import DAY, BareLake, make_frame, make_model, make_strategy

NEXT = DAY + dt.timedelta(days=1)
USERS = [f"user {n}" for n in range(60)] + ["o'hara", 'say "hi"', "two\nlines", "ünï—✓", "; drop table users", "null"]
AT_ONCE = {"hysteresis": {"margin": 0.0, "dwell_days": 0}}


def two_days(strategy, before, after, old, new, relatives=None):
    yesterday = assign_day(strategy, before, old, None, DAY)
    today = assign_day(strategy, after, new, yesterday, NEXT)
    return today, yesterday, moves_of_day(strategy, today, yesterday, before, after, old, new, relatives)


def numbers(moves: pd.DataFrame, column: str) -> np.ndarray:
    return moves[column].to_numpy(float)


def terms(moves: pd.DataFrame, user: str) -> dict[str, tuple[float, float]]:
    row = moves[moves["user_id"] == user].iloc[0]
    return {c["feature"]: (c["user"], c["model"]) for c in row["contributions"]}


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.tuples(*[st.integers(0, 10_000)] * 4),
    clusters=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    scale=st.sampled_from([1e-3, 1.0, 1e6]),
    ruled=st.booleans(),
)
def test_promise_09_contributions_add_up_for_any_users_models_and_rules(seeds, clusters, scale, ruled):
    one = make_strategy(("orders_90d", "monetary_90d"), **AT_ONCE)
    other = make_strategy(("monetary_90d", "active_days_90d", "views_28d"), **AT_ONCE)
    every = ("orders_90d", "monetary_90d", "active_days_90d", "views_28d")
    before, after = make_frame(USERS, seeds[0], every), make_frame(USERS, seeds[1], every)
    before["monetary_90d"] *= scale
    after.loc[::7, "monetary_90d"] = np.nan
    if ruled:
        rng = np.random.default_rng(seeds[2])
        for frame in (before, after):
            frame["inactive_days"] = rng.integers(80, 100, len(frame)).astype(float)
            frame["tenure_days"] = rng.integers(5, 30, len(frame)).astype(float)
            frame.loc[::11, ["inactive_days", "tenure_days"]] = np.nan
    ids = ["v-001", "v-002", "v-003", "v-004", "v-005"]
    old = make_model(before, one, ids[: clusters[0]], seeds[2], radius=5.0)
    new = make_model(after, other, ids[-clusters[1] :], seeds[3], radius=9.0)
    relatives = {"v-001": "v-004", "v-005": "v-002"}
    today, yesterday, moves = two_days(one, before, after, old, new, relatives)
    sums = contribution_sums(moves["contributions"])
    assert np.abs(sums - numbers(moves, "margin_change")).max(initial=0) <= 1e-9
    assert np.abs(numbers(moves, "user_part") + numbers(moves, "model_part") - sums).max(initial=0) <= 1e-9
    assert worst_error(moves) <= 1e-9
    assert moves["margin_before"].notna().all()
    both = today.merge(yesterday, on="user_id", suffixes=("", "_old"))
    assert set(moves["user_id"]) == set(both.loc[both["segment_id"] != both["segment_id_old"], "user_id"])


def test_promise_09_a_day_without_a_new_champion_is_all_the_users_doing():
    strategy = make_strategy(**AT_ONCE)
    before, after = make_frame(USERS, 1), make_frame(USERS, 2)
    model = make_model(before, strategy, ["v-001", "v-002", "v-003"])
    _, _, moves = two_days(strategy, before, after, model, model)
    assert len(moves) > 10
    assert set(moves["cause"]) == {"user"} and not numbers(moves, "model_part").any()
    # Nearest before was `from` and is `to` now, so the margin crosses zero.
    assert (numbers(moves, "margin_before") <= 0).all() and (numbers(moves, "margin_after") >= 0).all()


def test_promise_09_a_new_champion_over_unchanged_users_is_all_the_models_doing():
    strategy = make_strategy(**AT_ONCE)
    frame = make_frame(USERS, 1)
    ids = ["v-001", "v-002", "v-003"]
    _, _, moves = two_days(
        strategy, frame, frame, make_model(frame, strategy, ids, 1), make_model(frame, strategy, ids, 2)
    )
    assert len(moves) > 5
    assert set(moves["cause"]) == {"model"} and not numbers(moves, "user_part").any()


def test_the_feature_that_changed_is_the_feature_that_is_named():
    strategy = make_strategy(**AT_ONCE)
    before = make_frame(USERS, 3)
    model = make_model(before, strategy, ["v-001", "v-002", "v-003"], 5)
    after = before.copy()
    after["monetary_90d"] = after["monetary_90d"] * 50
    _, _, moves = two_days(strategy, before, after, model, model)
    assert len(moves) > 5
    for contributions in moves["contributions"]:
        assert [c["feature"] for c in contributions] == ["monetary_90d"]


def test_the_split_is_the_mean_of_both_orders_computed_by_hand():
    strategy = make_strategy(("orders_90d",), **AT_ONCE)
    before, after = make_frame(USERS, 3, ("orders_90d",)), make_frame(USERS, 4, ("orders_90d",))
    ids = ["v-001", "v-002"]
    old, new = make_model(before, strategy, ids, 1), make_model(after, strategy, ids, 9)
    _, _, moves = two_days(strategy, before, after, old, new)
    row = moves.iloc[0]

    def margin(model, frame):
        x = frame[frame["user_id"] == row["user_id"]]
        scores = model.scores(model.space.transform(x))[0]
        index = {s: j for j, s in enumerate(model.segment_ids)}
        return scores[index[row["from_segment"]]] - scores[index[row["to_segment"]]]

    first = margin(new, after) - margin(new, before)
    last = margin(old, after) - margin(old, before)
    assert row["user_part"] == pytest.approx((first + last) / 2, abs=1e-12)
    assert row["margin_change"] == pytest.approx(margin(new, after) - margin(old, before), abs=1e-12)


def test_a_newborn_is_seen_as_its_parent_by_the_model_that_did_not_know_it():
    strategy = make_strategy(**AT_ONCE)
    frame = make_frame(USERS, 1)
    old = make_model(frame, strategy, ["v-001", "v-002"], 1)
    new = make_model(frame, strategy, ["v-001", "v-003"], 2)
    _, _, moves = two_days(strategy, frame, frame, old, new, {"v-003": "v-001"})
    stayed_in_family = moves[(moves["from_segment"] == "v-001") & (moves["to_segment"] == "v-003")]
    changed_family = moves[(moves["from_segment"] == "v-002") & (moves["to_segment"] == "v-003")]
    assert len(stayed_in_family) and len(changed_family)
    assert not numbers(stayed_in_family, "margin_before").any()
    # Before, it is the margin of the parent over v-002; the parent was not the nearest.
    assert (numbers(changed_family, "margin_before") < 0).all()


def test_dormancy_is_told_in_days():
    strategy = make_strategy(rules={"dormant_after_days": 90})
    before = make_frame(["idle", "awake"])
    after = before.copy()
    before["inactive_days"], after["inactive_days"] = [89.0, 300.0], [90.0, 0.0]
    before["user_id"] = after["user_id"] = pd.array(["idle", "awake"], dtype="str")
    model = make_model(make_frame(USERS), strategy, ["v-001", "v-002"])
    _, _, moves = two_days(strategy, before, after, model, model)
    assert terms(moves, "idle") == {"inactive_days": (1.0, 0.0)}
    assert terms(moves, "awake") == {"inactive_days": (300.0, 0.0)}
    assert set(moves["cause"]) == {"rule"}
    assert dict(zip(moves["user_id"], moves["margin_after"], strict=True)) == {"idle": 1.0, "awake": 89.0}


def test_the_first_champion_is_the_cause_of_everyones_first_segment():
    strategy = make_strategy()
    frame = make_frame(USERS)
    model = make_model(frame, strategy, ["v-001", "v-002"])
    _, _, moves = two_days(strategy, frame, frame, None, model)
    assert len(moves) == len(USERS) and set(moves["cause"]) == {"model"}
    assert set(numbers(moves, "model_part")) == {1.0}


def test_those_who_enter_and_leave_are_listed_with_nothing_to_add_up():
    strategy = make_strategy()
    before, after = make_frame(["stays", "goes"]), make_frame(["stays", "comes"])
    after.loc[after["user_id"] == "stays"] = before.loc[before["user_id"] == "stays"].to_numpy()
    model = make_model(make_frame(USERS), strategy, ["v-001", "v-002"])
    _, _, moves = two_days(strategy, before, after, model, model)
    kinds = dict(zip(moves["user_id"], moves["kind"], strict=True))
    assert kinds == {"comes": "entered", "goes": "left"}
    assert not numbers(moves, "margin_change").any() and not contribution_sums(moves["contributions"]).any()


def test_on_the_first_day_everyone_enters_and_on_a_still_day_nobody_is_listed():
    strategy = make_strategy()
    frame = make_frame(USERS)
    model = make_model(frame, strategy, ["v-001", "v-002"])
    today = assign_day(strategy, frame, model, None, DAY)
    assert set(changes(today, None)["kind"]) == {"entered"} and len(changes(today, None)) == len(USERS)
    assert not len(changes(today, today))
    assert not len(moves_of_day(strategy, today, today, None, None, model, model))


def test_a_shop_without_users_has_no_moves():
    strategy = make_strategy()
    nobody = make_frame(USERS).iloc[:0]
    empty = assign_day(strategy, nobody, None, None, DAY)
    moves = moves_of_day(strategy, empty, empty, nobody, nobody, None, None)
    assert list(moves.columns) == list(SCHEMA) and not len(moves)


def test_the_lake_gives_back_what_was_explained_also_for_hostile_user_ids(tmp_path):
    strategy = make_strategy(**AT_ONCE)
    before, after = make_frame(USERS, 1), make_frame(USERS, 2)
    model = make_model(before, strategy, ["v-001", "v-002", "v-003"])
    _, _, moves = two_days(strategy, before, after, model, model)
    lake = BareLake(tmp_path / "lake", DAY)
    lake.publish_frame("segment_moves", NEXT, moves, SCHEMA)
    with lake.connect() as con:
        rows = con.execute(
            f"""
            select user_id, margin_change, list_sum(list_transform(contributions, lambda c: c."user" + c.model))
            from {lake.scan("segment_moves", [NEXT])} order by user_id
            """
        ).fetchall()
    assert [r[0] for r in rows] == list(moves["user_id"])
    assert max(abs(change - total) for _, change, total in rows) <= 1e-9
    empty = moves.iloc[:0]
    lake.publish_frame("segment_moves", NEXT, empty, SCHEMA)
    assert list(lake.read("segment_moves", NEXT).columns) == list(SCHEMA)
