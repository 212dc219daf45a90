"""The Dagster face of the profiles: light to load, one run for a range, each day's numbers and checks in the UI."""

import subprocess
import sys

import dagster as dg
import pandas as pd
import pytest

from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.profiles import assets, facts, runner
from seg_assets.profiles.engine.days import DayBuilder
from seg_assets.profiles.engine.duckdb import DuckDBEngine
from seg_assets.profiles.schema import model_docs
from tests.profiles.shop import START, History, day_of, put_day, settings_of


def definitions(settings) -> dg.Definitions:
    return dg.Definitions(
        assets=assets.build_assets(settings, daily_partitions(settings)),
        resources={"shop": ShopResource(environment=settings.environment())},
    )


def run(settings, instance, first, last, selection=None):
    job = definitions(settings).resolve_implicit_global_asset_job_def()
    tags = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    keys = [dg.AssetKey(name) for name in selection] if selection else None
    return job.execute_in_process(instance=instance, tags=tags, asset_selection=keys, raise_on_error=False)


def latest(instance, asset, check) -> dg.AssetCheckEvaluation:
    """The latest result of a check: one for each run, which names the days that failed."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    return next(r.event.dagster_event.event_specific_data for r in records if r.event and r.status.name != "PLANNED")


@pytest.fixture(scope="module")
def ran(home, tmp_path_factory):
    """A range of three days, in one run, on a fresh instance."""
    from seg_assets.core.settings import Settings

    settings = Settings(home=home, lake=tmp_path_factory.mktemp("assets"), start_day=START)
    history = History(seed=3, days=3, users=4)
    history.put(Lake.of(settings))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(settings, instance, history.days[0], history.days[-1])
        yield settings, history, instance, result


def test_a_range_is_one_run_and_each_day_has_its_own_numbers(ran):
    settings, history, instance, result = ran
    assert result.success
    records = instance.fetch_materializations(dg.AssetKey("user_profiles"), limit=10).records
    lake = Lake.of(settings)
    shown = {r.partition_key: r.asset_materialization.metadata for r in records}
    assert set(shown) == {d.isoformat() for d in history.days}
    for day in history.days:
        profiles = lake.read("user_profiles", day)
        metadata = shown[day.isoformat()]
        assert metadata["dagster/partition_row_count"].value == len(profiles)
        assert metadata["active_today"].value == (profiles["inactive_days"] == 0).sum()
        assert metadata["monetary_all"].value == pytest.approx(profiles["monetary_all"].sum())
        assert metadata["suspected_bots"].value == profiles["is_suspected_bot"].sum()
        assert "| 28d |" in metadata["numbers"].value


def test_every_dbt_test_is_a_check_with_one_result_for_the_days_of_the_run(ran, tests):
    _, history, instance, result = ran
    assert {e.check_name for e in result.get_asset_check_evaluations()} == set(tests)
    assert all(e.passed for e in result.get_asset_check_evaluations())
    found = latest(instance, "user_profiles", "rows_of_user_profiles_are_unique")
    assert found.passed
    assert found.metadata["days"].value == len(history.days)


def test_a_failed_dbt_test_fails_the_run_and_shows_the_day_it_failed_on(ran, monkeypatch):
    """Rows that break a test on one day of three: the check names that day, and those not built after it."""
    settings, history, instance, _ = ran
    lake = Lake.of(settings)
    bad = history.days[1]
    real = DuckDBEngine.stage

    def stage(self, inputs, sql):
        if inputs.table == "user_lifetime" and inputs.day == bad:
            sql = f"select * replace (date '2031-01-01' as first_seen_day) from ({sql})"
        return real(self, inputs, sql)

    monkeypatch.setattr(DuckDBEngine, "stage", stage)
    before = lake.provenance("user_profiles", bad)
    result = run(settings, instance, history.days[0], history.days[-1], ["user_lifetime", "user_profiles"])
    monkeypatch.undo()
    assert not result.success
    assert lake.provenance("user_profiles", bad) == before, "nothing is built on a day that failed its tests"
    (failure,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert "first_seen_is_not_after_last_seen (2024-01-02" in str(failure.event_specific_data)
    found = latest(instance, "user_lifetime", "first_seen_is_not_after_last_seen")
    assert not found.passed
    assert found.metadata["failed"].value == ", ".join(d.isoformat() for d in history.days if d >= bad)
    assert run(settings, instance, history.days[0], history.days[-1], ["user_lifetime"]).success
    assert lake.verify("user_lifetime", bad)


@pytest.mark.parametrize(
    "broken",
    [
        "-0.1::double as cart_to_purchase_rate_90d",
        "1.5::double as discount_share_90d",
        "2::double as device_other_share_90d",
    ],
)
def test_a_share_outside_of_0_to_1_is_found_in_any_column_and_null_is_allowed(ran, monkeypatch, broken):
    settings, history, instance, _ = ran
    day, real = history.days[-1], DuckDBEngine.stage

    def stage(self, inputs, sql):
        if inputs.table == "user_profiles":
            sql = f"select * replace ({broken}, null::double as device_tablet_share_90d) from ({sql})"
        return real(self, inputs, sql)

    monkeypatch.setattr(DuckDBEngine, "stage", stage)
    result = run(settings, instance, day, day, ["user_profiles"])
    monkeypatch.undo()
    found = latest(instance, "user_profiles", "shares_of_user_profiles_are_between_0_and_1")
    assert not found.passed
    assert found.metadata["failing_rows"].value == len(Lake.of(settings).read("user_profiles", day)) > 0
    others = {e.check_name for e in result.get_asset_check_evaluations() if not e.passed}
    assert others == {"shares_of_user_profiles_are_between_0_and_1"}
    assert run(settings, instance, day, day, ["user_profiles"]).success


def test_a_missing_input_day_fails_the_run_at_once_and_names_the_days(home, tmp_path):
    from seg_assets.core.settings import Settings

    settings = Settings(home=home, lake=tmp_path / "lake", start_day=START)
    put_day(Lake.of(settings), day_of(0))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(settings, instance, day_of(0), day_of(1), ["user_daily_activity"])
        assert not result.success
        (failure,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
        assert "raw_events of 2024-01-02, never materialized" in str(failure.event_specific_data.error)
        assert Lake.of(settings).has("user_daily_activity", day_of(0)), "the finished day is kept"


def test_every_model_and_column_is_described(home):
    from seg_assets.core.settings import Settings

    docs = model_docs(Settings(home=home).dbt_project)
    assert {name for name, table in TABLES.items() if table.room == "profiles"} <= set(docs)
    for doc in docs.values():
        assert doc.description
        assert all(c.description and c.kind for c in doc.columns), doc.name


def test_the_assets_load_without_dbt_once_the_manifest_is_prepared(home):
    code = (
        "import sys, datetime as dt;"
        "from pathlib import Path;"
        "from seg_assets.core.settings import Settings;"
        "from seg_assets.orchestration.partitions import daily_partitions;"
        "from seg_assets.profiles import assets;"
        "s = Settings(home=Path(sys.argv[1]), start_day=dt.date(2024, 1, 1));"
        "assets.build_assets(s, daily_partitions(s));"
        "heavy = [m for m in ('dbt', 'dagster_dbt', 'sklearn', 'evidently') if m in sys.modules];"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_changed_model_is_parsed_again_and_the_project_folder_is_never_written_to(home, tmp_path):
    import shutil

    from seg_assets.core.settings import Settings

    settings = Settings(home=home)
    project = tmp_path / "project with a space"
    shutil.copytree(settings.dbt_project, project, ignore=shutil.ignore_patterns("target", "logs"))
    copied = Settings(home=tmp_path / "home", dbt_project=project)
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    first = runner.prepared_folder(copied)
    model = project / "models" / "staging" / "_staging.yml"
    runner.prepare(copied)
    assert {p: p.read_bytes() for p in project.rglob("*") if p.is_file()} == before
    model.write_text(model.read_text() + "\n")
    assert runner.prepared_folder(copied) != first


def test_a_folder_that_is_no_dbt_project_is_refused_by_name(home, tmp_path):
    from seg_assets.core.errors import ConfigError
    from seg_assets.core.settings import Settings

    with pytest.raises(ConfigError, match=r"no dbt_project\.yml there"):
        runner.load_project(Settings(home=home, dbt_project=tmp_path))


def test_a_test_of_several_tables_is_a_check_of_the_one_that_is_made_last(home, ran):
    # A refresh makes one table after the other: a test of two, run with the first, failed before the second was made.
    settings, *_ = ran
    owner = {t.name: t.model for t in runner.load_project(settings).tests}
    assert owner["every_active_actor_has_a_lifetime"] == "user_lifetime"
    assert owner["every_category_profile_has_a_profile"] == "user_profiles"
    assert owner["every_link_leads_to_a_profile"] == "user_profiles"


def test_days_read_together_have_the_numbers_of_each_day_read_alone_and_days_without_rows_have_theirs(
    home, tmp_path, monkeypatch
):
    lake = Lake(tmp_path, START)
    builder = DayBuilder(lake, settings_of(home).dbt_project)
    days = [day_of(n) for n in range(4)]
    for n, day in enumerate(days):
        rows = [{"anonymous_id": f"a{k}", "user_id": f"u{k}", "linked_day": day_of(k + 1)} for k in range(n)]
        frame = pd.DataFrame(rows, columns=["anonymous_id", "user_id", "linked_day"])
        schema = model_docs(settings_of(home).dbt_project)["identity_links"].types
        known = {"raw_events:day": "x", "identity_links:yesterday": "x"}
        lake.publish_frame("identity_links", day, frame.reindex(columns=list(schema)), schema, inputs=known)
    shown = []
    for most in (1_000_000, 2, 0):
        monkeypatch.setattr(facts, "ROWS_AT_ONCE", most)
        with lake.connect() as con:
            shown.append(facts.days_facts(con, builder, "identity_links", days))
    assert shown[0] == shown[1] == shown[2]
    assert [(f.day, f.rows, f.numbers["linked_users"], f.numbers["new_links"]) for f in shown[0]] == [
        (day, n, n, int(n > 0)) for n, day in enumerate(days)
    ]
