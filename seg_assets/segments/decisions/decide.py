"""Decide a day: does a strategy need a decision on it, and which? Then make it, leave it, or withdraw it.

`decide_day` is what the Dagster face and the command line call alike.

Not here: on which days to ask (`loop.planner`); fitting and judging (`challenge`); what a decision is made from
(`inputs`); rollbacks and re-clusterings by hand (`rollback`).
"""

import contextlib
import datetime as dt
import time
from typing import Any

import pandas as pd

from seg_assets.core.errors import ChangedMeanwhileError, ConfigError
from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.challenge import challenge_in_lake, write
from seg_assets.segments.decisions.inputs import changed_inputs, content_in, inputs_now
from seg_assets.segments.decisions.request import DecisionRequest, DecisionResult
from seg_assets.segments.decisions.rollback import decide_by_hand
from seg_assets.segments.decisions.store import AGE, BOOTSTRAP, DRIFT
from seg_assets.segments.features import CATEGORIES, PROFILES
from seg_assets.segments.strategy import Strategy

# A decision is started over where another run decides meanwhile; three in a row in its way are two daemons.
MOST_TRIES = 3


def decide_day(
    lake: Lake,
    strategy: Strategy,
    day: dt.date,
    seed: int,
    request: DecisionRequest | None = None,
    force: bool = False,
) -> DecisionResult:
    """Make, keep or withdraw the decision of a strategy on a day.

    Without a request: a first fit when one is due; a decision that is in the lake is checked against its inputs and
    made anew when they changed. With one: the decision asked for, unless it was made already (promise 7) or was asked
    against a champion that no longer is.

    Args:
        lake: the lake.
        strategy: the strategy.
        day: the day.
        seed: `settings.seed`.
        request: what the sensor, the command line or a person asks for.
        force: make it anew though nothing changed.

    Raises:
        MissingDaysError: the profiles of the day were never materialized.
        ConfigError: a request that cannot be understood.
        ChangedMeanwhileError: other runs decide this strategy again and again while this one does.
    """
    for table in (PROFILES, CATEGORIES):
        lake.require(table, [day], f"segment_model of {day}")
    if request is not None and request.cause not in decisions.CAUSES:
        raise ConfigError(f"request.cause = {request.cause!r}: one of {', '.join(decisions.CAUSES)}")
    for _ in range(MOST_TRIES - 1):
        # Somebody else decided in between: what this one was made from is another past now.
        with contextlib.suppress(ChangedMeanwhileError):
            return _decide(lake, strategy, day, seed, request, force)
    return _decide(lake, strategy, day, seed, request, force)


def _decide(
    lake: Lake, strategy: Strategy, day: dt.date, seed: int, request: DecisionRequest | None, force: bool
) -> DecisionResult:
    if request is not None and request.cause in decisions.BY_HAND:
        return decide_by_hand(lake, strategy, day, seed, request)
    past = decisions.past_of(lake, strategy.name, day)
    derived = next((d for d in decisions.decisions_of_day(lake, strategy.name, day) if not d.by_hand), None)
    champion = decisions.champion_before(lake, strategy.name, day)
    cause = request.cause if request else (derived.cause if derived else BOOTSTRAP)
    if champion is None:
        cause = BOOTSTRAP
    elif cause == BOOTSTRAP:
        if derived is None:
            decisions.refresh_footer(lake, strategy.name, day)
            why = f"champion {champion.model_id} of {champion.day} is in force"
            return DecisionResult(strategy.name, day, "none", why)
        return _withdraw(lake, strategy, day, f"not the first fit any more: {champion.day} has one", past)
    elif request is not None and request.against_model_id not in ("", champion.model_id):
        why = f"asked against model {request.against_model_id}, the champion is {champion.model_id} now"
        return DecisionResult(strategy.name, day, "none", why, derived)
    verdict_digest = NONE
    if champion is not None and cause in (DRIFT, AGE):
        verdict = _verdict(lake, strategy, day)
        if verdict is None or not verdict["cause"] or verdict["model_id"] != champion.model_id:
            why = "no verdict in drift_report" if verdict is None else "the verdict no longer asks for it"
            if derived is None:
                return DecisionResult(strategy.name, day, "none", f"{cause} was asked for; {why} on {day}")
            return _withdraw(lake, strategy, day, why, past)
        cause, verdict_digest = str(verdict["cause"]), str(verdict["verdict_digest"])
    content_of = content_in(lake)
    stands = derived is not None and not force and derived.cause == cause
    if stands and not changed_inputs(lake, strategy, derived, seed, verdict_digest, content_of):
        decisions.refresh_footer(lake, strategy.name, day)
        return DecisionResult(strategy.name, day, "kept", f"{cause}: decided already, inputs unchanged", derived)
    started = time.perf_counter()
    inputs = inputs_now(lake, strategy, day, seed, verdict_digest, content_of)
    challenge = challenge_in_lake(lake, strategy, day, seed, cause, champion, inputs)
    if challenge.decision is not None:
        return write(lake, challenge.decision, challenge.challenger, started, past)
    if derived is not None:
        return _withdraw(lake, strategy, day, f"{cause}: {challenge.reason}", past)
    why = f"{cause}: not fitted, {challenge.reason}"
    return DecisionResult(strategy.name, day, "none", why, challenger=challenge.challenger)


def _withdraw(lake: Lake, strategy: Strategy, day: dt.date, why: str, past: str) -> DecisionResult:
    """Remove the derived decision of a day, and with it the derived ones after it."""
    dropped = decisions.withdraw(lake, strategy.name, day, past)
    later = tuple(sorted({d.day for d in dropped if d.day > day}))
    return DecisionResult(strategy.name, day, "withdrawn", f"decision of {day} withdrawn: {why}", dropped=later)


def _verdict(lake: Lake, strategy: Strategy, day: dt.date) -> dict[str, Any] | None:
    """Read the drift_report row of a strategy, None when the day has none."""
    if not lake.has("drift_report", day):
        return None
    rows = lake.read("drift_report", day, ["strategy", "model_id", "cause", "verdict_digest"])
    own = rows[rows["strategy"] == strategy.name]
    return {k: ("" if pd.isna(v) else v) for k, v in own.iloc[0].to_dict().items()} if len(own) else None
