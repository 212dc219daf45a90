"""What the dbt project holds, as dbt itself understands it, prepared once and kept.

Parsing the project takes seconds and imports dbt; what the code location needs of it is small. So dbt parses when a
file of the project changed, and leaves two files under `<home>/dbt/<hash of the project>/`: `project.json`, which
this module reads without dbt, and `manifest.msgpack`, from which a run starts dbt without parsing.
"""

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings

SUMMARY = "project.json"
MANIFEST = "manifest.msgpack"
# Raised by hand when the summary's shape changes.
SHAPE = 2


_parsed: dict[str, tuple[bytes, str]] = {}


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
    reads_own_yesterday: bool


@dataclass(frozen=True)
class Project:
    """The models and tests of the dbt project, in the order dbt would build them."""

    models: tuple[DbtModel, ...]
    tests: tuple[DbtTest, ...]

    def model(self, name: str) -> DbtModel:
        """The model of this name."""
        return next(m for m in self.models if m.name == name)

    def tests_of(self, models: set[str]) -> list[DbtTest]:
        """Tests shown at one of `models`."""
        return [t for t in self.tests if t.model in models]


def project_files(project: Path) -> list[Path]:
    """The files that decide what the project means, sorted."""
    if not (project / "dbt_project.yml").is_file():
        raise ConfigError(f"dbt_project = {project}: no dbt_project.yml there; point it at the dbt project")
    found = [project / "dbt_project.yml", project / "profiles.yml"]
    for folder in ("models", "macros", "tests"):
        found += [p for p in (project / folder).rglob("*") if p.suffix in (".sql", ".yml", ".yaml", ".csv")]
    return sorted(found)


def project_hash(project: Path) -> str:
    """Hash of the project's files, its place, and the dbt that would parse it."""
    total = hashlib.sha256()
    total.update(f"{SHAPE}|{project}|{version('dbt-core')}|{version('dbt-duckdb')}".encode())
    for path in project_files(project):
        total.update(str(path.relative_to(project)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def cache_folder(settings: Settings) -> Path:
    """Folder of the prepared manifest of the project as it is now."""
    return settings.home / "dbt" / project_hash(settings.dbt_project)


def load_project(settings: Settings) -> Project:
    """The project, parsed now if that was not done since it changed."""
    folder = prepared(settings)
    loaded = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return Project(
        models=tuple(DbtModel(**{**m, "parents": tuple(m["parents"])}) for m in loaded["models"]),
        tests=tuple(DbtTest(**t) for t in loaded["tests"]),
    )


def prepared(settings: Settings) -> Path:
    """Make sure that the prepared manifest is there; returns its folder.

    Two processes may do so at once: each parses in a folder of its own, and one of them is renamed into place.

    Raises:
        ConfigError: when dbt cannot parse the project, with dbt's message.
    """
    folder = cache_folder(settings)
    if (folder / SUMMARY).is_file() and (folder / MANIFEST).is_file():
        return folder
    from seg_assets.profiles.runner import parse

    fresh = folder.parent / f".new-{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    try:
        # Another home of this process may have it: the name is a hash of all that was parsed.
        if folder.name not in _parsed:
            found = parse(settings, fresh)
            _parsed.clear()
            _parsed[folder.name] = (found.msgpack, json.dumps(asdict(summary(found.document))))
        (fresh / MANIFEST).write_bytes(_parsed[folder.name][0])
        (fresh / SUMMARY).write_text(_parsed[folder.name][1], encoding="utf-8")
        for leftover in ("target", "logs"):
            shutil.rmtree(fresh / leftover, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was first: its files say the same
            fresh.replace(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def summary(document: Mapping[str, Any]) -> Project:
    """The part of dbt's manifest document that the code location needs."""
    nodes = document["nodes"]
    lake = {key: n for key, n in nodes.items() if n["resource_type"] == "model" and _is_table(n)}
    models = [
        DbtModel(
            name=node["name"],
            description=" ".join(node["description"].split()),
            sql=node["raw_code"],
            parents=tuple(sorted(_parents(key, document))),
            reads_own_yesterday=any(s.split(".")[-2:] == ["yesterday", node["name"]] for s in _sources(key, document)),
        )
        for key, node in lake.items()
    ]
    ordered = _in_order(models)
    place = {model.name: n for n, model in enumerate(ordered)}
    tests = []
    for node in nodes.values():
        if node["resource_type"] != "test":
            continue
        read = [key for key in node["depends_on"]["nodes"] if key in lake]
        # A test of several tables belongs to the one made last: a run that makes only an earlier one, because the
        # later is its next step, would find them at odds and stop there.
        last = max(read, key=lambda key: place[lake[key]["name"]], default=None)
        attached = node.get("attached_node") or last
        if attached in lake:
            tests.append(
                DbtTest(
                    name=node["name"],
                    model=lake[attached]["name"],
                    description=node.get("description") or _first_comment(node["raw_code"]),
                    blocking=node["config"]["severity"].lower() == "error",
                )
            )
    return Project(models=tuple(ordered), tests=tuple(sorted(tests, key=lambda t: t.name)))


def _is_table(node: Mapping[str, Any]) -> bool:
    return node["config"]["materialized"] == "lake_day"


def _direct(key: str, document: Mapping[str, Any]) -> list[str]:
    """What a node reads, through ephemeral models."""
    found = []
    for parent in document["nodes"][key]["depends_on"]["nodes"]:
        node = document["nodes"].get(parent)
        if node is not None and not _is_table(node):
            found += _direct(parent, document)
        else:
            found.append(parent)
    return found


def _sources(key: str, document: Mapping[str, Any]) -> list[str]:
    return [p for p in _direct(key, document) if p.startswith("source.")]


def _parents(key: str, document: Mapping[str, Any]) -> set[str]:
    names = set()
    for parent in _direct(key, document):
        if not (parent.startswith("source.") and parent.split(".")[-2] in ("yesterday", "carry")):
            names.add(parent.split(".")[-1])
    return names


def _in_order(models: list[DbtModel]) -> list[DbtModel]:
    left, done = sorted(models, key=lambda m: m.name), []
    names = {m.name for m in models}
    while left:
        ready = next(m for m in left if not (set(m.parents) & names) - {d.name for d in done})
        done.append(ready)
        left.remove(ready)
    return done


def _first_comment(sql: str) -> str:
    first = sql.strip().splitlines()[0] if sql.strip() else ""
    return first.removeprefix("--").strip() if first.startswith("--") else ""
