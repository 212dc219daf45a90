"""`seg-assets source check` on a shop nobody has seen before."""

import json
from pathlib import Path

import pytest

from seg_assets import cli
from tests.events.landing_zone import ORDERS as YAML

GERMAN = """
name: laden
time_zone: Europe/Berlin
feeds:
  bestellungen:
    files: "bestellungen*.csv"
    day: {from: event_time}
    csv: {delimiter: ";"}
    encoding: latin-1
    decimal: ","
    thousands: "."
    time_format: "%d.%m.%Y %H:%M"
    columns:
      user_id: '"Kunden-Nr."'
      event_time: Datum || ' ' || Uhrzeit
      event_type: Art
      order_id: Bestellung
      amount: Betrag
      quantity: Menge
      category: '"Größe/Gruppe"'
    values:
      event_type: {Kauf: purchase, Storno: refund, Probe: null}
    defaults: {channel: web}
"""
ORDERS = """Kunden-Nr.;Datum;Uhrzeit;Art;Bestellung;Betrag;Menge;Größe/Gruppe;select
17;03.04.2024;10:15;Kauf;B1;1.234,50;1;Bücher;x
17;03.04.2024;23:59;Storno;B1;12,00;1;Bücher;
18;04.04.2024;00:10;Kauf;B2;zwölf;1;Bücher;y
19;04.04.2024;00:10;Probe;B2;1;1;;y
;04.04.2024;00:10;Kauf;B2;1;1;;y
20;31.04.2024;00:10;Kauf;B3;1,00;1;;y
21;05.04.2024;00:10;Kauf;B3;12.50;1;;y
"""


def run(*words: str) -> int:
    return cli.main(words)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "laden.yaml").write_text(GERMAN, encoding="utf-8")
    (tmp_path / "bestellungen_april.csv").write_bytes(ORDERS.encode("latin-1"))
    return tmp_path


def test_a_foreign_csv_of_orders_is_read_as_its_yaml_says(files, capsys):
    code = run(
        "source",
        "check",
        str(files / "laden.yaml"),
        str(files / "bestellungen_april.csv"),
        "--time-zone",
        "Europe/Berlin",
    )
    out = capsys.readouterr().out
    assert code == 0
    numbers = [
        line.split()[-1]
        for line in out.splitlines()
        if line.startswith(("  lines read", "  accepted", "  left out", "  rejected"))
    ]
    heads = ("  lines read", "  accepted", "  left out", "  rejected")
    numbers = [line.split()[-1] for line in out.splitlines() if line.startswith(heads)]
    assert numbers == ["7", "2", "1", "4"]
    for word in ("not_a_number (amount), first in line 4", "ignored_event_type", "no_user", "not_a_time",
                 "unmapped columns",
                 "select", "1,234.50", "-12.00", "2024-04-03 08:15:00", "Bücher", "zwölf"):  # fmt: skip
        assert word in out, word


def test_exit_code_is_1_when_nothing_is_accepted(files, capsys):
    (files / "bestellungen_leer.csv").write_text("Kunde;Datum\n1;2\n")
    assert run("source", "check", str(files / "laden.yaml"), str(files / "bestellungen_leer.csv")) == 1
    out = capsys.readouterr().out
    assert "missing_column" in out
    assert "columns of the mapping that the file lacks: Kunden-Nr." in out


