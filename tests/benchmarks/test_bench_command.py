"""The command of the bench, with costs made up: what it asks to be measured, and what it makes of the figures."""

import json

import pytest

from benchmarks import __main__ as bench
from benchmarks import report

COSTS = {"ours": 10.0, "floor": 8.0, "pandas": 60.0, "polars": 30.0}
CLOCKS = (
    "import_dagster", "code_location", "run_start_first_of_a_process", "run_start_next", "dbt_first_of_a_process",
    "dbt_next", "tick_first_of_a_process", "tick_next",
)  # fmt: skip


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Costs by subject; results go to a folder of the test. Gives the list of what was asked for."""
    asked = []

    def measured(subject, work, place, **arguments):
        asked.append((subject, work, *arguments.values()))
        cost = COSTS.get(subject, 1.0)
        said = {"rows": 7, "events": 70, "days": 4, "tick_days": 1095, "tick_files": 1095 * 15}
        if subject == "verify":
            differences = {room: [] for room in bench.ROOMS}
            if arguments["name"] == "polars":
                differences["drift"] = ["views_28d: ours 0.1, theirs 0.2"]
            said |= {"differences": differences, "inertia_ours_to_theirs": 0.99}
        clocks = {name: {"cpu_seconds": 0.5, "wall_seconds": 0.6} for name in CLOCKS}
        return {"cpu_seconds": cost, "wall_seconds": cost, "peak_memory_mb": 100 * cost, **said, **clocks}

    monkeypatch.setattr(bench, "measured", measured)
    (tmp_path / "README.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "CHART", tmp_path / "chart.svg")
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    return asked


def run(tmp_path, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["bench", "--home", str(tmp_path / "home"), *arguments])
    assert bench.main() == 0
    return json.loads((tmp_path / "results.json").read_text())


def test_results_hold_costs_ratios_and_whether_all_said_the_same(made_up, tmp_path, monkeypatch):
    results = run(tmp_path, monkeypatch, "--size", "small")
    for room in (*bench.ROOMS, "whole_day"):
        row = results[room]
        assert (row["cpu_seconds"], row["peak_memory_mb"]) == (10.0, 1000.0)
        assert row["cpu_ratio_floor"] == 1.25
        assert row["cpu_ratio_pandas_to_ours"] == 6.0
        assert row["peak_ratio_ours_to_pandas"] == pytest.approx(0.167)
        assert row["pandas"]["rows"] == 7
        assert row["equal_results"] is (room not in ("drift", "whole_day"))
    assert results["size"] == "small"
    assert results["machine"]["cores"] >= 1
    assert results["range_365"]["cpu_seconds_per_day"] == 2.5
    assert results["flat"]["cpu_ratio_late_to_early"] == 1.0
    assert results["overheads"]["dbt_next"]["wall_seconds"] == 0.6


def test_the_readme_says_which_targets_were_missed_and_what_was_not_equal(made_up, tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, "--size", "small")
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| whole day, wall of pandas by ours | 60 s / 10.0 s = 6.00 | >= 5 | yes |" in text
    assert "| whole day, CPU of pandas by ours | 60 s / 10.0 s = 6.00 | >= 5 | yes |" in text
    assert "2.50 s / 10.0 s = 0.250 | <= 0.1 | **no** |" in text
    assert "not equal: polars, drift: views_28d: ours 0.1, theirs 0.2" in text
    assert (tmp_path / "chart.svg").read_text().count("<rect") > 30


def test_one_part_measured_anew_leaves_the_others_as_they_were(made_up, tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, "--size", "small")
    made_up.clear()
    monkeypatch.setitem(COSTS, "ours", 20.0)
    shop = json.loads((tmp_path / "results.json").read_text())["shop"]
    results = run(tmp_path, monkeypatch, "--size", "small", "--only", "range")
    assert (shop["events"], results["shop"]) == (70, shop)
    assert {work for _, work, *_ in made_up} == {"prepare", "day_range"}
    assert results["range_365"]["cpu_seconds_per_day"] == 5.0
    assert results["whole_day"]["cpu_seconds"] == 10.0


def test_what_is_already_there_is_not_made_again(made_up, tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, "--size", "small", "--only", "rooms")
    made_up.clear()
    run(tmp_path, monkeypatch, "--size", "small", "--only", "rooms")
    again = {work for _, work, *_ in made_up}
    assert "day_fitted" in again
    assert not {"simulate", "landed", "activity", "before"} & again
