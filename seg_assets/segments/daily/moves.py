"""Explain who entered, left or moved between two days: the change in margin, by feature, split into user and model.

A user moved from `a` to `b`. In a model the margin is m(x) = score_a(x) - score_b(x): positive is nearer to `b`.
Between the days both the user's features (x0 to x1) and the champion (m0 to m1) may have changed, and the change of
the margin m1(x1) - m0(x0) has two causes. Each cause gets its Shapley value (Shapley 1953; for decompositions
Shorrocks 2013), with two causes the mean of the two orders in which they can be changed:

    user  = 1/2 [m1(x1) - m1(x0)] + 1/2 [m0(x1) - m0(x0)]
    model = 1/2 [m1(x0) - m0(x0)] + 1/2 [m1(x1) - m0(x1)]

Neither order is favoured, and both are sums of terms by feature (`Fitted.contributions`), so that the contributions add
up to the change exactly. On a day without a new champion m0 = m1 and all of it is the user's.

Where a segment does not exist in one of the models, the segment that the lineage names stands for it: a
newborn's parent in the old model, a dead segment's heir in the new one. Where the lineage names none, or names the same
segment for both, that model has no preference: its margin is 0. That is additive too.

Rule segments have no place in model space. A move into or out of one is explained in the rule's own unit: the margin
is the depth inside the rule (days of inactivity past the limit, orders short of the minimum), and its change is the
contribution of the deciding column. `unassigned` and `outlier` are indicators; the first is the model's, the second is
split like a margin. Of two rules the one with precedence explains.

Not here: which segment a user is in (`segments.daily.assign`), and flows of many users (`segments.daily.migration`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.core.tables import TABLES
from seg_assets.segments.daily.assign import CLUSTER, index_in, texts
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import OUTLIER, RULES, UNASSIGNED, depth, rule_ids
from seg_assets.segments.strategy import Strategy

TABLE = "segment_moves"
ENTERED, LEFT, MOVED = "entered", "left", "moved"
BY_USER, BY_MODEL, BY_RULE, BY_BOTH = "user", "model", "rule", "both"
# A cause that makes up this much of the push towards the new segment is named alone.
ALONE = 2 / 3
INTERCEPT, NO_CHAMPION, IS_OUTLIER = "(intercept)", "(no champion)", "(outlier)"
# Sums of contributions and changes of score add the same numbers in another order, which leaves rounding.
TOLERANCE = 1e-9
# Users explained at once: their matrices stay in a core's cache.
CHUNK = 8192

SCHEMA = TABLES[TABLE].types


@dataclass(frozen=True)
class Parts:
    """Additive decomposition of n changes of margin.

    features: u names.
    user, model: (n, u) contributions.
    before, after: (n,) margins, from the models' scores, not from the contributions.
    """

    features: tuple[str, ...]
    user: np.ndarray
    model: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Return (n,) gaps between the sum of contributions and the change of scores, relative to their size (>= 1)."""
        size = np.maximum(1.0, np.maximum(np.abs(self.before), np.abs(self.after)))
        return np.abs((self.user + self.model).sum(axis=1) - (self.after - self.before)) / size


