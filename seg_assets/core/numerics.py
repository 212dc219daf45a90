"""Numbers that come out the same on every machine: rounding, flatness, one thread, seeded samples of users.

Not here: any statistic of a room, and anything that reads a file.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any, cast

import numpy as np
import pandas as pd

from seg_assets.core.digests import digest
from seg_assets.core.imports import quick_imports

# Digits of every number of a model. BLAS kernels differ in the last bits between machines; data must not.
SIGNIFICANT_DIGITS = 12
# Spread below which numbers count as equal, relative to their size: what is left of equal ones is rounding.
FLAT = 1e-9

_LIMITED: ContextVar[bool] = ContextVar("limited", default=False)


@contextmanager
def one_thread() -> Generator[None, None, None]:
    """Hold BLAS and OpenMP to one thread. Inside another one this costs nothing."""
    if _LIMITED.get():
        yield
        return
    token = _LIMITED.set(True)
    try:
        with libraries().limit(limits=1):
            yield
    finally:
        _LIMITED.reset(token)


@cache
def libraries() -> Any:
    """Return what limits the threads of this process's libraries; looked up once: that takes as long as a small fit."""
    # Loaded first: a library that comes later would not be limited.
    with quick_imports("sklearn.cluster"):
        import_module("scipy.linalg")
        import_module("sklearn.cluster")
    return import_module("threadpoolctl").ThreadpoolController()


def fit_seed(seed: int, strategy: str) -> int:
    """Return the seed of a strategy's fits: the same on every day, so that fits differ by what users did."""
    return int(digest([seed, strategy]), 16) % 2**31


def sample_rows(user_ids: pd.Series | np.ndarray, size: int, seed: int | str) -> np.ndarray:
    """Return positions of at most `size` users, those of smallest hash: the same users day after day, in row order.

    seed: key of the hash; a text has 16 letters.
    """
    if len(user_ids) <= size:
        return np.arange(len(user_ids))
    key = seed if isinstance(seed, str) else f"{seed:016d}"[-16:]
    # Without `categorize`, which gives the same hashes: looking for equal ids took four fifths of the time.
    hashes = pd.util.hash_array(np.asarray(user_ids, dtype=object), hash_key=key, categorize=False)
    edge = np.partition(hashes, size - 1)[size - 1]
    # Of users with the very hash at the edge, the first ones.
    return np.sort(np.concatenate([np.flatnonzero(hashes < edge), np.flatnonzero(hashes == edge)])[:size])


def draw_rows(count: int, size: int, seed: int | Sequence[int]) -> np.ndarray:
    """Return positions of at most `size` of `count` rows, drawn by chance without replacement, in ascending order."""
    if count <= size:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))


def rounded(values: Any) -> Any:
    """Return a JSON value with its numbers at 12 significant digits; everything else as it is."""
    if values is None or isinstance(values, bool | str | int):
        return values
    if isinstance(values, float | np.floating):
        return float(f"{float(cast(float, values)):.{SIGNIFICANT_DIGITS}g}") + 0.0
    if isinstance(values, np.integer):
        return int(cast(int, values))
    if isinstance(values, np.ndarray):
        return rounded(cast(Any, values).tolist())
    if isinstance(values, Mapping):
        return {str(k): rounded(v) for k, v in cast(Mapping[object, object], values).items()}
    return [rounded(v) for v in values]


def spreads(values: np.ndarray) -> np.ndarray:
    """Return standard deviations along the first axis, 0 where numbers are equal but for rounding (FLAT)."""
    reach = values.max(axis=0) - values.min(axis=0)
    flat = reach <= FLAT * np.maximum(1.0, np.abs(values).max(axis=0))
    return np.where(flat, 0.0, values.std(axis=0))


def reading_order(centroids: np.ndarray) -> np.ndarray:
    """Return an order of clusters free of chance: by the first column, greatest first, then the next column."""
    keys = np.round(centroids, 9)
    return np.lexsort(tuple(-keys[:, j] for j in range(keys.shape[1] - 1, -1, -1)))


def distinct_rows(X: np.ndarray) -> int:
    """Return the number of distinct rows, counted up to 1,000."""
    most, seen = 1000, set[bytes]()
    for start in range(0, len(X), most):
        for row in np.round(X[start : start + most], 9) + 0.0:
            seen.add(row.tobytes())
            if len(seen) >= most:
                return most
    return len(seen)
