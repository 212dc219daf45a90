"""What we ask of dbt, and what comes back from it."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from seg_assets.core.errors import ConfigError, LakeWriteError, MissingDaysError
from seg_assets.lake.store import Lake
from seg_assets.profiles import runner
from seg_assets.profiles.engine.duckdb import DuckDBEngine
from seg_assets.profiles.runner import DbtRun, EngineError
from tests.profiles.shop import History, day_of, event, put_day, settings_of

PROJECT, SCRATCH = Path("/some where/project"), Path("/scratch")


def asked(**values) -> DbtRun:
    return DbtRun(settings_of(Path("/home of/a shop")), **values)


def test_dbt_builds_what_was_named_and_nothing_else():
    args = runner.build_args(PROJECT, SCRATCH, asked(models=("b", "a")), ["t"])
    chosen = args[args.index("--select") + 1 : args.index("--indirect-selection")]
    assert chosen == ["a", "b", "t"]
    assert args[args.index("--indirect-selection") + 1] == "empty"
    assert args[args.index("--exclude-resource-type") + 1] == "unit_test"


def test_dbt_writes_into_the_scratch_folder_only():
    for args in (
        runner.parse_args(PROJECT, SCRATCH, asked()),
        runner.build_args(PROJECT, SCRATCH, asked(models=("a",)), []),
        runner.unit_test_args(PROJECT, SCRATCH, asked()),
        runner.compile_args(PROJECT, SCRATCH, asked(models=("a",))),
    ):
        assert args[args.index("--target-path") + 1] == "/scratch/target"
        assert args[args.index("--log-path") + 1] == "/scratch/logs"


def test_unit_tests_can_be_asked_of_one_model():
    args = runner.unit_test_args(PROJECT, SCRATCH, asked(models=("user_profiles",)))
    assert "user_profiles,test_type:unit" in args


@pytest.mark.parametrize("name", [runner.MANIFEST, runner.SUMMARY])
@pytest.mark.parametrize("harm", ["cut", "altered"])
def test_a_prepared_project_that_is_cut_short_or_altered_is_made_again(home, tmp_path, name, harm):
    settings = settings_of(tmp_path)
    folder = runner.prepared_folder(settings)
    shutil.copytree(runner.prepared_folder(settings_of(home)), folder)
    before = runner.prepare(settings)
    good = (folder / name).read_bytes()
    at = len(good) // 2
    bad = good[:at] if harm == "cut" else good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    (folder / name).write_bytes(bad)
    assert runner.prepare(settings) == before
    assert (folder / name).read_bytes() == good
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def test_a_home_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "dbt").write_text("a file")
    with pytest.raises(ConfigError, match=r"dbt.* cannot be written: .*; make room"):
        runner.prepare(settings_of(tmp_path))


def test_what_a_run_asks_for_survives_dbts_variables():
    run = asked(days=(day_of(0), day_of(5)), models=("a", "b"), token="7")
    variable = json.loads(run.variables())[runner.RUN]
    assert DbtRun.read({"run": json.dumps(variable), "start_date": "", "end_date": ""}) == run


def test_by_hand_days_are_dbts_variables_and_settings_those_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    run = DbtRun.read({"run": "{}", "start_date": "2024-01-01", "end_date": "2024-01-03"})
    assert run.days == (day_of(0), day_of(1), day_of(2))
    assert run.settings.home == tmp_path
    assert DbtRun.read({"run": "{}", "start_date": "2024-01-02", "end_date": ""}).days == (day_of(1),)
    with pytest.raises(ConfigError, match="the first is after the last"):
        DbtRun.read({"run": "{}", "start_date": "2024-01-02", "end_date": "2024-01-01"})


def test_promise_01_dbt_run_by_hand_gives_the_same_lake(home, models, tmp_path):
    """As docs/profiles.md shows it: another process, days as variables, settings from the environment."""
    history = History(seed=11, days=3, users=4)
    lakes = []
    for name in ("ours", "by hand"):
        settings = settings_of(home, lake=tmp_path / name)
        lakes.append(Lake.of(settings))
        history.put(lakes[-1])
    runner.build(settings_of(home, lake=tmp_path / "ours"), history.days, models)
    project = tmp_path / "project"
    shutil.copytree(settings.dbt_project, project, ignore=shutil.ignore_patterns("target", "logs"))
    days = "{start_date: 2024-01-01, end_date: 2024-01-03}"
    code = f"import sys; from dbt.cli.main import cli; sys.argv[1:] = ['build', '--vars', '{days}', "
    code += "'--exclude-resource-type', 'unit_test']; cli()"
    environment = {**settings.environment(), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "PATH": "/usr/bin:/bin"}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={**environment, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "user_profiles of 2024-01-03: " in done.stdout
    for table in models:
        for day in history.days:
            assert lakes[1].provenance(table, day) == lakes[0].provenance(table, day)


def test_published_days_are_reported_one_by_one_as_they_come(fresh):
    lake, reported = Lake.of(fresh), []
    for n in range(3):
        put_day(lake, day_of(n), [event(day_of(n), f"e{n}", "view_item", user_id=f"u{n}")])
    built = runner.build(
        fresh,
        [day_of(n) for n in range(3)],
        ["user_daily_activity"],
        on_published=lambda table, day, rows: reported.append((table, day, rows, lake.has(table, day))),
    )
    assert reported == [("user_daily_activity", day_of(n), 1, True) for n in range(3)]
    assert built.published == {("user_daily_activity", day_of(n)) for n in range(3)}


def test_an_error_inside_dbt_comes_back_as_what_it_was_and_one_that_is_not_ours_may_be_retried(fresh, monkeypatch):
    put_day(Lake.of(fresh), day_of(0))
    text = 'no {room}\nleft: 100 % "full"'

    def fails_with(error):
        def publish(self, *args):
            raise error

        monkeypatch.setattr(DuckDBEngine, "publish", publish)

    for error, kind in ((LakeWriteError(text), LakeWriteError), (MissingDaysError(text), MissingDaysError)):
        fails_with(error)
        with pytest.raises(kind) as raised:
            runner.build(fresh, [day_of(0)], ["user_daily_activity"])
        assert str(raised.value) == text
    fails_with(MemoryError("of this machine"))
    with pytest.raises(EngineError, match="MemoryError: of this machine"):
        runner.build(fresh, [day_of(0)], ["user_daily_activity"])
    monkeypatch.undo()
    assert runner.build(fresh, [day_of(0)], ["user_daily_activity"]).published


def test_runs_of_other_days_and_lakes_follow_each_other_in_one_process(home, tmp_path):
    for n, name in enumerate(("a", "b")):
        settings = settings_of(home, lake=tmp_path / name)
        for day in (day_of(0), day_of(1)):
            put_day(Lake.of(settings), day, [event(day, "e", "view_item", user_id=f"u{n}")])
            runner.build(settings, [day], ["user_daily_activity"])
            assert Lake.of(settings).read("user_daily_activity", day)["actor_id"].tolist() == [f"u{n}"]


def test_a_changed_contract_is_refused_by_dbt_before_anything_is_written(home, tmp_path):
    settings = settings_of(tmp_path / "home", dbt_project=tmp_path / "project")
    shutil.copytree(settings_of(home).dbt_project, settings.dbt_project)
    contract = settings.dbt_project / "models" / "activity" / "_activity.yml"
    linked = "name: linked_day\n        data_type: "
    contract.write_text(contract.read_text().replace(linked + "DATE", linked + "BIGINT"))
    put_day(Lake.of(settings), day_of(0))
    with pytest.raises(runner.DbtError, match="enforced contract that failed"):
        runner.build(settings, [day_of(0)], ["identity_links"])
    assert not Lake.of(settings).has("identity_links", day_of(0))


def test_the_manifest_that_dbt_parses_anew_gives_the_same_day(fresh, monkeypatch):
    lake = Lake.of(fresh)
    put_day(lake, day_of(0), [event(day_of(0), "e1", "view_item", user_id="ann")])
    runner.build(fresh, [day_of(0)], ["user_daily_activity"])
    wanted = lake.provenance("user_daily_activity", day_of(0))
    lake.drop("user_daily_activity", day_of(0))
    monkeypatch.setenv("SEG_ASSETS_SEAMS", "off")
    runner.build(fresh, [day_of(0)], ["user_daily_activity"])
    assert lake.provenance("user_daily_activity", day_of(0)) == wanted


def test_dbt_leaves_no_bytecode_of_its_jobs_behind(fresh, monkeypatch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    put_day(Lake.of(fresh), day_of(0))
    runner.build(fresh, [day_of(0)], ["user_daily_activity"])
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
