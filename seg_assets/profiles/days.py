"""Compute and publish the days of a profile table from its SQL: what the dbt materialization `lake_day` calls.

The SQL speaks of one day. Before it runs, a temporary view of the connection is made for every input that the
catalog lists for the table, over exactly the days that it lists: what a day can read is what its footer says it
was built from, and nothing more. The first read of a footer comes before the data is read, so that an input
replaced in between makes the day stale, never silently fresh. Nothing here imports dbt or Dagster.
"""

import datetime as dt
from collections.abc import Mapping
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

    def open_day(self, con: duckdb.DuckDBPyConnection, table: str, day: dt.date) -> dict[str, str]:
        """Make the day's inputs readable on `con`; returns their digests, read before the data.

        Raises:
            MissingDaysError: naming the days, when an input was never materialized.
        """
        inputs = {}
        for source in TABLES[table].inputs:
            inputs[input_key(source)] = self.lake.input_digest(source, table, day)
            days = self.lake.input_days(source, day)
            con.execute(
                f"create or replace temp view {identifier(view_name(source))} as " + self.rows_of(source.table, days)
            )
        con.execute(f"set variable as_of = date {literal(day.isoformat())}")
        con.execute(f"set variable day_number = {(day - self.lake.start_day).days}")
        return inputs

    def build_day(self, con: duckdb.DuckDBPyConnection, table: str, day: dt.date, sql: str) -> Provenance:
        """Compute one day of `table` by `sql` and publish it, whole or not at all."""
        inputs = self.open_day(con, table, day)
        return self.lake.publish(con, table, day, sql, inputs=inputs)

    def close(self, con: duckdb.DuckDBPyConnection, table: str) -> None:
        """Drop the views that `open_day` made."""
        for source in TABLES[table].inputs:
            con.execute(f"drop view if exists temp.{identifier(view_name(source))}")

    def show(self, con: duckdb.DuckDBPyConnection, table: str, days: list[dt.date]) -> None:
        """Make the asked days of a table readable by name on every connection of the database, for tests."""
        here = [d for d in days if self.lake.has(table, d)]
        con.execute(f"create or replace view main.{identifier(table)} as {self.rows_of(table, here)}")


def check_days(days: list[dt.date], lake: Lake) -> list[dt.date]:
    """The days oldest first, or ConfigError when there is none or one lies before the calendar."""
    if not days:
        raise ConfigError("no day was asked: give --vars '{start_date: YYYY-MM-DD, end_date: YYYY-MM-DD}' to dbt")
    if min(days) < lake.start_day:
        raise ConfigError(f"day = {min(days)}: before the calendar, which starts on {lake.start_day}")
    return sorted(days)
