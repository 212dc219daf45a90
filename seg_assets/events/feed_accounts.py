"""Renew what landed_files and rejected_events of a day say of users or products, where these are read alone.

A read of the whole day writes both tables for all feeds. Users and products are read alone where the day's event files
were archived; what the tables say of other feeds stays row by row.

Not here: how lines are read and counted (`events.reader`).
"""

import datetime as dt

import duckdb

from seg_assets.core.sql import literal
from seg_assets.events.accounts import DayRead
from seg_assets.events.landing import KINDS, LANDING_KEY, STAT_KEY, TABLE_OF_KIND, feeds_by_kind
from seg_assets.events.reader import Reader
from seg_assets.events.store import FILES, REJECTED
from seg_assets.lake import guard
from seg_assets.lake.store import Lake

ACCOUNTS, LINES = "landed_files", "rejected_events"


def renew_accounts(reader: Reader, lake: Lake, kind: str, day: dt.date, con: duckdb.DuckDBPyConnection) -> None:
    """Make both tables say of a day's users or products files what is true of them now.

    Published before the table itself: after a kill in between, that one is still to be read, and this is done again.
    """
    landed = lake.provenance(ACCOUNTS, day)
    if landed is not None and landed.extra.get(STAT_KEY) == reader.stat(day, KINDS):
        return
    with guard.hold(lake.root, ACCOUNTS):
        recorded = _recorded(reader, lake, day)
        read = _over(reader, lake, day, recorded | {kind: reader.contents(day, kind)}, kind)
        landed = lake.provenance(ACCOUNTS, day)
        if landed is not None and landed.inputs.get(LANDING_KEY) == read.digest_of(KINDS):
            return
        accounts = reader.read_accounts(kind, day, con)
        now = {account.source_file: account.sha256 for account in accounts}
        read = _over(reader, lake, day, recorded | {kind: now}, kind)
        others = {k: files for k, files in recorded.items() if k != kind}
        names = ", ".join(literal(name) for name in sorted({*recorded.get(kind, ()), *now}))
        origin = {
            "inputs": {LANDING_KEY: read.digest_of(KINDS)},
            "extra": {
                STAT_KEY: read.stat_of(KINDS),
                "landing_files": len(now) + sum(len(files) for files in others.values()),
            },
        }
        for table, rows in ((LINES, REJECTED), (ACCOUNTS, FILES)):
            query = f"select * from {rows}"
            if lake.has(table, day):
                stays = f"where source_file not in ({names})" if names else ""
                query += f" union all select * exclude (day) from {lake.scan(table, [day])} {stays}"
            lake.publish(con, table, day, query, **origin)


def _recorded(reader: Reader, lake: Lake, day: dt.date) -> dict[str, dict[str, str]]:
    """Return, by kind, name and content hash of the files that a day was read from."""
    if not lake.has(ACCOUNTS, day):
        return {}
    rows = lake.read_arrow(ACCOUNTS, day, ["source_file", "feed", "sha256"]).to_pylist()
    return {
        kind: {row["source_file"]: row["sha256"] for row in rows if row["feed"] in feeds}
        for kind, feeds in feeds_by_kind(reader.source).items()
    }


def _over(reader: Reader, lake: Lake, day: dt.date, files: dict[str, dict[str, str]], kind: str) -> DayRead:
    """Return digests and fingerprints of all kinds: of the kind that is read now, and of others as they were read."""
    digests, stats = {}, {}
    for other in feeds_by_kind(reader.source):
        footer = None if other == kind else lake.provenance(TABLE_OF_KIND[other], day)
        digests[other] = footer.inputs.get(LANDING_KEY, "") if footer else reader.digest(files.get(other, {}))
        stats[other] = footer.extra.get(STAT_KEY, "") if footer else reader.stat(day, (other,))
    return DayRead([], [], digests, stats)
