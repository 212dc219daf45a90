"""Columns of profile days that this process has read, so that the rooms of a day read a column once, not eight times.

They are kept under the version of their file (`Lake.version`), which the lake looks at first: a day that was replaced,
or changed in place, has another version and is read anew. What is kept is bounded in bytes, days not asked for longest
go first, and no array can be written to. What a strategy makes of columns is in `features`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.lake.cache import Kept
from seg_assets.lake.store import Version

# Two days of 475,607 users x 24 columns, which the moves of a day read, are 190 MB.
MOST_BYTES = 320 * 2**20

# Numbers as float64 with NaN for null, or texts in one piece.
Column = np.ndarray | pa.Array


@dataclass(frozen=True)
class Columns:
    """What was read of one version of a day's profiles.

    kinds: column to DuckDB type, of the whole file.
    users: (n,) user ids, in the order of the rows of every column.
    in_order: whether the file's own rows are in that order.
    found: column by name, or by the table's version and the name where it comes from another table.
    """

    kinds: Mapping[str, str]
    users: pa.Array
    in_order: bool
    found: Mapping[object, Column] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return self.users.nbytes + sum(column.nbytes for column in self.found.values())

    def with_columns(self, found: Mapping[object, Column]) -> "Columns":
        """These columns and more."""
        return replace(self, found={**self.found, **found})


_KEPT: Kept[Columns] = Kept(lambda columns: columns.nbytes)


def recall(version: Version) -> Columns | None:
    """What was read of this version, None for nothing."""
    return _KEPT.get(version)


def remember(version: Version, columns: Columns) -> None:
    """Keep what was read of a version instead of what was kept of it, and of other versions of that file, before."""
    _KEPT.keep(version, columns, MOST_BYTES)


def forget() -> None:
    """Forget everything."""
    _KEPT.forget()


def of_arrow(column: pa.ChunkedArray) -> Column:
    """(n,) a column of doubles or texts as it is kept."""
    if not pa.types.is_floating(column.type):
        return text_array(column)
    # Concatenated, it has memory of its own: one column does not keep all that were read with it.
    found = np.concatenate([np.empty(0), *(chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks)])
    found.flags.writeable = False
    return found


def text_array(column: pa.ChunkedArray) -> pa.Array:
    """(n,) a column of texts in one piece."""
    return column.cast(pa.large_string()).combine_chunks()


def is_increasing(users: pa.Array) -> bool:
    """Whether no id is null and each is greater than the one before: sorted, and nobody twice."""
    return not users.null_count and pc.all(pc.less(users[:-1], users[1:])).as_py() is not False