def changes(today: pd.DataFrame, yesterday: pd.DataFrame | None) -> pd.DataFrame:
    """Return users whose segment differs, by user_id: kind, from_segment, to_segment, both kinds, waited_days.

    Args:
        today: rows of one strategy in user_segments of the day.
        yesterday: of the day before; None: everyone enters.
    """
    now, then = texts(today["user_id"]), texts(_column(yesterday, "user_id"))
    at = index_in(now, then)
    stayed = np.zeros(len(then), dtype=bool)
    stayed[at[at >= 0]] = True
    gone = np.flatnonzero(~stayed)
    segment, old = texts(today["segment_id"]), texts(_column(yesterday, "segment_id"))
    where = pa.array(at, mask=at < 0)
    before = pc.take(old, where)
    differs = pc.fill_null(pc.not_equal(segment, before), True).to_numpy(zero_copy_only=False)
    differs |= at < 0
    rows = pa.array(np.flatnonzero(differs))
    back = pc.take(where, rows)
    lost = pa.array(gone)
    none = pa.nulls(len(gone), pa.large_string())

    def both(own: pa.Array, other: pa.Array) -> pd.Series:
        return pd.Series(pd.array(pa.chunked_array([own, other]), dtype="str"))

    then_kind = texts(_column(yesterday, "kind"))
    proposed = texts(_column(yesterday, "proposed_segment_id"))
    days = pa.array(_column(yesterday, "proposed_days"), pa.float64(), from_pandas=True)
    to = pc.take(segment, rows)
    waited = np.where(
        pc.fill_null(pc.equal(pc.take(proposed, back), to), False).to_numpy(zero_copy_only=False),
        pc.fill_null(pc.take(days, back), 0).to_numpy(zero_copy_only=False),
        0,
    )
    changed = pd.DataFrame(
        {
            "user_id": both(pc.take(now, rows), pc.take(then, lost)),
            "from_segment": both(pc.take(before, rows), pc.take(old, lost)),
            "to_segment": both(to, none),
            "from_kind": both(pc.take(then_kind, back), pc.take(then_kind, lost)),
            "to_kind": both(pc.take(texts(today["kind"]), rows), none),
            "waited_days": np.concatenate([waited, np.zeros(len(gone))]).astype(np.int32),
        }
    )
    kind = np.where(changed["from_segment"].isna(), ENTERED, np.where(changed["to_segment"].isna(), LEFT, MOVED))
    changed.insert(1, "kind", pd.array(kind.astype(object), dtype="str"))
    return changed.sort_values("user_id", kind="stable", ignore_index=True)


