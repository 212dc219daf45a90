"""Give every known user of a day one segment of a strategy: a rule's, or the champion's, with hysteresis.

Hysteresis. A user who was in cluster `a` yesterday and is nearest to `b` today is only proposed for `b`. The move is
made at once when `b` beats `a` by the strategy's relative margin m, or after `dwell_days` days in a row of the same
proposal (the first counts, so 0 and 1 both mean at once). "Beats by m": score(b) < (1 - m) score(a) where scores are
squared distances (of tiers: less the offset that both share, or the margin would grow with it); where they are negative
log densities, density(a) < (1 - m) density(b); where clusters are boxes (trees), further than m past the border of
`a`, in model space. A user whose segment died, who comes from a rule segment, or who was not
there yesterday goes to the nearest cluster at once. Ids survive a re-clustering, so that a user of a surviving segment
is held by the same rule across it.

`assign_day` takes frames and returns one; `load_for` reads the features that given models need.

Not here: why a user moved (`segments.daily.moves`), and publishing a day (`segments.daily.publish`).
"""

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.core.errors import ConfigError
from seg_assets.core.tables import TABLES
from seg_assets.lake.columns import is_increasing
from seg_assets.lake.store import Lake
from seg_assets.segments.features import load_features
from seg_assets.segments.model import SegmentModel, texts_of
from seg_assets.segments.rules import CLUSTERED, OUTLIER, RULES, rule_codes, rule_ids
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy

TABLE = "user_segments"
CLUSTER, RULE = "cluster", "rule"

SCHEMA = TABLES[TABLE].types

# State that the next day reads.
STATE = ("user_id", "segment_id", "kind", "since_day", "proposed_segment_id", "proposed_days")


def assign_day(
    strategy: Strategy,
    frame: pd.DataFrame,
    champion: SegmentModel | None,
    yesterday: pd.DataFrame | None,
    day: dt.date,
) -> pd.DataFrame:
    """Return one row per row of `frame`, in the same order, with the columns of SCHEMA.

    Args:
        strategy: rules, eligibility and hysteresis.
        frame: features of the day (`load_features`), user_id unique.
        champion: model as of the day; None: everyone is `unassigned`.
        yesterday: rows of this strategy in user_segments of the day before (at least STATE); None on the first day.
        day: the day.

    Raises:
        ConfigError: when `frame` holds a user twice.
    """
    users = texts(frame["user_id"])
    # Features are sorted by user: neighbours are compared, a tenth of the time of counting.
    if not is_increasing(users) and pc.count_distinct(users, mode="all").as_py() != len(users):
        raise ConfigError(f"user_profiles of {day}: a user_id is null or there twice; user_id is the table's key")
    ids = rule_ids(strategy.name)
    clusters = champion.segment_ids if champion else []
    # One code per segment: clusters first, then rules.
    names = [*clusters, *ids.values()]
    past = _Yesterday(yesterday, users, names)

    rules = rule_codes(strategy, frame, has_champion=champion is not None)
    n = len(frame)
    codes = np.where(rules == CLUSTERED, 0, len(clusters) + rules.astype(np.int64))
    distance, margin = np.full(n, np.nan), np.full(n, np.nan)
    confidence = np.ones(n)
    proposed, waited = np.full(n, -1), np.zeros(n, dtype=np.int32)
    scored = np.flatnonzero(rules == CLUSTERED)
    if champion is not None and len(scored):
        assigned = assign_clusters(strategy, champion, frame.iloc[scored], past.codes[scored], past.proposals(scored))
        codes[scored] = np.where(assigned["outlier"], len(clusters) + RULES.index(OUTLIER), assigned["cluster"])
        for target, name in ((distance, "distance"), (margin, "margin"), (confidence, "confidence")):
            target[scored] = assigned[name]
        proposed[scored], waited[scored] = assigned["proposed"], assigned["waited"]
    by_model = np.zeros(n, dtype=bool)
    by_model[scored] = True
    stays = past.codes == codes
    since = np.where(stays, past.since, np.datetime64(day, "s"))
    return pd.DataFrame(
        {
            "strategy": _repeat(strategy.name, n),
            "user_id": frame["user_id"].reset_index(drop=True),
            "segment_id": texts_of(names, codes),
            "kind": texts_of([CLUSTER, RULE], (codes >= len(clusters)).astype(np.int64)),
            "distance": distance,
            "margin": margin,
            "confidence": confidence,
            "model_id": texts_of([champion.model_id if champion else ""], np.where(by_model, 0, -1)),
            "since_day": since,
            "proposed_segment_id": texts_of(names, proposed),
            "proposed_days": waited,
        }
    )


