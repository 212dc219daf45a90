"""The import contracts in pyproject.toml name what they mean to name; `make lint` checks the imports themselves."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_the_simulator_s_contract_names_every_module_of_the_events_room_but_the_event_contract():
    """import-linter cannot say "all but one", so the modules are listed; a new one must not slip through."""
    (contract,) = [c for c in CONTRACTS if c.get("source_modules") == ["seg_assets.simulator"]]
    listed = {name for name in contract["forbidden_modules"] if name.startswith("seg_assets.events.")}
    room = ROOT / "seg_assets" / "events"
    modules = {path.stem for path in room.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert listed == {f"seg_assets.events.{name}" for name in modules - {"__init__", "contract"}}


def test_no_contract_makes_an_exception():
    assert not [c["name"] for c in CONTRACTS if c.get("ignore_imports") or c.get("exhaustive_ignores")]
