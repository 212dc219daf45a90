"""Say what a person who tries a source on a file may want to change.

Not here: what is refused and why (`events.mapping`); a hint never decides.
"""

import datetime as dt
import re
from typing import TYPE_CHECKING

import duckdb

from seg_assets.core.sql import identifier, literal
from seg_assets.events.contract import RAW_EVENTS
from seg_assets.events.source import EventFeed, Source, TableFeed

if TYPE_CHECKING:
    from seg_assets.events.check import Sample

_DELIMITERS = (",", ";", "\t", "|")
_NO_COLUMNS = ("missing_column", "wrong_number_of_columns")


def hints_of(
    source: Source,
    spec: EventFeed | TableFeed,
    sample: "Sample",
    shop_zone: str,
    calendar: tuple[dt.date, dt.date | None],
    accepted: str,
    rejected: str,
    con: duckdb.DuckDBPyConnection,
) -> list[str]:
    """Return hints about a sample whose accepted and rejected rows are in two tables of `con`."""
    zone, reasons = source.zone_of(spec, shop_zone), {r.reason for r in sample.reasons}
    hints = [_delimiter(spec, rejected, con)] if not sample.accepted and reasons & set(_NO_COLUMNS) else []
    if "not_a_time" in reasons and isinstance(spec, EventFeed):
        hints.append(_time(spec, zone))
    if "outside_calendar" in reasons:
        first, last = calendar
        hints.append(
            f"outside_calendar: the calendar goes from {first} to {last or 'yesterday'}; set SEG_ASSETS_START_DAY (and "
            "SEG_ASSETS_END_DAY) to the days that the shop has"
        )
    if "wrong_day" in reasons:
        hints.append(
            f"wrong_day: times without a zone are read in {zone}, and days are those of {shop_zone}; where one of them "
            "is not the shop's, say time_zone in the source or set SEG_ASSETS_TIME_ZONE"
        )
    if isinstance(spec, EventFeed) and zone != shop_zone:
        hints.append(_midnights(spec, zone, shop_zone, accepted, con))
    if isinstance(spec, EventFeed):
        hints.append(_day_order(spec, zone, accepted, con))
    hints.append(_floating_ids(spec, accepted, con))
    return [hint for hint in hints if hint]


def _delimiter(spec: EventFeed | TableFeed, rejected: str, con: duckdb.DuckDBPyConnection) -> str:
    row = con.execute(f"select original from {rejected} order by line limit 1").fetchone()
    text, said = (row[0] if row else ""), spec.csv.delimiter
    other = max(_DELIMITERS, key=text.count)
    if text.count(other) <= text.count(said):
        return ""
    shown = "\\t" if other == "\t" else other
    return (
        f"delimiter: the first line has {text.count(other)} times {shown!r} and {text.count(said)} times {said!r}; "
        f'say csv: {{delimiter: "{shown}"}}'
    )


def _time(spec: EventFeed, zone: str) -> str:
    form = "another time_format" if spec.time_format else 'time_format, for example "%d/%m/%y %H:%M"'
    return (
        f"not_a_time: say {form}; read without one is ISO 8601, year first. A zone's abbreviation is read only where "
        f"{zone} (time_zone of the feed) has it at that moment; an offset (+01:00), Z or a name such as "
        "America/New_York always"
    )


def _midnights(spec: EventFeed, zone: str, shop_zone: str, accepted: str, con: duckdb.DuckDBPyConnection) -> str:
    """Say that all events are at midnight: a date read in another zone is often the day before or after."""
    in_zones = [
        f"coalesce(bool_and(timezone({literal(z)}, timezone('UTC', event_time))::time = time '00:00:00'), false)"
        for z in (zone, shop_zone)
    ]
    row = con.execute(f"select {', '.join(in_zones)} from {accepted}").fetchone()
    if row and row[1]:
        return f"every time is midnight in {shop_zone}: dates are days of the shop, whatever time_zone says ({zone})"
    if row and row[0]:
        time = spec.columns.get("event_time", "event_time")
        return (
            f"every time is midnight in {zone} (time_zone of the feed), and days are those of {shop_zone}: "
            f"if these are dates, map the date alone, for example event_time: {time}::date"
        )
    return ""


def _day_order(spec: EventFeed, zone: str, accepted: str, con: duckdb.DuckDBPyConnection) -> str:
    """Say that every date could be read with day and month changed round."""
    form = spec.time_format[0] if len(spec.time_format) == 1 else ""
    if not re.search(r"%-?[dm][/-]%-?[dm]", form):
        return ""
    local = f"timezone({literal(zone)}, timezone('UTC', event_time))"
    row = con.execute(
        f"select coalesce(max(day({local})), 99), count(distinct {local}::date) from {accepted} "
        f"where day({local}) <> month({local})"
    ).fetchone()
    if not row or row[0] > 12 or not row[1]:
        return ""
    other = form.replace("%d", "%\0").replace("%m", "%d").replace("%\0", "%m")
    return (
        f"day order: all {row[1]} different days of the file can be read with day and month changed round; make sure "
        f"that time_format {form!r} is meant, and not {other!r}"
    )


def _floating_ids(spec: EventFeed | TableFeed, accepted: str, con: duckdb.DuckDBPyConnection) -> str:
    """Say that all ids of a column end in .0: a program took the column for numbers."""
    names = [c for c in spec.columns if c.endswith("_id") and c in RAW_EVENTS]
    if not names:
        return ""
    tests = ", ".join(f"coalesce(bool_and({identifier(c)} like '%.0'), false)" for c in names)
    row = con.execute(f"select {tests} from {accepted}").fetchone()
    floating = [c for c, all_of_it in zip(names, row or (), strict=True) if all_of_it]
    if not floating:
        return ""
    first = floating[0]
    return (
        f"{', '.join(floating)}: every id ends in .0, so that elsewhere it may be another one; say for example "
        f"{first}: regexp_replace({spec.columns[first]}, '[.]0$', '')"
    )
