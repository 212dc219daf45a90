"""Compare every algorithm with every other, on invented shops of several kinds and on a lake of the real panel.

The advice of docs/choosing.md rests on these numbers; `make choosing` makes its tables again. All algorithms see the
same users on the same day and are judged out of time (`evaluation.validity`).

Not here: the shops (`studies.shops`).
"""

import datetime as dt
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.core.text import markdown_table
from seg_assets.evaluation import validity
from seg_assets.evaluation.validity_lake import Labels, bootstrap_ari, fitted_labels, fixed_k, load_origin
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.fitting.indices import adjusted_rand
from seg_assets.segments.fitting.outcome import growth
from seg_assets.segments.strategy import Strategy, parse_strategy
from studies import shops
from studies.markers import put_between

GROUPS = 5
# A quarter to learn from, a quarter to be judged by; the day judged is far enough from both ends.
HORIZON, DAY, DAYS = 90, 240, 330
USERS, SHOPS = 1200, 3
REFITS = 5
TIMED_USERS = 20_000
PANEL_START = dt.date(2017, 1, 1)
PANEL_DAYS = (dt.date(2017, 4, 2), dt.date(2017, 5, 21), dt.date(2017, 7, 2))

SPEND = [
    {"column": c, "transform": "sqrt", "missing": "zero"}
    for c in ("monetary_28d", "monetary_90d", "monetary_all", "orders_90d", "orders_all")
]
DATES = [
    {"column": "recency_days", "transform": "sqrt", "missing": "maximum"},
    {"column": "tenure_days", "transform": "sqrt"},
]
RULES = {
    "columns": ["recency_days", "orders_90d", "monetary_90d"],
    "segments": [
        "monetary_90d >= {monetary_90d@80} and orders_90d >= {orders_90d@50}",
        "monetary_90d >= {monetary_90d@80}",
        "recency_days <= {recency_days@50} and monetary_90d >= {monetary_90d@40}",
        "recency_days <= {recency_days@50}",
    ],
}
METRICS = {
    "r2": "R2",
    "spearman": "Spearman",
    "lapse_auc": "lapse AUC",
    "bootstrap_ari": "ARI of refits",
    "truth_ari": "ARI with truth",
    "left_out": "left out",
}


