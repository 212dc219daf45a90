"""The gate: a challenger is promoted for a real gain, stable, and worth its relabellings, and not otherwise."""

import numpy as np
import pandas as pd
import pytest

from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.fitting.gate import audiences_changed, effective_dimension, judge
from seg_assets.segments.model import Segment, SegmentModel, as_stored
from seg_assets.segments.space import FeatureSpace
from tests.segments.fit_shop import DAY, GROUPS, complete, strategy, users

# The whales split in two that have nothing in common.
SPLIT = {**GROUPS, "whales": (20.0, 400_000.0, 3.0), "regulars": (60.0, 400.0, 1.0)}


def model(one, frame, k=4, seed=0, ids=None) -> SegmentModel:
    space = FeatureSpace.fit(frame, one)
    fitted = algorithms.fit(one.algorithm, space.transform(frame), k, seed=seed, parameters=one.parameters)
    names = ids or [f"value-{n:03d}" for n in range(1, k + 1)]
    return as_stored(SegmentModel(one.name, DAY, space, fitted, tuple(Segment(i, i, 0, 0.0) for i in names)))


def aligned(one, frame, champion, k=4) -> SegmentModel:
    """A fit whose segments carry the champion's ids where users agree, as identity matching gives them."""
    fresh = model(one, frame, k)
    old, new = (m.assign(frame)["segment_id"] for m in (champion, fresh))
    taken, ids = set(), []
    for segment in fresh.segments:
        best = next((i for i in old[new == segment.id].value_counts().index if i not in taken), f"value-9{len(ids)}")
        taken.add(best)
        ids.append(best)
    return model(one, frame, k, ids=ids)


def test_the_first_model_is_promoted_and_its_stability_is_written_down():
    frame = users()
    found = judge(strategy(), frame, None, model(strategy(), frame))
    assert found.promote
    assert found.numbers["stability"] > 0.9


def test_a_challenger_that_fits_no_better_is_refused():
    one, frame = strategy(), users(each=200)
    champion = model(one, frame)
    again = users(each=200, seed=1)
    found = judge(one, again, champion, aligned(one, again, champion))
    assert not found.promote
    assert abs(found.numbers["gain"]) < one.gate.minimum_gain
    assert "under 3.0%" in found.reason


def test_a_challenger_is_promoted_when_groups_have_really_changed():
    one = strategy()
    champion, now = model(one, users(each=200)), users(SPLIT, each=200, seed=1)
    found = judge(one, now, champion, aligned(one, now, champion))
    assert found.promote, found.reason
    assert found.numbers["gain"] > 0.1
    assert found.numbers["loss"] < found.numbers["loss_champion"]


def test_the_same_gain_is_refused_when_it_relabels_more_users_than_it_is_worth():
    now = users(SPLIT, each=200, seed=1)
    easy = strategy()
    champion = model(easy, users(each=200))
    challenger = aligned(easy, now, champion)
    free = judge(easy, now, champion, challenger)
    strict = strategy(gate={"maximum_relabelled_per_gain": free.numbers["relabelled"] / free.numbers["gain"] / 2})
    refused = judge(strict, now, champion, challenger)
    assert refused.numbers["gain"] == free.numbers["gain"]
    assert (free.promote, refused.promote) == (True, False)
    assert "relabelled is over the budget" in refused.reason


def test_users_whose_id_survives_are_not_relabelled():
    one, frame = strategy(), users(each=100)
    champion = model(one, frame)
    found = judge(one, frame, champion, aligned(one, frame, champion))
    assert found.numbers["relabelled"] == 0
    swapped = model(one, frame, ids=["value-002", "value-001", "value-003", "value-004"])
    assert judge(one, frame, champion, swapped).numbers["relabelled"] > 0.2


def test_an_unstable_challenger_is_refused_whatever_its_gain():
    rng = np.random.default_rng(0)
    cloud = complete(
        pd.DataFrame(
            {
                "user_id": [f"u{i:04d}" for i in range(600)],
                "monetary_90d": rng.lognormal(3, 1, 600),
                "orders_90d": 1.0 + rng.poisson(3, 600),
                "orders_28d": 1.0,
                "recency_days": rng.uniform(0, 60, 600),
            }
        )
    )
    one = strategy(gate={"minimum_gain": -1.0, "minimum_stability": 0.9, "maximum_relabelled": 1.0})
    found = judge(one, cloud, model(one, cloud, 7, seed=1), model(one, cloud, 7))
    assert not found.promote
    assert "stability" in found.reason