def moves_of_day(
    strategy: Strategy,
    today: pd.DataFrame,
    yesterday: pd.DataFrame | None,
    frame_before: pd.DataFrame | None,
    frame_after: pd.DataFrame | None,
    old: SegmentModel | None,
    new: SegmentModel | None,
    relatives: Mapping[str, str] | None = None,
    changed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the moves of one strategy with their explanations, by user_id; columns as in SCHEMA.

    Args:
        strategy: limits of the rules.
        today: its rows in user_segments of the day.
        yesterday: its rows of the day before; None on the first day of the calendar.
        frame_before: features of the day before with the columns of both models; moved users at least.
        frame_after: features of the day.
        old: champion as of the day before.
        new: champion as of the day.
        relatives: segment that stands for one that is not in a model (`stand_ins`).
        changed: `changes(today, yesterday)` where the caller has it already.
    """
    changed = changes(today, yesterday) if changed is None else changed
    n = len(changed)
    before, after = np.full(n, np.nan), np.full(n, np.nan)
    user, model = np.zeros(n), np.zeros(n)
    cause = np.full(n, BY_USER, dtype=object)
    explained: list[tuple[np.ndarray, Parts]] = []
    moved = np.flatnonzero((changed["kind"] == MOVED).to_numpy())
    if len(moved):
        if frame_before is None or frame_after is None:
            raise ValueError("moved users need the features of both days")
        x0, x1 = (
            rows_of(frame_before, changed["user_id"].iloc[moved]),
            rows_of(frame_after, changed["user_id"].iloc[moved]),
        )
        clusters = ((changed["from_kind"] == CLUSTER) & (changed["to_kind"] == CLUSTER)).to_numpy()[moved]
        origin, target = (changed[c].to_numpy(dtype=object)[moved] for c in ("from_segment", "to_segment"))
        for pick, parts, by in (
            *_cluster_moves(clusters, origin, target, x0, x1, old, new, relatives or {}),
            *_rule_moves(strategy, ~clusters, origin, target, x0, x1, old, new),
        ):
            at = moved[pick]
            before[at], after[at] = parts.before, parts.after
            user[at], model[at] = parts.user.sum(axis=1), parts.model.sum(axis=1)
            cause[at] = by
            explained.append((at, parts))
    return pd.DataFrame(
        {
            "strategy": pd.array([strategy.name] * n, dtype="str"),
            "user_id": changed["user_id"],
            "kind": changed["kind"],
            "from_segment": changed["from_segment"],
            "to_segment": changed["to_segment"],
            "cause": pd.array(cause, dtype="str"),
            "margin_before": before,
            "margin_after": after,
            "margin_change": user + model,
            "user_part": user,
            "model_part": model,
            "waited_days": changed["waited_days"],
            "contributions": _lists(n, explained),
        }
    )


def decompose(
    origin: np.ndarray,
    target: np.ndarray,
    x0: pd.DataFrame,
    x1: pd.DataFrame,
    old: SegmentModel | None,
    new: SegmentModel | None,
    relatives: Mapping[str, str] | None = None,
) -> Parts:
    """Split changes of margin between two clusters by feature, as the module says.

    Args:
        origin: (n,) segment ids of the day before.
        target: (n,) segment ids of the day.
        x0: n rows of features, the day before.
        x1: n rows of features, the day.
        old: champion of the day before; None: no preference.
        new: champion of the day.
        relatives: stand-ins.
    """
    models = [m for m in (old, new) if m is not None]
    features = tuple(dict.fromkeys([s for m in models for s in m.space.sources] + [INTERCEPT]))
    relatives = relatives or {}
    n = len(x0)
    parts = Parts(features, np.zeros((n, len(features))), np.zeros((n, len(features))), np.zeros(n), np.zeros(n))
    same = old is not None and new is not None and old.model_id == new.model_id
    pairs = {m.model_id: (_cluster_of(m, target, relatives), _cluster_of(m, origin, relatives)) for m in models}

    def margins(model: SegmentModel | None, x: pd.DataFrame, at: slice, out: np.ndarray | None = None) -> np.ndarray:
        if model is None:
            return np.zeros((len(x), len(features)))
        to, home = pairs[model.model_id]
        return _margins(model, to[at], home[at], x, features, None if out is None else out[at])

    for start in range(0, n, CHUNK):
        at = slice(start, start + CHUNK)
        a, b = x0.iloc[at], x1.iloc[at]
        first, last = margins(old, a, at, parts.before), margins(new, b, at, parts.after)
        if same:
            parts.user[at] = last - first
            continue
        old_new, new_old = margins(old, b, at), margins(new, a, at)
        parts.user[at] = ((last - new_old) + (old_new - first)) / 2
        parts.model[at] = ((new_old - first) + (last - old_new)) / 2
    return parts


def causes(parts: Parts) -> np.ndarray:
    """Return (n,) user, model or both, by their share of the push towards the new segment."""
    user, model = parts.user.sum(axis=1), parts.model.sum(axis=1)
    push = np.maximum(user, 0) + np.maximum(model, 0)
    share = np.where(push > 0, np.maximum(user, 0) / np.where(push > 0, push, 1), 0.5)
    # A push of 0 on a day without a new champion: a wait is over. Only the user's own days can end it.
    only_user = ~parts.model.any(axis=1)
    return np.where(only_user | (share >= ALONE), BY_USER, np.where(share <= 1 - ALONE, BY_MODEL, BY_BOTH))


def stand_ins(lineage: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the segment that stands for one that a model does not have: a newborn's parent, a dead segment's heir.

    Args:
        lineage: rows of the decisions behind both champions, the newer first (a rollback goes the other way round).
    """
    relatives: dict[str, str] = {}
    for row in lineage:
        for missing, relative in _relations(row):
            relatives.setdefault(missing, relative)
    return relatives


def rows_of(frame: pd.DataFrame, users: pd.Series) -> pd.DataFrame:
    """Return the rows of `frame` for `users`, in their order.

    Raises:
        KeyError: naming a user that the frame does not have.
    """
    at = index_in(texts(users), texts(frame["user_id"]))
    if (at < 0).any():
        raise KeyError(f"user_profiles has no user {users.iloc[int(np.argmin(at))]!r} that user_segments has")
    return frame.iloc[at].reset_index(drop=True)


def worst_error(moves: pd.DataFrame) -> float:
    """Return the largest gap between contributions and margins of a day's moves, relative to their size (>= 1)."""
    explained = moves["margin_before"].notna().to_numpy()
    if not explained.any():
        return 0.0
    sums = contribution_sums(moves["contributions"])[explained]
    before, after, change = (
        moves[c].to_numpy(float)[explained] for c in ("margin_before", "margin_after", "margin_change")
    )
    size = np.maximum(1.0, np.maximum(np.abs(before), np.abs(after)))
    gap = np.maximum(np.abs(sums - change), np.abs((after - before) - change))
    return float((gap / size).max())


def strongest_features(moves: pd.DataFrame, most: int = 8) -> list[tuple[str, float]]:
    """Return the features that pushed most, by the sum of contributions over users who moved between clusters."""
    chosen = moves.loc[moves["cause"] != BY_RULE, "contributions"]
    if not len(chosen):
        return []
    lists = pa.array(chosen)
    flat = (lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists).flatten()
    both = pc.add(flat.field("user"), flat.field("model")).to_numpy(zero_copy_only=False)
    feature = flat.field("feature")
    feature = feature if isinstance(feature, pa.DictionaryArray) else feature.dictionary_encode()
    names = feature.dictionary.to_pylist()
    total = np.bincount(feature.indices.to_numpy(), weights=both, minlength=len(names))
    order = np.argsort(-np.abs(total), kind="stable")[:most]
    return [(str(names[i]), float(total[i])) for i in order if total[i]]


def contribution_sums(contributions: pd.Series) -> np.ndarray:
    """Return (n,) sums of user and model over each list."""
    lists = pa.array(contributions)
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    flat = lists.flatten()
    both = pc.add(flat.field("user"), flat.field("model")).to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.bincount(np.repeat(np.arange(len(lists)), lengths), weights=both, minlength=len(lists))


def _cluster_moves(
    pick: np.ndarray,
    origin: np.ndarray,
    target: np.ndarray,
    x0: pd.DataFrame,
    x1: pd.DataFrame,
    old: SegmentModel | None,
    new: SegmentModel | None,
    relatives: Mapping[str, str],
) -> Sequence[tuple[np.ndarray, Parts, Any]]:
    if not pick.any():
        return []
    parts = decompose(origin[pick], target[pick], x0[pick], x1[pick], old, new, relatives)
    return [(pick, parts, causes(parts))]


def _rule_moves(
    strategy: Strategy,
    pick: np.ndarray,
    origin: np.ndarray,
    target: np.ndarray,
    x0: pd.DataFrame,
    x1: pd.DataFrame,
    old: SegmentModel | None,
    new: SegmentModel | None,
) -> list[tuple[np.ndarray, Parts, Any]]:
    explained = []
    open_ = pick.copy()
    for rule in RULES:
        segment = rule_ids(strategy.name)[rule]
        into = target == segment
        decided = open_ & (into | (origin == segment))
        open_ &= ~decided
        if not decided.any():
            continue
        into = into[decided]
        if rule == UNASSIGNED:
            parts = _indicator(NO_CHAMPION, into, *(np.full(len(into), float(m is None)) for m in (old, old, new, new)))
            explained.append((decided, parts, BY_MODEL))
            continue
        if rule == OUTLIER:
            values = [_outliers(m, x[decided]) for m in (old, new) for x in (x0, x1)]
            explained.append((decided, _indicator(IS_OUTLIER, into, *values), BY_RULE))
            continue
        deep = depth(strategy, rule, into, x0[decided], x1[decided])
        names = tuple(dict.fromkeys(deep.column.tolist()))
        sign = np.where(into, 1.0, -1.0)
        before, after = sign * deep.days[:, 0], sign * deep.days[:, 1]
        user = np.zeros((len(into), len(names)))
        user[np.arange(len(into)), pd.factorize(deep.column)[0]] = after - before
        explained.append((decided, Parts(names, user, np.zeros_like(user), before, after), BY_RULE))
    return explained


def _indicator(
    name: str, into: np.ndarray, old_old: np.ndarray, old_new: np.ndarray, new_old: np.ndarray, new_new: np.ndarray
) -> Parts:
    """Return Shapley parts of a 0/1 rule of model and user; arguments: model of which day, features of which day."""
    sign = np.where(into, 1.0, -1.0)
    user = sign * ((new_new - new_old) + (old_new - old_old)) / 2
    model = sign * ((new_old - old_old) + (new_new - old_new)) / 2
    return Parts((name,), user[:, None], model[:, None], sign * old_old, sign * new_new)


def _outliers(model: SegmentModel | None, x: pd.DataFrame) -> np.ndarray:
    if model is None:
        return np.zeros(len(x))
    X = model.space.transform(x)
    return np.asarray(model.fitted.outliers(X, model.scores(X)), dtype=float)


def _margins(
    model: SegmentModel,
    to: np.ndarray,
    home: np.ndarray,
    x: pd.DataFrame,
    features: tuple[str, ...],
    margin: np.ndarray | None,
) -> np.ndarray:
    """Return (n, u) contributions to score_home - score_to by feature; write the same, from the scores, to `margin`."""
    terms = np.zeros((len(x), len(features)))
    known = np.flatnonzero((to >= 0) & (home >= 0) & (to != home))
    if not len(known):
        return terms
    X = model.space.transform(x if len(known) == len(x) else x.iloc[known])
    by_axis = model.fitted.contributions(X, to[known], home[known])
    if margin is not None:
        scores, rows = model.scores(X), np.arange(len(known))
        margin[known] = scores[rows, home[known]] - scores[rows, to[known]]
    column = {name: u for u, name in enumerate(features)}
    for j, source in enumerate([*model.space.sources, INTERCEPT]):
        terms[known, column[source]] += by_axis[:, j]
    return terms


def _cluster_of(model: SegmentModel, segments: np.ndarray, relatives: Mapping[str, str]) -> np.ndarray:
    """Return (n,) the cluster of each segment id, or of the nearest stand-in that the model has; -1 for none."""
    index = {segment: j for j, segment in enumerate(model.segment_ids)}
    codes, names = pd.factorize(segments)
    clusters = []
    for segment in names:
        name, seen = segment, {segment}
        while name not in index and relatives.get(name) is not None and relatives[name] not in seen:
            name = relatives[name]
            seen.add(name)
        clusters.append(index.get(name, -1))
    return np.array(clusters, dtype=np.int64)[codes] if len(codes) else np.zeros(0, dtype=np.int64)


def _lists(n: int, explained: list[tuple[np.ndarray, Parts]]) -> pd.Series:
    """Return the contributions as lists of structs, strongest first, exact zeros left out."""
    names = list(dict.fromkeys(name for _, parts in explained for name in parts.features))
    row, feature, user, model, rank = [], [], [], [], []
    for at, parts in explained:
        strength = -np.abs(parts.user + parts.model)
        order = np.argsort(strength, axis=1, kind="stable")
        keep = (parts.user != 0) | (parts.model != 0)
        ids = np.array([names.index(f) for f in parts.features], dtype=np.int32)
        shown = np.take_along_axis(keep, order, axis=1)
        row.append(np.broadcast_to(at[:, None], order.shape)[shown])
        feature.append(ids[order][shown])
        user.append(np.take_along_axis(parts.user, order, axis=1)[shown])
        model.append(np.take_along_axis(parts.model, order, axis=1)[shown])
    if row:
        rows = np.concatenate(row)
        rank = np.argsort(rows, kind="stable")
        columns = [np.concatenate(c)[rank] for c in (feature, user, model)]
        counts = np.bincount(rows, minlength=n)
    else:
        columns, counts = [np.zeros(0, np.int32), np.zeros(0), np.zeros(0)], np.zeros(n, dtype=np.int64)
    # A dictionary: a text per contribution was a fifth of the time of 187 thousand moves.
    features = pa.DictionaryArray.from_arrays(pa.array(columns[0], pa.int32()), pa.array(names, pa.string()))
    structs = pa.StructArray.from_arrays(
        [features, pa.array(columns[1]), pa.array(columns[2])], names=["feature", "user", "model"]
    )
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    lists = pa.ListArray.from_arrays(offsets, structs)
    return pd.Series(lists, dtype=pd.ArrowDtype(lists.type))


def _relations(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Return (missing segment, its stand-in) pairs of one lineage row (see `segments.fitting.identity`)."""
    olds, news, event = row["old_ids"], row["new_ids"], row["event"]
    if event == "split":
        return [(new, olds[0]) for new in news if new != olds[0]]
    if event == "merge":
        return [(old, news[0]) for old in olds if old != news[0]]
    # One source or one heir speaks for a birth or a death; several are no single one.
    if event in ("birth", "revival") and len(olds) == 1:
        return [(news[0], olds[0])]
    if event == "death" and len(news) == 1:
        return [(olds[0], news[0])]
    return []


def _column(frame: pd.DataFrame | None, name: str) -> pd.Series:
    if frame is None or name not in frame.columns:
        return pd.Series([None] * (0 if frame is None else len(frame)), dtype=object)
    return frame[name]
