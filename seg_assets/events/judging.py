"""Judge what was read of a day, feed by feed: what stops the day, and what a person should look at.

Over the sum of all feeds a small one can be refused whole unseen, so that every judgement is of one feed or table.

Not here: how lines are read and counted (`events.reader`), and the checks in Dagster (`events.assets`).
"""

import datetime as dt
import statistics
from collections.abc import Sequence

from seg_assets.core.days import ONE_DAY
from seg_assets.core.errors import LandingError
from seg_assets.events.accounts import DayRead, FeedLines, TableRead, lines_of_feeds
from seg_assets.events.landing import REFUSED_KEY
from seg_assets.events.source import KEYED_TABLES
from seg_assets.lake.store import Lake

# Above this share of refused lines a mapping or an export is likely wrong. The simulator's planted noise is 0.5 %.
MAX_REJECTED_SHARE = 0.02
# Below this share of what is usual a delivery is likely cut short.
MIN_USUAL_SHARE = 0.1
# Weeks whose same weekday says what is usual, and of how many of them a feed must have had a day to be judged.
USUAL_WEEKS, LEAST_WEEKS = 4, 2
# Below this share of the rows before, a file of users or products is likely cut short.
MIN_ROWS_SHARE = 0.5


def refuse_worse_day(lake: Lake, day: dt.date, read: DayRead, *, forget_vanished: bool = False) -> None:
    """Raise LandingError when a feed is refused whole or was emptied, and the lake holds a good day: that one stays."""
    before = lake.provenance("raw_events", day)
    if before is None or before.extra.get(REFUSED_KEY):
        return
    emptied = _emptied(lake, day, lines_of_feeds([f for f in read.files if f.feed not in KEYED_TABLES]))
    if emptied and not forget_vanished:
        raise LandingError(
            f"{day}: {emptied}; the day stays as it was read before. Deliver the files again, or read the day without "
            f"their lines: seg-assets replay --from {day} --to {day} --forget-vanished"
        )
    if read.refused:
        raise LandingError(
            f"{day}: {read.unusable}; the day stays as it was read before. Mend the source or deliver the file again"
        )


def _emptied(lake: Lake, day: dt.date, feeds: Sequence[FeedLines]) -> str:
    """Say which feed has files of a day that was read, and not one line in them any more; '' when none has."""
    lines = _lines_before(lake, day)
    empty = [
        f"feed {f.feed} has no line any more, it had {lines[f.feed]}"
        for f in feeds
        if not f.lines and lines.get(f.feed)
    ]
    return "; ".join(empty)


def _lines_before(lake: Lake, day: dt.date) -> dict[str, int]:
    """Return the lines of each feed that a day was read from; nothing when it never was."""
    lines: dict[str, int] = {}
    if lake.has("landed_files", day):
        for row in lake.read_arrow("landed_files", day, ["feed", "lines_read"]).to_pylist():
            lines[row["feed"]] = lines.get(row["feed"], 0) + row["lines_read"]
    return lines


def refuse_bad_table(lake: Lake, table: str, day: dt.date, read: TableRead, *, dated: bool) -> None:
    """Raise LandingError when users or products lines all were refused, or when a file of all rows has none any more.

    The table of the day stays as it was; where there is none yet, what needs it waits.
    """
    (feed,) = lines_of_feeds(read.files) or (None,)
    for file in read.files:
        (of_file,) = lines_of_feeds([file])
        if of_file.is_refused:
            # The most frequent reason of all files: this file's own, where it is the only one that is refused.
            first = next((r for r in read.rejections if r.first_file == file.source_file), read.rejections[0])
            column = f" of {first.column}" if first.column else ""
            raise LandingError(
                f"{table} of {day}: not one of {of_file.lines} lines of {file.source_file} was accepted "
                f"({first.reason}{column}); the last good table stays. Mend the source or deliver the file again"
            )
    if dated and (emptied := _emptied(lake, day, lines_of_feeds(read.files))):
        raise LandingError(f"{table} of {day}: {emptied}; the last good table stays. Deliver the file again")
    rows = rows_before(lake, table, day)
    if feed is not None and not dated and not feed.accepted and rows:
        names = ", ".join(f.source_file for f in read.files)
        raise LandingError(
            f"{table} of {day}: {names} has no row any more, it had {rows}; the last good table stays. Deliver the "
            f"file again, or leave {feed.feed} out of the source when there are none"
        )


def rows_before(lake: Lake, table: str, day: dt.date) -> int:
    """Return the rows of a table as it was read before: for the day itself, else for the day before it."""
    for earlier in (day, day - ONE_DAY):
        footer = lake.provenance(table, earlier)
        if footer is not None and footer.rows:
            return footer.rows
    return 0


def over_rejected(feeds: Sequence[FeedLines]) -> list[str]:
    """Return the feeds of which more lines than usual noise were refused, with their share, in words."""
    return [f"{f.feed}: {f.bad_share:.1%}" for f in feeds if f.bad_share > MAX_REJECTED_SHARE]


class UsualLines:
    """How many lines each feed has on a weekday, by the accounts of four weeks; each day is read once a run."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._days: dict[dt.date, dict[str, int]] = {}

    def far_below(self, day: dt.date, feeds: Sequence[FeedLines]) -> list[str]:
        """Return the feeds with under a tenth of the median of the same weekday in the last four weeks, in words."""
        earlier = [self._of(day - 7 * n * ONE_DAY) for n in range(1, USUAL_WEEKS + 1)]
        lines = {feed.feed: feed.lines for feed in feeds}
        low = []
        for feed in sorted({name for of_day in earlier for name in of_day} | lines.keys()):
            known = [of_day[feed] for of_day in earlier if feed in of_day]
            if len(known) >= LEAST_WEEKS and lines.get(feed, 0) < MIN_USUAL_SHARE * statistics.median(known):
                low.append(f"{feed}: {lines.get(feed, 0)} lines, usually {statistics.median(known):.0f}")
        return low

    def _of(self, day: dt.date) -> dict[str, int]:
        if day not in self._days:
            self._days[day] = _lines_before(self._lake, day)
        return self._days[day]
