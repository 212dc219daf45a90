"""results.json, and what README.md shows of it, tables and a chart between markers. Figures only."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from benchmarks.shop import ROOT, SIZES
from seg_assets.core import svg
from seg_assets.core.text import markdown_table
from studies.markers import put_between

FOLDER = ROOT
RESULTS = ROOT / "results.json"
README = ROOT / "README.md"
CHART = ROOT / "chart.svg"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
PICTURE = "![CPU seconds and peak memory by room](chart.svg)"
SUBJECTS = ("ours", "floor", "pandas", "polars")
ROWS = {
    "events": "events: landing file of the day",
    "profiles": "profiles of the day",
    "segments": "segments: fit, assign, describe, moves",
    "evaluation": "evaluation",
    "drift": "drift against the day before",
    "whole_day": "**whole day, with a fit**",
}
COLORS = {"ours": "#1f5fa8", "floor": "#9aa5b1", "pandas": "#d08a2e", "polars": "#6f9f58"}
# Fixed cost that the profiles room may have beside 1.3 times the floor.
OVERHEAD_SECONDS = 10


def save(results: Mapping[str, Any]) -> None:
    """The last run, and the last run of this size."""
    text = json.dumps(results, indent=1) + "\n"
    RESULTS.write_text(text)
    (FOLDER / f"results-{results['size']}.json").write_text(text)


def load_all() -> dict[str, dict[str, Any]]:
    """The last results of each size that was run, the largest first."""
    found = {name: FOLDER / f"results-{name}.json" for name in ("full", "small", *SIZES)}
    return {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}


def write() -> None:
    """Put tables and chart into the README."""
    shown = {name: results for name, results in load_all().items() if name != "tiny"}
    if not shown:
        return
    # The chart is of the largest size whose rooms were measured.
    README.write_text(put_between(README.read_text(), BEGIN, END, f"{PICTURE}\n\n{table_of(shown)}", str(README)))
    drawn = next((results for results in shown.values() if "whole_day" in results), None)
    if drawn:
        CHART.write_text(chart(drawn))


def table_of(shown: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of all sizes."""
    return "\n".join(size_table(results) for results in shown.values())


def size_table(results: Mapping[str, Any]) -> str:
    """Markdown of one size."""
    shop, machine = results["shop"], results["machine"]
    events = f"{shop['events']:,} events" if "events" in shop else "events"
    at_once = "two pieces of work at a time: compare CPU seconds, not wall; " if shop.get("at_once", 1) > 1 else ""
    lines = [
        f"### Size `{results['size']}`: {shop['users']:,} users, {events}, {shop['days']} days",
        "",
        f"{shop.get('profiles', 0):,} of the users were seen by then and have a profile. {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, load {machine['load_at_start']} at the start; {at_once}"
        + ", ".join(f"{k} {v}" for k, v in machine.items() if k not in ("cores", "memory_gb", "load_at_start"))
        + ".",
        "",
    ]
    if "whole_day" in results:
        lines += rooms_table(results)
    lines += targets_table(results)
    lines += overheads_table(results)
    return "\n".join(lines) + "\n"


def rooms_table(results: Mapping[str, Any]) -> list[str]:
    """CPU seconds (wall), peak memory, ratios of each room."""
    head = ["", *SUBJECTS, "ours / floor", "pandas / ours", "memory ours / pandas", "equal"]
    rows = []
    for key, name in ROWS.items():
        row = results[key]
        costs = [
            # The break of the line is ours, and no text of data.
            Markup("{:.1f} ({:.0f})<br>{:,.0f} MB").format(s["cpu_seconds"], s["wall_seconds"], s["peak_memory_mb"])
            for s in (row[subject] for subject in SUBJECTS)
        ]
        ratios = [f"{row[k]:.2f}" for k in ("cpu_ratio_floor", "cpu_ratio_pandas_to_ours", "peak_ratio_ours_to_pandas")]
        rows.append([name, *costs, *ratios, "yes" if row["equal_results"] else "no"])
    lines = [
        "CPU seconds (wall seconds in brackets), and peak memory in MB:",
        "",
        markdown_table(head, rows, ours=True),
    ]
    ordinary, cold = results["ordinary_day"]["ours"], results["cold"]
    parts = ", ".join(f"{name.replace('_', ' ')} {part['cpu_seconds']:.0f}" for name, part in cold["parts"].items())
    even = cold["days_to_break_even"]
    later = "less than ours at this size" if even is None else f"its whole day: more than ours after {even:.0f} days"
    lines += [
        "",
        f"An ordinary day of ours (nothing asks for a fit): {ordinary['cpu_seconds']:.1f} CPU s "
        f"({ordinary['wall_seconds']:.0f}), {ordinary['peak_memory_mb']:,.0f} MB: pandas takes "
        f"{cold['pandas']['cpu_seconds'] / ordinary['cpu_seconds']:.1f} times its CPU and "
        f"{cold['pandas']['wall_seconds'] / ordinary['wall_seconds']:.1f} times its wall. "
        f"Reports of a day: {results['reports']['ours']['cpu_seconds']:.1f} CPU s, in a process of their own.",
        "",
        f"From nothing ({results['shop']['days']} days of landing files, then the last day): ours "
        f"{cold['ours']['cpu_seconds']:.0f} CPU s ({parts}), pandas {cold['pandas']['cpu_seconds']:.0f} CPU s for the "
        f"last day alone. Every day after, pandas pays {later}.",
        "",
    ]
    for subject, rooms in results["differences"].items():
        for room, found in rooms.items():
            if found:
                lines.append(f"- not equal: {subject}, {room}: {'; '.join(found[:5])}")
    inertia = ", ".join(
        f"{s} {results['whole_day'][s]['inertia_ours_to_theirs']:.4f}" for s in ("floor", "pandas", "polars")
    )
    lines += [f"Inertia that our fit leaves, by theirs (under 1: ours is tighter): {inertia}.", ""]
    return lines


