"""A small made-up shop for the tests of the daily segment tables: a lake without ancestry, two-line publishers."""

import datetime as dt
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.lake.store import Lake
from seg_assets.segments.algorithms.kmeans import KMeansFitted
from seg_assets.segments.decisions.store import Decision, write_decision
from seg_assets.segments.model import Segment, SegmentModel
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import Strategy, parse_strategy


class BareLake(Lake):
    """A lake whose tables need no ancestors, so that a test publishes only what it is about."""

    def inputs_of(self, table: str, day: dt.date, known: Container[str] = ()) -> dict[str, str]:
        return {}


def publish_profiles(lake: Lake, day: dt.date, frame: pd.DataFrame) -> None:
    kinds = {"str": "VARCHAR", "object": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN"}
    lake.publish_frame("user_profiles", day, frame, {c: kinds[str(t)] for c, t in frame.dtypes.items()})


def publish_segments(lake: Lake, day: dt.date, strategy: str, segment_of: Mapping[str, str]) -> None:
    frame = pd.DataFrame({"user_id": list(segment_of), "segment_id": list(segment_of.values())})
    frame.insert(0, "strategy", strategy)
    lake.publish_frame(
        "user_segments", day, frame, {"strategy": "VARCHAR", "user_id": "VARCHAR", "segment_id": "VARCHAR"}
    )


DAY = dt.date(2024, 3, 1)
FEATURES = ("orders_90d", "monetary_90d", "active_days_90d")


def make_strategy(features: Sequence[str | dict] = FEATURES, name: str = "v", **keys: Any) -> Strategy:
    """A strategy on features, by name with log1p or as in YAML; `keys` as in YAML."""
    asked = [f if isinstance(f, dict) else {"column": f, "transform": "log1p"} for f in features]
    return parse_strategy({"name": name, "title": name, "features": asked, **keys})


def make_frame(users: Sequence[str], seed: int = 0, features: Sequence[str] = FEATURES) -> pd.DataFrame:
    """Features of users that no rule catches."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"user_id": pd.array(sorted(users), dtype="str")})
    for feature in features:
        frame[feature] = np.round(rng.lognormal(1.5, 1.0, len(frame)), 2)
    return frame.assign(
        tenure_days=200.0,
        recency_days=5.0,
        inactive_days=3.0,
        is_suspected_bot=0.0,
        orders_all=9.0,
        active_days_all=9.0,
    )


def make_model(
    frame: pd.DataFrame, strategy: Strategy, ids: Sequence[str], seed: int = 0, radius: float | None = None
) -> SegmentModel:
    """A model whose prototypes are users of `frame`."""
    space = FeatureSpace.fit(frame, strategy)
    X = space.transform(frame)
    C = X[np.random.default_rng(seed).choice(len(X), len(ids), replace=False)]
    fitted = KMeansFitted.of(C, None if radius is None else np.full(len(C), radius))
    return SegmentModel(strategy.name, DAY, space, fitted, tuple(Segment(i, f"Name of {i}", 1, 0.1) for i in ids))


def publish_day(lake: Lake, day: dt.date, frame: pd.DataFrame, categories: pd.DataFrame | None = None) -> None:
    """Profiles of a day in a lake that checks ancestry: what comes before them is there, and empty."""
    for table, key in (
        ("raw_events", "event_time"),
        ("raw_users", "user_id"),
        ("raw_products", "product_id"),
        ("user_daily_activity", "actor_id"),
        ("user_category_activity", "actor_id"),
        ("identity_links", "anonymous_id"),
        ("user_lifetime", "actor_id"),
    ):
        columns = {key: "VARCHAR", "event_id": "VARCHAR", "category": "VARCHAR"}
        lake.publish_frame(table, day, pd.DataFrame(columns=list(columns)), columns)
    columns = {"user_id": "VARCHAR", "category": "VARCHAR", "share_90d": "DOUBLE"}
    found = pd.DataFrame(columns=list(columns)) if categories is None else categories
    lake.publish_frame("user_category_profiles", day, found, columns)
    publish_profiles(lake, day, frame)


def promote(lake: Lake, day: dt.date, model: SegmentModel, lineage: Sequence[Mapping[str, Any]] = ()) -> None:
    """Make a model champion from `day` on."""
    document = model.to_document()
    decision = Decision(model.strategy, day, "bootstrap", document, True, "test", lineage=list(lineage))
    write_decision(lake, decision)
