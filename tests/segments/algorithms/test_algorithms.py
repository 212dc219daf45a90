"""Every algorithm behind the one interface, on planted groups and on hard input."""

import json

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms

DISTANCE_BASED = ("density", "ensemble", "gaussian_mixture", "kmeans", "minibatch", "ward")


def planted(each=120, seed=0, spread=0.6):
    rng = np.random.default_rng(seed)
    centers = np.array([[0, 0, 0, 0], [6, 0, 0, 1], [0, 6, 0, 2], [5, 5, 5, 3]], dtype=float)
    X = np.concatenate([rng.normal(c, spread, (each, 4)) for c in centers])
    return X, np.repeat(range(4), each)


@pytest.mark.parametrize("name", DISTANCE_BASED)
def test_planted_groups_are_found(name):
    X, truth = planted()
    fitted = algorithms.fit(name, X, 4, seed=1)
    scores = fitted.scores(X)
    inside = ~fitted.outliers(X, scores)
    assert fitted.n_clusters == 4
    assert inside.mean() > 0.9
    assert adjusted_rand_score(truth[inside], scores.argmin(axis=1)[inside]) > 0.98


@pytest.mark.parametrize("name", algorithms.names())
def test_promise_09_contributions_sum_to_the_change_in_score(name):
    X, _ = planted(60)
    rules = {"columns": ["a", "b", "c", "d"], "segments": ["a > {a@50} and b > {b@50}", "c > {c@75}", "d < 1"]}
    fitted = algorithms.fit(name, X, 4, seed=1, parameters=rules if name == "rules_sql" else None)
    scores = fitted.scores(X)
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, fitted.n_clusters, (2, len(X)))
    told = fitted.contributions(X, a, b)
    rows = np.arange(len(X))
    assert told.shape == (len(X), X.shape[1] + 1)
    assert np.abs(told.sum(axis=1) - (scores[rows, b] - scores[rows, a])).max() < 1e-9


@pytest.mark.parametrize("name", DISTANCE_BASED)
def test_promise_12_a_fit_is_json_that_reads_back_to_the_same_scores(name):
    X, _ = planted(60)
    fitted = algorithms.fit(name, X, 4, seed=1)
    again = algorithms.restore(name, json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert np.array_equal(again.scores(X), fitted.scores(X))
    assert np.array_equal(again.confidence(X, again.scores(X)), fitted.confidence(X, fitted.scores(X)))
    assert (fitted.scores(X) >= 0).all()
    assert ((fitted.confidence(X, fitted.scores(X)) >= 0) & (fitted.confidence(X, fitted.scores(X)) <= 1)).all()


@pytest.mark.parametrize("name", DISTANCE_BASED)
def test_the_same_seed_gives_the_same_fit_and_order_of_clusters(name):
    X, _ = planted(60)
    assert algorithms.fit(name, X, 4, seed=5).to_dict() == algorithms.fit(name, X, 4, seed=5).to_dict()
    first = algorithms.fit(name, X, 4, seed=5)
    other = algorithms.fit(name, X, 4, seed=99)
    agree = first.scores(X).argmin(axis=1) == other.scores(X).argmin(axis=1)
    assert agree.mean() > 0.95, "clusters come in reading order, so another seed gives the same numbers"


def test_results_do_not_depend_on_the_number_of_threads():
    from threadpoolctl import threadpool_limits

    X, _ = planted(800, spread=2.0)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(algorithms.fit("kmeans", X, 6, seed=5).to_dict())
    assert found[0] == found[1]


@pytest.mark.parametrize("name", DISTANCE_BASED)
def test_k_above_the_number_of_distinct_users_is_reduced(name):
    X = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], 20, axis=0)
    fitted = algorithms.fit(name, X, 8, seed=1)
    assert 1 <= fitted.n_clusters <= 3
    assert np.isfinite(fitted.scores(X)).all()


