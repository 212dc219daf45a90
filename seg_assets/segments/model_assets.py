"""The Dagster face of decisions: the sparse asset `segment_model`. What it decides is in `fit.settle_day`."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from seg_assets.core.days import parse_day
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.core.text import markdown_table
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import (
    IO_RETRY,
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    Shop,
    columns_of,
    deps_of,
    log_progress,
    report_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.segments.decisions import store as decisions
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.choosing import CRITERIA, said
from seg_assets.segments.fitting.fit import Request, Settled, settle_day
from seg_assets.segments.fitting.stability import band
from seg_assets.segments.strategy import Strategy, did_you_mean, strategies_of

KEY = dg.AssetKey("segment_model")
CHAMPION_FITS = "every_champion_can_score_the_profiles_of_the_day"


class SegmentModelRequest(dg.Config):
    """One decision asked for: by the drift sensor, the command line, or a person in the launchpad."""

    strategy: str
    day: str
    cause: str = "manual"
    against_model_id: str = ""
    attempt: int = 0
    note: str = ""


class SegmentModelConfig(dg.Config):
    """Empty: make the first fit where it is due and re-verify what is there. `force`: make decisions anew."""

    requests: list[SegmentModelRequest] = Field(default_factory=list)
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
        retry_policy=IO_RETRY,
        code_version=_code_version(),
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
        context: dg.AssetExecutionContext, config: SegmentModelConfig, shop: Shop
    ) -> dg.MaterializeResult:
        """Decisions: models fitted on the day, why, what became of each segment, and whether they were promoted."""
        return user_errors(lambda: run_days(context, shop.settings(), config))()

    return [segment_model]


def run_days(context: dg.AssetExecutionContext, settings: Settings, config: SegmentModelConfig) -> dg.MaterializeResult:
    """Settle every strategy on every day of the run, oldest day first."""
    lake = Lake.of(settings)
    strategies = strategies_of(settings)
    days = days_of_run(context)
    requests = requests_of(config, strategies, days)
    results = []
    for day in log_progress(context, days):
        settled = settle_strategies(lake, strategies, day, settings.seed, requests, config.force)
        for item in settled:
            if item.action != "none":
                context.log.info(f"{item.strategy} on {day}: {item.action}. {item.reason}")
        results.append(DayResult(day, day_metadata(settled), [champion_check(lake, strategies, day)]))
    return report_days(context, KEY, results)


def settle_strategies(
    lake: Lake,
    strategies: Mapping[str, Strategy],
    day: dt.date,
    seed: int,
    requests: Sequence[Request] = (),
    force: bool = False,
) -> list[Settled]:
    """Settle a day: with requests for it only the strategies asked for, else all."""
    asked = [r for r in requests if r.day == day]
    if requests:
        return [settle_day(lake, strategies[r.strategy], day, seed, r, force) for r in asked]
    return [settle_day(lake, strategy, day, seed, None, force) for strategy in strategies.values()]


def requests_of(
    config: SegmentModelConfig, strategies: Mapping[str, Strategy], days: Sequence[dt.date]
) -> list[Request]:
    """The requests of a run's config.

    Raises:
        ConfigError: unknown strategy or cause, or a day that is not of this run.
    """
    found = []
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
        found.append(Request(item.strategy, day, item.cause, item.against_model_id, item.attempt, item.note))
    return found


def day_metadata(settled: Sequence[Settled]) -> dict[str, Any]:
    """What the UI shows of one day: a headline, then one table per subject."""
    fresh = [s for s in settled if s.decision is not None and s.action in ("written", "kept")]
    written = [s for s in settled if s.action == "written"]
    told = "; ".join(f"{s.strategy}: {_headline(s)}" for s in settled if s.action != "none") or "none"
    metadata: dict[str, Any] = {
        "decision": told,
        "decisions": len(fresh),
        "decisions_written": len(written),
        "promotions": sum(1 for s in written if s.decision is not None and s.decision.promoted),
        "dagster/row_count": len(fresh),
        "strategies": dg.MetadataValue.md(
            markdown_table(
                ["strategy", "outcome", "cause", "promoted", "k", "model", "why"],
                [_strategy_row(s) for s in settled],
            )
        ),
    }
    dropped = {s.strategy: s.dropped for s in settled if s.dropped}
    if dropped:
        metadata["later_decisions_dropped"] = "; ".join(
            f"{name}: {', '.join(map(str, days))}" for name, days in sorted(dropped.items())
        )
    for s in fresh:
        decision = s.decision
        if decision is None:
            continue
        metadata[f"{s.strategy}_segments"] = dg.MetadataValue.md(_segments_table(decision))
        metadata[f"{s.strategy}_lineage"] = dg.MetadataValue.md(_lineage_table(decision))
        k, k_table = len(decision.model["segments"]), decision.model["diagnostics"].get("k_table") or []
        if k_table:
            metadata[f"{s.strategy}_choice_of_k"] = dg.MetadataValue.md(_k_table(k_table, k))
        metadata[f"{s.strategy}_numbers"] = dg.MetadataValue.json(
            {key: v for key, v in decision.numbers.items() if key != "overlap"}
        )
        metadata[f"{s.strategy}_model"] = dg.MetadataValue.json(
            {key: v for key, v in decision.model["diagnostics"].items() if key != "k_table"}
        )
        metadata[f"{s.strategy}_k"] = k
    return metadata


def champion_check(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> Check:
    """Whether the profiles of the day still hold what the champions read."""
    from seg_assets.core.sql import literal

    found: dict[str, Any] = {}
    path = literal(str(lake.path("user_profiles", day)))
    with lake.connect() as con:
        have = {row[0] for row in con.execute(f"describe select * from read_parquet({path})").fetchall()}
    for name in strategies:
        champion = decisions.champion_as_of(lake, name, day)
        if champion is None:
            continue
        axes = champion.model["space"]["axes"]
        gone = sorted({a["column"] for a in axes if a["feature"] != "category_shares"} - have)
        if gone:
            found[name] = f"model {champion.model_id} reads {', '.join(gone)}, which user_profiles does not have"
    remedy = {"remedy": "re-cluster by hand: request cause `manual` for that day"} if found else {}
    return Check(CHAMPION_FITS, not found, {**found, **remedy})


def _code_version() -> str:
    from seg_assets.core.tables import TABLES

    return TABLES[decisions.TABLE].code_version


def _headline(settled: Settled) -> str:
    decision = settled.decision
    if decision is None or settled.action == "withdrawn":
        return settled.action
    state = "promoted" if decision.promoted else "not promoted"
    return f"{decision.cause}, {state}" + (" (as before)" if settled.action == "kept" else "")


def _strategy_row(settled: Settled) -> list[Any]:
    decision = settled.decision
    if decision is None or settled.action == "none":
        return [settled.strategy, settled.action, "", "", "", "", settled.reason]
    return [
        settled.strategy,
        settled.action,
        decision.cause,
        "yes" if decision.promoted else "no",
        len(decision.model["segments"]),
        decision.model_id,
        decision.reason,
    ]


def _segments_table(decision: Decision) -> str:
    jaccard = decision.segment_model().jaccard
    rows = [
        [s["id"], s["name"], s["size"], f"{s['share']:.1%}", _said_band(jaccard.get(s["id"]))]
        for s in decision.model["segments"]
    ]
    return markdown_table(["segment", "name", "users", "share", "comes out again"], rows)


def _said_band(jaccard: float | None) -> str:
    return "not tested" if jaccard is None else f"{jaccard:.2f}, {band(jaccard)}"


def _lineage_table(decision: Decision) -> str:
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
    """Each criterion with its error, and how many of them name each k."""
    shown = [
        [
            f"{row['k']}{' (chosen)' if row['k'] == chosen else ''}",
            *(said(row[name], row[f"{name}_error"]) for name in CRITERIA),
            f"{row['smallest_share']:.1%}",
            f"{row['votes']} ({', '.join(CRITERIA[n].title for n in row['named_by']) or 'none'})",
        ]
        for row in rows
    ]
    return markdown_table(["k", *(c.title for c in CRITERIA.values()), "smallest share", "named by"], shown)
