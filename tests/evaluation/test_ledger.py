"""The ledger: what a decision cost, and what it was worth once the horizon has passed."""

import datetime as dt
import json

import numpy as np
import pytest

from seg_assets.evaluation.ledger import ledger, table
from seg_assets.evaluation.validity import Outcomes, difference
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.decisions.store import MANUAL
from tests.segments.fit_shop import DAY, GROUPS, lake_at, publish, strategy, users

NEXT, HORIZON = DAY + dt.timedelta(days=1), 30
LATER = NEXT + dt.timedelta(days=HORIZON)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A champion that looks at recency alone, replaced by one that also sees money; whales go on spending."""
    found = lake_at(tmp_path_factory.mktemp("lake"))
    frame = users(each=80).assign(monetary_all=1000.0, active_days_all=10.0)
    for day in (DAY, NEXT):
        publish(found, day, frame)
    # Samplers and whales are alike in recency, and only in that.
    blind = strategy(features=[{"column": "recency_days"}], k={"min": 2, "max": 2})
    assert decide_day(found, blind, DAY, 0).action == "written"
    assert decide_day(found, strategy(), NEXT, 0, DecisionRequest("value", NEXT, MANUAL)).action == "written"
    return found


def grown(frame):
    """The same users a month later: each group has spent in its own way."""
    spent = frame["user_id"].str.split("-").str[0].map({name: spend / 3 for name, (_, spend, _) in GROUPS.items()})
    noise = np.random.default_rng(5).lognormal(0, 0.2, len(frame))
    return frame.assign(monetary_all=1000.0 + (spent * noise).round(2), active_days_all=11.0)


def test_a_decision_shows_who_was_relabelled_which_audiences_changed_and_the_work(lake):
    first, second = (entry.record() for entry in ledger(lake, strategy(), worth=False))
    assert first["cause"] == "bootstrap"
    assert first["work"] > 0
    assert first["users_relabelled"] is None
    assert second["users_relabelled"] == round(second["relabelled_share"] * second["users"]) > 80
    assert 0 < second["audiences_changed"] <= second["audiences"]
    assert second["seconds"] >= 0


def test_the_worth_is_pending_until_the_horizon_has_passed_and_then_measured_with_an_interval(lake):
    one = strategy()
    first, second = ledger(lake, one, horizon_days=HORIZON)
    assert first.pending == "the first model: nothing to compare with"
    assert second.pending == f"needs user_profiles of {LATER}"
    assert not second.worth
    publish(lake, LATER, grown(users(each=80).assign(monetary_all=1000.0)))
    second = ledger(lake, one, horizon_days=HORIZON)[1]
    worth = second.worth["r2"]
    assert worth.value > 0.3
    assert worth.lower < worth.value < worth.upper
    assert json.loads(json.dumps(second.record(), allow_nan=False))["worth"]["spend"]["value"] > 0.3
    text = table([second], "value", costs=True)
    assert "audiences changed" in text
    assert "explained: spend +0." in text


def test_labels_that_know_more_differ_by_what_both_are_worth_alone_and_twins_by_nothing():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 600)
    spend = group * 10.0 + rng.normal(0, 1, 600)
    zeros = np.zeros(600)
    outcomes = Outcomes(np.array([f"u{i:03d}" for i in range(600)]), spend, zeros, zeros, zeros)
    known, blind = group.astype(str), rng.integers(0, 3, 600).astype(str)
    found = difference(blind, known, outcomes, replications=40)["r2"]
    assert found.value > 0.9
    assert found.lower > 0.9
    assert difference(known, known, outcomes, replications=40)["r2"].value == 0
