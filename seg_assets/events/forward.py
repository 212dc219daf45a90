"""Bring a day forward that an earlier version of the code has read, when its landing files are archived.

Nothing can be read again, so the rows that were read then stay, with one exception: ids made of content are made anew
by today's rule, since a delivery that comes again is told by them.

Not here: days whose files are still there; they are read anew (`events.reader`).
"""

import datetime as dt

import duckdb

from seg_assets.core.tables import TABLES
from seg_assets.events import day as day_tables
from seg_assets.events.accounts import ON_PURPOSE_SQL, DayRead, FileAccount
from seg_assets.events.archived import vanished
from seg_assets.events.contract import LANDED_FILES, RAW_EVENTS
from seg_assets.events.landing import EVENTS
from seg_assets.events.reader import Reader
from seg_assets.events.store import column_names
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake

_EVENT_TABLES = ("landed_files", "rejected_events", "raw_events")


def is_outdated(table: str, footer: Provenance | None) -> bool:
    """Return whether a day of a landed table is there and was read by another version of the code."""
    return footer is not None and footer.code_version != TABLES[table].code_version


def must_be_brought_forward(reader: Reader, lake: Lake, table: str, day: dt.date, kind: str = EVENTS) -> bool:
    """Return whether a day is of another version and cannot be read again, for files of its kind are gone."""
    return is_outdated(table, lake.provenance(table, day)) and kind in vanished(reader, lake, day)


def bring_events_forward(lake: Lake, day: dt.date, con: duckdb.DuckDBPyConnection) -> dict[str, Provenance]:
    """Publish the three event tables of a day again, from their own rows, and return their footers. raw_events is last.

    Copies of a line are counted anew. Which of them came again in another file is not known any more, so all stay.
    """
    published = {}
    for table in _EVENT_TABLES:
        footer = lake.provenance(table, day)
        if footer is None:
            continue
        rows = f"select * exclude (day) from {lake.scan(table, [day])}"
        if table == "landed_files":
            rows = _accounts_sql(lake, day, con, rows)
        if table == "raw_events":
            day_tables.create_tables(con)
            nameless = "case when event_id like 'line-%' then null else event_id end as event_id"
            con.execute(
                f"insert into {day_tables.GOOD_LINES} by name select 0 as file_no, 0 as part, "
                f"row_number() over (order by event_time, event_id) as line, {column_names(RAW_EVENTS)} "
                f"from (select * replace ({nameless}) from ({rows}))"
            )
            rows = day_tables.with_made_ids(con)
        published[table] = lake.publish(con, table, day, rows, inputs=_landing_only(footer), extra=footer.extra)
    return published


def _accounts_sql(lake: Lake, day: dt.date, con: duckdb.DuckDBPyConnection, rows: str) -> str:
    """Return SQL of a day's accounts with today's columns: 0.2 counted lines left out on purpose among the rejected."""
    columns = {row[0] for row in con.execute(f"describe {rows}").fetchall()}
    if set(LANDED_FILES) <= columns:
        return rows
    aside = (
        f"select source_file, count(*) as aside from {lake.scan('rejected_events', [day])} "
        f"where reason in ({ON_PURPOSE_SQL}) group by 1"
    )
    new = {"rejected": "rejected - coalesce(aside, 0)", "left_out": "coalesce(aside, 0)", "events": "accepted"}
    listed = ", ".join(f"{new.get(column, column)} as {column}" for column in LANDED_FILES)
    return f"select {listed} from ({rows}) left join ({aside}) using (source_file)"


def accounts_of(lake: Lake, day: dt.date) -> DayRead:
    """Return what became of the lines of a day, as landed_files tells it."""
    accounts = [FileAccount(**row) for row in lake.read_arrow("landed_files", day, list(LANDED_FILES)).to_pylist()]
    return DayRead(files=accounts, rejections=[], digests={}, stats={})


def bring_table_forward(lake: Lake, table: str, day: dt.date, con: duckdb.DuckDBPyConnection) -> Provenance:
    """Publish a day of users or products again, from its own rows."""
    footer = lake.provenance(table, day)
    assert footer is not None
    rows = f"select * exclude (day) from {lake.scan(table, [day])}"
    return lake.publish(con, table, day, rows, inputs=_landing_only(footer), extra=footer.extra)


def _landing_only(footer: Provenance) -> dict[str, str]:
    return {key: value for key, value in footer.inputs.items() if key.startswith("landing:")}
