"""Judge a day of the lake: read it, write `drift_report`, and leave Evidently's snapshots and pages in files.

Files under `<reports>/drift/<strategy>/`: `day=D.json.gz` is Evidently's snapshot of a day, written when a column
could be compared; `day=D.html` is Evidently's page of the latest flagged day; `on_request/` holds pages that somebody
asked for.

Not here: what a verdict says (`drift.verdict`), and how columns are compared and pages are drawn
(`drift.evidently_report`).
"""

import contextlib
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from seg_assets.core.days import ONE_DAY
from seg_assets.core.errors import ConfigError, DamagedFileError, SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.drift.evidently_report import write_page, write_snapshot
from seg_assets.drift.verdict import SCHEMA, Yesterday, judge_day
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import Decision, baseline_before, baseline_digest, champion_before
from seg_assets.segments.features import load_features
from seg_assets.segments.strategy import STRATEGIES_KEY, Strategy, strategies_digest

TABLE = "drift_report"
_COLUMNS_JSON = json.dumps(
    [
        {
            "column": "VARCHAR",
            "method": "VARCHAR",
            "score": "DOUBLE",
            "limit": "DOUBLE",
            "drifted": "BOOLEAN",
            "missing_now": "DOUBLE",
            "missing_then": "DOUBLE",
        }
    ]
)


@dataclass(frozen=True)
class DayOfVerdicts:
    """What became of one day: rows of drift_report, one per strategy, and the strategies that were judged anew."""

    day: dt.date
    rows: list[dict[str, Any]]
    provenance: Provenance
    judged: frozenset[str]

    @property
    def reused(self) -> int:
        """Count the rows that were taken over as they were."""
        return len(self.rows) - len(self.judged)


def publish_day(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, day: dt.date) -> DayOfVerdicts:
    """Judge every strategy on `day`, write drift_report and Evidently's snapshots.

    A strategy whose verdict rests on what it rested on before is not compared anew: a decision of one strategy leaves
    the rows of the others as they are.

    Raises:
        MissingDaysError: profiles of the day, or the verdicts of the day before, were never materialized.
    """
    lake.require("user_profiles", [day], f"{TABLE} of {day}")
    lake.require(TABLE, [day - ONE_DAY], f"{TABLE} of {day}")
    yesterday = _rows_of(lake, day - ONE_DAY)
    reusable = _reusable(lake, settings, day)
    rows, judged = [], set()
    for name, strategy in strategies.items():
        champion, baseline = champion_before(lake, name, day), baseline_before(lake, name, day)
        before = yesterday.get(name)
        last = Yesterday(before["baseline_id"], before["streak"]) if before else None
        row = reusable.get(name)
        if row is not None and _still_holds(row, strategy, champion, baseline, last):
            rows.append(row)
            continue
        judged.add(name)
        frame = load_features(lake, strategy, day, champion.segment_model().space.categories if champion else None)
        verdict = judge_day(
            strategy, day, frame, seed=settings.seed, champion=champion, baseline=baseline, yesterday=last
        )
        stored = snapshot_path(settings, name, day)
        if verdict.snapshot is None:
            stored.unlink(missing_ok=True)
        else:
            write_snapshot(verdict.snapshot, stored)
        rows.append(verdict.row())
    inputs = {
        "segment_model:baseline": baseline_digest(lake, list(strategies), day),
        STRATEGIES_KEY: strategies_digest(strategies),
    }
    return DayOfVerdicts(day, rows, _publish(lake, day, rows, inputs), frozenset(judged))


# ---- Evidently's pages ---------------------------------------------------------------------------------------------


def leave_latest_pages(lake: Lake, settings: Settings, run: Sequence[DayOfVerdicts]) -> None:
    """Leave Evidently's page of the latest flagged day of each strategy ready, and remove its other pages.

    Called once after the days of a run, which may be any days: the page of a later day stands until that day is judged
    again and no longer flagged; then the latest flagged day before it gets its page.
    """
    flags: dict[str, dict[dt.date, bool]] = {}
    for verdicts in run:
        for row in verdicts.rows:
            flags.setdefault(row["strategy"], {})[verdicts.day] = bool(row["flagged"])
    for strategy, flagged in flags.items():
        pages = _days_with_page(settings, strategy)
        standing = {day for day in pages if flagged.get(day, True)}
        candidates = standing | {day for day, flag in flagged.items() if flag}
        if pages and max(pages) not in standing:
            candidates |= _latest_flagged_before(lake, strategy, max(pages))
        latest = max((day for day in candidates if snapshot_path(settings, strategy, day).exists()), default=None)
        for day in pages - {latest}:
            page_path(settings, strategy, day).unlink(missing_ok=True)
        if latest is None:
            continue
        if latest not in pages or any(verdicts.day == latest and strategy in verdicts.judged for verdicts in run):
            # A snapshot of an earlier release is no reason to fail a run; `drift html` says what to do about it.
            with contextlib.suppress(DamagedFileError):
                write_page(snapshot_path(settings, strategy, latest), page_path(settings, strategy, latest))


