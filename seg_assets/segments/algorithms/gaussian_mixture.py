"""Gaussian mixture with diagonal covariances (EM: Dempster, Laird and Rubin 1977): soft membership as confidence.

The score of a component is -log(weight x density) less a constant of the model, so that it is never negative. It is
a sum over columns, hence exact contributions. Differences of scores are log odds.

Not here: clusters as points, without a spread of their own (`prototypes`).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from seg_assets.core.numerics import distinct_rows, reading_order, rounded
from seg_assets.segments.algorithms.base import Algorithm, Fitted, Parameter

# Rows scored at once.
CHUNK = 8192


@dataclass(frozen=True)
class MixtureFitted(Fitted):
    """Components: weights (k,), means (k, d), variances (k, d)."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    ALGORITHM: ClassVar[str] = "gaussian_mixture"

    @property
    def n_clusters(self) -> int:
        """Number of components."""
        return len(self.weights)

    def _intercepts(self) -> np.ndarray:
        """Return (k,) what the score of each component adds to its sum over columns, the least of them 0."""
        base = 0.5 * np.log(self.variances).sum(axis=1) - np.log(self.weights)
        return base - base.min()

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return (n, k) -log joint density, shifted to be at least 0."""
        X = np.asarray(X, dtype=np.float64)
        out = np.empty((len(X), self.n_clusters))
        base = self._intercepts()
        for start in range(0, len(X), CHUNK):
            rows = X[start : start + CHUNK]
            for j in range(self.n_clusters):
                gap = rows - self.means[j]
                out[start : start + CHUNK, j] = base[j] + (gap * gap / (2 * self.variances[j])).sum(axis=1)
        return out

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (n, d + 1): per column the change of its term, log variance included; intercept: the log weights."""
        X = np.asarray(X, dtype=np.float64)
        a, b = np.broadcast_to(a, len(X)), np.broadcast_to(b, len(X))
        out = np.empty((len(X), X.shape[1] + 1))
        out[:, :-1] = self._terms(X, b) - self._terms(X, a)
        out[:, -1] = np.log(self.weights[a]) - np.log(self.weights[b])
        return out

    def _terms(self, X: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return (n, d): what each column adds to the score of the component `which` of each row."""
        variances = self.variances[which]
        return (X - self.means[which]) ** 2 / (2 * variances) + 0.5 * np.log(variances)

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the posterior probability of the nearest component."""
        return 1.0 / np.exp(scores.min(axis=1, keepdims=True) - scores).sum(axis=1)

    def beats(
        self, home: np.ndarray, best: np.ndarray, at_home: np.ndarray, at_best: np.ndarray, margin: float
    ) -> np.ndarray:
        """Tell where density(home) < (1 - margin) density(best): scores are negative log densities."""
        return at_home - at_best > -np.log1p(-margin)

    def without(self, cluster: int) -> Self | None:
        """Return the components less one, weights brought to a sum of 1 again."""
        if self.n_clusters < 2:
            return None
        keep = np.arange(self.n_clusters) != cluster
        weights = np.array(rounded(self.weights[keep] / self.weights[keep].sum()))
        return type(self)(weights, self.means[keep], self.variances[keep])

    def to_dict(self) -> dict[str, Any]:
        """Return weights, means, variances."""
        return {
            "weights": self.weights.tolist(),
            "means": self.means.tolist(),
            "variances": self.variances.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the mixture that `to_dict` wrote."""
        return cls(*(np.array(content[name], dtype=np.float64) for name in ("weights", "means", "variances")))


class GaussianMixture(Algorithm):
    """scikit-learn's GaussianMixture with diagonal covariances.

    variance_floor: in units of a column's variance of 1. Counts have many equal values, on which a component would
        otherwise shrink to a spike and swallow its neighbours' users one by one.
    """

    name = "gaussian_mixture"
    fitted = MixtureFitted
    starts_warm = True
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "starts": Parameter(3, int, 1, 1000),
        "iterations": Parameter(200, int, 1, 100_000),
        "variance_floor": Parameter(0.02, float, 1e-9, 100),
    }

    def fit(
        self,
        X: np.ndarray,
        k: int,
        *,
        seed: int,
        start: np.ndarray | None = None,
        parameters: Mapping[str, Any],
        **unused: Any,
    ) -> MixtureFitted:
        """Keep the best of `starts` EM runs by likelihood, or one run from means at `start`. No row weights."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as SklearnMixture

        k = min(k, distinct_rows(X))
        if k == 1:
            variance = X.var(axis=0) + float(parameters["variance_floor"])
            return MixtureFitted(np.ones(1), np.array(rounded(X.mean(axis=0)))[None], np.array(rounded(variance))[None])
        warm = start is not None and len(start) == k
        model = SklearnMixture(
            n_components=k,
            covariance_type="diag",
            n_init=1 if warm else int(parameters["starts"]),
            max_iter=int(parameters["iterations"]),
            reg_covar=float(parameters["variance_floor"]),
            means_init=start if warm else None,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # A mixture stopped at the last iteration is still a mixture; the gate judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X)
        order = reading_order(model.means_)
        # A weight of 0 has no logarithm; EM can starve a component.
        mass = np.maximum(model.weights_, 1e-12)
        return MixtureFitted(
            np.array(rounded(mass / mass.sum()))[order],
            np.array(rounded(model.means_))[order],
            np.array(rounded(model.covariances_))[order],
        )
