"""What the profiles of a day must be, computed in the slowest and plainest way: a full scan of all raw events.

Nothing here shares code with the dbt project: it reads the event contract's columns and the definitions in
docs/profiles.md, keeps every event, and loops over users in Python with exact fractions.
"""

import datetime as dt
import itertools
from collections import defaultdict
from fractions import Fraction

import pandas as pd

WINDOWS = {"7d": 7, "28d": 28, "90d": 90, "all": None}
COUNTED = {
    "views": "view_item",
    "searches": "search",
    "carts": "add_to_cart",
    "coupons": "coupon_redeem",
    "campaigns": "campaign_exposure",
    "service": "customer_service",
    "refunds": "refund",
}
CATEGORY_TYPES = {"view_item", "add_to_cart", "add_to_wishlist", "purchase", "refund", "review"}
DIMENSIONS = [
    ("orders", "purchase"),
    ("browse", "view_item"),
    ("search", "search"),
    ("cart", "add_to_cart"),
    ("wishlist", "add_to_wishlist"),
    ("checkout", "begin_checkout"),
    ("refunds", "refund"),
    ("discounts", None),
    ("reviews", "review"),
    ("shares", "share"),
    ("coupons", "coupon_redeem"),
    ("campaigns", "campaign_exposure"),
    ("service", "customer_service"),
    ("sessions", None),
    ("channels", None),
    ("devices", None),
]


def links(events: list[dict], day: dt.date) -> dict[str, str]:
    """Visitor to user, the first event with both ids winning."""
    found: dict[str, str] = {}
    for e in sorted(events, key=lambda e: (e["day"], e["event_time"], e["event_id"])):
        if e["day"] <= day and e["user_id"] is not None and e["anonymous_id"] is not None:
            found.setdefault(e["anonymous_id"], e["user_id"])
    return found


def cents(amount) -> int:
    return 0 if amount is None else int(Fraction(str(amount)) * 100)


def ratio(a, b):
    return None if not b else float(Fraction(a) / Fraction(b))


def category_of(event: dict, products: dict[dt.date, dict[str, str]]) -> str | None:
    if event["event_type"] not in CATEGORY_TYPES:
        return None
    return event["category"] or products.get(event["day"], {}).get(event["product_id"]) or "(unknown)"


def actor(event: dict) -> tuple[str, str]:
    return ("user", event["user_id"]) if event["user_id"] is not None else ("anon", event["anonymous_id"])


def profiles(events: list[dict], day: dt.date, products, users) -> dict[str, dict]:
    """User to the columns of the user's profile as of `day`."""
    past = [e for e in events if e["day"] <= day]
    known = links(events, day)
    # a session in which a visitor logs in belongs to that user (the smallest id, if there are several); a login
    # without a visitor's id is any visitor's
    logins: dict[tuple[dt.date, str, str | None], str] = {}
    for e in past:
        if e["session_id"] is not None and e["user_id"] is not None:
            key = (e["day"], e["session_id"], e["anonymous_id"])
            logins[key] = min(logins.get(key, e["user_id"]), e["user_id"])
    per_user: dict[str, list[dict]] = defaultdict(list)
    visits: dict[str, list[dict]] = defaultdict(list)
    for e in past:
        person = e["user_id"] if e["user_id"] is not None else known.get(e["anonymous_id"])
        if person is not None:
            per_user[person].append(e)
        login = None
        if e["user_id"] is None:
            session = e["day"], e["session_id"]
            login = logins.get((*session, e["anonymous_id"])) or logins.get((*session, None))
        visitor = ("user", login) if login is not None else actor(e)
        owner = visitor[1] if visitor[0] == "user" else known.get(visitor[1])
        if owner is not None:
            visits[owner].append({**e, "visit": (e["day"], visitor, e["session_id"])})
    dimensions = shop_dimensions(past)
    return {user: one(user, own, visits[user], day, dimensions, products, users) for user, own in per_user.items()}


def shop_dimensions(past: list[dict]) -> str:
    types = {e["event_type"] for e in past}
    there = {name for name, kind in DIMENSIONS if kind in types}
    if any(e["event_type"] == "purchase" and cents(e["discount"]) > 0 for e in past):
        there.add("discounts")
    for name, column in (("sessions", "session_id"), ("channels", "channel"), ("devices", "device")):
        if any(e[column] is not None for e in past):
            there.add(name)
    return ",".join(name for name, _ in DIMENSIONS if name in there)


