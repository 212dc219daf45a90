"""The Dagster face of the daily segment tables: `user_segments`, `segment_profiles`, `segment_moves`.

Each day is read, computed by the pure modules (`assign`, `summaries`, `moves`), published and reported; nothing is
decided here. A range of days is one run, oldest day first, because a day's hysteresis reads the day before.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.core.days import ONE_DAY
from seg_assets.core.settings import Settings
from seg_assets.core.sql import identifier
from seg_assets.core.text import markdown_table, picture
from seg_assets.lake.columns import is_increasing, text_array
from seg_assets.lake.provenance import Provenance
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
from seg_assets.segments.daily import assign, moves, summaries
from seg_assets.segments.daily.members import NOBODY, flows_between, segmented
from seg_assets.segments.decisions.store import Decision, champion_as_of, champion_digest
from seg_assets.segments.rules import marked_names
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_digest, strategies_of

ROOM = "segments"
KINDS = {"python", "parquet"}
COVERED, ONCE, MINIMUM = "every_user_has_a_segment", "no_user_has_two_segments", "segments_keep_minimum_share"
STILL, EXACT = "moved_share_is_small", "explanations_add_up"
# A probe on simulated users: frozen labels moved 3.8 % a day, 1.8 to 2.7 % with a margin; more than 5 % is news.
MOVED_SHARE = 0.05
CHAMPION_INPUT = "segment_model:champion"


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The three daily segment tables."""

    def table(name: str, checks: Sequence):
        from seg_assets.core.tables import TABLES

        return dg.asset(
            key=dg.AssetKey(name),
            partitions_def=partitions,
            backfill_policy=SINGLE_RUN,
            group_name=ROOM,
            owners=[OWNER],
            kinds=KINDS,
            retry_policy=IO_RETRY,
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
    def user_segments(context: dg.AssetExecutionContext, shop: Shop) -> dg.MaterializeResult:
        """One segment per known user and strategy, with confidence, since when, and what hysteresis holds back."""
        return _run(context, assign.TABLE, shop, assign_lake_day)

    @table(
        summaries.TABLE,
        [],
    )
    def segment_profiles(context: dg.AssetExecutionContext, shop: Shop) -> dg.MaterializeResult:
        """What each segment of the day is: size, spend, features beside all users, a story, a rule."""
        return _run(context, summaries.TABLE, shop, profile_lake_day)

    @table(
        moves.TABLE,
        [
            check(EXACT, moves.TABLE, "Contributions of every move add up to the change of its margin, to 1e-9."),
            check(STILL, moves.TABLE, "Few users moved between clusters since yesterday."),
        ],
    )
    def segment_moves(context: dg.AssetExecutionContext, shop: Shop) -> dg.MaterializeResult:
        """Users who entered, left or moved since yesterday, and why: by feature, by user and by model."""
        return _run(context, moves.TABLE, shop, move_lake_day)

    return [user_segments, segment_profiles, segment_moves]


def _run(context: dg.AssetExecutionContext, table: str, shop: Shop, day_of) -> dg.MaterializeResult:
    def compute() -> dg.MaterializeResult:
        settings = shop.settings()
        lake, strategies = Lake.of(settings), strategies_of(settings)
        days = log_progress(context, days_of_run(context))
        return report_days(context, dg.AssetKey(table), [day_of(lake, strategies, day) for day in days])

    return user_errors(compute)()


# ---- user_segments --------------------------------------------------------------------------------------------


def assign_lake_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> DayResult:
    """Publish user_segments of a day and say what it holds.

    Raises:
        MissingDaysError: profiles of the day, or segments of the day before (but on the calendar's first day), were
            never materialized.
    """
    before = _day_before(lake, day)
    lake.require(assign.TABLE, before, f"{assign.TABLE} of {day}")
    lake.require("user_profiles", [day], f"{assign.TABLE} of {day}")
    champions = {name: champion_as_of(lake, name, day) for name in strategies}

    def parts() -> Iterator[pd.DataFrame]:
        for name, strategy in sorted(strategies.items()):
            model = _model(champions[name])
            frame = assign.load_for(lake, strategy, day, [model] if model else [])
            past = _rows(lake, before[0], name, assign.STATE) if before else None
            yield assign.assign_day(strategy, frame, model, past, day)

    provenance = _publish(lake, assign.TABLE, day, parts(), assign.SCHEMA, strategies)
    return _say_segments(lake, strategies, champions, day, before, provenance)


def _say_segments(
    lake: Lake,
    strategies: Mapping[str, Strategy],
    champions: Mapping[str, Decision | None],
    day: dt.date,
    before: list[dt.date],
    provenance: Provenance,
) -> DayResult:
    now, then = segmented(lake, day), segmented(lake, before[0]) if before else {}
    known = text_array(lake.read_arrow("user_profiles", day, ["user_id"])["user_id"])
    users = len(known)
    with lake.connect() as con:
        table = lake.scan(assign.TABLE, [day])
        sizes = con.execute(
            f"select strategy, segment_id, any_value(kind), count(*), count(proposed_segment_id) from {table} "
            "group by all order by strategy, count(*) desc, segment_id"
        ).fetchall()
        # Each id is greater than the one before: nobody is there twice, and nothing needs to be counted.
        twice = (
            []
            if all(is_increasing(mine.users) for mine in now.values())
            else con.execute(
                f"select strategy, user_id from {table} group by all having count(*) > 1 order by all limit 5"
            ).fetchall()
        )
    covered = {name: int((assign.index_in(known, now.get(name, NOBODY).users) >= 0).sum()) for name in strategies}
    stayed = {}
    for name, past in then.items():
        if name in now:
            every = flows_between(now[name], past, assign.index_in(now[name].users, past.users)).every
            stayed[name] = sum(every.values()), sum(n for (old, new), n in every.items() if old != new)
    strangers = provenance.rows - users * len(strategies)
    metadata: dict[str, Any] = {
        "users": users,
        "strategies": len(strategies),
        "dagster/row_count": provenance.rows,
    }
    if not users:
        metadata["empty"] = "user_profiles of this day has no users: nobody to segment"
    small: dict[str, str] = {}
    for name, strategy in sorted(strategies.items()):
        own = [row[1:] for row in sizes if row[0] == name]
        clustered = sum(n for _, kind, n, _ in own if kind == assign.CLUSTER)
        names = marked_names(strategy, _model(champions[name]))
        table = [
            [segment, names.get(segment, segment), kind, n, f"{n / max(users, 1):.1%}", held or ""]
            for segment, kind, n, held in own
        ]
        metadata[f"{name}_segments"] = dg.MetadataValue.md(
            markdown_table(["segment", "name", "kind", "users", "share", "held"], table)
            + "\n\n"
            + picture(bar_chart([(f"{names.get(s, s)}", n) for s, _, n, _ in own]), f"{name} on {day}")
        )
        metadata[f"{name}_clustered_share"] = round(clustered / users, 6) if users else 0.0
        if name in stayed:
            both, moved = stayed[name]
            metadata[f"{name}_moved_share"] = round(moved / both, 6) if both else 0.0
        low = [f"{s} {n / clustered:.2%}" for s, kind, n, _ in own if _is_small(kind, n, clustered, strategy)]
        empty = sorted(set(_ids(champions[name])) - {s for s, *_ in own}) if clustered else []
        if low or empty:
            small[name] = (
                ", ".join([*low, *(f"{s} nobody" for s in empty)]) + f" (minimum {strategy.minimum_share:.2%})"
            )
    uncovered = {name: users - n for name, n in covered.items() if n != users}
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
            not twice,
            {
                **({"first": "; ".join(f"{s}: {u!r}" for s, u in twice)} if twice else {}),
                **_remedy(bool(twice), "look for duplicates in user_profiles of this day"),
            },
            dg.AssetCheckSeverity.ERROR,
        ),
        Check(
            MINIMUM,
            not small,
            {**small, **_remedy(bool(small), "re-cluster the strategy, or lower minimum_share or k in its YAML")},
        ),
    ]
    return DayResult(day, metadata, checks, provenance.content_hash)


