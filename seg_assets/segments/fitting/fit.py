"""Fit a challenger: sample, space, number of segments, warm and cold start, permanent ids, names.

`fit_challenger` is pure: a frame in, a model out.

Not here: whether a fit is due and what becomes of it (`decisions.decide`), and whether it is promoted (`gate`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.numerics import distinct_rows, sample_rows, spreads
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.fitting import naming, stability
from seg_assets.segments.fitting.choosing import choose_k
from seg_assets.segments.fitting.identity import match
from seg_assets.segments.fitting.indices import within
from seg_assets.segments.model import Segment, SegmentModel, as_stored
from seg_assets.segments.rules import population
from seg_assets.segments.space import FeatureSpace, numbers_of
from seg_assets.segments.strategy import TEXT_COLUMNS, Strategy

# Raised by hand when fits come out differently for the same input: decisions are then made anew.
FIT_VERSION = "4"
# A cold start must leave less inertia than the warm one by this share of it: below that, relabelling buys nothing.
COLD_GAIN = 0.01
LLOYD_ITERATIONS = 3


@dataclass(frozen=True)
class Challenger:
    """A fitted model that asks to replace the champion, or the reason why there is none.

    lineage: events (see identity.Match); overlap: users shared by each old and new segment.
    diagnostics: those of the model.
    labels: (n,) what `SegmentModel.labels` of the champion and of the model say of the users that took part; None
        where that was not needed.
    """

    model: SegmentModel | None
    reason: str = ""
    lineage: tuple[Mapping[str, Any], ...] = ()
    overlap: tuple[Mapping[str, Any], ...] = ()
    relabelled: float = 0.0
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[np.ndarray | None, np.ndarray | None] = field(default=(None, None), repr=False, compare=False)


def fit_challenger(
    strategy: Strategy,
    frame: pd.DataFrame,
    day: dt.date,
    champion: SegmentModel | None,
    retired_ids: Sequence[str] | set[str] = (),
    seed: int = 0,
    outcome: Outcome | None = None,
    replications: int | None = None,
) -> Challenger:
    """Fit a model on the clustered users of `frame`.

    Args:
        strategy: what to fit.
        frame: profiles of `day` from load_features, with the champion's categories too.
        day: the fit day.
        champion: the model in force; gives ids, a warm start, a k to stay with, and names.
        retired_ids: every id ever used.
        seed: of everything random.
        outcome: for outcome-guided algorithms.
        replications: of the bootstrap stability that the model keeps, default 20; 0: not measured.

    Returns:
        A challenger whose `model` is None, with the reason, when there are too few users, no usable feature, or
        users that are all alike.
    """
    ready = prepare(strategy, frame, seed, outcome)
    facts = ready.facts
    if ready.reason:
        return Challenger(None, ready.reason, diagnostics=facts)
    algorithm = algorithms.named(strategy.algorithm)
    users, sample, space, X, outcome = ready.users, ready.sample, ready.space, ready.X, ready.outcome
    old_labels = labels_of_known(champion, users, facts)
    old_of_sample = labels_of_known(champion, sample)
    choice = choose_k(strategy, X, champion.n_clusters if champion else None, seed, outcome)
    facts.update(k_table=choice.rows, k_reason=choice.reason)
    fitted = _fit_best(strategy, X, choice.k, seed, outcome, _warm_start(X, old_of_sample, champion), facts)
    X_all = space.transform(users) if len(users) > len(sample) else X
    fitted = _refined(strategy, fitted, X_all, facts)
    fitted, scores = _enforce_minimum_share(strategy, fitted, X_all, facts)
    facts["k"] = fitted.n_clusters
    nearest = scores.argmin(axis=1)
    labels = np.where(fitted.outliers(X_all, scores), -1, nearest)
    facts["outlier_share"] = float((labels < 0).mean())
    facts["inertia"] = within(X_all, nearest)
    resampled = X_all[sample_rows(users["user_id"], stability.STABILITY_SAMPLE, seed)]
    times = stability.REPLICATIONS if replications is None else replications
    facts["stability"] = stability.measure(strategy, fitted, resampled, seed, outcome, times).to_dict()
    matched = match(
        strategy.name, champion.segment_ids if champion else [], old_labels, labels, fitted.n_clusters, set(retired_ids)
    )
    tiers_of = strategy.name.replace("_", " ") if algorithm.is_ordered else ""
    sample_labels = fitted.scores(X).argmin(axis=1)
    segments = _describe(matched.ids, labels, sample, X, sample_labels, space, champion, tiers_of)
    model = as_stored(
        SegmentModel(strategy.name, day, space, fitted, segments, facts, algorithm_version=algorithm.version)
    )
    # A model is rounded to what is stored; where that changes nothing, it gives these very labels.
    same = (model.space.to_dict(), model.fitted.to_dict()) == (space.to_dict(), fitted.to_dict())
    return Challenger(
        model,
        lineage=matched.lineage,
        overlap=matched.overlap,
        relabelled=matched.relabelled,
        diagnostics=model.diagnostics,
        labels=(None if champion is None or "champion_lacks" in facts else old_labels, labels if same else None),
    )


@dataclass(frozen=True)
class Prepared:
    """What a fit begins with: clustered users, the sample drawn of them, its space and rows; or why there is none."""

    users: pd.DataFrame
    sample: pd.DataFrame
    space: FeatureSpace
    X: np.ndarray
    outcome: Outcome | None
    facts: dict[str, Any]
    reason: str = ""


def prepare(strategy: Strategy, frame: pd.DataFrame, seed: int, outcome: Outcome | None = None) -> Prepared:
    """Draw the sample of a fit and fit its space. `reason` says why nothing can be fitted."""
    users = population(strategy, frame)
    facts: dict[str, Any] = {"users": len(users)}
    nothing = Prepared(users, users.iloc[:0], FeatureSpace(()), np.empty((0, 0)), None, facts)
    if len(users) < strategy.fit.minimum_users:
        reason = f"{len(users)} eligible users, fit.minimum_users is {strategy.fit.minimum_users}"
        return replace(nothing, reason=reason)
    sample = users.iloc[sample_rows(users["user_id"], strategy.fit.sample, seed)].reset_index(drop=True)
    space = FeatureSpace.fit(sample, strategy)
    facts.update(sample=len(sample), dropped=dict(space.dropped))
    if not space.axes:
        reasons = "; ".join(f"{c}: {why}" for c, why in sorted(space.dropped.items()))
        return replace(nothing, reason=f"no usable feature ({reasons})")
    X = space.transform(sample)
    if distinct_rows(X) < 2:
        return replace(nothing, reason="all eligible users are alike in every feature")
    if outcome is not None:
        outcome = in_space(outcome, space)
        facts["outcome_day"] = outcome.day.isoformat()
    return Prepared(users, sample, space, X, outcome, facts)


def in_space(outcome: Outcome, space: FeatureSpace) -> Outcome:
    """Return an outcome with its features in a model's space."""
    return replace(outcome, X=space.transform(outcome.frame))


