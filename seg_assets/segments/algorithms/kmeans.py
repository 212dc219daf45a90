"""k-means (Lloyd 1982; k-means++ starts, Arthur and Vassilvitskii 2007) on the rows it is given.

The caller draws the sample: 10 starts on 20,000 rows, then three Lloyd steps over all rows, come within 0.02 % of
the best full fit at a sixth of the cost of one (measured at 1 million x 16, k = 10).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seg_assets.segments.algorithms import Outcome, distinct_rows
from seg_assets.segments.algorithms.prototypes import Prototypes, lloyd

STARTS_WARM = True
PARAMETERS: dict[str, Any] = {"starts": 10, "iterations": 300}


@dataclass(frozen=True)
class KMeansFitted(Prototypes):
    """Centroids of k-means."""

    ALGORITHM: ClassVar[str] = "kmeans"


FITTED = KMeansFitted


def fit(
    X: np.ndarray,
    k: int,
    *,
    seed: int,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    outcome: Outcome | None = None,
    parameters: Mapping[str, Any],
) -> KMeansFitted:
    """Centroids of the best of `starts` runs, or of one run from `start`."""
    return KMeansFitted.of(centroids_of(X, k, seed, parameters, weights, start))


def centroids_of(
    X: np.ndarray,
    k: int,
    seed: int,
    parameters: Mapping[str, Any],
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(k, d) centroids. float64: float32 is twice as fast and moves centroids in the sixth digit."""
    from sklearn.cluster import KMeans

    k = min(k, distinct_rows(X))
    warm = start is not None and len(start) == k
    model = KMeans(
        n_clusters=k,
        init=np.asarray(start, dtype=np.float64) if warm else "k-means++",
        n_init=1 if warm else int(parameters["starts"]),
        max_iter=int(parameters["iterations"]),
        random_state=seed,
    )
    return model.fit(X, sample_weight=weights).cluster_centers_


def refine(X: np.ndarray, fitted: Prototypes, steps: int) -> KMeansFitted:
    """`steps` Lloyd steps over all rows, from the centroids of a sample."""
    return KMeansFitted.of(lloyd(X, fitted.centroids, steps))
