"""Judge segments from the lake: who was known on a day, what they did after it, how a recipe labels them.

`validity_of_day` gives the rows of `segment_validity`; nothing is written.

Not here: the measures (`evaluation.validity`), the baselines (`evaluation.baselines`), and what the Dagster UI shows
(`evaluation.validity_assets`).
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.numerics import fit_seed, one_thread, sample_rows
from seg_assets.core.tables import TABLES
from seg_assets.evaluation import baselines
from seg_assets.evaluation.validity import Outcomes, judge, outcomes_between
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.features import load_columns, load_features
from seg_assets.segments.fitting.fit import fit_challenger, fit_parameters, in_space
from seg_assets.segments.fitting.indices import adjusted_rand
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.fitting.stability import bootstrap
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import population
from seg_assets.segments.strategy import PROFILE_COLUMNS, Clusters, Strategy

TABLE = "segment_validity"
SCHEMA = TABLES[TABLE].types
# Metric of `evaluation.validity` to (outcome, metric) of the table.
PLACES = {
    "r2": ("spend", "r2"),
    "r2_crossfit": ("spend", "r2_crossfit"),
    "spearman": ("spend", "spearman"),
    "lapse_auc": ("lapse", "auc"),
    "active_r2": ("activity", "r2"),
    "mix": ("category_mix", "explained"),
    "coupon_auc": ("coupon", "auc"),
}
# What an analyst would run in an afternoon. Strategies that learn from spend must say more about it than these.
RIVALS = ("rfm_total", "monetary_quantile", "kmeans_rfm")
# Replications behind a day's intervals: the standard error is then known to a tenth of itself.
REPLICATIONS = 50

PROFILES = "user_profiles"
CATEGORIES = "user_category_profiles"
# A quarter, and the longest window of a profile: category shares of D are then exactly those of the horizon.
HORIZON_DAYS = 90
TOTALS = ("monetary_all", "orders_all", "active_days_all", "coupons_all")
# What is said of a baseline without numbers; only the forecast of purchases can lack them.
WHY_NOT_COMPUTED = (
    f"fewer than {baselines.LEAST_BUYERS} users had bought, or their purchases have no finite BG/NBD forecast"
)
# Users judged at most: drawn by hash, the same every day. Intervals say what that costs.
MOST_USERS = 50_000


def validity_of_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date, seed: int) -> pd.DataFrame:
    """Return the rows of segment_validity; none while the horizon has not passed since the calendar began.

    Raises:
        MissingDaysError: the segments or profiles of the day 90 days ago were never materialized.
    """
    empty = pd.DataFrame({c: [] for c in SCHEMA})
    before = day - dt.timedelta(days=HORIZON_DAYS)
    if before < lake.start_day:
        return empty
    lake.require("user_segments", [before], f"{TABLE} of {day}")
    origin = load_origin(lake, before, HORIZON_DAYS)
    if len(origin.frame) < 2:
        return empty
    segments = lake.read("user_segments", before, ["strategy", "user_id", "segment_id"])
    forecast = baselines.bg_nbd_spend(origin.frame, HORIZON_DAYS)
    singles = {"last_period": baselines.last_period(origin.frame, HORIZON_DAYS), "bg_nbd": forecast}
    predictors: dict[str, list[np.ndarray]] = {}
    by_count: dict[int, Mapping[str, np.ndarray]] = {}
    for name in strategies:
        mine = segments[segments["strategy"] == name].set_index("user_id")["segment_id"]
        if not len(mine):
            continue
        labels = mine.reindex(origin.frame["user_id"]).fillna("").to_numpy(dtype=object).astype(str)
        count = len(np.unique(labels))
        if count not in by_count:
            by_count[count] = group_baselines(origin, count, forecast, seed)
        for predictor, prediction in ({name: labels} | dict(by_count[count]) | singles).items():
            predictors[f"{name}\n{predictor}"] = [np.asarray(prediction)]
    judged = judge(predictors, [origin.outcomes], seed=seed, replications=REPLICATIONS)
    rows = []
    for result in judged:
        strategy, predictor = result.predictor.split("\n")
        for measure, e in result.estimates.items():
            outcome, metric = PLACES[measure]
            rows.append((strategy, predictor, result.groups, outcome, metric, e.value, e.lower, e.upper))
    table = pd.DataFrame(rows, columns=list(SCHEMA)) if rows else empty
    # Nine decimals: BLAS kernels differ in the last bits between machines, content hashes must not.
    for column in ("value", "lower", "upper"):
        table[column] = table[column].astype("float64").round(9) + 0.0
    return table


@dataclass(frozen=True)
class BesideRivals:
    """How a strategy that learns from spend explained it, beside the best of RIVALS (cross-fitted R2)."""

    strategy: str
    own: float
    best_rival: float

    @property
    def lost(self) -> bool:
        """Tell whether the best rival said more."""
        return self.own < self.best_rival

    @property
    def measured(self) -> bool:
        """Tell whether there was any spend to explain, and a rival beside it."""
        return bool(np.isfinite(self.own) and np.isfinite(self.best_rival))


def beside_rivals(table: pd.DataFrame, strategies: Mapping[str, Strategy]) -> list[BesideRivals]:
    """Compare the strategies that learn from spend with what an analyst would run, by a day's rows of the table."""
    spend = table[(table["outcome"] == "spend") & (table["metric"] == "r2_crossfit")]
    compared = []
    for name, rows in spend.groupby("strategy", sort=True):
        if name not in strategies or not _learns_from_spend(strategies[str(name)]):
            continue
        values = dict(zip(rows["predictor"].tolist(), rows["value"].astype(float).tolist(), strict=True))
        best = max((values[r] for r in RIVALS if np.isfinite(values.get(r, np.nan))), default=-np.inf)
        compared.append(BesideRivals(str(name), values.get(str(name), float("nan")), best))
    return compared


