"""Whether the subjects say the same: events and profiles column by column, labels, indices, distances.

Whole numbers, dates, texts and money are equal exactly; other fractions to RELATIVE. Two fits by different recipes
are never equal user by user, so of fits this is checked: our model, applied by plain numpy to the other's profiles,
gives the other's users our segments; and ours explains as much as theirs.
"""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.shop import DRIFT_LIMIT, FEATURES, STRATEGY, Place

RELATIVE = 1e-9
# An evaluation is stored with nine significant digits: half a unit of the last one, of numbers that begin with a 1.
STORED = 5e-9
# Users of the two fits are this close in what the segments explain; more is better.
INERTIA = 1.01
# Our distances come from 2,000 quantiles, theirs from all users.
DISTANCE = 0.005
EVENT_COLUMNS = (
    "event_id", "user_id", "anonymous_id", "event_time", "event_type", "product_id", "category", "order_id",
    "amount", "discount", "session_id", "channel", "device",
)  # fmt: skip


def subject(place: Place, name: str) -> dict[str, Any]:
    """Findings about one subject: room to the list of what is not equal."""
    out = {room: place.out(name, room) for room in ("events", "profiles", "segments", "evaluation", "drift")}
    whole = place.out(name, "whole_day")
    if name == "floor":
        profile_files = [f / "profiles" / "user_profiles.parquet" for f in (out["profiles"].parent, whole)]
        fits, drifts = [out["segments"], whole / "segments"], [out["drift"], whole / "drift"]
    else:
        profile_files = [out["profiles"] / "profiles.parquet", whole / "profiles.parquet"]
        fits, drifts = [out["segments"], whole], [out["drift"], whole]
    profiles = [finding for file in profile_files for finding in same_profiles(place, file)]
    found = {
        "events": same_events(place, out["events"] / "events.parquet"),
        "profiles": profiles,
        "segments": [f for file in profile_files for f in same_labels(place, file)],
        "evaluation": same_indices(place, out["evaluation"] / "evaluation.json"),
        "drift": [f for folder in drifts for f in same_drift(place, folder / "drift.json")],
    }
    ratios = [inertia_ratio(place, folder / "segments.parquet") for folder in fits]
    found["segments"] += [f"ours leaves {r:.4f} times the inertia" for r in ratios if r > INERTIA]
    return {"differences": found, "inertia_ours_to_theirs": round(max(ratios), 4)}


def connect() -> Any:
    """A DuckDB."""
    import duckdb

    con = duckdb.connect()
    con.execute("set threads = 2; set memory_limit = '8GB'; set enable_progress_bar = false")
    return con


def scan(path: Path) -> str:
    """SQL that reads one file."""
    return f"read_parquet('{path}', hive_partitioning = false)"


def same_events(place: Place, path: Path) -> list[str]:
    """Rows that one of the two has and the other has not."""
    con = connect()
    kinds = {"event_time": "timestamp", "amount": "decimal(18, 2)", "discount": "decimal(18, 2)"}
    columns = ", ".join(f"{c}::{kinds.get(c, 'varchar')} as {c}" for c in EVENT_COLUMNS)
    ours, theirs = (f"(select {columns} from {scan(p)})" for p in (place.table("raw_events", place.day), path))
    counts = [
        con.execute(f"select count(*) from (select * from {a} x except all select * from {b} y)").fetchone()[0]
        for a, b in ((ours, theirs), (theirs, ours))
    ]
    return [f"{n} events only in {where}" for n, where in zip(counts, ("ours", "theirs"), strict=True) if n]


