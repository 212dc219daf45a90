"""Read what validity needs from the lake: who was known on a day, what they did after it, how a recipe labels them.

The maths is in `validity` and `baselines`; nothing here writes.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seg_assets.core.numerics import fit_seed, one_thread, sample_rows
from seg_assets.evaluation import baselines
from seg_assets.evaluation.internal import adjusted_rand_index, labels_table
from seg_assets.evaluation.validity import Outcomes, outcomes_between
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.features import load_columns, load_features
from seg_assets.segments.fitting.fit import fit_challenger, fit_parameters, in_space
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.fitting.stability import bootstrap
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import population
from seg_assets.segments.strategy import PROFILE_COLUMNS, Clusters, Strategy

PROFILES = "user_profiles"
CATEGORIES = "user_category_profiles"
# A quarter, and the longest window of a profile: category shares of D are then exactly those of the horizon.
HORIZON_DAYS = 90
TOTALS = ("monetary_all", "orders_all", "active_days_all", "coupons_all")
# Users judged at most: drawn by hash, the same every day. Intervals say what that costs.
MOST_USERS = 50_000


@dataclass(frozen=True)
class Origin:
    """A day, the profiles of the users known on it (sorted by user_id), and what they did in the days after."""

    day: dt.date
    frame: pd.DataFrame
    outcomes: Outcomes


def load_origin(lake: Lake, day: dt.date, horizon_days: int = HORIZON_DAYS) -> Origin:
    """The users known on `day` and their outcomes up to day + horizon.

    Raises:
        MissingDaysError: when the profiles of one of the two days were never materialized.
    """
    later = day + dt.timedelta(days=horizon_days)
    then = read_profiles(lake, day)
    after = read_profiles(lake, later)
    shares = None
    if horizon_days == HORIZON_DAYS and lake.has(CATEGORIES, later):
        shares = lake.read(CATEGORIES, later, ["user_id", "category", "share_90d"])
    if len(then) > MOST_USERS:
        then = then.iloc[sample_rows(then["user_id"], MOST_USERS, "validity00000000")].reset_index(drop=True)
    return Origin(day, then, outcomes_between(then, after, shares))


def labels_side_by_side(
    origin: Origin, strategy: Strategy, frame: pd.DataFrame, models: Sequence[SegmentModel]
) -> tuple[list[np.ndarray], Outcomes]:
    """What each model calls the users who take part in clustering, and what those users did since.

    Args:
        origin: the day, with the users whose outcomes are known.
        strategy: says who takes part.
        frame: profiles of that day with what the models read.
        models: any number.

    Returns:
        (n,) segment ids per model, and the outcomes of the same n users.
    """
    known = pd.Index(origin.frame["user_id"])
    users = population(strategy, frame)
    users = users[users["user_id"].isin(known)].reset_index(drop=True)
    labels = [m.assign(users)["segment_id"].to_numpy(dtype=object).astype(str) for m in models]
    return labels, origin.outcomes.rows(known.get_indexer(pd.Index(users["user_id"])))


def read_profiles(lake: Lake, day: dt.date) -> pd.DataFrame:
    """The columns that outcomes and baselines read, sorted by user_id; a column the shop lacks is null."""
    return load_columns(lake, day, sorted({*TOTALS, *baselines.COLUMNS}))


def group_baselines(origin: Origin, k: int, forecast: np.ndarray, seed: int) -> Mapping[str, np.ndarray]:
    """Every baseline with k groups; `forecast` is the BG/NBD one."""
    return {
        **baselines.baseline_labels(origin.frame, k, seed),
        "bg_nbd_quantile": baselines.forecast_labels(forecast, k),
    }


def single_baselines(origin: Origin, earlier: Origin | None, forecast: np.ndarray) -> Mapping[str, np.ndarray]:
    """Baselines whose number of groups is their own, and numbers per user.

    earlier: an origin whose outcomes end on or before this day, for what is learned from the past.
    """
    found = {
        "rfm_cells": baselines.rfm_cells(origin.frame),
        "last_period": baselines.last_period(origin.frame),
        "bg_nbd": forecast,
    }
    learned = earlier is not None and len(earlier.frame) > 0
    threshold = baselines.hiatus_threshold(earlier.frame, earlier.outcomes.lapsed) if learned and earlier else 30.0
    return {**found, "hiatus_rule": baselines.hiatus(origin.frame, threshold)}


def fixed_k(strategy: Strategy, k: int) -> Strategy:
    """The strategy's recipe at exactly k segments: `minimum_share` gives way, or k could not be kept."""
    return strategy.model_copy(update={"k": Clusters(min=k, max=k), "minimum_share": 0.0})


