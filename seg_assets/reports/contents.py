"""What one report page says, as plain frozen data.

What could not be known is None or empty, and the page says so in words.

Not here: how the data is put together (`gather`) and turned into HTML (`page`).
"""

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Apart:
    """How a segment differs from all users in one feature: `score` in standard deviations of the model space."""

    feature: str
    score: float
    value: float | None = None
    overall: float | None = None


@dataclass(frozen=True)
class SegmentRow:
    """One segment on the page's day."""

    segment_id: str
    name: str
    kind: str
    users: int
    share: float
    colour: str = "c0"
    users_week_ago: int | None = None
    value_mean: float | None = None
    value_share: float | None = None
    apart: tuple[Apart, ...] = ()
    jaccard: float | None = None
    band: str = "not tested"
    silhouette: float | None = None
    representativeness: float | None = None

    @property
    def is_cluster(self) -> bool:
        """Tell whether a model made this segment; a rule makes the others (new, dormant, unassigned)."""
        return self.kind == "cluster"

    @property
    def trusted(self) -> bool | None:
        """Tell whether the bootstrap Jaccard reaches Hennig's 0.6; None: a rule segment, or never tested."""
        if self.jaccard is None or math.isnan(self.jaccard) or not self.is_cluster:
            return None
        return self.jaccard >= 0.6


@dataclass(frozen=True)
class Flow:
    """Users of one segment who are in another (or the same) some days later."""

    old: str
    new: str
    users: int


@dataclass(frozen=True)
class Unusual:
    """A flow of the last week that the weeks before do not explain; shares are of the users of `old`."""

    old: str
    new: str
    users: int
    share: float
    low: float
    high: float
    expected: float
    excess: float


@dataclass(frozen=True)
class Week:
    """The moves of the last seven days beside those of earlier weeks, and what they are worth.

    shares: (old, new) to (share, low, high, expected or None) with 95 % Wilson intervals.
    windows: number of earlier weeks that `expected` rests on.
    at_risk: 90-day spend of users who went to a segment of lower spend or became dormant.
    spend: 90-day spend of all users. Both are None where the profiles of a week ago are missing.
    losses: the largest flows at risk (old, new, users, spend).
    """

    shares: Mapping[tuple[str, str], tuple[float, float, float, float | None]] = field(default_factory=dict)
    windows: int = 0
    unusual: tuple[Unusual, ...] = ()
    at_risk: float | None = None
    spend: float | None = None
    losses: tuple[tuple[str, str, int, float], ...] = ()


@dataclass(frozen=True)
class MoveReason:
    """The most frequent reason of a flow since yesterday."""

    old: str
    new: str
    users: int
    reason: str
    # Share of the change in margin that the model made, not the user: 0 on days without a new model.
    model_share: float | None = None


@dataclass(frozen=True)
class DriftDay:
    """One day's verdict."""

    day: dt.date
    drifted: bool
    score: float | None
    limit: float | None
    reason: str = ""
    against: dt.date | None = None
    # What the score is, and features beyond their limit: (name, score, limit).
    columns: tuple[tuple[str, float, float | None], ...] = ()
    # The day alone shows drift; `drifted` needs several such days in a row.
    flagged: bool = False


@dataclass(frozen=True)
class DecisionRow:
    """One re-clustering decision up to the page's day."""

    day: dt.date
    cause: str
    promoted: bool
    reason: str
    model_id: str
    against_model_id: str
    # (kind, old segment ids, new segment ids, share)
    lineage: tuple[tuple[str, tuple[str, ...], tuple[str, ...], float | None], ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    # segment id -> name, of the model that was fitted
    names: Mapping[str, str] = field(default_factory=dict)
    # segment id -> share of the fit day's clustered users
    shares: Mapping[str, float] = field(default_factory=dict)
    sequence: int = 0


@dataclass(frozen=True)
class Validity:
    """One predictor's out-of-time numbers, ours or a baseline's."""

    predictor: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    groups: int | None = None
    ours: bool = False


@dataclass(frozen=True)
class Report:
    """One page."""

    strategy: str
    title: str
    description: str
    day: dt.date
    users: int
    segments: tuple[SegmentRow, ...]
    champion_id: str = ""
    fit_day: dt.date | None = None
    # Days of the series, oldest first, and users per segment and day (0 where a segment did not exist).
    days: tuple[dt.date, ...] = ()
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    week_flows: tuple[Flow, ...] = ()
    day_flows: tuple[Flow, ...] = ()
    reasons: tuple[MoveReason, ...] = ()
    drift: tuple[DriftDay, ...] = ()
    drift_score_name: str = "drift score"
    decisions: tuple[DecisionRow, ...] = ()
    # metric -> value of the whole segmentation on the page's day, and metric -> series over `days`.
    metrics: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    validity: tuple[Validity, ...] = ()
    validity_note: str = ""
    # What the page lacks: (what, why and how to get it).
    missing: tuple[tuple[str, str], ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    week: Week = Week()

    @property
    def verdict(self) -> DriftDay | None:
        """Return the verdict of the page's day."""
        return next((d for d in reversed(self.drift) if d.day == self.day), None)

    @property
    def real(self) -> bool | None:
        """Tell whether the segments beat data without groups; None when that could not be tested."""
        value = self.metrics.get("beats_null")
        return None if value is None or math.isnan(value) else value >= 1
