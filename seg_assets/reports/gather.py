"""Put the report of one day and strategy together from a `History`.

A page of day D uses rows of days up to D and nothing later. What the lake does not have is listed in `Report.missing`,
with what to do.

Not here: reading the lake (`history`), what a report can hold (`contents`), its sentences (`words`) and its look
(`page`).
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from seg_assets.core.days import ONE_DAY
from seg_assets.core.tables import TABLES
from seg_assets.evaluation.daily import FLOW_DAY, FLOW_WEEK
from seg_assets.evaluation.validity_lake import unknown_of
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
from seg_assets.reports.history import (
    DRIFT,
    EVALUATION,
    HISTORY_DAYS,
    MOVES,
    PROFILES,
    SOURCES,
    VALIDITY,
    WEEK,
    FlowKey,
    History,
    Row,
)
from seg_assets.segments.daily.migration import MAX_EARLIER, Migration, migrate
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.stability import band
from seg_assets.segments.rules import DORMANT, rule_id
from seg_assets.segments.strategy import Strategy

# Out-of-time numbers worth a chart: (outcome, metric) of segment_validity to the heading over them, in order.
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
# What a reader misses when the day of a table is not in the lake.
CONTENTS = {
    PROFILES: "segments and sizes",
    MOVES: "reasons of moves",
    EVALUATION: "evaluation, moves and stability",
    DRIFT: "drift verdict",
    VALIDITY: "out-of-time validity",
}
# Features that set a segment apart, and differ by this much of a standard deviation at least.
MOST_APART, LEAST_APART = 6, 0.2
# Flows whose reasons are listed, and flows that most of the spend at risk went with.
MOST_REASONS, MOST_LOSSES = 8, 3


def build_report(history: History, strategy: Strategy, day: dt.date) -> Report:
    """Return the report of one day and strategy."""
    name = strategy.name
    profiles = history.profiles.get(name, {})
    today = profiles.get(day, [])
    first = max(history.first, day) - ONE_DAY * (HISTORY_DAYS - 1)
    days = tuple(earlier for earlier in sorted(profiles) if first <= earlier <= day)
    names, kinds = _names(profiles, days)
    colour = colours(list(kinds), [segment for segment, kind in kinds.items() if kind != "cluster"])
    users_of = {d: {row["segment_id"]: int(row["users"]) for row in profiles[d]} for d in days}
    sizes = {segment: tuple(users_of[d].get(segment, 0) for d in days) for segment in sorted(kinds)}
    taken = [decision for decision in history.decisions.get(name, ()) if decision.day <= day]
    champion = next((decision for decision in reversed(taken) if decision.promoted), None)
    whole, parts = _evaluation(history, name, day)
    validity, note = _validity(history, strategy, day)
    return Report(
        strategy=name,
        title=strategy.title,
        description=" ".join(strategy.description.split()),
        day=day,
        users=sum(int(row["users"]) for row in today),
        segments=tuple(_segments(history, name, day, today, users_of, parts, colour)),
        champion_id=champion.model_id if champion else "",
        fit_day=champion.segment_model().fit_day if champion else None,
        days=days,
        sizes={s: values for s, values in sizes.items() if any(values) or s in users_of.get(day, {})},
        names=names,
        colours=colour,
        week_flows=_flows(parts, FLOW_WEEK),
        day_flows=_flows(parts, FLOW_DAY),
        week=_week(history, name, day),
        reasons=tuple(_reasons(history, name, day)),
        drift=_drift(history, name, days, day),
        drift_score_name="largest distance of a feature, in units of its limit",
        decisions=tuple(_decision(decision) for decision in taken),
        metrics=whole,
        series=_series(history, name, days),
        validity=validity,
        validity_note=note,
        missing=tuple(_missing(history, day)),
        sources=tuple((table, history.hashes[(table, day)]) for table in SOURCES if (table, day) in history.hashes),
        links=tuple(_links(history, name, day)),
    )


def _names(profiles: Mapping[dt.date, list[Row]], days: Sequence[dt.date]) -> tuple[dict[str, str], dict[str, str]]:
    """Return each segment's latest name and kind up to the page's day."""
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
    today: Sequence[Row],
    users_of: Mapping[dt.date, Mapping[str, int]],
    parts: Mapping[str, Mapping[str, float]],
    colour: Mapping[str, str],
) -> list[SegmentRow]:
    """Return the day's segments: clusters by spend of their users, then rule segments that have users."""
    details = {row["segment_id"]: row for row in history.features.get(name, {}).get(day, [])}
    week_ago = users_of.get(day - WEEK)
    total = sum(int(row["users"]) for row in today)
    segments = []
    for row in today:
        segment, users = row["segment_id"], int(row["users"])
        if row["kind"] != "cluster" and not users:
            continue
        detail, numbers = details.get(segment, {}), parts.get(segment, {})
        spend = detail.get("spend_90d")
        jaccard = numbers.get("jaccard")
        segments.append(
            SegmentRow(
                segment_id=segment,
                name=row["name"],
                kind=row["kind"],
                users=users,
                share=users / total if total else 0.0,
                colour=colour.get(segment, "g0"),
                users_week_ago=None if week_ago is None else week_ago.get(segment, 0),
                value_mean=spend / users if spend is not None and users else None,
                value_share=detail.get("spend_share_90d"),
                apart=_apart(detail.get("features") or [], row["kind"]),
                jaccard=jaccard,
                band=band(jaccard),
                silhouette=numbers.get("silhouette"),
                representativeness=numbers.get("representativeness"),
            )
        )
    return sorted(
        segments, key=lambda s: (not s.is_cluster, -(s.value_mean or 0.0) if s.is_cluster else 0, s.segment_id)
    )


