"""Fill reports from the lake's aggregates. Users are never read: only small tables, and moves grouped in the database.

A `History` loads what the pages of a run need in a handful of queries; a page is then a slice of it, so sixty pages
cost little more than one. A page of day D uses rows of days up to D and nothing later.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pandas as pd

from seg_assets.core.days import ONE_DAY, day_range
from seg_assets.core.tables import TABLES
from seg_assets.evaluation.daily import FLOW_DAY, FLOW_WEEK
from seg_assets.lake.store import Lake
from seg_assets.reports import words
from seg_assets.reports.charts import colours
from seg_assets.reports.contents import (
    Apart,
    DecisionRow,
    DriftDay,
    Flow,
    MoveReason,
    Report,
    SegmentRow,
    Unusual,
    Validity,
    Week,
)
from seg_assets.segments.daily.migration import MAX_EARLIER, migrate
from seg_assets.segments.decisions.store import Decision, decisions
from seg_assets.segments.fitting.stability import band
from seg_assets.segments.rules import DORMANT, rule_id
from seg_assets.segments.strategy import Strategy

PROFILES, MOVES, EVALUATION, DRIFT, VALIDITY = (
    "segment_profiles",
    "segment_moves",
    "segment_evaluation",
    "drift_report",
    "segment_validity",
)
# A season's quarter: what fits on a page and what a marketer plans in.
HISTORY_DAYS = 90
SOURCES = ("user_segments", PROFILES, MOVES, EVALUATION, DRIFT, VALIDITY)
# Out-of-time numbers worth a chart: (outcome, metric) of segment_validity to what a reader is told, in order.
VALIDITY_METRICS = {
    ("spend", "r2_crossfit"): "Spend since then: share explained (R²)",
    ("spend", "spearman"): "Spend since then: right order of users (Spearman)",
    ("lapse", "auc"): "Who stopped buying: told apart (AUC, 0.5 is chance)",
    ("category_mix", "explained"): "What they bought: category mix explained",
    ("coupon", "auc"): "Who used coupons: told apart (AUC, 0.5 is chance)",
}
PREDICTORS = {
    "rfm_total": "RFM score",
    "monetary_quantile": "spend quantiles",
    "monetary_tiers": "spend tiers",
    "kmeans_rfm": "k-means on RFM",
    "rfm_cells": "RFM cells",
    "hiatus_quantile": "time since last purchase",
    "bg_nbd_quantile": "BG/NBD forecast, in groups",
    "bg_nbd": "BG/NBD forecast, per user",
    "last_period": "last quarter's spend, per user",
}

# strategy -> day -> rows
Rows = dict[str, dict[dt.date, list[dict[str, Any]]]]


@dataclass(frozen=True)
class History:
    """Rows of the small tables by strategy and day, and what is there at all."""

    first: dt.date
    last: dt.date
    profiles: Rows = field(default_factory=dict)
    features: Rows = field(default_factory=dict)
    evaluation: Rows = field(default_factory=dict)
    drift: Rows = field(default_factory=dict)
    moves: Rows = field(default_factory=dict)
    validity: Rows = field(default_factory=dict)
    decisions: Mapping[str, Sequence[Decision]] = field(default_factory=dict)
    # Flows of a week by (strategy, day it ends on): users of every day, spend of the pages' own days.
    weeks: Mapping[tuple[str, dt.date], Mapping[tuple[str, str], int]] = field(default_factory=dict)
    spent: Mapping[tuple[str, dt.date], Mapping[tuple[str, str], tuple[int, int]]] = field(default_factory=dict)
    hashes: Mapping[tuple[str, dt.date], str] = field(default_factory=dict)

    def has(self, table: str, day: dt.date) -> bool:
        """Whether the lake has this day of this table."""
        return (table, day) in self.hashes


def load_history(lake: Lake, strategies: Sequence[str], first: dt.date, last: dt.date) -> History:
    """What the pages of `first`..`last` need: their own days in full, and a quarter before them in outline."""
    past = day_range(max(first - ONE_DAY * (HISTORY_DAYS - 1), lake.start_day), last)
    pages = day_range(max(first, lake.start_day), last)
    have = {t: [d for d in past if lake.has(t, d)] for t in SOURCES if t in TABLES}
    hashes = {
        (table, day): p.content_hash
        for table, days in have.items()
        for day in days
        if (day >= first or table == PROFILES) and (p := lake.provenance(table, day)) is not None
    }
    with lake.connect() as con:

        def rows(table: str, columns: str, *, own: bool = False, where: str = "true") -> Rows:
            days = [d for d in have.get(table, []) if not own or d in set(pages)]
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
            moves=_moves(con, lake, [d for d in have.get(MOVES, []) if d in set(pages)]),
            validity=rows(VALIDITY, "predictor, groups, outcome, metric, value, lower, upper"),
            decisions={name: decisions(lake, name) for name in strategies},
            weeks=_weeks(rows(EVALUATION, "segment_id, metric, value", where=f"metric like '{FLOW_WEEK}%'")),
            spent=_spent(con, lake, pages),
            hashes=hashes,
        )


def _by_day(con: duckdb.DuckDBPyConnection, query: str) -> Rows:
    cursor = con.execute(f"select * from ({query}) order by strategy, day")
    names = [c[0] for c in cursor.description or []]
    found: Rows = {}
    for values in cursor.fetchall():
        row = dict(zip(names, values, strict=True))
        found.setdefault(row["strategy"], {}).setdefault(row["day"], []).append(row)
    return found


def _merged(first: Rows, second: Rows) -> Rows:
    for strategy, days in second.items():
        for day, rows in days.items():
            first.setdefault(strategy, {}).setdefault(day, []).extend(rows)
    return first


def _weeks(flows: Rows) -> dict[tuple[str, dt.date], dict[tuple[str, str], int]]:
    return {
        (strategy, day): {
            (r["segment_id"], r["metric"].removeprefix(FLOW_WEEK)): int(r["value"]) for r in rows if r["value"]
        }
        for strategy, days in flows.items()
        for day, rows in days.items()
    }


def _spent(
    con: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[dt.date]
) -> dict[tuple[str, dt.date], dict[tuple[str, str], tuple[int, int]]]:
    """Users and cents of 90-day spend, as of a week before, by flow of the week; users known on both days."""
    found: dict[tuple[str, dt.date], dict[tuple[str, str], tuple[int, int]]] = {}
    for day in days:
        before = day - ONE_DAY * 7
        if before < lake.start_day or lake.missing("user_segments", [before, day]):
            continue
        if lake.missing("user_profiles", [before]):
            continue
        side = "(select strategy, user_id, segment_id from {})"
        rows = con.execute(
            f"""
            select
                b.strategy,
                b.segment_id,
                a.segment_id,
                count(*)::bigint,
                sum(coalesce(round(p.monetary_90d * 100), 0)::bigint)::bigint
            from {side.format(lake.scan("user_segments", [before]))} b
            join {side.format(lake.scan("user_segments", [day]))} a using (strategy, user_id)
            left join {lake.scan("user_profiles", [before])} p on p.user_id = b.user_id
            group by all
            order by all
            """
        ).fetchall()
        for strategy, old, new, users, cents in rows:
            found.setdefault((strategy, day), {})[(old, new)] = (users, cents)
    return found


def _moves(con: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[dt.date]) -> Rows:
    """Per flow: users, how many the model moved, and the feature that most users were moved by."""
    if not days:
        return {}
    return _by_day(
        con,
        "select strategy, day, from_segment, to_segment, contributions[1].feature as feature, count(*) as users, "
        "count(*) filter (where cause = 'model') as by_model, count(*) filter (where cause = 'rule') as by_rule "
        f"from {lake.scan(MOVES, list(days))} where kind = 'moved' group by all",
    )


def build_report(history: History, strategy: Strategy, day: dt.date) -> Report:
    """The report of one day and strategy. What is not in the lake is listed in `missing`, with what to do."""
    name = strategy.name
    profiles = _at(history.profiles, name)
    today = profiles.get(day, [])
    first = max(history.first - ONE_DAY * (HISTORY_DAYS - 1), day - ONE_DAY * (HISTORY_DAYS - 1))
    days = tuple(d for d in sorted(profiles) if first <= d <= day)
    names, kinds = _names(profiles, days)
    rules = [s for s, kind in kinds.items() if kind != "cluster"]
    colour = colours(list(kinds), rules)
    users_of = {d: {r["segment_id"]: int(r["users"]) for r in profiles[d]} for d in days}
    sizes = {s: tuple(users_of[d].get(s, 0) for d in days) for s in sorted(kinds)}
    sizes = {s: values for s, values in sizes.items() if any(values) or s in users_of.get(day, {})}
    taken = [d for d in history.decisions.get(name, ()) if d.day <= day]
    champion = next((d for d in reversed(taken) if d.promoted), None)
    whole, parts = _evaluation(history, name, day)
    verdicts = _drift(history, name, days, day)
    week_flows, day_flows = _flows(parts, FLOW_WEEK), _flows(parts, FLOW_DAY)
    validity, note = _validity(history, strategy, day)
    return Report(
        strategy=name,
        title=strategy.title,
        description=" ".join(strategy.description.split()),
        day=day,
        users=sum(int(r["users"]) for r in today),
        segments=tuple(_segments(history, name, day, today, users_of, parts, colour)),
        champion_id=champion.model_id if champion else "",
        fit_day=champion.segment_model().fit_day if champion else None,
        days=days,
        sizes=sizes,
        names=names,
        colours=colour,
        week_flows=week_flows,
        day_flows=day_flows,
        week=_week(history, name, day),
        reasons=tuple(_reasons(history, name, day)),
        drift=verdicts,
        drift_score_name="largest distance of a feature, in units of its limit",
        decisions=tuple(_decision(d) for d in taken),
        metrics=whole,
        series=_series(history, name, days),
        validity=validity,
        validity_note=note,
        missing=tuple(_missing(history, day)),
        sources=tuple((t, history.hashes[(t, day)]) for t in SOURCES if (t, day) in history.hashes),
        links=tuple(_links(history, name, day)),
    )


def _at(rows: Rows, strategy: str) -> dict[dt.date, list[dict[str, Any]]]:
    return rows.get(strategy, {})


def _names(
    profiles: Mapping[dt.date, list[dict[str, Any]]], days: Sequence[dt.date]
) -> tuple[dict[str, str], dict[str, str]]:
    """Each segment's latest name and kind up to the page's day."""
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for day in days:
        for row in profiles[day]:
            names[row["segment_id"]] = row["name"]
            kinds[row["segment_id"]] = row["kind"]
    return names, kinds


def _segments(
    history: History,
    name: str,
    day: dt.date,
    today: Sequence[Mapping[str, Any]],
    users_of: Mapping[dt.date, Mapping[str, int]],
    parts: Mapping[str, Mapping[str, float]],
    colour: Mapping[str, str],
) -> list[SegmentRow]:
    more = {r["segment_id"]: r for r in _at(history.features, name).get(day, [])}
    week_ago = users_of.get(day - ONE_DAY * 7)
    total = sum(int(r["users"]) for r in today)
    found = []
    for row in today:
        segment, users = row["segment_id"], int(row["users"])
        if row["kind"] != "cluster" and not users:
            continue
        extra, numbers = more.get(segment, {}), parts.get(segment, {})
        spend = extra.get("spend_90d")
        jaccard = numbers.get("jaccard")
        found.append(
            SegmentRow(
                segment_id=segment,
                name=row["name"],
                kind=row["kind"],
                users=users,
                share=users / total if total else 0.0,
                colour=colour.get(segment, "g0"),
                users_week_ago=None if week_ago is None else week_ago.get(segment, 0),
                value_mean=spend / users if spend is not None and users else None,
                value_share=extra.get("spend_share_90d"),
                apart=_apart(extra.get("features") or [], row["kind"]),
                jaccard=jaccard,
                band=band(jaccard),
                silhouette=numbers.get("silhouette"),
                representativeness=numbers.get("representativeness"),
            )
        )
    return sorted(found, key=lambda s: (not s.is_cluster, -(s.value_mean or 0.0) if s.is_cluster else 0, s.segment_id))


def _apart(features: Sequence[Mapping[str, Any]], kind: str) -> tuple[Apart, ...]:
    """The features that differ by a fifth of a standard deviation or more, strongest first."""
    if kind != "cluster":
        return ()
    told = [f for f in features if f["z"] is not None and abs(f["z"]) >= 0.2]
    told.sort(key=lambda f: (-abs(f["z"]), f["feature"]))
    return tuple(Apart(f["feature"], f["z"], f["mean"], f["population_mean"]) for f in told[:6])


def _evaluation(history: History, name: str, day: dt.date) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    whole: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    for row in _at(history.evaluation, name).get(day, []):
        if row["value"] is None or math.isnan(row["value"]):
            continue
        if row["segment_id"] == "":
            whole[row["metric"]] = row["value"]
        else:
            parts.setdefault(row["segment_id"], {})[row["metric"]] = row["value"]
    return whole, parts


def _flows(parts: Mapping[str, Mapping[str, float]], prefix: str) -> tuple[Flow, ...]:
    return tuple(
        Flow(old, metric.removeprefix(prefix), int(users))
        for old, numbers in sorted(parts.items())
        for metric, users in sorted(numbers.items())
        if metric.startswith(prefix)
    )


def _week(history: History, name: str, day: dt.date) -> Week:
    """The week's flows with intervals, beside the weeks before it, and the spend at risk (segments.migration)."""
    now, spent = history.weeks.get((name, day), {}), history.spent.get((name, day), {})
    if not now:
        return Week()
    ends = [day - ONE_DAY * 7 * n for n in range(1, MAX_EARLIER + 1)]
    earlier = [((d - ONE_DAY * 7, d), history.weeks[(name, d)]) for d in ends if (name, d) in history.weeks]
    cents = {flow: money for flow, (_, money) in spent.items()}
    found = migrate(
        name,
        day - ONE_DAY * 7,
        day,
        _flow_frame(now, cents),
        earlier,
        _values(spent),
        dormant=rule_id(name, DORMANT),
    )
    shares = {}
    for cell in found.cells.itertuples():
        if cell.users:
            expected = None if math.isnan(cell.expected_share) else float(cell.expected_share)
            shares[(cell.from_segment, cell.to_segment)] = (
                float(cell.share),
                float(cell.low),
                float(cell.high),
                expected,
            )
    unusual = tuple(
        Unusual(
            c.from_segment, c.to_segment, int(c.users), c.share, c.low, c.high, float(c.expected_share), float(c.excess)
        )
        for c in found.unusual.itertuples()
        if str(c.from_segment) != str(c.to_segment)
    )
    risky = found.cells[found.cells["at_risk"]].sort_values(["spend", "from_segment"], ascending=[False, True])
    return Week(
        shares,
        len(earlier),
        unusual,
        found.value_at_risk if spent else None,
        sum(cents.values()) / 100 if spent else None,
        tuple((c.from_segment, c.to_segment, int(c.users), float(c.spend)) for c in risky.head(3).itertuples())
        if spent
        else (),
    )


