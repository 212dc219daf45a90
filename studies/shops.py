"""Made-up shops of several kinds, as spend per user and day, with who they are, and the profiles of any day of them.

Money and dates are all there is in them, so they show what a recipe can do for a shop that knows no more. What differs
is how people buy. The kinds of a whole shop, with browsing, reviews and channels, are the simulator's.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# What each kind is, and what its planted groups are; no groups: users differ by degrees only.
KINDS = {
    "bursty": "bursty one-off buyers: most buy once, one in seven comes back in bursts",
    "wholesale": "wholesalers: rare, huge, heavy-tailed orders, one in eight sent back in part",
    "subscription": "subscriptions: a fee of four sizes every 30 days until they leave",
    "grocery": "groceries: frequent small baskets, rates that differ by degrees",
    "groups": "five planted habits: weekly small, weekly large, monthly, rare and huge, gone after a while",
}


@dataclass(frozen=True)
class Made:
    """money: (users, days) net spend in currency. truth: (users,) planted group, None where there are none."""

    money: np.ndarray
    truth: np.ndarray | None


def make(kind: str, users: int = 900, days: int = 360, seed: int = 5) -> Made:
    """A shop. Each user has a lasting rate and size; the rest is chance."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, 1.0, users)
    size = np.exp(rng.normal(3.5, 0.6, users))
    if kind == "bursty":
        chances = rng.random((users, days))
        comes_back = rng.random(users) < 0.15
        calendar = chances < np.where(comes_back, 0.02, 0.0015)[:, None]
        money = calendar * size[:, None] * np.exp(rng.normal(0, 0.5, (users, days)))
        return Made(np.round(money, 2), comes_back.astype(int))
    if kind == "wholesale":
        size = np.exp(rng.normal(6.0, 1.6, users))
        orders = rng.random((users, days)) < (0.01 + 0.03 * rng.random(users))[:, None]
        amount = orders * size[:, None] * np.exp(rng.normal(0, 0.8, (users, days)))
        back = (rng.random((users, days)) < 0.125) * np.roll(amount, 3, axis=1) * rng.choice([0.3, 1.0], (users, days))
        back[:, :3] = 0.0
        return Made(np.round(amount - back, 2), None)
    if kind == "subscription":
        fees = np.array([9.99, 19.99, 49.0, 99.0])
        fee = rng.choice(fees, users, p=[0.5, 0.3, 0.15, 0.05])
        start = rng.integers(-300, 250, users)
        end = start + rng.geometric(1 / 400, users)
        day = np.arange(days)[None, :]
        live = (day >= start[:, None]) & (day < end[:, None]) & ((day - start[:, None]) % 30 == 0)
        return Made(np.round(live * fee[:, None], 2), np.searchsorted(fees, fee))
    if kind == "groups":
        group = rng.integers(0, 5, users)
        chance = np.array([1 / 7, 1 / 7, 1 / 30, 1 / 60, 1 / 7])[group]
        price = np.array([20.0, 90.0, 40.0, 700.0, 30.0])[group] * np.exp(rng.normal(0, 0.2, users))
        gone = np.where(group == 4, rng.integers(60, 200, users), days)
        bought = (rng.random((users, days)) < chance[:, None]) & (np.arange(days)[None, :] < gone[:, None])
        return Made(np.round(bought * price[:, None] * np.exp(rng.normal(0, 0.3, (users, days))), 2), group)
    orders = rng.poisson(0.12 * rate[:, None], (users, days))
    return Made(np.round(orders * size[:, None] * np.exp(rng.normal(0, 0.4, (users, days))), 2), None)


def profiles(money: np.ndarray, day: int) -> pd.DataFrame:
    """Columns of user_profiles at the end of `day`, from money and dates only; users without a purchase left out."""
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
    """(n,) row of `money` of each user of a frame of profiles."""
    return frame["user_id"].str[1:].astype(int).to_numpy()


def next_spend(money: np.ndarray, frame: pd.DataFrame, day: int, horizon: int = 90) -> np.ndarray:
    """(n,) net spend of each user of `frame` in the `horizon` days after `day`."""
    return money[rows_of(frame), day + 1 : day + 1 + horizon].sum(axis=1)