@dataclass(frozen=True)
class Unknown:
    """What a day's rows of the table could not say.

    not_computed: baselines that could not be computed. nothing_to_measure: outcomes in which no user differs.
    """

    not_computed: tuple[str, ...] = ()
    nothing_to_measure: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Say both in words, none where everything is known."""
        said = []
        if self.not_computed:
            said.append(f"{', '.join(self.not_computed)}: not computed: {WHY_NOT_COMPUTED}.")
        if self.nothing_to_measure:
            said.append(f"{', '.join(self.nothing_to_measure)}: nothing to measure: no user differs in it.")
        return tuple(said)


def unknown_of(rows: Iterable[Mapping[str, Any]]) -> Unknown:
    """Return what rows of one day and strategy leave open, by their predictor, outcome, metric and value."""
    every = list(rows)
    known = [row for row in every if row["value"] is not None and np.isfinite(row["value"])]
    predictors = {row["predictor"] for row in every} - {row["predictor"] for row in known}
    outcomes = {row["outcome"] for row in every} - {row["outcome"] for row in known}
    return Unknown(tuple(sorted(predictors)) if known else (), tuple(sorted(outcomes)))


def _learns_from_spend(strategy: Strategy) -> bool:
    return strategy.algorithm == "outcome_tiers" and strategy.parameters.get("outcome", "monetary") == "monetary"


# ---- origins -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """A day, the profiles of the users known on it (sorted by user_id), and what they did in the days after."""

    day: dt.date
    frame: pd.DataFrame
    outcomes: Outcomes


def load_origin(lake: Lake, day: dt.date, horizon_days: int = HORIZON_DAYS) -> Origin:
    """Read the users known on `day` and their outcomes up to day + horizon.

    Raises:
        MissingDaysError: the profiles of one of the two days were never materialized.
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
    """Label the users who take part in clustering with each model, beside what those users did since.

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
    """Read the columns of outcomes and baselines, sorted by user_id; a column that the shop lacks is null."""
    return load_columns(lake, day, sorted({*TOTALS, *baselines.COLUMNS}))


def group_baselines(origin: Origin, k: int, forecast: np.ndarray, seed: int) -> Mapping[str, np.ndarray]:
    """Return every baseline with k groups; `forecast` is that of BG/NBD."""
    return {
        **baselines.baseline_labels(origin.frame, k, seed),
        "bg_nbd_quantile": baselines.forecast_labels(forecast, k),
    }


def single_baselines(
    origin: Origin, earlier: Origin | None, forecast: np.ndarray, horizon_days: int
) -> Mapping[str, np.ndarray]:
    """Return baselines that choose their number of groups, and numbers per user for the days of the horizon.

    earlier: an origin whose outcomes end on or before this day, from which a baseline may learn.
    """
    labels = {
        "rfm_cells": baselines.rfm_cells(origin.frame),
        "last_period": baselines.last_period(origin.frame, horizon_days),
        "bg_nbd": forecast,
    }
    learned = earlier is not None and len(earlier.frame) > 0
    threshold = baselines.hiatus_threshold(earlier.frame, earlier.outcomes.lapsed) if learned and earlier else 30.0
    return {**labels, "hiatus_rule": baselines.hiatus(origin.frame, threshold)}


def fixed_k(strategy: Strategy, k: int) -> Strategy:
    """Return the strategy's recipe at exactly k segments, without `minimum_share`, which could ask for fewer."""
    return strategy.model_copy(update={"k": Clusters(min=k, max=k), "minimum_share": 0.0})


