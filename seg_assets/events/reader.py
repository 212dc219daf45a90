"""Landing files of a day as contract tables: accepted events, refused lines, and an account per file.

Per file, always: lines read = accepted + rejected + duplicates. The number of lines comes from the splitter, the
other three from the tables, so the sum is a real check. What is read never depends on file names or on the order
of files: duplicates are found by event_id and their survivor by content.
"""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.core.digests import digest
from seg_assets.core.errors import LandingError, SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.sql import identifier, literal
from seg_assets.events.contract import LANDED_FILES, RAW_EVENTS, RAW_PRODUCTS, RAW_USERS, REJECTED_EVENTS
from seg_assets.events.formats.lines import LINE, CsvFile, FileSeal, jsonl_records
from seg_assets.events.formats.parquet import parquet_tables
from seg_assets.events.landing import (
    EVENTS,
    LandingFile,
    check_landing,
    day_files,
    day_stat,
    feeds_of,
    files_digest,
    files_of,
    name_parts,
    one_feed_each,
    sha256_of,
)
from seg_assets.events.mapping import FeedMapping, Records
from seg_assets.events.source import PRODUCTS, USERS, EventFeed, Source, TableFeed
from seg_assets.lake.connections import connect

# Rows of an Arrow batch: DuckDB spreads batches over its threads.
BATCH = 60_000
# Bytes of records from which on no more files are mapped together.
TOGETHER = 16 << 20
# A file's number stands above its lines' in one integer, where lines of several files are mapped together.
_FILE = 1 << 40
# Bytes of landing files up to which a day is small. Cautious, not the point where both ways cost the same.
SMALL_DAY = 1 << 20
# Rows of yesterday's users or products up to which the day is small.
SMALL_TABLE = 50_000
_CONTRACTS = {USERS: (RAW_USERS, "user_id"), PRODUCTS: (RAW_PRODUCTS, "product_id")}
_TABLES_OF_A_READ = ("seg_staged", "seg_refused", "seg_names", "seg_derived", "seg_repeats")
# Reasons that say a line was left out on purpose; they do not count as bad lines.
ON_PURPOSE = ("ignored_event_type",)


@dataclass
class FileAccount:
    """What became of the lines of one file (of one day of it, for files that hold many days)."""

    source_file: str
    feed: str
    bytes: int
    sha256: str
    lines_read: int
    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    unmapped: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def reconciles(self) -> bool:
        """Whether every line is accounted for."""
        return self.lines_read == self.accepted + self.rejected + self.duplicates


@dataclass
class DayRead:
    """One day on the connection it was read on: the view `seg_accepted`, the tables `seg_rejected` and `seg_files`.

    reasons: rejected lines by (reason, field), most frequent first, with one line's file and number.
    digests: landing digest per kind of feed; stats: the cheap fingerprint per kind.
    """

    day: dt.date
    files: list[FileAccount]
    reasons: list[tuple[str, str, int, str, int]]
    digests: dict[str, str]
    stats: dict[str, str]

    def digest_of(self, kinds: Sequence[str]) -> str:
        """Landing digest over several kinds of feed."""
        found = [self.digests[k] for k in kinds if k in self.digests]
        return found[0] if len(found) == 1 else digest(found)

    def stat_of(self, kinds: Sequence[str]) -> str:
        """Cheap fingerprint over several kinds of feed."""
        found = [self.stats[k] for k in kinds if k in self.stats]
        return found[0] if len(found) == 1 else digest(found)

    def total(self, column: str, kind: str = EVENTS) -> int:
        """Sum of an account column over the event files (or users, products)."""
        tables = (USERS, PRODUCTS)
        chosen = [f for f in self.files if (f.feed not in tables if kind == EVENTS else f.feed == kind)]
        return sum(getattr(f, column) for f in chosen)

    @property
    def bad(self) -> int:
        """Rejected event lines, without those left out on purpose."""
        on_purpose = sum(n for reason, _, n, _, _ in self.reasons if reason in ON_PURPOSE)
        return self.total("rejected") - on_purpose

    @property
    def refused(self) -> str:
        """Why no room may go on with the day: lines were rejected and not one accepted. '' when rooms may."""
        if not self.bad or self.total("accepted"):
            return ""
        reason, said, _, file, line = next(r for r in self.reasons if r[0] not in ON_PURPOSE)
        where = f" of {said}" if said else ""
        return f"not one of {self.total('lines_read')} lines was accepted ({reason}{where}, first in {file}:{line})"


