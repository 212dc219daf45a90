"""The vocabulary of profile columns: what each holds, its unit, its windows, and the words for it.

A column of `user_profiles` is a quantity and a window, `orders_90d`; a few have no window. A strategy checks its
columns against this list, a segment's name is composed of its phrases, and pages show its words. The dbt project
computes the columns and describes them in full; `tests/core/test_columns.py` holds the two to each other.

Not here: how a name is composed (`segments.fitting.naming`), sentences of a page (`reports.words`), and the columns
that a shop adds, which have no words but their own.
"""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

# The share that a category has in a user's spend, a column of a strategy's frame: `category:shoes`.
CATEGORY_PREFIX = "category:"
# Windows of a column and the words for each.
WINDOWS = {"7d": "7 days", "28d": "28 days", "90d": "90 days", "all": "all time"}
SHORT, LONG = tuple(WINDOWS), ("90d", "all")
NO_WINDOW = ("",)

Unit = Literal["count", "days", "money", "share", "number", "day", "text", "flag"]
_WINDOW = re.compile(rf"_({'|'.join(WINDOWS)})$")
_SHARE = re.compile(r"^(channel|device)_(\w+?)_share$")


class Family(NamedTuple):
    """The words of a segment's name for a quantity that is high or low in it. None: that side makes no name."""

    high: str | None
    low: str | None
    high_noun: str | None
    low_noun: str | None


@dataclass(frozen=True)
class Quantity:
    """What a profile column holds, whatever its window.

    words: as a reader of a page sees it.
    windows: of the columns that every user_profiles has; '' for a column without one.
    """

    stem: str
    unit: Unit
    words: str
    windows: tuple[str, ...]


