"""The verdict of a day: what flags it, what makes it drift, what asks for a re-clustering."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from seg_assets.drift.verdict import Yesterday, judge_day, limits_for, settled_after, total_variation
from seg_assets.segments import algorithms
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.reference import make_reference
from seg_assets.segments.model import Segment, SegmentModel, as_stored
from seg_assets.segments.space import FeatureSpace
from tests.drift.small_shop import strategy, users

DAY = dt.date(2024, 3, 1)


def fitted(one, frame, k=3) -> SegmentModel:
    space = FeatureSpace.fit(frame, one)
    found = algorithms.fit("kmeans", space.transform(frame), k, seed=0)
    segments = tuple(Segment(f"value-{n:03d}", f"Group {n}", 0, 0.0) for n in range(found.n_clusters))
    return as_stored(SegmentModel(one.name, DAY, space, found, segments))


def decided(one, frame, promoted=True) -> Decision:
    model = fitted(one, frame)
    return Decision(
        one.name, DAY, "bootstrap", model.to_document(), promoted, "", reference=make_reference(one, frame, model)
    )


def verdict(one, frame, decision, *, after=10, yesterday=None):
    return judge_day(
        one,
        DAY + dt.timedelta(days=after),
        frame,
        seed=0,
        champion=decision,
        baseline=decision,
        yesterday=yesterday,
    )


def streak_of(decision, n):
    return Yesterday(decision.decision_id, n)


def normal_users(n: int, seed: int, factor: float = 1.0) -> pd.DataFrame:
    """Three groups, other users for every seed."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 3, n)
    orders = np.maximum(1, rng.poisson(np.array([2, 8, 25])[g]))
    spend = orders * np.array([8.0, 20.0, 60.0])[g] * np.exp(rng.normal(0, 0.3, n)) * factor
    frame = pd.DataFrame({"orders_28d": orders.astype(float), "monetary_28d": spend})
    frame.insert(0, "user_id", [f"u{i:06d}" for i in range(n)])
    return frame.assign(
        tenure_days=60.0, recency_days=3.0, inactive_days=3.0, is_suspected_bot=0.0, orders_all=5.0, active_days_all=5.0
    )


@pytest.fixture(scope="module")
def default():
    return strategy(drift={"limit_users": 5_000, "days_in_row": 3, "cool_down_days": 14})


@pytest.mark.parametrize(("n", "seeds"), [(200, 16), (1_000, 12), (10_000, 4)])
def test_days_without_change_are_not_flagged_whatever_the_number_of_users(default, n, seeds):
    flagged = []
    for seed in range(seeds):
        decision = decided(default, normal_users(n, seed))
        found = verdict(default, normal_users(n, seed + 1000), decision)
        flagged.append(found.flagged)
        assert found.cause == ""
    assert np.mean(flagged) <= 0.05


@pytest.mark.parametrize("n", [1_000, 10_000])
def test_half_more_spend_is_flagged_at_any_number_of_users(default, n):
    decision = decided(default, normal_users(n, 0))
    found = verdict(default, normal_users(n, 1, factor=1.6), decision)
    assert found.flagged
    assert any(reason.startswith("monetary_28d: wasserstein distance") for reason in found.reasons)


def test_limits_grow_as_one_over_the_root_of_users_and_never_below_the_stated_ones(default):
    assert limits_for(default, 5_000).distance == limits_for(default, 10**6).distance == default.drift.limit
    assert limits_for(default, 1_250).distance == pytest.approx(2 * default.drift.limit)
    assert limits_for(default, 1).missing == 1.0


def test_drift_takes_days_in_a_row_against_the_same_baseline():
    one = strategy(drift={"days_in_row": 3, "cool_down_days": 0})
    decision, shifted = decided(one, users(1, False)), users(9, True)
    first = verdict(one, shifted, decision)
    assert (first.flagged, first.streak, first.drifted, first.cause) == (True, 1, False, "")
    third = verdict(one, shifted, decision, yesterday=streak_of(decision, 2))
    assert (third.streak, third.drifted, third.cause) == (3, True, "drift")
    other = verdict(one, shifted, decision, yesterday=Yesterday("another baseline", 7))
    assert other.streak == 1
    calm = verdict(one, users(9, False), decision, yesterday=streak_of(decision, 2))
    assert (calm.flagged, calm.streak) == (False, 0)


