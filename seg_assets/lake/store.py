"""The lake: read a day or a range of a table, replace a day atomically, know what each day was built from.

A day of a table is one Parquet file, `lake/<table>/day=YYYY-MM-DD/data.parquet` (a few tables have one part per
strategy instead). A write goes beside the tables and is renamed into place, so that a reader sees the old day or the
new day and a kill leaves the old one. The root is a folder, or an object store's URL (`s3://bucket/lake`), where a
single PUT is what a rename is on disk.

`Lake` is the object that rooms call. Not here: how a file is written (`lake.publish`), what its footer says
(`lake.provenance`), connections (`lake.connections`), and any meaning of a table (`core.tables`).
"""

import contextlib
import datetime as dt
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from seg_assets.core.days import day_range, say_days
from seg_assets.core.errors import ConfigError, DamagedFileError, MissingDaysError
from seg_assets.core.settings import Settings
from seg_assets.core.sql import identifier, literal
from seg_assets.core.table_spec import Input
from seg_assets.core.tables import TABLES
from seg_assets.lake import checksum, content_hash, publish
from seg_assets.lake.cache import FileCache
from seg_assets.lake.connections import connect
from seg_assets.lake.provenance import Provenance, input_digest, provenance_at
from seg_assets.lake.publish import Over
from seg_assets.lake.shop_files import shop_inputs
from seg_assets.lake.stamps import DATA, Version, day_of, is_remote, part_of, published_days, stamp_of

# Versions of files whose bytes this process has held against their checksum.
_INTACT: FileCache[bool] = FileCache()


