"""A small made-up shop with a lake, a champion and some days of segments: what evaluation and reports are tested on."""

import datetime as dt
from collections.abc import Container
from pathlib import Path

import numpy as np
import pandas as pd

from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.daily.assign import SCHEMA as SEGMENTS_SCHEMA
from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.decisions.store import Decision, champion_as_of, write_decision
from seg_assets.segments.features import load_features
from seg_assets.segments.model import Segment, SegmentModel, as_stored
from seg_assets.segments.rules import clustered_mask
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import Strategy, parse_strategy

START = dt.date(2024, 1, 1)
PROFILES = {
    "user_id": "VARCHAR",
    "tenure_days": "INTEGER",
    "recency_days": "INTEGER",
    "inactive_days": "INTEGER",
    "is_suspected_bot": "BOOLEAN",
    "orders_all": "BIGINT",
    "active_days_all": "BIGINT",
    "monetary_90d": "DOUBLE",
    "orders_90d": "BIGINT",
    "views_90d": "BIGINT",
}


class BareLake(Lake):
    """A lake whose tables need no ancestors, so that a test publishes only what it is about."""

    def inputs_of(self, table: str, day: dt.date, known: Container[str] = ()) -> dict[str, str]:
        return {}


def bare_lake(root: Path) -> BareLake:
    return BareLake(root, START, threads=1)


def strategy(**over) -> Strategy:
    values = {
        "name": "value",
        "title": "Customer value",
        "features": [
            {"column": "monetary_90d", "transform": "signed_log1p"},
            {"column": "orders_90d", "transform": "log1p"},
            {"column": "views_90d", "transform": "log1p"},
        ],
        "k": {"min": 3, "max": 3},
    }
    return parse_strategy({**values, **over})


def profiles(users: int = 300, seed: int = 0, *, grouped: bool = True, shift: float = 0.0) -> pd.DataFrame:
    """Three planted groups (by user number), or none; the last 5 % of the users are dormant."""
    rng = np.random.default_rng(seed)
    group = np.arange(users) % 3 if grouped else np.zeros(users, int)
    centre = np.array([[2.0, 0.5, 1.0], [4.5, 1.6, 3.5], [6.5, 2.9, 2.0]])
    X = np.expm1(centre[group] + shift + 0.25 * rng.standard_normal((users, 3)))
    return pd.DataFrame(
        {
            "user_id": [f"u{n:05d}" for n in range(users)],
            "tenure_days": 20,
            "recency_days": rng.integers(0, 60, users),
            "inactive_days": np.where(np.arange(users) >= 0.95 * users, 120, 3),
            "is_suspected_bot": False,
            "orders_all": 10,
            "active_days_all": 20,
            "monetary_90d": np.round(X[:, 0], 2),
            "orders_90d": np.maximum(np.rint(X[:, 1]), 0),
            "views_90d": np.maximum(np.rint(X[:, 2]), 0),
        }
    )


def publish_profiles(lake: Lake, day: dt.date, frame: pd.DataFrame) -> None:
    lake.publish_frame("user_profiles", day, frame, PROFILES)


def fit_champion(lake: Lake, who: Strategy, day: dt.date, k: int = 3, cause: str = "bootstrap") -> SegmentModel:
    frame = load_features(lake, who, day)
    frame = frame[clustered_mask(who, frame)].reset_index(drop=True)
    space = FeatureSpace.fit(frame, who)
    fitted = algorithms.fit(who.algorithm, space.transform(frame), k, seed=0)
    labels = fitted.scores(space.transform(frame)).argmin(axis=1)
    segments = tuple(
        Segment(
            f"{who.name}-{n + 1:03d}",
            f"Group {n + 1}",
            int((labels == n).sum()),
            float((labels == n).mean()),
            {"monetary_90d": float(frame.loc[labels == n, "monetary_90d"].mean())},
        )
        for n in range(fitted.n_clusters)
    )
    model = as_stored(SegmentModel(who.name, day, space, fitted, segments))
    lineage = [{"event": "birth", "segment_id": s.id} for s in segments]
    write_decision(lake, Decision(who.name, day, cause, model.to_document(), True, "the first model", lineage=lineage))
    return model


def publish_segments(lake: Lake, who: Strategy, day: dt.date) -> pd.DataFrame:
    champion = champion_as_of(lake, who.name, day)
    yesterday = day - dt.timedelta(days=1)
    before = (
        lake.read("user_segments", yesterday, where=f"strategy = '{who.name}'")
        if lake.has("user_segments", yesterday)
        else None
    )
    model = champion.segment_model() if champion else None
    frame = load_features(lake, who, day, categories=model.space.categories if model else None)
    found = assign_day(who, frame, model, before, day)
    lake.publish_frame("user_segments", day, found, SEGMENTS_SCHEMA)
    return found


def shop(
    root: Path, days: int = 9, fit_on: int = 2, users: int = 300, **over
) -> tuple[BareLake, Strategy, list[dt.date]]:
    """Days with profiles and segments; the champion is fitted on day number `fit_on`."""
    lake, who = bare_lake(root), strategy(**over)
    every = [START + dt.timedelta(days=n) for n in range(days)]
    for n, day in enumerate(every):
        publish_profiles(lake, day, profiles(users, seed=n))
        if n == fit_on:
            fit_champion(lake, who, day)
        publish_segments(lake, who, day)
    return lake, who, every
