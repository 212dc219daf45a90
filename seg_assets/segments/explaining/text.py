"""Put an explanation into words for a terminal.

Not here: what is explained (`explaining.user`), and the words of a report's page (`reports.words`).
"""

import datetime as dt
import itertools
from collections.abc import Mapping
from typing import Any

from seg_assets.segments.daily.assign import CLUSTER
from seg_assets.segments.daily.moves import ENTERED, INTERCEPT, IS_OUTLIER, NO_CHAMPION, TOLERANCE
from seg_assets.segments.explaining.user import Explanation, value_text
from seg_assets.segments.model import TRUSTED

# Drivers and contributions that are listed one by one; the rest is added up.
DRIVERS, CONTRIBUTIONS = 6, 5
# Terms of a margin that no column of a user's profile stands behind.
WORDS = {
    INTERCEPT: "the model's own weighting, the same for every user",
    NO_CHAMPION: "a model where there was none",
    IS_OUTLIER: "near no segment, or near one again",
}


def say(explanation: Explanation) -> str:
    """Return an explanation as text."""
    e = explanation
    lines = [f"{e.strategy}: {_quoted(e.user_id)} on {e.day} is in {e.segment_id}, {e.name}"]
    stay = (e.day - e.since_day).days + 1
    lines.append(f"  since {e.since_day} ({stay} day{'s' if stay != 1 else ''})")
    if e.jaccard is not None and e.jaccard < TRUSTED:
        lines.append(
            f"  do not rely on this segment: in resamples of the users it came out again to {e.jaccard:.0%} only "
            f"(under {TRUSTED:.0%} is untrusted)"
        )
    if e.kind != CLUSTER:
        lines.append(f"  by rule: {e.reason}")
    elif e.second_id is None:
        lines.append("  the model has one segment")
    else:
        lines += _why_this_segment(e)
    lines += ["  " + line for line in _move_lines(e.last_move, e.since_day)]
    return "\n".join(lines)


def _why_this_segment(e: Explanation) -> list[str]:
    margin = e.margin or 0
    lines = [
        f"  confidence {e.confidence or 0:.2f}; next is {e.second_id}, {e.second_name}, {margin:.4g} further away"
        if margin >= 0
        else f"  held: {e.second_id}, {e.second_name}, is nearer by {-margin:.4g}"
    ]
    if e.proposed:
        lines.append(f"  proposed for {e.proposed} for {e.proposed_days} day(s) in a row")
    lines.append(f"  why {e.segment_id} and not {e.second_id} (terms add up to the margin):")
    for driver in e.drivers[:DRIVERS]:
        means = ""
        if driver.segment_mean is not None and driver.second_mean is not None:
            means = f" ({e.segment_id}: {driver.segment_mean:,.4g}, {e.second_id}: {driver.second_mean:,.4g})"
        what = WORDS.get(driver.feature) or f"{driver.feature} = {value_text(driver.value)}{means}"
        lines.append(f"    {driver.term:+10.4f}  {what}")
    rest = e.drivers[DRIVERS:]
    if rest:
        lines.append(f"    {sum(d.term for d in rest):+10.4f}  {len(rest)} others")
    return [*lines, "  " + _counterfactual_line(e)]


def _counterfactual_line(e: Explanation) -> str:
    change = e.counterfactual
    if change is None:
        return f"no change of a single feature would move them to {e.second_id} at once"
    by = ""
    if isinstance(change.now, float) and isinstance(change.needed, float):
        by = f" ({change.needed - change.now:+,.6g})"
    return (
        f"would move to {change.segment_id} at once with {change.feature} = {value_text(change.needed)} "
        f"instead of {value_text(change.now)}{by}, all else unchanged"
    )


def _move_lines(move: Mapping[str, Any] | None, day: dt.date) -> list[str]:
    if move is None:
        return [f"how they came: segment_moves of {day} says nothing"]
    if move["kind"] == ENTERED:
        return [f"entered on {day}: not known the day before"]
    waited = f", after waiting {move['waited_days']} day(s)" if move["waited_days"] else ""
    margin = f"{_signed(move['margin_before'])} -> {_signed(move['margin_after'])}"
    lines = [
        f"came from {move['from_segment']} on {day}{waited}; cause: {move['cause']}. "
        f"Margin {margin}: the user {_signed(move['user_part'])}, the model {_signed(move['model_part'])}"
    ]
    for part in itertools.islice(move["contributions"], CONTRIBUTIONS):
        split = f" (user {part['user']:+.4f}, model {part['model']:+.4f})" if part["user"] and part["model"] else ""
        lines.append(f"  {part['user'] + part['model']:+10.4f}  {WORDS.get(part['feature'], part['feature'])}{split}")
    return lines


def _signed(value: float) -> str:
    """Return a number with its sign; nothing, and what is left of it by rounding, has none."""
    return "0" if abs(value) < TOLERANCE else f"{value:+.4g}"


def _quoted(user_id: str) -> str:
    return user_id if user_id.isprintable() and user_id.strip() == user_id and user_id else repr(user_id)
