"""Would the same segments be found in another sample of the same users? Bootstrap Jaccard and ARI.

Hennig (2007), "Cluster-wise assessment of cluster stability": cluster a bootstrap sample, take for each segment the
most similar of the new ones (Jaccard over the users drawn), average over replications. A segment under 0.6 is not to
be trusted, whatever its silhouette. A fit measures it once and keeps it with the model, so that every later room reads
the same number.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_assets.core.numerics import one_thread
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.strategy import Strategy

STABILITY_SAMPLE = 4_000
# Jaccard means over 20 replications have a standard error of about .03 near the bands' edges.
REPLICATIONS = 20
# Random starts of the refits; ten cost three times as much and moved no verdict.
REFIT_STARTS = 3
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


def measure(
    strategy: Strategy,
    fitted: Fitted,
    X: np.ndarray,
    seed: int,
    outcome: Outcome | None = None,
    replications: int = REPLICATIONS,
) -> Stability:
    """Stability of a clustering on rows of its model space, refitted with its own algorithm on resamples.

    Rows that it calls outliers take no part. What a guided algorithm learned from is drawn again too.

    Args:
        strategy: its parameters, when it still asks for the algorithm of `fitted`.
        fitted: the clustering.
        X: (n, d) sample of the clustered users.
        seed: of draws and fits.
        outcome: of outcome-guided algorithms, with its X.
        replications: how many bootstrap samples; 0: not measured.
    """
    if replications < 1:
        return Stability({}, math.nan, 0, "not measured")
    # The clustering's own: the YAML may ask for another algorithm since, and a champion stays until it is beaten.
    own = fitted.ALGORITHM
    parameters = quick(own, dict(strategy.parameters) if own == strategy.algorithm else {})

    def fit_assign(drawn: np.ndarray, k: int, its_seed: int, everyone: np.ndarray, positions: np.ndarray) -> np.ndarray:
        again = None
        if outcome is not None:
            rows = np.random.default_rng([its_seed, 11]).integers(len(outcome.frame), size=len(outcome.frame))
            again = outcome.take(rows)
        other = algorithms.fit(own, drawn, k, seed=its_seed, outcome=again, parameters=parameters)
        return other.scores(everyone).argmin(axis=1)

    scores = fitted.scores(X)
    inside = ~fitted.outliers(X, scores)
    labels = scores.argmin(axis=1)[inside]
    k = fitted.n_clusters
    return bootstrap_stability(X[inside], labels, k, fit_assign, seed=seed, replications=replications)


def quick(algorithm: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters with a few random starts: in a sample of thousands the best of three is as good."""
    known = algorithms.module_of(algorithm).PARAMETERS
    if "starts" not in known:
        return parameters
    return {**parameters, "starts": min(int(parameters.get("starts", known["starts"].default)), REFIT_STARTS)}


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
    with one_thread():
        return _replicate(X, names, np.searchsorted(names, labels), k, fit_assign, seed, replications)


def _replicate(
    X: np.ndarray, names: np.ndarray, codes: np.ndarray, k: int, fit_assign: FitAssign, seed: int, replications: int
) -> Stability:
    from sklearn.metrics import adjusted_rand_score

    n = len(X)
    sums = np.zeros(len(names))
    counts = np.zeros(len(names))
    agreement = []
    for replication in range(replications):
        rng = np.random.default_rng([seed, 7, replication])
        drawn = rng.integers(n, size=n)
        found = fit_assign(X[drawn], k, int(rng.integers(2**31)), X, drawn)
        agreement.append(float(adjusted_rand_score(codes, found)))
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
