import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import r2_score, roc_auc_score

from seg_assets.evaluation import validity
from seg_assets.evaluation.validity import Outcomes, judge, measure, outcomes_between


def shop(n=600, seed=0, groups=4):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, groups, n)
    spend = np.round(np.maximum(rng.normal(30 * label, 25), 0.0), 2)
    mix = rng.dirichlet([3, 2, 1], n)
    mix[spend == 0] = np.nan
    outcomes = Outcomes(
        np.array([f"u{i:04d}" for i in range(n)]),
        spend,
        rng.poisson(1 + label).astype(float),
        (spend == 0).astype(float),
        (rng.random(n) < 0.1 + 0.1 * label).astype(float),
        mix,
    )
    return label, outcomes


def test_group_metrics_are_those_of_textbook_formulas():
    label, o = shop()
    found = measure(label, o)
    means = pd.Series(o.spend).groupby(label).transform("mean").to_numpy()
    lapse = pd.Series(o.lapsed).groupby(label).transform("mean").to_numpy()
    assert found["r2"] == pytest.approx(r2_score(o.spend, means))
    assert found["spearman"] == pytest.approx(spearmanr(means, o.spend)[0])
    assert found["lapse_auc"] == pytest.approx(roc_auc_score(o.lapsed, lapse))


def test_a_number_per_user_is_judged_as_it_stands():
    label, o = shop()
    forecast = 30.0 * label + 5.0
    found = measure(forecast, o)
    assert found["r2"] == pytest.approx(r2_score(o.spend, forecast))
    assert found["spearman"] == pytest.approx(spearmanr(forecast, o.spend)[0])
    assert found["lapse_auc"] == pytest.approx(roc_auc_score(o.lapsed, -forecast))
    assert measure(forecast * 100, o)["r2"] < 0


def test_a_label_of_pure_chance_explains_nothing_once_cross_fitted():
    _, o = shop(n=2000)
    noise = np.random.default_rng(9).integers(0, 100, 2000)
    found = measure(noise, o)
    assert found["r2"] > 0.03
    assert found["r2_crossfit"] < 0.01
    assert found["mix"] < 0.01


def test_a_cross_fitted_share_is_that_of_means_learned_on_the_other_folds():
    label, o = shop(n=203)
    fold = np.arange(203) % validity.FOLDS
    for metric, values, rows in (("r2_crossfit", o.spend[:, None], np.ones(203, bool)), ("mix", o.mix, o.spend > 0)):
        predicted = np.full(values.shape, np.nan)
        for f in range(validity.FOLDS):
            for g in range(4):
                predicted[(fold == f) & (label == g)] = values[rows & (fold != f) & (label == g)].mean(axis=0)
        wrong = np.sum((values[rows] - predicted[rows]) ** 2)
        expected = 1 - wrong / np.sum((values[rows] - values[rows].mean(axis=0)) ** 2)
        assert measure(label, o)[metric] == pytest.approx(expected)


def test_labels_may_be_rows_of_one_array_and_may_stand_under_two_names():
    label, o = shop()
    given = np.stack([label, label])
    one, two, rows = judge({"a": [label, label], "b": [label, label], "c": given}, [o, o], replications=20)
    assert one.estimates == two.estimates == rows.estimates


def test_the_category_mix_is_of_users_who_bought_and_a_mix_label_explains_it():
    _, o = shop(n=1500)
    favourite = np.where(np.isfinite(o.mix[:, 0]), np.nan_to_num(o.mix).argmax(axis=1), 0)
    assert measure(favourite, o)["mix"] > 0.2
    assert abs(measure(np.arange(1500) % 3, o)["mix"]) < 0.02


def test_names_of_groups_and_order_of_users_change_nothing():
    label, o = shop()
    names = np.array(["zeta", "alpha", "mid", "beta"])[label]
    assert measure(label, o)["r2"] == pytest.approx(measure(names, o)["r2"])
    assert measure(label, o)["spearman"] == pytest.approx(measure(names, o)["spearman"])


def test_intervals_cover_the_value_and_shrink_with_users():
    wide = {}
    for n in (300, 4800):
        label, o = shop(n=n)
        estimate = judge({"ours": [label]}, [o])[0].estimates["r2"]
        assert estimate.lower < estimate.value < estimate.upper
        wide[n] = estimate.upper - estimate.lower
    assert wide[4800] < 0.5 * wide[300]


