"""Model space and loading of features."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import MissingDaysError
from seg_assets.segments.features import load_features
from seg_assets.segments.rules import clustered_mask
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import parse_strategy
from tests.segments.fit_shop import DAY, complete, lake_at, publish, users


def spaced(frame, features, **keys):
    strategy = parse_strategy({"name": "s", "title": "S", "features": features, **keys})
    return FeatureSpace.fit(frame, strategy)


def skewed(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "monetary_90d": rng.lognormal(3, 2, n),
            "orders_90d": rng.poisson(2, n).astype(float),
            "views_90d": rng.geometric(0.01, n).astype(float),
            "sex": rng.choice(["F", "M", None], n, p=[0.5, 0.3, 0.2]),
        }
    )


@pytest.mark.parametrize("transform", ["log1p", "signed_log1p", "rank", "winsor"])
def test_one_absurd_value_does_not_move_everyone_else(transform):
    frame = skewed()
    feature = [{"column": "monetary_90d", "transform": transform}]
    plain = spaced(frame, feature).transform(frame)
    frame.loc[0, "monetary_90d"] = 1e15
    wild = spaced(frame, feature).transform(frame)
    assert np.abs(plain[1:] - wild[1:]).mean() < 0.1
    untamed = spaced(frame, [{"column": "monetary_90d"}]).transform(frame)
    assert np.abs(untamed[1:]).max() < 0.1 < np.abs(plain[1:]).max(), "without a transform one value is all there is"


def test_every_feature_has_the_variance_of_its_weight_squared_whatever_its_columns():
    frame = skewed()
    frame["category:tea"], frame["category:soap"] = frame["orders_90d"] / 9, 1 - frame["orders_90d"] / 9
    space = spaced(
        frame,
        [
            {"column": "monetary_90d", "transform": "log1p", "weight": 2.0},
            {"column": "sex", "one_hot": {"top": 5}},
            {"category_shares": {"top": 5, "weight": 3.0}},
        ],
    )
    variance = dict(zip(space.columns, space.transform(frame).var(axis=0), strict=True))
    assert variance["monetary_90d"] == pytest.approx(4.0)
    assert sum(v for c, v in variance.items() if c.startswith("sex=")) == pytest.approx(1.0)
    assert sum(v for c, v in variance.items() if c.startswith("category:")) == pytest.approx(9.0)
    assert {"sex=F", "sex=M", "sex=(missing)"} <= set(variance)


def test_constant_null_absent_and_repeated_features_are_left_out_with_the_reason():
    frame = skewed().assign(carts_90d=np.nan, tenure_days=7.0, orders_all=lambda f: f["orders_90d"])
    asked = ["orders_90d", "carts_90d", "tenure_days", "orders_all", "searches_90d"]
    space = spaced(frame, [{"column": c} for c in asked])
    assert space.columns == ["orders_90d"]
    assert space.dropped == {
        "carts_90d": "null for everyone",
        "tenure_days": "the same for everyone (7)",
        "orders_all": "repeats orders_90d exactly",
        "searches_90d": "not in the profiles",
    }


def test_null_and_infinity_count_as_the_stated_default():
    frame = skewed()
    frame.loc[:3, "orders_90d"] = [np.nan, np.inf, -np.inf, 0.0]
    at_zero = spaced(frame, [{"column": "orders_90d", "missing": "zero"}]).transform(frame)[:, 0]
    assert np.isfinite(at_zero).all()
    assert at_zero[0] == at_zero[1] == at_zero[2] == at_zero[3]
    highest = spaced(frame, [{"column": "orders_90d", "missing": "maximum"}]).transform(frame)[:, 0]
    assert highest[0] == highest.max() > highest[3]
    given = spaced(frame, [{"column": "orders_90d", "missing": 5.0}]).transform(frame)[:, 0]
    five = given[frame["orders_90d"].to_numpy() == 5.0]
    assert given[0] == five[0]


@pytest.mark.parametrize("scaling", ["standard", "robust", "none"])
@pytest.mark.parametrize("pca", [None, 2])
def test_a_space_read_back_from_its_data_gives_the_same_numbers(scaling, pca):
    import json

    frame = skewed()
    features = [
        {"column": "monetary_90d", "transform": "rank"},
        {"column": "orders_90d", "transform": "winsor"},
        {"column": "views_90d", "transform": "sqrt"},
        {"column": "sex", "one_hot": {"top": 2}},
    ]
    space = spaced(frame, features, scaling=scaling, pca=pca)
    again = FeatureSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert np.array_equal(again.transform(frame), space.transform(frame))


def test_principal_components_keep_distances_and_column_names():
    frame = skewed()
    frame["views_90d"] = frame["orders_90d"] * 3 + 0.01 * frame["views_90d"]
    features = [{"column": c} for c in ("orders_90d", "views_90d", "monetary_90d")]
    full, two = (spaced(frame, features, pca=p) for p in (None, 2))
    assert two.columns == full.columns
    X, Z = full.transform(frame), two.transform(frame)
    assert np.linalg.matrix_rank(Z, tol=1e-6) == 2
    assert np.abs(X - Z).std() < 0.2, "the third direction held almost nothing"


def test_a_column_that_vanished_from_the_profiles_tells_nobody_apart():
    frame = skewed()
    space = spaced(frame, [{"column": "orders_90d"}, {"column": "monetary_90d", "transform": "log1p"}])
    X = space.transform(frame.drop(columns="orders_90d"))
    assert np.isfinite(X).all()
    assert (X[:, 0] == 0).all()
    assert X[:, 1].std() > 0.9
    assert space.missing_from(frame.drop(columns="orders_90d")) == ["orders_90d"]


def test_profiles_are_loaded_sorted_with_category_shares_and_odd_names_unharmed(tmp_path):
    lake = lake_at(tmp_path)
    odd = "tea' \"; drop\ntable --"
    frame = complete(pd.DataFrame({"user_id": ["b", "a'\n", "c"], "orders_90d": [1.0, None, 3.0]}))
    publish(lake, DAY, frame, [("b", odd, 0.75), ("b", "soap", 0.25), ("c", odd, 1.0)])
    strategy = parse_strategy(
        {"name": "i", "title": "I", "features": [{"category_shares": {"top": 1}}, {"column": "orders_90d"}]}
    )
    found = load_features(lake, strategy, DAY)
    assert found["user_id"].tolist() == ["a'\n", "b", "c"]
    assert found[f"category:{odd}"].tolist() == [0.0, 0.75, 1.0], "one category asked for: the one with most buyers"
    assert np.isnan(found["orders_90d"][0])
    both = load_features(lake, strategy, DAY, categories=["soap", "never sold"])
    assert both["category:soap"].tolist() == [0.0, 0.25, 0.0]
    assert both["category:never sold"].tolist() == [0.0, 0.0, 0.0]


def test_promise_04_a_day_without_profiles_is_named_not_read_as_empty(tmp_path):
    strategy = parse_strategy({"name": "i", "title": "I", "features": [{"column": "orders_90d"}]})
    with pytest.raises(MissingDaysError, match="2024-02-02"):
        load_features(lake_at(tmp_path), strategy, dt.date(2024, 2, 2))


def test_only_eligible_users_that_no_rule_catches_are_clustered():
    strategy = parse_strategy(
        {
            "name": "s",
            "title": "S",
            "features": [{"column": "orders_90d"}],
            "eligibility": {"minimum_orders": 2, "minimum": {"monetary_90d": 1}},
        }
    )
    frame = users({"regulars": (9.0, 100.0, 5.0)}, each=8)
    frame["orders_all"] = 5.0
    frame.loc[0, "orders_all"] = 1.0
    frame.loc[1, "monetary_90d"] = np.nan
    frame.loc[2, "tenure_days"] = 3.0
    frame.loc[3, "inactive_days"] = 200.0
    frame.loc[4, "is_suspected_bot"] = 1.0
    frame.loc[5, ["tenure_days", "inactive_days"]] = np.nan
    assert clustered_mask(strategy, frame).tolist() == [False] * 5 + [True] * 3
