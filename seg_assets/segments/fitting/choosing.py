"""How many segments: criteria with their errors, and the one rule that picks k. A fit and `seg-assets tune` share it.

Every criterion is measured on samples, so each carries a standard error, and differences under one error count as none.
Each criterion then *names* the numbers of segments it cannot tell from its best, by its own published reading; the
number that most criteria name is chosen, of several the smallest. So no criterion's unit outweighs another's, and
none of them, however sure of itself, decides alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_assets.core import numerics
from seg_assets.core.errors import ConfigError
from seg_assets.core.numerics import one_thread, rounded, spreads
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.algorithms.prototypes import subset
from seg_assets.segments.strategy import Strategy

# Users for choosing k. Silhouette on 4,000 has a standard error of about .002.
SELECTION_USERS = 4000
# Resamples, random halves and reference sets. Ten know a mean ARI to .02 where it matters.
BOOTSTRAPS = 10
BOOTSTRAP_USERS = 2000
SPLITS = 5
SPLIT_USERS = 2000
REFERENCES = 10
REFERENCE_USERS = 1000
# Groups of the delete-a-group jackknife (Kott 2001).
JACKKNIFE_GROUPS = 20
# Share of a sum of squares below which the rest of a subtraction is its rounding: some n x 1e-16.
ROUNDING = 1e-12
# Tibshirani and Walther (2005): a number of clusters is predicted when this share of pairs stays together.
PREDICTED = 0.8
# Another k must be named by this many more criteria than the champion's: relabelling everyone costs.
STICKY_VOTES = 2


@dataclass(frozen=True)
class Criterion:
    """One criterion: how it is called, whether more of it is better, and how it names a k."""

    name: str
    title: str
    more_is_better: bool
    names: str


CRITERIA: dict[str, Criterion] = {
    c.name: c
    for c in (
        Criterion("silhouette", "silhouette", True, "within one error of the best"),
        Criterion("calinski_harabasz", "Calinski-Harabasz", True, "within one error of the best"),
        Criterion("davies_bouldin", "Davies-Bouldin", False, "within one error of the best"),
        Criterion("gap", "gap", True, "the smallest k with gap(k) >= gap(k+1) - error(k+1)"),
        Criterion("prediction_strength", "prediction strength", True, f"the largest k that reaches {PREDICTED}"),
        Criterion("stability", "bootstrap stability", True, "within one error of the best"),
        Criterion("validity", "validity out of time", True, "within one error of the best"),
    )
}
GEOMETRIC = ("silhouette", "calinski_harabasz", "davies_bouldin", "gap", "prediction_strength", "stability")
# Tiers of a forecast are cuts along one score: compactness in the whole space says nothing about them.
GUIDED = ("prediction_strength", "stability", "validity")


@dataclass(frozen=True)
class Choice:
    """The number of segments, the table it was chosen from, why in words, and the criteria that had a say.

    rows: one per k: k, each criterion and `<criterion>_error` (null: not measured), smallest_share, inertia,
        admissible, named_by (criteria), votes.
    """

    k: int
    rows: list[dict[str, Any]]
    reason: str
    voters: tuple[str, ...] = ()


def choose_k(
    strategy: Strategy, X: np.ndarray, champion_k: int | None, seed: int, outcome: Outcome | None = None
) -> Choice:
    """Choose from k.min to k.max, on at most 4,000 users.

    A k whose smallest segment is under minimum_share is not admissible, unless all are. The champion's k stays unless
    another is named by two criteria more.

    Args:
        strategy: its algorithm, parameters, k and minimum_share.
        X: (n, d) model space.
        champion_k: the number of segments in force, None without a champion.
        seed: of samples and fits.
        outcome: of outcome-guided algorithms; its `X` is set.
    """
    module = algorithms.module_of(strategy.algorithm)
    distinct = numerics.distinct_rows(X)
    low, high = min(strategy.k.min, distinct), min(strategy.k.max, distinct)
    short = f"; only {distinct} distinct users" if high < strategy.k.max else ""
    if getattr(module, "CHOOSES_K", False):
        return Choice(high, [], f"{strategy.algorithm} finds the number itself, at most {high}{short}")
    if low == high:
        return Choice(low, [], f"k.min = k.max = {low}{short}" if not short else f"{low}{short}")
    rows = measure(strategy, X, range(low, high + 1), seed, outcome)
    return elect(strategy, rows, champion_k, voters_of(strategy, outcome), short)


def voters_of(strategy: Strategy, outcome: Outcome | None) -> tuple[str, ...]:
    """The criteria that have a say: validity for algorithms that learn from an outcome, compactness for the others."""
    return GUIDED if algorithms.is_guided(strategy.algorithm) and looks_ahead(outcome) else GEOMETRIC


def looks_ahead(outcome: Outcome | None) -> bool:
    """Whether the outcome lies after the features, not on the same day (a shop too young)."""
    return outcome is not None and outcome.X is not None and getattr(outcome, "horizon_days", 0) > 0


def elect(
    strategy: Strategy,
    rows: list[dict[str, Any]],
    champion_k: int | None,
    voters: Sequence[str],
    note: str = "",
) -> Choice:
    """Let each voter name numbers of segments, and pick. `rows` come back with named_by and votes."""
    open_ = [r for r in rows if r["admissible"]]
    if not open_:
        most = max(r["smallest_share"] for r in rows)
        open_ = [r for r in rows if r["smallest_share"] == most]
        note += f"; every k leaves a segment under minimum_share {strategy.minimum_share:.1%}"
    named = {name: named_by(CRITERIA[name], open_, rows) for name in voters}
    asked = tuple(name for name in voters if named[name])
    rows = [
        {**r, "named_by": [name for name in asked if r["k"] in named[name]]}
        | {"votes": sum(r["k"] in named[name] for name in asked)}
        for r in rows
    ]
    open_ = [r for r in rows if any(r["k"] == o["k"] for o in open_)]
    best = min(open_, key=lambda r: (-r["votes"], r["k"]))
    stay = next((r for r in open_ if r["k"] == champion_k), None)
    of = f"of {len(asked)} criteria"
    if stay is not None and stay["k"] != best["k"] and best["votes"] < stay["votes"] + STICKY_VOTES:
        why = f"stays at {stay['k']}, named by {stay['votes']} {of}: {best['k']} is named by {best['votes']}, "
        return Choice(stay["k"], rows, f"{why}fewer than {STICKY_VOTES} more{note}", asked)
    names = ", ".join(CRITERIA[n].title for n in best["named_by"]) or "none"
    tied = any(r["votes"] == best["votes"] and r["k"] != best["k"] for r in open_)
    less = ", the smallest of those" if tied else ""
    return Choice(best["k"], rows, f"{best['k']} is named by {best['votes']} {of} ({names}){less}{note}", asked)


def named_by(criterion: Criterion, open_: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """The numbers of segments that a criterion names among the admissible ones; none when it was not measured."""
    key, error = criterion.name, f"{criterion.name}_error"
    known = [r for r in open_ if r.get(key) is not None]
    if not known:
        return set()
    if key == "gap":
        after = {r["k"] - 1: r for r in rows if r.get(key) is not None}
        for row in known:
            following = after.get(row["k"])
            if following is not None and row[key] >= following[key] - following[error]:
                return {row["k"]}
        return {known[-1]["k"]}
    if key == "prediction_strength":
        reached = [r["k"] for r in known if r[key] + r[error] >= PREDICTED]
        if reached:
            return {max(reached)}
    sign = 1.0 if criterion.more_is_better else -1.0
    best = max(known, key=lambda r: sign * r[key])
    return {r["k"] for r in known if sign * (best[key] - r[key]) <= best[error]}


def said(value: float | None, error: float | None) -> str:
    """A criterion for a reader: four digits and the error, a dash where it was not measured."""
    if value is None:
        return "–"
    return f"{value:.4g}" if error is None else f"{value:.4g} ±{error:.2g}"


# ---- measuring -------------------------------------------------------------------------------------------------


def measure(
    strategy: Strategy, X: np.ndarray, counts: Sequence[int], seed: int, outcome: Outcome | None = None
) -> list[dict[str, Any]]:
    """One row per k: every criterion with its standard error, smallest share, inertia, admissible. Free of chance."""
    with one_thread():
        rows = subset(X, SELECTION_USERS, seed)
        shared = _Shared(strategy, rows, seed, outcome)
        return [shared.row(k) for k in counts]


class _Shared:
    """What the rows of one table have in common: sample, distances, reference sets, random halves."""

    def __init__(self, strategy: Strategy, rows: np.ndarray, seed: int, outcome: Outcome | None) -> None:
        self.strategy, self.rows, self.seed = strategy, rows, seed
        self.outcome = outcome = _few(outcome, seed)
        # Others never see it: their fits must not depend on whether somebody looks at their validity.
        self.taught = outcome if algorithms.is_guided(strategy.algorithm) else None
        self.distances = pairwise(rows)
        self.few = subset(rows, REFERENCE_USERS, seed)
        self.references = [] if algorithms.is_guided(strategy.algorithm) else reference_sets(self.few, seed)

    def row(self, k: int) -> dict[str, Any]:
        fit = refitter(self.strategy, k)
        base = fit(self.rows, 3, self.seed, self.taught)
        labels = base.scores(self.rows).argmin(axis=1)
        smallest = float(np.bincount(labels, minlength=k).min() / len(self.rows))
        each = silhouettes(self.distances, labels)
        found = {
            "silhouette": (float(each.mean()), float(each.std() / np.sqrt(len(each)))),
            **separation(self.rows, labels),
            "gap": self._gap(fit),
            "prediction_strength": spread(prediction_strengths(self.rows, fit, self.seed, self.taught)),
            "stability": spread(agreements(self.rows, labels, fit, self.seed, self.taught)),
            "validity": spread(validities(fit, self.seed, self.outcome)),
        }
        row: dict[str, Any] = {"k": k}
        for name in CRITERIA:
            value, error = found[name]
            # A number whose error cannot be told has no say: nothing tells a difference from chance.
            known = np.isfinite(value) and np.isfinite(error)
            row[name] = round(value, 6) if known else None
            row[f"{name}_error"] = round(error, 6) if known else None
        return rounded(
            row
            | {
                "inertia": round(within(self.rows, labels), 6),
                "smallest_share": round(smallest, 6),
                "admissible": bool(smallest >= self.strategy.minimum_share),
            }
        )

    def _gap(self, fit: "Refit") -> tuple[float, float]:
        """Gap statistic (Tibshirani, Walther and Hastie 2001) and its s(k)."""
        if not self.references:
            return float("nan"), float("nan")

        def log_within(rows: np.ndarray) -> float:
            labels = fit(rows, 1, self.seed, None).scores(rows).argmin(axis=1)
            return float(np.log(max(within(rows, labels), 1e-300)))

        here = log_within(self.few)
        there = np.array([log_within(reference) for reference in self.references])
        return float(there.mean() - here), float(there.std() * np.sqrt(1 + 1 / len(there)))


def _few(outcome: Outcome | None, seed: int) -> Outcome | None:
    """At most SELECTION_USERS users of an outcome, in their order."""
    if outcome is None or len(outcome.frame) <= SELECTION_USERS:
        return outcome
    return outcome.take(np.sort(np.random.default_rng([seed, 3]).permutation(len(outcome.frame))[:SELECTION_USERS]))


# (rows, starts, seed, outcome) -> a fit.
Refit = Any


def refitter(strategy: Strategy, k: int) -> Refit:
    """Fits of the strategy's algorithm at k, on any rows.

    Slow members of the k-means family choose k with k-means: same geometry, a hundredth of the cost.
    """
    name = getattr(algorithms.module_of(strategy.algorithm), "SELECTS_WITH", strategy.algorithm)
    parameters = strategy.parameters if name == strategy.algorithm else {}
    known = algorithms.module_of(name).PARAMETERS

    def fit(rows: np.ndarray, starts: int, seed: int, outcome: Outcome | None) -> Fitted:
        given = {**parameters, **({"starts": starts} if "starts" in known else {})}
        return algorithms.fit(name, rows, k, seed=seed, outcome=outcome, parameters=given)

    return fit


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean of replications and its standard error; NaN without any."""
    if not len(values):
        return float("nan"), float("nan")
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def agreements(
    rows: np.ndarray, labels: np.ndarray, fit: Refit, seed: int, outcome: Outcome | None = None
) -> list[float]:
    """Adjusted Rand index (Hubert and Arabie 1985) of the labels with those of fits on bootstrap samples.

    What a guided algorithm learned from is drawn again too.
    """
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng([seed, 1])
    found = []
    for _ in range(BOOTSTRAPS):
        drawn = rows[rng.integers(0, len(rows), min(len(rows), BOOTSTRAP_USERS))]
        taught = None if outcome is None else outcome.take(rng.integers(0, len(outcome.frame), len(outcome.frame)))
        other = fit(drawn, 1, int(rng.integers(2**31)), taught).scores(rows).argmin(axis=1)
        found.append(float(adjusted_rand_score(labels, other)))
    return found


