"""Find the day tables that no longer are what they would be if they were made now, as a build system does.

A day is stale when an input's digest is not the one in its footer, when the code version rose, or when it is missing
though the raw events of the day are there. Everything comes from footers and decisions; no table is read.

Not here: landing files that changed (`events.sensor`), whether a decision is due or still rests on what is there
(`loop.planner`), and how a footer is read (`lake.provenance`).
"""

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from seg_assets.core.days import ONE_DAY, day_range
from seg_assets.core.digests import digest
from seg_assets.core.errors import HashKindError
from seg_assets.core.table_spec import Input, TableSpec
from seg_assets.core.tables import TABLES
from seg_assets.events.landing import REFUSED_KEY
from seg_assets.lake import content_hash
from seg_assets.lake.provenance import NONE, Provenance, input_digest
from seg_assets.lake.shop_files import FEATURES_KEY
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import baseline_digest, champion_digest
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_digest

RAW = "raw_events"
# Of the tables read from landing files, these also read their own yesterday.
CHAINED_LANDING = ("raw_users", "raw_products")
MISSING = "never materialized, though raw_events is"
# What stands for the digest of an input of which a day is not there.
GONE = "gone"


@dataclass(frozen=True, slots=True)
class Stale:
    """One day of one table that is not what it would be now.

    computable: whether everything it reads is there, or can itself be made.
    expected: digest of what it would be made from.
    changed: the inputs that are not what they were; empty when something else is wrong.
    """

    table: str
    day: dt.date
    why: str
    computable: bool
    expected: str
    changed: tuple[str, ...] = ()


def derived_tables() -> list[TableSpec]:
    """Return the tables made from other tables, in the order they are made; decisions, judged elsewhere, are not."""
    return [
        t for t in TABLES.values() if t.name != "segment_model" and (t.room != "events" or t.name in CHAINED_LANDING)
    ]


def stale(
    lake: Lake, strategies: Mapping[str, Strategy], tables: Iterable[str] | None = None
) -> dict[str, list[tuple[dt.date, str]]]:
    """Return every stale or missing day with the reason, by table in the order they are made; empty when none is.

    Raises:
        DamagedFileError: a footer cannot be read. HashKindError: see `Snapshot.stale`.
    """
    wanted = None if tables is None else set(tables)
    reasons: dict[str, list[tuple[dt.date, str]]] = {}
    for item in Snapshot(lake, strategies).stale():
        if wanted is None or item.table in wanted:
            reasons.setdefault(item.table, []).append((item.day, item.why))
    return reasons


