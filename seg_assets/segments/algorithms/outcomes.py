"""Which outcomes an algorithm may learn from, what they are taken from, and what such algorithms have in common.

An outcome is how far a lifetime total of a user grew in a number of days that end on the fit day.

Not here: reading an outcome from the lake (`fitting.outcome`).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from seg_assets.segments.algorithms.base import Algorithm, Parameter

# Outcome name to the lifetime total that it is the growth of.
TOTALS = {
    "monetary": "monetary_all",
    "orders": "orders_all",
    "active_days": "active_days_all",
    "sessions": "sessions_all",
    "views": "views_all",
    "searches": "searches_all",
    "carts": "carts_all",
    "coupons": "coupons_all",
}
# Whether a user bought again, 0 or 1.
RETURNED = "returned"
OUTCOMES = (*TOTALS, RETURNED)
# What a strategy may ask for. `check_outcome` knows the outcomes; a horizon that history does not hold is cut by
# `fitting.outcome.horizon_of`.
OUTCOME_PARAMETERS = {
    "outcome": Parameter("monetary"),
    "horizon_days": Parameter(
        90,
        int,
        7,
        730,
        hint="it is the length of the days up to the fit day: the days after it are not known, and never read",
    ),
}


class GuidedAlgorithm(Algorithm):
    """An algorithm that learns from one outcome, or from several.

    several_outcomes: whether `parameters.outcome` may be a list.
    """

    is_guided: ClassVar[bool] = True
    several_outcomes: ClassVar[bool] = False

    def check(self, strategy: Any) -> None:
        """Refuse an unknown outcome too."""
        super().check(strategy)
        check_outcome(self.values_of(strategy.parameters)["outcome"], several=self.several_outcomes)

    def columns(self, strategy: Any) -> list[str]:
        """Return the profile columns that the outcomes are taken from."""
        return outcome_columns(self.values_of(strategy.parameters)["outcome"])


def outcome_names(outcome: str | Sequence[str]) -> list[str]:
    """Return the outcomes of a `parameters.outcome`: one name, or a list of them."""
    return [outcome] if isinstance(outcome, str) else list(outcome)


def total_of(outcome: str) -> str:
    """Return the lifetime total that an outcome is the growth of."""
    return TOTALS.get(outcome, "orders_all")


def recent_total_of(outcome: str) -> str:
    """Return the 90-day total that stands in for an outcome while a shop is too young to have one."""
    return total_of(outcome).replace("_all", "_90d")


def outcome_columns(outcome: str | Sequence[str]) -> list[str]:
    """Return the profile columns that outcomes need."""
    names = outcome_names(outcome)
    return list(dict.fromkeys([*map(total_of, names), *map(recent_total_of, names), "tenure_days"]))


def check_outcome(outcome: Any, several: bool = False) -> None:
    """Raise ValueError for an outcome that is not known, or given twice.

    several: a list of outcomes is allowed.
    """
    listed = isinstance(outcome, list | tuple) and several
    names = list(outcome) if listed else [outcome]
    unknown = [n for n in names if not isinstance(n, str) or n not in OUTCOMES]
    if unknown or not names:
        more = ", or a list of them" if several else ""
        raise ValueError(f"parameters.outcome = {outcome!r}: one of {', '.join(OUTCOMES)}{more}")
    if len(set(names)) != len(names):
        raise ValueError(f"parameters.outcome = {outcome!r}: one is given twice")


def stabilized(y: np.ndarray) -> np.ndarray:
    """Return the signed square root: refunds may make a user's net spend negative.

    Spend is a sum of purchases, so its variance grows with its mean; the square root evens it out (Bartlett 1936).
    """
    return np.sign(y) * np.sqrt(np.abs(y))