def prediction_strengths(rows: np.ndarray, fit: Refit, seed: int, outcome: Outcome | None = None) -> list[float]:
    """Tibshirani and Walther (2005): of the pairs that one half puts together, the share that the other half does too.

    The least over clusters, both ways round, for each random split in halves.
    """
    rng = np.random.default_rng([seed, 2])
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(len(rows))[:SPLIT_USERS]
        halves = rows[np.sort(order[::2])], rows[np.sort(order[1::2])]
        if not len(halves[1]):
            return []
        taught: list[Outcome | None] = [None, None]
        if outcome is not None:
            who = rng.permutation(len(outcome.frame))
            taught = [outcome.take(np.sort(who[n::2])) for n in (0, 1)]
        fits = [fit(half, 1, int(rng.integers(2**31)), t) for half, t in zip(halves, taught, strict=True)]
        both = [
            _together(fits[n].scores(halves[n]).argmin(axis=1), fits[1 - n].scores(halves[n]).argmin(axis=1))
            for n in (0, 1)
        ]
        found.append(float(np.mean(both)))
    return found


def _together(labels: np.ndarray, others: np.ndarray) -> float:
    counts = np.zeros((labels.max() + 1, others.max() + 1))
    np.add.at(counts, (labels, others), 1.0)
    sizes = counts.sum(axis=1)
    pairs = sizes * (sizes - 1)
    # A cluster of one user has no pair to be broken, and none to show that it is there: 0.
    kept = np.where(pairs > 0, (counts * (counts - 1)).sum(axis=1) / np.where(pairs > 0, pairs, 1.0), 0.0)
    return float(kept[sizes > 0].min())


