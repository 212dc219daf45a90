"""What later steps import is there when they come, and nothing is imported that no step uses."""

import datetime as dt
import json
import subprocess
import sys

import dagster as dg
import pytest

from seg_assets import build
from seg_assets.core.settings import Settings
from seg_assets.orchestration.ahead import Importer, import_ahead

CHILD = """
import json, sys
from seg_assets.build import IMPORTERS
from seg_assets.orchestration.ahead import import_ahead
thread = import_ahead(json.loads(sys.argv[1]), IMPORTERS)
if thread:
    thread.join()
found = ("dbt.cli.main", "sklearn.cluster", "evidently")
print(json.dumps([name for name in found if name in sys.modules]))
"""


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (["landing_to_events", "raw_users", "segment_moves"], []),
        (["landing_to_events", "dbt_profiles"], ["dbt.cli.main"]),
        (["user_segments"], ["sklearn.cluster"]),
        (["dbt_profiles", "drift_report"], ["dbt.cli.main", "sklearn.cluster", "evidently"]),
    ],
)
def test_only_what_the_steps_of_a_run_use_is_imported(steps, wanted):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(steps)], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == wanted


def test_an_import_that_fails_is_left_to_the_step_that_needs_it():
    def broken() -> None:
        raise ImportError("no such package")

    imported = []
    importers = (Importer(frozenset({"a"}), broken), Importer(frozenset({"b"}), lambda: imported.append(1)))
    thread = import_ahead(["a", "b"], importers)
    assert thread is not None
    thread.join()
    assert imported == [1]


def test_a_run_begins_to_import_for_the_steps_it_was_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(build, "import_ahead", lambda steps, importers: asked.append(set(steps)))
    settings = Settings(home=tmp_path, start_day=dt.date(2024, 1, 1))
    job = build.build_defs(settings).resolve_job_def("daily")
    with dg.DagsterInstance.ephemeral() as instance:
        for chosen in (["raw_users"], ["user_segments", "drift_report"]):
            job.execute_in_process(
                instance=instance,
                partition_key="2024-01-01",
                asset_selection=[dg.AssetKey(name) for name in chosen],
                raise_on_error=False,
            )
    assert asked == [{"raw_users"}, {"user_segments", "drift_report"}]
