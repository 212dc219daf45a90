"""Decide what each day of a profile table reads, and walk an engine through a range of days.

The SQL of a table speaks of one day. What it can read is what `core.tables` lists for the table, over exactly the days
that are listed: so a day's footer says all that the day was built from. Digests of the inputs are taken before the data
is read, so that an input replaced in between makes the day stale, never silently fresh.

A day of profiles differs from the day before for few users: 26 of 476 thousand, in the bench's shop. Where a table has
`edges`, and the footers prove that yesterday's rows are what its inputs of now give (`DayBuilder.carries`), its SQL
takes over yesterday's rows of everybody else. The result is the same function of the same inputs, so yesterday is no
input.

Not here: running SQL and writing files (`engine.base`), dbt (`profiles.runner`), Dagster (`profiles.assets`).
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from seg_assets.core.days import ONE_DAY
from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, DamagedFileError, MissingDaysError
from seg_assets.core.tables import TABLES
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.shop_files import FEATURES_KEY
from seg_assets.lake.store import Lake
from seg_assets.profiles.engine.base import DayInputs, Days, Engine, Feature, view_name
from seg_assets.profiles.schema import ModelDoc, Schemas, schemas_of, table_docs

# In a footer's `extra`: digest of the SQL that computed the rows.
SQL_KEY = "sql"


class ShopColumns(NamedTuple):
    """The columns that a shop adds to a table, and the digest of their files."""

    features: Sequence[Feature]
    digest: str


class DayBuilder:
    """Builds days of the profile tables with an engine.

    Args:
        lake: where the days are read and published.
        project: the dbt project, whose YAML gives the columns of the tables.
    """

    def __init__(self, lake: Lake, project: Path) -> None:
        self.lake = lake
        self.project = project

    @cached_property
    def docs(self) -> Mapping[str, ModelDoc]:
        """What the YAML of the dbt project says of the tables of profiles."""
        return table_docs(self.project)

    @cached_property
    def schemas(self) -> Schemas:
        """Column types of every table that a profile model reads or writes."""
        return schemas_of(self.project)

    def build(
        self, engine: Engine[Any], table: str, days: Sequence[dt.date], sql: str, shop: ShopColumns | None = None
    ) -> Iterator[Provenance]:
        """Compute the days of `table` by `sql`, in this order, and publish each, whole or not at all.

        Args:
            engine: what runs the SQL.
            table: the table.
            days: its days.
            sql: compiled SQL of one day.
            shop: further columns of the shop's.

        Raises:
            ConfigError: a feature of the shop fails, naming its file.
            MissingDaysError: naming the days, when an input was never materialized.
            DamagedFileError: naming the file, when an input does not hold what its footer says.
            LakeWriteError: see `Engine.publish`. Days published before stay.
        """
        extra = {SQL_KEY: digest(sql)} if TABLES[table].edges else {}
        for day in days:
            digests = {**self.digests(table, day), **({FEATURES_KEY: shop.digest} if shop else {})}
            inputs = self.inputs(table, day, extra.get(SQL_KEY, ""), shop.features if shop else ())
            engine.open_day(inputs)
            try:
                staged = engine.stage(inputs, sql)
                provenance = engine.publish(staged, engine.measure(staged), inputs, digests, extra)
            except (engine.Error, ConfigError):
                self._name_damage(table, day)
                raise
            yield provenance

    def digests(self, table: str, day: dt.date) -> dict[str, str]:
        """Return, by input key, the digest of each input of the day as it is now.

        Raises:
            MissingDaysError: naming the days, when one was never materialized.
        """
        return {i.key: self.lake.input_digest(i, table, day) for i in TABLES[table].inputs}

    def inputs(self, table: str, day: dt.date, sql_digest: str = "", features: Sequence[Feature] = ()) -> DayInputs:
        """Return what the day reads; rows of yesterday when they are what the SQL of this digest gives."""
        views = {
            view_name(i): Days(i.table, self.lake.input_days(i, day), is_window=i.window == "trailing")
            for i in TABLES[table].inputs
        }
        carries = bool(TABLES[table].edges) and self.carries(table, day, sql_digest)
        edges = [Days(name, days) for name, days in self._edge_days(table, day).items()] if carries else []
        return DayInputs(table, day, (day - self.lake.start_day).days, views, edges, features)

    def carries(self, table: str, day: dt.date, sql_digest: str) -> bool:
        """Return whether yesterday's rows are what this SQL makes of the inputs as they are now.

        Yesterday must be computed from the versions of its inputs that are published now; tables that the day reads and
        that are chained from day to day must rest on the version of yesterday that is published now. A yesterday that
        cannot be read is no reason to fail: the day is then computed from its inputs alone.
        """
        before = day - ONE_DAY
        if before < self.lake.start_day or not self._edges_cover(table):
            return False
        try:
            yesterday = self.lake.provenance(table, before)
            if yesterday is None or yesterday.extra.get(SQL_KEY) != sql_digest or not self._is_fresh(table, before):
                return False
            chained = [i.table for i in TABLES[table].inputs if i.window == "day" and i.table in self.docs]
            if not all(self._is_fresh(name, day) for name in chained):
                return False
            if not all(self._is_fresh(name, before) for name in chained if TABLES[name].edges):
                return False
            for name, days in {table: [before], **self._edge_days(table, day)}.items():
                for read in days:
                    self.lake.check(name, read)
            if self.lake.remote:
                # No checksum is looked at on an object store, and a wrong row would be handed on from day to day.
                self.lake.verify(table, before)
        except (MissingDaysError, DamagedFileError):
            return False
        return True

    def _edge_days(self, table: str, day: dt.date) -> dict[str, list[dt.date]]:
        """Return tables of activity, and their days that entered or left a window since yesterday."""
        return {
            source: [d for age in ages if (d := day - age * ONE_DAY) >= self.lake.start_day]
            for source, ages in TABLES[table].edges.items()
        }

    def _edges_cover(self, table: str) -> bool:
        """Return whether every column says its window in the YAML, and every window has its edge in `core.tables`."""
        edges = {age for ages in TABLES[table].edges.values() for age in ages}
        windows = self.docs[table].windows
        return None not in windows and {days for days in windows if isinstance(days, int)} <= edges

    def _is_fresh(self, table: str, day: dt.date) -> bool:
        """Return whether a day was computed by this code from its inputs as they are now."""
        published = self.lake.provenance(table, day)
        if published is None or published.code_version != TABLES[table].code_version:
            return False
        return all(published.inputs.get(key) == now for key, now in self.lake.inputs_of(table, day).items())

    def _name_damage(self, table: str, day: dt.date) -> None:
        """Raise DamagedFileError, naming the file, when an input of the day does not hold what its footer says."""
        for source in TABLES[table].inputs:
            for read in self.lake.input_days(source, day):
                self.lake.verify(source.table, read)


def check_days(days: Sequence[dt.date], lake: Lake) -> list[dt.date]:
    """Return the days oldest first.

    Raises:
        ConfigError: no day was given, or one lies before the calendar.
    """
    if not days:
        raise ConfigError("no day was asked: give --vars '{start_date: YYYY-MM-DD, end_date: YYYY-MM-DD}' to dbt")
    if min(days) < lake.start_day:
        raise ConfigError(f"day = {min(days)}: before the calendar, which starts on {lake.start_day}")
    return sorted(days)
