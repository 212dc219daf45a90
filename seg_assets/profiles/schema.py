"""Read what the dbt project's YAML says of its tables: columns, types, descriptions, windows, numbers for the UI.

Not here: dbt's own reading of the project (`profiles.runner`). This module imports neither dbt nor Dagster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from seg_assets.core.errors import ConfigError
from seg_assets.core.table_spec import Column
from seg_assets.core.tables import TABLES
from seg_assets.core.yaml_file import read_yaml
from seg_assets.events.contract import RAW_EVENTS, RAW_PRODUCTS, RAW_USERS

_RAW = {"raw_events": RAW_EVENTS, "raw_users": RAW_USERS, "raw_products": RAW_PRODUCTS}
# Values of a column's `window_days` beside a number of days.
ALL_DAYS, NO_WINDOW = "all", "none"


@dataclass(frozen=True)
class Schemas:
    """Column types of the tables that the profile models read and write.

    tables: by table, the columns of its files.
    carried: by table that can take rows over from yesterday, the columns that its own SQL gives.
    """

    tables: Mapping[str, Mapping[str, str]]
    carried: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class ModelColumn(Column):
    """A column of a table that dbt makes.

    window_days: the length in days of the window that it looks back on, "all" for every day up to the day, "none" for
        a column that is computed anew for everybody each day; None when the YAML does not say.
    feature: the shop's feature file that it is from; empty for a column of the model's own SQL.
    """

    window_days: int | str | None = None
    feature: str = ""


@dataclass(frozen=True)
class ModelDoc:
    """What the YAML of the dbt project says of one model.

    headline: the select list of the numbers that the UI shows for a day, empty without any.
    """

    name: str
    description: str
    columns: tuple[ModelColumn, ...]
    headline: str = ""

    @property
    def types(self) -> dict[str, str]:
        """Column to DuckDB type, in table order."""
        return {c.name: c.kind for c in self.columns}

    @property
    def descriptions(self) -> dict[str, str]:
        """Column to description."""
        return {c.name: c.description for c in self.columns}

    @property
    def windows(self) -> set[int | str | None]:
        """The windows of the columns, None among them when one does not say its own."""
        return {c.window_days for c in self.columns}


def model_docs(project: Path) -> dict[str, ModelDoc]:
    """Return the models that the YAML files of a dbt project describe.

    Raises:
        ConfigError: when the folder is no dbt project, or a YAML cannot be read.
    """
    files = sorted((project / "models").rglob("*.yml"))
    if not files:
        raise ConfigError(f"dbt_project = {project}: no models/**/*.yml there; point it at the dbt project")
    return dict(_docs(tuple((path, path.stat().st_mtime_ns) for path in files)))


@lru_cache(maxsize=8)
def _docs(files: tuple[tuple[Path, int], ...]) -> tuple[tuple[str, ModelDoc], ...]:
    docs = []
    for path, _ in files:
        loaded: dict[str, Any] = read_yaml(path) or {}
        for model in loaded.get("models", []):
            columns = tuple(_column(column) for column in model.get("columns", []))
            headline = _meta(model).get("headline", "")
            docs.append((model["name"], ModelDoc(model["name"], _one_line(model), columns, headline)))
    return tuple(docs)


def _column(column: dict[str, Any]) -> ModelColumn:
    meta = _meta(column)
    kind, window = str(column.get("data_type", "")), meta.get("window_days")
    return ModelColumn(column["name"], kind, _one_line(column), window, meta.get("feature", ""))


def _meta(item: dict[str, Any]) -> dict[str, Any]:
    return item.get("config", {}).get("meta", {})


def _one_line(item: dict[str, Any]) -> str:
    return " ".join(str(item.get("description", "")).split())


def table_docs(project: Path) -> dict[str, ModelDoc]:
    """Return what the YAML files of a dbt project say of the models that are tables of the lake."""
    return {name: doc for name, doc in model_docs(project).items() if name in TABLES}


def schemas_of(project: Path) -> Schemas:
    """Return the column types of every table that a profile model reads or writes."""
    docs = table_docs(project)
    own = {name: {c.name: c.kind for c in doc.columns if not c.feature} for name, doc in docs.items()}
    return Schemas(
        tables={**_RAW, **{name: doc.types for name, doc in docs.items()}},
        carried={name: columns for name, columns in own.items() if TABLES[name].edges},
    )


def project_files(project: Path) -> list[Path]:
    """Return the files that decide what a dbt project means, sorted.

    Raises:
        ConfigError: the folder is no dbt project.
    """
    if not (project / "dbt_project.yml").is_file():
        raise ConfigError(f"dbt_project = {project}: no dbt_project.yml there; point it at the dbt project")
    files = [project / "dbt_project.yml", project / "profiles.yml"]
    for folder in ("models", "macros", "tests"):
        files += [p for p in (project / folder).rglob("*") if p.suffix in (".sql", ".yml", ".yaml", ".csv")]
    return sorted(files)
