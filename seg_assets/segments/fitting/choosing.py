"""Choose how many segments: criteria with their errors, and the one rule that picks k.

Every criterion is measured on samples, so each carries a standard error, and differences under one error count as none.
Each criterion then *names* the numbers of segments it cannot tell from its best, by its own published reading; the
number that most criteria name is chosen, of several the smallest. So no criterion's unit outweighs another's, and
none of them, however sure of itself, decides alone.

Not here: the compactness indices themselves (`indices`), and the table as `seg-assets tune` shows it (`tuning`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol

import numpy as np

from seg_assets.core.errors import ConfigError
from seg_assets.core.numerics import distinct_rows, one_thread, rounded, spreads
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.algorithms.outcomes import stabilized
from seg_assets.segments.algorithms.prototypes import subset
from seg_assets.segments.fitting.indices import (
    adjusted_rand,
    pairwise,
    separation_with_errors,
    silhouettes,
    within,
)
from seg_assets.segments.fitting.stability import bootstrap
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
    """Choose a number of segments from k.min to k.max, on at most 4,000 users.

    A k whose smallest segment is under minimum_share is not admissible, unless all are. The champion's k stays unless
    another is named by two criteria more.

    Args:
        strategy: its algorithm, parameters, k and minimum_share.
        X: (n, d) model space.
        champion_k: the number of segments in force, None without a champion.
        seed: of samples and fits.
        outcome: of outcome-guided algorithms; its `X` is set.
    """
    distinct = distinct_rows(X)
    low, high = min(strategy.k.min, distinct), min(strategy.k.max, distinct)
    short = f"; only {distinct} distinct users" if high < strategy.k.max else ""
    if algorithms.named(strategy.algorithm).chooses_k:
        return Choice(high, [], f"{strategy.algorithm} finds the number itself, at most {high}{short}")
    if low == high:
        return Choice(low, [], f"k.min = k.max = {low}{short}" if not short else f"{low}{short}")
    rows = measure(strategy, X, range(low, high + 1), seed, outcome)
    return elect(strategy, rows, champion_k, voters_of(strategy, outcome), short)


def voters_of(strategy: Strategy, outcome: Outcome | None) -> tuple[str, ...]:
    """Return the criteria that have a say: validity where an algorithm learns from an outcome, else compactness."""
    return GUIDED if algorithms.named(strategy.algorithm).is_guided and looks_ahead(outcome) else GEOMETRIC


def looks_ahead(outcome: Outcome | None) -> bool:
    """Tell whether the outcome lies after the features, not on the same day (a shop too young)."""
    return outcome is not None and outcome.X is not None and outcome.horizon_days > 0


def elect(
    strategy: Strategy,
    rows: list[dict[str, Any]],
    champion_k: int | None,
    voters: Sequence[str],
    note: str = "",
) -> Choice:
    """Let each voter name numbers of segments, and pick. `rows` come back with named_by and votes."""
    candidates = [r for r in rows if r["admissible"]]
    if not candidates:
        most = max(r["smallest_share"] for r in rows)
        candidates = [r for r in rows if r["smallest_share"] == most]
        note += f"; every k leaves a segment under minimum_share {strategy.minimum_share:.1%}"
    named = {name: named_by(CRITERIA[name], candidates, rows) for name in voters}
    voting = tuple(name for name in voters if named[name])
    rows = [
        {**r, "named_by": [name for name in voting if r["k"] in named[name]]}
        | {"votes": sum(r["k"] in named[name] for name in voting)}
        for r in rows
    ]
    candidates = [r for r in rows if any(r["k"] == c["k"] for c in candidates)]
    best = min(candidates, key=lambda r: (-r["votes"], r["k"]))
    stay = next((r for r in candidates if r["k"] == champion_k), None)
    of = f"of {len(voting)} criteria"
    if stay is not None and stay["k"] != best["k"] and best["votes"] < stay["votes"] + STICKY_VOTES:
        why = f"stays at {stay['k']}, named by {stay['votes']} {of}: {best['k']} is named by {best['votes']}, "
        return Choice(stay["k"], rows, f"{why}fewer than {STICKY_VOTES} more{note}", voting)
    names = ", ".join(CRITERIA[n].title for n in best["named_by"]) or "none"
    tied = any(r["votes"] == best["votes"] and r["k"] != best["k"] for r in candidates)
    less = ", the smallest of those" if tied else ""
    return Choice(best["k"], rows, f"{best['k']} is named by {best['votes']} {of} ({names}){less}{note}", voting)


def named_by(
    criterion: Criterion, candidates: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> set[int]:
    """Return the numbers of segments that a criterion names among the candidates; none when it was not measured."""
    key, error = criterion.name, f"{criterion.name}_error"
    known = [r for r in candidates if r.get(key) is not None]
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


def format_estimate(value: float | None, error: float | None) -> str:
    """Write a criterion for a reader: four digits and the error, a dash where it was not measured."""
    if value is None:
        return "–"
    return f"{value:.4g}" if error is None else f"{value:.4g} ±{error:.2g}"


# ---- measuring -------------------------------------------------------------------------------------------------


def measure(
    strategy: Strategy, X: np.ndarray, counts: Sequence[int], seed: int, outcome: Outcome | None = None
) -> list[dict[str, Any]]:
    """Measure one row per k: every criterion with its standard error, smallest share, inertia, admissible.

    The same arguments give the same rows.
    """
    with one_thread():
        table = _Table(strategy, subset(X, SELECTION_USERS, seed), seed, outcome)
        return [table.row(k) for k in counts]


class _Table:
    """What the rows of one table have in common: sample, distances, reference sets, random halves."""

    def __init__(self, strategy: Strategy, rows: np.ndarray, seed: int, outcome: Outcome | None) -> None:
        self.strategy, self.rows, self.seed = strategy, rows, seed
        self.outcome = _subsample(outcome, seed)
        guided = algorithms.named(strategy.algorithm).is_guided
        # Others never see it: their fits must not depend on whether somebody looks at their validity.
        self.teacher = self.outcome if guided else None
        self.distances = pairwise(rows)
        self.reference_rows = subset(rows, REFERENCE_USERS, seed)
        self.references = [] if guided else reference_sets(self.reference_rows, seed)

    def row(self, k: int) -> dict[str, Any]:
        """Measure one number of segments."""
        fit = refitter(self.strategy, k)
        labels = fit(self.rows, 3, self.seed, self.teacher).scores(self.rows).argmin(axis=1)
        smallest = float(np.bincount(labels, minlength=k).min() / len(self.rows))
        each = silhouettes(self.distances, labels)
        estimates = {
            "silhouette": (float(each.mean()), float(each.std() / np.sqrt(len(each)))),
            **separation_with_errors(self.rows, labels),
            "gap": self._gap(fit),
            "prediction_strength": mean_and_error(prediction_strengths(self.rows, fit, self.seed, self.teacher)),
            "stability": mean_and_error(agreements(self.rows, labels, fit, self.seed, self.teacher)),
            "validity": mean_and_error(validities(fit, self.seed, self.outcome)),
        }
        row: dict[str, Any] = {"k": k}
        for name in CRITERIA:
            value, error = estimates[name]
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
        """Return the gap statistic (Tibshirani, Walther and Hastie 2001) and its s(k)."""
        if not self.references:
            return float("nan"), float("nan")

        def log_within(rows: np.ndarray) -> float:
            labels = fit(rows, 1, self.seed, None).scores(rows).argmin(axis=1)
            return float(np.log(max(within(rows, labels), 1e-300)))

        observed = log_within(self.reference_rows)
        expected = np.array([log_within(reference) for reference in self.references])
        return float(expected.mean() - observed), float(expected.std() * np.sqrt(1 + 1 / len(expected)))


def _subsample(outcome: Outcome | None, seed: int) -> Outcome | None:
    """Draw at most SELECTION_USERS users of an outcome, in their order."""
    if outcome is None or len(outcome.frame) <= SELECTION_USERS:
        return outcome
    order = np.random.default_rng([seed, 3]).permutation(len(outcome.frame))
    return outcome.take(np.sort(order[:SELECTION_USERS]))


class Refit(Protocol):
    """Fit a strategy's algorithm at one k on any rows, from a number of random starts."""

    def __call__(self, rows: np.ndarray, starts: int, seed: int, outcome: Outcome | None) -> Fitted:
        """Fit."""
        ...


