"""A made-up shop in a real lake: every table of the catalog, tiny, with true provenance, and a planted shift.

Tables that drift does not look into hold one row that names what it was made from, so that a change travels through
them as it does through the real ones.
"""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import wasserstein_distance

from seg_assets.core.days import day_range
from seg_assets.core.digests import digest
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.drift.daily import publish_day
from seg_assets.drift.evidently_report import ColumnDrift, Comparison
from seg_assets.lake import content_hash
from seg_assets.lake.provenance import FOOTER_KEY, Provenance
from seg_assets.lake.stamps import DATA
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.loop.staleness import derived_tables
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest as Asked
from seg_assets.segments.decisions.store import champion_digest
from seg_assets.segments.strategy import Strategy, parse_strategy

START = dt.date(2024, 1, 1)
SPEC = {
    "name": "value",
    "title": "Value",
    "features": [
        {"column": "monetary_28d", "transform": "signed_log1p", "missing": "zero"},
        {"column": "orders_28d", "transform": "log1p", "missing": "zero"},
    ],
    "k": {"min": 3, "max": 3},
    "rules": {"new_within_days": None, "dormant_after_days": None},
    "fit": {"minimum_users": 60, "minimum_history_days": 5, "starts": 3},
    "drift": {
        "positions": 200,
        "limit_users": 100,
        "days_in_row": 2,
        "cool_down_days": 3,
        "maximum_age_days": None,
        # The shop of these tests is three weeks old; its 28-day windows never fill.
        "settled_after_days": 0,
    },
    "gate": {"minimum_stability": 0.2, "maximum_relabelled": 1.0, "maximum_relabelled_per_gain": 50.0},
}
# Mean orders and spend per order of the planted groups, before and after the shift.
BEFORE = ((2, 8.0), (8, 20.0), (25, 60.0))
AFTER = ((2, 8.0), (3, 400.0), (25, 60.0))


def day(n: int) -> dt.date:
    """Day n of the calendar, from 0."""
    return START + dt.timedelta(days=n)


def strategy(name: str = "value", **keys) -> Strategy:
    """The strategy of this shop; `keys` as in YAML, a mapping is laid over the one that is there."""
    merged = {k: {**v, **keys[k]} if k in keys and isinstance(v, dict) else keys.get(k, v) for k, v in SPEC.items()}
    return parse_strategy({**keys, **merged, "name": name})


