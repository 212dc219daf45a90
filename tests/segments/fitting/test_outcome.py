import datetime as dt

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.lake import cache
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.fitting.outcome import horizon_of, load_outcome
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import parse_strategy
from studies import shops
from tests.segments.daily_shop import BareLake, publish_profiles

START = dt.date(2024, 1, 1)
COLUMNS = [
    "recency_days",
    "tenure_days",
    "orders_28d",
    "orders_90d",
    "orders_all",
    "monetary_28d",
    "monetary_90d",
    "monetary_all",
]


def strategy(**changes):
    return parse_strategy(
        {
            "name": "value",
            "title": "Value",
            "algorithm": "outcome_tiers",
            "features": [{"column": c, "transform": "sqrt"} for c in COLUMNS],
            "k": {"min": 5, "max": 5},
            "rules": {"new_within_days": None, "dormant_after_days": None},
            **changes,
        }
    )


def day(n):
    return START + dt.timedelta(days=n)


def lake_of(tmp_path, money, days):
    lake = BareLake(tmp_path / "lake", START)
    for n in days:
        publish_profiles(lake, day(n), shops.profiles(money, n))
    return lake


def explained(tier, spend):
    means = pd.Series(spend).groupby(tier).transform("mean").to_numpy()
    return 1 - ((spend - means) ** 2).sum() / ((spend - spend.mean()) ** 2).sum()


def fitted_on(then, spend, now, k=5):
    """Tiers learned from `then` and the spend after it, and the tier of each user of `now`."""
    space = FeatureSpace.fit(now, strategy())
    outcome = Outcome(day(0), then, pd.DataFrame({"monetary": spend}), space.transform(then))
    X = space.transform(now)
    fitted = algorithms.fit("outcome_tiers", X, k, seed=0, outcome=outcome)
    return fitted, fitted.scores(X).argmin(axis=1)


@pytest.mark.parametrize("kind", shops.KINDS)
def test_outcome_tiers_say_more_of_the_next_quarter_than_quintiles_and_k_means_in_every_kind_of_shop(kind):
    gain_quintile, gain_kmeans = [], []
    for seed in range(3):
        money = shops.make(kind, seed=seed).money
        then, now = shops.profiles(money, 150), shops.profiles(money, 240)
        spend = shops.next_spend(money, now, 240)
        _, tier = fitted_on(then, shops.next_spend(money, then, 150), now)
        quintile = (now["monetary_90d"].rank(method="first") - 1) * 5 // len(now)
        rfm = np.log1p(now[["recency_days", "orders_90d", "monetary_90d"]].clip(lower=0))
        rfm = (rfm - rfm.mean()) / rfm.std()
        kmeans = KMeans(5, n_init=3, random_state=0).fit_predict(rfm)
        gain_quintile.append(explained(tier, spend) - explained(quintile.to_numpy(), spend))
        gain_kmeans.append(explained(tier, spend) - explained(kmeans, spend))
    assert np.mean(gain_quintile) > 0.05
    assert np.mean(gain_kmeans) > 0.05


def test_no_feature_pulls_against_the_way_it_points_alone():
    money = shops.make("grocery").money
    then, now = shops.profiles(money, 150), shops.profiles(money, 240)
    spend = shops.next_spend(money, then, 150)
    fitted, _ = fitted_on(then, spend, now)
    space = FeatureSpace.fit(now, strategy())
    alone = [np.cov(x, np.sign(spend) * np.sqrt(abs(spend)))[0, 1] for x in space.transform(then).T]
    assert (np.asarray(alone) * fitted.weights >= 0).all()


def test_a_column_of_noise_hardly_counts():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 2))
    y = (3 + X[:, 0]) ** 2 * (X[:, 0] > -3)
    outcome = Outcome(START, pd.DataFrame(), pd.DataFrame({"monetary": y}), X)
    weights = algorithms.fit("outcome_tiers", X, 4, seed=0, outcome=outcome).weights
    assert abs(weights[1]) < 0.05 * abs(weights[0])


def test_huge_accounts_and_refunds_leave_tiers_ordered_and_finite():
    money = shops.make("wholesale").money
    then, now = shops.profiles(money, 150), shops.profiles(money, 240)
    spend = shops.next_spend(money, then, 150)
    assert (spend < 0).any()
    fitted, tier = fitted_on(then, spend, now, k=6)
    after = pd.Series(shops.next_spend(money, now, 240)).groupby(tier).mean()
    assert np.isfinite(fitted.weights).all()
    assert after.iloc[0] == after.max()
    assert after.iloc[-1] < after.mean()


