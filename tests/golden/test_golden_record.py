"""The committed record holds what a proof needs, and the comparer reports what it must. Nothing is built here."""

import argparse
import copy

import click
import pytest
from click.testing import CliRunner

from tests.golden import history
from tests.golden.names import is_page_of, listed_commands, page_names
from tests.golden.product import Product
from tests.golden.record import FOLDER, compare, fields, read_record, summary, write_record

SHIPPED = ("attributes", "behaviour", "interest", "value")


@pytest.fixture(scope="module")
def record():
    return read_record()


def decisions(record, part, **wanted):
    """Keys of decisions with these fields."""
    return [
        key
        for key, text in record[f"{part}.decisions"].items()
        if key.startswith("decision ") and all(f"{name}={value}" in text.split("  ") for name, value in wanted.items())
    ]


def days(record, part, table):
    return {key.split()[1] for key in record[f"{part}.files"] if key.split()[0] == table}


def span(first, last):
    return {history.dt.date.fromordinal(n).isoformat() for n in range(first.toordinal(), last.toordinal() + 1)}


def test_the_gate_promoted_one_challenger_at_least_and_refused_another(record):
    # A bootstrap is promoted without a champion to beat: only a drift decision went through the gate.
    assert decisions(record, "simulated", cause="drift", promoted="yes")
    assert decisions(record, "simulated", cause="drift", promoted="no")
    assert len(decisions(record, "simulated", promoted="yes")) >= 2


def test_one_decision_was_rolled_back_and_its_segments_came_from_the_model_before(record):
    (rolled_back,) = decisions(record, "simulated", cause="rollback")
    assert rolled_back.split()[1] == history.ROLLED_BACK
    lines = record["simulated.decisions"]
    model = lines[rolled_back.replace("decision", "model")]
    assert [key for key, text in lines.items() if key.startswith("model ") and text == model] != [rolled_back]
    assert "survive" in lines[rolled_back.replace("decision", "lineage")]


@pytest.mark.parametrize("part", ["simulated", "panel"])
def test_every_shipped_strategy_takes_part(record, part):
    decided = {key.split()[1] for key in decisions(record, part)}
    assert decided >= set(SHIPPED)


def test_the_shipped_strategies_are_the_four_that_the_record_knows():
    assert tuple(path.stem for path in Product().shipped_strategies()) == SHIPPED


def test_both_histories_have_every_day_of_every_table(record):
    for part, first, last in (
        ("simulated", history.START, history.LAST),
        ("panel", history.PANEL_FIRST, history.PANEL_LAST),
    ):
        tables = {key.split()[0] for key in record[f"{part}.files"]} - {"segment_model"}
        # Every asset but the page, which is no table, and the decisions, which have no file on most days.
        assets = {key.split()[1] for key in record["names"] if key.startswith("asset ")}
        assert tables == assets - {"segment_model", "segment_report"}
        for table in tables:
            assert days(record, part, table) == span(first, last), (part, table)
    assert len(days(record, "panel", "raw_events")) == 31


def test_the_late_file_the_archived_file_and_the_removed_days_left_their_marks(record):
    files = record["simulated.files"]
    # Users, products, events on time and events that came late; a neighbour has no late file.
    rows = {day: int(files[f"landed_files {day} data"].split("  ")[0].removeprefix("rows=")) for day in
            (history.LATE.isoformat(), (history.LATE - history.dt.timedelta(days=1)).isoformat())}  # fmt: skip
    late, neighbour = rows.values()
    assert late == neighbour + 1
    for table, day in history.REMOVED:
        assert f"{table} {day} data" in files
    assert f"raw_events {history.ARCHIVED} data" in files


def test_every_decision_has_its_model_and_every_file_its_inputs(record):
    for part in ("simulated", "panel"):
        lines = record[f"{part}.decisions"]
        assert {key.partition(" ")[2] for key in lines if key.startswith("model ")} == {
            key.partition(" ")[2] for key in lines if key.startswith("decision ")
        }
        assert record[f"{part}.files"].keys() < record[f"{part}.inputs"].keys()


def test_names_of_every_kind_are_recorded(record):
    kinds = {key.partition(" ")[0] for key in record["names"]}
    assert kinds == {"command", "option", "argument", "setting", "asset", "check", "job", "schedule", "sensor"}
    assert "command source check" in record["names"]
    assert "option replay --from" in record["names"]


def test_the_record_is_small_enough_to_read_in_a_diff():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.txt")) < 1_500_000


