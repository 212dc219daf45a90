"""Judge one strategy's day: drifted or not, against which model, why, and whether to re-cluster.

Evidently's distances, missing shares, segment shares and a strong shadow refit flag a day; enough flagged days in a row
make drift; a shadow refit says whether re-clustering would help. Over 258 simulated days distances and shares foretold
a real gain with an AUC between 0.65 and 0.90, the shadow refit with 0.98; so the shadow has the last word on the cause.
A verdict is a function of its arguments.

Not here: how columns are compared (`drift.evidently_report`), what is read and written (`drift.daily`), and which run
a verdict leads to (`loop.planner`).
"""

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from seg_assets.core.digests import digest
from seg_assets.core.numerics import distinct_rows, fit_seed, sample_rows
from seg_assets.core.tables import TABLES
from seg_assets.drift.evidently_report import ColumnDrift, Comparison, Limits, compare
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.reference import describe, shadow_gain
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import history_days, population
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import Strategy

BOOTSTRAP, DRIFT, AGE = "bootstrap", "drift", "age"
# A shadow gain of three times the gate's minimum flags a day by itself: groups can split while no column moves much.
STRONG_SHADOW = 3.0
# Name of a column over a window of days.
_WINDOW = re.compile(r"^(.+)_(\d+)d$")
# Ends of names of ratios and means. They do not add up over the days of a window, so a filling window moves none.
_RATIOS = ("_rate", "_share", "_mean", "_var", "_size")

SCHEMA = TABLES["drift_report"].types


@dataclass(frozen=True)
class Verdict:
    """One row of drift_report."""

    strategy: str
    strategy_digest: str
    users: int
    model_id: str = ""
    fit_day: dt.date | None = None
    baseline_day: dt.date | None = None
    baseline_id: str = ""
    flagged: bool = False
    streak: int = 0
    drifted: bool = False
    cause: str = ""
    reasons: tuple[str, ...] = ()
    columns: tuple[ColumnDrift, ...] = ()
    share_variation: float | None = None
    shadow_gain: float | None = None
    # Evidently's snapshot of the comparison, as JSON text; None when nothing was compared.
    snapshot: str | None = field(default=None, repr=False, compare=False)

    @property
    def verdict_digest(self) -> str:
        """Hash what a decision of this day depends on: a score that moved in its ninth digit re-opens nothing."""
        return digest([self.strategy, self.model_id, self.baseline_id, self.cause])

    def row(self) -> dict[str, Any]:
        """Return the row with the columns of SCHEMA."""
        names = ("column", "method", "score", "limit", "drifted", "missing_now", "missing_then")
        plain = {k: v for k, v in vars(self).items() if k in SCHEMA}
        columns = [{k: v for k, v in asdict(c).items() if k in names} for c in self.columns]
        return {**plain, "reasons": list(self.reasons), "columns": columns, "verdict_digest": self.verdict_digest}


@dataclass(frozen=True)
class Yesterday:
    """What a verdict needs of the row of the day before."""

    baseline_id: str
    streak: int


@dataclass(frozen=True)
class Measured:
    """What is measured of a day's users.

    comparison: every watched column beside the baseline.
    segments: share of users by segment id.
    shadow_gain: out-of-sample gain of a refit on the day; None: too few users to tell.
    """

    comparison: Comparison
    segments: Mapping[str, float]
    shadow_gain: float | None


Measure = Callable[[Strategy, pd.DataFrame, SegmentModel, Mapping[str, Any], Limits], Measured]


def measure(
    strategy: Strategy, users: pd.DataFrame, model: SegmentModel, then: Mapping[str, Any], limits: Limits
) -> Measured:
    """Measure a day's users beside the reference of the baseline, with Evidently."""
    now = describe(strategy, users, model, like=then)
    comparison = compare(now, then, limits, strategy.drift.positions)
    return Measured(comparison, now["segments"], shadow_gain(users, model, seed=0))


