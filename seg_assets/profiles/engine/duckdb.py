"""Compute days of the profile tables in DuckDB: the engine in use, and the views that dbt's tests read.

Not here: which days are computed and what each of them reads (`engine.days`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from seg_assets.core.errors import ConfigError
from seg_assets.core.sql import identifier, literal
from seg_assets.core.tables import TABLES
from seg_assets.lake import content_hash
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.profiles.engine.base import EDGES, DayInputs, Days, Engine, Measured, carried_name, view_name
from seg_assets.profiles.schema import Schemas

# Rows of a day's inputs up to which one thread computes it: at 30,000 it takes a tenth less CPU and no more time. The
# limit is a guess on the safe side, not the point where a second thread begins to save time.
ONE_THREAD_ROWS = 200_000
# Rows up to which a trailing window stays in memory: 45 columns of 8 bytes are 0.4 GB. Reading the files of a larger
# one is cheap beside computing.
MOST_WINDOW_ROWS = 1_000_000

_STAGED, _PLAIN = "seg_staged", "seg_plain"


class DuckDBEngine(Engine[str]):
    """Computes days on a DuckDB connection, whose temporary views and variables it sets. Staged rows are its table.

    Args:
        con: the connection; the number of threads of its database is set too, and set back by `close`.
        lake: where the days are read and published.
        schemas: columns of every table that is read.
        keep_windows: whether trailing windows stay in memory for the next day of a range.
    """

    Error = duckdb.Error

    def __init__(
        self, con: duckdb.DuckDBPyConnection, lake: Lake, schemas: Schemas, *, keep_windows: bool = False
    ) -> None:
        self.con = con
        self.lake = lake
        self.schemas = schemas
        self._windows = Windows(con, lake, schemas) if keep_windows else None
        self._views: set[str] = set()
        self._tables: set[str] = set()
        self._threads_set = False

    def open_day(self, inputs: DayInputs) -> None:
        """See `Engine.open_day`."""
        if not self._threads_set:
            self._set_threads(inputs)
        for name, days in inputs.views.items():
            # In memory, a window's rows are not in order, which a feature may depend on.
            in_memory = self._windows and days.is_window and not inputs.features
            rows = self._windows.rows_of(days) if self._windows and in_memory else ""
            self._show(name, rows or rows_of(self.lake, self.schemas, days))
        if TABLES[inputs.table].edges:
            self._open_carry(inputs)
        self.con.execute(f"set variable as_of = date {literal(inputs.day.isoformat())}")
        self.con.execute(f"set variable day_number = {int(inputs.day_number)}")

    def stage(self, inputs: DayInputs, sql: str) -> str:
        """See `Engine.stage`."""
        key = ", ".join(identifier(c) for c in TABLES[inputs.table].key)
        self._lay_aside(_PLAIN if inputs.features else _STAGED, f"select * from ({sql}) order by {key}")
        if inputs.features:
            self._add_features(inputs)
        return _STAGED

    def _add_features(self, inputs: DayInputs) -> None:
        """Stage the plain rows with the columns of the shop's features."""
        day = f"date {literal(inputs.day.isoformat())}"
        self._show(inputs.table, f"select *, {day} as day from {_PLAIN}")
        owner: dict[str, str] = {}
        joins = []
        threads = self.con.execute("select current_setting('threads')").fetchone() or (self.lake.threads,)
        self.con.execute("set threads = 1")
        for n, feature in enumerate(inputs.features):
            rows = f"seg_feature_{n}"
            try:
                self._lay_aside(rows, feature.sql)
            except duckdb.Error as error:
                reason = str(error).split("\n\n")[0]
                raise ConfigError(f"{feature.path}: fails on {inputs.day}: {reason}; mend it, then re-run") from error
            twice = self.con.execute(
                f"select user_id, count(*) from {rows} where user_id is not null group by user_id having count(*) > 1 "
                "order by user_id limit 1"
            ).fetchone()
            if twice:
                raise ConfigError(
                    f"{feature.path}: gives user_id {twice[0]!r} {twice[1]} times on {inputs.day}; a profile is one "
                    "row per user: group by user_id"
                )
            owner |= dict.fromkeys(feature.columns, rows)
            joins.append(f"left join {rows} on {rows}.user_id = plain.user_id")
        self.con.execute(f"set threads = {int(threads[0])}")
        key = ", ".join(f"plain.{identifier(c)}" for c in TABLES[inputs.table].key)
        order = self.schemas.tables[inputs.table]
        columns = ", ".join(f"{owner.get(column, 'plain')}.{identifier(column)}" for column in order)
        self._lay_aside(_STAGED, f"select {columns} from {_PLAIN} as plain {' '.join(joins)} order by {key}")

    def _lay_aside(self, name: str, query: str) -> None:
        self.con.execute(f"create or replace temp table {name} as {query}")
        self._tables.add(name)

    def measure(self, staged: str) -> Measured:
        """See `Engine.measure`."""
        return Measured(*content_hash.content_of(self.con, staged))

    def publish(
        self,
        staged: str,
        measured: Measured,
        inputs: DayInputs,
        digests: Mapping[str, str],
        extra: Mapping[str, Any],
    ) -> Provenance:
        """See `Engine.publish`."""
        return self.lake.publish_table(
            self.con, staged, inputs.table, inputs.day, inputs=digests, extra=extra, measured=measured
        )

    def close(self) -> None:
        """See `Engine.close`."""
        for name in sorted(self._views):
            self.con.execute(f"drop view if exists temp.{identifier(name)}")
        for name in sorted(self._tables):
            self.con.execute(f"drop table if exists {name}")
        if self._windows:
            self._windows.close()
        self.con.execute(f"set threads = {self.lake.threads}")

    def _show(self, name: str, rows: str) -> None:
        self.con.execute(f"create or replace temp view {identifier(name)} as {rows}")
        self._views.add(name)

    def _open_carry(self, inputs: DayInputs) -> None:
        """Make readable what the day takes over from yesterday: few edges and all of its rows, or nothing."""
        table = inputs.table
        if inputs.edges:
            yesterday = inputs.day - dt.timedelta(days=1)
            scans = [f"select actor_id from {self.lake.scan(edge.table, edge.days)}" for edge in inputs.edges]
            edges, rows = " union all ".join(scans), self.lake.scan(table, [yesterday])
        else:
            edges = f"select distinct actor_id from {identifier(next(iter(inputs.views)))}"
            rows = f"({empty(self.schemas.carried[table])})"
        # The shop's columns are computed anew for everybody.
        columns = ", ".join(identifier(column) for column in self.schemas.carried[table])
        self._show(EDGES, edges)
        self._show(carried_name(table), f"select {columns} from {rows}")

    def _set_threads(self, inputs: DayInputs) -> None:
        read = ((days.table, day) for days in inputs.views.values() for day in days.days)
        rows = sum(p.rows for table, day in read if (p := self.lake.provenance(table, day)))
        self.con.execute(f"set threads = {1 if rows <= ONE_THREAD_ROWS else self.lake.threads}")
        self._threads_set = True


