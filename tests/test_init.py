"""A new shop's folder: what is written loads as it stands, and nothing of a user's is ever overwritten."""

import re

import dagster as dg
import pytest

from seg_assets import cli
from seg_assets.build import build_defs
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import PACKAGE, Settings
from seg_assets.events.source import load_source
from seg_assets.init import dagster_location, shop_name, write_shop
from seg_assets.segments.strategy import strategies_of


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "My Shop"
    write_shop(folder)
    return folder


def test_a_new_shop_is_a_folder_with_everything_that_makes_it_one(tmp_path):
    folder = tmp_path / "deep" / "my_shop"
    written = {path.as_posix() for path in write_shop(folder)}
    assert written >= {
        "settings.yaml",
        "sources/my_shop.yaml",
        "strategies/value.yaml",
        "features/README.md",
        "workspace.yaml",
        "definitions.py",
        "Makefile",
        "README.md",
        ".gitignore",
    }
    assert written == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "{shop}" not in "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    code = [line for line in (folder / "definitions.py").read_text().splitlines()[1:] if line]
    assert len(code) == 3


def test_a_new_shop_loads_as_it_stands_with_strategies_of_its_own(shop, monkeypatch):
    settings = Settings.from_env({}, file=shop / "settings.yaml")
    assert settings.strategies == shop / "strategies"
    assert settings.landing == shop / "landing"
    assert settings.home == shop / ".seg_assets"
    (shop / "strategies" / "interest.yaml").unlink()
    assert set(strategies_of(settings)) == {"value", "behaviour", "attributes"}
    source = load_source(shop / "sources" / "my_shop.yaml")
    assert source.name == "my_shop"
    monkeypatch.delenv("SEG_ASSETS_SETTINGS")
    defs = build_defs(shop / "settings.yaml")
    assert isinstance(defs, dg.Definitions)
    assert defs.resources["shop"].environment["SEG_ASSETS_LANDING"] == str(shop / "landing")


def test_dagster_loads_the_shop_s_own_workspace_and_ours_where_it_has_none(shop):
    assert dagster_location(shop / "settings.yaml") == ["-w", str(shop / "workspace.yaml")]
    (shop / "workspace.yaml").unlink()
    ours = ["-m", "seg_assets.definitions"]
    assert (dagster_location(shop / "settings.yaml"), dagster_location(None)) == (ours, ours)


def test_a_folder_that_is_not_empty_is_refused_by_name_and_left_as_it_is(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / ".hidden").write_text("mine")
    with pytest.raises(ConfigError, match=rf"{folder}: not empty \(\.hidden is there\)"):
        write_shop(folder)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(".hidden", "mine")]
    (folder / ".hidden").unlink()
    write_shop(folder)
    with pytest.raises(ConfigError, match="not empty"):
        write_shop(folder)
    with pytest.raises(ConfigError, match=r"settings\.yaml: a file stands there"):
        write_shop(folder / "settings.yaml")


@pytest.mark.parametrize(("folder", "name"), [("shop", "shop"), ("My Shop (2)", "my_shop_2"), ("2nd-shop", "nd_shop")])
def test_a_shop_is_named_by_its_folder(folder, name, tmp_path):
    assert shop_name(tmp_path / folder) == name


def test_a_folder_without_a_letter_names_no_shop(tmp_path):
    with pytest.raises(ConfigError, match="needs a letter"):
        write_shop(tmp_path / "2024")
    assert not (tmp_path / "2024").exists()


def test_the_commands_that_a_new_shop_s_readme_names_are_those_of_its_makefile(shop):
    readme, makefile = ((shop / name).read_text() for name in ("README.md", "Makefile"))
    assert re.search(r"Next command:\s+```\s+seg-assets simulate --users 200 --days 40", readme)
    assert "seg-assets simulate --users 200 --days 40" in makefile
    days = re.search(r"seg-assets replay --from (\S+) --to (\S+)", readme)
    assert days is not None
    assert (f"FROM ?= {days[1]}" in makefile, f"TO ?= {days[2]}" in makefile) == (True, True)
    assert f"start_day: {days[1]}" in (shop / "settings.yaml").read_text()


def test_the_strategies_of_a_new_shop_are_the_shipped_ones(shop):
    shipped = {path.name: path.read_text() for path in (PACKAGE / "segments" / "strategies").glob("*.yaml")}
    assert {path.name: path.read_text() for path in (shop / "strategies").iterdir()} == shipped


def test_the_command_writes_the_shop_and_names_the_next_command(tmp_path, capsys):
    folder = tmp_path / "my shop"
    assert cli.main(["init", str(folder)]) == 0
    printed = capsys.readouterr()
    assert str(folder / "settings.yaml") in printed.out.splitlines()
    assert f"cd '{folder}' && seg-assets simulate" in printed.err
    assert cli.main(["init", str(folder)]) == 2
    assert "not empty" in capsys.readouterr().err
