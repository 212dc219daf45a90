"""A rollback: the champion before comes back with its ids, as a new decision; nothing of the past is changed."""

import datetime as dt
import os
import shutil

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.lake.store import Lake
from seg_assets.segments.daily import moves
from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.decisions.rollback import check_rollback, rollback_request
from tests.segments.fit_shop import DAY, lake_at, publish, strategy, users

DAYS = [DAY + dt.timedelta(days=n) for n in range(10)]


def split(frame):
    frame = frame.copy()
    mine = np.flatnonzero(frame["user_id"].str.startswith("regulars"))[::2]
    frame.loc[mine, "monetary_90d"] *= 300
    return frame


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Three champions: of day 0 (four segments), day 2 (one of them split: five), day 4 (three)."""
    lake = lake_at(tmp_path_factory.mktemp("template"))
    for n, day in enumerate(DAYS):
        publish(lake, day, split(users()) if n >= 2 else users())
    for n, k in ((0, 4), (2, 5), (4, 3)):
        decide_day(lake, strategy(k={"min": k, "max": k}), DAYS[n], 0, DecisionRequest("value", DAYS[n], "manual"))
    return lake


@pytest.fixture
def lake(tmp_path, template):
    shutil.copytree(template.root, tmp_path / "lake")
    return lake_at(tmp_path)


def back(lake, n, again=False, note=""):
    request, done = rollback_request(lake, "value", DAYS[n], note, again)
    return done or decide_day(lake, strategy(), DAYS[n], 0, request).decision


def ids(decision):
    return set(decision.segment_model().segment_ids)


def test_the_champion_before_comes_back_whole_and_history_stays_as_it_was(lake):
    first, second, third = decisions.decisions(lake, "value")
    made = back(lake, 6, note="the agency hated it")
    assert made.cause == "rollback"
    assert made.model_id == second.model_id
    assert made.against_model_id == third.model_id
    assert "the agency hated it" in made.reason
    assert [d.decision_id for d in decisions.decisions(lake, "value")[:3]] == [
        d.decision_id for d in (first, second, third)
    ]
    assert decisions.champion_as_of(lake, "value", DAYS[5]).model_id == third.model_id
    assert decisions.champion_as_of(lake, "value", DAYS[9]).model_id == second.model_id
    later = split(users())
    for day, champion in ((DAYS[3], second), (DAYS[7], made)):
        labels = assign_day(strategy(), later, champion.segment_model(), None, day)["segment_id"]
        assert set(labels) == ids(second), "users carry the ids that they carried before"


def test_promise_08_returning_ids_are_named_in_the_lineage_and_never_given_to_others(lake):
    _, second, third = decisions.decisions(lake, "value")
    made = back(lake, 6)
    told = {}
    for row in made.lineage:
        told.setdefault(row["event"], []).append(row)
    assert {i for r in told["revival"] for i in r["new_ids"]} == ids(second) - ids(third)
    assert {i for r in told.get("death", []) for i in r["old_ids"]} == ids(third) - ids(second)
    assert {i for r in told["survive"] for i in r["new_ids"]} == ids(second) & ids(third)
    assert all(r["shared_users"] > 0 for r in told["revival"] + told["survive"])
    assert all(
        moves.stand_ins([r])[r["new_ids"][0]] == r["old_ids"][0] for r in told["revival"] if len(r["old_ids"]) == 1
    )
    every = set().union(*(ids(d) for d in decisions.decisions(lake, "value")))
    new = decide_day(
        lake, strategy(k={"min": 6, "max": 6}), DAYS[8], 0, DecisionRequest("value", DAYS[8], "manual")
    ).decision
    minted = ids(new) - ids(second)
    assert minted
    assert not minted & every


def test_asked_twice_on_a_day_it_is_done_once(lake):
    made = back(lake, 6)
    seal = lake.path("segment_model", DAYS[6], "value").stat().st_mtime_ns
    assert back(lake, 6).decision_id == made.decision_id
    assert decide_day(lake, strategy(), DAYS[6], 0, DecisionRequest("value", DAYS[6], "rollback")).action == "kept"
    assert lake.path("segment_model", DAYS[6], "value").stat().st_mtime_ns == seal


def test_a_second_rollback_goes_one_model_further_back_and_a_third_is_refused(lake):
    first, _, _ = decisions.decisions(lake, "value")
    back(lake, 6)
    assert back(lake, 6, again=True).model_id == first.model_id, "on the same day, when asked to"
    with pytest.raises(ConfigError, match="no earlier champion"):
        back(lake, 7)


def test_a_second_rollback_on_a_later_day_goes_further_back_too(lake):
    first, _, _ = decisions.decisions(lake, "value")
    back(lake, 6)
    assert back(lake, 7).model_id == first.model_id


def test_what_cannot_be_undone_is_refused_by_name(lake, tmp_path):
    _, second, third = decisions.decisions(lake, "value")
    with pytest.raises(ConfigError, match=rf"{third.model_id} was promoted on {DAYS[4]}"):
        check_rollback(lake, "value", DAYS[3])
    with pytest.raises(ConfigError, match="it has no model yet"):
        check_rollback(lake, "behaviour", DAYS[3])
    with pytest.raises(ConfigError, match="no earlier champion"):
        decide_day(lake, strategy(), DAYS[9], 0, _only_first(lake))
    assert second.model_id != third.model_id


def _only_first(lake):
    for n in (2, 4):
        lake.drop("segment_model", DAYS[n], "value")
    return DecisionRequest("value", DAYS[9], "rollback")


def test_a_new_champion_after_a_rollback_can_be_rolled_back_on_the_same_day(lake):
    made = back(lake, 6)
    decide_day(lake, strategy(k={"min": 6, "max": 6}), DAYS[6], 0, DecisionRequest("value", DAYS[6], "manual"))
    assert back(lake, 6).model_id == made.model_id


# ---- the loop and the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_evidently():
    from seg_assets.drift import verdict
    from tests.drift.small_shop import compare_without_evidently

    patch = pytest.MonkeyPatch()
    patch.setattr(verdict, "compare", compare_without_evidently)
    yield
    patch.undo()


def test_promise_07_the_loop_refreshes_what_a_rollback_made_stale_keeps_it_and_rests(tmp_path, without_evidently):
    from tests.drift.small_shop import Shop, day

    shop = Shop(tmp_path, shift=6)
    shop.daily(0, 9)
    shop.settle()
    assert [d.cause for d in decisions.decisions(shop.lake, "value")] == ["bootstrap", "drift"]
    request, _ = rollback_request(shop.lake, "value", day(9))
    made = decide_day(shop.lake, shop.strategies["value"], day(9), shop.settings.seed, request).decision
    shop.done.clear()
    shop.settle()
    refreshed = {(t, d) for r in shop.done for t in r.tables for d in (r.first, r.last)}
    assert ("user_segments", day(9)) in refreshed
    assert min(d for _, d in refreshed) == day(9), "days before the rollback stay as they were"
    assert decisions.champion_as_of(shop.lake, "value", day(9)).decision_id == made.decision_id
    before = shop.contents()
    shop.done.clear()
    shop.settle()
    assert (shop.done, shop.contents()) == ([], before)


def test_the_command_makes_the_decision_in_a_run_and_says_what_to_do_next(lake, tmp_path, monkeypatch, capsys):
    import dagster as dg

    from seg_assets import build, cli
    from seg_assets.segments import model_assets
    from seg_assets.segments import strategy as declared

    for name in [n for n in os.environ if n.startswith(("SEG_ASSETS_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("SEG_ASSETS_START_DAY", "2024-01-01")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    # What is first imported while this stands would keep it for every test after.
    build.build_defs()
    for module in (declared, model_assets):
        monkeypatch.setattr(module, "strategies_of", lambda settings: {"value": strategy()})
    true = Lake.inputs_of
    bare = ("user_profiles", "user_category_profiles")
    monkeypatch.setattr(
        Lake, "inputs_of", lambda self, table, d, known=(): {} if table in bare else true(self, table, d, known)
    )
    second = decisions.decisions(lake, "value")[1]
    assert cli.main(["rollback", "value", "--reason", "a bad month"]) == 0
    told = capsys.readouterr().out
    assert f"rolled back to model {second.model_id}" in told
    assert "revival" in told
    assert f"seg-assets replay --from {DAYS[-1]} --to {DAYS[-1]}" in told
    assert decisions.champion_as_of(lake, "value", DAYS[-1]).cause == "rollback"
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        (run,) = instance.get_runs()
        assert (run.job_name, run.tags["seg/cause"]) == ("recluster", "rollback")
    assert cli.main(["rollback", "value"]) == 0
    assert "done already" in capsys.readouterr().out
    for wrong, named in (
        (["rollback", "valu"], "did you mean 'value'"),
        (["rollback", "value", "--day", "2024-02-02"], "2024-02-02"),
        (["rollback", "value", "--day", str(DAYS[3])], "promoted on"),
    ):
        assert cli.main(wrong) == 2
        assert named in capsys.readouterr().err
