"""Ward's hierarchical clustering (Ward 1963) of a sample, assigned by nearest mean.

The tree is cut at k. It is quadratic in rows, hence the sample. Row weights are not used: a tree of a sample has
none. The result depends on the sample only, not on random starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import distinct_rows
from seg_assets.segments.algorithms import Outcome, Parameter
from seg_assets.segments.algorithms.prototypes import Prototypes, means_of, subset

SELECTS_WITH = "kmeans"
# 4,000 rows: 64 MB of distances, about a second. The most: 10 GB.
MOST_ROWS = 50_000
PARAMETERS: dict[str, Parameter] = {"sample": Parameter(4000, int, 2, MOST_ROWS)}


@dataclass(frozen=True)
class WardFitted(Prototypes):
    """Means of the branches of a Ward tree."""

    ALGORITHM: ClassVar[str] = "ward"


FITTED = WardFitted


def fit(
    X: np.ndarray,
    k: int,
    *,
    seed: int,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    outcome: Outcome | None = None,
    parameters: Mapping[str, Any],
) -> WardFitted:
    """Means of the k branches."""
    rows = subset(X, int(parameters["sample"]), seed)
    return WardFitted.of(means_of(rows, ward_labels(rows, min(k, distinct_rows(rows)))))


def ward_labels(rows: np.ndarray, k: int) -> np.ndarray:
    """(n,) branch 0..k-1 of each row."""
    from scipy.cluster.hierarchy import fcluster, ward

    if len(rows) < 2 or k < 2:
        return np.zeros(len(rows), dtype=int)
    return fcluster(ward(rows), k, criterion="maxclust") - 1
