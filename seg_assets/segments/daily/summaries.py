"""Describe the segments of a day: size, spend, and what sets each apart. Clusters and rule segments alike.

Frames in, a frame out. Money is summed in whole cents; means are sums in user order, on one thread, so that a day comes
out the same whatever the machine. Everyone known on the day counts as "all users", bots and dormant users too.

Not here: which segment a user is in (`segments.daily.assign`), the names (`segments.fitting.naming`), and reading and
publishing a day (`segments.daily.publish`).
"""

import itertools
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa

from seg_assets.core.numerics import FLAT
from seg_assets.core.tables import TABLES
from seg_assets.segments.algorithms.prototypes import by_columns
from seg_assets.segments.daily.assign import CLUSTER, RULE, index_in, texts
from seg_assets.segments.fitting import naming
from seg_assets.segments.fitting.surrogate import Rule, surrogate_rules
from seg_assets.segments.model import SegmentModel, segment_names
from seg_assets.segments.rules import deciding_columns
from seg_assets.segments.space import numbers_of, text_of
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy

TABLE = "segment_profiles"
SPEND_WINDOWS = ("7d", "28d", "90d", "all")
# Profile columns beside the strategy's own that a summary reads.
EXTRA = tuple(f"monetary_{w}" for w in SPEND_WINDOWS)
# People read a story of three statements, and no longer one.
STORY = 3

SCHEMA = TABLES[TABLE].types


@dataclass(frozen=True)
class Column:
    """One thing a summary describes: numbers (n,) in the shop's unit, coordinates (n,) in model space."""

    name: str
    numbers: np.ndarray
    coordinates: np.ndarray


def profile_day(
    strategy: Strategy,
    frame: pd.DataFrame,
    assigned: pd.DataFrame,
    champion: SegmentModel | None,
) -> pd.DataFrame:
    """Return one row per segment, by segment_id, with the columns of SCHEMA.

    Args:
        strategy: for names of rules and, without a champion, the features.
        frame: features of the day with EXTRA, one row per user.
        assigned: the strategy's rows in user_segments of the day, same users in the same order.
        champion: model of the day, which knows which of its segments are to be trusted.
    """
    if not frame["user_id"].reset_index(drop=True).equals(assigned["user_id"].reset_index(drop=True)):
        raise ValueError(f"{strategy.name}: the frame and user_segments do not hold the same users in the same order")
    names = segment_names(strategy, champion)
    trusted = champion.trusted if champion else {}
    clusters = set(champion.segment_ids) if champion else set()
    present = set(assigned["segment_id"].unique()) | clusters
    ids = sorted(present)
    codes = index_in(texts(assigned["segment_id"]), pa.array(ids, pa.large_string()))
    order = np.argsort(codes, kind="stable")
    users = np.bincount(codes, minlength=len(ids))
    bounds = np.concatenate([[0], np.cumsum(users)])
    members = [order[bounds[j] : bounds[j + 1]] for j in range(len(ids))]
    columns = described_columns(strategy, frame, champion)
    described = [_describe(c, order, bounds) for c in columns]
    spend = {w: _cents(frame[f"monetary_{w}"], members) for w in SPEND_WINDOWS}
    total = sum(spend["90d"])
    rules, fidelity = rules_by_segment(strategy, frame, assigned, champion)
    confidence = assigned["confidence"].to_numpy(float)
    held = assigned["proposed_segment_id"].notna().to_numpy()
    rows = []
    for j, segment in enumerate(ids):
        features = [d[j] for d in described]
        rule = rules.get(segment)
        cluster = segment in clusters
        rows.append(
            {
                "strategy": strategy.name,
                "segment_id": segment,
                "kind": CLUSTER if cluster else RULE,
                "name": names.get(segment, segment),
                "users": int(users[j]),
                "share": users[j] / len(frame) if len(frame) else 0.0,
                "trusted": trusted.get(segment),
                "model_id": champion.model_id if champion and cluster else None,
                "confidence_mean": float(confidence[members[j]].sum() / users[j]) if users[j] else None,
                "held_users": int(held[members[j]].sum()),
                **{f"spend_{w}": Decimal(spend[w][j]).scaleb(-2) for w in SPEND_WINDOWS},
                "spend_share_90d": spend["90d"][j] / total if total > 0 else None,
                "features": features,
                "story": story(features) if users[j] else "Nobody is in it today.",
                "rule": rule.text if rule else None,
                "rule_precision": rule.precision if rule else None,
                "rule_recall": rule.recall if rule else None,
                "rules_fidelity": fidelity,
            }
        )
    return _frame(rows)


def rules_by_segment(
    strategy: Strategy, frame: pd.DataFrame, assigned: pd.DataFrame, champion: SegmentModel | None
) -> tuple[dict[str, Rule], float | None]:
    """Return surrogate rules by segment and their fidelity; none without a champion."""
    if champion is None or assigned["segment_id"].nunique() < 2:
        return {}, None
    levels: dict[str, list[str]] = {}
    for axis in champion.space.axes:
        if axis.level is not None:
            levels.setdefault(axis.column, []).append(axis.level)
    rules, fidelity = surrogate_rules(
        readable_columns(strategy, frame, champion), assigned["segment_id"], levels=levels
    )
    return {r.segment_id: r for r in rules}, fidelity


