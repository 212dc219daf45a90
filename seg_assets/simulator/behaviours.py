"""Describe the kinds of customers and shops that exist: the numbers of each latent segment.

A behaviour is a set of rates. Shops are sets of latent segments with shares, and a catalogue. They are invented, but
kept apart on purpose in the ways that real segments differ: how often, how much, what, when, and through what.

Not here: drawing users and events (`simulator.population`, `simulator.day`), and a shop's scripts (`simulator.config`).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from seg_assets.events.contract import CHANNELS, DEVICES

AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
REGIONS = ("centre", "east", "north", "south", "west")
INCOME_BANDS = ("low", "medium", "high")
SEXES = ("f", "m")

# Segment names that scripts use for users without any behaviour of a customer.
GONE = "gone"
BOT = "bot"

Rate = Field(default=0.0, ge=0, le=1000)
Share = Field(default=0.0, ge=0, le=1)


class Behaviour(BaseModel):
    """Rates of one latent segment. Per-session means unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions_per_day: float = Field(default=0.1, ge=0, le=1e6)
    activity_sigma: float = Field(default=0.5, ge=0, le=2, description="Spread of activity between users (log)")
    weekend: float = Field(default=1.0, ge=0, le=20, description="Saturday and Sunday against a weekday")
    peak_hour: float = Field(default=19.0, ge=0, lt=24)
    spread_hours: float = Field(default=4.0, gt=0, le=24)
    period_days: int = Field(default=0, ge=0, le=366, description="An order every so many days, beside visits")
    burst_days: int = Field(default=0, ge=0, le=366, description="Active only in one burst of so many days")
    views: float = Rate
    searches: float = Rate
    extra_carts: float = Field(default=0.0, ge=0, le=1000, description="Lines put in the cart and not bought")
    wishlist: float = Rate
    shares: float = Rate
    service: float = Rate
    abandon: float = Field(default=0.0, ge=0, le=1, description="A checkout begun without an order")
    buy: float = Field(default=0.0, ge=0, le=1, description="Share of sessions with an order")
    basket: float = Field(default=1.0, ge=1, le=1000, description="Lines per order")
    quantity: float = Field(default=1.0, ge=1, le=1e5, description="Units per line")
    quantity_sigma: float = Field(default=0.0, ge=0, le=3, description="Tail of units per line (log)")
    price_level: float = Field(default=1.0, gt=0, le=1000)
    spend_sigma: float = Field(default=0.3, ge=0, le=3, description="Spread of prices paid between users (log)")
    coupon: float = Field(default=0.0, ge=0, le=1, description="Share of orders with a coupon")
    discount: float = Field(default=0.15, ge=0, le=0.95, description="Mean share taken off such an order")
    refund: float = Field(default=0.0, ge=0, le=1, description="Share of lines sent back later")
    review: float = Field(default=0.0, ge=0, le=1, description="Share of lines reviewed later")
    rating: float = Field(default=4.0, ge=1, le=5)
    anonymous: float = Field(default=0.0, ge=0, le=1, description="Share of web sessions begun logged out")
    login: float = Field(default=0.3, ge=0, le=1, description="Share of those that log in without an order")
    campaigns_per_week: float = Field(default=0.0, ge=0, le=2)
    channels: dict[str, float] = {"web": 1.0}
    devices: dict[str, float] = {"desktop": 1.0}
    categories: dict[str, float] = {}
    age: tuple[float, float, float, float, float, float] = (1, 1, 1, 1, 1, 1)
    income: tuple[float, float, float] = (1, 1, 1)
    female: float = Field(default=0.5, ge=0, le=1)
    household: float = Field(default=2.0, ge=1, le=8)

    @field_validator("channels")
    @classmethod
    def _known_channels(cls, value: dict[str, float]) -> dict[str, float]:
        return check_weights(value, CHANNELS)

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, value: dict[str, float]) -> dict[str, float]:
        return check_weights(value, DEVICES)

    @field_validator("categories")
    @classmethod
    def _positive_weights(cls, value: dict[str, float]) -> dict[str, float]:
        return check_weights(value, None)

    def changed(self, set_: dict[str, Any], multiply: dict[str, float]) -> "Behaviour":
        """Return this behaviour with some fields set and others multiplied (shares are cut at 1).

        Raises:
            ValueError: for an unknown field, a field that is not a number, a value out of bounds.
        """
        values = self.model_dump()
        for name, factor in multiply.items():
            if name not in values or not isinstance(values[name], int | float):
                numeric = [k for k, v in values.items() if isinstance(v, int | float)]
                raise ValueError(f"multiply.{name}: not a rate of a behaviour; one of {', '.join(numeric)}")
            values[name] *= factor
            if type(self).model_fields[name].annotation is int:
                values[name] = round(values[name])
            if name in _SHARES:
                values[name] = min(values[name], 1.0)
        for name, value in set_.items():
            if name not in values:
                raise ValueError(f"set.{name}: not a field of a behaviour; one of {', '.join(values)}")
            values[name] = value
        return Behaviour(**values)

    def events_per_session(self) -> float:
        """Return the mean number of events that one session leads to, late ones (refunds, reviews) included."""
        lines = self.buy * self.basket
        return (
            self.views
            + self.searches
            + self.wishlist
            + self.shares
            + self.service
            + self.extra_carts * (1 + REMOVED)
            + self.buy
            + (1 - self.buy) * self.abandon
            + self.buy * self.coupon
            + lines * (2 + self.refund + self.review)
        )


