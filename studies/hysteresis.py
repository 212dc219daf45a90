"""Hysteresis weighed: moves saved against validity lost, on a lake's own days. Rewrites the part of docs/moves.md.

`python -m studies.hysteresis --from D --to E` fits each strategy once, on D, and lets the frozen model label
every day up to E under a grid of margins and dwells, with the daily code itself. What labels of a day say about the
90 days after it is compared with the labels without hysteresis, on the same bootstrap draws of users.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.days import day_range
from seg_assets.core.numerics import fit_seed
from seg_assets.lake.store import Lake
from seg_assets.segments.daily.assign import CLUSTER, assign_day, load_for
from seg_assets.segments.decisions.challenge import challenger_frame
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.strategy import Hysteresis, Strategy
from studies.drift import replace_between

NONE = Hysteresis(margin=0.0, dwell_days=0)
MARGINS, DWELLS = (0.2, 0.4, 0.6), (3, 5, 7, 14)
GRID = (NONE, *(Hysteresis(margin=m, dwell_days=d) for d in DWELLS for m in MARGINS))
# What a daily label should keep to: of the users in a cluster on both days, and of those moves.
MOST_MOVED, MOST_FLIPPED, WEEK = 0.02, 0.10, 7
# Labels are judged on every second week; the first four weeks all settings are still near each other.
FIRST_JUDGED, JUDGED_EVERY = 28, 14
# The half width of an interval is then known to a seventh.
REPLICATIONS = 25
# What each strategy is about, among the metrics of evaluation.validity.
ABOUT = {"value": ("r2", "next-quarter spend"), "interest": ("mix", "next-quarter category mix")}
OTHERWISE = ("active_r2", "next-quarter active days")


@dataclass(frozen=True)
class Weighed:
    """One setting of one strategy. Shares of users; validity and its change with half of its 95 % interval."""

    setting: Hysteresis
    moved: float
    flipped: float
    validity: float
    loss: float
    reach: float

    @property
    def within_targets(self) -> bool:
        """Few enough moves, and few enough of them undone."""
        return self.moved <= MOST_MOVED and self.flipped <= MOST_FLIPPED


def weigh(
    lake: Lake, strategy: Strategy, first: dt.date, last: dt.date, seed: int, grid: Iterable[Hysteresis] = GRID
) -> list[Weighed]:
    """Label first..last with a model of `first` under every setting. `grid` begins with no hysteresis.

    Raises:
        MissingDaysError: profiles of a day, or of 90 days after a judged day, were never materialized.
    """
    from seg_assets.evaluation.validity import difference, measure
    from seg_assets.evaluation.validity_lake import HORIZON_DAYS, load_origin

    model = frozen(lake, strategy, first, seed)
    days = day_range(first, last)
    judged = days[FIRST_JUDGED::JUDGED_EVERY]
    origins = {day: load_origin(lake, day, HORIZON_DAYS) for day in judged}
    metric = ABOUT.get(strategy.name, OTHERWISE)[0]
    outcomes = {day: origin.outcomes for day, origin in origins.items()}
    if metric != "mix":
        # Hundreds of categories under a hundred weightings cost more than all the rest, for a number nobody reads here.
        outcomes = {day: replace(o, mix=np.empty((0, 0))) for day, o in outcomes.items()}
    settings = list(grid)
    tracks = [_Track() for _ in settings]
    labels: dict[dt.date, list[np.ndarray]] = {day: [] for day in judged}
    for day in days:
        frame = load_for(lake, strategy, day, [model])
        for setting, track in zip(settings, tracks, strict=True):
            one = strategy.model_copy(update={"hysteresis": setting})
            today = track.step(assign_day(one, frame, model, track.yesterday, day))
            if day in labels:
                known = today.set_index("user_id")["segment_id"].reindex(origins[day].frame["user_id"]).fillna("")
                labels[day].append(known.to_numpy(dtype=object).astype(str))
    found = []
    for n, (setting, track) in enumerate(zip(settings, tracks, strict=True)):
        own = [measure(labels[day][n], outcomes[day])[metric] for day in judged]
        draws = REPLICATIONS if n else 0
        apart = [
            difference(labels[day][0], labels[day][n], outcomes[day], replications=draws)[metric] for day in judged
        ]
        loss = float(np.mean([e.value for e in apart])) if n else 0.0
        # Days share users: the mean's interval is taken as wide as one day's.
        reach = float(np.mean([(e.upper - e.lower) / 2 for e in apart])) if n else 0.0
        found.append(Weighed(setting, track.moved(), track.flipped(), float(np.mean(own)), loss, reach))
    return found


def frozen(lake: Lake, strategy: Strategy, day: dt.date, seed: int) -> SegmentModel:
    """The recipe fitted on a day."""
    from seg_assets.core.errors import ConfigError

    outcome = outcome_for(strategy.algorithm, lake, strategy, day)
    frame = challenger_frame(lake, strategy, day, None)
    found = fit_challenger(strategy, frame, day, None, (), fit_seed(seed, strategy.name), outcome)
    if found.model is None:
        raise ConfigError(f"strategy {strategy.name} cannot be fitted on {day}: {found.reason}")
    return found.model


class _Track:
    """Labels of days in a row under one setting: moves between clusters, and those that are undone within a week."""

    def __init__(self) -> None:
        self.yesterday: pd.DataFrame | None = None
        self.both = self.moves = self.old_moves = self.flips = 0
        # Per day: user to the cluster that was left on it.
        self.left: list[pd.Series] = []

    def step(self, today: pd.DataFrame) -> pd.DataFrame:
        here = today.loc[today["kind"] == CLUSTER].set_index("user_id")["segment_id"]
        if self.yesterday is not None:
            before = self.yesterday.loc[self.yesterday["kind"] == CLUSTER].set_index("user_id")["segment_id"]
            users = here.index.intersection(before.index)
            was, now = before.loc[users].astype(object), here.loc[users].astype(object)
            moved = (was != now).to_numpy()
            self.both += len(users)
            self.moves += int(moved.sum())
            for n, left in enumerate(self.left[-WEEK:]):
                back = now[moved].reindex(left.index)
                undone = (back == left).to_numpy()
                self.flips += int(undone.sum())
                # A move is undone once.
                self.left[max(len(self.left) - WEEK, 0) + n] = left[~undone]
            self.left.append(was[moved])
        self.yesterday = today
        return today

    def moved(self) -> float:
        return self.moves / max(self.both, 1)

    def flipped(self) -> float:
        """Share of moves undone within a week; those of the last week have not had their week and count as they are."""
        return self.flips / max(self.moves, 1)


def chosen(rows: Sequence[Weighed]) -> Weighed:
    """The least hysteresis that meets both targets: shortest dwell, then smallest margin; else the fewest moves.

    A dwell delays true moves, so no more of it than is needed is taken.
    """
    good = [r for r in rows if r.within_targets]
    if good:
        return min(good, key=lambda r: (r.setting.dwell_days, r.setting.margin))
    return min(rows, key=lambda r: (r.moved, r.flipped))


def table(found: dict[str, list[Weighed]], shipped: dict[str, Hysteresis]) -> str:
    """Markdown: one table per strategy, the chosen row bold."""
    lines = []
    for name, rows in found.items():
        best = chosen(rows)
        said = ABOUT.get(name, OTHERWISE)[1]
        lines += [f"**{name}** (validity: {said})", ""]
        lines += ["| margin, dwell days | move a day | flip back within a week | validity | change by hysteresis |"]
        lines += ["|---|---|---|---|---|"]
        for row in rows:
            s = row.setting
            label = "none" if s == NONE else f"{s.margin:g}, {s.dwell_days}"
            cells = [label, f"{row.moved:.2%}", f"{row.flipped:.0%}", f"{row.validity:.3f}"]
            cells.append("–" if s == NONE else f"{row.loss:+.3f} ±{row.reach:.3f}")
            if row is best:
                cells = [f"**{c}**" for c in cells]
            lines.append("| " + " | ".join(cells) + " |")
        ours = shipped[name]
        verdict = "both targets met" if best.within_targets else "no setting meets both targets: the fewest moves"
        lines += ["", f"Chosen by the rule: {_said(best.setting)} ({verdict}). Shipped: {_said(ours)}.", ""]
    return "\n".join(lines)


def _said(setting: Hysteresis) -> str:
    return f"margin {setting.margin:g}, dwell {setting.dwell_days}"


def chart(found: dict[str, list[Weighed]]) -> str:
    """SVG: moves a day across, share flipping back upwards, one panel per strategy; the box holds the targets."""
    from html import escape

    size, gap, top = 250, 60, 40
    most_moved = max(r.moved for rows in found.values() for r in rows) * 1.1
    most_flipped = max(max(r.flipped for rows in found.values() for r in rows) * 1.1, 0.2)
    width, height = gap + (size + gap) * len(found), top + size + 48
    colours = {0: "#222", 3: "#c0392b", 5: "#d98e04", 7: "#1f5fa8", 14: "#3d8b53"}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11" role="img" aria-label="Moves and flip-backs by hysteresis">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
    ]
    for n, (dwell, colour) in enumerate(colours.items()):
        said = "none" if dwell == 0 else f"dwell {dwell}"
        parts.append(f'<circle cx="{gap + 90 * n}" cy="12" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{gap + 8 + 90 * n}" y="16">{said}</text>')
    for panel, (name, rows) in enumerate(found.items()):
        left, base = gap + (size + gap) * panel, top + size

        def x(v: float, left: float = left) -> float:
            return left + size * v / most_moved

        def y(v: float, base: float = base) -> float:
            return base - size * v / most_flipped

        parts.append(
            f'<rect x="{left}" y="{y(MOST_FLIPPED):.1f}" width="{min(x(MOST_MOVED) - left, size):.1f}" '
            f'height="{base - y(MOST_FLIPPED):.1f}" fill="#e8f1e4"/>'
            f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="#bbb"/>'
            f'<text x="{left}" y="{top - 6}" font-weight="bold">{escape(name)}</text>'
            f'<text x="{left + size}" y="{base + 30}" text-anchor="end" fill="#555">users that move a day</text>'
        )
        for tick in range(5):
            a, b = most_moved * tick / 4, most_flipped * tick / 4
            parts.append(f'<text x="{x(a):.1f}" y="{base + 14}" text-anchor="middle" fill="#555">{a:.1%}</text>')
            parts.append(f'<text x="{left - 5}" y="{y(b) + 4:.1f}" text-anchor="end" fill="#555">{b:.0%}</text>')
        best = chosen(rows)
        for row in rows:
            ring = ' stroke="#000" stroke-width="2"' if row is best else ""
            colour = colours.get(row.setting.dwell_days, "#777")
            parts.append(f'<circle cx="{x(row.moved):.1f}" cy="{y(row.flipped):.1f}" r="5" fill="{colour}"{ring}/>')
            if row.setting != NONE:
                parts.append(
                    f'<text x="{x(row.moved) + 7:.1f}" y="{y(row.flipped) + 4:.1f}">{row.setting.margin:g}</text>'
                )
    return "".join(parts) + "</svg>\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m studies.hysteresis`."""
    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_range
    from seg_assets.core.settings import Settings
    from seg_assets.segments.strategy import strategies_of

    parser = argparse.ArgumentParser(prog="python -m studies.hysteresis", description=__doc__)
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="fit day and first day labelled")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last day labelled")
    parser.add_argument("--strategies", default="value,behaviour,interest", metavar="S,S")
    parser.add_argument("--docs", type=Path, default=Path("docs/moves.md"), help="page to write into")
    args = parser.parse_args(arguments)
    settings = Settings.from_env()
    lake, known = Lake.of(settings), strategies_of(settings)
    first, last = (check_in_calendar(day, settings) for day in parse_range(args.first, args.last))
    found: dict[str, list[Weighed]] = {}
    say: Callable[[str], Any] = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    for name in args.strategies.split(","):
        say(f"{name}: {len(GRID)} settings over {(last - first).days + 1} days")
        found[name] = weigh(lake, known[name], first, last, settings.seed)
    text = table(found, {name: known[name].hysteresis for name in found})
    image = args.docs.parent / "images" / "hysteresis.svg"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_text(chart(found), encoding="utf-8")
    picture = "![Moves a day and flip-backs, by dwell and margin; the box holds the targets](images/hysteresis.svg)"
    replace_between(args.docs, "hysteresis", f"{text}\n{picture}")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
