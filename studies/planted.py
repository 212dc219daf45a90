"""Simulated shops for the study of drift: daily counts of users with planted groups, and shifts of known kind and day.

The event simulator (`seg_assets/simulator`) writes landing files; a study needs hundreds of shops, so here the days
are drawn as arrays and profiles are window sums of them. Same columns, same point in time: the profile of a day sees
only days up to it. All numbers are invented; none is taken from a real shop.
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
# What part of the regulars turns into when they split, and what a new cohort is.
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
    """Daily activity of every user that will ever be known, drawn at once; profiles of any day of it.

    Args:
        users: users before the shift.
        shift: what happens on SHIFT_DAY.
        seed: of everything; the days before the shift do not depend on the shift.
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
        """Date of day n, from 0."""
        return START + dt.timedelta(days=n)

    def known(self, day: dt.date) -> np.ndarray:
        """Positions of the users known on a day."""
        return np.flatnonzero(self.first <= (day - START).days)

    def total(self, name: str, day: dt.date, window: int | None = None) -> np.ndarray:
        """(users,) a count over the window of days that ends with `day`; None: over all days."""
        end = (day - START).days + 1
        sums = self.sums[name]
        return np.round(sums[:, end] - sums[:, max(0, end - window) if window else 0], 2)

    def frame(self, strategy: Strategy, day: dt.date) -> pd.DataFrame:
        """Profiles of a day, as `load_features` gives them; columns that this shop lacks are null."""
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
        """What `value` learns from on a day: features of `horizon` days before, and the spend since."""
        earlier = day - dt.timedelta(days=horizon)
        then, now = self.frame(strategy, earlier), self.frame(strategy, day)
        then = then[clustered_mask(strategy, then)].reset_index(drop=True)
        values = pd.DataFrame({"monetary": growth(then, now, "monetary")})
        return Outcome(day=earlier, frame=then, values=values, horizon_days=horizon, basis="planted")

    def truth(self, day: dt.date) -> np.ndarray:
        """(users known,) planted group on a day."""
        shifted = (day - START).days >= SHIFT_DAY
        return (self.truth_after if shifted else self.before)[self.known(day)]