_QUANTITIES = (
    Quantity("orders", "count", "orders", SHORT),
    Quantity("monetary", "money", "spend", SHORT),
    Quantity("gross", "money", "gross spend", SHORT),
    Quantity("refunds", "count", "refunds", SHORT),
    Quantity("refund_amount", "money", "money refunded", SHORT),
    Quantity("active_days", "count", "active days", SHORT),
    Quantity("sessions", "count", "visits", SHORT),
    Quantity("views", "count", "product views", SHORT),
    Quantity("searches", "count", "searches", SHORT),
    Quantity("carts", "count", "items put in the cart", SHORT),
    Quantity("coupons", "count", "coupons used", SHORT),
    Quantity("campaigns", "count", "campaigns seen", SHORT),
    Quantity("service", "count", "service contacts", SHORT),
    Quantity("cart_to_purchase_rate", "share", "cart-to-purchase rate", LONG),
    Quantity("basket_size", "number", "basket size", LONG),
    Quantity("discount_share", "share", "share bought on discount", LONG),
    Quantity("order_value_mean", "money", "average order value", LONG),
    Quantity("order_value_var", "number", "variation of order value", LONG),
    Quantity("order_value_min", "money", "smallest order", LONG),
    Quantity("order_value_max", "money", "largest order", LONG),
    Quantity("review_mean", "number", "average rating given", LONG),
    Quantity("reviews", "count", "reviews", LONG),
    Quantity("inter_purchase_days", "days", "days between purchases", ("all",)),
    Quantity("recency_days", "days", "days since last purchase", NO_WINDOW),
    Quantity("inactive_days", "days", "days since last visit", NO_WINDOW),
    Quantity("tenure_days", "days", "days as a customer", NO_WINDOW),
    Quantity("categories", "count", "categories bought", ("90d",)),
    Quantity("top_category", "text", "top category", ("90d",)),
    Quantity("first_seen_day", "day", "first seen day", NO_WINDOW),
    Quantity("last_seen_day", "day", "last seen day", NO_WINDOW),
    Quantity("dimensions", "text", "dimensions", NO_WINDOW),
    Quantity("is_suspected_bot", "flag", "is suspected bot", NO_WINDOW),
    Quantity("sex", "text", "sex", NO_WINDOW),
    Quantity("age_band", "text", "age", NO_WINDOW),
    Quantity("region", "text", "region", NO_WINDOW),
    Quantity("income_band", "text", "income", NO_WINDOW),
    Quantity("household_size", "number", "household size", NO_WINDOW),
)
_SPEND = Family("High-spending", "Low-spending", "big spenders", "small spenders")
_ORDERS = Family("Frequent", "Occasional", "frequent buyers", "occasional buyers")
_RETURNS = Family("Often returning", None, "returners", None)
_TICKET = Family("High-ticket", "Low-ticket", "high-ticket buyers", "low-ticket buyers")
# By stem. A column without a family is "High" or "Low" and its own words.
FAMILIES = {
    "monetary": _SPEND,
    "gross": _SPEND,
    "orders": _ORDERS,
    "purchase_days": _ORDERS,
    "active_days": Family("Often active", "Rarely active", "regulars", "rare visitors"),
    "recency_days": Family("Lapsing", "Recent", "lapsing buyers", "recent buyers"),
    "inactive_days": Family("Quiet", "Active", "quiet users", "active users"),
    "tenure_days": Family("Long-standing", "Newer", "long-standing users", "newer users"),
    "sessions": Family("Often visiting", "Rarely visiting", "frequent visitors", "rare visitors"),
    "views": Family("Browsing", "Little-browsing", "browsers", "direct buyers"),
    "searches": Family("Searching", "Rarely searching", "searchers", None),
    "carts": Family("Cart-filling", "Cart-shy", "cart fillers", None),
    "cart_to_purchase_rate": Family("Decided", "Hesitant", "decided buyers", "cart abandoners"),
    "basket_size": Family("Big-basket", "Small-basket", "big-basket buyers", "small-basket buyers"),
    "order_value_mean": _TICKET,
    "order_value_max": _TICKET,
    "order_value_min": _TICKET,
    "order_value_var": Family("Uneven", "Even", None, None),
    "inter_purchase_days": Family("Slow-cycle", "Fast-cycle", "slow-cycle buyers", "fast-cycle buyers"),
    "discount_share": Family("Bargain-hunting", "Full-price", "bargain hunters", "full-price buyers"),
    "coupons": Family("Coupon-using", None, "coupon users", None),
    "campaigns": Family("Often reached", "Rarely reached", None, None),
    "refunds": _RETURNS,
    "refund_amount": _RETURNS,
    "service": Family("Service-seeking", None, "service seekers", None),
    "review_mean": Family("Satisfied", "Critical", "satisfied customers", "critics"),
    "reviews": Family("Reviewing", None, "reviewers", None),
    "categories": Family("Many-category", "Single-minded", "many-category buyers", "specialists"),
    "household_size": Family("Large-household", "Small-household", "large households", "small households"),
    "is_suspected_bot": Family("Bot-like", None, None, None),
}
QUANTITIES = {quantity.stem: quantity for quantity in _QUANTITIES}
# The columns that every user_profiles has, but for the shares of channels and devices, which the event contract names.
COLUMNS = {
    f"{quantity.stem}_{window}" if window else quantity.stem: quantity
    for quantity in _QUANTITIES
    for window in quantity.windows
}


def split_window(column: str) -> tuple[str, str]:
    """Return a column's stem and its window: `orders_90d` is `orders` and `90d`; '' for none."""
    window = _WINDOW.search(column)
    return (column[: window.start()], window[1]) if window else (column, "")


def share_of(stem: str) -> tuple[str, str] | None:
    """Return kind and name of a share of channels or devices: `channel_web_share` is `channel` and `web`."""
    match = _SHARE.match(stem)
    return (match[1], match[2]) if match else None


def is_share(column: str) -> bool:
    """Tell whether a column is a part of a whole, to be read as a percentage. Levels of a text column are."""
    return column.startswith(CATEGORY_PREFIX) or "=" in column or split_window(column)[0].endswith(("_share", "_rate"))


def is_counted(column: str) -> bool:
    """Tell whether there are more or fewer of what a column holds; of other columns, values are higher or lower."""
    quantity = QUANTITIES.get(split_window(column)[0])
    return quantity is not None and quantity.unit in ("count", "days")


def words_for(stem: str) -> str:
    """Return what a reader of a page is told that a column without its window holds."""
    return QUANTITIES[stem].words if stem in QUANTITIES else stem.replace("_", " ")
