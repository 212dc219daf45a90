"""Decisions in the lake: who is champion when, what is dropped, what is damaged, and what a day settles to."""

import datetime as dt
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import ChangedMeanwhileError, ConfigError, DamagedFileError, MissingDaysError
from seg_assets.segments.decisions import decide as decide_module
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.model import SegmentModel
from tests.segments.fit_shop import DAY, START, lake_at, publish, publish_verdict, strategy, users

DAYS = [DAY + dt.timedelta(days=n) for n in range(40)]


@pytest.fixture(scope="module")
def model() -> SegmentModel:
    return fit_challenger(strategy(), users(), DAY, None).model


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Eight days of unchanged users."""
    lake = lake_at(tmp_path_factory.mktemp("template"))
    for day in DAYS[:8]:
        publish(lake, day, users())
    return lake


@pytest.fixture
def shop(tmp_path, template):
    """A lake of its own for each test."""
    shutil.copytree(template.root, tmp_path / "lake")
    return lake_at(tmp_path)


def decided(model, day, cause="drift", promoted=True, **keys) -> Decision:
    document = replace(model, fit_day=day).to_document()
    return Decision("value", day, cause, document, promoted, "because", **{"reference": {"x": [1.5]}, **keys})


def shift(frame: pd.DataFrame) -> pd.DataFrame:
    """Half of the regulars turn into big, rare buyers."""
    frame = frame.copy()
    mine = np.flatnonzero(frame["user_id"].str.startswith("regulars"))[::2]
    frame.loc[mine, "monetary_90d"] *= 300
    frame.loc[mine, "orders_90d"] = 1.0
    return frame


def test_champion_and_baseline_are_those_of_the_day_asked(shop, model):
    for day, promoted in ((DAYS[0], True), (DAYS[3], False), (DAYS[6], True)):
        decisions.write_decision(shop, decided(model, day, promoted=promoted))
    for asked, champion in ((-1, None), (0, 0), (5, 0), (6, 6), (9, 6)):
        found = decisions.champion_as_of(shop, "value", DAY + dt.timedelta(days=asked))
        assert (found.day if found else None) == (DAYS[champion] if champion is not None else None)
    assert decisions.champion_before(shop, "value", DAYS[6]).day == DAYS[0]
    assert decisions.baseline_before(shop, "value", DAYS[6]).day == DAYS[3]
    assert decisions.baseline_before(shop, "value", DAYS[0]) is None
    assert decisions.champion_as_of(shop, "behaviour", DAYS[9]) is None
    assert decisions.champion_digest(shop, ["value"], DAYS[5]) != decisions.champion_digest(shop, ["value"], DAYS[6])
    assert decisions.baseline_digest(shop, ["value"], DAYS[3]) != decisions.baseline_digest(shop, ["value"], DAYS[4])


def test_a_decision_reads_back_whole(shop, model):
    made = decided(model, DAY, numbers={"gain": 0.25}, lineage=[{"event": "birth"}], inputs={"seed": "0"})
    assert decisions.write_decision(shop, made)
    found = decisions.decisions(shop, "value")[0]
    assert found.decision_id == made.decision_id
    assert (found.numbers, found.lineage, found.inputs) == ({"gain": 0.25}, [{"event": "birth"}], {"seed": "0"})
    assert dict(found.reference) == {"x": [1.5]}
    assert found.segment_model().model_id == found.model_id
    assert not decisions.write_decision(shop, made), "writing the same again does nothing"


def test_promise_07_a_rewritten_decision_drops_the_derived_ones_after_it_and_keeps_those_made_by_hand(shop, model):
    for day, cause in zip(DAYS[:5], ("bootstrap", "drift", "manual", "rollback", "age"), strict=True):
        decisions.write_decision(shop, decided(model, day, cause))
    assert len(decisions.decisions(shop, "value")) == 5
    decisions.write_decision(shop, decided(model, DAYS[0], "bootstrap", reference={"x": [2.5]}))
    assert [(d.day, d.cause) for d in decisions.decisions(shop, "value")] == [
        (DAYS[0], "bootstrap"),
        (DAYS[2], "manual"),
        (DAYS[3], "rollback"),
    ]


def test_a_decision_is_not_written_over_a_past_that_changed_since_it_was_looked_at(shop, model):
    decisions.write_decision(shop, decided(model, DAYS[0], "bootstrap"))
    past = decisions.past_of(shop, "value", DAYS[3])
    by_hand = decided(model, DAYS[3], "rollback")
    decisions.write_decision(shop, by_hand)
    with pytest.raises(ChangedMeanwhileError, match="another run decided while this one did"):
        decisions.write_decision(shop, decided(model, DAYS[3]), past=past)
    with pytest.raises(ChangedMeanwhileError):
        decisions.withdraw(shop, "value", DAYS[3], past)
    assert [d.decision_id for d in decisions.decisions_of_day(shop, "value", DAYS[3])] == [by_hand.decision_id]
    # Started over, it is written beside what the other run decided.
    again = decisions.past_of(shop, "value", DAYS[3])
    decisions.write_decision(shop, decided(model, DAYS[3]), past=again)
    assert [d.cause for d in decisions.decisions_of_day(shop, "value", DAYS[3])] == ["drift", "rollback"]
    # A decision of a later day is no past of this one.
    decisions.write_decision(shop, decided(model, DAYS[6], "manual"))
    decisions.write_decision(shop, decided(model, DAYS[1]), past=decisions.past_of(shop, "value", DAYS[1]))


def test_a_decision_is_started_over_when_another_run_decided_meanwhile(shop, model, monkeypatch):
    calls = []

    def decide(*arguments):
        calls.append(arguments)
        if len(calls) < 3:
            raise ChangedMeanwhileError("another run decided")
        return "decided"

    monkeypatch.setattr(decide_module, "_decide", decide)
    assert decide_module.decide_day(shop, strategy(), DAY, 0) == "decided"
    assert len(calls) == 3
    calls.clear()
    monkeypatch.setattr(decide_module, "MOST_TRIES", 2)
    with pytest.raises(ChangedMeanwhileError):
        decide_module.decide_day(shop, strategy(), DAY, 0)


def test_other_strategies_are_left_alone(shop, model):
    other = replace(model, strategy="other").to_document()
    decisions.write_decision(shop, decided(model, DAYS[5]))
    decisions.write_decision(shop, Decision("other", DAYS[5], "drift", other, True, "why"))
    decisions.write_decision(shop, decided(model, DAYS[0], "bootstrap"))
    assert [d.day for d in decisions.decisions(shop, "other")] == [DAYS[5]]
    assert [d.day for d in decisions.decisions(shop, "value")] == [DAYS[0]]


def tampered(shop, column, change):
    """Rewrite the part file of DAY with one cell changed and the footer kept, as a careful hand would."""
    path = shop.path("segment_model", DAY, "value")
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    rows[0][column] = change(rows[0][column])
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return path


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("model", lambda text: text.replace('"weight":1.0', '"weight":2.0', 1)),
        ("promoted", lambda value: not value),
        ("reference", lambda text: '{"x":[9]}'),
        ("reason", lambda text: "I say so"),
        ("decision_id", lambda text: "0" * 16),
    ],
)
def test_promise_12_a_tampered_decision_is_named_and_never_used(shop, model, column, change):
    decisions.write_decision(shop, decided(model, DAY))
    path = tampered(shop, column, change)
    with pytest.raises(DamagedFileError, match=str(path)):
        decisions.champion_as_of(shop, "value", DAY)


def test_promise_12_a_model_document_whose_hash_does_not_match_is_refused(model):
    document = json.loads(json.dumps(model.to_document()))
    document["fitted"]["centroids"][0][0] += 1e-6
    with pytest.raises(DamagedFileError, match="some place: model"):
        SegmentModel.from_document(document, "some place")
    with pytest.raises(DamagedFileError):
        SegmentModel.from_document({"model_id": "x"})


def test_promise_12_no_pickle_is_read_or_written():
    from pathlib import Path

    import seg_assets.segments

    folder = Path(seg_assets.segments.__file__).parent
    for file in folder.rglob("*.py"):
        assert not {"pickle", "joblib", "eval(", "exec("} & set(file.read_text().replace("\n", " ").split()), file


def test_promise_03_a_truncated_decision_file_is_named(shop, model):
    decisions.write_decision(shop, decided(model, DAY))
    path = shop.path("segment_model", DAY, "value")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedFileError, match=str(path)):
        decisions.decisions(shop, "value")


def test_three_years_of_decisions_are_read_fast(tmp_path, model):
    import time

    from tests.segments.daily_shop import BareLake

    lake = BareLake(tmp_path / "lake", START)
    for n in range(30):
        decisions.write_decision(lake, decided(model, START + dt.timedelta(days=36 * n), promoted=n % 3 == 0))
    decisions.decisions(lake, "value")
    started = time.perf_counter()
    for n in range(50):
        decisions.champion_as_of(lake, "value", START + dt.timedelta(days=20 * n))
        decisions.baseline_before(lake, "value", START + dt.timedelta(days=20 * n))
    assert (time.perf_counter() - started) / 50 < 0.05


# ---- settling a day --------------------------------------------------------------------------------------------


def test_the_first_fit_comes_on_the_first_day_with_enough_history_and_users(tmp_path):
    lake = lake_at(tmp_path)
    publish(lake, DAYS[0], users(each=5))
    publish(lake, DAYS[1], users().assign(tenure_days=20.0))
    publish(lake, DAYS[2], users())
    few, young, ready = (decide_day(lake, strategy(), day, 0) for day in DAYS[:3])
    assert (few.action, young.action, ready.action) == ("none", "none", "written")
    assert "20 eligible users" in few.reason
    assert "21 days of history" in young.reason
    assert ready.decision.promoted
    assert ready.decision.cause == "bootstrap"
    publish(lake, DAYS[3], users())
    assert decide_day(lake, strategy(), DAYS[3], 0).action == "none"


def test_promise_07_settling_a_day_again_changes_nothing(shop):
    first = decide_day(shop, strategy(), DAY, 0)
    seal = shop.path("segment_model", DAY, "value").stat()
    again = decide_day(shop, strategy(), DAY, 0)
    assert again.action == "kept"
    assert again.decision.decision_id == first.decision.decision_id
    assert shop.path("segment_model", DAY, "value").stat().st_mtime_ns == seal.st_mtime_ns
    assert decide_day(shop, strategy(), DAY, 0, force=True).action == "kept", "made anew, it is the same"


def test_promise_01_first_fits_in_any_order_end_at_the_earliest_day(shop):
    late = decide_day(shop, strategy(), DAYS[5], 0)
    assert late.action == "written"
    early = decide_day(shop, strategy(), DAYS[2], 0)
    assert early.action == "written"
    assert early.dropped == (DAYS[5],)
    assert decide_day(shop, strategy(), DAYS[5], 0).action == "none"
    assert [d.day for d in decisions.decisions(shop, "value")] == [DAYS[2]]


def test_promise_05_changed_profiles_or_another_strategy_make_the_decision_anew(shop):
    first = decide_day(shop, strategy(), DAY, 0)
    publish(shop, DAY, shift(users()))
    changed = decide_day(shop, strategy(), DAY, 0)
    assert changed.action == "written"
    assert changed.decision.model_id != first.decision.model_id
    assert decide_day(shop, strategy(), DAY, 0).action == "kept"
    assert decide_day(shop, strategy(pca=2), DAY, 0).action == "written"
    assert decide_day(shop, strategy(pca=2, title="Other words"), DAY, 0).action == "kept"


def test_a_first_fit_whose_users_vanish_is_withdrawn_and_said(shop):
    decide_day(shop, strategy(), DAY, 0)
    publish(shop, DAY, users(each=2))
    gone = decide_day(shop, strategy(), DAY, 0)
    assert gone.action == "withdrawn"
    assert "8 eligible users" in gone.reason
    assert decisions.decisions(shop, "value") == []
    assert not shop.days("segment_model")


def drifted(shop, day=DAYS[4], digest="v1"):
    first = decide_day(shop, strategy(), DAY, 0).decision
    publish(shop, day, shift(users()))
    publish_verdict(shop, day, "value", first.model_id, "drift", digest)
    return first, DecisionRequest("value", day, "drift", first.model_id)


def test_promise_07_one_request_makes_one_decision_however_often_it_comes(shop):
    first, request = drifted(shop)
    done = decide_day(shop, strategy(), DAYS[4], 0, request)
    assert done.action == "written"
    assert done.decision.against_model_id == first.model_id
    assert "gain" in done.decision.numbers
    again = decide_day(shop, strategy(), DAYS[4], 0, replace(request, attempt=2))
    assert again.action == "kept"
    assert len(decisions.decisions(shop, "value")) == 2


def test_promise_08_after_a_recluster_unchanged_users_keep_their_ids(shop):
    first, request = drifted(shop)
    done = decide_day(shop, strategy(k={"min": 5, "max": 5}), DAYS[4], 0, request).decision
    before = first.segment_model().assign(users())
    after = done.segment_model().assign(shift(users()))
    same = ~before["user_id"].str.startswith("regulars")
    assert (before["segment_id"][same] == after["segment_id"][same]).mean() > 0.97


def test_a_request_against_a_model_that_is_champion_no_more_does_nothing(shop):
    _, request = drifted(shop)
    stale = decide_day(shop, strategy(), DAYS[4], 0, replace(request, against_model_id="ffffffffffff"))
    assert stale.action == "none"
    assert "ffffffffffff" in stale.reason
    assert len(decisions.decisions(shop, "value")) == 1


def test_a_decision_whose_verdict_is_taken_back_is_withdrawn(shop):
    first, request = drifted(shop)
    decide_day(shop, strategy(), DAYS[4], 0, request)
    publish_verdict(shop, DAYS[4], "value", first.model_id, "", "v2")
    gone = decide_day(shop, strategy(), DAYS[4], 0)
    assert gone.action == "withdrawn"
    assert [d.day for d in decisions.decisions(shop, "value")] == [DAY]


def test_a_drift_request_without_a_verdict_is_not_believed(shop):
    first = decide_day(shop, strategy(), DAY, 0).decision
    unasked = decide_day(shop, strategy(), DAYS[4], 0, DecisionRequest("value", DAYS[4], "drift", first.model_id))
    assert unasked.action == "none"
    assert "no verdict" in unasked.reason


def test_a_challenger_that_is_not_promoted_is_still_a_decision_and_the_new_baseline(shop):
    first = decide_day(shop, strategy(), DAY, 0).decision
    publish_verdict(shop, DAYS[4], "value", first.model_id, "drift")
    kept = decide_day(shop, strategy(), DAYS[4], 0, DecisionRequest("value", DAYS[4], "drift", first.model_id))
    assert kept.action == "written"
    assert not kept.decision.promoted, "users did not change, so there is nothing to gain"
    assert decisions.champion_as_of(shop, "value", DAYS[9]).decision_id == first.decision_id
    assert decisions.baseline_before(shop, "value", DAYS[9]).day == DAYS[4]
    assert kept.decision.reference["model_id"] == first.model_id, "drift is measured with the model in force"


def test_a_manual_request_is_promoted_once_and_survives_a_changed_past(shop):
    first = decide_day(shop, strategy(), DAY, 0).decision
    asked = DecisionRequest("value", DAYS[6], "manual", note="new catalogue")
    made = decide_day(shop, strategy(), DAYS[6], 0, asked)
    assert made.decision.promoted
    assert "new catalogue" in made.decision.reason
    assert decide_day(shop, strategy(), DAYS[6], 0, asked).action == "kept"
    publish(shop, DAY, shift(users()))
    assert decide_day(shop, strategy(), DAY, 0).action == "written"
    left = decisions.decisions(shop, "value")
    assert [d.cause for d in left] == ["bootstrap", "manual"]
    assert left[0].model_id != first.model_id
    assert not {s["id"] for s in left[0].model["segments"]} & {s["id"] for s in left[1].model["segments"]}, (
        "the decision by hand keeps its ids, so the new past may not give them to other segments"
    )


def test_promise_04_a_day_without_profiles_and_promise_11_an_unknown_cause_are_named(shop):
    with pytest.raises(MissingDaysError, match=str(DAYS[20])):
        decide_day(shop, strategy(), DAYS[20], 0)
    with pytest.raises(ConfigError, match="whim"):
        decide_day(shop, strategy(), DAY, 0, DecisionRequest("value", DAY, "whim"))
