"""Read what each decision cost and measure, one horizon later, what it was worth.

Costs stand in the decision itself (`segments.fitting.gate`). The worth is measured once the lake holds the profiles of
the decision's day plus the horizon: both models label the users of the day, and what those users did since says which
labels knew more. Refused challengers are measured too, for a gate is also judged by what it refused.

Not here: how decisions are taken (`segments.decisions`), and the measures of worth (`evaluation.validity`).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_assets.evaluation.validity import Estimate, difference
from seg_assets.evaluation.validity_lake import HORIZON_DAYS, labels_side_by_side, load_origin
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.challenge import challenger_frame
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.strategy import Strategy

# Metric of evaluation.validity to what a reader calls it.
SHOWN = {"r2": "spend", "active_r2": "activity", "mix": "category mix"}


@dataclass(frozen=True)
class Entry:
    """One decision with its costs; `worth` is empty, and `pending` says why, until it can be measured."""

    decision: Decision
    seconds: float | None
    worth: Mapping[str, Estimate]
    pending: str = ""

    def record(self) -> dict[str, Any]:
        """Return the entry as one flat JSON record."""
        d, numbers = self.decision, self.decision.numbers
        users, share = numbers.get("users"), numbers.get("relabelled")
        return {
            "strategy": d.strategy,
            "day": d.day.isoformat(),
            "cause": d.cause,
            "promoted": d.promoted,
            "model_id": d.model_id,
            "against_model_id": d.against_model_id,
            "gain": numbers.get("gain"),
            "yardstick": numbers.get("yardstick"),
            "stability": numbers.get("stability"),
            "users": users,
            "relabelled_share": share,
            "users_relabelled": round(share * users) if share is not None and users is not None else None,
            "audiences": numbers.get("audiences"),
            "audiences_changed": numbers.get("audiences_changed"),
            "work": numbers.get("work"),
            "seconds": self.seconds,
            "worth": {
                SHOWN[m]: {"value": _or_none(e.value), "lower": _or_none(e.lower), "upper": _or_none(e.upper)}
                for m, e in self.worth.items()
            },
            "pending": self.pending,
            "reason": d.reason,
        }


def ledger(lake: Lake, strategy: Strategy, *, worth: bool = True, horizon_days: int = HORIZON_DAYS) -> list[Entry]:
    """Return every decision of a strategy, oldest first.

    Args:
        lake: the lake.
        strategy: the strategy.
        worth: also measure the worth, which takes a second or so per decision.
        horizon_days: days after a decision over which the worth is measured.
    """
    entries = []
    champion: Decision | None = None
    for decision in decisions.decisions(lake, strategy.name):
        footer = lake.provenance(decisions.TABLE, decision.day, strategy.name)
        seconds = footer.extra.get("seconds") if footer is not None and footer.extra else None
        measured: Mapping[str, Estimate] = {}
        pending = "not measured"
        if worth:
            measured, pending = _worth(lake, strategy, champion, decision, horizon_days)
        entries.append(Entry(decision, seconds, measured, pending))
        champion = decision if decision.promoted else champion
    return entries


def _worth(
    lake: Lake, strategy: Strategy, champion: Decision | None, decision: Decision, horizon_days: int
) -> tuple[dict[str, Estimate], str]:
    if champion is None:
        return {}, "the first model: nothing to compare with"
    if champion.model_id == decision.model_id:
        return {}, "the same model"
    later = decision.day + dt.timedelta(days=horizon_days)
    missing = lake.missing("user_profiles", [decision.day, later])
    if missing:
        return {}, f"needs user_profiles of {missing[-1]}"
    old, new = champion.segment_model(), decision.segment_model()
    frame = challenger_frame(lake, strategy, decision.day, old)
    lacking = sorted({*old.space.missing_from(frame), *new.space.missing_from(frame)})
    if lacking:
        return {}, f"the profiles of {decision.day} lack {', '.join(lacking)}"
    origin = load_origin(lake, decision.day, horizon_days)
    labels, outcomes = labels_side_by_side(origin, strategy, frame, [old, new])
    gained = difference(labels[0], labels[1], outcomes)
    measured = {m: gained[m] for m in SHOWN if np.isfinite(gained[m].value)}
    return measured, "" if measured else "nothing to measure: no user's outcome differs from another's"


def table(entries: list[Entry], strategy: str, *, costs: bool) -> str:
    """Return the decisions as text; with `costs` also what each cost and was worth."""
    if not entries:
        return f"{strategy}: no decision yet"
    lines = [f"{strategy}: {len(entries)} decisions"]
    for entry in entries:
        r = entry.record()
        lines.append(f"{r['day']}  {r['cause']:<10}{'promoted' if r['promoted'] else 'refused ':<10}{r['model_id']}")
        lines.append(f"            {r['reason']}")
        if not costs:
            continue
        cost = []
        if r["users_relabelled"] is not None:
            cost.append(f"{r['users_relabelled']:,} of {r['users']:,} users relabelled")
        if r["audiences_changed"] is not None:
            cost.append(f"{r['audiences_changed']} of {r['audiences']} audiences changed")
        if r["work"] is not None:
            cost.append(f"{r['work'] / 1e6:.1f} M rows x segments")
        if r["seconds"] is not None:
            cost.append(f"{r['seconds']:.1f} s where it was made")
        spent = "would cost" if not r["promoted"] else "cost"
        lines.append(f"            {spent}: {'; '.join(cost) or 'not recorded'}")
        if r["worth"]:
            worth = ", ".join(f"{name} {_pair(e)}" for name, e in r["worth"].items())
            lines.append(
                f"            worth{'' if r['promoted'] else ', had it been promoted'}, in what is explained: {worth}"
            )
        else:
            lines.append(f"            worth: {r['pending']}")
    return "\n".join(lines)


def _pair(estimate: Mapping[str, float | None]) -> str:
    value, lower, upper = estimate["value"], estimate["lower"], estimate["upper"]
    reach = f" ±{(upper - lower) / 2:.3f}" if lower is not None and upper is not None else ""
    return f"{value:+.3f}{reach}"


def _or_none(x: float) -> float | None:
    return round(float(x), 6) if np.isfinite(x) else None