def test_a_sample_whose_name_says_another_day_is_shown_as_wrong_day(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(YAML)
    (tmp_path / "orders").mkdir()
    sample = tmp_path / "orders" / "2024-03-04.csv"
    sample.write_text("id,customer,at,kind,amount\n1,u,2024-03-05,purchase,1\n2,u,2024-03-04,purchase,1\n")
    assert run("source", "check", str(tmp_path / "s.yaml"), str(sample)) == 0
    assert "wrong_day" in capsys.readouterr().out


def test_a_users_file_is_checked_with_its_own_feed(tmp_path, capsys):
    sample = tmp_path / "users" / "2024-03-04.csv"
    sample.parent.mkdir()
    sample.write_text(
        "user_id,sex,age_band,region,income_band,household_size,signup_day\nu,f,,,,2,2024-01-01\n,,,,,,\n"
    )
    assert run("source", "check", "simulator", str(sample)) == 0
    out = capsys.readouterr().out
    assert "feed users" in out
    assert "missing_id" in out


def test_list_names_the_shipped_sources(capsys):
    assert run("source", "list") == 0
    out = capsys.readouterr().out
    assert "complete_journey" in out
    assert "events/{day}.jsonl" in out


SHOP = """
name: shop
{zone}
feeds:
  orders:
    files: "orders/{{day}}.csv"
    event_type: purchase
    columns: {{event_id: id, event_time: at, user_id: user, amount: amount}}
  views:
    files: "views-*.csv"
    day: {{from: event_time}}
    event_type: view_item
    columns: {{event_id: id, event_time: at, user_id: user}}
users:
  files: "{users}"
  columns: {{user_id: user}}
"""
ROWS = "id,user,at,amount\n"


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Check one file of the shop above, and return the exit code and what was printed."""

    def run_check(name: str, text: str, *words: str, zone: str = "", users: str = "users.csv") -> tuple[int, str]:
        (tmp_path / "s.yaml").write_text(SHOP.format(zone=zone, users=users))
        sample = tmp_path / name
        sample.parent.mkdir(exist_ok=True)
        sample.write_bytes(text.encode() if isinstance(text, str) else text)
        code = run("source", "check", str(tmp_path / "s.yaml"), str(sample), *words)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    monkeypatch.setenv("SEG_ASSETS_START_DAY", "2024-03-01")
    return run_check


def test_what_a_run_refuses_as_outside_of_the_calendar_the_check_refuses_too(check):
    code, out = check("views-1.csv", ROWS + "1,u,2024-02-29,1\n2,u,2024-03-01,1\n")
    assert code == 0
    assert "outside_calendar (event_time), first in line 2" in out
    assert "hint: outside_calendar: the calendar goes from 2024-03-01" in out
    _, out = check("orders/2024-02-29.csv", ROWS + "1,u,2024-02-29,1\n")
    assert "no run reads it: the calendar goes from 2024-03-01 to yesterday" in out


def test_a_file_of_two_feeds_is_refused_by_the_check_as_by_a_run(check):
    code, out = check("views-users.csv", ROWS + "1,u,2024-03-01,1\n", users="*-users.csv")
    assert code == 2
    assert "matches the feeds views and users; make their file patterns differ" in out


def test_a_line_of_another_day_is_named_with_its_line(check):
    _, out = check("orders/2024-03-04.csv", ROWS + "1,u,2024-03-04,1\n2,u,2024-03-05,1\n")
    assert "1  wrong_day (event_time), first in line 3" in out


def test_rows_are_shown_in_the_order_of_the_file(check):
    _, out = check(
        "orders/2024-03-04.csv", ROWS + "".join(f"{n},u,2024-03-04 {n}:00,1\n" for n in (17, 3, 9, 12)), "--rows", "3"
    )
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  event_id")] == ["17", "3", "9"]


@pytest.mark.parametrize(("text", "words"), [
    (ROWS + "1,u,1/11/09,1\n", ("hint: not_a_time: say time_format",)),
    (ROWS + "1,u,2024-03-04 10:00 IST,1\n", ("hint: not_a_time", "read only where UTC")),
    (ROWS.replace(",", ";") + "1;u;2024-03-04;1\n", ("hint: delimiter", "3 times ';'", 'csv: {delimiter: ";"}')),
    (ROWS.replace(",", "\t") + "1\tu\t2024-03-04\t1\n", ('csv: {delimiter: "\\t"}',)),
    (ROWS + "1.0,8.0,2024-03-04,1\n2.0,9.0,2024-03-04,1\n", ("event_id, user_id: every id ends in .0",
        "regexp_replace(id,")),
])  # fmt: skip
def test_a_hint_stands_where_a_person_would_be_stuck(check, text, words):
    _, out = check("orders/2024-03-04.csv", text)
    for word in words:
        assert word in out


def test_ids_that_do_not_all_end_in_a_fraction_and_the_right_delimiter_need_no_hint(check):
    _, out = check("orders/2024-03-04.csv", ROWS + "1.0,8.0,2024-03-04,1\n2,9,2024-03-04,1\n")
    assert "hint" not in out


@pytest.mark.parametrize(("at", "words"), [
    ("2024-03-04 00:00:00", "every time is midnight in UTC (time_zone of the feed), and days are those of Asia/Tokyo"),
    ("2024-03-04", "every time is midnight in Asia/Tokyo: dates are days of the shop, whatever time_zone says (UTC)"),
])  # fmt: skip
def test_dates_in_two_zones_are_said(check, at, words):
    _, out = check("orders/2024-03-04.csv", ROWS + f"1,u,{at},1\n", "--time-zone", "Asia/Tokyo", zone="time_zone: UTC")
    assert words in out
    _, out = check("orders/2024-03-04.csv", ROWS + f"1,u,{at},1\n", "--time-zone", "Asia/Tokyo")
    assert "midnight" not in out


@pytest.mark.parametrize("content", ["PK\x03\x04 a workbook", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_is_named_as_one(check, content):
    code, out = check("orders/2024-03-04.csv", content)
    assert code == 2
    assert "save it as CSV" in out


@pytest.mark.parametrize(("old", "new", "words"), [
    ("user_id: user,", "user_if: user,",
     "columns.user_if: unknown column, did you mean 'user_id'?; one of event_id"),
    ("    event_type: purchase\n", "", "feeds.orders: event_type: name one"),
    ("    event_type: purchase\n", "    colums: {{a: 1}}\n    event_type: purchase\n", "feeds.orders.colums: Extra"),
    ("orders/{{day}}.csv", "orders/{{day}}.xlsx", "save as CSV"),
])  # fmt: skip
def test_a_mistyped_key_is_said_without_the_section_around_it(tmp_path, capsys, old, new, words):
    assert old in SHOP
    (tmp_path / "s.yaml").write_text(SHOP.replace(old, new, 1).format(zone="", users="users.csv"))
    (tmp_path / "x.csv").write_text(ROWS)
    assert run("source", "check", str(tmp_path / "s.yaml"), str(tmp_path / "x.csv")) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "{'" not in err


def check_german(files, *words):
    sample = str(files / "bestellungen_april.csv")
    return run("source", "check", str(files / "laden.yaml"), sample, "--time-zone", "Europe/Berlin", *words)


def test_the_account_as_json_has_what_was_left_out_apart_from_what_was_rejected(files, capsys):
    assert check_german(files, "--json") == 0
    read = json.loads(capsys.readouterr().out)
    assert read["lines"] == {"read": 7, "accepted": 2, "left_out": 1, "rejected": 4, "duplicates": 0}
    assert [(r["reason"], r["lines"]) for r in read["left_out"]] == [("ignored_event_type", 1)]
    assert sum(r["lines"] for r in read["rejected"]) == 4
    assert read["months"] == [
        {"month": "2024-04", "type": "purchase", "events": 1, "amount": "1234.50"},
        {"month": "2024-04", "type": "refund", "events": 1, "amount": "-12.00"},
    ]
    assert (read["users"], read["events_without_user"]) == (1, 0)
    assert read["hours"] == [{"hour": 10, "events": 1}, {"hour": 23, "events": 1}]


def test_the_page_shows_the_account_and_no_text_of_any_line(files, capsys):
    page = files / "page.html"
    assert check_german(files, "--html", str(page)) == 0
    capsys.readouterr()
    text = page.read_text()
    for word in (
        "left out on purpose",
        "not_a_number (amount)",
        "Money by day",
        "Events by hour of day, Europe/Berlin",
        "-12.00",
    ):
        assert word in text, word
    for secret in ("zwölf", "Bücher", "<script", 'http-equiv="refresh', "B1"):
        assert secret not in text, secret


def test_a_date_that_fits_two_orders_is_said(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        "feeds: {o: {files: 'o*.csv', day: {from: event_time}, time_format: '%d/%m/%Y', event_type: purchase, "
        "columns: {event_time: at, user_id: who}}}\n"
    )
    for name, second, said in (("o1.csv", "02/04/2024", True), ("o2.csv", "13/04/2024", False)):
        (tmp_path / name).write_text(f"at,who\n01/03/2024,u\n{second},u\n")
        assert run("source", "check", str(tmp_path / "s.yaml"), str(tmp_path / name)) == 0
        assert ("day order: all 2 different days" in capsys.readouterr().out) is said


def test_the_source_check_says_what_was_left_out_and_the_money_of_other_currencies(capsys, monkeypatch):
    monkeypatch.setenv("SEG_ASSETS_CURRENCY", "SEK")
    sample = Path(__file__).parent / "exports" / "shopify_orders_csv" / "first" / "orders_export_2025-06-13.csv"
    assert run("source", "check", "shopify_orders_csv", str(sample), "--time-zone", "Europe/Stockholm") == 0
    out = capsys.readouterr().out
    counts = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.startswith("  ")}
    assert (counts["accepted"], counts["left"], counts["rejected"], counts["events"]) == ("6", "5", "0", "7")
    for words in ("left_out (cancelled), first in line 8", "left_out (test order)", "other_currency (EUR)",
                  "EUR: 30.00; say rates: {EUR: ..}", "amount 311.65", "unmapped columns (dropped)"):  # fmt: skip
        assert words in out, words
    assert "rejected because" not in out


def test_a_file_of_a_source_of_two_tables_is_checked_alone(capsys, monkeypatch):
    monkeypatch.setenv("SEG_ASSETS_CURRENCY", "EUR")
    sample = Path(__file__).parent / "exports" / "magento_tables" / "first" / "sales_order" / "2025-10-03.csv"
    # No order has an event of its own.
    assert run("source", "check", "magento_tables", str(sample)) == 1
    assert "left_out (told by its items)" in capsys.readouterr().out


def test_a_shipped_source_is_listed_with_its_questions_and_shown_whole(capsys):
    assert run("source", "list") == 0
    listed = capsys.readouterr().out
    assert "asks for feeds.orders.time_format" in listed
    assert "orders: orders-{day}*.csv, orders-*.csv" in listed
    assert run("source", "show", "wix_orders_csv") == 0
    shown = capsys.readouterr().out
    assert "record: concat_ws" in shown
    assert "union all by name" in shown
    assert run("source", "show", "wix_orders") != 0
    assert "wix_orders_csv" in capsys.readouterr().err
