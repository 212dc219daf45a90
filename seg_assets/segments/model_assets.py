"""The Dagster face of decisions: the sparse asset `segment_model`, its run config and what the UI shows of it.

Not here: deciding (`decisions.decide`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from seg_assets.core.days import parse_day
from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.settings import Settings
from seg_assets.core.sql import literal
from seg_assets.core.tables import TABLES
from seg_assets.core.text import markdown_table
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    ShopResource,
    columns_of,
    deps_of,
    log_progress,
    record_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest, DecisionResult
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.choosing import CRITERIA, format_estimate
from seg_assets.segments.fitting.stability import band
from seg_assets.segments.strategy import Strategy, strategies_of

KEY = dg.AssetKey("segment_model")
CHAMPION_FITS = "every_champion_can_score_the_profiles_of_the_day"


class DecisionConfig(dg.Config):
    """One decision asked for: by the drift sensor, the command line, or a person in the launchpad."""

    strategy: str
    day: str
    cause: str = "manual"
    against_model_id: str = ""
    attempt: int = 0
    note: str = ""


class SegmentModelConfig(dg.Config):
    """Empty: make the first fit where it is due and re-verify what is there. `force`: make decisions anew."""

    requests: list[DecisionConfig] = Field(default_factory=list)
    force: bool = False


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The asset `segment_model`."""

    @dg.asset(
        key=KEY,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        group_name="segments",
        owners=[OWNER],
        kinds={"python", "scikitlearn", "parquet"},
        code_version=TABLES[decisions.TABLE].code_version,
        deps=deps_of(decisions.TABLE),
        check_specs=[
            dg.AssetCheckSpec(
                CHAMPION_FITS,
                partitions_def=partitions,
                asset=KEY,
                description="The columns that each champion reads are in the day's profiles and not all null.",
            )
        ],
        metadata={
            "dagster/column_schema": columns_of(decisions.TABLE),
            "dagster/table_name": decisions.TABLE,
            "seg/sparse": "A day holds rows only when a model was fitted, promoted or not.",
        },
    )
    def segment_model(
        context: dg.AssetExecutionContext, config: SegmentModelConfig, shop: ShopResource
    ) -> dg.MaterializeResult:
        """Decisions: models fitted on the day, why, what became of each segment, and whether they were promoted."""
        return user_errors(lambda: run_days(context, shop.settings(), config))()

    return [segment_model]


def run_days(context: dg.AssetExecutionContext, settings: Settings, config: SegmentModelConfig) -> dg.MaterializeResult:
    """Decide every strategy on every day of the run, oldest day first."""
    lake = Lake.of(settings)
    strategies = strategies_of(settings)
    days = days_of_run(context)
    requests = requests_of(config, strategies, days)
    results = []
    for day in log_progress(context, days):
        decided = decide_strategies(lake, strategies, day, settings.seed, requests, config.force)
        for result in decided:
            if result.action != "none":
                context.log.info(f"{result.strategy} on {day}: {result.action}. {result.reason}")
        results.append(DayResult(day, day_metadata(decided), [champion_check(lake, strategies, day)]))
    return record_days(context, KEY, results)


def decide_strategies(
    lake: Lake,
    strategies: Mapping[str, Strategy],
    day: dt.date,
    seed: int,
    requests: Sequence[DecisionRequest] = (),
    force: bool = False,
) -> list[DecisionResult]:
    """Decide a day: when the run has requests only the strategies that they ask for, else all."""
    if requests:
        of_day = [r for r in requests if r.day == day]
        return [decide_day(lake, strategies[r.strategy], day, seed, r, force) for r in of_day]
    return [decide_day(lake, strategy, day, seed, None, force) for strategy in strategies.values()]


def requests_of(
    config: SegmentModelConfig, strategies: Mapping[str, Strategy], days: Sequence[dt.date]
) -> list[DecisionRequest]:
    """Return the requests of a run's config.

    Raises:
        ConfigError: unknown strategy or cause, or a day that is not of this run.
    """
    requests = []
    for n, item in enumerate(config.requests):
        where = f"run config: requests[{n}]"
        if item.strategy not in strategies:
            raise ConfigError(
                f"{where}.strategy = {item.strategy!r}: no such strategy{did_you_mean(item.strategy, strategies)}; "
                f"there are: {', '.join(strategies)}"
            )
        if item.cause not in decisions.CAUSES:
            raise ConfigError(f"{where}.cause = {item.cause!r}: one of {', '.join(decisions.CAUSES)}")
        day = parse_day(item.day)
        if day not in days:
            raise ConfigError(
                f"{where}.day = {item.day}: this run is of {days[0]} .. {days[-1]}; launch it for that day"
            )
        requests.append(DecisionRequest(item.strategy, day, item.cause, item.against_model_id, item.attempt, item.note))
    return requests


