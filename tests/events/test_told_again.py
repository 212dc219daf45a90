"""Records that are told again: the newest version counts, money given back grows, and no delivery counts twice."""

import csv
import datetime as dt
import io
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.events.reader import Reader
from seg_assets.events.source import load_source
from seg_assets.events.store import ACCEPTED
from tests.events.landing_zone import DAY, Landing, connection, source_of

PLAIN = """
feeds:
  orders:
    files: ["orders-{day}*.csv", "orders*.csv"]
    day: {from: event_time}
    closed_days: normal
    record: id
    version: changed::int
    event_type: purchase
    columns: {event_id: id, event_time: told, user_id: who, amount: price, left_out: "nullif(state, 'on')"}
"""
HEAD = "id,told,who,price,changed,state\n"


def test_the_newest_version_of_a_record_counts_over_all_files_and_may_retract(tmp_path):
    shop = Landing(tmp_path, PLAIN)
    shop.put(
        "orders-2024-03-05.csv", HEAD + "1,2024-03-04,ann,10,1,on\n2,2024-03-04,bob,20,1,on\n3,2024-03-04,cyd,30,5,on\n"
    )
    assert [r["amount"] for r in shop.read().accepted] == [10, 20, 30]
    with shop.open() as reader:
        before = reader.contents(DAY, "events")
    # 1 has changed, 2 is called off, 3 goes back to an older version, and 4 is of another day.
    called_off = "2,2024-03-04,bob,20,2,off\n3,2024-03-04,cyd,99,4,on\n4,2024-03-06,dan,40,1,on\n"
    shop.put("orders-2024-04-01.csv", HEAD + "1,2024-03-04,ann,11,2,on\n" + called_off)
    read = shop.read()
    assert [(r["event_id"], r["amount"]) for r in read.accepted] == [("1", 11), ("3", 30)]
    assert Counter(r["reason"] for r in read.rejected) == {"older_version": 3, "left_out": 1}
    assert [(f.accepted, f.left_out, f.rejected) for f in read.day.files] == [(1, 2, 0), (1, 2, 0)]
    with shop.open() as reader:
        assert reader.contents(DAY, "events") != before


def test_a_version_that_no_line_has_leaves_the_later_delivery(tmp_path):
    shop = Landing(tmp_path, PLAIN)
    shop.put("orders-2024-03-05.csv", HEAD + "1,2024-03-04,ann,10,,on\n")
    shop.put("orders-2024-03-06.csv", HEAD + "1,2024-03-04,ann,11,,on\n")
    shop.put("orders-2024-03-07.csv", HEAD + "1,2024-03-04,ann,12,x,on\n")
    read = shop.read()
    assert [r["amount"] for r in read.accepted] == [11]
    # Their files have no event, so that the first day of the calendar accounts for both.
    aside = shop.read(dt.date(1970, 1, 1)).rejected
    assert {r["reason"]: r["field"] for r in aside} == {"older_version": None, "expression_failed": "version"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    record: id\n", "", "record: say what the lines of one record share"),
        ("version: changed::int", "version: now()", "now is not allowed"),
        ("    version: changed::int\n", "    refunded: price\n", "refunded: needs a SELECT"),
        ("    version: changed::int\n", "    refunded_at: told\n", "refunded_at"),
    ],
)
def test_wrong_words_about_records_are_refused_by_name(tmp_path, old, new, words):
    with pytest.raises(ConfigError, match=words):
        source_of(tmp_path, PLAIN.replace(old, new))


COLUMNS = ["Name", "Email", "Financial Status", "Currency", "Created at", "Lineitem quantity", "Lineitem name",
           "Lineitem price", "Lineitem sku", "Cancelled at", "Refunded Amount", "Discount Amount", "Payment Method",
           "Source", "Lineitem discount"]  # fmt: skip


