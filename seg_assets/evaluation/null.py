"""Is the structure real? The same clustering of data that has the same columns but no groups.

Two nulls of a sample of the fit day's users. Columns permuted: every feature keeps its distribution, nothing joins
them. Gaussian copula: every feature keeps its distribution and the features keep their rank correlations, but there
are no groups beyond that; this is the stricter one, because correlated features alone already give a good silhouette.
The champion is said to be real when its silhouette beats every replication of both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seg_assets.evaluation.internal import silhouette

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
        """Monte-Carlo p value, never 0: (1 + reached) / (1 + replications)."""
        return (1 + self.reached) / (1 + self.replications) if self.replications else math.nan

    @property
    def z(self) -> float:
        """Distance from the null's mean in its standard deviations."""
        return (self.observed - self.mean) / self.sd if self.sd > 0 else math.nan


@dataclass(frozen=True)
class NullTest:
    """Both nulls and the verdict. `reason` says why there is no verdict, where there is none."""

    results: tuple[NullResult, ...] = ()
    reason: str = ""

    @property
    def real(self) -> bool | None:
        """True: beats both nulls. False: not shown to be real. None: it could not be tested."""
        if not self.results:
            return None
        return all(r.p <= P_LIMIT + 1e-12 for r in self.results)

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {"results": [asdict(r) for r in self.results], "reason": self.reason}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "NullTest":
        """From JSON."""
        return cls(tuple(NullResult(**r) for r in document["results"]), document["reason"])


def permuted(X: np.ndarray, rng: np.random.Generator, blocks: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """Each column of `X` shuffled on its own: same distributions, no relation between columns.

    Columns of one block (the levels of one text column) are shuffled together: nobody gets two sexes.
    """
    twin = np.empty_like(X)
    for block in _blocks(X, blocks):
        twin[:, block] = X[np.ix_(rng.permutation(len(X)), block)]
    return twin


def copula(X: np.ndarray, rng: np.random.Generator, blocks: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """Gaussian-copula twin of `X`: the same values per column, the same rank correlations, no groups beyond them.

    Ranks (ties broken at random) become normal scores; a normal sample with their correlation is drawn, and each block
    of columns gets its own sorted rows in the order of that sample.
    """
    from scipy.special import ndtri

    parts = _blocks(X, blocks)
    n = len(X)
    scores = np.empty((n, len(parts)))
    grid = ndtri((np.arange(n) + 0.5) / n)
    orders = []
    for j, block in enumerate(parts):
        order = np.lexsort((rng.random(n), *(X[:, c] for c in reversed(block))))
        scores[order, j] = grid
        orders.append(order)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.corrcoef(scores, rowvar=False)))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = rng.standard_normal((n, len(parts))) @ root.T
    twin = np.empty_like(X)
    for j, block in enumerate(parts):
        twin[np.ix_(np.argsort(drawn[:, j], kind="stable"), block)] = X[np.ix_(orders[j], block)]
    return twin


def _blocks(X: np.ndarray, blocks: Sequence[Sequence[int]] | None) -> list[list[int]]:
    return [[j] for j in range(X.shape[1])] if blocks is None else [list(block) for block in blocks]


NULLS = {"permuted": permuted, "copula": copula}


def null_test(
    X: np.ndarray,
    labels: np.ndarray,
    k: int,
    refit: Refit,
    *,
    seed: int,
    replications: int = REPLICATIONS,
    blocks: Sequence[Sequence[int]] | None = None,
) -> NullTest:
    """Compare the silhouette of `labels` with that of the same clustering of both nulls of `X`.

    Args:
        X: (n, d) sample in model space.
        labels: (n,) the champion's labels of that sample.
        k: segments asked of the null's clustering.
        refit: the strategy's own way to cluster; the labels it returns are judged like the champion's.
        seed: of the nulls and of the clusterings.
        replications: per null.
        blocks: column positions that belong together (default: each column by itself).
    """
    varied = sum(bool((X[:, b].max(axis=0) > X[:, b].min(axis=0)).any()) for b in _blocks(X, blocks)) if len(X) else 0
    if varied < 2:
        return NullTest(reason="fewer than two varied features: the nulls keep each feature as it is")
    if k < 2 or len(np.unique(labels)) < 2:
        return NullTest(reason="fewer than two segments")
    if len(X) < 10 * k:
        return NullTest(reason=f"{len(X)} users are too few for {k} segments (ten per segment are needed)")
    from threadpoolctl import threadpool_limits

    # One thread: a few hundred small fits gain nothing from more, and the sums stay in one order.
    with threadpool_limits(1):
        return _replicate(X, labels, k, refit, seed, replications, blocks)


def _replicate(
    X: np.ndarray,
    labels: np.ndarray,
    k: int,
    refit: Refit,
    seed: int,
    replications: int,
    blocks: Sequence[Sequence[int]] | None,
) -> NullTest:
    observed = silhouette(X, labels).value
    results = []
    for position, (name, make) in enumerate(NULLS.items()):
        values = []
        for replication in range(replications):
            rng = np.random.default_rng([seed, position, replication])
            twin = make(X, rng, blocks)
            found = refit(twin, k, int(rng.integers(2**31)))
            value = silhouette(twin, found).value
            if not math.isnan(value):
                values.append(value)
        if not values:
            return NullTest(reason=f"the clustering finds no two segments in the {name} null")
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        reached = sum(value >= observed for value in values)
        results.append(NullResult(name, observed, float(np.mean(values)), spread, len(values), reached))
    return NullTest(tuple(results))