def labels_of_known(
    champion: SegmentModel | None, users: pd.DataFrame, facts: dict[str, Any] | None = None
) -> np.ndarray:
    """Return the index of each user's segment in the champion, -1 for none, from the features that it finds.

    Ids hang on users, so features that are gone do no harm; `facts` takes up which.
    """
    none = np.full(len(users), -1)
    if champion is None:
        return none
    facts = {} if facts is None else facts
    gone = champion.space.missing_from(users)
    if gone:
        facts["champion_lacks"] = gone
    if set(gone) >= set(champion.space.sources):
        facts["champion_note"] = "none of the champion's features is in the profiles: all ids are new"
        return none
    return champion.labels(users.drop(columns=gone, errors="ignore"))


def _warm_start(X: np.ndarray, labels: np.ndarray, champion: SegmentModel | None) -> np.ndarray | None:
    """Return where the champion's segments are today, in the new space; None when one of them is empty."""
    if champion is None or len(np.unique(labels[labels >= 0])) < champion.n_clusters:
        return None
    return np.array([X[labels == j].mean(axis=0) for j in range(champion.n_clusters)])


def fit_parameters(strategy: Strategy) -> dict[str, Any]:
    """Return the parameters of a fit: the strategy's own, with `fit.starts` where the algorithm has random starts."""
    takes_starts = "starts" in algorithms.named(strategy.algorithm).parameters
    return ({"starts": strategy.fit.starts} if takes_starts else {}) | strategy.parameters


def _fit_best(
    strategy: Strategy,
    X: np.ndarray,
    k: int,
    seed: int,
    outcome: Outcome | None,
    start: np.ndarray | None,
    facts: dict[str, Any],
) -> Fitted:
    """Fit cold, and warm when the champion has as many segments; cold wins by COLD_GAIN less inertia."""

    def fitted_from(centers: np.ndarray | None) -> Fitted:
        return algorithms.fit(
            strategy.algorithm, X, k, seed=seed, start=centers, outcome=outcome, parameters=fit_parameters(strategy)
        )

    cold = fitted_from(None)
    facts["start"] = "cold"
    facts["inertia_cold"] = within(X, cold.scores(X).argmin(axis=1))
    if start is None or not algorithms.named(strategy.algorithm).starts_warm or len(start) != k:
        return cold
    warm = fitted_from(start)
    facts["inertia_warm"] = within(X, warm.scores(X).argmin(axis=1))
    if warm.n_clusters < cold.n_clusters or facts["inertia_cold"] < facts["inertia_warm"] * (1 - COLD_GAIN):
        return cold
    facts["start"] = "warm"
    return warm


