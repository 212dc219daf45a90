"""Read everybody's segment of a day as codes, and count how users flowed between two days without joining texts.

At 475,607 users three joins of user_segments with itself took 0.9 s of a day; the same counts from codes take 0.2 s.

Not here: why a user moved (`segments.daily.moves`).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seg_assets.core.errors import DamagedFileError
from seg_assets.lake.cache import FileCache
from seg_assets.lake.columns import text_array
from seg_assets.lake.store import Lake
from seg_assets.segments.daily.assign import CLUSTER, TABLE


@dataclass(frozen=True)
class Segmented:
    """The users of one strategy in user_segments of a day, by user_id.

    users: (n,) ids. codes: (n,) position of each user's segment in `names`, which are sorted. cluster: (n,) whether the
    segment is a cluster.
    """

    users: pa.Array
    codes: np.ndarray
    names: list[str]
    cluster: np.ndarray

    @property
    def nbytes(self) -> int:
        """Count the bytes of all arrays."""
        return self.users.nbytes + self.codes.nbytes + self.cluster.nbytes

    def sizes(self) -> list[tuple[str, bool, int]]:
        """Return (segment, whether it is a cluster, users), by segment, rules first."""
        counts = np.bincount(2 * self.codes + self.cluster, minlength=2 * len(self.names))
        return [(self.names[n // 2], bool(n % 2), int(counts[n])) for n in np.flatnonzero(counts)]


NOBODY = Segmented(pa.array([], pa.large_string()), np.zeros(0, dtype=np.int64), [], np.zeros(0, dtype=bool))


# A range reads a day as today, as yesterday, as a week ago, and in two rooms.
_DAYS: FileCache[dict[str, Segmented]] = FileCache()


def segmented(lake: Lake, day: dt.date) -> dict[str, Segmented]:
    """Everybody's segment on a day, by strategy; a row without one is left out. Empty before the calendar.

    Raises:
        MissingDaysError: the day was never segmented. DamagedFileError: see `Lake.check`.
    """
    if day < lake.start_day:
        return {}
    version = lake.version(TABLE, day)
    by_strategy = _DAYS.get(version.path, version.stamp)
    if by_strategy is None:
        by_strategy = _read(lake, day)
        # A day that was replaced in between is not what this version holds.
        if lake.version(TABLE, day) == version:
            _DAYS.put(version.path, version.stamp, by_strategy, sum(s.nbytes for s in by_strategy.values()))
    return dict(by_strategy)


def _read(lake: Lake, day: dt.date) -> dict[str, Segmented]:
    coded = ["strategy", "segment_id", "kind"]
    table = lake.read_arrow(TABLE, day, ["user_id", *coded], codes=coded)
    if table["segment_id"].null_count:
        table = table.filter(table["segment_id"].is_valid())
    users = text_array(table["user_id"])
    of, segment, kind = (_codes(table[name]) for name in coded)
    # A published day is in order of its key: strategy, then user.
    if (of.codes[1:] < of.codes[:-1]).any():
        raise DamagedFileError(f"user_segments of {day} is not in order of strategy; re-materialize it for that day")
    by_strategy = {}
    for n, name in enumerate(of.names):
        low, high = np.searchsorted(of.codes, [n, n + 1])
        codes = segment.codes[low:high]
        present = np.bincount(codes, minlength=len(segment.names)) > 0
        own_codes = (np.cumsum(present) - 1)[codes]
        cluster = np.array([k == CLUSTER for k in kind.names], dtype=bool)[kind.codes[low:high]]
        for array in (own_codes, cluster):
            array.flags.writeable = False
        by_strategy[name] = Segmented(
            users[low:high], own_codes, [segment.names[c] for c in np.flatnonzero(present)], cluster
        )
    return by_strategy


@dataclass(frozen=True)
class _Codes:
    """A column of few texts. codes: (n,) position of each row's text in `names`, which are sorted."""

    codes: np.ndarray
    names: list[str]


def _codes(column: pa.ChunkedArray) -> _Codes:
    array = column.combine_chunks()
    names = array.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return _Codes(rank[array.indices.to_numpy()], [names[n] for n in order])


@dataclass(frozen=True)
class Flows:
    """Users known on both days by (segment then, segment now), and those of them in a cluster on both days."""

    every: Mapping[tuple[str, str], int] = field(default_factory=dict)
    clusters: Mapping[tuple[str, str], int] = field(default_factory=dict)


def flows_between(now: Segmented, then: Segmented, at: np.ndarray) -> Flows:
    """Count the flows between two days; `at` is the position of each of today's users in `then`, -1 for none."""
    now_at = np.flatnonzero(at >= 0)
    then_at = at[now_at]
    pairs = then.codes[then_at] * len(now.names) + now.codes[now_at]
    clusters = pairs[now.cluster[now_at] & then.cluster[then_at]]

    def counted(codes: np.ndarray) -> dict[tuple[str, str], int]:
        counts = np.bincount(codes)
        names = ((then.names[n // len(now.names)], now.names[n % len(now.names)]) for n in np.flatnonzero(counts))
        return dict(zip(names, counts[counts > 0].tolist(), strict=True))

    return Flows(counted(pairs), counted(clusters))
