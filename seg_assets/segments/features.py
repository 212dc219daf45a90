"""Profiles of one day as the frame that a strategy sees: one row per user, in the shop's own units.

What a distance makes of it is in `space`.
"""

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd

from seg_assets.lake import Lake, identifier, literal
from seg_assets.segments import algorithms
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy

PROFILES = "user_profiles"
CATEGORIES = "user_category_profiles"
# Always loaded: what the rule segments and the eligibility of any strategy read.
RULE_COLUMNS = (
    "tenure_days",
    "recency_days",
    "inactive_days",
    "is_suspected_bot",
    "orders_all",
    "active_days_all",
)


def needed_columns(strategy: Strategy, extra: Sequence[str] = ()) -> list[str]:
    """Profile columns that features, rules, drift and the algorithm read, sorted."""
    named = {*strategy.columns(), *RULE_COLUMNS, *extra}
    asks = getattr(algorithms.module_of(strategy.algorithm), "columns", None)
    if asks is not None:
        named.update(asks(strategy))
    return sorted(c for c in named if c != "user_id" and not c.startswith(CATEGORY_PREFIX))


def load_features(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    categories: Sequence[str] | None = None,
    extra: Sequence[str] = (),
) -> pd.DataFrame:
    """One row per known user of `day`, sorted by `user_id`, index 0..n-1.

    Columns: `user_id`; every needed profile column (numbers as float64 with NaN for null, text as str);
    `category:<name>` (share of 90-day spend, 0 when the user has none) when the strategy has category_shares.

    Args:
        lake: the lake.
        strategy: what to load for.
        day: the as-of day.
        categories: category names to load; default: the day's `top` by buyers. Give a model's own
            (`model.space.categories`) when the frame is for that model.
        extra: further profile columns.

    Raises:
        MissingDaysError: when the profiles of the day were never materialized.
    """
    wanted = needed_columns(strategy, extra)
    profiles = lake.scan(PROFILES, [day])
    with lake.connect() as con:
        have = {row[0]: row[1] for row in con.execute(f"describe select * from {profiles}").fetchall()}
        parts = ["p.user_id"]
        for column in wanted:
            name = identifier(column)
            if column not in have:
                parts.append(f"null::double as {name}")
            elif have[column] == "VARCHAR":
                parts.append(f"p.{name}")
            elif have[column] in ("DATE", "TIMESTAMP"):
                parts.append(f"(p.{name}::date - date '1970-01-01')::double as {name}")
            else:
                parts.append(f"p.{name}::double as {name}")
        names = day_categories(lake, strategy, day) if categories is None else list(categories)
        join = ""
        if names:
            shares = ", ".join(
                f"max(share_90d) filter (where category = {literal(name)})::double as c{n}"
                for n, name in enumerate(names)
            )
            listed = ", ".join(literal(name) for name in names)
            parts += [f"coalesce(c.c{n}, 0.0) as c{n}" for n in range(len(names))]
            join = (
                f"left join (select user_id, {shares} from {lake.scan(CATEGORIES, [day])} "
                f"where category in ({listed}) group by user_id) c on c.user_id = p.user_id"
            )
        frame = con.execute(f"select {', '.join(parts)} from {profiles} p {join} order by p.user_id").df()
    frame.columns = ["user_id", *wanted, *(CATEGORY_PREFIX + name for name in names)]
    frame.attrs["absent"] = [c for c in wanted if c not in have]
    return frame


def day_categories(lake: Lake, strategy: Strategy, day: dt.date) -> list[str]:
    """The `top` categories of a day by users who spent in them, ties by name."""
    if strategy.category_top is None:
        return []
    with lake.connect() as con:
        rows = con.execute(
            f"select category from {lake.scan(CATEGORIES, [day])} where category is not null "
            "group by category having count(*) filter (where share_90d > 0) > 0 "
            f"order by count(*) filter (where share_90d > 0) desc, category limit {int(strategy.category_top)}"
        ).fetchall()
    return [row[0] for row in rows]


def clustered_mask(strategy: Strategy, frame: pd.DataFrame) -> np.ndarray:
    """Boolean (n,): users that take part in clustering: eligible, and caught by none of the rules.

    A null never excludes by `new` or `dormant`; it does fail a `minimum`.
    """
    rules = strategy.rules
    keep = eligible_mask(strategy, frame)
    if rules.bots:
        keep &= ~(frame["is_suspected_bot"].fillna(0).to_numpy(dtype=float) > 0)
    if rules.new_within_days is not None:
        keep &= ~(frame["tenure_days"].to_numpy(dtype=float) < rules.new_within_days)
    if rules.dormant_after_days is not None:
        keep &= ~(frame["inactive_days"].to_numpy(dtype=float) >= rules.dormant_after_days)
    return keep


def eligible_mask(strategy: Strategy, frame: pd.DataFrame) -> np.ndarray:
    """Boolean (n,): users that satisfy the strategy's `eligibility`."""
    who = strategy.eligibility
    least = {"orders_all": who.minimum_orders, "active_days_all": who.minimum_active_days, **who.minimum}
    keep = np.ones(len(frame), dtype=bool)
    for column, value in least.items():
        if column in who.minimum or value > 0:
            keep &= frame[column].to_numpy(dtype=float) >= value
    if who.any_known:
        keep &= frame[list(who.any_known)].notna().any(axis=1).to_numpy()
    return keep
