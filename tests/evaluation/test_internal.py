import math

import numpy as np
import pytest
from sklearn import metrics

from seg_assets.evaluation.internal import (
    adjusted_rand_index,
    balance,
    labels_table,
    moved_share,
    separation,
    silhouette,
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=1500)
    return rng.normal(size=(4, 5))[labels] * 2 + rng.normal(size=(1500, 5)), labels


def test_silhouette_davies_bouldin_and_calinski_harabasz_equal_scikit_learn(data):
    X, labels = data
    found = separation(X, labels)
    assert silhouette(X, labels).value == pytest.approx(metrics.silhouette_score(X, labels), abs=1e-10)
    assert found.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(X, labels), rel=1e-10)
    assert found.calinski_harabasz == pytest.approx(metrics.calinski_harabasz_score(X, labels), rel=1e-10)


def test_silhouette_by_segment_is_the_mean_of_its_members(data):
    X, labels = data
    each = metrics.silhouette_samples(X, labels)
    found = silhouette(X, labels).by_segment
    assert found == pytest.approx({n: each[labels == n].mean() for n in range(4)}, abs=1e-10)


def test_the_stated_error_of_a_sampled_silhouette_is_its_real_error():
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=6000)
    X = rng.normal(size=(3, 4))[labels] * 2 + rng.normal(size=(6000, 4))
    whole = silhouette(X, labels).value
    found = [
        silhouette(X, labels, np.sort(np.random.default_rng(s).choice(6000, 800, replace=False))) for s in range(40)
    ]
    real = np.sqrt(np.mean([(f.value - whole) ** 2 for f in found]))
    assert 0.6 < np.mean([f.sd for f in found]) / real < 1.6
    assert silhouette(X, labels).sd == 0


def test_a_segment_of_one_has_silhouette_zero_as_rousseeuw_sets_it():
    X = np.array([[0.0], [0.1], [5.0]])
    assert silhouette(X, np.array([0, 0, 1])).by_segment[1] == 0


@pytest.mark.parametrize(
    ("X", "labels"),
    [
        (np.zeros((0, 2)), np.zeros(0, int)),
        (np.zeros((1, 2)), np.zeros(1, int)),
        (np.zeros((5, 2)), np.zeros(5, int)),
        (np.zeros((5, 2)), np.array([0, 0, 1, 1, 1])),
        (np.arange(4.0)[:, None], np.arange(4)),
    ],
)
def test_data_that_has_no_answer_gives_nan_and_never_an_error_or_infinity(X, labels):
    found = separation(X, labels)
    for value in (
        found.davies_bouldin,
        found.calinski_harabasz,
        found.simplified_silhouette,
        silhouette(X, labels).value,
    ):
        assert not math.isinf(value)
    if len(set(labels.tolist())) < 2:
        assert math.isnan(silhouette(X, labels).value)


def test_representativeness_is_one_for_members_equal_to_their_centroid_and_zero_for_random_groups():
    rng = np.random.default_rng(0)
    corners = np.repeat(np.eye(3), 50, axis=0)
    assert separation(corners, np.repeat(np.arange(3), 50)).representativeness == pytest.approx(1)
    noise = rng.normal(size=(3000, 3))
    assert abs(separation(noise, rng.integers(3, size=3000)).representativeness) < 0.01


def test_balance_is_one_for_equal_sizes_and_zero_for_one_that_holds_everybody():
    assert balance([10, 10, 10]) == pytest.approx(1)
    assert balance([30, 0, 0]) == 0
    assert balance([90, 5, 5]) < balance([60, 20, 20])
    assert math.isnan(balance([]))


def test_adjusted_rand_index_equals_scikit_learn_and_is_one_for_renamed_labels():
    rng = np.random.default_rng(3)
    a = rng.integers(4, size=500)
    b = np.where(rng.random(500) < 0.7, a, rng.integers(4, size=500))
    assert adjusted_rand_index(labels_table(a, b)) == pytest.approx(metrics.adjusted_rand_score(a, b), abs=1e-12)
    assert adjusted_rand_index(labels_table(a, (a + 1) % 4)) == 1
    assert math.isnan(adjusted_rand_index(np.zeros((0, 0))))


def test_adjusted_rand_index_is_exact_for_a_hundred_million_users():
    assert adjusted_rand_index(np.diag([50_000_000, 50_000_000])) == 1


def test_moved_share_counts_users_of_both_days():
    assert moved_share({("a", "a"): 90, ("a", "b"): 6, ("b", "a"): 4}) == (0.1, 10, 100)
    assert math.isnan(moved_share({})[0])