def same_profiles(place: Place, path: Path) -> list[str]:
    """Columns of user_profiles with the number of users for whom they differ."""
    con = connect()
    ours = scan(place.table("user_profiles", place.day))
    con.execute(f"create table a as select * from {ours}; create table b as select * from {scan(path)}")
    missing = con.execute(
        "select count(*) filter (where b.user_id is null), count(*) filter (where a.user_id is null) "
        "from a full join b using (user_id)"
    ).fetchone()
    found = [f"{n} users only in {where}" for n, where in zip(missing, ("ours", "theirs"), strict=True) if n]
    columns = con.execute("describe a").fetchall()
    there = {row[0] for row in con.execute("describe b").fetchall()}
    tests = {}
    for column, kind, *_ in columns:
        if column == "user_id":
            continue
        if column not in there:
            found.append(f"{column}: not there")
        elif kind == "DOUBLE":
            # pandas writes NaN where there is nothing.
            x, y = f"a.{column}", f"nullif(b.{column}::double, 'nan'::double)"
            near = f"abs({x} - {y}) <= {RELATIVE} * greatest(1.0, abs({x}))"
            tests[column] = f"not coalesce({near}, ({x} is null) = ({y} is null))"
        else:
            value = f"b.{column}"
            if kind in ("BIGINT", "INTEGER", "HUGEINT"):
                value = f"nullif(b.{column}::double, 'nan'::double)::{kind}"
            tests[column] = f"a.{column} is distinct from {value}::{kind}"
    counts = ", ".join(f'count(*) filter (where {test}) as "{column}"' for column, test in tests.items())
    differing = con.execute(f"select {counts} from a join b using (user_id)").fetchone()
    found += [f"{column}: {n} users" for column, n in zip(tests, differing, strict=True) if n]
    return found


def champion(place: Place) -> Any:
    """Our model as of the day."""
    from benchmarks.ours import place_lake
    from seg_assets.segments.decisions.store import champion_as_of

    found = champion_as_of(place_lake(), STRATEGY, place.day)
    if found is None:
        raise RuntimeError(f"no champion on {place.day}: the whole day was not measured")
    return found.segment_model()


def in_model_space(frame: Any, model: Any) -> Any:
    """(n, d) features tamed, centred and scaled as the model's JSON says, by plain numpy."""
    import numpy as np

    axes = model.to_dict()["space"]["axes"] if hasattr(model, "to_dict") else model.space.to_dict()["axes"]
    columns = []
    for axis in axes:
        raw = frame[axis["column"]].fillna(axis["fill"]).to_numpy(dtype=float)
        columns.append((np.log1p(np.maximum(raw, 0)) - axis["center"]) / axis["scale"])
    return np.column_stack(columns)


def same_labels(place: Place, path: Path) -> list[str]:
    """Users whom our model, applied to the other's profiles, gives another segment than ours did."""
    import numpy as np
    import pandas as pd

    model = champion(place)
    frame = pd.read_parquet(path, columns=["user_id", *FEATURES], partitioning=None)
    X, centers = in_model_space(frame, model), np.asarray(model.fitted.centroids)
    distances = ((X[:, None, :] - centers[None]) ** 2).sum(axis=2) if len(X) < 50_000 else _blocks(X, centers)
    labels = np.asarray(model.segment_ids, dtype=object)[distances.argmin(axis=1)]
    ours = read_segments(place)
    both = frame[["user_id"]].assign(theirs=labels).merge(ours, on="user_id", how="outer")
    # Two centres as near as a rounding: either is right.
    two = np.partition(distances, 1, axis=1)[:, :2]
    tied = set(frame["user_id"][np.abs(two[:, 0] - two[:, 1]) <= 1e-9])
    differ = both[(both["theirs"] != both["segment_id"]) & ~both["user_id"].isin(tied)]
    return [f"{len(differ)} users in another segment"] if len(differ) else []


def _blocks(X: Any, centers: Any) -> Any:
    import numpy as np

    return np.concatenate(
        [((X[i : i + 50_000, None, :] - centers[None]) ** 2).sum(axis=2) for i in range(0, len(X), 50_000)]
    )


def read_segments(place: Place) -> Any:
    """Our segments of the day."""
    import pandas as pd

    path = place.table("user_segments", place.day)
    return pd.read_parquet(path, columns=["user_id", "segment_id"], partitioning=None)


