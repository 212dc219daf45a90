"""Measure how compact and how far apart groups are, on rows of a model space with labels. Pure numpy.

Two ways stand beside each other on purpose. A choice of k compares numbers on a few thousand rows, and needs the error
of each: `silhouettes`, `separation_with_errors`, `within`. An evaluation of a day tells how all of its users lie:
`silhouette`, `separation`. Numbers of either are stored, so that neither may be computed the other's way.

Conventions: `X` is (n, d), `labels` is (n,). A number without meaning (one group, no rows) is NaN, never a made-up 0.

Not here: which k follows from them (`choosing`), indices of a day's sizes and moves (`evaluation.internal`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seg_assets.core.numerics import FLAT, rounded
from seg_assets.segments.algorithms.prototypes import by_columns

# Groups of the delete-a-group jackknife (Kott 2001).
JACKKNIFE_GROUPS = 20
# Share of a sum of squares below which the rest of a subtraction is its rounding: some n x 1e-16.
ROUNDING = 1e-12
# Rows per block of a distance matrix: 500 x 5,000 doubles are 20 MB.
BLOCK = 500
# Rows of a block that are worked on together: 16 x 5,000 doubles are 640 kB, a third of a core's second-level cache.
IN_CACHE = 16


def within(X: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared distance to the mean of one's label: comparable between algorithms."""
    total = 0.0
    for j in np.unique(labels):
        rows = X[labels == j]
        total += float(((rows - rows.mean(axis=0)) ** 2).sum())
    return float(rounded(total / max(len(X), 1)))


def adjusted_rand(labels: np.ndarray, others: np.ndarray) -> float:
    """Return scikit-learn's adjusted Rand index (Hubert and Arabie 1985) of two labelings of the same rows."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(labels, others))


# ---- on a sample, with errors ----------------------------------------------------------------------------------


def pairwise(rows: np.ndarray) -> np.ndarray:
    """Return (n, n) Euclidean distances, float32 (64 MB at 4,000 rows); one thread, no BLAS."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(rows).astype(np.float32))


