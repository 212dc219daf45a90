"""Run dbt in this process: what the dbt project holds, prepared once and kept, and its commands.

Parsing the project takes 3.6 CPU seconds, the import of dbt among them; what the code location needs of it is small. So
dbt parses when a file of the project changed, and leaves two files under `<home>/dbt/<hash of the project>/`:
`project.json`, which `load_project` reads without dbt, and `manifest.msgpack`, from which a run starts dbt without
parsing. Both are held against their hashes whenever they are read, and made again where they do not hold.

dbt holds its database and its adapter in globals, so one run at a time goes on in a process. dbt is imported when it is
first asked for, never when this module is.

Not here: what happens inside dbt (`profiles.dbt_plugin`), the columns of the tables (`profiles.schema`).
"""

import contextlib
import datetime as dt
import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from seg_assets.core import errors
from seg_assets.core.days import check_order, day_range, parse_day
from seg_assets.core.errors import ConfigError, SegAssetsError
from seg_assets.core.imports import quick_imports
from seg_assets.core.settings import Settings
from seg_assets.lake.connections import spill_folder
from seg_assets.lake.scratch import give_back, scratch
from seg_assets.lake.sealed import put_in_place, read_sealed, seal
from seg_assets.profiles.project import project_of, writing
from seg_assets.profiles.schema import project_files
from seg_assets.seams.dbt_database import close_database
from seg_assets.seams.dbt_manifest import read_manifest

SUMMARY = "project.json"
MANIFEST = "manifest.msgpack"
# Raised by hand when the summary's shape changes.
SHAPE = 3
# Name of the log events by which a run of dbt says what was published and what failed.
LOGGER = "seg_assets"
# Key of dbt's variables under which `DbtRun` travels.
RUN = "run"

_parsed: dict[str, "Prepared"] = {}
# What dbt's database of the run at work spills to.
_spill: list[Path] = []
_one_run_at_a_time = threading.Lock()


class DbtError(SegAssetsError):
    """dbt could not do what it was asked; the message is dbt's."""


class EngineError(Exception):
    """The engine failed for a reason that is none of ours, such as memory or network: a retry may help."""


# ---- what a run of dbt is asked for ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DbtRun:
    """What one run of dbt is asked for. It travels as dbt's variable `run`.

    settings: where the lake is, and how much memory and how many threads dbt's database may use.
    days: the days to compute, oldest first.
    models: those that are built; empty when dbt is run by hand.
    token: makes each run another one, so that dbt opens a fresh database.
    """

    settings: Settings
    days: tuple[dt.date, ...] = ()
    models: tuple[str, ...] = ()
    token: str = ""

    def variables(self) -> str:
        """Return the value of dbt's option `--vars`."""
        run = {
            "settings": self.settings.environment(),
            "days": [day.isoformat() for day in self.days],
            "models": list(self.models),
            "token": self.token,
        }
        return json.dumps({RUN: run})

    @classmethod
    def read(cls, asked: Mapping[str, Any]) -> Self:
        """Read what is asked for, inside dbt.

        Args:
            asked: `run`, the variable as JSON; when that is empty, dbt was run by hand: `start_date` and `end_date`.

        Raises:
            ConfigError: a day is no day, or the last lies before the first.
        """
        run = json.loads(asked.get(RUN) or "{}")
        if run:
            days = tuple(dt.date.fromisoformat(day) for day in run["days"])
            return cls(Settings.from_env(run["settings"]), days, tuple(run["models"]), run["token"])
        first = asked.get("start_date") or ""
        last = asked.get("end_date") or first
        if not first:
            return cls(Settings.from_env())
        check_order(parse_day(first), parse_day(last))
        return cls(Settings.from_env(), tuple(day_range(parse_day(first), parse_day(last))))


# ---- the prepared project ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DbtTest:
    """A data test, which the UI shows as an asset check."""

    name: str
    model: str
    description: str
    blocking: bool


@dataclass(frozen=True)
class DbtModel:
    """A model that the lake holds a table of."""

    name: str
    description: str
    sql: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """The models and tests of the dbt project, in the order dbt would build them."""

    models: tuple[DbtModel, ...]
    tests: tuple[DbtTest, ...]

    def model(self, name: str) -> DbtModel:
        """Return the model of this name."""
        return next(m for m in self.models if m.name == name)

    def tests_of(self, models: set[str]) -> list[DbtTest]:
        """Return the tests that are shown at one of `models`."""
        return [t for t in self.tests if t.model in models]