def day_metadata(decided: Sequence[DecisionResult]) -> dict[str, Any]:
    """Return what the UI shows of one day: a headline, then one table per subject."""
    with_decision = [r for r in decided if r.decision is not None and r.action in ("written", "kept")]
    written = [r for r in decided if r.action == "written"]
    metadata: dict[str, Any] = {
        "decision": "; ".join(f"{r.strategy}: {_headline(r)}" for r in decided if r.action != "none") or "none",
        "decisions": len(with_decision),
        "decisions_written": len(written),
        "promotions": sum(1 for r in written if r.decision is not None and r.decision.promoted),
        "dagster/row_count": len(with_decision),
        "strategies": dg.MetadataValue.md(
            markdown_table(
                ["strategy", "outcome", "cause", "promoted", "k", "model", "why"],
                [_strategy_row(r) for r in decided],
            )
        ),
    }
    dropped = {r.strategy: r.dropped for r in decided if r.dropped}
    if dropped:
        metadata["later_decisions_dropped"] = "; ".join(
            f"{name}: {', '.join(map(str, days))}" for name, days in sorted(dropped.items())
        )
    for result in with_decision:
        if result.decision is not None:
            metadata |= _decision_metadata(result.decision)
    return metadata


def _decision_metadata(decision: Decision) -> dict[str, Any]:
    """Return what the UI shows of one decision: its segments, lineage, choice of k, numbers."""
    name, diagnostics = decision.strategy, decision.model["diagnostics"]
    k, k_table = len(decision.model["segments"]), diagnostics.get("k_table") or []
    numbers = {key: v for key, v in decision.numbers.items() if key != "overlap"}
    metadata: dict[str, Any] = {
        f"{name}_segments": dg.MetadataValue.md(_segments_table(decision)),
        f"{name}_lineage": dg.MetadataValue.md(_lineage_table(decision)),
    }
    if k_table:
        metadata[f"{name}_choice_of_k"] = dg.MetadataValue.md(_k_table(k_table, k))
    return metadata | {
        f"{name}_numbers": dg.MetadataValue.json(numbers),
        f"{name}_model": dg.MetadataValue.json({key: v for key, v in diagnostics.items() if key != "k_table"}),
        f"{name}_k": k,
    }


def champion_check(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> Check:
    """Check that the profiles of the day still hold what the champions read."""
    misfits: dict[str, Any] = {}
    path = literal(str(lake.path("user_profiles", day)))
    with lake.connect() as con:
        columns = {row[0] for row in con.execute(f"describe select * from read_parquet({path})").fetchall()}
    for name in strategies:
        champion = decisions.champion_as_of(lake, name, day)
        if champion is None:
            continue
        axes = champion.model["space"]["axes"]
        lacking = sorted({a["column"] for a in axes if a["feature"] != "category_shares"} - columns)
        if lacking:
            misfits[name] = f"model {champion.model_id} reads {', '.join(lacking)}, which user_profiles does not have"
    remedy = {"remedy": "re-cluster by hand: request cause `manual` for that day"} if misfits else {}
    return Check(CHAMPION_FITS, not misfits, {**misfits, **remedy})


def _headline(result: DecisionResult) -> str:
    """Say in a few words what became of a strategy."""
    decision = result.decision
    if decision is None or result.action == "withdrawn":
        return result.action
    state = "promoted" if decision.promoted else "not promoted"
    return f"{decision.cause}, {state}" + (" (as before)" if result.action == "kept" else "")


def _strategy_row(result: DecisionResult) -> list[Any]:
    """Return a strategy's row in the table of a day."""
    decision = result.decision
    if decision is None or result.action == "none":
        return [result.strategy, result.action, "", "", "", "", result.reason]
    return [
        result.strategy,
        result.action,
        decision.cause,
        "yes" if decision.promoted else "no",
        len(decision.model["segments"]),
        decision.model_id,
        decision.reason,
    ]


def _segments_table(decision: Decision) -> str:
    """Return the segments of a decision's model as Markdown."""
    jaccard = decision.segment_model().jaccard
    rows = [
        [s["id"], s["name"], s["size"], f"{s['share']:.1%}", _jaccard_words(jaccard.get(s["id"]))]
        for s in decision.model["segments"]
    ]
    return markdown_table(["segment", "name", "users", "share", "comes out again"], rows)


def _jaccard_words(jaccard: float | None) -> str:
    """Write a bootstrap Jaccard and Hennig's word for it."""
    return "not tested" if jaccard is None else f"{jaccard:.2f}, {band(jaccard)}"


def _lineage_table(decision: Decision) -> str:
    """Return the lineage of a decision as Markdown."""
    rows = [
        [
            row["event"],
            ", ".join(row["old_ids"]),
            ", ".join(row["new_ids"]),
            row["shared_users"],
            f"{row['share_of_old']:.0%}",
            f"{row['share_of_new']:.0%}",
        ]
        for row in decision.lineage
    ]
    return markdown_table(["event", "from", "to", "shared users", "of the old", "of the new"], rows)


def _k_table(rows: Sequence[Mapping[str, Any]], chosen: int) -> str:
    """Return as Markdown each criterion with its error, and how many of them name each k."""
    cells = [
        [
            f"{row['k']}{' (chosen)' if row['k'] == chosen else ''}",
            *(format_estimate(row[name], row[f"{name}_error"]) for name in CRITERIA),
            f"{row['smallest_share']:.1%}",
            f"{row['votes']} ({', '.join(CRITERIA[n].title for n in row['named_by']) or 'none'})",
        ]
        for row in rows
    ]
    return markdown_table(["k", *(c.title for c in CRITERIA.values()), "smallest share", "named by"], cells)
