"""The Dagster face of the profiles: one multi-asset, a table each, with dbt's data tests as its checks.

Specs are read from the prepared manifest without importing dagster-dbt or dbt: that import alone costs 4 seconds, more
than all the rest of the code location, and every run pays it. dbt is imported when a run computes.

Not here: running dbt (`profiles.runner`), the numbers of a day (`profiles.facts`).
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from seg_assets.core.days import ONE_DAY
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.core.text import code_block
from seg_assets.lake.store import Lake
from seg_assets.orchestration import assets as orchestration
from seg_assets.orchestration.assets import (
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    ShopResource,
    columns_of,
    deps_of,
    record_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.profiles import facts, runner
from seg_assets.profiles.engine.days import DayBuilder
from seg_assets.profiles.project import project_of
from seg_assets.profiles.schema import ModelDoc, model_docs

GROUP = "profiles"
# Days of one dbt call: bounds the rows that a test looks at, and what a failure of dbt itself can cost.
CHUNK = 31

# Says what waits to be made up to a day, and what makes it; empty when nothing does.
Backlog = Callable[[Lake, Settings, dt.date], str]


def no_backlog(lake: Lake, settings: Settings, last_day: dt.date) -> str:
    """Say nothing: the default where nobody knows the loop."""
    return ""


def build_assets(
    settings: Settings, partitions: dg.DailyPartitionsDefinition, backlog: Backlog = no_backlog
) -> list[dg.AssetsDefinition]:
    """Build the tables of the dbt project as assets, and its data tests as their checks.

    Args:
        settings: the shop.
        partitions: its days.
        backlog: asked for the likely cause when a test fails: an earlier day that is not up to date.
    """
    project = runner.load_project(settings)
    docs = model_docs(project_of(settings))
    by_check = {dg.AssetCheckKey(dg.AssetKey(t.model), t.name): t for t in project.tests}

    @dg.multi_asset(
        name="dbt_profiles",
        specs=[asset_spec(model, docs[model.name], partitions) for model in project.models],
        check_specs=[
            dg.AssetCheckSpec(
                t.name,
                asset=t.model,
                description=t.description or None,
                blocking=t.blocking,
            )
            for t in project.tests
        ],
        can_subset=True,
        backfill_policy=SINGLE_RUN,
    )
    def dbt_profiles(context: dg.AssetExecutionContext, shop: ShopResource) -> Iterator[dg.MaterializeResult]:
        """Activity of the day, lifetimes, identity links and profiles as of the day, by dbt."""
        now = shop.settings()
        chosen = {key.to_user_string() for key in context.selected_asset_keys}
        models = [m.name for m in project.models if m.name in chosen]
        tests = [by_check[key].name for key in context.selected_asset_check_keys]
        results = run_days(context, now, project, models, tests, days_of_run(context), backlog)
        # One at a time, not as a list: tables that were built before a failure are reported all the same.
        step = user_errors(lambda: next(results, None))
        while (result := step()) is not None:
            yield result

    return [dbt_profiles]


def asset_spec(model: runner.DbtModel, doc: ModelDoc, partitions: dg.DailyPartitionsDefinition) -> dg.AssetSpec:
    """Describe one table of the dbt project as an asset."""
    trailing = {i.table: i.days for i in TABLES[model.name].inputs if i.window == "trailing"}
    return dg.AssetSpec(
        model.name,
        deps=deps_of(model.name),
        group_name=GROUP,
        owners=[OWNER],
        kinds={"dbt", "duckdb", "parquet"},
        partitions_def=partitions,
        description=doc.description,
        code_version=TABLES[model.name].code_version,
        metadata={
            "dagster/column_schema": columns_of(doc.columns),
            "dagster/table_name": model.name,
            "seg/key": facts.key_of(model.name),
            "seg/sql": dg.MetadataValue.md(code_block(model.sql, "sql")),
            **{f"seg/reads_days_of_{table}": days for table, days in trailing.items()},
        },
    )


def run_days(
    context: dg.AssetExecutionContext,
    settings: Settings,
    project: runner.Project,
    models: Sequence[str],
    tests: Sequence[str],
    days: Sequence[dt.date],
    backlog: Backlog = no_backlog,
) -> Iterator[dg.MaterializeResult]:
    """Build the models for the days, oldest first, in chunks; then report each day and each test to the UI."""
    lake = Lake.of(settings)
    builder = DayBuilder(lake, project_of(settings))
    progress = _Progress(context, total=len(days) * len(models))
    by_day: dict[str, list[DayResult]] = {m: [] for m in models}
    blocking_failures: list[str] = []
    for start in range(0, len(days), CHUNK):
        chunk = days[start : start + CHUNK]
        built = runner.build(settings, chunk, models, tests, on_published=progress.published)
        failing = {
            name: facts.failing_days(builder, run.sql, chunk) for name, run in built.tests.items() if run.failures
        }
        with lake.connect() as con:
            for model in models:
                shown = [t for t in project.tests_of({model}) if t.name in tests]
                # dbt skips what is downstream of a failed test: those days were not written and are not reported.
                written = [d for d in chunk if (model, d) in built.published]
                for numbers in facts.days_facts(con, builder, model, written):
                    outcomes = ((t, built.tests.get(t.name), failing.get(t.name, {})) for t in shown)
                    checks = [_check(t, run, rows, numbers.day) for t, run, rows in outcomes]
                    by_day[model].append(_day_result(numbers, checks))
        blocking_failures += [
            f"{t.name} ({', '.join(str(d) for d in list(failing.get(t.name, {}))[:5]) or 'not run'})"
            for t in project.tests
            if t.blocking and t.name in built.tests and not _passed(built.tests[t.name])
        ]
        if blocking_failures:
            break
    for model in models:
        if by_day[model]:
            yield record_days(context, dg.AssetKey(model), by_day[model])
    if blocking_failures:
        before = days[0] - ONE_DAY
        likely = backlog(lake, settings, before) if before >= lake.start_day else ""
        raise dg.Failure(
            f"dbt tests failed: {'; '.join(blocking_failures)}. The days are published and their checks show the "
            f"rows; mend the input days and re-run.{likely and ' ' + likely}",
            allow_retries=False,
        )


def _passed(run: runner.TestRun) -> bool:
    return not run.failures and not run.error and not run.skipped


def _check(test: runner.DbtTest, run: runner.TestRun | None, failed: dict[dt.date, int], day: dt.date) -> Check:
    severity = dg.AssetCheckSeverity.ERROR if test.blocking else dg.AssetCheckSeverity.WARN
    if run is None or run.skipped:
        return Check(test.name, False, {"reason": "not run: a model before it failed"}, severity, per_day=False)
    if run.error:
        return Check(test.name, False, {"reason": run.error[:500]}, severity, per_day=False)
    rows = failed.get(day, 0)
    return Check(test.name, day not in failed, {"failing_rows": rows}, severity, per_day=False)


def _day_result(numbers: facts.DayFacts, checks: Sequence[Check]) -> DayResult:
    metadata = {
        "dagster/partition_row_count": numbers.rows,
        "day": numbers.day.isoformat(),
        **numbers.numbers,
        "numbers": dg.MetadataValue.md(numbers.table),
    }
    if not numbers.rows:
        metadata["empty_day"] = "no rows: nothing happened up to or on this day"
    return DayResult(numbers.day, metadata, checks, data_version=numbers.content_hash)


class _Progress:
    """Logs table, day and rate, at most every two seconds."""

    def __init__(self, context: dg.AssetExecutionContext, total: int) -> None:
        self.context, self.total, self.done = context, total, 0
        self.started = self.last = time.monotonic()

    def published(self, table: str, day: dt.date, rows: int) -> None:
        """Count one published day of one table."""
        self.done += 1
        if orchestration.on_progress:
            orchestration.on_progress("dbt_profiles", self.done, self.total)
        now = time.monotonic()
        if now - self.last >= 2 or self.done == self.total:
            rate = self.done / max(now - self.started, 1e-9)
            self.context.log.info(
                f"{table} of {day}: {rows} rows; {self.done} of {self.total} table days, {rate:.1f}/s"
            )
            self.last = now
