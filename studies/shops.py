"""Invented shops in memory, for studies that need hundreds of them, with profiles of any day.

A money shop is spend per user and day and nothing else: what a recipe can do for a shop that knows no more. Its kinds
differ by how people buy. A planted shop has visits, views, carts and orders of planted groups, and one shift of a known
kind on a known day. A profile sees only days up to its own. All numbers are invented; none is from a real shop.

Not here: shops with landing files, channels and reviews (`seg_assets.simulator`).
"""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.features import needed_columns
from seg_assets.segments.fitting.outcome import growth
from seg_assets.segments.rules import clustered_mask
from seg_assets.segments.strategy import Strategy

# ---- money shops ---------------------------------------------------------------------------------------------------

# How people buy, by kind. A kind without groups has users who differ by degrees only.
KINDS = {
    "bursty": "bursty one-off buyers: most buy once, one in seven comes back in bursts",
    "wholesale": "wholesalers: rare, huge, heavy-tailed orders, one in eight sent back in part",
    "subscription": "subscriptions: a fee of four sizes every 30 days until they leave",
    "grocery": "groceries: frequent small baskets, rates that differ by degrees",
    "groups": "five planted habits: weekly small, weekly large, monthly, rare and huge, gone after a while",
}


@dataclass(frozen=True)
class MoneyShop:
    """Spend of a shop. money: (users, days) net, in currency. truth: (users,) planted group; None: no groups."""

    money: np.ndarray
    truth: np.ndarray | None


