"""The lake in one screen of text: what `make demo` prints at the end."""

import datetime as dt
import textwrap
from collections.abc import Mapping

from seg_assets.core.days import say_days
from seg_assets.core.settings import Settings
from seg_assets.core.text import number, percent, short
from seg_assets.lake.store import Lake
from seg_assets.reports import words
from seg_assets.reports.contents import Report
from seg_assets.reports.gather import PROFILES, build_report, load_history
from seg_assets.reports.write import index_path, page_path
from seg_assets.segments.decisions.store import decisions
from seg_assets.segments.strategy import Strategy

WIDTH = 110
# Longer names of a shop's own are cut, so that columns stay in line.
NAME = 34


def summarize(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, last_day: dt.date) -> str:
    """A readable summary of the lake as of `last_day`: days, users, segments, drift, decisions, where the pages are.

    The day shown is the last one up to `last_day` that has segments.
    """
    days = [d for d in lake.days(PROFILES) if d <= last_day]
    lines = [_rule("seg-assets")]
    if not days:
        return "\n".join([*lines, f"No day up to {last_day} has segments yet. Materialize one: seg-assets replay.", ""])
    day = days[-1]
    history = load_history(lake, list(strategies), day, day)
    reports = {name: build_report(history, strategy, day) for name, strategy in strategies.items()}
    users = max((r.users for r in reports.values()), default=0)
    lines += [
        f"days       {len(days)} with segments: {say_days(days)}",
        f"users      {number(users)} known at the end of {day}",
        f"strategies {', '.join(strategies)}",
    ]
    for name, report in reports.items():
        lines += ["", _rule(f"{report.title} ({name})"), *_segments(report), *_drift(lake, report, days)]
        lines += _decisions(lake, name, day)
    lines += ["", _rule("reports"), f"all days    {index_path(settings)}"]
    for name in strategies:
        path = page_path(settings, name, day)
        there = "" if path.exists() else f"   (not written yet: seg-assets report --strategy {name} --day {day})"
        lines.append(f"{name:<11} {path}{there}")
    return "\n".join([*lines, ""])


def _rule(title: str) -> str:
    return f"── {title} " + "─" * max(WIDTH - len(title) - 4, 3)


def _segments(report: Report) -> list[str]:
    lines = [f"{'segment':<{NAME + 15}}{'users':>8}{'share':>9}{'spend 90d':>11}   what sets it apart"]
    for row in report.segments:
        name = "".join(c if c.isprintable() else " " for c in row.name)
        name = name if len(name) <= NAME else name[: NAME - 1] + "…"
        label = f"{row.segment_id:<14} {name}" if row.is_cluster else f"{'by rule':<14} {name}"
        trust = "  [untrusted]" if row.trusted is False else ""
        apart = words.apart_words(row.apart) if row.is_cluster else ""
        head = f"{label:<{NAME + 15}}{number(row.users):>8}{percent(row.share):>9}{short(row.value_mean):>11}   "
        told = textwrap.wrap(apart + trust, max(WIDTH + 20 - len(head), 30)) or [""]
        lines.append((head + told[0]).rstrip())
        lines += [" " * len(head) + more for more in told[1:]]
    return lines


def _drift(lake: Lake, report: Report, days: list[dt.date]) -> list[str]:
    judged = [d for d in report.drift if d.score is not None]
    real = {
        True: "the groups are real (they beat data without groups)",
        False: "the groups are not shown to be real",
        None: "",
    }
    lines = []
    if judged:
        flagged = sum(d.flagged for d in judged)
        drifted = [d.day for d in judged if d.drifted]
        told = f", drifted on {say_days(drifted)}" if drifted else ", no drift"
        lines.append(f"drift      {len(judged)} days judged, {flagged} flagged{told}")
        if report.verdict and report.verdict.reason:
            lines.append(f"           {report.day}: {report.verdict.reason}")
    else:
        lines.append("drift      no verdict yet: there is no model to compare with")
    if real[report.real]:
        silhouette = report.metrics.get("silhouette")
        lines.append(f"quality    {real[report.real]}; silhouette {number(silhouette, 3)}")
    return lines


def _decisions(lake: Lake, strategy: str, day: dt.date) -> list[str]:
    taken = [d for d in decisions(lake, strategy) if d.day <= day]
    if not taken:
        return ["decisions  none yet"]
    lines = []
    for n, decision in enumerate(taken):
        outcome = "promoted    " if decision.promoted else "not promoted"
        cause = words.CAUSES.get(decision.cause, decision.cause)
        head = f"{'decisions' if n == 0 else '':<11}{decision.day}  {cause:<20}{outcome}  "
        told = textwrap.wrap(decision.reason, max(WIDTH + 20 - len(head), 40)) or [""]
        lines.append(head + told[0])
        lines += [" " * len(head) + more for more in told[1:]]
    return lines