def judge_day(
    strategy: Strategy,
    day: dt.date,
    frame: pd.DataFrame,
    *,
    seed: int,
    champion: Decision | None,
    baseline: Decision | None,
    yesterday: Yesterday | None,
    measured_by: Measure = measure,
) -> Verdict:
    """Return the verdict of `day`.

    Args:
        strategy: its `drift`, `fit` and `gate` give the limits.
        day: the day judged.
        frame: profiles of the day as `load_features` gives them for the champion.
        seed: `settings.seed`.
        champion: promoted last, strictly before `day`.
        baseline: decided last, strictly before `day`, promoted or not.
        yesterday: the strategy's row of the day before; None on the first day.
        measured_by: how users are measured. The studies rehearse hundreds of shops with plain distances instead of
            Evidently's; `tests/studies` hold the two to each other.
    """
    users = population(strategy, frame)
    if champion is None or baseline is None:
        return _before_the_first_fit(strategy, frame, users, seed)
    model = champion.segment_model()
    verdict = Verdict(
        strategy=strategy.name,
        strategy_digest=strategy.digest(),
        users=len(users),
        model_id=model.model_id,
        fit_day=champion.day,
        baseline_day=baseline.day,
        baseline_id=baseline.decision_id,
    )
    filling = _filling(strategy, frame, (day - baseline.day).days)
    is_old, age = _age(strategy, day, baseline.day, filling)
    if users.empty:
        return replace(verdict, reasons=("no user takes part in clustering on this day", *age))
    then = baseline.reference
    if then.get("model_id") != model.model_id:
        cause = AGE if is_old and not why_not_fitted(strategy, users, seed) else ""
        nothing = "the last decision carries no reference of this model, nothing to compare"
        return replace(verdict, cause=cause, reasons=(nothing, *age))
    limits = limits_for(strategy, min(len(users), int(then["users"])))
    measured = measured_by(strategy, users, model, then, limits)
    variation = total_variation(measured.segments, then["segments"])
    gain = _above_baseline(measured.shadow_gain, then)
    flags = _flags(strategy, measured.comparison, variation, gain, limits)
    streak = 0
    if flags:
        same = yesterday is not None and yesterday.baseline_id == baseline.decision_id
        streak = 1 + (yesterday.streak if same and yesterday else 0)
    # While windows fill, users differ from the baseline by how much of them could be seen: that is no drift.
    drifted = streak >= strategy.drift.days_in_row and filling is None
    cause, notes = _cause(strategy, day, baseline.day, drifted, gain, is_old)
    refused = why_not_fitted(strategy, users, seed) if cause else ""
    if refused:
        cause, notes = "", [*notes, f"no re-clustering: {refused}"]
    return replace(
        verdict,
        flagged=bool(flags),
        streak=streak,
        drifted=drifted,
        cause=cause,
        reasons=(*flags, *age, *notes),
        columns=measured.comparison.columns,
        share_variation=variation,
        shadow_gain=gain,
        snapshot=measured.comparison.snapshot,
    )


def limits_for(strategy: Strategy, users: int) -> Limits:
    """Return the strategy's limits at this many users.

    The distance of two samples of the same shop shrinks as 1/sqrt(users), so limits grow as users get fewer.
    """
    grow = math.sqrt(max(1.0, strategy.drift.limit_users / max(users, 1)))
    return Limits(round(strategy.drift.limit * grow, 9), round(min(1.0, strategy.drift.missing_points * grow), 9))


def total_variation(now: Mapping[str, float], then: Mapping[str, float]) -> float:
    """Return half the summed absolute differences of segment shares: the least share of users that changed segment."""
    names = {*now, *then}
    return round(sum(abs(now.get(n, 0.0) - then.get(n, 0.0)) for n in sorted(names)) / 2, 9)


def why_not_fitted(strategy: Strategy, users: pd.DataFrame, seed: int) -> str:
    """Say why `segments.fitting.fit` would refuse to fit a model on these users, '' when it would not."""
    if len(users) < strategy.fit.minimum_users:
        return f"{len(users)} users take part in clustering, a fit needs {strategy.fit.minimum_users}"
    rows = sample_rows(users["user_id"], strategy.fit.sample, fit_seed(seed, strategy.name))
    sample = users.iloc[rows].reset_index(drop=True)
    space = FeatureSpace.fit(sample, strategy)
    if not space.axes:
        return "no feature tells users apart"
    return "all users are alike in every feature" if distinct_rows(space.transform(sample)) < 2 else ""


def settled_after(strategy: Strategy) -> int:
    """Return the days of history from which on users can be compared.

    The strategy's `drift.settled_after_days`; without it the longest window of a watched column or a feature that adds
    up. Lifetime totals (`_all`) have no window to fill.
    """
    if strategy.drift.settled_after_days is not None:
        return strategy.drift.settled_after_days
    names = [f.column for f in strategy.features if f.column] + list(strategy.drift.columns)
    windows = [_WINDOW.match(name) for name in names]
    return max((int(w.group(2)) for w in windows if w and not w.group(1).endswith(_RATIOS)), default=0)


