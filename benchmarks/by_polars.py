"""The same script as `by_pandas`, with polars up to the profiles. The rooms after it are scikit-learn and Evidently."""

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from benchmarks import clustering
from benchmarks.by_pandas import CHANNELS, COUNTED, DEVICES, KNOWN_TYPES, LONG, TOUCHING, USED, WINDOWS
from benchmarks.shop import FEATURES, Place

SUBJECT = "polars"


# ---- events --------------------------------------------------------------------------------------------------------


def read_landing(files: list[Path], columns: tuple[str, ...] | None = None) -> pl.LazyFrame:
    """Landing files as clean events: known types, somebody who acted, one row per event id."""
    events = pl.scan_parquet(files, hive_partitioning=False)
    if columns:
        events = events.select(columns)
    events = events.with_columns(
        pl.col("event_time")
        .str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        .dt.replace_time_zone(None)
    )
    good = pl.col("event_time").is_not_null() & pl.col("event_type").is_in(KNOWN_TYPES)
    good &= pl.col("user_id").is_not_null() | pl.col("anonymous_id").is_not_null()
    return events.filter(good).unique("event_id", keep="first")


def events(place: Place) -> dict[str, Any]:
    """The landing file of the last day, cleaned, sorted and written."""
    found = read_landing([place.events(place.day)]).sort("event_time", "event_id").collect()
    found.write_parquet(place.out(SUBJECT, "events") / "events.parquet")
    return {"rows": len(found)}


# ---- profiles ------------------------------------------------------------------------------------------------------


def profiles(place: Place) -> dict[str, Any]:
    """Profiles of the last day from all raw events."""
    files = [place.table("raw_events", day) for day in place.days]
    raw = pl.scan_parquet(files, hive_partitioning=False).select(USED)
    users = pl.read_parquet(place.table("raw_users", place.day), hive_partitioning=False)
    products = pl.read_parquet(place.table("raw_products", place.day), hive_partitioning=False)
    found = profiles_of(raw, users, products, place.day)
    found.write_parquet(place.out(SUBJECT, "profiles") / "profiles.parquet")
    return {"rows": len(found)}


