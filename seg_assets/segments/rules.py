"""Rule segments: what a user is called when no clustering speaks for them. With them, coverage is 100 %.

Precedence, first that holds:

1. `unassigned`    the strategy has no champion yet; nobody is anything else on such a day
2. `suspected_bot` the profile says so, and the strategy's `rules.bots` is on
3. `dormant`       no event for `rules.dormant_after_days` or more
4. `new`           first seen fewer than `rules.new_within_days` days ago, or not eligible (too little is known)
5. `outlier`       the champion's algorithm says that the user is near no cluster (density)

Everyone else is in a cluster of the champion. A null never makes a user dormant or young; it does fail a minimum of
the eligibility. Ids are `<strategy>-<rule>`; minted ids end in digits, so the two cannot meet.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from seg_assets.segments.features import eligible_mask
from seg_assets.segments.strategy import Strategy

if TYPE_CHECKING:
    from seg_assets.segments.model import SegmentModel

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
    """The permanent segment id of a rule, `value-suspected-bot`."""
    return f"{strategy}-{rule.replace('_', '-')}"


def rule_ids(strategy: str) -> dict[str, str]:
    """Rule to segment id, in order of precedence."""
    return {rule: rule_id(strategy, rule) for rule in RULES}


def segment_names(strategy: Strategy, champion: "SegmentModel | None") -> dict[str, str]:
    """Readable name by segment id: the champion's clusters and every rule."""
    names = {segment: TITLES[rule] for rule, segment in rule_ids(strategy.name).items()}
    return {**names, **({s.id: s.name for s in champion.segments} if champion else {})}


def marked_names(strategy: Strategy, champion: "SegmentModel | None") -> dict[str, str]:
    """Names as they are shown: a segment that did not come out again from resampled users says so."""
    doubted = {s for s, fine in (champion.trusted if champion else {}).items() if not fine}
    return {s: f"{n} (untrusted)" if s in doubted else n for s, n in segment_names(strategy, champion).items()}


def rule_codes(strategy: Strategy, frame: pd.DataFrame, *, has_champion: bool) -> np.ndarray:
    """(n,) int8: index into RULES, or CLUSTERED. `outlier` is the model's to say, see `assign`."""
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


@dataclass(frozen=True)
class Depth:
    """How far inside a rule each user is, in the unit of the column that decides; negative is outside.

    column: (n,) the deciding column's name.
    days: (n, 2) depth as of the earlier and the later day. A null counts as just outside.
    """

    column: np.ndarray
    days: np.ndarray


def depth(strategy: Strategy, rule: str, held: np.ndarray, before: pd.DataFrame, after: pd.DataFrame) -> Depth:
    """How deep users are in `dormant`, `new` or `suspected_bot` on two days.

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
    who = strategy.eligibility
    least = {"orders_all": float(who.minimum_orders), "active_days_all": float(who.minimum_active_days), **who.minimum}
    # The first clause that holds on the day the rule holds is the one that decides.
    clauses = [("tenure_days", float(limits.new_within_days))] if limits.new_within_days is not None else []
    clauses += [(c, v) for c, v in least.items() if c in who.minimum or v > 0]
    column = np.full(len(held), "(known attributes)", dtype=object)
    at = np.column_stack([_unknown(who.any_known, before), _unknown(who.any_known, after)])
    open_ = np.ones(len(held), dtype=bool)
    for name, limit in clauses:
        found = _depth(name, before, after, lambda v, limit=limit: limit - v)
        value = np.where(held, _numbers(after, name), _numbers(before, name))
        missing = np.isnan(value) & (name != "tenure_days")
        decides = open_ & ((value < limit) | missing)
        column[decides] = name
        at[decides] = found.days[decides]
        open_ &= ~decides
    return Depth(column, at)


def _depth(column: str, before: pd.DataFrame, after: pd.DataFrame, inside) -> Depth:
    at = np.column_stack([inside(_numbers(before, column)), inside(_numbers(after, column))])
    return Depth(np.full(len(at), column, dtype=object), np.nan_to_num(at, nan=0.0, posinf=0.0, neginf=0.0))


def _unknown(columns: tuple[str, ...], frame: pd.DataFrame) -> np.ndarray:
    if not columns:
        return np.zeros(len(frame))
    return (~frame[list(columns)].notna().any(axis=1)).to_numpy(dtype=float)


def _numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


def history_days(frame: pd.DataFrame) -> int:
    """Days of history that profiles rest on: that of the user known longest, who came on the first day of data."""
    known = frame["tenure_days"].max() if len(frame) else None
    return 0 if pd.isna(known) else int(known) + 1
