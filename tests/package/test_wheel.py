"""The package without the repository: built, installed alone, and taken through a shop's first days.

The wheel is made from the source distribution, installed without extras into an environment of its own, and every
command runs there in a folder that `seg-assets init` wrote. About two minutes, half of which is one replay.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
FIRST, LAST = "2024-01-01", "2024-02-09"
STRATEGIES = {"behaviour", "value"}
# A column that only this shop has, from the example of `init`, and the strategy that clusters on it.
COLUMN, CLUSTERED_BY = "loyalty_points", "behaviour"
# Beside the modules: without one of these a command fails, or says less.
NEEDED = (
    "py.typed",
    "_deploy/dagster.yaml",
    "_dbt_project/dbt_project.yml",
    "_dbt_project/models/profiles/user_profiles.sql",
    "reports/templates/report.html",
    "segments/strategies/value.yaml",
    "shop_template/settings.yaml",
    "shop_template_from/settings.yaml",
    "events/draft/layouts.yaml",
    "events/draft/names.yaml",
    "simulator/scenarios/plain.yaml",
    "sources/simulator.yaml",
)


@dataclass(frozen=True)
class Shop:
    """A folder that `init` wrote, and the commands of the environment with nothing but the wheel."""

    folder: Path
    scripts: Path

    def environment(self) -> dict[str, str]:
        # Nothing that points back at the repository, at a shop of the caller's, or at an instance of Dagster.
        ours = ("SEG_ASSETS_", "DAGSTER_", "PYTHON", "DBT_", "VIRTUAL_ENV", "COV_")
        others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**others, "DAGSTER_DISABLE_TELEMETRY": "1", "PATH": f"{self.scripts}:{others.get('PATH', '')}"}

    def run(self, *words: str, seconds: int = 600) -> str:
        """Run a command in the shop's folder; return what it printed."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=seconds
        )
        assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source distribution, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def shop(built, tmp_path_factory):
    """A new shop with two strategies and 40 simulated days of 200 users, none of them materialized."""
    _, wheel = built
    place = tmp_path_factory.mktemp("elsewhere")
    environment = place / "environment"
    python = environment / "bin" / "python"
    _install(environment, python, wheel)
    new_shop = Shop(place / "my_shop", python.parent)
    outside = Shop(place, python.parent)
    outside.run("seg-assets", "init", "my_shop")
    for path in (new_shop.folder / "strategies").iterdir():
        if path.stem not in STRATEGIES:
            path.unlink()
    (new_shop.folder / "features" / "loyalty.sql.txt").rename(new_shop.folder / "features" / "loyalty.sql")
    strategy = new_shop.folder / "strategies" / f"{CLUSTERED_BY}.yaml"
    line = f"features:\n  - {{column: {COLUMN}, transform: log1p, missing: zero}}\n"
    strategy.write_text(strategy.read_text().replace("features:\n", line, 1))
    new_shop.run("make", "simulate")
    new_shop.run("seg-assets", "replay", "--from", FIRST, "--to", LAST)
    return new_shop


def test_the_wheel_and_the_source_distribution_hold_what_the_package_needs(built):
    sdist, wheel = built
    names = set(ZipFile(wheel).namelist())
    assert {f"seg_assets/{name}" for name in NEEDED} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"seg_assets"}
    with tarfile.open(sdist) as archive:
        below = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "deploy/dagster.yaml", "dbt_project/dbt_project.yml"} <= below
    assert not [name for name in below if name.startswith((".venv", ".import_linter_cache", ".seg_assets", "site/"))]


def test_the_command_line_is_that_of_the_wheel_and_says_its_version(shop):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert shop.run("seg-assets", "--version").split() == ["seg-assets", version]
    where = shop.run("python", "-c", "import seg_assets; print(seg_assets.__file__)")
    assert Path(where.strip()).is_relative_to(shop.scripts.parent)
    listed = json.loads(
        subprocess.run(
            [sys.executable, "-m", "uv", "pip", "list", "--format", "json", "--python", str(shop.scripts / "python")],
            check=True,
            capture_output=True,
        ).stdout
    )
    assert {"pytest", "s3fs", "polars"}.isdisjoint(package["name"] for package in listed), "extras came along"


def test_forty_days_are_replayed_with_two_strategies_one_fit_a_drift_report_and_pages(shop):
    lake = shop.folder / ".seg_assets" / "lake"
    assert len(list((lake / "user_segments").glob("day=*"))) == 40
    models = list((lake / "segment_model").glob(f"day=*/{CLUSTERED_BY}.parquet"))
    assert models
    assert (lake / "drift_report" / f"day={LAST}" / "data.parquet").is_file()
    pages = {path.parent.name for path in (shop.folder / ".seg_assets" / "reports").rglob(f"day={LAST}.html")}
    assert pages >= STRATEGIES
    assert (shop.folder / ".seg_assets" / "dagster" / "dagster.yaml").is_file()


def test_a_column_of_the_shop_s_own_is_in_the_profiles_and_in_the_model(shop):
    lake = shop.folder / ".seg_assets" / "lake"
    profiles = pq.read_table(lake / "user_profiles" / f"day={LAST}" / "data.parquet", columns=[COLUMN])
    assert pc.sum(profiles[COLUMN]).as_py() > 0
    (model, *_) = (lake / "segment_model").glob(f"day=*/{CLUSTERED_BY}.parquet")
    assert COLUMN in str(pq.read_table(model).to_pylist())


def test_doctor_finds_the_shop_healthy(shop):
    assert "\nhealthy" in shop.run("seg-assets", "doctor")


def test_the_example_source_of_a_new_shop_reads_its_example_file(shop):
    printed = shop.run("seg-assets", "source", "check", "sources/my_shop.yaml", f"sources/orders-{FIRST}.csv")
    assert "accepted             4" in printed


def test_the_ui_answers_on_its_port_with_the_shop_s_own_location_and_stops_when_told(shop):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = shop.folder / "ui.log"
    with log.open("w") as handle:
        process = subprocess.Popen(
            ["seg-assets", "ui", "--port", str(port)],
            cwd=shop.folder,
            env=shop.environment(),
            stdout=handle,
            stderr=subprocess.STDOUT,
        )
    try:
        location = _location(port, process, log)
        assert location["location"]["name"] == "my_shop"
        assert {"daily", "recluster", "refresh"} <= {job["name"] for job in location["jobs"]}
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
    with socket.socket() as gone:
        assert gone.connect_ex(("127.0.0.1", port)) != 0


def _install(environment: Path, python: Path, wheel: Path) -> None:
    """Install the wheel alone: by uv in seconds, or where uv does not reach a registry by pip, as pip is set up."""
    uv, what = [sys.executable, "-m", "uv", "--quiet"], ["-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(environment)], check=True, timeout=120)
    by_uv = subprocess.run([*uv, "pip", "install", "--python", str(python), *what], timeout=900, check=False)
    if by_uv.returncode:
        pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
        subprocess.run([*pip, "install", *what], check=True, timeout=900)


def _location(port: int, process: subprocess.Popen, log: Path) -> dict:
    """Ask the UI for its code location until it has loaded one."""
    query = "{repositoriesOrError{...on RepositoryConnection{nodes{location{name} jobs{name}}}}}"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                (location,) = json.load(answer)["data"]["repositoriesOrError"]["nodes"]
                return location
        except (OSError, urllib.error.URLError, ValueError):
            time.sleep(1)
    raise AssertionError(f"no answer on port {port}:\n{log.read_text()[-3000:]}")
