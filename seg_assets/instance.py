"""The Dagster instance of the command line: found or made, always with telemetry off."""

import os
import shutil
from pathlib import Path

import dagster as dg

from seg_assets.errors import ConfigError
from seg_assets.settings import PACKAGE, Settings


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
            beside = PACKAGE.parent / "deploy" / "dagster.yaml"
            shutil.copyfile(beside if beside.exists() else PACKAGE / "_deploy" / "dagster.yaml", config)
    except OSError as error:
        raise ConfigError(
            f"home = {settings.home}: the Dagster instance {folder} cannot be made: {error}; "
            "set SEG_ASSETS_HOME (or DAGSTER_HOME) to a folder that can be written"
        ) from None
    os.environ["DAGSTER_HOME"] = str(folder)
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
    return folder


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of a prepared folder. Its dagster.yaml reads `DAGSTER_HOME`: that is the folder while it is read."""
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(folder)
    try:
        return dg.DagsterInstance.from_config(str(folder))
    finally:
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before
