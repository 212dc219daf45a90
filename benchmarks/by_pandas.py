"""What one writes first: read all events, group them into profiles, fit, evaluate, compare. No state between days.

Kind to pandas where it costs nothing: Arrow strings, user ids as numbers, money as whole cents.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import clustering
from benchmarks.shop import Place

SUBJECT = "pandas"
WINDOWS = {"7d": 7, "28d": 28, "90d": 90, "all": 100_000}
LONG = ("90d", "all")
COUNTED = {
    "refunds": "refund", "views": "view_item", "searches": "search", "carts": "add_to_cart",
    "coupons": "coupon_redeem", "campaigns": "campaign_exposure", "service": "customer_service",
}  # fmt: skip
CHANNELS = ("web", "app", "store", "email", "social")
DEVICES = ("desktop", "mobile", "tablet", "other")
TOUCHING = ("view_item", "add_to_cart", "add_to_wishlist", "purchase", "refund", "review")
USED = (
    "event_id", "user_id", "anonymous_id", "event_time", "event_type", "product_id", "category", "order_id", "amount",
    "discount", "rating", "session_id", "channel", "device",
)  # fmt: skip
KNOWN_TYPES = (*COUNTED.values(), *TOUCHING, "remove_from_cart", "begin_checkout", "share")


# ---- events --------------------------------------------------------------------------------------------------------


def read_landing(files: list[Path], columns: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Landing files as clean events: known types, somebody who acted, one row per event id."""
    frames = []
    for path in files:
        table = pq.read_table(path, columns=list(columns) if columns else None, partitioning=None)
        frame = _to_pandas(table)
        frame["event_time"] = pd.to_datetime(frame["event_time"], utc=True, format="ISO8601", errors="coerce")
        frames.append(frame)
    events = pd.concat(frames, ignore_index=True)
    good = events["event_time"].notna() & events["event_type"].isin(KNOWN_TYPES)
    good &= events["user_id"].notna() | events["anonymous_id"].notna()
    events = events[good].drop_duplicates("event_id")
    events["event_time"] = events["event_time"].dt.tz_localize(None)
    return events


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Decimals as floats: pandas would make a Python object of each."""
    for n, column in enumerate(table.schema):
        if pa.types.is_decimal(column.type):
            table = table.set_column(n, column.name, table.column(n).cast(pa.float64()))
    return table.to_pandas()


def events(place: Place) -> dict[str, Any]:
    """The landing file of the last day, cleaned, sorted and written."""
    found = read_landing([place.events(place.day)]).sort_values(["event_time", "event_id"])
    found.to_parquet(place.out(SUBJECT, "events") / "events.parquet", index=False)
    return {"rows": len(found)}


# ---- profiles ------------------------------------------------------------------------------------------------------


def read_raw(place: Place) -> pd.DataFrame:
    """All raw events of the lake."""
    files = [place.table("raw_events", day) for day in place.days]
    return pd.concat(
        [_to_pandas(pq.read_table(f, columns=list(USED), partitioning=None)) for f in files], ignore_index=True
    )


def profiles(place: Place) -> dict[str, Any]:
    """Profiles of the last day from all raw events."""
    users = pd.read_parquet(place.table("raw_users", place.day), partitioning=None)
    products = pd.read_parquet(place.table("raw_products", place.day), partitioning=None)
    found = profiles_of(read_raw(place), users, products, place.day)
    found.to_parquet(place.out(SUBJECT, "profiles") / "profiles.parquet", index=False)
    return {"rows": len(found)}


def profiles_of(e: pd.DataFrame, users: pd.DataFrame, products: pd.DataFrame, day: dt.date) -> pd.DataFrame:
    """One row per known user, the columns of user_profiles."""
    e, ids = prepared(e, day)
    dimensions = _dimensions(e)
    known = e[e["user"] >= 0]
    out = pd.DataFrame(index=pd.RangeIndex(len(ids), name="user"))
    seen = known.groupby("user")["age"].agg(["min", "max"])
    purchases = known[known["event_type"] == "purchase"]
    bought = purchases.groupby("user")["age"].agg(["min", "max"])
    today = pd.Timestamp(day)
    out["user_id"] = ids
    out["first_seen_day"] = today - pd.to_timedelta(seen["max"], unit="D")
    out["last_seen_day"] = today - pd.to_timedelta(seen["min"], unit="D")
    out["tenure_days"] = seen["max"]
    out["recency_days"] = bought["min"]
    out["inactive_days"] = seen["min"]
    out["dimensions"] = dimensions
    orders = (
        purchases.groupby(["actor", "age", "order_key"], sort=False)
        .agg(user=("user", "first"), cents=("cents", "sum"), lines=("cents", "size"))
        .reset_index()
    )
    orders["value"] = orders["cents"] / 100
    visits = _visits(e)
    for window, days in WINDOWS.items():
        w, o, v = known[known["age"] < days], orders[orders["age"] < days], visits[visits["age"] < days]
        out[f"orders_{window}"] = o.groupby("user").size()
        counts = w.groupby(["user", "event_type"]).size().unstack(fill_value=0)  # noqa: PD010
        for name, kind in COUNTED.items():
            out[f"{name}_{window}"] = counts.get(kind, 0)
        out[f"sessions_{window}"] = v["session_id"].notna().groupby(v["user"]).sum()
        out[f"active_days_{window}"] = w[["user", "age"]].drop_duplicates().groupby("user").size()
        gross = o.groupby("user")["cents"].sum().reindex(out.index, fill_value=0)
        refunds = w[w["event_type"] == "refund"]
        back = refunds["cents"].abs().groupby(refunds["user"]).sum().reindex(out.index, fill_value=0)
        out[f"gross_{window}"], out[f"refund_amount_{window}"] = gross / 100, back / 100
        out[f"monetary_{window}"] = (gross - back) / 100
    counted = [c for c in out.columns if c.endswith(tuple(WINDOWS))]
    out[counted] = out[counted].fillna(0)
    for window in LONG:
        days = WINDOWS[window]
        w, o, v = known[known["age"] < days], orders[orders["age"] < days], visits[visits["age"] < days]
        reviews = w[w["event_type"] == "review"].groupby("user")["rating"]
        out[f"reviews_{window}"] = reviews.size().reindex(out.index, fill_value=0)
        out[f"review_mean_{window}"] = reviews.mean()
        carts = v[v["has_cart"]]
        out[f"cart_to_purchase_rate_{window}"] = carts.groupby("user")["has_purchase"].mean()
        by_user = o.groupby("user")
        value = by_user["value"].agg(["mean", "var", "min", "max"])
        out[f"basket_size_{window}"] = by_user["lines"].mean()
        bought_now = w[w["event_type"] == "purchase"]
        discounts = bought_now.groupby("user")["discount_cents"].sum()
        whole = discounts + by_user["cents"].sum()
        out[f"discount_share_{window}"] = (discounts / whole).where(whole != 0)
        for name in ("mean", "var", "min", "max"):
            out[f"order_value_{name}_{window}"] = value[name]
    days_bought = purchases[["user", "age"]].drop_duplicates().groupby("user").size()
    out["purchase_days_all"] = days_bought.reindex(out.index, fill_value=0)
    out["inter_purchase_days_all"] = (bought["max"] - bought["min"]) / (days_bought - 1).replace(0, np.nan)
    quarter = known[known["age"] < 90]
    for kind, names in (("channel", CHANNELS), ("device", DEVICES)):
        counts = quarter.groupby(["user", kind]).size().unstack(fill_value=0)  # noqa: PD010
        counts = counts.reindex(columns=list(names), fill_value=0)
        shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0)
        for name in names:
            out[f"{kind}_{name}_share_90d"] = shares[name]
    out["is_suspected_bot"] = _bots(quarter, out)
    top, number = _categories(quarter, products)
    out["top_category_90d"] = top
    out["categories_90d"] = number.reindex(out.index, fill_value=0)
    known_of_users = users[["user_id", "sex", "age_band", "region", "income_band", "household_size"]]
    return out.merge(known_of_users, on="user_id", how="left")


def prepared(e: pd.DataFrame, day: dt.date) -> tuple[pd.DataFrame, pd.Index]:
    """Events with numbers for what is grouped by: actor, user (-1: a visitor nobody knows), age in days, cents.

    Also the user ids that the numbers stand for.
    """
    e = e[list(USED)].copy()
    both = e[e["user_id"].notna() & e["anonymous_id"].notna()].sort_values(["event_time", "event_id"])
    links = both.drop_duplicates("anonymous_id").set_index("anonymous_id")["user_id"]
    user = e["user_id"].fillna(e["anonymous_id"].map(links))
    actor = e["user_id"].fillna("anon:" + e["anonymous_id"])
    e["user"], ids = pd.factorize(user)
    e["actor"] = pd.factorize(actor)[0]
    e["age"] = (pd.Timestamp(day) - e["event_time"].dt.normalize()).dt.days
    e["cents"] = (e["amount"].fillna(0) * 100).round().astype("int64")
    e["discount_cents"] = (e["discount"].fillna(0) * 100).round().astype("int64")
    e["order_key"] = e["order_id"].fillna(e["session_id"]).fillna(e["event_id"])
    return e, ids


def _visits(e: pd.DataFrame) -> pd.DataFrame:
    """One row per actor, session and day; a session in which the visitor logs in is the user's."""
    in_session = e[e["session_id"].notna() & e["user_id"].notna()].sort_values("user_id")
    logins = in_session.drop_duplicates(["age", "session_id"])[["age", "session_id", "actor", "user"]]
    v = e[["age", "session_id", "actor", "user", "user_id", "event_type"]].merge(
        logins, on=["age", "session_id"], how="left", suffixes=("", "_login")
    )
    moves = v["user_id"].isna() & v["actor_login"].notna() & v["session_id"].notna()
    v["actor"] = v["actor"].where(~moves, v["actor_login"]).astype("int64")
    v["user"] = v["user"].where(~moves, v["user_login"]).astype("int64")
    v["has_cart"], v["has_purchase"] = v["event_type"] == "add_to_cart", v["event_type"] == "purchase"
    by = v.groupby(["age", "actor", "session_id"], dropna=False, sort=False)
    visits = by.agg(user=("user", "first"), has_cart=("has_cart", "any"), has_purchase=("has_purchase", "any"))
    visits = visits.reset_index()
    return visits[visits["user"] >= 0]


