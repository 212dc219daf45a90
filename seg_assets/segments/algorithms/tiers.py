"""Tiers: one additive score, cut into ordered groups. Few cuts on one smooth score are stable; tree leaves are not.

The score is the sum of the strategy's features in model space (one feature: classic tiers of it). Tier 0 is the
highest.

Not here: a score that is a forecast (`outcome_tiers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from seg_assets.core.numerics import FLAT, SIGNIFICANT_DIGITS, rounded, spreads
from seg_assets.segments.algorithms.base import Algorithm, Fitted, Parameter
from seg_assets.segments.algorithms.prototypes import silhouette_confidence

CUTS = ("cum_root", "quantile")

# Points of the density grid per bandwidth, and their most: four a bandwidth draw a Gaussian kernel to 1 %.
GRID_PER_BANDWIDTH = 4
GRID_MOST = 8192


@dataclass(frozen=True)
class TiersFitted(Fitted):
    """Ordered tiers of the score X @ weights + intercept, in standard deviations of the fit day.

    The dissimilarity to a tier is (score - centre)^2 + offset: a one-dimensional power diagram (Aurenhammer 1987).
    The offsets put the borders exactly on the cuts, and differences between tiers are linear in X.

    weights: (d,). cuts: (k - 1,) descending. centers: (k,) mean score of each tier, descending.
    notes: what a reader of the model should know (outcome, horizon, honest R2).
    """

    weights: np.ndarray
    intercept: float
    cuts: np.ndarray
    centers: np.ndarray
    notes: Mapping[str, Any] = field(default_factory=dict)
    ALGORITHM: ClassVar[str] = "tiers"

    @property
    def n_clusters(self) -> int:
        """Number of tiers."""
        return len(self.cuts) + 1

    @property
    def offsets(self) -> np.ndarray:
        """Return (k,) additive offsets, the least of them 0."""
        p, c = self.centers, self.cuts
        steps = (c - p[:-1]) ** 2 - (c - p[1:]) ** 2
        raised = np.concatenate([[0.0], np.cumsum(steps)])
        return raised - raised.min()

    def score(self, X: np.ndarray) -> np.ndarray:
        """Return (n,) the score itself."""
        return np.einsum("ij,j->i", np.asarray(X, dtype=np.float64), self.weights) + self.intercept

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return (n, k) power distance to each tier; smaller is closer."""
        gap = self.score(X)[:, None] - self.centers[None, :]
        return gap * gap + self.offsets[None, :]

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (n, d + 1): -2 (centre_b - centre_a) w_j x_j per column; cuts and intercept in the last."""
        X = np.asarray(X, dtype=np.float64)
        a, b = np.broadcast_to(a, len(X)), np.broadcast_to(b, len(X))
        p, o = self.centers, self.offsets
        slope = -2.0 * (p[b] - p[a])
        out = np.empty((len(X), X.shape[1] + 1))
        out[:, :-1] = slope[:, None] * (X * self.weights)
        out[:, -1] = slope * self.intercept + (p[b] ** 2 - p[a] ** 2) + (o[b] - o[a])
        return out

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return 0 on a cut, towards 1 in the middle of a tier."""
        return silhouette_confidence(scores)

    def beats(
        self, home: np.ndarray, best: np.ndarray, at_home: np.ndarray, at_best: np.ndarray, margin: float
    ) -> np.ndarray:
        """Compare scores less the offset that both tiers share, or the margin would grow with it."""
        shared = np.minimum(self.offsets[home], self.offsets[best])
        return at_best - shared < (1.0 - margin) * (at_home - shared)

    def without(self, cluster: int) -> Self | None:
        """Return the tiers with one merged into the neighbour whose centre is nearer."""
        k = self.n_clusters
        if k < 2:
            return None
        above = self.centers[cluster - 1] - self.centers[cluster] if cluster else np.inf
        below = self.centers[cluster] - self.centers[cluster + 1] if cluster < k - 1 else np.inf
        cut = cluster - 1 if above <= below else cluster
        return type(self)(
            self.weights,
            self.intercept,
            np.delete(self.cuts, cut),
            np.delete(self.centers, cluster),
            self.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return weights, intercept, cuts, centres, notes."""
        return {
            "weights": self.weights.tolist(),
            "intercept": self.intercept,
            "cuts": self.cuts.tolist(),
            "centers": self.centers.tolist(),
            "notes": dict(self.notes),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the tiers that `to_dict` wrote."""
        return cls(
            np.array(content["weights"], dtype=np.float64),
            float(content["intercept"]),
            np.array(content["cuts"], dtype=np.float64),
            np.array(content["centers"], dtype=np.float64),
            dict(content["notes"]),
        )

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        weights: np.ndarray,
        intercept: float,
        cuts: np.ndarray,
        notes: Mapping[str, Any],
        row_weights: np.ndarray | None = None,
    ) -> Self:
        """Make tiers from a score and its ascending cuts, put in standard deviations and rounded to what is stored."""
        raw = np.einsum("ij,j->i", X, weights) + intercept
        spread = float(spreads(raw))
        scale = spread if spread > 0 else 1.0
        mean = float(raw.mean())
        cuts = cuts[::-1]
        tier = (raw[:, None] <= cuts[None, :]).sum(axis=1)
        mass = np.bincount(tier, weights=row_weights, minlength=len(cuts) + 1)
        total = np.bincount(tier, weights=raw if row_weights is None else raw * row_weights, minlength=len(cuts) + 1)
        centers = total / np.where(mass > 0, mass, 1.0)
        return cls(
            np.array(rounded(weights / scale)),
            float(rounded((intercept - mean) / scale)),
            np.array(rounded((cuts - mean) / scale), dtype=np.float64),
            np.array(rounded((centers - mean) / scale)),
            rounded(dict(notes)),
        )


