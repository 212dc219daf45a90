"""The events room in Dagster: raw_events with rejected_events and landed_files, raw_users, raw_products.

Reads through the reader, publishes, and shows numbers in the UI. raw_events is published last of the three tables of a
read: other rooms wait for that one, so a kill in between leaves a day that is read again, never a half one.

Not here: how lines become events (`events.reader`).
"""

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb
from pydantic import Field

from seg_assets.core.days import ONE_DAY
from seg_assets.core.settings import Settings
from seg_assets.core.text import markdown_table
from seg_assets.events.accounts import DayRead, FeedLines, FileAccount, Rejections, lines_of_feeds
from seg_assets.events.archived import refuse_losses, refuse_lost_table
from seg_assets.events.contract import RAW_EVENTS, REJECTED_EVENTS
from seg_assets.events.feed_accounts import renew_accounts
from seg_assets.events.forward import accounts_of, bring_events_forward, bring_table_forward, must_be_brought_forward
from seg_assets.events.judging import (
    MAX_REJECTED_SHARE,
    MIN_ROWS_SHARE,
    UsualLines,
    over_rejected,
    refuse_bad_table,
    refuse_worse_day,
    rows_before,
)
from seg_assets.events.landing import KINDS_OF_TABLE, LANDING_KEY, REFUSED_KEY, STAT_KEY
from seg_assets.events.persons import LIMIT, NOBODY, REMEDY, Ids, ids_of
from seg_assets.events.reader import Reader
from seg_assets.events.source import KEYED_TABLES, PRODUCTS, USERS
from seg_assets.events.store import ACCEPTED, FILES, REJECTED, close_file_access
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    ShopResource,
    columns_of,
    log_progress,
    record_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run

GROUP = "events"
ARCHIVED = "read by an earlier version of the code; its landing files are archived, so that the rows of then stay"
# Which step reads each table of the room from landing files.
READERS = {
    "landed_files": "landing_to_events",
    "rejected_events": "landing_to_events",
    "raw_events": "landing_to_events",
    "raw_users": "raw_users",
    "raw_products": "raw_products",
}
# Dagster keeps what the UI shows for ever, and no erasure reaches it: no ids of persons and no text of theirs.
NOT_SHOWN = ("event_id", "user_id", "anonymous_id", "session_id", "query", "extra", "original")
SHOWN_OF_EVENTS = [column for column in RAW_EVENTS if column not in NOT_SHOWN]
SHOWN_OF_REJECTED = [column for column in REJECTED_EVENTS if column not in NOT_SHOWN]


class LandingConfig(dg.Config):
    """Config of a run that reads landing files."""

    forget_vanished: bool = Field(
        default=False,
        description="Read days anew though landing files that they were read from are gone, and lose their lines",
    )


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Build the assets of this room."""
    return [_events(partitions), _table("raw_users", USERS, partitions), _table("raw_products", PRODUCTS, partitions)]


def _events(partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    def spec(name: str, description: str) -> dg.AssetSpec:
        return dg.AssetSpec(
            name,
            description=description,
            group_name=GROUP,
            owners=[OWNER],
            kinds={"duckdb", "parquet"},
            partitions_def=partitions,
            metadata={"dagster/column_schema": columns_of(name)},
        )

    # One multi-asset: the three tables are one read of the files. Single run: a range is one process, and files
    # that hold many days are parsed once for all of them.
    @dg.multi_asset(
        name="landing_to_events",
        specs=[
            spec("landed_files", "Landing files of the day, each line accounted for"),
            spec("rejected_events", "Lines that were refused, with their reason and text"),
            spec("raw_events", "Events of the day that hold the contract, each once"),
        ],
        check_specs=[
            dg.AssetCheckSpec("lines_reconcile", asset="raw_events", blocking=True, partitions_def=partitions,
                              description="Per file, lines read = accepted + left out + rejected + duplicates"),
            dg.AssetCheckSpec("rejected_share_is_small", asset="raw_events", blocking=True, partitions_def=partitions,
                              description=f"At most {MAX_REJECTED_SHARE:.0%} of a feed's lines are refused; "
                              "an error, and blocking, when not one line of a feed is accepted"),
            dg.AssetCheckSpec("feeds_have_their_usual_lines", asset="raw_events", partitions_def=partitions,
                              description="No feed has under a tenth of the median of its weekday in four weeks"),
            dg.AssetCheckSpec("day_is_not_empty", asset="raw_events", partitions_def=partitions,
                              description="The day has events"),
            dg.AssetCheckSpec("somebody_is_known", asset="raw_events", partitions_def=partitions,
                              description="At least one event of the day has a user_id"),
            dg.AssetCheckSpec("ids_are_persons", asset="raw_events", partitions_def=partitions,
                              description="No id is a text for nobody, or shared by so many that it is no person's"),
        ],
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    @user_errors
    def landing_to_events(context: dg.AssetExecutionContext, config: LandingConfig, shop: ShopResource):
        lake = shop.lake()
        by_table: dict[str, list[DayResult]] = {"landed_files": [], "rejected_events": [], "raw_events": []}
        usual = UsualLines(lake)
        with Reader.of(shop.settings()) as reader, connect_to_lake_only(lake) as con:
            for day in log_progress(context, days_of_run(context)):
                for table, result in read_and_publish(reader, lake, day, con, usual, config.forget_vanished).items():
                    by_table[table].append(result)
        return tuple(record_days(context, dg.AssetKey(t), results) for t, results in by_table.items())

    return landing_to_events


@contextlib.contextmanager
def connect_to_lake_only(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection of its own, for a whole run, that reads and writes the lake and no other file."""
    with lake.connect(private=True) as con:
        if not lake.remote:
            close_file_access(con, lake.root)
        yield con


