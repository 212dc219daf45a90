"""Explain one user's segment of a day: why this one and not the next, since when, what led to it, what would change it.

Drivers are the exact terms of the margin (`Fitted.contributions`): they add up to it.

Not here: the search for a change that moves the user (`explaining.counterfactual`), the words (`explaining.text`), and
rules that describe whole segments (`segments.fitting.surrogate`).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.core.sql import literal
from seg_assets.lake.store import Lake
from seg_assets.segments import rules
from seg_assets.segments.daily import moves
from seg_assets.segments.daily.assign import CLUSTER, STATE, TABLE, load_for
from seg_assets.segments.decisions.store import champion_as_of
from seg_assets.segments.explaining.counterfactual import Counterfactual, nearest_counterfactual, value_of
from seg_assets.segments.model import SegmentModel, marked_names
from seg_assets.segments.strategy import Strategy


@dataclass(frozen=True)
class Driver:
    """One feature's exact term of the margin; positive speaks for the segment, negative for the second."""

    feature: str
    term: float
    value: float | str | None
    segment_mean: float | None
    second_mean: float | None


@dataclass(frozen=True)
class Explanation:
    """What is known of one user's segment in one strategy on a day.

    reason: of a rule segment, why the rule holds. second_id: the nearest other segment. jaccard: how well the segment
    came out again in resamples. last_move: the row of segment_moves that brought the user, where one is known.
    """

    strategy: str
    user_id: str
    day: dt.date
    segment_id: str
    name: str
    kind: str
    since_day: dt.date
    confidence: float | None
    margin: float | None
    second_id: str | None
    second_name: str | None
    proposed: str | None
    proposed_days: int
    reason: str
    drivers: tuple[Driver, ...]
    counterfactual: Counterfactual | None
    last_move: Mapping[str, Any] | None
    jaccard: float | None = None


def explain_user(lake: Lake, strategy: Strategy, user_id: str, day: dt.date) -> Explanation:
    """Explain the segment of one user and strategy on a day.

    Raises:
        MissingDaysError: the day was never materialized. ConfigError: the user has no segment on it.
    """
    lake.require(TABLE, [day], "explain")
    row = lake.read(TABLE, day, where=f"strategy = {literal(strategy.name)} and user_id = {literal(user_id)}")
    if not len(row):
        raise ConfigError(
            f"user = {user_id!r}: not in user_segments of {day} for strategy {strategy.name}; "
            "ids are matched whole, capitals and blanks too"
        )
    decision = champion_as_of(lake, strategy.name, day)
    champion = decision.segment_model() if decision else None
    names = marked_names(strategy, champion)
    at = row.iloc[0]
    segment_id, since = str(at["segment_id"]), pd.Timestamp(at["since_day"]).date()
    frame = load_for(lake, strategy, day, [champion] if champion else [])
    user = frame[(frame["user_id"] == user_id).to_numpy()].reset_index(drop=True)
    drivers: tuple[Driver, ...] = ()
    second = counterfactual = None
    if champion is not None and at["kind"] == CLUSTER and segment_id in champion.segment_ids:
        second, drivers = drivers_of(champion, user, segment_id)
        if second is not None:
            counterfactual = nearest_counterfactual(strategy, champion, user, row[list(STATE)], frame, second, day)
    return Explanation(
        strategy=strategy.name,
        user_id=user_id,
        day=day,
        segment_id=segment_id,
        name=names.get(segment_id, segment_id),
        kind=at["kind"],
        since_day=since,
        confidence=_number(at["confidence"]),
        margin=_number(at["margin"]),
        second_id=second,
        second_name=names.get(second or ""),
        proposed=None if pd.isna(at["proposed_segment_id"]) else str(at["proposed_segment_id"]),
        proposed_days=int(at["proposed_days"]),
        reason=_rule_reason(strategy, segment_id, user) if at["kind"] != CLUSTER else "",
        jaccard=champion.jaccard.get(segment_id) if champion else None,
        drivers=drivers,
        counterfactual=counterfactual,
        last_move=_last_move(lake, strategy.name, user_id, since),
    )


def drivers_of(champion: SegmentModel, user: pd.DataFrame, segment_id: str) -> tuple[str | None, tuple[Driver, ...]]:
    """Return the second segment and the exact terms of the margin over it, strongest first; they add up to it."""
    if champion.n_clusters < 2:
        return None, ()
    X = champion.space.transform(user)
    scores = champion.scores(X)[0]
    own = champion.segment_ids.index(segment_id)
    second = int(np.argmin(np.where(np.arange(len(scores)) == own, np.inf, scores)))
    terms = champion.fitted.contributions(X, np.array([own]), np.array([second]))[0]
    mine, other = champion.segments[own].means, champion.segments[second].means
    total: dict[str, float] = {}
    for source, term in zip([*champion.space.sources, moves.INTERCEPT], terms, strict=True):
        total[source] = total.get(source, 0.0) + float(term)
    drivers = [
        Driver(feature, term, value_of(user, feature), _number(mine.get(feature)), _number(other.get(feature)))
        for feature, term in total.items()
        if term != 0
    ]
    return champion.segment_ids[second], tuple(sorted(drivers, key=lambda d: (-abs(d.term), d.feature)))


def value_text(value: float | str | None) -> str:
    """Return a user's value as text."""
    if value is None:
        return "unknown"
    return repr(value) if isinstance(value, str) else f"{value:,.6g}"


def _last_move(lake: Lake, strategy: str, user_id: str, since: dt.date) -> Mapping[str, Any] | None:
    """Return the row of segment_moves of the day on which the user came."""
    if not lake.has(moves.TABLE, since):
        return None
    wanted = f"strategy = {literal(strategy)} and user_id = {literal(user_id)}"
    with lake.connect() as con:
        row = con.execute(f"select * from {lake.scan(moves.TABLE, [since])} where {wanted}").fetchone()
        names = [column[0] for column in con.description or []]
    return dict(zip(names, row, strict=True)) if row else None


def _rule_reason(strategy: Strategy, segment_id: str, user: pd.DataFrame) -> str:
    """Say why a rule holds for the user, in the order of precedence of the rules."""
    limits = strategy.rules
    rule = rules.rule_of(strategy.name, segment_id)
    if rule == rules.UNASSIGNED:
        return "The strategy has no model yet: too few eligible users or too little history."
    if rule == rules.BOT:
        return "The profile says: suspected bot."
    if rule == rules.OUTLIER:
        return "Too far from every segment to belong to one."
    if rule == rules.DORMANT:
        days = value_text(value_of(user, "inactive_days"))
        return f"No event for {days} days; dormant from {limits.dormant_after_days} on."
    tenure = value_of(user, "tenure_days")
    if isinstance(tenure, float) and limits.new_within_days is not None and tenure < limits.new_within_days:
        return f"First seen {value_text(tenure)} days ago; new until {limits.new_within_days}."
    who = strategy.eligibility
    short = []
    for column, limit in who.minimums.items():
        value = value_of(user, column)
        if not isinstance(value, float) or value < limit:
            short.append(f"{column} is {value_text(value)} (at least {limit:g})")
    return "Too little is known to cluster: " + (", ".join(short) or f"none of {', '.join(who.any_known)}") + "."


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) or not np.isfinite(value) else float(value)
