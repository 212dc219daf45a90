"""The events room in Dagster: raw_events with rejected_events and landed_files, raw_users, raw_products.

Thin: `read.py` reads, this publishes and tells the UI. raw_events is published last of the three tables of a read:
it is what other rooms wait for, so a kill in between leaves a day that is read again, never a half one.
"""

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg
import duckdb
from pydantic import Field

from seg_assets.core.days import ONE_DAY
from seg_assets.core.settings import Settings
from seg_assets.events.archived import refuse_losses, refuse_lost_table
from seg_assets.events.contract import (
    RAW_EVENTS,
    RAW_PRODUCTS,
    RAW_USERS,
    REJECTED_EVENTS,
)
from seg_assets.events.landing import LANDING_KEY, PRODUCTS, REFUSED_KEY, STAT_KEY, USERS, kinds_of_table
from seg_assets.events.reader import DayRead, FileAccount, Reader, TableRead, seal, small_steps
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    IO_RETRY,
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    Shop,
    columns_of,
    log_progress,
    report_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run

GROUP = "events"
# Which step reads each table of the room from landing files.
READERS = {
    "landed_files": "landing_to_events",
    "rejected_events": "landing_to_events",
    "raw_events": "landing_to_events",
    "raw_users": "raw_users",
    "raw_products": "raw_products",
}
# Above this share of refused lines a mapping or an export is likely wrong. The simulator's planted noise is 0.5 %.
MAX_REJECTED_SHARE = 0.02


class LandingConfig(dg.Config):
    """Config of a run that reads landing files."""

    forget_vanished: bool = Field(
        default=False,
        description="Read days anew though landing files that they were read from are gone, and lose their lines",
    )


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this room."""
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
                              description="Per file, lines read = accepted + rejected + duplicates"),
            dg.AssetCheckSpec("rejected_share_is_small", asset="raw_events", blocking=True, partitions_def=partitions,
                              description=f"At most {MAX_REJECTED_SHARE:.0%} of lines are refused; "
                              "an error, and blocking, when not one line is accepted"),
            dg.AssetCheckSpec("day_is_not_empty", asset="raw_events", partitions_def=partitions,
                              description="The day has events"),
        ],
        backfill_policy=SINGLE_RUN,
        retry_policy=IO_RETRY,
    )  # fmt: skip
    @user_errors
    def landing_to_events(context: dg.AssetExecutionContext, config: LandingConfig, shop: Shop):
        settings, lake = shop.settings(), shop.lake()
        by_table: dict[str, list[DayResult]] = {"landed_files": [], "rejected_events": [], "raw_events": []}
        with Reader.of(settings) as reader, sealed(lake) as con:
            for day in log_progress(context, days_of_run(context)):
                with small_steps(con, reader.size(day, kinds_of_table("landed_files"))):
                    for table, result in read_and_publish(reader, lake, day, con, config.forget_vanished).items():
                        by_table[table].append(result)
        return tuple(report_days(context, dg.AssetKey(t), results) for t, results in by_table.items())

    return landing_to_events


@contextlib.contextmanager
def sealed(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own, for a whole run, that reads and writes the lake and no other file."""
    with lake.connect(private=True) as con:
        if not lake.remote:
            seal(con, lake.root)
        yield con


def read_and_publish(
    reader: Reader, lake: Lake, day: dt.date, con: duckdb.DuckDBPyConnection, forget_vanished: bool = False
) -> dict[str, DayResult]:
    """Read one day and replace it in landed_files, rejected_events and, last, raw_events."""
    results = {}
    read = reader.read_day(day, con)
    if not forget_vanished:
        refuse_losses(reader, lake, day, con)
    queries = {
        "landed_files": "select * from seg_files",
        "rejected_events": "select * from seg_rejected",
        "raw_events": "select * from seg_accepted",
    }
    for table, query in queries.items():
        kinds = kinds_of_table(table)
        done = lake.publish(
            con,
            table,
            day,
            query,
            inputs={LANDING_KEY: read.digest_of(kinds)},
            extra={STAT_KEY: read.stat_of(kinds), "landing_files": len(read.files)}
            | ({REFUSED_KEY: read.refused} if read.refused and table == "raw_events" else {}),
        )
        metadata = {"day": str(day), "dagster/partition_row_count": done.rows, "content_hash": done.content_hash}
        results[table] = DayResult(day, metadata, data_version=done.content_hash)
    sample = con.execute("select * exclude (extra) from seg_accepted order by event_time, event_id limit 5").fetchall()
    bad = con.execute("select * from seg_rejected order by source_file, line limit 5").fetchall()
    results["raw_events"] = DayResult(
        day,
        {**results["raw_events"].metadata, **_events_metadata(read, sample)},
        _checks(read),
        results["raw_events"].data_version,
    )
    results["rejected_events"] = DayResult(
        day,
        {**results["rejected_events"].metadata, "reasons": dg.MetadataValue.md(reasons_table(read.reasons)),
         "sample": dg.MetadataValue.md(_markdown(list(REJECTED_EVENTS), bad))},
        data_version=results["rejected_events"].data_version,
    )  # fmt: skip
    results["landed_files"] = DayResult(
        day,
        {**results["landed_files"].metadata, "files": dg.MetadataValue.md(files_table(read.files))},
        data_version=results["landed_files"].data_version,
    )
    return results


