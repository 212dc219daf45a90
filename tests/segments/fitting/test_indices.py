"""Compactness and separation against scikit-learn, and their errors against other samples of the same shop."""

import math

import numpy as np
import pytest
from sklearn import metrics

from seg_assets.segments.fitting.indices import (
    pairwise,
    separation,
    separation_with_errors,
    silhouette,
    silhouettes,
)
from tests.segments.fitting.test_choosing import blobs


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


def test_the_compactness_criteria_equal_scikit_learns():
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(200, 3)), rng.integers(0, 4, 200)
    found = separation_with_errors(X, labels)
    assert found["calinski_harabasz"][0] == pytest.approx(metrics.calinski_harabasz_score(X, labels))
    assert found["davies_bouldin"][0] == pytest.approx(metrics.davies_bouldin_score(X, labels))
    each = silhouettes(pairwise(X), labels)
    assert each == pytest.approx(metrics.silhouette_samples(X, labels), abs=1e-5)


def test_the_stated_errors_are_those_of_other_samples_of_the_same_shop():
    values = []
    for seed in range(40):
        X, labels = blobs(60, seed)
        found = separation_with_errors(X, labels)
        each = silhouettes(pairwise(X), labels)
        values.append(
            [*found["calinski_harabasz"], *found["davies_bouldin"], each.mean(), each.std() / len(each) ** 0.5]
        )
    table = np.array(values)
    for at in (0, 2, 4):
        assert table[:, at + 1].mean() == pytest.approx(table[:, at].std(ddof=1), rel=0.6)