def validities(fit: Refit, seed: int, outcome: Outcome | None) -> list[float]:
    """Held-out share of the outcome's variance that groups of the earlier day explain, for each split in halves.

    Groups are fitted on one half of the users as they were on the earlier day, the mean outcome of each group is
    taken there, and the other half is predicted by it; both ways. In the square root, which large accounts do not own.
    """
    if outcome is None or outcome.X is None or not looks_ahead(outcome) or len(outcome.X) < 8:
        return []
    X = np.asarray(outcome.X)
    y = outcome.values.to_numpy(dtype=np.float64)
    y = np.sign(y) * np.sqrt(np.abs(y))
    rng = np.random.default_rng([seed, 4])
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(len(X))
        halves = np.sort(order[::2]), np.sort(order[1::2])
        its_seed = int(rng.integers(2**31))
        both = []
        for here, there in (halves, halves[::-1]):
            fitted = fit(X[here], 1, its_seed, outcome.take(here))
            labels = fitted.scores(X).argmin(axis=1)
            both.append(_explained(y, labels, here, there))
        found.append(float(np.mean(both)))
    return found


def _explained(y: np.ndarray, labels: np.ndarray, here: np.ndarray, there: np.ndarray) -> float:
    everyone = y[here].mean(axis=0)
    error = np.zeros(y.shape[1])
    for label in np.unique(labels[there]):
        taught = y[here[labels[here] == label]]
        held = y[there[labels[there] == label]]
        error += ((held - (taught.mean(axis=0) if len(taught) else everyone)) ** 2).sum(axis=0)
    total = ((y[there] - y[there].mean(axis=0)) ** 2).sum(axis=0)
    differs = spreads(y[there]) > 0
    return float(np.where(differs, 1.0 - error / np.where(differs, total, 1.0), 0.0).mean())


