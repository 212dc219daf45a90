"""Measure one day of `segment_evaluation`: read the lake and return a long table.

What depends on the day (compactness, balance, moves) is measured each day on that day's users. What depends on the
model alone (whether it is real, whether it is stable) is measured once per model on its fit day's users. A memo beside
the lake, which may be deleted at any time, remembers that for every day of the model.

Not here: the measures themselves (`evaluation.internal`, `evaluation.null`, `segments.fitting.stability`), what users
did afterwards (`evaluation.validity_lake`), and the Dagster UI (`evaluation.assets`).
"""

import contextlib
import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.digests import digest
from seg_assets.core.numerics import one_thread, sample_rows
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.evaluation import internal, null
from seg_assets.lake.publish import rename_into_place
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.daily.assign import index_in, texts
from seg_assets.segments.daily.members import NOBODY, Flows, Segmented, flows_between, segmented
from seg_assets.segments.decisions.store import Decision, champion_as_of
from seg_assets.segments.features import load_features
from seg_assets.segments.fitting import indices, stability
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import population
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy

TABLE = "segment_evaluation"
SCHEMA = TABLES[TABLE].types
WEEK = 7
MEMO = ".memo"
# Raised when the meaning of a memo changes.
MEMO_VERSION = 2
FLOW_DAY, FLOW_WEEK = "flow_1d_to:", "flow_7d_to:"


@dataclass(frozen=True)
class ModelQuality:
    """What is true of a model on every day: the null test and the stability of its segments, by segment id."""

    test: null.NullTest
    steady: stability.Stability
    by_segment: Mapping[str, float]
    same_algorithm: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the quality as JSON data."""
        return {
            "test": self.test.to_dict(),
            "steady": self.steady.to_dict(),
            "by_segment": dict(self.by_segment),
            "same_algorithm": self.same_algorithm,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "ModelQuality":
        """Read the quality from JSON data."""
        return cls(
            null.NullTest.from_dict(document["test"]),
            stability.Stability.from_dict(document["steady"]),
            {str(k): float(v) for k, v in document["by_segment"].items()},
            bool(document["same_algorithm"]),
        )


def evaluate_day(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, day: dt.date) -> pd.DataFrame:
    """Return the rows of `segment_evaluation` of one day, in key order.

    Raises:
        MissingDaysError: the day, yesterday or the day a week ago lies in the calendar and was never segmented.
    """
    now = segmented(lake, day)
    then, week_ago = (segmented(lake, day - dt.timedelta(days=n)) for n in (1, WEEK))
    known = _known_users(lake, day)
    rows: list[tuple[str, str, str, float]] = []
    for name in sorted(strategies):
        strategy = strategies[name]
        mine = now.get(name, NOBODY)
        sizes = mine.sizes()
        values = _whole_numbers(sizes, known)
        yesterday, last_week = then.get(name), week_ago.get(name)
        places = [None if past is None else index_in(mine.users, past.users) for past in (yesterday, last_week)]
        in_a_day, in_a_week = (
            Flows() if past is None else flows_between(mine, past, at)
            for past, at in zip((yesterday, last_week), places, strict=True)
        )
        values |= _move_numbers(in_a_day, in_a_week, _flip_backs(mine, yesterday, last_week, *places))
        by_segment: dict[str, dict[str, float]] = {
            segment: {"size": float(users), "share": users / known if known else math.nan}
            for segment, _, users in sizes
        }
        champion = champion_as_of(lake, name, day)
        if champion is not None:
            whole, parts = _model_numbers(lake, strategy, champion, settings.seed, day, mine)
            values |= whole
            for segment, numbers in parts.items():
                by_segment.setdefault(segment, {}).update(numbers)
        for prefix, flows in ((FLOW_DAY, in_a_day), (FLOW_WEEK, in_a_week)):
            for (old, new), users in flows.every.items():
                by_segment.setdefault(old, {})[prefix + new] = users
        rows += [(name, "", metric, value) for metric, value in values.items()]
        rows += [(name, s, metric, value) for s, numbers in by_segment.items() for metric, value in numbers.items()]
    rows.sort(key=lambda row: row[:3])
    frame = pd.DataFrame(rows, columns=list(SCHEMA))
    value = frame["value"].astype("float64").replace([np.inf, -np.inf], np.nan)
    # Nine digits: BLAS kernels differ in the last bits between machines, content hashes must not.
    frame["value"] = [float(f"{v:.9g}") for v in value]
    return frame


def _known_users(lake: Lake, day: dt.date) -> int:
    """Count the users of the day's profiles, as their file does."""
    return lake.read_arrow("user_profiles", day, []).num_rows


