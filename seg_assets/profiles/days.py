"""Compute and publish the days of a profile table from its SQL: what the dbt materialization `lake_day` calls.

The SQL speaks of one day. Before it runs, a temporary view of the connection is made for every input that the
catalog lists for the table, over exactly the days that it lists: what a day can read is what its footer says it
was built from, and nothing more. The first read of a footer comes before the data is read, so that an input
replaced in between makes the day stale, never silently fresh. Nothing here imports dbt or Dagster.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import duckdb

from seg_assets.catalog import TABLES, Input
from seg_assets.errors import ConfigError
from seg_assets.events.contract import RAW_EVENTS, RAW_PRODUCTS, RAW_USERS
from seg_assets.lake import Lake, Provenance, identifier, input_key, literal
from seg_assets.profiles.schema import model_docs

_RAW = {"raw_events": RAW_EVENTS, "raw_users": RAW_USERS, "raw_products": RAW_PRODUCTS}
_DAY = {"day": "DATE"}


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
        self, con: duckdb.DuckDBPyConnection, table: str, day: dt.date, windows: "Windows | None" = None
    ) -> dict[str, str]:
        """Make the day's inputs readable on `con`; returns their digests, read before the data.

        `windows` keeps trailing windows from one day of a range to the next.

        Raises:
            MissingDaysError: naming the days, when an input was never materialized.
        """
        inputs = {}
        for source in TABLES[table].inputs:
            inputs[input_key(source)] = self.lake.input_digest(source, table, day)
            days = self.lake.input_days(source, day)
            rows = windows.rows_of(source.table, days) if windows and source.window == "trailing" else ""
            rows = rows or self.rows_of(source.table, days)
            con.execute(f"create or replace temp view {identifier(view_name(source))} as {rows}")
        con.execute(f"set variable as_of = date {literal(day.isoformat())}")
        con.execute(f"set variable day_number = {(day - self.lake.start_day).days}")
        return inputs

    def build(self, con: duckdb.DuckDBPyConnection, table: str, days: list[dt.date], sql: str) -> Iterator[Provenance]:
        """Compute the days of `table` by `sql`, oldest first, and publish each, whole or not at all."""
        windows = Windows(self, con) if len(days) > 1 else None
        try:
            for day in days:
                inputs = self.open_day(con, table, day, windows)
                try:
                    published = self.lake.publish(con, table, day, sql, inputs=inputs)
                except duckdb.Error:
                    self.blame(table, day)
                    raise
                yield published
        finally:
            for source in TABLES[table].inputs:
                con.execute(f"drop view if exists temp.{identifier(view_name(source))}")
            if windows:
                windows.close()

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
        """Views without rows for what a chain reads of the day before: dbt's unit tests take column types from them."""
        for table in self.schemas:
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
