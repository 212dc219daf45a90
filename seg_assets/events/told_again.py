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
_STEPS = "struct(told_on date, refunded_at varchar, amount decimal(18,4))[]"


def set_aside(
    con: duckdb.DuckDBPyConnection, name: str, table: str, feed: EventFeed, columns: Sequence[str], *, line_key: bool
) -> None:
    """Fill COUNTS with the state of every readable line of a table, and `seg_counts_<name>` with those that count.

    Those have `line_key` too, a text of the line's content, the same whatever the file; and
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
    content = f"hash({', '.join(map(quoted, sorted(columns)))})" if columns else "0::ubigint"
    if files < 2 and not feed.record:
        key = f"lpad({content}::varchar, 20, '0')" if line_key else "null::varchar"
        con.execute(
            f"create or replace temp table seg_counts_{name} as select file_no, line, {key} as line_key, "
            f"null::{_STEPS} as refund_steps from ({readable})"
        )
        return
    _read_words(con, feed, readable, content)
    if files < 2:
        # Nothing is told again: a file tells a record once.
        con.execute(
            "create or replace temp table seg_states as select file_no, line, record, h, refunded, true as counts, "
            "true as is_told from seg_told"
        )
    else:
        _choose_versions(con)
    con.execute(
        f"insert into {COUNTS} select file_no, line, case when is_told then 'repeat' else 'bad' end, "
        "case when not is_told then 'older_version' end, null from seg_states where not counts"
    )
    con.execute(
        f"""create or replace temp table seg_counts_{name} as
        select s.file_no, s.line, lpad(s.h::varchar, 20, '0') as line_key, g.steps::{_STEPS} as refund_steps
        from seg_states s left join ({_growth()}) g on g.file_no = s.file_no and g.line = s.line where s.counts"""
    )
    for temporary in ("seg_told", "seg_states"):
        con.execute(f"drop table {temporary}")


def _read_words(con: duckdb.DuckDBPyConnection, feed: EventFeed, readable: str, content: str) -> None:
    """Fill seg_told with what the feed says of each line: its record, version and refunded money; refuse what fails."""
    words = feed.words
    tries = "".join(f", {_tried(word, expression.text)}" for word, expression in words.items())
    # A line without a record is one of its own.
    record = "record.v::varchar" if "record" in words else "null::varchar"
    version = "version.v" if "version" in words else "null::varchar"
    refunded = "try_cast(refunded.v as decimal(18,4))" if "refunded" in words else "null::decimal(18,4)"
    dated = "refunded_at.v::varchar" if "refunded_at" in words else "null::varchar"
    failed = "".join(f"when {word} is null then '{word}' " for word in words)
    if "refunded" in words:
        failed += f"when refunded.v is not null and {refunded} is null then 'refunded' "
    failed = f"case {failed}end" if failed else "null::varchar"
    con.execute(
        f"""create or replace temp table seg_told as
        with tried as (select l.file_no, l.line, delivery, {content} as h{tries}
                       from ({readable}) l join seg_files using (file_no))
        select file_no, line, delivery, h, coalesce({record}, 'line-' || h) as record, {version} as version,
               {refunded} as refunded, {dated} as refunded_at, {failed} as failed from tried"""
    )
    con.execute(
        f"insert into {COUNTS} select file_no, line, 'bad', 'expression_failed', failed from seg_told "
        "where failed is not null"
    )
    con.execute("delete from seg_told where failed is not null")


def _choose_versions(con: duckdb.DuckDBPyConnection) -> None:
    """Fill seg_states with which lines of seg_told count, and whether those that do not are told by one that does.

    A piece is what one file tells of a record. One without a version goes on where another file of its delivery broke
    off; one with a version of its own tells the record anew. A line of the newest version that was told before is
    counted where it was told first, so that a delivery that repeats it leaves its day as it was.
    """
    con.execute(
        """create or replace temp table seg_states as
        with pieces as (
          select record, file_no, any_value(delivery) as delivery, max(version) as version, count(*) as n,
                 sum(h::hugeint) as content from seg_told group by 1, 2),
        ranked as (
          select *, row_number() over (partition by record order by version desc nulls last, delivery desc nulls last,
                                       content desc, n desc, file_no) as place from pieces),
        chosen as (
          select p.record, p.file_no,
                 p.place = 1 or (p.version is null and p.delivery is not distinct from w.delivery) as counts
          from ranked p join ranked w on w.record = p.record and w.place = 1),
        copied as (
          select l.*, c.counts, row_number() over (partition by l.file_no, l.record, h order by line) as copy
          from seg_told l join chosen c using (record, file_no))
        select file_no, line, record, h, refunded, bool_or(is_newest) over equal as is_told,
               is_told and row_number() over (equal order by delivery nulls first, file_no, line) = 1 as counts
        from (select * rename (counts as is_newest) from copied)
        window equal as (partition by record, h, copy)"""
    )


def _growth() -> str:
    """Return the SQL of each record's refund steps, at one of its lines that count, the same whatever the files."""
    return f"""
      with of_delivery as (
        select record, delivery, max(refunded) as told, max({{'r': refunded, 'at': refunded_at}}) as last
        from seg_told where refunded > 0 group by 1, 2),
      so_far as (
        select *, coalesce(max(told) over (partition by record order by delivery nulls first
                           rows between unbounded preceding and 1 preceding), 0) as before from of_delivery),
      steps as (
        select record, list({{'told_on': delivery, 'refunded_at': last['at'], 'amount': told - before}}
                            order by delivery nulls first)::{_STEPS} as steps
        from so_far where told > before group by 1),
      bearer as (
        select record, arg_min({{'f': file_no, 'l': line}}, {{'h': h, 'f': file_no, 'l': line}}) as b
        from seg_states semi join steps using (record) where counts and refunded is not null group by 1)
      select b.f as file_no, b.l as line, steps from steps join bearer using (record)"""


def _tried(name: str, text: str) -> str:
    """Return an expression as {v}, null where it fails on a line."""
    return f"try({{'v': (\n{text}\n)}}) as {name}"
