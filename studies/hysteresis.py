"""Weigh hysteresis: moves saved against validity lost, on a lake's own days. Rewrites its part of docs/moves.md.

`python -m studies.hysteresis --from D --to E` fits each strategy once, on D, and lets the frozen model label
every day up to E under a grid of margins and dwells, with the daily code itself. What labels of a day say about the
90 days after them is compared with the labels without hysteresis, on the same bootstrap draws of users.

Not here: the hysteresis (`segments.daily.assign`), and the measures of validity (`evaluation.validity`).
"""

import datetime as dt
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd

from seg_assets.core import svg
from seg_assets.core.calendar import check_range
from seg_assets.core.days import day_range
from seg_assets.core.errors import ConfigError
from seg_assets.core.numerics import fit_seed
from seg_assets.core.options import range_options
from seg_assets.core.settings import Settings
from seg_assets.core.text import DASH, markdown_table
from seg_assets.evaluation.validity import difference, measure
from seg_assets.evaluation.validity_lake import HORIZON_DAYS, load_origin
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.segments.daily.assign import CLUSTER, assign_day, load_for
from seg_assets.segments.decisions.challenge import challenger_frame
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.strategy import Hysteresis, Strategy, strategies_of
from studies.markers import rewrite_study

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
# By dwell, in days.
COLOURS = {0: "#222222", 3: svg.RED, 5: "#d98e04", 7: svg.BLUE, 14: "#3d8b53"}


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
        """Tell whether moves are few enough, and few enough of them undone."""
        return self.moved <= MOST_MOVED and self.flipped <= MOST_FLIPPED


def weigh(
    lake: Lake, strategy: Strategy, first: dt.date, last: dt.date, seed: int, grid: Iterable[Hysteresis] = GRID
) -> list[Weighed]:
    """Label first..last with a model of `first` under every setting. `grid` begins with no hysteresis.

    Raises:
        MissingDaysError: profiles of a day, or of 90 days after a judged day, were never materialized.
    """
    model = frozen(lake, strategy, first, seed)
    days = day_range(first, last)
    judged = days[FIRST_JUDGED::JUDGED_EVERY]
    origins = {day: load_origin(lake, day, HORIZON_DAYS) for day in judged}
    metric = ABOUT.get(strategy.name, OTHERWISE)[0]
    outcomes = {day: origin.outcomes for day, origin in origins.items()}
    if metric != "mix":
        # Hundreds of categories under a hundred weightings cost more than all the rest, for a number that nobody reads.
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
    weighed = []
    for n, (setting, track) in enumerate(zip(settings, tracks, strict=True)):
        own = [measure(labels[day][n], outcomes[day])[metric] for day in judged]
        draws = REPLICATIONS if n else 0
        apart = [
            difference(labels[day][0], labels[day][n], outcomes[day], replications=draws)[metric] for day in judged
        ]
        loss = float(np.mean([e.value for e in apart])) if n else 0.0
        # Days share users: the mean's interval is taken as wide as one day's.
        reach = float(np.mean([(e.upper - e.lower) / 2 for e in apart])) if n else 0.0
        weighed.append(Weighed(setting, track.moved(), track.flipped(), float(np.mean(own)), loss, reach))
    return weighed


def frozen(lake: Lake, strategy: Strategy, day: dt.date, seed: int) -> SegmentModel:
    """Fit the recipe on a day."""
    outcome = outcome_for(strategy.algorithm, lake, strategy, day)
    frame = challenger_frame(lake, strategy, day, None)
    fit = fit_challenger(strategy, frame, day, None, (), fit_seed(seed, strategy.name), outcome)
    if fit.model is None:
        raise ConfigError(f"strategy {strategy.name} cannot be fitted on {day}: {fit.reason}")
    return fit.model


class _Track:
    """Labels of days in a row under one setting: moves between clusters, and those that are undone within a week."""

    def __init__(self) -> None:
        self.yesterday: pd.DataFrame | None = None
        self.both = self.moves = self.flips = 0
        # Per day: user to the cluster that was left on it.
        self.left: list[pd.Series] = []

    def step(self, today: pd.DataFrame) -> pd.DataFrame:
        clustered = today.loc[today["kind"] == CLUSTER].set_index("user_id")["segment_id"]
        if self.yesterday is not None:
            before = self.yesterday.loc[self.yesterday["kind"] == CLUSTER].set_index("user_id")["segment_id"]
            users = clustered.index.intersection(before.index)
            was, now = before.loc[users].astype(object), clustered.loc[users].astype(object)
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
        """Return the share of moves undone within a week; moves of the last week count before their week is over."""
        return self.flips / max(self.moves, 1)


def chosen(rows: Sequence[Weighed]) -> Weighed:
    """Choose the least hysteresis that meets both targets: shortest dwell, then smallest margin; else the fewest moves.

    A dwell delays true moves, so no more of it than is needed is taken.
    """
    good = [r for r in rows if r.within_targets]
    if good:
        return min(good, key=lambda r: (r.setting.dwell_days, r.setting.margin))
    return min(rows, key=lambda r: (r.moved, r.flipped))


