"""The brain of the loop: from what is in the lake, what to run next, or why to rest.

Level-triggered, like a reconciler: `plan` looks at footers, verdicts and decisions, never at what happened before. A
missed tick, a crash, a ranged backfill or two ticks at once change nothing. Order of work, earliest day first:

1. stale or missing profiles (and the landing tables that chain on their own yesterday);
2. decisions: per strategy the first day that is due, or whose decision no longer rests on what is there;
3. stale or missing verdicts, a few weeks at a time, since the next decision makes later ones stale again;
4. everything else that is stale: segments, moves, evaluation.

A strategy is decided on day D only when its verdicts up to D are fresh, and 1. has nothing to do. No Dagster here.
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
from seg_assets.lake.store import NONE, Lake
from seg_assets.loop.staleness import Snapshot, Stale, derived_tables
from seg_assets.orchestration import tags
from seg_assets.segments.decisions.inputs import changed_inputs, outcome_inputs_now, version_input
from seg_assets.segments.decisions.store import DRIFT, Decision, decisions_of_day, history_digest
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_of

VERDICTS = "drift_report"
PAGES = "segment_report"
# Verdicts made at a time after a decision: two cool-downs of the default, whole weeks. Each decision makes all later
# verdicts stale, so making them all at once would be for nothing.
LOOK_AHEAD_DAYS = 28


@dataclass(frozen=True)
class Request:
    """One run to make.

    kind: name of the job: `refresh` (derived tables), `recluster` (one decision of one strategy) or `daily` (landing
        tables that chain on yesterday, which `refresh` leaves alone).
    first, last: the days, a contiguous range.
    tables: assets to materialize.
    strategy, cause, against_model_id: of a `recluster`.
    key: hash of what is asked and of the state of the lake that asks for it: equal state, equal key.
    attempt: 1, 2, .. set by who runs it.
    pages: whether the reports of the days are written anew too. They are no table, so nothing in the lake asks for it.
    """

    kind: Literal["refresh", "recluster", "daily"]
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


@dataclass(frozen=True)
class Plan:
    """What to run now, in any order; empty when the loop rests, and then why."""

    requests: list[Request] = field(default_factory=list)
    resting_because: str = ""


def plan(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, last_day: dt.date | None = None) -> Plan:
    """What the lake asks for next.

    Args:
        lake: the lake.
        strategies: the shop's strategies by name.
        settings: for the seed, which decisions rest on.
        last_day: days after it are as if they were not there (a replay that goes day by day).

    Raises:
        DamagedFileError: a footer or a decision cannot be read.
    """
    now = Snapshot(lake, strategies, last_day)
    if not now.days:
        return Plan([], "no raw events yet")
    upstream = {t.name for t in derived_tables() if t.room in ("events", "profiles")}
    first = _refresh(now, upstream, "profiles")
    if first:
        return Plan([first])
    blocked = _blocked(now, upstream)
    verdicts = _Verdicts(lake, now)
    due = [
        request
        for strategy in strategies.values()
        if (request := _due(now, verdicts, strategy, settings, blocked)) is not None
    ]
    if due:
        return Plan(sorted(due, key=lambda r: (r.first, r.strategy)))
    ahead = _refresh(now, {VERDICTS}, "verdicts", most_days=LOOK_AHEAD_DAYS)
    rest = ahead or _refresh(now, {t.name for t in derived_tables()} - upstream - {VERDICTS}, "segments")
    if rest:
        return Plan([rest])
    return Plan([], _resting(now))


def is_behind(lake: Lake, settings: Settings) -> bool:
    """Whether something waits to be made or decided."""
    return bool(plan(lake, strategies_of(settings), settings).requests)


def say_behind(lake: Lake, settings: Settings, last_day: dt.date) -> str:
    """Say what waits to be made up to a day, and what makes it; empty when nothing waits."""
    requests = plan(lake, strategies_of(settings), settings, last_day=last_day).requests
    if not requests:
        return ""
    return (
        f"Earlier days are not up to date ({requests[0].reason}): the drift sensor, or seg-assets replay "
        f"--from {requests[0].first} --to {last_day}, makes them first."
    )


def run_config_for(request: Request) -> dict[str, Any]:
    """Run config of a request's job."""
    if request.kind != "recluster":
        return {}
    asked = {
        "strategy": request.strategy,
        "day": request.first.isoformat(),
        "cause": request.cause,
        "against_model_id": request.against_model_id,
        "attempt": request.attempt,
        "note": request.reason,
    }
    return {"ops": {"segment_model": {"config": {"requests": [asked]}}}}


def tags_for(request: Request) -> dict[str, str]:
    """Tags of a request's run: what it is about and why, and its range when it has more than one day."""
    told = {tags.REQUEST: request.key, tags.CAUSE: request.cause or request.kind, tags.DAY: request.first.isoformat()}
    told[tags.WHY] = request.reason
    if request.strategy:
        told[tags.STRATEGY] = request.strategy
    if request.first != request.last:
        told |= tags.of_range(request.first, request.last)
    return told


def asset_selection_for(request: Request) -> list[str]:
    """Names of the assets that a request's run materializes."""
    return [*request.tables, PAGES] if request.pages else list(request.tables)


