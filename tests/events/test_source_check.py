"""`seg-assets source check` on a shop nobody has seen before."""

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
        line.split()[-1] for line in out.splitlines() if line.startswith(("  lines read", "  accepted", "  rejected"))
    ]
    assert numbers == ["7", "2", "5"]
    for said in ("not_a_number (amount), first in line 4", "ignored_event_type", "no_user", "not_a_time",
                 "unmapped columns",
                 "select", "1,234.50", "-12.00", "2024-04-03 08:15:00", "Bücher", "zwölf"):  # fmt: skip
        assert said in out, said


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