def make(kind: str, users: int = 900, days: int = 360, seed: int = 5) -> MoneyShop:
    """Draw a shop of a kind. Each user has a lasting rate and size; the rest is chance."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, 1.0, users)
    size = np.exp(rng.normal(3.5, 0.6, users))
    if kind == "bursty":
        chances = rng.random((users, days))
        comes_back = rng.random(users) < 0.15
        calendar = chances < np.where(comes_back, 0.02, 0.0015)[:, None]
        money = calendar * size[:, None] * np.exp(rng.normal(0, 0.5, (users, days)))
        return MoneyShop(np.round(money, 2), comes_back.astype(int))
    if kind == "wholesale":
        size = np.exp(rng.normal(6.0, 1.6, users))
        orders = rng.random((users, days)) < (0.01 + 0.03 * rng.random(users))[:, None]
        amount = orders * size[:, None] * np.exp(rng.normal(0, 0.8, (users, days)))
        back = (rng.random((users, days)) < 0.125) * np.roll(amount, 3, axis=1) * rng.choice([0.3, 1.0], (users, days))
        back[:, :3] = 0.0
        return MoneyShop(np.round(amount - back, 2), None)
    if kind == "subscription":
        fees = np.array([9.99, 19.99, 49.0, 99.0])
        fee = rng.choice(fees, users, p=[0.5, 0.3, 0.15, 0.05])
        start = rng.integers(-300, 250, users)
        end = start + rng.geometric(1 / 400, users)
        day = np.arange(days)[None, :]
        live = (day >= start[:, None]) & (day < end[:, None]) & ((day - start[:, None]) % 30 == 0)
        return MoneyShop(np.round(live * fee[:, None], 2), np.searchsorted(fees, fee))
    if kind == "groups":
        group = rng.integers(0, 5, users)
        chance = np.array([1 / 7, 1 / 7, 1 / 30, 1 / 60, 1 / 7])[group]
        price = np.array([20.0, 90.0, 40.0, 700.0, 30.0])[group] * np.exp(rng.normal(0, 0.2, users))
        gone = np.where(group == 4, rng.integers(60, 200, users), days)
        bought = (rng.random((users, days)) < chance[:, None]) & (np.arange(days)[None, :] < gone[:, None])
        return MoneyShop(np.round(bought * price[:, None] * np.exp(rng.normal(0, 0.3, (users, days))), 2), group)
    orders = rng.poisson(0.12 * rate[:, None], (users, days))
    return MoneyShop(np.round(orders * size[:, None] * np.exp(rng.normal(0, 0.4, (users, days))), 2), None)


def profiles(money: np.ndarray, day: int) -> pd.DataFrame:
    """Return user_profiles at the end of `day`, from money and dates only; users without a purchase are left out."""
    seen = money[:, : day + 1]
    bought = seen > 0
    rows = np.flatnonzero(bought.any(axis=1))
    seen, bought = seen[rows], bought[rows]
    frame = {"user_id": [f"u{r:05d}" for r in rows]}
    frame["tenure_days"] = (day - bought.argmax(axis=1)).astype(float)
    frame["recency_days"] = bought[:, ::-1].argmax(axis=1).astype(float)
    frame["inactive_days"] = frame["recency_days"]
    for name, width in (("7d", 7), ("28d", 28), ("90d", 90), ("all", day + 1)):
        window = slice(max(0, day + 1 - width), day + 1)
        frame[f"orders_{name}"] = bought[:, window].sum(axis=1).astype(float)
        frame[f"active_days_{name}"] = frame[f"orders_{name}"]
        frame[f"monetary_{name}"] = np.round(seen[:, window].sum(axis=1), 2)
    frame["is_suspected_bot"] = np.zeros(len(rows), dtype=bool)
    return pd.DataFrame(frame)


def rows_of(frame: pd.DataFrame) -> np.ndarray:
    """Return (n,) the row of `money` of each user of a frame of profiles."""
    return frame["user_id"].str[1:].astype(int).to_numpy()


def next_spend(money: np.ndarray, frame: pd.DataFrame, day: int, horizon: int = 90) -> np.ndarray:
    """Return (n,) net spend of each user of `frame` in the `horizon` days after `day`."""
    return money[rows_of(frame), day + 1 : day + 1 + horizon].sum(axis=1)


# ---- planted shops -------------------------------------------------------------------------------------------------

START = dt.date(2024, 1, 1)
# Two full quarters before the first fit: one for the features, one for the outcome that `value` learns from.
WARM_DAYS = 180
# Quiet days before the shift, and days watched after it.
QUIET_DAYS, WATCHED_DAYS = 14, 42
# What users do after a decision is measured over four weeks.
AFTER_DAYS = 28
SHIFT_DAY = WARM_DAYS + QUIET_DAYS
DAYS = SHIFT_DAY + WATCHED_DAYS + AFTER_DAYS

# Per group: share of users, sessions a day, views per session, carts per session, orders per session, mean order value.
GROUPS = {
    "browsers": (0.30, 0.25, 9.0, 0.4, 0.06, 30.0),
    "regulars": (0.30, 0.22, 4.0, 0.9, 0.50, 40.0),
    "bulk": (0.15, 0.09, 3.0, 2.0, 0.80, 160.0),
    "occasional": (0.25, 0.06, 4.0, 0.4, 0.25, 25.0),
}
# What part of the regulars becomes when they split, and what a new cohort is.
DAILY = (0.80, 2.0, 1.0, 0.60, 12.0)
COHORT = (0.45, 6.0, 1.5, 0.35, 18.0)
ACTIVITY_SIGMA, VALUE_SIGMA = 0.35, 0.4


@dataclass(frozen=True)
class Shift:
    """What happens on SHIFT_DAY. `lasting`: users stay changed; `regroups`: other groups are right from then on."""

    kind: str
    size: float
    title: str
    lasting: bool
    regroups: bool


SHIFTS = (
    Shift("nothing", 0.0, "nothing", False, False),
    Shift("growth", 0.01, "1 % new users a day, of the same kinds", False, False),
    Shift("promotion", 0.5, "a promotion: 50 % more visits for 10 days, then back", False, False),
    Shift("season", 0.3, "a season: up to 30 % more visits over 6 weeks, and back", False, False),
    Shift("missing", 0.3, "a column lost for 30 % of users", True, False),
    Shift("level", 0.1, "everyone visits 10 % more", True, False),
    Shift("level", 0.2, "everyone visits 20 % more", True, False),
    Shift("level", 0.4, "everyone visits 40 % more", True, False),
    Shift("cohort", 0.1, "a new cohort of 10 %", True, True),
    Shift("cohort", 0.2, "a new cohort of 20 %", True, True),
    Shift("split", 0.5, "a segment splits: half of it becomes another", True, True),
    Shift("death", 1.0, "a segment dies: its users turn occasional", True, True),
)


class PlantedShop:
    """Daily activity of every user that will ever be known, drawn at once, with profiles of any day.

    Args:
        users: users before the shift.
        shift: what happens on SHIFT_DAY.
        seed: of all draws; the days before the shift do not depend on the shift.
    """

    def __init__(self, users: int, shift: Shift, seed: int) -> None:
        self.shift, self.key = shift, f"{users}-{shift.kind}-{shift.size}-{seed}"
        rng = np.random.default_rng([seed, users])
        names = list(GROUPS)
        group = rng.choice(len(names), users, p=[g[0] for g in GROUPS.values()])
        traits = np.array([g[1:] for g in GROUPS.values()])[group]
        join = np.zeros(users, dtype=np.int64)
        later = traits.copy()
        truth = group.copy()
        after = np.random.default_rng([seed, users, 1])
        if shift.kind == "split":
            moved = (group == names.index("regulars")) & (after.random(users) < shift.size)
            later[moved], truth[moved] = DAILY, len(names)
        elif shift.kind == "death":
            moved = group == names.index("bulk")
            later[moved], truth[moved] = GROUPS["occasional"][1:], names.index("occasional")
        elif shift.kind in ("cohort", "growth"):
            count = round(users * shift.size) * (WATCHED_DAYS if shift.kind == "growth" else 1)
            drawn = after.choice(len(names), count, p=[g[0] for g in GROUPS.values()])
            cohort = shift.kind == "cohort"
            fresh = np.tile(COHORT, (count, 1)) if cohort else np.array([g[1:] for g in GROUPS.values()])[drawn]
            traits, later = np.vstack([traits, fresh]), np.vstack([later, fresh])
            group = np.concatenate([group, np.full(count, len(names)) if cohort else drawn])
            truth = np.concatenate([truth, group[users:]])
            # A cohort comes within two weeks, growth goes on.
            span = 14 if cohort else WATCHED_DAYS
            join = np.concatenate([join, SHIFT_DAY + after.integers(0, span, count)])
        self.before, self.truth_after = group, truth
        total = len(group)
        activity = np.concatenate(
            [rng.lognormal(0, ACTIVITY_SIGMA, users), after.lognormal(0, ACTIVITY_SIGMA, total - users)]
        )
        worth = np.concatenate([rng.lognormal(0, VALUE_SIGMA, users), after.lognormal(0, VALUE_SIGMA, total - users)])
        self.lost = after.random(total) < (shift.size if shift.kind == "missing" else 0.0)
        self.user_id = np.array([f"u{i:06d}" for i in range(total)], dtype=object)
        counts = {name: np.zeros((total, DAYS + 1)) for name in ("sessions", "views", "carts", "orders", "monetary")}
        active = np.zeros((total, DAYS + 1))
        self.last_order, self.last_active = (np.full((total, DAYS), -1, dtype=np.int32) for _ in range(2))
        seen_order, seen = np.full(total, -1, dtype=np.int32), np.full(total, -1, dtype=np.int32)
        self.first = np.full(total, DAYS + 1, dtype=np.int64)
        for day in range(DAYS):
            draw = np.random.default_rng([seed, users, 2, day])
            now = later if day >= SHIFT_DAY else traits
            weekend = 1.3 if (START + dt.timedelta(days=day)).weekday() >= 5 else 1.0
            rate = now[:, 0] * activity * weekend * self._season(day) * (join <= day)
            sessions = draw.poisson(rate)
            orders = draw.binomial(sessions, now[:, 3])
            counts["sessions"][:, day + 1] = sessions
            counts["views"][:, day + 1] = draw.poisson(sessions * now[:, 1])
            counts["carts"][:, day + 1] = orders + draw.poisson(sessions * now[:, 2])
            counts["orders"][:, day + 1] = orders
            price = now[:, 4] * worth * draw.lognormal(0, 0.3, total)
            counts["monetary"][:, day + 1] = np.round(orders * price, 2)
            active[:, day + 1] = sessions > 0
            seen_order = np.where(orders > 0, day, seen_order)
            seen = np.where(sessions > 0, day, seen)
            self.first = np.where((sessions > 0) & (self.first > day), day, self.first)
            self.last_order[:, day], self.last_active[:, day] = seen_order, seen
        self.sums = {name: np.cumsum(values, axis=1) for name, values in {**counts, "active_days": active}.items()}

    def _season(self, day: int) -> float:
        since = day - SHIFT_DAY
        if since < 0 or self.shift.kind not in ("level", "promotion", "season"):
            return 1.0
        if self.shift.kind == "promotion":
            return 1.0 + self.shift.size * (since < 10)
        if self.shift.kind == "season":
            return 1.0 + self.shift.size * max(0.0, float(np.sin(np.pi * since / 42))) * (since <= 42)
        return 1.0 + self.shift.size

    def day_of(self, n: int) -> dt.date:
        """Return the date of day n, from 0."""
        return START + dt.timedelta(days=n)

    def known(self, day: dt.date) -> np.ndarray:
        """Return positions of the users known on a day."""
        return np.flatnonzero(self.first <= (day - START).days)

    def total(self, name: str, day: dt.date, window: int | None = None) -> np.ndarray:
        """Return (users,) a count over the window of days that ends with `day`; None: over all days."""
        end = (day - START).days + 1
        sums = self.sums[name]
        return np.round(sums[:, end] - sums[:, max(0, end - window) if window else 0], 2)

    def frame(self, strategy: Strategy, day: dt.date) -> pd.DataFrame:
        """Return profiles of a day, as `load_features` gives them; columns that this shop lacks are null."""
        n = (day - START).days
        columns: dict[str, np.ndarray] = {}
        for name in self.sums:
            for label, window in (("7d", 7), ("28d", 28), ("90d", 90), ("all", None)):
                columns[f"{name}_{label}"] = self.total(name, day, window)
        for label in ("90d", "all"):
            with np.errstate(invalid="ignore", divide="ignore"):
                orders = columns[f"orders_{label}"]
                some = orders > 0
                columns[f"order_value_mean_{label}"] = np.where(some, columns[f"monetary_{label}"] / orders, np.nan)
                carts = columns[f"carts_{label}"]
                columns[f"cart_to_purchase_rate_{label}"] = np.where(carts > 0, orders / carts, np.nan)
        ordered = self.last_order[:, n]
        columns["recency_days"] = np.where(ordered >= 0, n - ordered, np.nan)
        columns["inactive_days"] = (n - self.last_active[:, n]).astype(np.float64)
        columns["tenure_days"] = (n - self.first).astype(np.float64)
        columns["is_suspected_bot"] = np.zeros(len(self.user_id))
        if n >= SHIFT_DAY:
            for name in ("orders_28d", "active_days_28d"):
                columns[name] = np.where(self.lost, np.nan, columns[name])
        known = self.known(day)
        wanted = needed_columns(strategy)
        nothing = np.full(len(known), np.nan)
        frame = pd.DataFrame(
            {"user_id": self.user_id[known]}
            | {name: columns[name][known] if name in columns else nothing for name in wanted}
        )
        frame.attrs["key"] = f"{self.key}-{n}"
        return frame

    def outcome(self, strategy: Strategy, day: dt.date, horizon: int = 90) -> Outcome:
        """Return what `value` learns from on a day: features of `horizon` days before, and the spend since."""
        earlier = day - dt.timedelta(days=horizon)
        then, now = self.frame(strategy, earlier), self.frame(strategy, day)
        then = then[clustered_mask(strategy, then)].reset_index(drop=True)
        values = pd.DataFrame({"monetary": growth(then, now, "monetary")})
        return Outcome(day=earlier, frame=then, values=values, horizon_days=horizon, basis="planted")

    def truth(self, day: dt.date) -> np.ndarray:
        """Return (users known,) the planted group on a day."""
        shifted = (day - START).days >= SHIFT_DAY
        return (self.truth_after if shifted else self.before)[self.known(day)]
