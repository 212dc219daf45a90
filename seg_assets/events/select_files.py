"""Read files together, for feeds where what becomes of a line hangs on others: by a SELECT, or by versions of records.

The lines of every feed stand in a table as they were read. What was told again is set aside (`events.told_again`), the
SELECT runs over the rest, and its rows go through the rules of every other feed. A line may give several events, on
several days; it is counted once, on the first of them, and one refused event refuses it whole: half an order is worse
than none.

Not here: what a SELECT may be (`events.selects`), which lines of a record count (`events.told_again`), and what becomes
of a day's events (`events.day`).
"""

import contextlib
import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from seg_assets.core.errors import ConfigError, LandingError, SegAssetsError, did_you_mean
from seg_assets.core.sql import identifier, literal
from seg_assets.events.accounts import ON_PURPOSE_SQL, FileAccount
from seg_assets.events.contract import RAW_EVENTS
from seg_assets.events.day import BAD_LINES, GOOD_LINES
from seg_assets.events.expressions import quoted
from seg_assets.events.formats.names import LINE, PROBLEM, TEXT
from seg_assets.events.landing import LandingFile
from seg_assets.events.many_days import DayOfFile
from seg_assets.events.mapping import FeedMapping, RecordShape
from seg_assets.events.records import read_records
from seg_assets.events.selects import DELIVERY, FILE, LINE_NUMBER, OWN_COLUMNS, Check, create_macros, parse_select
from seg_assets.events.source import DECIDING, EventFeed, Source
from seg_assets.events.store import BATCH, CHUNK, close_file_access, column_names, column_types, insert_rows
from seg_assets.events.told_again import COUNTS, set_aside
from seg_assets.lake.connections import connect

# Lines as read of a feed; what the SELECT gives; its rows by the contract; and what became of each line.
_SELECTED, _ROWS, _OUTCOMES, _EVENTS = "seg_selected", "seg_rows", "seg_outcomes", "seg_events"
_REFUSED = "seg_refused_lines"
_OUTCOME_COLUMNS = (
    "file_no integer, line bigint, day date, state varchar, reason varchar, field varchar, original varchar, "
    "money decimal(18,2)"
)
_RESULT = (*RAW_EVENTS, *DECIDING)


@dataclass
class _Whole:
    """Files that were read together: their accounts and what each holds of each day, by number."""

    files: list[LandingFile]
    accounts: list[FileAccount]
    days: list[dict[dt.date, DayOfFile]]
    good: dict[str, tuple[dt.date | None, dt.date | None]]