def _apart(features: Sequence[Row], kind: str) -> tuple[Apart, ...]:
    """Return the features that set a segment apart, strongest first."""
    if kind != "cluster":
        return ()
    strong = [feature for feature in features if feature["z"] is not None and abs(feature["z"]) >= LEAST_APART]
    strong.sort(key=lambda feature: (-abs(feature["z"]), feature["feature"]))
    return tuple(Apart(f["feature"], f["z"], f["mean"], f["population_mean"]) for f in strong[:MOST_APART])


def _evaluation(history: History, name: str, day: dt.date) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the day's metrics of the whole segmentation, and by segment."""
    whole: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    for row in history.evaluation.get(name, {}).get(day, []):
        if _is_number(row["value"]):
            metrics = parts.setdefault(row["segment_id"], {}) if row["segment_id"] else whole
            metrics[row["metric"]] = row["value"]
    return whole, parts


def _series(history: History, name: str, days: Sequence[dt.date]) -> dict[str, tuple[float | None, ...]]:
    by_metric: dict[str, dict[dt.date, float]] = {}
    for day in days:
        for metric, value in _evaluation(history, name, day)[0].items():
            by_metric.setdefault(metric, {})[day] = value
    return {metric: tuple(values.get(day) for day in days) for metric, values in by_metric.items()}


def _flows(parts: Mapping[str, Mapping[str, float]], prefix: str) -> tuple[Flow, ...]:
    return tuple(
        Flow(old, metric.removeprefix(prefix), int(users))
        for old, numbers in sorted(parts.items())
        for metric, users in sorted(numbers.items())
        if metric.startswith(prefix)
    )


def _week(history: History, name: str, day: dt.date) -> Week:
    """Return the week's flows with intervals, beside the weeks before it, and the spend at risk."""
    flows, spend = history.week_flows.get((name, day), {}), history.week_spend.get((name, day), {})
    if not flows:
        return Week()
    ends = [day - WEEK * n for n in range(1, MAX_EARLIER + 1)]
    earlier = [
        ((end - WEEK, end), history.week_flows[(name, end)]) for end in ends if (name, end) in history.week_flows
    ]
    cents = {flow: money for flow, (_, money) in spend.items()}
    rows = [(old, new, users, cents.get((old, new), 0)) for (old, new), users in sorted(flows.items())]
    frame = pd.DataFrame(rows, columns=["from_segment", "to_segment", "users", "spend_cents"])
    dormant = rule_id(name, DORMANT)
    matrix = migrate(name, day - WEEK, day, frame, earlier, _mean_spend(spend), dormant=dormant)
    week = Week(shares=_shares(matrix), windows=len(earlier), unusual=_unusual(matrix))
    if not spend:
        return week
    risky = matrix.cells[matrix.cells["at_risk"]].sort_values(["spend", "from_segment"], ascending=[False, True])
    losses = [
        (c.from_segment, c.to_segment, int(c.users), float(c.spend)) for c in risky.head(MOST_LOSSES).itertuples()
    ]
    return replace(week, at_risk=matrix.value_at_risk, spend=sum(cents.values()) / 100, losses=tuple(losses))


def _shares(matrix: Migration) -> dict[FlowKey, tuple[float, float, float, float | None]]:
    return {
        (cell.from_segment, cell.to_segment): (
            float(cell.share),
            float(cell.low),
            float(cell.high),
            float(cell.expected_share) if _is_number(cell.expected_share) else None,
        )
        for cell in matrix.cells.itertuples()
        if cell.users
    }


def _unusual(matrix: Migration) -> tuple[Unusual, ...]:
    return tuple(
        Unusual(
            c.from_segment, c.to_segment, int(c.users), c.share, c.low, c.high, float(c.expected_share), float(c.excess)
        )
        for c in matrix.unusual.itertuples()
        if str(c.from_segment) != str(c.to_segment)
    )


