"""Shops in which users hardly differ, or beyond measure: a model or the reason why there is none, never a leak."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest

from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import outcome_tiers, outcome_tree, tiers
from seg_assets.segments.daily.assign import assign_day, load_for
from seg_assets.segments.daily.moves import moves_of_day, worst_error
from seg_assets.segments.daily.summaries import EXTRA, profile_day
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.explaining.counterfactual import nearest_counterfactual
from seg_assets.segments.fitting import choosing
from seg_assets.segments.fitting.gate import judge
from tests.segments.fit_shop import DAY, complete, lake_at, publish, strategy
from tests.segments.fitting.test_gate import model

EARLIER, LATER = DAY - dt.timedelta(days=30), DAY + dt.timedelta(days=5)
MONEY = ("monetary_28d", "monetary_90d", "monetary_7d", "monetary_all")


def shop(values, orders=5.0) -> pd.DataFrame:
    """Users who differ in their money alone."""
    values = np.asarray(values, dtype=float)
    frame = pd.DataFrame({"user_id": [f"u{i:04d}" for i in range(len(values))]}).assign(**dict.fromkeys(MONEY, values))
    return complete(frame.assign(orders_90d=orders, orders_28d=orders))


def five_kinds(count=150) -> np.ndarray:
    return (np.arange(count) % 5 + 1) ** 2 * 10.1


def whale(count=150) -> np.ndarray:
    return np.where(np.arange(count) == 0, 31_622.8, 31.7)


def ordinary(count=150) -> np.ndarray:
    return np.random.default_rng(0).lognormal(3, 1, count)


SHOPS = {
    "one user": [5.0],
    "five users": [1.0, 2.0, 3.0, 4.0, 5.0],
    "all alike": np.full(150, 12345.67),
    "all alike but one": whale(),
    "two kinds": np.arange(150) % 2 * 0.1 + 0.3,
    "five kinds": five_kinds(),
    "nulls only": np.full(150, np.nan),
    "negative zero": np.where(np.arange(150) % 2, -0.0, 0.0),
    "tiny": ordinary() * 1e-300,
    "huge": ordinary() * 1e300,
    "one huge": np.where(np.arange(150) == 0, 1e300, ordinary()),
    "one infinite": np.where(np.arange(150) == 0, np.inf, ordinary()),
}
RULES = {"columns": ["monetary_90d"], "segments": ["monetary_90d > {monetary_90d@80}"]}
RAW = {"scaling": "none", "features": [{"column": "monetary_90d"}]}
OWN = {
    "outcome_tiers": {"parameters": {"outcome": "monetary", "horizon_days": 30}},
    "outcome_tree": {"parameters": {"outcome": "monetary", "horizon_days": 30}},
    "outcome_kmeans": {"parameters": {"outcome": "monetary", "horizon_days": 30}},
    "kmeans": RAW,
    "rules_sql": {**RAW, "parameters": RULES},
}


# Every shop with the two that shipped strategies use, every algorithm with the shops that broke most.
CASES = [(kind, name) for kind in SHOPS for name in ("kmeans", "outcome_tiers")] + [
    (kind, name)
    for kind in ("all alike but one", "one huge")
    for name in algorithms.names()
    if name not in ("kmeans", "outcome_tiers")
]


@pytest.mark.parametrize(("kind", "algorithm"), CASES)
def test_every_shop_is_settled_and_the_days_after_it_can_be_told(tmp_path, monkeypatch, kind, algorithm):
    for number in ("BOOTSTRAPS", "SPLITS", "REFERENCES"):
        monkeypatch.setattr(choosing, number, 2)
    frame = shop(SHOPS[kind])
    fit = {"minimum_users": 2, "minimum_history_days": 28, "starts": 2}
    spec = strategy(**{"algorithm": algorithm, "k": {"min": 2, "max": 3}, "fit": fit, **OWN.get(algorithm, {})})
    lake = lake_at(tmp_path)
    publish(lake, EARLIER, frame.assign(monetary_all=0.0, tenure_days=40.0))
    publish(lake, DAY, frame.assign(tenure_days=70.0))
    turned = frame.assign(**{c: np.roll(frame[c].to_numpy(), 1) for c in MONEY})
    publish(lake, LATER - dt.timedelta(days=30), turned.assign(monetary_all=0.0, tenure_days=45.0))
    publish(lake, LATER, turned.assign(tenure_days=75.0))
    first = decide_day(lake, spec, DAY, 0)
    assert first.decision is not None or "not fitted" in first.reason
    decide_day(lake, spec, LATER, 0, DecisionRequest(spec.name, LATER, "manual"))
    old, new = (None if d is None else d.segment_model() for d in champions(lake, spec.name))
    models = [m for m in (old, new) if m is not None]
    before, after = (load_for(lake, spec, day, models, EXTRA) for day in (DAY, LATER))
    then = assign_day(spec, before, old, None, DAY)
    now = assign_day(spec, after, new, then, LATER)
    for assigned in (then, now):
        clustered = assigned[assigned["kind"] == "cluster"]
        assert np.isfinite(clustered[["distance", "confidence"]].to_numpy(float)).all()
    assert len(profile_day(spec, after, now, new)) >= 1
    assert worst_error(moves_of_day(spec, now, then, before, after, old, new)) < 1e-9
    if old is not None:
        nearest_counterfactual(spec, old, before[:1], then[:1], before, old.segment_ids[-1], DAY)


def champions(lake, name):
    return [decisions.champion_as_of(lake, name, day) for day in (DAY, LATER)]


def test_of_a_few_kinds_of_users_every_criterion_has_its_error_or_no_say():
    for values, most in ((five_kinds(), 5), (np.arange(5.0), 4), (whale(), 2)):
        X = np.column_stack([values, np.sqrt(values)])
        rows = choosing.measure(strategy(), X, range(2, most + 1), seed=0)
        json.dumps(rows, allow_nan=False)
        assert all((r[name] is None) == (r[f"{name}_error"] is None) for r in rows for name in choosing.CRITERIA)
        found = choosing.elect(strategy(minimum_share=0.0), rows, None, choosing.GEOMETRIC)
        assert 2 <= found.k <= most
        if most == 5:
            assert found.k == 5
            assert rows[-1]["davies_bouldin"] == 0.0, "groups without scatter have an index and an error of 0"


def test_a_whale_among_like_users_teaches_no_weight_of_rounding():
    spend = whale()
    X = np.column_stack([np.sqrt(spend), np.sqrt(3 * spend), np.full(150, 0.1)])
    weights, level, _, honest = outcome_tiers.score_weights(X / X.std(axis=0).max(), np.sqrt(spend))
    assert np.isfinite([*weights, level, honest]).all()
    alike = outcome_tiers.score_weights(np.full((150, 2), 0.1), np.sqrt(ordinary()))
    assert not alike[0].any()
    assert alike[3] == 0.0
    same = outcome_tiers.score_weights(np.random.default_rng(0).normal(size=(150, 2)), np.full(150, 31.7**0.5))
    assert not same[0].any()
    assert same[3] == 0.0


def test_tiers_of_a_score_that_is_rounding_are_one_and_users_who_are_alike_are_never_parted():
    x = np.random.default_rng(0).normal(size=300)
    assert len(tiers.cut_points(np.column_stack([x, 0.7 * x, -1.7 * x]).sum(axis=1), 4, "quantile")) == 0
    noisy = np.where(np.arange(150) % 3, 0.1, 0.7) + np.arange(150) % 7 * 1e-16
    cuts = tiers.cut_points(noisy, 5, "cum_root")
    assert len(cuts) == 1
    assert 0.2 < cuts[0] < 0.6


def test_what_explains_nothing_but_rounding_explains_nothing():
    outcome = np.append(5.0, np.full(20, 0.1))[:, None]
    alike, nobody = np.arange(1, 21), np.zeros(21, dtype=int)
    assert ((outcome[alike] - outcome[alike].mean()) ** 2).sum() > 0, "the mean of equal numbers is off by its last bit"
    assert outcome_tree._explained(outcome, nobody, np.arange(11), alike) == 0.0
    assert choosing._explained(outcome, nobody, np.arange(11), alike) == 0.0


def test_a_champion_that_leaves_nothing_but_rounding_cannot_be_bettered_and_no_gain_is_without_measure():
    frame, one = shop(five_kinds(400)), strategy(k={"min": 4, "max": 5})
    numbers = judge(one, frame, model(one, frame, k=5), model(one, frame, k=4)).numbers
    assert numbers["loss_champion"] == 0.0 < numbers["loss"]
    assert numbers["gain"] == 0.0
