"""Mini-batch k-means (Sculley 2010): k-means for fits on all users. About 1 % worse than k-means on a sample.

Measured at 1 million x 16, k = 10: five times the cost of one full k-means fit and 1.4 % more inertia. Take it when
samples are not wanted; otherwise `kmeans`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import distinct_rows
from seg_assets.segments.algorithms import Outcome, Parameter
from seg_assets.segments.algorithms.prototypes import Prototypes

STARTS_WARM = True
SELECTS_WITH = "kmeans"
PARAMETERS: dict[str, Parameter] = {
    "starts": Parameter(5, int, 1, 1000),
    "batch": Parameter(4096, int, 1, 1_000_000),
    "iterations": Parameter(100, int, 1, 100_000),
}


@dataclass(frozen=True)
class MiniBatchFitted(Prototypes):
    """Centroids of mini-batch k-means."""

    ALGORITHM: ClassVar[str] = "minibatch"


FITTED = MiniBatchFitted


def fit(
    X: np.ndarray,
    k: int,
    *,
    seed: int,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    outcome: Outcome | None = None,
    parameters: Mapping[str, Any],
) -> MiniBatchFitted:
    """Centroids of the best of `starts` runs, or of one run from `start`."""
    from sklearn.cluster import MiniBatchKMeans

    k = min(k, distinct_rows(X))
    warm = start is not None and len(start) == k
    model = MiniBatchKMeans(
        n_clusters=k,
        init=np.asarray(start, dtype=np.float64) if warm else "k-means++",
        n_init=1 if warm else int(parameters["starts"]),
        batch_size=int(parameters["batch"]),
        max_iter=int(parameters["iterations"]),
        random_state=seed,
    )
    return MiniBatchFitted.of(model.fit(X, sample_weight=weights).cluster_centers_)