def one(user, own, visits, day, dimensions, products, users) -> dict:
    out: dict = {"user_id": user, "dimensions": dimensions}
    days = [e["day"] for e in own]
    bought = sorted({e["day"] for e in own if e["event_type"] == "purchase"})
    out["first_seen_day"], out["last_seen_day"] = min(days), max(days)
    out["tenure_days"] = (day - min(days)).days
    out["inactive_days"] = (day - max(days)).days
    out["recency_days"] = (day - bought[-1]).days if bought else None
    out["purchase_days_all"] = len(bought)
    gaps = [(b - a).days for a, b in itertools.pairwise(bought)]
    out["inter_purchase_days_all"] = ratio(sum(gaps), len(gaps))
    for window, length in WINDOWS.items():

        def inside(e, length=length):
            return length is None or (day - e["day"]).days < length

        seen = [e for e in own if inside(e)]
        stays = [e for e in visits if inside(e)]
        out.update(of_window(window, seen, stays))
    recent = [e for e in own if (day - e["day"]).days < 90]
    for kind, names in (
        ("channel", ("web", "app", "store", "email", "social")),
        ("device", ("desktop", "mobile", "tablet", "other")),
    ):
        total = sum(e[kind] is not None for e in recent)
        for name in names:
            out[f"{kind}_{name}_share_90d"] = ratio(sum(e[kind] == name for e in recent), total)
    shares = category_profiles(recent, products)
    named = {c: v for c, v in shares.items() if c != "(unknown)"}
    out["categories_90d"] = len(named)
    out["top_category_90d"] = min(
        named, key=lambda c: (-named[c]["share_90d"], -named[c]["orders_90d"], -named[c]["views_90d"], c), default=None
    )
    pages = [e for e in recent if e["event_type"] in ("view_item", "search")]
    by_hour, by_day = defaultdict(int), defaultdict(int)
    for e in pages:
        by_hour[actor(e), e["event_time"].floor("h")] += 1
        by_day[actor(e), e["day"]] += 1
    out["is_suspected_bot"] = not bought and (
        max(by_hour.values(), default=0) >= 120 or max(by_day.values(), default=0) >= 200
    )
    attributes = users.get(day, {}).get(user, {})
    for name in ("sex", "age_band", "region", "income_band", "household_size"):
        out[name] = attributes.get(name)
    return out


def of_window(window: str, seen: list[dict], stays: list[dict]) -> dict:
    out: dict = {}
    for column, kind in COUNTED.items():
        out[f"{column}_{window}"] = sum(e["event_type"] == kind for e in seen)
    purchases = [e for e in seen if e["event_type"] == "purchase"]
    orders: dict = defaultdict(int)
    for e in purchases:
        key = e["order_id"] or e["session_id"] or e["event_id"]
        orders[e["day"], actor(e), key] += cents(e["amount"])
    values = [Fraction(v, 100) for v in orders.values()]
    gross = sum(values)
    given_back = sum(Fraction(abs(cents(e["amount"])), 100) for e in seen if e["event_type"] == "refund")
    out[f"orders_{window}"] = len(values)
    out[f"gross_{window}"] = float(gross)
    out[f"refund_amount_{window}"] = float(given_back)
    out[f"monetary_{window}"] = float(gross - given_back)
    out[f"active_days_{window}"] = len({e["day"] for e in seen})
    out[f"sessions_{window}"] = len({e["visit"] for e in stays if e["session_id"] is not None})
    if window in ("90d", "all"):
        reviews = [e for e in seen if e["event_type"] == "review"]
        ratings = [Fraction(str(e["rating"])) for e in reviews if e["rating"] is not None]
        carts = {e["visit"] for e in stays if e["event_type"] == "add_to_cart"}
        sales = {e["visit"] for e in stays if e["event_type"] == "purchase"}
        discounts = sum(Fraction(cents(e["discount"]), 100) for e in purchases)
        n = len(values)
        mean = gross / n if n else None
        out[f"reviews_{window}"] = len(reviews)
        out[f"review_mean_{window}"] = ratio(sum(ratings), len(ratings))
        out[f"cart_to_purchase_rate_{window}"] = ratio(len(carts & sales), len(carts))
        out[f"basket_size_{window}"] = ratio(len(purchases), n)
        out[f"discount_share_{window}"] = ratio(discounts, gross + discounts) if n else None
        out[f"order_value_mean_{window}"] = float(mean) if n else None
        out[f"order_value_var_{window}"] = ratio(sum((v - mean) ** 2 for v in values), n - 1) if n > 1 else None
        out[f"order_value_min_{window}"] = float(min(values)) if n else None
        out[f"order_value_max_{window}"] = float(max(values)) if n else None
    return out


def category_profiles(recent: list[dict], products) -> dict[str, dict]:
    """Category to the columns of one user's category profile, from the user's last 90 days."""
    found: dict[str, list[dict]] = defaultdict(list)
    for e in recent:
        category = category_of(e, products)
        if category is not None:
            found[category].append(e)
    out = {}
    for category, own in found.items():
        purchases = [e for e in own if e["event_type"] == "purchase"]
        gross = sum(cents(e["amount"]) for e in purchases)
        back = sum(abs(cents(e["amount"])) for e in own if e["event_type"] == "refund")
        keys = {(e["day"], actor(e), e["order_id"] or e["session_id"] or e["event_id"]) for e in purchases}
        out[category] = {
            "orders_90d": len(keys),
            "monetary_90d": float(Fraction(gross - back, 100)),
            "views_90d": sum(e["event_type"] == "view_item" for e in own),
            "carts_90d": sum(e["event_type"] == "add_to_cart" for e in own),
            "gross": max(gross, 0),
            "events": len(own),
        }
    spent = sum(c["gross"] for c in out.values())
    touched = sum(c["events"] for c in out.values())
    for c in out.values():
        c["share_90d"] = ratio(c["gross"], spent) if spent else ratio(c["events"], touched)
    return out


def plain(frame: pd.DataFrame) -> list[dict]:
    """Rows as dicts, every kind of missing value as None."""
    return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]
