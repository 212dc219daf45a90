"""State the event contract: names, types and allowed values of everything the rest of the project reads.

Names are GA4's e-commerce names where one exists. Money is exact: DECIMAL(18,2), so that sums do not depend on
order.

Not here: how a shop's own columns become these (`events.source`).
"""

from seg_assets.core.tables import TABLES

EVENT_TYPES = (
    "view_item",
    "search",
    "add_to_cart",
    "remove_from_cart",
    "add_to_wishlist",
    "begin_checkout",
    "purchase",
    "refund",
    "review",
    "share",
    "coupon_redeem",
    "campaign_exposure",
    "customer_service",
)

CHANNELS = ("web", "app", "store", "email", "social")
DEVICES = ("desktop", "mobile", "tablet", "other")

# Column to DuckDB type, in file order.
RAW_EVENTS = TABLES["raw_events"].types
REJECTED_EVENTS = TABLES["rejected_events"].types
LANDED_FILES = TABLES["landed_files"].types
RAW_USERS = TABLES["raw_users"].types
RAW_PRODUCTS = TABLES["raw_products"].types
