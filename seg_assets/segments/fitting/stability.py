"""Measure whether the same segments would come out of another sample of the same users: bootstrap Jaccard and ARI.

Hennig (2007), "Cluster-wise assessment of cluster stability": cluster a bootstrap sample, take for each segment the
most similar of the new ones (Jaccard over the users drawn), average over replications. A segment under 0.6 is not to
be trusted, whatever its silhouette. A fit measures it once, and the model carries it, so that every later room reads
the same number. `bootstrap` is what every measure of stability draws with.

Not here: what a model carries (`model.Stability`), and the gate's least stability (`gate`).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from seg_assets.core.numerics import one_thread
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.fitting.indices import adjusted_rand
from seg_assets.segments.model import TRUSTED, Stability
from seg_assets.segments.strategy import Strategy

STABILITY_SAMPLE = 4_000
# Jaccard means over 20 replications have a standard error of about .03 near the bands' edges.
REPLICATIONS = 20
# Random starts of the refits; ten cost three times as much and moved no verdict.
REFIT_STARTS = 3
# Hennig (2007), section 3: lower edge and name of each band.
BANDS = ((0.85, "highly stable"), (0.75, "valid"), (TRUSTED, "doubtful"), (-math.inf, "untrusted"))

# (positions drawn, generator) -> labels of everyone, from a fit on the rows drawn.
Refit = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def band(jaccard: float | None) -> str:
    """Return Hennig's word for a Jaccard mean; 'not tested' without one."""
    if jaccard is None or math.isnan(jaccard):
        return "not tested"
    return next(name for edge, name in BANDS if jaccard >= edge)


def bootstrap(
    count: int, size: int, generators: Iterable[np.random.Generator], refit: Refit
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Refit on bootstrap samples: yield the positions drawn and the labels of everyone, one pair per generator.

    Args:
        count: rows to draw from, with replacement.
        size: rows drawn each time.
        generators: one per replication; the same object again goes on in its stream.
        refit: fits on the rows drawn and labels everyone.
    """
    for rng in generators:
        drawn = rng.integers(0, count, size)
        yield drawn, refit(drawn, rng)


def measure(
    strategy: Strategy,
    fitted: Fitted,
    X: np.ndarray,
    seed: int,
    outcome: Outcome | None = None,
    replications: int = REPLICATIONS,
) -> Stability:
    """Measure the stability of a clustering on rows of its model space, refitted with its own algorithm on resamples.

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
    scores = fitted.scores(X)
    inside = ~fitted.outliers(X, scores)
    rows, labels, k = X[inside], scores.argmin(axis=1)[inside], fitted.n_clusters

    def refit(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        its_seed = int(rng.integers(2**31))
        teacher = outcome
        if outcome is not None:
            users = np.random.default_rng([its_seed, 11]).integers(len(outcome.frame), size=len(outcome.frame))
            teacher = outcome.take(users)
        again = algorithms.fit(own, rows[drawn], k, seed=its_seed, outcome=teacher, parameters=parameters)
        return again.scores(rows).argmin(axis=1)

    return bootstrap_stability(labels, k, refit, seed=seed, replications=replications)


def quick(algorithm: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with a few random starts: in a sample of thousands the best of three is as good."""
    known = algorithms.named(algorithm).parameters
    if "starts" not in known:
        return parameters
    return {**parameters, "starts": min(int(parameters.get("starts", known["starts"].default)), REFIT_STARTS)}


def bootstrap_stability(
    labels: np.ndarray, k: int, refit: Refit, *, seed: int, replications: int = REPLICATIONS
) -> Stability:
    """Measure Jaccard per segment and ARI over bootstrap samples.

    Args:
        labels: (n,) the labels to be found again.
        k: segments asked of each refit.
        refit: fits on the rows drawn and labels all n rows.
        seed: of the draws and fits.
        replications: how many bootstrap samples.
    """
    names, n = np.unique(labels), len(labels)
    if len(names) < 2 or k < 2:
        return Stability({}, math.nan, 0, "fewer than two segments")
    if n < 10 * k:
        return Stability({}, math.nan, 0, f"{n} users are too few for {k} segments (ten per segment are needed)")
    codes = np.searchsorted(names, labels)
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    agreement = []
    generators = (np.random.default_rng([seed, 7, replication]) for replication in range(replications))
    with one_thread():
        for drawn, others in bootstrap(n, n, generators, refit):
            agreement.append(adjusted_rand(codes, others))
            best, present = _most_similar(codes, others, np.unique(drawn), len(names))
            sums[present] += best[present]
            counts += present
    jaccard = {int(name): float(sums[i] / counts[i]) for i, name in enumerate(names) if counts[i]}
    return Stability(jaccard, float(np.mean(agreement)), replications)


def _most_similar(
    codes: np.ndarray, others: np.ndarray, users: np.ndarray, segments: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Jaccard similarity of each segment to the most similar other label, and which segments were drawn.

    codes, others: (n,) labels; users: positions of the users drawn.
    """
    table = np.zeros((segments, int(others.max()) + 1))
    np.add.at(table, (codes[users], others[users]), 1.0)
    sizes, other_sizes = table.sum(axis=1), table.sum(axis=0)
    union = sizes[:, None] + other_sizes[None, :] - table
    similar = np.where(union > 0, table / np.where(union > 0, union, 1.0), 0.0).max(axis=1)
    return similar, sizes > 0
