"""Read the shop's `features/*.sql`: columns that a shop adds to `user_profiles`, in the language of a dbt model.

A feature file is one select with `user_id` and the columns it adds, over the tables of the day. Its Jinja is plain text
making (`ref`, `source`, and few macros of the dbt project), and its SQL may call nothing that gives another value
tomorrow, on another machine, or in another order of rows: no file, no clock, nothing random. Otherwise a day made
again would be another day (docs/promises.md, 1). Everything is checked when the files are read, before dbt is asked.

`features/<name>.yml` beside a file says what dbt's YAML says of a model: types, descriptions, data tests.

Not here: how the columns become part of dbt's project (`profiles.project`), and how they are computed
(`engine.duckdb`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import TemplateError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import SandboxedEnvironment

from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.sql import identifier
from seg_assets.core.tables import TABLES
from seg_assets.core.yaml_file import read_yaml
from seg_assets.lake.shop_files import feature_files
from seg_assets.profiles.engine.duckdb import empty
from seg_assets.profiles.schema import Schemas

TABLE = "user_profiles"
# What feature SQL reads: what the profiles of a day are made from, and the profiles themselves.
READABLE = (TABLE, *(source.table for source in TABLES[TABLE].inputs))
# Macros of the dbt project that a feature file may call, and the file of each.
MACROS = {
    "as_of": "as_of.sql",
    "day_number": "as_of.sql",
    "actor_of": "activity.sql",
    "user_of": "activity.sql",
    "visitor_of": "activity.sql",
}
# Table functions that read nothing.
PLAIN_TABLES = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree"})
# Words that SQL takes for the clock where no column has their name.
CLOCK_WORDS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
# Functions that DuckDB's catalog does not call unstable, and that read the clock, the session or dice.
UNSTABLE = frozenset(
    {
        "current_localtime",
        "current_localtimestamp",
        "ago",
        "reservoir_quantile",
        "version",
        "pg_postmaster_start_time",
        "pg_conf_load_time",
        "pg_sleep",
    }
)
# Variables of the connection that say which day it is (macros `as_of` and `day_number`).
VARIABLES = frozenset({"as_of", "day_number"})
# Parquet holds these as they are, and a strategy can read them. A sum of whole numbers is a HUGEINT, which Parquet does
# not have.
KINDS = re.compile(r"^(BOOLEAN|U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|VARCHAR|DATE)$")
# The YAML of a model, as far as a feature file can use it.
PROPERTIES = ("name", "description", "columns", "data_tests", "config")


@dataclass(frozen=True)
class FeatureFile:
    """One checked feature file.

    name: of the file, without `.sql`.
    path: of the file.
    sql: plain SQL, its Jinja rendered.
    columns: the columns it adds, name to DuckDB type, without `user_id`.
    properties: what its YAML says, in dbt's format; empty without one.
    """

    name: str
    path: Path
    sql: str
    columns: Mapping[str, str]
    properties: Mapping[str, Any]


def read_features(folder: Path, project: Path, schemas: Schemas) -> list[FeatureFile]:
    """Read and check every feature file of a folder, sorted by name.

    Args:
        folder: the shop's features.
        project: the dbt project whose macros they may call.
        schemas: columns of the tables they read.

    Raises:
        ConfigError: naming the file, what is wrong, and the remedy.
    """
    features: list[FeatureFile] = []
    owner = dict.fromkeys([*schemas.tables[TABLE], "day"], f"a column of {TABLE}")
    for path in feature_files(folder):
        sql = _render(path, project)
        _check_sql(path, sql)
        columns = _columns(path, sql, schemas)
        for column in columns:
            if column in owner:
                raise ConfigError(f"{path}: column {column!r} is {owner[column]} already; choose another name")
            owner[column] = f"a column of {path}"
        features.append(FeatureFile(path.stem, path, sql, columns, _properties(path, columns)))
    known = {feature.name for feature in features}
    for path in sorted(folder.glob("*.y*ml")):
        if path.stem not in known:
            raise ConfigError(f"{path}: describes no file: there is no {path.stem}.sql beside it")
    return features


# ---- Jinja -------------------------------------------------------------------------------------------------------


def _render(path: Path, project: Path) -> str:
    """Return the SQL of a feature file, its Jinja rendered."""
    if path.stem in TABLES or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", path.stem):
        raise ConfigError(
            f"{path}: the name of a feature file is lower-case letters, digits and underscores, and not a table's"
        )
    names: dict[str, Any] = {"ref": _ref(path), "source": _source(path), **_macros(project)}
    environment = SandboxedEnvironment()
    try:
        text = path.read_text(encoding="utf-8")
        tree = environment.parse(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except TemplateError as error:
        raise ConfigError(f"{path}: line {getattr(error, 'lineno', 1)}: {error.message}") from None
    for name in sorted(find_undeclared_variables(tree) - names.keys() - {"range", "namespace"}):
        remedy = f"there are {', '.join(sorted(names))}"
        if name == "config":
            remedy = "put types, descriptions and tests into the .yml beside it"
        raise ConfigError(f"{path}: {{{{ {name} }}}} is nothing that a feature can use; {remedy}")
    for node in tree.find_all(nodes.Filter):
        if node.name == "random":
            raise ConfigError(f"{path}: filter `random` gives another value each time; leave it out")
    try:
        return environment.from_string(text, globals=names).render().strip().rstrip(";")
    except ConfigError:
        raise
    except Exception as error:  # Jinja runs what the file says
        raise ConfigError(f"{path}: its Jinja fails: {error}") from None


def _ref(path: Path) -> Callable[[str], str]:
    def ref(table: str) -> str:
        """Return the name of a table that feature SQL may read."""
        return identifier(_readable(path, table))

    return ref


def _source(path: Path) -> Callable[[str, str], str]:
    def source(name: str, table: str) -> str:
        """Return the name of a table of the source `lake` that feature SQL may read."""
        if name != "lake":
            raise ConfigError(f"{path}: source({name!r}, ...): a feature reads the source 'lake' only")
        return identifier(_readable(path, table))

    return source


def _readable(path: Path, table: str) -> str:
    if table not in READABLE:
        raise ConfigError(
            f"{path}: reads {table!r}{did_you_mean(table, READABLE)}; a feature reads the tables of its day only: "
            f"{', '.join(READABLE)}"
        )
    return table


def _macros(project: Path) -> dict[str, Any]:
    """Return those macros of the dbt project that only make text."""
    environment = SandboxedEnvironment()
    texts = {file: (project / "macros" / file).read_text("utf-8") for file in MACROS.values()}
    files = {file: environment.from_string(text).module for file, text in texts.items()}
    return {name: getattr(files[file], name) for name, file in MACROS.items()}


# ---- SQL ---------------------------------------------------------------------------------------------------------


def _check_sql(path: Path, sql: str) -> None:
    """Refuse SQL that is not one select, or that reads anything but the tables of the day.

    Raises:
        ConfigError: naming the file, the function or table, and the remedy.
    """
    with duckdb.connect(":memory:") as con:
        answer = con.execute("select json_serialize_sql(?)", [sql]).fetchone() or ("{}",)
        stability = dict(
            con.execute(
                "select function_name, max(case when function_type in ('table', 'table_macro') then 'TABLE' "
                "else coalesce(stability, 'CONSISTENT') end) from duckdb_functions() group by function_name"
            ).fetchall()
        )
    tree = json.loads(answer[0])
    if tree.get("error"):
        raise ConfigError(f"{path}: is not one select: {tree.get('error_message')}")
    if len(tree["statements"]) != 1:
        raise ConfigError(f"{path}: holds {len(tree['statements'])} statements; a feature is one select")
    parts = list(_walk(tree))
    readable = {*READABLE, *(item["key"] for part in parts for item in part.get("cte_map", {}).get("map", ()))}
    for part in parts:
        if part.get("sample"):
            raise ConfigError(f"{path}: a sample holds other rows each time; leave it out")
        if part.get("type") == "SHOW_REF":
            raise ConfigError(f"{path}: describes a table instead of reading it; write a select")
        if part.get("type") == "BASE_TABLE":
            name = ".".join(filter(None, [part["catalog_name"], part["schema_name"], part["table_name"]]))
            if name not in readable:
                _readable(path, name)
        if part.get("class") == "COLUMN_REF" and part["column_names"][-1].lower() in CLOCK_WORDS:
            raise _unstable(path, part["column_names"][-1])
        if part.get("type") == "TABLE_FUNCTION":
            name = part["function"]["function_name"].lower()
            if name not in PLAIN_TABLES:
                raise ConfigError(
                    f"{path}: {name}() reads what is no table of its day; name a table: {', '.join(READABLE)}"
                )
        elif part.get("class") == "FUNCTION":
            arguments = [argument["expression"] for argument in part["arguments"]]
            _check_function(path, part["function_name"].lower(), arguments, stability)


def _check_function(path: Path, name: str, arguments: list[Any], stability: Mapping[str, str]) -> None:
    """Refuse a function whose value does not follow from its arguments."""
    if name == "getvariable" and arguments and arguments[0].get("literal", {}).get("text") in VARIABLES:
        return
    unstable = name in UNSTABLE or stability.get(name, "CONSISTENT") in ("VOLATILE", "CONSISTENT_WITHIN_QUERY")
    # With one argument, `age` counts from now.
    if unstable or (name == "age" and len(arguments) == 1):
        raise _unstable(path, f"{name}()")


def _unstable(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what} gives another value in another run, so that a day could not be made again; the day that is "
        "computed is {{ as_of() }}"
    )


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """Give every object within a JSON value."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _columns(path: Path, sql: str, schemas: Schemas) -> dict[str, str]:
    """Return the columns that the SQL gives beside `user_id`, and their types.

    Raises:
        ConfigError: it does not bind, or its columns cannot stand in a profile.
    """
    with duckdb.connect(":memory:") as con:
        for table in READABLE:
            con.execute(f"create view {identifier(table)} as {empty(schemas.tables[table])}")
        try:
            described = con.execute(f"describe {sql}").fetchall()
        except duckdb.Error as error:
            raise ConfigError(f"{path}: {error}") from None
    kinds = {row[0]: row[1] for row in described}
    if kinds.pop("user_id", None) != "VARCHAR":
        raise ConfigError(f"{path}: has no text column `user_id`; select it first, the columns it adds after it")
    if not kinds or len(described) != len(kinds) + 1:
        raise ConfigError(f"{path}: must give at least one column beside user_id, each under a name of its own")
    for column, kind in kinds.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", column):
            raise ConfigError(
                f"{path}: column {column!r}: use lower-case letters, digits and underscore: `... as name`"
            )
        if not KINDS.match(kind):
            raise ConfigError(
                f"{path}: column {column!r} is {kind}, which a profile cannot hold; cast it: `...::bigint as {column}` "
                "for a count or a sum of whole numbers, else double, varchar, date or boolean"
            )
    return kinds


