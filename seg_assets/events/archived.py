"""Landing files that a day was read from and that are gone since: archived, or replaced by others.

Read anew without them, a day would lose their lines. A sensor or a replay does not ask for that, and a run that a
person asks for refuses it unless told that they are to be forgotten.
"""

import datetime as dt
from typing import TYPE_CHECKING

from seg_assets.core.errors import DamagedFileError, LandingError
from seg_assets.events.landing import EVENTS, day_files
from seg_assets.events.source import PRODUCTS, USERS
from seg_assets.lake.store import Lake

if TYPE_CHECKING:
    import duckdb

    from seg_assets.events.reader import Reader

FILES, RAW = "landed_files", "raw_events"
# Files named in a message.
SHOWN = 5


def read_before(lake: Lake, day: dt.date) -> dict[str, str]:
    """Files that a day was read from: name to content hash; nothing when it never was."""
    return {name: content for name, _, _, content in _recorded(lake, day)}


def vanished(reader: "Reader", lake: Lake, day: dt.date) -> dict[str, list[str]]:
    """Files with lines that a day was read from and that are gone, by kind; of feeds that the source still has."""
    source, landing = reader.source, reader.landing
    kinds = {EVENTS: set(source.feeds)} | {k: {k} for k in (USERS, PRODUCTS) if getattr(source, k) is not None}
    recorded = [(name, feed) for name, feed, lines, _ in _recorded(lake, day) if lines]
    away = [(name, feed) for name, feed in recorded if not (landing / name).exists()]
    if not away:
        return {}
    # Under a name that is no text a file is recorded by another one: folders are listed only then.
    there = {file.relative for file in day_files(source, landing, day, tuple(kinds))}
    gone = [(name, feed) for name, feed in away if name not in there]
    found = {kind: sorted(name for name, feed in gone if feed in feeds) for kind, feeds in kinds.items()}
    return {kind: names for kind, names in found.items() if names}


def refuse_losses(reader: "Reader", lake: Lake, day: dt.date, con: "duckdb.DuckDBPyConnection") -> None:
    """Raise LandingError when `seg_accepted` of `con`, a day read anew, lacks what vanished files held.

    The same events under another name (files replaced by others) are no loss.
    """
    gone = vanished(reader, lake, day)
    if not gone:
        return
    if names := gone.get(EVENTS):
        if lake.has(RAW, day):
            row = con.execute(
                f"select count(*) from {lake.scan(RAW, [day])} as before "
                "anti join seg_accepted on before.event_id = seg_accepted.event_id"
            ).fetchone()
            lost = f"{row[0]} of its events" if row and row[0] else ""
        else:
            lost = "its events"
        if lost:
            _refuse(reader, day, lost, names, "landing_to_events")
    for kind in (USERS, PRODUCTS):
        refuse_lost_table(reader, lake, kind, day, "landing_to_events", gone)


def refuse_lost_table(
    reader: "Reader", lake: Lake, kind: str, day: dt.date, asset: str, gone: dict[str, list[str]] | None = None
) -> None:
    """Raise LandingError when dated users or products files that a day was read from are gone."""
    feed = getattr(reader.source, kind)
    # An undated file is the whole table: another one takes its place.
    if feed is None or not feed.dated:
        return
    names = (vanished(reader, lake, day) if gone is None else gone).get(kind)
    if names:
        _refuse(reader, day, f"{kind} of it", names, asset)


def _refuse(reader: "Reader", day: dt.date, lost: str, names: list[str], asset: str) -> None:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    raise LandingError(
        f"{day}: read anew it would lose {lost}, for landing files that it was read from are no longer in "
        f"{reader.landing}: {', '.join(names[:SHOWN])}{more}. Put them back; or, when they are to be forgotten, say "
        f"so: seg-assets replay --from {day} --to {day} --forget-vanished, or forget_vanished: true in the config of "
        f"{asset}"
    )


def _recorded(lake: Lake, day: dt.date) -> list[tuple[str, str, int, str]]:
    """(name, feed, lines, content hash) of each file that a day was read from."""
    if not lake.has(FILES, day):
        return []
    try:
        rows = lake.read_arrow(FILES, day, ["source_file", "feed", "lines_read", "sha256"]).to_pylist()
    except DamagedFileError:
        # The day is read anew to mend just that.
        return []
    return [(r["source_file"], r["feed"], r["lines_read"], r["sha256"]) for r in rows]
