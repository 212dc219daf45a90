"""The brain of the loop, on a real lake: what it asks for, in which order, and that it comes to rest."""

import shutil

import pytest

from seg_assets.core.days import day_range
from seg_assets.core.tables import TABLES
from seg_assets.drift import verdict
from seg_assets.drift.daily import read_rows
from seg_assets.loop.staleness import stale
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest as Asked
from seg_assets.segments.decisions.store import decisions
from tests.drift.small_shop import Shop, compare_without_evidently, day, strategy

SHIFT, LAST = 9, 15


@pytest.fixture(autouse=True, scope="module")
def without_evidently():
    patch = pytest.MonkeyPatch()
    patch.setattr(verdict, "compare", compare_without_evidently)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def shifted(tmp_path_factory) -> Shop:
    """Days 0..15 in one range, a shift on day 9, nothing decided since."""
    shop = Shop(tmp_path_factory.mktemp("shifted"), shift=SHIFT)
    shop.daily(0, LAST)
    return shop


@pytest.fixture(scope="module")
def settled(shifted, tmp_path_factory) -> Shop:
    """The same shop, at rest."""
    shop = copy(shifted, tmp_path_factory.mktemp("settled"))
    shop.settle()
    return shop


def copy(shop: Shop, root) -> Shop:
    shutil.copytree(shop.settings.home, root, dirs_exist_ok=True)
    twin = Shop(root, *shop.strategies.values(), shift=shop.shift)
    twin.late = dict(shop.late)
    return twin


def story(shop: Shop, name: str = "value") -> list[tuple]:
    return [((d.day - day(0)).days, d.cause, d.promoted) for d in decisions(shop.lake, name)]


def reclustered(shop: Shop) -> list[tuple]:
    return [(r.strategy, (r.first - day(0)).days, r.cause) for r in shop.done if r.kind == "recluster"]


def test_promise_07_a_planted_shift_leads_to_one_reclustering_and_the_loop_rests(shifted, tmp_path):
    shop = copy(shifted, tmp_path)
    plan = shop.settle()
    assert reclustered(shop) == [("value", SHIFT + 1, "drift")]
    assert story(shop) == [(4, "bootstrap", True), (SHIFT + 1, "drift", True)]
    assert plan.runs == []
    assert "nothing is stale and no decision is due" in plan.resting_because
    assert stale(shop.lake, shop.strategies) == {}


def test_promise_07_a_shop_that_does_not_change_is_never_reclustered(tmp_path):
    shop = Shop(tmp_path)
    shop.daily(0, LAST)
    shop.settle()
    assert reclustered(shop) == []
    assert story(shop) == [(4, "bootstrap", True)]


def test_promise_07_at_rest_it_stays_at_rest(settled, tmp_path):
    shop = copy(settled, tmp_path)
    before = shop.contents()
    shop.settle()
    assert shop.done == []
    assert shop.contents() == before


def test_promise_01_day_by_day_and_one_range_give_the_same_lake(settled, tmp_path):
    live = Shop(tmp_path, shift=SHIFT)
    for n in range(LAST + 1):
        live.daily(n, n)
        live.settle(last=n)
    assert live.contents() == settled.contents()
    assert reclustered(live) == [("value", SHIFT + 1, "drift")]


def test_a_refused_challenger_is_written_down_and_the_day_is_the_new_baseline(tmp_path):
    picky = strategy(gate={"maximum_relabelled_per_gain": 0.001})
    shop = Shop(tmp_path, picky, shift=SHIFT)
    shop.daily(0, LAST)
    shop.settle()
    assert story(shop) == [(4, "bootstrap", True), (SHIFT + 1, "drift", False)]
    first, refused = decisions(shop.lake, "value")
    (row,) = read_rows(shop.lake, day(LAST))
    assert (row["baseline_day"], row["baseline_id"]) == (day(SHIFT + 1), refused.decision_id)
    assert row["model_id"] == first.model_id
    assert not row["flagged"]


def test_promise_05_late_events_reopen_the_days_they_touch_and_lead_to_the_lake_of_events_in_time(settled, tmp_path):
    shop = copy(settled, tmp_path / "late")
    shop.land([day(12)], "late")
    assert {t: [d for d, _ in days] for t, days in stale(shop.lake, shop.strategies).items()} == {
        "user_daily_activity": [day(12)],
        "user_category_activity": [day(12)],
        "identity_links": [day(12)],
    }
    shop.settle()
    refreshed = {d for r in shop.done for d in day_range(r.first, r.last)}
    assert min(refreshed) == day(12)
    assert reclustered(shop) == []
    timely = Shop(tmp_path / "timely", shift=SHIFT)
    timely.daily(0, 11)
    timely.land([day(12)], "late")
    timely.late[day(12)] = "late"
    for table, d in [(t, d) for d in day_range(day(12), day(LAST)) for t in ["land", *made_in_order()]]:
        if table == "land":
            timely.land([d], timely.late.get(d, ""))
        else:
            timely.make(table, d)
    timely.settle()
    assert shop.contents() == timely.contents()


def made_in_order() -> list[str]:
    from tests.drift.small_shop import decide_order

    return decide_order()


def test_late_events_before_a_fit_day_reopen_that_fit_and_what_rested_on_it(settled, tmp_path):
    shop = copy(settled, tmp_path)
    before = [d.decision_id for d in decisions(shop.lake, "value")]
    shop.land([day(4)], "late")
    shop.settle()
    assert reclustered(shop) == [("value", 4, "bootstrap"), ("value", SHIFT + 1, "drift")]
    assert story(shop) == [(4, "bootstrap", True), (SHIFT + 1, "drift", True)]
    assert not set(before) & {d.decision_id for d in decisions(shop.lake, "value")}