def load_project(settings: Settings) -> Project:
    """Return the project, parsed now if that was not done since it changed.

    Raises:
        ConfigError: when dbt cannot parse the project, with dbt's message.
    """
    loaded = json.loads(prepare(settings).summary)
    return Project(
        models=tuple(DbtModel(**{**m, "parents": tuple(m["parents"])}) for m in loaded["models"]),
        tests=tuple(DbtTest(**t) for t in loaded["tests"]),
    )


def prepared_folder(settings: Settings) -> Path:
    """Return the folder of the prepared manifest of the project as it is now; it need not be prepared yet."""
    return settings.home / "dbt" / _project_hash(project_of(settings))


@dataclass(frozen=True)
class Prepared:
    """What dbt made of the project: the summary as JSON, and the manifest as dbt reads it again."""

    summary: str
    manifest: bytes


def prepare(settings: Settings) -> Prepared:
    """Return what dbt made of the project as it is now; it parses where that is not on disk, or is damaged there.

    Two processes may do so at once: each parses in a folder of its own, and one of them is renamed into place.

    Raises:
        ConfigError: when dbt cannot parse the project, with dbt's message, or the home cannot be written.
    """
    folder = prepared_folder(settings)
    files = read_sealed(folder) or {}
    if files.keys() >= {SUMMARY, MANIFEST}:
        return Prepared(files[SUMMARY].decode(), files[MANIFEST])
    with writing(folder), scratch(folder.parent) as place:
        # Another home of this process may have prepared it: the name is a hash of all that was parsed.
        if folder.name not in _parsed:
            parsed = _parse(settings, place)
            _parsed.clear()
            _parsed[folder.name] = parsed
        prepared = _parsed[folder.name]
        fresh = place / "prepared"
        fresh.mkdir()
        (fresh / MANIFEST).write_bytes(prepared.manifest)
        (fresh / SUMMARY).write_text(prepared.summary, encoding="utf-8")
        seal(fresh)
        put_in_place(fresh, folder)
    return prepared


def _parse(settings: Settings, place: Path) -> Prepared:
    """Have dbt parse the project, with its artefacts in `place`."""
    project = project_of(settings)
    with _exclusive_dbt() as invoke:
        result = invoke(parse_args(project, place, DbtRun(settings)))
    if not result.success:
        shop = f" (with the shop's columns of {settings.features})" if project != settings.dbt_project else ""
        raise ConfigError(f"{project}{shop}: dbt cannot parse it: {result.exception}")
    document = json.loads((place / "target" / "manifest.json").read_text(encoding="utf-8"))
    manifest = (place / "target" / "partial_parse.msgpack").read_bytes()
    return Prepared(json.dumps(asdict(summarize(document))), manifest)


