"""Hold users: who they are, which latent segment they are in, and when they change it.

Not here: their events (`simulator.day`), and which scripts move them (`simulator.engine`).
"""

from dataclasses import dataclass, field

import numpy as np

from seg_assets.events.contract import CHANNELS, DEVICES
from seg_assets.simulator.behaviours import GONE, REGIONS, Behaviour, ShopKind
from seg_assets.simulator.streams import stream

# Mean of a week is 1: a shop's week, before a segment's own weekend.
WEEKDAYS = np.array([0.95, 0.92, 0.93, 0.97, 1.05, 1.13, 1.05])
# Bursts of users that are there from the start begin in the 30 days before it and the 150 days after.
BURST_BEFORE, BURST_AFTER = 30, 150

_NUMBERS = tuple(
    name for name, f in Behaviour.model_fields.items() if f.annotation in (int, float)
)  # sessions_per_day, views, ...


class BehaviourTable:
    """Behaviours by code, as arrays. A code is a latent segment in one of its versions; codes are only added.

    Attributes:
        names: segment name of each code.
        channels, devices, categories: (codes, values) cumulative shares.
    """

    def __init__(self, shop: ShopKind) -> None:
        self.category_names = tuple(shop.categories)
        self.names: list[str] = []
        self.behaviours: list[Behaviour] = []
        self.numbers: dict[str, np.ndarray] = {}
        self.channels = self.devices = self.categories = np.empty((0, 0))
        self.add(GONE, Behaviour(sessions_per_day=0.0))

    def add(self, name: str, behaviour: Behaviour) -> int:
        """Add a behaviour and return its code."""
        self.names.append(name)
        self.behaviours.append(behaviour)
        self.numbers = {f: np.array([getattr(b, f) for b in self.behaviours], dtype=float) for f in _NUMBERS}
        self.channels = np.stack([_cumulative(b.channels, CHANNELS) for b in self.behaviours])
        self.devices = np.stack([_cumulative(b.devices, DEVICES) for b in self.behaviours])
        self.categories = np.stack([_cumulative(b.categories, self.category_names) for b in self.behaviours])
        return len(self.names) - 1

    def __getitem__(self, field_name: str) -> np.ndarray:
        return self.numbers[field_name]

    def weekday(self, weekday: int) -> np.ndarray:
        """Return the factor on visits of each code on a weekday (0 is Monday); its mean over a week is 1."""
        weekend = self["weekend"][:, None] * np.ones(2)
        week = WEEKDAYS * np.concatenate([np.ones((len(self.names), 5)), weekend], axis=1)
        return week[:, weekday] / week.mean(axis=1)


def _cumulative(weights: dict[str, float], names: tuple[str, ...]) -> np.ndarray:
    """Return the cumulative shares of weights in the order of their names; equal shares where there are none."""
    known = np.array([weights.get(n, 0.0) for n in names], dtype=float)
    if known.sum() <= 0:
        known = np.ones(len(names))
    cumulative = np.cumsum(known / known.sum())
    cumulative[-1] = 1.0
    return cumulative