@dataclass
class TableRead:
    """Users or products of a day: SQL of the table on the connection, its digest, its accounts."""

    day: dt.date
    query: str
    files: list[FileAccount]
    digest: str
    stat: str
    reasons: list[tuple[str, str, int, str, int]]


def seal(con: duckdb.DuckDBPyConnection, *folders: Path) -> None:
    """Close the file system to a connection, but for these folders. What a source says in SQL runs after this.

    The expressions are checked when a source is loaded; this is the second lock on the same door.
    """
    allowed = ", ".join(literal(str(f)) for f in folders)
    con.execute(f"set allowed_directories = [{allowed}]")
    con.execute("set enable_external_access = false")


@contextlib.contextmanager
def small_steps(con: duckdb.DuckDBPyConnection, landed: int, rows: int = 0) -> Iterator[None]:
    """Run what follows unoptimized and in one thread where a day has few bytes and rows; what comes out is the same.

    With 1,400 lines a day costs 0.10 CPU s instead of 0.14, and no more time. For a connection of its own: threads
    are a setting of the whole database.
    """
    if landed > SMALL_DAY or rows > SMALL_TABLE:
        yield
        return
    row = con.execute("select current_setting('threads')").fetchone()
    con.execute("pragma disable_optimizer")
    con.execute("set threads = 1")
    try:
        yield
    finally:
        con.execute(f"set threads = {int(row[0]) if row else 1}")
        con.execute("pragma enable_optimizer")


