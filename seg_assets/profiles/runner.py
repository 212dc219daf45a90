"""Run dbt in this process. dbt is imported when it is first asked for, never when this module is.

In process, with the manifest prepared, dbt starts in 0.2 seconds; as a subprocess it takes 9. dbt keeps its database
and its adapter in globals, so one run at a time goes on in a process, and its database is closed afterwards.
"""

import contextlib
import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_assets.core.errors import ConfigError, SegAssetsError
from seg_assets.core.imports import quick_imports
from seg_assets.core.settings import Settings
from seg_assets.lake.provenance import Provenance
from seg_assets.profiles import asking, dbt_args, manifest


class DbtError(SegAssetsError):
    """dbt could not do what it was asked; the message is dbt's."""


@dataclass(frozen=True)
class Parsed:
    """A parsed project: dbt's manifest as bytes that dbt reads again, and as a document."""

    msgpack: bytes
    document: dict[str, Any]


@dataclass(frozen=True)
class Built:
    """What one run of dbt did."""

    published: tuple[Provenance, ...]
    tests: dict[str, "TestRun"]


@dataclass(frozen=True)
class TestRun:
    """Outcome of one data test over all days of the run. `sql` gives the failing rows, each with its day."""

    __test__ = False

    name: str
    failures: int
    sql: str
    error: str = ""
    skipped: bool = False


def parse(settings: Settings, scratch: Path) -> Parsed:
    """Parse the dbt project.

    Raises:
        ConfigError: with dbt's message.
    """
    with _dbt(), asking.ask(asking.Asked(settings, [])):
        from dbt.cli.main import dbtRunner

        result = dbtRunner().invoke(
            [*dbt_args.parse_args(settings.dbt_project, scratch), "--quiet", "--no-partial-parse"]
        )
        if not result.success:
            raise ConfigError(f"{settings.dbt_project}: dbt cannot parse it: {result.exception}")
        found: Any = result.result
        return Parsed(found.to_msgpack(), found.writable_manifest().to_dict())


def _manifest(settings: Settings) -> Any:
    """The manifest object of the project as it is now. A fresh one for each run: dbt marks its nodes as compiled."""
    from dbt.contracts.graph.manifest import Manifest

    return Manifest.from_msgpack((manifest.prepared(settings) / manifest.MANIFEST).read_bytes())


def build(
    settings: Settings,
    days: Sequence[dt.date],
    models: Sequence[str],
    tests: Sequence[str] = (),
    on_published: Callable[[str, dt.date, Provenance], None] | None = None,
) -> Built:
    """Compute and publish `days` of `models` in their order, and run `tests` over those days.

    Raises:
        SegAssetsError: the error of the first model that failed (days published before it stay).
        DbtError: when dbt failed in another way.
    """
    done: list[Provenance] = []

    def published(table: str, day: dt.date, provenance: Provenance) -> None:
        done.append(provenance)
        if on_published:
            on_published(table, day, provenance)

    wanted = asking.Asked(settings, tuple(days), tuple(models), published)
    with _dbt(), _scratch(settings) as scratch:
        prepared = _manifest(settings)
        with asking.ask(wanted), _validated_before():
            from dbt.cli.main import dbtRunner

            args = dbt_args.build_args(settings.dbt_project, scratch, models, tests)
            result = dbtRunner(manifest=prepared).invoke(args)
    if wanted.failures:
        raise wanted.failures[0]
    if result.exception is not None:
        raise DbtError(f"dbt build: {result.exception}") from result.exception
    runs: dict[str, TestRun] = {}
    outcome: Any = result.result
    for item in outcome.results:
        node, status = item.node, str(item.status)
        if node.resource_type == "test":
            broken = (item.message or "") if status == "error" else ""
            runs[node.name] = TestRun(
                node.name, int(item.failures or 0), node.compiled_code or "", broken, status == "skipped"
            )
        elif status not in ("success", "skipped"):
            raise DbtError(f"dbt model {node.name}: {item.message}")
    return Built(tuple(done), runs)


def unit_tests(settings: Settings, models: Sequence[str] = ()) -> dict[str, str]:
    """Run the dbt unit tests: name to 'pass', or to dbt's message."""
    with _dbt(), _scratch(settings) as scratch:
        prepared = _manifest(settings)
        with asking.ask(asking.Asked(settings, ())):
            from dbt.cli.main import dbtRunner

            args = [*dbt_args.unit_test_args(settings.dbt_project, scratch, models), "--quiet"]
            result = dbtRunner(manifest=prepared).invoke(args)
        if result.result is None:
            raise DbtError(f"dbt test: {result.exception}")
        return {
            item.node.name: "pass" if str(item.status) == "pass" else str(item.message)
            for item in result.result.results
        }


@contextlib.contextmanager
def _dbt() -> Iterator[None]:
    """Keep dbt without telemetry, and with its database closed when done."""
    before = os.environ.get("DBT_SEND_ANONYMOUS_USAGE_STATS")
    os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
    with quick_imports("dbt.cli.main"):
        import dbt.cli.main  # noqa: F401  the whole of dbt
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.adapters.factory import reset_adapters
    try:
        yield
    finally:
        DuckDBConnectionManager.close_all_connections()
        reset_adapters()
        if before is None:
            os.environ.pop("DBT_SEND_ANONYMOUS_USAGE_STATS", None)
        else:
            os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = before


@contextlib.contextmanager
def _validated_before() -> Iterator[None]:
    """Do not have dbt validate its YAML files again: it did so when the manifest was prepared from the same bytes.

    dbt builds a JSON schema of each of its classes for that, 0.35 CPU s in every process. Where a later dbt has it
    elsewhere, it validates again.
    """
    from dbt_common.dataclass_schema import dbtClassMixin

    validate = vars(dbtClassMixin).get("validate")
    if validate is None:
        yield
        return
    dbtClassMixin.validate = classmethod(lambda cls, data: None)
    try:
        yield
    finally:
        dbtClassMixin.validate = validate


@contextlib.contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """A folder of this run for dbt's artefacts and log, removed afterwards."""
    root = settings.home / "dbt" / "runs"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
