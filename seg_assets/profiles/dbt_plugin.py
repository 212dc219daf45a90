"""The dbt-duckdb plugin behind the materialization `lake_day`. Only dbt imports this module.

It puts the project's settings on dbt's in-memory database and runs the loop over the days in Python, on the very
connection that dbt uses, so that dbt publishes through the lake like every other room.
"""

import contextlib
import datetime as dt
import threading
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from duckdb import DuckDBPyConnection

from seg_assets.core.days import day_range, parse_day
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.core.sql import literal
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.profiles import asking
from seg_assets.profiles.days import DayBuilder, check_days


class Plugin(BasePlugin):
    """Hands the days of a model to `DayBuilder`."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Take the settings of the asking run, or of the environment when dbt is run by hand."""
        asked = asking.asked()
        self.asked = asked
        self.settings = asked.settings if asked else Settings.from_env()
        self.builder = DayBuilder(Lake.of(self.settings), self.settings.dbt_project)
        self._local = threading.local()

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Put the settings on the database, and a view of the asked days for every table."""
        conn.execute(f"set threads = {int(self.settings.threads)}")
        conn.execute(f"set memory_limit = {literal(self.settings.memory_limit)}")
        conn.execute(f"set temp_directory = {literal(str(asking.spill_folder(self.settings)))}")
        conn.execute("set enable_progress_bar = false")
        conn.execute("set global timezone = 'UTC'")
        self.builder.lake.attach(conn)
        for table in self.builder.schemas:
            self.builder.show(conn, table, [])
            # A test may compare a model of this run with one that is not built now.
            if self.asked and table in TABLES and table not in self.asked.models and TABLES[table].room == "profiles":
                with contextlib.suppress(duckdb.Error):
                    self.builder.show(conn, table, list(self.asked.days))
        self.builder.show_empty_yesterdays(conn)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Remember the connection of this thread: temporary views and variables belong to it."""
        self._local.cursor = cursor

    def store(self, target_config: TargetConfig) -> None:
        """Serve the materialization: `open` the first day's inputs, or `build` and publish every day."""
        job = target_config.config
        table = job["table"]
        try:
            days = self.days(job)
            con = self._local.cursor
            if job["step"] == "open":
                self.builder.open_day(con, table, days[0])
                return
            for day, provenance in zip(days, self.builder.build(con, table, days, job["sql"]), strict=True):
                if self.asked:
                    self.asked.published(table, day, provenance)
            self.builder.show(con, table, days)
        except Exception as error:
            if self.asked:
                self.asked.failures.append(error)
            raise

    def days(self, job: dict[str, Any]) -> list[dt.date]:
        """The days to build: those of the asking run, else from the variables start_date and end_date."""
        if self.asked:
            return check_days(list(self.asked.days), self.builder.lake)
        first, last = job["start_date"], job["end_date"] or job["start_date"]
        if not first:
            return check_days([], self.builder.lake)
        if parse_day(last) < parse_day(first):
            raise ConfigError(f"end_date = {last}: before start_date = {first}")
        return check_days(day_range(parse_day(first), parse_day(last)), self.builder.lake)
