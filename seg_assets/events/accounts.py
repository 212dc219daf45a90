"""State what became of the lines of landing files: an account per file, and the results of a day's read.

Not here: how lines are read and counted (`events.reader`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from seg_assets.core.digests import digest
from seg_assets.events.landing import EVENTS
from seg_assets.events.source import PRODUCTS, USERS

# Reasons that say a line was left out on purpose; they do not count as bad lines.
ON_PURPOSE = ("ignored_event_type",)


@dataclass
class FileAccount:
    """What became of the lines of one file; of one day of it, for a file of many days."""

    source_file: str
    feed: str
    bytes: int
    sha256: str = ""
    lines_read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    unmapped: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def reconciles(self) -> bool:
        """Whether every line is accounted for."""
        return self.lines_read == self.accepted + self.rejected + self.duplicates


class Rejections(NamedTuple):
    """Lines rejected for one reason: the column at fault ('' where there is none), how many, and the first of them."""

    reason: str
    column: str
    lines: int
    first_file: str
    first_line: int


@dataclass
class DayRead:
    """One day, read into the tables ACCEPTED, REJECTED and FILES (`events.store`) of the connection.

    rejections: most frequent first. digests: landing digest per kind of feed; stats: the cheap fingerprint per kind.
    """

    day: dt.date
    files: list[FileAccount]
    rejections: list[Rejections]
    digests: dict[str, str]
    stats: dict[str, str]

    def digest_of(self, kinds: Sequence[str]) -> str:
        """Return the landing digest over several kinds of feed."""
        return _over(self.digests, kinds)

    def stat_of(self, kinds: Sequence[str]) -> str:
        """Return the cheap fingerprint over several kinds of feed."""
        return _over(self.stats, kinds)

    def total(self, column: str, kind: str = EVENTS) -> int:
        """Return the sum of an account column over the event files (or users, products)."""
        tables = (USERS, PRODUCTS)
        chosen = [f for f in self.files if (f.feed not in tables if kind == EVENTS else f.feed == kind)]
        return sum(getattr(f, column) for f in chosen)

    @property
    def bad(self) -> int:
        """Rejected event lines, without those left out on purpose."""
        return self.total("rejected") - sum(r.lines for r in self.rejections if r.reason in ON_PURPOSE)

    @property
    def unusable(self) -> str:
        """Why no room may go on with the day: lines were rejected and not one accepted. '' when rooms may."""
        if not self.bad or self.total("accepted"):
            return ""
        first = next(r for r in self.rejections if r.reason not in ON_PURPOSE)
        column = f" of {first.column}" if first.column else ""
        place = f"first in {first.first_file}:{first.first_line}"
        return f"not one of {self.total('lines_read')} lines was accepted ({first.reason}{column}, {place})"


@dataclass
class TableRead:
    """Users or products of a day: SQL of the table on the connection, its digest, its accounts."""

    day: dt.date
    query: str
    files: list[FileAccount]
    digest: str
    stat: str
    rejections: list[Rejections]


def _over(by_kind: Mapping[str, str], kinds: Sequence[str]) -> str:
    """Return one digest over those of several kinds; that of the only kind as it is."""
    digests = [by_kind[k] for k in kinds if k in by_kind]
    return digests[0] if len(digests) == 1 else digest(digests)