def _project_hash(project: Path) -> str:
    """Return a hash of the project's files, its place, and the dbt that would parse it."""
    total = hashlib.sha256()
    total.update(f"{SHAPE}|{project}|{version('dbt-core')}|{version('dbt-duckdb')}".encode())
    for path in project_files(project):
        total.update(str(path.relative_to(project)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def summarize(document: Mapping[str, Any]) -> Project:
    """Return the part of dbt's manifest document that the code location needs."""
    nodes = document["nodes"]
    tables = {key: n for key, n in nodes.items() if n["resource_type"] == "model" and _is_table(n)}
    models = [
        DbtModel(
            name=node["name"],
            description=" ".join(node["description"].split()),
            sql=node["raw_code"],
            parents=tuple(sorted(_parents(key, nodes))),
        )
        for key, node in tables.items()
    ]
    ordered = _in_order(models)
    place = {model.name: n for n, model in enumerate(ordered)}
    tests = []
    for node in nodes.values():
        if node["resource_type"] != "test":
            continue
        read = [key for key in node["depends_on"]["nodes"] if key in tables]
        # A test of several tables belongs to the one that is built last: a run that builds only an earlier one, because
        # the later is its next step, would see them at odds and stop.
        last = max(read, key=lambda key: place[tables[key]["name"]], default=None)
        attached = node.get("attached_node") or last
        if attached in tables:
            tests.append(
                DbtTest(
                    name=node["name"],
                    model=tables[attached]["name"],
                    description=node.get("description") or _first_line(node["raw_code"]),
                    blocking=node["config"]["severity"].lower() == "error",
                )
            )
    return Project(models=tuple(ordered), tests=tuple(sorted(tests, key=lambda t: t.name)))


def _is_table(node: Mapping[str, Any]) -> bool:
    return node["config"]["materialized"] == "lake_day"


def _parents(key: str, nodes: Mapping[str, Any]) -> set[str]:
    """Return the names of tables that a node reads, through ephemeral models; not what it reads of the day before."""
    names = set()
    for parent in nodes[key]["depends_on"]["nodes"]:
        if parent in nodes and not _is_table(nodes[parent]):
            names |= _parents(parent, nodes)
        elif not (parent.startswith("source.") and parent.split(".")[-2] in ("yesterday", "carry")):
            names.add(parent.split(".")[-1])
    return names


def _in_order(models: list[DbtModel]) -> list[DbtModel]:
    waiting, ordered = sorted(models, key=lambda m: m.name), []
    names = {m.name for m in models}
    while waiting:
        ready = next(m for m in waiting if not (set(m.parents) & names) - {o.name for o in ordered})
        ordered.append(ready)
        waiting.remove(ready)
    return ordered


def _first_line(sql: str) -> str:
    first = sql.strip().splitlines()[0] if sql.strip() else ""
    return first.removeprefix("--").strip() if first.startswith("--") else ""


# ---- arguments of dbt's commands ---------------------------------------------------------------------------------


def parse_args(project: Path, scratch: Path, run: DbtRun) -> list[str]:
    """Return arguments that parse the project."""
    return ["parse", "--no-partial-parse", *_common_args(project, scratch, run)]


def build_args(project: Path, scratch: Path, run: DbtRun, tests: Sequence[str]) -> list[str]:
    """Return arguments that build the run's models and run `tests`, by name and in dbt's order.

    Nothing that is not named is built or tested, and no unit test is run.
    """
    return [
        "build",
        "--select",
        *sorted(run.models),
        *sorted(tests),
        "--indirect-selection",
        "empty",
        "--exclude-resource-type",
        "unit_test",
        # Nobody reads the artefacts of a run: writing them takes a third of what a run of dbt costs beside its SQL.
        "--no-write-json",
        "--log-level-file",
        "none",
        *_common_args(project, scratch, run),
    ]


def unit_test_args(project: Path, scratch: Path, run: DbtRun) -> list[str]:
    """Return arguments that run the dbt unit tests, of the run's models or of all."""
    chosen = [f"{model},test_type:unit" for model in sorted(run.models)] or ["test_type:unit"]
    return ["test", "--select", *chosen, *_common_args(project, scratch, run)]


def compile_args(project: Path, scratch: Path, run: DbtRun) -> list[str]:
    """Return arguments that write the SQL of the run's models to `<scratch>/target/compiled`."""
    return ["compile", "--select", *sorted(run.models), *_common_args(project, scratch, run)]


def _common_args(project: Path, scratch: Path, run: DbtRun) -> list[str]:
    """Return where the project is, that dbt writes into `scratch` only, and what is asked for."""
    return [
        "--quiet",
        "--no-send-anonymous-usage-stats",
        "--project-dir",
        str(project),
        "--profiles-dir",
        str(project),
        "--target-path",
        str(scratch / "target"),
        "--log-path",
        str(scratch / "logs"),
        "--vars",
        run.variables(),
    ]


# ---- runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TestRun:
    """Outcome of one data test over all days of the run. `sql` gives the failing rows, each with its day."""

    __test__ = False

    name: str
    failures: int
    sql: str
    error: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class Built:
    """What one run of dbt did: the days it published, by table and day, and its tests by name."""

    published: frozenset[tuple[str, dt.date]]
    tests: Mapping[str, TestRun]


def build(
    settings: Settings,
    days: Sequence[dt.date],
    models: Sequence[str],
    tests: Sequence[str] = (),
    on_published: Callable[[str, dt.date, int], None] | None = None,
) -> Built:
    """Compute and publish `days` of `models` in their order, and run `tests` over those days.

    Args:
        settings: where the lake is.
        days: the days, oldest first.
        models: what is built.
        tests: names of data tests.
        on_published: called with table, day and number of rows as each day is published.

    Raises:
        SegAssetsError: the error of the first model that failed (days published before it stay).
        EngineError: the engine failed for another reason.
        DbtError: dbt failed in another way.
    """
    run = DbtRun(settings, tuple(days), tuple(models), uuid.uuid4().hex)
    published: set[tuple[str, dt.date]] = set()
    failures: list[Exception] = []

    def listen(event: Any) -> None:
        """Take in the log events of `dbt_plugin`, which dbt hands on as it does its own."""
        if not event.info.name.startswith("AdapterEvent") or event.data.name != LOGGER:
            return
        words = list(event.data.args)
        if event.info.name == "AdapterEventDebug":
            failures.append(_error_named(*words))
            return
        table, day, rows = words
        published.add((table, dt.date.fromisoformat(day)))
        if on_published:
            on_published(table, dt.date.fromisoformat(day), int(rows))

    with scratch(settings.home / "dbt" / "runs") as place, _exclusive_dbt(settings, listen) as invoke:
        result = invoke(build_args(project_of(settings), place, run, tests))
    if failures:
        raise failures[0]
    if result.exception is not None:
        raise DbtError(f"dbt build: {result.exception}") from result.exception
    return Built(frozenset(published), _outcomes(result.result))


def _outcomes(executed: Any) -> dict[str, TestRun]:
    """Return the tests of a run of dbt by name.

    Raises:
        DbtError: a model failed.
    """
    tests: dict[str, TestRun] = {}
    for item in executed.results:
        node, status = item.node, str(item.status)
        if node.resource_type == "test":
            error = (item.message or "") if status == "error" else ""
            skipped = status == "skipped"
            tests[node.name] = TestRun(node.name, int(item.failures or 0), node.compiled_code or "", error, skipped)
        elif status not in ("success", "skipped"):
            raise DbtError(f"dbt model {node.name}: {item.message}")
    return tests


def _error_named(kind: str, text: str) -> Exception:
    """Return an error that was raised inside dbt: one of `core.errors` as it was, any other as an EngineError."""
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, SegAssetsError):
        return ours(text)
    return EngineError(f"{kind}: {text}")


def unit_tests(settings: Settings, models: Sequence[str] = ()) -> dict[str, str]:
    """Run the dbt unit tests, of `models` or of all: name to 'pass', or to dbt's message."""
    with scratch(settings.home / "dbt" / "runs") as place, _exclusive_dbt(settings) as invoke:
        result = invoke(unit_test_args(project_of(settings), place, DbtRun(settings, models=tuple(models))))
    if result.result is None:
        raise DbtError(f"dbt test: {result.exception}")
    return {
        item.node.name: "pass" if str(item.status) == "pass" else str(item.message) for item in result.result.results
    }


def compiled_sql(settings: Settings, models: Sequence[str]) -> dict[str, str]:
    """Return the SQL of each model as dbt compiles it."""
    with scratch(settings.home / "dbt" / "runs") as place, _exclusive_dbt(settings) as invoke:
        result = invoke(compile_args(project_of(settings), place, DbtRun(settings, models=tuple(models))))
        if not result.success:
            raise DbtError(f"dbt compile: {result.exception}")
        files = (place / "target" / "compiled").rglob("*.sql")
        return {path.stem: path.read_text(encoding="utf-8") for path in files if path.stem in models}


def import_dbt() -> None:
    """Import the whole of dbt and its DuckDB adapter: 1.5 CPU seconds."""
    with quick_imports("dbt.cli.main"):
        import dbt.adapters.duckdb
        import dbt.cli.main  # noqa: F401


@contextlib.contextmanager
def _exclusive_dbt(
    settings: Settings | None = None, listen: Callable[[Any], None] | None = None
) -> Iterator[Callable[[list[str]], Any]]:
    """Give a function that runs a dbt command; waits for an earlier run of this process to end.

    Args:
        settings: whose prepared manifest saves dbt from parsing; none: dbt parses.
        listen: called with each of dbt's log events.
    """
    import_dbt()
    from dbt.cli.main import dbtRunner

    # A fresh manifest for each run: dbt marks its nodes as compiled.
    manifest = read_manifest(prepare(settings).manifest) if settings else None
    with _one_run_at_a_time:
        try:
            yield dbtRunner(manifest=manifest, callbacks=[listen] if listen else []).invoke
        finally:
            close_database()
            while _spill:
                give_back(_spill.pop())


def spill_folder_of_run() -> Path:
    """Return a folder for what dbt's database spills, removed when the run is over."""
    _spill.append(spill_folder())
    return _spill[-1]
