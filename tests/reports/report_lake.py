"""Small published tables for the report: what the other rooms would have written, in two-line frames."""

import datetime as dt
from decimal import Decimal

import pandas as pd

from seg_assets.drift.verdict import SCHEMA as DRIFT
from seg_assets.evaluation.daily import SCHEMA as EVALUATION
from seg_assets.segments.daily.moves import SCHEMA as MOVES
from seg_assets.segments.daily.summaries import SCHEMA as PROFILES
from tests.evaluation.small_shop import START, bare_lake, fit_champion, profiles, publish_profiles, strategy

NAMES = {"value-001": "Big spenders", "value-002": "Browsers", "value-003": "Small spenders", "value-new": "New"}


def publish_sizes(lake, day, sizes, names=NAMES):
    """One day of segment_profiles of strategy `value`. `sizes`: segment id to users."""
    total = sum(sizes.values())
    rows = [
        {
            **dict.fromkeys(PROFILES),
            "strategy": "value",
            "segment_id": s,
            "kind": "rule" if s == "value-new" else "cluster",
            "name": names[s],
            "users": n,
            "share": n / total,
            "spend_90d": Decimal(n * 10),
            "spend_share_90d": n / total,
            "features": [feature("monetary_90d", 1.4), feature("orders_90d", -0.1), feature("views_90d", -0.6)],
        }
        for s, n in sizes.items()
    ]
    lake.publish_frame("segment_profiles", day, pd.DataFrame(rows), PROFILES)


def publish_day(lake, day, sizes, *, names=NAMES, jaccard=0.9, drifted=False, flows=(), moved=()):
    """One day of the four tables of strategy `value`."""
    publish_sizes(lake, day, sizes, names)
    total = sum(sizes.values())
    numbers = [("value", "", m, v) for m, v in whole(total).items()]
    numbers += [("value", s, "jaccard", jaccard) for s in sizes if s != "value-new"]
    numbers += [("value", old, f"flow_{span}d_to:{new}", n) for span, old, new, n in flows]
    lake.publish_frame("segment_evaluation", day, pd.DataFrame(numbers, columns=list(EVALUATION)), EVALUATION)
    column = {"column": "monetary_28d", "method": "wasserstein", "score": 0.12 if drifted else 0.04, "limit": 0.1}
    column |= {"drifted": drifted, "missing_now": 0.0, "missing_then": 0.0}
    verdict = {
        **dict.fromkeys(DRIFT),
        "strategy": "value",
        "baseline_day": START,
        "flagged": drifted,
        "drifted": drifted,
        "streak": int(drifted),
        "reasons": ["monetary_28d moved by 0.12"] if drifted else [],
        "columns": [column],
    }
    lake.publish_frame("drift_report", day, pd.DataFrame([verdict]), DRIFT)
    rows = [
        {
            **dict.fromkeys(MOVES),
            "strategy": "value",
            "user_id": f"u{n}",
            "kind": "moved",
            "from_segment": old,
            "to_segment": new,
            "cause": cause,
            "contributions": [{"feature": f, "user": 1.0, "model": 0.0}],
        }
        for n, (old, new, cause, f) in enumerate(moved)
    ]
    lake.publish_frame("segment_moves", day, pd.DataFrame(rows, columns=list(MOVES)), MOVES)


def feature(name, z):
    value = {"mean": 3.0, "median": 3.0, "population_mean": 2.0, "population_median": 2.0, "lift": 1.5}
    return {"feature": name, "z": z, **value}


def whole(users):
    return {
        "users": users,
        "coverage": 1.0,
        "silhouette": 0.4,
        "moved_share": 0.02,
        "beats_null": 1.0,
        "null_observed": 0.4,
        "null_copula_mean": 0.3,
        "null_copula_sd": 0.01,
        "flip_back_share": None,
    }


def small_history(root, days=10):
    """A lake with a champion and some days of the tables; the last day drifted."""
    lake, who = bare_lake(root), strategy()
    publish_profiles(lake, START, profiles(120))
    fit_champion(lake, who, START)
    for n in range(days):
        sizes = {"value-001": 30 + n, "value-002": 50, "value-003": 20, "value-new": 5}
        last = n == days - 1
        publish_day(
            lake,
            START + dt.timedelta(days=n),
            sizes,
            drifted=last,
            flows=[
                (1, "value-001", "value-001", 29),
                (1, "value-001", "value-002", 1),
                (7, "value-001", "value-003", 4),
            ],
            moved=[
                ("value-001", "value-002", "user", "monetary_90d"),
                ("value-001", "value-002", "model", "orders_90d"),
                ("value-001", "value-002", "user", "monetary_90d"),
            ],
        )
    return lake, who, START + dt.timedelta(days=days - 1)