def targets(results: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What was aimed at: text, figure, target, met."""
    found = []
    if "profiles" in results:
        row, day = results["profiles"], results["whole_day"]
        allowed = 1.3 * row["floor"]["cpu_seconds"] + OVERHEAD_SECONDS
        found += [
            (
                "profiles room, CPU s",
                f"{row['cpu_seconds']:.1f}",
                f"<= 1.3 x floor + {OVERHEAD_SECONDS} s = {allowed:.1f}",
                row["cpu_seconds"] <= allowed,
            ),
            *(
                (
                    f"whole day, {clock} of pandas by ours",
                    f"{day['pandas'][key]:.0f} s / {day[key]:.1f} s = {day[ratio]:.2f}",
                    ">= 5",
                    day[ratio] >= 5,
                )
                for clock, key, ratio in (
                    ("wall", "wall_seconds", "wall_ratio_pandas_to_ours"),
                    ("CPU", "cpu_seconds", "cpu_ratio_pandas_to_ours"),
                )
            ),
            (
                "whole day, peak memory of ours by pandas",
                f"{day['peak_ratio_ours_to_pandas']:.2f}",
                "<= 0.33",
                day["peak_ratio_ours_to_pandas"] <= 1 / 3,
            ),
        ]
    if "range_365" in results:
        row = results["range_365"]
        value = row["ratio_range_day_to_single_day"]
        found.append(
            (
                f"a day of a range of {row['days']} by a day alone, {row['users']:,} users, CPU",
                f"{row['cpu_seconds_per_day']:.2f} s / {row['single_day']['cpu_seconds']:.1f} s = {value:.3f}",
                "<= 0.1",
                value <= 0.1,
            )
        )
    if "flat" in results:
        row = results["flat"]
        value = row["cpu_ratio_late_to_early"]
        found.append(
            (
                f"profiles of day {row['late_day']} by day {row['early_day']}, {row['users']:,} users, CPU",
                f"{row['late']['cpu_seconds']:.1f} s / {row['early']['cpu_seconds']:.1f} s = {value:.2f}",
                "<= 1.2",
                value <= 1.2,
            )
        )
    return found


def targets_table(results: Mapping[str, Any]) -> list[str]:
    """Targets beside figures."""
    rows = [[name, value, aim, "yes" if met else "**no**"] for name, value, aim, met in targets(results)]
    return [markdown_table(["target", "figure", "aimed at", "met"], rows, ours=True), ""]


def overheads_table(results: Mapping[str, Any]) -> list[str]:
    """What is paid beside computing."""
    over = results.get("overheads")
    if not over:
        return []
    load = over["load_of_the_code_location"]

    def seconds(row: Mapping[str, float]) -> str:
        cpu = f"{row['cpu_seconds']:.2f} CPU s, " if "cpu_seconds" in row else ""
        return f"{cpu}{row['wall_seconds']:.2f} s"

    rows = {
        "import of Dagster": load["import_dagster"],
        "load of the code location after it": load["code_location"],
        "start of a run (asked to first step), first of a process": over["run_start_first_of_a_process"],
        "start of a run, next": over["run_start_next"],
        "one dbt invocation, smallest table, first of a process (imports dbt)": over["dbt_first_of_a_process"],
        "one dbt invocation, next": over["dbt_next"],
        f"drift sensor, one plan over {over['tick_days']:,} days ({over['tick_files']:,} files), fresh process": over[
            "tick_first_of_a_process"
        ],
        "drift sensor, next plan": over["tick_next"],
    }
    return [markdown_table(["overhead", "cost"], [[name, seconds(row)] for name, row in rows.items()], ours=True), ""]


def chart(results: Mapping[str, Any]) -> str:
    """CPU seconds by room and subject as an SVG of horizontal bars, with peak memory of the whole day."""
    panels = [
        ("CPU seconds", "cpu_seconds", list(ROWS)),
        ("peak memory, MB", "peak_memory_mb", ["profiles", "whole_day"]),
    ]
    parts, y = [], 34
    for n, subject in enumerate(SUBJECTS):
        parts += [svg.rect(330 + 80 * n, 12, 10, 10, fill=COLORS[subject]), svg.text(344 + 80 * n, 21, subject)]
    for title, key, rooms in panels:
        width = svg.scale(0, max(results[r][s][key] for r in rooms for s in SUBJECTS), 0, 440)
        parts.append(svg.text(12, y, title, font_weight="bold"))
        y += 12
        for room in rooms:
            parts.append(svg.text(118, y + 28, room.replace("_", " "), anchor="end"))
            for subject in SUBJECTS:
                value = results[room][subject][key]
                wide = max(1.0, width(value))
                parts.append(svg.rect(126, y, wide, 10, fill=COLORS[subject]))
                parts.append(svg.text(132 + wide, y + 9, f"{value:,.1f}", font_size=10))
                y += 12
            y += 8
        y += 22
    return svg.drawing(660, y, parts, title="CPU seconds and peak memory by room and subject") + "\n"
