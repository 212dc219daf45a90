"""k-means in a space whose columns are stretched by what they say about the next period.

The stretch of a column is its weight in the cross-validated forecast of outcome_tiers, mixed with an equal stretch as
far as the forecast explains nothing: squared stretch = r2 * w_j^2 / sum w^2 + (1 - r2) / d, times d. With an outcome
that no feature says anything about it is plain k-means; no constant decides. Unlike tiers it may leave the line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import rounded
from seg_assets.segments.algorithms import Outcome, Parameter, kmeans, parameters_of
from seg_assets.segments.algorithms.outcome_tiers import score_weights, stabilized
from seg_assets.segments.algorithms.prototypes import Prototypes
from seg_assets.segments.fitting.outcome import OUTCOME_PARAMETERS, check_outcome, load_outcome, outcome_columns

PARAMETERS: dict[str, Parameter] = {**OUTCOME_PARAMETERS, **kmeans.PARAMETERS}
# Users below which a forecast is not learned: five folds of two.
LEAST_USERS = 10

__all__ = ["FITTED", "PARAMETERS", "check", "columns", "fit", "load_outcome"]


@dataclass(frozen=True)
class OutcomeKMeansFitted:
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
        """(n, k) squared distances in the stretched space."""
        return self.inner.scores(np.asarray(X, dtype=np.float64) * self.stretch)

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, d + 1) by column; the intercept is 0."""
        return self.inner.contributions(np.asarray(X, dtype=np.float64) * self.stretch, a, b)

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """1 - nearest / second nearest distance."""
        return self.inner.confidence(X, scores)

    def outliers(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """None."""
        return np.zeros(len(scores), dtype=bool)

    def without(self, cluster: int) -> "OutcomeKMeansFitted | None":
        """The centroids less one."""
        fewer = self.inner.without(cluster)
        return None if fewer is None else type(self)(fewer, self.stretch, self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Centroids, stretch, notes."""
        centroids = self.inner.centroids.tolist()
        return {"centroids": centroids, "stretch": self.stretch.tolist(), "notes": dict(self.notes)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "OutcomeKMeansFitted":
        """What `to_dict` wrote."""
        inner = Prototypes(np.array(content["centroids"], dtype=np.float64))
        return cls(inner, np.array(content["stretch"], dtype=np.float64), dict(content["notes"]))


FITTED = OutcomeKMeansFitted


def check(strategy: Any) -> None:
    """Refuse unknown outcomes."""
    check_outcome(parameters_of(strategy.algorithm, strategy.parameters)["outcome"], several=True)


def columns(strategy: Any) -> list[str]:
    """Profile columns that the outcomes are taken from."""
    return outcome_columns(parameters_of(strategy.algorithm, strategy.parameters)["outcome"])


def fit(
    X: np.ndarray,
    k: int,
    *,
    seed: int,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    outcome: Outcome | None = None,
    parameters: Mapping[str, Any],
) -> OutcomeKMeansFitted:
    """Learn the stretch on an earlier day, cluster the fit day in the stretched space."""
    stretch, notes = _stretch(X.shape[1], outcome)
    inner = kmeans.fit(X * stretch, k, seed=seed, weights=weights, parameters=parameters)
    return OutcomeKMeansFitted(Prototypes.of(inner.centroids), stretch, notes)


def _stretch(d: int, outcome: Outcome | None) -> tuple[np.ndarray, dict[str, Any]]:
    if outcome is None or outcome.X is None or len(outcome.X) < LEAST_USERS:
        return np.ones(d), {"basis": "no outcome known: equal weights"}
    Z = np.asarray(outcome.X, dtype=np.float64)
    squares, found = np.zeros(d), []
    for name in outcome.values.columns:
        w, _, _, honest = score_weights(Z, stabilized(outcome.values[name].to_numpy(dtype=np.float64)))
        # In units of a column's own spread: a column that hardly varies moves nobody.
        power = (w * Z.std(axis=0)) ** 2
        told = min(max(honest, 0.0), 1.0) if power.sum() > 0 else 0.0
        squares += told * power / (power.sum() or 1.0) + (1.0 - told) / d
        found.append(told)
    stretch = np.array(rounded(np.sqrt(squares / len(found) * d)))
    notes = {
        "basis": getattr(outcome, "basis", "outcome"),
        "outcomes": [str(c) for c in outcome.values.columns],
        "outcome_from_day": outcome.day.isoformat(),
        "horizon_days": getattr(outcome, "horizon_days", 0),
        "cross_validated_r2": found,
    }
    return stretch, rounded(notes)
