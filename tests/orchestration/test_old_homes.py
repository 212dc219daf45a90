"""A home that an earlier version made is opened as before: its dagster.yaml names a module that is elsewhere now."""

from pathlib import Path

import dagster as dg
import pytest

from seg_assets.core.settings import Settings
from seg_assets.orchestration.instance import open_instance, prepare_instance

TEMPLATE = Path(__file__).parents[2] / "deploy" / "dagster.yaml"
# What versions before 0.2.0 wrote into every home.
FIRST_LINE = (
    "# A Dagster instance for one machine. "
    "Copied to DAGSTER_HOME by `make ui`, `make demo` and `seg-assets instance`.\n"
)
COMMENT = """\
# Dagster's own SQLite files, with the connections of the event log kept open: an event costs half. Remove this block
# and Dagster opens the same files with its own class.
"""
STORAGE = """storage:
  custom:
    module: seg_assets.dagster_storage
    class: KeptSqliteStorage
    config:
      base_dir: {env: DAGSTER_HOME}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    folder = tmp_path / "dagster"
    folder.mkdir()
    return tmp_path


def runs(folder) -> int:
    with open_instance(folder) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("rows", partition="2024-01-02"))
        return len(instance.fetch_materializations(dg.AssetKey("rows"), limit=10).records)


@pytest.mark.parametrize("command", ["prepare", "open"])
def test_an_edited_dagster_yaml_keeps_its_storage_by_the_place_of_today(home, command):
    config = home / "dagster" / "dagster.yaml"
    config.write_text(f"# ours\ntelemetry: {{enabled: false}}\n{STORAGE}# end\n")
    if command == "prepare":
        prepare_instance(Settings.from_env({}, home=home))
    assert runs(config.parent) == 1
    assert config.read_text() == (
        "# ours\ntelemetry: {enabled: false}\n"
        + STORAGE.replace("seg_assets.dagster_storage", "seg_assets.seams.dagster_storage")
        + "# end\n"
    )
    assert runs(config.parent) == 2


def test_a_dagster_yaml_that_nobody_edited_becomes_todays_and_its_history_stays(home):
    config = home / "dagster" / "dagster.yaml"
    today = TEMPLATE.read_text()
    at = today.index("# Runs and events lie in SQLite")
    before = today[:at].partition("\n")[2]
    config.write_text(FIRST_LINE + before + COMMENT + STORAGE + today[today.index("\n\n", at) + 1 :])
    assert runs(config.parent) == 1
    assert config.read_text() == today
    assert runs(config.parent) == 2


def test_a_dagster_yaml_of_somebody_elses_storage_is_left_alone(home):
    config = home / "dagster" / "dagster.yaml"
    text = "telemetry: {enabled: false}\nstorage: {sqlite: {base_dir: {env: DAGSTER_HOME}}}\n"
    config.write_text(text)
    assert runs(config.parent) == 1
    assert config.read_text() == text