def _refresh(now: Snapshot, among: set[str], what: str, most_days: int | None = None) -> Request | None:
    """One ranged run for the earliest stale day of the first table in order, and what can be made along with it.

    A table comes along when all it lacks lies within the same days. The others wait for the next plan: by then the
    footers say whether anything really changed for them.
    """
    found = [item for item in now.stale() if item.table in among and item.computable]
    if not found:
        return None
    leading = found[0].table
    dirty = now.dirty()
    span = contiguous(dirty[leading])[0]
    if most_days is not None:
        span = span[0], min(span[1], span[0] + ONE_DAY * (most_days - 1))
    first, last = span
    tables = [leading]
    for table in derived_tables():
        days = dirty.get(table.name)
        if table.name == leading or table.name not in among or not days or days[0] < first or last < days[-1]:
            continue
        # What it reads may lack other days too, and wait.
        if all(i.table in tables or i.table == table.name or i.table not in dirty for i in table.inputs):
            tables.append(table.name)
    tables = [t.name for t in derived_tables() if t.name in tables]
    landing = [t for t in tables if TABLES[t].room == "events"]
    tables = landing or tables
    kind: Literal["daily", "refresh"] = "daily" if landing else "refresh"
    inside = [item for item in found if item.table in tables and first <= item.day <= last]
    # A page needs the day's segments, made before or along with it.
    shown = "segment_profiles" in tables or set(day_range(first, last)) <= now.footers["segment_profiles"].keys()
    return Request(
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


def _blocked(now: Snapshot, upstream: set[str]) -> dt.date | None:
    """First day on which something a decision rests on is stale; None: nowhere.

    Verdicts that only wait for a decision before them, or for settings, are told apart by their rows: one strategy's
    decision makes the day's file stale, and the other strategies' verdicts in it stay true.
    """
    by_row = {"segment_model:baseline", STRATEGIES_KEY}
    days = [i.day for i in now.stale() if i.table in upstream]
    days += [i.day for i in now.stale() if i.table == VERDICTS and not (i.changed and set(i.changed) <= by_row)]
    return min(days, default=None)


def _due(
    now: Snapshot, verdicts: "_Verdicts", strategy: Strategy, settings: Settings, blocked: dt.date | None
) -> Request | None:
    """The first decision that has to be made, made anew or withdrawn; None when there is none among fresh verdicts.

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
        there = decisions_of_day(lake, strategy.name, day) if day in dates else []
        derived = next((d for d in there if not d.by_hand), None)
        why = _why_decide(now, strategy, settings, row, derived, day)
        if why:
            return _recluster(now, strategy, row, derived, champion, day, why)
        for decision in there:
            baseline = decision.decision_id
            champion = decision.model_id if decision.promoted else champion
        day += ONE_DAY
    return None


def _why_decide(
    now: Snapshot, strategy: Strategy, settings: Settings, row: "_Row", derived: Decision | None, day: dt.date
) -> str:
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
) -> Request:
    # Asked for the cause it had, a decision that is no longer due is withdrawn by the run itself.
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
        # What it learned from on an earlier day, too: a late event there asks anew.
        state += sorted(f"{k} {v}" for k, v in outcome_inputs_now(derived, now.content).items())
    state += version_input(strategy).values()
    return Request(
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


def _resting(now: Snapshot) -> str:
    stuck = [item for item in now.stale() if not item.computable]
    days = now.days
    if now.refused:
        day, why = next(iter(now.refused.items()))
        more = f", and {len(now.refused) - 1} more days" if len(now.refused) > 1 else ""
        return f"nothing can be made of {day} and of later days: {why}{more}; mend the source or deliver the file again"
    said = f"nothing is stale and no decision is due from {days[0]} to {days[-1]}"
    if stuck:
        return f"nothing can be made now; {_say(stuck)} waits for days that were never materialized"
    gaps = len({days[0] + ONE_DAY * n for n in range((days[-1] - days[0]).days + 1)} - set(days))
    return said + (f"; {gaps} days between were never landed" if gaps else "")


@dataclass(frozen=True, slots=True)
class _Row:
    """What deciding needs of one verdict."""

    model_id: str
    baseline_id: str
    strategy_digest: str
    cause: str
    verdict_digest: str
    reason: str


# Rows by content hash of the day's file: equal content, equal rows, whatever the lake.
_ROWS: dict[str, dict[str, _Row]] = {}
_ROWS_LIMIT = 20_000


class _Verdicts:
    """The verdicts of a lake, read once for all days that are not known yet."""

    def __init__(self, lake: Lake, now: Snapshot) -> None:
        self.footers = now.footers[VERDICTS]
        self.lake = lake
        if len(_ROWS) > _ROWS_LIMIT:
            _ROWS.clear()
        # Keyed with the day: two days may hold equal rows, a row's text names its day.
        unread = {day: f.content_hash for day, f in self.footers.items() if self._key(day) not in _ROWS}
        if unread:
            self._load(sorted(unread))

    def row(self, strategy: str, day: dt.date) -> _Row | None:
        """The verdict of a day, None where there is none."""
        return _ROWS[self._key(day)].get(strategy) if day in self.footers else None

    def _key(self, day: dt.date) -> str:
        return f"{day}:{self.footers[day].content_hash}"

    def _load(self, days: Sequence[dt.date]) -> None:
        for day in days:
            self.lake.check(VERDICTS, day)
        files = ", ".join(literal(str(self.lake.path(VERDICTS, day))) for day in days)
        with self.lake.connect() as con:
            rows = con.execute(
                "select day, strategy, coalesce(model_id, ''), coalesce(baseline_id, ''), strategy_digest, "
                "coalesce(cause, ''), verdict_digest, coalesce(array_to_string(reasons, '; '), '') "
                f"from read_parquet([{files}], hive_partitioning = true, hive_types = {{'day': date}})"
            ).fetchall()
        for day in days:
            _ROWS[self._key(day)] = {}
        for day, strategy, *values in rows:
            _ROWS[self._key(day)][strategy] = _Row(*values)