def fitted_labels(lake: Lake, strategy: Strategy, day: dt.date, users: pd.Series, seed: int) -> "Labels":
    """Fit the recipe on `day`, from the lake as of that day, and label the given users.

    Raises:
        MissingDaysError: when a day that the recipe learns from was never materialized.
    """
    frame = load_features(lake, strategy, day)
    outcome = outcome_for(strategy.algorithm, lake, strategy, day)
    found = fit_challenger(strategy, frame, day, None, (), fit_seed(seed, strategy.name), outcome, replications=0)
    if found.model is None:
        return Labels(np.zeros(len(users), dtype=np.int64), np.full(len(users), "unassigned"), None, found.reason)
    frame = frame.set_index("user_id", drop=False).loc[users].reset_index(drop=True)
    nearest = found.model.assign(frame)["segment_id"].to_numpy(dtype=object).astype(str)
    return Labels(nearest, _with_rules(strategy, frame, found.model, day), found.model, "", frame, outcome)


@dataclass(frozen=True)
class Labels:
    """Labels of the users of an origin: by nearest segment for everyone, and as shipped, with rule segments."""

    nearest: np.ndarray
    shipped: np.ndarray
    model: SegmentModel | None
    reason: str = ""
    frame: pd.DataFrame | None = None
    outcome: algorithms.Outcome | None = None


def _with_rules(strategy: Strategy, frame: pd.DataFrame, model: SegmentModel, day: dt.date) -> np.ndarray:
    from seg_assets.segments.daily.assign import assign_day

    return assign_day(strategy, frame, model, None, day)["segment_id"].to_numpy(dtype=object).astype(str)


def bootstrap_ari(strategy: Strategy, labels: Labels, day: dt.date, seed: int, replications: int) -> float:
    """Mean adjusted Rand index of the labels with those of refits on bootstrap samples of the users.

    A user drawn twice counts twice, in the fit day's features and in the outcome; everyone is labelled.
    """
    if labels.model is None or labels.frame is None or replications < 1:
        return float("nan")
    space, k = labels.model.space, labels.model.n_clusters
    users = population(strategy, labels.frame)
    X, X_all = space.transform(users), space.transform(labels.frame)
    base = labels.model.scores(X_all).argmin(axis=1)
    outcome = None if labels.outcome is None else in_space(labels.outcome, space)
    names, seed = users["user_id"].to_numpy(dtype=object).astype(str), fit_seed(seed, strategy.name)

    def refit(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        teacher = outcome
        if outcome is not None:
            known = outcome.frame["user_id"].to_numpy(dtype=object).astype(str)
            times = pd.Series(names[drawn]).value_counts().reindex(known).fillna(0).to_numpy(dtype=np.int64)
            teacher = outcome.take(np.repeat(np.arange(len(known)), times))
        parameters = fit_parameters(strategy)
        fitted = algorithms.fit(strategy.algorithm, X[drawn], k, seed=seed, outcome=teacher, parameters=parameters)
        return fitted.scores(X_all).argmin(axis=1)

    generators = (np.random.default_rng([seed, 13, replication]) for replication in range(replications))
    refits = bootstrap(len(users), len(users), generators, refit)
    return float(np.mean([adjusted_rand_index(labels_table(base, others)) for _, others in refits]))


def boosted_ceiling(lake: Lake, strategy: Strategy, origin: Origin, seed: int) -> np.ndarray:
    """What the profiles could say at best: gradient boosting (Friedman 2001) on every number in them.

    Not a fair rival: it learns from what other users did in the very days it predicts (five folds over users).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    numbers = sorted(c for c in PROFILE_COLUMNS if c.endswith(("_7d", "_28d", "_90d", "_all")) and "top_" not in c)
    frame = load_features(lake, strategy, origin.day, extra=[*numbers, "recency_days", "tenure_days"])
    frame = frame.set_index("user_id").loc[origin.frame["user_id"]]
    known = [c for c in [*numbers, "recency_days", "tenure_days"] if frame[c].notna().any()]
    X, y = frame[known].to_numpy(dtype=np.float64), origin.outcomes.spend
    fold, forecast = np.arange(len(y)) % 5, np.zeros(len(y))
    with one_thread():
        for f in range(5):
            model = HistGradientBoostingRegressor(max_iter=80, learning_rate=0.06, max_leaf_nodes=8, random_state=seed)
            forecast[fold == f] = model.fit(X[fold != f], y[fold != f]).predict(X[fold == f])
    return forecast


def origin_days(first: dt.date, last: dt.date, step_days: int) -> Sequence[dt.date]:
    """Every `step_days` from first to last, both ends within."""
    return [first + dt.timedelta(days=n) for n in range(0, (last - first).days + 1, step_days)]
