"""Decide by hand: return to an earlier champion, or fit anew because somebody asks for it.

Decisions by hand are inputs, not derived: they stay when the past changes, and history is never rewritten by one.

Not here: decisions that verdicts ask for (`decide`).
"""

import datetime as dt
import time
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.challenge import challenge_in_lake, challenger_frame, reference_of, write
from seg_assets.segments.decisions.inputs import content_in, inputs_now
from seg_assets.segments.decisions.request import DecisionRequest, DecisionResult
from seg_assets.segments.decisions.store import MANUAL, ROLLBACK, Decision
from seg_assets.segments.fitting.fit import labels_of_known
from seg_assets.segments.fitting.identity import QUARTER, lineage_row, overlap_counts
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import population
from seg_assets.segments.strategy import Strategy


def decide_by_hand(lake: Lake, strategy: Strategy, day: dt.date, seed: int, request: DecisionRequest) -> DecisionResult:
    """Make the decision that a person asks for, once: a manual re-clustering, which is promoted, or a rollback.

    Raises:
        ConfigError: a rollback that is not possible (see check_rollback).
    """
    started = time.perf_counter()
    past = decisions.past_of(lake, strategy.name, day)
    for decision in decisions.decisions_of_day(lake, strategy.name, day):
        if decision.cause == request.cause and decision.inputs.get("request") == request.digest:
            return DecisionResult(strategy.name, day, "kept", f"{request.cause}: done already", decision)
    champion = decisions.champion_as_of(lake, strategy.name, day)
    present = champion.model_id if champion else ""
    if request.against_model_id not in ("", present):
        why = f"asked against model {request.against_model_id}, the champion is {present or 'none'} now"
        return DecisionResult(strategy.name, day, "none", why)
    inputs = inputs_now(lake, strategy, day, seed, NONE, content_in(lake)) | {"request": request.digest}
    if request.cause == ROLLBACK:
        return write(lake, _rolled_back(lake, strategy, day, inputs, request.note), None, started, past)
    challenge = challenge_in_lake(lake, strategy, day, seed, MANUAL, champion, inputs, request.note)
    if challenge.decision is None:
        why = f"manual: not fitted, {challenge.reason}"
        return DecisionResult(strategy.name, day, "none", why, challenger=challenge.challenger)
    return write(lake, challenge.decision, challenge.challenger, started, past)


def _rolled_back(lake: Lake, strategy: Strategy, day: dt.date, inputs: dict[str, str], note: str) -> Decision:
    """Return the decision that brings back the champion before the present one."""
    champion, back = check_rollback(lake, strategy.name, day)
    model = back.segment_model()
    frame = challenger_frame(lake, strategy, day, model)
    return Decision(
        strategy=strategy.name,
        day=day,
        cause=ROLLBACK,
        model=back.model,
        promoted=True,
        reason=f"rolled back to model {back.model_id} of {back.model['fit_day']}" + (f": {note}" if note else ""),
        against_model_id=champion.model_id,
        numbers={"rolled_back": champion.model_id, "from_day": champion.day.isoformat()},
        lineage=rollback_lineage(strategy, champion.segment_model(), model, frame),
        reference=reference_of(strategy, frame, model),
        inputs=inputs,
    )


def check_rollback(lake: Lake, strategy: str, day: dt.date) -> tuple[Decision, Decision]:
    """Return the decision that a rollback on `day` undoes, and the one whose model it brings back.

    Raises:
        ConfigError: there is no model, `day` is before the decision to be undone, or nothing came before it.
    """
    promoted = [d for d in decisions.decisions(lake, strategy) if d.promoted]
    if not promoted:
        raise ConfigError(f"rollback of {strategy} on {day}: it has no model yet, so there is nothing to undo")
    last = promoted[-1]
    if day < last.day:
        raise ConfigError(
            f"rollback of {strategy} on {day}: the champion {last.model_id} was promoted on {last.day} ({last.cause}), "
            f"after that; history is not rewritten, so give {last.day} or a later day"
        )
    back = rollback_target(lake, strategy, day)
    if back is None:
        raise ConfigError(
            f"rollback of {strategy} on {day}: there is no earlier champion to go back to: {last.model_id} of "
            f"{last.day} ({last.cause}) is the first one, or the last that earlier rollbacks left"
        )
    return last, back


def rollback_target(lake: Lake, strategy: str, day: dt.date) -> Decision | None:
    """Return the last promoted decision whose model neither is the present one nor was replaced by going back to it.

    Two rollbacks in a row go two models back, they do not swing between two.
    """
    stack: list[Decision] = []
    for decision in decisions.decisions(lake, strategy):
        if decision.day > day or not decision.promoted:
            continue
        if decision.cause == ROLLBACK:
            while stack and stack[-1].model_id != decision.model_id:
                stack.pop()
        # The past may have been made anew since a rollback: its model then stands where it was brought back.
        if decision.cause != ROLLBACK or not stack:
            stack.append(decision)
    return stack[-2] if len(stack) > 1 else None


def rollback_request(
    lake: Lake, strategy: str, day: dt.date, note: str = "", again: bool = False
) -> tuple[DecisionRequest, Decision | None]:
    """Return the request of a rollback on a day, and its decision when it was made already.

    Asked twice on a day, a rollback is done once; `again`: go one model further back on the same day.

    Raises:
        ConfigError: see check_rollback.
    """
    rollbacks = [d for d in decisions.decisions_of_day(lake, strategy, day) if d.cause == ROLLBACK]
    present = decisions.champion_as_of(lake, strategy, day)
    done = present if present in rollbacks and not again else None
    if done is None:
        check_rollback(lake, strategy, day)
    return DecisionRequest(strategy, day, ROLLBACK, attempt=len(rollbacks), note=note), done


def rollback_lineage(
    strategy: Strategy, present: SegmentModel, back: SegmentModel, frame: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return which ids stay, end, and come back, with the users of the day that both models put there.

    A rollback is the one case in which an ended id lives again: as the very segment that it was.
    """
    users = population(strategy, frame)
    olds, news = present.segment_ids, back.segment_ids
    counts = overlap_counts(labels_of_known(present, users), labels_of_known(back, users), len(olds), len(news))
    of_old = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    of_new = counts / np.maximum(counts.sum(axis=0, keepdims=True), 1)
    rows = [
        lineage_row("survive", olds, news, counts, [olds.index(i)], [news.index(i)])
        for i in sorted(set(olds) & set(news))
    ]
    for i in sorted(set(olds) - set(news)):
        at = olds.index(i)
        heirs = [j for j in range(len(news)) if of_old[at, j] >= QUARTER]
        rows.append(lineage_row("death", olds, news, counts, [at], heirs))
    for i in sorted(set(news) - set(olds)):
        at = news.index(i)
        sources = [j for j in range(len(olds)) if of_new[j, at] >= QUARTER]
        rows.append(lineage_row("revival", olds, news, counts, sources, [at]))
    return rows
