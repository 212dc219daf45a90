"""For every test: no stray settings file is read, and the summary is the last thing a run prints."""

import os
import sys

import pytest

# No test reads a settings.yaml that lies in the working folder by chance; tests of that take the variable away.
os.environ["SEG_ASSETS_SETTINGS"] = ""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave as the command line does: a normal exit prints pages on what DuckDB's binding still holds (duckdb 2.0)."""
    if hasattr(config, "workerinput") or _STATUS not in config.stash:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash[_STATUS])


_STATUS = pytest.StashKey[int]()
