"""The verdicts of one day: what is read from the lake, and what is written, to the lake and as reports."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from seg_assets.core.days import ONE_DAY
from seg_assets.core.errors import ConfigError, SegAssetsError
from seg_assets.core.settings import Settings
from seg_assets.drift import evidently_report
from seg_assets.drift.verdict import SCHEMA, Verdict, Yesterday, judge_day, limits_for
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import Decision, baseline_before, baseline_digest, champion_before
from seg_assets.segments.features import load_features
from seg_assets.segments.fitting.reference import describe, population
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
    """What became of one day. `rows` are rows of drift_report, one per strategy; `pages` the HTML of flagged ones."""

    day: dt.date
    rows: list[dict[str, Any]]
    pages: Mapping[str, Path]
    provenance: Provenance
    reused: int


def publish_day(lake: Lake, strategies: Mapping[str, Strategy], settings: Settings, day: dt.date) -> DayOfVerdicts:
    """Judge every strategy on `day`, write drift_report, and the reports under `settings.reports`/drift.

    A strategy whose verdict rests on what it rested on before is not compared anew: after a decision of one strategy
    the others' rows are kept.

    Raises:
        MissingDaysError: profiles of the day, or the verdicts of the day before, were never materialized.
    """
    lake.require("user_profiles", [day], f"{TABLE} of {day}")
    lake.require(TABLE, [day - ONE_DAY], f"{TABLE} of {day}")
    yesterday = _rows_of(lake, day - ONE_DAY)
    known = _reusable(lake, settings, day)
    rows, pages, reused = [], {}, 0
    for name, strategy in strategies.items():
        champion, baseline = champion_before(lake, name, day), baseline_before(lake, name, day)
        before = yesterday.get(name)
        last = Yesterday(before["baseline_id"], before["streak"]) if before else None
        row = known.get(name)
        if row is not None and _still_holds(row, strategy, champion, baseline, last):
            rows.append(row)
            reused += 1
            page = page_path(settings, name, day)
            if row["flagged"] and page.exists():
                pages[name] = page
            continue
        frame = load_features(lake, strategy, day, _categories(champion))
        verdict = judge_day(
            strategy, day, frame, seed=settings.seed, champion=champion, baseline=baseline, yesterday=last
        )
        page = write_reports(settings, strategy, day, verdict)
        if page is not None:
            pages[name] = page
        rows.append(verdict.row())
    inputs = {
        "segment_model:baseline": baseline_digest(lake, list(strategies), day),
        STRATEGIES_KEY: strategies_digest(strategies),
    }
    return DayOfVerdicts(day, rows, pages, _publish(lake, day, rows, inputs), reused)


def write_reports(settings: Settings, strategy: Strategy, day: dt.date, verdict: Verdict) -> Path | None:
    """Write Evidently's JSON of the day, and its page when the day is flagged (its path); remove an old page."""
    page = page_path(settings, strategy.name, day)
    if verdict.document is not None:
        evidently_report.write_json(verdict.document, json_path(settings, strategy.name, day))
    else:
        json_path(settings, strategy.name, day).unlink(missing_ok=True)
    if verdict.flagged and verdict.described is not None:
        now, then, limits = verdict.described
        return evidently_report.render_html(now, then, limits, strategy.drift.positions, page)
    page.unlink(missing_ok=True)
    return None


def render_html(lake: Lake, strategy: Strategy, settings: Settings, day: dt.date, path: Path | None = None) -> Path:
    """Write Evidently's page of any day, flagged or not, from what is in the lake.

    Raises:
        ConfigError: there is nothing to compare the day with. MissingDaysError: no profiles of the day.
    """
    champion, baseline = champion_before(lake, strategy.name, day), baseline_before(lake, strategy.name, day)
    if champion is None or baseline is None:
        raise ConfigError(
            f"strategy {strategy.name}, day {day}: no decision before this day, so there is nothing to compare it "
            "with; choose a day after the first fit"
        )
    users = population(strategy, load_features(lake, strategy, day, _categories(champion)))
    then = baseline.reference
    if users.empty or (not then.get("numeric", None) and not then.get("categories", None)):
        raise ConfigError(f"strategy {strategy.name}, day {day}: no user takes part in clustering, nothing to compare")
    limits = limits_for(strategy, min(len(users), int(then["users"])))
    now = describe(strategy, users, champion.segment_model())
    target = path or page_path(settings, strategy.name, day)
    written = evidently_report.render_html(now, then, limits, strategy.drift.positions, target)
    if written is None:
        raise ConfigError(f"strategy {strategy.name}, day {day}: no watched column can be compared")
    return written


def json_path(settings: Settings, strategy: str, day: dt.date) -> Path:
    """Where Evidently's JSON of a day is."""
    return _reports(settings) / strategy / f"day={day}.json.gz"


def page_path(settings: Settings, strategy: str, day: dt.date) -> Path:
    """Where Evidently's page of a day is, when it was flagged or asked for."""
    return _reports(settings) / strategy / f"day={day}.html"


def _reports(settings: Settings) -> Path:
    return Path(settings.reports or settings.home / "reports") / "drift"


def _categories(champion: Decision | None) -> list[str] | None:
    return champion.segment_model().space.categories if champion else None


def _rows_of(lake: Lake, day: dt.date) -> dict[str, dict[str, Any]]:
    """Rows of drift_report by strategy; empty on the day before the calendar."""
    if day < lake.start_day:
        return {}
    return {row["strategy"]: row for row in read_rows(lake, day)}


def read_rows(lake: Lake, day: dt.date) -> list[dict[str, Any]]:
    """Rows of drift_report as plain values, in order of strategy."""
    with lake.connect() as con:
        found = con.execute(f"select {', '.join(SCHEMA)} from {lake.scan(TABLE, [day])} order by strategy").fetchall()
    return [dict(zip(SCHEMA, row, strict=True)) for row in found]


def _reusable(lake: Lake, settings: Settings, day: dt.date) -> dict[str, dict[str, Any]]:
    """Rows that are there already, made by this code from the profiles that are there now; whole and readable."""
    if not lake.has(TABLE, day):
        return {}
    try:
        was, now = lake.verify(TABLE, day), lake.inputs_of(TABLE, day)
        same = all(was.inputs.get(f"{t}:day") == now[f"{t}:day"] for t in ("user_profiles", "user_category_profiles"))
        if not same or was.code_version != _code_version():
            return {}
        rows = _rows_of(lake, day)
    except SegAssetsError:
        return {}
    return {
        name: row
        for name, row in rows.items()
        if not row["columns"] or json_path(settings, name, day).exists() or not _compared(row)
    }


def _compared(row: Mapping[str, Any]) -> bool:
    return any(column["score"] is not None for column in row["columns"])


def _still_holds(
    row: Mapping[str, Any],
    strategy: Strategy,
    champion: Decision | None,
    baseline: Decision | None,
    yesterday: Yesterday | None,
) -> bool:
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


def _code_version() -> str:
    from seg_assets.core.tables import TABLES

    return TABLES[TABLE].code_version


def _publish(lake: Lake, day: dt.date, rows: list[dict[str, Any]], inputs: Mapping[str, str]) -> Provenance:
    """Nested columns go through JSON: pandas gives DuckDB no type for a list that is empty on every row."""
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
