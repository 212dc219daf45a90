"""The Dagster instance of the command line: found or made, always with telemetry off."""

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
from seg_assets.core.settings import PACKAGE, Settings
from seg_assets.orchestration.old_homes import renew_config


def instance_folder(settings: Settings) -> Path:
    """`DAGSTER_HOME` when it is set, else `<home>/dagster`."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).expanduser().resolve() if named else settings.home / "dagster"


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
            shutil.copyfile(_template(), config)
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
    """The instance of a prepared folder. Its dagster.yaml reads `DAGSTER_HOME`: that is the folder while it is read.

    Raises:
        InstanceError: its dagster.yaml or its storage cannot be read or written, also while it is in use.
    """
    try:
        with _from_config(folder) as instance:
            yield instance
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise InstanceError(_storage_told(folder, error)) from error


def _from_config(folder: Path) -> dg.DagsterInstance:
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(folder)
    try:
        renew_config(folder / "dagster.yaml", _template())
        return dg.DagsterInstance.from_config(str(folder))
    except (yaml.YAMLError, dg.DagsterError, OSError) as error:
        told = " ".join(str(error).split())
        raise InstanceError(
            f"{folder / 'dagster.yaml'}: cannot be used ({told[:300]}); mend it, or remove it: "
            "seg-assets replay then writes its own"
        ) from error
    finally:
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before


def _template() -> Path:
    """Return the `dagster.yaml` of a new home: beside the package in a checkout, inside it in a wheel."""
    beside = PACKAGE.parent / "deploy" / "dagster.yaml"
    return beside if beside.exists() else PACKAGE / "_deploy" / "dagster.yaml"


def _storage_told(folder: Path, error: Exception) -> str:
    """What is wrong with the storage, the file where it is one, and the remedy."""
    told = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    files = sorted(folder.rglob("*.db"))
    locked = [path for path in files if "locked" in _trial(path, "begin immediate")]
    if "locked" in told:
        where = locked[0] if locked else folder
        return (
            f"{where}: Dagster's storage is in use by another process ({told}); wait for it or stop it, then try again"
        )
    damaged = [path for path in files if path not in locked and _trial(path, "pragma quick_check(1)") != "ok"]
    if damaged:
        more = f" and {len(damaged) - 1} more files" if len(damaged) > 1 else ""
        return (
            f"{damaged[0]}{more}: Dagster's storage is damaged ({told}); stop what uses it and remove it: "
            f"find {shlex.quote(str(folder))} -name '*.db*' -delete. The history of runs goes with it, the "
            "lake stays"
        )
    return (
        f"{folder}: Dagster's storage cannot be used ({told}); look at the storage that {folder / 'dagster.yaml'} names"
    )


def _trial(path: Path, statement: str) -> str:
    """The first word of SQLite's answer, or its error."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as connection:
            row = connection.execute(statement).fetchone()
    except sqlite3.Error as error:
        return str(error)
    return str(row[0]) if row else ""
