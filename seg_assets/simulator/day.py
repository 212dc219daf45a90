"""Draw the clean events of one population on one day, as arrays of numbers.

Not here: files and what is wrong in them (`simulator.landing`), and who is in a population (`simulator.population`).
"""

from dataclasses import dataclass, field

import numpy as np

from seg_assets.events.contract import CHANNELS, DEVICES, EVENT_TYPES
from seg_assets.simulator.behaviours import REMOVED
from seg_assets.simulator.population import BURST_AFTER, BURST_BEFORE, BehaviourTable, Population, pick
from seg_assets.simulator.streams import stream

TYPE_CODES = {name: n for n, name in enumerate(EVENT_TYPES)}
WEB, APP, STORE, EMAIL, SOCIAL = (CHANNELS.index(c) for c in ("web", "app", "store", "email", "social"))
DESKTOP, MOBILE, OTHER = (DEVICES.index(d) for d in ("desktop", "mobile", "other"))
DAY_SECONDS = 86_400
# Newsletters go out on Tuesday and Friday.
SEND_DAYS = (1, 4)
QUERIES_PER_CATEGORY = 6
# What a column holds where an event has no such thing.
NOTHING: dict[str, int] = {
    "product": -1,
    "order_day": 0,
    "order_n": -1,
    "quantity": 0,
    "cents": 0,
    "discount": -1,
    "rating": 0,
    "query": -1,
    "campaign": 0,
    "session": -1,
}
_SMALL = {"rating": np.int8, "query": np.int32, "cents": np.int64, "discount": np.int64}


@dataclass(frozen=True)
class Catalogue:
    """Products, grouped by category. `edges` are cumulative popularities within a category, plus its number."""

    category: np.ndarray
    cents: np.ndarray
    edges: np.ndarray

    @classmethod
    def draw(cls, seed: int, prices: list[float], products: int) -> "Catalogue":
        """Draw a catalogue with Zipf popularity and log-normal prices; every category has a product."""
        rng = stream(seed, "catalogue")
        category = np.sort(np.arange(max(products, len(prices))) % len(prices))
        cents = np.maximum(
            np.round(100 * np.array(prices)[category] * np.exp(0.5 * rng.standard_normal(len(category)))), 1
        )
        edges = np.empty(len(category))
        for c in range(len(prices)):
            inside = category == c
            weight = 1 / np.arange(1, inside.sum() + 1) ** 0.9
            edges[inside] = c + np.cumsum(weight) / weight.sum()
        return cls(category, cents.astype(np.int64), edges)

    def pick(self, category: np.ndarray, quantile: np.ndarray) -> np.ndarray:
        """Return a product of each category, by popularity."""
        product = np.searchsorted(self.edges, category + quantile * (1 - 1e-9), side="right")
        return np.minimum(product, len(self.edges) - 1).astype(np.int32)


@dataclass
class Effects:
    """What promotions do today, per behaviour code (arrays) or in all."""

    visits: np.ndarray
    orders: np.ndarray
    coupon: np.ndarray
    discount: np.ndarray
    exposures: list[tuple[int, float, np.ndarray]] = field(default_factory=list)
    campaign: int = 0


@dataclass
class Today:
    """Which day it is. `stamp` (YYYYMMDD) names it in ids; `seconds` is its length (23 to 25 hours)."""

    n: int
    stamp: int
    weekday: int
    seconds: int
    last_send: int