def profiles_of(raw: pl.LazyFrame, users: pl.DataFrame, products: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    """One row per known user, the columns of user_profiles."""
    e = prepared(raw, day)
    known = e.filter(pl.col("user").is_not_null())
    kind, age = pl.col("event_type"), pl.col("age")
    buys = kind == "purchase"
    orders = (
        known.filter(buys)
        .group_by("actor", "age", "order_key")
        .agg(pl.col("user").first(), pl.col("cents").sum(), pl.len().alias("lines"))
    )
    visits = _visits(e)
    seen = [age.min().alias("inactive_days"), age.max().alias("tenure_days")]
    seen += [age.filter(buys).min().alias("recency_days"), age.filter(buys).max().alias("oldest_purchase")]
    seen += [age.filter(buys).n_unique().alias("purchase_days_all")]
    of_orders, of_visits = [], []
    for window, days in WINDOWS.items():
        inside = age < days
        for name, event_type in COUNTED.items():
            seen.append(((kind == event_type) & inside).sum().alias(f"{name}_{window}"))
        seen.append(age.filter(inside).n_unique().alias(f"active_days_{window}"))
        seen.append(pl.col("cents").filter((kind == "refund") & inside).abs().sum().alias(f"refund_amount_{window}"))
        of_orders += [
            inside.sum().alias(f"orders_{window}"),
            pl.col("cents").filter(inside).sum().alias(f"gross_{window}"),
        ]
        of_visits.append((inside & pl.col("session_id").is_not_null()).sum().alias(f"sessions_{window}"))
    for window in LONG:
        inside = age < WINDOWS[window]
        reviews = inside & (kind == "review")
        seen.append(reviews.sum().alias(f"reviews_{window}"))
        seen.append(pl.col("rating").filter(reviews).mean().alias(f"review_mean_{window}"))
        seen.append(pl.col("discount_cents").filter(inside & buys).sum().alias(f"discount_share_{window}"))
        value = (pl.col("cents") / 100).filter(inside)
        of_orders += [
            pl.col("lines").filter(inside).mean().alias(f"basket_size_{window}"),
            value.mean().alias(f"order_value_mean_{window}"), value.var().alias(f"order_value_var_{window}"),
            value.min().alias(f"order_value_min_{window}"), value.max().alias(f"order_value_max_{window}"),
        ]  # fmt: skip
        rate = pl.col("has_purchase").filter(inside & pl.col("has_cart")).mean()
        of_visits.append(rate.alias(f"cart_to_purchase_rate_{window}"))
    for name, values in (("channel", CHANNELS), ("device", DEVICES)):
        named = (age < 90) & pl.col(name).is_in(values)
        for value in values:
            part = ((age < 90) & (pl.col(name) == value)).sum()
            share = pl.when(named.sum() > 0).then(part / named.sum())
            seen.append(share.alias(f"{name}_{value}_share_90d"))
    out = known.group_by("user").agg(seen)
    out = out.join(orders.group_by("user").agg(of_orders), on="user", how="left")
    out = out.join(visits.group_by("user").agg(of_visits), on="user", how="left")
    out = out.join(_busiest(known), on="user", how="left")
    top, number = _categories(known, products)
    out = out.join(top, on="user", how="left").join(number, on="user", how="left").rename({"user": "user_id"})
    zeros = [f"{n}_{w}" for n in ("orders", "gross", "sessions") for w in WINDOWS] + [
        "categories_90d",
        "by_hour",
        "by_day",
    ]
    out = out.with_columns(pl.col(zeros).fill_null(0))
    out = out.with_columns(
        (pl.lit(day) - pl.duration(days=pl.col("tenure_days"))).alias("first_seen_day"),
        (pl.lit(day) - pl.duration(days=pl.col("inactive_days"))).alias("last_seen_day"),
        pl.when(pl.col("purchase_days_all") > 1)
        .then((pl.col("oldest_purchase") - pl.col("recency_days")) / (pl.col("purchase_days_all") - 1))
        .alias("inter_purchase_days_all"),
        ((pl.col("orders_all") == 0) & ((pl.col("by_hour") >= 120) | (pl.col("by_day") >= 200))).alias(
            "is_suspected_bot"
        ),
        *[((pl.col(f"gross_{w}") - pl.col(f"refund_amount_{w}")) / 100).alias(f"monetary_{w}") for w in WINDOWS],
        *[_discount_share(w) for w in LONG],
    )
    money = [f"{n}_{w}" for n in ("gross", "refund_amount") for w in WINDOWS]
    out = out.with_columns(pl.col(money) / 100).drop("by_hour", "by_day", "oldest_purchase")
    about = users.lazy().select("user_id", "sex", "age_band", "region", "income_band", "household_size")
    made, dimensions = pl.collect_all([out.join(about, on="user_id", how="left"), _dimensions(e)])
    there = ",".join(name for name, is_there in dimensions.row(0, named=True).items() if is_there)
    return made.with_columns(pl.lit(there).alias("dimensions"))


def prepared(raw: pl.LazyFrame, day: dt.date) -> pl.LazyFrame:
    """Events with what is grouped by: actor, user (null: a visitor nobody knows), age in days, cents."""
    both = raw.filter(pl.col("user_id").is_not_null() & pl.col("anonymous_id").is_not_null())
    links = (
        both.sort("event_time", "event_id")
        .unique("anonymous_id", keep="first", maintain_order=True)
        .select("anonymous_id", pl.col("user_id").alias("linked"))
    )
    return raw.join(links, on="anonymous_id", how="left").with_columns(
        pl.coalesce("user_id", "linked").alias("user"),
        pl.coalesce("user_id", pl.lit("anon:") + pl.col("anonymous_id")).alias("actor"),
        (pl.lit(day) - pl.col("event_time").dt.date()).dt.total_days().cast(pl.Int32).alias("age"),
        (pl.col("amount").cast(pl.Float64).fill_null(0) * 100).round().cast(pl.Int64).alias("cents"),
        (pl.col("discount").cast(pl.Float64).fill_null(0) * 100).round().cast(pl.Int64).alias("discount_cents"),
        pl.col("rating").cast(pl.Float64),
        pl.coalesce("order_id", "session_id", "event_id").alias("order_key"),
    )


def _visits(e: pl.LazyFrame) -> pl.LazyFrame:
    """One row per actor, session and day; a session in which the visitor logs in is the user's."""
    logins = (
        e.filter(pl.col("session_id").is_not_null() & pl.col("user_id").is_not_null())
        .group_by("age", "session_id")
        .agg(pl.col("user_id").min().alias("login"))
    )
    mine = pl.when(pl.col("user_id").is_null() & pl.col("login").is_not_null()).then(pl.col("login"))
    return (
        e.join(logins, on=["age", "session_id"], how="left")
        .with_columns(mine.otherwise("actor").alias("actor"), mine.otherwise("user").alias("user"))
        .group_by("age", "actor", "session_id")
        .agg(
            pl.col("user").first(),
            (pl.col("event_type") == "add_to_cart").any().alias("has_cart"),
            (pl.col("event_type") == "purchase").any().alias("has_purchase"),
        )
        .filter(pl.col("user").is_not_null())
    )


def _discount_share(window: str) -> pl.Expr:
    whole = pl.col(f"gross_{window}") + pl.col(f"discount_share_{window}")
    share = pl.col(f"discount_share_{window}") / whole
    return pl.when((pl.col(f"orders_{window}") > 0) & (whole != 0)).then(share).alias(f"discount_share_{window}")


def _dimensions(e: pl.LazyFrame) -> pl.LazyFrame:
    """What the shop's events hold, visitors nobody knows included."""
    kind = pl.col("event_type")
    there = {
        "orders": "purchase", "browse": "view_item", "search": "search", "cart": "add_to_cart",
        "wishlist": "add_to_wishlist", "checkout": "begin_checkout", "refunds": "refund", "discounts": "",
        "reviews": "review", "shares": "share", "coupons": "coupon_redeem", "campaigns": "campaign_exposure",
        "service": "customer_service",
    }  # fmt: skip
    found = {name: (kind == value).any() for name, value in there.items()}
    found["discounts"] = pl.col("discount_cents").filter(kind == "purchase").sum() > 0
    found["sessions"] = pl.col("session_id").is_not_null().any()
    found["channels"] = pl.col("channel").is_in(CHANNELS).any()
    found["devices"] = pl.col("device").is_in(DEVICES).any()
    return e.select(**found)


def _busiest(known: pl.LazyFrame) -> pl.LazyFrame:
    pages = known.filter((pl.col("age") < 90) & pl.col("event_type").is_in(["view_item", "search"]))
    hours = pages.group_by("user", "actor", pl.col("event_time").dt.truncate("1h")).agg(pl.len().alias("n"))
    days = pages.group_by("user", "actor", "age").agg(pl.len().alias("n"))
    by_hour = hours.group_by("user").agg(pl.col("n").max().alias("by_hour"))
    return by_hour.join(days.group_by("user").agg(pl.col("n").max().alias("by_day")), on="user", how="left")


def _categories(known: pl.LazyFrame, products: pl.DataFrame) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Top category and number of categories of each user."""
    listed = products.lazy().select("product_id", pl.col("category").alias("listed"))
    buys = pl.col("event_type") == "purchase"
    by = (
        known.filter((pl.col("age") < 90) & pl.col("event_type").is_in(TOUCHING))
        .join(listed, on="product_id", how="left")
        .with_columns(pl.coalesce("category", "listed", pl.lit("(unknown)")).alias("category"))
        .group_by("user", "category")
        .agg(
            pl.len().alias("events"),
            pl.col("cents").filter(buys).sum().clip(0).alias("gross"),
            pl.struct("actor", "age", "order_key").filter(buys).n_unique().alias("orders"),
            (pl.col("event_type") == "view_item").sum().alias("views"),
        )
    )
    whole = by.group_by("user").agg(
        pl.col("gross").sum().alias("all_gross"), pl.col("events").sum().alias("all_events")
    )
    spent = pl.col("gross") / pl.col("all_gross")
    share = pl.when(pl.col("all_gross") > 0).then(spent).otherwise(pl.col("events") / pl.col("all_events"))
    named = by.join(whole, on="user").with_columns(share.alias("share")).filter(pl.col("category") != "(unknown)")
    order = named.sort("share", "orders", "views", "category", descending=[True, True, True, False])
    top = order.group_by("user", maintain_order=True).agg(pl.col("category").first().alias("top_category_90d"))
    return top, named.group_by("user").agg(pl.len().alias("categories_90d"))


# ---- the other rooms, and all of them ------------------------------------------------------------------------------


def room(place: Place, name: str) -> dict[str, Any]:
    """One room of the last day."""
    if name in ("events", "profiles"):
        return {"events": events, "profiles": profiles}[name](place)
    return clustering.room(place, name, place.out(SUBJECT, name))


def whole_day(place: Place) -> dict[str, Any]:
    """All of it in one script: every landing file, profiles, segments, evaluation, drift."""
    out = place.out(SUBJECT, "whole_day")
    raw = read_landing([place.events(day) for day in place.days], USED).collect().lazy()
    users = pl.concat([pl.read_csv(f) for f in sorted((place.landing / "users").glob("*.csv"))], how="vertical_relaxed")
    users = users.unique("user_id", keep="last", maintain_order=True)
    products = pl.read_csv(place.landing / "products.csv")
    made = profiles_of(raw, users, products, place.day)
    del raw
    made.write_parquet(out / "profiles.parquet")
    read: pd.DataFrame = made.select("user_id", *FEATURES, "monetary_90d").to_pandas()
    before, yesterday = clustering.read_before(place)
    labels = clustering.segments(read, yesterday, out)
    clustering.evaluation(read, labels, out)
    clustering.drift(read, before, out)
    return {"rows": len(made)}
