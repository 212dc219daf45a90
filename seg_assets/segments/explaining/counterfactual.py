"""Find the smallest change of one feature that moves a user (Wachter, Mittelstadt and Russell 2018).

A change is counted in the feature's own unit. Whether it moves the user is decided by assigning them again with the
very code that assigns users each day.

Not here: why the user is where they are (`explaining.user`), and the words (`explaining.text`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seg_assets.core.days import ONE_DAY
from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.space import numbers_of
from seg_assets.segments.strategy import Strategy

# Values of the population tried per feature before the border is narrowed down.
GRID = 64
# Each narrowing divides the gap by GRID.
NARROWINGS = 3


@dataclass(frozen=True)
class Counterfactual:
    """The smallest change of one feature that moves the user.

    effort: distance in model space, by which changes of different features compare.
    """

    feature: str
    now: float | str | None
    needed: float | str
    segment_id: str
    effort: float


@dataclass(frozen=True)
class _Search:
    """What stays the same while values are tried: the user, where they are, and where they are to go."""

    strategy: Strategy
    champion: SegmentModel
    user: pd.DataFrame
    state: pd.DataFrame
    target: str
    day: dt.date

    def reaches(self, column: str, options: Sequence | np.ndarray) -> np.ndarray:
        """Return (n,) whether each value of one column gives the user the target on the next day."""
        n = len(options)
        if not n:
            return np.zeros(0, dtype=bool)
        ids = pd.array([f"{i:06d}" for i in range(n)], dtype="str")
        many = self.user.iloc[np.zeros(n, dtype=int)].reset_index(drop=True)
        text = isinstance(options[0], str)
        many[column] = pd.array(list(options), dtype="str") if text else np.asarray(options, float)
        many["user_id"] = ids
        states = self.state.iloc[np.zeros(n, dtype=int)].reset_index(drop=True)
        # The change alone is asked about: not the one day more that a standing proposal would have waited.
        states = states.assign(user_id=ids, proposed_segment_id=None, proposed_days=0)
        assigned = assign_day(self.strategy, many, self.champion, states, self.day + ONE_DAY)
        return assigned["segment_id"].to_numpy(dtype=object) == self.target

    def cheapest(self, column: str, values: Sequence) -> Counterfactual | None:
        """Return the value of the least effort; None when there is none."""
        position = self.champion.space.transform(self.user)[0]
        best = None
        for value in values:
            changed = self.user.copy()
            changed[column] = [value]
            effort = float(np.sqrt(((self.champion.space.transform(changed)[0] - position) ** 2).sum()))
            if best is None or effort < best.effort:
                best = Counterfactual(column, value_of(self.user, column), value, self.target, effort)
        return best


def nearest_counterfactual(
    strategy: Strategy,
    champion: SegmentModel,
    user: pd.DataFrame,
    state: pd.DataFrame,
    population: pd.DataFrame,
    target: str,
    day: dt.date,
) -> Counterfactual | None:
    """Return the smallest change of one feature that gives the user segment `target` on the next day, at once.

    Only values within what the day's users have are tried. None: no change of a single feature reaches the target.

    Args:
        strategy: rules and hysteresis.
        champion: the model.
        user: one row of features.
        state: the user's row in user_segments (at least STATE).
        population: features of the day, for the range of values.
        target: segment to reach.
        day: the day of `state`.
    """
    search = _Search(strategy, champion, user, state, target, day)
    best: Counterfactual | None = None
    for column in dict.fromkeys(champion.space.sources):
        if column not in population.columns:
            continue
        change = _change_of(search, column, population[column])
        if change and (best is None or change.effort < best.effort - 1e-12):
            best = change
    return best


def value_of(user: pd.DataFrame, column: str) -> float | str | None:
    """Return a user's value of one column, None where it is null or no such column exists."""
    if column not in user.columns or pd.isna(user[column].iloc[0]):
        return None
    value = user[column].iloc[0]
    return str(value) if isinstance(value, str) else float(value)


def _change_of(search: _Search, column: str, values: pd.Series) -> Counterfactual | None:
    """Return the cheapest change of one column; `values` are those of the day's users."""
    if not pd.api.types.is_numeric_dtype(values):
        options = sorted(set(values.dropna().astype(str)) - {str(search.user[column].iloc[0])})[:GRID]
        reached = search.reaches(column, options)
        return search.cheapest(column, [o for o, ok in zip(options, reached, strict=True) if ok])
    known = numbers_of(values, np.nan)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    whole = bool((known == np.rint(known)).all())
    now = float(numbers_of(search.user[column], np.nan)[0])
    start = now if np.isfinite(now) else float(np.median(known))
    grid = np.unique(np.quantile(known, np.linspace(0, 1, GRID), method="nearest"))
    borders = [_border(search, column, side, start, whole) for side in (grid[grid > start], grid[grid < start][::-1])]
    tried = [border for border in borders if border is not None]
    if not np.isfinite(now) and search.reaches(column, [start])[0]:
        tried.append(start)
    return search.cheapest(column, tried)


def _border(search: _Search, column: str, side: np.ndarray, start: float, whole: bool) -> float | None:
    """Return the first value on the way from `start` along `side` that reaches the target, narrowed down and round."""
    last, path = start, side
    reached: float | None = None
    for _ in range(NARROWINGS + 1):
        if not len(path):
            break
        hits = search.reaches(column, path)
        if not hits.any():
            break
        first = int(np.argmax(hits))
        reached = float(path[first])
        last = float(path[first - 1]) if first else last
        path = np.linspace(last, reached, GRID + 1)[1:]
        if whole:
            path = np.unique(np.rint(path)) if reached > last else np.unique(np.rint(path))[::-1]
    if reached is None:
        return None
    away = 1.0 if reached > start else -1.0
    for digits in (2, 3, 4, 6):
        step = 1.0 if whole else 10.0 ** (np.floor(np.log10(max(abs(reached), 1e-9))) + 1 - digits)
        rounder = float(f"{away * np.ceil(away * reached / step) * step:.10g}")
        # A rounder number that costs a tenth more of the way is the better answer for a reader.
        close = abs(rounder - reached) <= 0.1 * abs(reached - start)
        if close and search.reaches(column, [rounder])[0]:
            return rounder
    return reached
