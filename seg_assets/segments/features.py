"""Load the profiles of one day as the frame that a strategy sees: one row per user, in the shop's own units.

Not here: what a distance makes of the frame (`space`), and who of it is clustered (`rules`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from seg_assets.core.sql import identifier, literal
from seg_assets.lake import columns
from seg_assets.lake.stamps import Version
from seg_assets.lake.store import Lake
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
    """Return the profile columns that features, rules, drift and the algorithm read, sorted."""
    named = {*strategy.columns(), *RULE_COLUMNS, *extra, *algorithms.named(strategy.algorithm).columns(strategy)}
    return sorted(c for c in named if c != "user_id" and not c.startswith(CATEGORY_PREFIX))


def load_features(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    categories: Sequence[str] | None = None,
    extra: Sequence[str] = (),
) -> pd.DataFrame:
    """Load one row per known user of `day`, sorted by `user_id`, index 0..n-1.

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
    names = day_categories(lake, strategy, day) if categories is None else categories
    return load_columns(lake, day, needed_columns(strategy, extra), names)


def load_columns(lake: Lake, day: dt.date, wanted: Sequence[str], categories: Sequence[str] = ()) -> pd.DataFrame:
    """Load one row per known user of `day`, as `load_features` does, with the profile columns `wanted`.

    A column that the profiles do not have is null for everyone.

    Raises:
        MissingDaysError: when the profiles of the day were never materialized.
    """
    tables = [PROFILES, CATEGORIES] if categories else [PROFILES]
    while True:
        versions = [lake.version(table, day) for table in tables]
        shares = [(versions[-1], name) for name in categories]
        day_columns = _read(lake, day, versions[0], wanted, shares)
        # A day that was replaced in between would pair columns of two versions: look again.
        if versions == [lake.version(table, day) for table in tables]:
            break
    nulls = np.full(len(day_columns.users), np.nan)
    arrays = {"user_id": _array(day_columns.users)}
    arrays |= {name: _array(day_columns.by_name.get(name, nulls)) for name in wanted}
    arrays |= {CATEGORY_PREFIX + key[1]: _array(day_columns.by_name[key]) for key in shares}
    # Without copies: a column of the frame is the very array of the cache, which cannot be written to.
    return pd.DataFrame(arrays, copy=False)


def _array(column: columns.Column) -> Any:
    """Return an array that a frame takes as it is. Of series it would align indexes first: half of a frame's time."""
    return column if isinstance(column, np.ndarray) else pd.array(column, dtype="str")


def _read(
    lake: Lake, day: dt.date, version: Version, wanted: Sequence[str], shares: Sequence[tuple[Version, str]]
) -> columns.Columns:
    """Return what the cache has of a day's profiles, with `wanted` and `shares` (version of their table, category)."""
    cached = columns.recall(version)
    new = [c for c in wanted if cached is None or (c in cached.kinds and c not in cached.by_name)]
    new_shares = [key for key in shares if cached is None or key not in cached.by_name]
    if cached is None or new or new_shares:
        profiles = lake.scan(PROFILES, [day])
        with lake.connect() as con:
            if cached is None:
                cached = _first_read(con, profiles, new)
            elif new:
                table = _profile_columns(con, profiles, cached.kinds, new, cached.in_order)
                cached = cached.with_columns({c: columns.of_arrow(table[c]) for c in new})
            if new_shares:
                table = _category_columns(con, profiles, lake.scan(CATEGORIES, [day]), [key[1] for key in new_shares])
                cached = cached.with_columns({key: columns.of_arrow(table[n]) for n, key in enumerate(new_shares)})
    columns.remember(version, cached)
    return cached


def _first_read(con: duckdb.DuckDBPyConnection, profiles: str, wanted: Sequence[str]) -> columns.Columns:
    """Read user ids and the columns `wanted` of a day that the cache has nothing of."""
    kinds = {row[0]: row[1] for row in con.execute(f"describe select * from {profiles}").fetchall()}
    known = [c for c in wanted if c in kinds]
    # A published day is in order of its key. One that is not, a hand-made one, is sorted each time it is read.
    table = _profile_columns(con, profiles, kinds, known, in_order=True)
    users = columns.of_arrow(table["user_id"])
    in_order = columns.is_increasing(users)
    if not in_order:
        table = _profile_columns(con, profiles, kinds, known, in_order=False)
        users = columns.of_arrow(table["user_id"])
    return columns.Columns(kinds, users, in_order, {c: columns.of_arrow(table[c]) for c in known})


def _profile_columns(
    con: duckdb.DuckDBPyConnection, profiles: str, kinds: Mapping[str, str], wanted: Sequence[str], in_order: bool
) -> pa.Table:
    """Read user_id and the columns `wanted`: numbers and days since 1970 as doubles, text as it is."""
    parts = ["user_id"]
    for column in wanted:
        name = identifier(column)
        if kinds[column] == "VARCHAR":
            parts.append(name)
        elif kinds[column] in ("DATE", "TIMESTAMP"):
            parts.append(f"({name}::date - date '1970-01-01')::double as {name}")
        else:
            parts.append(f"{name}::double as {name}")
    order = "" if in_order else " order by user_id"
    return con.sql(f"select {', '.join(parts)} from {profiles}{order}").to_arrow_table()


def _category_columns(con: duckdb.DuckDBPyConnection, profiles: str, categories: str, names: Sequence[str]) -> pa.Table:
    """Read the share of each category by user, in order of user_id; 0 for a user who has none."""
    shares = ", ".join(
        f"max(share_90d) filter (where category = {literal(name)})::double as c{n}" for n, name in enumerate(names)
    )
    listed = ", ".join(literal(name) for name in names)
    return con.sql(
        f"select {', '.join(f'coalesce(c.c{n}, 0.0) as c{n}' for n in range(len(names)))} from {profiles} p "
        f"left join (select user_id, {shares} from {categories} where category in ({listed}) group by user_id) c "
        "on c.user_id = p.user_id order by p.user_id"
    ).to_arrow_table()


def day_categories(lake: Lake, strategy: Strategy, day: dt.date) -> list[str]:
    """Return the `top` categories of a day by users who spent in them, ties by name."""
    if strategy.category_top is None:
        return []
    with lake.connect() as con:
        rows = con.execute(
            f"select category from {lake.scan(CATEGORIES, [day])} where category is not null "
            "group by category having count(*) filter (where share_90d > 0) > 0 "
            f"order by count(*) filter (where share_90d > 0) desc, category limit {int(strategy.category_top)}"
        ).fetchall()
    return [row[0] for row in rows]
