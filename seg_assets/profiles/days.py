"""Compute and publish the days of a profile table from its SQL: what the dbt materialization `lake_day` calls.

The SQL speaks of one day. Before it runs, a temporary view of the connection is made for every input that the
catalog lists for the table, over exactly the days that it lists: what a day can read is what its footer says it
was built from, and nothing more. The first read of a footer comes before the data is read, so that an input
replaced in between makes the day stale, never silently fresh. Nothing here imports dbt or Dagster.

A day of profiles differs from the day before for few users: 26 of 476 thousand, in the bench's shop. Where the catalog
gives a table's `edges`, and the footers say that yesterday's rows are what its inputs of now give (`carries`), the
model takes over yesterday's rows of everybody else. The result is the same function of the same inputs, so yesterday
is no input.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import duckdb

from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, DamagedFileError, MissingDaysError
from seg_assets.core.sql import identifier, literal
from seg_assets.core.table_spec import Input
from seg_assets.core.tables import TABLES
from seg_assets.events.contract import RAW_EVENTS, RAW_PRODUCTS, RAW_USERS
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.profiles.schema import model_docs

_RAW = {"raw_events": RAW_EVENTS, "raw_users": RAW_USERS, "raw_products": RAW_PRODUCTS}
_DAY = {"day": "DATE"}
ONE_DAY = dt.timedelta(days=1)


# The window that a column's name ends with, in days.
_WINDOW = re.compile(r"_(\d+)d$")
# In a footer's `extra`: digest of the SQL that made the rows.
SQL_KEY = "sql"
EDGES = "carry_edge_actors"
# Rows of a day's inputs up to which one thread computes it: at 30,000 it takes a tenth less CPU and no more time. The
# limit is a guess on the safe side, not the point where a second thread begins to save time.
ONE_THREAD_ROWS = 200_000


def carried_name(table: str) -> str:
    """Name by which a model's SQL reads what its table takes over from yesterday."""
    return f"carry_{table}"


def view_name(source: Input) -> str:
    """Name by which a model's SQL reads an input."""
    return f"yesterday_{source.table}" if source.window == "yesterday" else source.table