def test_an_origin_that_repeats_the_same_users_adds_no_certainty():
    label, o = shop(n=800)
    once = judge({"ours": [label]}, [o])[0].estimates["r2"]
    ten = judge({"ours": [label] * 10}, [o] * 10)[0].estimates["r2"]
    assert ten.upper - ten.lower == pytest.approx(once.upper - once.lower, rel=1e-6)


def test_where_nobody_lapsed_the_auc_is_null_and_the_rest_is_there():
    label, o = shop()
    nobody = Outcomes(o.user_id, o.spend + 1, o.active_days, np.zeros(len(o)), np.zeros(len(o)))
    record = judge({"ours": [label]}, [nobody], replications=20)[0].record()
    assert record["lapse_auc"] is None
    assert record["coupon_auc"] is None
    assert record["mix"] is None
    assert record["r2"] > 0
    json.dumps(record, allow_nan=False)


@given(
    labels=st.lists(st.integers(0, 4), min_size=30, max_size=30),
    spend=st.floats(-1e9, 1e9),
    bought=st.integers(0, 30),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_where_no_user_differs_nothing_is_explained_by_anything(labels, spend, bought, seed):
    n = len(labels)
    mix = np.ones((n, 1))
    mix[bought:] = np.nan
    same = np.full(n, spend)
    alike = Outcomes(np.array([f"u{i:02d}" for i in range(n)]), same, same, np.zeros(n), np.ones(n), mix)
    for predictor in (np.array(labels), np.array(labels) / 7):
        for metric, estimate in judge({"any": [predictor]}, [alike], seed=seed, replications=20)[0].estimates.items():
            assert np.isnan(estimate.value), metric
            assert np.isnan(estimate.lower), metric


def test_a_shop_without_categories_has_no_category_mix_to_explain():
    label, o = shop()
    one = np.where(np.isnan(o.mix[:, :1]), np.nan, 1.0)
    without = Outcomes(o.user_id, o.spend, o.active_days, o.lapsed, o.coupon, one)
    estimate = judge({"ours": [label]}, [without])[0]
    assert np.isnan(estimate.estimates["mix"].value)
    assert estimate.record()["mix"] is None
    assert estimate.estimates["r2"].value > 0


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_a_predictor_with_a_gap_is_null_and_counted_and_spoils_no_other(gap):
    label, o = shop()
    broken = label.astype(float)
    broken[3] = gap
    record, ours = judge({"broken": [broken, broken], "ours": [label, label]}, [o, o], replications=20)
    assert all(np.isnan(e.value) for e in record.estimates.values())
    assert record.record()["not_computed"] == 2
    assert ours.record()["not_computed"] == 0
    assert ours == judge({"ours": [label, label]}, [o, o], replications=20)[0]


def test_judging_twice_gives_the_same_numbers_whatever_stands_beside():
    label, o = shop()
    alone = judge({"ours": [label]}, [o], seed=4)[0]
    beside = judge({"other": [label % 2], "ours": [label]}, [o], seed=4)[1]
    assert alone == beside


def test_users_in_chunks_give_the_numbers_of_users_at_once(monkeypatch):
    label, o = shop()
    whole = judge({"ours": [label]}, [o])[0]
    monkeypatch.setattr(validity, "CHUNK_CELLS", 7 * len(o))
    for metric, estimate in judge({"ours": [label]}, [o])[0].estimates.items():
        assert estimate.upper == pytest.approx(whole.estimates[metric].upper)


def test_outcomes_are_the_growth_of_lifetime_totals():
    then = pd.DataFrame({"user_id": ["a", "b", "c"], "monetary_all": [10.0, 5.0, 7.5], "orders_all": [1.0, 1.0, 2.0]})
    later = pd.DataFrame(
        {"user_id": ["b", "a", "new"], "monetary_all": [2.25, 30.1, 99.0], "orders_all": [1.0, 3.0, 9.0]}
    )
    shares = pd.DataFrame({"user_id": ["a", "a"], "category": ["x", "y"], "share_90d": [0.25, 0.75]})
    o = outcomes_between(then, later, shares)
    assert o.spend.tolist() == [20.1, -2.75, 0.0]
    assert o.lapsed.tolist() == [0.0, 1.0, 1.0]
    assert o.mix[0].tolist() == [0.25, 0.75]
    assert np.isnan(o.mix[1:]).all()


def test_no_users_at_an_origin_is_no_error():
    label, o = shop()
    none = Outcomes(*(np.empty(0, dtype=t) for t in ("U4", float, float, float, float)))
    judged = judge({"ours": [label, np.empty(0, dtype=int)]}, [o, none], replications=0)[0]
    assert judged.origins == 1
    assert judged.estimates["r2"].value == pytest.approx(measure(label, o)["r2"])
