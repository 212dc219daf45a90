"""Measure how soon the verdict sees a shift, how often it cries wolf, and whether re-clustering helped.

`python -m studies.drift shifts` rehearses planted shops for the default settings and two others, with the real verdict,
shadow, fit and gate, and rewrites its part of docs/drift.md. `python -m studies.drift proxy` measures how well the
gate's gain foretells out-of-time validity, on planted shops and on rolling origins of a lake that the settings name.

Not here: the shops (`studies.shops`), and the loop that judges and decides on them (`studies.rehearse`).
"""

import datetime as dt
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from seg_assets.core import svg
from seg_assets.core.days import check_order
from seg_assets.core.options import DAY, Number
from seg_assets.core.settings import PACKAGE, Settings
from seg_assets.core.text import DASH, markdown_table
from seg_assets.evaluation import validity
from seg_assets.evaluation.ledger import SHOWN
from seg_assets.evaluation.validity_lake import HORIZON_DAYS, labels_side_by_side, load_origin, origin_days
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.challenge import challenger_frame
from seg_assets.segments.decisions.store import BOOTSTRAP, Decision
from seg_assets.segments.fitting.outcome import outcome_for
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import population
from seg_assets.segments.strategy import Clusters, Strategy, read_strategy, strategies_of
from studies import shops
from studies.markers import rewrite_study
from studies.rehearse import decide, plain_measure, rehearse
from studies.shops import SHIFT_DAY, SHIFTS, WARM_DAYS, WATCHED_DAYS, PlantedShop, Shift

STRATEGIES = PACKAGE / "segments" / "strategies"
STUDIED = ("value", "behaviour")
# Laid over each strategy's own `drift`. The first is what is shipped.
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "quick": {"limit": 0.05, "share_variation": 0.025, "days_in_row": 1, "cool_down_days": 7},
    "slow": {"limit": 0.2, "share_variation": 0.1, "days_in_row": 7, "cool_down_days": 28},
}
# Shops drawn per shift and size. A loop of 10,000 users costs three times one of 1,000.
REPETITIONS = {1_000: 3, 10_000: 1}
# Choosing k costs more than all verdicts of a loop; the planted shops have four groups, and five after a split.
FIXED_K = Clusters(min=5, max=5)


@dataclass
class Run:
    """One loop: one shop, one strategy, one setting. Days count from the shift; None: not within the days watched."""

    shift: Shift
    users: int
    strategy: str
    setting: str
    quiet_days: int
    alarms_quiet: int
    days: int
    alarms: int
    delay: int | None
    decision_delay: int | None
    decisions: list["Tried"] = field(default_factory=list)


@dataclass(frozen=True)
class Tried:
    """One decision after the first: whether promoted, its gain by the gate, by the planted truth and by the future."""

    strategy: str
    promoted: bool
    after_shift: bool
    gain: float
    truth_gain: float
    future_gain: float

    @property
    def helped(self) -> bool:
        """Tell whether the challenger was better by the planted groups; tiers of `value` by the spend that followed."""
        return (self.future_gain if self.strategy == "value" else self.truth_gain) > 0


def shifts(repetitions: dict[int, int], say: Callable[[str], None]) -> list[Run]:
    """Rehearse every shift at every size with every setting."""
    runs = []
    for users, times in repetitions.items():
        for shift in SHIFTS:
            begun = time.process_time()
            for seed in range(times):
                shop = PlantedShop(users, shift, seed)
                for name in STUDIED:
                    runs += _loops(shop, shift, users, name)
            say(f"{users:>7,} users, {shift.title}: {time.process_time() - begun:.0f} s of CPU")
    return runs


