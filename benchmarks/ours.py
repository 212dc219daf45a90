"""Ours, as a user runs it: the jobs of the code location, in process, on a SQLite instance with our dagster.yaml.

Every function is the work of one child process (`benchmarks.task`), imports included.
"""

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.shop import SEED, STRATEGY, Place

ACTIVITY = ("user_daily_activity", "user_category_activity", "identity_links", "user_lifetime")
EVENTS = ("landed_files", "raw_events", "rejected_events", "raw_users", "raw_products")
# Tables of a room; `segments` is the fit, the assignment, what each segment is, and who moved.
ROOMS = {
    "events": EVENTS,
    "profiles": (*ACTIVITY, "user_category_profiles", "user_profiles"),
    "segments": ("segment_model", "user_segments", "segment_profiles", "segment_moves"),
    "evaluation": ("segment_evaluation",),
    "drift": ("drift_report",),
    "reports": ("segment_report",),
}
HEADLINE = {
    "events": "raw_events",
    "profiles": "user_profiles",
    "segments": "user_segments",
    "evaluation": "segment_evaluation",
    "drift": "drift_report",
    "reports": "segment_report",
}


def simulate(place: Place, users: int, days: int, pace: float) -> dict[str, Any]:
    """Write the shop's landing files."""
    from seg_assets.simulator import SimulationConfig, simulate

    config = SimulationConfig(
        users=users,
        days=days,
        start=dt.date.fromisoformat(place.first),
        seed=SEED,
        events_per_user_day=pace,
        format="parquet",
        growth=0.0,
    )
    truth = simulate(place.landing, config)
    return {"events": int(truth.counts["clean_events"].sum()), "users": len(truth.users)}


def prepare(place: Place) -> dict[str, Any]:
    """What a first run does once: the instance, and dbt's prepared manifest."""
    from seg_assets.build import build_defs
    from seg_assets.core.settings import Settings
    from seg_assets.orchestration.instance import prepare_instance

    settings = Settings.from_env()
    prepare_instance(settings)
    build_defs(settings)
    return {}


def compile_sql(place: Place) -> dict[str, Any]:
    """Write the SQL of each profile table, as dbt compiles it, to `<home>/sql/<table>.sql`."""
    from seg_assets.core.settings import Settings
    from seg_assets.profiles import runner

    target = Path(place.home) / "sql"
    target.mkdir(parents=True, exist_ok=True)
    for table, sql in runner.compiled_sql(Settings.from_env(), ROOMS["profiles"]).items():
        (target / f"{table}.sql").write_text(sql, encoding="utf-8")
    return {}


def landed(place: Place, first: str, last: str) -> dict[str, Any]:
    """Landing files of a range of days, read in one run."""
    from seg_assets.core.days import day_range

    a, b = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    run_job(a, b, EVENTS)
    return {"days": (b - a).days + 1, "rows": rows_of(place, "raw_events", day_range(a, b))}