class Shop:
    """A made-up shop whose orders change: an oracle in plain Python beside the files that it exports."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.orders: list[dict] = []
        self.told: dict[str, list[tuple[dt.date, dict]]] = {}

    def live(self, day: dt.date) -> None:
        """Let some orders be placed, given back in part, and called off."""
        for _ in range(self.random.randint(1, 6)):
            lines = [
                (self.random.randint(1, 3), f"P{self.random.randint(1, 4)}", self.random.randint(100, 9999))
                for _ in range(self.random.randint(1, 4))
            ]
            # Equal lines of one order that are cut apart are taken for a re-delivery, as the docs say.
            lines = list(dict.fromkeys(lines))
            total = sum(n * cents for n, _, cents in lines)
            self.orders.append({
                "name": f"#{len(self.orders) + 1}", "day": day, "lines": lines, "off": False, "back": 0,
                "total": total, "discount": self.random.choice([0, 0, self.random.randint(1, total)]),
            })  # fmt: skip
        for order in self.orders:
            if self.random.random() < 0.3:
                order["back"] = min(order["total"], order["back"] + self.random.randint(1, 500))
            order["off"] = order["off"] or self.random.random() < 0.1

    def export(self, folder: Path, day: dt.date) -> None:
        """Write some of the orders, as one file or cut in two, perhaps twice."""
        chosen = [order for order in self.orders if self.random.random() < 0.8]
        rows = [row for order in chosen for row in self._rows(order)]
        for order in chosen:
            self.told.setdefault(order["name"], []).append((day, dict(order)))
        cut = self.random.randint(0, len(rows)) if self.random.random() < 0.7 else None
        parts = [rows] if cut is None else [rows[:cut], rows[cut:]]
        if self.random.random() < 0.3:
            parts.append(rows)
        self.random.shuffle(parts)
        for n, part in enumerate(parts):
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(part)
            (folder / f"orders_export_{day}-{n}.csv").write_text(text.getvalue())

    @staticmethod
    def _rows(order: dict) -> list[dict]:
        rows = []
        for n, (pieces, sku, cents) in enumerate(order["lines"]):
            row = {"Name": order["name"], "Email": "a@b.example", "Created at": f"{order['day']} 10:00:00 +0000",
                   "Lineitem quantity": pieces, "Lineitem name": sku, "Lineitem sku": sku,
                   "Lineitem price": f"{cents / 100:.2f}"}  # fmt: skip
            if n == 0:
                row |= {"Financial Status": "paid", "Currency": "EUR", "Refunded Amount": f"{order['back'] / 100:.2f}",
                        "Discount Amount": f"{order['discount'] / 100:.2f}",
                        "Cancelled at": f"{order['day']} 11:00:00 +0000" if order["off"] else ""}  # fmt: skip
            rows.append(row)
        return rows

    def right(self) -> Counter:
        """Return the cents that each order must have on each day: of purchases, and of money given back."""
        cents: Counter = Counter()
        for name, states in self.told.items():
            # The number of what was given back is the version; of equal ones the later delivery counts.
            _, last = max(states, key=lambda state: (state[1]["back"], state[0]))
            if last["off"]:
                continue
            cents["purchase", name, str(last["day"])] += last["total"] - last["discount"]
            before = 0
            for day, state in states:
                if state["back"] > before:
                    cents["refund", name, str(day)] -= state["back"] - before
                    before = state["back"]
        return Counter({key: n for key, n in cents.items() if n})


@pytest.mark.parametrize("seed", range(12))
def test_random_orders_with_refunds_versions_and_deliveries_come_out_as_an_oracle_says(seed, tmp_path):
    shop = Shop(seed)
    for n in range(4):
        day = dt.date(2024, 3, 1) + dt.timedelta(days=3 * n)
        shop.live(day)
        shop.export(tmp_path, day + dt.timedelta(days=1))
    con = connection()
    cents: Counter = Counter()
    with Reader(load_source("shopify_orders_csv").of_shop("EUR"), tmp_path) as reader:
        for day in reader.days_held():
            read = reader.read_day(day, con)
            assert all(file.reconciles for file in read.files)
            assert not any(file.rejected for file in read.files)
            for kind, name, amount in con.execute(f"select event_type, order_id, amount from {ACCEPTED}").fetchall():
                cents[kind, name, str(day)] += int(Decimal(amount) * 100)
    assert Counter({key: n for key, n in cents.items() if n}) == shop.right()