def table(weighed: dict[str, list[Weighed]], shipped: dict[str, Hysteresis]) -> str:
    """Return a Markdown table per strategy, the chosen row bold."""
    head = ["margin, dwell days", "move a day", "flip back within a week", "validity", "change by hysteresis"]
    parts = []
    for name, rows in weighed.items():
        best = chosen(rows)
        cells = [[f"**{cell}**" if row is best else cell for cell in _cells(row)] for row in rows]
        about = ABOUT.get(name, OTHERWISE)[1]
        verdict = "both targets met" if best.within_targets else "no setting meets both targets: the fewest moves"
        parts += [f"**{name}** (validity: {about})", "", markdown_table(head, cells, ours=True), ""]
        parts += [f"Chosen by the rule: {_words(best.setting)} ({verdict}). Shipped: {_words(shipped[name])}.", ""]
    return "\n".join(parts)


def _cells(row: Weighed) -> list[str]:
    setting = row.setting
    plain = setting == NONE
    label = "none" if plain else f"{setting.margin:g}, {setting.dwell_days}"
    change = DASH if plain else f"{row.loss:+.3f} ±{row.reach:.3f}"
    return [label, f"{row.moved:.2%}", f"{row.flipped:.0%}", f"{row.validity:.3f}", change]


def _words(setting: Hysteresis) -> str:
    return f"margin {setting.margin:g}, dwell {setting.dwell_days}"


def chart(weighed: dict[str, list[Weighed]]) -> str:
    """Draw moves a day across and the share that flips back upwards, a panel per strategy; a box holds the targets."""
    size, gap, top = 250, 60, 40
    most_moved = max(r.moved for rows in weighed.values() for r in rows) * 1.1
    most_flipped = max(max(r.flipped for rows in weighed.values() for r in rows) * 1.1, 0.2)
    parts = []
    for n, (dwell, colour) in enumerate(COLOURS.items()):
        parts.append(svg.circle((gap + 90 * n, 12), 4, fill=colour))
        parts.append(svg.text(gap + 8 + 90 * n, 16, f"dwell {dwell}" if dwell else "none"))
    for panel, (name, rows) in enumerate(weighed.items()):
        left, base = gap + (size + gap) * panel, top + size
        x, y = svg.scale(0, most_moved, left, left + size), svg.scale(0, most_flipped, base, top)
        roof = y(MOST_FLIPPED)
        parts += [
            svg.rect(left, roof, min(x(MOST_MOVED) - left, size), base - roof, fill="#e8f1e4"),
            svg.rect(left, top, size, size, fill="none", stroke=svg.FAINT),
            svg.text(left, top - 6, name, font_weight="bold"),
            svg.text(left + size, base + 30, "users that move a day", anchor="end", fill=svg.QUIET),
        ]
        for tick in range(5):
            across, up = most_moved * tick / 4, most_flipped * tick / 4
            parts.append(svg.text(x(across), base + 14, f"{across:.1%}", anchor="middle", fill=svg.QUIET))
            parts.append(svg.text(left - 5, y(up) + 4, f"{up:.0%}", anchor="end", fill=svg.QUIET))
        best = chosen(rows)
        for row in rows:
            place, colour = (x(row.moved), y(row.flipped)), COLOURS.get(row.setting.dwell_days, svg.QUIET)
            ring = "#000000" if row is best else "none"
            parts.append(svg.circle(place, 5, fill=colour, stroke=ring, stroke_width=2))
            if row.setting != NONE:
                parts.append(svg.text(place[0] + 7, place[1] + 4, f"{row.setting.margin:g}"))
    width, height = gap + (size + gap) * len(weighed), top + size + 48
    title = "Moves and flip-backs by hysteresis"
    return svg.drawing(width, height, parts, title=title, font_size=11) + "\n"


@click.command()
@range_options("Fit day and first day labelled, as YYYY-MM-DD.", "Last day labelled.")
@click.option("--strategies", default="value,behaviour,interest", metavar="S,S", help="Strategies, with commas.")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs/moves.md"), help="Page to write into.")
def main(first: dt.date, last: dt.date, strategies: str, docs: Path) -> None:
    """Weigh moves saved by hysteresis against validity lost, on the lake of the settings."""
    settings = Settings.from_env()
    lake, known = Lake.of(settings), strategies_of(settings)
    check_range(first, last, settings)
    weighed: dict[str, list[Weighed]] = {}
    for name in strategies.split(","):
        print(f"{name}: {len(GRID)} settings over {(last - first).days + 1} days", file=sys.stderr, flush=True)
        weighed[name] = weigh(lake, known[name], first, last, settings.seed)
    text = table(weighed, {name: known[name].hysteresis for name in weighed})
    write_text(docs.parent / "images" / "hysteresis.svg", chart(weighed))
    picture = "![Moves a day and flip-backs, by dwell and margin; the box holds the targets](images/hysteresis.svg)"
    rewrite_study(docs, "hysteresis", f"{text}\n{picture}")
    print(text)


if __name__ == "__main__":
    main()