class DayBuilder:
    """Builds days of the profile tables on connections given to it.

    Args:
        lake: where the days are read and published.
        project: the dbt project, whose YAML gives the columns of the tables.
    """

    def __init__(self, lake: Lake, project: Path) -> None:
        self.lake = lake
        self.project = project

    @cached_property
    def schemas(self) -> Mapping[str, Mapping[str, str]]:
        """Column types of every table that a profile model reads or writes."""
        docs = model_docs(self.project)
        return {**_RAW, **{name: doc.types for name, doc in docs.items() if name in TABLES}}

    def empty(self, table: str) -> str:
        """SQL of a table without rows, with the table's columns and `day`."""
        columns = {**self.schemas[table], **_DAY}
        return "select " + ", ".join(f"null::{k} as {identifier(c)}" for c, k in columns.items()) + " where false"

    def rows_of(self, table: str, days: list[dt.date]) -> str:
        """SQL of a table over published days; without rows when there is no day."""
        return f"select * from {self.lake.scan(table, days)}" if days else self.empty(table)

    def open_day(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        day: dt.date,
        windows: "Windows | None" = None,
        made_by: str = "",
    ) -> dict[str, str]:
        """Make the day's inputs readable on `con`; returns their digests, read before the data.

        `windows` keeps trailing windows from one day of a range to the next; `made_by` is the digest of the model's
        SQL.

        Raises:
            MissingDaysError: naming the days, when an input was never materialized.
        """
        inputs = {}
        for source in TABLES[table].inputs:
            inputs[source.key] = self.lake.input_digest(source, table, day)
            days = self.lake.input_days(source, day)
            rows = windows.rows_of(source.table, days) if windows and source.window == "trailing" else ""
            rows = rows or self.rows_of(source.table, days)
            con.execute(f"create or replace temp view {identifier(view_name(source))} as {rows}")
        if TABLES[table].edges:
            self.open_carry(con, table, day, made_by)
        con.execute(f"set variable as_of = date {literal(day.isoformat())}")
        con.execute(f"set variable day_number = {(day - self.lake.start_day).days}")
        return inputs

    def open_carry(self, con: duckdb.DuckDBPyConnection, table: str, day: dt.date, made_by: str) -> None:
        """Make readable what the day takes over from the day before: all of its rows and few edges, or nothing."""
        before = day - ONE_DAY
        if self.carries(table, day, made_by):
            scans = [
                f"select actor_id from {self.lake.scan(source, days)}"
                for source, days in self._edge_days(table, day).items()
            ]
            edges, rows = " union all ".join(scans), f"select * exclude (day) from {self.lake.scan(table, [before])}"
        else:
            edges = f"select distinct actor_id from {identifier(view_name(TABLES[table].inputs[0]))}"
            rows = f"select * exclude (day) from ({self.empty(table)})"
        con.execute(f"create or replace temp view {identifier(EDGES)} as {edges}")
        con.execute(f"create or replace temp view {identifier(carried_name(table))} as {rows}")

    def carries(self, table: str, day: dt.date, made_by: str) -> bool:
        """Whether yesterday's rows are what this SQL makes of the inputs as they are now, so that rows can be kept.

        Yesterday must be made from the versions of its inputs that are there; tables that the day reads and that are
        chained from day to day must rest on the version of yesterday that is there. A yesterday that cannot be read
        is no reason to fail: the day is then computed from its inputs alone.
        """
        before = day - ONE_DAY
        if before < self.lake.start_day or not self._edges_cover(table):
            return False
        try:
            found = self.lake.provenance(table, before)
            if found is None or found.extra.get(SQL_KEY) != made_by or not self._fresh(table, before):
                return False
            chained = [i.table for i in TABLES[table].inputs if i.window == "day" and i.table not in _RAW]
            if not all(self._fresh(name, day) for name in chained):
                return False
            if not all(self._fresh(name, before) for name in chained if TABLES[name].edges):
                return False
            for name, days in {table: [before], **self._edge_days(table, day)}.items():
                for read in days:
                    self.lake.check(name, read)
            if self.lake.remote:
                # No checksum is looked at there, and a wrong row would be handed on from day to day.
                self.lake.verify(table, before)
        except (MissingDaysError, DamagedFileError):
            return False
        return True

    def _edge_days(self, table: str, day: dt.date) -> dict[str, list[dt.date]]:
        """Tables of activity, and their days that entered or left a window since yesterday."""
        return {
            source: [d for age in ages if (d := day - age * ONE_DAY) >= self.lake.start_day]
            for source, ages in TABLES[table].edges.items()
        }

    def _edges_cover(self, table: str) -> bool:
        """Whether the catalog has an edge for every window that the table's columns name (`views_28d`)."""
        named = {int(n) for column in self.schemas[table] for n in _WINDOW.findall(column)}
        return named <= {age for ages in TABLES[table].edges.values() for age in ages}

    def _fresh(self, table: str, day: dt.date) -> bool:
        """Whether a day was made by this code from its inputs as they are now."""
        found = self.lake.provenance(table, day)
        if found is None or found.code_version != TABLES[table].code_version:
            return False
        return all(found.inputs.get(key) == now for key, now in self.lake.inputs_of(table, day).items())

    def build(self, con: duckdb.DuckDBPyConnection, table: str, days: list[dt.date], sql: str) -> Iterator[Provenance]:
        """Compute the days of `table` by `sql`, oldest first, and publish each, whole or not at all."""
        windows = Windows(self, con) if len(days) > 1 else None
        extra = {SQL_KEY: digest(sql)} if TABLES[table].edges else {}
        one_thread = bool(days) and self.rows_read(table, days[0]) <= ONE_THREAD_ROWS
        con.execute(f"set threads = {1 if one_thread else self.lake.threads}")
        try:
            for day in days:
                inputs = self.open_day(con, table, day, windows, extra.get(SQL_KEY, ""))
                try:
                    published = self.lake.publish(con, table, day, sql, inputs=inputs, extra=extra)
                except duckdb.Error:
                    self.blame(table, day)
                    raise
                yield published
        finally:
            made = [view_name(source) for source in TABLES[table].inputs]
            for name in [*made, EDGES, carried_name(table)]:
                con.execute(f"drop view if exists temp.{identifier(name)}")
            if windows:
                windows.close()
            con.execute(f"set threads = {self.lake.threads}")

    def rows_read(self, table: str, day: dt.date) -> int:
        """Rows of those of the day's inputs that are there."""
        read = ((s.table, d) for s in TABLES[table].inputs for d in self.lake.input_days(s, day))
        return sum(found.rows for name, d in read if (found := self.lake.provenance(name, d)))

    def blame(self, table: str, day: dt.date) -> None:
        """Raise DamagedFileError, naming the file, when an input of the day does not hold what its footer says."""
        for source in TABLES[table].inputs:
            for read in self.lake.input_days(source, day):
                self.lake.verify(source.table, read)

    def show(self, con: duckdb.DuckDBPyConnection, table: str, days: list[dt.date]) -> None:
        """Make the asked days of a table readable by name on every connection of the database, for tests."""
        here = [d for d in days if self.lake.has(table, d)]
        con.execute(f"create or replace view main.{identifier(table)} as {self.rows_of(table, here)}")

    def show_empty_yesterdays(self, con: duckdb.DuckDBPyConnection) -> None:
        """Views without rows for what a model reads of the day before: dbt's unit tests take column types from them."""
        con.execute(f"create view main.{identifier(EDGES)} as select ''::varchar as actor_id where false")
        for table in self.schemas:
            if table not in _RAW and TABLES[table].edges:
                rows = f"select * exclude (day) from ({self.empty(table)})"
                con.execute(f"create view main.{identifier(carried_name(table))} as {rows}")
            for source in TABLES[table].inputs if table not in _RAW else ():
                if source.window == "yesterday":
                    con.execute(f"create view main.{identifier(view_name(source))} as {self.empty(source.table)}")