class Reader:
    """Reads days of one landing zone. Make one per run: files that hold many days are then parsed once.

    Args:
        source: the mapping.
        landing: the landing folder.
        time_zone: the shop's zone; it decides which day an event is of.
        first_day, last_day: the calendar.
        threads, memory_limit: of the DuckDB that holds files of many days.
    """

    def __init__(
        self,
        source: Source,
        landing: Path,
        *,
        time_zone: str = "UTC",
        first_day: dt.date = dt.date(1970, 1, 1),
        last_day: dt.date | None = None,
        threads: int = 2,
        memory_limit: str = "8GB",
    ) -> None:
        self.source = source
        self.landing = landing
        self.time_zone = time_zone
        self.first_day = first_day
        self.last_day = last_day
        self._threads = threads
        self._memory_limit = memory_limit
        self._store: duckdb.DuckDBPyConnection | None = None
        self._stack = contextlib.ExitStack()
        self._split: dict[tuple, _SplitFile] = {}
        self._whole: dict[tuple, tuple[list[FileAccount], list[tuple[str, str, int, str, int]], pa.Table]] = {}
        self._tables: dict[tuple, tuple[FileAccount, pa.Table]] = {}

    @classmethod
    def of(cls, settings: Settings, source: Source | None = None) -> "Reader":
        """The reader of a shop."""
        from seg_assets.events.source import load_source

        assert settings.landing is not None
        return cls(
            source or load_source(settings.source),
            settings.landing,
            time_zone=settings.time_zone,
            first_day=settings.start_day,
            last_day=settings.end_day,
            threads=settings.threads,
            memory_limit=settings.memory_limit,
        )

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was parsed."""
        self._stack.close()
        self._store = None
        self._split.clear()
        self._tables.clear()
        self._whole.clear()

    # ---- events ------------------------------------------------------------------------------------------------

    def read_day(self, day: dt.date, con: duckdb.DuckDBPyConnection) -> DayRead:
        """Read one day into `seg_accepted`, `seg_rejected` and `seg_files` of `con`.

        Lines of users and products files that are refused, and these files' accounts, are included.

        Raises:
            LandingError: no file of a feed whose closed days are not normal, or a file that cannot be read.
            ConfigError: an expression that does not fit the file's columns.
        """
        check_landing(self.landing)
        for view in ("seg_accepted", "seg_accepted_lines", "seg_all"):
            con.execute(f"drop view if exists {view}")
        for table in (*_TABLES_OF_A_READ, "seg_rejected", "seg_files"):
            con.execute(f"drop table if exists {table}")
        contract = ", ".join(f"{identifier(c)} {k}" for c, k in RAW_EVENTS.items())
        con.execute(f"create temp table seg_staged (file_no integer, line bigint, {contract})")
        con.execute(
            "create temp table seg_refused "
            "(file_no integer, line bigint, reason varchar, field varchar, original varchar)"
        )
        accounts: list[FileAccount] = []
        contents: dict[str, dict[str, str]] = {EVENTS: {}}
        stats: dict[str, list[LandingFile]] = {EVENTS: []}
        everything: list[LandingFile] = []
        for name in sorted(self.source.feeds):
            feed = self.source.feeds[name]
            files = files_of(self.source, self.landing, name, day)
            everything += files
            stats[EVENTS] += files
            if feed.many_days:
                self._need_day(name, feed, files, day)
                for file in files:
                    account = self._take_split(self._split_of(file, feed), day, con, len(accounts))
                    if account is not None:
                        accounts.append(account)
                        contents[EVENTS][file.relative] = account.sha256
                continue
            if not files and feed.closed_days == "error":
                wanted = " or ".join(p.glob(day) for p in feed.files)
                raise LandingError(
                    f"no data yet: feed {name} has no landing file for {day} ({self.landing}/{wanted}); "
                    "wait for it, or say closed_days: normal in the source when days without a file are normal"
                )
            read = self._read_event_files(files, name, day, con, len(accounts))
            accounts += read
            contents[EVENTS].update({a.source_file: a.sha256 for a in read})
        for kind in (USERS, PRODUCTS):
            if getattr(self.source, kind) is None:
                continue
            files = files_of(self.source, self.landing, kind, day)
            everything += files
            contents[kind], stats[kind] = {}, files
            for file in files:
                account = self._account_table_file(file, kind, con, len(accounts))
                accounts.append(account)
                contents[kind][file.relative] = account.sha256
        one_feed_each(everything)
        self._finish(con, accounts)
        reasons = con.execute(
            "select reason, coalesce(field, ''), count(*) n, arg_min(source_file, (source_file, line)), "
            "arg_min(line, (source_file, line)) from seg_rejected group by 1, 2 order by n desc, 1, 2"
        ).fetchall()
        return DayRead(
            day=day,
            files=accounts,
            reasons=reasons,
            digests={k: files_digest(self.source, c, self.time_zone) for k, c in contents.items()},
            stats={k: day_stat(self.source, f, self.time_zone) for k, f in stats.items()},
        )

    def _finish(self, con: duckdb.DuckDBPyConnection, accounts: list[FileAccount]) -> None:
        """Derive ids, find duplicates, count, and shape the tables."""
        con.execute("create temp table seg_names (file_no integer, source_file varchar)")
        names = {"file_no": range(len(accounts)), "source_file": [a.source_file for a in accounts]}
        _insert(con, "seg_names", names)
        columns = [c for c in RAW_EVENTS if c != "event_id"]
        content = ", chr(31), ".join(f"coalesce({identifier(c)}::varchar, chr(1))" for c in columns)
        listed = ", ".join(identifier(c) for c in columns)
        # An id made from content: the n-th copy of a line in its file is a real event of its own (two of the same
        # in one basket), and the n-th copy in another file is the same event delivered again.
        con.execute(
            f"""create temp table seg_derived as
            with ids as (select *, md5(concat({content})) as content from seg_staged where event_id is null),
            copies as (select file_no, content from ids group by all having count(*) > 1),
            numbered as (
              select ids.*, 1 as copy from ids anti join copies using (file_no, content)
              union all
              select ids.*, row_number() over (partition by file_no, content order by line)
              from ids semi join copies using (file_no, content))
            select file_no, line, 'line-' || content || case when copy > 1 then '-' || copy else '' end as event_id,
                   {listed} from numbered"""
        )
        con.execute("create temp view seg_all as select * from seg_staged where event_id is not null "
                    "union all select * from seg_derived")  # fmt: skip
        everything = ", chr(31), ".join(f"coalesce({identifier(c)}::varchar, chr(1))" for c in RAW_EVENTS)
        con.execute(
            f"""create temp table seg_repeats as
            with twice as (select hash(event_id) as h from seg_all group by 1 having count(*) > 1),
            these as (select a.*, md5(concat({everything})) as content from seg_all a
                     semi join twice on twice.h = hash(a.event_id))
            select file_no, line, row_number() over (
                     partition by event_id order by event_time, content, source_file, line) > 1 as extra
            from these join seg_names using (file_no)"""
        )
        con.execute("delete from seg_repeats where not extra")
        kept = ", ".join(identifier(c) for c in RAW_EVENTS)
        # A view: the lines are held once, and publishing makes its own sorted copy.
        con.execute(
            """create temp view seg_accepted_lines as
            select a.* from seg_all a anti join seg_repeats r on a.file_no = r.file_no and a.line = r.line"""
        )
        con.execute(f"create temp view seg_accepted as select {kept} from seg_accepted_lines")
        counts = con.execute(
            "select 'accepted', file_no, count(*) from seg_accepted_lines group by 2 "
            "union all select 'duplicates', file_no, count(*) from seg_repeats group by 2 "
            "union all select 'rejected', file_no, count(*) from seg_refused group by 2"
        ).fetchall()
        for column, number, count in counts:
            setattr(accounts[number], column, getattr(accounts[number], column) + count)
        con.execute(
            "create temp table seg_rejected as select source_file, line, reason, nullif(field, '') as field, original "
            "from seg_refused join seg_names using (file_no)"
        )
        shape = ", ".join(f"{identifier(c)} {k}" for c, k in LANDED_FILES.items())
        con.execute(f"create temp table seg_files ({shape})")
        _insert(con, "seg_files", {c: [getattr(a, c) for a in accounts] for c in LANDED_FILES})

    def _mapping(self, name: str) -> FeedMapping:
        feed = self.source.all_feeds()[name]
        return FeedMapping(
            feed,
            f"source {self.source.name}: feed {name}",
            feed_zone=self.source.zone_of(feed),
            shop_zone=self.time_zone,
            first=self.first_day,
            last=self.last_day,
        )

    def _read_event_files(
        self, files: Sequence[LandingFile], name: str, day: dt.date, con: duckdb.DuckDBPyConnection, first: int
    ) -> list[FileAccount]:
        """Read the files of a feed into `seg_staged` and `seg_refused`, as the files `first` and following."""
        mapping = self._mapping(name)
        feed = self.source.feeds[name]
        accounts = [FileAccount(f.relative, name, f.size, "", 0) for f in files]

        def pieces() -> Iterator[tuple[int, Records, pa.Table]]:
            for number, (file, account) in enumerate(zip(files, accounts, strict=True), first):
                for shape, table in _chunks(file, feed, con, account):
                    shape.day = day
                    _note(account, mapping, shape)
                    yield number, shape, table

        contract = ", ".join(identifier(c) for c in RAW_EVENTS)
        numbers = f"(line // {_FILE})::integer, line % {_FILE}"
        with _zone(con, mapping.feed_zone):
            for shape, table in _put_together(pieces()):
                with _registered(con, table):
                    con.execute(
                        f"create or replace temp table seg_chunk_rows as {mapping.events_sql(con, shape, 'seg_chunk')}"
                    )
                con.execute(
                    f"insert into seg_staged select {numbers}, {contract} from seg_chunk_rows where reason is null"
                )
                con.execute(
                    f"insert into seg_refused select {numbers}, reason, field, original "
                    "from seg_chunk_rows where reason is not null"
                )
        con.execute("drop table if exists seg_chunk_rows")
        return accounts

    # ---- files that hold many days -----------------------------------------------------------------------------

    def _split_of(self, file: LandingFile, feed: EventFeed) -> "_SplitFile":
        """Parse a file of many days once, and keep its lines by day."""
        key = (file.feed, *file.stat_key())
        if key in self._split:
            return self._split[key]
        store = self._open_store()
        number = len(self._split)
        mapping = self._mapping(file.feed)
        account = FileAccount(file.relative, file.feed, file.size, "", 0)
        parts = name_parts(feed, file.relative)
        contract = ", ".join(identifier(c) for c in RAW_EVENTS)
        header: list[str] = []
        with _zone(store, mapping.feed_zone):
            for shape, table in _chunks(file, feed, store, account):
                shape.name_parts = parts
                if feed.format_of(file.relative) == "csv":
                    # texts of JSON and Parquet records name their columns, lines of CSV do not
                    header = list(shape.columns)
                _note(account, mapping, shape)
                with _registered(store, table):
                    sql = mapping.events_sql(store, shape, "seg_chunk")
                    store.execute(f"create or replace temp table seg_chunk_rows as {sql}")
                store.execute(
                    f"insert into seg_split select {number}, day, line, line_hash, line_bytes, reason, field, "
                    f"original, {contract} from seg_chunk_rows"
                )
        store.execute("drop table if exists seg_chunk_rows")
        # Lines whose day cannot be told are accounted for under one stated day: the first one the file holds.
        row = store.execute(f"select min(day), max(day) from seg_split where file_no = {number}").fetchone()
        first, last = row or (None, None)
        store.execute(
            f"update seg_split set day = ? where file_no = {number} and day is null", [first or self.first_day]
        )
        days = {
            d: (n, b, h)
            for d, n, b, h in store.execute(
                "select day, count(*), sum(line_bytes)::bigint, "
                "md5(concat(count(*), '|', bit_xor(line_hash), '|', sum(line_hash::hugeint), ?)) "
                f"from seg_split where file_no = {number} group by 1",
                ["".join("|" + c for c in header)],
            ).fetchall()
        }
        if sum(n for n, _, _ in days.values()) != account.lines_read:
            raise SegAssetsError(f"{file.relative}: lines do not reconcile after splitting by day; report this defect")
        self._split[key] = _SplitFile(number, account, days, first, last)
        return self._split[key]

    def _take_split(
        self, split: "_SplitFile", day: dt.date, con: duckdb.DuckDBPyConnection, number: int
    ) -> FileAccount | None:
        if day not in split.days:
            return None
        lines, size, content = split.days[day]
        contract = ", ".join(identifier(c) for c in RAW_EVENTS)
        store = self._open_store()
        where = f"file_no = {split.number} and day = date '{day}'"
        for target, columns, test in (
            ("seg_staged", f"line, {contract}", "reason is null"),
            ("seg_refused", "line, reason, field, original", "reason is not null"),
        ):
            rows = store.sql(f"select {columns} from seg_split where {where} and {test} order by line").to_arrow_table()
            con.register("seg_taken", rows)
            con.execute(f"insert into {target} select {number}, * from seg_taken")
            con.unregister("seg_taken")
        whole = split.account
        return FileAccount(
            whole.source_file, whole.feed, size, content, lines, unmapped=whole.unmapped, absent=whole.absent
        )

    def _need_day(self, name: str, feed: EventFeed, files: list[LandingFile], day: dt.date) -> None:
        """Raise LandingError when a day lies outside of what the files hold and closed days are not normal."""
        if feed.closed_days == "normal":
            return
        splits = [self._split_of(f, feed) for f in files]
        firsts = [s.first for s in splits if s.first]
        lasts = [s.last for s in splits if s.last]
        if not firsts or not min(firsts) <= day <= max(lasts):
            held = f"they hold {min(firsts)} .. {max(lasts)}" if firsts else "there are none with a valid day"
            raise LandingError(
                f"no data yet: feed {name} has no line of {day} or later in its {len(files)} landing files ({held}); "
                "wait for it, or say closed_days: normal in the source when days without lines are normal"
            )

    def _open_store(self) -> duckdb.DuckDBPyConnection:
        if self._store is None:
            self._store = self._stack.enter_context(connect(self._threads, self._memory_limit, private=True))
            seal(self._store)
            contract = ", ".join(f"{identifier(c)} {k}" for c, k in RAW_EVENTS.items())
            self._store.execute(
                "create temp table seg_split (file_no integer, day date, line bigint, line_hash ubigint, "
                f"line_bytes bigint, reason varchar, field varchar, original varchar, {contract})"
            )
        return self._store

    def days_held(self) -> list[dt.date]:
        """Days that the files of many days hold, oldest first. Parses files not parsed yet."""
        found: set[dt.date] = set()
        for name, feed in self.source.feeds.items():
            if feed.many_days:
                for file in files_of(self.source, self.landing, name):
                    found |= set(self._split_of(file, feed).days)
        return sorted(found)

    # ---- users, products ---------------------------------------------------------------------------------------

    def read_table(
        self, kind: str, day: dt.date, con: duckdb.DuckDBPyConnection, yesterday: str | None = None
    ) -> TableRead:
        """Users or products as known on a day. Lines of the day's files are in table `seg_table` of `con`.

        An undated file is the table, every day. Dated files update yesterday's table row by row, the latest line
        of a key wins, and a day without a file carries yesterday's table forward. No feed: an empty table.

        Args:
            kind: `users` or `products`.
            day: the day.
            con: connection to read on.
            yesterday: SQL of yesterday's table; None on the first day.
        """
        contract, key = _CONTRACTS[kind]
        shape = ", ".join(f"{identifier(c)} {k}" for c, k in contract.items())
        con.execute(f"create or replace temp table seg_table ({shape})")
        feed: TableFeed | None = getattr(self.source, kind)
        files: list[LandingFile] = []
        accounts: list[FileAccount] = []
        reasons: list[tuple[str, str, int, str, int]] = []
        if feed is not None:
            check_landing(self.landing)
            files = files_of(self.source, self.landing, kind, day)
            if not files and not feed.dated:
                wanted = " or ".join(p.text for p in feed.files)
                raise LandingError(
                    f"{kind}: the undated landing file {self.landing}/{wanted} is not there; "
                    f"put it there, or leave {kind} out of the source"
                )
            accounts, reasons = self._table_of(files, kind, con, keep=not feed.dated)
        columns = ", ".join(identifier(c) for c in contract)
        query = f"select {columns} from seg_table"
        if feed is not None and feed.dated and yesterday is not None:
            # Not put together here: publishing makes its own sorted copy, and one copy of a million users is enough.
            query += f" union all select {columns} from ({yesterday}) as before anti join seg_table using ({key})"
        return TableRead(
            day,
            query,
            accounts,
            files_digest(self.source, {a.source_file: a.sha256 for a in accounts}, self.time_zone),
            day_stat(self.source, files, self.time_zone),
            reasons,
        )

    def _table_of(
        self, files: list[LandingFile], kind: str, con: duckdb.DuckDBPyConnection, *, keep: bool
    ) -> tuple[list[FileAccount], list[tuple[str, str, int, str, int]]]:
        """Fill `seg_table` from files; an undated table is parsed once a run."""
        key = (kind, *(f.stat_key() for f in files))
        if keep and key in self._whole:
            accounts, reasons, rows = self._whole[key]
            con.register("seg_taken", rows)
            con.execute("insert into seg_table select * from seg_taken")
            con.unregister("seg_taken")
            return accounts, reasons
        accounts, reasons = self._read_table_files(files, kind, con)
        if keep:
            self._whole[key] = (accounts, reasons, con.sql("select * from seg_table").to_arrow_table())
        return accounts, reasons

    def _read_table_files(
        self, files: list[LandingFile], kind: str, con: duckdb.DuckDBPyConnection
    ) -> tuple[list[FileAccount], list[tuple[str, str, int, str, int]]]:
        contract, key = _CONTRACTS[kind]
        columns = ", ".join(identifier(c) for c in contract)
        shape = ", ".join(f"{identifier(c)} {k}" for c, k in contract.items())
        con.execute(f"create or replace temp table seg_lines (file_no integer, line bigint, {shape})")
        con.execute(
            "create or replace temp table seg_table_refused "
            "(file_no integer, line bigint, reason varchar, field varchar, original varchar)"
        )
        accounts = []
        for number, file in enumerate(files):
            accounts.append(self._parse_table_file(file, kind, con, number))
        # Files in the order of their names, lines in the order of the file: the last one wins.
        con.execute(
            f"insert into seg_table select {columns} from seg_lines "
            f"qualify row_number() over (partition by {key} order by file_no desc, line desc) = 1"
        )
        won = con.execute(
            f"select file_no, count(*) filter (where n = 1), count(*) filter (where n > 1) from (select file_no, "
            f"row_number() over (partition by {key} order by file_no desc, line desc) as n from seg_lines) group by 1"
        ).fetchall()
        for number, accepted, duplicates in won:
            accounts[number].accepted, accounts[number].duplicates = accepted, duplicates
        for number, rejected in con.execute("select file_no, count(*) from seg_table_refused group by 1").fetchall():
            accounts[number].rejected = rejected
        reasons = [
            (reason, said, n, accounts[number].source_file, line)
            for reason, said, n, number, line in con.execute(
                "select reason, coalesce(field, ''), count(*) n, arg_min(file_no, (file_no, line)), "
                "arg_min(line, (file_no, line)) from seg_table_refused group by 1, 2 order by n desc, 1, 2"
            ).fetchall()
        ]
        con.execute("drop table seg_lines")
        return accounts, reasons

    def _parse_table_file(
        self, file: LandingFile, kind: str, con: duckdb.DuckDBPyConnection, number: int
    ) -> FileAccount:
        contract, key = _CONTRACTS[kind]
        feed = self.source.all_feeds()[kind]
        mapping = self._mapping(kind)
        account = FileAccount(file.relative, kind, file.size, "", 0)
        columns = ", ".join(identifier(c) for c in contract)
        with _zone(con, mapping.feed_zone):
            for shape, table in _chunks(file, feed, con, account):
                _note(account, mapping, shape)
                with _registered(con, table):
                    sql = mapping.table_sql(con, shape, "seg_chunk", contract, key)
                    con.execute(f"create or replace temp table seg_chunk_rows as {sql}")
                con.execute(
                    f"insert into seg_lines select {number}, line, {columns} from seg_chunk_rows where reason is null"
                )
                con.execute(
                    f"insert into seg_table_refused select {number}, line, reason, field, original "
                    "from seg_chunk_rows where reason is not null"
                )
        con.execute("drop table if exists seg_chunk_rows")
        return account

    def _account_table_file(
        self, file: LandingFile, kind: str, con: duckdb.DuckDBPyConnection, number: int
    ) -> FileAccount:
        """Account of one users or products file, its refused lines added to `seg_refused`. Parsed once a run."""
        key = (kind, *file.stat_key())
        if key not in self._tables:
            contract, _ = _CONTRACTS[kind]
            shape = ", ".join(f"{identifier(c)} {k}" for c, k in contract.items())
            con.execute(f"create or replace temp table seg_table ({shape})")
            accounts, _ = self._read_table_files([file], kind, con)
            refused = con.sql("select line, reason, field, original from seg_table_refused").to_arrow_table()
            con.execute("drop table seg_table")
            con.execute("drop table seg_table_refused")
            self._tables[key] = (accounts[0], refused)
        account, refused = self._tables[key]
        con.register("seg_taken", refused)
        con.execute(f"insert into seg_refused select {number}, * from seg_taken")
        con.unregister("seg_taken")
        # its refused lines are counted with all the others
        return dataclasses.replace(account, rejected=0)

    # ---- digests -----------------------------------------------------------------------------------------------

    def contents(self, day: dt.date, kind: str) -> dict[str, str]:
        """Content hash of each file that holds lines of a day, by its name, as `read_day` and `read_table` give it."""
        found: dict[str, str] = {}
        for name in feeds_of(self.source, kind):
            spec = self.source.all_feeds()[name]
            for file in files_of(self.source, self.landing, name, day):
                if isinstance(spec, EventFeed) and spec.many_days:
                    held = self._split_of(file, spec).days.get(day)
                    if held is not None:
                        found[file.relative] = held[2]
                else:
                    found[file.relative] = sha256_of(file.path)
        return found

    def digest(self, contents: Mapping[str, str]) -> str:
        """Exact landing digest of a day's files of a kind."""
        return files_digest(self.source, contents, self.time_zone)

    def size(self, day: dt.date, kinds: Sequence[str]) -> int:
        """Bytes of a day's landing files."""
        return sum(f.size for f in day_files(self.source, self.landing, day, kinds))

    def stat(self, day: dt.date, kinds: Sequence[str]) -> str:
        """Cheap fingerprint of a day."""
        return day_stat(self.source, day_files(self.source, self.landing, day, kinds), self.time_zone)