def test_within_the_cool_down_drift_is_shown_and_nothing_is_asked_for():
    one = strategy(drift={"days_in_row": 1, "cool_down_days": 14})
    decision = decided(one, users(1, False))
    early, late = (verdict(one, users(9, True), decision, after=n) for n in (13, 14))
    assert (early.drifted, early.cause) == (True, "")
    assert any("cool-down: day 13 of 14" in reason for reason in early.reasons)
    assert late.cause == "drift"


def test_drift_that_a_refit_would_not_mend_asks_for_no_reclustering():
    """Everyone buys a little more: the columns drift, the groups stay where they were relative to each other."""
    one = strategy(drift={"days_in_row": 1, "cool_down_days": 0, "limit": 0.05}, gate={"minimum_gain": 0.3})
    base = normal_users(3_000, 0)
    decision = decided(one, base)
    found = verdict(one, base.assign(monetary_28d=base["monetary_28d"] * 1.15), decision)
    assert found.drifted
    assert found.cause == ""
    assert any("re-clustering would not help" in reason for reason in found.reasons)


def test_new_nulls_flag_a_day_whose_distances_are_small():
    one = strategy(drift={"columns": ["monetary_28d"]})
    base = normal_users(2_000, 0)
    decision = decided(one, base)
    now = base.assign(monetary_28d=base["monetary_28d"].where(np.arange(len(base)) % 10 >= 6))
    found = verdict(one, now, decision)
    assert any(reason.startswith("monetary_28d: missing 0.0% -> 60.0%") for reason in found.reasons)


def test_users_that_move_between_segments_flag_a_day_when_no_column_is_watched_that_shows_it():
    one = strategy(drift={"columns": ["inactive_days"]})
    base = normal_users(3_000, 0)
    decision = decided(one, base)
    now = base[(base["monetary_28d"] > 100) | (np.arange(len(base)) % 4 == 0)].reset_index(drop=True)
    found = verdict(one, now, decision)
    assert found.share_variation >= 0.05
    assert any(reason.startswith("segment shares:") for reason in found.reasons)


def test_a_champion_past_its_age_is_due_without_drift():
    one = strategy(drift={"maximum_age_days": 30})
    base = normal_users(500, 0)
    decision = decided(one, base)
    young, old = (verdict(one, base, decision, after=n) for n in (29, 30))
    assert (young.cause, old.cause, old.drifted) == ("", "age", False)


def test_a_first_fit_is_due_with_enough_users_and_history_and_not_before():
    one = strategy(fit={"minimum_users": 60, "minimum_history_days": 28})

    def first(frame):
        return judge_day(one, DAY, frame, seed=0, champion=None, baseline=None, yesterday=None)

    base = normal_users(100, 0)
    assert first(base).cause == "bootstrap"
    assert "27 days of history" in first(base.assign(tenure_days=26.0)).reasons[0]
    assert first(base.iloc[:0]).reasons[0].startswith("no model yet: nobody is known: no event so far has a user_id")
    assert "50 users" in first(base.head(50)).reasons[0]
    alike = base.assign(orders_28d=1.0, monetary_28d=2.0)
    assert (first(alike).cause, first(alike).reasons) == ("", ("no model yet: no feature tells users apart",))
    assert first(base.head(0)).cause == ""


def test_a_day_without_users_and_a_day_with_one_have_a_stated_verdict(default):
    base = normal_users(500, 0)
    decision = decided(default, base)
    empty = verdict(default, base.head(0), decision)
    assert (empty.users, empty.flagged, empty.cause) == (0, False, "")
    assert empty.reasons == ("no user takes part in clustering on this day",)
    alone = verdict(default, base.head(1), decision)
    assert (alone.users, alone.cause) == (1, "")


def test_when_too_few_users_are_left_for_a_fit_none_is_asked_for():
    one = strategy(drift={"days_in_row": 1, "cool_down_days": 0}, fit={"minimum_users": 150})
    decision = decided(one, users(1, False))
    found = verdict(one, users(9, True).head(149), decision, yesterday=streak_of(decision, 5))
    assert (found.drifted, found.cause) == (True, "")


