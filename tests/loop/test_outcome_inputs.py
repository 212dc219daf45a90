"""A decision that learned from an earlier day rests on that day too."""

import datetime as dt

import pytest

from seg_assets.segments.decisions.decide import decide_day
from tests.segments.fit_shop import DAY, lake_at, publish, strategy, users

EARLIER = DAY - dt.timedelta(days=30)


@pytest.fixture
def shop(tmp_path):
    """Sixty days of history, so the outcome spans thirty."""
    lake = lake_at(tmp_path)
    frame = users().assign(active_days_all=5.0)
    publish(lake, EARLIER, frame.assign(tenure_days=30.0, monetary_all=frame["monetary_90d"]))
    publish(lake, DAY, frame.assign(monetary_all=frame["monetary_90d"] * 1.5))
    return lake, frame


def test_a_decision_is_made_anew_when_the_day_it_learned_from_changed_and_kept_when_nothing_did(shop):
    lake, frame = shop
    tiers = strategy(algorithm="outcome_tiers", parameters={"outcome": "monetary", "horizon_days": 30})
    made = decide_day(lake, tiers, DAY, 0)
    assert made.action == "written"
    assert "user_profiles:horizon-30" in made.decision.inputs
    assert decide_day(lake, tiers, DAY, 0).action == "kept"
    late = frame["monetary_90d"].where(frame.index % 7 > 0, 1.0)
    publish(lake, EARLIER, frame.assign(tenure_days=30.0, monetary_90d=late, monetary_all=late))
    again = decide_day(lake, tiers, DAY, 0)
    assert again.action == "written"
    assert again.decision.inputs["user_profiles:horizon-30"] != made.decision.inputs["user_profiles:horizon-30"]
