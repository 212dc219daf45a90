"""Try a draft on the files it was drafted from, by `source check`, and add up what became of their lines.

Not here: how a file is read (`events.check`).
"""

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath

from seg_assets.events.check import Sample, check_sample
from seg_assets.events.draft.columns import Proposal
from seg_assets.events.draft.container import FileSample
from seg_assets.events.source import Source

# Days of a sample that are read: each costs some hundredths of a second.
MOST_DAYS = 20


@dataclass
class Account:
    """What became of the lines of all files of a draft. partial: whether only samples of files were read."""

    partial: bool
    lines: int = 0
    accepted: int = 0
    left_out: int = 0
    rejected: int = 0
    duplicates: int = 0
    read_days: int = 0
    users: int = 0
    guests: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, tuple[int, Decimal | None]] = field(default_factory=dict)
    days: set[dt.date] = field(default_factory=set)

    def add(self, read: Sample) -> None:
        """Add what became of one file."""
        self.lines += read.lines_read
        self.accepted += read.accepted
        self.left_out += read.left_out
        self.rejected += read.rejected
        self.duplicates += read.duplicates
        self.read_days += len(read.days)
        self.users += read.users
        self.guests += read.guests
        self.days |= set(read.held)
        for reason in (*read.omitted, *read.reasons):
            self.reasons[f"{reason.reason}{f' ({reason.column})' if reason.column else ''}"] += reason.lines
        for kind, count, amount in read.kinds:
            before, money = self.kinds.get(kind, (0, None))
            both = amount if money is None else money if amount is None else money + amount
            self.kinds[kind] = (before + count, both)

    def says(self) -> Iterator[str]:
        """Yield the account, a line each."""
        of = "the samples that were read (--prove reads all)" if self.partial else "the whole files"
        yield f"account of source check over {of}:"
        yield (
            f"  {self.lines:,} lines: {self.accepted:,} accepted, {self.left_out:,} left out on purpose, "
            f"{self.rejected:,} rejected, {self.duplicates:,} duplicates"
        )
        yield from (f"  {count:,} {reason}" for reason, count in self.reasons.most_common(8))
        for kind, (count, amount) in sorted(self.kinds.items()):
            yield f"  {count:,} {kind}" + (f", amount {amount:,}" if amount is not None else "")
        if self.days:
            read = f" ({self.read_days:,} of them read)" if self.read_days < len(self.days) else ""
            days = f"{len(self.days):,} days{read}, {min(self.days)} .. {max(self.days)}"
            yield f"  {self.users:,} users, {self.guests:,} events without one; {days}"


def prove(
    source: Source, feeds: Sequence[tuple[str, Proposal | Sequence[FileSample]]], zone: str, *, whole: bool
) -> Account:
    """Return what becomes of the lines of a draft's files.

    Args:
        source: the draft, loaded.
        feeds: each feed's name, with its proposal or its files.
        zone: the shop's zone.
        whole: whether files are read whole; otherwise what was seen of them is read.
    """
    account = Account(partial=False)
    for name, files in feeds:
        for sample in files.samples if isinstance(files, Proposal) else files:
            if sample.whole or whole:
                account.add(check_sample(source, sample.path.resolve(), zone, feed=name, rows=0))
                continue
            account.partial = True
            with tempfile.TemporaryDirectory(prefix="seg_assets_draft_") as folder:
                part = Path(folder) / PurePosixPath(sample.relative).name
                sample.write(part)
                account.add(check_sample(source, part, zone, feed=name, rows=0, most_days=MOST_DAYS))
    return account
