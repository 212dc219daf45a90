import itertools

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms.tiers import TiersFitted, cum_root_cuts, cut_points
from seg_assets.segments.strategy import parse_strategy


def skewed(n=2000, seed=3):
    return np.random.default_rng(seed).gamma(1.2, 2.0, n)[:, None]


def test_tier_0_is_the_highest_and_tiers_are_intervals_of_the_score():
    X = skewed()
    fitted = algorithms.fit("tiers", X, 5, seed=0)
    tier = fitted.scores(X).argmin(axis=1)
    bounds = [(X[tier == t, 0].min(), X[tier == t, 0].max()) for t in range(5)]
    assert all(high[0] > low[1] for high, low in itertools.pairwise(bounds))


def test_a_score_is_in_the_tier_whose_cuts_enclose_it():
    X = skewed()
    fitted = algorithms.fit("tiers", X, 6, seed=0)
    expected = (fitted.score(X)[:, None] <= fitted.cuts[None, :]).sum(axis=1)
    assert (fitted.scores(X).argmin(axis=1) == expected).all()


def test_contributions_add_up_to_the_change_of_score_exactly():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(500, 4)) * [1, 3, 0.1, 1]
    fitted = algorithms.fit("tiers", X, 7, seed=0)
    a, b = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    scores, rows = fitted.scores(X), np.arange(500)
    parts = fitted.contributions(X, a, b)
    assert parts.shape == (500, 5)
    assert np.abs(parts.sum(axis=1) - (scores[rows, b] - scores[rows, a])).max() < 1e-9


def test_cum_root_cuts_come_near_the_least_sum_of_share_times_deviation():
    s = skewed(4000)[:, 0]

    def criterion(cuts):
        tier = np.searchsorted(np.sort(cuts), s)
        return sum((tier == t).mean() * s[tier == t].std() for t in range(len(cuts) + 1))

    ours = criterion(cum_root_cuts(s, 5))
    equal_shares = criterion(np.quantile(s, [0.2, 0.4, 0.6, 0.8]))
    rng = np.random.default_rng(0)
    best = min(criterion(np.sort(rng.choice(s, 4, replace=False))) for _ in range(1000))
    assert ours < 0.9 * equal_shares
    assert ours < 1.05 * best


def test_the_square_of_a_score_cut_as_score_with_its_slope_gives_the_same_tiers():
    s = np.random.default_rng(2).normal(10, 2, 5000)
    direct = cum_root_cuts(s * s, 4)
    through = cum_root_cuts(s, 4, jacobian=lambda z: 2 * np.abs(z)) ** 2
    assert np.allclose(direct, through, rtol=0.03)
    assert not np.allclose(direct, cum_root_cuts(s, 4) ** 2, rtol=0.03)


def test_percentiles_make_tiers_of_those_shares():
    X = skewed(1000)
    fitted = algorithms.fit("tiers", X, 3, seed=0, parameters={"cuts": [50, 90]})
    assert np.bincount(fitted.scores(X).argmin(axis=1)).tolist() == [100, 400, 500]


@pytest.mark.parametrize("rule", ["cum_root", "quantile"])
def test_no_tier_is_empty_when_most_users_score_the_same(rule):
    s = np.concatenate([np.zeros(900), np.arange(1.0, 6.0), np.arange(1.0, 6.0)])
    cuts = cut_points(s, 5, rule)
    assert (np.bincount(np.searchsorted(cuts, s), minlength=5) > 0).all()


def test_there_are_no_more_tiers_than_distinct_scores():
    X = np.repeat([[1.0], [2.0], [3.0]], 50, axis=0)
    assert algorithms.fit("tiers", X, 8, seed=0).n_clusters == 3
    assert algorithms.fit("tiers", np.ones((20, 2)), 4, seed=0).n_clusters == 1


def test_tiers_survive_their_json_unchanged():
    import json

    X = skewed()
    fitted = algorithms.fit("tiers", X, 5, seed=0)
    again = TiersFitted.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert (again.scores(X) == fitted.scores(X)).all()


@pytest.mark.parametrize("cluster", [0, 2, 4])
def test_taking_a_tier_away_leaves_the_users_of_far_tiers_where_they_are(cluster):
    X = skewed()
    fitted = algorithms.fit("tiers", X, 5, seed=0)
    less = fitted.without(cluster)
    assert less.n_clusters == 4
    before, after = fitted.scores(X).argmin(axis=1), less.scores(X).argmin(axis=1)
    far = np.abs(before - cluster) > 1
    assert (after[far] == before[far] - (before[far] > cluster)).all()


@pytest.mark.parametrize("cuts", ["thirds", [90, 50], [50, 120], [], [50]])
def test_wrong_cuts_are_refused_with_the_key(cuts):
    with pytest.raises(ConfigError, match=r"parameters\.cuts"):
        parse_strategy(
            {
                "name": "money",
                "title": "Money",
                "algorithm": "tiers",
                "parameters": {"cuts": cuts},
                "features": [{"column": "monetary_90d"}],
                "k": {"min": 3, "max": 3},
            }
        )
