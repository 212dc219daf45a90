"""Make a day's accepted events out of its mapped lines: ids made from content, duplicates, and an account per file.

What comes out never depends on the names or the order of files: duplicates have the same event_id, and which of them
stays is decided by content.

Not here: which files a day has (`events.landing`), and how lines are mapped (`events.mapping`).
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa

from seg_assets.core.sql import identifier, literal
from seg_assets.events.accounts import ON_PURPOSE_SQL, FileAccount, lines_of_feeds
from seg_assets.events.contract import LANDED_FILES, RAW_EVENTS
from seg_assets.events.landing import LandingFile
from seg_assets.events.mapping import FeedMapping, RecordShape
from seg_assets.events.records import FILE, put_together, read_records
from seg_assets.events.store import (
    ACCEPTED,
    FILES,
    MAPPED,
    REJECTED,
    column_names,
    column_types,
    insert_rows,
    map_records,
)

# Mapped lines of all files of the day, good and bad; `file_no` counts the files, in the order of their accounts. A line
# may give several events, which are its parts; part 0 is that of the day on which the line is counted.
GOOD_LINES, BAD_LINES = "seg_good_lines", "seg_bad_lines"
# The accepted ones of the day, with the number of their file and their line.
ACCEPTED_LINES = "seg_accepted_lines"
_NAMES, _WITH_MADE_IDS, _WITH_IDS = "seg_names", "seg_with_made_ids", "seg_with_ids"
_REPEATS = "seg_repeats"
# The money of a mapped line that is left out for its currency.
MONEY = "case when reason = 'other_currency' then amount end"
_VIEWS = (ACCEPTED, ACCEPTED_LINES, _WITH_IDS)
_TABLES = (GOOD_LINES, BAD_LINES, _NAMES, _WITH_MADE_IDS, _REPEATS, REJECTED, FILES)


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Drop what a day before left on the connection, and make the tables that files are read into."""
    for view in _VIEWS:
        con.execute(f"drop view if exists {view}")
    for table in _TABLES:
        con.execute(f"drop table if exists {table}")
    con.execute(
        f"create temp table {GOOD_LINES} (file_no integer, line bigint, part integer, {column_types(RAW_EVENTS)})"
    )
    con.execute(
        f"create temp table {BAD_LINES} (file_no integer, line bigint, reason varchar, field varchar, "
        "original varchar, money decimal(18,2))"
    )


def read_files(
    con: duckdb.DuckDBPyConnection, mapping: FeedMapping, files: Sequence[LandingFile], day: dt.date, first: int
) -> list[FileAccount]:
    """Read the files of one feed for a day, as the files numbered `first` and following, and return their accounts."""
    accounts = [FileAccount(file.relative, file.feed, file.size) for file in files]

    def pieces() -> Iterator[tuple[int, RecordShape, pa.Table]]:
        for number, (file, account) in enumerate(zip(files, accounts, strict=True), first):
            for shape, table in read_records(file, mapping, con, account):
                shape.day = day
                yield number, shape, table

    numbers = f"(line // {FILE})::integer, line % {FILE}"
    map_records(con, mapping, put_together(pieces()), (
        f"insert into {GOOD_LINES} select {numbers}, 0, {column_names(RAW_EVENTS)} from {MAPPED} where reason is null",
        f"insert into {BAD_LINES} select {numbers}, reason, field, original, {MONEY} from {MAPPED} "
        "where reason is not null",
    ))  # fmt: skip
    return accounts


def finish(con: duckdb.DuckDBPyConnection, accounts: list[FileAccount]) -> None:
    """Make missing event ids, set duplicates aside, count, and shape ACCEPTED, REJECTED and FILES."""
    con.execute(f"create temp table {_NAMES} (file_no integer, source_file varchar)")
    insert_rows(con, _NAMES, pa.table({
        "file_no": pa.array(range(len(accounts)), pa.int32()),
        "source_file": pa.array([a.source_file for a in accounts], pa.string()),
    }))  # fmt: skip
    _make_ids(con)
    _set_duplicates_aside(con)
    # A line whose events all are repeats is a duplicate; one of which an event stays is accepted.
    repeated = (
        f"select file_no, line from {_REPEATS} where part = 0 except "
        f"select file_no, line from {ACCEPTED_LINES} where part > 0"
    )
    counts = con.execute(
        f"select 'events', file_no, count(*) from {ACCEPTED_LINES} group by 2 "
        f"union all select 'accepted', file_no, count(*) from {GOOD_LINES} where part = 0 group by 2 "
        f"union all select 'accepted', file_no, -count(*) from ({repeated}) group by 2 "
        f"union all select 'duplicates', file_no, count(*) from ({repeated}) group by 2 "
        f"union all select case when reason in ({ON_PURPOSE_SQL}) then 'left_out' else 'rejected' end, file_no, "
        f"count(*) from {BAD_LINES} group by 1, 2"
    ).fetchall()
    for column, number, count in counts:
        setattr(accounts[number], column, getattr(accounts[number], column) + count)
    con.execute(
        f"create temp table {REJECTED} as select source_file, line, reason, nullif(field, '') as field, original "
        f"from {BAD_LINES} join {_NAMES} using (file_no)"
    )
    con.execute(f"create temp table {FILES} ({column_types(LANDED_FILES)})")
    insert_rows(con, FILES, pa.table({c: pa.array([getattr(a, c) for a in accounts]) for c in LANDED_FILES}))