@dataclass(frozen=True)
class Measured:
    """One algorithm in one shop: the mean of each of METRICS, its error where there are several, seconds of CPU.

    groups: mean number of groups that came out.
    """

    shop: str
    algorithm: str
    groups: float
    means: Mapping[str, float | None]
    errors: Mapping[str, float | None] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the numbers as one flat JSON record."""
        return {
            "shop": self.shop,
            "algorithm": self.algorithm,
            "groups": self.groups,
            **self.means,
            **{f"{name}_error": error for name, error in self.errors.items()},
        }


def recipes() -> dict[str, Strategy]:
    """Return each algorithm at five groups on the same money and dates; rules and plain tiers on columns they suit."""
    strategies = {}
    for name in algorithms.names():
        given: dict[str, Any] = {"features": SPEND + DATES}
        if name == "tiers":
            given = {"features": [SPEND[1]]}
        if name == "rules_sql":
            columns = [{"column": c, "missing": "maximum" if c == "recency_days" else "zero"} for c in RULES["columns"]]
            given = {"features": columns, "scaling": "none", "parameters": RULES}
        spec = {"name": name, "title": name, "algorithm": name, "k": {"min": GROUPS, "max": GROUPS}, **given}
        rules = {"new_within_days": None, "dormant_after_days": None, "bots": False}
        strategies[name] = fixed_k(
            parse_strategy({**spec, "rules": rules, "eligibility": {"minimum_orders": 1}}), GROUPS
        )
    return strategies


# ---- invented shops --------------------------------------------------------------------------------------------


def simulated(
    kinds: Sequence[str] = tuple(shops.KINDS),
    names: Sequence[str] | None = None,
    users: int = USERS,
    count: int = SHOPS,
    refits: int = REFITS,
    say: Callable[[str], None] = lambda text: None,
) -> list[Measured]:
    """Measure every algorithm on `count` shops of each kind; the error is that of the mean over shops."""
    measured = []
    strategies = {n: s for n, s in recipes().items() if names is None or n in names}
    for kind in kinds:
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in strategies}
        for seed in range(count):
            say(f"{kind}, shop {seed + 1} of {count}")
            shop = shops.make(kind, users, DAYS + 1, seed)
            now, earlier = shops.profiles(shop.money, DAY), shops.profiles(shop.money, DAY - HORIZON)
            judged = _outcomes(shop.money, now)
            for name, strategy in strategies.items():
                rows[name].append(_one(strategy, now, earlier, judged, shop.truth, seed, refits))
        measured += [_mean(kind, name, rows[name]) for name in strategies]
    return measured


def _outcomes(money: np.ndarray, now: pd.DataFrame) -> validity.Outcomes:
    after = shops.profiles(money, DAY + HORIZON)
    return validity.outcomes_between(now, after)


def _one(
    strategy: Strategy,
    now: pd.DataFrame,
    earlier: pd.DataFrame,
    judged: validity.Outcomes,
    truth: np.ndarray | None,
    seed: int,
    refits: int,
) -> dict[str, float]:
    day = dt.date(2024, 1, 1) + dt.timedelta(days=DAY)
    outcome = None
    if algorithms.named(strategy.algorithm).is_guided:
        values = pd.DataFrame({"monetary": growth(earlier, now, "monetary")})
        outcome = Outcome(day - dt.timedelta(days=HORIZON), earlier, values, horizon_days=HORIZON)
    fit = fit_challenger(strategy, now, day, None, (), seed, outcome, replications=0)
    if fit.model is None:
        raise ConfigError(f"{strategy.name}: {fit.reason}")
    labels = fit.model.assign(now)["segment_id"].to_numpy(dtype=object).astype(str)
    whole = Labels(labels, labels, fit.model, "", now, outcome)
    row = _judged(labels, judged)
    row["bootstrap_ari"] = bootstrap_ari(strategy, whole, day, seed, refits)
    if truth is not None:
        row["truth_ari"] = adjusted_rand(truth[shops.rows_of(now)], labels)
    return row


def _judged(labels: np.ndarray, outcomes: validity.Outcomes) -> dict[str, float]:
    measured = validity.measure(labels, outcomes)
    out = labels == "outlier"
    return {
        **{name: measured[name] for name in ("r2", "spearman", "lapse_auc")},
        "left_out": float(out.mean()),
        "groups": float(len(np.unique(labels[~out]))),
    }


def _mean(shop: str, name: str, rows: Sequence[Mapping[str, float]]) -> Measured:
    values, errors = {}, {}
    for metric in METRICS:
        known = [r[metric] for r in rows if metric in r and math.isfinite(r[metric])]
        values[metric] = round(float(np.mean(known)), 6) if known else None
        errors[metric] = round(float(np.std(known, ddof=1) / math.sqrt(len(known))), 6) if len(known) > 1 else None
    return Measured(shop, name, round(float(np.mean([r["groups"] for r in rows])), 1), values, errors)


# ---- the real panel --------------------------------------------------------------------------------------------


def panel(
    lake: Lake,
    days: Sequence[dt.date] = PANEL_DAYS,
    seed: int = 0,
    refits: int = REFITS,
    replications: int = 50,
    say: Callable[[str], None] = lambda text: None,
) -> list[Measured]:
    """Measure every algorithm on rolling origins of a lake; errors are bootstrap errors over users.

    Raises:
        MissingDaysError: profiles of an origin, of 90 days before it or after it, were never materialized.
    """
    around = [d + dt.timedelta(days=n) for d in days for n in (-HORIZON, 0, HORIZON)]
    lake.require("user_profiles", sorted(d for d in around if d >= lake.start_day), "studies.compare")
    labels: dict[str, list[np.ndarray]] = {}
    rows: dict[str, list[dict[str, float]]] = {}
    origins = []
    for n, day in enumerate(days, 1):
        say(f"panel, origin {day}, {n} of {len(days)}")
        origin = load_origin(lake, day, HORIZON)
        origins.append(origin)
        for name, strategy in recipes().items():
            own = fitted_labels(lake, strategy, day, origin.frame["user_id"], seed)
            labels.setdefault(name, []).append(own.nearest)
            row = _judged(own.nearest, origin.outcomes)
            row["bootstrap_ari"] = bootstrap_ari(strategy, own, day, seed, refits)
            rows.setdefault(name, []).append(row)
    judged = validity.judge(labels, [o.outcomes for o in origins], seed=seed, replications=replications)
    measured = []
    for result in judged:
        mean = _mean("panel", result.predictor, rows[result.predictor])
        errors = dict.fromkeys(METRICS)
        for metric in ("r2", "spearman", "lapse_auc"):
            e = result.estimates[metric]
            reach = (e.upper - e.lower) / 2 / validity.NORMAL_95
            errors[metric] = round(reach, 6) if math.isfinite(reach) else None
        measured.append(Measured("panel", result.predictor, mean.groups, mean.means, errors))
    return measured


# ---- seconds ---------------------------------------------------------------------------------------------------


def timed(users: int = TIMED_USERS, columns: int = 7, seed: int = 0) -> dict[str, float]:
    """Measure CPU seconds of one fit by algorithm, on rows with five overlapping groups."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, GROUPS, users)
    X = rng.normal(size=(users, columns)) + group[:, None] * 0.8
    y = np.exp(0.5 * X[:, 0] + rng.normal(0, 0.5, users))
    frame = pd.DataFrame({"user_id": [f"u{i:06d}" for i in range(users)]})
    outcome = Outcome(dt.date(2024, 1, 1), frame, pd.DataFrame({"monetary": y}), X, horizon_days=HORIZON)
    seconds = {}
    for name, strategy in recipes().items():
        rows = X[:, : len(strategy.features)] if name in ("tiers", "rules_sql") else X
        started = time.process_time()
        algorithms.fit(name, rows, GROUPS, seed=seed, outcome=outcome, parameters=strategy.parameters)
        seconds[name] = round(time.process_time() - started, 3)
    return seconds


