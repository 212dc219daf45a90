"""Open the Dagster instance of a shop, made with our `dagster.yaml` (telemetry off) where there is none yet.

Not here: what `dagster.yaml` says (`deploy/dagster.yaml`), the storage that it may name (`seams.dagster_storage`).
"""

import contextlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import yaml
from sqlalchemy.exc import SQLAlchemyError

from seg_assets.core.errors import ConfigError, InstanceError
from seg_assets.core.settings import Settings, packed_or_beside
from seg_assets.orchestration.old_homes import renew_config


def instance_folder(settings: Settings) -> Path:
    """Return `DAGSTER_HOME` when it is set, else `<home>/dagster`."""
    variable = os.environ.get("DAGSTER_HOME")
    return Path(variable).expanduser().resolve() if variable else settings.home / "dagster"


def prepare_instance(settings: Settings) -> Path:
    """Make the instance folder with our `dagster.yaml` when it has none, create its storage, return the folder.

    Several runs that start at once on a fresh SQLite home break its creation, so it is created here, once.

    Raises:
        ConfigError: when the folder cannot be made or written.
    """
    folder = instance_folder(settings)
    config = folder / "dagster.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not config.exists():
            shutil.copyfile(packed_or_beside("deploy") / "dagster.yaml", config)
    except OSError as error:
        raise ConfigError(
            f"home = {settings.home}: the Dagster instance {folder} cannot be made: {error}; "
            "set SEG_ASSETS_HOME (or DAGSTER_HOME) to a folder that can be written"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
    return folder


@contextlib.contextmanager
def open_instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a prepared folder. While its dagster.yaml is read, `DAGSTER_HOME` is that folder.

    Raises:
        InstanceError: its dagster.yaml or its storage cannot be read or written, now or while the instance is open.
    """
    try:
        with _from_config(folder) as instance:
            yield instance
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise InstanceError(_describe_storage_error(folder, error)) from error


def _from_config(folder: Path) -> dg.DagsterInstance:
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(folder)
    try:
        renew_config(folder / "dagster.yaml", packed_or_beside("deploy") / "dagster.yaml")
        return dg.DagsterInstance.from_config(str(folder))
    except (yaml.YAMLError, dg.DagsterError, OSError) as error:
        raise InstanceError(
            f"{folder / 'dagster.yaml'}: cannot be used ({_one_line(error)}); mend it, or remove it: "
            "seg-assets replay then writes its own"
        ) from error
    finally:
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


def _describe_storage_error(folder: Path, error: Exception) -> str:
    """Say what is wrong with the storage, which file where it is one, and the remedy."""
    problem = _one_line(getattr(error, "orig", None) or error)
    files = sorted(folder.rglob("*.db"))
    locked = [path for path in files if "locked" in _ask_sqlite(path, "begin immediate")]
    if "locked" in problem:
        where = locked[0] if locked else folder
        return (
            f"{where}: Dagster's storage is in use by another process ({problem}); wait for it or stop it, then try "
            "again"
        )
    damaged = [path for path in files if path not in locked and _ask_sqlite(path, "pragma quick_check(1)") != "ok"]
    if damaged:
        more = f" and {len(damaged) - 1} more files" if len(damaged) > 1 else ""
        return (
            f"{damaged[0]}{more}: Dagster's storage is damaged ({problem}); stop what uses it and remove it: "
            f"find {shlex.quote(str(folder))} -name '*.db*' -delete. The history of runs goes with it, the "
            "lake stays"
        )
    return (
        f"{folder}: Dagster's storage cannot be used ({problem}); look at the storage that {folder / 'dagster.yaml'} "
        "names"
    )


def _ask_sqlite(path: Path, statement: str) -> str:
    """Run a statement on a SQLite file; return the first value of the answer as text, or the error."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as connection:
            row = connection.execute(statement).fetchone()
    except sqlite3.Error as error:
        return str(error)
    return str(row[0]) if row else ""
