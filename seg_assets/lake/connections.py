"""Open in-memory DuckDB connections with a shop's limits, which no other process sees.

Not here: dbt's connection, which dbt opens itself (`profiles`).
"""

import atexit
import contextlib
import os
import threading
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import duckdb

from seg_assets.core.sql import literal
from seg_assets.lake.scratch import SPILL, give_back, take, temporary

_SHARED: dict[tuple[object, ...], duckdb.DuckDBPyConnection] = {}
_SHARED_LOCK = threading.Lock()


@contextlib.contextmanager
def connect(
    threads: int, memory_limit: str, store: Any = None, *, private: bool = False
) -> Generator[duckdb.DuckDBPyConnection, None, None]:
    """Yield a connection to an in-memory database; what it spilled to disk is removed on leaving.

    Opening a database costs 30 ms of CPU, so the connections of a process share one. Temporary tables, variables and
    the time zone are a connection's own.

    Args:
        threads: DuckDB threads.
        memory_limit: DuckDB memory limit, for example `8GB`.
        store: file system of an object store that the connection reads.
        private: open another database, for a caller who changes its global settings.
    """
    if private:
        base, spill = _open(threads, memory_limit, store)
        try:
            yield base
        finally:
            base.close()
            give_back(spill)
        return
    con = _shared(threads, memory_limit, store).cursor()
    try:
        con.execute("set timezone = 'UTC'")
        yield con
    finally:
        con.close()


def _shared(threads: int, memory_limit: str, store: Any) -> duckdb.DuckDBPyConnection:
    # A forked process must not use its parent's database.
    key = (os.getpid(), threads, memory_limit, store.protocol if store is not None else "")
    with _SHARED_LOCK:
        if key not in _SHARED:
            _SHARED[key], spill = _open(threads, memory_limit, store)
            atexit.register(_close, key, spill)
        return _SHARED[key]


def _close(key: tuple[object, ...], spill: Path) -> None:
    """Close a shared database when the process ends; DuckDB's binding complains of a leak otherwise."""
    _SHARED.pop(key).close()
    give_back(spill)


def spill_folder() -> Path:
    """Return a folder of this process for what DuckDB spills, to be given back when its database is closed.

    Where it cannot be made (a full disk) it is left to DuckDB to say so, once it has something to spill.
    """
    try:
        return take(None, SPILL)
    except OSError:
        return temporary() / f"{SPILL}{uuid.uuid4().hex}"


def _open(threads: int, memory_limit: str, store: Any) -> tuple[duckdb.DuckDBPyConnection, Path]:
    con = duckdb.connect(":memory:")
    spill = spill_folder()
    con.execute(f"set threads = {int(threads)}")
    con.execute(f"set memory_limit = {literal(memory_limit)}")
    con.execute(f"set temp_directory = {literal(str(spill))}")
    con.execute("set timezone = 'UTC'")
    con.execute("set enable_progress_bar = false")
    if store is not None:
        con.register_filesystem(store)
    return con, spill