def refitter(strategy: Strategy, k: int) -> Refit:
    """Return fits of the strategy's algorithm at k.

    Slow members of the k-means family choose k with k-means: same geometry, a hundredth of the cost.
    """
    name = algorithms.named(strategy.algorithm).selects_with or strategy.algorithm
    parameters = strategy.parameters if name == strategy.algorithm else {}
    takes_starts = "starts" in algorithms.named(name).parameters

    def fit(rows: np.ndarray, starts: int, seed: int, outcome: Outcome | None) -> Fitted:
        given = {**parameters, **({"starts": starts} if takes_starts else {})}
        return algorithms.fit(name, rows, k, seed=seed, outcome=outcome, parameters=given)

    return fit


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of replications and its standard error; NaN without any."""
    if not len(values):
        return float("nan"), float("nan")
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def agreements(
    rows: np.ndarray, labels: np.ndarray, fit: Refit, seed: int, outcome: Outcome | None = None
) -> list[float]:
    """Return the adjusted Rand index of the labels with those of fits on bootstrap samples.

    What a guided algorithm learned from is drawn again too.
    """

    def refit(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        teacher = None if outcome is None else outcome.take(rng.integers(0, len(outcome.frame), len(outcome.frame)))
        return fit(rows[drawn], 1, int(rng.integers(2**31)), teacher).scores(rows).argmin(axis=1)

    generators = repeat(np.random.default_rng([seed, 1]), BOOTSTRAPS)
    refits = bootstrap(len(rows), min(len(rows), BOOTSTRAP_USERS), generators, refit)
    return [adjusted_rand(labels, others) for _, others in refits]


def prediction_strengths(rows: np.ndarray, fit: Refit, seed: int, outcome: Outcome | None = None) -> list[float]:
    """Return the prediction strength (Tibshirani and Walther 2005) of each random split in halves.

    Of the pairs that one half puts together, the share that the other half does too: the least over clusters, both
    ways round.
    """
    rng = np.random.default_rng([seed, 2])
    strengths = []
    for _ in range(SPLITS):
        order = rng.permutation(len(rows))[:SPLIT_USERS]
        halves = rows[np.sort(order[::2])], rows[np.sort(order[1::2])]
        if not len(halves[1]):
            return []
        teachers: list[Outcome | None] = [None, None]
        if outcome is not None:
            who = rng.permutation(len(outcome.frame))
            teachers = [outcome.take(np.sort(who[n::2])) for n in (0, 1)]
        fits = [fit(half, 1, int(rng.integers(2**31)), t) for half, t in zip(halves, teachers, strict=True)]
        both = [
            _pairs_together(fits[n].scores(halves[n]).argmin(axis=1), fits[1 - n].scores(halves[n]).argmin(axis=1))
            for n in (0, 1)
        ]
        strengths.append(float(np.mean(both)))
    return strengths


def _pairs_together(labels: np.ndarray, others: np.ndarray) -> float:
    """Return the share of a cluster's pairs that the other labels keep together: the least over clusters."""
    counts = np.zeros((labels.max() + 1, others.max() + 1))
    np.add.at(counts, (labels, others), 1.0)
    sizes = counts.sum(axis=1)
    pairs = sizes * (sizes - 1)
    # A cluster of one user has no pair to be broken, and none to show that it is one: 0.
    together = np.where(pairs > 0, (counts * (counts - 1)).sum(axis=1) / np.where(pairs > 0, pairs, 1.0), 0.0)
    return float(together[sizes > 0].min())