def fitted_labels(lake: Lake, strategy: Strategy, day: dt.date, users: pd.Series, seed: int) -> "Labels":
    """Fit the recipe on `day`, from the lake as of that day, and label the given users.

    Raises:
        MissingDaysError: a day that the recipe learns from was never materialized.
    """
    frame = load_features(lake, strategy, day)
    outcome = outcome_for(strategy.algorithm, lake, strategy, day)
    fit = fit_challenger(strategy, frame, day, None, (), fit_seed(seed, strategy.name), outcome, replications=0)
    if fit.model is None:
        return Labels(np.zeros(len(users), dtype=np.int64), np.full(len(users), "unassigned"), None, fit.reason)
    frame = frame.set_index("user_id", drop=False).loc[users].reset_index(drop=True)
    nearest = fit.model.assign(frame)["segment_id"].to_numpy(dtype=object).astype(str)
    return Labels(nearest, _with_rules(strategy, frame, fit.model, day), fit.model, "", frame, outcome)


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
    return assign_day(strategy, frame, model, None, day)["segment_id"].to_numpy(dtype=object).astype(str)


def bootstrap_ari(strategy: Strategy, labels: Labels, day: dt.date, seed: int, replications: int) -> float:
    """Return the mean adjusted Rand index of the labels with those of refits on bootstrap samples; NaN of one group.

    A user drawn twice counts twice, in the fit day's features and in the outcome; everyone is labelled.
    """
    if labels.model is None or labels.frame is None or replications < 1:
        return float("nan")
    space, k = labels.model.space, labels.model.n_clusters
    users = population(strategy, labels.frame)
    X, X_all = space.transform(users), space.transform(labels.frame)
    base = labels.model.scores(X_all).argmin(axis=1)
    if len(np.unique(base)) < 2:
        return float("nan")
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
    return float(np.mean([adjusted_rand(base, others) for _, others in refits]))


def boosted_ceiling(lake: Lake, strategy: Strategy, origin: Origin, seed: int) -> np.ndarray:
    """Forecast spend as well as the profiles allow: gradient boosting (Friedman 2001) on every number in them.

    No fair rival: the forecast learns from what other users did in the very days it predicts (five folds over users).
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
    """Return every `step_days`-th day from first to last."""
    return [first + dt.timedelta(days=n) for n in range(0, (last - first).days + 1, step_days)]