@dataclass(frozen=True)
class _Filling:
    """Windows of the baseline that were not full: days of history then and now, and the days that they need."""

    then: int
    now: int
    needed: int


def _filling(strategy: Strategy, frame: pd.DataFrame, since_baseline: int) -> _Filling | None:
    """Return how far the baseline's windows were filled; None when they were full, so that the days compare."""
    now, needed = history_days(frame), settled_after(strategy)
    return _Filling(now - since_baseline, now, needed) if needed and now - since_baseline < needed else None


def _before_the_first_fit(strategy: Strategy, frame: pd.DataFrame, users: pd.DataFrame, seed: int) -> Verdict:
    """Return the verdict of a day without a model: a first fit is due when users and history suffice."""
    history, needed = history_days(frame), strategy.fit.minimum_history_days
    verdict = Verdict(strategy=strategy.name, strategy_digest=strategy.digest(), users=len(users))
    refused = why_not_fitted(strategy, users, seed)
    if frame.empty:
        refused = "nobody is known: no event so far has a user_id (columns.user_id of the source)"
    elif history < needed:
        refused = f"{history} days of history, a first fit needs {needed}"
    if refused:
        return replace(verdict, reasons=("no model yet: " + refused,))
    return replace(verdict, cause=BOOTSTRAP, reasons=("no model yet, and enough users and history for a first fit",))


def _flags(
    strategy: Strategy, comparison: Comparison, variation: float, gain: float | None, limits: Limits
) -> list[str]:
    """Say what flags the day; nothing: the day is not flagged."""
    reasons = [
        f"{c.column}: {c.method} distance {c.score:.3f}, limit {c.limit:.3f}"
        for c in comparison.columns
        if c.drifted and c.score is not None
    ]
    reasons += [
        f"{c.column}: missing {c.missing_then:.1%} -> {c.missing_now:.1%}, limit {limits.missing:.1%} points"
        for c in comparison.columns
        if c.missing_drifted
    ]
    allowed = share_limit(strategy, limits)
    if variation >= allowed:
        reasons.append(f"segment shares: {variation:.1%} of users elsewhere, limit {allowed:.1%}")
    strong = STRONG_SHADOW * strategy.gate.minimum_gain
    if gain is not None and strong > 0 and gain >= strong:
        reasons.append(f"shadow refit: gain {gain:+.1%}, limit {strong:.1%}")
    return reasons


def share_limit(strategy: Strategy, limits: Limits) -> float:
    """Return the limit of the segment shares' total variation; it grows with few users as the others do."""
    return min(1.0, strategy.drift.share_variation * limits.distance / strategy.drift.limit)


def _cause(
    strategy: Strategy, day: dt.date, baseline_day: dt.date, drifted: bool, gain: float | None, is_old: bool
) -> tuple[str, list[str]]:
    """Return the cause of a re-clustering that is due on the day ('': none is), and notes on it."""
    waited = (day - baseline_day).days
    if not drifted:
        return (AGE, []) if is_old else ("", [])
    if waited < strategy.drift.cool_down_days:
        return "", [f"cool-down: day {waited} of {strategy.drift.cool_down_days} since the last decision"]
    if gain is not None and gain < strategy.gate.minimum_gain:
        asked = strategy.gate.minimum_gain
        note = f"re-clustering would not help: a shadow refit gains {gain:+.1%}, the gate asks {asked:.1%}"
        return (AGE if is_old else ""), [note]
    return DRIFT, []


def _age(strategy: Strategy, day: dt.date, baseline_day: dt.date, filling: _Filling | None) -> tuple[bool, list[str]]:
    """Return whether the last decision is too old to stand, and reasons.

    A decision that rests on filling windows is too old as soon as they are full.
    """
    age, limit = (day - baseline_day).days, strategy.drift.maximum_age_days
    if filling is not None and filling.now < filling.needed:
        return False, [
            f"windows: {filling.now} of the {filling.needed} days of history that the longest one holds; "
            "until then differences may be growth, and nothing is asked for"
        ]
    if filling is not None:
        reason = f"age: the last decision rests on {filling.then} days of history, windows of {filling.needed} are full"
        return age >= strategy.drift.cool_down_days, [reason]
    is_old = limit is not None and age >= limit
    return is_old, [f"age: {age} days since the last decision, limit {limit}"] if is_old else []


def _above_baseline(gain: float | None, then: Mapping[str, Any]) -> float | None:
    """Return the shadow gain of a day above that of the baseline's own day, which is what chance and habit give."""
    return None if gain is None else round(gain - max(0.0, float(then["shadow_gain"] or 0.0)), 6)
