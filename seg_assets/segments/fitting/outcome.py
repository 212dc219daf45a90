"""What users did in the days before a fit, beside what was known of them before that: the teacher of a strategy.

Only two days of `user_profiles` are read, the fit day D and an earlier day D - h, both on or before D. The outcome
is how far a lifetime total grew between them. So nothing after D can be seen: it is not in what is read.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.table_spec import Input
from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.segments.algorithms import Outcome, Parameter
from seg_assets.segments.space import numbers_of
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy

# Outcome name to the lifetime total that it is the growth of.
TOTALS = {
    "monetary": "monetary_all",
    "orders": "orders_all",
    "active_days": "active_days_all",
    "sessions": "sessions_all",
    "views": "views_all",
    "searches": "searches_all",
    "carts": "carts_all",
    "coupons": "coupons_all",
}
# Whether a user bought again, 0 or 1.
RETURNED = "returned"
OUTCOMES = (*TOTALS, RETURNED)
# Four whole weeks: below that, weekdays and single purchases drown what users differ in.
LEAST_HORIZON_DAYS = 28
# What a strategy may ask for; `check_outcome` knows the outcomes, and what history does not hold is cut by horizon_of.
OUTCOME_PARAMETERS = {
    "outcome": Parameter("monetary"),
    "horizon_days": Parameter(
        90,
        int,
        7,
        730,
        hint="it is the length of the days up to the fit day: the days after it are not known, and never read",
    ),
}


@dataclass(frozen=True)
class Observed(Outcome):
    """An Outcome that says how far it looks: `horizon_days` 0 means spend up to D itself, no outcome yet."""

    horizon_days: int = 0
    basis: str = ""


def outcome_names(outcome: str | Sequence[str]) -> list[str]:
    """The outcomes of a `parameters.outcome`: one name, or a list of them."""
    return [outcome] if isinstance(outcome, str) else list(outcome)


def outcome_columns(outcome: str | Sequence[str]) -> list[str]:
    """Profile columns that outcomes need."""
    totals = [TOTALS.get(name, "orders_all") for name in outcome_names(outcome)]
    return list(dict.fromkeys([*totals, *(t.replace("_all", "_90d") for t in totals), "tenure_days"]))


def check_outcome(outcome: Any, several: bool = False) -> None:
    """Raise ValueError for an outcome that is not known, or given twice.

    several: a list of outcomes is allowed.
    """
    listed = isinstance(outcome, list | tuple) and several
    names = list(outcome) if listed else [outcome]
    unknown = [n for n in names if not isinstance(n, str) or n not in OUTCOMES]
    if unknown or not names:
        more = ", or a list of them" if several else ""
        raise ValueError(f"parameters.outcome = {outcome!r}: one of {', '.join(OUTCOMES)}{more}")
    if len(set(names)) != len(names):
        raise ValueError(f"parameters.outcome = {outcome!r}: one is given twice")


def horizon_of(history_days: int, wanted_days: int) -> int:
    """Days the outcome may span: at most `wanted_days`, leaving at least as long a past to the features.

    0 when that is under LEAST_HORIZON_DAYS: the shop is too young to learn from.
    """
    days = min(wanted_days, history_days // 2)
    return days if days >= LEAST_HORIZON_DAYS else 0


def load_outcome(lake: Lake, strategy: Strategy, day: dt.date) -> Observed | None:
    """Teach a fit of `day`: features as of day - h and the outcome of the h days since, of clustered users.

    While the shop is too young, or too few users were known then, the outcome is what the same users are known to
    have done up to `day`: tiers of the past, said so in `basis`. None when the day has no clustered user.

    Raises:
        MissingDaysError: when the profiles of `day` or of the earlier day were never materialized.
    """
    from seg_assets.segments import algorithms

    given = algorithms.parameters_of(strategy.algorithm, strategy.parameters)
    return outcome_frame(
        lake, strategy, day, outcome=given.get("outcome", "monetary"), horizon_days=given.get("horizon_days", 90)
    )


def outcome_frame(
    lake: Lake, strategy: Strategy, day: dt.date, outcome: str | Sequence[str] = "monetary", horizon_days: int = 90
) -> Observed | None:
    """`load_outcome` with the outcomes and the horizon given."""
    from seg_assets.segments.features import clustered_mask, load_features

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
        lake.require("user_profiles", [earlier], f"segment_model of {day} ({strategy.name}, outcome)")
        then = load_features(lake, strategy, earlier, categories=categories, extra=extra)
        then = then[then["user_id"].isin(now["user_id"])]
        then = then[clustered_mask(strategy, then)].reset_index(drop=True)
        if len(then) >= strategy.fit.minimum_users:
            return Observed(
                day=earlier,
                frame=then,
                values=pd.DataFrame({name: growth(then, now, name) for name in names}),
                inputs=_digests(lake, earlier, days, bool(categories)),
                horizon_days=days,
                basis=f"{' and '.join(names)} of the {days} days up to the fit day",
            )
    here = now[clustered_mask(strategy, now)].reset_index(drop=True)
    if not len(here):
        return None
    why = f"{history} days of history" if not days else "too few users known earlier"
    seen = {name: _so_far(here, name) for name in names}
    read = " and ".join(dict.fromkeys(TOTALS.get(n, "orders_all").replace("_all", "_90d") for n in names))
    return Observed(
        day=day,
        frame=here,
        values=pd.DataFrame(seen),
        basis=f"{read} of the fit day itself: {why}, no outcome to learn from yet",
    )


def _so_far(frame: pd.DataFrame, outcome: str) -> np.ndarray:
    """(m,) the outcome of the 90 days up to the frame's own day."""
    column = TOTALS.get(outcome, "orders_all").replace("_all", "_90d")
    seen = numbers_of(frame[column], 0.0)
    return (seen > 0).astype(np.float64) if outcome == RETURNED else seen


def growth(then: pd.DataFrame, now: pd.DataFrame, outcome: str) -> np.ndarray:
    """(m,) the outcome of each user of `then`, from lifetime totals of both days. Currency is exact to the cent."""
    total = TOTALS.get(outcome, "orders_all")
    later = numbers_of(now.set_index("user_id")[total].reindex(then["user_id"]), 0.0)
    change = np.round(later - numbers_of(then[total], 0.0), 2)
    return (change > 0).astype(np.float64) if outcome == RETURNED else change


def _digests(lake: Lake, earlier: dt.date, days: int, categories: bool) -> Mapping[str, Any]:
    tables = ("user_profiles", "user_category_profiles") if categories else ("user_profiles",)
    found = {}
    for table in tables:
        provenance = lake.provenance(table, earlier)
        found[Input(table, "horizon", days).key] = provenance.content_hash if provenance else NONE
    return found
