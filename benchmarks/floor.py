"""The floor: the same day by hand. The same SQL in one DuckDB, numpy and scikit-learn after it, no dbt, no Dagster.

It keeps what ours keeps between days (it reads our tables of the day before), and leaves out all that makes a day
safe to have: contracts, tests, hashes, provenance, sorted rows, atomic replacement, rejected lines, explanations.
"""

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.shop import FEATURES, SEED, SEGMENTS, START, Place

SUBJECT = "floor"
FIT_USERS = 20_000
LLOYD_STEPS = 3
SILHOUETTE_USERS = 5_000
QUANTILES = 2_000
# The order in which dbt builds them.
PROFILES = (
    "user_daily_activity", "user_category_activity", "identity_links", "user_lifetime", "user_category_profiles",
    "user_profiles",
)  # fmt: skip
WINDOW = {"user_profiles": "user_daily_activity", "user_category_profiles": "user_category_activity"}
YESTERDAY = ("identity_links", "user_lifetime")
# Tables that take over yesterday's rows: days ago whose activity entered or left a window, by table of activity.
EDGES = {
    "user_profiles": {"user_daily_activity": (7, 28, 90), "user_category_activity": (90,)},
    "user_category_profiles": {"user_category_activity": (90,)},
}


def connect(place: Place) -> Any:
    """A DuckDB with our settings."""
    import duckdb

    con = duckdb.connect()
    con.execute("set threads = 2; set memory_limit = '8GB'; set timezone = 'UTC'; set enable_progress_bar = false")
    con.execute(f"set temp_directory = '{Path(place.home) / 'spill'}'")
    con.execute(f"set variable as_of = date '{place.day}'; set variable day_number = {(place.day - START).days}")
    return con


def files(paths: Iterable[Path]) -> str:
    """SQL that reads these files of the lake, with their day."""
    listed = ", ".join(f"'{p}'" for p in paths)
    return f"read_parquet([{listed}], hive_partitioning = true, hive_types = {{'day': date}})"


def events(place: Place, con: Any = None, who: str = SUBJECT) -> dict[str, Any]:
    """The landing file of the last day, cleaned and written."""
    con = con or connect(place)
    target = place.out(who, "events") / "events.parquet"
    con.execute(
        f"""copy (
            select distinct on (event_id) * replace (try_cast(event_time as timestamptz)::timestamp as event_time)
            from read_parquet('{place.events(place.day)}')
            where try_cast(event_time as timestamptz) is not null and coalesce(user_id, anonymous_id) is not null
        ) to '{target}' (format parquet, compression zstd)"""
    )
    return {"rows": con.execute(f"select count(*) from '{target}'").fetchone()[0]}


def profiles(place: Place, con: Any = None, raw: Path | None = None, who: str = SUBJECT) -> dict[str, Any]:
    """The six profile tables of the last day, by the SQL that dbt compiles, each written to a file."""
    con = con or connect(place)
    out = place.out(who, "profiles")
    day, before = place.day, place.days[-2]
    con.execute(f"create temp view raw_events as select * from read_parquet('{raw or place.table('raw_events', day)}')")
    for table in ("raw_users", "raw_products"):
        con.execute(f"create temp view {table} as select * from read_parquet('{place.table(table, day)}')")
    for table in YESTERDAY:
        con.execute(f"create temp view yesterday_{table} as select * from read_parquet('{place.table(table, before)}')")
    for table in PROFILES:
        inside = WINDOW.get(table)
        if inside:
            # The window is 90 days: 89 files of the lake and the table that was just made.
            past = files(place.table(inside, d) for d in place.days[-90:-1])
            con.execute(f"alter table {inside} rename to {inside}_today")
            con.execute(
                f"create temp view {inside} as select * from {past} "
                f"union all by name select *, date '{day}' as day from {inside}_today"
            )
        if table in EDGES:
            edges = [f"select actor_id from {source}_today" for source in EDGES[table]]
            for source, ages in EDGES[table].items():
                gone = [day - dt.timedelta(days=age) for age in ages if day - dt.timedelta(days=age) >= START]
                edges += [f"select actor_id from {files(place.table(source, d) for d in gone)}"] if gone else []
            con.execute(f"create or replace temp view carry_edge_actors as {' union all '.join(edges)}")
            kept = f"read_parquet('{place.table(table, before)}', hive_partitioning = false)"
            con.execute(f"create temp view carry_{table} as select * from {kept}")
        sql = (Path(place.home) / "sql" / f"{table}.sql").read_text()
        con.execute(f"create temp table {table} as {sql}")
        con.execute(f"copy {table} to '{out / f'{table}.parquet'}' (format parquet, compression zstd)")
    return {"rows": con.execute("select count(*) from user_profiles").fetchone()[0]}


def features(con: Any, source: str) -> tuple[Any, Any]:
    """(user ids, (n, 16) tamed and scaled columns) of a table or file."""
    import numpy as np

    columns = ", ".join(f"ln(1 + greatest(coalesce({c}, 0), 0))::double as {c}" for c in FEATURES)
    found = con.execute(f"select user_id, {columns} from {source}").to_arrow_table()
    X = np.column_stack([found[c].to_numpy() for c in FEATURES])
    return found["user_id"], (X - X.mean(axis=0)) / X.std(axis=0)


