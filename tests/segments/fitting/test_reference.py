"""What a decision keeps of its day: exact, small, and the same whatever the number of users."""

import json

import numpy as np
import pandas as pd
import pytest

from seg_assets.segments.fitting.reference import (
    OTHER,
    as_numbers,
    describe,
    make_reference,
    quantiles,
    shadow_gain,
)
from tests.segments.fit_shop import GROUPS, strategy, users
from tests.segments.fitting.test_gate import SPLIT, model


@pytest.fixture(scope="module")
def shop():
    frame = users(each=200)
    return frame, model(strategy(), frame)


def test_it_is_json_and_does_not_grow_with_users(shop):
    _, fitted = shop
    small, large = (
        len(json.dumps(make_reference(strategy(), users(each=n), fitted), allow_nan=False)) for n in (60, 2000)
    )
    assert large < small * 1.5


def many_regions(frame, counts):
    """Return the frame with regions in these numbers of users, the first of them named most often."""
    names = np.repeat([f"r{n:03d}" for n in range(len(counts))], counts)
    return frame.iloc[: len(names)].assign(region=pd.array(names, dtype="str"))


def test_a_later_day_cuts_categories_as_the_day_that_it_is_compared_with(shop):
    """Each day kept its own commonest 200: one that lost its rank by a user was a difference of all its users."""
    frame, fitted = users(each=300), shop[1]
    one = strategy(drift={"columns": ["region"]})
    then = make_reference(one, many_regions(frame, [4] * 200 + [3] * 20), fitted)["categories"]["region"]
    assert (len(then["shares"]), "r200" in then["shares"]) == (201, False)
    # The twenty rare ones are now the commoner ones, by one user each.
    now = describe(
        one, many_regions(frame, [4] * 180 + [3] * 20 + [4] * 20), fitted, like={"categories": {"region": then}}
    )
    shares = now["categories"]["region"]["shares"]
    assert set(shares) == set(then["shares"])
    assert shares[OTHER] == pytest.approx(80 / 860)
    assert shares["r199"] == pytest.approx(3 / 860)


def test_a_category_that_is_new_is_named_where_none_was_left_out(shop):
    frame, fitted = users(each=300), shop[1]
    one = strategy(drift={"columns": ["region"]})
    then = make_reference(one, many_regions(frame, [5] * 100), fitted)["categories"]["region"]
    now = describe(one, many_regions(frame, [1] * 100 + [3] * 150), fitted, like={"categories": {"region": then}})
    shares = now["categories"]["region"]["shares"]
    assert {f"r{n:03d}" for n in range(200)} <= set(shares), "those of the baseline, and the commonest of the new ones"
    assert shares[OTHER] == pytest.approx(150 / 550)


def test_segment_shares_are_those_of_the_model_and_add_up(shop):
    frame, fitted = shop
    shares = make_reference(strategy(), frame, fitted)["segments"]
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == set(fitted.segment_ids)


def test_columns_of_the_model_are_kept_as_it_sees_them_and_others_on_a_log_scale(shop):
    frame, fitted = shop
    one = strategy(drift={"columns": ["monetary_90d", "orders_28d"], "positions": 5000})
    numeric = make_reference(one, frame, fitted)["numeric"]
    inside = fitted.space.transform(frame)[:, fitted.space.columns.index("monetary_90d")]
    assert numeric["monetary_90d"]["quantiles"] == pytest.approx(np.sort(inside), rel=1e-6)
    assert numeric["orders_28d"]["quantiles"] == pytest.approx(np.sort(np.log1p(frame["orders_28d"])), rel=1e-6)


def test_without_columns_to_watch_the_features_are_watched(shop):
    frame, fitted = shop
    found = make_reference(strategy(drift={"columns": []}), frame, fitted)["numeric"]
    assert list(found) == ["monetary_90d", "orders_90d", "recency_days"]


def test_missing_shares_and_rare_categories_are_kept(shop):
    frame, fitted = shop
    one = strategy(drift={"columns": ["orders_28d", "region"]})
    region = pd.array(["north"] * (len(frame) - 3) + ["south", None, None], dtype="str")
    holes = frame.assign(region=region, orders_28d=frame["orders_28d"].where(np.arange(len(frame)) % 4 > 0))
    found = make_reference(one, holes, fitted)
    assert found["numeric"]["orders_28d"]["missing"] == 0.25
    assert found["categories"]["region"]["missing"] == pytest.approx(2 / len(frame))
    assert found["categories"]["region"]["shares"]["south"] == pytest.approx(1 / len(frame))


def test_thousands_of_categories_are_kept_as_the_largest_and_the_rest(shop):
    frame, fitted = shop
    many = frame.assign(top_category_90d=pd.array([f"c{i % 700}" for i in range(len(frame))], dtype="str"))
    shares = make_reference(strategy(drift={"columns": ["top_category_90d"]}), many, fitted)["categories"]
    assert len(shares["top_category_90d"]["shares"]) == 201
    assert sum(shares["top_category_90d"]["shares"].values()) == pytest.approx(1)


def test_no_users_and_no_model_give_an_empty_reference_and_no_error(shop):
    frame, fitted = shop
    empty = make_reference(strategy(), frame.head(0), fitted)
    assert (empty["users"], empty["segments"], empty["shadow_gain"]) == (0, {}, None)
    assert make_reference(strategy(), frame, None)["model_id"] == ""


def test_quantiles_are_exact_values_of_the_data():
    values = np.random.default_rng(0).permutation(1000).astype(float)
    assert quantiles(values, 10) == [50.0, 150.0, 250.0, 350.0, 450.0, 550.0, 650.0, 750.0, 850.0, 950.0]
    assert quantiles(values[:3], 10) == sorted(values[:3])
    assert quantiles(np.array([]), 10) == []


@pytest.mark.parametrize("kind", ["uint8", "Int64", "Float64", "boolean", "float32"])
def test_every_number_type_becomes_float_with_nan(kind):
    plain = pd.Series(pd.array([1, 0, 1], dtype=kind))
    assert as_numbers(plain).tolist() == [1.0, 0.0, 1.0]


def test_regrouping_gains_nothing_on_the_fit_day_nor_on_other_users_alike_and_much_after_a_shift(shop):
    frame, fitted = shop
    reference = make_reference(strategy(), frame, fitted)
    assert reference["shadow_gain"] < 0.01
    alike = shadow_gain(users(each=200, seed=1), fitted, 0)
    shifted = shadow_gain(users(SPLIT, each=200, seed=1), fitted, 0)
    assert alike < 0.03 < 0.1 < shifted


def test_a_step_that_everyone_takes_alike_is_no_gain(shop):
    """Windows that fill, tenure and prices move all users; the groups among them stay what they were."""
    frame, fitted = shop
    assert abs(shadow_gain(frame.assign(monetary_90d=frame["monetary_90d"] * 1.4), fitted, 0)) < 0.01


def test_a_shadow_of_too_few_users_says_nothing(shop):
    _, fitted = shop
    few = users({k: GROUPS[k] for k in list(GROUPS)[:2]}, each=30)
    assert shadow_gain(few, fitted, 0) is None


def test_quantiles_are_rounded_value_by_value_zeros_of_both_signs_too():
    values = np.concatenate([np.random.default_rng(1).lognormal(0, 3, 500), np.repeat([0.0, -0.0, 2.0], 200)])
    found = quantiles(values, 100)
    at = np.floor((np.arange(100) + 0.5) / 100 * len(values)).astype(int)
    assert [repr(v) for v in found] == [repr(float(f"{v:.7g}")) for v in np.sort(values)[at]]
    assert quantiles(np.empty(0), 100) == []
