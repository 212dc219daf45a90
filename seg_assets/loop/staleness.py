"""Which day tables no longer are what they would be if they were made now, as a build system knows it.

A day is stale when an input's hash is not the one in its footer, when the code version rose, or when it is missing
though the raw events of the day are there. Everything comes from footers and decisions; no table is read. Landing
files are not looked at: that is the landing sensor's part.
"""

import datetime as dt
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seg_assets.core.digests import digest
from seg_assets.core.errors import DamagedFileError
from seg_assets.core.tables import TABLES, Input, Table
from seg_assets.events.landing import REFUSED_KEY
from seg_assets.lake.shop_files import FEATURES_KEY
from seg_assets.lake.store import DATA, FOOTER_KEY, NONE, Lake, Seal, day_of, file_seal, input_key
from seg_assets.segments.decisions.store import baseline_digest, champion_digest
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_digest

ONE_DAY = dt.timedelta(days=1)
RAW = "raw_events"
# Of the tables read from landing files, these also read their own yesterday.
CHAINED_LANDING = ("raw_users", "raw_products")
MISSING = "never materialized, though raw_events is"
# Written by Parquet before the value of our key: field 1, length and bytes of the key, field 2.
_MARK = bytes([0x18, len(FOOTER_KEY)]) + FOOTER_KEY.encode() + bytes([0x18])
# A footer of 100 columns is 20 kB; one read then finds it.
_TAIL = 32_768
_CACHE_LIMIT = 200_000

_FOOTERS: dict[str, tuple[Seal, "Footer"]] = {}


@dataclass(frozen=True, slots=True)
class Footer:
    """What staleness needs of a file's provenance."""

    content_hash: str
    code_version: str
    inputs: Mapping[str, str]
    seal: Seal
    refused: str = ""


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


def derived_tables() -> list[Table]:
    """Tables made from other tables, in the order they are made. Decisions are judged in `loop.planner`."""
    return [
        t for t in TABLES.values() if t.name != "segment_model" and (t.room != "events" or t.name in CHAINED_LANDING)
    ]