@dataclass
class Population:
    """Users that are drawn together: the shop's own, a new cohort, or bots. Rows are users, in order of sign-up.

    Attributes:
        code: behaviour of each user now.
        quantiles of taste, channel, device, phase: in [0, 1), permanent traits.
        activity_z, spend_z: standard normal, permanent traits.
        signup: day of the run (negative: before it).
        visited, linked: (users, devices) day of the first anonymous event and of the first with both ids, -1 none.
    """

    number: int
    seed: int
    code: np.ndarray = field(default_factory=lambda: np.empty(0, np.int16))
    taste: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    channel: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    device: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    phase: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    activity_z: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    spend_z: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    signup: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    sex: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    age: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    region: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    income: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    household: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    visited: np.ndarray = field(default_factory=lambda: np.empty((0, len(DEVICES)), np.int16))
    linked: np.ndarray = field(default_factory=lambda: np.empty((0, len(DEVICES)), np.int16))
    # (users, day, code, code they must still have): moves that wait for their day.
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    # (users, day, code): what the truth says; only changes of the segment's name are noted.
    history: list[tuple[np.ndarray, int, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.code)

    def join(self, day: int, codes: np.ndarray, signup: np.ndarray, table: BehaviourTable) -> np.ndarray:
        """Add users who are first known on `day`, and return their rows."""
        n = len(codes)
        rows = np.arange(len(self), len(self) + n)
        rng = stream(self.seed, "traits", self.number, day)
        normal = rng.standard_normal((2, n), dtype=np.float32)
        uniform = rng.random((4, n), dtype=np.float32)
        u = rng.random((5, n))
        ages = np.stack([np.cumsum(b.age) / np.sum(b.age) for b in table.behaviours])
        incomes = np.stack([np.cumsum(b.income) / np.sum(b.income) for b in table.behaviours])
        household = 1 + rng.poisson(table["household"][codes] - 1)
        added = {
            "code": codes.astype(np.int16),
            "taste": uniform[0],
            "channel": uniform[1],
            "device": uniform[2],
            "phase": uniform[3],
            "activity_z": normal[0],
            "spend_z": normal[1],
            "signup": signup.astype(np.int32),
            "sex": (u[0] >= table["female"][codes]).astype(np.int8),
            "age": pick(ages, codes, u[1]).astype(np.int8),
            "region": np.minimum(u[2] * len(REGIONS), len(REGIONS) - 1).astype(np.int8),
            # Two in a hundred do not say what they earn.
            "income": np.where(u[4] < 0.02, -1, pick(incomes, codes, u[3])).astype(np.int8),
            "household": np.minimum(household, 8).astype(np.int8),
            "visited": np.full((n, len(DEVICES)), -1, np.int16),
            "linked": np.full((n, len(DEVICES)), -1, np.int16),
        }
        for name, values in added.items():
            setattr(self, name, np.concatenate([getattr(self, name), values]))
        self.history.append((rows, day, added["code"]))
        return rows

    def plan(self, rows: np.ndarray, day: np.ndarray, code: np.ndarray) -> None:
        """Let `rows` change to `code` on their `day`, unless they have changed otherwise by then."""
        self.waiting.append((rows, day, code.astype(np.int16), self.code[rows]))

    def move(self, day: int, table: BehaviourTable) -> None:
        """Carry out the planned moves of `day`, in the order they were planned."""
        still_waiting = []
        for rows, due, code, was in self.waiting:
            now = due <= day
            self._change(rows[now & (self.code[rows] == was)], code[now & (self.code[rows] == was)], day, table)
            if not now.all():
                still_waiting.append((rows[~now], due[~now], code[~now], was[~now]))
        self.waiting = still_waiting

    def mix(self, day: int, chance: float, shares: dict[int, float], table: BehaviourTable) -> None:
        """Let a few users change segment of their own accord; nobody returns from `gone`."""
        if chance <= 0 or not shares:
            return
        rng = stream(self.seed, "mobility", self.number, day)
        rows = np.flatnonzero((rng.random(len(self)) < chance) & (self.code != 0))
        codes = np.array(list(shares))
        self._change(rows, rng.choice(codes, len(rows), p=_probabilities(shares)).astype(np.int16), day, table)

    def _change(self, rows: np.ndarray, code: np.ndarray, day: int, table: BehaviourTable) -> None:
        names = np.unique(table.names, return_inverse=True)[1]
        renamed = names[self.code[rows]] != names[code]
        if renamed.any():
            self.history.append((rows[renamed], day, code[renamed]))
        self.code[rows] = code

    def activity(self, table: BehaviourTable) -> np.ndarray:
        """Return the permanent factor on visits of each user; its mean over users of a segment is 1."""
        sigma = table["activity_sigma"].astype(np.float32)[self.code]
        return np.exp(sigma * self.activity_z - sigma * sigma / 2)

    def user_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers in user ids. Each population has its own range, so that scripts do not renumber users."""
        return rows.astype(np.int64) + self.number * 10_000_000


def _probabilities(shares: dict[int, float]) -> np.ndarray:
    weights = np.array(list(shares.values()), dtype=float)
    return weights / weights.sum()


def draw_codes(rng: np.random.Generator, n: int, shares: dict[int, float]) -> np.ndarray:
    """Draw `n` behaviour codes with these shares; all `gone` when no segment is left."""
    if not shares:
        return np.zeros(n, np.int16)
    return rng.choice(np.array(list(shares), np.int16), n, p=_probabilities(shares))


def pick(cumulative: np.ndarray, code: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    """Return for each row the index of its quantile in the cumulative shares of its code."""
    index = np.zeros(len(code), np.int8)
    for column in range(cumulative.shape[1] - 1):
        index += quantile >= cumulative[code, column]
    return index