@dataclass
class _SplitFile:
    """A parsed file of many days: day -> (lines, bytes, content hash)."""

    number: int
    account: FileAccount
    days: Mapping[dt.date, tuple[int, int, str]]
    first: dt.date | None
    last: dt.date | None


def _note(account: FileAccount, mapping: FeedMapping, shape: Records) -> None:
    if shape.columns:
        account.unmapped = mapping.unmapped(shape)
        have = {c.casefold() for c in shape.columns}
        account.absent = [c for c in mapping.feed.read_columns if c.casefold() not in have]


def _insert(con: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, Sequence]) -> None:
    """Rows at once: one by one, two thousand take five seconds."""
    con.register("seg_taken", pa.table({c: pa.array(values) for c, values in columns.items()}))
    con.execute(f"insert into {table} select * from seg_taken")
    con.unregister("seg_taken")


@contextlib.contextmanager
def _zone(con: duckdb.DuckDBPyConnection, zone: str) -> Iterator[None]:
    """Read naive times in a feed's zone: TIMESTAMPTZ casts use the connection's."""
    con.execute(f"set timezone = {literal(zone)}")
    try:
        yield
    finally:
        con.execute("set timezone = 'UTC'")


def _chunks(
    file: LandingFile, feed: EventFeed | TableFeed, con: duckdb.DuckDBPyConnection, account: FileAccount
) -> Iterator[tuple[Records, pa.Table]]:
    """The file's records chunk by chunk, counting lines and sealing what was read."""
    kind = feed.format_of(file.relative)
    seal_ = FileSeal()
    if kind == "parquet":
        for table, columns in parquet_tables(file.path, con):
            account.lines_read += len(table)
            yield Records(columns), table
        account.sha256 = sha256_of(file.path)
        return
    if kind == "jsonl":
        for table in jsonl_records(file.path, seal_, feed.encoding, feed.max_line_bytes):
            account.lines_read += len(table)
            if len(table):
                yield Records({}, json=True), table
    else:
        needed = [c for c in feed.read_columns if c not in feed.optional]
        csv = CsvFile(file.path, feed.csv, feed.encoding, feed.max_line_bytes, needed)
        for table in csv.records():
            account.lines_read += len(table)
            yield Records(dict.fromkeys(csv.columns or (), "VARCHAR")), table
        seal_ = csv.seal
        if csv.columns is not None and not account.lines_read:
            account.unmapped = []
    account.sha256, account.bytes = seal_.sha256, seal_.size