def _is_small(kind: str, users: int, clustered: int, strategy: Strategy) -> bool:
    return kind == assign.CLUSTER and users < strategy.minimum_share * clustered


# ---- segment_profiles -----------------------------------------------------------------------------------------


def profile_lake_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> DayResult:
    """Publish segment_profiles of a day and say what it holds.

    Raises:
        MissingDaysError: segments or profiles of the day were never materialized.
    """
    for name in (assign.TABLE, "user_profiles"):
        lake.require(name, [day], f"{summaries.TABLE} of {day}")
    found = []
    for name, strategy in sorted(strategies.items()):
        model = _model(champion_as_of(lake, name, day))
        frame = assign.load_for(lake, strategy, day, [model] if model else [], summaries.EXTRA)
        columns = ("user_id", "segment_id", "confidence", "proposed_segment_id")
        found.append(summaries.profile_day(strategy, frame, _rows(lake, day, name, columns), model))
    provenance = _publish(lake, summaries.TABLE, day, iter(found), summaries.SCHEMA, strategies)
    metadata: dict[str, Any] = {"segments": provenance.rows, "dagster/row_count": provenance.rows}
    for rows in found:
        if not len(rows):
            continue
        name = rows["strategy"].iloc[0]
        shown = rows.sort_values(["users", "segment_id"], ascending=[False, True])
        metadata[f"{name}_profiles"] = dg.MetadataValue.md(
            markdown_table(
                [
                    "segment",
                    "name",
                    "users",
                    "share",
                    "spend 90d",
                    "of spend",
                    "trusted",
                    "what sets it apart",
                    "as a rule",
                ],
                [
                    [
                        r.segment_id,
                        r.name,
                        r.users,
                        f"{r.share:.1%}",
                        f"{r.spend_90d:,.2f}",
                        "" if pd.isna(r.spend_share_90d) else f"{r.spend_share_90d:.1%}",
                        "" if pd.isna(r.trusted) else "yes" if r.trusted else "**no**",
                        r.story,
                        "" if pd.isna(r.rule) else f"{r.rule} (right for {r.rule_precision:.0%})",
                    ]
                    for r in shown.itertuples(index=False)
                ],
            )
        )
        metadata[f"{name}_segment_count"] = int((rows["kind"] == assign.CLUSTER).sum())
        metadata[f"{name}_untrusted_segments"] = int((~rows["trusted"].fillna(True).astype(bool)).sum())
        if not pd.isna(rows["rules_fidelity"].iloc[0]):
            metadata[f"{name}_rules_fidelity"] = round(float(rows["rules_fidelity"].iloc[0]), 4)
    return DayResult(day, metadata, (), provenance.content_hash)


