"""Notice landing files that a day was read from and that are gone since: archived, or replaced by others.

Read anew without them, a day would lose their lines. A sensor or a replay does not ask for that, and a run that a
person asks for refuses to, unless its config says that they are to be forgotten.

Not here: which days to read anew for other reasons (`events.changes`).
"""

import datetime as dt

import duckdb

from seg_assets.core.errors import DamagedFileError, LandingError
from seg_assets.events.landing import EVENTS, KINDS, day_files, feeds_by_kind
from seg_assets.events.reader import Reader
from seg_assets.events.source import PRODUCTS, USERS
from seg_assets.events.store import ACCEPTED
from seg_assets.lake.store import Lake

# Files named in a message.
SHOWN = 5


def read_before(lake: Lake, day: dt.date) -> dict[str, str]:
    """Return the files that a day was read from: name to content hash; nothing when it never was."""
    return {name: content for name, _, _, content in _recorded(lake, day)}


def vanished(reader: Reader, lake: Lake, day: dt.date) -> dict[str, list[str]]:
    """Return files that a day was read from and whose lines of it cannot be read again, by kind.

    They were moved away; or no pattern of the source takes them any more; or, files of many days, they were written
    anew without the day, or with less of it at the edge of what they hold. A feed that was taken out of the source on
    purpose does not count while its files lie there.
    """
    recorded = [row for row in _recorded(lake, day) if row[2]]
    if not recorded:
        return {}
    present = {file.relative: file for file in day_files(reader.source, reader.landing, day, KINDS)}
    kind_of = {feed: kind for kind, feeds in feeds_by_kind(reader.source).items() for feed in feeds}
    by_kind: dict[str, list[str]] = {}
    for name, feed, lines, content in recorded:
        file = present.get(name)
        if file is not None and not reader.lost_of(file, day, lines, content):
            continue
        if file is None and feed not in kind_of and ((reader.landing / name).exists() or feed in (USERS, PRODUCTS)):
            continue
        by_kind.setdefault(kind_of.get(feed, EVENTS), []).append(name)
    return {kind: sorted(names) for kind, names in by_kind.items()}


def refuse_losses(reader: Reader, lake: Lake, day: dt.date, con: duckdb.DuckDBPyConnection) -> None:
    """Raise LandingError when a day read anew on `con` lacks what vanished files held.

    The same events under another name (files replaced by others) are no loss.
    """
    gone = vanished(reader, lake, day)
    if not gone:
        return
    if names := gone.get(EVENTS):
        lost = "its events"
        if lake.has("raw_events", day):
            row = con.execute(
                f"select count(*) from {lake.scan('raw_events', [day])} as before anti join {ACCEPTED} using (event_id)"
            ).fetchone()
            lost = f"{row[0]} of its events" if row and row[0] else ""
        if lost:
            raise _loss(reader, day, lost, names, "landing_to_events")
    for kind in (USERS, PRODUCTS):
        refuse_lost_table(reader, lake, kind, day, "landing_to_events", gone)


def refuse_lost_table(
    reader: Reader, lake: Lake, kind: str, day: dt.date, asset: str, gone: dict[str, list[str]] | None = None
) -> None:
    """Raise LandingError when dated users or products files that a day was read from are gone."""
    feed = getattr(reader.source, kind)
    # An undated file is the whole table: another one takes its place.
    if feed is None or not feed.dated:
        return
    names = (vanished(reader, lake, day) if gone is None else gone).get(kind)
    if not names:
        return
    before, now = read_before(lake, day), set(reader.contents(day, kind).values())
    # The same content under another name is no loss.
    names = [name for name in names if before[name] not in now]
    if names:
        raise _loss(reader, day, f"{kind} of it", names, asset)


def _loss(reader: Reader, day: dt.date, lost: str, names: list[str], asset: str) -> LandingError:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return LandingError(
        f"{day}: read anew it would lose {lost}, for landing files that it was read from are no longer in "
        f"{reader.landing}, or no longer read or whole: {', '.join(names[:SHOWN])}{more}. Put them back; or, when they "
        f"are to be forgotten, say so: seg-assets replay --from {day} --to {day} --forget-vanished, or "
        f"forget_vanished: true in the config of {asset}"
    )


def _recorded(lake: Lake, day: dt.date) -> list[tuple[str, str, int, str]]:
    """Return (name, feed, lines, content hash) of each file that a day was read from."""
    if not lake.has("landed_files", day):
        return []
    try:
        rows = lake.read_arrow("landed_files", day, ["source_file", "feed", "lines_read", "sha256"]).to_pylist()
    except DamagedFileError:
        # The day is read anew to mend just that.
        return []
    return [(r["source_file"], r["feed"], r["lines_read"], r["sha256"]) for r in rows]