def test_a_decision_whose_verdict_no_longer_asks_for_it_is_withdrawn(settled, tmp_path):
    shop = copy(settled, tmp_path)
    shop.shift = None
    shop.land(day_range(day(SHIFT), day(LAST)), "the shift was a fault of the files")
    shop.settle()
    assert story(shop) == [(4, "bootstrap", True)]
    assert stale(shop.lake, shop.strategies) == {}


def test_a_first_fit_that_would_now_come_earlier_is_made_there(settled, tmp_path):
    shop = copy(settled, tmp_path)
    shop.strategies["value"] = strategy(fit={"minimum_history_days": 3})
    shop.settle()
    assert story(shop)[0] == (2, "bootstrap", True)


def test_new_limits_make_verdicts_anew_and_keep_decisions_that_they_still_ask_for(settled, tmp_path):
    shop = copy(settled, tmp_path)
    before = [d.decision_id for d in decisions(shop.lake, "value")]
    shop.strategies["value"] = strategy(drift={"limit": 0.11})
    shop.settle()
    assert [d.decision_id for d in decisions(shop.lake, "value")] == before
    assert {t for r in shop.done for t in r.tables} == {"drift_report"}
    shop.strategies["value"] = strategy(drift={"limit": 0.11, "days_in_row": 3})
    shop.settle()
    assert story(shop)[1:] == [(SHIFT + 2, "drift", True)]


def test_a_new_strategy_gets_its_first_fit_in_the_past_and_the_other_is_left_alone(settled, tmp_path):
    shop = copy(settled, tmp_path)
    before = [d.decision_id for d in decisions(shop.lake, "value")]
    shop.strategies["other"] = strategy("other")
    shop.settle()
    assert story(shop, "other") == [(4, "bootstrap", True), (SHIFT + 1, "drift", True)]
    assert [d.decision_id for d in decisions(shop.lake, "value")] == before


def test_a_decision_made_by_hand_stays_and_is_the_new_baseline(settled, tmp_path):
    shop = copy(settled, tmp_path)
    decide_day(shop.lake, shop.strategies["value"], day(13), 0, Asked("value", day(13), "manual"))
    shop.settle()
    assert story(shop)[-1] == (13, "manual", True)
    assert read_rows(shop.lake, day(14))[0]["baseline_day"] == day(13)


def test_a_stop_after_any_step_or_in_the_middle_of_a_range_changes_nothing(shifted, settled, tmp_path):
    shop = copy(shifted, tmp_path)
    for _ in range(40):
        requests = shop.plan().runs
        if not requests:
            break
        again = shop.plan().runs
        assert [r.key for r in again] == [r.key for r in requests], "an unchanged lake asks for the same"
        request = requests[0]
        if request.kind == "refresh" and request.first != request.last:
            # The run dies after its first table's first day; the next look starts from what is there.
            shop.make(request.tables[0], request.first)
            assert [r.key for r in shop.plan().runs] != [request.key]
            request = shop.plan().runs[0]
        shop.run(request)
    assert shop.plan().runs == []
    assert shop.contents() == settled.contents()


def test_nothing_is_decided_while_what_it_rests_on_is_stale(shifted, tmp_path):
    shop = copy(shifted, tmp_path)
    shop.land([day(7)], "late")
    kinds = []
    while requests := shop.plan().runs:
        kinds += [r.kind for r in requests]
        for request in requests:
            if request.kind == "recluster":
                early = {t for t, days in stale(shop.lake, shop.strategies).items() if days[0][0] <= request.first}
                assert not early & {"drift_report", *(t.name for t in TABLES.values() if t.room == "profiles")}
            shop.run(request)
    assert kinds.index("refresh") < kinds.index("recluster")


def test_days_that_wait_for_a_missing_landing_day_are_named_and_what_comes_before_is_decided(shifted, tmp_path):
    shop = copy(shifted, tmp_path)
    for table in ("raw_events", "user_daily_activity"):
        shop.lake.drop(table, day(13))
    plan = shop.settle()
    assert reclustered(shop) == [("value", SHIFT + 1, "drift")]
    assert "2024-01-14" in plan.resting_because
    assert "never materialized" in plan.resting_because


def test_a_day_that_one_table_lacks_is_made_for_that_table(settled, tmp_path):
    shop = copy(settled, tmp_path)
    shop.lake.drop("segment_moves", day(11))
    (request,) = shop.plan().runs
    assert (request.kind, request.tables, request.first, request.last) == (
        "refresh",
        ("segment_moves",),
        day(11),
        day(11),
    )
    assert "never materialized, though raw_events is" in request.reason


def test_an_empty_lake_rests_and_says_why(tmp_path):
    plan = Shop(tmp_path).plan()
    assert (plan.runs, plan.resting_because) == ([], "no raw events yet")


def test_requests_say_what_to_run(shifted):
    (request,) = shifted.plan().runs
    assert request.assets() == ["segment_model"]
    (asked,) = request.run_config()["ops"]["segment_model"]["config"]["requests"]
    assert (asked["strategy"], asked["day"], asked["cause"]) == ("value", day(SHIFT + 1).isoformat(), "drift")
    assert asked["against_model_id"] == decisions(shifted.lake, "value")[0].model_id
    assert request.run_tags() == {
        "seg/request": request.key,
        "seg/cause": "drift",
        "seg/day": day(SHIFT + 1).isoformat(),
        "seg/why": request.reason,
        "seg/strategy": "value",
    }