def activity(place: Place, first: str, last: str) -> dict[str, Any]:
    """The tables of activity of a range of days, in one run of dbt: what the profiles of a later day read.

    Without Dagster and without data tests: one of them compares these tables with profiles, which are not made here.
    """
    from seg_assets.core.days import day_range
    from seg_assets.core.settings import Settings
    from seg_assets.profiles import runner

    days = day_range(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
    runner.build(Settings.from_env(), days, ACTIVITY)
    return {"days": len(days), "rows": rows_of(place, "user_daily_activity", days)}


def before(place: Place) -> dict[str, Any]:
    """The day before the last one, all rooms and a first fit, and what a week of segments would have left.

    Profiles and segments of earlier days are not read by the day that is measured, but for one join with the segments
    of a week ago. They are planted: empty profiles, and the segments of the day before for the days before it.
    """
    plant_past(place, place.days[:-2])
    day = place.days[-2]
    run_job(day, day)
    for earlier in place.days[max(0, len(place.days) - 9) : -2]:
        plant("user_segments", earlier, f"select * from {place_lake().scan('user_segments', [day])}")
    return {"rows": rows_of(place, "user_profiles", [day])}


def plant_past(place: Place, days: Sequence[dt.date]) -> None:
    """Empty profiles, segments and verdicts of days that nothing which is measured reads."""
    from seg_assets.core.settings import Settings
    from seg_assets.drift.verdict import SCHEMA as VERDICTS
    from seg_assets.profiles.engine.days import DayBuilder
    from seg_assets.segments.daily.assign import SCHEMA as SEGMENTS

    settings = Settings.from_env()
    profiles = DayBuilder(place_lake(), settings.dbt_project).schemas.tables
    shapes = {
        "user_category_profiles": profiles["user_category_profiles"],
        "user_profiles": profiles["user_profiles"],
        "user_segments": SEGMENTS,
        "drift_report": VERDICTS,
    }
    for table, schema in shapes.items():
        empty = ", ".join(f'null::{kind} as "{column}"' for column, kind in schema.items())
        for day in days:
            plant(table, day, f"select {empty} where false")


def day_fitted(place: Place) -> dict[str, Any]:
    """The last day in one run of the job `daily`, in which a re-clustering was asked for."""
    run_job(place.day, place.day, config=fit_config(place.day))
    return {"rows": rows_of(place, "user_profiles", [place.day])}


def day_ordinary(place: Place) -> dict[str, Any]:
    """The last day in one run of the job `daily`: an ordinary day, the champion stays."""
    run_job(place.day, place.day)
    return {"rows": rows_of(place, "user_profiles", [place.day])}


def room(place: Place, name: str) -> dict[str, Any]:
    """One room of the last day, in a run of its own."""
    run_job(place.day, place.day, ROOMS[name], fit_config(place.day) if name == "segments" else None)
    return {} if name == "reports" else {"rows": rows_of(place, HEADLINE[name], [place.day])}


def day_range(place: Place, first: str, last: str) -> dict[str, Any]:
    """A range of days, every room, in one run of the job `daily`."""
    a, b = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    run_job(a, b)
    return {"days": (b - a).days + 1, "rows": rows_of(place, "user_profiles", [b])}


def profiles_of(place: Place, day: str) -> dict[str, Any]:
    """The room of profiles for one day."""
    a = dt.date.fromisoformat(day)
    run_job(a, a, ROOMS["profiles"])
    return {"rows": rows_of(place, "user_profiles", [a])}


def fit_config(day: dt.date) -> dict[str, Any]:
    """Run config that asks for a decision of the day, as a person would in the launchpad."""
    return {"ops": {"segment_model": {"config": {"requests": [{"strategy": STRATEGY, "day": day.isoformat()}]}}}}


def run_job(
    first: dt.date, last: dt.date, tables: Sequence[str] | None = None, config: dict[str, Any] | None = None
) -> None:
    """Run the job `daily` for days, for all its tables or these."""
    from seg_assets.build import build_defs
    from seg_assets.core.settings import Settings
    from seg_assets.loop.replay import _Runner

    with instance() as found:
        runner = _Runner(build_defs(Settings.from_env()), found, lambda text: None)
        runner.run("daily", first, last, "bench", run_config=config, selection=list(tables) if tables else None)


@contextmanager
def instance() -> Iterator[Any]:
    """The shop's Dagster instance, which `prepare` made."""
    import dagster as dg

    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as found:
        yield found


def place_lake() -> Any:
    """The lake of the environment's shop."""
    from seg_assets.core.settings import Settings
    from seg_assets.lake.store import Lake

    return Lake.of(Settings.from_env())


def plant(table: str, day: dt.date, query: str) -> None:
    """Write a day that nobody computed, with a footer that says what is in it."""
    from dataclasses import replace

    from seg_assets.lake.content_hash import content_hash_sql
    from seg_assets.lake.provenance import Provenance
    from seg_assets.lake.publish import copy_sql
    from seg_assets.lake.stamps import DATA

    lake = place_lake()
    with lake.connect() as con:
        con.execute(f"create or replace temp table planted as {query}")
        rows, content = con.execute(content_hash_sql(con, "planted")).fetchone()
        found = replace(Provenance(table, day.isoformat(), DATA, 0, ""), rows=rows, content_hash=content)
        target = lake.path(table, day)
        target.parent.mkdir(parents=True, exist_ok=True)
        con.execute(copy_sql("planted", target, found))


def rows_of(place: Place, table: str, days: Sequence[dt.date]) -> int:
    """Rows that the lake holds of these days, from the footers."""
    lake = place_lake()
    return sum(found.rows for day in days if (found := lake.provenance(table, day)))
