"""What a strategy or a shop can get wrong, through the lake: clear errors or stated outcomes, never a leak."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.strategy import parse_strategy
from tests.segments.fit_shop import DAY, SPEC, lake_at, publish, strategy, tune, users

GUIDED = {"algorithm": "outcome_tiers", "parameters": {"outcome": "monetary", "horizon_days": 30}}
EARLIER = DAY - dt.timedelta(days=30)


def money(frame, factor=1.0):
    rng = np.random.default_rng(3)
    grown = np.round(frame["monetary_90d"] * factor * np.exp(rng.normal(0, 0.2, len(frame))), 2)
    return frame.assign(monetary_all=frame["monetary_90d"] + grown, tenure_days=70.0)


@pytest.mark.parametrize("keys", [{}, GUIDED, {**GUIDED, "algorithm": "outcome_tree"}], ids=["kmeans", "tiers", "tree"])
def test_promise_02_no_fit_sees_a_day_after_its_own_whatever_is_in_the_lake(tmp_path, monkeypatch, keys):
    spec = strategy(**keys)
    alone, with_future = lake_at(tmp_path / "a"), lake_at(tmp_path / "b")
    for lake in (alone, with_future):
        publish(lake, EARLIER, users().assign(monetary_all=0.0, tenure_days=40.0))
        publish(lake, DAY, money(users()))
    for n in (1, 30, 90):
        publish(with_future, DAY + dt.timedelta(days=n), money(users(), factor=1e6))
    read: set[dt.date] = set()
    true = Lake.scan

    def scan(self, table, days):
        read.update(days)
        return true(self, table, days)

    monkeypatch.setattr(Lake, "scan", scan)
    first, second = (decide_day(lake, spec, DAY, 0).decision for lake in (alone, with_future))
    assert first.decision_id == second.decision_id
    looked = [tune(lake, spec, DAY, (3, 4), features=False).to_dict() for lake in (alone, with_future)]
    assert looked[0] == looked[1]
    assert read
    assert max(read) == DAY


@pytest.mark.parametrize("column", ["monetary_next_90d", "monetary_90d_ahead", "label"])
def test_promise_11_a_feature_of_the_future_is_no_column_of_the_profiles(column):
    with pytest.raises(ConfigError, match=f"column = '{column}': user_profiles has no such column"):
        parse_strategy({**SPEC, "features": [*SPEC["features"], {"column": column}]})


def test_an_outcome_longer_than_history_is_cut_to_half_of_it_and_said(tmp_path):
    lake = lake_at(tmp_path)
    spec = strategy(**{**GUIDED, "parameters": {"outcome": "monetary", "horizon_days": 365}})
    publish(lake, DAY - dt.timedelta(days=35), users().assign(monetary_all=0.0, tenure_days=40.0))
    publish(lake, DAY, money(users()))
    notes = decide_day(lake, spec, DAY, 0).decision.segment_model().fitted.notes
    assert notes["horizon_days"] == 35
    assert "35 days up to the fit day" in notes["basis"]


def test_constant_and_duplicated_features_change_nothing_and_are_named():
    frame = users()
    frame = frame.assign(
        sessions_90d=frame["orders_90d"], gross_90d=frame["monetary_90d"] * 1.19, views_90d=7.0, searches_90d=np.nan
    )
    extra = [
        {"column": "sessions_90d", "transform": "log1p", "missing": "zero"},
        {"column": "views_90d"},
        {"column": "searches_90d"},
    ]
    plain = fit_challenger(strategy(), frame, DAY, None).model
    spec = strategy(features=[*SPEC["features"], *extra])
    found = fit_challenger(spec, frame, DAY, None).model
    assert found.diagnostics["dropped"] == {
        "sessions_90d": "repeats orders_90d exactly",
        "views_90d": "the same for everyone (7)",
        "searches_90d": "null for everyone",
    }
    pd.testing.assert_frame_equal(found.assign(frame), plain.assign(frame))
    scaled = strategy(features=[SPEC["features"][0], {"column": "orders_90d"}, {"column": "orders_28d"}])
    twice = frame.assign(orders_28d=frame["orders_90d"] * 2)
    assert "repeats" in fit_challenger(scaled, twice, DAY, None).model.diagnostics["dropped"]["orders_28d"]


def test_k_that_leaves_a_segment_too_small_is_said_where_the_segments_are_shown(tmp_path):
    lake = lake_at(tmp_path)
    publish(lake, DAY, users())
    spec = strategy(k={"min": 12, "max": 12}, minimum_share=0.1)
    model = decide_day(lake, spec, DAY, 0).decision.segment_model()
    assert 1 <= model.n_clusters < 12
    assert min(s.share for s in model.segments) >= 0.1
    assert "dissolved" in model.diagnostics["note"]
    assert "(k.min is 12)" in model.diagnostics["note"]


def test_k_above_the_number_of_different_users_is_reduced_and_said():
    frame = users(each=60)
    frame["monetary_90d"] = frame["user_id"].str.len() * 10.0
    frame["orders_90d"], frame["recency_days"] = 2.0, 5.0
    found = fit_challenger(strategy(k={"min": 3, "max": 9}, minimum_share=0.001), frame, DAY, None)
    assert found.model.n_clusters == frame["monetary_90d"].nunique()
    assert f"only {frame['monetary_90d'].nunique()} distinct users" in found.diagnostics["k_reason"]


def test_a_champion_whose_columns_are_gone_is_replaced_and_the_decision_says_why(tmp_path):
    lake = lake_at(tmp_path)
    publish(lake, DAY, users())
    first = decide_day(lake, strategy(), DAY, 0).decision
    later = DAY + dt.timedelta(days=5)
    publish(lake, later, users().drop(columns="recency_days").assign(recency_days=np.nan))
    made = decide_day(lake, strategy(), later, 0, DecisionRequest("value", later, "manual")).decision
    assert made.promoted
    assert made.model["diagnostics"]["champion_lacks"] == ["recency_days"]
    assert made.model["diagnostics"]["dropped"] == {"recency_days": "null for everyone"}
    assert decisions.decisions(lake, "value")[0].model_id == first.model_id
