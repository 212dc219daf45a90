"""Decide which lines count where a record is told more than once: in two files, or in two states.

Exports are made again. A line that another file has too is the same line, delivered again. Where a feed says what a
record is and how its versions are ordered, only the lines of the newest version count, over all files. Neither the
names nor the order of files decide anything but where the same line is counted.

Not here: how lines are read (`events.select_files`).
"""

from collections.abc import Sequence

import duckdb

from seg_assets.events.expressions import quoted
from seg_assets.events.source import EventFeed

# State of each line of the feed that was looked at last: counts, repeat (told in another file), bad (with its reason).
COUNTS = "seg_counts"


def set_aside(
    con: duckdb.DuckDBPyConnection, name: str, table: str, feed: EventFeed, columns: Sequence[str], *, line_key: bool
) -> None:
    """Fill COUNTS with the state of every readable line of a table, and `seg_counts_<name>` with those that count.

    Those have `line_key` too, a text of the line's content and its copy's number, the same whatever the file; and
    `refund_steps`, what deliveries tell of money given back: {told_on, refunded_at, amount} for each time that the
    number grew.

    Args:
        con: where the table is; `seg_files` has the delivery of each file.
        name: of the feed.
        table: its lines, as texts: file_no, line, text, problem and the columns.
        feed: what it says of records.
        columns: the columns of the table that come from the file.
        line_key: whether the SELECT reads it.
    """
    readable = f"select * from {table} where problem is null"
    steps = "null::struct(told_on date, refunded_at varchar, amount decimal(18,4))[]"
    con.execute(
        f"create or replace temp table {COUNTS} (file_no integer, line bigint, state varchar, reason varchar, "
        "field varchar)"
    )
    if feed.where is not None and feed.is_selected:
        where = _tried("w", feed.expressions["where"].text)
        con.execute(
            f"insert into {COUNTS} select file_no, line, 'bad', case when w is null then 'expression_failed' "
            f"else 'left_out' end, 'where' from (select file_no, line, {where} from ({readable})) "
            "where w is null or not coalesce(try_cast(w.v as boolean), false)"
        )
        readable = f"select l.* from ({readable}) l anti join {COUNTS} using (file_no, line)"
    files = con.execute(f"select count(distinct file_no) from {table}").fetchall()[0][0]
    if files < 2 and not feed.record and not line_key:
        con.execute(
            f"create or replace temp table seg_counts_{name} as select file_no, line, null::varchar as line_key, "
            f"{steps} as refund_steps from ({readable})"
        )
        return
    content = f"hash({', '.join(map(quoted, sorted(columns)))})" if columns else "0::ubigint"
    words = feed.words
    tries = "".join(f", {_tried(w, e.text)}" for w, e in words.items() if w != "record")
    record = _tried("record", words["record"].text) if "record" in words else "{'v': null::varchar} as record"
    # A line without a record is one of its own.
    con.execute(
        f"create or replace temp table seg_told as select l.file_no, l.line, delivery, {content} as h, {record}{tries} "
        f"from ({readable}) l join seg_files using (file_no)"
    )
    for word in words:
        no_number = " or (refunded.v is not null and try_cast(refunded.v as decimal(18,4)) is null)"
        con.execute(
            f"insert into {COUNTS} select file_no, line, 'bad', 'expression_failed', '{word}' from seg_told "
            f"where {word} is null{no_number if word == 'refunded' else ''}"
        )
    if words:
        con.execute(
            f"delete from seg_told using {COUNTS} c where seg_told.file_no = c.file_no and seg_told.line = c.line"
        )
    version = "version.v" if "version" in words else "null::varchar"
    refunded = "try_cast(refunded.v as decimal(18,4))" if "refunded" in words else "null::decimal(18,4)"
    dated = "refunded_at.v::varchar" if "refunded_at" in words else "null::varchar"
    con.execute(
        f"""create or replace temp table seg_lines_told as
        select file_no, line, delivery, h, coalesce(record.v::varchar, 'line-' || h) as record, {version} as version,
               {refunded} as refunded, {dated} as refunded_at,
               row_number() over (partition by file_no, h, record.v order by line) as copy from seg_told"""
    )
    # A piece is what one file tells of a record. One without a version goes on where another file of its delivery broke
    # off; one with a version of its own tells the record anew.
    con.execute(
        """create or replace temp table seg_pieces as
        with pieces as (
          select record, file_no, any_value(delivery) as delivery, max(version) as version, count(*) as n,
                 sum(h::hugeint) as content from seg_lines_told group by 1, 2),
        ranked as (
          select *, row_number() over (partition by record order by version desc nulls last, delivery desc nulls last,
                                       content desc, n desc, file_no) as place from pieces)
        select p.record, p.file_no,
               p.place = 1 or (p.version is null and p.delivery is not distinct from w.delivery) as counts
        from ranked p join ranked w on w.record = p.record and w.place = 1"""
    )
    con.execute(
        """create or replace temp table seg_states as
        with lines as (select l.*, p.counts from seg_lines_told l join seg_pieces p using (record, file_no))
        select file_no, line, record, h, copy, refunded,
               counts and row_number() over (partition by record, h, copy, counts order by file_no, line) = 1 as counts,
               bool_or(counts) over (partition by record, h, copy) as is_told from lines"""
    )
    con.execute(
        f"insert into {COUNTS} select file_no, line, case when is_told then 'repeat' else 'bad' end, "
        "case when not is_told then 'older_version' end, null from seg_states where not counts"
    )
    growth = "select null::varchar as record, null::bigint as file_no, null::bigint as line, null as steps where false"
    if "refunded" in words:
        growth = f"""
          with of_delivery as (
            select record, delivery, max(refunded) as told, max({{'r': refunded, 'at': refunded_at}}) as last
            from seg_lines_told where refunded is not null group by 1, 2),
          so_far as (
            select *, coalesce(max(told) over (partition by record order by delivery nulls first
                               rows between unbounded preceding and 1 preceding), 0) as before from of_delivery),
          steps as (
            select record, list({{'told_on': delivery, 'refunded_at': last['at'],
                                  'amount': (told - greatest(before, 0))::decimal(18,4)}}
                                order by delivery nulls first)::{steps.removeprefix("null::")} as steps
            from so_far where told > greatest(before, 0) group by 1),
          bearer as (select record, arg_min({{'f': file_no, 'l': line}}, {{'h': h, 'c': copy}}) as b from seg_states
                     where counts and refunded is not null group by 1)
          select record, b.f as file_no, b.l as line, steps from steps join bearer using (record)"""
    con.execute(
        f"""create or replace temp table seg_counts_{name} as
        select s.file_no, s.line, lpad(s.h::varchar, 20, '0') || '-' || lpad(s.copy::varchar, 9, '0') as line_key,
               g.steps::{steps.removeprefix("null::")} as refund_steps
        from seg_states s left join ({growth}) g on g.file_no = s.file_no and g.line = s.line where s.counts"""
    )
    for temporary in ("seg_told", "seg_lines_told", "seg_pieces", "seg_states"):
        con.execute(f"drop table {temporary}")


def _tried(name: str, text: str) -> str:
    """Return an expression as {v}, null where it fails on a line."""
    return f"try({{'v': (\n{text}\n)}}) as {name}"
