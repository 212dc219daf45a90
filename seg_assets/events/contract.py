"""State the event contract: names, types and allowed values of everything the rest of the project reads.

Names are GA4's e-commerce names where one exists. Money is exact: DECIMAL(18,2), so that sums do not depend on
order.

Not here: how a shop's own columns become these (`events.source`).
"""

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

# Column to DuckDB type of raw_events, in file order.
RAW_EVENTS = {
    "event_id": "VARCHAR",
    "user_id": "VARCHAR",
    "anonymous_id": "VARCHAR",
    "event_time": "TIMESTAMP",
    "event_type": "VARCHAR",
    "product_id": "VARCHAR",
    "category": "VARCHAR",
    "order_id": "VARCHAR",
    "quantity": "DECIMAL(18,3)",
    "amount": "DECIMAL(18,2)",
    "discount": "DECIMAL(18,2)",
    "rating": "DECIMAL(3,1)",
    "session_id": "VARCHAR",
    "channel": "VARCHAR",
    "device": "VARCHAR",
    "query": "VARCHAR",
    "campaign_id": "VARCHAR",
    "extra": "VARCHAR",
}

RAW_EVENTS_DESCRIPTIONS = {
    "event_id": "Unique within a day; what duplicates are found by",
    "user_id": "The shop's id of a known user; null only when anonymous_id is set",
    "anonymous_id": "Cookie or device id of a visitor, linked to a user once both come on one event",
    "event_time": "When it happened, in UTC; the day is taken in the shop's time zone",
    "event_type": "One of the contract's event types",
    "product_id": "Product, where the event has one",
    "category": "Product category, as the event or the catalogue names it",
    "order_id": "Order of a purchase or refund line (GA4 transaction_id); lines of one order share it",
    "quantity": "Units of the line; never summed across products, shops put grams and litres here",
    "amount": "Net amount in shop currency; negative for refunds",
    "discount": "Amount taken off in shop currency, zero or more",
    "rating": "Review rating from 1 to 5",
    "session_id": "Visit the event belongs to",
    "channel": "web, app, store, email or social",
    "device": "desktop, mobile, tablet or other",
    "query": "Search text",
    "campaign_id": "Campaign of an exposure or a coupon",
    "extra": "JSON object of the columns the source did not map",
}

REJECTED_EVENTS = {
    "source_file": "VARCHAR",
    "line": "BIGINT",
    "reason": "VARCHAR",
    "field": "VARCHAR",
    "original": "VARCHAR",
}

LANDED_FILES = {
    "source_file": "VARCHAR",
    "feed": "VARCHAR",
    "bytes": "BIGINT",
    "sha256": "VARCHAR",
    "lines_read": "BIGINT",
    "accepted": "BIGINT",
    "rejected": "BIGINT",
    "duplicates": "BIGINT",
}

RAW_USERS = {
    "user_id": "VARCHAR",
    "sex": "VARCHAR",
    "age_band": "VARCHAR",
    "region": "VARCHAR",
    "income_band": "VARCHAR",
    "household_size": "INTEGER",
    "signup_day": "DATE",
    "extra": "VARCHAR",
}

RAW_PRODUCTS = {
    "product_id": "VARCHAR",
    "category": "VARCHAR",
    "subcategory": "VARCHAR",
    "brand": "VARCHAR",
    "price": "DECIMAL(18,2)",
    "extra": "VARCHAR",
}