def _loops(shop: PlantedShop, shift: Shift, users: int, name: str) -> list[Run]:
    base = studied(name)
    # The quiet days are the same draw for every shift: only the shop to which nothing happens is judged on them.
    quiet = shops.QUIET_DAYS if shift.kind == "nothing" else 1
    first = [shop.day_of(WARM_DAYS + n) for n in range(quiet)]
    days = first + [shop.day_of(n) for n in range(SHIFT_DAY, SHIFT_DAY + WATCHED_DAYS)]
    measured_by, taken, frames = plain_measure(), {}, {}

    def frame_of(day: dt.date, model: SegmentModel | None) -> pd.DataFrame:
        if day not in frames:
            frames[day] = shop.frame(base, day)
        return frames[day]

    outcome = (lambda day: shop.outcome(base, day)) if name == "value" else (lambda day: None)
    runs = []
    for setting, keys in SETTINGS.items():
        strategy = base.model_copy(update={"drift": base.drift.model_copy(update=keys)})
        done = rehearse(strategy, days, frame_of, outcome, measured_by=measured_by, taken=taken)
        starts = [n for n, v in enumerate(done.verdicts) if v.drifted and not (n and done.verdicts[n - 1].drifted)]
        later = [d for d in done.decisions if d.cause != BOOTSTRAP]
        dated = [(d.day - days[quiet]).days for d in later]
        run = Run(
            shift=shift,
            users=users,
            strategy=name,
            setting=setting,
            quiet_days=quiet,
            alarms_quiet=sum(n < quiet for n in starts),
            days=len(days) - quiet,
            alarms=sum(n >= quiet for n in starts),
            delay=next((n - quiet for n, v in enumerate(done.verdicts) if n >= quiet and v.drifted), None),
            decision_delay=min((n for n in dated if n >= 0), default=None),
        )
        run.decisions = [_tried(base, shop, frame_of, done.decisions, d) for d in later]
        runs.append(run)
    return runs


def studied(name: str) -> Strategy:
    """Read a shipped strategy, with five segments where it would choose their number."""
    strategy = read_strategy(STRATEGIES / f"{name}.yaml")
    return strategy if strategy.k.min == strategy.k.max else strategy.model_copy(update={"k": FIXED_K})


def _tried(
    strategy: Strategy,
    shop: PlantedShop,
    frame_of: Callable[[dt.date, SegmentModel | None], pd.DataFrame],
    decisions: Sequence[Decision],
    decision: Decision,
) -> Tried:
    champion = next(d for d in reversed(decisions) if d.promoted and d.day < decision.day).segment_model()
    frame = frame_of(decision.day, None)
    truth, future = gains(strategy, shop, frame, decision.day, champion, decision.segment_model())
    shifted = (decision.day - shops.START).days >= SHIFT_DAY
    gain = float(decision.numbers.get("gain", np.nan))
    return Tried(strategy.name, decision.promoted, shifted, gain, truth, future)


def gains(
    strategy: Strategy, shop: PlantedShop, frame: pd.DataFrame, day: dt.date, old: SegmentModel, new: SegmentModel
) -> tuple[float, float]:
    """Return what the new labels of a day gain: in agreement with the planted groups, and in the r2 of the weeks after.

    The r2 is that of what the strategy is about: spend for `value`, active days for the others.
    """
    from sklearn.metrics import adjusted_rand_score

    users = population(strategy, frame)
    labels = [m.assign(users)["segment_id"].to_numpy(dtype=object).astype(str) for m in (old, new)]
    place = np.searchsorted(shop.user_id.astype(str), users["user_id"].to_numpy(dtype=object).astype(str))
    shifted = (day - shops.START).days >= SHIFT_DAY
    groups = (shop.truth_after if shifted else shop.before)[place]
    until = day + dt.timedelta(days=shops.AFTER_DAYS)
    measured = "monetary" if strategy.name == "value" else "active_days"
    later = (shop.total(measured, until) - shop.total(measured, day))[place]
    agreed = [float(adjusted_rand_score(groups, given)) for given in labels]
    explained = [eta_squared(given, later) for given in labels]
    return agreed[1] - agreed[0], explained[1] - explained[0]


def eta_squared(labels: np.ndarray, values: np.ndarray) -> float:
    """Return the share of the variance of `values` between groups."""
    codes = np.unique(labels, return_inverse=True)[1].ravel()
    centered = values - values.mean()
    sums, sizes = np.bincount(codes, centered), np.bincount(codes)
    total = float((centered**2).sum())
    return float((sums**2 / sizes).sum()) / total if total > 0 else 0.0