class SelectFiles:
    """Files that are read together, in a DuckDB of their own: once a run, or once a day where names have the day.

    Args:
        source: the source.
        names: the feeds. Those without columns are read by the source's SELECT.
        mapping_of: the mapping of a feed, by its name.
        files_of: the files of a feed, of one day or all.
        first_day: of the calendar.
        last_closed: the last day that is over.
        threads, memory_limit: of the DuckDB.
    """

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        mapping_of: Callable[[str], FeedMapping],
        files_of: Callable[[str, dt.date | None], list[LandingFile]],
        first_day: dt.date,
        last_closed: dt.date,
        threads: int,
        memory_limit: str,
    ) -> None:
        self._names = names
        self._feeds: dict[str, EventFeed] = {name: source.feeds[name] for name in names}
        self._many_days = source.feeds[names[0]].many_days
        selected = self._feeds[names[0]].is_selected
        self._query = parse_select(source.select, tuple(names)) if selected and source.select else None
        self._where = f"source {source.name}: SELECT"
        self._mapping_of = mapping_of
        self._files_of = files_of
        self._first_day = first_day
        self._last_closed = last_closed
        self._limits = threads, memory_limit
        self._key: tuple | None = None
        self._whole = _Whole([], [], [], {})
        self._con: duckdb.DuckDBPyConnection | None = None
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        """Forget every file."""
        self._stack.close()
        self._con, self._key = None, None

    # ---- what was read -----------------------------------------------------------------------------------------

    def days_of(self, file: LandingFile) -> Mapping[dt.date, DayOfFile]:
        """Return what a file holds of each day."""
        whole = self._read(None)
        return next((days for f, days in zip(whole.files, whole.days, strict=True) if f == file), {})

    def no_data_yet(self, name: str, day: dt.date) -> str:
        """Say that a day lies outside of what the files of a feed give; '' when it lies inside."""
        whole = self._read(None)
        numbers = [n for n, file in enumerate(whole.files) if file.feed == name]
        first, last = whole.good.get(name, (None, None))
        if any(day in whole.days[n] for n in numbers) or (first and last and first <= day <= last):
            return ""
        held = f"they hold {first} .. {last}" if first else "there are none with a valid day"
        return (
            f"no data yet: feed {name} has no event of {day} or later in its {len(numbers)} landing files ({held}); "
            "wait for it, or say closed_days: normal in the source when days without events are normal"
        )

    def copy_day(self, name: str, day: dt.date, con: duckdb.DuckDBPyConnection, first: int) -> list[FileAccount]:
        """Copy what a feed's files give on a day to `con`, as the files numbered `first` on; return their accounts."""
        whole = self._read(None if self._many_days else day)
        accounts: list[FileAccount] = []
        for number, (file, account, days) in enumerate(zip(whole.files, whole.accounts, whole.days, strict=True)):
            part = days.get(day)
            if file.feed != name or (part is None and self._many_days):
                continue
            part_of = f"file_no = {number} and day = date '{day}'"
            events = f"select line, part, {column_names(RAW_EVENTS)} from {_EVENTS} where {part_of} order by 1, 2"
            bad = f"select line, reason, field, original, money from {_OUTCOMES} where {part_of} and state = 'bad'"
            for target, rows in ((GOOD_LINES, events), (BAD_LINES, f"{bad} order by 1")):
                arrow = self._open().sql(rows).to_arrow_table()
                insert_rows(con, target, arrow, first=str(first + len(accounts)))
            (repeats,) = self._row(f"select count(*) from {_OUTCOMES} where {part_of} and state = 'repeat'")
            part = part or DayOfFile(0, 0, "")
            copied = replace(account, lines_read=part.lines, duplicates=repeats)
            if self._many_days:
                copied = replace(copied, bytes=part.bytes, sha256=part.content_hash)
            accounts.append(copied)
        return accounts

    # ---- reading -----------------------------------------------------------------------------------------------

    def _read(self, day: dt.date | None) -> _Whole:
        """Read the files of a day, or all, unless they are those that were read last."""
        files = [file for name in self._names for file in self._files_of(name, day)]
        key = (day, *((f.feed, *f.stat_key()) for f in files))
        if key != self._key:
            self._key = None
            self._whole = _Whole(
                files, [FileAccount(f.relative, f.feed, f.size) for f in files], [{} for _ in files], {}
            )
            try:
                self._read_whole(day)
            except duckdb.OutOfMemoryException as error:
                raise LandingError(
                    f"{self._where}: {len(files)} files need more memory than memory_limit = {self._limits[1]}: "
                    f"{_first_line(error)}; raise SEG_ASSETS_MEMORY_LIMIT"
                ) from None
            self._key = key
        return self._whole

    def _read_whole(self, day: dt.date | None) -> None:
        con = self._open()
        for name in self._tables():
            con.execute(f"drop table if exists {identifier(name)}")
        con.execute(f"create or replace temp table {_OUTCOMES} ({_OUTCOME_COLUMNS})")
        con.execute("create or replace temp table seg_files (file_no integer, source_file varchar, feed varchar, "
                    "delivery date)")  # fmt: skip
        insert_rows(con, "seg_files", pa.table({
            "file_no": pa.array(range(len(self._whole.files)), pa.int32()),
            "source_file": pa.array([f.relative for f in self._whole.files], pa.string()),
            "feed": pa.array([f.feed for f in self._whole.files], pa.string()),
            "delivery": pa.array([self._delivery(f) for f in self._whole.files], pa.date32()),
        }))  # fmt: skip
        for name in self._names:
            self._load(name)
        checks = self._query.checks if self._query else ()
        self._refuse_by_column(checks)
        self._select()
        con.execute(
            f"create or replace temp table {_ROWS} (file_no integer, row_no bigint, line bigint, day date, "
            f"reason varchar, field varchar, {column_types(RAW_EVENTS)})"
        )
        for name in self._names:
            self._map(name, day)
        self._decide()
        self._count(day)
        for name in self._tables() - {_OUTCOMES, _EVENTS}:
            con.execute(f"drop table {identifier(name)}")

    def _delivery(self, file: LandingFile) -> dt.date | None:
        days = (pattern.day_of(file.relative) for pattern in self._feeds[file.feed].files)
        return next((day for day in days if day is not None), None)

    def _tables(self) -> set[str]:
        rows = self._open().execute("select table_name from duckdb_tables() where temporary").fetchall()
        return {name for (name,) in rows}

    def _names_of(self, name: str) -> list[str]:
        """Return the columns of a feed's files that something reads."""
        feed = self._feeds[name]
        names: dict[str, str] = {}
        words = [c for e in feed.words.values() for c in e.columns]
        said = [*feed.read_columns, *words, *feed.optional]
        if self._query:
            said += [*self._query.names, *(_RESULT if self._query.star else ())]
        for column in said:
            if column.casefold() not in OWN_COLUMNS:
                names.setdefault(column.casefold(), column)
        return list(names.values())

    def _load(self, name: str) -> None:
        """Read the files of a feed into a table of lines, and put what cannot be read, or is told again, aside."""
        con, feed, table = self._open(), self._feeds[name], _lines_of(name)
        wanted = self._names_of(name)
        mapping = self._mapping_of(name)
        con.execute(f"create temp table {table} (file_no integer, line bigint, text varchar, problem varchar)")
        have: dict[str, str] = {}
        lacking: dict[int, set[str]] = {}
        named = False
        for number, (file, account) in enumerate(zip(self._whole.files, self._whole.accounts, strict=True)):
            if file.feed != name:
                continue
            for shape, records in read_records(file, mapping, con, account):
                columns = wanted
                if not shape.json:
                    named = True
                    header = {c.casefold() for c in shape.columns}
                    columns = [c for c in wanted if c.casefold() in header]
                    lacking[number] = {c.casefold() for c in wanted} - header
                    account.unmapped = [c for c in shape.columns if c.casefold() not in {w.casefold() for w in wanted}]
                for column in columns:
                    if have.setdefault(column.casefold(), column) == column and column not in self._columns(table):
                        con.execute(f"alter table {table} add column {quoted(column)} varchar")
                self._insert(table, number, mapping.of_columns(columns), shape, records, columns)
        if not named:
            have = self._keys_of_json(table, wanted, have)
        else:
            self._refuse_lacking(table, feed, have, lacking)
        empty = not self._whole.files or not self._row(f"select count(*) from {table}")[0]
        for column in wanted if empty else feed.optional:
            if column.casefold() not in have:
                con.execute(f"alter table {table} add column {quoted(column)} varchar")
                have[column.casefold()] = column
        con.execute(
            f"insert into {_OUTCOMES} select file_no, line, null, 'bad', split_part(problem, ':', 1), "
            f"nullif(substr(problem, strpos(problem || ':', ':') + 1), ''), text, null from {table} "
            "where problem is not null"
        )
        set_aside(con, name, table, feed, list(have.values()), line_key=self._reads("line_key"))
        con.execute(
            f"insert into {_OUTCOMES} select c.file_no, c.line, null, c.state, c.reason, c.field, l.text, null "
            f"from {COUNTS} c join {table} l using (file_no, line) where c.state <> 'counts'"
        )
        if self._query:
            columns = ", ".join(f"l.{quoted(c)}" for c in have.values())
            con.execute(
                f"create or replace temp view {identifier(name)} as select f.source_file as {FILE}, "
                f"l.line as {LINE_NUMBER}, f.delivery as {DELIVERY}, c.line_key, c.refund_steps"
                f"{', ' + columns if columns else ''} from {table} l join seg_files f using (file_no) "
                f"join seg_counts_{name} c using (file_no, line)"
            )

    def _reads(self, column: str) -> bool:
        return bool(self._query and column in {n.casefold() for n in self._query.names})

    def _columns(self, table: str) -> set[str]:
        return {row[0] for row in self._open().execute(f"describe {table}").fetchall()}

    def _insert(
        self, table: str, number: int, mapping: FeedMapping, shape: RecordShape, records: pa.Table, columns: list[str]
    ) -> None:
        """Insert records of a file as texts."""
        con = self._open()
        con.register(CHUNK, pa.Table.from_batches(records.to_batches(max_chunksize=BATCH), records.schema))
        try:
            types = {c.casefold(): kind for c, kind in shape.columns.items()}
            texts = ", ".join(f"{_as_text(c, types.get(c.casefold(), 'VARCHAR'))} as {quoted(c)}" for c in columns)
            con.execute(
                f"insert into {table} by name select {number} as file_no, {LINE} as line, {TEXT} as text, "
                f"{PROBLEM} as problem{', ' + texts if texts else ''} from ({mapping.records(shape, CHUNK)})"
            )
        finally:
            con.unregister(CHUNK)

    def _keys_of_json(self, table: str, wanted: list[str], have: dict[str, str]) -> dict[str, str]:
        """Drop the columns that are no key of any record, so that they hide no name of the SELECT's own."""
        con = self._open()
        if not have or not self._row(f"select count(*) from {table}")[0]:
            return have
        counts = self._row("select " + ", ".join(f"count({quoted(c)})" for c in have.values()) + f" from {table}")
        for column, count in zip(list(have.values()), counts, strict=True):
            if count:
                continue
            key = literal("$." + quoted(column).replace('""', '\\"'))
            (known,) = self._row(
                f"select coalesce(bool_or(try(json_exists(text, {key}))), false) from {table} where problem is null"
            )
            if not known:
                con.execute(f"alter table {table} drop column {quoted(column)}")
                del have[column.casefold()]
        return have

    def _refuse_lacking(
        self, table: str, feed: EventFeed, have: Mapping[str, str], lacking: Mapping[int, set[str]]
    ) -> None:
        """Refuse the lines of files whose header lacks a column that other files of the feed have."""
        optional = {c.casefold() for c in (*feed.optional, *(c for names in feed.one_of for c in names))}
        for number, names in lacking.items():
            missing = sorted(names & have.keys() - optional)
            if missing:
                problem = literal(f"missing_column:{have[missing[0]]}")
                self._open().execute(
                    f"update {table} set problem = {problem} where file_no = {number} and problem is null"
                )

    # ---- the SELECT --------------------------------------------------------------------------------------------

    def _refuse_by_column(self, checks: Sequence[Check]) -> None:
        """Note the lines on which a macro was given a column that it cannot read."""
        con = self._open()
        con.execute(
            f"create or replace temp table {_REFUSED} (file_no integer, line bigint, reason varchar, field varchar)"
        )
        for name in self._names:
            table = _lines_of(name)
            columns = {c.casefold() for c in self._columns(table)}
            for check in checks:
                if check.column.casefold() in columns:
                    con.execute(
                        f"insert into {_REFUSED} select file_no, line, {literal(check.reason)}, "
                        f"{literal(check.column)} from {table} where problem is null and {check.test}"
                    )

    def _select(self) -> None:
        """Fill _SELECTED with the rows of the SELECT, or the lines themselves where there is none."""
        con = self._open()
        if self._query is None:
            return
        text = f"(\n{self._query.text}\n)"
        try:
            rows = con.execute(f"describe select * from {text}").fetchall()
            self._check_result([row[0] for row in rows])
            texts = ", ".join(
                f"{_as_text(column, kind)} as {quoted(column.lower())}"
                for column, kind, *_ in rows
                if column.lower() in _RESULT
            )
            con.execute(
                f"create temp table {_SELECTED} as select row_number() over () as row_no, {FILE}::varchar as {FILE}, "
                f"{LINE_NUMBER}::bigint as {LINE_NUMBER}, {texts} from {text}"
            )
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            raise ConfigError(
                f"{self._where}: {_first_line(error)}; a column that some files lack stands in `optional` of its feed"
            ) from None
        except duckdb.Error as error:
            raise LandingError(f"{self._where}: {_first_line(error)}{self._place_of(error)}; money(..) and try_cast "
                               "give null for what they cannot read") from None  # fmt: skip
        stray = con.execute(
            f"select s.{FILE}, s.{LINE_NUMBER} from {_SELECTED} s left join seg_files f on f.source_file = s.{FILE} "
            f"left join ({self._all_lines()}) l on l.file_no = f.file_no and l.line = s.{LINE_NUMBER} "
            "where l.line is null order by 1, 2 limit 1"
        ).fetchall()
        for file, line in stray:
            raise LandingError(f"{self._where}: gives line {line} of {file}, which no feed of it has; take file "
                               "and line from the relations as they are")  # fmt: skip

    def _all_lines(self) -> str:
        return " union all ".join(f"select file_no, line from seg_counts_{name}" for name in self._names)

    def _all_texts(self) -> str:
        return " union all ".join(f"select file_no, line, text from {_lines_of(name)}" for name in self._names)

    def _check_result(self, columns: Sequence[str]) -> None:
        names = [c.lower() for c in columns]
        allowed = [c for c in (FILE, LINE_NUMBER, *_RESULT) if c != "extra"]
        for name in names:
            if name not in allowed:
                raise ConfigError(f"{self._where}: gives the column {name}{did_you_mean(name, allowed)}, which the "
                                  f"contract has not; one of {', '.join(allowed)}")  # fmt: skip
        constant = all(feed.event_type for feed in self._feeds.values())
        for name in (FILE, LINE_NUMBER, "event_time", *(() if constant else ("event_type",))):
            if name not in names:
                raise ConfigError(f"{self._where}: must give the column {name}")
        if not {"user_id", "anonymous_id"} & set(names):
            raise ConfigError(f"{self._where}: must give the column user_id or anonymous_id")

    def _place_of(self, error: duckdb.Error) -> str:
        """Say in which column and line the value stands that a cast could not read, as far as the message has it."""
        match = re.search(r"(?:string|value|field) ['\"](.*?)['\"] ", str(error)) or re.search(
            r"['\"]([^'\"]*)['\"]", str(error)
        )
        if match is None:
            return ""
        con, value = self._open(), literal(match[1])
        for name in self._names:
            table = _lines_of(name)
            for column in sorted(self._columns(table) - {"file_no", "line", "text", "problem"}):
                rows = con.execute(
                    f"select source_file, line from {table} join seg_files using (file_no) "
                    f"where {quoted(column)} = {value} and problem is null order by 1, 2 limit 1"
                ).fetchall()
                if rows:
                    return f" (column {column}, first in {rows[0][0]}:{rows[0][1]})"
        return ""

    # ---- events and lines --------------------------------------------------------------------------------------

    def _map(self, name: str, day: dt.date | None) -> None:
        """Put the rows of a feed through the contract's rules."""
        con, mapping = self._open(), self._mapping_of(name)
        table = _lines_of(name)
        own = {LINE: "s.row_no", TEXT: "l.text", PROBLEM: "null::varchar"}
        if self._query:
            columns = [c for c in self._columns(_SELECTED) if c in _RESULT]
            relation = (
                f"{_SELECTED} s join seg_files f on f.source_file = s.{FILE} and f.feed = {literal(name)} "
                f"join {table} l on l.file_no = f.file_no and l.line = s.{LINE_NUMBER}"
            )
            place = "f.file_no, s.line"
            mapping = mapping.of_rows(columns)
        else:
            columns = [c for c in self._columns(table) if c not in ("file_no", "line", "text", "problem")]
            relation = (
                f"(select *, row_number() over () as row_no from {table} "
                f"join seg_counts_{name} using (file_no, line)) s join {table} l using (file_no, line)"
            )
            place = "s.file_no, s.line"
            mapping = mapping.of_lines()
        items = ", ".join(f"{sql} as {c}" for c, sql in own.items())
        values = "".join(f", s.{quoted(c)}" for c in columns)
        con.execute(f"create or replace temp table {CHUNK} as select {place}, {items}{values} from {relation}")
        shape = RecordShape(dict.fromkeys(columns, "VARCHAR"), day=day)
        con.execute(f"set timezone = {literal(mapping.feed_zone)}")
        try:
            con.execute(
                f"insert into {_ROWS} select c.file_no, m.line, c.line, m.day, m.reason, m.field, "
                f"{', '.join('m.' + identifier(c) for c in RAW_EVENTS)} "
                f"from ({mapping.sql(con, shape, CHUNK)}) m join {CHUNK} c on c.{LINE} = m.line"
            )
        finally:
            con.execute("set timezone = 'UTC'")
            con.execute(f"drop table if exists {CHUNK}")

    def _decide(self) -> None:
        """Decide what becomes of each line: refused, left out, or the events that it gives."""
        con = self._open()
        # The same id twice on one line: a join with two partners, or a line returned twice.
        con.execute(
            f"insert into {_REFUSED} select file_no, line, 'same_event_twice', 'event_id' from {_ROWS} "
            f"where reason is null and event_id is not null group by file_no, line, event_id having count(*) > 1"
        )
        con.execute(
            f"""create or replace temp table seg_decided as
            with rows as (
              select file_no, line, min(day) as day, count(*) filter (where reason is null) as good,
                     min(day) filter (where reason is null) as first_day,
                     arg_min({{'r': reason, 'f': field}}, row_no)
                       filter (where reason not in ({ON_PURPOSE_SQL})) as bad,
                     arg_min({{'r': reason, 'f': field}}, row_no) filter (where reason in ({ON_PURPOSE_SQL})) as aside,
                     sum(amount) filter (where reason = 'other_currency') as money
              from {_ROWS} group by 1, 2),
            refused as (select file_no, line, min({{'r': reason, 'f': field}}) as bad from {_REFUSED} group by 1, 2)
            select l.file_no, l.line, coalesce(rows.first_day, rows.day) as day,
                   coalesce(refused.bad, rows.bad, case when rows.line is null then
                     {{'r': 'dropped_by_select', 'f': null::varchar}} end) as bad,
                   coalesce(rows.good, 0) as good, rows.aside as aside, rows.money as money
            from ({self._all_lines()}) l left join rows using (file_no, line) left join refused using (file_no, line)"""
        )
        con.execute(
            f"insert into {_OUTCOMES} select d.file_no, d.line, d.day, 'bad', coalesce(d.bad.r, d.aside.r), "
            "coalesce(d.bad.f, case when d.bad is null then d.aside.f end), t.text, "
            "case when d.bad is null then d.money end from seg_decided d "
            f"join ({self._all_texts()}) t using (file_no, line) where d.bad is not null or d.good = 0"
        )
        con.execute(
            f"insert into {_OUTCOMES} select file_no, line, day, 'good', null, null, null, null from seg_decided "
            "where bad is null and good > 0"
        )
        con.execute(
            f"create or replace temp table {_EVENTS} as select r.file_no, r.line, r.day, "
            "(row_number() over (partition by r.file_no, r.line order by r.day, r.row_no) - 1)::integer as part, "
            f"{', '.join('r.' + identifier(c) for c in RAW_EVENTS)} from {_ROWS} r "
            f"join {_OUTCOMES} o on o.file_no = r.file_no and o.line = r.line and o.state = 'good' "
            "where r.reason is null"
        )

    def _count(self, day: dt.date | None) -> None:
        """Give lines without a day the file's first one, and count lines and events of each file by day."""
        con, whole = self._open(), self._whole
        home = f"date '{day}'" if day else f"coalesce(f.first, date '{self._first_day}')"
        con.execute(
            f"update {_OUTCOMES} o set day = {home} from (select s.file_no, min(d.day) as first from seg_files s "
            f"left join {_OUTCOMES} d using (file_no) group by 1) f where o.file_no = f.file_no and o.day is null"
        )
        content = ", ".join(f"coalesce({identifier(c)}::varchar, chr(1))" for c in RAW_EVENTS)
        query = f"""
            with texts as ({self._all_texts()}),
            told as (
              select o.file_no, o.day, 1 as line_count, strlen(t.text) as size,
                     hash(o.line, o.state, coalesce(o.reason, ''), coalesce(o.field, '')) as h
              from {_OUTCOMES} o join texts t using (file_no, line)
              union all
              select file_no, day, 0, 0, hash(line, concat_ws(chr(31), {content})) from {_EVENTS})
            select file_no, day, sum(line_count)::bigint, sum(size)::bigint,
                   md5(concat(count(*), '|', bit_xor(h), '|', sum(h::hugeint))) from told group by 1, 2"""
        for number, held, lines, size, content_hash in con.execute(query).fetchall():
            whole.days[number][held] = DayOfFile(lines, size, content_hash)
        for number, account in enumerate(whole.accounts):
            lines = sum(part.lines for part in whole.days[number].values())
            if lines != account.lines_read:
                raise SegAssetsError(
                    f"{account.source_file}: {account.lines_read} lines were read and {lines} are accounted for; "
                    "report this defect"
                )
        whole.good = {
            name: (first, last)
            for name, first, last in con.execute(
                f"select feed, min(day), max(day) from {_EVENTS} join seg_files using (file_no) where day <= ? "
                "group by 1",
                [self._last_closed],
            ).fetchall()
        }

    def _row(self, query: str) -> tuple:
        return self._open().execute(query).fetchall()[0]

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            self._con = self._stack.enter_context(connect(*self._limits, private=True))
            create_macros(self._con)
            close_file_access(self._con)
        return self._con


def _lines_of(name: str) -> str:
    """Return the table of a feed's lines as they were read."""
    return f"seg_lines_{name}"


def _as_text(column: str, kind: str) -> str:
    """Return the SQL of a column as text: whole numbers without a fraction, nested values as JSON."""
    value = quoted(column)
    if kind == "VARCHAR":
        return value
    if kind in ("DOUBLE", "FLOAT"):
        whole = f"when {value} = trunc({value}) and abs({value}) < 1e38 then {value}::hugeint::varchar"
        return f"case when not isfinite({value}) then null {whole} else {value}::varchar end"
    if kind == "JSON":
        return f"case when json_type({value}) = 'VARCHAR' then {value} ->> '$' else {value}::varchar end"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP")):
        return f"to_json({value})::varchar"
    return f"{value}::varchar"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def whole_feeds(source: Source) -> Iterator[tuple[str, ...]]:
    """Yield the groups of feeds whose files are read together: those of the SELECT, and each one with records."""
    if source.selected_feeds:
        yield source.selected_feeds
    for name in sorted(source.feeds):
        if source.feeds[name].is_read_whole and not source.feeds[name].is_selected:
            yield (name,)