def render_html(lake: Lake, strategy: Strategy, settings: Settings, day: dt.date, path: Path | None = None) -> Path:
    """Write Evidently's page of any judged day from its stored snapshot, and return where the page is.

    A page that stands ready is returned as it is, unless `path` asks for another place.

    Raises:
        ConfigError: nothing was compared on the day. MissingDaysError: the day was never judged. DamagedFileError: the
            snapshot cannot be read.
    """
    ready = page_path(settings, strategy.name, day)
    if path is None and ready.exists():
        return ready
    stored = snapshot_path(settings, strategy.name, day)
    if not stored.exists():
        lake.require(TABLE, [day], f"Evidently's page of {day}")
        row = _rows_of(lake, day).get(strategy.name)
        if row is not None and _is_compared(row):
            raise ConfigError(f"{stored}: is gone; materialize {TABLE} of {day} again, which writes it anew")
        reasons = "; ".join(row["reasons"]) if row else "the strategy was not judged on it"
        raise ConfigError(
            f"strategy {strategy.name}, day {day}: no column was compared on this day, so Evidently has no page of it "
            f"({reasons or 'no watched column can be compared'}); choose a day after the first fit"
        )
    page = path or ready.parent / "on_request" / ready.name
    write_page(stored, page)
    return page


def snapshot_path(settings: Settings, strategy: str, day: dt.date) -> Path:
    """Return where Evidently's snapshot of a day is."""
    return _folder(settings, strategy) / f"day={day}.json.gz"


def page_path(settings: Settings, strategy: str, day: dt.date) -> Path:
    """Return where Evidently's page of a day stands ready when it is the strategy's latest flagged day."""
    return _folder(settings, strategy) / f"day={day}.html"


def _folder(settings: Settings, strategy: str) -> Path:
    return Path(settings.reports or settings.home / "reports") / "drift" / strategy


def _days_with_page(settings: Settings, strategy: str) -> set[dt.date]:
    days = set()
    for page in _folder(settings, strategy).glob("day=*.html"):
        with contextlib.suppress(ValueError):
            days.add(dt.date.fromisoformat(page.stem.removeprefix("day=")))
    return days


def _latest_flagged_before(lake: Lake, strategy: str, day: dt.date) -> set[dt.date]:
    """Return the latest flagged day before `day`, empty when there is none."""
    days = [d for d in lake.days(TABLE) if d < day]
    if not days:
        return set()
    with lake.connect() as con:
        latest = con.execute(
            f"select max(day) from {lake.scan(TABLE, days)} where strategy = $strategy and flagged",
            {"strategy": strategy},
        ).fetchone()
    return {latest[0]} if latest and latest[0] is not None else set()


# ---- rows ----------------------------------------------------------------------------------------------------------


def read_rows(lake: Lake, day: dt.date) -> list[dict[str, Any]]:
    """Read the rows of drift_report as plain values, in order of strategy."""
    with lake.connect() as con:
        rows = con.execute(f"select {', '.join(SCHEMA)} from {lake.scan(TABLE, [day])} order by strategy").fetchall()
    return [dict(zip(SCHEMA, row, strict=True)) for row in rows]


def _rows_of(lake: Lake, day: dt.date) -> dict[str, dict[str, Any]]:
    """Read the rows by strategy; empty on the day before the calendar."""
    if day < lake.start_day:
        return {}
    return {row["strategy"]: row for row in read_rows(lake, day)}


def _reusable(lake: Lake, settings: Settings, day: dt.date) -> dict[str, dict[str, Any]]:
    """Read the rows that this code made earlier from the present profiles, whole, with their snapshots."""
    if not lake.has(TABLE, day):
        return {}
    try:
        was, now = lake.verify(TABLE, day), lake.inputs_of(TABLE, day)
        same = all(was.inputs.get(f"{t}:day") == now[f"{t}:day"] for t in ("user_profiles", "user_category_profiles"))
        if not same or was.code_version != TABLES[TABLE].code_version:
            return {}
        rows = _rows_of(lake, day)
    except SegAssetsError:
        return {}
    return {
        name: row for name, row in rows.items() if not _is_compared(row) or snapshot_path(settings, name, day).exists()
    }


def _is_compared(row: Mapping[str, Any]) -> bool:
    return any(column["score"] is not None for column in row["columns"])


def _still_holds(
    row: Mapping[str, Any],
    strategy: Strategy,
    champion: Decision | None,
    baseline: Decision | None,
    yesterday: Yesterday | None,
) -> bool:
    """Tell whether a row rests on what a new verdict of its day would rest on."""
    if row["strategy_digest"] != strategy.digest():
        return False
    if row["model_id"] != (champion.model_id if champion else ""):
        return False
    baseline_id = baseline.decision_id if baseline else ""
    if row["baseline_id"] != baseline_id:
        return False
    if not row["flagged"]:
        return True
    same = yesterday is not None and yesterday.baseline_id == baseline_id
    return row["streak"] == 1 + (yesterday.streak if same and yesterday else 0)


def _publish(lake: Lake, day: dt.date, rows: list[dict[str, Any]], inputs: Mapping[str, str]) -> Provenance:
    """Publish a day.

    Nested columns go through JSON: pandas gives DuckDB no type for a list that is empty on every row.
    """
    flat = pd.DataFrame(
        [{**row, "reasons": json.dumps(row["reasons"]), "columns": json.dumps(row["columns"])} for row in rows],
        columns=list(SCHEMA),
    )
    parts = []
    for column, kind in SCHEMA.items():
        if column == "reasons":
            parts.append("from_json(reasons, '[\"VARCHAR\"]') as reasons")
        elif column == "columns":
            parts.append(f"""from_json("columns", '{_COLUMNS_JSON}')::{kind} as "columns" """)
        else:
            parts.append(f'"{column}"::{kind} as "{column}"')
    with lake.connect() as con:
        con.register("verdicts", flat)
        return lake.publish(con, TABLE, day, f"select {', '.join(parts)} from verdicts", inputs=inputs)