# ---- segment_moves --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """What the UI is told of one strategy's moves."""

    strategy: str
    known_both_days: int
    counts: Mapping[str, int]
    between_clusters: int
    causes: Mapping[str, int]
    flows: pd.DataFrame
    features: Sequence[tuple[str, float]]
    error: float
    new_champion: bool


def move_lake_day(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> DayResult:
    """Publish segment_moves of a day and say what it holds.

    Raises:
        MissingDaysError: a table of the day, or of the day before within the calendar, was never materialized.
    """
    before = _day_before(lake, day)
    for name in (assign.TABLE, "user_profiles", "user_category_profiles"):
        lake.require(name, [*before, day], f"{moves.TABLE} of {day}")
    told: list[_Told] = []

    def parts() -> Iterator[pd.DataFrame]:
        for _, strategy in sorted(strategies.items()):
            found, said = _strategy_moves(lake, strategy, day, before)
            told.append(said)
            yield found

    provenance = _publish(lake, moves.TABLE, day, parts(), moves.SCHEMA, strategies)
    return _say_moves(day, told, provenance)


def _strategy_moves(lake: Lake, strategy: Strategy, day: dt.date, before: list[dt.date]) -> tuple[pd.DataFrame, _Told]:
    columns = ("user_id", "segment_id", "kind", "proposed_segment_id", "proposed_days")
    today = _rows(lake, day, strategy.name, columns)
    yesterday = _rows(lake, before[0], strategy.name, columns) if before else None
    new = champion_as_of(lake, strategy.name, day)
    old = champion_as_of(lake, strategy.name, before[0]) if before else None
    models = [d.segment_model() for d in (old, new) if d]
    changed = moves.changes(today, yesterday)
    x0 = x1 = None
    if before and (changed["kind"] == moves.MOVED).any():
        x0, x1 = (assign.load_for(lake, strategy, d, models) for d in (before[0], day))
    lineage = [row for d in (new, old) if d for row in d.lineage]
    found = moves.moves_of_day(
        strategy, today, yesterday, x0, x1, _model(old), _model(new), moves.stand_ins(lineage), changed=changed
    )
    both = (changed["from_kind"] == assign.CLUSTER) & (changed["to_kind"] == assign.CLUSTER)
    known = len(today) - int((found["kind"] == moves.ENTERED).sum())
    moved = found[found["kind"] == moves.MOVED]
    return found, _Told(
        strategy=strategy.name,
        known_both_days=known,
        counts={kind: int((found["kind"] == kind).sum()) for kind in (moves.MOVED, moves.ENTERED, moves.LEFT)},
        between_clusters=int(both.sum()),
        causes={str(c): int(n) for c, n in sorted(moved["cause"].value_counts().items())},
        flows=moved.groupby(["from_segment", "to_segment"], as_index=False).size(),
        features=moves.strongest_features(moved),
        error=moves.worst_error(found),
        new_champion=(old.model_id if old else None) != (new.model_id if new else None),
    )


def _say_moves(day: dt.date, told: Sequence[_Told], provenance: Provenance) -> DayResult:
    metadata: dict[str, Any] = {"dagster/row_count": provenance.rows}
    for kind in (moves.MOVED, moves.ENTERED, moves.LEFT):
        metadata[f"{kind}_rows"] = sum(t.counts[kind] for t in told)
    if not provenance.rows:
        metadata["empty"] = "nobody entered, left or moved since yesterday"
    restless: dict[str, str] = {}
    for t in told:
        share = t.between_clusters / t.known_both_days if t.known_both_days else 0.0
        metadata[f"{t.strategy}_moved_share"] = round(share, 6)
        if t.counts[moves.MOVED]:
            flows = t.flows.sort_values(["size", "from_segment", "to_segment"], ascending=[False, True, True]).head(12)
            lines = [
                ", ".join(f"{cause}: {n}" for cause, n in t.causes.items()),
                markdown_table(["from", "to", "users"], flows.to_numpy().tolist()),
            ]
            if t.features:
                lines.append("What pushed, summed over users who moved between clusters:")
                lines.append(markdown_table(["feature", "push"], [[f, f"{v:+.4g}"] for f, v in t.features]))
            metadata[f"{t.strategy}_moves"] = dg.MetadataValue.md("\n\n".join(lines))
        if share > MOVED_SHARE:
            why = "a new champion began on this day" if t.new_champion else "no new champion"
            restless[t.strategy] = f"{share:.2%} of users moved between clusters ({why})"
    worst = max((t.error for t in told), default=0.0)
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
    return DayResult(day, metadata, checks, provenance.content_hash)


# ---- shared ---------------------------------------------------------------------------------------------------


def _day_before(lake: Lake, day: dt.date) -> list[dt.date]:
    """The day before, or nothing on the first day of the calendar."""
    return [day - ONE_DAY] if day - ONE_DAY >= lake.start_day else []


def _model(decision: Decision | None):
    return decision.segment_model() if decision else None


def _ids(decision: Decision | None) -> list[str]:
    return decision.segment_model().segment_ids if decision else []


def _rows(lake: Lake, day: dt.date, strategy: str, columns: Sequence[str]) -> pd.DataFrame:
    """A strategy's rows of user_segments of a day, in order of user_id."""
    table = lake.read_arrow(assign.TABLE, day, ["strategy", *columns], codes=["strategy"])
    mine = pc.equal(table["strategy"], strategy)
    if not pc.all(mine).as_py():
        table = table.filter(mine)
    texts = {c for c in columns if assign.SCHEMA[c] == "VARCHAR"}
    return pd.DataFrame(
        {c: pd.array(table[c], dtype="str") if c in texts else table[c].to_numpy() for c in columns}, copy=False
    )


def _publish(
    lake: Lake,
    table: str,
    day: dt.date,
    parts: Iterable[pd.DataFrame],
    schema: Mapping[str, str],
    strategies: Mapping[str, Strategy],
) -> Provenance:
    """Publish a day from one frame per strategy, in the table's row order: only one of them is in memory as a frame."""
    columns = ", ".join(f"{identifier(c)} {kind}" for c, kind in schema.items())
    with lake.connect() as con:
        con.execute(f"create temp table seg_parts ({columns})")
        for part in parts:
            if not len(part):
                continue
            # One thread: a pool is started and ended in more time than it saves for columns that are Arrow's already.
            con.register("seg_part", pa.Table.from_pandas(part[list(schema)], preserve_index=False, nthreads=1))
            cast = ", ".join(f"{identifier(c)}::{kind}" for c, kind in schema.items())
            con.execute(f"insert into seg_parts select {cast} from seg_part")
            con.unregister("seg_part")
        return lake.publish_table(
            con,
            "seg_parts",
            table,
            day,
            inputs={
                CHAMPION_INPUT: champion_digest(lake, strategies, day),
                STRATEGIES_KEY: strategies_digest(strategies),
            },
        )


def _remedy(failed: bool, text: str) -> dict[str, str]:
    return {"remedy": text} if failed else {}


def bar_chart(bars: Sequence[tuple[str, int]]) -> str:
    """Sizes as an SVG of horizontal bars."""
    most = max((n for _, n in bars), default=0) or 1
    height = 22 * len(bars) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{height}" font-family="sans-serif" '
        f'font-size="12">'
        f'<rect width="640" height="{height}" fill="#ffffff"/>'
    ]
    for row, (name, n) in enumerate(bars):
        y, width = 22 * row + 4, max(1, round(320 * n / most))
        parts.append(
            f'<text x="214" y="{y + 14}" text-anchor="end" fill="#333">{escape(_printable(name)[:32])}</text>'
            f'<rect x="220" y="{y + 2}" width="{width}" height="16" fill="#1f5fa8"/>'
            f'<text x="{226 + width}" y="{y + 14}" fill="#333">{n:,}</text>'
        )
    return "".join(parts) + "</svg>"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
