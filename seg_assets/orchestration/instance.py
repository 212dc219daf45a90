"""Open the Dagster instance of a shop, made with our `dagster.yaml` (telemetry off) where there is none yet.

Dagster makes its storage wherever an instance is opened, and two processes that do so at once leave half a storage. So
an instance is made and opened under a lock, and a new one in a scratch folder, from which whole parts are renamed into
place.

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
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from seg_assets.core.errors import ConfigError, InstanceError, SegAssetsError
from seg_assets.core.settings import Settings, packed_or_beside
from seg_assets.lake.files import locked
from seg_assets.lake.scratch import OWNER, scratch
from seg_assets.orchestration.old_homes import renew_config

LOCK = ".lock"
# More than one page of SQLite and its header.
JOURNAL_BYTES = 64 * 1024


def instance_folder(settings: Settings) -> Path:
    """Return `DAGSTER_HOME` when it is set, else `<home>/dagster`."""
    variable = os.environ.get("DAGSTER_HOME")
    return Path(variable).expanduser().resolve() if variable else settings.home / "dagster"


def prepare_instance(settings: Settings) -> Path:
    """Make the instance folder with our `dagster.yaml` and a storage when it has none; return the folder.

    Raises:
        ConfigError: when the folder cannot be made or written.
        InstanceError: see `open_instance`.
    """
    folder = instance_folder(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK):
            if not (folder / "dagster.yaml").exists():
                _make(folder)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise InstanceError(_describe_storage_error(folder, error)) from error
    except OSError as error:
        raise ConfigError(
            f"home = {settings.home}: the Dagster instance {folder} cannot be made: {error}; "
            "make room, or set SEG_ASSETS_HOME (or DAGSTER_HOME) to a folder that can be written"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
    return folder


def _make(folder: Path) -> None:
    """Put what an instance lacks in its folder, each part of it made whole; its dagster.yaml last."""
    with scratch(folder) as fresh:
        shutil.copyfile(packed_or_beside("deploy") / "dagster.yaml", fresh / "dagster.yaml")
        with _from_config(fresh):
            pass
        parts = {path.name for path in fresh.iterdir()} - {OWNER}
        for name in sorted(parts, key=lambda name: (name == "dagster.yaml", name)):
            if not (folder / name).exists():
                (fresh / name).rename(folder / name)


@contextlib.contextmanager
def open_instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a prepared folder. While its dagster.yaml is read, `DAGSTER_HOME` is that folder.

    Raises:
        InstanceError: its dagster.yaml or its storage cannot be read or written, now or while the instance is open.
    """
    try:
        with locked(folder / LOCK):
            instance = _from_config(folder)
        with instance:
            yield instance
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise InstanceError(_describe_storage_error(folder, error)) from error


def _from_config(folder: Path) -> dg.DagsterInstance:
    config = folder / "dagster.yaml"
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(folder)
    try:
        renew_config(config, packed_or_beside("deploy") / "dagster.yaml")
        _check_path(folder, yaml.safe_load(config.read_text(encoding="utf-8")))
        return dg.DagsterInstance.from_config(str(folder))
    except (SQLAlchemyError, sqlite3.Error, SegAssetsError):
        raise
    except Exception as error:
        # Whatever a damaged file leads Dagster to: it imports the classes that the file names.
        raise InstanceError(
            f"{config}: cannot be used ({_one_line(error)}); mend it, or remove it: "
            "seg-assets replay then writes its own"
        ) from error
    finally:
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before


def _check_path(folder: Path, config: object) -> None:
    """Refuse a dagster.yaml that says nothing, and a path that is another one in the URL of a SQLite file.

    Raises:
        ValueError: there are no settings in the file.
        ConfigError: the path holds a question mark, or a percent sign and two digits.
    """
    if not isinstance(config, dict) or not config:
        raise ValueError("it holds no settings")
    read = make_url(f"sqlite:///{folder}").database
    if read != str(folder) and not {"postgres", "mysql"} & set(config.get("storage") or ()):
        raise ConfigError(
            f"home: Dagster's SQLite storage would take the path {folder} for {read}; rename the folder, or set "
            "SEG_ASSETS_HOME (or DAGSTER_HOME) to a path without a question mark, and without a percent sign before "
            "two digits"
        )


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


def _describe_storage_error(folder: Path, error: Exception) -> str:
    """Say what is wrong with the storage, which file where it is one, and the remedy."""
    problem = _one_line(getattr(error, "orig", None) or error)
    files = sorted(folder.rglob("*.db"))
    locked_files = [path for path in files if "locked" in _ask_sqlite(path, "begin immediate")[1]]
    if "locked" in problem:
        where = locked_files[0] if locked_files else folder
        return (
            f"{where}: Dagster's storage is in use by another process ({problem}); wait for it or stop it, then try "
            "again"
        )
    # Before any file is called damaged: without room SQLite fails on good ones too.
    unwritten = _try_to_write(folder)
    if unwritten:
        return f"{folder}: Dagster's storage cannot be written ({unwritten}); make room there or mend its permissions"
    damaged = [path for path in files if path not in locked_files and _is_damaged(path)]
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


def _try_to_write(folder: Path) -> str:
    """Return why nothing can be written in a folder, '' when it can: as much as SQLite needs for a journal."""
    try:
        with scratch(folder) as place:
            (place / "journal").write_bytes(bytes(JOURNAL_BYTES))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_damaged(path: Path) -> bool:
    """Return whether SQLite says of a file itself, and not of what lies around it, that it is no good."""
    code, said = _ask_sqlite(path, "pragma quick_check(1)")
    return said != "ok" if code is None else code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _ask_sqlite(path: Path, statement: str) -> tuple[int | None, str]:
    """Run a statement on a SQLite file; return None and the first value of the answer as text, or the error."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as connection:
            row = connection.execute(statement).fetchone()
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error)
    return None, str(row[0]) if row else ""
