"""What the UI shows of one day of a profile table: rows, headline numbers, a small table, failing tests by day."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from seg_assets.core.sql import literal
from seg_assets.core.tables import TABLES
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.profiles.days import DayBuilder

# One row of numbers for each day of a table; names are what the UI plots over days.
HEADLINES = {
    "user_daily_activity": """
        select count(*) filter (where actor_id not like 'anon:%') as active_users,
            count(*) filter (where actor_id like 'anon:%') as visitors,
            sum(events)::bigint as events, sum(orders)::bigint as orders,
            sum(gross_cents)::bigint / 100 as gross, sum(refund_cents)::bigint / 100 as refund_amount
        from {table}""",
    "user_category_activity": """
        select count(distinct category) as categories, sum(events)::bigint as events,
            100.0 * coalesce(sum(events) filter (where category = '(unknown)'), 0) / nullif(sum(events), 0)
                as unknown_category_percent
        from {table}""",
    "identity_links": """
        select count(distinct user_id) as linked_users,
            count(*) filter (where linked_day = day) as new_links
        from {table}""",
    "user_lifetime": """
        select count(*) filter (where actor_id not like 'anon:%') as users,
            count(*) filter (where actor_id like 'anon:%') as visitors,
            count(*) filter (where first_seen_day = day) as new_actors
        from {table}""",
    "user_category_profiles": """
        select count(distinct user_id) as users, count(distinct category) as categories,
            sum((monetary_90d * 100)::bigint)::bigint / 100 as monetary_90d
        from {table}""",
    "user_profiles": """
        select count(*) as users, count(*) filter (where inactive_days = 0) as active_today,
            count(*) filter (where active_days_28d > 0) as active_28d,
            count(*) filter (where tenure_days = 0) as new_users,
            count(*) filter (where orders_90d > 0) as buyers_90d,
            count(*) filter (where is_suspected_bot) as suspected_bots,
            sum((monetary_7d * 100)::bigint)::bigint / 100 as monetary_7d,
            sum((monetary_90d * 100)::bigint)::bigint / 100 as monetary_90d,
            sum((monetary_all * 100)::bigint)::bigint / 100 as monetary_all,
            max(dimensions) as dimensions, {windows}
        from {table}""",
}

# Rows of the days that one query reads together, which bounds its memory: users are counted distinct by day.
ROWS_AT_ONCE = 1_000_000
WINDOWS = ("7d", "28d", "90d", "all")
# Of each window: active users, buyers, orders, monetary, views, carts.
WINDOW_NUMBERS = 6


@dataclass(frozen=True)
class DayFacts:
    """One day of a table as the UI shows it."""

    day: dt.date
    rows: int
    numbers: Mapping[str, Any]
    table: str
    content_hash: str


def days_facts(con: duckdb.DuckDBPyConnection, lake: Lake, table: str, days: Sequence[dt.date]) -> list[DayFacts]:
    """Read rows and headline numbers of published days from their files, many small days in one query."""
    made = {day: found for day in days if (found := lake.provenance(table, day))}
    numbers: dict[dt.date, tuple[list[str], tuple[Any, ...]]] = {}
    group: list[dt.date] = []
    for day in days:
        rows = made[day].rows if day in made else 0
        if not rows:
            # Numbers of nothing are told too, and grouping by day would leave the day out.
            numbers |= _numbers(con, lake, table, [day], grouped=False)
            continue
        if group and sum(made[d].rows for d in group) + rows > ROWS_AT_ONCE:
            numbers |= _numbers(con, lake, table, group)
            group = []
        group.append(day)
    if group:
        numbers |= _numbers(con, lake, table, group)
    return [_facts_of(table, day, *numbers[day], made.get(day)) for day in days]


def _numbers(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: str, days: Sequence[dt.date], *, grouped: bool = True
) -> dict[dt.date, tuple[list[str], tuple[Any, ...]]]:
    """By day, the names and values of a table's headline numbers."""
    headline = HEADLINES[table].format(table=lake.scan(table, days), windows=_windows_sql())
    of_day, by_day = ("day", " group by day") if grouped else (f"date {literal(days[0].isoformat())}", "")
    found = con.execute(f"select {of_day}, {headline.strip().removeprefix('select ')}{by_day}")
    names = [d[0] for d in found.description or []][1:]
    return {row[0]: (names, row[1:]) for row in found.fetchall()}


def _facts_of(table: str, day: dt.date, names: Sequence[str], row: Sequence[Any], made: Provenance | None) -> DayFacts:
    small = table == "user_profiles"
    headline = len(names) - (len(WINDOWS) * WINDOW_NUMBERS if small else 0)
    numbers = {n: _plain(v) for n, v in zip(names[:headline], row, strict=False) if v is not None}
    shown = _windows_table(row[headline:]) if small else _numbers_table(numbers)
    return DayFacts(day, made.rows if made else 0, numbers, shown, made.content_hash if made else "")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else float(value)


def _numbers_table(numbers: Mapping[str, Any]) -> str:
    lines = ["| number | value |", "|---|---:|"]
    lines += [f"| {name.replace('_', ' ')} | {_text(value)} |" for name, value in numbers.items()]
    return "\n".join(lines)


def _windows_sql() -> str:
    return ", ".join(
        f"count(*) filter (where active_days_{w} > 0), count(*) filter (where orders_{w} > 0), "
        f"sum(orders_{w})::bigint, sum((monetary_{w} * 100)::bigint)::bigint / 100, sum(views_{w})::bigint, "
        f"sum(carts_{w})::bigint"
        for w in WINDOWS
    )


def _windows_table(row: Sequence[Any]) -> str:
    lines = [
        "| window | active users | buyers | orders | monetary | views | carts |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for n, window in enumerate(WINDOWS):
        cells = " | ".join(_text(v) for v in row[n * WINDOW_NUMBERS : (n + 1) * WINDOW_NUMBERS])
        lines.append(f"| {window} | {cells} |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return "0"
    if isinstance(value, str):
        return value
    return f"{value:,.2f}".removesuffix(".00")


def failing_days(lake: Lake, builder: DayBuilder, sql: str, days: Sequence[dt.date]) -> dict[dt.date, int]:
    """Days on which a failed test has failing rows, with their number: the test's own SQL, run for each day alone."""
    found = {}
    with lake.connect() as con:
        for day in days:
            for table in builder.schemas:
                builder.show(con, table, [day])
            count = con.execute(f"select count(*) from ({sql}) as failing").fetchone()
            if count and count[0]:
                found[day] = int(count[0])
    return found


def key_of(table: str) -> str:
    """The key of a table, as text for the UI."""
    return ", ".join(TABLES[table].key)