class Windows:
    """Trailing windows held in memory while a range of days is built: each day reads one new file, not 90.

    Opening 90 small files costs 0.1 CPU seconds a day, half of all that a day of a small shop costs.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, lake: Lake, schemas: Schemas) -> None:
        self.con = con
        self.lake = lake
        self.schemas = schemas
        # By table, the days in memory and the content hash of each.
        self.loaded: dict[str, dict[dt.date, str]] = {}

    def rows_of(self, window: Days) -> str:
        """Return SQL of a window over memory, brought up to date; empty text when there are too many rows for that."""
        published = {day: p for day in window.days if (p := self.lake.provenance(window.table, day))}
        if not window.days or sum(p.rows for p in published.values()) > MOST_WINDOW_ROWS:
            return ""
        name = identifier(f"window_{window.table}")
        if window.table not in self.loaded:
            columns = empty(self.schemas.tables[window.table])
            self.con.execute(f"create or replace temp table {name} as {columns}")
            self.loaded[window.table] = {}
        loaded = self.loaded[window.table]
        for day, content in list(loaded.items()):
            if day not in published or published[day].content_hash != content:
                self.con.execute(f"delete from {name} where day = date {literal(day.isoformat())}")
                del loaded[day]
        new = [day for day in window.days if day not in loaded]
        if new:
            self.con.execute(f"insert into {name} by name select * from {self.lake.scan(window.table, new)}")
            loaded.update({day: published[day].content_hash for day in new})
        return f"select * from {name}"

    def close(self) -> None:
        """Free the memory."""
        for table in self.loaded:
            self.con.execute(f"drop table if exists {identifier(f'window_{table}')}")
        self.loaded.clear()


def empty(columns: Mapping[str, str]) -> str:
    """Return SQL of a table without rows that has these columns and `day`."""
    typed = {**columns, "day": "DATE"}
    return "select " + ", ".join(f"null::{kind} as {identifier(name)}" for name, kind in typed.items()) + " where false"


def rows_of(lake: Lake, schemas: Schemas, days: Days) -> str:
    """Return SQL of published days of a table; of none, a table without rows."""
    return f"select * from {lake.scan(days.table, days.days)}" if days.days else empty(schemas.tables[days.table])


def show(
    con: duckdb.DuckDBPyConnection, lake: Lake, schemas: Schemas, table: str, days: Sequence[dt.date] = ()
) -> None:
    """Make those of the days that are published readable by the table's name on every connection of the database."""
    published = Days(table, [day for day in days if lake.has(table, day)])
    con.execute(f"create or replace view main.{identifier(table)} as {rows_of(lake, schemas, published)}")


def show_empty(con: duckdb.DuckDBPyConnection, lake: Lake, schemas: Schemas) -> None:
    """Make every name that a model's SQL reads a view without rows.

    dbt takes the types of columns from these views, for contracts and for unit tests.
    """
    con.execute(f"create or replace view main.{identifier(EDGES)} as select ''::varchar as actor_id where false")
    for table in schemas.tables:
        show(con, lake, schemas, table)
        for source in TABLES[table].inputs if TABLES[table].room == "profiles" else ():
            if source.window == "yesterday":
                name, rows = view_name(source), empty(schemas.tables[source.table])
                con.execute(f"create or replace view main.{identifier(name)} as {rows}")
    for table, columns in schemas.carried.items():
        rows = f"select * exclude (day) from ({empty(columns)})"
        con.execute(f"create or replace view main.{identifier(carried_name(table))} as {rows}")
