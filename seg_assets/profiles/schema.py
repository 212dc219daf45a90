"""Columns, types and descriptions of the profile tables, read from the dbt project's YAML. No dbt, no Dagster."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.core.table_spec import Column
from seg_assets.core.yaml_file import read_yaml


@dataclass(frozen=True)
class ModelDoc:
    """What the YAML of the dbt project says of one model."""

    name: str
    description: str
    columns: tuple[Column, ...]

    @property
    def types(self) -> dict[str, str]:
        """Column to DuckDB type, in table order."""
        return {c.name: c.kind for c in self.columns}

    @property
    def descriptions(self) -> dict[str, str]:
        """Column to description."""
        return {c.name: c.description for c in self.columns}


def model_docs(project: Path) -> dict[str, ModelDoc]:
    """The models that the YAML files of a dbt project describe.

    Raises:
        ConfigError: when the folder is no dbt project, or a YAML cannot be read.
    """
    files = sorted((project / "models").rglob("*.yml"))
    if not files:
        raise ConfigError(f"dbt_project = {project}: no models/**/*.yml there; point it at the dbt project")
    return dict(_docs(tuple((path, path.stat().st_mtime_ns) for path in files)))


@lru_cache(maxsize=8)
def _docs(files: tuple[tuple[Path, int], ...]) -> tuple[tuple[str, ModelDoc], ...]:
    found = []
    for path, _ in files:
        loaded: dict[str, Any] = read_yaml(path) or {}
        for model in loaded.get("models", []):
            columns = tuple(
                Column(c["name"], str(c.get("data_type", "")), " ".join(str(c.get("description", "")).split()))
                for c in model.get("columns", [])
            )
            found.append(
                (model["name"], ModelDoc(model["name"], " ".join(model.get("description", "").split()), columns))
            )
    return tuple(found)


def profile_columns(settings: Settings) -> dict[str, str]:
    """Column of `user_profiles` to its description: what a strategy may name as a feature or in a rule."""
    return model_docs(settings.dbt_project)["user_profiles"].descriptions


def profile_types(settings: Settings) -> dict[str, str]:
    """Column of `user_profiles` to its DuckDB type."""
    return model_docs(settings.dbt_project)["user_profiles"].types