def inertia_ratio(place: Place, path: Path) -> float:
    """Squared distance to the mean of one's segment, ours by theirs, in our model's space."""
    import numpy as np
    import pandas as pd

    profiles = pd.read_parquet(
        place.table("user_profiles", place.day), columns=["user_id", *FEATURES], partitioning=None
    )
    theirs = pd.read_parquet(path, columns=["user_id", "segment"], partitioning=None)
    frame = profiles.merge(read_segments(place), on="user_id").merge(theirs, on="user_id")
    X = in_model_space(frame, champion(place))
    inertias = []
    for column in ("segment_id", "segment"):
        codes = pd.factorize(frame[column])[0]
        sizes = np.bincount(codes)[:, None]
        means = np.stack([np.bincount(codes, weights=X[:, j]) for j in range(X.shape[1])], axis=1) / sizes
        inertias.append(float(((X - means[codes]) ** 2).sum()))
    return inertias[0] / inertias[1]


def same_indices(place: Place, path: Path) -> list[str]:
    """Davies-Bouldin and Calinski-Harabasz of our segments, by scikit-learn, beside what ours published.

    The silhouette is of another sample, so it is compared with four of its standard errors.
    """
    con = connect()
    rows = con.execute(
        f"select metric, value from {scan(place.table('segment_evaluation', place.day))} where segment_id = ''"
    ).fetchall()
    ours, theirs = dict(rows), json.loads(path.read_text())
    found = []
    for metric in ("davies_bouldin", "calinski_harabasz", "largest_share"):
        # Model space is settled to 12 digits when it is published; scikit-learn scales by all users, ours by a sample.
        exact = metric == "largest_share"
        if not exact and len(champion(place).space.axes) < len(FEATURES):
            continue  # ours leaves out a column that repeats another, so the two spaces differ
        if differs(ours[metric], theirs[metric], STORED if exact else 0.02):
            found.append(f"{metric}: ours {ours[metric]:.6g}, theirs {theirs[metric]:.6g}")
    found += exact_indices(place, ours)
    error = max(4 * (ours["silhouette_sd"] or 0), 0.02)
    if abs(ours["silhouette"] - theirs["silhouette"]) > error:
        found.append(f"silhouette: ours {ours['silhouette']:.4f}, theirs {theirs['silhouette']:.4f}")
    return found


def differs(ours: float, theirs: float, tolerance: float) -> bool:
    """Whether two numbers are further apart than this share of the greater one; a number beside a null is."""
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) != math.isnan(theirs)
    return abs(ours - theirs) > tolerance * max(abs(ours), abs(theirs))


def exact_indices(place: Place, ours: dict[str, float]) -> list[str]:
    """Our two indices beside scikit-learn's on the same labels and the same space."""
    import pandas as pd
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    profiles = pd.read_parquet(
        place.table("user_profiles", place.day), columns=["user_id", *FEATURES], partitioning=None
    )
    frame = profiles.merge(read_segments(place), on="user_id")
    X, labels = in_model_space(frame, champion(place)), pd.factorize(frame["segment_id"])[0]
    theirs = {
        "davies_bouldin": davies_bouldin_score(X, labels),
        "calinski_harabasz": calinski_harabasz_score(X, labels),
    }
    return [
        f"{metric} in our space: ours {ours[metric]!r}, scikit-learn {value!r}"
        for metric, value in theirs.items()
        if differs(ours[metric], value, 1e-6)
    ]


def same_drift(place: Place, path: Path) -> list[str]:
    """Features whose distance or verdict differs."""
    con = connect()
    columns = con.execute(f"select columns from {scan(place.table('drift_report', place.day))}").fetchone()[0]
    ours = {c["column"]: c["score"] for c in columns}
    theirs = json.loads(path.read_text())
    found = [f"{c}: not compared" for c in FEATURES if ours.get(c) is None and theirs.get(c, 0) >= DRIFT_LIMIT]
    for column in FEATURES:
        mine, other = ours.get(column), theirs[column]
        if mine is None:
            continue
        if abs(mine - other) > DISTANCE or (mine >= DRIFT_LIMIT) != (other >= DRIFT_LIMIT):
            found.append(f"{column}: ours {mine:.4f}, theirs {other:.4f}")
    return found