class Tiers(Algorithm):
    """Tiers of the sum of the features, cut by `cuts`: one of CUTS, or a list of percentiles."""

    name = "tiers"
    fitted = TiersFitted
    is_ordered = True
    parameters: ClassVar[Mapping[str, Parameter]] = {"cuts": Parameter("cum_root")}

    def check(self, strategy: Any) -> None:
        """Refuse cuts that are not a rule's name or a rising list of percentiles too."""
        super().check(strategy)
        check_cuts(self.values_of(strategy.parameters)["cuts"], strategy.k.min, strategy.k.max)

    def fit(
        self,
        X: np.ndarray,
        k: int,
        *,
        weights: np.ndarray | None = None,
        parameters: Mapping[str, Any],
        **unused: Any,
    ) -> TiersFitted:
        """Cut the sum of the columns of X: at the cumulated square root of its density, at quantiles or percentiles."""
        w = np.ones(X.shape[1])
        s = np.einsum("ij,j->i", X, w)
        cuts = cut_points(s, k, parameters["cuts"], row_weights=weights)
        return TiersFitted.of(X, w, 0.0, cuts, {"cuts": parameters["cuts"]}, weights)


def check_cuts(cuts: Any, k_min: int, k_max: int) -> None:
    """Raise ValueError unless `cuts` is one of CUTS or k - 1 rising percentiles between 0 and 100."""
    if isinstance(cuts, str):
        if cuts not in CUTS:
            raise ValueError(f"parameters.cuts = {cuts!r}: one of {', '.join(CUTS)}, or a list of percentiles")
        return
    numbers = isinstance(cuts, list | tuple) and all(
        isinstance(c, int | float) and not isinstance(c, bool) and 0 < c < 100 for c in cuts
    )
    if not numbers or not cuts or list(cuts) != sorted(set(cuts)):
        raise ValueError(f"parameters.cuts = {cuts!r}: percentiles rise and lie between 0 and 100")
    if k_min != k_max or k_max != len(cuts) + 1:
        raise ValueError(
            f"parameters.cuts: {len(cuts)} percentiles make {len(cuts) + 1} tiers; set k.min and k.max to that"
        )


