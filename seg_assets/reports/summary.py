"""Say the lake in one screen of text: what `seg-assets demo` prints at the end.

Not here: the report pages (`page`), and findings about the lake's state (`loop.doctor`).
"""

import datetime as dt
import textwrap
from collections.abc import Mapping, Sequence

from seg_assets.core.days import say_days
from seg_assets.core.settings import Settings
from seg_assets.core.text import number, percent, printable, short, shortened
from seg_assets.lake.store import Lake
from seg_assets.reports import words
from seg_assets.reports.contents import DecisionRow, Report
from seg_assets.reports.gather import build_report
from seg_assets.reports.history import PROFILES, load_history
from seg_assets.reports.write import index_path, page_path
from seg_assets.segments.strategy import Strategy

WIDTH = 110
# Wrapped text may go this far over, and is never narrower than this.
OVER, NARROWEST = 20, 30
# Longer names of a shop's own are cut, so that columns stay in line.
NAME = 34


def summarize(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, last_day: dt.date) -> str:
    """Return a summary of the lake as of the last day up to `last_day` that has segments.

    Names days, users, segments, drift, decisions, and where the pages are.
    """
    days = [day for day in lake.days(PROFILES) if day <= last_day]
    lines = [_rule("seg-assets")]
    if not days:
        return "\n".join([*lines, f"No day up to {last_day} has segments yet. Materialize one: seg-assets replay.", ""])
    day = days[-1]
    history = load_history(lake, list(strategies), day, day)
    reports = {name: build_report(history, strategy, day) for name, strategy in strategies.items()}
    users = max((report.users for report in reports.values()), default=0)
    lines += [
        f"days       {len(days)} with segments: {say_days(days)}",
        f"users      {number(users)} known at the end of {day}",
        f"strategies {', '.join(strategies)}",
    ]
    for name, report in reports.items():
        lines += ["", _rule(f"{report.title} ({name})"), *_segments(report), *_drift(report)]
        lines += _decisions(report.decisions)
    lines += ["", _rule("reports"), f"all days    {index_path(settings)}"]
    for name in strategies:
        path = page_path(settings, name, day)
        remedy = f"   (not written yet: seg-assets report --strategy {name} --day {day})"
        lines.append(f"{name:<11} {path}{'' if path.exists() else remedy}")
    return "\n".join([*lines, ""])


def _rule(title: str) -> str:
    return f"── {title} " + "─" * max(WIDTH - len(title) - 4, 3)


def _wrapped(head: str, text: str) -> list[str]:
    """Return lines of text behind a head, which later lines are indented by."""
    first, *others = textwrap.wrap(text, max(WIDTH + OVER - len(head), NARROWEST)) or [""]
    return [(head + first).rstrip(), *(" " * len(head) + line for line in others)]


def _segments(report: Report) -> list[str]:
    lines = [f"{'segment':<{NAME + 15}}{'users':>8}{'share':>9}{'spend 90d':>11}   what sets it apart"]
    for row in report.segments:
        name = shortened(printable(row.name), NAME)
        label = f"{row.segment_id:<14} {name}" if row.is_cluster else f"{'by rule':<14} {name}"
        trust = "  [untrusted]" if row.trusted is False else ""
        apart = words.apart_words(row.apart) if row.is_cluster else ""
        numbers = f"{number(row.users):>8}{percent(row.share):>9}{short(row.value_mean):>11}"
        lines += _wrapped(f"{label:<{NAME + 15}}{numbers}   ", apart + trust)
    return lines


def _drift(report: Report) -> list[str]:
    judged = [verdict for verdict in report.drift if verdict.score is not None]
    lines = []
    if judged:
        flagged = sum(verdict.flagged for verdict in judged)
        drifted = [verdict.day for verdict in judged if verdict.drifted]
        outcome = f"drifted on {say_days(drifted)}" if drifted else "no drift"
        lines.append(f"drift      {len(judged)} days judged, {flagged} flagged, {outcome}")
        if report.verdict and report.verdict.reason:
            lines.append(f"           {report.day}: {report.verdict.reason}")
    else:
        lines.append("drift      no verdict yet: there is no model to compare with")
    if report.real is not None:
        real = "real (they beat data without groups)" if report.real else "not shown to be real"
        lines.append(f"quality    the groups are {real}; silhouette {number(report.metrics.get('silhouette'), 3)}")
    return lines


def _decisions(decisions: Sequence[DecisionRow]) -> list[str]:
    if not decisions:
        return ["decisions  none yet"]
    lines = []
    for n, decision in enumerate(decisions):
        outcome = "promoted    " if decision.promoted else "not promoted"
        cause = words.CAUSES.get(decision.cause, decision.cause)
        head = f"{'' if n else 'decisions':<11}{decision.day}  {cause:<20}{outcome}  "
        lines += _wrapped(head, decision.reason)
    return lines
