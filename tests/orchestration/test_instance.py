"""A Dagster instance is made whole by whoever comes first, and what is wrong with one is one line."""

import resource
import shutil
import sqlite3
import subprocess
import sys

import pytest

from seg_assets.core.errors import ConfigError, InstanceError
from seg_assets.core.settings import Settings, packed_or_beside
from seg_assets.orchestration.instance import open_instance, prepare_instance

PREPARE = """
import sys
from pathlib import Path
from seg_assets.core.settings import Settings
from seg_assets.orchestration.instance import prepare_instance
print("ready", flush=True)
sys.stdin.readline()
prepare_instance(Settings.from_env({}, home=Path(sys.argv[1])))
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    return tmp_path / "home"


def test_processes_that_start_at_once_on_a_fresh_home_all_find_an_instance(home):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert not list((home / "dagster").glob(".new-*"))


def test_a_folder_that_is_there_already_becomes_an_instance_and_what_lies_in_it_stays(home):
    folder = home / "dagster"
    (folder / "history").mkdir(parents=True)
    (folder / "history" / "note").write_text("mine")
    (folder / ".new-killed").mkdir()
    assert prepare_instance(Settings.from_env({}, home=home)) == folder
    assert (folder / "history" / "note").read_text() == "mine"
    assert (folder / "schedules" / "schedules.db").is_file()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00: [", b"", b"storage: [", b"- a\n- b\n", b"text", b"unknown: 1", b"\x00\x00\x00\x00",
     b"storage:\n  custom: {module: seg_assets.nowhere, class: None, config: {}}"],
)  # fmt: skip
def test_a_damaged_dagster_yaml_is_one_line_that_names_it_and_the_remedy_heals_it(home, content):
    settings = Settings.from_env({}, home=home)
    config = prepare_instance(settings) / "dagster.yaml"
    config.write_bytes(content)
    with pytest.raises(InstanceError, match="mend it, or remove it") as caught:
        prepare_instance(settings)
    assert str(caught.value).startswith(f"{config}: cannot be used (")
    assert "\n" not in str(caught.value)
    config.unlink()
    prepare_instance(settings)
    assert config.read_bytes() == (packed_or_beside("deploy") / "dagster.yaml").read_bytes()


@pytest.mark.parametrize("name", ["a%20b", "caf%C3%A9", "what?"])
def test_a_path_that_sqlite_would_take_for_another_one_is_refused_by_name(home, name):
    with pytest.raises(ConfigError, match="without a question mark, and without a percent sign"):
        prepare_instance(Settings.from_env({}, home=home.with_name(name)))


@pytest.mark.parametrize("name", ["100%", "a b", "Bücher", "a%zz", "a#b&c"])
def test_other_signs_in_a_path_are_as_good_as_any(home, name):
    folder = prepare_instance(Settings.from_env({}, home=home.with_name(name)))
    assert (folder / "history" / "runs.db").is_file()


@pytest.mark.parametrize("error", ["database or disk is full", "disk I/O error", "unable to open database file"])
def test_a_full_disk_is_called_full_and_nobody_is_told_to_delete_anything(home, error):
    folder = prepare_instance(Settings.from_env({}, home=home))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(InstanceError, match=r"cannot be written \(File too large\); make room") as caught,
            open_instance(folder),
        ):
            raise sqlite3.OperationalError(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "delete" not in str(caught.value)


def test_a_file_that_is_locked_or_cannot_be_opened_is_not_called_damaged(home):
    folder = prepare_instance(Settings.from_env({}, home=home))
    shutil.rmtree(folder / "schedules")
    (folder / "schedules" / "schedules.db").mkdir(parents=True)
    with pytest.raises(InstanceError, match="cannot be used"), open_instance(folder):
        raise sqlite3.OperationalError("unable to open database file")
