"""Read from the lake what users did in the days before a fit, beside what was known of them before that.

Only two days of `user_profiles` are read, the fit day D and an earlier day D - h, both on or before D. The outcome
is how far a lifetime total grew between them. So nothing after D can be seen: it is not in what is read.

Not here: which outcomes there are and what a strategy may ask for (`algorithms.outcomes`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seg_assets.core.table_spec import Input
from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.algorithms.outcomes import (
    RETURNED,
    outcome_columns,
    outcome_names,
    recent_total_of,
    total_of,
)
from seg_assets.segments.features import CATEGORIES, PROFILES, load_features
from seg_assets.segments.rules import clustered_mask
from seg_assets.segments.space import numbers_of
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy

# Four whole weeks: below that, weekdays and single purchases drown what users differ in.
LEAST_HORIZON_DAYS = 28


def outcome_for(algorithm: str, lake: Lake, strategy: Strategy, day: dt.date) -> Outcome | None:
    """Load what an algorithm that learns from an outcome learns from on a day; None for the others."""
    return load_outcome(lake, strategy, day) if algorithms.named(algorithm).is_guided else None


def horizon_of(history_days: int, wanted_days: int) -> int:
    """Return how many days the outcome may span: at most `wanted_days`, with as long a past left to the features.

    0 when that is under LEAST_HORIZON_DAYS: the shop is too young to learn from.
    """
    days = min(wanted_days, history_days // 2)
    return days if days >= LEAST_HORIZON_DAYS else 0


def load_outcome(lake: Lake, strategy: Strategy, day: dt.date) -> Outcome | None:
    """Load the teacher of a fit of `day`: features as of day - h and the outcome of the h days since.

    Users that take part in clustering only. While the shop is too young, or too few users were known then, the outcome
    is what the same users are known to have done up to `day`: tiers of the past, and `basis` says so. None when no user
    takes part on the day.

    Raises:
        MissingDaysError: when the profiles of `day` or of the earlier day were never materialized.
    """
    given = algorithms.named(strategy.algorithm).values_of(strategy.parameters)
    return outcome_frame(
        lake, strategy, day, outcome=given.get("outcome", "monetary"), horizon_days=given.get("horizon_days", 90)
    )


def outcome_frame(
    lake: Lake, strategy: Strategy, day: dt.date, outcome: str | Sequence[str] = "monetary", horizon_days: int = 90
) -> Outcome | None:
    """Do what `load_outcome` does, with the outcomes and the horizon given."""
    extra, names = outcome_columns(outcome), outcome_names(outcome)
    now = load_features(lake, strategy, day, extra=extra)
    if not len(now):
        return None
    categories = [c.removeprefix(CATEGORY_PREFIX) for c in now.columns if c.startswith(CATEGORY_PREFIX)]
    known_for = now["tenure_days"].max()
    history = int(known_for) + 1 if np.isfinite(known_for) else 0
    days = horizon_of(history, horizon_days)
    if days:
        earlier = day - dt.timedelta(days=days)
        lake.require(PROFILES, [earlier], f"segment_model of {day} ({strategy.name}, outcome)")
        then = load_features(lake, strategy, earlier, categories=categories, extra=extra)
        then = then[then["user_id"].isin(now["user_id"])]
        then = then[clustered_mask(strategy, then)].reset_index(drop=True)
        if len(then) >= strategy.fit.minimum_users:
            return Outcome(
                day=earlier,
                frame=then,
                values=pd.DataFrame({name: growth(then, now, name) for name in names}),
                inputs=_inputs_read(lake, earlier, days, bool(categories)),
                horizon_days=days,
                basis=f"{' and '.join(names)} of the {days} days up to the fit day",
            )
    today = now[clustered_mask(strategy, now)].reset_index(drop=True)
    if not len(today):
        return None
    why = f"{history} days of history" if not days else "too few users known earlier"
    totals = " and ".join(dict.fromkeys(map(recent_total_of, names)))
    return Outcome(
        day=day,
        frame=today,
        values=pd.DataFrame({name: _recent(today, name) for name in names}),
        basis=f"{totals} of the fit day itself: {why}, no outcome to learn from yet",
    )


def _recent(frame: pd.DataFrame, outcome: str) -> np.ndarray:
    """Return (m,) the outcome of the 90 days up to the frame's own day."""
    total = numbers_of(frame[recent_total_of(outcome)], 0.0)
    return (total > 0).astype(np.float64) if outcome == RETURNED else total


def growth(then: pd.DataFrame, now: pd.DataFrame, outcome: str) -> np.ndarray:
    """Return (m,) the outcome of each user of `then`, from lifetime totals of both days, exact to the cent."""
    total = total_of(outcome)
    later = numbers_of(now.set_index("user_id")[total].reindex(then["user_id"]), 0.0)
    change = np.round(later - numbers_of(then[total], 0.0), 2)
    return (change > 0).astype(np.float64) if outcome == RETURNED else change


def _inputs_read(lake: Lake, earlier: dt.date, days: int, categories: bool) -> Mapping[str, str]:
    """Return the content hash of each table that was read of the earlier day, by its key among a decision's inputs."""
    digests = {}
    for table in (PROFILES, CATEGORIES) if categories else (PROFILES,):
        provenance = lake.provenance(table, earlier)
        digests[Input(table, "horizon", days).key] = provenance.content_hash if provenance else NONE
    return digests