def segments(place: Place, con: Any = None, source: str = "", who: str = SUBJECT) -> dict[str, Any]:
    """Ten starts on a sample, three steps over all, everybody to the nearest; what each segment is; who moved."""
    import numpy as np
    import pyarrow as pa
    from sklearn.cluster import KMeans

    con = con or connect(place)
    out = place.out(who, "segments")
    source = source or f"'{place.table('user_profiles', place.day)}'"
    users, X = features(con, source)
    rows = np.random.default_rng(SEED).permutation(len(X))[:FIT_USERS]
    centers = KMeans(n_clusters=SEGMENTS, n_init=10, random_state=SEED).fit(X[rows]).cluster_centers_
    squares = np.einsum("ij,ij->i", X, X)[:, None]
    for step in range(LLOYD_STEPS + 1):
        distances = squares - 2 * X @ centers.T + np.einsum("ij,ij->i", centers, centers)
        labels = distances.argmin(axis=1)
        if step < LLOYD_STEPS:
            centers = np.stack([X[labels == j].mean(axis=0) for j in range(SEGMENTS)])
    two = np.sqrt(np.maximum(np.partition(distances, 1, axis=1)[:, :2], 0))
    con.register(
        "labelled",
        pa.table({"user_id": users, "segment": labels, "distance": two[:, 0], "confidence": 1 - two[:, 0] / two[:, 1]}),
    )
    con.execute(f"copy labelled to '{out / 'segments.parquet'}' (format parquet, compression zstd)")
    means = ", ".join(f"avg({c}) as {c}" for c in (*FEATURES, "monetary_90d"))
    con.execute(
        f"copy (select segment, count(*) as users, {means} from labelled join {source} using (user_id) group by all) "
        f"to '{out / 'segment_profiles.parquet'}' (format parquet)"
    )
    before = f"'{place.table('user_segments', place.days[-2])}'"
    con.execute(
        f"""copy (
            with both_days as (select * from labelled join {before} as b using (user_id)),
            matched as (
                select segment_id, arg_max(segment, users) as was
                from (select segment_id, segment, count(*) as users from both_days group by all) group by all
            )
            select user_id, segment, was from both_days join matched using (segment_id) where segment <> was
        ) to '{out / "moves.parquet"}' (format parquet, compression zstd)"""
    )
    return {"rows": len(labels)}


def evaluation(place: Place, con: Any = None, source: str = "", labels: str = "", who: str = SUBJECT) -> dict[str, Any]:
    """Silhouette of a sample, Davies-Bouldin and Calinski-Harabasz of all."""
    import numpy as np
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

    con = con or connect(place)
    source = source or f"'{place.table('user_profiles', place.day)}'"
    if not labels:
        ours = f"'{place.table('user_segments', place.day)}'"
        labels = f"(select user_id, dense_rank() over (order by segment_id) as segment from {ours})"
    _, X = features(con, f"(select p.*, l.segment from {source} p join {labels} l using (user_id) order by user_id)")
    codes = con.execute(f"select segment from {source} p join {labels} l using (user_id) order by user_id").fetchnumpy()
    codes = codes["segment"]
    sample = min(SILHOUETTE_USERS, len(X))
    numbers = {
        "silhouette": float(silhouette_score(X, codes, sample_size=sample, random_state=SEED)),
        "davies_bouldin": float(davies_bouldin_score(X, codes)),
        "calinski_harabasz": float(calinski_harabasz_score(X, codes)),
        "largest_share": float(np.bincount(codes.astype(int)).max() / len(codes)),
    }
    (place.out(who, "evaluation") / "evaluation.json").write_text(json.dumps(numbers))
    return {"rows": len(numbers)}


def drift(place: Place, con: Any = None, source: str = "", who: str = SUBJECT) -> dict[str, Any]:
    """The distance of each feature between the two days, from quantiles, in standard deviations of the day before."""
    import numpy as np

    con = con or connect(place)
    source = source or f"'{place.table('user_profiles', place.day)}'"
    before = f"'{place.table('user_profiles', place.days[-2])}'"
    found = {}
    for column in FEATURES:
        sides = []
        for side in (source, before):
            value, known = f"ln(1 + greatest({column}, 0))", f"{column} is not null"
            x = con.execute(f"select {value} as x from {side} where {known} order by x").fetchnumpy()["x"]
            at = np.floor((np.arange(QUANTILES) + 0.5) / QUANTILES * len(x)).astype(int)
            sides.append(x[at])
        found[column] = float(np.abs(sides[0] - sides[1]).mean() / max(sides[1].std(), 1e-3))
    (place.out(who, "drift") / "drift.json").write_text(json.dumps(found))
    return {"rows": len(found)}


def room(place: Place, name: str) -> dict[str, Any]:
    """One room of the last day."""
    rooms = {"events": events, "profiles": profiles, "segments": segments, "evaluation": evaluation, "drift": drift}
    return rooms[name](place)


def whole_day(place: Place) -> dict[str, Any]:
    """All rooms of the last day, one after the other on one connection."""
    con, who = connect(place), f"{SUBJECT}/whole_day"
    events(place, con, who)
    made = profiles(place, con, place.out(who, "events") / "events.parquet", who)
    segments(place, con, "user_profiles", who)
    evaluation(place, con, "user_profiles", "labelled", who)
    drift(place, con, "user_profiles", who)
    return made
