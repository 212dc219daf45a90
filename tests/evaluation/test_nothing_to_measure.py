"""Nothing out of nothing: a ratio whose denominator is 0, null, a constant or one group is null, whatever the data.

The measures are called with users of whom none differs, with one group and with nobody; none of them may tell a number
that somebody would read as good, and none may fail.
"""

import math

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_assets.evaluation import internal
from seg_assets.evaluation.null import NullResult
from seg_assets.evaluation.validity import Outcomes, difference
from seg_assets.evaluation.validity_lake import Labels, bootstrap_ari
from seg_assets.segments.fitting import gate, indices, surrogate
from seg_assets.segments.fitting.reference import shadow_gain
from seg_assets.segments.fitting.stability import bootstrap_stability
from tests.segments.daily_shop import DAY, make_frame, make_model, make_strategy

NUMBERS = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
LABELS = st.lists(st.integers(0, 3), min_size=2, max_size=60)


@given(labels=LABELS, row=st.lists(NUMBERS, min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_users_of_one_kind_are_neither_compact_nor_apart(labels, row):
    X, labels = np.tile(row, (len(labels), 1)), np.array(labels)
    whole = indices.silhouette(X, labels)
    apart = indices.separation(X, labels)
    numbers = [whole.value, whole.sd, apart.simplified_silhouette, apart.davies_bouldin, apart.calinski_harabasz]
    assert all(math.isnan(n) for n in [*numbers, apart.explained_share, apart.representativeness])
    assert not whole.by_segment
    with_errors = indices.separation_with_errors(X, labels)
    assert math.isnan(with_errors["calinski_harabasz"][0])


@given(users=st.integers(0, 50))
def test_one_group_agrees_with_itself_by_no_merit(users):
    assert math.isnan(internal.adjusted_rand_index(np.array([[users]])))
    assert math.isnan(internal.balance([users]))
    assert math.isnan(bootstrap_stability(np.zeros(users, dtype=int), 1, lambda drawn, rng: drawn * 0, seed=0).ari)


@given(cells=st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_the_same_partition_of_several_groups_agrees_wholly(cells):
    assert internal.adjusted_rand_index(np.diag(cells)) == 1


@given(labels=LABELS, spend=NUMBERS)
@settings(max_examples=40, deadline=None)
def test_labels_are_worth_nothing_where_nobody_did_anything_else(labels, spend):
    n = len(labels)
    same = np.full(n, spend)
    mix = np.full((n, 2), 0.5)
    outcomes = Outcomes(np.array([f"u{i:02d}" for i in range(n)]), same, same, np.ones(n), np.zeros(n), mix)
    gained = difference(np.array(labels), np.zeros(n, dtype=int), outcomes, replications=3)
    assert all(math.isnan(estimate.value) for estimate in gained.values())


def test_a_model_of_one_group_is_neither_stable_nor_better():
    strategy, frame = make_strategy(), make_frame([f"u{n:03d}" for n in range(200)])
    one = make_model(frame, strategy, ["v-001"])
    labels = Labels(np.full(200, "v-001"), np.full(200, "v-001"), one, frame=frame)
    assert math.isnan(bootstrap_ari(strategy, labels, DAY, 0, 3))
    judged = gate.judge(strategy, frame, None, one)
    assert judged.numbers["stability"] is None
    assert "to measure its stability" in judged.reason


def test_regrouping_users_who_equal_the_mean_of_their_group_gains_nothing_and_says_no_number():
    strategy, frame = make_strategy(), make_frame([f"u{n:03d}" for n in range(400)])
    model = make_model(frame, strategy, ["v-001", "v-002"])
    assert shadow_gain(frame, model, seed=0) is not None
    alike = frame.assign(**{c: frame[c].iloc[0] for c in model.space.sources})
    assert shadow_gain(alike, model, seed=0) is None


def test_a_null_that_varies_by_rounding_has_no_distance():
    assert math.isnan(NullResult("permuted", 0.4, 0.1, 1e-17, 19, 0).z)


@given(labels=st.lists(st.sampled_from(["a", "b"]), min_size=0, max_size=30))
@settings(max_examples=30, deadline=None)
def test_rules_on_columns_that_tell_nobody_apart_are_right_for_no_more_than_chance(labels):
    rules, fidelity = surrogate.surrogate_rules(pd.DataFrame({"a": np.ones(len(labels))}), labels)
    if not labels:
        assert rules == []
        assert math.isnan(fidelity)
    for rule in rules:
        share = labels.count(rule.segment_id) / len(labels)
        assert rule.precision == fidelity == share


def test_a_rule_of_a_segment_that_no_held_out_user_is_in_has_no_recall():
    n = 400
    order = np.random.default_rng(0).permutation(n)
    labels = np.full(n, "common", dtype=object)
    values = np.zeros(n)
    # All of the rare segment are among those that the tree learns from.
    labels[order[:40]], values[order[:40]] = "rare", 1.0
    rules, _ = surrogate.surrogate_rules(pd.DataFrame({"a": values}), labels)
    rare = next(rule for rule in rules if rule.segment_id == "rare")
    assert math.isnan(rare.recall)
    assert math.isnan(rare.precision)