def _dimensions(e: pd.DataFrame) -> str:
    """What the shop's events hold, visitors nobody knows included."""
    kinds = set(e["event_type"].unique())
    purchases = e["event_type"] == "purchase"
    there = {
        "orders": "purchase" in kinds, "browse": "view_item" in kinds, "search": "search" in kinds,
        "cart": "add_to_cart" in kinds, "wishlist": "add_to_wishlist" in kinds,
        "checkout": "begin_checkout" in kinds, "refunds": "refund" in kinds,
        "discounts": e.loc[purchases, "discount_cents"].sum() > 0, "reviews": "review" in kinds,
        "shares": "share" in kinds, "coupons": "coupon_redeem" in kinds, "campaigns": "campaign_exposure" in kinds,
        "service": "customer_service" in kinds, "sessions": e["session_id"].notna().any(),
        "channels": e["channel"].isin(CHANNELS).any(), "devices": e["device"].isin(DEVICES).any(),
    }  # fmt: skip
    return ",".join(name for name, is_there in there.items() if is_there)


def _bots(quarter: pd.DataFrame, out: pd.DataFrame) -> pd.Series:
    pages = quarter[quarter["event_type"].isin(["view_item", "search"])]
    hours = pages.groupby([pages["user"], pages["actor"], pages["event_time"].dt.floor("h")]).size()
    days = pages.groupby(["user", "actor", "age"]).size()
    by_hour = hours.groupby(level=0).max().reindex(out.index, fill_value=0)
    by_day = days.groupby(level=0).max().reindex(out.index, fill_value=0)
    return (out["orders_all"] == 0) & ((by_hour >= 120) | (by_day >= 200))


