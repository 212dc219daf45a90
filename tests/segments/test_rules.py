"""Rule segments: every user gets exactly one answer, by a stated precedence."""

import numpy as np
import pytest

from seg_assets.segments.fitting.identity import new_ids
from seg_assets.segments.rules import CLUSTERED, RULES, clustered_mask, rule_codes, rule_ids
from tests.segments.daily_shop import make_frame, make_strategy


def ruled(strategy, frame, has_champion=True) -> list[str]:
    codes = rule_codes(strategy, frame, has_champion=has_champion)
    return ["cluster" if c == CLUSTERED else RULES[c] for c in codes]


def one_user(**values):
    frame = make_frame(["u"])
    for column, value in values.items():
        frame[column] = [value]
    return frame


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "cluster"),
        ({"tenure_days": 13.0}, "new"),
        ({"tenure_days": 14.0}, "cluster"),
        ({"inactive_days": 90.0}, "dormant"),
        ({"inactive_days": 89.0}, "cluster"),
        ({"orders_all": 1.0}, "new"),
        ({"orders_all": np.nan}, "new"),
        ({"orders_all": 1.0, "inactive_days": 90.0}, "dormant"),
        ({"is_suspected_bot": 1.0, "inactive_days": 90.0, "tenure_days": 1.0}, "suspected_bot"),
        ({"tenure_days": np.nan, "inactive_days": np.nan, "is_suspected_bot": np.nan}, "cluster"),
    ],
)
def test_the_rule_that_comes_first_names_the_user(values, expected):
    strategy = make_strategy(eligibility={"minimum_orders": 2})
    assert ruled(strategy, one_user(**values)) == [expected]


def test_nobody_is_anything_before_there_is_a_champion():
    frame = make_frame(["a", "b", "c"])
    frame["is_suspected_bot"], frame["inactive_days"] = [1.0, 0.0, 0.0], [0.0, 500.0, 0.0]
    assert ruled(make_strategy(), frame, has_champion=False) == ["unassigned"] * 3


def test_rules_can_be_switched_off():
    strategy = make_strategy(rules={"new_within_days": None, "dormant_after_days": None, "bots": False})
    frame = one_user(tenure_days=0.0, inactive_days=900.0, is_suspected_bot=1.0)
    assert ruled(strategy, frame) == ["cluster"]


def test_who_is_assigned_to_a_cluster_is_who_the_fit_may_see():
    strategy = make_strategy(
        eligibility={"minimum_orders": 3, "minimum": {"views_28d": 2}, "any_known": ["sex", "region"]}
    )
    rng = np.random.default_rng(0)
    frame = make_frame([f"u{n}" for n in range(500)])
    for column, high in (("tenure_days", 30), ("inactive_days", 120), ("orders_all", 6), ("views_28d", 5)):
        frame[column] = np.where(rng.random(500) < 0.1, np.nan, rng.integers(0, high, 500))
    frame["is_suspected_bot"] = np.where(rng.random(500) < 0.1, 1.0, 0.0)
    for column in ("sex", "region"):
        frame[column] = np.where(rng.random(500) < 0.6, None, "x")
    clustered = rule_codes(strategy, frame, has_champion=True) == CLUSTERED
    assert 0 < clustered.sum() < 500
    assert (clustered == clustered_mask(strategy, frame)).all()


def test_rule_ids_never_meet_minted_ids():
    ids = set(rule_ids("value").values())
    assert ids == {"value-unassigned", "value-suspected-bot", "value-dormant", "value-new", "value-outlier"}
    assert not ids & set(new_ids("value", ids, 50))
    assert new_ids("value", ids, 1) == ["value-001"]
