"""Make one day of user_segments, segment_profiles and segment_moves: read the lake, compute, publish, count.

Each table has a function that publishes a day and returns what the Dagster UI shows of it. A strategy is computed and
handed over before the next one, so only one of them is in memory as a frame.

Not here: the computation (`assign`, `summaries`, `moves`), and what the UI says (`segments.assets`).
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.core.days import ONE_DAY
from seg_assets.core.sql import identifier
from seg_assets.lake.columns import is_increasing, text_array
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.segments.daily import assign, moves, summaries
from seg_assets.segments.daily.members import NOBODY, flows_between, segmented
from seg_assets.segments.decisions.store import Decision, champion_as_of, champion_digest
from seg_assets.segments.model import SegmentModel, marked_names
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_digest

CHAMPION_INPUT = "segment_model:champion"


# ---- user_segments -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SegmentSize:
    """Users of one segment on a day; `held` of them stay by hysteresis only."""

    segment_id: str
    kind: str
    users: int
    held: int


@dataclass(frozen=True)
class StrategySegments:
    """One strategy's segments of a day.

    names: readable name by segment id. sizes: largest first. users_covered: known users that have a segment.
    empty: segments of the champion that nobody is in. on_both_days: users with a segment yesterday and today, None when
    yesterday has none; moved: those of them who are in another segment today.
    """

    strategy: Strategy
    names: Mapping[str, str]
    sizes: Sequence[SegmentSize]
    users_covered: int
    empty: Sequence[str]
    on_both_days: int | None
    moved: int

    @property
    def clustered(self) -> int:
        """Count the users in clusters."""
        return sum(size.users for size in self.sizes if size.kind == assign.CLUSTER)

    @property
    def too_small(self) -> list[str]:
        """Say which clusters hold less than the strategy's minimum share of the clustered users, or nobody."""
        clustered, least = self.clustered, self.strategy.minimum_share
        if not clustered:
            return []
        low = [
            f"{size.segment_id} {size.users / clustered:.2%}"
            for size in self.sizes
            if size.kind == assign.CLUSTER and size.users < least * clustered
        ]
        return low + [f"{segment} nobody" for segment in self.empty]


@dataclass(frozen=True)
class SegmentsOfDay:
    """A published day of user_segments.

    users: known users. twice: (strategy, user) of some users with two segments in one strategy.
    """

    day: dt.date
    provenance: Provenance
    users: int
    strategies: Sequence[StrategySegments]
    twice: Sequence[tuple[str, str]]

    @property
    def rows_of_unknown_users(self) -> int:
        """Count the rows beyond one per known user and strategy."""
        return self.provenance.rows - self.users * len(self.strategies)