def read_and_publish(
    reader: Reader,
    lake: Lake,
    day: dt.date,
    con: duckdb.DuckDBPyConnection,
    usual: UsualLines | None = None,
    forget_vanished: bool = False,
) -> dict[str, DayResult]:
    """Read one day and replace it in landed_files, rejected_events and, last, raw_events.

    Raises:
        LandingError: nothing was read; or a feed was refused whole and the lake holds the day as it was read before,
            which stays in all three tables.
    """
    usual = usual or UsualLines(lake)
    if not forget_vanished and must_be_brought_forward(reader, lake, "raw_events", day):
        footers = bring_events_forward(lake, day, con)
        ids = ids_of(con, f"({lake.scan('raw_events', [day])})")
        checks = (*_checks(accounts_of(lake, day), usual, day), *_id_checks(ids))
        return {
            table: _result(day, footer, {"brought_forward": ARCHIVED}, checks if table == "raw_events" else ())
            for table, footer in footers.items()
        }
    read = reader.read_day(day, con)
    refuse_worse_day(lake, day, read, forget_vanished=forget_vanished)
    if not forget_vanished:
        refuse_losses(reader, lake, day, con)
    files = dg.MetadataValue.md(_files_table(read.files))
    reasons = dg.MetadataValue.md(_reasons_table(read.rejections))
    accepted = con.execute(
        f"select {', '.join(SHOWN_OF_EVENTS)} from {ACCEPTED} order by event_time, event_id limit 5"
    ).fetchall()
    rejected = con.execute(
        f"select {', '.join(SHOWN_OF_REJECTED)} from {REJECTED} order by source_file, line limit 5"
    ).fetchall()
    ids = ids_of(con, ACCEPTED)
    lines = read.total("lines_read")
    events: dict[str, object] = {
        "events": read.total("events"),
        "lines_read": lines,
        "lines_left_out": read.total("left_out"),
        "lines_rejected": read.total("rejected"),
        "lines_duplicate": read.total("duplicates"),
        "rejected_share": read.total("rejected") / lines if lines else 0.0,
        "files": files,
        "sample": _sample(SHOWN_OF_EVENTS, accepted),
    }
    if read.rejections:
        events["rejection_reasons"] = reasons
    if not read.total("events"):
        events["empty_day"] = "no event on this day"
    tables = {
        "landed_files": (FILES, {"files": files}),
        "rejected_events": (REJECTED, {"reasons": reasons, "sample": _sample(SHOWN_OF_REJECTED, rejected)}),
        "raw_events": (ACCEPTED, events),
    }
    results = {}
    for table, (relation, metadata) in tables.items():
        kinds = KINDS_OF_TABLE[table]
        origin = _origin(read.digest_of(kinds), read.stat_of(kinds), read.files)
        if table == "raw_events" and read.unusable:
            origin["extra"][REFUSED_KEY] = read.unusable
        published = lake.publish(con, table, day, f"select * from {relation}", **origin)
        checks = (*_checks(read, usual, day), *_id_checks(ids)) if table == "raw_events" else ()
        results[table] = _result(day, published, metadata, checks)
    return results


