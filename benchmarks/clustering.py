"""What a user writes after the profiles, the same for pandas and polars: scikit-learn, scipy, Evidently, no state.

It fits every day, on everybody; it compares everybody with everybody of the day before.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.shop import DRIFT_LIMIT, FEATURES, SEGMENTS, Place

# What scikit-learn's own example of a silhouette on large data takes.
SILHOUETTE_USERS = 10_000


def features_of(profiles: pd.DataFrame) -> np.ndarray:
    """(n, 16) tamed columns: log(1 + x), null is 0."""
    return np.nan_to_num(known_features_of(profiles))


def known_features_of(profiles: pd.DataFrame) -> np.ndarray:
    """(n, 16) tamed columns, null is NaN: Evidently leaves out what is not known."""
    return np.log1p(profiles[list(FEATURES)].to_numpy(dtype=np.float64, na_value=np.nan).clip(min=0))


def segments(profiles: pd.DataFrame, yesterday: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Fit ten segments, give everybody one; write them, what each is, and who moved. Returns user_id, segment."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    X = StandardScaler().fit_transform(features_of(profiles))
    model = KMeans(n_clusters=SEGMENTS, random_state=0).fit(X)
    distances = model.transform(X)
    nearest = np.sort(distances, axis=1)[:, :2]
    found = pd.DataFrame(
        {
            "user_id": profiles["user_id"].to_numpy(),
            "segment": model.labels_,
            "distance": nearest[:, 0],
            "confidence": 1 - nearest[:, 0] / nearest[:, 1],
        }
    )
    found.to_parquet(out / "segments.parquet", index=False)
    what = profiles[[*FEATURES, "monetary_90d"]].assign(segment=model.labels_).groupby("segment").agg(["mean", "count"])
    what.columns = ["_".join(c) for c in what.columns]
    what.to_parquet(out / "segment_profiles.parquet")
    both = found.merge(yesterday, on="user_id", suffixes=("", "_before"))
    # Yesterday's segments carry other names: each is matched with the one that most of its users are in now.
    table = pd.crosstab(both["segment_id"], both["segment"])
    both["was"] = both["segment_id"].map(table.idxmax(axis=1))
    both[both["was"] != both["segment"]].to_parquet(out / "moves.parquet", index=False)
    return found


def evaluation(profiles: pd.DataFrame, found: pd.DataFrame, out: Path) -> dict[str, float]:
    """Silhouette of a sample, Davies-Bouldin and Calinski-Harabasz of all, sizes."""
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
    from sklearn.preprocessing import StandardScaler

    X, labels = StandardScaler().fit_transform(features_of(profiles)), found["segment"].to_numpy()
    numbers = {
        "silhouette": float(silhouette_score(X, labels, sample_size=min(SILHOUETTE_USERS, len(X)), random_state=0)),
        "davies_bouldin": float(davies_bouldin_score(X, labels)),
        "calinski_harabasz": float(calinski_harabasz_score(X, labels)),
        "largest_share": float(np.bincount(labels).max() / len(labels)),
    }
    (out / "evaluation.json").write_text(json.dumps(numbers))
    return numbers


def drift(profiles: pd.DataFrame, before: pd.DataFrame, out: Path) -> dict[str, float]:
    """Evidently's Wasserstein distance of every feature between the two days, on all users."""
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(numerical_columns=list(FEATURES))
    now, then = (
        Dataset.from_pandas(pd.DataFrame(known_features_of(p), columns=list(FEATURES)), data_definition=definition)
        for p in (profiles, before)
    )
    metrics = [ValueDrift(column=c, method="wasserstein", threshold=DRIFT_LIMIT) for c in FEATURES]
    snapshot = Report(metrics, include_tests=True).run(now, then)
    found = distances_of(snapshot.dict())
    (out / "drift.json").write_text(json.dumps(found))
    return found


def distances_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Column to distance, from Evidently's JSON."""
    return {m["config"]["column"]: float(m["value"]) for m in document["metrics"] if "method" in m["config"]}


def read_before(place: Place) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was saved the day before: the features of its profiles, and who was in which segment."""
    day = place.days[-2]
    profiles = pd.read_parquet(place.table("user_profiles", day), columns=list(FEATURES), partitioning=None)
    return profiles, read_yesterday(place)


def read_yesterday(place: Place) -> pd.DataFrame:
    """Who was in which segment the day before."""
    path = place.table("user_segments", place.days[-2])
    return pd.read_parquet(path, columns=["user_id", "segment_id"], partitioning=None)


def read_profiles(path: Path) -> pd.DataFrame:
    """The columns of the profiles that the later rooms read."""
    return pd.read_parquet(path, columns=["user_id", *FEATURES, "monetary_90d"], partitioning=None)


def room(place: Place, name: str, out: Path) -> dict[str, Any]:
    """One of the rooms after the profiles, from the files that the room before it left."""
    profiles = read_profiles(place.table("user_profiles", place.day))
    if name == "segments":
        return {"rows": len(segments(profiles, read_yesterday(place), out))}
    if name == "drift":
        return {"rows": len(drift(profiles, read_before(place)[0], out))}
    # Evaluation is of our segments, so that its numbers can be compared.
    path = place.table("user_segments", place.day)
    ours = pd.read_parquet(path, columns=["user_id", "segment_id"], partitioning=None)
    both = profiles.merge(ours, on="user_id")
    both["segment"] = pd.factorize(both["segment_id"], sort=True)[0]
    return {"rows": len(evaluation(both, both, out))}
