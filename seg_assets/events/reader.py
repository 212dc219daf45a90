"""Read landing files of a day as contract tables: accepted events, rejected lines, and an account per file.

Per file, always: lines read = accepted + left out + rejected + duplicates. The number of lines comes from the splitter,
the others from the tables, so the sum is a real check. What is read never depends on file names or on the order
of files.

Not here: publishing what was read (`events.assets`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from seg_assets.core.calendar import last_closed_day
from seg_assets.core.errors import LandingError
from seg_assets.core.settings import Settings
from seg_assets.events import day as day_tables
from seg_assets.events.accounts import DayRead, FileAccount, Rejections, TableRead
from seg_assets.events.landing import (
    LandingFile,
    check_landing,
    day_files,
    day_stat,
    feeds_by_kind,
    files_digest,
    files_of,
    one_feed_each,
    sha256_of,
)
from seg_assets.events.many_days import DayOfFile, ManyDayFiles
from seg_assets.events.mapping import FeedMapping
from seg_assets.events.select_files import SelectFiles, whole_feeds
from seg_assets.events.source import KEYED_TABLES, EventFeed, Source, TableFeed, load_source
from seg_assets.events.store import REJECTED, TABLE_ROWS, column_names, column_types, rejections
from seg_assets.events.users_products import TableFiles


class Reader:
    """Reads days of one landing zone. Make one per run: files that hold many days are then parsed once.

    Args:
        source: the mapping.
        landing: the landing folder.
        time_zone: the shop's zone; it decides which day an event is of.
        first_day, last_day: the calendar.
        last_closed: the last day that is over: lines of later days are no evidence that a day has landed.
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
        last_closed: dt.date = dt.date.max,
        threads: int = 2,
        memory_limit: str = "8GB",
    ) -> None:
        self.source = source
        self.landing = landing
        self.time_zone = time_zone
        self.first_day = first_day
        self.last_day = last_day
        self._many_days = ManyDayFiles(self._mapping, first_day, last_closed, threads, memory_limit)
        self._table_files = TableFiles(self._mapping)
        self._whole: dict[str, SelectFiles] = {}
        for names in whole_feeds(source):
            files = SelectFiles(
                source, names, self._mapping, self._files_of, first_day, last_closed, threads, memory_limit
            )
            self._whole |= dict.fromkeys(names, files)

    @classmethod
    def of(cls, settings: Settings, source: Source | None = None) -> "Reader":
        """Return the reader of a shop."""
        assert settings.landing is not None
        return cls(
            (source or load_source(settings.source)).of_shop(settings.currency),
            settings.landing,
            time_zone=settings.time_zone,
            first_day=settings.start_day,
            last_day=settings.end_day,
            last_closed=last_closed_day(settings),
            threads=settings.threads,
            memory_limit=settings.memory_limit,
        )

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was parsed."""
        self._many_days.close()
        self._table_files.close()
        for files in self._whole.values():
            files.close()

    def _files_of(self, name: str, day: dt.date | None) -> list[LandingFile]:
        return files_of(self.source, self.landing, name, day)

    def _mapping(self, name: str) -> FeedMapping:
        return FeedMapping.of(self.source, name, self.time_zone, self.first_day, self.last_day)

    # ---- events ------------------------------------------------------------------------------------------------

    def read_day(self, day: dt.date, con: duckdb.DuckDBPyConnection) -> DayRead:
        """Read one day into the tables ACCEPTED, REJECTED and FILES (`events.store`) of `con`.

        Rejected lines of users and products files, and these files' accounts, are included.

        Raises:
            LandingError: no file of a feed whose closed days are not normal, or a file that cannot be read.
            ConfigError: an expression that does not fit the file's columns.
        """
        check_landing(self.landing)
        day_tables.create_tables(con)
        accounts: list[FileAccount] = []
        files: dict[str, list[LandingFile]] = {}
        contents: dict[str, dict[str, str]] = {}
        for kind, feeds in feeds_by_kind(self.source).items():
            files[kind], contents[kind] = [], {}
            for name in feeds:
                files_of_feed = files_of(self.source, self.landing, name, day)
                read = self._read_feed(name, files_of_feed, day, con, len(accounts))
                files[kind] += files_of_feed
                contents[kind].update({account.source_file: account.sha256 for account in read})
                accounts += read
        one_feed_each(self.source, (file for files_of_kind in files.values() for file in files_of_kind))
        day_tables.finish(con, accounts)
        return DayRead(
            files=accounts,
            rejections=rejections(con, REJECTED),
            digests={kind: self.digest(content) for kind, content in contents.items()},
            stats={kind: self._stat(of_kind) for kind, of_kind in files.items()},
            refused=day_tables.refused_feeds(con, accounts, self.source.feeds),
        )

    def _read_feed(
        self, name: str, files: list[LandingFile], day: dt.date, con: duckdb.DuckDBPyConnection, first: int
    ) -> list[FileAccount]:
        """Read the files of one feed that can hold a day, as the files numbered `first` and following."""
        feed = self.source.all_feeds()[name]
        if isinstance(feed, TableFeed):
            return [self._table_files.account(name, file, con, number) for number, file in enumerate(files, first)]
        if why := self._no_data_yet(name, feed, files, day):
            raise LandingError(why)
        if name in self._whole:
            return self._whole[name].copy_day(name, day, con, first)
        if feed.many_days:
            accounts: list[FileAccount] = []
            for file in files:
                account = self._many_days.copy_day(file, day, con, first + len(accounts))
                if account is not None:
                    accounts.append(account)
            return accounts
        return day_tables.read_files(con, self._mapping(name), files, day, first)

    def no_data_yet(self, day: dt.date) -> str:
        """Say which feed has no data of a day yet, and what to do; '' when the day can be read."""
        return next(filter(None, self._waiting(day).values()), "")

    def feed_without_data(self, day: dt.date) -> str:
        """Return the feeds that have no data of a day yet, '' when the day can be read."""
        return ", ".join(name for name, why in self._waiting(day).items() if why)

    def _waiting(self, day: dt.date) -> dict[str, str]:
        """Return, by feed, why a day waits for it; '' where it does not."""
        return {
            name: self._no_data_yet(name, feed, files_of(self.source, self.landing, name, day), day)
            for name, feed in sorted(self.source.feeds.items())
        }

    def _no_data_yet(self, name: str, feed: EventFeed, files: Sequence[LandingFile], day: dt.date) -> str:
        if feed.closed_days == "normal":
            return ""
        if name in self._whole and feed.many_days:
            return self._whole[name].no_data_yet(name, day)
        if feed.many_days:
            why = self._many_days.no_data_yet(name, files, day)
            # A file of a month tells nothing of the days at its edge; those of other months do.
            return why and self._many_days.no_data_yet(name, files_of(self.source, self.landing, name), day)
        if files:
            return ""
        wanted = " or ".join(p.glob(day) for p in feed.files)
        return (
            f"no data yet: feed {name} has no landing file for {day} ({self.landing}/{wanted}); "
            "wait for it, or say closed_days: normal in the source when days without a file are normal"
        )

    def lost_of(self, file: LandingFile, day: dt.date, lines: int, content: str) -> bool:
        """Return whether a file of many days no longer holds a day that it held, or holds less of it at its edge.

        Args:
            file: as it is now.
            day: the day.
            lines: how many it held of the day.
            content: the hash of those.
        """
        feed = self.source.all_feeds()[file.feed]
        if not isinstance(feed, EventFeed) or not feed.many_days or file.feed in self._whole:
            # Records that are told again count where they were told first, whichever file that is.
            return False
        days = self._many_days.days_of(file)
        part = days.get(day)
        return part is None or (part.content_hash != content and part.lines < lines and day == min(days))

    def days_held(self) -> list[dt.date]:
        """Return the days that the files of many days hold, oldest first. Parses files not parsed yet."""
        days: set[dt.date] = set()
        for name, feed in self.source.feeds.items():
            if feed.many_days:
                for file in files_of(self.source, self.landing, name):
                    days |= set(self._days_of(file))
        return sorted(days)

    def _days_of(self, file: LandingFile) -> Mapping[dt.date, DayOfFile]:
        """Return what a file of many days holds of each."""
        return self._whole[file.feed].days_of(file) if file.feed in self._whole else self._many_days.days_of(file)

    # ---- users, products ---------------------------------------------------------------------------------------

    def read_table(
        self, kind: str, day: dt.date, con: duckdb.DuckDBPyConnection, yesterday: str | None = None
    ) -> TableRead:
        """Read users or products as known on a day. Rows of the day's files are in TABLE_ROWS (`events.store`).

        An undated file is the table, every day. Dated files update yesterday's table row by row, the latest line
        of a key wins, and a day without a file carries yesterday's table forward. No feed: an empty table.

        Args:
            kind: `users` or `products`.
            day: the day.
            con: connection to read on.
            yesterday: SQL of yesterday's table; None on the first day.
        """
        contract, key = KEYED_TABLES[kind]
        feed: TableFeed | None = getattr(self.source, kind)
        files: list[LandingFile] = []
        accounts: list[FileAccount] = []
        refused: list[Rejections] = []
        if feed is None:
            con.execute(f"create or replace temp table {TABLE_ROWS} ({column_types(contract)})")
        else:
            check_landing(self.landing)
            files = files_of(self.source, self.landing, kind, day)
            if not files and not feed.dated:
                wanted = " or ".join(p.text for p in feed.files)
                raise LandingError(
                    f"{kind}: the undated landing file {self.landing}/{wanted} is not there; "
                    f"put it there, or leave {kind} out of the source"
                )
            accounts, refused = self._table_files.read(kind, files, con, undated=not feed.dated)
        columns = column_names(contract)
        query = f"select {columns} from {TABLE_ROWS}"
        if feed is not None and feed.dated and yesterday is not None:
            # A query, not a table: publishing makes its own sorted copy, and one copy of a million users is enough.
            query += f" union all select {columns} from ({yesterday}) as before anti join {TABLE_ROWS} using ({key})"
        return TableRead(
            query,
            accounts,
            self.digest({a.source_file: a.sha256 for a in accounts}),
            self._stat(files),
            refused,
        )

    def read_accounts(self, kind: str, day: dt.date, con: duckdb.DuckDBPyConnection) -> list[FileAccount]:
        """Read the accounts and rejected lines of a day's users or products files into FILES and REJECTED of `con`."""
        day_tables.create_tables(con)
        files = files_of(self.source, self.landing, kind, day) if getattr(self.source, kind) else []
        accounts = [self._table_files.account(kind, file, con, number) for number, file in enumerate(files)]
        day_tables.finish(con, accounts)
        return accounts

    # ---- digests -----------------------------------------------------------------------------------------------

    def contents(self, day: dt.date, kind: str) -> dict[str, str]:
        """Return the content hash of each file that holds lines of a day, by name, as the day's digest is made of."""
        hashes: dict[str, str] = {}
        for file in day_files(self.source, self.landing, day, (kind,)):
            feed = self.source.all_feeds()[file.feed]
            if isinstance(feed, EventFeed) and feed.many_days:
                part = self._days_of(file).get(day)
                if part is not None:
                    hashes[file.relative] = part.content_hash
            else:
                hashes[file.relative] = sha256_of(file.path)
        return hashes

    def digest(self, contents: Mapping[str, str]) -> str:
        """Return the exact landing digest of a day's files of a kind."""
        return files_digest(self.source, contents, self.time_zone)

    def stat(self, day: dt.date, kinds: Sequence[str]) -> str:
        """Return the cheap fingerprint of a day's files of these kinds."""
        return self._stat(day_files(self.source, self.landing, day, kinds))

    def _stat(self, files: Sequence[LandingFile]) -> str:
        return day_stat(self.source, files, self.time_zone, (self.first_day, self.last_day))