def test_dormant_users_that_pile_up_are_not_drift():
    one = strategy(rules={"dormant_after_days": 90, "new_within_days": None})
    base = normal_users(1_000, 0)
    decision = decided(one, base)
    gone = normal_users(1_000, 5).assign(inactive_days=200.0, monetary_28d=0.0, orders_28d=0.0)
    gone["user_id"] = "gone-" + gone["user_id"]
    assert not verdict(one, pd.concat([base, gone], ignore_index=True), decision).flagged


def test_the_digest_changes_with_the_cause_and_the_baseline_and_not_with_a_score():
    one = strategy(drift={"days_in_row": 1, "cool_down_days": 0})
    decision, other = decided(one, users(1, False)), decided(one, users(2, False))
    calm, calm_too = verdict(one, users(3, False), decision), verdict(one, users(4, False), decision)
    assert calm.columns != calm_too.columns
    assert calm.verdict_digest == calm_too.verdict_digest
    assert calm.verdict_digest != verdict(one, users(9, True), decision).verdict_digest
    assert calm.verdict_digest != verdict(one, users(3, False), other).verdict_digest


def test_total_variation_counts_segments_of_either_day():
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0
    assert total_variation({"a": 1.0}, {"b": 1.0}) == 1
    assert total_variation({"a": 0.6, "b": 0.4}, {"a": 0.5, "b": 0.4, "c": 0.1}) == pytest.approx(0.1)


# ---- windows that fill -----------------------------------------------------------------------------------------


def judged_at(one, history, decided_at, frame=None, yesterday=None):
    """The verdict of a shop `history` days old about a decision taken when it was `decided_at` days old."""
    base = normal_users(600, 0).assign(tenure_days=float(decided_at - 1))
    decision = decided(one, base)
    now = (users(9, True) if frame is None else frame).assign(tenure_days=float(history - 1))
    last = Yesterday(decision.decision_id, yesterday) if yesterday is not None else None
    return verdict(one, now, decision, after=history - decided_at, yesterday=last)


def windows(**drift):
    """Windows of 28 days; everything else asks at once."""
    return strategy(drift={"settled_after_days": None, "days_in_row": 1, "cool_down_days": 3, **drift})


def test_while_the_windows_fill_nothing_drifts_and_nothing_is_asked_for_and_the_verdict_says_why():
    found = judged_at(windows(), 27, 10)
    assert (found.flagged, found.drifted, found.cause) == (True, False, "")
    assert found.snapshot is not None, "Evidently's numbers are there to look at"
    assert any("27 of the 28 days of history" in reason for reason in found.reasons)
    switched_off = judged_at(windows(settled_after_days=0), 27, 10)
    assert (switched_off.drifted, switched_off.cause) == (True, "drift")


def test_a_maximum_age_is_not_asked_for_while_windows_fill():
    assert judged_at(windows(maximum_age_days=5, settled_after_days=60), 27, 10).cause == ""


def test_a_decision_is_due_from_the_day_the_windows_are_full_and_only_against_one_made_before():
    calm = normal_users(600, 0)
    due = judged_at(windows(), 28, 10, calm)
    assert due.cause == "age"
    assert any("rests on 10 days of history, windows of 28 are full" in reason for reason in due.reasons)
    assert judged_at(windows(), 40, 10, calm).cause == "age"
    assert judged_at(windows(), 40, 28, calm).cause == ""


def test_the_decision_for_full_windows_waits_for_the_cool_down_of_one_made_by_hand():
    calm = normal_users(600, 0)
    assert judged_at(windows(), 28, 26, calm).cause == ""
    assert judged_at(windows(), 29, 26, calm).cause == "age"


@pytest.mark.parametrize(
    ("features", "watched", "days"),
    [
        (["monetary_90d", "orders_28d"], [], 90),
        (["orders_28d", "basket_size_90d", "discount_share_90d", "order_value_mean_90d"], ["active_days_7d"], 28),
        (["monetary_all", "tenure_days"], [], 0),
        (["orders_28d"], ["categories_90d"], 90),
    ],
)
def test_the_longest_window_that_adds_up_decides_and_ratios_and_lifetimes_have_none_to_fill(features, watched, days):
    one = strategy(features=[{"column": c} for c in features], drift={"columns": watched, "settled_after_days": None})
    assert settled_after(one) == days
