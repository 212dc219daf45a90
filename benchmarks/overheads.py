"""What is paid beside computing: loading the code, starting a run, calling dbt, one tick of the drift sensor."""

import datetime as dt
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.ours import EVENTS, instance, place_lake
from benchmarks.shop import Place

TICK_YEARS = 3


@contextmanager
def clock(found: dict[str, Any], name: str) -> Iterator[None]:
    """Add wall and CPU seconds of a block to `found`."""
    wall, cpu = time.perf_counter(), cpu_now()
    yield
    found[name] = {
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(cpu_now() - cpu, 3),
    }


def cpu_now() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def load(place: Place) -> dict[str, Any]:
    """Import the code location in a fresh process, bytecode compiled."""
    found: dict[str, Any] = {}
    with clock(found, "import_dagster"):
        import dagster  # noqa: F401
    with clock(found, "code_location"):
        import seg_assets.definitions  # noqa: F401
    return found


def start(place: Place) -> dict[str, Any]:
    """From asking for a run of one day to the start of its first step; the second run of a process."""
    import dagster as dg

    from seg_assets.build import build_defs
    from seg_assets.core.settings import Settings
    from seg_assets.loop.replay import QUIET
    from seg_assets.orchestration.tags import of_range

    job = build_defs(Settings.from_env()).get_repository_def().get_job("daily")
    day = place.day.isoformat()
    found: dict[str, Any] = {}
    with instance() as where:
        for name in ("first_of_a_process", "next"):
            asked = time.time()
            result = job.execute_in_process(
                instance=where,
                run_config=QUIET,
                tags=of_range(day, day),
                asset_selection=[dg.AssetKey(table) for table in EVENTS],
            )
            events = where.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_START)
            found[f"run_start_{name}"] = {"wall_seconds": round(min(e.timestamp for e in events) - asked, 3)}
    return found


def dbt(place: Place) -> dict[str, Any]:
    """One invocation of dbt for the smallest table, with dbt's imports and after them."""
    from seg_assets.core.settings import Settings
    from seg_assets.profiles import runner

    found: dict[str, Any] = {}
    for name in ("dbt_first_of_a_process", "dbt_next"):
        with clock(found, name):
            runner.build(Settings.from_env(), [place.day], ["identity_links"])
    return found


def tick(place: Place) -> dict[str, Any]:
    """One plan of the drift sensor over a lake of three years in which every table has every day."""
    from seg_assets.core.settings import Settings
    from seg_assets.core.tables import TABLES
    from seg_assets.loop import planner
    from seg_assets.segments.strategy import strategies_of

    settings = Settings.from_env()
    start = dt.date.fromisoformat(place.first)
    days = [start + dt.timedelta(days=n) for n in range(365 * TICK_YEARS)]
    plant_years(days)
    found: dict[str, Any] = {}
    for name in ("tick_first_of_a_process", "tick_next"):
        # The sensor makes its own lake object on each tick.
        with clock(found, name):
            plan = planner.plan(place_lake(), strategies_of(settings), settings)
    found["tick_days"] = len(days)
    found["tick_files"] = len(days) * sum(t.required for t in TABLES.values())
    found["tick_said"] = plan.resting_because or plan.runs[0].reason
    return found


def plant_years(days: list[dt.date]) -> None:
    """A lake of days without users, each built from what is there; verdicts say that nothing is due."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from seg_assets.core.settings import Settings
    from seg_assets.core.tables import TABLES
    from seg_assets.lake.provenance import FOOTER_KEY, Provenance
    from seg_assets.lake.stamps import DATA
    from seg_assets.segments.decisions.store import baseline_digest, champion_digest
    from seg_assets.segments.strategy import STRATEGIES_KEY, strategies_digest, strategies_of

    lake, strategies = place_lake(), strategies_of(Settings.from_env())
    verdicts = quiet_verdicts(strategies)
    for day in days:
        decided = {
            "segment_model:champion": champion_digest(lake, strategies, day),
            "segment_model:baseline": baseline_digest(lake, list(strategies), day),
        }
        for name, table in TABLES.items():
            if not table.required:
                continue
            named = {f"{i.table}:{i.window}" for i in table.inputs}
            inputs = {**lake.inputs_of(name, day), **{k: v for k, v in decided.items() if k in named}}
            if table.room in ("segments", "evaluation", "drift"):
                inputs[STRATEGIES_KEY] = strategies_digest(strategies)
            rows = verdicts if name == "drift_report" else pa.table({c: pa.array([], pa.string()) for c in table.key})
            made = Provenance(name, day.isoformat(), DATA, len(rows), "planted", inputs, table.code_version)
            target = lake.path(name, day)
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows.replace_schema_metadata({FOOTER_KEY: made.to_json()}), target)


def quiet_verdicts(strategies: Any) -> Any:
    """Rows of drift_report on a day on which nothing is due, as an Arrow table."""
    import duckdb

    from seg_assets.drift.verdict import SCHEMA

    con = duckdb.connect()
    columns = ", ".join(f'"{column}" {kind}' for column, kind in SCHEMA.items())
    con.execute(f"create table verdicts ({columns})")
    for name, strategy in strategies.items():
        con.execute(
            "insert into verdicts (strategy, model_id, baseline_id, strategy_digest, users, flagged, streak, drifted, "
            "cause, reasons, columns, verdict_digest) values (?, '', '', ?, 0, false, 0, false, '', [], [], 'none')",
            [name, strategy.digest()],
        )
    return con.execute("select * from verdicts").to_arrow_table()