def readable_columns(strategy: Strategy, frame: pd.DataFrame, champion: SegmentModel) -> pd.DataFrame:
    """Return the columns that rules may speak of: the champion's own, and those that decide the rule segments."""
    wanted = dict.fromkeys([*champion.space.sources, *deciding_columns(strategy)])
    return frame[[c for c in wanted if c in frame.columns]]


def described_columns(strategy: Strategy, frame: pd.DataFrame, champion: SegmentModel | None) -> list[Column]:
    """Return the champion's model-space columns; without a champion the strategy's columns, on their own scale."""
    columns = []
    if champion is not None:
        X = by_columns(champion.space.transform(frame))
        for j, axis in enumerate(champion.space.axes):
            if axis.column not in frame.columns:
                continue
            column = frame[axis.column]
            values = numbers_of(column, np.nan) if axis.level is None else (text_of(column) == axis.level).astype(float)
            columns.append(Column(axis.name, values, X[j]))
        return columns
    plain = [f.column for f in strategy.features if f.column and not f.one_hot]
    shares = [c for c in frame.columns if c.startswith(CATEGORY_PREFIX)]
    for name in [*plain, *shares]:
        if name in frame.columns:
            values = numbers_of(frame[name], np.nan)
            columns.append(Column(name, values, np.where(np.isfinite(values), values, 0.0)))
    return columns


def story(features: list[dict]) -> str:
    """Say the strongest differences from all users, in words and numbers."""
    z = {f["feature"]: f["z"] for f in features if f["z"] is not None}
    by_name = {f["feature"]: f for f in features}
    statements = []
    for phrase in naming.phrases(z)[:STORY]:
        statements.append(_statement(phrase, by_name[phrase.column]))
    return "; ".join(statements) + "." if statements else "Close to the average of all users in everything."


def _statement(phrase: naming.Phrase, feature: dict) -> str:
    name, mean, everyone = feature["feature"], feature["mean"], feature["population_mean"]
    words = (phrase.adjective or phrase.noun or name).replace("\n", " ")
    if mean is None or everyone is None:
        return words
    if "=" in name or name.startswith(CATEGORY_PREFIX) or "share" in name or "rate" in name:
        return f"{words} ({naming.words_of(name)} {mean:.0%}, all users {everyone:.0%})"
    ratio = f", {feature['lift']:.1f}x" if feature["lift"] is not None and feature["lift"] >= 0 else ""
    return f"{words} ({name.replace('_', ' ')} {mean:,.4g}, all users {everyone:,.4g}{ratio})"


def _describe(column: Column, order: np.ndarray, bounds: np.ndarray) -> list[dict]:
    """Return one entry per segment; the users of segment j are `order[bounds[j]:bounds[j + 1]]`."""
    everyone = _known(column.numbers)
    population_mean = _mean(everyone)
    population_median = float(np.median(everyone)) if len(everyone) else None
    # Purchases and refunds that cancel out leave rounding, and no ratio to it.
    of_all = population_mean
    if of_all is None or abs(of_all) <= FLAT * float(np.abs(everyone).max()):
        of_all = None
    x = column.coordinates
    center = x.sum() / len(x) if len(x) else 0.0
    spread = float(np.sqrt(((x - center) ** 2).sum() / len(x))) if len(x) else 0.0
    numbers, coordinates = column.numbers[order], x[order]
    entries = []
    for low, high in itertools.pairwise(bounds):
        mine = _known(numbers[low:high])
        mean = _mean(mine)
        z = (coordinates[low:high].sum() / (high - low) - center) / spread if high > low and spread > 1e-12 else None
        entries.append(
            {
                "feature": column.name,
                "mean": mean,
                "median": float(np.median(mine)) if len(mine) else None,
                "population_mean": population_mean,
                "population_median": population_median,
                "z": None if z is None else float(z),
                "lift": mean / of_all if mean is not None and of_all is not None else None,
            }
        )
    return entries


def _known(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return values if known.all() else values[known]


def _mean(values: np.ndarray) -> float | None:
    return float(values.sum() / len(values)) if len(values) else None


def _cents(series: pd.Series, members: list[np.ndarray]) -> list[int]:
    cents = np.rint(numbers_of(series, 0.0) * 100)
    # Python integers where 64 bits might not hold the sum.
    if len(cents) and np.abs(cents).max() * len(cents) > 2**62:
        whole = [int(c) for c in cents]
        return [sum(whole[i] for i in rows) for rows in members]
    exact = cents.astype(np.int64)
    return [int(exact[rows].sum()) for rows in members]


def _frame(rows: list[dict]) -> pd.DataFrame:
    struct = pa.struct(
        [
            ("feature", pa.string()),
            *((n, pa.float64()) for n in ("mean", "median", "population_mean", "population_median", "z", "lift")),
        ]
    )
    frame = pd.DataFrame(rows, columns=list(SCHEMA))
    frame["features"] = pd.Series(
        pa.array([r["features"] for r in rows], pa.list_(struct)), dtype=pd.ArrowDtype(pa.list_(struct))
    )
    frame["trusted"] = frame["trusted"].astype("boolean")
    for column in ("confidence_mean", "spend_share_90d", "rule_precision", "rule_recall", "rules_fidelity"):
        frame[column] = frame[column].astype(float)
    return frame
