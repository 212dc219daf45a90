"""Would the same segments be found in another sample of the same users? Bootstrap Jaccard and ARI.

Hennig (2007), "Cluster-wise assessment of cluster stability": cluster a bootstrap sample, take for each segment the
most similar of the new ones (Jaccard over the users drawn), average over replications. A segment under 0.6 is not to
be trusted, whatever its silhouette.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_assets.evaluation.internal import adjusted_rand_index, labels_table

STABILITY_SAMPLE = 4_000
# Jaccard means over 20 replications have a standard error of about .03 near the bands' edges.
REPLICATIONS = 20
TRUSTED = 0.6
# Hennig (2007), section 3: lower edge and name of each band.
BANDS = ((0.85, "highly stable"), (0.75, "valid"), (TRUSTED, "doubtful"), (-math.inf, "untrusted"))

# (X drawn, k, seed, X to label, positions drawn) -> labels of the third argument: fit on one, assign the other.
FitAssign = Callable[[np.ndarray, int, int, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stability:
    """Mean Jaccard per label, the mean ARI, and how many replications they rest on."""

    jaccard: dict[int, float]
    ari: float
    replications: int
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {
            "jaccard": {str(label): value for label, value in self.jaccard.items()},
            "ari": None if math.isnan(self.ari) else self.ari,
            "replications": self.replications,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "Stability":
        """From JSON."""
        return cls(
            {int(label): value for label, value in document["jaccard"].items()},
            math.nan if document["ari"] is None else document["ari"],
            document["replications"],
            document["reason"],
        )


def band(jaccard: float | None) -> str:
    """Hennig's word for a Jaccard mean; 'not tested' without one."""
    if jaccard is None or math.isnan(jaccard):
        return "not tested"
    return next(name for edge, name in BANDS if jaccard >= edge)


def bootstrap_stability(
    X: np.ndarray, labels: np.ndarray, k: int, fit_assign: FitAssign, *, seed: int, replications: int = REPLICATIONS
) -> Stability:
    """Jaccard per segment and ARI over bootstrap samples of `X`.

    Args:
        X: (n, d) sample in model space.
        labels: (n,) the champion's labels of it.
        k: segments asked of each refit.
        fit_assign: fits on the drawn rows and labels all rows.
        seed: of the draws and fits.
        replications: how many bootstrap samples.
    """
    names = np.unique(labels)
    n = len(X)
    if len(names) < 2 or k < 2:
        return Stability({}, math.nan, 0, "fewer than two segments")
    if n < 10 * k:
        return Stability({}, math.nan, 0, f"{n} users are too few for {k} segments (ten per segment are needed)")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _replicate(X, names, np.searchsorted(names, labels), k, fit_assign, seed, replications)


def _replicate(
    X: np.ndarray, names: np.ndarray, codes: np.ndarray, k: int, fit_assign: FitAssign, seed: int, replications: int
) -> Stability:
    n = len(X)
    sums = np.zeros(len(names))
    counts = np.zeros(len(names))
    agreement = []
    for replication in range(replications):
        rng = np.random.default_rng([seed, 7, replication])
        drawn = rng.integers(n, size=n)
        found = fit_assign(X[drawn], k, int(rng.integers(2**31)), X, drawn)
        agreement.append(adjusted_rand_index(labels_table(codes, found)))
        unique = np.unique(drawn)
        table = np.zeros((len(names), int(found.max()) + 1))
        np.add.at(table, (codes[unique], found[unique]), 1.0)
        sizes, others = table.sum(axis=1), table.sum(axis=0)
        union = sizes[:, None] + others[None, :] - table
        best = np.where(union > 0, table / np.where(union > 0, union, 1.0), 0.0).max(axis=1)
        present = sizes > 0
        sums[present] += best[present]
        counts += present
    jaccard = {int(name): float(sums[i] / counts[i]) for i, name in enumerate(names) if counts[i]}
    return Stability(jaccard, float(np.mean(agreement)), replications)