class Lake:
    """The day tables under one root folder.

    Args:
        root: folder or object-store URL of the tables; made when first written.
        start_day: first day of the shop's calendar; windows are cut there.
        threads: DuckDB threads of connections opened by this lake.
        memory_limit: DuckDB memory limit of those connections.
    """

    def __init__(self, root: Path | UPath, start_day: dt.date, threads: int = 2, memory_limit: str = "8GB") -> None:
        if re.search(r"[*?\[\]]", str(root)):
            raise ConfigError(f"lake = {root}: a path with * ? [ or ] would be read as a pattern; choose another")
        # The UPath of an object store has every method of a Path that is called on it.
        self.root = cast(Path, root)
        self.start_day = start_day
        self.threads = threads
        self.memory_limit = memory_limit
        self.remote = is_remote(root)
        # By table, digests of the shop's own files that its days are computed with.
        self.shop_inputs: Mapping[str, Mapping[str, str]] = {}
        # The object store's file system, None for a folder.
        self.store: Any = root.fs if isinstance(root, UPath) and self.remote else None

    @classmethod
    def of(cls, settings: Settings) -> "Lake":
        """Return the lake that the settings name."""
        lake = cls(settings.lake, settings.start_day, settings.threads, settings.memory_limit)
        lake.shop_inputs = shop_inputs(settings)
        return lake

    # ---- connections ------------------------------------------------------------------------------------------

    def connect(self, *, private: bool = False) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Return a context that gives a DuckDB connection which can read this lake; see `connections.connect`."""
        return connect(self.threads, self.memory_limit, self.store, private=private)

    def attach(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read this lake's object store; nothing to do for a folder."""
        if self.store is not None:
            con.register_filesystem(self.store)

    # ---- where things are -------------------------------------------------------------------------------------

    def path(self, table: str, day: dt.date, part: str = DATA) -> Path:
        """Return the path of one day of one table."""
        if table not in TABLES:
            raise ConfigError(f"table = {table!r}: unknown; one of {', '.join(TABLES)}")
        identifier(part.replace("-", "_"))
        return self.root / table / f"day={day.isoformat()}" / f"{part}.parquet"

    def days(self, table: str) -> list[dt.date]:
        """Return the days that have a published file, oldest first."""
        folder = self.root / table
        children = list(folder.iterdir()) if folder.is_dir() else []
        return sorted(day for child in children if (day := day_of(child.name)) is not None and any(_parts(child)))

    def parts(self, table: str, day: dt.date) -> list[str]:
        """Return the names of the parts of one day, sorted."""
        return sorted(_parts(self.path(table, day).parent))

    def has(self, table: str, day: dt.date, part: str = DATA) -> bool:
        """Return whether this day was published."""
        return self.path(table, day, part).exists()

    def missing(self, table: str, days: Iterable[dt.date]) -> list[dt.date]:
        """Return those of `days` (from the calendar's first day on) that were never materialized."""
        wanted = [d for d in days if d >= self.start_day]
        if self.remote and len(wanted) > 3:
            # One listing instead of a look-up per day.
            published = set(self.days(table))
            return [d for d in wanted if d not in published]
        return [d for d in wanted if not self.has(table, d)]

    def require(self, table: str, days: Iterable[dt.date], reader: str) -> None:
        """Raise MissingDaysError, naming the days, unless every one of `days` was materialized."""
        gone = self.missing(table, days)
        if gone:
            raise MissingDaysError(
                f"{reader} reads {table} of {say_days(gone)}, never materialized; "
                f"materialize {table} for those days first (a closed day is a materialized empty day)"
            )

    # ---- reading ----------------------------------------------------------------------------------------------

    def scan(self, table: str, days: Sequence[dt.date], part: str = DATA) -> str:
        """Return SQL of a table function over these days, with the hive column `day` (DATE).

        Raises:
            MissingDaysError: when one of the days was never materialized, or no day is asked.
            DamagedFileError: see `check`.
        """
        self.require(table, days, "this query")
        inside = [d for d in days if d >= self.start_day]
        if not inside:
            raise MissingDaysError(f"no day of {table} lies in the calendar that starts on {self.start_day}")
        for d in inside:
            self.check(table, d, part)
        files = ", ".join(literal(str(self.path(table, d, part))) for d in inside)
        return f"read_parquet([{files}], hive_partitioning = true, hive_types = {{'day': date}}, union_by_name = true)"

    def read(
        self,
        table: str,
        day: dt.date,
        columns: Sequence[str] | None = None,
        part: str = DATA,
        where: str = "true",
    ) -> pd.DataFrame:
        """Return one day as a frame, in the table's row order, without the column `day`.

        `where` is SQL written in this code base, never text from outside.
        """
        path = self._checked_path(table, day, part)
        chosen = "*" if columns is None else ", ".join(identifier(c) for c in columns)
        with self.connect() as con:
            try:
                return con.execute(f"select {chosen} from {_file_sql(path)} where {where}").df()
            except duckdb.Error as error:
                raise _as_damage(error, path, table, day) from error

    def read_arrow(
        self, table: str, day: dt.date, columns: Sequence[str], codes: Sequence[str] = (), part: str = DATA
    ) -> pa.Table:
        """Return one day's columns as Arrow, in the table's row order; those in `codes` as dictionaries.

        A quarter of the time of `read` where columns are text: texts stay in one buffer, and few texts are codes.
        """
        path = self._checked_path(table, day, part)
        try:
            with path.open("rb") as handle, pq.ParquetFile(handle, read_dictionary=list(codes)) as file:
                return file.read(columns=list(columns)).select(list(columns)).unify_dictionaries()
        except pa.ArrowException as error:
            raise _as_damage(error, path, table, day) from error

    def _checked_path(self, table: str, day: dt.date, part: str) -> Path:
        path = self.path(table, day, part)
        if not path.exists():
            raise _missing(table, day)
        self.check(table, day, part)
        return path

    # ---- writing ----------------------------------------------------------------------------------------------

    def publish(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        day: dt.date,
        query: str,
        *,
        inputs: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        part: str = DATA,
        over: Over | None = None,
    ) -> Provenance:
        """Replace one day of a table by the rows of `query`, whole or not at all.

        Rows are ordered by the table's key. Provenance `inputs` are added to those that `core.tables` lists and
        `inputs_of` can resolve: hand in the landing digest, the champion and the baseline. `over` is the only version
        of the day that may be replaced, for rows that were made from it.

        Raises:
            MissingDaysError: when a listed input was never materialized.
            LakeWriteError: disk full, no permission, store away; the old day stays as it was.
        """
        key = ", ".join(identifier(c) for c in TABLES[table].key)
        con.execute(f"create or replace temp table seg_publish as select * from ({query}) order by {key}")
        try:
            return self.publish_table(con, "seg_publish", table, day, inputs=inputs, extra=extra, part=part, over=over)
        finally:
            con.execute("drop table if exists seg_publish")

    def publish_table(
        self,
        con: duckdb.DuckDBPyConnection,
        source: str,
        table: str,
        day: dt.date,
        *,
        inputs: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        part: str = DATA,
        measured: tuple[int, str] | None = None,
        over: Over | None = None,
    ) -> Provenance:
        """Replace one day, like `publish`, by a table of `con` that is already in row order.

        `measured` is its number of rows and content hash where the caller has them.
        """
        read = {**self.inputs_of(table, day, inputs or ()), **(inputs or {})}
        rows, content = measured or content_hash.content_of(con, source)
        provenance = Provenance(
            table=table,
            day=day.isoformat(),
            part=part,
            rows=rows,
            content_hash=content,
            inputs=read,
            code_version=TABLES[table].code_version,
            extra=dict(extra or {}),
            summed=True,
            hash_kind=content_hash.HASH_KIND,
        )
        publish.write_day(con, source, self.path(table, day, part), provenance, self.root, over)
        return provenance

    def publish_frame(
        self,
        table: str,
        day: dt.date,
        frame: pd.DataFrame,
        schema: Mapping[str, str],
        *,
        inputs: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        part: str = DATA,
        over: Over | None = None,
    ) -> Provenance:
        """Replace one day by a frame, cast to `schema` (column to DuckDB type), columns in schema order."""
        with self.connect() as con:
            query = publish.frame_sql(con, frame, schema, f"{table} of {day}")
            return self.publish(con, table, day, query, inputs=inputs, extra=extra, part=part, over=over)

    def staged_file(self) -> AbstractContextManager[Path]:
        """Return a context that gives a fresh local path outside of every table; see `publish.staged_file`."""
        return publish.staged_file(self.root)

    def drop(self, table: str, day: dt.date, part: str = DATA) -> bool:
        """Remove one day (or part) of a table; return whether there was one."""
        path = self.path(table, day, part)
        existed = path.exists()
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        return existed

    # ---- provenance -------------------------------------------------------------------------------------------

    def provenance(self, table: str, day: dt.date, part: str = DATA) -> Provenance | None:
        """Return the provenance in the footer of a published day, None where there is none.

        Raises:
            DamagedFileError: when the file is there and its footer cannot be read.
        """
        stamped = provenance_at(self.path(table, day, part), f"{table} for {day}")
        return stamped[1] if stamped else None

    def provenances(self, table: str, last_day: dt.date | None = None) -> dict[dt.date, Provenance]:
        """Return the provenance of every day of a table of one part, from the calendar's first day to `last_day`.

        One look at the table's folder: 30 microseconds a file, most of it for one that was read before.

        Raises:
            DamagedFileError: a footer cannot be read.
        """
        published = {}
        for day, path, stamp in published_days(self.root, table):
            if day >= self.start_day and (last_day is None or day <= last_day):
                place = self.path(table, day) if self.remote else path
                if stamped := provenance_at(place, f"{table} for {day}", stamp):
                    published[day] = stamped[1]
        return published

    def inputs_of(self, table: str, day: dt.date, except_keys: Container[str] = ()) -> dict[str, str]:
        """Return the digest of every input of this day that is a window of lake days, or a file of the shop's own.

        Args:
            table: the reader.
            day: its day.
            except_keys: input keys that the caller resolves itself.

        Raises:
            MissingDaysError: when one of them was never materialized.
        """
        windows = {
            i.key: self.input_digest(i, table, day)
            for i in TABLES[table].inputs
            if i.is_of_days and i.key not in except_keys
        }
        files = self.shop_inputs.get(table, {})
        return windows | {key: now for key, now in files.items() if key not in except_keys}

    def input_digest(self, source: Input, reader: str, day: dt.date) -> str:
        """Return the digest of one lake input as it is now.

        Raises:
            MissingDaysError: when one of its days was never materialized.
        """
        days = self.input_days(source, day)
        contents = [p.content_hash for d in days if (p := self.provenance(source.table, d)) is not None]
        if len(contents) < len(days):
            self.require(source.table, days, f"{reader} of {day}")
        return input_digest(contents)

    def input_days(self, source: Input, day: dt.date) -> list[dt.date]:
        """Return the days of a lake input that day D reads, cut at the first day of the calendar."""
        first, last = source.days_read(day)
        return day_range(max(first, self.start_day), last)

    def version(self, table: str, day: dt.date, part: str = DATA) -> Version:
        """Return the version of a published day that lies in its place now, after a look at its bytes.

        Raises:
            MissingDaysError: not published. DamagedFileError: see `check`.
        """
        version = self.check(table, day, part)
        if version is None:
            raise _missing(table, day)
        return version

    def check(self, table: str, day: dt.date, part: str = DATA) -> Version | None:
        """Look whether a published day is the day it should be, to the byte; each version once in a process.

        An object store checks bytes itself, so that only the footer is looked at.

        Raises:
            DamagedFileError: a byte changed after it was written, or the file is another day's.
        """
        path = self.path(table, day, part)
        while (stamped := provenance_at(path, f"{table} for {day}")) is not None:
            stamp, provenance = stamped
            version = Version(str(path), stamp, provenance.content_hash)
            if _INTACT.get(version.path, stamp):
                return version
            damage = ""
            if not provenance.is_of(table, day, part):
                damage = f"is {provenance.table} of {provenance.day}, {provenance.part}"
            elif provenance.summed and not self.remote and not _sum_holds(path):
                damage = "has other bytes than were written (its checksum says so)"
            # Replaced by another run in between: look again at the new file.
            if stamp_of(path) != stamp:
                continue
            if damage:
                raise DamagedFileError(
                    f"{path}: {damage}; set it aside with seg-assets doctor --verify --mend, then re-materialize "
                    f"{table} for {day}"
                )
            _INTACT.put(version.path, stamp, True, 500)
            return version
        return None

    def verify(self, table: str, day: dt.date, part: str = DATA) -> Provenance:
        """Read a published day whole and compare its rows with its checksum and its footer.

        Of a file whose hash is of another kind, the number of rows is compared and the hash is not.

        Raises:
            MissingDaysError: not published. DamagedFileError: unreadable, or rows differ from the footer's hash.
        """
        path = self.path(table, day, part)
        _INTACT.discard(str(path))
        while True:
            version = self.check(table, day, part)
            provenance = self.provenance(table, day, part)
            if version is None or provenance is None:
                raise MissingDaysError(f"{table} of {day} was never materialized")
            try:
                with self.connect() as con:
                    con.execute(f"create temp table seg_verify as select * from {_file_sql(path)}")
                    rows, content = content_hash.content_of(con, "seg_verify")
            except duckdb.Error as error:
                if stamp_of(path) != version.stamp:
                    continue
                raise _as_damage(error, path, table, day) from error
            if provenance.hash_kind != content_hash.HASH_KIND:
                content = provenance.content_hash
            if (rows, content) == (provenance.rows, provenance.content_hash):
                return provenance
            # Replaced by another run between the two reads: look again at the new file.
            if stamp_of(path) == version.stamp:
                raise DamagedFileError(
                    f"{path}: holds {rows} rows with hash {content}, its footer says {provenance.rows} rows with "
                    f"{provenance.content_hash}; re-materialize {table} for {day}"
                )

    def views_sql(self) -> str:
        """Return a script that makes one view per table in any DuckDB, for ad-hoc SQL."""
        lines = ["-- views over the lake; run in any DuckDB: duckdb -init views.sql"]
        # Folders that are no day's (copies, 2024-02-30) lie beside the days now and then: they must not be counted.
        days = "day=[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
        for name, table in TABLES.items():
            if self.days(name):
                files = "[A-Za-z_]*.parquet" if table.per_strategy_parts else f"{DATA}.parquet"
                lines.append(
                    f"create or replace view {name} as select * replace (try_cast(day as date) as day) "
                    f"from read_parquet({literal(str(self.root / name / days / files))}, hive_partitioning = true, "
                    "hive_types = {'day': varchar}, union_by_name = true) "
                    "where try_cast(day as date) < date '9999-01-01';"
                )
        return "\n".join(lines) + "\n"


def _parts(folder: Path) -> Iterator[str]:
    """Yield the parts in a day's folder; a link to nothing is none, since the next write takes its place."""
    for path in folder.glob("*.parquet"):
        part = part_of(path.name)
        if part is not None and not _leads_nowhere(path):
            yield part


def _leads_nowhere(path: Path) -> bool:
    if is_remote(path):
        return False
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _sum_holds(path: Path) -> bool:
    try:
        return checksum.holds(path)
    except FileNotFoundError:
        return True  # gone: its stamp says so
    except OSError:
        return False  # the disk cannot read it


def _file_sql(path: Path) -> str:
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"


def _missing(table: str, day: dt.date) -> MissingDaysError:
    return MissingDaysError(f"{table} of {day} was never materialized; materialize it first")


def _as_damage(error: Exception, path: Path, table: str, day: dt.date) -> Exception:
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException):
        return error
    return DamagedFileError(f"{path}: cannot be read ({error}); re-materialize {table} for {day}")
