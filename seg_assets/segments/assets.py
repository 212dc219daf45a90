"""Show the daily segment tables in Dagster: `user_segments`, `segment_profiles`, `segment_moves`.

A range of days is one run, oldest day first, because a day's hysteresis reads the day before.

Not here: how a day is computed and published (`segments.daily.publish` and the modules beside it), and the asset
`segment_model` (`segments.model_assets`).
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd
from markupsafe import Markup

from seg_assets.core.settings import Settings
from seg_assets.core.svg import bar_chart
from seg_assets.core.tables import TABLES
from seg_assets.core.text import markdown_table, picture
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
from seg_assets.segments.daily import assign, moves, summaries
from seg_assets.segments.daily.publish import (
    MovesOfDay,
    ProfilesOfDay,
    SegmentsOfDay,
    StrategyMoves,
    StrategySegments,
    publish_moves,
    publish_profiles,
    publish_segments,
)
from seg_assets.segments.strategy import Strategy, strategies_of

ROOM = "segments"
KINDS = {"python", "parquet"}
COVERED, ONCE, MINIMUM = "every_user_has_a_segment", "no_user_has_two_segments", "segments_keep_minimum_share"
STILL, EXACT = "moved_share_is_small", "explanations_add_up"
# On simulated users frozen labels moved 3.8 % of the users a day, 1.8 to 2.7 % with a margin; more than 5 % is news.
MOVED_SHARE = 0.05
# Flows of a day that the UI lists.
FLOWS = 12


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Build the three daily segment tables."""

    def table(name: str, checks: Sequence):
        return dg.asset(
            key=dg.AssetKey(name),
            partitions_def=partitions,
            backfill_policy=SINGLE_RUN,
            group_name=ROOM,
            owners=[OWNER],
            kinds=KINDS,
            code_version=TABLES[name].code_version,
            deps=deps_of(name),
            check_specs=checks,
            metadata={
                "dagster/column_schema": columns_of(name),
                "dagster/table_name": name,
            },
        )

    def check(name: str, asset: str, text: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
        key = dg.AssetKey(asset)
        return dg.AssetCheckSpec(name, partitions_def=partitions, asset=key, description=text, blocking=blocking)

    @table(
        assign.TABLE,
        [
            check(
                COVERED, assign.TABLE, "Known users and users with a segment are the same, per strategy.", blocking=True
            ),
            check(ONCE, assign.TABLE, "No strategy gives a user two segments.", blocking=True),
            check(MINIMUM, assign.TABLE, "No cluster holds less than the strategy's minimum_share of clustered users."),
        ],
    )
    def user_segments(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        """One segment per known user and strategy, with confidence, since when, and what hysteresis holds back."""
        return _run(context, assign.TABLE, shop, assign_lake_day)

    @table(
        summaries.TABLE,
        [],
    )
    def segment_profiles(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        """What each segment of the day is: size, spend, features beside all users, a story, a rule."""
        return _run(context, summaries.TABLE, shop, profile_lake_day)

    @table(
        moves.TABLE,
        [
            check(EXACT, moves.TABLE, "Contributions of every move add up to the change of its margin, to 1e-9."),
            check(STILL, moves.TABLE, "Few users moved between clusters since yesterday."),
        ],
    )
    def segment_moves(context: dg.AssetExecutionContext, shop: ShopResource) -> dg.MaterializeResult:
        """Users who entered, left or moved since yesterday, and why: by feature, by user and by model."""
        return _run(context, moves.TABLE, shop, move_lake_day)

    return [user_segments, segment_profiles, segment_moves]


def _run(
    context: dg.AssetExecutionContext,
    table: str,
    shop: ShopResource,
    day_of: Callable[[Lake, Mapping[str, Strategy], dt.date], DayResult],
) -> dg.MaterializeResult:
    def compute() -> dg.MaterializeResult:
        settings = shop.settings()
        lake, strategies = Lake.of(settings), strategies_of(settings)
        days = log_progress(context, days_of_run(context))
        return record_days(context, dg.AssetKey(table), [day_of(lake, strategies, day) for day in days])

    return user_errors(compute)()


def assign_lake_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> DayResult:
    """Publish user_segments of a day and return what the UI shows of it."""
    return show_segments(publish_segments(lake, strategies, day))


def profile_lake_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> DayResult:
    """Publish segment_profiles of a day and return what the UI shows of it."""
    return show_profiles(publish_profiles(lake, strategies, day))


def move_lake_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> DayResult:
    """Publish segment_moves of a day and return what the UI shows of it."""
    return show_moves(publish_moves(lake, strategies, day))


# ---- what the UI shows ---------------------------------------------------------------------------------------------


def show_segments(published: SegmentsOfDay) -> DayResult:
    """Return the numbers, tables, pictures and checks of a day of user_segments."""
    day, users = published.day, published.users
    metadata: dict[str, Any] = {
        "users": users,
        "strategies": len(published.strategies),
        "dagster/row_count": published.provenance.rows,
    }
    if not users:
        metadata["empty"] = "user_profiles of this day has no users: nobody to segment"
    for mine in published.strategies:
        name = mine.strategy.name
        metadata[f"{name}_segments"] = dg.MetadataValue.md(_sizes_text(mine, users, day))
        if users:
            metadata[f"{name}_clustered_share"] = round(mine.clustered / users, 6)
        if mine.on_both_days:
            metadata[f"{name}_moved_share"] = round(mine.moved / mine.on_both_days, 6)
    strangers = published.rows_of_unknown_users
    uncovered = {s.strategy.name: users - s.users_covered for s in published.strategies if s.users_covered != users}
    small = {
        s.strategy.name: f"{', '.join(s.too_small)} (minimum {s.strategy.minimum_share:.2%})"
        for s in published.strategies
        if s.too_small
    }
    checks = [
        Check(
            COVERED,
            not uncovered and strangers == 0,
            {
                "users": users,
                **{f"{name}_without_segment": n for name, n in uncovered.items()},
                **({"rows_of_unknown_users": strangers} if strangers else {}),
                **_remedy(bool(uncovered or strangers), f"re-materialize {assign.TABLE} for {day}"),
            },
            dg.AssetCheckSeverity.ERROR,
        ),
        Check(
            ONCE,
            not published.twice,
            {
                **({"first": "; ".join(f"{s}: {u!r}" for s, u in published.twice)} if published.twice else {}),
                **_remedy(bool(published.twice), "look for duplicates in user_profiles of this day"),
            },
            dg.AssetCheckSeverity.ERROR,
        ),
        Check(
            MINIMUM,
            not small,
            {**small, **_remedy(bool(small), "re-cluster the strategy, or lower minimum_share or k in its YAML")},
        ),
    ]
    return DayResult(day, metadata, checks, published.provenance.content_hash)


def _sizes_text(mine: StrategySegments, users: int, day: dt.date) -> str:
    rows = [
        [
            size.segment_id,
            mine.names.get(size.segment_id, size.segment_id),
            size.kind,
            size.users,
            f"{size.users / max(users, 1):.1%}",
            size.held or "",
        ]
        for size in mine.sizes
    ]
    bars = [(mine.names.get(size.segment_id, size.segment_id), size.users) for size in mine.sizes]
    table = markdown_table(["segment", "name", "kind", "users", "share", "held"], rows)
    title = f"{mine.strategy.name} on {day}"
    return f"{table}\n\n{picture(bar_chart(title, bars), title)}"


def show_profiles(published: ProfilesOfDay) -> DayResult:
    """Return the numbers and tables of a day of segment_profiles."""
    metadata: dict[str, Any] = {
        "segments": published.provenance.rows,
        "dagster/row_count": published.provenance.rows,
    }
    for name, rows in published.profiles.items():
        metadata[f"{name}_profiles"] = dg.MetadataValue.md(_profiles_text(rows))
        metadata[f"{name}_segment_count"] = int((rows["kind"] == assign.CLUSTER).sum())
        metadata[f"{name}_untrusted_segments"] = int((~rows["trusted"].fillna(True).astype(bool)).sum())
        if not pd.isna(rows["rules_fidelity"].iloc[0]):
            metadata[f"{name}_rules_fidelity"] = round(float(rows["rules_fidelity"].iloc[0]), 4)
    return DayResult(published.day, metadata, (), published.provenance.content_hash)


def _profiles_text(rows: pd.DataFrame) -> str:
    head = ("segment", "name", "users", "share", "spend 90d", "of spend", "trusted", "what sets it apart", "as a rule")
    shown = rows.sort_values(["users", "segment_id"], ascending=[False, True])
    return markdown_table(
        head,
        [
            [
                r.segment_id,
                r.name,
                r.users,
                f"{r.share:.1%}",
                f"{r.spend_90d:,.2f}",
                "" if pd.isna(r.spend_share_90d) else f"{r.spend_share_90d:.1%}",
                "" if pd.isna(r.trusted) else "yes" if r.trusted else Markup("**no**"),
                r.story,
                _rule_text(r.rule, r.rule_precision),
            ]
            for r in shown.itertuples(index=False)
        ],
    )


def _rule_text(rule: str | None, precision: float) -> str:
    if rule is None or pd.isna(rule):
        return ""
    return rule if pd.isna(precision) else f"{rule} (right for {precision:.0%})"


def show_moves(published: MovesOfDay) -> DayResult:
    """Return the numbers, tables and checks of a day of segment_moves."""
    metadata: dict[str, Any] = {"dagster/row_count": published.provenance.rows}
    for kind in (moves.MOVED, moves.ENTERED, moves.LEFT):
        metadata[f"{kind}_rows"] = sum(mine.users[kind] for mine in published.strategies)
    if not published.provenance.rows:
        metadata["empty"] = "nobody entered, left or moved since yesterday"
    restless: dict[str, str] = {}
    for mine in published.strategies:
        if mine.known_both_days:
            metadata[f"{mine.strategy}_moved_share"] = round(mine.moved_share, 6)
        if mine.users[moves.MOVED]:
            metadata[f"{mine.strategy}_moves"] = dg.MetadataValue.md(_moves_text(mine))
        if mine.moved_share > MOVED_SHARE:
            why = "a new champion began on this day" if mine.new_champion else "no new champion"
            restless[mine.strategy] = f"{mine.moved_share:.2%} of users moved between clusters ({why})"
    worst = max((mine.error for mine in published.strategies), default=0.0)
    checks = [
        Check(
            EXACT,
            worst <= moves.TOLERANCE,
            {
                "largest_gap": worst,
                "allowed": moves.TOLERANCE,
                **_remedy(worst > moves.TOLERANCE, "the algorithm's `contributions` and `scores` disagree: a defect"),
            },
            dg.AssetCheckSeverity.ERROR,
        ),
        Check(
            STILL,
            not restless,
            {
                **restless,
                "allowed": MOVED_SHARE,
                **_remedy(bool(restless), "raise hysteresis.margin or dwell_days, or look at the day's events"),
            },
        ),
    ]
    return DayResult(published.day, metadata, checks, published.provenance.content_hash)


def _moves_text(mine: StrategyMoves) -> str:
    flows = mine.flows.sort_values(["size", "from_segment", "to_segment"], ascending=[False, True, True]).head(FLOWS)
    parts = [
        ", ".join(f"{cause}: {n}" for cause, n in mine.causes.items()),
        markdown_table(["from", "to", "users"], flows.to_numpy().tolist()),
    ]
    if mine.features:
        parts.append("What pushed, summed over users who moved between clusters:")
        parts.append(markdown_table(["feature", "push"], [[name, f"{push:+.4g}"] for name, push in mine.features]))
    return "\n\n".join(parts)


def _remedy(failed: bool, text: str) -> dict[str, str]:
    return {"remedy": text} if failed else {}
