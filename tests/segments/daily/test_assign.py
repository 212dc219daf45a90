"""Every known user has exactly one segment, and keeps it until there is a reason."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms.kmeans import KMeansFitted
from seg_assets.segments.daily.assign import SCHEMA, TABLE, assign_day
from seg_assets.segments.model import Segment, SegmentModel
from seg_assets.segments.space import FeatureSpace
from tests.segments.daily_shop import DAY, BareLake, make_frame, make_model, make_strategy

ONE = dt.timedelta(days=1)
LINE = {"features": [{"column": "orders_90d"}], "scaling": "none"}


def on_a_line(strategy, centers, ids):
    """A model whose model space is orders_90d itself."""
    space = FeatureSpace.fit(pd.DataFrame({"orders_90d": [0.0, 10.0]}), strategy)
    fitted = KMeansFitted(np.array(centers, dtype=float)[:, None])
    return SegmentModel("v", DAY, space, fitted, tuple(Segment(i, i, 1, 0.5) for i in ids))


def at(strategy, model, positions, yesterday=None, day=DAY, users=("a", "b", "c", "d")):
    frame = make_frame(list(users)[: len(positions)])
    frame["orders_90d"] = np.array(positions, dtype=float)
    return assign_day(strategy, frame, model, yesterday, day)


def line_strategy(margin=0.2, dwell=3, **keys):
    return make_strategy(**{**LINE, "hysteresis": {"margin": margin, "dwell_days": dwell}, **keys})


@settings(max_examples=30, deadline=None)
@given(
    users=st.lists(st.text(min_size=1, max_size=8), unique=True, min_size=0, max_size=30),
    known=st.integers(0, 30),
    seed=st.integers(0, 999),
)
def test_every_user_has_exactly_one_segment_whatever_their_id(users, known, seed):
    users = [u for u in users if u.encode("utf-8", "ignore").decode() == u]
    strategy = make_strategy(rules={"new_within_days": 14, "dormant_after_days": 90})
    frame = make_frame(users, seed)
    rng = np.random.default_rng(seed)
    frame["tenure_days"], frame["inactive_days"] = rng.integers(0, 40, len(frame)), rng.integers(0, 120, len(frame))
    model = make_model(make_frame([f"m{n}" for n in range(20)]), strategy, ["v-001", "v-002"], seed, radius=3.0)
    yesterday = assign_day(strategy, frame.iloc[:known].reset_index(drop=True), model, None, DAY)
    today = assign_day(strategy, frame, model, yesterday, DAY + ONE)
    assert list(today["user_id"]) == list(frame["user_id"])
    assert today["segment_id"].notna().all() and list(today.columns) == list(SCHEMA)
    allowed = {"v-001", "v-002", "v-new", "v-dormant", "v-outlier"}
    assert set(today["segment_id"]) <= allowed
    assert set(today.loc[today["kind"] == "cluster", "segment_id"]) <= {"v-001", "v-002"}


def test_hostile_ids_survive_the_way_through_the_lake(tmp_path):
    users = ["o'hara", 'say "hi"', "two\nlines", "ünï—✓", "; drop table x", "null", "", " ", "a,b", "1e5"]
    strategy = make_strategy()
    frame = make_frame(users)
    model = make_model(frame, strategy, ["v-001", "v-002"])
    lake = BareLake(tmp_path / "lake", DAY)
    lake.publish_frame(TABLE, DAY, assign_day(strategy, frame, model, None, DAY), SCHEMA)
    back = lake.read(TABLE, DAY)
    assert sorted(back["user_id"]) == sorted(users)
    again = assign_day(strategy, frame, model, back, DAY + ONE)
    assert set(again["since_day"].dt.date) == {DAY}


def test_without_a_champion_everyone_is_unassigned_and_without_users_the_day_is_empty():
    strategy = make_strategy()
    today = assign_day(strategy, make_frame(["a", "b"]), None, None, DAY)
    assert set(today["segment_id"]) == {"v-unassigned"} and today["model_id"].isna().all()
    empty = assign_day(strategy, make_frame(["a"]).iloc[:0], None, None, DAY)
    assert not len(empty) and list(empty.columns) == list(SCHEMA)


def test_one_user_and_one_cluster_need_no_second():
    strategy = line_strategy()
    today = at(strategy, on_a_line(strategy, [3], ["v-001"]), [5])
    assert today["segment_id"].tolist() == ["v-001"]
    assert today["distance"].tolist() == [4.0] and np.isnan(today["margin"][0]) and today["confidence"][0] == 1.0


def test_a_user_over_the_border_is_held_until_the_dwell_is_over():
    strategy = line_strategy(margin=0.5, dwell=3)
    model = on_a_line(strategy, [0, 10], ["v-001", "v-002"])
    day = at(strategy, model, [2])
    seen = []
    for n in range(1, 5):
        day = at(strategy, model, [5.5], day, DAY + ONE * n)
        seen.append((day["segment_id"][0], day["proposed_days"][0], day["since_day"].dt.date[0]))
    assert seen == [
        ("v-001", 1, DAY),
        ("v-001", 2, DAY),
        ("v-002", 0, DAY + ONE * 3),
        ("v-002", 0, DAY + ONE * 3),
    ]


def test_a_held_user_has_a_negative_margin_and_no_confidence():
    strategy = line_strategy(margin=0.5, dwell=3)
    model = on_a_line(strategy, [0, 10], ["v-001", "v-002"])
    day = at(strategy, model, [5.5], at(strategy, model, [2]), DAY + ONE)
    assert day["margin"][0] == pytest.approx(4.5**2 - 5.5**2)
    assert day["confidence"][0] == 0.0 and day["proposed_segment_id"][0] == "v-002"


def test_a_clear_change_is_made_at_once_and_the_relative_margin_says_what_is_clear():
    strategy = line_strategy(margin=0.5, dwell=30)
    model = on_a_line(strategy, [0, 10], ["v-001", "v-002"])
    start = at(strategy, model, [1, 1])
    # (10 - x)^2 < 0.5 x^2 from x = 5.858 on.
    assert at(strategy, model, [5.85, 5.87], start, DAY + ONE)["segment_id"].tolist() == ["v-001", "v-002"]


def test_coming_back_or_another_proposal_starts_the_dwell_anew():
    strategy = line_strategy(margin=0.9, dwell=2)
    model = on_a_line(strategy, [0, 10, -10], ["v-001", "v-002", "v-003"])
    day = at(strategy, model, [0, 0])
    day = at(strategy, model, [6, 6], day, DAY + ONE)
    day = at(strategy, model, [4, -6], day, DAY + ONE * 2)
    assert day["proposed_days"].tolist() == [0, 1]
    day = at(strategy, model, [6, 6], day, DAY + ONE * 3)
    assert day["segment_id"].tolist() == ["v-001", "v-001"] and day["proposed_days"].tolist() == [1, 1]


def test_promise_08_survivors_keep_their_users_and_the_dead_lose_theirs_at_once():
    strategy = line_strategy(margin=0.5, dwell=5)
    day = at(strategy, on_a_line(strategy, [0, 4, 9], ["v-001", "v-002", "v-003"]), [1.9, 4.2, 9])
    # v-002 died, v-004 was born beyond; v-001 has moved a little, its border too.
    new = on_a_line(strategy, [0, 3.7, 9], ["v-001", "v-004", "v-003"])
    day = at(strategy, new, [1.9, 4.2, 9], day, DAY + ONE)
    assert day["segment_id"].tolist() == ["v-001", "v-004", "v-003"]
    assert day["since_day"].dt.date.tolist() == [DAY, DAY + ONE, DAY]
    assert day["proposed_segment_id"][0] == "v-004"
    assert set(day["model_id"]) == {new.model_id}


def test_rules_take_effect_at_once_and_release_at_once():
    strategy = line_strategy(margin=0.9, dwell=30)
    model = on_a_line(strategy, [0, 10], ["v-001", "v-002"])
    frame = make_frame(["a"])
    frame["orders_90d"] = 1.0
    day = assign_day(strategy, frame, model, None, DAY)
    day = assign_day(strategy, frame.assign(inactive_days=90.0), model, day, DAY + ONE)
    assert day["segment_id"].tolist() == ["v-dormant"] and day["confidence"].tolist() == [1.0]
    day = assign_day(strategy, frame.assign(orders_90d=9.0), model, day, DAY + ONE * 2)
    assert day["segment_id"].tolist() == ["v-002"]


def test_dwell_of_zero_switches_hysteresis_off():
    strategy = line_strategy(margin=0.9, dwell=0)
    model = on_a_line(strategy, [0, 10], ["v-001", "v-002"])
    day = at(strategy, model, [5.01], at(strategy, model, [1]), DAY + ONE)
    assert day["segment_id"].tolist() == ["v-002"]


def test_far_from_every_prototype_is_an_outlier_where_the_model_says_so():
    strategy = line_strategy()
    model = on_a_line(strategy, [0, 10], ["v-001", "v-002"])
    dense = SegmentModel(
        "v", DAY, model.space, KMeansFitted(model.fitted.centroids, np.array([4.0, 4.0])), model.segments
    )
    day = at(strategy, dense, [1, 100])
    assert day["segment_id"].tolist() == ["v-001", "v-outlier"] and day["kind"].tolist() == ["cluster", "rule"]
    assert day["model_id"].notna().all()


@pytest.mark.parametrize("algorithm", ["kmeans", "gaussian_mixture", "tiers", "density", "ensemble"])
def test_without_a_past_the_segment_is_the_models_own_choice_for_every_algorithm(algorithm):
    strategy = make_strategy(algorithm=algorithm)
    frame = make_frame([f"u{n:03d}" for n in range(300)], 3)
    space = FeatureSpace.fit(frame, strategy)
    fitted = algorithms.fit(algorithm, space.transform(frame), 3, seed=0)
    segments = tuple(Segment(f"v-{j:03d}", str(j), 1, 0.1) for j in range(fitted.n_clusters))
    model = SegmentModel("v", DAY, space, fitted, segments)
    ours, theirs = assign_day(strategy, frame, model, None, DAY), model.assign(frame)
    assert ours["segment_id"].str.replace("v-outlier", "outlier").tolist() == theirs["segment_id"].tolist()
    inside = (ours["kind"] == "cluster").to_numpy()
    for column in ("distance", "confidence", "margin"):
        mine, own = ours[column].to_numpy()[inside], theirs[column].to_numpy()[inside]
        assert np.allclose(mine[np.isfinite(own)], own[np.isfinite(own)], atol=1e-9)
    assert ours["confidence"].between(0, 1).all()
    # A second day on which nothing changed changes nothing.
    again = assign_day(strategy, frame, model, ours, DAY + ONE)
    pd.testing.assert_frame_equal(again, ours)


def test_a_mixture_moves_at_once_by_odds_not_by_distance():
    from seg_assets.segments.algorithms.gaussian_mixture import MixtureFitted

    strategy = line_strategy(margin=0.5, dwell=30)
    space = FeatureSpace.fit(pd.DataFrame({"orders_90d": [0.0, 10.0]}), strategy)
    fitted = MixtureFitted(np.array([0.5, 0.5]), np.array([[0.0], [10.0]]), np.array([[1.0], [1.0]]))
    model = SegmentModel("v", DAY, space, fitted, (Segment("v-001", "", 1, 0.5), Segment("v-002", "", 1, 0.5)))
    # Log odds are 10 (x - 5); density(a) < 0.5 density(b) from log 2 = 0.693 on.
    day = at(strategy, model, [5.06, 5.08], at(strategy, model, [1, 1]), DAY + ONE)
    assert day["segment_id"].tolist() == ["v-001", "v-002"]


def test_a_column_that_is_null_for_everyone_moves_nobody():
    strategy = make_strategy()
    frame = make_frame([f"u{n}" for n in range(20)])
    model = make_model(frame, strategy, ["v-001", "v-002", "v-003"])
    gone = assign_day(strategy, frame.assign(orders_90d=np.nan, monetary_90d=np.nan), model, None, DAY)
    assert gone["segment_id"].notna().all() and np.isfinite(gone["distance"]).all()


def test_a_user_given_twice_is_refused():
    frame = pd.concat([make_frame(["a"]), make_frame(["a"])], ignore_index=True)
    with pytest.raises(ConfigError, match="there twice"):
        assign_day(make_strategy(), frame, None, None, DAY)
