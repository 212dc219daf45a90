"""Measure how balanced and how steady one day's segments are, from their sizes and from tables of two labellings.

A function returns NaN where a number has no meaning (one segment, no users), never an invented zero.

Not here: how compact and separate segments are (`segments.fitting.indices`), whether a segmentation is any good out of
time (`evaluation.validity`), whether it is real (`evaluation.null`), and reading the lake (`evaluation.daily`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

# The silhouette needs all pairs of users. For 5,000 users they take 0.1 s, and its sampling error is about .002, small
# enough to see a day's change; for 92 thousand users they took 81 CPU seconds.
SILHOUETTE_SAMPLE = 5_000


def balance(sizes: Sequence[int]) -> float:
    """Return the entropy of the segment sizes over its maximum: 1 when all are equal, 0 when one holds everybody."""
    counts = np.asarray([s for s in sizes if s > 0], dtype=float)
    if len(sizes) < 2 or counts.sum() == 0:
        return math.nan
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(sizes))) + 0.0


def adjusted_rand_index(table: np.ndarray) -> float:
    """Return the adjusted Rand index (Hubert and Arabie 1985) of a contingency table of two labellings.

    1: the same partition; 0: as alike as by chance; NaN without two users, and where both put everybody into one group.
    Counted in Python integers, so exact for the
    flows of any number of users; `segments.fitting.indices.adjusted_rand` takes labels.
    """
    counts = np.asarray(table, dtype=np.int64)
    n = int(counts.sum())
    if n == 0:
        return math.nan

    def pairs(values: np.ndarray) -> int:
        return sum(int(v) * (int(v) - 1) // 2 for v in values.ravel())

    both, first, second = pairs(counts), pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    every = n * (n - 1) // 2
    if every == 0 or first == second == every:
        return math.nan
    if first == second == 0:
        return 1.0
    chance = first * second / every
    top = (first + second) / 2
    return 1.0 if top == chance else float((both - chance) / (top - chance))


def moved_share(table: Mapping[tuple[str, str], int]) -> tuple[float, int, int]:
    """Return (share, moved, both): of the users on both days, those whose segment differs. NaN without such users."""
    both = sum(table.values())
    moved = sum(count for (old, new), count in table.items() if old != new)
    return (moved / both if both else math.nan), moved, both
