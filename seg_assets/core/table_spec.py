"""Describe a lake table: its key, its columns, and what a day of it is made from.

Not here: which tables there are (`core.tables`).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from seg_assets.core.days import ONE_DAY

Window = Literal["day", "yesterday", "to_yesterday", "trailing", "files", "champion", "baseline", "horizon"]


@dataclass(frozen=True)
class Column:
    """One column of a table: its DuckDB type and what it means."""

    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class Input:
    """One thing that a day D of a table reads.

    window:
        day: D. yesterday: D-1 (nothing on the first day of the calendar).
        to_yesterday: every decision before D (segment_model only).
        trailing: the last `days` days up to D, cut at the first day of the calendar.
        files: the landing files of D.
        champion: the model promoted last on or before D, per strategy.
        baseline: the last decision before D, per strategy.
        horizon: `days` days before D, that one day.
    """

    table: str
    window: Window = "day"
    days: int = 0

    @property
    def key(self) -> str:
        """Name of the input in a footer."""
        return f"{self.table}:{self.window}" + (f"-{self.days}" if self.window in ("trailing", "horizon") else "")

    @property
    def is_of_days(self) -> bool:
        """Whether the input is a window of days of a lake table; otherwise it is landing files or decisions."""
        return self.window in ("day", "yesterday", "trailing", "horizon")

    def days_read(self, day: dt.date) -> tuple[dt.date, dt.date]:
        """Return the first and last day of the input that day D reads, not yet cut at the first day of the calendar."""
        youngest, oldest = self._ages()
        return day - ONE_DAY * oldest, day - ONE_DAY * youngest

    def days_reading(self, day: dt.date) -> tuple[dt.date, dt.date]:
        """Return the first and last day of the reader for which this day of the input is read."""
        youngest, oldest = self._ages()
        return day + ONE_DAY * youngest, day + ONE_DAY * oldest

    def _ages(self) -> tuple[int, int]:
        """Return the ages in days, as of D, of the youngest and the oldest day that is read."""
        if self.window == "day":
            return 0, 0
        if self.window == "yesterday":
            return 1, 1
        if self.window == "horizon":
            return self.days, self.days
        if self.window == "trailing":
            return 0, self.days - 1
        raise ValueError(f"{self.key}: is no window of days")


@dataclass(frozen=True)
class TableSpec:
    """A day table of the lake.

    key: columns that are unique within a day and give the row order.
    inputs: everything that a day reads; their order is the order in which a model opens them.
    columns: in file order. None for a table that dbt makes: its columns stand in the YAML of the dbt project, and
        `profiles.schema` adds them.
    code_version: raised by hand when the meaning of a table changes; older days are then stale.
    per_strategy_parts: whether a day has one file per strategy.
    required: whether a day that has raw events must have a day of this table.
    edges: tables of activity, and the ages in days at which activity enters or leaves one of this table's windows:
        there yesterday's rows may stand for users whom no window sees otherwise (`profiles.days`). The first input
        then names all actors.
    """

    name: str
    room: str
    key: tuple[str, ...]
    inputs: tuple[Input, ...]
    columns: tuple[Column, ...] = ()
    code_version: str = "1"
    per_strategy_parts: bool = False
    required: bool = True
    edges: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    notes: str = field(default="", compare=False)

    @cached_property
    def types(self) -> dict[str, str]:
        """Column to DuckDB type, in file order."""
        return {column.name: column.kind for column in self.columns}

    @property
    def tables_read(self) -> list[str]:
        """Other lake tables that a day reads, each once, in the order of `inputs`."""
        names = dict.fromkeys(i.table for i in self.inputs if i.window != "files")
        return [name for name in names if name != self.name]