def _flow_frame(users: Mapping[tuple[str, str], int], cents: Mapping[tuple[str, str], int]) -> pd.DataFrame:
    rows = [(old, new, n, cents.get((old, new), 0)) for (old, new), n in sorted(users.items())]
    return pd.DataFrame(rows, columns=["from_segment", "to_segment", "users", "spend_cents"])


def _values(spent: Mapping[tuple[str, str], tuple[int, int]]) -> dict[str, float]:
    """Mean 90-day spend of each segment's users a week ago; by today's segment for those that are newer."""
    found: dict[str, float] = {}
    for side in (1, 0):
        totals: dict[str, list[int]] = {}
        for flow, (users, cents) in spent.items():
            total = totals.setdefault(flow[side], [0, 0])
            total[0] += users
            total[1] += cents
        found.update({segment: cents / users / 100 for segment, (users, cents) in totals.items() if users})
    return found


def _series(history: History, name: str, days: Sequence[dt.date]) -> dict[str, tuple[float | None, ...]]:
    found: dict[str, dict[dt.date, float]] = {}
    for day in days:
        for row in _at(history.evaluation, name).get(day, []):
            if row["segment_id"] == "" and row["value"] is not None and not math.isnan(row["value"]):
                found.setdefault(row["metric"], {})[day] = row["value"]
    return {metric: tuple(values.get(d) for d in days) for metric, values in found.items()}


