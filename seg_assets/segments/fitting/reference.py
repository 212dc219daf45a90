"""Describe what a day looked like to a model: the frame of reference that later days are compared with.

A decision carries the reference of its day, so that drift is measured against data in the lake and not against
users who have changed since. It is small whatever the number of users: exact quantiles per numeric column, exact
shares per category, segment shares, and how much a refit would have gained on that very day.

Not here: whether a day has drifted (`drift.verdict`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.columns import CATEGORY_PREFIX
from seg_assets.core.numerics import FLAT, draw_rows, one_thread
from seg_assets.segments.algorithms.prototypes import CHUNK, lloyd_steps
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import OUTLIER, population
from seg_assets.segments.strategy import Strategy

MISSING = "(missing)"
# A category beyond the most frequent ones is one of many small ones; a shop has thousands of them.
MAXIMUM_CATEGORIES = 200
OTHER = "(other)"
# 20 k users predicted the gain of a full refit with an AUC of 0.98, in milliseconds (docs/drift.md).
SHADOW_USERS = 20_000
SHADOW_STEPS = 10
# Under this many users per segment and half, a held-out gain is noise.
SHADOW_USERS_PER_SEGMENT = 10


def make_reference(
    strategy: Strategy, frame: pd.DataFrame, model: SegmentModel | None, labels: np.ndarray | None = None
) -> dict[str, Any]:
    """Describe `frame` as `model` sees it, as JSON data.

    Args:
        strategy: names the columns to watch and the number of quantile positions.
        frame: as `load_features` gives it; only users that take part in clustering count.
        model: the model in force after the decision; None: columns are compared on a signed log scale.
        labels: (n,) what `model.labels` says of those users, where that is known already.

    Returns:
        `users`, `model_id`, `numeric` (column to `quantiles` in model space and `missing` share), `categories` (column
        to `shares` and `missing`), `segments` (id to share) and `shadow_gain` (held-out gain of regrouping
        this day's users; later gains are read above it).
    """
    frame = population(strategy, frame)
    reference = describe(strategy, frame, model, labels)
    reference["shadow_gain"] = shadow_gain(frame, model, seed=0)
    return reference


def watched_columns(strategy: Strategy, frame: pd.DataFrame) -> list[str]:
    """Return the strategy's `drift.columns`, or its features when it names none. A column the frame lacks is listed."""
    if strategy.drift.columns:
        return list(strategy.drift.columns)
    shares = [c for c in frame.columns if c.startswith(CATEGORY_PREFIX)]
    named = [f.column for f in strategy.features if f.column]
    return named + (shares if strategy.category_top is not None else [])


def describe(
    strategy: Strategy,
    frame: pd.DataFrame,
    model: SegmentModel | None,
    labels: np.ndarray | None = None,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the part of a reference that is made again for each later day: columns and segment shares.

    Args:
        strategy: names the columns to watch and the number of quantile positions.
        frame: the population only.
        model: the model in force.
        labels: what the model says of the population, where that is known.
        like: the reference that the day is compared with: categories are cut as they are there. Each day by its own
            commonest ones would differ where no user does.
    """
    as_before = {} if like is None else like["categories"]
    numeric: dict[str, Any] = {}
    categories: dict[str, Any] = {}
    space = _model_space(frame, model)
    for column in watched_columns(strategy, frame):
        if column not in frame.columns:
            numeric[column] = {"quantiles": [], "missing": 1.0}
            continue
        values = as_numbers(frame[column])
        if values is None:
            categories[column] = _category_shares(frame[column], as_before.get(column, {}).get("shares", {}))
            continue
        present = np.isfinite(values)
        known = space[column][present] if column in space else signed_log(values[present])
        numeric[column] = {
            "quantiles": quantiles(known, strategy.drift.positions),
            "missing": _share(len(values) - int(present.sum()), len(values)),
        }
    return {
        "users": len(frame),
        "model_id": model.model_id if model else "",
        "numeric": numeric,
        "categories": categories,
        "segments": segment_shares(frame, model, labels),
    }


def as_numbers(column: pd.Series) -> np.ndarray | None:
    """Return a column as float64 with NaN for null and infinite; None when it holds categories.

    Unsigned, nullable and boolean columns are numbers too: Evidently skips them without a word when left as they are.
    """
    if column.dtype == np.float64:
        numbers = column.to_numpy()
        return np.where(np.isfinite(numbers), numbers, np.nan)
    if pd.api.types.is_datetime64_any_dtype(column):
        days = (column - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
        return days.to_numpy(dtype=np.float64, na_value=np.nan)
    if not pd.api.types.is_numeric_dtype(column) and not _holds_decimals(column):
        return None
    numbers = pd.to_numeric(column, errors="coerce").astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _holds_decimals(column: pd.Series) -> bool:
    """Tell whether an object column holds Decimals, or nothing at all: both count as numbers."""
    if column.dtype != object:
        return False
    known = column.dropna()
    return (
        known.map(lambda value: not isinstance(value, str) and np.isscalar(float(value))).all() if len(known) else True
    )


def signed_log(values: np.ndarray) -> np.ndarray:
    """Return `log(1 + |x|)` with the sign of x: tames the tails of columns that are watched but not clustered on."""
    return np.sign(values) * np.log1p(np.abs(values))


def quantiles(values: np.ndarray, positions: int) -> list[float]:
    """Return exact quantiles at the midpoints of `positions` equal shares; fewer values as they are, sorted."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if len(ordered) > positions:
        at = np.floor((np.arange(positions) + 0.5) / positions * len(ordered)).astype(np.int64)
        ordered = ordered[at]
    # Values that are equal bit by bit are rounded once: counts have a few different ones among 2,000 positions.
    distinct, at = np.unique(ordered.view(np.int64), return_inverse=True)
    return np.array([_rounded(value) for value in distinct.view(np.float64)])[at].tolist()


def segment_shares(
    frame: pd.DataFrame, model: SegmentModel | None, labels: np.ndarray | None = None
) -> dict[str, float]:
    """Return the share of users per segment id that the model gives, without hysteresis."""
    if model is None or frame.empty:
        return {}
    labels = model.labels(frame) if labels is None else labels
    counts = np.bincount(labels + 1, minlength=model.n_clusters + 1)
    by_name = sorted(zip([OUTLIER, *model.segment_ids], counts.tolist(), strict=True))
    return {name: _share(count, len(frame)) for name, count in by_name if count}


def shadow_gain(frame: pd.DataFrame, model: SegmentModel | None, seed: int) -> float | None:
    """Measure what share of the squared distance regrouping the users would save out of sample.

    At most 20,000 users are split in halves. The mean of each of the model's labels is taken on one half, Lloyd steps
    from there give the regrouping; the other half is measured by its distance to the mean of its label and to the
    nearest moved mean. Both ways, pooled. Means are taken anew on the day, so that what is alike for everyone (windows
    that fill, tenure, all prices up) is no gain: it moves the means and asks for no other groups.

    Returns:
        A gain under 1 (negative: regrouping is worse), or None when there is no model, there are too few users, or they
        do not differ from their label's mean.
    """
    if model is None:
        return None
    most = min(len(frame), SHADOW_USERS)
    if most < 2 * SHADOW_USERS_PER_SEGMENT * max(len(model.segment_ids), 2):
        return None
    with one_thread():
        X, labels = _sampled(frame, model, seed)
        names, codes = np.unique(labels, return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(X))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        before = after = 0.0
        for train, held_out in (halves, halves[::-1]):
            everyone = X[train].mean(axis=0)
            members = [train[codes[train] == n] for n in range(len(names))]
            means = np.array([X[rows].mean(axis=0) if len(rows) else everyone for rows in members])
            moved = lloyd_steps(X[train], means, SHADOW_STEPS, _nearest, _means)
            before += float(((X[held_out] - means[codes[held_out]]) ** 2).sum())
            after += float(_squared_distances(X[held_out], moved).min(axis=1).sum())
    # Where the labels leave nothing but rounding, regrouping has nothing to gain.
    return round(1 - after / before, 6) if before > FLAT**2 * float((X**2).sum()) else None


def _nearest(X: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return (n,) the nearest centre of each row."""
    return _squared_distances(X, centers).argmin(axis=1)


def _means(X: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return (k, d) the mean of the rows of each label; a centre without rows stays."""
    return np.array([X[labels == n].mean(axis=0) if (labels == n).any() else c for n, c in enumerate(centers)])


def _squared_distances(X: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return (n, k) squared distances, each summed along its row.

    `Prototypes.scores` sums in another order, which differs in the last bits, and the gains of decisions are stored.
    """
    distances = np.empty((len(X), len(centers)))
    gaps = np.empty((min(len(X), CHUNK), X.shape[1]))
    for start in range(0, len(X), CHUNK):
        rows = X[start : start + CHUNK]
        gap = gaps[: len(rows)]
        for j, center in enumerate(centers):
            np.subtract(rows, center, out=gap)
            np.square(gap, out=gap)
            gap.sum(axis=1, out=distances[start : start + CHUNK, j])
    return distances


def _sampled(frame: pd.DataFrame, model: SegmentModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most SHADOW_USERS users: rows in model space, and labels."""
    if len(frame) > SHADOW_USERS:
        frame = frame.iloc[draw_rows(len(frame), SHADOW_USERS, seed)].reset_index(drop=True)
    return np.asarray(model.space.transform(frame)), model.labels(frame)


def _model_space(frame: pd.DataFrame, model: SegmentModel | None) -> dict[str, np.ndarray]:
    """Return tamed and scaled columns, without weight and projection: a column is compared by itself."""
    if model is None or frame.empty:
        return {}
    return {axis.name: (axis.raw(frame) - axis.center) / axis.scale for axis in model.space.axes if axis.level is None}


def _category_shares(column: pd.Series, as_before: Mapping[str, float]) -> dict[str, Any]:
    """Return the exact share of each of the most frequent categories, of the others together, and of nulls.

    Categories that were named before come first; where others were put together then, no other is named now.
    """
    known = column.dropna().astype(str)
    counts = known.value_counts()
    named = sorted(counts.items(), key=lambda item: (item[0] not in as_before, -item[1], item[0]))[:MAXIMUM_CATEGORIES]
    if len(as_before) > MAXIMUM_CATEGORIES:
        named = [(name, count) for name, count in named if name in as_before and name != OTHER]
    shares = {str(name): _share(int(count), len(column)) for name, count in named}
    rest = len(known) - sum(int(count) for _, count in named)
    if rest:
        shares[OTHER] = _share(rest, len(column))
    return {"shares": shares, "missing": _share(len(column) - len(known), len(column))}


def _share(part: int, whole: int) -> float:
    """Return a share to nine digits, 0 of nothing."""
    return round(part / whole, 9) if whole else 0.0


def _rounded(value: float) -> float:
    """Round to seven digits, which float32 holds: enough for a distance, half the bytes in the lake."""
    return float(f"{value:.7g}")
