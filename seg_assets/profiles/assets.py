"""The Dagster face of the profiles: one multi-asset, a table each, with dbt's data tests as its checks.

Specs are made from the prepared manifest without importing dagster-dbt or dbt: that import alone costs 4 seconds,
more than all the rest of the code location, and every run pays it. dbt is imported when a run computes.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace

import dagster as dg

from seg_assets.core.days import ONE_DAY
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake.provenance import Provenance
from seg_assets.lake.store import Lake
from seg_assets.orchestration import assets as orchestration
from seg_assets.orchestration.assets import (
    IO_RETRY,
    OWNER,
    SINGLE_RUN,
    Check,
    DayResult,
    Shop,
    columns_of,
    deps_of,
    report_days,
    user_errors,
)
from seg_assets.orchestration.partitions import days_of_run
from seg_assets.profiles import facts, manifest, runner
from seg_assets.profiles.days import DayBuilder
from seg_assets.profiles.schema import ModelDoc, model_docs

GROUP = "profiles"
# Days of one dbt call: bounds the rows that a test looks at, and what a failure of dbt itself can cost.
CHUNK = 31


def build_assets(settings: Settings, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The tables of the dbt project as assets, and its data tests as their checks."""
    project = manifest.load_project(settings)
    docs = model_docs(settings.dbt_project)
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
        retry_policy=IO_RETRY,
    )
    def dbt_profiles(context: dg.AssetExecutionContext, shop: Shop) -> Iterator[dg.MaterializeResult]:
        """Activity of the day, lifetimes, identity links and profiles as of the day, by dbt."""
        now = shop.settings()
        chosen = {key.to_user_string() for key in context.selected_asset_keys}
        models = [m.name for m in project.models if m.name in chosen]
        tests = [by_check[key].name for key in context.selected_asset_check_keys]
        results = run_days(context, now, project, models, tests, days_of_run(context))
        # One at a time, not as a list: what was found before a failure is told all the same.
        step = user_errors(lambda: next(results, None))
        while (result := step()) is not None:
            yield result

    return [dbt_profiles]


def asset_spec(model: manifest.DbtModel, doc: ModelDoc, partitions: dg.DailyPartitionsDefinition) -> dg.AssetSpec:
    """One table of the dbt project as an asset."""
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
            "dagster/column_schema": columns_of(replace(TABLES[model.name], columns=doc.columns)),
            "dagster/table_name": model.name,
            "seg/key": facts.key_of(model.name),
            "seg/sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```"),
            **{f"seg/reads_days_of_{table}": days for table, days in trailing.items()},
        },
    )


def run_days(
    context: dg.AssetExecutionContext,
    settings: Settings,
    project: manifest.Project,
    models: Sequence[str],
    tests: Sequence[str],
    days: Sequence[dt.date],
) -> Iterator[dg.MaterializeResult]:
    """Build the models for the days, oldest first, in chunks; then tell the UI about each day and each test."""
    lake = Lake.of(settings)
    builder = DayBuilder(lake, settings.dbt_project)
    progress = _Progress(context, total=len(days) * len(models))
    by_day: dict[str, list[DayResult]] = {m: [] for m in models}
    blocking_failures: list[str] = []
    for start in range(0, len(days), CHUNK):
        chunk = days[start : start + CHUNK]
        built = runner.build(settings, chunk, models, tests, on_published=progress.published)
        failed = {
            name: facts.failing_days(lake, builder, run.sql, chunk) for name, run in built.tests.items() if run.failures
        }
        # dbt skips what is downstream of a failed test: those days were not written and are not reported.
        published = {(p.table, p.day) for p in built.published}
        with lake.connect() as con:
            for model in models:
                shown = [t for t in project.tests_of({model}) if t.name in tests]
                written = [d for d in chunk if (model, d.isoformat()) in published]
                for found in facts.days_facts(con, lake, model, written):
                    outcomes = ((t, built.tests.get(t.name), failed.get(t.name, {})) for t in shown)
                    checks = [_check(t, run, rows, found.day) for t, run, rows in outcomes]
                    by_day[model].append(_day_result(found, checks))
        blocking_failures += [
            f"{t.name} ({', '.join(str(d) for d in list(failed.get(t.name, {}))[:5]) or 'not run'})"
            for t in project.tests
            if t.blocking and t.name in built.tests and not _passed(built.tests[t.name])
        ]
        if blocking_failures:
            break
    for model in models:
        if by_day[model]:
            yield report_days(context, dg.AssetKey(model), by_day[model])
    if blocking_failures:
        raise dg.Failure(
            f"dbt tests failed: {'; '.join(blocking_failures)}. The days are published and their checks show the "
            f"rows; mend the input days and re-run.{_behind(lake, settings, days[0])}",
            allow_retries=False,
        )


def _behind(lake: Lake, settings: Settings, day: dt.date) -> str:
    """A likely cause in words: a day before is not what it would be now; '' when all are."""
    from seg_assets.loop.planner import plan
    from seg_assets.segments.strategy import strategies_of

    before = day - ONE_DAY
    if before < lake.start_day:
        return ""
    asked = plan(lake, strategies_of(settings), settings, last_day=before).runs
    if not asked:
        return ""
    return (
        f" Earlier days are not up to date ({asked[0].reason}): the drift sensor, or seg-assets replay "
        f"--from {asked[0].first} --to {before}, makes them first."
    )


def _passed(run: runner.TestRun) -> bool:
    return not run.failures and not run.error and not run.skipped


def _check(test: manifest.DbtTest, run: runner.TestRun | None, failed: dict[dt.date, int], day: dt.date) -> Check:
    severity = dg.AssetCheckSeverity.ERROR if test.blocking else dg.AssetCheckSeverity.WARN
    if run is None or run.skipped:
        return Check(test.name, False, {"reason": "not run: a model before it failed"}, severity, per_day=False)
    if run.error:
        return Check(test.name, False, {"reason": run.error[:500]}, severity, per_day=False)
    rows = failed.get(day, 0)
    return Check(test.name, day not in failed, {"failing_rows": rows}, severity, per_day=False)


def _day_result(found: facts.DayFacts, checks: Sequence[Check]) -> DayResult:
    metadata = {
        "dagster/partition_row_count": found.rows,
        "day": found.day.isoformat(),
        **found.numbers,
        "numbers": dg.MetadataValue.md(found.table),
    }
    if not found.rows:
        metadata["empty_day"] = "no rows: nothing happened up to or on this day"
    return DayResult(found.day, metadata, checks, data_version=found.content_hash)


class _Progress:
    """Log table, day and rate, at most every two seconds."""

    def __init__(self, context: dg.AssetExecutionContext, total: int) -> None:
        import time

        self.context, self.total, self.done = context, total, 0
        self.clock = time.monotonic
        self.started = self.last = self.clock()

    def published(self, table: str, day: dt.date, provenance: Provenance) -> None:
        """Count one published day of one table."""
        self.done += 1
        if orchestration.on_progress:
            orchestration.on_progress("dbt_profiles", self.done, self.total)
        now = self.clock()
        if now - self.last >= 2 or self.done == self.total:
            rate = self.done / max(now - self.started, 1e-9)
            self.context.log.info(
                f"{table} of {day}: {provenance.rows} rows; {self.done} of {self.total} table days, {rate:.1f}/s"
            )
            self.last = now