def stale(
    lake: Lake, strategies: Mapping[str, Strategy], tables: Iterable[str] | None = None
) -> dict[str, list[tuple[dt.date, str]]]:
    """Every stale or missing day with the reason, by table in the order of the catalog; empty when nothing is.

    Raises:
        DamagedFileError: a footer cannot be read.
    """
    wanted = None if tables is None else set(tables)
    found: dict[str, list[tuple[dt.date, str]]] = {}
    for item in Snapshot(lake, strategies).stale():
        if wanted is None or item.table in wanted:
            found.setdefault(item.table, []).append((item.day, item.why))
    return found


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
        self.footers: dict[str, dict[dt.date, Footer]] = {
            t.name: self._read(t.name) for t in TABLES.values() if not t.per_strategy_parts
        }
        # Days of which not one line was accepted: nothing is made from them.
        self.refused = {day: footer.refused for day, footer in sorted(self.footers[RAW].items()) if footer.refused}
        self._strategies = strategies_digest(strategies)
        self.decision_days = lake.days("segment_model")
        self._digests: dict[tuple[Callable, int], str] = {}
        self._stale: list[Stale] | None = None
        self._made: dict[str, set[dt.date]] = {}

    @property
    def days(self) -> list[dt.date]:
        """Days that have raw events, oldest first."""
        return sorted(self.footers[RAW])

    def content(self, table: str, day: dt.date) -> str:
        """Content hash of a day, NONE where there is none."""
        footer = self.footers[table].get(day)
        return footer.content_hash if footer else NONE

    def stale(self) -> list[Stale]:
        """Every stale or missing day of the derived tables, by table in the order they are made, oldest day first."""
        if self._stale is None:
            self._stale = [item for table in derived_tables() for item in self._stale_days(table)]
        return self._stale

    def dirty(self) -> dict[str, list[dt.date]]:
        """Days that are stale or may become so when the stale days before them are made, per table, oldest first."""
        found: dict[str, set[dt.date]] = {}
        for item in self.stale():
            if item.computable:
                found.setdefault(item.table, set()).add(item.day)
        for table in derived_tables():
            own = found.setdefault(table.name, set())
            days = self._made[table.name]
            for source in table.inputs:
                if source.table == table.name or not found.get(source.table):
                    continue
                changed = sorted(found[source.table])
                own.update(day for day in days if _any_between(changed, *_window(source, day)))
            chained = any(i.table == table.name and i.window == "yesterday" for i in table.inputs)
            if chained and own:
                first = min(own)
                own.update(day for day in days if day > first)
        return {name: sorted(days) for name, days in found.items() if days}

    def expected(self, table: Table, day: dt.date) -> dict[str, str]:
        """Input digests of a day as they are now; inputs that are not there have the value `gone`."""
        found = {}
        for source in table.inputs:
            if source.window == "champion":
                found[input_key(source)] = self._decision_digest(champion_digest, day, inclusive=True)
            elif source.window == "baseline":
                found[input_key(source)] = self._decision_digest(baseline_digest, day, inclusive=False)
            elif source.window in ("day", "yesterday", "trailing", "horizon"):
                found[input_key(source)] = self._lake_digest(source, day)
        return {**found, **self.lake.shop_inputs.get(table.name, {})}

    def _stale_days(self, table: Table) -> list[Stale]:
        have = self.footers[table.name]
        wanted = set(have)
        if table.required and table.room != "events":
            wanted.update(self.footers[RAW])
        makeable = self._makeable(table, wanted)
        found = []
        for day in sorted(wanted):
            footer = have.get(day)
            if footer is None:
                if day in makeable:
                    found.append(Stale(table.name, day, MISSING, True, digest(self.expected(table, day))))
                continue
            expected = self.expected(table, day)
            changed = self._changed(footer, expected)
            why = self._why(table, footer, expected, changed)
            if why:
                found.append(Stale(table.name, day, why, day in makeable, digest(expected), changed))
        self._made[table.name] = set(have) | makeable
        return found

    def _changed(self, footer: Footer, expected: Mapping[str, str]) -> tuple[str, ...]:
        """Inputs that are not what they were. Those outside of the catalog count when we know them."""
        changed = [key for key, now in expected.items() if footer.inputs.get(key) != now]
        # The shop has no features any more.
        changed += [key for key in (FEATURES_KEY,) if key in footer.inputs and key not in expected]
        if footer.inputs.get(STRATEGIES_KEY, self._strategies) != self._strategies:
            changed.append(STRATEGIES_KEY)
        return tuple(changed)

    def _why(self, table: Table, footer: Footer, expected: Mapping[str, str], changed: Iterable[str]) -> str:
        """Why a day is stale, '' when it is not."""
        if footer.code_version != table.code_version:
            return f"written by version {footer.code_version} of the code, now {table.code_version}"
        gone = [key for key, now in expected.items() if now == "gone"]
        if gone:
            return f"reads {', '.join(gone)}, which is no longer there"
        return f"{', '.join(changed)} changed since" if changed else ""

    def _makeable(self, table: Table, wanted: set[dt.date]) -> set[dt.date]:
        """Days whose inputs all are there or can be made; sources come before their readers."""
        good: set[dt.date] = set()
        gaps: dict[str, list[dt.date]] = {}
        for day in sorted(wanted):
            if all(self._has_input(table, source, day, good, gaps) for source in table.inputs):
                good.add(day)
        return good

    def _has_input(
        self, table: Table, source: Input, day: dt.date, good: set[dt.date], gaps: dict[str, list[dt.date]]
    ) -> bool:
        if source.window in ("files", "champion", "baseline", "to_yesterday"):
            return True
        first, last = _window(source, day)
        first = max(first, self.lake.start_day)
        if last < first:
            return True
        if source.table == table.name:
            return last in good or last in self.footers[table.name]
        have = self._made.get(source.table) or self.footers[source.table].keys()
        if source.table == RAW:
            have = have - self.refused.keys()
        if first == last:
            return first in have
        if source.table not in gaps:
            span = (max(have) - self.lake.start_day).days if have else -1
            calendar = (self.lake.start_day + ONE_DAY * n for n in range(span + 1))
            gaps[source.table] = [d for d in calendar if d not in have]
        return last in have and not _any_between(gaps[source.table], first, last)

    def _lake_digest(self, source: Input, day: dt.date) -> str:
        first, last = _window(source, day)
        first = max(first, self.lake.start_day)
        footers = self.footers[source.table]
        hashes = []
        for n in range((last - first).days + 1):
            footer = footers.get(first + ONE_DAY * n)
            if footer is None:
                return "gone"
            hashes.append(footer.content_hash)
        if not hashes:
            return NONE
        return hashes[0] if len(hashes) == 1 else digest(hashes)

    def _decision_digest(self, of: Callable, day: dt.date, *, inclusive: bool) -> str:
        """A digest over decisions changes only on days that have one: it is made once per stretch between them."""
        stretch = bisect_left(self.decision_days, day + ONE_DAY if inclusive else day)
        key = (of, stretch)
        if key not in self._digests:
            self._digests[key] = of(self.lake, list(self.strategies), day)
        return self._digests[key]

    def _read(self, table: str) -> dict[dt.date, Footer]:
        found: dict[dt.date, Footer] = {}
        if len(_FOOTERS) > _CACHE_LIMIT:
            _FOOTERS.clear()
        files = _remote_files(self.lake, table) if self.lake.remote else _local_files(self.lake, table)
        for day, path, seal in files:
            if day < self.lake.start_day or (self.last_day is not None and day > self.last_day):
                continue
            cached = _FOOTERS.get(path)
            if cached is None or cached[0] != seal:
                cached = (seal, self._footer(path, seal, table, day))
                _FOOTERS[path] = cached
            found[day] = cached[1]
        return found

    def _footer(self, path: str, seal: Seal, table: str, day: dt.date) -> Footer:
        try:
            content = None if self.lake.remote else _read_footer(path)
        except (OSError, ValueError, KeyError, IndexError):
            content = None
        if content is None:
            # The slow reader says what is wrong with the file, or finds what the fast one did not.
            slow = self.lake.provenance(table, day)
            if slow is None:
                raise DamagedFileError(f"{path}: vanished while it was read; try again")
            return Footer(slow.content_hash, slow.code_version, slow.inputs, seal, slow.extra.get(REFUSED_KEY, ""))
        refused = content["extra"].get(REFUSED_KEY, "")
        return Footer(content["content_hash"], content["code_version"], content["inputs"], seal, refused)


