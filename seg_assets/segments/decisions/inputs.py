"""The inputs of a decision: digests of all that it is made from, and which of them are others by now.

`decide` writes them into a decision, and asks whether one that is in the lake still stands; `loop.planner` asks the
same question for every decision of a lake. What is to be noticed when it changes stands in `inputs_now`, once.

Not here: the inputs of a day table, which are in its footer (`lake`).
"""

import datetime as dt
from collections.abc import Callable

from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.decisions.store import Decision, history_digest
from seg_assets.segments.features import CATEGORIES, PROFILES
from seg_assets.segments.fitting.fit import FIT_VERSION
from seg_assets.segments.strategy import Strategy

ALGORITHM_VERSION = "algorithm_version"

# (table, day) -> content hash of that day, NONE where there is none.
ContentOf = Callable[[str, dt.date], str]


def inputs_now(
    lake: Lake, strategy: Strategy, day: dt.date, seed: int, verdict_digest: str, content_of: ContentOf
) -> dict[str, str]:
    """Return the inputs that a decision of a day would be made from now, but for those of an outcome.

    Args:
        lake: for the decisions before the day.
        strategy: what is decided on.
        day: the day.
        seed: `settings.seed`.
        verdict_digest: of the verdict that asks for the decision; NONE where none does.
        content_of: content hash of a day of a table.
    """
    return {
        "strategy": strategy.fit_digest(),
        "seed": str(seed),
        "fit_version": FIT_VERSION,
        **version_input(strategy),
        "verdict": verdict_digest,
        "segment_model:to_yesterday": history_digest(lake, strategy.name, day),
        **{f"{table}:day": content_of(table, day) for table in (PROFILES, CATEGORIES)},
    }


def version_input(strategy: Strategy) -> dict[str, str]:
    """Return the version of a strategy's algorithm as an input; nothing for shipped ones (see FIT_VERSION)."""
    version = algorithms.named(strategy.algorithm).version
    return {ALGORITHM_VERSION: version} if version else {}


def outcome_inputs_now(decision: Decision, content_of: ContentOf) -> dict[str, str]:
    """Return the content, as it is now, of the earlier days that an outcome-guided decision learned from."""
    return {key: content_of(*place) for key, place in decision.days_read().items() if place[1] != decision.day}


def changed_inputs(
    lake: Lake, strategy: Strategy, decision: Decision, seed: int, verdict_digest: str, content_of: ContentOf
) -> list[str]:
    """Return the inputs of a decision that are no longer what it was made from, sorted; empty: the decision stands.

    Arguments as of `inputs_now`, for the decision's day.
    """
    now = inputs_now(lake, strategy, decision.day, seed, verdict_digest, content_of)
    now |= outcome_inputs_now(decision, content_of)
    stored = decision.current_inputs
    return sorted(key for key, digest in now.items() if stored.get(key) != digest)


def content_in(lake: Lake) -> ContentOf:
    """Return how to look up content hashes in a lake, a footer at a time."""

    def content_of(table: str, day: dt.date) -> str:
        provenance = lake.provenance(table, day)
        return provenance.content_hash if provenance else NONE

    return content_of