# ---- tables ----------------------------------------------------------------------------------------------------


def table(measured: Sequence[Measured]) -> str:
    """Return the measured rows of one shop as Markdown, best R2 first."""
    shown = [m for m in METRICS if any(row.means.get(m) is not None for row in measured)]
    shown = [m for m in shown if m != "left_out" or any((row.means[m] or 0) > 0 for row in measured)]
    rows = [
        [f"`{row.algorithm}`", f"{row.groups:g}", *(_cell(row.means[m], row.errors.get(m)) for m in shown)]
        for row in sorted(measured, key=lambda r: (-(r.means["r2"] or 0.0), r.algorithm))
    ]
    return markdown_table(["algorithm", "groups", *(METRICS[m] for m in shown)], rows, ours=True)


def _cell(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if error is None or error < 0.005 else f"{value:.2f} ±{error:.2f}"


def seconds_table(seconds: Mapping[str, float]) -> str:
    """Return CPU seconds as Markdown, quickest first."""
    rows = sorted(seconds.items(), key=lambda item: (item[1], item[0]))
    cells = [[f"`{name}`", f"{value:.2f}"] for name, value in rows]
    return markdown_table(["algorithm", f"CPU seconds, {TIMED_USERS:,} users x 7 columns"], cells, ours=True)


def sections(measured: Sequence[Measured], seconds: Mapping[str, float] | None = None) -> dict[str, str]:
    """Return Markdown by the name of its markers."""
    parts_by_marker = {}
    invented = [m for m in measured if m.shop != "panel"]
    if invented:
        parts = []
        for kind in dict.fromkeys(m.shop for m in invented):
            parts.append(f"**{shops.KINDS[kind]}**\n\n{table([m for m in invented if m.shop == kind])}")
        parts_by_marker["simulated"] = "\n\n".join(parts)
    real = [m for m in measured if m.shop == "panel"]
    if real:
        parts_by_marker["panel"] = table(real)
    if seconds:
        parts_by_marker["seconds"] = seconds_table(seconds)
    return parts_by_marker


def between_markers(text: str, tables: Mapping[str, str]) -> str:
    """Return the document with the given sections between their markers; other sections stay.

    Raises:
        ConfigError: a section that has no markers in the document.
    """
    for name, content in tables.items():
        text = put_between(text, f"<!-- measured: {name} -->", "<!-- end -->", content)
    return text


def to_json(measured: Sequence[Measured], seconds: Mapping[str, float]) -> str:
    """Return everything as JSON."""
    return json.dumps({"measured": [m.record() for m in measured], "seconds": dict(seconds)}, indent=1, allow_nan=False)


# ---- command ---------------------------------------------------------------------------------------------------


@click.command()
@click.option(
    "--panel",
    "home",
    type=click.Path(path_type=Path),
    metavar="HOME",
    help="Home folder with the lake of the Complete Journey panel; only its user_profiles are read.",
)
@click.option(
    "--write",
    "document",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.md",
    help="Put the tables between the markers of a document.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(home: Path | None, document: Path | None, as_json: bool) -> None:
    """Measure out-of-time validity, stability, agreement with planted groups and cost of every algorithm."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    measured = panel(Lake(home.expanduser() / "lake", PANEL_START), say=say) if home else []
    measured += simulated(say=say)
    seconds = timed()
    tables = sections(measured, seconds)
    if document:
        write_text(document, between_markers(document.read_text(encoding="utf-8"), tables))
    print(to_json(measured, seconds) if as_json else "\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