def _origin(digest: str, stat: str, files: Sequence[FileAccount]) -> dict[str, dict[str, Any]]:
    """Return what a published day says of the landing files that it was read from."""
    return {"inputs": {LANDING_KEY: digest}, "extra": {STAT_KEY: stat, "landing_files": len(files)}}


def _result(
    day: dt.date, published: Provenance, metadata: Mapping[str, object], checks: Sequence[Check] = ()
) -> DayResult:
    """Return what the UI shows of a published day."""
    content = published.content_hash
    always = {"day": str(day), "dagster/partition_row_count": published.rows, "content_hash": content}
    return DayResult(day, {**always, **metadata}, checks, content)


def _checks(read: DayRead, usual: UsualLines, day: dt.date) -> list[Check]:
    feeds = lines_of_feeds([f for f in read.files if f.feed not in KEYED_TABLES])
    low = usual.far_below(day, lines_of_feeds(read.files))
    return [
        _lines_reconcile(read.files),
        _share_is_small(feeds, refused=bool(read.refused)),
        Check(
            "feeds_have_their_usual_lines",
            not low,
            {"far_below": ", ".join(low) or "none", "remedy": "look whether the delivery was cut short"},
        ),
        Check(
            "day_is_not_empty",
            read.total("events") > 0,
            {"events": read.total("events"), "files": len(read.files)},
        ),
    ]


def _lines_reconcile(files: Sequence[FileAccount]) -> Check:
    off = [f.source_file for f in files if not f.reconciles]
    return Check(
        "lines_reconcile",
        not off,
        {"files_that_do_not": ", ".join(off[:10]) or "none", "lines_read": sum(f.lines_read for f in files)},
        dg.AssetCheckSeverity.ERROR,
    )


def _share_is_small(feeds: Sequence[FeedLines], *, refused: bool = False) -> Check:
    """Return the check of refused lines, by the feed with most of them."""
    over = over_rejected(feeds)
    return Check(
        "rejected_share_is_small",
        not over and not refused,
        {
            "rejected_share": max((f.bad_share for f in feeds), default=0.0),
            "limit": MAX_REJECTED_SHARE,
            "feeds_above_it": ", ".join(over) or "none",
            "remedy": "try the source on one of the files: seg-assets source check FILE.yaml SAMPLE",
        },
        dg.AssetCheckSeverity.ERROR if refused else dg.AssetCheckSeverity.WARN,
    )


def _id_checks(ids: Ids) -> list[Check]:
    shares: dict[str, object] = {
        "limit": LIMIT,
        **{
            name: share
            for name, share in (
                ("largest_share_of_visitors_with_one_user", ids.user_share),
                ("largest_share_of_users_with_one_visitor", ids.visitor_share),
            )
            if share is not None
        },
    }
    doubts = {"doubts": "; ".join(ids.doubts), "remedy": REMEDY} if ids.doubts else {}
    return [
        Check("somebody_is_known", not ids.nobody_known, {"events_with_user_id": ids.known}
              | ({"reason": NOBODY} if ids.nobody_known else {})),
        Check("ids_are_persons", not ids.doubts, {**shares, **doubts}),
    ]  # fmt: skip


def _table(name: str, kind: str, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    text = {
        USERS: "Users and their attributes as known on the day",
        PRODUCTS: "The product catalogue as known on the day",
    }[kind]

    @dg.asset(
        name=name,
        description=text,
        partitions_def=partitions,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"duckdb", "parquet"},
        metadata={"dagster/column_schema": columns_of(name)},
        check_specs=[
            dg.AssetCheckSpec("rejected_share_is_small", asset=name, partitions_def=partitions,
                              description=f"At most {MAX_REJECTED_SHARE:.0%} of the lines are refused"),
            dg.AssetCheckSpec("rows_have_not_halved", asset=name, partitions_def=partitions,
                              description="At least half as many rows as the day before"),
        ],
        # A range is one run: with the dependency on yesterday, anything else is one run after the other.
        backfill_policy=SINGLE_RUN,
    )  # fmt: skip
    @user_errors
    def raw_table(context: dg.AssetExecutionContext, config: LandingConfig, shop: ShopResource) -> dg.MaterializeResult:
        lake = shop.lake()
        results = []
        with Reader.of(shop.settings()) as reader, connect_to_lake_only(lake) as con:
            for day in log_progress(context, days_of_run(context)):
                if not config.forget_vanished and must_be_brought_forward(reader, lake, name, day, kind):
                    before = rows_before(lake, name, day)
                    footer = bring_table_forward(lake, name, day, con)
                    checks = _table_checks([], footer.rows, before)
                    results.append(_result(day, footer, {"brought_forward": ARCHIVED}, checks))
                    continue
                if not config.forget_vanished:
                    refuse_lost_table(reader, lake, kind, day, name)
                results.append(publish_table_day(reader, lake, name, kind, day, con))
        return record_days(context, dg.AssetKey(name), results)

    return raw_table


