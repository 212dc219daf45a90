"""State what it takes to compute the days of a profile table, whatever runs their SQL.

An engine has four operations, called in this order for each day:

1. `open_day` makes the inputs of the day readable by the names that the table's SQL uses;
2. `stage` runs the SQL and lays its rows aside, in the order of the table's key;
3. `measure` counts those rows and hashes their content;
4. `publish` replaces the day in the lake by them, whole or not at all.

`engine.duckdb` is the engine in use. One for Spark can stand beside it: dbt compiles the same models with `--target
spark`, `open_day` makes temporary views of its session, `stage` writes Parquet, and `measure` and `publish` read that
Parquet with DuckDB, so that the content hash of a day does not depend on the engine.

Not here: which days are computed and what each of them reads (`engine.days`); how dbt reaches an engine
(`profiles.dbt_plugin`).
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from seg_assets.core.table_spec import Input
from seg_assets.lake.provenance import Provenance

# Name by which SQL reads who acted on a day that entered or left a window since yesterday.
EDGES = "carry_edge_actors"

# Rows that an engine laid aside: a table of a connection, a folder of files.
Staged = TypeVar("Staged")


def view_name(source: Input) -> str:
    """Return the name by which SQL reads an input."""
    return f"yesterday_{source.table}" if source.window == "yesterday" else source.table


def carried_name(table: str) -> str:
    """Return the name by which SQL reads what its table takes over from yesterday."""
    return f"carry_{table}"


@dataclass(frozen=True)
class Days:
    """Days of one lake table, oldest first; none at all stands for a table without rows."""

    table: str
    days: Sequence[dt.date]
    # Whether the days are a window that the next day of a range reads again but for its first day.
    is_window: bool = False


@dataclass(frozen=True)
class Feature:
    """A select of the shop that gives further columns of a table by `user_id`; `path` is the file, for messages."""

    name: str
    path: str
    sql: str
    columns: Sequence[str]


@dataclass(frozen=True)
class DayInputs:
    """What the SQL for one day of a table may read, and nothing else.

    table, day: what is computed.
    day_number: days of the shop's calendar before the day.
    views: by the name that SQL uses, the lake table and its days. Each also has the column `day`.
    features: selects of the shop whose columns stand beside the table's own. They read the table itself, as its own SQL
        gives it, under its name.
    edges: for a table that can take rows over from yesterday: tables of activity with the days that entered or left
        one of its windows since yesterday. Their actors are readable as `EDGES`, yesterday's rows as
        `carried_name(table)`. Empty when this day takes nothing over: then `EDGES` are all actors of the first view,
        and there are no rows of yesterday.
    """

    table: str
    day: dt.date
    day_number: int
    views: Mapping[str, Days]
    edges: Sequence[Days] = ()
    features: Sequence[Feature] = ()


class Measured(NamedTuple):
    """Number of the rows of a day, and the hash of their content, which does not depend on their order."""

    rows: int
    content_hash: str


class Engine(ABC, Generic[Staged]):
    """Computes and publishes days of one table, oldest first; closed after the last of them.

    An engine holds no decision of its own: it may read what `open_day` was given and write what `publish` is given.
    """

    # What the engine raises when SQL fails. The caller then looks whether an input is damaged, to name its file.
    Error: ClassVar[type[Exception]]

    @abstractmethod
    def open_day(self, inputs: DayInputs) -> None:
        """Make the inputs of a day readable by name, in place of those of the day before.

        SQL also reads the day as the variable `as_of` and `day_number` under that name (dbt macros of these names).

        Raises:
            MissingDaysError: naming the days, when one of them was never materialized.
            DamagedFileError: naming the file, when one holds other bytes than were written.
        """

    @abstractmethod
    def stage(self, inputs: DayInputs, sql: str) -> Staged:
        """Run `sql` over the inputs that are open and lay its rows aside, in the order of the table's key.

        The shop's features are then run over those rows, each alone and in one thread, with every table in the order of
        its key: sums of fractions must not depend on threads, on what was taken over from yesterday, or on what other
        days of a range left in memory. A row without a match has nulls. Nothing that a reader of the lake sees changes,
        and rows of an earlier `stage` may be dropped.

        Raises:
            Error: the SQL failed.
            ConfigError: naming the file, when a feature failed or gave a `user_id` twice.
        """

    @abstractmethod
    def measure(self, staged: Staged) -> Measured:
        """Count staged rows and hash their content: names and types of columns, and the rows in any order.

        Raises:
            Error: the rows cannot be read.
        """

    @abstractmethod
    def publish(
        self,
        staged: Staged,
        measured: Measured,
        inputs: DayInputs,
        digests: Mapping[str, str],
        extra: Mapping[str, Any],
    ) -> Provenance:
        """Replace the day by the staged rows, and return the provenance that its footer now has.

        Args:
            staged: the rows.
            measured: what `measure` said of them.
            inputs: the day, and what it read.
            digests: by input key, the digest of what it read.
            extra: facts about the making that are not part of the content.

        Raises:
            LakeWriteError: disk full, no permission, store away; the old day stays as it was.
        """

    @abstractmethod
    def close(self) -> None:
        """Drop what was made readable and laid aside. The connection it was made on stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
