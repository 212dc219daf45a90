"""A text is a time in the forms that docs/sources.md names, and in no other; a date is a day of the shop."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.events.landing_zone import Landing

SHOP = """
name: shop
time_zone: {zone}
feeds:
  f:
    files: "*.{ending}"
    day: {{from: event_time}}
    closed_days: normal
    event_type: view_item
    {more}
    columns: {{event_time: '{at}', user_id: u}}
"""


def instants(tmp_path, text: str, zone: str, shop_zone: str = "UTC", more: str = "", at: str = "at") -> list[str]:
    """Return the instants in UTC of a file with one event, and the reasons of its refused line."""
    shop = Landing(tmp_path, SHOP.format(zone=zone, ending="csv", more=more, at=at), shop_zone)
    shop.put("a.csv", f'u,at\nu,"{text}"\n')
    with shop.open() as reader:
        (day,) = reader.days_held()
        read = shop.read(day, reader)
    return [str(r["event_time"]) for r in read.accepted] + list(read.reasons().values())


@pytest.mark.parametrize(("text", "utc"), [
    ("2024-03-04T10:00:00", "2024-03-04 15:00:00"), ("2024-03-04 10:00", "2024-03-04 15:00:00"),
    ("2024-03-04T10:00:00.5Z", "2024-03-04 10:00:00.500000"), ("2024-03-04 10:00:00+01:00", "2024-03-04 09:00:00"),
    ("2024-03-04 10:00:00+0100", "2024-03-04 09:00:00"), ("2024-03-04 10:00:00 -0500", "2024-03-04 15:00:00"),
    ("2024-03-04T10:00:00+05", "2024-03-04 05:00:00"), ("2024-03-04 10:00:00 UTC", "2024-03-04 10:00:00"),
    ("2024-03-04 10:00:00UTC", "2024-03-04 10:00:00"), ("2024-07-04 10:00:00 GMT", "2024-07-04 10:00:00"),
    ("2024-03-04 10:00:00 Europe/Berlin", "2024-03-04 09:00:00"), ("2024-03-04 10:00 Etc/GMT+5", "2024-03-04 15:00:00"),
    ("2024/03/04 10:00", "2024-03-04 15:00:00"),
])  # fmt: skip
def test_iso_times_with_offsets_and_names_are_read(tmp_path, text, utc):
    assert instants(tmp_path, text, "America/New_York") == [utc]


@pytest.mark.parametrize(("zone", "text", "utc"), [
    ("Europe/London", "2024-06-04 00:30:00 BST", "2024-06-03 23:30:00"),
    ("Europe/London", "2024-10-27 01:30:00 BST", "2024-10-27 00:30:00"),  # the hour that comes twice
    ("America/Halifax", "2024-01-04 00:30:00 AST", "2024-01-04 04:30:00"),
    ("America/Halifax", "2024-07-04 00:30:00 ADT", "2024-07-04 03:30:00"),
    ("Asia/Shanghai", "2024-01-04 00:30:00 CST", "2024-01-03 16:30:00"),
    ("Asia/Kolkata", "2024-01-04 00:30:00 IST", "2024-01-03 19:00:00"),
    ("Europe/Berlin", "2024-06-04 00:30:00 CEST", "2024-06-03 22:30:00"),
])  # fmt: skip
def test_an_abbreviation_is_read_where_the_feeds_zone_uses_it(tmp_path, zone, text, utc):
    assert instants(tmp_path, text, zone) == [utc]


@pytest.mark.parametrize(("zone", "text"), [
    ("Europe/London", "2024-01-04 00:30:00 BST"), ("UTC", "2024-06-04 00:30:00 BST"),
    ("America/Halifax", "2024-07-04 00:30:00 AST"), ("America/Chicago", "2024-06-04 00:30:00 CST"),
    ("Europe/Berlin", "2024-06-04 00:30:00 CET"), ("Europe/Berlin", "2024-01-04 00:30:00 PST"),
    ("UTC", "2024-01-04 00:30:00 GMT+5"), ("UTC", "2024-01-04 00:30:00 EST5EDT"),
    ("UTC", "2024-01-04 00:30 Etc/Unknown"),
    ("UTC", "2024-01-04 00:30 Mars/Base"), ("UTC", "2024-01-04 00:30+25:00"), ("UTC", "1/11/09"), ("UTC", "04.03.2024"),
    ("UTC", "24-03-04"), ("UTC", "2024-02-30 10:00"), ("UTC", "infinity"), ("UTC", "2024-01-04 (BC)"),
])  # fmt: skip
def test_everything_else_is_no_time(tmp_path, zone, text):
    assert instants(tmp_path, text, zone) == ["not_a_time"]


@pytest.mark.parametrize(("form", "text", "expected"), [
    ("%d.%m.%Y %H:%M %Z", "04.03.2024 10:00 CET", "2024-03-04 09:00:00"),
    ("%d.%m.%Y %H:%M %Z", "04.07.2024 10:00 CET", "not_a_time"),
    ("%d.%m.%Y %H:%M %Z", "04.03.2024 10:00 IST", "not_a_time"),
    ("%d.%m.%Y %H:%M %Z", "04.03.2024 10:00 America/New_York", "2024-03-04 15:00:00"),
    ("%a %b %d %H:%M:%S %Z %Y", "Mon Mar 04 10:00:00 CET 2024", "2024-03-04 09:00:00"),
    ("%a %b %d %H:%M:%S %Z %Y", "Mon Mar 04 10:00:00 BST 2024", "not_a_time"),
    ("%a %b %d %Y %H:%M:%S GMT%z (%Z)", "Mon Mar 04 2024 10:00:00 GMT+0100 (IST)", "2024-03-04 09:00:00"),
    ("%Y-%m-%dT%H:%M:%S%z", "2024-03-04T10:00:00Z", "2024-03-04 10:00:00"),
    ("%Y-%m-%dT%H:%M:%S%z", "2024-03-04T10:00:00+05:30", "2024-03-04 04:30:00"),
    ("%Y-%m-%dT%H:%M:%S%z", "2024-03-04T10:00:00IST", "not_a_time"),
])  # fmt: skip
def test_zones_in_a_time_format_follow_the_same_rule(tmp_path, form, text, expected):
    assert instants(tmp_path, text, "Europe/Berlin", more=f'time_format: "{form}"') == [expected]


@pytest.mark.parametrize("expression", [
    'epoch_ms("at"::bigint)', 'make_timestamp("at"::bigint * 1000)', 'make_timestamp_ns("at"::bigint * 1000000)',
    'to_timestamp("at"::double / 1000)', 'coalesce(epoch_ms("at"::bigint), to_timestamp(0))',
    'epoch_ms("at"::bigint)::timestamptz', 'EPOCH_MS("at"::bigint + 0 * length($$é$$))',
    """timezone(''UTC'', epoch_ms("at"::bigint))""", """epoch_ms("at"::bigint) at time zone ''UTC''""",
])  # fmt: skip
def test_a_count_since_1970_is_utc_in_every_zone(tmp_path, expression):
    assert instants(tmp_path, "1709546400000", "America/New_York", at=expression) == ["2024-03-04 10:00:00"]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "America/Los_Angeles"])
@pytest.mark.parametrize("shop_zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo"])
def test_a_date_is_that_day_in_any_zone(tmp_path, zone, shop_zone):
    day = dt.date(2024, 3, 4)
    for text, more in (("2024-03-04", ""), ("04.03.2024", "time_format: '%d.%m.%Y'")):
        shop = Landing(tmp_path, SHOP.format(zone=zone, ending="csv", more=more, at="at"), shop_zone)
        shop.put("a.csv", f"u,at\nu,{text}\n")
        with shop.open() as reader:
            assert reader.days_held() == [day]
    shop = Landing(tmp_path, SHOP.format(zone=zone, ending="parquet", more="", at="at"), shop_zone)
    pq.write_table(pa.table({"u": ["u"], "at": pa.array([day], pa.date32())}), shop.root / "a.parquet")
    with shop.open() as reader:
        assert reader.days_held() == [day]


def test_the_zone_of_a_source_defaults_to_the_shops(tmp_path):
    yaml = SHOP.format(zone="null", ending="csv", more="", at="at")
    shop = Landing(tmp_path, yaml, "America/New_York")
    shop.put("a.csv", "u,at\nu,2024-03-04 00:30\n")
    assert [str(r["event_time"]) for r in shop.read().accepted] == ["2024-03-04 05:30:00"]
    assert shop.source.digest("UTC") != shop.source.digest("America/New_York")


def test_blanks_only_are_a_missing_time(tmp_path):
    assert instants(tmp_path, " \u00a0 ", "UTC") == ["missing_time"]


@pytest.mark.parametrize(
    ("text", "reason"), [("1/11/09", "not_a_day"), ("2024-03-04", None), ("0001-01-01", "not_a_day")]
)
def test_a_day_of_a_user_is_one_of_our_years(tmp_path, text, reason):
    yaml = SHOP.format(zone="UTC", ending="csv", more="", at="at") + (
        "users:\n  files: users.tsv\n  columns: {user_id: u, signup_day: d}\n  csv: {delimiter: '\\t'}\n"
    )
    shop = Landing(tmp_path, yaml)
    shop.put("a.csv", "u,at\nu,2024-03-04\n")
    shop.put("users.tsv", f"u\td\nu\t{text}\n")
    assert [r["reason"] for r in shop.read().rejected] == ([reason] if reason else [])