def _drift(history: History, name: str, days: Sequence[dt.date], day: dt.date) -> tuple[DriftDay, ...]:
    found = []
    for when in sorted(d for d in _at(history.drift, name) if (d in set(days) or d == day)):
        row = _at(history.drift, name)[when][0]
        columns = [c for c in row["columns"] or [] if c["score"] is not None]
        score = max((c["score"] / c["limit"] for c in columns), default=None)
        found.append(
            DriftDay(
                when,
                bool(row["drifted"]),
                score,
                1.0 if score is not None else None,
                "; ".join(row["reasons"] or []),
                row["baseline_day"],
                tuple(
                    (c["column"], c["score"], c["limit"])
                    for c in sorted(columns, key=lambda c: (-c["score"] / c["limit"], c["column"]))
                ),
                bool(row["flagged"]),
            )
        )
    return tuple(found)


def _reasons(history: History, name: str, day: dt.date, most: int = 8) -> list[MoveReason]:
    """The largest flows since yesterday, with what most of their users were moved by."""
    flows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _at(history.moves, name).get(day, []):
        flows.setdefault((row["from_segment"], row["to_segment"]), []).append(row)
    found = []
    for (old, new), rows in flows.items():
        users = sum(r["users"] for r in rows)
        top = min(rows, key=lambda r: (-r["users"], r["feature"] or ""))
        rule = sum(r["by_rule"] for r in rows) * 2 > users
        model = sum(r["by_model"] for r in rows) / users
        found.append(MoveReason(old, new, users, words.move_reason(top["feature"], rule=rule), model))
    return sorted(found, key=lambda m: (-m.users, m.old, m.new))[:most]


