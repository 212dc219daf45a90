"""Ward's hierarchical clustering (Ward 1963) of a sample, assigned by nearest mean.

The tree is cut at k. It is quadratic in rows, hence the sample. Row weights are not used: a tree of a sample has
none. The result depends on the sample only, not on random starts.

Not here: how a nearest mean scores and explains (`prototypes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import distinct_rows
from seg_assets.segments.algorithms.base import Algorithm, Parameter
from seg_assets.segments.algorithms.prototypes import Prototypes, means_of, subset

# 4,000 rows: 64 MB of distances, about a second. The most: 10 GB.
MOST_ROWS = 50_000


@dataclass(frozen=True)
class WardFitted(Prototypes):
    """Means of the branches of a Ward tree."""

    ALGORITHM: ClassVar[str] = "ward"


class Ward(Algorithm):
    """A Ward tree of a sample, cut at k."""

    name = "ward"
    fitted = WardFitted
    selects_with = "kmeans"
    parameters: ClassVar[Mapping[str, Parameter]] = {"sample": Parameter(4000, int, 2, MOST_ROWS)}

    def fit(self, X: np.ndarray, k: int, *, seed: int, parameters: Mapping[str, Any], **unused: Any) -> WardFitted:
        """Take the means of the k branches."""
        rows = subset(X, int(parameters["sample"]), seed)
        return WardFitted.of(means_of(rows, ward_labels(rows, min(k, distinct_rows(rows)))))


def ward_labels(rows: np.ndarray, k: int) -> np.ndarray:
    """Return the (n,) branch 0..k-1 of each row."""
    from scipy.cluster.hierarchy import fcluster, ward

    if len(rows) < 2 or k < 2:
        return np.zeros(len(rows), dtype=int)
    return fcluster(ward(rows), k, criterion="maxclust") - 1
