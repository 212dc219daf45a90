"""State what became of the lines of landing files: an account per file, and the results of a day's read.

Not here: how lines are read and counted (`events.reader`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from seg_assets.core.digests import digest
from seg_assets.core.sql import literal
from seg_assets.events.landing import EVENTS
from seg_assets.events.source import PRODUCTS, USERS

# Reasons that say a line was left out on purpose; they do not count as bad lines.
ON_PURPOSE = ("ignored_event_type", "left_out", "older_version", "other_currency")
ON_PURPOSE_SQL = ", ".join(map(literal, ON_PURPOSE))


@dataclass
class FileAccount:
    """What became of the lines of one file; of one day of it, for a file of many days.

    left_out: lines left out on purpose. events: those of the accepted lines, of which one may give several; and those
    that lines counted on another day give on this one.
    """

    source_file: str
    feed: str
    bytes: int
    sha256: str = ""
    lines_read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    left_out: int = 0
    events: int = 0
    unmapped: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def reconciles(self) -> bool:
        """Whether every line is accounted for."""
        return self.lines_read == self.accepted + self.left_out + self.rejected + self.duplicates


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
    refused: event feeds of which not one line of the day can be used, and why, in words.
    """

    files: list[FileAccount]
    rejections: list[Rejections]
    digests: dict[str, str]
    stats: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict)

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
    def unusable(self) -> str:
        """Why no room may go on with the day: a feed whose lines all were refused. '' when rooms may."""
        return "; ".join(self.refused.values())


@dataclass
class TableRead:
    """Users or products of a day: SQL of the table on the connection, its digest, its accounts."""

    query: str
    files: list[FileAccount]
    digest: str
    stat: str
    rejections: list[Rejections]


@dataclass(frozen=True)
class FeedLines:
    """What became of the lines of one feed on a day, over all its files."""

    feed: str
    lines: int
    accepted: int
    bad: int
    duplicates: int
    events: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether every line was refused; what was left out on purpose and what was read before is not."""
        return self.bad > 0 and not self.accepted and not self.duplicates and not self.events

    @property
    def bad_share(self) -> float:
        """Share of the lines that were refused, without those left out on purpose."""
        return self.bad / self.lines if self.lines else 0.0


def lines_of_feeds(files: Sequence[FileAccount]) -> list[FeedLines]:
    """Return what became of the lines of each feed, by name."""
    return [
        FeedLines(
            feed,
            sum(f.lines_read for f in those),
            sum(f.accepted for f in those),
            sum(f.rejected for f in those),
            sum(f.duplicates for f in those),
            sum(f.events for f in those),
        )
        for feed in sorted({f.feed for f in files})
        for those in [[f for f in files if f.feed == feed]]
    ]


def _over(by_kind: Mapping[str, str], kinds: Sequence[str]) -> str:
    """Return one digest over those of several kinds; that of the only kind as it is."""
    digests = [by_kind[k] for k in kinds if k in by_kind]
    return digests[0] if len(digests) == 1 else digest(digests)