def silhouettes(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (n,) silhouettes (Rousseeuw 1987) from a distance matrix; 0 with one group; a lone row counts 0."""
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        return np.zeros(len(labels))
    sums = np.column_stack([distances[:, codes == j].sum(axis=1, dtype=np.float64) for j in range(len(names))])
    return _silhouettes_of(sums, codes)


def _silhouettes_of(sums: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return (n,) silhouettes from (n, k) summed distances of each row to the rows of each group."""
    rows, sizes = np.arange(len(codes)), np.bincount(codes)
    inside = sums[rows, codes] / np.maximum(sizes[codes] - 1, 1)
    means = sums / sizes
    means[rows, codes] = np.inf
    outside = means.min(axis=1)
    widest = np.maximum(inside, outside)
    # A group of one has no inside: Rousseeuw sets it to 0.
    return np.where((widest > 0) & (sizes[codes] > 1), (outside - inside) / np.where(widest > 0, widest, 1.0), 0.0)


def separation_with_errors(X: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return Calinski and Harabasz (1974), Davies and Bouldin (1979), each with a delete-a-group jackknife error.

    NaN where an index or its error cannot be told: users of one kind leave nothing to divide by, and of five users no
    two groups can be left out.
    """
    names, codes = np.unique(labels, return_inverse=True)
    k, n = len(names), len(X)
    if k < 2 or n <= k:
        nothing = (float("nan"), float("nan"))
        return {"calinski_harabasz": nothing, "davies_bouldin": nothing}
    groups = min(JACKKNIFE_GROUPS, n)
    cell = (np.arange(n) % groups) * k + codes
    X = X - X.mean(axis=0)
    centers = np.array([X[codes == j].mean(axis=0) for j in range(k)])
    to_center = np.sqrt(((X - centers[codes]) ** 2).sum(axis=1))

    def summed(column: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=column, minlength=groups * k).reshape(groups, k)

    parts = (
        summed(np.ones(n)),
        np.stack([summed(X[:, j]) for j in range(X.shape[1])], axis=2),
        summed((X**2).sum(axis=1)),
        summed(to_center),
    )
    whole = _separation_of(*(part.sum(axis=0) for part in parts))
    without = np.array([_separation_of(*(part.sum(axis=0) - part[g] for part in parts)) for g in range(groups)])
    harabasz, bouldin = ((whole[i], _jackknife_error(without[:, i])) for i in (0, 1))
    return {"calinski_harabasz": harabasz, "davies_bouldin": bouldin}


def _separation_of(
    count: np.ndarray, sums: np.ndarray, squares: np.ndarray, distances: np.ndarray
) -> tuple[float, float]:
    """Return Calinski-Harabasz and Davies-Bouldin from what is summed up by group.

    Args:
        count: (k,) rows.
        sums: (k, d) summed rows.
        squares: (k,) summed squared lengths.
        distances: (k,) summed distances to the group's centre.
    """
    if (count <= 0).any():
        return float("nan"), float("nan")
    n, k = count.sum(), len(count)
    means = sums / count[:, None]
    middle = sums.sum(axis=0) / n
    between = float((count * ((means - middle) ** 2).sum(axis=1)).sum())
    inside = float(squares.sum() - (count * (means**2).sum(axis=1)).sum())
    scatter = distances / count
    apart = np.sqrt(((means[:, None, :] - means[None, :, :]) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    ratios = np.where(apart > 0, (scatter[:, None] + scatter[None, :]) / np.where(apart > 0, apart, 1.0), np.inf)
    bouldin = float(ratios.max(axis=1).mean())
    scattered = n > k and inside > ROUNDING * float(squares.sum())
    harabasz = float(between / (k - 1) / (inside / (n - k))) if scattered else float("nan")
    return harabasz, bouldin


def _jackknife_error(without: np.ndarray) -> float:
    """Return the standard error from replicates, those that are NaN left out; NaN from fewer than two."""
    known = without[np.isfinite(without)]
    if len(known) < 2:
        return float("nan")
    return float(np.sqrt((len(known) - 1) / len(known) * ((known - known.mean()) ** 2).sum()))


# ---- of a whole day --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Silhouette:
    """Mean silhouette (Rousseeuw 1987) of a seeded sample, in [-1, 1].

    sd: the standard error of the mean over the sampled users; 0 when all users were taken.
    """

    value: float
    sd: float
    sample: int
    by_segment: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Separation:
    """Indices that are cheap on all users."""

    simplified_silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    explained_share: float
    representativeness: float
    by_segment: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


def silhouette(X: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None) -> Silhouette:
    """Return the silhouette of the users at `rows` (default: all), with its standard error and the mean per label.

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
    if _alike(X):
        return Silhouette(math.nan, math.nan, n)
    values = _silhouettes_of(_summed_distances(X - X.mean(axis=0), codes, k), codes)
    sums, sizes = np.bincount(codes, weights=values, minlength=k), np.bincount(codes, minlength=k)
    error = 0.0 if n == population else float(values.std(ddof=1) / math.sqrt(n))
    return Silhouette(
        float(values.mean()), error, n, {int(name): float(sums[i] / sizes[i]) for i, name in enumerate(names)}
    )


def _alike(X: np.ndarray) -> bool:
    """Tell whether no row differs from another but by rounding, so that there is no distance to measure."""
    apart = X - X[:1]
    return float(np.einsum("ij,ij->", apart, apart)) <= FLAT**2 * float(np.einsum("ij,ij->", X, X))


def _summed_distances(X: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Return (n, k) summed distances of each row to the rows of each group.

    A pair of blocks is measured once, and serves both sides. One buffer holds every block; what is done to each number
    is done while a few rows of it are in the cache.
    """
    n = len(X)
    member = np.zeros((n, k))
    member[np.arange(n), codes] = 1.0
    squares = np.einsum("ij,ij->i", X, X)
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
    return total


def separation(X: np.ndarray, labels: np.ndarray) -> Separation:
    """Return centroid-based indices on all users.

    Simplified silhouette (Hruschka 2004), Davies-Bouldin (1979, smaller is better), Calinski-Harabasz (1974, larger is
    better), the explained share of the variance (1 - within / total), and representativeness: 1 - mean squared distance
    of members to their own centroid / mean squared distance of everybody to that centroid; 1 when members equal
    their centroid, 0 when the centroid describes its members no better than anyone.
    """
    names, codes = np.unique(labels, return_inverse=True)
    n, k = len(X), len(names)
    if n == 0 or _alike(X):
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
    calinski = (between / (k - 1)) / (within / (n - k)) if within > ROUNDING * total else math.nan
    return Separation(float(simple.mean()), float(worst.mean()), calinski, explained, whole, by_segment)