def _refined(strategy: Strategy, fitted: Fitted, X: np.ndarray, facts: dict[str, Any]) -> Fitted:
    """Take a few full steps over all users after a fit on a sample, where the algorithm can."""
    if len(X) <= facts["sample"]:
        return fitted
    refined = algorithms.named(strategy.algorithm).refine(X, fitted, LLOYD_ITERATIONS)
    if refined is None:
        return fitted
    facts["full_steps"] = LLOYD_ITERATIONS
    return refined


def _enforce_minimum_share(
    strategy: Strategy, fitted: Fitted, X: np.ndarray, facts: dict[str, Any]
) -> tuple[Fitted, np.ndarray]:
    """Dissolve the smallest segment while it is under the minimum share; its users go to their next nearest.

    Returns:
        The clustering that is left, and its scores of X.
    """
    dissolved = 0
    scores = fitted.scores(X)
    while fitted.n_clusters > 1:
        shares = shares_of(fitted, X, scores)
        if shares.min() >= strategy.minimum_share:
            break
        fewer = fitted.without(int(shares.argmin()))
        if fewer is None:
            facts["note"] = (
                f"a segment holds {shares.min():.2%}, under minimum_share {strategy.minimum_share:.2%}: "
                f"{strategy.algorithm} cannot dissolve one"
            )
            break
        fitted, dissolved = fewer, dissolved + 1
        scores = fitted.scores(X)
    if dissolved:
        facts["dissolved"] = dissolved
        facts["note"] = (
            f"{dissolved} segments under minimum_share {strategy.minimum_share:.2%} dissolved, "
            f"{fitted.n_clusters} left (k.min is {strategy.k.min})"
        )
    return fitted, scores


def shares_of(fitted: Fitted, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (k,) the share of all rows in each cluster, outliers in none; `scores` are those of X."""
    inside = ~fitted.outliers(X, scores)
    return np.bincount(scores.argmin(axis=1)[inside], minlength=fitted.n_clusters) / max(len(X), 1)


# ---- segments in words and numbers -----------------------------------------------------------------------------


def _describe(
    ids: Sequence[str],
    labels: np.ndarray,
    sample: pd.DataFrame,
    X: np.ndarray,
    sample_labels: np.ndarray,
    space: FeatureSpace,
    champion: SegmentModel | None,
    tiers_of: str = "",
) -> tuple[Segment, ...]:
    """Describe segments: sizes from all users; centroids in original units, distinctions and names from the sample.

    tiers_of: what ordered tiers are named after; '' for segments without an order.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=len(ids))
    numeric = {c: numbers_of(sample[c], np.nan) for c in _numeric_columns(sample)}
    spread = spreads(X)
    distinctions, means, medians = [], [], []
    for j in range(len(ids)):
        inside = sample_labels == j
        mean = X[inside].mean(axis=0) if inside.any() else X.mean(axis=0)
        apart = np.where(spread > 0, (mean - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)
        distinctions.append(dict(zip(space.columns, np.round(apart, 6).tolist(), strict=True)))
        known = {c: v[inside & np.isfinite(v)] for c, v in numeric.items()}
        means.append({c: float(v.mean()) for c, v in known.items() if len(v)})
        medians.append({c: float(np.median(v)) for c, v in known.items() if len(v)})
        for axis in space.axes:
            if axis.level is not None and inside.any():
                means[j][axis.name] = float(axis.raw(sample)[inside].mean())
    if tiers_of:
        named = naming.name_tiers(ids, tiers_of, distinctions, means)
    else:
        before = {s.id: naming.Named(s.name, s.story) for s in champion.segments} if champion else {}
        named = naming.name_segments(ids, distinctions, means, before)
    total = max(int((labels >= 0).sum()), 1)
    return tuple(
        Segment(
            id=ids[j],
            name=named[j].name,
            size=int(sizes[j]),
            share=float(sizes[j] / total),
            means=means[j],
            medians=medians[j],
            distinctions=distinctions[j],
            story=named[j].story,
        )
        for j in range(len(ids))
    )


def _numeric_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a frame of profiles that hold numbers."""
    skip = {"user_id", *TEXT_COLUMNS}
    return [c for c in frame.columns if c not in skip and pd.api.types.is_numeric_dtype(frame[c])]