def _flip_backs(
    now: Segmented,
    then: Segmented | None,
    week_ago: Segmented | None,
    at_then: np.ndarray | None,
    at_week: np.ndarray | None,
) -> tuple[int, int] | None:
    """Count today's movers who are back where they were a week ago, and today's movers known on all three days."""
    if then is None or week_ago is None or at_then is None or at_week is None:
        return None
    code_of = {name: n for n, name in enumerate(now.names)}
    of_then, of_week = (np.array([code_of.get(n, -1) for n in past.names], dtype=np.int64) for past in (then, week_ago))
    both = np.flatnonzero((at_then >= 0) & (at_week >= 0))
    moved = both[of_then[then.codes[at_then[both]]] != now.codes[both]]
    back = of_week[week_ago.codes[at_week[moved]]] == now.codes[moved]
    return int(back.sum()), len(moved)


def _whole_numbers(segments: list[tuple[str, bool, int]], known: int) -> dict[str, float]:
    sizes = [users for _, is_cluster, users in segments if is_cluster]
    users = sum(users for *_, users in segments)
    return {
        "users": known,
        "users_clustered": sum(sizes),
        "segments": len(sizes),
        "coverage": users / known if known else math.nan,
        "balance": internal.balance(sizes),
        "largest_share": max(sizes) / sum(sizes) if sizes else math.nan,
        "smallest_share": min(sizes) / sum(sizes) if sizes else math.nan,
    }


def _move_numbers(day: Flows, week: Flows, flips: tuple[int, int] | None) -> dict[str, float]:
    share, moved, both = internal.moved_share(day.every)
    return {
        "moved_share": share,
        "moved_users": moved if both else math.nan,
        "moved_share_clusters": internal.moved_share(day.clusters)[0],
        "moved_share_week": internal.moved_share(week.every)[0],
        "weekly_ari": _ari(week.clusters),
        "flip_back_share": flips[0] / flips[1] if flips and flips[1] else math.nan,
    }


def _ari(flows: Mapping[tuple[str, str], int]) -> float:
    olds, news = sorted({a for a, _ in flows}), sorted({b for _, b in flows})
    table = np.zeros((len(olds), len(news)), dtype=np.int64)
    for (old, new), users in flows.items():
        table[olds.index(old), news.index(new)] = users
    return internal.adjusted_rand_index(table)