def publish_table_day(
    reader: Reader, lake: Lake, name: str, kind: str, day: dt.date, con: duckdb.DuckDBPyConnection
) -> DayResult:
    """Replace one day of raw_users or raw_products."""
    yesterday = None
    if day > lake.start_day:
        lake.require(name, [day - ONE_DAY], f"{name} of {day}")
        yesterday = f"select * exclude (day) from {lake.scan(name, [day - ONE_DAY])}"
    renew_accounts(reader, lake, kind, day, con)
    read = reader.read_table(kind, day, con, yesterday)
    feed = getattr(reader.source, kind)
    refuse_bad_table(lake, name, day, read, dated=feed is None or feed.dated)
    before = rows_before(lake, name, day)
    published = lake.publish(con, name, day, read.query, **_origin(read.digest, read.stat, read.files))
    metadata: dict[str, object] = {
        "lines_read": sum(f.lines_read for f in read.files),
        "lines_rejected": sum(f.rejected for f in read.files),
    }
    if kind == PRODUCTS:
        # The first rows of the file are the first by key.
        rows = con.execute(f"select * exclude (day) from {lake.scan(name, [day])} limit 5").fetchall()
        metadata["sample"] = _sample(list(KEYED_TABLES[kind][0]), rows) if rows else "no rows"
    if read.files:
        metadata["files"] = dg.MetadataValue.md(_files_table(read.files))
    if read.rejections:
        metadata["rejection_reasons"] = dg.MetadataValue.md(_reasons_table(read.rejections))
    return _result(day, published, metadata, _table_checks(lines_of_feeds(read.files), published.rows, before))


def _table_checks(feeds: Sequence[FeedLines], rows: int, before: int) -> tuple[Check, Check]:
    halved = Check(
        "rows_have_not_halved",
        rows >= MIN_ROWS_SHARE * before,
        {"rows": rows, "rows_before": before, "remedy": "look whether the file was cut short"},
    )
    return _share_is_small(feeds), halved


# ---- tables for people ----------------------------------------------------------------------------------------


def _files_table(files: Sequence[FileAccount]) -> str:
    """Return accounts of files as a table, at most 50 files."""
    rows = [
        (
            f.source_file,
            f.feed,
            f.lines_read,
            f.accepted,
            f.left_out,
            f.rejected,
            f.duplicates,
            f.events,
            ", ".join(f.unmapped[:8]),
        )
        for f in files[:50]
    ]
    more = f"\n\nand {len(files) - 50} more files" if len(files) > 50 else ""
    head = [
        "file",
        "feed",
        "lines read",
        "accepted",
        "left out",
        "rejected",
        "duplicates",
        "events",
        "unmapped columns",
    ]
    return (markdown_table(head, rows) if rows else "none") + more


def _reasons_table(rejections: Sequence[Rejections]) -> str:
    """Return the reasons of rejections as a table, most frequent first, at most 20."""
    rows = [(r.reason, r.column, r.lines, f"{r.first_file}:{r.first_line}") for r in rejections[:20]]
    return markdown_table(["reason", "field", "lines", "first seen"], rows) if rows else "none"


def _sample(columns: Sequence[str], rows: Sequence[tuple]) -> dg.MarkdownMetadataValue:
    """Return some rows as a table; null is empty, and a text stops after 80 characters."""

    def short(value: object) -> object:
        text = "" if value is None else str(value)
        return text if len(text) <= 80 else text[:77] + "..."

    return dg.MetadataValue.md(markdown_table(columns, [[short(v) for v in row] for row in rows]) if rows else "none")