# Of the lines put in a cart and not bought, the share that is taken out again.
REMOVED = 0.4
_SHARES = ("abandon", "buy", "coupon", "refund", "review", "anonymous", "login", "female")


def check_weights(value: dict[str, float], allowed: tuple[str, ...] | None) -> dict[str, float]:
    """Check weights by name: known names, none negative, not all zero (an empty map is fine).

    Raises:
        ValueError: naming the name or the weight.
    """
    for name, weight in value.items():
        if allowed is not None and name not in allowed:
            raise ValueError(f"unknown name {name!r}; one of {', '.join(allowed)}")
        if not weight >= 0:
            raise ValueError(f"weight of {name!r} is {weight}; must be zero or more")
    if value and not sum(value.values()) > 0:
        raise ValueError("all weights are zero")
    return value


class ShopKind(BaseModel):
    """A kind of shop: latent segments with their shares, a catalogue, and what it does not record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: dict[str, tuple[float, str]]
    categories: dict[str, float] = Field(description="Category to typical price")
    events_per_user_day: float = 1.0
    money_only: bool = Field(default=False, description="Purchases with date and money, nothing else")


BEHAVIOURS: dict[str, Behaviour] = {
    "loyal": Behaviour(
        sessions_per_day=0.30, views=5, searches=0.6, extra_carts=0.5, wishlist=0.15, shares=0.05, service=0.02,
        abandon=0.08, buy=0.50, basket=3.5, quantity=1.4, price_level=1.2, spend_sigma=0.35, coupon=0.15,
        discount=0.10, refund=0.02, review=0.06, rating=4.5, anonymous=0.10, login=0.8, campaigns_per_week=0.5,
        channels={"app": 6, "web": 2, "email": 1.5, "store": 0.5}, devices={"mobile": 7, "desktop": 2, "tablet": 1},
        categories={"grocery": 3, "household": 2, "beauty": 2, "fashion": 2, "books": 1, "sports": 1},
        age=(1, 3, 4, 3, 2, 1), income=(1, 3, 3), female=0.6, household=2.4,
    ),
    "bargain": Behaviour(
        sessions_per_day=0.20, views=7, searches=1.5, extra_carts=1.5, wishlist=0.6, shares=0.15, service=0.05,
        abandon=0.25, buy=0.25, basket=2.0, quantity=1.2, price_level=0.7, spend_sigma=0.3, coupon=0.75,
        discount=0.25, refund=0.05, review=0.04, rating=3.8, anonymous=0.25, login=0.5, campaigns_per_week=0.7,
        channels={"web": 4, "email": 4, "app": 2}, devices={"mobile": 6, "desktop": 4}, peak_hour=21, weekend=1.3,
        categories={"fashion": 4, "beauty": 2, "household": 2, "electronics": 1, "sports": 1},
        age=(3, 4, 3, 2, 1, 1), income=(5, 3, 1), female=0.55, household=2.2,
    ),
    "browser": Behaviour(
        sessions_per_day=0.22, views=12, searches=2.0, extra_carts=0.4, wishlist=0.8, shares=0.3, service=0.01,
        abandon=0.05, buy=0.03, basket=1.2, spend_sigma=0.4, coupon=0.1, refund=0.04, review=0.03, anonymous=0.55,
        login=0.25, campaigns_per_week=0.2, peak_hour=22, spread_hours=3,
        channels={"web": 5, "social": 4, "app": 1}, devices={"mobile": 6, "desktop": 3, "tablet": 1},
        categories={"electronics": 3, "fashion": 3, "sports": 2, "books": 2, "beauty": 1},
        age=(5, 4, 2, 1, 1, 1), income=(3, 3, 2), household=1.7,
    ),
    "big_spender": Behaviour(
        sessions_per_day=0.06, views=10, searches=2.5, extra_carts=0.5, wishlist=0.5, shares=0.05, service=0.15,
        abandon=0.15, buy=0.40, basket=1.8, quantity=1.1, price_level=2.5, spend_sigma=0.7, coupon=0.05,
        discount=0.08, refund=0.10, review=0.12, rating=4.1, anonymous=0.30, login=0.5, campaigns_per_week=0.2,
        channels={"web": 7, "store": 2, "email": 1}, devices={"desktop": 8, "tablet": 1, "mobile": 1}, peak_hour=20,
        categories={"electronics": 6, "sports": 3, "fashion": 1}, weekend=1.2,
        age=(1, 2, 3, 4, 3, 2), income=(1, 2, 6), female=0.4, household=2.2,
    ),
    "family": Behaviour(
        sessions_per_day=0.14, views=4, searches=0.8, extra_carts=0.5, wishlist=0.1, shares=0.02, service=0.03,
        abandon=0.03, buy=0.80, basket=7.0, quantity=2.0, price_level=1.0, spend_sigma=0.25, coupon=0.30,
        discount=0.10, refund=0.01, review=0.01, rating=4.2, anonymous=0.05, login=0.8, campaigns_per_week=0.4,
        channels={"store": 6, "app": 3, "web": 1}, devices={"mobile": 6, "tablet": 2, "desktop": 2}, peak_hour=11,
        categories={"grocery": 7, "household": 3, "baby": 3}, weekend=3.0, activity_sigma=0.3,
        age=(0.5, 3, 5, 3, 1, 0.5), income=(2, 4, 2), female=0.65, household=4.2,
    ),
    "occasional": Behaviour(
        sessions_per_day=0.02, views=4, searches=0.7, extra_carts=0.2, wishlist=0.05, service=0.02, abandon=0.1,
        buy=0.30, basket=1.5, spend_sigma=0.5, coupon=0.2, refund=0.03, review=0.02, anonymous=0.30, login=0.4,
        campaigns_per_week=0.2, channels={"web": 8, "email": 2}, devices={"desktop": 6, "mobile": 3, "tablet": 1},
        categories={"books": 4, "household": 2, "beauty": 1, "electronics": 1}, peak_hour=15, spread_hours=5,
        age=(1, 1, 2, 3, 4, 5), income=(2, 3, 2), household=1.8,
    ),
    # Segments that scripts bring in.
    "trend": Behaviour(
        sessions_per_day=0.35, views=9, searches=0.5, extra_carts=1.0, wishlist=1.5, shares=0.9, service=0.02,
        abandon=0.1, buy=0.20, basket=1.6, price_level=0.9, spend_sigma=0.3, coupon=0.35, discount=0.15,
        refund=0.12, review=0.25, rating=4.6, anonymous=0.15, login=0.8, campaigns_per_week=0.6, peak_hour=23,
        channels={"social": 7, "app": 3}, devices={"mobile": 1}, categories={"fashion": 5, "beauty": 5},
        age=(8, 3, 1, 0.2, 0.1, 0.1), income=(4, 3, 1), female=0.7, household=1.6,
    ),
    "new_parent": Behaviour(
        sessions_per_day=0.35, views=6, searches=1.5, extra_carts=0.3, wishlist=0.4, shares=0.1, service=0.1,
        abandon=0.05, buy=0.70, basket=4.0, quantity=2.5, price_level=1.4, spend_sigma=0.25, coupon=0.15,
        discount=0.10, refund=0.04, review=0.10, rating=4.3, anonymous=0.05, login=0.8, campaigns_per_week=0.5,
        channels={"app": 8, "web": 2}, devices={"mobile": 1}, categories={"baby": 8, "household": 1, "grocery": 1},
        peak_hour=3, spread_hours=7, age=(1, 6, 4, 0.2, 0.1, 0.1), income=(2, 4, 2), female=0.65, household=3.2,
    ),
    "all_round": Behaviour(
        sessions_per_day=0.24, views=6, searches=1.0, extra_carts=0.8, wishlist=0.3, shares=0.1, service=0.03,
        abandon=0.1, buy=0.45, basket=3.0, quantity=1.3, coupon=0.35, discount=0.15, refund=0.03, review=0.05,
        anonymous=0.15, login=0.6, campaigns_per_week=0.5, channels={"app": 5, "web": 4, "email": 1},
        devices={"mobile": 6, "desktop": 4}, categories={"grocery": 2, "fashion": 2, "household": 2, "beauty": 2},
    ),
    # Other kinds of shops.
    "gift_buyer": Behaviour(
        sessions_per_day=0.8, burst_days=5, views=9, searches=2, extra_carts=0.6, wishlist=0.3, shares=0.1,
        abandon=0.1, buy=0.35, basket=1.6, price_level=1.3, spend_sigma=0.8, coupon=0.1, refund=0.06, review=0.05,
        anonymous=0.5, login=0.2, campaigns_per_week=0.1, channels={"web": 6, "social": 3, "email": 1},
        devices={"mobile": 5, "desktop": 5}, categories={"poster": 3, "frame": 2, "card": 1}, weekend=1.4,
    ),
    "looker": Behaviour(
        sessions_per_day=0.9, burst_days=3, views=11, searches=2, extra_carts=0.3, wishlist=0.6, buy=0.04,
        anonymous=0.6, login=0.25, channels={"social": 6, "web": 4}, devices={"mobile": 8, "desktop": 2},
        categories={"poster": 3, "card": 3, "frame": 1},
    ),
    "collector": Behaviour(
        sessions_per_day=0.08, views=12, searches=3, extra_carts=0.5, wishlist=1.5, buy=0.3, basket=2.5,
        price_level=2.5, spend_sigma=0.9, refund=0.05, review=0.2, rating=4.7, anonymous=0.1, login=0.8,
        campaigns_per_week=0.5, channels={"web": 8, "email": 2}, devices={"desktop": 1},
        categories={"print": 6, "frame": 3}, age=(1, 1, 2, 3, 4, 3), income=(1, 2, 5),
    ),
    "corner_shop": Behaviour(
        sessions_per_day=0.15, views=3, searches=1, buy=0.8, basket=8, quantity=10, quantity_sigma=0.8,
        spend_sigma=0.3, refund=0.04, service=0.05, weekend=0.1, peak_hour=9, spread_hours=2, activity_sigma=0.6,
        channels={"web": 9, "email": 1}, devices={"desktop": 9, "tablet": 1},
        categories={"drinks": 4, "snacks": 4, "cleaning": 2}, coupon=0.1, discount=0.05,
    ),
    "chain": Behaviour(
        sessions_per_day=0.10, views=2, searches=0.5, buy=0.9, basket=25, quantity=40, quantity_sigma=1.3,
        price_level=0.8, spend_sigma=0.9, refund=0.08, service=0.2, weekend=0.05, peak_hour=8, spread_hours=2,
        channels={"web": 1}, devices={"desktop": 1}, coupon=0.4, discount=0.12,
        categories={"drinks": 3, "snacks": 3, "cleaning": 2, "paper": 2}, activity_sigma=0.8,
    ),
    "restaurant": Behaviour(
        sessions_per_day=0.25, views=2, searches=0.3, buy=0.9, basket=6, quantity=6, quantity_sigma=0.6,
        spend_sigma=0.4, refund=0.02, service=0.03, weekend=0.8, peak_hour=15, spread_hours=2,
        channels={"app": 8, "web": 2}, devices={"mobile": 8, "tablet": 2}, categories={"drinks": 7, "paper": 3},
    ),
    "reseller": Behaviour(
        sessions_per_day=0.02, views=15, searches=6, extra_carts=3, buy=0.5, basket=5, quantity=120,
        quantity_sigma=1.8, spend_sigma=1.2, refund=0.30, service=0.4, abandon=0.3, weekend=0.3,
        channels={"web": 8, "email": 2}, devices={"desktop": 1}, categories={"snacks": 5, "drinks": 3, "paper": 2},
    ),
    "basic_plan": Behaviour(
        sessions_per_day=0.03, period_days=30, views=2, service=0.05, buy=0.0, price_level=0.8, spend_sigma=0.0,
        activity_sigma=0.3, channels={"app": 6, "web": 4}, devices={"mobile": 7, "desktop": 3},
        categories={"basic": 1}, review=0.01, campaigns_per_week=0.2,
    ),
    "family_plan": Behaviour(
        sessions_per_day=0.12, period_days=30, views=4, searches=1, shares=0.1, service=0.04, buy=0.03,
        price_level=1.0, spend_sigma=0.0, channels={"app": 9, "web": 1}, devices={"mobile": 5, "tablet": 5},
        categories={"family": 8, "extra": 2}, review=0.02, campaigns_per_week=0.3, household=3.8, peak_hour=18,
    ),
    "annual_plan": Behaviour(
        sessions_per_day=0.05, period_days=90, views=3, buy=0.01, service=0.02, spend_sigma=0.0, discount=0.2,
        coupon=0.8, channels={"web": 1}, devices={"desktop": 1}, categories={"annual": 9, "extra": 1}, peak_hour=10,
    ),
    "money_regular": Behaviour(sessions_per_day=0.15, buy=1.0, basket=1, spend_sigma=0.4, activity_sigma=0.4),
    "money_rare": Behaviour(sessions_per_day=0.02, buy=1.0, basket=1, price_level=1.5, spend_sigma=0.8),
    "money_top": Behaviour(
        sessions_per_day=0.12, buy=1.0, basket=1, price_level=6, spend_sigma=0.9, quantity=1.5, quantity_sigma=0.7
    ),
    "money_weekend": Behaviour(
        sessions_per_day=0.08, buy=1.0, basket=1, price_level=2, weekend=8, activity_sigma=0.2
    ),
    GONE: Behaviour(sessions_per_day=0.0),
    BOT: Behaviour(
        sessions_per_day=6, views=50, searches=5, activity_sigma=0.1, spread_hours=24, channels={"web": 1},
        devices={"other": 1}, buy=0.0,
    ),
}  # fmt: skip

SHOPS: dict[str, ShopKind] = {
    "retail": ShopKind(
        segments={
            "loyal": (0.15, "loyal"),
            "bargain": (0.20, "bargain"),
            "browser": (0.22, "browser"),
            "big_spender": (0.08, "big_spender"),
            "family": (0.20, "family"),
            "occasional": (0.15, "occasional"),
        },
        categories={
            "grocery": 6,
            "household": 12,
            "baby": 18,
            "electronics": 180,
            "fashion": 45,
            "beauty": 22,
            "sports": 60,
            "books": 15,
        },
    ),
    "one_off": ShopKind(
        segments={
            "gift_buyer": (0.50, "gift_buyer"),
            "looker": (0.35, "looker"),
            "collector": (0.15, "collector"),
        },
        categories={"poster": 25, "frame": 40, "card": 4, "print": 120},
        events_per_user_day=0.4,
    ),
    "wholesale": ShopKind(
        segments={
            "corner_shop": (0.45, "corner_shop"),
            "restaurant": (0.30, "restaurant"),
            "chain": (0.15, "chain"),
            "reseller": (0.10, "reseller"),
        },
        categories={"drinks": 14, "snacks": 9, "cleaning": 22, "paper": 6},
        events_per_user_day=1.0,
    ),
    "subscription": ShopKind(
        segments={
            "basic_plan": (0.50, "basic_plan"),
            "family_plan": (0.35, "family_plan"),
            "annual_plan": (0.15, "annual_plan"),
        },
        categories={"basic": 10, "family": 25, "annual": 60, "extra": 5},
        events_per_user_day=0.3,
    ),
    "money_only": ShopKind(
        segments={
            "regular": (0.40, "money_regular"),
            "rare": (0.35, "money_rare"),
            "top": (0.10, "money_top"),
            "weekend": (0.15, "money_weekend"),
        },
        categories={"any": 20},
        events_per_user_day=0.08,
        money_only=True,
    ),
}