def _events_metadata(read: DayRead, sample: Sequence[tuple]) -> dict[str, object]:
    lines, rejected = read.total("lines_read"), read.total("rejected")
    columns = [c for c in RAW_EVENTS if c != "extra"]
    metadata: dict[str, object] = {
        "events": read.total("accepted"),
        "lines_read": lines,
        "lines_rejected": rejected,
        "lines_duplicate": read.total("duplicates"),
        "rejected_share": rejected / lines if lines else 0.0,
        "files": dg.MetadataValue.md(files_table(read.files)),
        "sample": dg.MetadataValue.md(_markdown(columns, sample)),
    }
    if read.reasons:
        metadata["rejection_reasons"] = dg.MetadataValue.md(reasons_table(read.reasons))
    if not read.total("accepted"):
        metadata["empty_day"] = "no event on this day"
    return metadata


def _checks(read: DayRead) -> list[Check]:
    lines, accepted = read.total("lines_read"), read.total("accepted")
    off = [f.source_file for f in read.files if not f.reconciles]
    share = read.bad / lines if lines else 0.0
    remedy = "try the source on one of the files: seg-assets source check FILE.yaml SAMPLE"
    return [
        Check(
            "lines_reconcile",
            not off,
            {"files_that_do_not": ", ".join(off[:10]) or "none", "lines_read": lines},
            dg.AssetCheckSeverity.ERROR,
        ),
        Check(
            "rejected_share_is_small",
            share <= MAX_REJECTED_SHARE,
            {"rejected_share": share, "limit": MAX_REJECTED_SHARE, "remedy": remedy},
            dg.AssetCheckSeverity.ERROR if read.refused else dg.AssetCheckSeverity.WARN,
        ),
        Check("day_is_not_empty", accepted > 0, {"events": accepted, "files": len(read.files)}),
    ]


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
        # A range is one run: with the dependency on yesterday, anything else is one run after the other.
        backfill_policy=SINGLE_RUN,
        retry_policy=IO_RETRY,
    )
    @user_errors
    def raw_table(context: dg.AssetExecutionContext, config: LandingConfig, shop: Shop) -> dg.MaterializeResult:
        settings, lake = shop.settings(), shop.lake()
        results = []
        with Reader.of(settings) as reader, sealed(lake) as con:
            for day in log_progress(context, days_of_run(context)):
                before = lake.provenance(name, day - ONE_DAY) if day > lake.start_day else None
                with small_steps(con, reader.size(day, (kind,)), before.rows if before else 0):
                    if not config.forget_vanished:
                        refuse_lost_table(reader, lake, kind, day, name)
                    results.append(publish_table_day(reader, lake, name, kind, day, con))
        return report_days(context, dg.AssetKey(name), results)

    return raw_table


def publish_table_day(
    reader: Reader, lake: Lake, name: str, kind: str, day: dt.date, con: duckdb.DuckDBPyConnection
) -> DayResult:
    """Replace one day of raw_users or raw_products."""
    yesterday = None
    if day > lake.start_day:
        lake.require(name, [day - ONE_DAY], f"{name} of {day}")
        yesterday = f"select * exclude (day) from {lake.scan(name, [day - ONE_DAY])}"
    read = reader.read_table(kind, day, con, yesterday)
    done = lake.publish(
        con,
        name,
        day,
        read.query,
        inputs={LANDING_KEY: read.digest},
        extra={STAT_KEY: read.stat, "landing_files": len(read.files)},
    )
    columns = list(RAW_USERS if kind == USERS else RAW_PRODUCTS)
    # The first rows of the file are the first by key.
    sample = con.execute(f"select * exclude (day) from {lake.scan(name, [day])} limit 5").fetchall()
    return DayResult(
        day, _table_metadata(day, read, done.rows, done.content_hash, columns, sample), (), done.content_hash
    )


def _table_metadata(
    day: dt.date, read: TableRead, rows: int, content: str, columns: Sequence[str], sample: Sequence[tuple]
) -> dict[str, object]:
    metadata: dict[str, object] = {
        "day": str(day),
        "dagster/partition_row_count": rows,
        "content_hash": content,
        "lines_read": sum(f.lines_read for f in read.files),
        "lines_rejected": sum(f.rejected for f in read.files),
        "sample": dg.MetadataValue.md(_markdown(columns, sample)) if sample else "no rows",
    }
    if read.files:
        metadata["files"] = dg.MetadataValue.md(files_table(read.files))
    if read.reasons:
        metadata["rejection_reasons"] = dg.MetadataValue.md(reasons_table(read.reasons))
    return metadata


# ---- tables for people ----------------------------------------------------------------------------------------


def files_table(files: Sequence[FileAccount]) -> str:
    """Accounts of files as markdown, at most 50 files."""
    rows = [
        (f.source_file, f.feed, f.lines_read, f.accepted, f.rejected, f.duplicates, ", ".join(f.unmapped[:8]))
        for f in files[:50]
    ]
    more = f"\n\nand {len(files) - 50} more files" if len(files) > 50 else ""
    head = ["file", "feed", "lines read", "accepted", "rejected", "duplicates", "unmapped columns"]
    return _markdown(head, rows) + more


def reasons_table(reasons: Sequence[tuple[str, str, int, str, int]]) -> str:
    """Reasons of rejections as markdown, most frequent first, at most 20."""
    rows = [(reason, column, n, f"{file}:{line}") for reason, column, n, file, line in reasons[:20]]
    return _markdown(["reason", "field", "lines", "first seen"], rows)


def _markdown(columns: Sequence[str], rows: Sequence[tuple]) -> str:
    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        text = text if len(text) <= 80 else text[:77] + "..."
        return text.replace("|", "\\|").replace("\n", " ").replace("\r", " ").replace("`", "'")

    if not rows:
        return "none"
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)
