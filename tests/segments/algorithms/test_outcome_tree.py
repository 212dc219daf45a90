"""The honest outcome tree and k-means stretched by an outcome."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.strategy import parse_strategy
from tests.segments.fit_shop import DAY, SPEC, strategy, users

GUIDED = ("outcome_tree", "outcome_kmeans")


def told(X, **values):
    frame = pd.DataFrame({"user_id": [f"u{i:05d}" for i in range(len(X))]})
    return Outcome(day=dt.date(2024, 1, 1), frame=frame, values=pd.DataFrame(values), X=X, horizon_days=90)


def planted(n=2000, seed=0):
    """Spend hangs on two steps of the first column and, above the first, on one of the second; the third is noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    group = np.where(X[:, 0] < -0.3, 0, np.where(X[:, 1] < 0.2, 1, 2))
    spend = np.array([1.0, 100.0, 900.0])[group] * np.exp(rng.normal(0, 0.3, n))
    return X, group, spend


def test_the_tree_finds_the_planted_rule_and_leaf_0_is_worth_most():
    X, group, spend = planted()
    fitted = algorithms.fit("outcome_tree", X, 3, seed=1, outcome=told(X, monetary=spend))
    labels = fitted.scores(X).argmin(axis=1)
    assert adjusted_rand_score(group, labels) > 0.97
    assert fitted.values[:, 0] == pytest.approx([940, 105, 1.05], rel=0.1)
    low, high = fitted.boxes
    assert np.isinf(low[:, 2]).all()
    assert np.isinf(high[:, 2]).all(), "noise is not split on"


def test_promise_09_contributions_of_a_tree_are_exact_and_lie_on_the_columns_it_splits():
    X, _, spend = planted()
    fitted = algorithms.fit("outcome_tree", X, 6, seed=1, outcome=told(X, monetary=spend))
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, fitted.n_clusters, (2, len(X)))
    parts, scores, rows = fitted.contributions(X, a, b), fitted.scores(X), np.arange(len(X))
    assert np.abs(parts.sum(axis=1) - (scores[rows, b] - scores[rows, a])).max() < 1e-9
    assert (np.sort(scores, axis=1)[:, 0] == 0).all(), "every row is inside one leaf"


def test_worth_comes_from_the_half_that_did_not_draw_the_tree():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(400, 12))
    noise = rng.exponential(50.0, 400)
    fitted = algorithms.fit("outcome_tree", X, 6, seed=3, outcome=told(X, monetary=noise))
    assert fitted.notes["honest_r2"] < 0.05, "there is nothing to find, and it says so"
    flattered = [noise[fitted.scores(X).argmin(axis=1) == j].mean() for j in range(fitted.n_clusters)]
    assert np.ptp(fitted.values[:, 0]) != pytest.approx(np.ptp(flattered))
    assert fitted.notes["users_drawing"] + fitted.notes["users_valuing"] == 400


def test_a_user_drawn_twice_by_a_bootstrap_is_on_one_side_only():
    X, _, spend = planted(200)
    twice = np.repeat(np.arange(200), 2)
    fitted = algorithms.fit("outcome_tree", X, 3, seed=1, outcome=told(X[twice], monetary=spend[twice]))
    assert fitted.notes["users_drawing"] % 2 == 0
    assert fitted.notes["users_valuing"] % 2 == 0


def test_no_leaf_is_smaller_than_asked_and_without_a_signal_there_are_fewer():
    X, _, spend = planted()
    for share in (0.05, 0.3):
        given = {"leaf_share": share}
        fitted = algorithms.fit("outcome_tree", X, 8, seed=1, outcome=told(X, monetary=spend), parameters=given)
        shares = np.bincount(fitted.scores(X).argmin(axis=1)) / len(X)
        assert shares.min() > share * 0.7, "the share holds in the half that draws"
    assert fitted.n_clusters <= 3
    same = algorithms.fit("outcome_tree", X, 8, seed=1, outcome=told(X, monetary=np.ones(len(X))))
    assert same.n_clusters == 1


def test_two_outcomes_share_a_tree_in_their_own_standard_deviations():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(2000, 2))
    spend = np.where(X[:, 0] > 0, 1e6, 1.0) * np.exp(rng.normal(0, 0.1, 2000))
    returned = (X[:, 1] > 0).astype(float)
    fitted = algorithms.fit("outcome_tree", X, 4, seed=1, outcome=told(X, monetary=spend, returned=returned))
    quarters = (X[:, 0] > 0) * 2 + (X[:, 1] > 0)
    assert adjusted_rand_score(quarters, fitted.scores(X).argmin(axis=1)) > 0.97, "a million does not drown a 0 or 1"
    assert fitted.values.shape == (4, 2)