def test_a_record_equals_itself_and_what_was_written_is_read_back(record, tmp_path):
    assert compare(record, record) == []
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record


def test_a_changed_hash_a_missing_file_and_an_extra_name_are_reported(record):
    built = copy.deepcopy({name: section for name, section in record.items() if name != "about"})
    files = built["simulated.files"]
    changed, missing = "user_profiles 2024-02-01 data", "raw_events 2024-02-02 data"
    old = files[changed].split("  ")[1].removeprefix("content=")
    files[changed] = files[changed].replace(f"content={old}", "content=0123456789abcdef")
    del files[missing]
    built["names"]["option replay --faster"] = fields({"takes": "nothing", "required": "no"})
    reported = {(d.section, d.key): d.text for d in compare(record, built)}
    assert reported.keys() == {
        ("simulated.files", changed), ("simulated.files", missing), ("names", "option replay --faster"),
    }  # fmt: skip
    assert reported["simulated.files", changed].startswith(f"content {old} -> 0123456789abcdef")
    assert "the change begins in this line" in reported["simulated.files", changed]
    assert reported["simulated.files", missing].startswith("missing")
    assert reported["names", "option replay --faster"].startswith("extra")


def test_a_changed_input_is_named_with_its_file(record):
    built = copy.deepcopy({name: record[name] for name in ("panel.files", "panel.inputs")})
    key = "user_segments 2017-01-20 data"
    built["panel.files"][key] += "x"
    built["panel.inputs"][key] = built["panel.inputs"][key].replace("strategies=", "strategies=y")
    (difference,) = compare(record, built)
    assert difference.key == key
    assert "its inputs: strategies " in difference.text


def test_a_part_alone_is_compared_with_its_own_sections(record):
    assert compare(record, {"names": record["names"]}) == []


def test_the_summary_counts_files_decisions_models_and_names():
    decided = {"decision value 2024-01-02 0": "", "decision value 2024-01-03 0": ""}
    models = {"model value 2024-01-02 0": fields({"id": "a"}), "model value 2024-01-03 0": fields({"id": "a"})}
    counted = summary(
        {"x.files": {"t 2024-01-02 data": ""}, "x.decisions": decided | models, "names": {"job daily": ""}}
    )
    assert counted == "1 files, 2 decisions, 1 models, 1 names"


def argparse_pages():
    parser = argparse.ArgumentParser(prog="seg-assets")
    parser.add_argument("--version", action="version", version="1")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    look = commands.add_parser("look-at", help="look at a day")
    look.add_argument("user", metavar="USER")
    look.add_argument("kind", choices=["one", "two"])
    look.add_argument("--day", required=True, metavar="DAY", help="the day, " + "which is said at length " * 8)
    look.add_argument("--rows", type=int, metavar="N", help="rows")
    look.add_argument("--json", action="store_true", help="as JSON")
    actions = commands.add_parser("source", help="sources").add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list them")
    return {(): parser.format_help(), ("look-at",): look.format_help(), ("source", "list"): listing.format_help()}


def click_pages():
    @click.group()
    @click.version_option("1")
    def top():
        pass

    @top.command("look-at", help="Look at a day.")
    @click.argument("user")
    @click.argument("kind", type=click.Choice(["one", "two"]))
    @click.option("--day", required=True, metavar="DAY", help="the day, " + "which is said at length " * 8)
    @click.option("--rows", type=int, default=3, show_default=True, help="rows")
    @click.option("--json", is_flag=True, help="as JSON")
    def look_at(**_):
        pass

    @top.group("source", help="Sources.")
    def source():
        pass

    @source.command("list", help="List them.")
    def listing():
        pass

    return {
        words: CliRunner().invoke(top, [*words, "--help"], prog_name="seg-assets").output
        for words in ((), ("look-at",), ("source", "list"))
    }


def test_argparse_and_click_give_the_same_names(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    old, new = argparse_pages(), click_pages()
    for words, page in old.items():
        assert is_page_of(page, list(words))
        assert is_page_of(new[words], list(words))
        assert page_names(page, list(words)) == page_names(new[words], list(words)), words
    assert set(listed_commands(old[()])) >= {"look-at", "source"} <= set(listed_commands(new[()]))
    assert page_names(old["look-at",], ["look-at"]).keys() == {
        "command look-at",
        "option look-at --day",
        "option look-at --rows",
        "option look-at --json",
        "argument look-at 0",
        "argument look-at 1",
    }