# ---- tables --------------------------------------------------------------------------------------------------------


def shift_tables(runs: Sequence[Run]) -> str:
    """Return the tables of the shifts as Markdown."""
    sizes = sorted({r.users for r in runs})
    parts = []
    head = ["what happens on day 0"]
    for n in sizes:
        head += [f"{n:,}: seen", "days, median / 90 %"]
    head += ["decisions a run", "promoted", "of these helped", "of the refused, would have"]
    for setting in SETTINGS:
        mine = [r for r in runs if r.setting == setting]
        keys = ", ".join(f"`{k}: {v}`" for k, v in SETTINGS[setting].items()) or "as shipped"
        rows = [_shift_row(shift, [r for r in mine if r.shift == shift], sizes) for shift in SHIFTS]
        parts += [f"**{setting}** ({keys})", "", markdown_table(head, rows, ours=True), ""]
    return "\n".join([*parts, _alarm_table(runs, sizes), ""])


def _shift_row(shift: Shift, runs: Sequence[Run], sizes: Sequence[int]) -> list[str]:
    cells = [shift.title]
    for n in sizes:
        cells += _delays([r for r in runs if r.users == n])
    tried = [t for r in runs for t in r.decisions if t.after_shift]
    promoted = [t for t in tried if t.promoted]
    refused = [t for t in tried if not t.promoted]
    cells.append(f"{len(tried) / max(len(runs), 1):.1f}")
    cells.append(f"{len(promoted)} of {len(tried)}" if tried else DASH)
    return cells + [f"{sum(t.helped for t in some)} of {len(some)}" if some else DASH for some in (promoted, refused)]


def _delays(rows: Sequence[Run]) -> list[str]:
    seen = sorted(r.delay for r in rows if r.delay is not None)
    if not seen:
        return [f"0 of {len(rows)}", "–"]
    ninth = seen[min(len(seen) - 1, int(np.ceil(0.9 * len(seen))) - 1)]
    return [f"{len(seen)} of {len(rows)}", f"{statistics.median(seen):.0f} / {ninth}"]


def _alarm_table(runs: Sequence[Run], sizes: Sequence[int]) -> str:
    rows = []
    for setting in SETTINGS:
        for n in sizes:
            mine = [r for r in runs if r.setting == setting and r.users == n]
            still = [r for r in mine if r.shift.kind == "nothing"]
            # The quiet days before a shift are the same draw for every shift: they are counted once.
            days = max(sum(r.quiet_days + r.days for r in still), 1)
            alarms = sum(r.alarms_quiet + r.alarms for r in still)
            tried = [t for r in still for t in r.decisions]
            promoted = sum(t.promoted for t in tried)
            rows.append([setting, n, f"{100 * alarms / days:.1f}", f"{100 * len(tried) / days:.1f}", promoted])
    head = ["setting", "users", "false alarms per 100 days", "decisions per 100 quiet days", "of these promoted"]
    return markdown_table(head, rows, ours=True)


def shift_chart(runs: Sequence[Run]) -> str:
    """Draw detection delays: a row per shift, a mark per setting, a ring where fewer than half were seen."""
    users = max(r.users for r in runs)
    rows = [s for s in SHIFTS if s.kind != "nothing"]
    left, width, top, step = 330, 460, 46, 26
    height = top + step * len(rows) + 34
    colours = {"default": svg.BLUE, "quick": svg.RED, "slow": svg.QUIET}
    x = svg.scale(0, WATCHED_DAYS, left, left + width)
    parts = [svg.text(8, 18, f"{users:,} users; ring: seen in fewer than half of the runs")]
    for n, (name, colour) in enumerate(colours.items()):
        parts.append(svg.circle((left + 110 * n, 14), 5, fill=colour))
        parts.append(svg.text(left + 10 + 110 * n, 18, name))
    for day in range(0, WATCHED_DAYS + 1, 7):
        parts.append(svg.line((x(day), top - 14), (x(day), height - 28), stroke=svg.FAINT))
        parts.append(svg.text(x(day), height - 12, day, anchor="middle", fill=svg.QUIET))
    for n, shift in enumerate(rows):
        y = top + step * n
        parts.append(svg.text(left - 14, y + 4, shift.title, anchor="end"))
        for m, (name, colour) in enumerate(colours.items()):
            mine = [r for r in runs if (r.setting, r.shift, r.users) == (name, shift, users)]
            seen = [r.delay for r in mine if r.delay is not None]
            if seen:
                fill = colour if 2 * len(seen) >= len(mine) else svg.WHITE
                place = x(statistics.median(seen)), y + 5 * (m - 1)
                parts.append(svg.circle(place, 4.5, fill=fill, stroke=colour, stroke_width=2))
    parts.append(svg.text(left + width, height - 0.5, "days after the shift", anchor="end", fill=svg.QUIET))
    return svg.drawing(left + width + 30, height, parts, title="Days from a shift to drift") + "\n"


