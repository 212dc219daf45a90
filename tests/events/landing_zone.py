"""A landing zone in a temporary folder, a source over it, and days read from it."""

import datetime as dt
import functools
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from seg_assets.events.accounts import DayRead
from seg_assets.events.reader import Reader
from seg_assets.events.source import Source, load_source
from seg_assets.events.store import ACCEPTED, REJECTED, close_file_access

DAY = dt.date(2024, 3, 4)

ORDERS = """
name: orders
feeds:
  orders:
    files: "orders/{day}*.csv"
    columns:
      event_id: id
      user_id: customer
      event_time: at
      event_type: kind
      product_id: product
      quantity: quantity
      amount: amount
      discount: discount
      rating: rating
      channel: channel
      device: device
    optional: [id, kind, product, quantity, discount, rating, channel, device]
"""

EVENTS = """
name: events
feeds:
  events:
    files: "events/{day}*.jsonl"
    columns: {event_id: event_id, user_id: user_id, anonymous_id: anonymous_id, event_time: event_time,
              event_type: event_type, amount: amount, quantity: quantity, rating: rating}
"""


@functools.cache
def connection() -> duckdb.DuckDBPyConnection:
    """One connection that can open no file, for all reads of the tests."""
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    close_file_access(con)
    return con


@dataclass
class Read:
    """One day, read: accepted and rejected rows as dictionaries, and the accounts."""

    day: DayRead
    accepted: list[dict] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)

    def reasons(self) -> dict[int, str]:
        return {r["line"]: r["reason"] for r in self.rejected}


class Landing:
    """Writes files and reads days."""

    def __init__(self, root: Path, yaml: str, time_zone: str = "UTC", **reader) -> None:
        self.root = root / "landing"
        self.root.mkdir(exist_ok=True)
        self.time_zone = time_zone
        self.reader = reader
        self.source = source_of(root, yaml)

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
        return path

    def open(self) -> Reader:
        return Reader(self.source, self.root, time_zone=self.time_zone, **self.reader)

    def read(self, day: dt.date = DAY, reader: Reader | None = None) -> Read:
        con = connection()
        with reader or self.open() as used:
            read = used.read_day(day, con)
            assert all(f.reconciles for f in read.files), read.files

            def rows(table: str) -> list[dict]:
                cursor = con.execute(f"select * from {table} order by all")
                names = [c[0] for c in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

            return Read(read, rows(ACCEPTED), rows(REJECTED))


def source_of(root: Path, yaml: str) -> Source:
    path = root / "source.yaml"
    path.write_text(yaml, encoding="utf-8")
    return load_source(path)
