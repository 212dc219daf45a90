"""The dbt project of a shop: the one that the package ships, with the shop's own columns where the shop has any.

dbt lets a project replace a model of a package it installs, not extend one. So a shop with features has a copy of the
shipped project under `<home>/dbt/projects/`, in which the model `user_profiles` knows the shop's columns: its contract
lists them, its data tests are the shop's too, and the macro `shop_features` hands their SQL to the materialization. A
copy is named by a hash of all that it is put together from, and sealed: one that is whole is never written to again.

A free dbt project of the shop's would cost promise 1: its models could read files, the clock, or days that no footer
names (docs/profiles.md).

Not here: what a feature file may hold (`profiles.features`), what dbt makes of a project (`profiles.runner`).
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import yaml

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.core.yaml_file import read_yaml
from seg_assets.lake.scratch import scratch
from seg_assets.lake.sealed import put_in_place, read_sealed, seal
from seg_assets.lake.shop_files import feature_files, features_digest
from seg_assets.profiles.features import TABLE, FeatureFile, read_features
from seg_assets.profiles.schema import model_docs, project_files, schemas_of

# Raised by hand when a copy is put together in another way.
SHAPE = 1
PROFILES_YAML = Path("models", "profiles", "_profiles.yml")
FEATURES_MACRO = Path("macros", "shop_features.sql")


def project_of(settings: Settings) -> Path:
    """Return the folder of the shop's dbt project; a copy with the shop's columns is put together when it is new.

    Raises:
        ConfigError: a feature file is wrong, naming it and the remedy.
    """
    shop, shipped = settings.features, settings.dbt_project
    if shop is None or not feature_files(shop):
        return shipped
    while True:
        folder = settings.home / "dbt" / "projects" / _hash(shipped, shop)
        if read_sealed(folder):
            return folder
        digest, features = features_digest(shop), read_features(shop, shipped, schemas_of(shipped))
        with writing(folder), scratch(folder.parent) as place:
            fresh = place / "project"
            _put_together(fresh, shipped, features, digest)
            seal(fresh)
            # A file that was changed meanwhile: look again.
            if folder.name == _hash(shipped, shop):
                put_in_place(fresh, folder)


@contextlib.contextmanager
def writing(folder: Path) -> Generator[None]:
    """Raise ConfigError for a folder under the home that the block cannot write."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror or error}; make room, mend its permissions, or set "
            "SEG_ASSETS_HOME to a folder that can be written"
        ) from error


def profile_columns(settings: Settings) -> dict[str, str]:
    """Return column of `user_profiles` to its description: what a strategy may name as a feature or in a rule."""
    return model_docs(project_of(settings))[TABLE].descriptions


def profile_types(settings: Settings) -> dict[str, str]:
    """Return column of `user_profiles` to its DuckDB type."""
    return model_docs(project_of(settings))[TABLE].types


def _hash(shipped: Path, shop: Path) -> str:
    """Return a hash of all that a copy is put together from."""
    total = hashlib.sha256(f"{SHAPE}|{shipped}|{shop}".encode())
    for path in (*project_files(shipped), *feature_files(shop), *sorted(shop.glob("*.y*ml"))):
        total.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def _put_together(fresh: Path, shipped: Path, features: Sequence[FeatureFile], digest: str) -> None:
    """Make the folder `fresh`, with a copy of the shipped project and the shop's columns."""
    for path in project_files(shipped):
        target = fresh / path.relative_to(shipped)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    described = read_yaml(shipped / PROFILES_YAML)
    _extend(next(model for model in described["models"] if model["name"] == TABLE), features)
    (fresh / PROFILES_YAML).write_text(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), "utf-8")
    (fresh / FEATURES_MACRO).write_text(_macro(features, digest), "utf-8")


def _extend(model: dict[str, Any], features: Sequence[FeatureFile]) -> None:
    """Add the columns and data tests of feature files to what the YAML says of a model."""
    for feature in features:
        described = {column["name"]: column for column in feature.properties.get("columns") or ()}
        for name, kind in feature.columns.items():
            column = {"description": f"Column of the shop's features/{feature.path.name}", **described.get(name, {})}
            config = dict(column.get("config") or {})
            meta = {**config.get("meta", {}), "window_days": "none", "feature": feature.name}
            model["columns"].append({**column, "name": name, "data_type": kind, "config": {**config, "meta": meta}})
        model.setdefault("data_tests", []).extend(feature.properties.get("data_tests") or ())


def _macro(features: Sequence[FeatureFile], digest: str) -> str:
    """Return the text of the macro that hands the features to the materialization."""
    shop = {
        "digest": digest,
        "features": [{"name": f.name, "path": str(f.path), "sql": f.sql, "columns": list(f.columns)} for f in features],
    }
    # No text of the shop's may end the raw block.
    shown = json.dumps(shop).replace("{%", "\\u007b%")
    return f"""{{#- The shop's own columns, put together from its features/*.sql. -#}}
{{% macro shop_features() %}}
    {{%- set shop -%}}{{% raw %}}{shown}{{% endraw %}}{{%- endset -%}}
    {{{{ return(fromjson(shop)) }}}}
{{% endmacro %}}
"""