# ---- the gate's proxy ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GainPair:
    """The gain that the gate measured of one challenger, beside its worth by name of the measure."""

    where: str
    strategy: str
    yardstick: str
    group: str
    gain: float
    worth: dict[str, float]


def proxy_simulated(users: int, seeds: int, say: Callable[[str], None]) -> list[GainPair]:
    """Judge challengers two and four weeks after each shift against the champion of before, whatever the verdict."""
    pairs = []
    for shift in SHIFTS:
        for seed in range(seeds):
            shop = PlantedShop(users, shift, 1_000 + seed)
            for name in STUDIED:
                strategy = studied(name)
                first = _fitted(strategy, shop, shop.day_of(WARM_DAYS), None)
                for n in (14, 28):
                    day = shop.day_of(SHIFT_DAY + n)
                    second = _fitted(strategy, shop, day, first)
                    if first is None or second is None or "gain" not in second.numbers:
                        continue
                    frame = shop.frame(strategy, day)
                    truth, future = gains(strategy, shop, frame, day, first.segment_model(), second.segment_model())
                    group = f"{shift.kind} {shift.size} {seed}"
                    stick, gain = str(second.numbers["yardstick"]), float(second.numbers["gain"])
                    worth = {"next four weeks": future} | ({"planted groups": truth} if name != "value" else {})
                    pairs.append(GainPair("simulated shops", name, stick, group, gain, worth))
        say(f"proxy, {shift.title}")
    return pairs


def _fitted(strategy: Strategy, shop: PlantedShop, day: dt.date, champion: Decision | None) -> Decision | None:
    outcome = shop.outcome(strategy, day) if strategy.name == "value" else None
    before = [champion] if champion else []
    return decide(strategy, day, shop.frame(strategy, day), champion, before, outcome, 0, BOOTSTRAP)


def proxy_of_lake(
    lake: Lake, strategies: Iterable[Strategy], first: dt.date, last: dt.date, seed: int, say: Callable[[str], None]
) -> list[GainPair]:
    """Judge, a week apart, a challenger of the day against a champion of eight weeks before, by the 90 days after."""
    pairs = []
    for day in origin_days(first, last, 7):
        before = day - dt.timedelta(days=56)
        origin = load_origin(lake, day, HORIZON_DAYS)
        for strategy in strategies:
            taught = [outcome_for(strategy.algorithm, lake, strategy, d) for d in (before, day)]
            old = decide(
                strategy, before, challenger_frame(lake, strategy, before, None), None, [], taught[0], seed, ""
            )
            if old is None:
                continue
            frame = challenger_frame(lake, strategy, day, old.segment_model())
            new = decide(strategy, day, frame, old, [old], taught[1], seed, "")
            if new is None or "gain" not in new.numbers:
                continue
            labels, outcomes = labels_side_by_side(origin, strategy, frame, [d.segment_model() for d in (old, new)])
            measured = [validity.measure(segments, outcomes) for segments in labels]
            worth = {title: measured[1][m] - measured[0][m] for m, title in SHOWN.items()}
            stick, gain = str(new.numbers["yardstick"]), float(new.numbers["gain"])
            pairs.append(GainPair("real panel", strategy.name, stick, str(day), gain, worth))
        say(f"proxy, panel {day}")
    return pairs


