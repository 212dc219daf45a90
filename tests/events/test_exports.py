"""Every shipped layout of a shop system gives events, users and money to the cent, also when it is delivered again.

`exports/NAME` holds a made-up export in the documented layout (`first`), a later delivery of another state (`second`),
and what must come out of the first alone and of both together (`expected.yaml`).
"""

import datetime as dt
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_assets.events.reader import Reader
from seg_assets.events.source import load_source, shipped_sources
from seg_assets.events.store import ACCEPTED, TABLE_ROWS
from tests.events.landing_zone import connection

EXPORTS = Path(__file__).parent / "exports"
LAYOUTS = sorted(path.name for path in EXPORTS.iterdir())
ACCOUNT = ("lines_read", "accepted", "left_out", "rejected", "duplicates", "events")


def test_every_layout_has_its_sample():
    assert set(shipped_sources()) - {"simulator", "simulator_parquet", "complete_journey"} == set(LAYOUTS)
    assert len(LAYOUTS) == 17


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_export_comes_out_right_to_the_cent(name, tmp_path):
    expected = _expected(name)
    landing = _delivered(tmp_path, name, "first")
    events, account = read_all(tmp_path, name, expected, landing)
    _compare(events, expected["first"])
    assert account["lines_read"] == expected["first"]["lines"]
    for column in ("left_out", "rejected", "duplicates"):
        assert account[column] == expected["first"].get(column, 0), column
    assert account["events"] == len(events)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if (EXPORTS / name / "second").is_dir()])
def test_a_second_delivery_of_another_state_comes_out_right_to_the_cent(name, tmp_path):
    expected = _expected(name)
    landing = _delivered(tmp_path, name, "first", "second")
    events, _ = read_all(tmp_path, name, expected, landing)
    _compare(events, expected["second"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_export_delivered_again_whole_adds_nothing(name, tmp_path):
    expected = _expected(name)
    landing = _delivered(tmp_path, name, "first")
    before, account = read_all(tmp_path, name, expected, landing)
    for file in [path for path in landing.rglob("*") if path.is_file()]:
        # A name that sorts before the first one's, of the same day.
        again = file.with_name(file.stem + "+again" + file.suffix)
        shutil.copyfile(file, again)
    after, twice = read_all(tmp_path, name, expected, landing)
    assert _content(after) == _content(before)
    assert twice["lines_read"] == 2 * account["lines_read"]
    assert twice["rejected"] <= 2 * account["rejected"]


@pytest.mark.parametrize("name", [n for n in LAYOUTS if n != "woocommerce_rest"])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_export_cut_between_records_is_the_same_lake(name, swapped, tmp_path):
    expected = _expected(name)
    landing = _delivered(tmp_path, name, "first")
    before, account = read_all(tmp_path, name, expected, landing)
    for file in [path for path in landing.rglob("*") if path.is_file()]:
        cut_in_two(file, header=file.suffix == ".csv", swapped=swapped)
    after, cut = read_all(tmp_path, name, expected, landing)
    assert _content(after) == _content(before)
    assert cut == account


def cut_in_two(file: Path, *, header: bool, swapped: bool) -> None:
    """Cut a file after its second record, which may be in the middle of an order, and repeat the header."""
    records = _records(file.read_text(encoding="utf-8"))
    head, rows = (records[:1], records[1:]) if header else ([], records)
    parts = [head + rows[:2], head + rows[2:]]
    names = ["+b", "+a"] if swapped else ["+a", "+b"]
    for part, more in zip(parts, names, strict=True):
        file.with_name(file.stem + more + file.suffix).write_text("".join(part), encoding="utf-8")
    file.unlink()


def _records(text: str) -> list[str]:
    """Return the lines of a text, a quoted line break being none."""
    records, begun = [], ""
    for line in text.splitlines(keepends=True):
        begun += line
        if begun.count('"') % 2 == 0 or begun.startswith("{"):
            records.append(begun)
            begun = ""
    return [*records, begun] if begun else records


def _expected(name: str) -> dict[str, Any]:
    return yaml.safe_load((EXPORTS / name / "expected.yaml").read_text(encoding="utf-8"))


def _delivered(folder: Path, name: str, *deliveries: str) -> Path:
    landing = folder / "landing"
    for delivery in deliveries:
        shutil.copytree(EXPORTS / name / delivery, landing, dirs_exist_ok=True)
    return landing


def read_all(
    folder: Path, name: str, expected: dict[str, Any], landing: Path
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Read every day of a landing zone by a source based on a shipped one; return its events and the account."""
    answers = {"based_on": name, **expected.get("answers", {})}
    if "currency" in expected:
        answers["currency"] = expected["currency"]
    path = folder / "my_shop.yaml"
    path.write_text(yaml.safe_dump(answers))
    source = load_source(path)
    con, zone = connection(), expected["time_zone"]
    events: list[dict[str, Any]] = []
    account: Counter[str] = Counter()
    with Reader(source, landing, time_zone=zone) as reader:
        for day in _days(reader, landing):
            read = reader.read_day(day, con)
            assert [f.source_file for f in read.files if not f.reconciles] == []
            for file in read.files:
                if file.feed in source.feeds:
                    account.update({column: getattr(file, column) for column in ACCOUNT})
            rows = con.sql(f"select * from {ACCEPTED}").to_arrow_table().to_pylist()
            events += [{"day": str(day), **row} for row in rows]
        if source.users is not None:
            reader.read_table("users", dt.date(2025, 1, 1), con)
            users = con.execute(f"select user_id, signup_day::varchar from {TABLE_ROWS}").fetchall()
            events.extend({"day": "", "event_type": "user", "user_id": user, "signup": day} for user, day in users)
    account["events"] += sum(event["event_type"] == "user" for event in events)
    return events, account


def _days(reader: Reader, landing: Path) -> list[dt.date]:
    if all(feed.many_days for feed in reader.source.feeds.values()):
        return reader.days_held()
    return sorted({dt.datetime.strptime(p.name[7:15], "%Y%m%d").date() for p in landing.iterdir()})  # noqa: DTZ007


def _compare(events: list[dict[str, Any]], right: dict[str, Any]) -> None:
    money: dict[str, list[Decimal | None]] = {}
    for event in events:
        if event["event_type"] != "user":
            money.setdefault(event["event_type"], []).append(event["amount"])
    kinds = {k: v for k, v in right.items() if k in ("purchase", "refund", "view_item", "search", "add_to_cart")}
    assert {kind: len(amounts) for kind, amounts in money.items()} == {kind: n for kind, (n, _) in kinds.items()}
    for kind, (_, total) in kinds.items():
        amounts = [amount for amount in money[kind] if amount is not None]
        assert (sum(amounts, Decimal(0)) if amounts else None) == (None if total is None else Decimal(total)), kind
    users = {event["user_id"] for event in events if event["event_type"] != "user"} - {None}
    assert users == set(right["users"])
    assert {e["user_id"]: e["signup"] for e in events if e["event_type"] == "user"} == right.get("users_table", {})
    if "days" in right:
        assert Counter(event["day"] for event in events if event["day"]) == right["days"]


def _content(events: list[dict[str, Any]]) -> str:
    """Return what the lake would hold, row by row, whatever the order of the rows."""
    return "\n".join(sorted(repr(sorted(event.items())) for event in events))
