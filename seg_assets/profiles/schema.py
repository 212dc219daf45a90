"""Read what the dbt project's YAML says of its tables: columns, types, descriptions, windows, numbers for the UI.

Not here: dbt's own reading of the project (`profiles.runner`). This module imports neither dbt nor Dagster.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.core.yaml_file import read_yaml

# Values of a column's `window_days` beside a number of days.
ALL_DAYS, NO_WINDOW = "all", "none"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    kind: DuckDB type.
    window_days: the length in days of the window that it looks back on, "all" for every day up to the day, "none" for
        a column that is computed anew for everybody each day; None when the YAML does not say.
    """

    name: str
    kind: str
    description: str
    window_days: int | str | None = None


@dataclass(frozen=True)
class ModelDoc:
    """What the YAML of the dbt project says of one model.

    headline: the select list of the numbers that the UI shows for a day, empty without any.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
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


def _column(column: dict[str, Any]) -> Column:
    window = _meta(column).get("window_days")
    return Column(column["name"], str(column.get("data_type", "")), _one_line(column), window)


def _meta(item: dict[str, Any]) -> dict[str, Any]:
    return item.get("config", {}).get("meta", {})


def _one_line(item: dict[str, Any]) -> str:
    return " ".join(str(item.get("description", "")).split())


def profile_columns(settings: Settings) -> dict[str, str]:
    """Return column of `user_profiles` to its description: what a strategy may name as a feature or in a rule."""
    return model_docs(settings.dbt_project)["user_profiles"].descriptions


def profile_types(settings: Settings) -> dict[str, str]:
    """Return column of `user_profiles` to its DuckDB type."""
    return model_docs(settings.dbt_project)["user_profiles"].types
