"""The loop of verdicts and decisions on frames in memory: no lake, no Dagster, the same verdict, fit and gate.

The study of docs/drift.md rehearses hundreds of shops with it. What differs from the lake: nothing is stored, and the
distance of a column is computed here, because Evidently needs 0.2 seconds for a number that takes a microsecond.
`tests/drift` hold the two to each other.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.drift.evidently_report import (
    JENSEN_SHANNON,
    WASSERSTEIN,
    ColumnPair,
    Comparison,
    Limits,
    column_of,
    pairs_of,
)
from seg_assets.drift.verdict import Measure, Measured, Verdict, Yesterday, judge_day
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.decisions.challenge import challenge
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.reference import describe, shadow_gain
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.strategy import Strategy

FrameOf = Callable[[dt.date, SegmentModel | None], pd.DataFrame]
OutcomeOf = Callable[[dt.date], Outcome | None]


@dataclass(frozen=True)
class Rehearsed:
    """What a loop did: one verdict per day, and the decisions in order."""

    verdicts: tuple[Verdict, ...]
    days: tuple[dt.date, ...]
    decisions: tuple[Decision, ...]

    def champion_before(self, day: dt.date) -> SegmentModel | None:
        """The model in force on the morning of `day`."""
        return next((d.segment_model() for d in reversed(self.decisions) if d.promoted and d.day < day), None)


def rehearse(
    strategy: Strategy,
    days: Sequence[dt.date],
    frame_of: FrameOf,
    outcome_of: OutcomeOf = lambda day: None,
    seed: int = 0,
    measured_by: Measure | None = None,
    taken: dict[tuple[str, ...], Decision | None] | None = None,
) -> Rehearsed:
    """Judge each day, and decide where the verdict asks for it, as the sensor and `decide_day` would.

    Args:
        strategy: what is segmented.
        days: days in a row.
        frame_of: profiles of a day, with what the strategy and the given champion read.
        outcome_of: what an outcome-guided strategy learns from on a day.
        seed: `settings.seed`.
        measured_by: how users are measured (default: `plain_measure`).
        taken: decisions of other loops over the same frames, by what they rest on; settings of `drift` change when one
            is due and not what comes out. Frames are told apart by `attrs["key"]`.
    """
    measured_by = measured_by or plain_measure()
    verdicts: list[Verdict] = []
    made: list[Decision] = []
    taken = {} if taken is None else taken
    yesterday: Yesterday | None = None
    for day in days:
        champion = next((d for d in reversed(made) if d.promoted), None)
        baseline = made[-1] if made else None
        frame = frame_of(day, champion.segment_model() if champion else None)
        verdict = judge_day(
            strategy,
            day,
            frame,
            seed=seed,
            champion=champion,
            baseline=baseline,
            yesterday=yesterday,
            measured_by=measured_by,
        )
        verdicts.append(verdict)
        yesterday = Yesterday(verdict.baseline_id, verdict.streak)
        if verdict.cause:
            key = (str(frame.attrs.get("key")), str(day), *(f"{d.model_id} {d.promoted}" for d in made))
            if key not in taken:
                taken[key] = decide(strategy, day, frame, champion, made, outcome_of(day), seed, verdict.cause)
            decided = taken[key]
            made += [decided] if decided else []
    return Rehearsed(tuple(verdicts), tuple(days), tuple(made))


def decide(
    strategy: Strategy,
    day: dt.date,
    frame: pd.DataFrame,
    champion: Decision | None,
    before: Sequence[Decision],
    outcome: Outcome | None,
    seed: int,
    cause: str,
) -> Decision | None:
    """Fit a challenger and put it through the gate; None when nothing could be fitted. before: the earlier ones."""
    used_ids = {segment["id"] for d in before for segment in d.model["segments"]}
    return challenge(strategy, day, frame, champion, used_ids, outcome, seed, cause).decision


def plain_measure() -> Measure:
    """Return a measure with plain distances that remembers, for loops of other settings over the same days.

    A day is known by the frame's `attrs["key"]`; a frame without one is measured each time.
    """
    descriptions: dict[tuple[str, str], dict[str, Any]] = {}
    gains: dict[tuple[str, str], float | None] = {}

    def measure(
        strategy: Strategy, users: pd.DataFrame, model: SegmentModel, then: Mapping[str, Any], limits: Limits
    ) -> Measured:
        key = (str(users.attrs.get("key")), model.model_id)
        if "key" not in users.attrs or key not in descriptions:
            if len(descriptions) > 2000:
                descriptions.clear()
                gains.clear()
            descriptions[key] = describe(strategy, users, model)
            gains[key] = shadow_gain(users, model, seed=0)
        now = descriptions[key]
        return Measured(plain_compare(now, then, limits, strategy.drift.positions), now["segments"], gains[key])

    return measure


def plain_compare(now: Mapping[str, Any], then: Mapping[str, Any], limits: Limits, positions: int) -> Comparison:
    """The columns of `evidently_report.compare` with the same distances, and no document."""
    columns = []
    for pair in pairs_of(now, then):
        score = None
        if pair.method == WASSERSTEIN:
            score = _wasserstein(pair, positions)
        elif pair.method == JENSEN_SHANNON:
            score = _jensen_shannon(pair, positions)
        drifted = score is not None and score >= limits.distance
        columns.append(pair.drift(score, drifted, limits))
    return Comparison(tuple(columns), None)


def _wasserstein(pair: ColumnPair, positions: int) -> float:
    from scipy.stats import wasserstein_distance

    here, there = (column_of(pair, side, positions) for side in ("now", "then"))
    here, there = here[np.isfinite(here)], there[np.isfinite(there)]
    return round(float(wasserstein_distance(there, here)) / max(float(there.std()), 0.001), 9)


def _jensen_shannon(pair: ColumnPair, positions: int) -> float:
    from scipy.spatial.distance import jensenshannon

    names = sorted({*pair.now, *pair.then})
    p, q = (
        pd.Series(column_of(pair, side, positions)).value_counts().reindex(names).fillna(0).to_numpy()
        for side in ("now", "then")
    )
    return round(float(jensenshannon(q, p)), 9)