def _model_numbers(
    lake: Lake, strategy: Strategy, champion: Decision, seed: int, day: dt.date, members: Segmented
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Measure what needs the model's space: numbers of the whole, and by segment id."""
    model = champion.segment_model()
    frame = load_features(lake, strategy, day, categories=model.space.categories)
    users, labels, names = _align(frame["user_id"], members)
    with one_thread():
        X = np.take(model.space.transform(frame), users, axis=0)
        whole: dict[str, float] = {}
        parts: dict[str, dict[str, float]] = {}
        if len(X):
            apart = indices.separation(X, labels)
            rows = sample_rows(frame["user_id"].iloc[users], internal.SILHOUETTE_SAMPLE, seed)
            shape = indices.silhouette(X, labels, rows)
            whole = {
                "silhouette": shape.value,
                "silhouette_sd": shape.sd,
                "silhouette_sample": shape.sample,
                "simplified_silhouette": apart.simplified_silhouette,
                "davies_bouldin": apart.davies_bouldin,
                "calinski_harabasz": apart.calinski_harabasz,
                "explained_share": apart.explained_share,
                "representativeness": apart.representativeness,
            }
            for code, numbers in apart.by_segment.items():
                parts.setdefault(names[code], {}).update(numbers)
            for code, value in shape.by_segment.items():
                parts.setdefault(names[code], {})["silhouette"] = value
        quality = model_quality(lake, strategy, model, seed)
    whole["model_age_days"] = (day - model.fit_day).days
    whole |= quality_numbers(quality)
    for segment, value in quality.by_segment.items():
        parts.setdefault(segment, {}).update({"jaccard": value, "trusted": float(value >= stability.TRUSTED)})
    return whole, parts


def quality_numbers(quality: ModelQuality) -> dict[str, float]:
    """Return a model's quality as numbers of the segmentation as a whole."""
    numbers: dict[str, float] = {}
    real = quality.test.real
    numbers["beats_null"] = math.nan if real is None else float(real)
    if quality.test.results:
        numbers["null_observed"] = quality.test.results[0].observed
        numbers["null_same_algorithm"] = float(quality.same_algorithm)
    for result in quality.test.results:
        numbers |= {
            f"null_{result.null}_mean": result.mean,
            f"null_{result.null}_sd": result.sd,
            f"null_{result.null}_z": result.z,
            f"null_{result.null}_p": result.p,
        }
    numbers["bootstrap_ari"] = quality.steady.ari
    numbers["untrusted_segments"] = (
        sum(v < stability.TRUSTED for v in quality.by_segment.values()) if quality.by_segment else math.nan
    )
    return numbers


def _align(user_ids: pd.Series, members: Segmented) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return positions in `user_ids` of the users in clusters, their label codes, and the names of the codes."""
    position = index_in(members.users, texts(user_ids))
    wanted = members.cluster & (position >= 0)
    present = np.bincount(members.codes[members.cluster], minlength=len(members.names)) > 0
    labels = (np.cumsum(present) - 1)[members.codes[wanted]]
    return position[wanted], labels, [members.names[c] for c in np.flatnonzero(present)]


# ---- what is true of a model on every day -------------------------------------------------------------------------


def model_quality(lake: Lake, strategy: Strategy, model: SegmentModel, seed: int) -> ModelQuality:
    """Return null test and bootstrap stability of a model on its fit day's users, from the memo where it has them.

    Raises:
        MissingDaysError: the profiles of the fit day are gone.
    """
    path = lake.root / MEMO / "evaluation" / f"{_memo_key(lake, strategy, model, seed)}.json"
    try:
        memo = json.loads(path.read_text(encoding="utf-8"))
        if memo["digest"] == digest(memo["quality"]):
            return ModelQuality.from_dict(memo["quality"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never written, or damaged: a memo is computed again
    quality = measure_model(lake, strategy, model, seed)
    with contextlib.suppress(OSError), lake.staged_file() as staged:
        document = quality.to_dict()
        memo = {"quality": document, "digest": digest(document)}
        staged.write_text(json.dumps(memo, sort_keys=True), encoding="utf-8")
        rename_into_place(staged, path)
    return quality


def _memo_key(lake: Lake, strategy: Strategy, model: SegmentModel, seed: int) -> str:
    read = ["user_profiles"] + (["user_category_profiles"] if model.space.categories else [])
    lake.require("user_profiles", [model.fit_day], f"the null test of {strategy.name} model {model.model_id}")
    hashes = [(p.content_hash if p else "") for p in (lake.provenance(table, model.fit_day) for table in read)]
    settings = [null.NULL_SAMPLE, null.REPLICATIONS, stability.STABILITY_SAMPLE, stability.REPLICATIONS]
    return digest([MEMO_VERSION, model.model_id, strategy.fit_digest(), seed, hashes, settings])


def measure_model(lake: Lake, strategy: Strategy, model: SegmentModel, seed: int) -> ModelQuality:
    """Compute null test and bootstrap stability. Same lake, model and seed: same numbers."""
    with one_thread():
        return _measure(lake, strategy, model, seed)


def _measure(lake: Lake, strategy: Strategy, model: SegmentModel, seed: int) -> ModelQuality:
    frame = load_features(lake, strategy, model.fit_day, categories=model.space.categories)
    frame = population(strategy, frame)
    rows = sample_rows(frame["user_id"], stability.STABILITY_SAMPLE, seed)
    frame = frame.iloc[rows].reset_index(drop=True)
    few = sample_rows(frame["user_id"], null.NULL_SAMPLE, seed)
    X = model.space.transform(frame)
    if not len(X) or not X.shape[1]:
        none = stability.Stability({}, math.nan, 0, "no users to cluster on the fit day")
        return ModelQuality(null.NullTest(reason=none.reason), none, {}, True)
    scores = model.scores(X)
    inside = ~model.fitted.outliers(X, scores)
    labels = scores.argmin(axis=1)
    # The model's own: the YAML may ask for another algorithm since, and the champion stays until it is beaten.
    own = model.fitted.ALGORITHM
    parameters = dict(strategy.parameters) if own == strategy.algorithm else {}
    guided = algorithms.named(own).is_guided
    # An outcome-guided clustering has nothing to learn from data without users' outcomes: k-means, which makes the most
    # compact groups there are, takes its place, so beating the null is then the harder.
    of_null = "kmeans" if guided else own
    null_parameters = stability.quick(of_null, {} if guided else parameters)

    def refit(twin: np.ndarray, k: int, fit_seed: int) -> np.ndarray:
        return algorithms.fit(of_null, twin, k, seed=fit_seed, parameters=null_parameters).scores(twin).argmin(axis=1)

    sampled = few[inside[few]]
    base, to_space = known_of_users(model.space, frame.iloc[sampled].reset_index(drop=True))
    test = null.null_test(X[sampled], labels[sampled], model.n_clusters, refit, seed=seed, base=base, to_space=to_space)
    # A fit has measured its own stability; only a model that no fit made is measured now.
    steady = model.stability or stability.measure(strategy, model.fitted, X, seed, _outcome(lake, strategy, model))
    by_segment = {model.segment_ids[label]: value for label, value in steady.jaccard.items()}
    return ModelQuality(test, steady, by_segment, not guided)


def known_of_users(space: FeatureSpace, frame: pd.DataFrame) -> tuple[np.ndarray, Any]:
    """Return what nulls are drawn from: (n, p) codes of the space's columns, and a function from codes to model space.

    Codes keep the order of the values, null first. Category shares are parts of a whole, in a twin too.
    """
    columns = [c for c in dict.fromkeys(space.sources) if c in frame.columns]
    base = np.empty((len(frame), len(columns)), dtype=np.int64)
    values = []
    for j, column in enumerate(columns):
        codes, uniques = pd.factorize(frame[column], sort=True)
        base[:, j] = codes
        values.append(pd.Series(uniques))
    shares = [c for c in columns if c.startswith(CATEGORY_PREFIX)]
    parts = frame[shares].to_numpy(float)
    totals = parts.sum(axis=1)

    def to_space(twin: np.ndarray) -> np.ndarray:
        frame_of_twin = pd.DataFrame(
            {
                c: values[j].reindex(np.where(twin[:, j] < 0, len(values[j]), twin[:, j])).to_numpy()
                for j, c in enumerate(columns)
            }
        )
        if shares:
            frame_of_twin[shares] = null.as_parts(frame_of_twin[shares].to_numpy(float), parts, totals)
        return space.transform(frame_of_twin)

    return base, to_space


def _outcome(lake: Lake, strategy: Strategy, model: SegmentModel) -> Any:
    """Return the outcome that guides the model's algorithm on the fit day, None for algorithms without one."""
    outcome = outcome_for(model.fitted.ALGORITHM, lake, strategy, model.fit_day)
    return None if outcome is None else replace(outcome, X=model.space.transform(outcome.frame))
