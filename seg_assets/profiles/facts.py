"""Work out what the UI shows of one day of a profile table: rows, headline numbers, a small table, failing tests.

Not here: the numbers of each table, which are SQL beside its columns (`headline` in the dbt project's YAML), and the
Dagster events that carry all this (`profiles.assets`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from seg_assets.core.sql import literal
from seg_assets.core.tables import TABLES
from seg_assets.core.text import markdown_table
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.profiles.engine.days import DayBuilder
from seg_assets.profiles.engine.duckdb import show

# Rows of the days that one query reads together, which bounds its memory: users are counted distinct by day.
ROWS_AT_ONCE = 1_000_000
# The table of `user_profiles` has a line for each window.
WINDOWS = ("7d", "28d", "90d", "all")
WINDOW_HEAD = ("window", "active users", "buyers", "orders", "monetary", "views", "carts")
WINDOW_SQL = """
    count(*) filter (where active_days_{w} > 0), count(*) filter (where orders_{w} > 0),
    sum(orders_{w})::bigint, sum((monetary_{w} * 100)::bigint)::bigint / 100, sum(views_{w})::bigint,
    sum(carts_{w})::bigint"""


@dataclass(frozen=True)
class DayFacts:
    """One day of a table as the UI shows it."""

    day: dt.date
    rows: int
    numbers: Mapping[str, Any]
    table: str
    content_hash: str


def days_facts(
    con: duckdb.DuckDBPyConnection, builder: DayBuilder, table: str, days: Sequence[dt.date]
) -> list[DayFacts]:
    """Read rows and headline numbers of published days from their files, many small days in one query."""
    lake = builder.lake
    headline = builder.docs[table].headline.strip()
    published = {day: provenance for day in days if (provenance := lake.provenance(table, day))}
    numbers: dict[dt.date, tuple[list[str], tuple[Any, ...]]] = {}
    group: list[dt.date] = []
    for day in days:
        rows = published[day].rows if day in published else 0
        if not rows:
            # A day without rows has its numbers too, and grouping by day would leave it out.
            numbers |= _numbers(con, lake, table, headline, [day], grouped=False)
            continue
        if group and sum(published[d].rows for d in group) + rows > ROWS_AT_ONCE:
            numbers |= _numbers(con, lake, table, headline, group)
            group = []
        group.append(day)
    if group:
        numbers |= _numbers(con, lake, table, headline, group)
    return [_facts_of(table, day, *numbers[day], published.get(day)) for day in days]


def _numbers(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: str,
    headline: str,
    days: Sequence[dt.date],
    *,
    grouped: bool = True,
) -> dict[dt.date, tuple[list[str], tuple[Any, ...]]]:
    """Return, by day, the names and values of a table's headline numbers, and for profiles of each window's."""
    windows = "".join("," + WINDOW_SQL.format(w=w) for w in WINDOWS) if table == "user_profiles" else ""
    day, by_day = ("day", " group by day") if grouped else (f"date {literal(days[0].isoformat())}", "")
    answer = con.execute(f"select {day}, {headline}{windows} from {lake.scan(table, days)}{by_day}")
    names = [d[0] for d in answer.description or []][1:]
    return {row[0]: (names, row[1:]) for row in answer.fetchall()}


def _facts_of(
    table: str, day: dt.date, names: Sequence[str], row: Sequence[Any], provenance: Provenance | None
) -> DayFacts:
    each = len(WINDOW_HEAD) - 1
    shown = len(names) - (len(WINDOWS) * each if table == "user_profiles" else 0)
    numbers = {name: _plain(value) for name, value in zip(names[:shown], row, strict=False) if value is not None}
    if table == "user_profiles":
        parts = [row[shown + n * each : shown + (n + 1) * each] for n in range(len(WINDOWS))]
        lines = [[w, *map(_text, part)] for w, part in zip(WINDOWS, parts, strict=True)]
        small = markdown_table(WINDOW_HEAD, lines)
    else:
        small = markdown_table(
            ("number", "value"), [[name.replace("_", " "), _text(value)] for name, value in numbers.items()]
        )
    rows, content = (provenance.rows, provenance.content_hash) if provenance else (0, "")
    return DayFacts(day, rows, numbers, small, content)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else float(value)


def _text(value: Any) -> str:
    if value is None:
        return "0"
    if isinstance(value, str):
        return value
    return f"{value:,.2f}".removesuffix(".00")


def failing_days(builder: DayBuilder, sql: str, days: Sequence[dt.date]) -> dict[dt.date, int]:
    """Return the days on which a failed test has failing rows, with their number.

    The test's own SQL is run for each day alone.
    """
    failing = {}
    with builder.lake.connect() as con:
        for day in days:
            for table in builder.schemas.tables:
                show(con, builder.lake, builder.schemas, table, [day])
            count = con.execute(f"select count(*) from ({sql}) as failing").fetchone()
            if count and count[0]:
                failing[day] = int(count[0])
    return failing


def key_of(table: str) -> str:
    """Return the key of a table, as text for the UI."""
    return ", ".join(TABLES[table].key)