def proxy_table(pairs: Sequence[GainPair]) -> str:
    """Return the rank correlation of the gate's gain with each worth; its interval is a bootstrap's over groups."""
    groups: dict[tuple[str, str, str], list[GainPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.where, pair.strategy, pair.yardstick), []).append(pair)
    rows = []
    for (where, strategy, stick), mine in sorted(groups.items()):
        for measure in mine[0].worth:
            known = [p for p in mine if np.isfinite(p.worth.get(measure, np.nan))]
            if len(known) < 4:
                continue
            gain, worth = np.array([p.gain for p in known]), np.array([p.worth[measure] for p in known])
            correlation = _correlation_text(gain, worth, [p.group for p in known])
            means = [f"{worth[m].mean():+.3f} ({m.sum()})" if m.any() else DASH for m in (gain < 0.03, gain >= 0.03)]
            rows.append([where, strategy, stick, len(known), measure, correlation, *means])
    head = ["where", "strategy", "yardstick", "challengers", "worth measured as", "rank correlation (95 %)"]
    return markdown_table([*head, "mean worth, gain < 3 %", ">= 3 %"], rows, ours=True) + "\n"


def _correlation_text(x: np.ndarray, y: np.ndarray, groups: Sequence[str], draws: int = 1000) -> str:
    """Return Spearman's correlation; the bootstrap draws whole shops or origins, whose challengers hang together."""
    from scipy.stats import rankdata

    def spearman(rows: np.ndarray) -> float:
        a, b = rankdata(x[rows]), rankdata(y[rows])
        return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else np.nan

    rng = np.random.default_rng(0)
    names, codes = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(codes == n) for n in range(len(names))]
    drawn = [
        spearman(np.concatenate([members[n] for n in rng.integers(0, len(names), len(names))])) for _ in range(draws)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{spearman(np.arange(len(x))):+.2f} ({low:+.2f} .. {high:+.2f})"


# ---- command -------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("what", type=click.Choice(["shifts", "proxy"]))
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs/drift.md"), help="Page to write into.")
@click.option("--repetitions", type=Number(1, 1_000), help="Shops per shift and size (default: 3 and 1).")
@click.option("--users", "sizes", type=Number(100, 1_000_000), multiple=True, help="Users of a shop; may be repeated.")
@click.option("--first", type=DAY, default="2017-04-02", help="proxy: first origin of the lake.")
@click.option("--last", type=DAY, default="2017-07-02", help="proxy: last origin of the lake.")
def main(what: str, docs: Path, repetitions: int | None, sizes: Sequence[int], first: dt.date, last: dt.date) -> None:
    """Measure how soon the verdict sees a shift (shifts), or how well the gate's gain foretells validity (proxy)."""

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if what == "shifts":
        times = {n: repetitions or REPETITIONS.get(n, 1) for n in sizes or REPETITIONS}
        runs = shifts(times, say)
        tables = shift_tables(runs)
        rewrite_study(docs, "shifts", tables + "\n![Days from a shift to drift](images/drift-study.svg)")
        write_text(docs.parent / "images" / "drift-study.svg", shift_chart(runs))
        print(tables)
        return
    pairs = proxy_simulated(1_500, repetitions or 2, say)
    lake, strategies, seed = _lake()
    if lake is not None:
        check_order(first, last)
        pairs += proxy_of_lake(lake, strategies, first, last, seed, say)
    else:
        say("no lake with profiles of these days: simulated shops only; the panel's rows go")
    rewrite_study(docs, "proxy", proxy_table(pairs))
    print(proxy_table(pairs))


def _lake() -> tuple[Lake | None, list[Strategy], int]:
    """Return the lake of the settings (None: without profiles), the strategies to study, and the seed."""
    settings = Settings.from_env()
    lake = Lake.of(settings)
    if not lake.days("user_profiles"):
        return None, [], settings.seed
    known = strategies_of(settings)
    return lake, [known[n] for n in ("value", "behaviour", "interest") if n in known], settings.seed


if __name__ == "__main__":
    main()
