"""HDBSCAN (Campello, Moulavi and Sander 2013) of a sample; who is far from every dense region is an outlier.

Each cluster becomes a prototype, its mean, with the radius within which most of its members lie. A user belongs to
the nearest prototype when inside its radius, and carries the rule segment `outlier` otherwise.

Not here: how a nearest prototype scores and explains (`prototypes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seg_assets.segments.algorithms.base import Algorithm, Parameter
from seg_assets.segments.algorithms.prototypes import Prototypes, means_of, subset


@dataclass(frozen=True)
class DensityFitted(Prototypes):
    """Means of dense regions, each with a radius."""

    ALGORITHM: ClassVar[str] = "density"


class Density(Algorithm):
    """HDBSCAN of a sample.

    member_share: share of the sample that a dense region must hold.
    radius_quantile: share of a region's members that lie inside its radius.
    """

    name = "density"
    fitted = DensityFitted
    chooses_k = True
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "sample": Parameter(4000, int, 2, 1_000_000),
        "member_share": Parameter(0.03, float, 0, 0.5),
        "neighbours": Parameter(10, int, 1, 1000),
        "radius_quantile": Parameter(0.99, float, 0, 1),
    }

    def fit(self, X: np.ndarray, k: int, *, seed: int, parameters: Mapping[str, Any], **unused: Any) -> DensityFitted:
        """Find at most k dense regions: with more, regions must hold half as much again until k are left.

        Without any dense region, everyone is one region.
        """
        from sklearn.cluster import HDBSCAN

        rows = subset(X, int(parameters["sample"]), seed)
        least = max(2, round(float(parameters["member_share"]) * len(rows)))
        neighbours = max(1, min(int(parameters["neighbours"]), least, len(rows) - 1))
        labels = np.full(len(rows), -1)
        while len(rows) >= 4 and least <= len(rows) // 2:
            labels = HDBSCAN(min_cluster_size=least, min_samples=neighbours, copy=True).fit(rows).labels_
            if labels.max() < k:
                break
            least = max(least + 1, int(least * 1.5))
        if labels.max() < 0 or labels.max() >= k:
            labels = np.zeros(len(rows), dtype=int)
        inside = labels >= 0
        C = means_of(rows[inside], labels[inside])
        own = ((rows[inside] - C[labels[inside]]) ** 2).sum(axis=1)
        quantile = float(parameters["radius_quantile"])
        radius = np.array([np.quantile(own[labels[inside] == j], quantile) for j in range(len(C))])
        return DensityFitted.of(C, radius)