def reference_sets(rows: np.ndarray, seed: int) -> list[np.ndarray]:
    """Uniform data in the box of the principal axes of `rows`, for the gap statistic (its version b)."""
    middle = rows.mean(axis=0)
    centered = rows - middle
    _, axes = np.linalg.eigh(centered.T @ centered)
    turned = centered @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    rng = np.random.default_rng([seed, 5])
    return [rng.uniform(low, high, rows.shape) @ axes.T + middle for _ in range(REFERENCES)]


def within(X: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance to the mean of one's label: comparable between algorithms."""
    total = 0.0
    for j in np.unique(labels):
        rows = X[labels == j]
        total += float(((rows - rows.mean(axis=0)) ** 2).sum())
    return float(rounded(total / max(len(X), 1)))


def separation(X: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, float]]:
    """Calinski and Harabasz (1974), Davies and Bouldin (1979), each with a delete-a-group jackknife error.

    NaN where an index or its error cannot be told: users of one kind leave nothing to divide by, and of five users no
    two groups can be left out.
    """
    found, codes = np.unique(labels, return_inverse=True)
    k, n = len(found), len(X)
    if k < 2 or n <= k:
        nothing = (float("nan"), float("nan"))
        return {"calinski_harabasz": nothing, "davies_bouldin": nothing}
    groups = min(JACKKNIFE_GROUPS, n)
    cell = (np.arange(n) % groups) * k + codes
    X = X - X.mean(axis=0)
    centers = np.array([X[codes == j].mean(axis=0) for j in range(k)])
    away = np.sqrt(((X - centers[codes]) ** 2).sum(axis=1))

    def summed(column: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=column, minlength=groups * k).reshape(groups, k)

    count = summed(np.ones(n))
    distance = summed(away)
    square = summed((X**2).sum(axis=1))
    sums = np.stack([summed(X[:, j]) for j in range(X.shape[1])], axis=2)
    whole = _indices(count.sum(axis=0), sums.sum(axis=0), square.sum(axis=0), distance.sum(axis=0))
    without = np.array(
        [
            _indices(*(part.sum(axis=0) - part[g] for part in (count, sums, square, distance)))  # type: ignore[arg-type]
            for g in range(groups)
        ]
    )
    harabasz, bouldin = ((float(whole[n]), _jackknife_error(without[:, n])) for n in (0, 1))
    return {"calinski_harabasz": harabasz, "davies_bouldin": bouldin}