def validities(fit: Refit, seed: int, outcome: Outcome | None) -> list[float]:
    """Return the held-out share of the outcome's variance that groups explain, for each split in halves.

    Groups are fitted on one half of the users as they were on the earlier day, the mean outcome of each group is
    taken there, and the other half is predicted by it; both ways. In the square root, which large accounts do not own.
    """
    if outcome is None or outcome.X is None or not looks_ahead(outcome) or len(outcome.X) < 8:
        return []
    X = np.asarray(outcome.X)
    y = stabilized(outcome.values.to_numpy(dtype=np.float64))
    rng = np.random.default_rng([seed, 4])
    explained = []
    for _ in range(SPLITS):
        order = rng.permutation(len(X))
        halves = np.sort(order[::2]), np.sort(order[1::2])
        its_seed = int(rng.integers(2**31))
        both = []
        for train, held_out in (halves, halves[::-1]):
            labels = fit(X[train], 1, its_seed, outcome.take(train)).scores(X).argmin(axis=1)
            both.append(_explained(y, labels, train, held_out))
        explained.append(float(np.mean(both)))
    return explained


def _explained(y: np.ndarray, labels: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> float:
    """Return the share of the held-out variance that the training rows' means by label explain, averaged by column."""
    everyone = y[train].mean(axis=0)
    error = np.zeros(y.shape[1])
    for label in np.unique(labels[held_out]):
        learned = y[train[labels[train] == label]]
        measured = y[held_out[labels[held_out] == label]]
        error += ((measured - (learned.mean(axis=0) if len(learned) else everyone)) ** 2).sum(axis=0)
    total = ((y[held_out] - y[held_out].mean(axis=0)) ** 2).sum(axis=0)
    differs = spreads(y[held_out]) > 0
    return float(np.where(differs, 1.0 - error / np.where(differs, total, 1.0), 0.0).mean())


def reference_sets(rows: np.ndarray, seed: int) -> list[np.ndarray]:
    """Draw uniform data in the box of the principal axes of `rows`, for the gap statistic (its version b)."""
    middle = rows.mean(axis=0)
    centered = rows - middle
    _, axes = np.linalg.eigh(centered.T @ centered)
    turned = centered @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    rng = np.random.default_rng([seed, 5])
    return [rng.uniform(low, high, rows.shape) @ axes.T + middle for _ in range(REFERENCES)]


# ---- what each feature adds ------------------------------------------------------------------------------------


def drop_one(
    strategy: Strategy,
    X: np.ndarray,
    feature_of: Sequence[str],
    k: int,
    seed: int,
    outcome: Outcome | None = None,
) -> list[dict[str, Any]]:
    """Measure what each feature adds at k: what validity and stability lose without it, and how far groups hang on it.

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
    rows, outcome = subset(X, SELECTION_USERS, seed), _subsample(outcome, seed)
    owner = np.array(list(feature_of), dtype=object)
    fit = refitter(strategy, k)
    guided = algorithms.named(strategy.algorithm).is_guided

    def measured(columns: np.ndarray) -> tuple[np.ndarray, list[float], list[float]]:
        """Return labels, validities and agreements with these columns only."""
        part = rows[:, columns]
        its_outcome = None if outcome is None else outcome.take(np.arange(len(outcome.frame)), columns)
        teacher = its_outcome if guided else None
        labels = fit(part, 3, seed, teacher).scores(part).argmin(axis=1)
        return labels, validities(fit, seed, its_outcome), agreements(part, labels, fit, seed, teacher)

    table = []
    with one_thread():
        labels, valid, stable = measured(np.ones(X.shape[1], dtype=bool))
        for feature in dict.fromkeys(feature_of):
            others = owner != feature
            row: dict[str, Any] = {"feature": feature, "columns": int((~others).sum()), "agreement": None}
            row |= dict.fromkeys(("validity_added", "validity_added_error", "stability_added", "stability_added_error"))
            table.append(row)
            if not others.any():
                continue
            try:
                labels_without, valid_without, stable_without = measured(others)
            except (ValueError, ConfigError):
                continue  # written rules cannot do without a column they read
            row["agreement"] = adjusted_rand(labels, labels_without)
            for name, whole, rest in (("validity", valid, valid_without), ("stability", stable, stable_without)):
                if len(whole) and len(whole) == len(rest):
                    value, error = mean_and_error(np.subtract(whole, rest).tolist())
                    row[f"{name}_added"], row[f"{name}_added_error"] = value, error
    return rounded([{key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()} for row in table])