# ---- YAML --------------------------------------------------------------------------------------------------------


def _properties(path: Path, columns: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what the YAML beside a feature file says of it, checked against the columns of its SQL."""
    files = [file for file in (path.with_suffix(".yml"), path.with_suffix(".yaml")) if file.is_file()]
    if not files:
        return {}
    loaded = read_yaml(files[0])
    models = loaded.get("models") if isinstance(loaded, dict) else None
    if not isinstance(models, list) or [m.get("name") if isinstance(m, dict) else m for m in models] != [path.stem]:
        raise ConfigError(f"{files[0]}: expected `models:` with one entry, `name: {path.stem}`, in dbt's format")
    for key in models[0]:
        if key not in PROPERTIES:
            raise ConfigError(f"{files[0]}: {key}: a feature has no such property; there are {', '.join(PROPERTIES)}")
    for column in models[0].get("columns") or ():
        name = column.get("name") if isinstance(column, dict) else column
        if name == "user_id":
            continue
        if name not in columns:
            raise ConfigError(
                f"{files[0]}: column {name!r}: {path.name} gives no such column{did_you_mean(str(name), columns)}; "
                f"it gives {', '.join(columns)}"
            )
        kind = str(column.get("data_type", columns[name]))
        if kind.upper() != columns[name]:
            raise ConfigError(
                f"{files[0]}: column {name!r}: data_type {kind} is promised, {path.name} gives {columns[name]}; "
                f"cast it in the SQL, or promise {columns[name]}"
            )
    return models[0]