class Windows:
    """Trailing windows kept in memory while a range of days is built: each day reads one new file, not 90.

    Opening 90 small files costs 0.1 CPU seconds a day, half of all that a day of a small shop costs. A window of
    more than MOST_ROWS rows is left in its files: reading those is then cheap beside computing.
    """

    # 45 columns of 8 bytes: 0.4 GB.
    MOST_ROWS = 1_000_000

    def __init__(self, builder: DayBuilder, con: duckdb.DuckDBPyConnection) -> None:
        self.builder = builder
        self.con = con
        self.loaded: dict[str, dict[dt.date, str]] = {}

    def rows_of(self, table: str, days: list[dt.date]) -> str:
        """SQL of a table over these days from memory; empty text when it is too large for that."""
        lake = self.builder.lake
        found = {d: p for d in days if (p := lake.provenance(table, d))}
        if not days or sum(p.rows for p in found.values()) > self.MOST_ROWS:
            return ""
        name = identifier(f"window_{table}")
        if table not in self.loaded:
            self.con.execute(f"create or replace temp table {name} as {self.builder.empty(table)}")
            self.loaded[table] = {}
        loaded = self.loaded[table]
        old = [d for d, content in loaded.items() if d not in found or found[d].content_hash != content]
        for day in old:
            self.con.execute(f"delete from {name} where day = date {literal(day.isoformat())}")
            del loaded[day]
        new = [d for d in days if d not in loaded]
        if new:
            self.con.execute(f"insert into {name} by name select * from {lake.scan(table, new)}")
            loaded.update({d: found[d].content_hash for d in new})
        return f"select * from {name}"

    def close(self) -> None:
        """Free the memory."""
        for table in self.loaded:
            self.con.execute(f"drop table if exists {identifier(f'window_{table}')}")
        self.loaded.clear()


def check_days(days: list[dt.date], lake: Lake) -> list[dt.date]:
    """The days oldest first, or ConfigError when there is none or one lies before the calendar."""
    if not days:
        raise ConfigError("no day was asked: give --vars '{start_date: YYYY-MM-DD, end_date: YYYY-MM-DD}' to dbt")
    if min(days) < lake.start_day:
        raise ConfigError(f"day = {min(days)}: before the calendar, which starts on {lake.start_day}")
    return sorted(days)
