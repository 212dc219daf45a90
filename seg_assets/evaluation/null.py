"""Test whether segments are real: cluster data that has the same columns but no groups in the same way, and compare.

Two nulls are drawn from a sample of the fit day's users. Columns permuted: every feature keeps its distribution, and
nothing joins the features. Gaussian copula: every feature keeps its distribution and the features keep their rank
correlations, but the data have no groups beyond that; this null is the stricter one, because correlated features alone
already give a good silhouette. The champion counts as real when its silhouette beats every replication of both.

Not here: the silhouette (`evaluation.internal`), and which users and refits are used (`evaluation.daily`).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seg_assets.core.numerics import FLAT, one_thread
from seg_assets.segments.fitting.indices import silhouette

# Silhouette of 1,500 users has an sd of about .004; structure that small is of no use to a marketer either.
NULL_SAMPLE = 1_500
# 19 replications: beating all of them has p = 1 / 20.
REPLICATIONS = 19
P_LIMIT = 0.05

# (X, k, seed) -> labels: the strategy's own way to cluster.
Refit = Callable[[np.ndarray, int, int], np.ndarray]


@dataclass(frozen=True)
class NullResult:
    """The observed silhouette beside one null."""

    null: str
    observed: float
    mean: float
    sd: float
    replications: int

    # How many replications reached the observed value.
    reached: int

    @property
    def p(self) -> float:
        """Return the Monte-Carlo p value, never 0: (1 + reached) / (1 + replications)."""
        return (1 + self.reached) / (1 + self.replications) if self.replications else math.nan

    @property
    def z(self) -> float:
        """Return the distance from the null's mean in its standard deviations."""
        return (self.observed - self.mean) / self.sd if self.sd > FLAT else math.nan


@dataclass(frozen=True)
class NullTest:
    """Both nulls and the verdict. `reason` says why the verdict is missing, where it is."""

    results: tuple[NullResult, ...] = ()
    reason: str = ""

    @property
    def real(self) -> bool | None:
        """Return True: beats both nulls. False: not shown to be real. None: could not be tested."""
        if not self.results:
            return None
        return all(r.p <= P_LIMIT + 1e-12 for r in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Return the test as JSON data."""
        return {"results": [asdict(r) for r in self.results], "reason": self.reason}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "NullTest":
        """Read the test from JSON data."""
        return cls(tuple(NullResult(**r) for r in document["results"]), document["reason"])


def permuted(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle each column on its own: same distributions, no relation between columns."""
    return np.column_stack([rng.permutation(base[:, j]) for j in range(base.shape[1])])


def copula(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a Gaussian-copula twin: the same values per column, the same rank correlations, no groups beyond them.

    Ranks (ties broken at random) become normal scores; a normal sample with their correlation is drawn, and each column
    gets its own sorted values in the order of that sample.
    """
    from scipy.special import ndtri

    n, d = base.shape
    scores = np.empty((n, d))
    grid = ndtri((np.arange(n) + 0.5) / n)
    for j in range(d):
        scores[np.lexsort((rng.random(n), base[:, j])), j] = grid
    values, vectors = np.linalg.eigh(np.atleast_2d(np.corrcoef(scores, rowvar=False)))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = rng.standard_normal((n, d)) @ root.T
    twin = np.empty_like(base)
    for j in range(d):
        twin[np.argsort(drawn[:, j], kind="stable"), j] = np.sort(base[:, j])
    return twin


def as_parts(twin: np.ndarray, parts: np.ndarray, totals: np.ndarray, rounds: int = 10) -> np.ndarray:
    """Return a twin of shares whose rows add up to `totals` and whose columns are distributed as those of `parts`.

    Columns shuffled one by one do not add up, and scaled once they are less extreme than shares of real users, so that
    any shop's shares would beat them. So both are mended in turn, as in iterative proportional fitting.

    Args:
        twin: (n, p) shares from a null.
        parts: (n, p) the shares that the twin is of.
        totals: (n,) what the rows shall add up to.
        rounds: how often both are mended; the columns are within a percent of theirs after a few.
    """
    ordered = np.sort(parts, axis=0)
    mean = parts.mean(axis=0)
    shares = twin.astype(np.float64)
    for left in range(rounds, -1, -1):
        sums = shares.sum(axis=1)
        # A row of nothing takes the shop's mean mix.
        shares = np.where(sums[:, None] > 0, shares, mean)
        sums = shares.sum(axis=1)
        shares = shares * np.where(sums > 0, totals / np.where(sums > 0, sums, 1.0), 0.0)[:, None]
        if left:
            for j in range(shares.shape[1]):
                shares[np.argsort(shares[:, j], kind="stable"), j] = ordered[:, j]
    return shares


NULLS = {"permuted": permuted, "copula": copula}


def null_test(
    X: np.ndarray,
    labels: np.ndarray,
    k: int,
    refit: Refit,
    *,
    seed: int,
    replications: int = REPLICATIONS,
    base: np.ndarray | None = None,
    to_space: Callable[[np.ndarray], np.ndarray] | None = None,
) -> NullTest:
    """Compare the silhouette of `labels` with that of the same clustering of both nulls.

    Args:
        X: (n, d) sample in model space.
        labels: (n,) the champion's labels of that sample.
        k: segments asked of the null's clustering.
        refit: the strategy's own way to cluster; the labels it returns are judged like the champion's.
        seed: of the nulls and of the clusterings.
        replications: per null.
        base: (n, p) what the nulls are drawn from, one column per thing that is known of a user (default: X). A text
            is one column of `base` and several of X, so that nobody gets two sexes.
        to_space: turns a twin of `base` into model space.
    """
    base = X if base is None else base
    varied = int((base.max(axis=0) > base.min(axis=0)).sum()) if len(base) else 0
    if varied < 2:
        return NullTest(reason="fewer than two varied features: the nulls keep each feature as it is")
    if k < 2 or len(np.unique(labels)) < 2:
        return NullTest(reason="fewer than two segments")
    if len(X) < 10 * k:
        return NullTest(reason=f"{len(X)} users are too few for {k} segments (ten per segment are needed)")
    # One thread: a few hundred small fits gain nothing from more, and the sums stay in one order.
    with one_thread():
        observed = silhouette(X, labels).value
        results = []
        for position, (name, make) in enumerate(NULLS.items()):
            values = []
            for replication in range(replications):
                rng = np.random.default_rng([seed, position, replication])
                twin = make(base, rng)
                twin = twin if to_space is None else to_space(twin)
                labels_of_twin = refit(twin, k, int(rng.integers(2**31)))
                value = silhouette(twin, labels_of_twin).value
                if not math.isnan(value):
                    values.append(value)
            if not values:
                return NullTest(reason=f"the clustering finds no two segments in the {name} null")
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
            reached = sum(value >= observed for value in values)
            results.append(NullResult(name, observed, float(np.mean(values)), spread, len(values), reached))
        return NullTest(tuple(results))
