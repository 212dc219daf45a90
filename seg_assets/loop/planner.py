"""Decide what to run next from what is in the lake, or say why the loop rests.

Level-triggered, like a reconciler: `plan` looks at footers, verdicts and decisions, never at what happened before. A
missed tick, a crash, a ranged backfill or two ticks at once change nothing. The order of work, earliest day first:

1. stale or missing profiles (and the landing tables that read their own yesterday);
2. decisions: per strategy the first day that is due, or whose decision no longer rests on what is there;
3. stale or missing verdicts, a few weeks at a time, since the next decision makes later ones stale again;
4. everything else that is stale: segments, moves, evaluation.

A strategy is decided on day D only when nothing is left to do under 1, and its verdicts up to D are fresh.

Not here: what is stale (`loop.staleness`), who runs a plan (`loop.sensor`, `loop.replay`), and how a decision is taken
(`segments`). Nothing in this module reaches Dagster.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from seg_assets.core.days import ONE_DAY, contiguous, day_range
from seg_assets.core.digests import digest
from seg_assets.core.settings import Settings
from seg_assets.core.sql import literal
from seg_assets.core.tables import TABLES
from seg_assets.lake.cache import FileCache
from seg_assets.lake.provenance import NONE
from seg_assets.lake.store import Lake
from seg_assets.loop.staleness import Snapshot, Stale, derived_tables
from seg_assets.orchestration import tags
from seg_assets.segments.decisions.inputs import changed_inputs, outcome_inputs_now, version_input
from seg_assets.segments.decisions.store import DRIFT, Decision, decisions_of_day, history_digest
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_of

VERDICTS = "drift_report"
PAGES = "segment_report"
# Verdicts made at a time after a decision: two of the default cool-downs, whole weeks. Each decision makes all later
# verdicts stale, so that most of those made further ahead would be made for nothing.
LOOK_AHEAD_DAYS = 28

Job = Literal["refresh", "recluster", "daily"]


@dataclass(frozen=True)
class PlannedRun:
    """One run to make.

    kind: name of the job: `refresh` (derived tables), `recluster` (one decision of one strategy) or `daily` (landing
        tables that read their own yesterday, which `refresh` leaves alone).
    first, last: the days, a contiguous range.
    tables: assets to materialize.
    strategy, cause, against_model_id: of a `recluster`.
    key: hash of what is asked for and of the state of the lake that asks: equal state, equal key.
    attempt: 1, 2, .. set by whoever runs it.
    pages: whether the reports of the days are written anew too. They are no table, so the lake never asks for them.
    """

    kind: Job
    first: dt.date
    last: dt.date
    tables: tuple[str, ...]
    reason: str
    key: str
    strategy: str = ""
    cause: str = ""
    against_model_id: str = ""
    attempt: int = 1
    pages: bool = False

    def run_config(self) -> dict[str, Any]:
        """Return the run config of the job."""
        if self.kind != "recluster":
            return {}
        decision = {
            "strategy": self.strategy,
            "day": self.first.isoformat(),
            "cause": self.cause,
            "against_model_id": self.against_model_id,
            "attempt": self.attempt,
            "note": self.reason,
        }
        return {"ops": {"segment_model": {"config": {"requests": [decision]}}}}

    def run_tags(self) -> dict[str, str]:
        """Return the tags of the run: what it is about and why, and its range when it has more than one day."""
        about = {tags.REQUEST: self.key, tags.CAUSE: self.cause or self.kind, tags.DAY: self.first.isoformat()}
        about[tags.WHY] = self.reason
        if self.strategy:
            about[tags.STRATEGY] = self.strategy
        return about if self.first == self.last else about | tags.of_range(self.first, self.last)

    def assets(self) -> list[str]:
        """Return the names of the assets that the run materializes."""
        return [*self.tables, PAGES] if self.pages else list(self.tables)


@dataclass(frozen=True)
class Plan:
    """What to run now, in any order; empty when the loop rests, and then why."""

    runs: list[PlannedRun] = field(default_factory=list)
    resting_because: str = ""


def plan(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, last_day: dt.date | None = None) -> Plan:
    """Return what the lake asks for next.

    Args:
        lake: the lake.
        strategies: the shop's strategies by name.
        settings: for the seed, which decisions rest on.
        last_day: days after it are as if they were not there (a replay that goes day by day), like those after the
            calendar's `end_day`.

    Raises:
        DamagedFileError: a footer or a decision cannot be read.
        HashKindError: the content hashes of the lake are of more than one kind.
    """
    # Days after an `end_day` that moved back are no partitions any more: no run could make them.
    last_day = min((day for day in (last_day, settings.end_day) if day is not None), default=None)
    now = Snapshot(lake, strategies, last_day)
    if not now.days:
        return Plan([], "no raw events yet")
    upstream = {t.name for t in derived_tables() if t.room in ("events", "profiles")}
    profiles = _refresh(now, upstream, "profiles")
    if profiles:
        return Plan([profiles])
    blocked = _first_unreliable_day(now, upstream)
    verdicts = _Verdicts(lake, now)
    due = [
        run
        for strategy in strategies.values()
        if (run := _first_decision(now, verdicts, strategy, settings, blocked)) is not None
    ]
    if due:
        return Plan(sorted(due, key=lambda run: (run.first, run.strategy)))
    others = {t.name for t in derived_tables()} - upstream - {VERDICTS}
    run = _refresh(now, {VERDICTS}, "verdicts", most_days=LOOK_AHEAD_DAYS) or _refresh(now, others, "segments")
    return Plan([run]) if run else Plan([], _why_resting(now))


def is_behind(lake: Lake, settings: Settings) -> bool:
    """Return whether something waits to be made or decided."""
    return bool(plan(lake, strategies_of(settings), settings).runs)


def say_behind(lake: Lake, settings: Settings, last_day: dt.date) -> str:
    """Say what waits to be made up to a day, and what makes it; empty when nothing waits."""
    runs = plan(lake, strategies_of(settings), settings, last_day=last_day).runs
    if not runs:
        return ""
    return (
        f"Earlier days are not up to date ({runs[0].reason}): the drift sensor, or seg-assets replay "
        f"--from {runs[0].first} --to {last_day}, makes them first."
    )


def _refresh(now: Snapshot, among: set[str], what: str, most_days: int | None = None) -> PlannedRun | None:
    """Return one ranged run for the earliest stale day of the first table in order, and what can be made along with it.

    A table comes along when all it lacks lies within the same days, and when each of them can be made of it. The others
    wait for the next plan: by then the footers say whether anything really changed for them.
    """
    waiting = [item for item in now.stale() if item.table in among and item.computable]
    if not waiting:
        return None
    leading = waiting[0].table
    dirty = now.dirty()
    first, last = contiguous(dirty[leading])[0]
    if most_days is not None:
        last = min(last, first + ONE_DAY * (most_days - 1))
    tables = [leading]
    for table in derived_tables():
        days = dirty.get(table.name)
        if table.name == leading or table.name not in among or not days or days[0] < first or last < days[-1]:
            continue
        if not now.can_make(table.name, first, last):
            continue
        # What it reads may lack other days too, and wait.
        if all(i.table in tables or i.table == table.name or i.table not in dirty for i in table.inputs):
            tables.append(table.name)
    tables = [t.name for t in derived_tables() if t.name in tables]
    landing = [t for t in tables if TABLES[t].room == "events"]
    tables = landing or tables
    kind: Job = "daily" if landing else "refresh"
    inside = [item for item in waiting if item.table in tables and first <= item.day <= last]
    # A page needs the day's segments, made before or along with it.
    shown = "segment_profiles" in tables or set(day_range(first, last)) <= now.footers["segment_profiles"].keys()
    return PlannedRun(
        kind=kind,
        first=first,
        last=last,
        tables=tuple(tables),
        reason=f"{what}: {_say(inside)}",
        key=digest([kind, str(first), str(last), tables, [(i.table, str(i.day), i.expected) for i in inside]]),
        cause="stale",
        pages=kind == "refresh" and what != "profiles" and shown,
    )


def _say(items: Sequence[Stale]) -> str:
    one = items[0]
    more = f" and {len(items) - 1} more days or tables" if len(items) > 1 else ""
    return f"{one.table} of {one.day} ({one.why}){more}"


def _first_unreliable_day(now: Snapshot, upstream: set[str]) -> dt.date | None:
    """Return the first day on which something that a decision rests on is stale; None when there is none.

    Verdicts that only wait for an earlier decision, or for settings, do not count: one strategy's decision makes the
    day's file stale, and the other strategies' rows in it stay true. `_first_decision` looks at each row.
    """
    by_row = {"segment_model:baseline", STRATEGIES_KEY}
    days = [i.day for i in now.stale() if i.table in upstream]
    days += [i.day for i in now.stale() if i.table == VERDICTS and not (i.changed and set(i.changed) <= by_row)]
    return min(days, default=None)


def _first_decision(
    now: Snapshot, verdicts: "_Verdicts", strategy: Strategy, settings: Settings, blocked: dt.date | None
) -> PlannedRun | None:
    """Return the first decision that has to be made, made anew or withdrawn; None when there is none yet.

    Verdicts are walked from the first day on. Each must have been given against the decisions before it; where one was
    not, everything after it waits until the verdicts are made again.
    """
    lake = now.lake
    dates = set(now.decision_days)
    baseline = champion = ""
    settings_now = strategy.digest()
    day = lake.start_day
    while blocked is None or day < blocked:
        row = verdicts.row(strategy.name, day)
        if row is None or (row.baseline_id, row.model_id) != (baseline, champion):
            return None
        if row.strategy_digest != settings_now:
            return None
        stored = decisions_of_day(lake, strategy.name, day) if day in dates else []
        derived = next((d for d in stored if not d.by_hand), None)
        why = _why_decide(now, strategy, settings, row, derived, day)
        if why:
            return _recluster(now, strategy, row, derived, champion, day, why)
        for decision in stored:
            baseline = decision.decision_id
            champion = decision.model_id if decision.promoted else champion
        day += ONE_DAY
    return None


def _why_decide(
    now: Snapshot, strategy: Strategy, settings: Settings, row: "_Row", derived: Decision | None, day: dt.date
) -> str:
    """Return why a day has to be decided on, '' when it has not; `derived` is the decision of the day, not by hand."""
    if derived is None:
        return f"{row.cause} on {day}: {row.reason}" if row.cause else ""
    if not row.cause:
        return f"the verdict of {day} no longer asks for the decision that is there"
    if derived.cause != row.cause:
        return f"the verdict of {day} says {row.cause}, the decision was for {derived.cause}"
    verdict = row.verdict_digest if derived.against_model_id else NONE
    changed = changed_inputs(now.lake, strategy, derived, settings.seed, verdict, now.content)
    return f"the decision of {day} rests on what has changed: {', '.join(changed)}" if changed else ""


def _recluster(
    now: Snapshot,
    strategy: Strategy,
    row: "_Row",
    derived: Decision | None,
    champion: str,
    day: dt.date,
    why: str,
) -> PlannedRun:
    # Asked for the cause that it had, a decision that is no longer due is withdrawn by the run itself.
    cause = row.cause or (derived.cause if derived else DRIFT)
    state = [
        strategy.fit_digest(),
        row.verdict_digest,
        derived.decision_id if derived else "",
        now.content("user_profiles", day),
        now.content("user_category_profiles", day),
        history_digest(now.lake, strategy.name, day),
    ]
    if derived is not None:
        # An outcome-guided decision learned from an earlier day: a late event of that day asks anew.
        state += sorted(f"{key} {content}" for key, content in outcome_inputs_now(derived, now.content).items())
    state += version_input(strategy).values()
    return PlannedRun(
        kind="recluster",
        first=day,
        last=day,
        tables=("segment_model",),
        reason=why,
        key=digest(["recluster", strategy.name, str(day), cause, champion, state]),
        strategy=strategy.name,
        cause=cause,
        against_model_id=champion,
    )


def _why_resting(now: Snapshot) -> str:
    days = now.days
    if now.refused:
        day, why = next(iter(now.refused.items()))
        more = f", and {len(now.refused) - 1} more days" if len(now.refused) > 1 else ""
        return f"nothing can be made of {day} and of later days: {why}{more}; mend the source or deliver the file again"
    stuck = [item for item in now.stale() if not item.computable]
    if stuck:
        return f"nothing can be made now; {_say(stuck)} waits for days that were never materialized"
    gaps = (days[-1] - days[0]).days + 1 - len(days)
    landed = f"; {gaps} days between were never landed" if gaps else ""
    return f"nothing is stale and no decision is due from {days[0]} to {days[-1]}{landed}"


@dataclass(frozen=True, slots=True)
class _Row:
    """What deciding needs of one verdict."""

    model_id: str
    baseline_id: str
    strategy_digest: str
    cause: str
    verdict_digest: str
    reason: str


# By strategy, of each day's file.
_ROWS: FileCache[dict[str, _Row]] = FileCache()


class _Verdicts:
    """The verdicts of a lake: one query reads those of all days that are not known yet."""

    def __init__(self, lake: Lake, now: Snapshot) -> None:
        self.rows: dict[dt.date, dict[str, _Row]] = {}
        self.lake = lake
        for day in sorted(now.footers[VERDICTS]):
            known = _ROWS.get(*self._version(now, day))
            if known is not None:
                self.rows[day] = known
        unread = sorted(now.footers[VERDICTS].keys() - self.rows.keys())
        if unread:
            self.rows |= self._load(unread)
            for day in unread:
                _ROWS.put(*self._version(now, day), self.rows[day], 1000 * (1 + len(self.rows[day])))

    def row(self, strategy: str, day: dt.date) -> _Row | None:
        """Return the verdict of a day, None where there is none."""
        return self.rows.get(day, {}).get(strategy)

    def _version(self, now: Snapshot, day: dt.date) -> tuple[str, tuple[str]]:
        """Return the path of a day's file, and its content as the stamp of its version."""
        return str(self.lake.path(VERDICTS, day)), (now.content(VERDICTS, day),)

    def _load(self, days: Sequence[dt.date]) -> dict[dt.date, dict[str, _Row]]:
        for day in days:
            self.lake.check(VERDICTS, day)
        files = ", ".join(literal(str(self.lake.path(VERDICTS, day))) for day in days)
        with self.lake.connect() as con:
            rows = con.execute(
                "select day, strategy, coalesce(model_id, ''), coalesce(baseline_id, ''), strategy_digest, "
                "coalesce(cause, ''), verdict_digest, coalesce(array_to_string(reasons, '; '), '') "
                f"from read_parquet([{files}], hive_partitioning = true, hive_types = {{'day': date}})"
            ).fetchall()
        loaded: dict[dt.date, dict[str, _Row]] = {day: {} for day in days}
        for day, strategy, *values in rows:
            loaded[day][strategy] = _Row(*values)
        return loaded
