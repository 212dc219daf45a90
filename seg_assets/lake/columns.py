"""Remember columns of profile days, so that the rooms of a day read a column once, not eight times.

They are remembered under the version of their file (`Lake.version`), which the lake looks at first. No array can be
written to.

Not here: what a strategy makes of columns (`segments.features`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.lake.cache import FileCache
from seg_assets.lake.stamps import Version

# Numbers as float64 with NaN for null, or texts in one piece.
Column = np.ndarray | pa.Array


@dataclass(frozen=True)
class Columns:
    """What was read of one version of a day's profiles.

    kinds: column to DuckDB type, of the whole file.
    users: (n,) user ids, in the order of the rows of every column.
    in_order: whether the file's own rows are in that order.
    by_name: columns by name, or by the table's version and the name where one comes from another table.
    """

    kinds: Mapping[str, str]
    users: pa.Array
    in_order: bool
    by_name: Mapping[object, Column] = field(default_factory=dict[object, Column])

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return self.users.nbytes + sum(column.nbytes for column in self.by_name.values())

    def with_columns(self, by_name: Mapping[object, Column]) -> "Columns":
        """Return these columns and more."""
        return replace(self, by_name={**self.by_name, **by_name})


_COLUMNS: FileCache[Columns] = FileCache()


def recall(version: Version) -> Columns | None:
    """Return what was read of this version, None for nothing."""
    return _COLUMNS.get(version.path, version.stamp)


def remember(version: Version, columns: Columns) -> None:
    """Remember what was read of a version in place of what was remembered of that file before."""
    _COLUMNS.put(version.path, version.stamp, columns, columns.nbytes)


def of_arrow(column: pa.ChunkedArray) -> Column:
    """Return a column (n,) of doubles or texts as it is remembered."""
    if not pa.types.is_floating(column.type):
        return text_array(column)
    # Concatenated, it has memory of its own: one column does not hold on to all that were read with it.
    values = np.concatenate([np.empty(0), *(chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks)])
    values.flags.writeable = False
    return values


def text_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column (n,) of texts in one piece."""
    return column.cast(pa.large_string()).combine_chunks()


def is_increasing(users: pa.Array) -> bool:
    """Return whether no id is null and each is greater than the one before: sorted, and nobody twice."""
    increasing: Any = pc.call_function("all", [pc.call_function("less", [users[:-1], users[1:]])])
    return not users.null_count and increasing.as_py() is not False