def refused_feeds(
    con: duckdb.DuckDBPyConnection, accounts: Sequence[FileAccount], event_feeds: Collection[str]
) -> dict[str, str]:
    """Return the event feeds whose lines of the day all were refused, and why, with the place of the first of them."""
    refused: dict[str, str] = {}
    for feed in lines_of_feeds([a for a in accounts if a.feed in event_feeds]):
        if not feed.is_refused:
            continue
        names = ", ".join(literal(a.source_file) for a in accounts if a.feed == feed.feed)
        ((reason, field, file, line),) = con.execute(
            f"select reason, field, source_file, line from {REJECTED} where source_file in ({names}) "
            f"and reason not in ({ON_PURPOSE_SQL}) order by source_file, line limit 1"
        ).fetchall()
        refused[feed.feed] = (
            f"feed {feed.feed}: not one of {feed.lines} lines was accepted ({reason}{f' of {field}' if field else ''}, "
            f"first in {file}:{line})"
        )
    return refused


def _make_ids(con: duckdb.DuckDBPyConnection) -> None:
    """Give lines without an event_id one that is made from what is mapped of them.

    The n-th copy of a line in its file is a real event of its own (two of the same in one basket); the n-th copy in
    another file is the same event, delivered again. What is not mapped, the time of an export among it, may differ from
    one delivery to the next, so that it takes no part; copies are counted in its order, then in the file's.
    """
    columns = [c for c in RAW_EVENTS if c not in ("event_id", "extra")]
    listed = ", ".join(identifier(c) for c in (*columns, "extra"))
    con.execute(
        f"""create temp table {_WITH_MADE_IDS} as
        with nameless as (select *, {_content(columns)} as content from {GOOD_LINES} where event_id is null),
        copied as (select file_no, content from nameless group by all having count(*) > 1),
        numbered as (
          select nameless.*, 1 as copy from nameless anti join copied using (file_no, content)
          union all
          select nameless.*, row_number() over (partition by file_no, content order by extra, line, part)
          from nameless semi join copied using (file_no, content))
        select file_no, line, part, 'line-' || content || case when copy > 1 then '-' || copy else '' end as event_id,
               {listed} from numbered"""
    )
    con.execute(
        f"create temp view {_WITH_IDS} as select * from {GOOD_LINES} where event_id is not null "
        f"union all select * from {_WITH_MADE_IDS}"
    )


def with_made_ids(con: duckdb.DuckDBPyConnection) -> str:
    """Return SQL of the events in GOOD_LINES, with an id made of content where they have none."""
    _make_ids(con)
    return f"select {column_names(RAW_EVENTS)} from {_WITH_IDS}"


def _set_duplicates_aside(con: duckdb.DuckDBPyConnection) -> None:
    """Note all lines but one of each event_id in _REPEATS; the others are the accepted ones."""
    con.execute(
        f"""create temp table {_REPEATS} as
        with repeated as (select hash(event_id) as h from {_WITH_IDS} group by 1 having count(*) > 1),
        lines as (select a.*, {_content(RAW_EVENTS)} as content from {_WITH_IDS} a
                  semi join repeated on repeated.h = hash(a.event_id))
        select file_no, line, part, row_number() over (
                 partition by event_id order by event_time, content, source_file, line, part) > 1 as extra
        from lines join {_NAMES} using (file_no)"""
    )
    con.execute(f"delete from {_REPEATS} where not extra")
    # Views: the lines are held once, and publishing makes its own sorted copy.
    con.execute(
        f"create temp view {ACCEPTED_LINES} as select a.* from {_WITH_IDS} a "
        f"anti join {_REPEATS} r on a.file_no = r.file_no and a.line = r.line and a.part = r.part"
    )
    con.execute(f"create temp view {ACCEPTED} as select {column_names(RAW_EVENTS)} from {ACCEPTED_LINES}")


def _content(columns: Iterable[str]) -> str:
    """Return the SQL of a hash of these columns."""
    texts = ", chr(31), ".join(f"coalesce({identifier(c)}::varchar, chr(1))" for c in columns)
    return f"md5(concat({texts}))"