class Snapshot:
    """All footers of a lake at one moment, and what follows from them.

    Args:
        lake: the lake.
        strategies: the shop's strategies by name.
        last_day: days after it are as if they were not there.
    """

    def __init__(self, lake: Lake, strategies: Mapping[str, Strategy], last_day: dt.date | None = None) -> None:
        self.lake = lake
        self.strategies = strategies
        self.last_day = last_day
        self.footers: dict[str, dict[dt.date, Provenance]] = {
            t.name: lake.provenances(t.name, last_day) for t in TABLES.values() if not t.per_strategy_parts
        }
        # Days of which not one line was accepted, and why: nothing is made from them.
        raw = sorted(self.footers[RAW].items())
        self.refused: dict[dt.date, str] = {d: why for d, footer in raw if (why := footer.extra.get(REFUSED_KEY))}
        self.decision_days = lake.days("segment_model")
        self._strategies = strategies_digest(strategies)
        self._digests: dict[tuple[Callable[..., str], int], str] = {}
        self._stale: list[Stale] | None = None
        # Days of each table that are there or can be made.
        self._obtainable: dict[str, set[dt.date]] = {}

    @property
    def days(self) -> list[dt.date]:
        """Days that have raw events, oldest first."""
        return sorted(self.footers[RAW])

    def content(self, table: str, day: dt.date) -> str:
        """Return the content hash of a day, NONE where there is none."""
        footer = self.footers[table].get(day)
        return footer.content_hash if footer else NONE

    def stale(self) -> list[Stale]:
        """Return every stale or missing day, by table in the order they are made, oldest day first.

        Raises:
            HashKindError: there are files whose hashes are of another kind than those of days made now.
        """
        if self._stale is None:
            self._check_kinds()
            self._stale = [item for table in derived_tables() for item in self._stale_days(table)]
        return self._stale

    def dirty(self) -> dict[str, list[dt.date]]:
        """Return, by table, the days that are stale or may become so when stale days before them are made."""
        dirty: dict[str, set[dt.date]] = {}
        for item in self.stale():
            if item.computable:
                dirty.setdefault(item.table, set()).add(item.day)
        for table in derived_tables():
            own = dirty.setdefault(table.name, set())
            days = self._obtainable[table.name]
            for source in table.inputs:
                if source.table == table.name or not dirty.get(source.table):
                    continue
                changed = sorted(dirty[source.table])
                own.update(day for day in days if _any_between(changed, *source.days_read(day)))
            chained = any(i.table == table.name and i.window == "yesterday" for i in table.inputs)
            if chained and own:
                first = min(own)
                own.update(day for day in days if day > first)
        return {name: sorted(days) for name, days in dirty.items() if days}

    def can_make(self, table: str, first: dt.date, last: dt.date) -> bool:
        """Return whether each of these days of a table is there or can be made; `stale` was asked before."""
        return self._obtainable[table].issuperset(day_range(first, last))

    def expected(self, table: TableSpec, day: dt.date) -> dict[str, str]:
        """Return the input digests of a day as they are now; GONE where a day of an input is not there."""
        digests = {}
        for source in table.inputs:
            if source.window == "champion":
                digests[source.key] = self._decision_digest(champion_digest, day, inclusive=True)
            elif source.window == "baseline":
                digests[source.key] = self._decision_digest(baseline_digest, day, inclusive=False)
            elif source.is_of_days:
                digests[source.key] = self._lake_digest(source, day)
        return {**digests, **self.lake.shop_inputs.get(table.name, {})}

    def other_kinds(self) -> dict[str, list[dt.date]]:
        """Return the days whose content hash is of another kind than this version computes, by table."""
        days = {
            table: sorted(day for day, f in footers.items() if f.hash_kind != content_hash.HASH_KIND)
            for table, footers in self.footers.items()
        }
        return {table: those for table, those in days.items() if those}

    def _check_kinds(self) -> None:
        other = self.other_kinds()
        if other:
            table, days = next(iter(other.items()))
            files = sum(len(days) for days in other.values())
            raise HashKindError(
                f"{table} of {days[0]} and {files - 1} more days carry content hashes of another kind "
                f"({self.footers[table][days[0]].hash_kind}) than this version computes ({content_hash.HASH_KIND}), so "
                "that no day can be compared with what it was made from; run: seg-assets rehash"
            )

    def _stale_days(self, table: TableSpec) -> list[Stale]:
        footers = self.footers[table.name]
        wanted = set(footers)
        if table.required and table.room != "events":
            wanted.update(self.footers[RAW])
        makeable = self._makeable(table, wanted)
        items = []
        for day in sorted(wanted):
            footer = footers.get(day)
            if footer is None:
                if day in makeable:
                    items.append(Stale(table.name, day, MISSING, True, digest(self.expected(table, day))))
                continue
            expected = self.expected(table, day)
            changed = self._changed(footer, expected)
            why = self._why(table, footer, expected, changed)
            if why:
                items.append(Stale(table.name, day, why, day in makeable, digest(expected), changed))
        self._obtainable[table.name] = set(footers) | makeable
        return items

    def _changed(self, footer: Provenance, expected: Mapping[str, str]) -> tuple[str, ...]:
        """Return the inputs that are not what they were: those that the table lists, the shop's files, strategies."""
        changed = [key for key, now in expected.items() if footer.inputs.get(key) != now]
        if FEATURES_KEY in footer.inputs and FEATURES_KEY not in expected:
            changed.append(FEATURES_KEY)  # the shop has no features any more
        if footer.inputs.get(STRATEGIES_KEY, self._strategies) != self._strategies:
            changed.append(STRATEGIES_KEY)
        return tuple(changed)

    def _why(self, table: TableSpec, footer: Provenance, expected: Mapping[str, str], changed: Iterable[str]) -> str:
        """Return why a day is stale, '' when it is not."""
        if footer.code_version != table.code_version:
            return f"written by version {footer.code_version} of the code, now {table.code_version}"
        gone = [key for key, now in expected.items() if now == GONE]
        if gone:
            return f"reads {', '.join(gone)}, which is no longer there"
        return f"{', '.join(changed)} changed since" if changed else ""

    def _makeable(self, table: TableSpec, wanted: set[dt.date]) -> set[dt.date]:
        """Return the days whose inputs all are there or can be made; sources are asked before their readers."""
        makeable: set[dt.date] = set()
        gaps: dict[str, list[dt.date]] = {}
        for day in sorted(wanted):
            if all(self._has_input(table, source, day, makeable, gaps) for source in table.inputs):
                makeable.add(day)
        return makeable

    def _has_input(
        self, table: TableSpec, source: Input, day: dt.date, makeable: set[dt.date], gaps: dict[str, list[dt.date]]
    ) -> bool:
        if not source.is_of_days:
            return True
        first, last = source.days_read(day)
        first = max(first, self.lake.start_day)
        if last < first:
            return True
        if source.table == table.name:
            return last in makeable or last in self.footers[table.name]
        have = self._obtainable.get(source.table) or self.footers[source.table].keys()
        if source.table == RAW:
            have = have - self.refused.keys()
        if first == last:
            return first in have
        if source.table not in gaps:
            calendar = day_range(self.lake.start_day, max(have)) if have else []
            gaps[source.table] = [d for d in calendar if d not in have]
        return last in have and not _any_between(gaps[source.table], first, last)

    def _lake_digest(self, source: Input, day: dt.date) -> str:
        footers = self.footers[source.table]
        contents = []
        for read in self.lake.input_days(source, day):
            footer = footers.get(read)
            if footer is None:
                return GONE
            contents.append(footer.content_hash)
        return input_digest(contents)

    def _decision_digest(self, of: Callable[..., str], day: dt.date, *, inclusive: bool) -> str:
        """Return a digest over decisions, which changes only on days that have one: made once per stretch between."""
        stretch = bisect_left(self.decision_days, day + ONE_DAY if inclusive else day)
        key = (of, stretch)
        if key not in self._digests:
            self._digests[key] = of(self.lake, list(self.strategies), day)
        return self._digests[key]


def _any_between(ordered: list[dt.date], first: dt.date, last: dt.date) -> bool:
    at = bisect_left(ordered, first)
    return at < len(ordered) and ordered[at] <= last