def cut_points(
    s: np.ndarray,
    k: int,
    rule: str | Sequence[float],
    jacobian: Any = None,
    row_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return ascending cuts that make k tiers, none empty; fewer where the score has fewer distinct values.

    Args:
        s: (n,) scores.
        k: tiers.
        rule: 'cum_root', 'quantile', or percentiles.
        jacobian: for cum_root, d value / d score as a function of the score, when the tiers are to be good in
            another unit than the score's own (currency, where the score is its square root).
        row_weights: (n,) weights.
    """
    if not spreads(s):
        return np.empty(0)
    if rule == "cum_root":
        wanted = cum_root_cuts(s, k, jacobian, row_weights)
    else:
        shares = np.arange(1, k) / k if isinstance(rule, str) else np.asarray(rule, dtype=np.float64) / 100.0
        wanted = _weighted_quantiles(s, shares, row_weights)
    return _onto_gaps(s, wanted)


def cum_root_cuts(s: np.ndarray, k: int, jacobian: Any = None, row_weights: np.ndarray | None = None) -> np.ndarray:
    """Cut at equal steps of the cumulated square root of the density (Dalenius and Hodges 1959).

    The classical optimum stratification: it nearly minimizes sum_h W_h S_h (share times standard deviation), so
    tiers get finer where few users differ much, towards the top. The density is a Gaussian kernel estimate with
    Silverman's (1986) bandwidth instead of the histogram of the paper: cuts then do not hang on bin edges, and
    agree better between bootstrap samples than exact dynamic programming of the same criterion (docs/validity.md).
    """
    grid, density = _density(s, row_weights)
    value_step = np.abs(jacobian(grid)) if jacobian is not None else np.ones_like(grid)
    # In the unit of the value the density is density / value_step; integrate its root over value.
    area = np.cumsum(np.sqrt(density * value_step))
    if area[-1] <= 0:
        return np.empty(0)
    return np.interp(area[-1] * np.arange(1, k) / k, area, grid)


def _density(s: np.ndarray, row_weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid and a binned Gaussian kernel density on it (Silverman 1982)."""
    s = np.asarray(s, dtype=np.float64)
    spread = float(s.std())
    if spread <= 0:
        return s[:1], np.zeros(1)
    low, high = np.quantile(s, (0.25, 0.75))
    robust = float(high - low) / 1.349
    width = 0.9 * (min(spread, robust) if robust > FLAT * spread else spread) * len(s) ** -0.2
    reach = float(s.max() - s.min()) + 6 * width
    points = int(min(GRID_MOST, max(256, np.ceil(reach / width * GRID_PER_BANDWIDTH))))
    grid = np.linspace(s.min() - 3 * width, s.max() + 3 * width, points)
    step = grid[1] - grid[0]
    counts = np.bincount(
        np.minimum(np.rint((s - grid[0]) / step).astype(np.int64), points - 1),
        weights=row_weights,
        minlength=points,
    ).astype(np.float64)
    half = min(int(np.ceil(4 * width / step)), points - 1)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * step / width) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum())[half : half + points]
    return grid, np.maximum(smooth, 0.0)


def _weighted_quantiles(s: np.ndarray, shares: np.ndarray, row_weights: np.ndarray | None) -> np.ndarray:
    """Return the scores below which the given shares of the rows' weight lie."""
    if row_weights is None:
        return np.quantile(s, shares)
    order = np.argsort(s, kind="stable")
    mass = np.cumsum(row_weights[order])
    return s[order][np.minimum(np.searchsorted(mass, shares * mass[-1]), len(s) - 1)]


def _onto_gaps(s: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Move cuts onto gaps between distinct scores, so that no tier is empty; keeps at most one cut a gap."""
    values = np.unique(np.asarray(s, dtype=np.float64))
    # The last bits of a score hang on its place in the matrix: users who are alike are one value.
    step = 10.0**-SIGNIFICANT_DIGITS * np.abs(values).max()
    values = values[np.append(np.diff(values) > step, True)]
    gaps = len(values) - 1
    if gaps < 1 or not len(wanted):
        return np.empty(0)
    wanted = np.sort(wanted)[-gaps:]
    # Gap g lies between values[g] and values[g + 1].
    at = np.clip(np.searchsorted(values, wanted, side="right") - 1, 0, gaps - 1)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + 1)
    for i in range(len(at) - 1, -1, -1):
        at[i] = min(at[i], gaps - (len(at) - i))
    inside = (wanted > values[at]) & (wanted < values[at + 1])
    return np.where(inside, wanted, (values[at] + values[at + 1]) / 2.0)
