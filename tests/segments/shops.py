"""Made-up shops of four kinds, as spend per user and day, and the profile columns of any day of them."""

import numpy as np
import pandas as pd

KINDS = ("bursty", "wholesale", "subscription", "grocery")


def spend(kind: str, users: int = 900, days: int = 360, seed: int = 5) -> np.ndarray:
    """(users, days) net spend in currency. Each user has a lasting rate and size; the rest is chance."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, 1.0, users)
    size = np.exp(rng.normal(3.5, 0.6, users))
    if kind == "bursty":  # most buy once, a few come back in bursts
        calendar = rng.random((users, days)) < np.where(rng.random(users) < 0.15, 0.02, 0.0015)[:, None]
        return np.round(calendar * size[:, None] * np.exp(rng.normal(0, 0.5, (users, days))), 2)
    if kind == "wholesale":  # rare, huge, heavy-tailed orders, one in eight sent back in part
        size = np.exp(rng.normal(6.0, 1.6, users))
        orders = rng.random((users, days)) < (0.01 + 0.03 * rng.random(users))[:, None]
        amount = orders * size[:, None] * np.exp(rng.normal(0, 0.8, (users, days)))
        back = (rng.random((users, days)) < 0.125) * np.roll(amount, 3, axis=1) * rng.choice([0.3, 1.0], (users, days))
        back[:, :3] = 0.0
        return np.round(amount - back, 2)
    if kind == "subscription":  # a fee each 30 days until they leave
        fee = rng.choice([9.99, 19.99, 49.0, 99.0], users, p=[0.5, 0.3, 0.15, 0.05])
        start = rng.integers(-300, 250, users)
        end = start + rng.geometric(1 / 400, users)
        day = np.arange(days)[None, :]
        live = (day >= start[:, None]) & (day < end[:, None]) & ((day - start[:, None]) % 30 == 0)
        return np.round(live * fee[:, None], 2)
    orders = rng.poisson(0.12 * rate[:, None], (users, days))
    return np.round(orders * size[:, None] * np.exp(rng.normal(0, 0.4, (users, days))), 2)


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


def next_spend(money: np.ndarray, frame: pd.DataFrame, day: int, horizon: int = 90) -> np.ndarray:
    """(n,) net spend of each user of `frame` in the `horizon` days after `day`."""
    rows = frame["user_id"].str[1:].astype(int).to_numpy()
    return money[rows, day + 1 : day + 1 + horizon].sum(axis=1)