@pytest.mark.parametrize("name", GUIDED)
def test_promise_12_a_guided_fit_is_json_the_same_for_the_same_seed_and_loses_a_cluster_cleanly(name):
    X, _, spend = planted(600)
    fit = [algorithms.fit(name, X, 4, seed=5, outcome=told(X, monetary=spend)) for _ in range(2)]
    assert fit[0].to_dict() == fit[1].to_dict()
    again = algorithms.restore(name, json.loads(json.dumps(fit[0].to_dict(), allow_nan=False)))
    assert np.array_equal(again.scores(X), fit[0].scores(X))
    before = fit[0].scores(X).argmin(axis=1)
    for gone in range(4):
        fewer = fit[0].without(gone)
        assert fewer.n_clusters == 3
        after = fewer.scores(X).argmin(axis=1)
        others = before != gone
        kept = np.array([j - (j > gone) for j in range(4)])
        assert (after[others] == kept[before[others]]).all(), "users of the other leaves stay"


def test_k_means_is_stretched_along_what_tells_and_is_plain_where_nothing_does():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    spend = (X[:, 2] * 4 + 12) ** 2
    fitted = algorithms.fit("outcome_kmeans", X, 4, seed=1, outcome=told(X, monetary=spend))
    assert fitted.stretch.argmax() == 2
    assert fitted.stretch[2] > 20 * np.delete(fitted.stretch, 2).max()
    noise = algorithms.fit("outcome_kmeans", X, 4, seed=1, outcome=told(X, monetary=rng.exponential(9.0, 1500)))
    assert noise.stretch == pytest.approx(np.ones(4), abs=0.15)
    plain = algorithms.fit("kmeans", X, 4, seed=1)
    without = algorithms.fit("outcome_kmeans", X, 4, seed=1)
    assert np.allclose(without.inner.centroids, plain.centroids)


def test_hysteresis_reads_a_tree_as_the_way_past_the_border():
    X, _, spend = planted()
    fitted = algorithms.fit("outcome_tree", X, 3, seed=1, outcome=told(X, monetary=spend))
    border = float(np.sort(fitted.boxes[0][np.isfinite(fitted.boxes[0])])[0])
    near, far = np.array([[border + 0.1, 0, 0]]), np.array([[border + 0.5, 0, 0]])
    moved = []
    for row in (near, far):
        scores = fitted.scores(row)
        best = scores.argmin(axis=1)
        home = fitted.scores(np.array([[border - 0.1, 0, 0]])).argmin(axis=1)
        assert best != home
        moved.append(bool(fitted.beats(home, best, scores[0, home], scores[0, best], 0.2)[0]))
    assert moved == [False, True]


@pytest.mark.parametrize("name", GUIDED)
def test_a_guided_strategy_makes_a_champion_with_ids_and_says_what_it_learned_from(name):
    frame = users(each=100)
    spend = frame["monetary_90d"].to_numpy() * np.exp(np.random.default_rng(0).normal(0, 0.2, len(frame)))
    outcome = Outcome(day=DAY, frame=frame, values=pd.DataFrame({"monetary": spend}), horizon_days=90, basis="b")
    spec = strategy(algorithm=name, parameters={"outcome": ["monetary", "returned"]})
    model = fit_challenger(spec, frame, DAY, None, outcome=outcome).model
    assert model.segment_ids[0] == "value-001"
    assert model.fitted.notes["basis"] == "b"
    assigned = model.assign(frame)
    medians = frame.groupby(assigned["segment_id"])["monetary_90d"].median()
    assert medians.idxmax() == model.segment_ids[0], "the first segment is the one worth most"
    assert assigned["confidence"].between(0, 1).all()


@pytest.mark.parametrize(
    ("algorithm", "parameters", "said"),
    [
        ("outcome_tree", {"outcome": "profit"}, "parameters.outcome = 'profit': one of monetary"),
        ("outcome_tree", {"outcome": []}, "or a list of them"),
        ("outcome_tree", {"outcome": ["orders", "orders"]}, "one is given twice"),
        ("outcome_tree", {"leaf_share": 0.7}, "leaf_share = 0.7"),
        ("outcome_kmeans", {"horizon_days": -90}, "the days after it are not known, and never read"),
        ("outcome_tiers", {"horizon_days": -7}, "the days after it are not known, and never read"),
        ("outcome_tiers", {"outcome": ["orders", "monetary"]}, "parameters.outcome = ['orders', 'monetary']"),
    ],
)
def test_promise_11_outcomes_that_cannot_be_are_refused_in_the_yaml(algorithm, parameters, said):
    with pytest.raises(ConfigError) as caught:
        parse_strategy({**SPEC, "algorithm": algorithm, "parameters": parameters})
    assert said in str(caught.value)


def test_promise_11_a_tree_takes_no_principal_components():
    with pytest.raises(ConfigError, match="leave `pca` out"):
        parse_strategy({**SPEC, "algorithm": "outcome_tree", "pca": 2})
