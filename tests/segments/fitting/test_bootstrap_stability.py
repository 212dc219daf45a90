import numpy as np
import pytest
from sklearn.cluster import KMeans

from seg_assets.segments.fitting.stability import Stability, band, bootstrap_stability


def refit(X, k):
    """Refits of k-means on resamples of X, which label all of it."""
    return lambda drawn, rng: KMeans(k, n_init=2, random_state=int(rng.integers(2**31))).fit(X[drawn]).predict(X)


def test_three_planted_groups_are_stable_and_a_continuum_is_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=600)
    X = np.array([[0, 0], [6, 0], [0, 6]])[labels] + rng.normal(size=(600, 2))
    good = bootstrap_stability(labels, 3, refit(X, 3), seed=0)
    assert min(good.jaccard.values()) > 0.9
    assert good.ari > 0.9
    cloud = rng.normal(size=(600, 6))
    poor = bootstrap_stability(KMeans(5, n_init=2, random_state=0).fit_predict(cloud), 5, refit(cloud, 5), seed=0)
    assert max(poor.jaccard.values()) < 0.75


def test_only_the_segment_that_is_not_there_is_untrusted():
    rng = np.random.default_rng(1)
    X = np.vstack([rng.normal(size=(300, 2)), rng.normal((9, 0), size=(300, 2))])
    labels = np.repeat([0, 1], 300)
    labels[:150] = 2  # half of the first group, drawn at random: no sample shows it again
    found = bootstrap_stability(labels, 2, refit(X, 2), seed=0)
    assert found.jaccard[1] > 0.95
    assert band(found.jaccard[0]) == "untrusted"
    assert band(found.jaccard[2]) == "untrusted"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0.59, "untrusted"),
        (0.6, "doubtful"),
        (0.75, "valid"),
        (0.85, "highly stable"),
        (None, "not tested"),
        (float("nan"), "not tested"),
    ],
)
def test_bands_are_hennigs(value, word):
    assert band(value) == word


def test_too_few_users_are_said_and_not_scored():
    found = bootstrap_stability(np.arange(9) % 3, 3, refit(np.zeros((9, 2)), 3), seed=0)
    assert found.jaccard == {}
    assert "too few" in found.reason


def test_stability_is_deterministic_and_survives_json():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    labels = KMeans(3, n_init=2, random_state=0).fit_predict(X)
    found = bootstrap_stability(labels, 3, refit(X, 3), seed=4, replications=5)
    assert found == bootstrap_stability(labels, 3, refit(X, 3), seed=4, replications=5)
    assert Stability.from_dict(found.to_dict()) == found
