"""Consensus of many clusterings by co-association (Fred and Jain 2005), so that no single run decides.

Members are k-means and Ward fits of bootstrap samples, each with k to k + 3 clusters. Two users are near when
members put them together often. The squared distance between their rows of membership indicators is exactly twice
the number of members that part them, so k-means on those rows clusters the co-association matrix without building it
(Wu et al. 2015). The consensus groups' means are the prototypes.

Not here: the members' own fits (`kmeans`, `ward`), and how a nearest mean scores and explains (`prototypes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import distinct_rows
from seg_assets.segments.algorithms.base import Algorithm, Parameter
from seg_assets.segments.algorithms.kmeans import KMeans, centroids_of
from seg_assets.segments.algorithms.prototypes import Prototypes, means_of, subset
from seg_assets.segments.algorithms.ward import MOST_ROWS, ward_labels


@dataclass(frozen=True)
class EnsembleFitted(Prototypes):
    """Means of the consensus groups."""

    ALGORITHM: ClassVar[str] = "ensemble"


class Ensemble(Algorithm):
    """The consensus of `members` fits, each of `bootstrap` rows."""

    name = "ensemble"
    fitted = EnsembleFitted
    selects_with = "kmeans"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "sample": Parameter(4000, int, 2, 1_000_000),
        "members": Parameter(20, int, 1, 1000),
        "bootstrap": Parameter(1500, int, 2, MOST_ROWS),
        **KMeans.parameters,
    }

    def fit(self, X: np.ndarray, k: int, *, seed: int, parameters: Mapping[str, Any], **unused: Any) -> EnsembleFitted:
        """Take the means of the consensus groups. No start and no row weights: members must differ by chance."""
        rows = subset(X, int(parameters["sample"]), seed)
        k = min(k, distinct_rows(rows))
        rng = np.random.default_rng(seed)
        size = min(int(parameters["bootstrap"]), len(rows))
        memberships = []
        for member in range(int(parameters["members"])):
            drawn = rows[rng.integers(0, len(rows), size)]
            clusters = min(k + int(rng.integers(0, 4)), distinct_rows(drawn))
            if member % 2:
                C = means_of(drawn, ward_labels(drawn, clusters))
            else:
                C = centroids_of(drawn, clusters, int(rng.integers(2**31)), {"starts": 1, "iterations": 100})
            nearest = Prototypes(C).scores(rows).argmin(axis=1)
            memberships.append(nearest[:, None] == np.arange(len(C))[None, :])
        indicators = np.concatenate(memberships, axis=1).astype(np.float64)
        centers = centroids_of(indicators, k, seed, parameters)
        labels = Prototypes(centers).scores(indicators).argmin(axis=1)
        return EnsembleFitted.of(means_of(rows, labels))