def test_more_segments_are_charged_for():
    """Cutting a cloud without groups into one more piece lowers the loss and is no gain."""
    rng = np.random.default_rng(1)
    cloud = complete(
        pd.DataFrame(
            {
                "user_id": [f"u{i:04d}" for i in range(3000)],
                "monetary_90d": np.exp(rng.normal(3, 1, 3000)),
                "orders_90d": np.exp(rng.normal(3, 1, 3000)),
                "recency_days": np.exp(rng.normal(3, 1, 3000)),
            }
        )
    )
    one = strategy()
    found = judge(one, cloud, model(one, cloud, 4), model(one, cloud, 6))
    assert found.numbers["loss"] < found.numbers["loss_champion"] * 0.95
    assert found.numbers["charge"] > 1
    assert not found.promote


def test_models_of_other_features_and_another_algorithm_are_compared_on_one_yardstick():
    other = strategy(features=[{"column": "orders_28d"}])
    champion, now = model(other, users(each=200), 3), users(SPLIT, each=200, seed=1)
    ward = strategy(algorithm="ward") if "ward" in algorithms.names() else strategy(algorithm="gmm")
    found = judge(ward, now, champion, model(ward, now))
    assert found.promote, found.reason
    assert (found.numbers["k"], found.numbers["k_champion"], found.numbers["yardstick"]) == (4, 3, "space")


def test_with_an_outcome_the_yardstick_is_what_users_did_next():
    one = strategy()
    then = users(each=300)
    champion = model(strategy(features=[{"column": "recency_days"}]), then)
    challenger = model(one, then)
    later = pd.DataFrame({"monetary": then["monetary_90d"] * np.random.default_rng(0).lognormal(0, 0.3, len(then))})
    outcome = Outcome(DAY, then, later, X=challenger.space.transform(then))
    found = judge(one, then, champion, challenger, outcome=outcome)
    assert (found.numbers["yardstick"], found.numbers["charge"]) == ("outcome", 1.0)
    assert found.numbers["gain"] > 0.1


def test_too_few_users_to_judge_keep_the_champion_and_say_so():
    one, frame = strategy(), users(each=60)
    champion = model(one, frame)
    found = judge(one, frame.head(30), champion, model(one, frame))
    assert not found.promote
    assert "too few to judge" in found.reason


def test_users_who_are_not_clustered_have_no_say():
    one, frame = strategy(), users(each=100)
    bots = users(each=100, seed=3).assign(is_suspected_bot=1.0, monetary_90d=1e9)
    bots["user_id"] = "bot-" + bots["user_id"]
    champion, challenger = model(one, frame), model(one, frame, seed=5)
    both = pd.concat([frame, bots], ignore_index=True)
    assert judge(one, both, champion, challenger) == judge(one, frame, champion, challenger)


def test_a_judgement_is_the_same_every_time():
    one, now = strategy(), users(SPLIT, each=100, seed=1)
    champion = model(one, users(each=100))
    first, second = (judge(one, now, champion, model(one, now)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("d", [1, 3])
def test_the_effective_dimension_counts_independent_columns_and_not_copies(d):
    X = np.random.default_rng(0).normal(size=(20_000, d))
    assert effective_dimension(X) == pytest.approx(d, rel=0.02)
    copies = np.hstack([X[:, :1]] * 5)
    assert effective_dimension(copies) == pytest.approx(1, rel=0.01)
    assert effective_dimension(np.ones((50, 3))) == 1


def test_an_audience_has_changed_when_more_than_a_tenth_of_it_is_exchanged():
    before = np.array(["a"] * 100 + ["b"] * 100, dtype=object)
    few = before.copy()
    few[:5] = "b"
    assert audiences_changed(before, few) == {"audiences": 2, "audiences_changed": 0}
    many = before.copy()
    many[:50] = "c"
    assert audiences_changed(before, many) == {"audiences": 3, "audiences_changed": 2}


def test_what_a_decision_costs_is_written_down_and_more_segments_are_more_work():
    one, frame = strategy(), users(each=100)
    four, five = (judge(one, frame, model(one, frame), model(one, frame, k)).numbers for k in (4, 5))
    assert four["audiences_changed"] == 0
    assert five["audiences_changed"] > 0
    assert five["work"] > four["work"] > 4 * len(frame)