def users(n: int, shifted: bool, each: int = 60, late: str = "") -> pd.DataFrame:
    """Profiles of day n: the same users every day, a little noise, other groups once the shop has shifted."""
    parts = []
    for g, ((orders, price), (orders_then, _)) in enumerate(zip(AFTER if shifted else BEFORE, BEFORE, strict=True)):
        steady, today = np.random.default_rng([g, 1]), np.random.default_rng([g, n, len(late)])
        count = np.maximum(1, steady.poisson(orders_then, each) * orders / orders_then + today.integers(0, 2, each))
        spend = count * price * np.exp(steady.normal(0, 0.2, each) + today.normal(0, 0.02, each))
        ids = [f"{g}-{i:03d}" for i in range(each)]
        parts.append(pd.DataFrame({"user_id": ids, "orders_28d": np.round(count), "monetary_28d": np.round(spend, 2)}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(
        tenure_days=float(n),
        recency_days=3.0,
        inactive_days=3.0,
        is_suspected_bot=0.0,
        orders_all=frame["orders_28d"],
        active_days_all=frame["orders_28d"],
    )


class Shop:
    """The lake, and what runs would do to it."""

    def __init__(self, root: Path, *strategies: Strategy, shift: int | None = None) -> None:
        self.settings = Settings(home=root, start_day=START)
        self.lake = Lake.of(self.settings)
        self.strategies = {s.name: s for s in strategies or (strategy(),)}
        self.shift = shift
        self.late: dict[dt.date, str] = {}
        self.done: list[planner.PlannedRun] = []

    def land(self, days: Iterable[dt.date], text: str = "") -> None:
        """Raw events of these days; another `text` is another content, as late events make it."""
        for d in days:
            self.late[d] = text
            for table in ("raw_events", "raw_users", "raw_products"):
                content = text if table == "raw_events" else ""
                self._publish(table, d, {}, f"{d} {content}" if table == "raw_events" else "")

    def daily(self, first: int, last: int) -> None:
        """What one run of the job `daily` does to a range."""
        days = day_range(day(first), day(last))
        self.land(days)
        for table in decide_order():
            for d in days:
                self.make(table, d)

    def make(self, table: str, d: dt.date) -> None:
        """What one asset does to one day."""
        if table == "segment_model":
            for one in self.strategies.values():
                decide_day(self.lake, one, d, self.settings.seed)
        elif table == "drift_report":
            publish_day(self.lake, self.strategies, self.settings, d)
        elif table == "user_profiles":
            n = (d - START).days
            shifted = self.shift is not None and n >= self.shift
            frame = users(n, shifted, late=self.late.get(d, ""))
            kinds = {c: "VARCHAR" if c == "user_id" else "DOUBLE" for c in frame.columns}
            self.lake.publish_frame(table, d, frame, kinds)
        elif table in ("raw_users", "raw_products"):
            self._publish(table, d, {}, "")
        else:
            reads = {i.window for i in TABLES[table].inputs}
            inputs = {}
            if "champion" in reads:
                inputs["segment_model:champion"] = champion_digest(self.lake, self.strategies, d)
            self._publish(table, d, inputs, digest([self.lake.inputs_of(table, d), inputs]))

    def _publish(self, table: str, d: dt.date, inputs: dict[str, str], about: str) -> None:
        """One row that names what it was made from. Written without DuckDB: these tests publish hundreds of them."""
        provenance = Provenance(
            table=table,
            day=d.isoformat(),
            part=DATA,
            rows=1,
            content_hash=digest([table, d, about]),
            inputs={**self.lake.inputs_of(table, d), **inputs},
            code_version=TABLES[table].code_version,
            hash_kind=content_hash.HASH_KIND,
        )
        path = self.lake.path(table, d)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = pa.table({"about": [about]}, metadata={FOOTER_KEY: provenance.to_json()})
        staged = path.with_suffix(".new")
        pq.write_table(rows, staged)
        staged.replace(path)

    def plan(self, last: int | None = None) -> planner.Plan:
        return planner.plan(self.lake, self.strategies, self.settings, None if last is None else day(last))

    def run(self, planned: planner.PlannedRun) -> None:
        """What a planned run does."""
        self.done.append(planned)
        if planned.kind == "recluster":
            asked = planned.run_config()["ops"]["segment_model"]["config"]["requests"]
            for one in asked:
                wanted = Asked(**{**one, "day": dt.date.fromisoformat(one["day"])})
                decide_day(self.lake, self.strategies[one["strategy"]], wanted.day, self.settings.seed, wanted)
            return
        for table in planned.tables:
            for d in day_range(planned.first, planned.last):
                self.make(table, d)

    def settle(self, last: int | None = None, most: int = 40) -> planner.Plan:
        """Plan and run until the loop rests."""
        for _ in range(most):
            plan = self.plan(last)
            if not plan.runs:
                return plan
            for planned in plan.runs:
                self.run(planned)
        raise AssertionError(f"the loop did not rest; the last plan: {plan.runs}")

    def contents(self) -> dict[tuple, str]:
        """Content hash of every file."""
        return {
            (t, d, p): self.lake.provenance(t, d, p).content_hash
            for t in TABLES
            for d in self.lake.days(t)
            for p in self.lake.parts(t, d)
        }


def decide_order() -> list[str]:
    """Tables of the job `daily` after landing, in the order they are made."""
    derived = [t.name for t in derived_tables() if t.room != "events"]
    at = derived.index("user_segments")
    return [*derived[:at], "segment_model", *derived[at:]]


def compare_without_evidently(now, then, limits, positions):
    """Compute Evidently's Wasserstein in two lines, for tests of what follows from a verdict: 1 ms instead of 200."""
    columns = []
    for name, baseline in then["numeric"].items():
        after, before = np.array(now["numeric"][name]["quantiles"]), np.array(baseline["quantiles"])
        score = float(wasserstein_distance(before, after) / max(before.std(), 0.001))
        columns.append(ColumnDrift(name, "wasserstein", score, limits.distance, score >= limits.distance, 0, 0, 1))
    return Comparison(tuple(columns), "{}")
