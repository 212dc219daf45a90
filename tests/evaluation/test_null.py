import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from seg_assets.evaluation.daily import known_of_users
from seg_assets.evaluation.null import NullTest, copula, null_test, permuted


def refit(X, k, seed):
    return KMeans(k, n_init=2, random_state=seed).fit_predict(X)


def groups(n=600, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=n)
    return rng.normal(size=(4, 4))[labels] * 3 + rng.normal(size=(n, 4))


def continuum(n=600, seed=0):
    """Correlated and skewed, but one population: a k-means of it has a fair silhouette and no meaning."""
    rng = np.random.default_rng(seed)
    X = rng.multivariate_normal(np.zeros(4), 0.3 * np.eye(4) + 0.7, size=n)
    X[:, 0] = np.exp(X[:, 0])
    return X


def test_planted_groups_are_found_real():
    X = groups()
    found = null_test(X, refit(X, 4, 0), 4, refit, seed=1)
    assert found.real is True
    assert all(r.p == pytest.approx(0.05) and r.z > 3 for r in found.results)


def test_cuts_of_a_correlated_continuum_are_not_shown_to_be_real():
    verdicts = []
    for seed in range(4):
        X = continuum(seed=seed)
        verdicts.append(null_test(X, refit(X, 4, 0), 4, refit, seed=seed).real)
    assert verdicts.count(True) == 0


def test_the_permuted_null_alone_would_call_a_continuum_real():
    rng = np.random.default_rng(2)
    X = rng.multivariate_normal(np.zeros(4), 0.1 * np.eye(4) + 0.9, size=600)
    by_null = {r.null: r for r in null_test(X, refit(X, 4, 0), 4, refit, seed=0).results}
    assert by_null["permuted"].p <= 0.05
    assert by_null["copula"].p > 0.05


def test_both_nulls_keep_every_column_and_only_the_copula_keeps_rank_correlations():
    X = continuum(2000)
    rng = np.random.default_rng(0)
    loose, strict = permuted(X, rng), copula(X, rng)
    for twin in (loose, strict):
        assert np.array_equal(np.sort(twin, axis=0), np.sort(X, axis=0))
        assert not np.array_equal(twin, X)
    ranks = np.argsort(np.argsort(X, axis=0), axis=0)
    rank_of = lambda Z: np.corrcoef(np.argsort(np.argsort(Z, axis=0), axis=0), rowvar=False)  # noqa: E731
    assert np.abs(rank_of(strict) - np.corrcoef(ranks, rowvar=False)).max() < 0.06
    assert np.abs(rank_of(loose) - np.eye(4)).max() < 0.1


def space_of(frame, features):
    from seg_assets.segments.space import FeatureSpace
    from tests.evaluation.small_shop import strategy

    return FeatureSpace.fit(frame, strategy(features=features))


def test_levels_of_one_text_column_stay_together_in_both_nulls_and_nulls_stay_nulls():
    rng = np.random.default_rng(0)
    sex = np.where(np.arange(300) % 7 == 0, None, np.array(["F", "M", "X"])[rng.integers(3, size=300)])
    frame = pd.DataFrame({"sex": pd.array(sex, dtype="str"), "orders_90d": rng.normal(size=300)})
    space = space_of(frame, [{"column": "sex", "one_hot": {"top": 4}}, {"column": "orders_90d"}])
    base, to_space = known_of_users(space, frame)
    X = space.transform(frame)
    levels = [j for j, s in enumerate(space.sources) if s == "sex"]
    rows = lambda Z: sorted(map(tuple, np.round(Z[:, levels], 9).tolist()))  # noqa: E731
    assert np.array_equal(to_space(base), X)
    for make in (permuted, copula):
        assert rows(to_space(make(base, np.random.default_rng(1)))) == rows(X)


def shares(n, planted, seed=0):
    """Category mixes: of one population (Dirichlet), or of three planted tastes."""
    rng = np.random.default_rng(seed)
    alpha = np.full((3, 6), 0.7)
    if planted:
        alpha = np.array([[6, 5, 0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 6, 5, 0.3, 0.3], [0.3, 0.3, 0.3, 0.3, 6, 5]])
    mix = np.array([rng.dirichlet(alpha[n % 3]) for n in range(n)])
    return pd.DataFrame({f"category:c{j}": mix[:, j] for j in range(6)})


@pytest.mark.parametrize("planted", [True, False])
def test_shares_that_only_add_up_to_one_are_no_groups_but_planted_tastes_are(planted):
    frame = shares(600, planted)
    space = space_of(frame, [{"category_shares": {"top": 6}}])
    base, to_space = known_of_users(space, frame)
    X = space.transform(frame)
    k = 3 if planted else 6
    assert null_test(X, refit(X, k, 0), k, refit, seed=0, base=base, to_space=to_space).real is planted


def test_what_cannot_be_tested_says_why_and_claims_nothing():
    one = np.random.default_rng(0).normal(size=(200, 1))
    for found in (
        null_test(one, refit(one, 3, 0), 3, refit, seed=0),
        null_test(groups(20), np.arange(20) % 4, 4, refit, seed=0),
        null_test(np.zeros((0, 3)), np.zeros(0, int), 4, refit, seed=0),
    ):
        assert found.real is None
        assert found.reason


def test_the_test_is_deterministic_and_survives_json():
    X = groups()
    labels = refit(X, 4, 0)
    found = null_test(X, labels, 4, refit, seed=5, replications=4)
    assert found == null_test(X, labels, 4, refit, seed=5, replications=4)
    assert NullTest.from_dict(found.to_dict()) == found
