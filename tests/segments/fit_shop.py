"""A made-up shop with planted groups for the tests of fits and decisions: profiles of any day, in a bare lake."""

import datetime as dt
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import champion_before
from seg_assets.segments.fitting import tuning
from seg_assets.segments.strategy import Strategy, parse_strategy

START = dt.date(2024, 1, 1)
DAY = dt.date(2024, 3, 1)
# Group: mean orders, mean spend, mean days since the last purchase.
GROUPS = {
    "whales": (20.0, 4000.0, 3.0),
    "regulars": (8.0, 400.0, 10.0),
    "lapsing": (1.0, 30.0, 70.0),
    "samplers": (2.0, 60.0, 5.0),
}
SPEC = {
    "name": "value",
    "title": "Value",
    "features": [
        {"column": "monetary_90d", "transform": "signed_log1p", "missing": "zero"},
        {"column": "orders_90d", "transform": "log1p", "missing": "zero"},
        {"column": "recency_days", "transform": "log1p", "missing": "maximum"},
    ],
    "k": {"min": 4, "max": 4},
    "eligibility": {"minimum_orders": 1},
    "fit": {"minimum_users": 40, "minimum_history_days": 28, "starts": 4},
    "drift": {"positions": 50, "columns": ["orders_28d"]},
    "gate": {"maximum_relabelled": 1.0},
}


class BareLake(Lake):
    """A lake in which profiles need no ancestors."""

    def inputs_of(self, table: str, day: dt.date, known: Container[str] = ()) -> dict[str, str]:
        return {} if table in ("user_profiles", "user_category_profiles") else super().inputs_of(table, day, known)


def lake_at(root: Path) -> BareLake:
    return BareLake(root / "lake", START)


def strategy(**keys) -> Strategy:
    return parse_strategy({**SPEC, **keys})


def users(groups: Mapping[str, tuple[float, float, float]] = GROUPS, each: int = 60, seed: int = 0) -> pd.DataFrame:
    """`each` users a group, ids `<group>-0001`; rows sorted by id. The same seed gives the same users."""
    parts = []
    for name, (orders, spend, recency) in groups.items():
        rng = np.random.default_rng([seed, sum(map(ord, name))])
        count = np.maximum(1, rng.poisson(orders, each)).astype(float)
        parts.append(
            pd.DataFrame(
                {
                    "user_id": [f"{name}-{i:04d}" for i in range(each)],
                    "monetary_90d": np.round(spend * np.exp(rng.normal(0, 0.15, each)), 2),
                    "orders_90d": count,
                    "orders_28d": np.round(count / 3),
                    "recency_days": np.maximum(0, np.round(recency + rng.normal(0, 1, each))),
                }
            )
        )
    return complete(pd.concat(parts, ignore_index=True))


def tune(lake: Lake, spec: Strategy, day: dt.date, *args, **keys) -> tuning.Tuned:
    """`tuning.tune` with the number of segments of the champion before, as the command gives it."""
    champion = champion_before(lake, spec.name, day)
    champion_k = champion.segment_model().n_clusters if champion else None
    return tuning.tune(lake, spec, day, 0, *args, **keys, champion_k=champion_k)


def complete(frame: pd.DataFrame, tenure: float = 60) -> pd.DataFrame:
    """With the columns that rules read, so that no rule catches anyone."""
    given = {
        "tenure_days": tenure,
        "inactive_days": 1.0,
        "is_suspected_bot": 0.0,
        "orders_all": frame.get("orders_90d", 5.0),
        "active_days_all": 5.0,
        "recency_days": 5.0,
    }
    frame = frame.assign(**{c: v for c, v in given.items() if c not in frame.columns})
    return frame.sort_values("user_id", ignore_index=True)


def publish(lake: Lake, day: dt.date, frame: pd.DataFrame, categories: Sequence[tuple[str, str, float]] = ()) -> None:
    """Profiles and category profiles of a day."""
    kinds = {"str": "VARCHAR", "object": "VARCHAR"}
    schema = {c: kinds.get(str(t), "DOUBLE") for c, t in frame.dtypes.items()}
    lake.publish_frame("user_profiles", day, frame, schema)
    shares = pd.DataFrame(list(categories), columns=["user_id", "category", "share_90d"])
    lake.publish_frame(
        "user_category_profiles",
        day,
        shares,
        {"user_id": "VARCHAR", "category": "VARCHAR", "share_90d": "DOUBLE"},
    )


def publish_verdict(lake: BareLake, day: dt.date, name: str, model_id: str, cause: str, digest: str = "v1") -> None:
    """A drift_report row with what a decision reads of it."""
    bare = type("Bare", (Lake,), {"inputs_of": lambda self, table, day, known=(): {}})(lake.root, lake.start_day)
    row = pd.DataFrame([{"strategy": name, "model_id": model_id, "cause": cause, "verdict_digest": digest}])
    bare.publish_frame("drift_report", day, row, dict.fromkeys(row.columns, "VARCHAR"))