def _jackknife_error(without: np.ndarray) -> float:
    """Standard error from replicates, those that cannot be told left out; NaN from fewer than two."""
    told = without[np.isfinite(without)]
    if len(told) < 2:
        return float("nan")
    return float(np.sqrt((len(told) - 1) / len(told) * ((told - told.mean()) ** 2).sum()))


def _indices(count: np.ndarray, sums: np.ndarray, square: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """Both indices from counts, sums, squares and distances to the centre, by cluster."""
    if (count <= 0).any():
        return float("nan"), float("nan")
    n, k = count.sum(), len(count)
    means = sums / count[:, None]
    middle = sums.sum(axis=0) / n
    between = float((count * ((means - middle) ** 2).sum(axis=1)).sum())
    inside = float(square.sum() - (count * (means**2).sum(axis=1)).sum())
    scatter = distance / count
    apart = np.sqrt(((means[:, None, :] - means[None, :, :]) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    ratios = np.where(apart > 0, (scatter[:, None] + scatter[None, :]) / np.where(apart > 0, apart, 1.0), np.inf)
    bouldin = float(ratios.max(axis=1).mean())
    scattered = n > k and inside > ROUNDING * float(square.sum())
    harabasz = between / (k - 1) / (inside / (n - k)) if scattered else float("nan")
    return harabasz, bouldin


def pairwise(rows: np.ndarray) -> np.ndarray:
    """(n, n) Euclidean distances, float32 (64 MB at 4,000 rows); one thread, no BLAS."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(rows).astype(np.float32))


def silhouettes(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) silhouettes (Rousseeuw 1987) from a distance matrix; 0 with one cluster; a lone row counts 0."""
    found, index = np.unique(labels, return_inverse=True)
    if len(found) < 2:
        return np.zeros(len(labels))
    sizes = np.bincount(index)
    sums = np.column_stack([distances[:, index == j].sum(axis=1, dtype=np.float64) for j in range(len(found))])
    rows = np.arange(len(labels))
    own = sums[rows, index] / np.maximum(sizes[index] - 1, 1)
    others = sums / sizes
    others[rows, index] = np.inf
    nearest = others.min(axis=1)
    widest = np.maximum(own, nearest)
    return np.where((widest > 0) & (sizes[index] > 1), (nearest - own) / np.where(widest > 0, widest, 1.0), 0.0)


# ---- what each feature adds ------------------------------------------------------------------------------------


def drop_one(
    strategy: Strategy,
    X: np.ndarray,
    feature_of: Sequence[str],
    k: int,
    seed: int,
    outcome: Outcome | None = None,
) -> list[dict[str, Any]]:
    """What each feature adds at k: the loss of validity and stability without it, and how far groups hang on it.

    Args:
        strategy: its algorithm.
        X: (n, d) model space.
        feature_of: the feature that each column of X belongs to.
        k: number of segments.
        seed: as of `choose_k`: resamples and halves are the same with and without a feature, so that differences are
            paired and their errors are those of the pairs.
        outcome: for validity; None: not measured.

    Returns:
        Rows of feature, columns, agreement (ARI of the groups without it with those with it), validity_added,
        validity_added_error, stability_added, stability_added_error; null where it cannot be told.
    """
    from sklearn.metrics import adjusted_rand_score

    rows, outcome = subset(X, SELECTION_USERS, seed), _few(outcome, seed)
    owner = np.array(list(feature_of), dtype=object)
    fit = refitter(strategy, k)

    def measured(keep: np.ndarray) -> tuple[np.ndarray, list[float], list[float]]:
        mine = rows[:, keep]
        told = None if outcome is None else outcome.take(np.arange(len(outcome.frame)), keep)
        taught = told if guided else None
        labels = fit(mine, 3, seed, taught).scores(mine).argmin(axis=1)
        return labels, validities(fit, seed, told), agreements(mine, labels, fit, seed, taught)

    guided = algorithms.is_guided(strategy.algorithm)
    found = []
    with one_thread():
        labels, valid, stable = measured(np.ones(X.shape[1], dtype=bool))
        for feature in dict.fromkeys(feature_of):
            keep = owner != feature
            row: dict[str, Any] = {"feature": feature, "columns": int((~keep).sum()), "agreement": None}
            row |= dict.fromkeys(("validity_added", "validity_added_error", "stability_added", "stability_added_error"))
            found.append(row)
            if not keep.any():
                continue
            try:
                other, its_valid, its_stable = measured(keep)
            except (ValueError, ConfigError):
                continue  # written rules cannot do without a column they read
            row["agreement"] = float(adjusted_rand_score(labels, other))
            for name, with_it, without_it in (("validity", valid, its_valid), ("stability", stable, its_stable)):
                if len(with_it) and len(with_it) == len(without_it):
                    value, error = spread(np.subtract(with_it, without_it).tolist())
                    row[f"{name}_added"], row[f"{name}_added_error"] = value, error
    return rounded([{key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()} for row in found])
