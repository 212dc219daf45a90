"""Outcome tiers: cut a forecast of what users do next, so that a segment says as much as it can about it.

The score is a ridge regression of the outcome's square root on the features of an earlier day, each feature held to
the direction in which it points alone. Spend of a user is a sum of purchases, so its variance grows with its mean
and the square root evens it out (Bartlett 1936): large accounts do not own the fit, and what the square root
takes off the mean is the same for everyone, so it moves no cut. The cuts are those of optimum stratification
in the outcome's own unit (see tiers.cum_root_cuts). No constant of this module comes from a data set.

Not here: tiers of a score and their cuts (`tiers`); which outcomes there are (`outcomes`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from seg_assets.core.numerics import spreads
from seg_assets.segments.algorithms.base import Outcome, Parameter
from seg_assets.segments.algorithms.outcomes import OUTCOME_PARAMETERS, GuidedAlgorithm, stabilized
from seg_assets.segments.algorithms.tiers import Tiers, TiersFitted, check_cuts, cut_points

# Folds of the cross-validation that picks the penalty and gives the R2: the customary five.
FOLDS = 5
# Penalties tried, per unit of mean feature variance: from almost none to one that leaves only directions.
PENALTIES = tuple(10.0 ** (e / 2.0) for e in range(-8, 5))


class OutcomeTiersFitted(TiersFitted):
    """Tiers of a forecast."""

    ALGORITHM: ClassVar[str] = "outcome_tiers"


class OutcomeTiers(GuidedAlgorithm):
    """Tiers of a forecast that is learned on an earlier day."""

    name = "outcome_tiers"
    fitted = OutcomeTiersFitted
    is_ordered = True
    parameters: ClassVar[Mapping[str, Parameter]] = {**OUTCOME_PARAMETERS, **Tiers.parameters}

    def check(self, strategy: Any) -> None:
        """Refuse wrong cuts too."""
        super().check(strategy)
        check_cuts(self.values_of(strategy.parameters)["cuts"], strategy.k.min, strategy.k.max)

    def fit(
        self,
        X: np.ndarray,
        k: int,
        *,
        weights: np.ndarray | None = None,
        outcome: Outcome | None = None,
        parameters: Mapping[str, Any],
        **unused: Any,
    ) -> TiersFitted:
        """Learn the score on an earlier day, cut its distribution of the fit day.

        Without an outcome (nothing observed yet) every feature counts alike; the notes say so.
        """
        if outcome is None or outcome.X is None or len(outcome.X) < 2 * FOLDS:
            w = np.full(X.shape[1], 1.0 / X.shape[1])
            cuts = cut_points(X @ w, k, parameters["cuts"], row_weights=weights)
            return OutcomeTiersFitted.of(X, w, 0.0, cuts, {"basis": "no outcome known: equal weights"}, weights)
        y = outcome.values.iloc[:, 0].to_numpy(dtype=np.float64)
        w, b, penalty, r2 = score_weights(np.asarray(outcome.X, dtype=np.float64), stabilized(y))
        cuts = cut_points(X @ w + b, k, parameters["cuts"], jacobian=_currency_step, row_weights=weights)
        notes = {
            "basis": outcome.basis,
            "outcome": str(outcome.values.columns[0]),
            "outcome_from_day": outcome.day.isoformat(),
            "horizon_days": outcome.horizon_days,
            "users_learned_from": len(y),
            "penalty": penalty,
            "cross_validated_r2": r2,
            "forecast_at_cuts": (np.sign(cuts) * cuts * cuts).tolist(),
        }
        return OutcomeTiersFitted.of(X, w, b, cuts, notes, weights)


def _currency_step(s: np.ndarray) -> np.ndarray:
    """Return d currency / d score of a score that is a square root of currency."""
    return 2.0 * np.abs(s)


def score_weights(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Fit a sign-constrained ridge: weights (d,), intercept, penalty, cross-validated R2 of y.

    A weight may not point against its feature's own covariance with y. Among collinear features (7-, 28-, 90-day
    spend) free ridge weights take opposite signs; held to their sign they stay put between samples (bootstrap
    agreement of 8 tiers on 14 features .81 -> .88, docs/validity.md), and an explanation never says that
    spending more lowered the tier.
    """
    # Rows that are alike share a fold: a user drawn twice by a bootstrap must not be learned from and tested on.
    fold = np.unique(X, axis=0, return_inverse=True)[1].ravel() % FOLDS
    if not fold.any():
        return np.zeros(X.shape[1]), float(y.mean()), PENALTIES[-1], 0.0
    error = np.zeros(len(PENALTIES))
    for f in range(FOLDS):
        learn, test = fold != f, fold == f
        moments = _moments(X[learn], y[learn])
        for i, penalty in enumerate(PENALTIES):
            w, b = _solve(moments, penalty)
            error[i] += float(((y[test] - X[test] @ w - b) ** 2).sum())
    best = int(error.argmin())
    w, b = _solve(_moments(X, y), PENALTIES[best])
    r2 = 1.0 - float(error[best]) / float(((y - y.mean()) ** 2).sum()) if spreads(y) > 0 else 0.0
    return w, b, PENALTIES[best], r2


def _moments(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return covariances of X, those with y, and both means; all 0 where one side is the same for everyone.

    A fold without the one user who differs is such a case: a regression of its rounding has no solution.
    """
    mean, level = X.mean(axis=0), float(y.mean())
    if not spreads(X).any() or not spreads(y):
        return np.zeros((X.shape[1], X.shape[1])), np.zeros(X.shape[1]), mean, level
    Z = X - mean
    return Z.T @ Z / len(X), Z.T @ (y - level) / len(X), mean, level


def _solve(moments: tuple[np.ndarray, np.ndarray, np.ndarray, float], penalty: float) -> tuple[np.ndarray, float]:
    """Solve non-negative least squares (Lawson and Hanson 1974) on features turned to point upwards."""
    from scipy.optimize import nnls

    gram, cross, mean, level = moments
    size = float(np.trace(gram)) / len(gram)
    if size <= 0 or not np.any(cross):
        return np.zeros(len(gram)), level
    sign = np.where(cross >= 0, 1.0, -1.0)
    root = np.linalg.cholesky(gram + penalty * size * np.eye(len(gram)))
    w = nnls(root.T * sign, np.linalg.solve(root, cross))[0] * sign
    return w, level - float(mean @ w)
