"""Challenge a champion on a day: fit, judge, and put the decision together; then write it.

`challenge` is pure and knows no lake, so that studies take decisions just as the lake does; `challenge_in_lake` reads
the day for it.

Not here: whether a day needs a decision (`decide`), and those that a person asks for (`rollback`).
"""

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seg_assets.core.numerics import fit_seed, rounded
from seg_assets.lake.store import Lake
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.request import DecisionResult
from seg_assets.segments.decisions.store import BOOTSTRAP, MANUAL, Decision
from seg_assets.segments.features import day_categories, load_features
from seg_assets.segments.fitting.fit import Challenger, fit_challenger, in_space
from seg_assets.segments.fitting.gate import judge
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.fitting.reference import make_reference
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import history_days, population
from seg_assets.segments.strategy import CATEGORY_PREFIX, Strategy


@dataclass(frozen=True)
class Challenge:
    """A decision and the fit that it is about; no decision when nothing could be fitted, and then the `reason`."""

    decision: Decision | None
    challenger: Challenger

    @property
    def reason(self) -> str:
        """Why nothing could be fitted."""
        return self.challenger.reason


def challenge(
    strategy: Strategy,
    day: dt.date,
    frame: pd.DataFrame,
    champion: Decision | None,
    used_ids: set[str],
    outcome: Outcome | None,
    seed: int,
    cause: str,
    inputs: Mapping[str, str] | None = None,
    note: str = "",
) -> Challenge:
    """Fit a challenger on a frame, put it through the gate, and return the decision.

    A challenger that a person asked for is promoted whatever the gate says.

    Args:
        strategy: what is decided on.
        day: the fit day.
        frame: profiles of the day with what the strategy and the champion read.
        champion: the decision in force; None: the first fit.
        used_ids: every segment id that is taken.
        outcome: what an outcome-guided strategy learns from.
        seed: `settings.seed`.
        cause: why it is decided.
        inputs: digests of what the decision is made from; those of the outcome are added.
        note: what a person wrote with the request.
    """
    model = champion.segment_model() if champion else None
    users, its_seed = population(strategy, frame), fit_seed(seed, strategy.name)
    fitted = fit_challenger(strategy, users, day, model, used_ids, its_seed, outcome)
    if fitted.model is None:
        return Challenge(None, fitted)
    judged = judge(
        strategy,
        users,
        model,
        fitted.model,
        fitted.lineage,
        its_seed,
        outcome=None if outcome is None else in_space(outcome, fitted.model.space),
        known=fitted.labels,
    )
    promoted, reason = judged.promote, judged.reason
    if cause == MANUAL and not promoted:
        promoted, reason = True, f"promoted by hand; the gate would have said: {reason}"
    # Drift is measured with the model in force after this decision.
    in_force, labels = (fitted.model, fitted.labels[1]) if promoted or model is None else (model, fitted.labels[0])
    decision = Decision(
        strategy=strategy.name,
        day=day,
        cause=cause,
        model=fitted.model.to_document(),
        promoted=promoted,
        reason=reason + (f" ({note})" if note else ""),
        against_model_id=model.model_id if model else "",
        numbers={**rounded(dict(judged.numbers)), "overlap": list(fitted.overlap)},
        lineage=list(fitted.lineage),
        reference=reference_of(strategy, users, in_force, labels),
        inputs={**(inputs or {}), **(outcome.inputs if outcome is not None else {})},
    )
    return Challenge(decision, fitted)


def challenge_in_lake(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    seed: int,
    cause: str,
    champion: Decision | None,
    inputs: Mapping[str, str],
    note: str = "",
) -> Challenge:
    """Read a day, and challenge the champion on it. A first fit waits for enough days of history."""
    frame = challenger_frame(lake, strategy, day, champion.segment_model() if champion else None)
    history = history_days(frame)
    if cause == BOOTSTRAP and history < strategy.fit.minimum_history_days:
        least = strategy.fit.minimum_history_days
        return Challenge(None, Challenger(None, f"{history} days of history, fit.minimum_history_days is {least}"))
    users = population(strategy, frame)
    outcome = None
    if len(users) >= strategy.fit.minimum_users:
        outcome = outcome_for(strategy.algorithm, lake, strategy, day)
    used_ids = decisions.used_ids(lake, strategy.name, day)
    return challenge(strategy, day, users, champion, used_ids, outcome, seed, cause, inputs, note)


def challenger_frame(lake: Lake, strategy: Strategy, day: dt.date, champion: SegmentModel | None) -> pd.DataFrame:
    """Load the profiles of a day with what a new fit and the champion need; the day's own categories come first."""
    names: list[str] | None = None
    extra: list[str] = []
    if champion is not None:
        extra = [c for c in champion.space.sources if not c.startswith(CATEGORY_PREFIX)]
        if strategy.category_top is not None or champion.space.categories:
            own = day_categories(lake, strategy, day)
            names = own + [c for c in champion.space.categories if c not in own]
    return load_features(lake, strategy, day, names, extra)


def reference_of(
    strategy: Strategy, frame: pd.DataFrame, model: SegmentModel, labels: np.ndarray | None = None
) -> Mapping[str, object]:
    """Return the reference that a decision carries, rounded to what is stored."""
    return rounded(make_reference(strategy, frame, model, labels))


def write(lake: Lake, decision: Decision, challenger: Challenger | None, started: float, past: str) -> DecisionResult:
    """Write a decision, and say which later ones went with the past that they rested on.

    past: `store.past_of` when the work on it began; ChangedMeanwhileError is raised where it is another one now.
    started: `time.perf_counter()` when the work on it began; the seconds are noted in the footer.
    """
    strategy, day = decision.strategy, decision.day
    later = {d.day for d in decisions.decisions(lake, strategy) if d.day > day and not d.by_hand}
    is_new = decisions.write_decision(lake, decision, {"seconds": round(time.perf_counter() - started, 3)}, past)
    if not is_new:
        return DecisionResult(strategy, day, "kept", "made anew, and the same", decision, challenger)
    return DecisionResult(strategy, day, "written", decision.reason, decision, challenger, tuple(sorted(later)))
