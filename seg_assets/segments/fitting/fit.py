"""Fit a challenger: sample, space, number of segments, warm and cold start, identity, names; and settle a day.

`fit_challenger` is pure: a frame in, a model out. `settle_day` is what a day's decision is: it reads the lake,
asks whether a decision is due, makes it, and writes it. The Dagster face and the command line call it alike.
"""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from seg_assets.core import numerics
from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.core.numerics import fit_seed, rounded, sample_rows
from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.store import AGE, BOOTSTRAP, DRIFT, MANUAL, ROLLBACK, Decision
from seg_assets.segments.features import CATEGORIES, PROFILES, clustered_mask, day_categories, load_features
from seg_assets.segments.fitting import naming, stability
from seg_assets.segments.fitting.choosing import choose_k, within
from seg_assets.segments.fitting.identity import QUARTER, match, overlap_counts
from seg_assets.segments.fitting.reference import population
from seg_assets.segments.model import Segment, SegmentModel, settled
from seg_assets.segments.rules import history_days
from seg_assets.segments.space import FeatureSpace, numbers_of
from seg_assets.segments.strategy import CATEGORY_PREFIX, TEXT_COLUMNS, Strategy

# Raised by hand when fits come out differently for the same input: kept decisions are then made anew.
FIT_VERSION = "4"
# Algorithms whose clusters are ordered tiers, cluster 0 the highest.
TIERED = ("tiers", "outcome_tiers")
# A cold start must beat the warm one by this much inertia: below it, relabelling buys nothing.
COLD_GAIN = 0.01
LLOYD_ITERATIONS = 3


@dataclass(frozen=True)
class Challenger:
    """A fitted model that asks to replace the champion, or the reason why there is none.

    lineage: events (see identity.Match); overlap: users shared by each old and new segment.
    diagnostics: also kept in the model.
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
    users, sample, space, X, outcome = ready.users, ready.sample, ready.space, ready.X, ready.outcome
    old = _old_labels(champion, users, facts)
    old_of_sample = _old_labels(champion, sample, {})
    choice = choose_k(strategy, X, champion.n_clusters if champion else None, seed, outcome)
    k = choice.k
    facts.update(k_table=choice.rows, k_reason=choice.reason)
    fitted = _fit_best(strategy, X, k, seed, outcome, _warm_start(X, old_of_sample, champion), facts)
    X_all = space.transform(users) if len(users) > len(sample) else X
    fitted = _refined(strategy, fitted, X_all, facts)
    fitted, scores = _enforce_minimum_share(strategy, fitted, X_all, facts)
    facts["k"] = fitted.n_clusters
    nearest = scores.argmin(axis=1)
    labels = np.where(fitted.outliers(X_all, scores), -1, nearest)
    facts["outlier_share"] = float((labels < 0).mean())
    facts["inertia"] = within(X_all, nearest)
    drawn = X_all[sample_rows(users["user_id"], stability.STABILITY_SAMPLE, seed)]
    times = stability.REPLICATIONS if replications is None else replications
    facts["stability"] = stability.measure(strategy, fitted, drawn, seed, outcome, times).to_dict()
    found = match(
        strategy.name, champion.segment_ids if champion else [], old, labels, fitted.n_clusters, set(retired_ids)
    )
    sample_scores = fitted.scores(X)
    # Tiers are ordered, highest first, and named so.
    tiers_of = strategy.name.replace("_", " ") if fitted.ALGORITHM in TIERED else ""
    segments = _describe(found.ids, labels, sample, X, sample_scores.argmin(axis=1), space, champion, tiers_of)
    model = settled(SegmentModel(strategy.name, day, space, fitted, segments, facts))
    # A model is rounded to what is stored; where that changes nothing, it gives these very labels.
    same = (model.space.to_dict(), model.fitted.to_dict()) == (space.to_dict(), fitted.to_dict())
    return Challenger(
        model,
        lineage=found.lineage,
        overlap=found.overlap,
        relabelled=found.relabelled,
        diagnostics=model.diagnostics,
        labels=(None if champion is None or "champion_lacks" in facts else old, labels if same else None),
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
        told = "; ".join(f"{c}: {why}" for c, why in sorted(space.dropped.items()))
        return replace(nothing, reason=f"no usable feature ({told})")
    X = space.transform(sample)
    if numerics.distinct_rows(X) < 2:
        return replace(nothing, reason="all eligible users are alike in every feature")
    if outcome is not None:
        outcome = replace(outcome, X=space.transform(outcome.frame))
        facts["outcome_day"] = outcome.day.isoformat()
    return Prepared(users, sample, space, X, outcome, facts)


def _old_labels(champion: SegmentModel | None, users: pd.DataFrame, facts: dict[str, Any]) -> np.ndarray:
    """Index of each user's segment in the champion, -1 for none. Ids hang on users, so other features do no harm."""
    none = np.full(len(users), -1)
    if champion is None:
        return none
    gone = champion.space.missing_from(users)
    if gone:
        facts["champion_lacks"] = gone
    if set(gone) >= set(champion.space.sources):
        facts["champion_note"] = "none of the champion's features is in the profiles: all ids are new"
        return none
    return champion.labels(users.drop(columns=gone, errors="ignore"))