def draw_day(
    population: Population,
    table: BehaviourTable,
    catalogue: Catalogue,
    today: Today,
    scale: float,
    effects: Effects,
    due: list[dict[str, np.ndarray]],
    money_only: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draw the events of one population on one day, in order of time, and the purchase lines among them.

    Args:
        population: its `visited` and `linked` are brought up to date.
        table: behaviours.
        catalogue: products.
        today: the day.
        scale: factor on visits and campaigns that gives the wanted number of events.
        effects: promotions.
        due: refunds and reviews of earlier orders that come in today.
        money_only: leave out everything but purchases.
    """
    rng = stream(population.seed, "clean", population.number, today.n)
    code = population.code
    user, forced = _visits(rng, population, table, today, scale, effects)
    c = code[user]
    channel = pick(table.channels, c, _habit_or_fresh(rng, population.channel[user]))
    device = pick(table.devices, c, _habit_or_fresh(rng, population.device[user]))
    device[channel == STORE] = OTHER
    device[(channel == APP) & (device == DESKTOP)] = MOBILE

    n = len(user)
    buy = (rng.random(n) < np.minimum(table["buy"][c] * effects.orders[c], 1)) | forced
    lines = np.where(buy, 1 + rng.poisson(table["basket"][c] - 1), 0)
    views = table["views"][c]
    counts = {
        "view_item": rng.poisson(np.where(views >= 1, views - 1, views)) + (views >= 1),
        "search": rng.poisson(table["searches"][c]),
        "extra": rng.poisson(table["extra_carts"][c]),
        "add_to_wishlist": rng.poisson(table["wishlist"][c]),
        "share": rng.poisson(table["shares"][c]),
        "customer_service": rng.poisson(table["service"][c]),
    }
    checkout = buy | (rng.random(n) < table["abandon"][c])
    coupon = buy & (rng.random(n) < np.maximum(table["coupon"][c], effects.coupon[c]))
    if money_only:
        counts = {k: np.zeros_like(v) for k, v in counts.items()}
        checkout = coupon = np.zeros(n, bool)

    sessions = np.arange(n)
    order_n = np.cumsum(buy) - 1
    blocks: list[dict[str, np.ndarray]] = []

    def block(kind: str, session: np.ndarray, position: np.ndarray | float, **columns: np.ndarray) -> None:
        size = len(session)
        blocks.append(
            {
                "type": np.full(size, TYPE_CODES[kind], np.int8),
                "s": session,
                "position": np.full(size, position) if np.isscalar(position) else position,
                **columns,
            }
        )

    def products(session: np.ndarray) -> np.ndarray:
        taste = _habit_or_fresh(rng, population.taste[user[session]], 0.5)
        return catalogue.pick(pick(table.categories, c[session], taste), rng.random(len(session)))

    s = np.repeat(sessions, counts["view_item"])
    position = rng.random(len(s)) * 0.7
    position[np.flatnonzero(np.diff(s, prepend=-1))] = 0.0
    block("view_item", s, position, product=products(s))

    s = np.repeat(sessions, counts["search"])
    about = pick(table.categories, c[s], rng.random(len(s)))
    query = about * QUERIES_PER_CATEGORY + rng.integers(0, QUERIES_PER_CATEGORY, len(s))
    block("search", s, rng.random(len(s)) * 0.3, query=query.astype(np.int32))

    s = np.repeat(sessions, lines)
    bought = products(s)
    quantity = _quantities(rng, table, c[s])
    if not money_only:
        block("add_to_cart", s, 0.3 + rng.random(len(s)) * 0.5, product=bought, quantity=quantity)
    gross = _line_cents(table, catalogue, c[s], population.spend_z[user[s]], bought, quantity)
    part = np.where(effects.coupon[c] > 0, np.maximum(effects.discount[c], table["discount"][c]), table["discount"][c])
    off = np.where(coupon, np.clip(part * (0.5 + rng.random(n)), 0, 0.95), 0.0)
    discount = np.round(gross * off[s]).astype(np.int64)
    block(
        "purchase",
        s,
        0.9,
        product=bought,
        quantity=quantity,
        cents=gross - discount,
        discount=discount,
        order_day=np.full(len(s), today.stamp, np.int32),
        order_n=order_n[s].astype(np.int32),
    )
    purchase_block = len(blocks) - 1

    s = np.repeat(sessions, counts["extra"])
    product, quantity = products(s), _quantities(rng, table, c[s])
    block("add_to_cart", s, 0.3 + rng.random(len(s)) * 0.5, product=product, quantity=quantity)
    out = rng.random(len(s)) < REMOVED
    block(
        "remove_from_cart",
        s[out],
        0.8 + rng.random(int(out.sum())) * 0.04,
        product=product[out],
        quantity=quantity[out],
    )
    for kind, low, high in (("add_to_wishlist", 0.2, 0.8), ("share", 0.91, 1.0)):
        s = np.repeat(sessions, counts[kind])
        block(kind, s, low + rng.random(len(s)) * (high - low), product=products(s))
    s = np.repeat(sessions, counts["customer_service"])
    block("customer_service", s, rng.random(len(s)))
    block("begin_checkout", sessions[checkout], 0.86)
    campaign = np.full(int(coupon.sum()), effects.campaign or today.last_send, np.int32)
    block(
        "coupon_redeem",
        sessions[coupon],
        0.88,
        campaign=campaign,
        order_day=np.full(len(campaign), today.stamp, np.int32),
        order_n=order_n[coupon].astype(np.int32),
    )

    events = _stack(blocks)
    s = events.pop("s")
    events["user"] = user[s].astype(np.int32)
    events["channel"] = channel[s]
    events["device"] = device[s]
    events["session"] = s.astype(np.int32)
    duration = _durations(rng, np.bincount(s, minlength=n), buy)
    hour = (table["peak_hour"][c] + table["spread_hours"][c] * rng.standard_normal(n)) % 24
    start = np.minimum(hour * 3600 * (today.seconds / DAY_SECONDS), today.seconds - duration - 1)
    position = events.pop("position")
    events["ms"] = (start[s] * 1000 + np.floor(position * duration[s] * 1000)).astype(np.int64)
    _log_in(rng, events, position, s, n, c, table, channel, buy, money_only)
    first = sum(len(b["type"]) for b in blocks[:purchase_block])
    mine = slice(first, first + len(blocks[purchase_block]["type"]))
    purchases = {k: v[mine] for k, v in events.items()}

    if not money_only:
        others = [_campaigns(population, table, today, scale, effects), *due]
        events = _stack(
            [events, *(_complete_sessionless(o, population, table, today) for o in others if len(o["user"]))]
        )
    _note_identities(population, events, today.n)
    order = np.lexsort((np.arange(len(events["ms"])), events["ms"]))
    return {k: v[order] for k, v in events.items()}, purchases


def _visits(
    rng: np.random.Generator,
    population: Population,
    table: BehaviourTable,
    today: Today,
    scale: float,
    effects: Effects,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the user of each session of the day, and whether the session is a regular order that comes by itself."""
    code = population.code
    by_code = table["sessions_per_day"] * scale * effects.visits * table.weekday(today.weekday)
    rate = population.activity(table) * by_code.astype(np.float32)[code]
    burst = table["burst_days"][code]
    if burst.any():
        since = today.n - burst_starts(population)
        rate[(burst > 0) & ((since < 0) | (since >= burst))] = 0
    count = rng.poisson(rate)
    # A sign-up is itself a visit.
    count[(population.signup == today.n) & (table["sessions_per_day"][code] > 0)] += 1
    period = table["period_days"][code].astype(np.int64)
    every = np.maximum(period, 1)
    regular = (period > 0) & ((today.n + np.floor(population.phase * every).astype(np.int64)) % every == 0)
    rows = np.arange(len(population))
    user = np.concatenate([np.repeat(rows, count), rows[regular]])
    forced = np.arange(len(user)) >= count.sum()
    return user, forced


def burst_starts(population: Population) -> np.ndarray:
    """Return the day of the run on which each user's burst begins: the sign-up; any day for those of the start."""
    spread = np.floor(population.phase * (BURST_BEFORE + BURST_AFTER)).astype(np.int64) - BURST_BEFORE
    return np.where(population.signup > 0, population.signup, spread)


def _habit_or_fresh(rng: np.random.Generator, habit: np.ndarray, loyalty: float = 0.7) -> np.ndarray:
    """Return the user's own quantile most of the time (`loyalty` is the share), else a fresh one."""
    fresh = rng.random(len(habit))
    return np.where(rng.random(len(habit)) < loyalty, habit, fresh)


def _quantities(rng: np.random.Generator, table: BehaviourTable, code: np.ndarray) -> np.ndarray:
    """Draw the units of each line, at least one."""
    mean, sigma = table["quantity"][code], table["quantity_sigma"][code]
    tail = np.exp(np.minimum(sigma * rng.standard_normal(len(code)), 8) - sigma**2 / 2)
    return (1 + rng.poisson(np.maximum(mean * tail - 1, 0))).astype(np.int32)


def _line_cents(
    table: BehaviourTable,
    catalogue: Catalogue,
    code: np.ndarray,
    z: np.ndarray,
    product: np.ndarray,
    quantity: np.ndarray,
) -> np.ndarray:
    """Return the price before discount of each line: whole cents, at least one a unit."""
    unit = catalogue.cents[product] * table["price_level"][code] * np.exp(table["spend_sigma"][code] * z)
    return np.maximum(np.round(unit), 1).astype(np.int64) * quantity


def _durations(rng: np.random.Generator, events: np.ndarray, buy: np.ndarray) -> np.ndarray:
    """Draw the seconds of each session: half a minute an event, at most three hours."""
    return np.minimum(20 + 30 * events * np.exp(0.4 * rng.standard_normal(len(events))) + 60 * buy, 10_800)


def _stack(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put blocks of events one below the other; a column that a block lacks holds NOTHING."""
    names = dict.fromkeys(k for b in blocks for k in b)
    stacked = {}
    for name in names:
        parts = [
            b[name] if name in b else np.full(len(b["type"]), NOTHING[name], _SMALL.get(name, np.int32)) for b in blocks
        ]
        stacked[name] = np.concatenate(parts)
    for name, nothing in NOTHING.items():
        if name not in stacked:
            stacked[name] = np.full(len(stacked["type"]), nothing, _SMALL.get(name, np.int32))
    return stacked


def _log_in(
    rng: np.random.Generator,
    events: dict[str, np.ndarray],
    position: np.ndarray,
    s: np.ndarray,
    n: int,
    c: np.ndarray,
    table: BehaviourTable,
    channel: np.ndarray,
    buy: np.ndarray,
    money_only: bool,
) -> None:
    """Add columns `named` (has the user id) and `cookie` (has the anonymous id).

    A session begun logged out has the cookie only; at the log-in one event carries both; after it the user id only.
    Orders are always logged in.
    """
    out = (rng.random(n) < table["anonymous"][c]) & np.isin(channel, (WEB, EMAIL, SOCIAL))
    login = buy | (rng.random(n) < table["login"][c])
    at = np.where(out, np.where(login, 0.05 + 0.8 * rng.random(n), 2.0), -1.0)
    if money_only:
        at[:] = -1.0
    before = position < at[s]
    events["named"] = ~before
    events["cookie"] = before.copy()
    after = np.flatnonzero((at[s] >= 0) & ~before)
    ordered = after[np.lexsort((after, position[after], s[after]))]
    events["cookie"][ordered[np.flatnonzero(np.diff(s[ordered], prepend=-1))]] = True


def _campaigns(
    population: Population, table: BehaviourTable, today: Today, scale: float, effects: Effects
) -> dict[str, np.ndarray]:
    """Draw exposures to the newsletter of the day and to promotions that begin."""
    users, ids = [], []
    rng = stream(population.seed, "campaigns", population.number, today.n)
    if today.weekday in SEND_DAYS:
        chance = np.minimum(table["campaigns_per_week"] / len(SEND_DAYS) * min(scale, 1.0), 1)[population.code]
        users.append(np.flatnonzero(rng.random(len(population)) < chance))
        ids.append(np.full(len(users[-1]), today.stamp, np.int32))
    for campaign, reach, codes in effects.exposures:
        chance = np.where(codes, reach, 0.0)[population.code]
        users.append(np.flatnonzero(rng.random(len(population)) < chance))
        ids.append(np.full(len(users[-1]), campaign, np.int32))
    user = np.concatenate(users) if users else np.empty(0, np.int64)
    hour = (9 + 2 * rng.standard_normal(len(user))) % 24
    return {
        "type": np.full(len(user), TYPE_CODES["campaign_exposure"], np.int8),
        "user": user.astype(np.int32),
        "campaign": np.concatenate(ids) if ids else np.empty(0, np.int32),
        "channel": np.where(rng.random(len(user)) < 0.7, EMAIL, SOCIAL).astype(np.int8),
        "ms": (hour * 3_600_000 * today.seconds / DAY_SECONDS).astype(np.int64),
    }


def _complete_sessionless(
    events: dict[str, np.ndarray], population: Population, table: BehaviourTable, today: Today
) -> dict[str, np.ndarray]:
    """Return events that belong to no session with all columns: the user's main device and channel, logged in."""
    user = events["user"]
    code = population.code[user]
    size = len(user)
    full = {
        "channel": pick(table.channels, code, population.channel[user]),
        "device": pick(table.devices, code, population.device[user]),
        "named": np.ones(size, bool),
        "cookie": np.zeros(size, bool),
        **events,
    }
    full["ms"] = np.minimum(full["ms"], today.seconds * 1000 - 1)
    for name, nothing in NOTHING.items():
        full.setdefault(name, np.full(size, nothing, _SMALL.get(name, np.int32)))
    return full


def aftermath(
    population: Population, table: BehaviourTable, purchases: dict[str, np.ndarray], today: Today
) -> dict[int, list[dict[str, np.ndarray]]]:
    """Draw refunds and reviews that today's purchase lines lead to, by the later day on which they come in."""
    rng = stream(population.seed, "aftermath", population.number, today.n)
    code = population.code[purchases["user"]]
    size = len(code)
    by_day: dict[int, list[dict[str, np.ndarray]]] = {}
    for kind, share, longest in (("refund", "refund", 14), ("review", "review", 21)):
        chosen = rng.random(size) < table[share][code]
        delay = 1 + np.floor(longest * rng.random(size) ** 2).astype(np.int64)
        ms = np.floor((8 + 14 * rng.random(size)) * 3_600_000).astype(np.int64)
        rating = np.clip(np.round(table["rating"][code] + rng.standard_normal(size)), 1, 5).astype(np.int8)
        for later in np.unique(delay[chosen]):
            rows = np.flatnonzero(chosen & (delay == later))
            events = {
                "type": np.full(len(rows), TYPE_CODES[kind], np.int8),
                "user": purchases["user"][rows],
                "product": purchases["product"][rows],
                "ms": ms[rows],
            }
            if kind == "refund":
                events["cents"] = -purchases["cents"][rows]
                events |= {k: purchases[k][rows] for k in ("quantity", "order_day", "order_n")}
            else:
                events["rating"] = rating[rows]
            by_day.setdefault(today.n + int(later), []).append(events)
    return by_day


def _note_identities(population: Population, events: dict[str, np.ndarray], day: int) -> None:
    """Note the first day of each device with a cookie, and of each with both ids."""
    for name, mask in (
        ("visited", events["cookie"]),
        ("linked", events["cookie"] & events["named"]),
    ):
        seen = getattr(population, name)
        user, device = events["user"][mask], events["device"][mask]
        fresh = seen[user, device] < 0
        seen[user[fresh], device[fresh]] = day
