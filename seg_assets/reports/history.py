"""Read what the pages of a run need from the lake, in a handful of queries.

Users are never read: only small tables, and moves and flows that are counted in the database. A page is then a slice of
the `History`, so that sixty pages cost little more than one.

Not here: how the report of one day is put together (`gather`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from seg_assets.core.days import ONE_DAY, day_range
from seg_assets.core.tables import TABLES
from seg_assets.evaluation.daily import FLOW_WEEK
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import Decision, decisions

PROFILES, MOVES, EVALUATION, DRIFT, VALIDITY = (
    "segment_profiles",
    "segment_moves",
    "segment_evaluation",
    "drift_report",
    "segment_validity",
)
SOURCES = ("user_segments", PROFILES, MOVES, EVALUATION, DRIFT, VALIDITY)
# A season's quarter: what fits on a page and what a marketer plans in.
HISTORY_DAYS = 90
WEEK = ONE_DAY * 7

Row = dict[str, Any]
# strategy -> day -> rows
Rows = dict[str, dict[dt.date, list[Row]]]
# (old segment, new segment)
FlowKey = tuple[str, str]


@dataclass(frozen=True)
class History:
    """Rows of the small tables by strategy and day, and which days the lake has.

    week_flows: users by flow of a week, by (strategy, day that the week ends on), of every day.
    week_spend: (users, cents of 90-day spend as of a week before) by flow, of the pages' own days.
    hashes: content hash by (table, day).
    """

    first: dt.date
    last: dt.date
    profiles: Rows = field(default_factory=dict)
    features: Rows = field(default_factory=dict)
    evaluation: Rows = field(default_factory=dict)
    drift: Rows = field(default_factory=dict)
    moves: Rows = field(default_factory=dict)
    validity: Rows = field(default_factory=dict)
    decisions: Mapping[str, Sequence[Decision]] = field(default_factory=dict)
    week_flows: Mapping[tuple[str, dt.date], Mapping[FlowKey, int]] = field(default_factory=dict)
    week_spend: Mapping[tuple[str, dt.date], Mapping[FlowKey, tuple[int, int]]] = field(default_factory=dict)
    hashes: Mapping[tuple[str, dt.date], str] = field(default_factory=dict)

    def has(self, table: str, day: dt.date) -> bool:
        """Tell whether the lake has this day of this table."""
        return (table, day) in self.hashes


def load_history(lake: Lake, strategies: Sequence[str], first: dt.date, last: dt.date) -> History:
    """Read what the pages of `first`..`last` need: their own days in full, and a quarter before them in outline."""
    past = day_range(max(first - ONE_DAY * (HISTORY_DAYS - 1), lake.start_day), last)
    pages = day_range(max(first, lake.start_day), last)
    days_of = {table: [day for day in past if lake.has(table, day)] for table in SOURCES if table in TABLES}
    hashes = {
        (table, day): footer.content_hash
        for table, days in days_of.items()
        for day in days
        if (day >= first or table == PROFILES) and (footer := lake.provenance(table, day)) is not None
    }
    with lake.connect() as con:

        def rows(table: str, columns: str, *, own: bool = False, where: str = "true") -> Rows:
            days = [day for day in days_of.get(table, []) if not own or day in set(pages)]
            if not days:
                return {}
            return _by_day(con, f"select strategy, day, {columns} from {lake.scan(table, days)} where {where}")

        return History(
            first,
            last,
            profiles=rows(PROFILES, "segment_id, kind, name, users, share"),
            features=rows(
                PROFILES,
                "segment_id, features, spend_90d::double as spend_90d, spend_share_90d, users, story",
                own=True,
            ),
            evaluation=_merged(
                rows(EVALUATION, "segment_id, metric, value", where="segment_id = ''"),
                rows(EVALUATION, "segment_id, metric, value", own=True, where="segment_id <> ''"),
            ),
            drift=rows(
                DRIFT, "flagged, drifted, streak, cause, reasons, columns, baseline_day, share_variation, shadow_gain"
            ),
            moves=_moves(con, lake, [day for day in days_of.get(MOVES, []) if day in set(pages)]),
            validity=rows(VALIDITY, "predictor, groups, outcome, metric, value, lower, upper"),
            decisions={name: decisions(lake, name) for name in strategies},
            week_flows=_week_flows(rows(EVALUATION, "segment_id, metric, value", where=f"metric like '{FLOW_WEEK}%'")),
            week_spend=_week_spend(con, lake, pages),
            hashes=hashes,
        )


def _by_day(con: duckdb.DuckDBPyConnection, query: str) -> Rows:
    cursor = con.execute(f"select * from ({query}) order by strategy, day")
    names = [column[0] for column in cursor.description or []]
    rows: Rows = {}
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        rows.setdefault(row["strategy"], {}).setdefault(row["day"], []).append(row)
    return rows


def _merged(first: Rows, second: Rows) -> Rows:
    for strategy, days in second.items():
        for day, rows in days.items():
            first.setdefault(strategy, {}).setdefault(day, []).extend(rows)
    return first


def _week_flows(flows: Rows) -> dict[tuple[str, dt.date], dict[FlowKey, int]]:
    return {
        (strategy, day): {
            (row["segment_id"], row["metric"].removeprefix(FLOW_WEEK)): int(row["value"])
            for row in rows
            if row["value"]
        }
        for strategy, days in flows.items()
        for day, rows in days.items()
    }


def _week_spend(
    con: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[dt.date]
) -> dict[tuple[str, dt.date], dict[FlowKey, tuple[int, int]]]:
    """Count users and cents of 90-day spend, as of a week before, by flow of the week; of users known on both days."""
    spend: dict[tuple[str, dt.date], dict[FlowKey, tuple[int, int]]] = {}
    for day in days:
        before = day - WEEK
        if before < lake.start_day or lake.missing("user_segments", [before, day]):
            continue
        if lake.missing("user_profiles", [before]):
            continue
        segments = "(select strategy, user_id, segment_id from {})"
        rows = con.execute(
            f"""
            select
                b.strategy,
                b.segment_id,
                a.segment_id,
                count(*)::bigint,
                sum(coalesce(round(p.monetary_90d * 100), 0)::bigint)::bigint
            from {segments.format(lake.scan("user_segments", [before]))} b
            join {segments.format(lake.scan("user_segments", [day]))} a using (strategy, user_id)
            left join {lake.scan("user_profiles", [before])} p on p.user_id = b.user_id
            group by all
            order by all
            """
        ).fetchall()
        for strategy, old, new, users, cents in rows:
            spend.setdefault((strategy, day), {})[(old, new)] = (users, cents)
    return spend


def _moves(con: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[dt.date]) -> Rows:
    """Count per flow: users, how many the model moved, and the feature that most users were moved by."""
    if not days:
        return {}
    return _by_day(
        con,
        "select strategy, day, from_segment, to_segment, contributions[1].feature as feature, count(*) as users, "
        "count(*) filter (where cause = 'model') as by_model, count(*) filter (where cause = 'rule') as by_rule "
        f"from {lake.scan(MOVES, list(days))} where kind = 'moved' group by all",
    )
