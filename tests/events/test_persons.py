"""Ids that are no person, and days on which nobody is known: noticed where lines are read, left out where asked for."""

import re
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest

from seg_assets import cli
from seg_assets.core.digests import digest
from seg_assets.events import persons
from seg_assets.events.source import load_source
from tests.events.landing_zone import DAY, EVENTS, Landing
from tests.events.test_assets import HEAD, World

MODEL = Path(__file__).parents[2] / "dbt_project" / "models" / "activity" / "identity_links.sql"


def ids_of(*pairs: tuple[str | None, str | None]) -> persons.Ids:
    """Return the ids of events given as (user_id, anonymous_id)."""
    frame = pd.DataFrame(pairs, columns=["user_id", "anonymous_id"], dtype="str")
    with duckdb.connect() as con:
        con.register("given", frame)
        con.execute("create temp table events as select columns(*)::varchar from given")
        return persons.ids_of(con, "events")


@pytest.mark.parametrize(
    ("devices", "others", "doubted"), [(5, 0, False), (6, 0, True), (6, 594, False), (7, 594, True)]
)
def test_a_user_with_more_devices_than_a_person_has_is_doubted(devices, others, doubted):
    ids = ids_of(*(("cook", f"d{n}") for n in range(devices)), *((f"u{n}", f"c{n}") for n in range(others)))
    assert bool(ids.doubts) is doubted
    assert ids.user_share == pytest.approx(devices / (devices + others))
    assert "cook" not in " ".join(ids.doubts), "an id that may be somebody's is not said"


def test_a_device_that_is_everybody_s_is_doubted():
    ids = ids_of(*((f"u{n}", "kiosk") for n in range(6)))
    assert ["one anonymous_id came with 6 of 6 users" in doubt for doubt in ids.doubts] == [True]


@pytest.mark.parametrize(
    "text",
    ["undefined", "Null", "(not set)", "0", "00000000-0000-0000-0000-000000000000", "00:00:00:00:00:00", "NaN",
     "ffffffff-ffff-ffff-ffff-ffffffffffff"],
)  # fmt: skip
@pytest.mark.parametrize("column", ["user_id", "anonymous_id"])
def test_a_text_for_nobody_is_named(text, column):
    given = ids_of((text, None), ("ann", "c1")) if column == "user_id" else ids_of((None, text), ("ann", "c1"))
    assert given.doubts == [f"{column} {text!r} (1 events) is no id"]


@pytest.mark.parametrize("text", ["10", "100000", "ann", "f0f0", "nobody@example.org", "0a"])
def test_an_ordinary_id_is_not(text):
    assert ids_of((text, "c1"), ("bob", "c2")).doubts == []


def test_one_visitor_with_the_events_of_a_hundred_is_doubted():
    crowd = [(None, f"c{n}") for n in range(100)]
    assert ids_of(*crowd).doubts == []
    assert "one anonymous_id has 18% of the events" in ids_of(*crowd, *[(None, "c1")] * 20).doubts[0]


def test_the_model_of_links_has_the_same_limit():
    numbers = re.findall(r"greatest\((\d+), ([\d.]+) \* count", MODEL.read_text())
    assert numbers == [(str(persons.LEAST), str(persons.LIMIT))] * 2


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_the_checks_of_raw_events_say_what_is_no_person_and_stop_nothing(tmp_path):
    world = World(tmp_path)
    world.put("orders/2024-03-01.csv", HEAD + "1,undefined,2024-03-01 10:00,purchase,1\n")
    result = world.run(1, 1)
    assert result.success
    check = checks(result)["ids_are_persons"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "user_id 'undefined' (1 events) is no id" in check.metadata["doubts"].value
    assert "not_a_person" in check.metadata["remedy"].value
    assert checks(result)["somebody_is_known"].passed


def test_a_day_without_a_known_user_says_so(tmp_path):
    world = World(tmp_path)
    (tmp_path / "source.yaml").write_text(EVENTS.replace("events/{day}*.jsonl", "events/{day}.jsonl"))
    world.put(
        "events/2024-03-01.jsonl", '{"anonymous_id":"g1","event_time":"2024-03-01T09:00:00Z","event_type":"search"}'
    )
    result = world.run(1, 1, "landed_files", "rejected_events", "raw_events")
    assert result.success
    check = checks(result)["somebody_is_known"]
    assert not check.passed
    assert check.metadata["reason"].value == persons.NOBODY


LINES = [
    '{"user_id":"undefined","anonymous_id":"c1","event_time":"2024-03-04T09:00:00Z","event_type":"search"}',
    '{"user_id":"undefined","anonymous_id":null,"event_time":"2024-03-04T09:00:00Z","event_type":"search"}',
    '{"user_id":"ann","anonymous_id":"0-0","event_time":"2024-03-04T09:00:00Z","event_type":"search"}',
]


def test_source_check_names_them_with_the_remedy_and_says_that_nobody_is_known(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(EVENTS)
    (tmp_path / "2024-03-04.jsonl").write_text("\n".join(LINES))
    assert cli.main(["source", "check", str(tmp_path / "s.yaml"), str(tmp_path / "2024-03-04.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "user_id 'undefined' (2 events) is no id" in out
    assert "anonymous_id '0-0' (1 events) is no id" in out
    assert "not_a_person: [undefined, ...]" in out
    assert persons.NOBODY not in out
    (tmp_path / "2024-03-04.jsonl").write_text(LINES[0].replace('"undefined"', "null"))
    assert cli.main(["source", "check", str(tmp_path / "s.yaml"), str(tmp_path / "2024-03-04.jsonl")]) == 0
    assert persons.NOBODY in capsys.readouterr().out


def test_ids_of_the_list_are_read_as_null_and_the_list_is_part_of_the_source_s_digest(tmp_path):
    for name in ("plain", "listed"):
        (tmp_path / name).mkdir()
    plain = Landing(tmp_path / "plain", EVENTS)
    listed = Landing(tmp_path / "listed", EVENTS + "not_a_person: [undefined, 0-0]\n")
    for landing in (plain, listed):
        landing.put(f"events/{DAY}.jsonl", "\n".join(LINES))
    assert {(r["user_id"], r["anonymous_id"]) for r in plain.read().accepted} == {
        ("undefined", "c1"), ("undefined", None), ("ann", "0-0"),
    }  # fmt: skip
    read = listed.read()
    assert {(r["user_id"], r["anonymous_id"]) for r in read.accepted} == {(None, "c1"), ("ann", None)}
    assert [r["reason"] for r in read.rejected] == ["no_user"]
    assert plain.source.digest() != listed.source.digest()


def test_a_source_without_the_list_keeps_the_digest_that_it_had(tmp_path):
    (tmp_path / "s.yaml").write_text(EVENTS)
    source = load_source(tmp_path / "s.yaml")
    before = source.model_dump(mode="json", exclude={"description", "name", "not_a_person", "questions"})
    assert source.digest() == digest(before | {"time_zone": "UTC"})