def _warm_start(X: np.ndarray, old: np.ndarray, champion: SegmentModel | None) -> np.ndarray | None:
    """Where the champion's segments are today, in the new space; None when one of them is empty."""
    if champion is None or len(np.unique(old[old >= 0])) < champion.n_clusters:
        return None
    return np.array([X[old == j].mean(axis=0) for j in range(champion.n_clusters)])


def _parameters(strategy: Strategy) -> dict[str, Any]:
    known = algorithms.module_of(strategy.algorithm).PARAMETERS
    return ({"starts": strategy.fit.starts} if "starts" in known else {}) | strategy.parameters


def _fit_best(
    strategy: Strategy,
    X: np.ndarray,
    k: int,
    seed: int,
    outcome: Outcome | None,
    start: np.ndarray | None,
    facts: dict[str, Any],
) -> Fitted:
    """Cold fit, and a warm one when the champion has as many segments; cold wins by COLD_GAIN less inertia."""

    def fitted_from(centers: np.ndarray | None) -> Fitted:
        return algorithms.fit(
            strategy.algorithm, X, k, seed=seed, start=centers, outcome=outcome, parameters=_parameters(strategy)
        )

    cold = fitted_from(None)
    facts["start"] = "cold"
    facts["inertia_cold"] = within(X, cold.scores(X).argmin(axis=1))
    can_start = getattr(algorithms.module_of(strategy.algorithm), "STARTS_WARM", False)
    if start is None or not can_start or len(start) != k:
        return cold
    warm = fitted_from(start)
    facts["inertia_warm"] = within(X, warm.scores(X).argmin(axis=1))
    if warm.n_clusters < cold.n_clusters or facts["inertia_cold"] < facts["inertia_warm"] * (1 - COLD_GAIN):
        return cold
    facts["start"] = "warm"
    return warm