def assign_clusters(
    strategy: Strategy,
    champion: SegmentModel,
    frame: pd.DataFrame,
    current: np.ndarray,
    proposals: tuple[np.ndarray, np.ndarray],
) -> dict[str, np.ndarray]:
    """Assign users that no rule caught to clusters.

    Args:
        strategy: its hysteresis.
        champion: the model.
        frame: features, n rows.
        current: (n,) cluster of yesterday; negative or >= k where it was none of today's clusters.
        proposals: (n,) cluster proposed yesterday (-1: none) and (n,) days it had been.

    Returns:
        cluster, outlier, distance, margin, confidence, proposed (-1: none), waited; each (n,).
    """
    X = champion.space.transform(frame)
    scores = champion.scores(X)
    n, k = scores.shape
    rows = np.arange(n)
    best = scores.argmin(axis=1)
    nearest = scores[rows, best]
    outlier = np.asarray(champion.fitted.outliers(X, scores), dtype=bool)
    confidence = np.array(champion.fitted.confidence(X, scores), dtype=np.float64)

    at_home = (current >= 0) & (current < k) & ~outlier
    home = np.where(at_home, current, best)
    differs = home != best
    same = differs & (proposals[0] == best)
    waited = np.where(differs, np.where(same, proposals[1], 0) + 1, 0).astype(np.int32)
    moves = champion.fitted.beats(home, best, scores[rows, home], nearest, strategy.hysteresis.margin)
    held = differs & ~moves & (waited < strategy.hysteresis.dwell_days)
    cluster = np.where(held, home, best)

    own = scores[rows, cluster]
    if k > 1:
        scores[rows, cluster] = np.inf
        other = scores.min(axis=1)
        margin = other - own
    else:
        margin = np.full(n, np.nan)
    confidence[held] = 0.0
    confidence[outlier] = 0.0
    margin[outlier] = np.nan
    return {
        "cluster": cluster,
        "outlier": outlier,
        "distance": own,
        "margin": margin,
        "confidence": confidence,
        "proposed": np.where(held, best, -1),
        "waited": np.where(held, waited, 0).astype(np.int32),
    }


def load_for(
    lake: Lake, strategy: Strategy, day: dt.date, models: Sequence[SegmentModel], extra: Sequence[str] = ()
) -> pd.DataFrame:
    """Read features of a day with every column that the strategy and these models need (`load_features`).

    A model may be older than the strategy's YAML: its columns are loaded whether the YAML still names them or not.
    """
    sources = dict.fromkeys(s for m in models for s in m.space.sources if not s.startswith(CATEGORY_PREFIX))
    categories = sorted({c for m in models for c in m.space.categories})
    return load_features(lake, strategy, day, categories if models else None, [*sources, *extra])


class _Yesterday:
    """The state of the day before, one entry per user of today; code -1 for unknown users and segments."""

    def __init__(self, rows: pd.DataFrame | None, users: pa.Array, names: list[str]) -> None:
        n = len(users)
        self.codes = np.full(n, -1, dtype=np.int64)
        self.since = np.full(n, np.datetime64("NaT"), dtype="datetime64[s]")
        self._proposed = np.full(n, -1, dtype=np.int64)
        self._days = np.zeros(n, dtype=np.int64)
        if rows is None or not len(rows):
            return
        where = index_in(users, texts(rows["user_id"]))
        known = where >= 0
        at = where[known]
        self.codes[known] = _codes(rows["segment_id"], names)[at]
        self.since[known] = rows["since_day"].to_numpy().astype("datetime64[s]")[at]
        self._proposed[known] = _codes(rows["proposed_segment_id"], names)[at]
        self._days[known] = rows["proposed_days"].to_numpy(dtype=np.float64, na_value=0).astype(np.int64)[at]

    def proposals(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the proposed code and its days in a row, of the users at these positions."""
        return self._proposed[at], self._days[at]


def index_in(wanted: pa.Array, among: pa.Array) -> np.ndarray:
    """Return (n,) the position of each text of `wanted` in `among`, -1 for texts that `among` lacks."""
    # Two tables of one day hold the same users in the same order: no need to look each one up.
    if wanted.equals(among) and is_increasing(among):
        return np.arange(len(wanted))
    return pc.fill_null(pc.index_in(wanted, value_set=among), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _codes(series: pd.Series, names: list[str]) -> np.ndarray:
    return index_in(texts(series), pa.array(names, pa.large_string()))


def texts(series: pd.Series) -> pa.Array:
    """Return an Arrow array of texts; NaN and None are null."""
    # A frame from the lake has str; a test's, or one with nulls only, may have object.
    array = pa.array(series, type=pa.large_string(), from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _repeat(text: str, n: int) -> pd.Series:
    return texts_of([text], np.zeros(n, dtype=np.int64))