def test_promise_02_nothing_after_the_fit_day_can_reach_the_outcome(tmp_path, monkeypatch):
    money = shops.make("grocery", users=300).money
    lake = lake_of(tmp_path, money, [150, 240])
    before = load_outcome(lake, strategy(), day(240))
    # What this process has kept would hide what the outcome asks for.
    cache.forget()
    read = []
    scan = BareLake.scan
    monkeypatch.setattr(
        BareLake, "scan", lambda self, table, days, *a: read.extend(days) or scan(self, table, days, *a)
    )
    money[:, 241:] *= 100
    publish_profiles(lake, day(241), shops.profiles(money, 241))
    publish_profiles(lake, day(330), shops.profiles(money, 330))
    after = load_outcome(lake, strategy(), day(240))
    pd.testing.assert_frame_equal(before.values, after.values)
    pd.testing.assert_frame_equal(before.frame, after.frame)
    assert max(read) == day(240)


def test_the_outcome_is_the_net_spend_of_the_days_between(tmp_path):
    money = shops.make("wholesale", users=300).money
    outcome = load_outcome(lake_of(tmp_path, money, [150, 240]), strategy(), day(240))
    expected = shops.next_spend(money, outcome.frame, 150)
    assert outcome.day == day(150)
    assert outcome.horizon_days == 90
    assert np.allclose(outcome.values["monetary"], expected, atol=0.006)
    assert list(outcome.inputs) == ["user_profiles:horizon-90"]


def test_a_young_shop_looks_half_its_history_ahead(tmp_path):
    money = shops.make("grocery", users=300).money
    outcome = load_outcome(lake_of(tmp_path, money, [49, 99]), strategy(), day(99))
    assert outcome.horizon_days == 50
    assert [horizon_of(n, 90) for n in (10, 55, 56, 92, 180, 400)] == [0, 0, 28, 46, 90, 90]


def test_a_shop_too_young_for_an_outcome_gets_tiers_of_the_past_and_says_so(tmp_path):
    money = shops.make("grocery", users=300).money
    lake = lake_of(tmp_path, money, [40])
    outcome = load_outcome(lake, strategy(), day(40))
    assert outcome.horizon_days == 0
    assert "no outcome to learn from yet" in outcome.basis
    space = FeatureSpace.fit(outcome.frame, strategy())
    X = space.transform(outcome.frame)
    taught = Outcome(**{**vars(outcome), "X": X})
    fitted = algorithms.fit("outcome_tiers", X, 4, seed=0, outcome=taught)
    tier = fitted.scores(X).argmin(axis=1)
    spend = outcome.frame["monetary_90d"].to_numpy()
    lows = [spend[tier == t].min() for t in range(4)]
    highs = [spend[tier == t].max() for t in range(4)]
    assert all(low >= high * 0.95 for low, high in zip(lows, highs[1:], strict=False))
    assert fitted.notes["basis"] == outcome.basis


def test_an_earlier_day_that_was_never_materialized_is_named(tmp_path):
    lake = lake_of(tmp_path, shops.make("grocery", users=200).money, [240])
    with pytest.raises(MissingDaysError, match=str(day(150))):
        load_outcome(lake, strategy(), day(240))


def test_buying_again_can_be_the_outcome(tmp_path):
    lake = lake_of(tmp_path, shops.make("bursty", users=400).money, [150, 240])
    outcome = load_outcome(lake, strategy(parameters={"outcome": "returned"}), day(240))
    assert set(outcome.values["returned"]) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"outcome": "luck"}, "luck"), ({"horizon_days": 3}, "horizon_days"), ({"horizon": 90}, "horizon_days")],
)
def test_wrong_parameters_are_refused_with_what_is_allowed(parameters, named):
    with pytest.raises(ConfigError, match=named):
        strategy(parameters=parameters)


def test_an_outcome_that_no_feature_tells_anything_about_makes_one_tier():
    X = np.random.default_rng(0).normal(size=(200, 3))
    outcome = Outcome(START, pd.DataFrame(), pd.DataFrame({"monetary": np.full(200, 7.0)}), X)
    assert algorithms.fit("outcome_tiers", X, 5, seed=0, outcome=outcome).n_clusters == 1
