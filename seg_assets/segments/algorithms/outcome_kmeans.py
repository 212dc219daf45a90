"""k-means in a space whose columns are stretched by what they say about the next period.

The stretch of a column is its weight in the cross-validated forecast of outcome_tiers, mixed with an equal stretch as
far as the forecast explains nothing: squared stretch = r2 * w_j^2 / sum w^2 + (1 - r2) / d, times d. With an outcome
that no feature says anything about it is plain k-means; no constant decides. Unlike tiers, its segments need not lie
along one score.

Not here: the forecast (`outcome_tiers`), and k-means itself (`kmeans`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import rounded
from seg_assets.segments.algorithms.base import Fitted, Outcome, Parameter
from seg_assets.segments.algorithms.kmeans import KMeans, KMeansFitted, centroids_of
from seg_assets.segments.algorithms.outcome_tiers import score_weights
from seg_assets.segments.algorithms.outcomes import OUTCOME_PARAMETERS, GuidedAlgorithm, stabilized
from seg_assets.segments.algorithms.prototypes import Prototypes

# Users below which a forecast is not learned: five folds of two.
LEAST_USERS = 10


@dataclass(frozen=True)
class OutcomeKMeansFitted(Fitted):
    """k-means centroids in the stretched space. stretch: (d,) factors on the columns of X."""

    inner: Prototypes
    stretch: np.ndarray
    notes: Mapping[str, Any] = field(default_factory=dict)
    ALGORITHM: ClassVar[str] = "outcome_kmeans"

    @property
    def n_clusters(self) -> int:
        """Number of centroids."""
        return self.inner.n_clusters

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return (n, k) squared distances in the stretched space."""
        return self.inner.scores(np.asarray(X, dtype=np.float64) * self.stretch)

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (n, d + 1) by column; the intercept is 0."""
        return self.inner.contributions(np.asarray(X, dtype=np.float64) * self.stretch, a, b)

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return 1 - nearest / second nearest distance."""
        return self.inner.confidence(X, scores)

    def without(self, cluster: int) -> "OutcomeKMeansFitted | None":
        """Return the centroids less one."""
        fewer = self.inner.without(cluster)
        return None if fewer is None else type(self)(fewer, self.stretch, self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return centroids, stretch, notes."""
        centroids = self.inner.centroids.tolist()
        return {"centroids": centroids, "stretch": self.stretch.tolist(), "notes": dict(self.notes)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "OutcomeKMeansFitted":
        """Return the clustering that `to_dict` wrote."""
        inner = Prototypes(np.array(content["centroids"], dtype=np.float64))
        return cls(inner, np.array(content["stretch"], dtype=np.float64), dict(content["notes"]))


class OutcomeKMeans(GuidedAlgorithm):
    """k-means after a stretch of the columns that is learned on an earlier day."""

    name = "outcome_kmeans"
    fitted = OutcomeKMeansFitted
    several_outcomes = True
    parameters: ClassVar[Mapping[str, Parameter]] = {**OUTCOME_PARAMETERS, **KMeans.parameters}

    def fit(
        self,
        X: np.ndarray,
        k: int,
        *,
        seed: int,
        weights: np.ndarray | None = None,
        outcome: Outcome | None = None,
        parameters: Mapping[str, Any],
        **unused: Any,
    ) -> OutcomeKMeansFitted:
        """Learn the stretch on an earlier day, cluster the fit day in the stretched space."""
        stretch, notes = _learned_stretch(X.shape[1], outcome)
        inner = KMeansFitted.of(centroids_of(X * stretch, k, seed, parameters, weights))
        return OutcomeKMeansFitted(Prototypes.of(inner.centroids), stretch, notes)


def _learned_stretch(d: int, outcome: Outcome | None) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (d,) factors on the columns, and notes; factors of 1 while too little was observed."""
    if outcome is None or outcome.X is None or len(outcome.X) < LEAST_USERS:
        return np.ones(d), {"basis": "no outcome known: equal weights"}
    Z = np.asarray(outcome.X, dtype=np.float64)
    squares, explained = np.zeros(d), []
    for name in outcome.values.columns:
        w, _, _, r2 = score_weights(Z, stabilized(outcome.values[name].to_numpy(dtype=np.float64)))
        # In units of a column's own spread: a column that hardly varies moves nobody.
        power = (w * Z.std(axis=0)) ** 2
        share = min(max(r2, 0.0), 1.0) if power.sum() > 0 else 0.0
        squares += share * power / (power.sum() or 1.0) + (1.0 - share) / d
        explained.append(share)
    stretch = np.array(rounded(np.sqrt(squares / len(explained) * d)))
    notes = {
        "basis": outcome.basis,
        "outcomes": [str(c) for c in outcome.values.columns],
        "outcome_from_day": outcome.day.isoformat(),
        "horizon_days": outcome.horizon_days,
        "cross_validated_r2": explained,
    }
    return stretch, rounded(notes)