def _mean_spend(spend: Mapping[FlowKey, tuple[int, int]]) -> dict[str, float]:
    """Return the mean 90-day spend of each segment's users a week ago; by today's segment for newer segments."""
    means: dict[str, float] = {}
    for side in (1, 0):
        totals: dict[str, list[int]] = {}
        for flow, (users, cents) in spend.items():
            total = totals.setdefault(flow[side], [0, 0])
            total[0] += users
            total[1] += cents
        means.update({segment: cents / users / 100 for segment, (users, cents) in totals.items() if users})
    return means


def _reasons(history: History, name: str, day: dt.date) -> list[MoveReason]:
    """Return the largest flows since yesterday, with what most of their users were moved by."""
    flows: dict[FlowKey, list[Row]] = {}
    for row in history.moves.get(name, {}).get(day, []):
        flows.setdefault((row["from_segment"], row["to_segment"]), []).append(row)
    reasons = []
    for (old, new), rows in flows.items():
        users = sum(row["users"] for row in rows)
        top = min(rows, key=lambda row: (-row["users"], row["feature"] or ""))
        rule = sum(row["by_rule"] for row in rows) * 2 > users
        model = sum(row["by_model"] for row in rows) / users
        reasons.append(MoveReason(old, new, users, words.move_reason(top["feature"], rule=rule), model))
    return sorted(reasons, key=lambda m: (-m.users, m.old, m.new))[:MOST_REASONS]


def _drift(history: History, name: str, days: Sequence[dt.date], day: dt.date) -> tuple[DriftDay, ...]:
    verdicts = history.drift.get(name, {})
    judged = []
    for when in sorted(set(verdicts) & {*days, day}):
        row = verdicts[when][0]
        columns = [column for column in row["columns"] or [] if column["score"] is not None]
        columns.sort(key=lambda column: (-column["score"] / column["limit"], column["column"]))
        score = columns[0]["score"] / columns[0]["limit"] if columns else None
        judged.append(
            DriftDay(
                day=when,
                drifted=bool(row["drifted"]),
                score=score,
                limit=1.0 if columns else None,
                reason="; ".join(row["reasons"] or []),
                against=row["baseline_day"],
                columns=tuple((column["column"], column["score"], column["limit"]) for column in columns),
                flagged=bool(row["flagged"]),
            )
        )
    return tuple(judged)


def _decision(decision: Decision) -> DecisionRow:
    segments = decision.model["segments"]
    return DecisionRow(
        day=decision.day,
        cause=decision.cause,
        promoted=decision.promoted,
        reason=decision.reason,
        model_id=decision.model_id,
        against_model_id=decision.against_model_id,
        lineage=tuple(
            (
                str(row.get("event", "")),
                tuple(row.get("old_ids") or ()),
                tuple(row.get("new_ids") or ()),
                row.get("share_of_old"),
            )
            for row in decision.lineage
        ),
        names={segment["id"]: segment["name"] for segment in segments},
        shares={segment["id"]: float(segment["share"]) for segment in segments},
        sequence=decision.sequence,
    )


def _validity(history: History, strategy: Strategy, day: dt.date) -> tuple[tuple[Validity, ...], str]:
    """Return our segments beside the baselines, of the latest day up to the page's that has them, and a note."""
    known = {when: rows for when, rows in history.validity.get(strategy.name, {}).items() if when <= day}
    if not known:
        return (), ""
    latest = max(known)
    items = []
    for place, title in VALIDITY_METRICS.items():
        for row in known[latest]:
            if (row["outcome"], row["metric"]) != place or not _is_number(row["value"]):
                continue
            name, groups = row["predictor"], int(row["groups"] or 0) or None
            ours = name == strategy.name
            label = strategy.title if ours else PREDICTORS.get(name, name.replace("_", " "))
            items.append(Validity(label, title, row["value"], row["lower"], row["upper"], groups, ours))
    note = (
        f"How much the segments of a quarter before {latest} said about what users did until {latest}, beside what "
        "others segment with, at as many groups. Longer is better; the thin line is the 95 % interval."
    )
    unknown = unknown_of(
        {**row, "predictor": PREDICTORS.get(row["predictor"], row["predictor"])} for row in known[latest]
    )
    if not items:
        note = f"Nothing could be told on {latest}."
    return tuple(items), " ".join([note, *(said.replace("_", " ") for said in unknown.sentences)])


def _missing(history: History, day: dt.date) -> list[tuple[str, str]]:
    return [
        (what, f"{table} of {day} was never materialized; materialize it, then segment_report again")
        for table, what in CONTENTS.items()
        if table in TABLES and not history.has(table, day)
    ]


def _links(history: History, name: str, day: dt.date) -> list[tuple[str, str]]:
    links = [("All reports", "../../index.html")]
    if history.has(PROFILES, day - ONE_DAY):
        links.append(("The day before", f"day={day - ONE_DAY}.html"))
    return links


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
