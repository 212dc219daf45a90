"""Leave the connections of Dagster's SQLite event log open; a home opts in by its `dagster.yaml` (deploy/dagster.yaml).

Dagster makes an engine, a connection and an inspection of tables for each of the two to four writes of every event, and
a day of all rooms is 55 events. Events that come together, those of a table for the days of a range, are one
transaction of each file instead of two to four each: 30 days in one run had 4,263 transactions. The files are
Dagster's own, in the same places, so that a home may be opened either way.

Private names of the pinned Dagster: three modules of `dagster._core.storage`, and the methods `_connect`, `_initdb`,
`_has_asset_key_index_cols_on_connection` and attributes `_db_lock`, `_initialized_dbs`, `_event_log_storage` of its
classes. The plain way is Dagster's own class: no `storage` in dagster.yaml, or the seam `dagster_storage` switched off.

Not here: a `dagster.yaml` that names an older place of this module (`orchestration.old_homes`).
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dagster import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection, Engine

from seg_assets.seams.switches import is_on

# Databases kept open: the index that all runs share, and the runs written to last. One file each.
MOST_OPEN = 8
# Events of one transaction: other processes wait until it is over, 3 ms an event. Also the size of the batches that
# Dagster gathers, which are off unless its own variable says a size (dagster/_core/instance/utils.py).
AT_ONCE = 100
_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
# Engines inherited through fork. Closing them would drop the parent's SQLite locks.
_of_parents: list[Any] = []


class KeptEventLogStorage(SqliteEventLogStorage):
    """The event log of a home; writes and reads go one at a time, as they do in Dagster's own class."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        # By shard, each engine with the device and inode of the file that it opened.
        self._open: OrderedDict[str, tuple[Engine, tuple[int, int] | None]] = OrderedDict()
        self._process = os.getpid()
        self._tables: set[str] = set()
        self._has_columns = False
        # Transactions under way, by shard, and what ends them; both of the thread that holds the lock.
        self._held: dict[str, Connection] = {}
        self._until: ExitStack | None = None
        super().__init__(base_dir, inst_data)
        # The thread that holds it may take it again.
        self._db_lock = threading.RLock()

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            if shard in self._held:
                yield self._held[shard]
            elif self._until:
                self._held[shard] = self._until.enter_context(self._engine(shard).begin())
                yield self._held[shard]
            else:
                with self._engine(shard).begin() as connection:
                    yield connection

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Write all that this thread stores meanwhile in one transaction of each file: all of it or nothing."""
        with self._db_lock:
            if self._until:
                yield
                return
            try:
                with ExitStack() as self._until:
                    yield
            finally:
                self._until = None
                self._held.clear()

    def store_event(self, event: EventLogEntry) -> None:
        """Write one event, and what the index of all runs says of it."""
        with self.at_once():
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Write events that came together."""
        for start in range(0, len(events), AT_ONCE):
            with self.at_once():
                for event in events[start : start + AT_ONCE]:
                    super().store_event(event)

    def _engine(self, shard: str) -> Engine:
        if self._process != os.getpid():
            _of_parents.append(self._open)
            self._open, self._process = OrderedDict(), os.getpid()
        if shard in self._open and self._open[shard][1] != self._file(shard):
            # Wiped, perhaps by another process: a write to an unlinked file would be lost.
            self._close(shard)
            self._initialized_dbs.discard(shard)
        if shard not in self._open:
            engine = create_engine(
                self.conn_string_for_shard(shard), pool_size=1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            )
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._open[shard] = engine, self._file(shard)
            if len(self._open) > MOST_OPEN:
                self._close(next(iter(self._open)))
        self._open.move_to_end(shard)
        return self._open[shard][0]

    def _file(self, shard: str) -> tuple[int, int] | None:
        """Return device and inode of the file that lies where the database belongs."""
        try:
            status = Path(self.path_for_shard(shard)).stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _close(self, shard: str) -> None:
        self._open.pop(shard)[0].dispose()

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; one that was there once stays there."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        # Asked anew for each event by Dagster; a column that is there stays there too.
        if not self._has_columns:
            self._has_columns = super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_columns

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()
        if self._process != os.getpid():
            return
        with self._db_lock:
            for shard in list(self._open):
                self._close(shard)


class KeptSqliteStorage(DagsterSqliteStorage):
    """Dagster's storage of runs, events and schedules under one folder."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        os.environ.setdefault(_BATCH_SIZE, str(AT_ONCE))
        self._event_log_storage = KeptEventLogStorage(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> DagsterSqliteStorage:
        """Return the storage that `storage.config` of dagster.yaml describes; Dagster's own when the seam is off."""
        return (cls if is_on("dagster_storage") else DagsterSqliteStorage)(inst_data=inst_data, **config_value)