def _categories(quarter: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Top category and number of categories of each user."""
    touched = quarter[quarter["event_type"].isin(TOUCHING)].merge(
        products[["product_id", "category"]], on="product_id", how="left", suffixes=("", "_listed")
    )
    touched["category"] = touched["category"].fillna(touched["category_listed"]).fillna("(unknown)")
    purchases = touched[touched["event_type"] == "purchase"]
    key = ["user", "category"]
    by = touched.groupby(key).agg(events=("cents", "size"))
    by["gross"] = purchases.groupby(key)["cents"].sum()
    orders = purchases[["user", "category", "actor", "age", "order_key"]].drop_duplicates()
    by["orders"] = orders.groupby(key).size()
    by["views"] = touched[touched["event_type"] == "view_item"].groupby(key).size()
    by = by.fillna(0).reset_index()
    by["gross"] = by["gross"].clip(lower=0)
    whole = by.groupby("user")[["gross", "events"]].transform("sum")
    by["share"] = np.where(
        whole["gross"] > 0, by["gross"] / whole["gross"].replace(0, 1), by["events"] / whole["events"]
    )
    named = by[by["category"] != "(unknown)"]
    order = named.sort_values(["share", "orders", "views", "category"], ascending=[False, False, False, True])
    top = order.drop_duplicates("user").set_index("user")["category"]
    return top, named.groupby("user").size()


# ---- the other rooms, and all of them ------------------------------------------------------------------------------


def room(place: Place, name: str) -> dict[str, Any]:
    """One room of the last day."""
    if name in ("events", "profiles"):
        return {"events": events, "profiles": profiles}[name](place)
    return clustering.room(place, name, place.out(SUBJECT, name))


def whole_day(place: Place) -> dict[str, Any]:
    """All of it in one script: every landing file, profiles, segments, evaluation, drift."""
    out = place.out(SUBJECT, "whole_day")
    found = read_landing([place.events(day) for day in place.days], USED)
    users = pd.concat([pd.read_csv(f) for f in sorted((place.landing / "users").glob("*.csv"))])
    users = users.drop_duplicates("user_id", keep="last")
    products = pd.read_csv(place.landing / "products.csv")
    made = profiles_of(found, users, products, place.day)
    del found
    made.to_parquet(out / "profiles.parquet", index=False)
    before, yesterday = clustering.read_before(place)
    labels = clustering.segments(made, yesterday, out)
    clustering.evaluation(made, labels, out)
    clustering.drift(made, before, out)
    return {"rows": len(made)}
