"""Small random shops for the tests of the profiles: histories that hit every rule, written straight into the lake."""

import datetime as dt
import random
from decimal import Decimal

import pandas as pd

from seg_assets.core.settings import Settings
from seg_assets.events.contract import CHANNELS, DEVICES, EVENT_TYPES, RAW_EVENTS, RAW_PRODUCTS, RAW_USERS
from seg_assets.lake.store import Lake

START = dt.date(2024, 1, 1)
LANDED = {"landing:files": "test"}


def settings_of(folder, **overrides) -> Settings:
    return Settings(home=folder, start_day=START, **overrides)


def day_of(n: int) -> dt.date:
    return START + dt.timedelta(days=n)


def event(day: dt.date, event_id: str, event_type: str, second: int = 0, **values) -> dict:
    row = dict.fromkeys(RAW_EVENTS)
    row.update(
        event_id=event_id,
        event_type=event_type,
        event_time=pd.Timestamp(day) + pd.Timedelta(seconds=second),
        **values,
    )
    for name in ("amount", "discount", "rating"):
        if row[name] is not None:
            row[name] = Decimal(str(row[name]))
    return {**row, "day": day}


def put_day(lake: Lake, day: dt.date, events=(), users=(), products=()) -> None:
    """Publish the raw tables of one day."""
    with lake.connect() as con:
        put_day_on(con, lake, day, events, users, products)


def put_day_on(con, lake: Lake, day: dt.date, events, users, products) -> None:
    tables = (
        ("raw_events", RAW_EVENTS, events),
        ("raw_users", RAW_USERS, users),
        ("raw_products", RAW_PRODUCTS, products),
    )
    for table, schema, rows in tables:
        frame = pd.DataFrame([{**dict.fromkeys(schema), **r} for r in rows], columns=list(schema)).astype(object)
        con.register("rows", frame)
        columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in schema.items())
        inputs = LANDED if table == "raw_events" else {**LANDED, f"{table}:yesterday": "test"}
        lake.publish(con, table, day, f"select {columns} from rows", inputs=inputs)


class History:
    """A random history: users, visitors who may log in late or on shared devices, gaps, refunds, odd ids."""

    def __init__(self, seed: int, days: int, users: int = 30, events_a_day: int = 25) -> None:
        rng = random.Random(seed)
        odd = ["anon:7", "user:7", 'it\'s "me"\nagain', " ", "select"]
        self.users = odd + [f"u{n}" for n in range(users)]
        self.visitors = ["7", "anon:7"] + [f"a{n}" for n in range(users + 3)]
        self.days = [day_of(n) for n in range(days)]
        self.events: list[dict] = []
        self.products: dict[dt.date, dict[str, str]] = {}
        self.attributes: dict[dt.date, dict[str, dict]] = {}
        for n, day in enumerate(self.days):
            self.products[day] = {f"p{k}": f"cat {k % 4 + (n > days // 2)}" for k in range(8)}
            self.attributes[day] = {
                u: {"sex": rng.choice(["F", "M", None]), "region": f"r{n // 20}", "household_size": 3}
                for u in self.users[: 3 + n]
            }
            count = 0 if rng.random() < 0.1 else rng.randrange(2 * events_a_day)
            for k in range(count):
                self.events.append(self._event(rng, day, f"{n}-{k}"))
        if days > 2:
            self._robot(self.days[1])

    def _event(self, rng: random.Random, day: dt.date, event_id: str) -> dict:
        who = rng.randrange(len(self.users))
        # mostly the user's own device, sometimes a shared one
        visitor = self.visitors[who if rng.random() < 0.9 else rng.randrange(len(self.visitors))]
        mode = rng.random()
        user_id = None if mode < 0.35 else self.users[who]
        anonymous_id = None if mode > 0.5 else visitor
        kind = rng.choice([*EVENT_TYPES, "purchase", "purchase", "purchase", "add_to_cart", "view_item"])
        values: dict = {"user_id": user_id, "anonymous_id": anonymous_id}
        if rng.random() < 0.7:
            values["session_id"] = f"s{who}-{rng.randrange(2)}"
        if rng.random() < 0.8:
            values["product_id"] = f"p{rng.randrange(10)}"
        if rng.random() < 0.3:
            values["category"] = rng.choice(["toys", "cat 1", "it's"])
        if rng.random() < 0.6:
            values["channel"] = rng.choice(CHANNELS)
        if rng.random() < 0.6:
            values["device"] = rng.choice(DEVICES)
        if kind == "purchase":
            values["amount"] = (
                None if rng.random() < 0.05 else rng.choice([0, 0.01, 19.99, 5000, rng.randrange(9999) / 100])
            )
            values["discount"] = rng.choice([None, 0, 1.5])
            values["order_id"] = rng.choice([None, f"o{who}-{rng.randrange(3)}"])
        elif kind == "refund":
            values["amount"] = -rng.randrange(5000) / 100
            values["order_id"] = f"o{who}-{rng.randrange(3)}"
        elif kind == "review":
            values["rating"] = rng.choice([None, 1, 3.5, 5])
        # few seconds, so that times tie
        return event(day, event_id, kind, second=rng.randrange(40) * 1800, **values)

    def _robot(self, day: dt.date) -> None:
        for k in range(130):
            self.events.append(event(day, f"bot-{k}", "view_item", second=7200 + k, user_id="robot", product_id="p1"))
        for k in range(210):
            self.events.append(event(day, f"slow-{k}", "search", second=k * 400, user_id="slow robot", query="x"))
            self.events.append(event(day, f"keen-{k}", "search", second=k * 400, user_id="keen", query="x"))
        self.events.append(event(day, "keen-buys", "purchase", user_id="keen", amount=1))

    def put(self, lake: Lake, days=None) -> None:
        """Publish the raw tables of the days (all of them when none are named)."""
        with lake.connect() as con:
            for day in self.days if days is None else days:
                put_day_on(
                    con,
                    lake,
                    day,
                    [e for e in self.events if e["day"] == day],
                    [{"user_id": u, **a} for u, a in self.attributes[day].items()],
                    [{"product_id": p, "category": c} for p, c in self.products[day].items()],
                )