def _decision(decision: Decision) -> DecisionRow:
    segments = decision.model["segments"]
    lineage = []
    for row in decision.lineage:
        share = row.get("share_of_old")
        lineage.append(
            (str(row.get("event", "")), tuple(row.get("old_ids") or ()), tuple(row.get("new_ids") or ()), share)
        )
    return DecisionRow(
        day=decision.day,
        cause=decision.cause,
        promoted=decision.promoted,
        reason=decision.reason,
        model_id=decision.model_id,
        against_model_id=decision.against_model_id,
        lineage=tuple(lineage),
        names={s["id"]: s["name"] for s in segments},
        shares={s["id"]: float(s["share"]) for s in segments},
        sequence=decision.sequence,
    )


def _validity(history: History, strategy: Strategy, day: dt.date) -> tuple[tuple[Validity, ...], str]:
    """Our segments beside the baselines, of the latest day up to the page's that has them."""
    mine = {d: rows for d, rows in _at(history.validity, strategy.name).items() if d <= day}
    if not mine:
        return (), ""
    when = max(mine)
    found = []
    for (outcome, metric), title in VALIDITY_METRICS.items():
        for row in mine[when]:
            if (row["outcome"], row["metric"]) != (outcome, metric) or row["value"] is None or math.isnan(row["value"]):
                continue
            ours = row["predictor"] == strategy.name
            label = strategy.title if ours else PREDICTORS.get(row["predictor"], row["predictor"].replace("_", " "))
            found.append(
                Validity(label, title, row["value"], row["lower"], row["upper"], int(row["groups"] or 0) or None, ours)
            )
    note = (
        f"How much the segments of a quarter before {when} said about what users did until {when}, beside what others "
        "segment with, at as many groups. Longer is better; the thin line is the 95 % interval."
    )
    return tuple(found), note


def _missing(history: History, day: dt.date) -> list[tuple[str, str]]:
    found = []
    for table, what in (
        (PROFILES, "segments and sizes"),
        (MOVES, "reasons of moves"),
        (EVALUATION, "evaluation, moves and stability"),
        (DRIFT, "drift verdict"),
        (VALIDITY, "out-of-time validity"),
    ):
        if table in TABLES and not history.has(table, day):
            found.append((what, f"{table} of {day} was never materialized; materialize it, then segment_report again"))
    return found


def _links(history: History, name: str, day: dt.date) -> list[tuple[str, str]]:
    links = [("All reports", "../../index.html")]
    if history.has(PROFILES, day - ONE_DAY):
        links.append(("The day before", f"day={day - ONE_DAY}.html"))
    return links
