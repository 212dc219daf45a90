"""Rule segments: what a user is called when no clustering speaks for them. With them, coverage is 100 %.

Precedence, first that holds:

1. `unassigned`    the strategy has no champion yet; nobody is anything else on such a day
2. `suspected_bot` the profile says so, and the strategy's `rules.bots` is on
3. `dormant`       no event for `rules.dormant_after_days` or more
4. `new`           first seen fewer than `rules.new_within_days` days ago, or not eligible (too little is known)
5. `outlier`       the champion's algorithm says that the user is near no cluster (density)

Everyone else is in a cluster of the champion. A null never makes a user dormant or young; it does fail a minimum of
the eligibility. Ids are `<strategy>-<rule>`; minted ids end in digits, so the two cannot meet.

Not here: names of clusters (`model.segment_names`), and who is in which segment on a day (`daily.assign`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seg_assets.segments.strategy import Strategy

UNASSIGNED, BOT, DORMANT, NEW, OUTLIER = "unassigned", "suspected_bot", "dormant", "new", "outlier"
# In order of precedence.
RULES = (UNASSIGNED, BOT, DORMANT, NEW, OUTLIER)
CLUSTERED = -1
TITLES = {
    UNASSIGNED: "Not segmented yet",
    BOT: "Suspected bots",
    DORMANT: "Dormant",
    NEW: "New or little known",
    OUTLIER: "Outliers",
}


def rule_id(strategy: str, rule: str) -> str:
    """Return the permanent segment id of a rule, `value-suspected-bot`."""
    return f"{strategy}-{rule.replace('_', '-')}"


def rule_ids(strategy: str) -> dict[str, str]:
    """Return the segment id of each rule, in order of precedence."""
    return {rule: rule_id(strategy, rule) for rule in RULES}


def rule_of(strategy: str, segment_id: str) -> str:
    """Return the rule that a segment id belongs to, '' for a cluster."""
    return next((rule for rule, segment in rule_ids(strategy).items() if segment == segment_id), "")


def rule_codes(strategy: Strategy, frame: pd.DataFrame, *, has_champion: bool) -> np.ndarray:
    """Return (n,) int8: index into RULES, or CLUSTERED. `outlier` is the model's to say, see `assign`."""
    codes = np.full(len(frame), CLUSTERED, dtype=np.int8)
    if not has_champion:
        codes[:] = RULES.index(UNASSIGNED)
        return codes
    rules = strategy.rules
    codes[~eligible_mask(strategy, frame)] = RULES.index(NEW)
    if rules.new_within_days is not None:
        codes[_numbers(frame, "tenure_days") < rules.new_within_days] = RULES.index(NEW)
    if rules.dormant_after_days is not None:
        codes[_numbers(frame, "inactive_days") >= rules.dormant_after_days] = RULES.index(DORMANT)
    if rules.bots:
        codes[_numbers(frame, "is_suspected_bot") > 0] = RULES.index(BOT)
    return codes


def clustered_mask(strategy: Strategy, frame: pd.DataFrame) -> np.ndarray:
    """Return boolean (n,): users that take part in clustering, caught by none of the rules."""
    return rule_codes(strategy, frame, has_champion=True) == CLUSTERED


def eligible_mask(strategy: Strategy, frame: pd.DataFrame) -> np.ndarray:
    """Return boolean (n,): users that satisfy the strategy's `eligibility`."""
    eligible = np.ones(len(frame), dtype=bool)
    for column, least in strategy.eligibility.minimums.items():
        eligible &= _numbers(frame, column) >= least
    return eligible & ~_nothing_known(strategy, frame)


def population(strategy: Strategy, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the users that take part in clustering, index 0..n-1.

    Dormant users pile up day by day; that is not drift, and nothing to cluster.
    """
    mask = clustered_mask(strategy, frame) if len(frame) else np.ones(0, dtype=bool)
    # Asked again of the population itself: the same frame, not a copy of 24 columns.
    return frame if mask.all() else frame[mask].reset_index(drop=True)


def deciding_columns(strategy: Strategy) -> list[str]:
    """Return the profile columns that decide which rule segment takes a user, one of them maybe twice."""
    rules, who = strategy.rules, strategy.eligibility
    asked = {
        "orders_all": who.minimum_orders,
        "active_days_all": who.minimum_active_days,
        "tenure_days": rules.new_within_days is not None,
        "inactive_days": rules.dormant_after_days is not None,
        "is_suspected_bot": rules.bots,
    }
    return [*(column for column, decides in asked.items() if decides), *who.minimum]


@dataclass(frozen=True)
class Depth:
    """How far inside a rule each user is, in the unit of the column that decides; negative is outside.

    column: (n,) the deciding column's name.
    days: (n, 2) depth as of the earlier and the later day. A null counts as just outside.
    """

    column: np.ndarray
    days: np.ndarray


def depth(strategy: Strategy, rule: str, held: np.ndarray, before: pd.DataFrame, after: pd.DataFrame) -> Depth:
    """Measure how deep users are in `dormant`, `new` or `suspected_bot` on two days.

    Args:
        strategy: gives the limits.
        rule: one of the three.
        held: boolean (n,): the rule holds on the later day (True) or held on the earlier day (False).
        before: frame of the earlier day, one row per user.
        after: frame of the later day, same users, same order.
    """
    limits = strategy.rules
    if rule == BOT:
        return _depth("is_suspected_bot", before, after, lambda v: v)
    if rule == DORMANT:
        return _depth("inactive_days", before, after, lambda v: v - (limits.dormant_after_days or 0) + 1)
    # The first clause that holds on the day the rule holds is the one that decides.
    clauses = [("tenure_days", float(limits.new_within_days))] if limits.new_within_days is not None else []
    clauses += strategy.eligibility.minimums.items()
    column = np.full(len(held), "(known attributes)", dtype=object)
    days = np.column_stack([_nothing_known(strategy, frame).astype(float) for frame in (before, after)])
    undecided = np.ones(len(held), dtype=bool)
    for name, limit in clauses:
        value = np.where(held, _numbers(after, name), _numbers(before, name))
        missing = np.isnan(value) & (name != "tenure_days")
        decides = undecided & ((value < limit) | missing)
        column[decides] = name
        days[decides] = _depth(name, before, after, lambda v, limit=limit: limit - v).days[decides]
        undecided &= ~decides
    return Depth(column, days)


def _depth(column: str, before: pd.DataFrame, after: pd.DataFrame, inside: Callable[[np.ndarray], np.ndarray]) -> Depth:
    """Apply `inside`, the depth of a value of the column, to both days."""
    days = np.column_stack([inside(_numbers(before, column)), inside(_numbers(after, column))])
    return Depth(np.full(len(days), column, dtype=object), np.nan_to_num(days, nan=0.0, posinf=0.0, neginf=0.0))


def _nothing_known(strategy: Strategy, frame: pd.DataFrame) -> np.ndarray:
    """Return boolean (n,): users of whom the eligibility's `any_known` is all null."""
    columns = strategy.eligibility.any_known
    return frame[list(columns)].isna().all(axis=1).to_numpy() if columns else np.zeros(len(frame), dtype=bool)


def _numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as float64, NaN for null."""
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


def history_days(frame: pd.DataFrame) -> int:
    """Return the days of history that profiles rest on: that of the user known longest, who came on the first day."""
    known = frame["tenure_days"].max() if len(frame) else None
    return 0 if pd.isna(known) else int(known) + 1