@pytest.mark.parametrize("name", DISTANCE_BASED)
def test_a_handful_of_users_and_a_single_column_do_not_break_a_fit(name):
    for X in (np.arange(3.0)[:, None], np.zeros((1, 2)), np.zeros((10, 2))):
        fitted = algorithms.fit(name, X, 3, seed=1)
        assert fitted.scores(X).shape == (len(X), fitted.n_clusters)


def test_density_calls_far_users_outliers_and_noise_everyone_when_there_is_no_dense_region():
    X, _ = planted()
    fitted = algorithms.fit("density", X, 8, seed=1)
    far = np.array([[60.0, 60.0, 60.0, 60.0]])
    assert fitted.outliers(far, fitted.scores(far)).all()
    noise = np.random.default_rng(0).uniform(size=(300, 6))
    assert algorithms.fit("density", noise, 8, seed=1).n_clusters >= 1


def test_mixture_confidence_is_a_posterior_between_overlapping_groups():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-1, 1, (2000, 1)), rng.normal(1, 1, (2000, 1))])
    fitted = algorithms.fit("gaussian_mixture", X, 2, seed=1)
    at = np.array([[0.0], [4.0]])
    sure = fitted.confidence(at, fitted.scores(at))
    assert sure[0] < 0.65 < 0.95 < sure[1]


def test_a_warm_start_stays_where_it_is_when_nothing_changed():
    X, _ = planted(200)
    first = algorithms.fit("kmeans", X, 4, seed=1)
    again = algorithms.fit("kmeans", X, 4, seed=2, start=first.centroids)
    assert np.abs(again.centroids - first.centroids).max() < 1e-9


def test_taking_a_cluster_away_leaves_the_others():
    X, _ = planted(60)
    for name in DISTANCE_BASED:
        fitted = algorithms.fit(name, X, 4, seed=1)
        fewer = fitted.without(1)
        assert fewer is not None
        assert fewer.n_clusters == fitted.n_clusters - 1


def test_promise_11_an_unknown_algorithm_or_parameter_and_values_that_are_not_finite_are_refused():
    X, _ = planted(10)
    with pytest.raises(ConfigError, match="kmeans"):
        algorithms.fit("k-means", X, 3, seed=1)
    with pytest.raises(ConfigError, match="speed"):
        algorithms.fit("kmeans", X, 3, seed=1, parameters={"speed": 9})
    with pytest.raises(ValueError, match="not finite"):
        algorithms.fit("kmeans", np.array([[np.nan]]), 1, seed=1)
    with pytest.raises(ValueError, match="shape"):
        algorithms.fit("kmeans", np.empty((0, 3)), 1, seed=1)


def test_on_many_rows_screened_starts_find_groups_that_plain_starts_miss():
    rng = np.random.default_rng(0)
    centers = rng.normal(0, 6, (40, 3))
    X = centers[rng.integers(40, size=12_000)] + rng.normal(0, 0.5, (12_000, 3))
    best = KMeans(40, init=centers, n_init=1).fit(X).inertia_
    found = [algorithms.fit("kmeans", X, 40, seed=seed).scores(X).min(axis=1).sum() for seed in range(3)]
    plain = [KMeans(40, n_init=10, random_state=seed).fit(X).inertia_ for seed in range(3)]
    assert max(found) <= best * 1.001
    assert max(plain) > best * 1.01, "the shop is too easy to tell"


def test_screened_starts_honour_weights():
    rng = np.random.default_rng(5)
    X = np.concatenate([rng.normal(0, 1, (8_000, 2)), rng.normal(9, 1, (2_000, 2)), rng.normal(-9, 1, (2_000, 2))])
    heavy = np.where(X[:, 0] > 4, 50.0, np.where(X[:, 0] < -4, 0.001, 1.0))
    found = algorithms.fit("kmeans", X, 4, seed=1, weights=heavy).to_dict()["centroids"]
    assert sum(c[0] > 4 for c in found) >= 2, "the heavy group is worth more than one prototype"
    assert sum(c[0] < -4 for c in found) == 0, "a group without weight is worth none"