def _refined(strategy: Strategy, fitted: Fitted, X: np.ndarray, facts: dict[str, Any]) -> Fitted:
    """A few full steps over all users, for algorithms whose module has `refine`, when a sample was drawn."""
    refine = getattr(algorithms.module_of(strategy.algorithm), "refine", None)
    if refine is None or len(X) <= facts["sample"]:
        return fitted
    facts["full_steps"] = LLOYD_ITERATIONS
    return refine(X, fitted, LLOYD_ITERATIONS)


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
    """(k,) share of all rows in each cluster, outliers in none; `scores` are those of X."""
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
    """Sizes from all users; centroids in original units, distinctions and names from the sample."""
    sizes = np.bincount(labels[labels >= 0], minlength=len(ids))
    numeric = {c: numbers_of(sample[c], np.nan) for c in _numeric_columns(sample)}
    spread = numerics.spreads(X)
    distinctions, means, medians = [], [], []
    for j in range(len(ids)):
        inside = sample_labels == j
        mean = X[inside].mean(axis=0) if inside.any() else X.mean(axis=0)
        apart = np.where(spread > 0, (mean - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)
        distinctions.append(dict(zip(space.columns, np.round(apart, 6).tolist(), strict=True)))
        mine = {c: v[inside & np.isfinite(v)] for c, v in numeric.items()}
        means.append({c: float(v.mean()) for c, v in mine.items() if len(v)})
        medians.append({c: float(np.median(v)) for c, v in mine.items() if len(v)})
        for axis in space.axes:
            if axis.level is not None and inside.any():
                means[j][axis.name] = float(axis.raw(sample)[inside].mean())
    before = {s.id: naming.Named(s.name, s.story) for s in champion.segments} if champion else {}
    if tiers_of:
        named = naming.name_tiers(ids, tiers_of, distinctions, means)
    else:
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
    skip = {"user_id", *TEXT_COLUMNS}
    return [c for c in frame.columns if c not in skip and pd.api.types.is_numeric_dtype(frame[c])]


# ---- a day's decision ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """Someone asks for a decision. `against_model_id`: the champion it was asked against; empty: whichever."""

    strategy: str
    day: dt.date
    cause: str
    against_model_id: str = ""
    attempt: int = 0
    note: str = ""


@dataclass(frozen=True)
class Settled:
    """What became of one strategy on one day.

    action: none (nothing due), kept (a decision was there and its inputs are unchanged), written, withdrawn.
    """

    strategy: str
    day: dt.date
    action: Literal["none", "kept", "written", "withdrawn"]
    reason: str
    decision: Decision | None = None
    challenger: Challenger | None = None
    dropped: tuple[dt.date, ...] = ()


def settle_day(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    seed: int,
    request: Request | None = None,
    force: bool = False,
) -> Settled:
    """Make, keep or withdraw the decision of a strategy on a day.

    Without a request: a first fit when one is due; a decision that is there is checked against its inputs and made
    anew when they changed. With one: the decision asked for, unless it is there already (promise 7) or was asked
    against a champion that no longer is.

    Args:
        lake: the lake.
        strategy: the strategy.
        day: the day.
        seed: `settings.seed`.
        request: what the sensor, the command line or a person asks for.
        force: make it anew though nothing changed.

    Raises:
        MissingDaysError: the profiles of the day were never materialized.
        ConfigError: a request that cannot be understood.
    """
    lake.require(PROFILES, [day], f"segment_model of {day}")
    lake.require(CATEGORIES, [day], f"segment_model of {day}")
    there = decisions.decisions_of_day(lake, strategy.name, day)
    derived = next((d for d in there if not d.by_hand), None)
    if request is not None and request.cause in decisions.BY_HAND:
        return _settle_by_hand(lake, strategy, day, seed, request, there)
    if request is not None and request.cause not in decisions.CAUSES:
        raise ConfigError(f"request.cause = {request.cause!r}: one of {', '.join(decisions.CAUSES)}")
    champion = decisions.champion_before(lake, strategy.name, day)
    cause = request.cause if request else (derived.cause if derived else BOOTSTRAP)
    if champion is None:
        cause = BOOTSTRAP
    elif cause == BOOTSTRAP:
        if derived is None:
            decisions.refresh_footer(lake, strategy.name, day)
            return Settled(strategy.name, day, "none", f"champion {champion.model_id} of {champion.day} is in force")
        return _withdrawn(lake, strategy, day, f"not the first fit any more: {champion.day} has one")
    if champion is not None and request is not None and request.against_model_id not in ("", champion.model_id):
        return Settled(
            strategy.name,
            day,
            "none",
            f"asked against model {request.against_model_id}, the champion is {champion.model_id} now",
            derived,
        )
    verdict = _verdict(lake, strategy, day) if cause in (DRIFT, AGE) else None
    if cause in (DRIFT, AGE):
        due = verdict is not None and verdict["cause"] != "" and verdict["model_id"] == _id(champion)
        if not due:
            why = "no verdict in drift_report" if verdict is None else "the verdict no longer asks for it"
            if derived is None:
                return Settled(strategy.name, day, "none", f"{cause} was asked for; {why} on {day}")
            return _withdrawn(lake, strategy, day, why)
        cause = str(verdict["cause"]) if verdict else cause
    inputs = _inputs(lake, strategy, day, seed, verdict["verdict_digest"] if verdict else NONE)
    if derived is not None and not force and derived.cause == cause and _unchanged(lake, derived, inputs):
        decisions.refresh_footer(lake, strategy.name, day)
        return Settled(strategy.name, day, "kept", f"{cause}: decided already, inputs unchanged", derived)
    return _decide(lake, strategy, day, seed, cause, champion, inputs, derived)


def _decide(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    seed: int,
    cause: str,
    champion: Decision | None,
    inputs: dict[str, str],
    derived: Decision | None,
) -> Settled:
    started = time.perf_counter()
    found, frame, outcome = _fit_on_lake(lake, strategy, day, seed, champion, cause)
    if found.model is None:
        if derived is not None:
            return _withdrawn(lake, strategy, day, f"{cause}: {found.reason}")
        return Settled(strategy.name, day, "none", f"{cause}: not fitted, {found.reason}", challenger=found)
    promote, reason, numbers = _judged(strategy, frame, champion, found, seed, outcome, cause)
    # Drift is measured with the model in force after this decision.
    in_force = found.model if promote or champion is None else champion.segment_model()
    decision = Decision(
        strategy=strategy.name,
        day=day,
        cause=cause,
        model=found.model.to_document(),
        promoted=promote,
        reason=reason,
        against_model_id=_id(champion),
        numbers=numbers,
        lineage=list(found.lineage),
        reference=_reference(
            strategy, frame, in_force, found.labels[1] if in_force is found.model else found.labels[0]
        ),
        inputs={**inputs, **(dict(outcome.inputs) if outcome is not None else {})},
    )
    return _write(lake, decision, found, started)


def _write(lake: Lake, decision: Decision, found: Challenger | None, started: float) -> Settled:
    later = {d.day for d in decisions.decisions(lake, decision.strategy) if d.day > decision.day and not d.by_hand}
    wrote = decisions.write_decision(lake, decision, {"seconds": round(time.perf_counter() - started, 3)})
    if not wrote:
        return Settled(decision.strategy, decision.day, "kept", "made anew, and the same", decision, found)
    return Settled(decision.strategy, decision.day, "written", decision.reason, decision, found, tuple(sorted(later)))


def _withdrawn(lake: Lake, strategy: Strategy, day: dt.date, why: str) -> Settled:
    gone = decisions.withdraw(lake, strategy.name, day)
    days = tuple(sorted({d.day for d in gone if d.day > day}))
    return Settled(strategy.name, day, "withdrawn", f"decision of {day} withdrawn: {why}", dropped=days)


def _fit_on_lake(
    lake: Lake, strategy: Strategy, day: dt.date, seed: int, champion: Decision | None, cause: str
) -> tuple[Challenger, pd.DataFrame, Outcome | None]:
    model = champion.segment_model() if champion else None
    frame = challenger_frame(lake, strategy, day, model)
    if cause == BOOTSTRAP:
        history = history_days(frame)
        if history < strategy.fit.minimum_history_days:
            reason = f"{history} days of history, fit.minimum_history_days is {strategy.fit.minimum_history_days}"
            return Challenger(None, reason), frame, None
    outcome = None
    users = population(strategy, frame)
    if len(users) >= strategy.fit.minimum_users:
        outcome = algorithms.outcome_for(strategy.algorithm, lake, strategy, day)
    used = decisions.used_ids(lake, strategy.name, day)
    found = fit_challenger(strategy, users, day, model, used, fit_seed(seed, strategy.name), outcome)
    if outcome is not None and found.model is not None:
        outcome = replace(outcome, X=found.model.space.transform(outcome.frame))
    return found, users, outcome


def challenger_frame(lake: Lake, strategy: Strategy, day: dt.date, champion: SegmentModel | None) -> pd.DataFrame:
    """The profiles of a day with what both a new fit and the champion need; the day's own categories come first."""
    names: list[str] | None = None
    extra: list[str] = []
    if champion is not None:
        extra = [c for c in champion.space.sources if not c.startswith(CATEGORY_PREFIX)]
        if strategy.category_top is not None or champion.space.categories:
            own = day_categories(lake, strategy, day)
            names = own + [c for c in champion.space.categories if c not in own]
    return load_features(lake, strategy, day, names, extra)


def _judged(
    strategy: Strategy,
    frame: pd.DataFrame,
    champion: Decision | None,
    found: Challenger,
    seed: int,
    outcome: Outcome | None,
    cause: str,
) -> tuple[bool, str, dict[str, Any]]:
    from seg_assets.segments.fitting.gate import judge

    if found.model is None:
        raise ConfigError(f"{strategy.name}: nothing to judge: {found.reason}")
    judged = judge(
        strategy,
        frame,
        champion.segment_model() if champion else None,
        found.model,
        found.lineage,
        fit_seed(seed, strategy.name),
        outcome=outcome,
        known=found.labels,
    )
    numbers = rounded(dict(judged.numbers))
    numbers["overlap"] = list(found.overlap)
    if cause == MANUAL and not judged.promote:
        return True, f"promoted by hand; the gate would have said: {judged.reason}", numbers
    return bool(judged.promote), judged.reason, numbers


def _reference(
    strategy: Strategy, frame: pd.DataFrame, model: SegmentModel, labels: np.ndarray | None = None
) -> dict[str, Any]:
    from seg_assets.segments.fitting.reference import make_reference

    return rounded(make_reference(strategy, frame, model, labels))


def _settle_by_hand(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    seed: int,
    request: Request,
    there: Sequence[Decision],
) -> Settled:
    """A manual re-clustering is always promoted, a rollback brings back the champion before the present one."""
    started = time.perf_counter()
    twin = next(
        (d for d in there if d.cause == request.cause and d.inputs.get("request") == _request_digest(request)), None
    )
    if twin is not None:
        return Settled(strategy.name, day, "kept", f"{request.cause}: done already", twin)
    champion = decisions.champion_as_of(lake, strategy.name, day)
    if request.against_model_id not in ("", _id(champion)):
        reason = f"asked against model {request.against_model_id}, the champion is {_id(champion) or 'none'} now"
        return Settled(strategy.name, day, "none", reason)
    inputs = {**_inputs(lake, strategy, day, seed, NONE), "request": _request_digest(request)}
    if request.cause == ROLLBACK:
        champion, back = check_rollback(lake, strategy.name, day)
        model = back.segment_model()
        frame = challenger_frame(lake, strategy, day, model)
        decision = Decision(
            strategy=strategy.name,
            day=day,
            cause=ROLLBACK,
            model=back.model,
            promoted=True,
            reason=f"rolled back to model {back.model_id} of {back.model['fit_day']}"
            + (f": {request.note}" if request.note else ""),
            against_model_id=champion.model_id,
            numbers={"rolled_back": champion.model_id, "from_day": champion.day.isoformat()},
            lineage=rollback_lineage(strategy, champion.segment_model(), model, frame),
            reference=_reference(strategy, frame, model),
            inputs=inputs,
        )
        return _write(lake, decision, None, started)
    found, frame, outcome = _fit_on_lake(lake, strategy, day, seed, champion, MANUAL)
    if found.model is None:
        return Settled(strategy.name, day, "none", f"manual: not fitted, {found.reason}", challenger=found)
    _, reason, numbers = _judged(strategy, frame, champion, found, seed, outcome, MANUAL)
    decision = Decision(
        strategy=strategy.name,
        day=day,
        cause=MANUAL,
        model=found.model.to_document(),
        promoted=True,
        reason=reason + _noted(request),
        against_model_id=_id(champion),
        numbers=numbers,
        lineage=list(found.lineage),
        reference=_reference(strategy, frame, found.model, found.labels[1]),
        inputs={**inputs, **(dict(outcome.inputs) if outcome is not None else {})},
    )
    return _write(lake, decision, found, started)


def _noted(request: Request) -> str:
    return f" ({request.note})" if request.note else ""


def check_rollback(lake: Lake, strategy: str, day: dt.date) -> tuple[Decision, Decision]:
    """The decision that a rollback on `day` undoes, and the one whose model it brings back.

    Raises:
        ConfigError: there is no model, `day` is before the decision to be undone, or nothing came before it.
    """
    promoted = [d for d in decisions.decisions(lake, strategy) if d.promoted]
    if not promoted:
        raise ConfigError(f"rollback of {strategy} on {day}: it has no model yet, so there is nothing to undo")
    last = promoted[-1]
    if day < last.day:
        raise ConfigError(
            f"rollback of {strategy} on {day}: the champion {last.model_id} was promoted on {last.day} ({last.cause}), "
            f"after that; history is not rewritten, so give {last.day} or a later day"
        )
    back = rollback_target(lake, strategy, day)
    if back is None:
        raise ConfigError(
            f"rollback of {strategy} on {day}: there is no earlier champion to go back to: {last.model_id} of "
            f"{last.day} ({last.cause}) is the first one, or the last that earlier rollbacks left"
        )
    return last, back


def rollback_target(lake: Lake, strategy: str, day: dt.date) -> Decision | None:
    """The champion to go back to: the last promoted decision whose model is not, and was not replaced by, the present.

    Two rollbacks in a row go two models back, they do not swing between two.
    """
    stack: list[Decision] = []
    for decision in decisions.decisions(lake, strategy):
        if decision.day > day or not decision.promoted:
            continue
        if decision.cause == ROLLBACK:
            while stack and stack[-1].model_id != decision.model_id:
                stack.pop()
        # The past may have been made anew since a rollback: its model then stands where it was brought back.
        if decision.cause != ROLLBACK or not stack:
            stack.append(decision)
    return stack[-2] if len(stack) > 1 else None


def rollback_request(
    lake: Lake, strategy: str, day: dt.date, note: str = "", again: bool = False
) -> tuple[Request, Decision | None]:
    """The request of a rollback on a day, and the decision that is there already when it was done before.

    Asked twice on a day, a rollback is done once; `again`: go one model further back on the same day.

    Raises:
        ConfigError: see check_rollback.
    """
    there = [d for d in decisions.decisions_of_day(lake, strategy, day) if d.cause == ROLLBACK]
    present = decisions.champion_as_of(lake, strategy, day)
    done = present if present in there and not again else None
    if done is None:
        check_rollback(lake, strategy, day)
    return Request(strategy, day, ROLLBACK, attempt=len(there), note=note), done


def rollback_lineage(
    strategy: Strategy, present: SegmentModel, back: SegmentModel, frame: pd.DataFrame
) -> list[dict[str, Any]]:
    """Ids that stay, end, and come back, with the users of the day that both models put there.

    A rollback is the one case in which an ended id lives again: as the very segment that it was.
    """
    users = frame[clustered_mask(strategy, frame)].reset_index(drop=True)
    olds, news = present.segment_ids, back.segment_ids
    labels = (_old_labels(present, users, {}), _old_labels(back, users, {}))
    counts = overlap_counts(*labels, len(olds), len(news))
    of_old = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    of_new = counts / np.maximum(counts.sum(axis=0, keepdims=True), 1)

    def row(event: str, there: list[int], here: list[int]) -> dict[str, Any]:
        shared = int(counts[np.ix_(there, here)].sum()) if there and here else 0
        return {
            "event": event,
            "old_ids": [olds[i] for i in there],
            "new_ids": [news[j] for j in here],
            "shared_users": shared,
            "share_of_old": round(shared / max(int(counts[there].sum()), 1), 6) if there else 0.0,
            "share_of_new": round(shared / max(int(counts[:, here].sum()), 1), 6) if here else 0.0,
        }

    rows = [row("survive", [olds.index(i)], [news.index(i)]) for i in sorted(set(olds) & set(news))]
    for i in sorted(set(olds) - set(news)):
        at = olds.index(i)
        rows.append(row("death", [at], [j for j in range(len(news)) if of_old[at, j] >= QUARTER]))
    for i in sorted(set(news) - set(olds)):
        at = news.index(i)
        rows.append(row("revival", [j for j in range(len(olds)) if of_new[j, at] >= QUARTER], [at]))
    return rows


def _request_digest(request: Request) -> str:
    return digest([request.strategy, request.day.isoformat(), request.cause, request.against_model_id, request.attempt])


def _id(decision: Decision | None) -> str:
    return decision.model_id if decision else ""


def _inputs(lake: Lake, strategy: Strategy, day: dt.date, seed: int, verdict: str) -> dict[str, str]:
    """Digests of what a decision is made from."""
    found = {
        "strategy": strategy.fit_digest(),
        "seed": str(seed),
        "fit_version": FIT_VERSION,
        "verdict": verdict,
        "segment_model:to_yesterday": decisions.history_digest(lake, strategy.name, day),
    }
    for table in (PROFILES, CATEGORIES):
        provenance = lake.provenance(table, day)
        if provenance is None:
            raise MissingDaysError(f"{table} of {day} was never materialized; materialize it first")
        found[f"{table}:day"] = provenance.content_hash
    return found


def _unchanged(lake: Lake, decision: Decision, inputs: Mapping[str, str]) -> bool:
    """Whether every input, those of an outcome too, has the digest that the decision was made from."""
    now = dict(inputs)
    for key, (table, day) in decision.days_read().items():
        if day != decision.day:
            found = lake.provenance(table, day)
            now[key] = found.content_hash if found else NONE
    return all(decision.current_inputs.get(key) == value for key, value in now.items())


def _verdict(lake: Lake, strategy: Strategy, day: dt.date) -> dict[str, Any] | None:
    """The drift_report row of a strategy, None when the day has none."""
    if not lake.has("drift_report", day):
        return None
    rows = lake.read("drift_report", day, ["strategy", "model_id", "cause", "verdict_digest"])
    mine = rows[rows["strategy"] == strategy.name]
    if not len(mine):
        return None
    return {k: ("" if pd.isna(v) else v) for k, v in mine.iloc[0].to_dict().items()}
