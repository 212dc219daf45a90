"""Give permanent ids across re-clusterings: which new cluster is which old segment, and what became of the others.

The evidence is the users both clusterings label. n(i, j) users of old segment i are in new cluster j; their share of
i is `share_of_old`, their share of j is `share_of_new`.

1. A pair may carry an id on when one of the two shares is at least HALF and the other at least QUARTER.
2. Among such pairs, the one-to-one choice that keeps most users under their id wins (Hungarian method, Kuhn 1955).
   So of a split the largest part keeps the id, of a merge the largest contributor's id lives on.
3. survive: the id is carried on. split: an old segment feeds at least two new ones, each with a QUARTER of it.
   merge: a new one is fed by at least two old ones, each making a QUARTER of it. birth: a new id for a cluster that
   is nobody's successor and nobody's part. death: an id that ends and whose users went to no single successor.

Every old segment appears as survivor, as part of a merge, or as a death; every new one as survivor, as part of a
split, or as a birth. A new id is one above the greatest ever used, so none is used twice.

Not here: an id that comes back by a rollback (`decisions.rollback`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HALF = 0.5
QUARTER = 0.25


@dataclass(frozen=True)
class Match:
    """Ids of the new clusters in cluster order, lineage rows, and the overlap table.

    lineage: rows of event, old_ids, new_ids, shared_users, share_of_old, share_of_new.
    overlap: rows of old_id, new_id, shared_users, share_of_old, share_of_new; every pair that shares a user.
    relabelled: share of the shared users whose id changed.
    """

    ids: tuple[str, ...]
    lineage: tuple[Mapping[str, Any], ...]
    overlap: tuple[Mapping[str, Any], ...]
    relabelled: float


def new_ids(strategy: str, used: Iterable[str], count: int) -> list[str]:
    """Return the next `count` ids of a strategy: `value-001` and on, above every id ever used."""
    pattern = re.compile(rf"^{re.escape(strategy)}-(\d+)$")
    numbers = [int(m.group(1)) for m in map(pattern.match, used) if m]
    first = max(numbers, default=0) + 1
    return [f"{strategy}-{n:03d}" for n in range(first, first + count)]


def match(
    strategy: str,
    old_ids: Sequence[str],
    old_labels: np.ndarray,
    new_labels: np.ndarray,
    n_new: int,
    used: Iterable[str] = (),
) -> Match:
    """Give ids to new clusters.

    Args:
        strategy: its name, the stem of ids.
        old_ids: ids of the old segments; empty at the first fit.
        old_labels: (n,) index into `old_ids` per user, -1 where the old model gave none.
        new_labels: (n,) new cluster 0..n_new-1 of the same users, -1 for none.
        n_new: number of new clusters.
        used: every id ever used, also by models that were not promoted.
    """
    counts = overlap_counts(old_labels, new_labels, len(old_ids), n_new)
    of_old = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    of_new = counts / np.maximum(counts.sum(axis=0, keepdims=True), 1)
    successor = _successors(counts, of_old, of_new)
    heirs = {j: i for i, j in successor.items()}
    minted = iter(new_ids(strategy, {*used, *old_ids}, n_new - len(heirs)))
    ids = tuple(old_ids[heirs[j]] if j in heirs else next(minted) for j in range(n_new))
    total = int(counts.sum())
    same = sum(int(counts[i, j]) for i, j in successor.items())
    return Match(
        ids=ids,
        lineage=tuple(_lineage(old_ids, ids, counts, of_old, of_new, successor)),
        overlap=tuple(
            {
                "old_id": old_ids[i],
                "new_id": ids[j],
                "shared_users": int(counts[i, j]),
                "share_of_old": round(float(of_old[i, j]), 6),
                "share_of_new": round(float(of_new[i, j]), 6),
            }
            for i in range(len(old_ids))
            for j in range(n_new)
            if counts[i, j]
        ),
        relabelled=round(1.0 - same / total, 6) if total else 0.0,
    )


def overlap_counts(old_labels: np.ndarray, new_labels: np.ndarray, n_old: int, n_new: int) -> np.ndarray:
    """Return (n_old, n_new) shared users; a label of -1 is not counted."""
    old, new = np.asarray(old_labels), np.asarray(new_labels)
    both = (old >= 0) & (new >= 0)
    flat = np.bincount(old[both] * n_new + new[both], minlength=n_old * n_new)
    return flat.reshape(n_old, n_new) if n_old else np.zeros((0, n_new), dtype=int)


def lineage_row(
    event: str,
    old_ids: Sequence[str],
    new_ids: Sequence[str],
    counts: np.ndarray,
    olds: list[int],
    news: list[int],
) -> dict[str, Any]:
    """Return one lineage event: the segments in it by position, and the users that both sides share.

    counts: (n_old, n_new) shared users, as of `overlap_counts`.
    """
    shared = int(counts[np.ix_(olds, news)].sum()) if olds and news else 0
    return {
        "event": event,
        "old_ids": [old_ids[i] for i in olds],
        "new_ids": [new_ids[j] for j in news],
        "shared_users": shared,
        "share_of_old": round(shared / max(int(counts[olds].sum()), 1), 6) if olds else 0.0,
        "share_of_new": round(shared / max(int(counts[:, news].sum()), 1), 6) if news else 0.0,
    }


def _successors(counts: np.ndarray, of_old: np.ndarray, of_new: np.ndarray) -> dict[int, int]:
    """Return the new cluster that carries each old segment's id on, by position."""
    if not counts.size:
        return {}
    from scipy.optimize import linear_sum_assignment

    allowed = (np.maximum(of_old, of_new) >= HALF) & (np.minimum(of_old, of_new) >= QUARTER)
    rows, columns = linear_sum_assignment(np.where(allowed, counts, 0), maximize=True)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if allowed[i, j]}


def _lineage(
    old_ids: Sequence[str],
    ids: Sequence[str],
    counts: np.ndarray,
    of_old: np.ndarray,
    of_new: np.ndarray,
    successor: Mapping[int, int],
) -> Iterable[dict[str, Any]]:
    """Yield what became of each old segment and where each new one is from (see above)."""
    n_old, n_new = counts.shape

    def row(event: str, olds: list[int], news: list[int]) -> dict[str, Any]:
        return lineage_row(event, old_ids, ids, counts, olds, news)

    parts = {i: [j for j in range(n_new) if counts[i, j] and of_old[i, j] >= QUARTER] for i in range(n_old)}
    sources = {j: [i for i in range(n_old) if counts[i, j] and of_new[i, j] >= QUARTER] for j in range(n_new)}
    heirs = set(successor.values())
    # A part descends from an old segment when it is made of it to at least a half.
    splits = {
        i: heirs_of
        for i in range(n_old)
        if len(heirs_of := [j for j in parts[i] if of_new[i, j] >= HALF or successor.get(i) == j]) >= 2
    }
    # A source goes up in a new segment when at least a half of it does.
    merges = {
        j: merged
        for j in range(n_new)
        if len(merged := [i for i in sources[j] if of_old[i, j] >= HALF or successor.get(i) == j]) >= 2
    }
    for i, j in sorted(successor.items()):
        yield row("survive", [i], [j])
    for i in sorted(splits):
        yield row("split", [i], splits[i])
    for j in sorted(merges):
        yield row("merge", merges[j], [j])
    born_of_split = {j for news in splits.values() for j in news}
    merged_away = {i for olds in merges.values() for i in olds}
    for j in range(n_new):
        if j not in heirs and j not in born_of_split:
            yield row("birth", sources[j], [j])
    for i in range(n_old):
        if i not in successor and i not in merged_away:
            yield row("death", [i], parts[i])