def _local_files(lake: Lake, table: str) -> Iterator[tuple[dt.date, str, Seal]]:
    folder = lake.root / table
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        day = day_of(name)
        if day is None:
            continue
        path = f"{folder}{os.sep}{name}{os.sep}{DATA}.parquet"
        seal = file_seal(path)
        if seal is not None:
            yield day, path, seal


def _remote_files(lake: Lake, table: str) -> Iterator[tuple[dt.date, str, Seal]]:
    """One listing per table, instead of a request per day."""
    files: Any = lake.root.fs
    files.invalidate_cache()
    listed = files.find(str(lake.root / table), detail=True)
    for path, info in sorted(listed.items()):
        parts = path.split("/")
        day = day_of(parts[-2]) if len(parts) > 1 else None
        if day is not None and parts[-1] == f"{DATA}.parquet":
            yield day, path, (str(info.get("ETag")), str(info.get("LastModified")), info.get("size"))


def _read_footer(path: str) -> dict[str, Any] | None:
    """Our JSON in a Parquet footer, without parsing the rest of it (40 microseconds instead of 1.2 ms)."""
    with open(path, "rb") as file:  # noqa: PTH123
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        if tail[-4:] != b"PAR1":
            return None
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if length > size:
            return None
        if length > len(tail):
            file.seek(size - length)
            tail = file.read()
    at = tail.rfind(_MARK, len(tail) - length)
    if at < 0:
        return None
    at += len(_MARK)
    count = shift = 0
    while True:
        byte = tail[at]
        at += 1
        count |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return json.loads(tail[at : at + count])


def _window(source: Input, day: dt.date) -> tuple[dt.date, dt.date]:
    """First and last day that an input reads for `day`, not yet cut at the first day of the calendar."""
    if source.window == "yesterday":
        return day - ONE_DAY, day - ONE_DAY
    if source.window == "horizon":
        return day - ONE_DAY * source.days, day - ONE_DAY * source.days
    if source.window == "trailing":
        return day - ONE_DAY * (source.days - 1), day
    return day, day


def _any_between(ordered: list[dt.date], first: dt.date, last: dt.date) -> bool:
    at = bisect_left(ordered, first)
    return at < len(ordered) and ordered[at] <= last
