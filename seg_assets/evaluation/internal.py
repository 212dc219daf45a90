"""Measure the internal quality of one day's segments: how compact, separate, balanced and steady they are.

Conventions: `X` is (n, d) in the model's space, `labels` is (n,) with 0..k-1, one row per user in a cluster.
A function returns NaN where a number has no meaning (one segment, no users), never an invented zero.

Not here: whether a segmentation is any good out of time (`evaluation.validity`), whether it is real
(`evaluation.null`), and reading the lake (`evaluation.daily`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from seg_assets.segments.algorithms.prototypes import by_columns

# The silhouette needs all pairs of users. For 5,000 users they take 0.1 s, and its sampling error is about .002, small
# enough to see a day's change; for 92 thousand users they took 81 CPU seconds.
SILHOUETTE_SAMPLE = 5_000
# Rows per block of a distance matrix: 500 x 5,000 doubles are 20 MB.
BLOCK = 500
# Rows of a block that are worked on together: 16 x 5,000 doubles are 640 kB, a third of a core's second-level cache.
IN_CACHE = 16


@dataclass(frozen=True)
class Silhouette:
    """Mean silhouette (Rousseeuw 1987) of a seeded sample, in [-1, 1].

    `sd` is the standard error of the mean over the sampled users; 0 sampling error when all users were taken.
    """

    value: float
    sd: float
    sample: int
    by_segment: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Separation:
    """Indices that are cheap to compute on all users."""

    simplified_silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    explained_share: float
    representativeness: float
    by_segment: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


def silhouette(X: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None) -> Silhouette:
    """Measure the silhouette of the users at `rows` (default: all), with its standard error and the mean per label.

    Args:
        X: (n, d) model space.
        labels: (n,) integers.
        rows: positions of the sample; distances are taken inside the sample.
    """
    population = len(X)
    if rows is not None:
        X, labels = X[rows], labels[rows]
    names, codes = np.unique(labels, return_inverse=True)
    n, k = len(X), len(names)
    if k < 2 or n <= k:
        return Silhouette(math.nan, math.nan, n)
    sizes = np.bincount(codes, minlength=k).astype(float)
    member = np.zeros((n, k))
    member[np.arange(n), codes] = 1.0
    X = X - X.mean(axis=0)
    squares = np.einsum("ij,ij->i", X, X)
    # Summed distances of each user to each segment. A pair of blocks is measured once, and serves both sides. One
    # buffer holds every block; what is done to each number is done while a few rows of it are in the cache.
    total = np.zeros((n, k))
    buffer = np.empty(min(BLOCK, n) * n)
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        distance = buffer[: (high - low) * (n - low)].reshape(high - low, n - low)
        np.matmul(-2.0 * X[low:high], X[low:].T, out=distance)
        for start in range(0, high - low, IN_CACHE):
            rows = distance[start : start + IN_CACHE]
            rows += squares[low + start : low + start + len(rows), None]
            rows += squares[low:]
            np.maximum(rows, 0.0, out=rows)
            np.sqrt(rows, out=rows)
        np.fill_diagonal(distance[:, : high - low], 0.0)
        total[low:high] += distance @ member[low:]
        total[high:] += distance[:, high - low :].T @ member[low:high]
    each = np.arange(n)
    inside = total[each, codes] / np.maximum(sizes[codes] - 1.0, 1.0)
    means = total / sizes
    means[each, codes] = np.inf
    outside = means.min(axis=1)
    top = np.maximum(inside, outside)
    score = np.where(top > 0, (outside - inside) / np.where(top > 0, top, 1.0), 0.0)
    # A segment of one has no inside: Rousseeuw sets it to 0.
    values = np.where(sizes[codes] > 1, score, 0.0)
    sums = np.bincount(codes, weights=values, minlength=k)
    error = 0.0 if n == population else float(values.std(ddof=1) / math.sqrt(n))
    return Silhouette(
        float(values.mean()), error, n, {int(name): float(sums[i] / sizes[i]) for i, name in enumerate(names)}
    )


def separation(X: np.ndarray, labels: np.ndarray) -> Separation:
    """Centroid-based indices on all users.

    Simplified silhouette (Hruschka 2004), Davies-Bouldin (1979, smaller is better), Calinski-Harabasz (1974, larger is
    better), the explained share of the variance (1 - within / total), and representativeness: 1 - mean squared distance
    of members to their own centroid / mean squared distance of everybody to that centroid; 1 when members equal
    their centroid, 0 when the centroid describes its members no better than anyone.
    """
    names, codes = np.unique(labels, return_inverse=True)
    n, k = len(X), len(names)
    if n == 0:
        return Separation(*[math.nan] * 5)
    sizes = np.bincount(codes, minlength=k).astype(float)
    centre = X.mean(axis=0)
    sums = [np.bincount(codes, weights=column, minlength=k) for column in by_columns(X)]
    centroids = np.stack(sums, axis=1) / sizes[:, None]
    own_squared = np.empty(n)
    simple = np.empty(n)
    squares = np.einsum("ij,ij->i", centroids, centroids)
    for low in range(0, n, 100_000):
        block = slice(low, low + 100_000)
        part, own = X[block], codes[block]
        gap = part - centroids[own]
        own_squared[block] = np.einsum("ij,ij->i", gap, gap)
        if k > 1:
            others = squares[None, :] - 2.0 * (part @ centroids.T) + np.einsum("ij,ij->i", part, part)[:, None]
            others[np.arange(len(part)), own] = np.inf
            inside = np.sqrt(own_squared[block])
            outside = np.sqrt(np.maximum(others.min(axis=1), 0.0))
            top = np.maximum(inside, outside)
            simple[block] = np.where(top > 0, (outside - inside) / np.where(top > 0, top, 1.0), 0.0)
    within = float(own_squared.sum())
    shift = centroids - centre
    from_centre = np.einsum("ij,ij->i", shift, shift)
    between = float((sizes * from_centre).sum())
    total = within + between
    members = np.bincount(codes, weights=own_squared, minlength=k) / sizes
    everybody = total / n + from_centre
    close = np.where(everybody > 0, 1.0 - members / np.where(everybody > 0, everybody, 1.0), np.nan)
    spread = np.bincount(codes, weights=np.sqrt(own_squared), minlength=k) / sizes
    by_segment = {
        int(name): {"representativeness": float(close[i]), "mean_distance": float(spread[i])}
        for i, name in enumerate(names)
    }
    whole = float((close * sizes).sum() / n)
    explained = between / total if total > 0 else math.nan
    if k < 2 or n <= k or total == 0:
        return Separation(math.nan, math.nan, math.nan, explained, whole, by_segment)
    apart = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2.0 * centroids @ centroids.T, 0.0))
    np.fill_diagonal(apart, np.inf)
    worst = ((spread[:, None] + spread[None, :]) / np.where(apart > 0, apart, np.nan)).max(axis=1)
    calinski = (between / (k - 1)) / (within / (n - k)) if within > 0 else math.nan
    return Separation(float(simple.mean()), float(worst.mean()), calinski, explained, whole, by_segment)


def balance(sizes: Sequence[int]) -> float:
    """Return the entropy of the segment sizes over its maximum: 1 when all are equal, 0 when one holds everybody."""
    counts = np.asarray([s for s in sizes if s > 0], dtype=float)
    if len(sizes) < 2 or counts.sum() == 0:
        return math.nan
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(sizes))) + 0.0


def adjusted_rand_index(table: np.ndarray) -> float:
    """Return the adjusted Rand index (Hubert and Arabie 1985) of a contingency table of two labellings.

    1: the same partition; 0: as alike as by chance; NaN without users. Counted in Python integers, so exact.
    """
    counts = np.asarray(table, dtype=np.int64)
    n = int(counts.sum())
    if n == 0:
        return math.nan

    def pairs(values: np.ndarray) -> int:
        return sum(int(v) * (int(v) - 1) // 2 for v in values.ravel())

    both, first, second = pairs(counts), pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    every = n * (n - 1) // 2
    if every == 0 or first * second == every * every or first == second == 0:
        return 1.0
    chance = first * second / every
    top = (first + second) / 2
    return 1.0 if top == chance else float((both - chance) / (top - chance))


def moved_share(table: Mapping[tuple[str, str], int]) -> tuple[float, int, int]:
    """Return (share, moved, both): of the users on both days, those whose segment differs. NaN without such users."""
    both = sum(table.values())
    moved = sum(count for (old, new), count in table.items() if old != new)
    return (moved / both if both else math.nan), moved, both


def labels_table(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the contingency table of two integer labellings of the same rows."""
    a, b = np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1]
    if len(a) == 0:
        return np.zeros((0, 0), dtype=np.int64)
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    return np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns)