def _put_together(pieces: Iterator[tuple[int, Records, pa.Table]]) -> Iterator[tuple[Records, pa.Table]]:
    """Records of small files that look alike as one table, their files' numbers above the lines'.

    Mapping costs 30 ms of planning, whether a file has one line or a hundred thousand.
    """
    held: dict[tuple, tuple[Records, list[pa.Table]]] = {}
    size = 0
    for number, shape, table in pieces:
        line = pc.add(table[LINE], pa.scalar(number * _FILE, pa.int64()))
        table = table.set_column(table.schema.get_field_index(LINE), LINE, line).replace_schema_metadata()
        key = (shape.json, tuple(shape.columns.items()), str(table.schema))
        held.setdefault(key, (shape, []))[1].append(table)
        size += table.nbytes
        if size >= TOGETHER:
            yield from ((alike, pa.concat_tables(tables)) for alike, tables in held.values())
            held, size = {}, 0
    yield from ((alike, pa.concat_tables(tables)) for alike, tables in held.values())


@contextlib.contextmanager
def _registered(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[None]:
    con.register("seg_chunk", pa.Table.from_batches(table.to_batches(max_chunksize=BATCH), table.schema))
    try:
        yield
    finally:
        con.unregister("seg_chunk")


__all__ = ["REJECTED_EVENTS", "DayRead", "FileAccount", "Reader", "TableRead", "seal"]