def publish_segments(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> SegmentsOfDay:
    """Publish user_segments of a day.

    Raises:
        MissingDaysError: profiles of the day, or segments of the day before (but on the calendar's first day), were
            never materialized.
    """
    before = _day_before(lake, day)
    lake.require(assign.TABLE, before, f"{assign.TABLE} of {day}")
    lake.require("user_profiles", [day], f"{assign.TABLE} of {day}")
    champions = {name: _model(champion_as_of(lake, name, day)) for name in strategies}

    def parts() -> Iterator[pd.DataFrame]:
        for name, strategy in sorted(strategies.items()):
            model = champions[name]
            frame = assign.load_for(lake, strategy, day, [model] if model else [])
            past = _rows_of(lake, before[0], name, assign.STATE) if before else None
            yield assign.assign_day(strategy, frame, model, past, day)

    provenance = _publish(lake, assign.TABLE, day, parts(), assign.SCHEMA, strategies)
    return _count_segments(lake, strategies, champions, day, before, provenance)


def _count_segments(
    lake: Lake,
    strategies: Mapping[str, Strategy],
    champions: Mapping[str, SegmentModel | None],
    day: dt.date,
    before: Sequence[dt.date],
    provenance: Provenance,
) -> SegmentsOfDay:
    now, then = segmented(lake, day), segmented(lake, before[0]) if before else {}
    known = text_array(lake.read_arrow("user_profiles", day, ["user_id"])["user_id"])
    with lake.connect() as con:
        table = lake.scan(assign.TABLE, [day])
        sizes = con.execute(
            f"select strategy, segment_id, any_value(kind), count(*), count(proposed_segment_id) from {table} "
            "group by all order by strategy, count(*) desc, segment_id"
        ).fetchall()
        # Where each id is greater than the one before, nobody has two rows, and nothing needs to be counted.
        in_order = all(is_increasing(mine.users) for mine in now.values())
        twice = f"select strategy, user_id from {table} group by all having count(*) > 1 order by all limit 5"
        repeated = [] if in_order else con.execute(twice).fetchall()
    counted = []
    for name, strategy in sorted(strategies.items()):
        model, mine = champions[name], now.get(name, NOBODY)
        own = [SegmentSize(*row[1:]) for row in sizes if row[0] == name]
        both, moved = None, 0
        if name in now and name in then:
            flows = flows_between(mine, then[name], assign.index_in(mine.users, then[name].users)).every
            both, moved = sum(flows.values()), sum(users for (old, new), users in flows.items() if old != new)
        counted.append(
            StrategySegments(
                strategy=strategy,
                names=marked_names(strategy, model),
                sizes=own,
                users_covered=int((assign.index_in(known, mine.users) >= 0).sum()),
                empty=sorted(set(model.segment_ids if model else []) - {size.segment_id for size in own}),
                on_both_days=both,
                moved=moved,
            )
        )
    return SegmentsOfDay(day, provenance, len(known), counted, repeated)


# ---- segment_profiles ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProfilesOfDay:
    """A published day of segment_profiles: one frame per strategy with segments."""

    day: dt.date
    provenance: Provenance
    profiles: Mapping[str, pd.DataFrame]


def publish_profiles(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> ProfilesOfDay:
    """Publish segment_profiles of a day.

    Raises:
        MissingDaysError: segments or profiles of the day were never materialized.
    """
    for name in (assign.TABLE, "user_profiles"):
        lake.require(name, [day], f"{summaries.TABLE} of {day}")
    profiles: dict[str, pd.DataFrame] = {}
    for name, strategy in sorted(strategies.items()):
        model = _model(champion_as_of(lake, name, day))
        frame = assign.load_for(lake, strategy, day, [model] if model else [], summaries.EXTRA)
        columns = ("user_id", "segment_id", "confidence", "proposed_segment_id")
        profiles[name] = summaries.profile_day(strategy, frame, _rows_of(lake, day, name, columns), model)
    provenance = _publish(lake, summaries.TABLE, day, profiles.values(), summaries.SCHEMA, strategies)
    return ProfilesOfDay(day, provenance, {name: rows for name, rows in profiles.items() if len(rows)})


# ---- segment_moves -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StrategyMoves:
    """One strategy's moves of a day, counted.

    users: by kind of move. causes: users who moved, by cause. flows: columns from_segment, to_segment, size.
    features: (feature, summed push) of what pushed most. error: largest gap between contributions and margins.
    """

    strategy: str
    known_both_days: int
    users: Mapping[str, int]
    between_clusters: int
    causes: Mapping[str, int]
    flows: pd.DataFrame
    features: Sequence[tuple[str, float]]
    error: float
    new_champion: bool

    @property
    def moved_share(self) -> float:
        """Return the share of the users known on both days who moved between clusters."""
        return self.between_clusters / self.known_both_days if self.known_both_days else 0.0


@dataclass(frozen=True)
class MovesOfDay:
    """A published day of segment_moves."""

    day: dt.date
    provenance: Provenance
    strategies: Sequence[StrategyMoves]


def publish_moves(lake: Lake, strategies: Mapping[str, Strategy], day: dt.date) -> MovesOfDay:
    """Publish segment_moves of a day.

    Raises:
        MissingDaysError: a table of the day, or of the day before within the calendar, was never materialized.
    """
    before = _day_before(lake, day)
    for name in (assign.TABLE, "user_profiles", "user_category_profiles"):
        lake.require(name, [*before, day], f"{moves.TABLE} of {day}")
    counted: list[StrategyMoves] = []

    def parts() -> Iterator[pd.DataFrame]:
        for _, strategy in sorted(strategies.items()):
            rows, counts = _moves_of(lake, strategy, day, before)
            counted.append(counts)
            yield rows

    provenance = _publish(lake, moves.TABLE, day, parts(), moves.SCHEMA, strategies)
    return MovesOfDay(day, provenance, counted)


def _moves_of(
    lake: Lake, strategy: Strategy, day: dt.date, before: Sequence[dt.date]
) -> tuple[pd.DataFrame, StrategyMoves]:
    columns = ("user_id", "segment_id", "kind", "proposed_segment_id", "proposed_days")
    today = _rows_of(lake, day, strategy.name, columns)
    yesterday = _rows_of(lake, before[0], strategy.name, columns) if before else None
    new = champion_as_of(lake, strategy.name, day)
    old = champion_as_of(lake, strategy.name, before[0]) if before else None
    models = [d.segment_model() for d in (old, new) if d]
    changed = moves.changes(today, yesterday)
    x0 = x1 = None
    if before and (changed["kind"] == moves.MOVED).any():
        x0, x1 = (assign.load_for(lake, strategy, d, models) for d in (before[0], day))
    lineage = [row for d in (new, old) if d for row in d.lineage]
    rows = moves.moves_of_day(
        strategy, today, yesterday, x0, x1, _model(old), _model(new), moves.stand_ins(lineage), changed=changed
    )
    between = (changed["from_kind"] == assign.CLUSTER) & (changed["to_kind"] == assign.CLUSTER)
    moved = rows[rows["kind"] == moves.MOVED]
    return rows, StrategyMoves(
        strategy=strategy.name,
        known_both_days=len(today) - int((rows["kind"] == moves.ENTERED).sum()),
        users={kind: int((rows["kind"] == kind).sum()) for kind in (moves.MOVED, moves.ENTERED, moves.LEFT)},
        between_clusters=int(between.sum()),
        causes={str(c): int(n) for c, n in sorted(moved["cause"].value_counts().items())},
        flows=moved.groupby(["from_segment", "to_segment"], as_index=False).size(),
        features=moves.strongest_features(moved),
        error=moves.worst_error(rows),
        new_champion=(old.model_id if old else None) != (new.model_id if new else None),
    )


# ---- shared --------------------------------------------------------------------------------------------------------


def _day_before(lake: Lake, day: dt.date) -> list[dt.date]:
    """Return the day before, or nothing on the first day of the calendar."""
    return [day - ONE_DAY] if day - ONE_DAY >= lake.start_day else []


def _model(decision: Decision | None) -> SegmentModel | None:
    return decision.segment_model() if decision else None


def _rows_of(lake: Lake, day: dt.date, strategy: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read a strategy's rows of user_segments of a day, in order of user_id."""
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
    """Publish a day from one frame per strategy, each in the table's row order."""
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
