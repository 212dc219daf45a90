"""The code location as Dagster loads it: assets, jobs, what is off until switched on, what a backfill reaches."""

import datetime as dt
import subprocess
import sys

import dagster as dg
import pytest

from seg_assets.build import build_defs
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.events.contract import RAW_USERS
from seg_assets.loop.replay import failures
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from studies import tables_doc

HEAVY = ("sklearn", "evidently", "dbt", "dagster_dbt", "scipy", "statsmodels", "plotly", "sqlalchemy")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    settings = Settings.from_env({}, home=tmp_path_factory.mktemp("home"), end_day=dt.date(2024, 3, 31))
    return build_defs(settings).get_repository_def()


def test_every_table_of_the_catalog_is_an_asset_in_its_room(repository):
    nodes = {node.key.to_user_string(): node for node in repository.asset_graph.asset_nodes}
    assert set(nodes) == {*TABLES, "segment_report"}
    for table in TABLES.values():
        assert nodes[table.name].group_name == table.room
    for name, node in nodes.items():
        assert node.partitions_def is not None, name
        assert node.owners, name
        assert node.kinds, name
        assert (node.description or "").strip(), name
        assert node.backfill_policy == dg.BackfillPolicy.single_run(), name


def test_the_dependencies_of_every_table_are_the_tables_that_its_spec_says_it_reads(repository):
    for node in repository.asset_graph.asset_nodes:
        name = node.key.to_user_string()
        if name in TABLES:
            assert {key.to_user_string() for key in node.parent_keys} == set(TABLES[name].tables_read), name


def test_the_page_about_tables_is_made_from_their_specs(repository):
    texts = {node.key.to_user_string(): node.description or "" for node in repository.asset_graph.asset_nodes}
    assert tables_doc.PAGE.read_text(encoding="utf-8") == tables_doc.page(texts), "run: make tables-doc"


def test_every_column_of_every_table_has_a_type_and_a_description(repository):
    for node in repository.asset_graph.asset_nodes:
        schema = node.metadata.get("dagster/column_schema")
        if node.key.to_user_string() == "segment_report":
            continue
        assert schema is not None, node.key
        for column in schema.schema.columns if hasattr(schema, "schema") else schema.columns:
            assert column.type, (node.key, column.name)
            assert column.description, (node.key, column.name)


def test_jobs_schedules_and_sensors_are_there_and_off(repository):
    assert {job.name for job in repository.get_all_jobs()} >= {"daily", "recluster", "refresh"}
    assert {s.name for s in repository.schedule_defs} == {"daily_schedule"}
    assert {s.name for s in repository.sensor_defs} == {"landing_sensor", "drift_sensor"}
    for item in (*repository.schedule_defs, *repository.sensor_defs):
        assert item.default_status.value == "STOPPED", item.name


def test_automation_switches_everything_on(tmp_path):
    settings = Settings.from_env({}, home=tmp_path, automation=True)
    repository = build_defs(settings).get_repository_def()
    for item in (*repository.schedule_defs, *repository.sensor_defs):
        assert item.default_status.value == "RUNNING", item.name


def test_loading_the_code_location_imports_nothing_heavy(repository, tmp_path):
    """With the dbt manifest prepared, as it is from the second load on."""
    code = (
        "import sys; from seg_assets.core.settings import Settings; from seg_assets.build import build_defs;"
        f"s = Settings.from_env({{}}, home={str(tmp_path)!r}); build_defs(s).get_repository_def();"
        "print(sorted({m.split('.')[0] for m in sys.modules}))"
    )
    for _ in range(2):
        out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(out.stdout.strip().splitlines()[-1]))
    assert loaded.isdisjoint(HEAVY)


def test_a_backfill_of_five_days_is_one_run_of_the_same_five_days_in_every_room(repository):
    """Every asset has the same days, and reads of each table the day of the same name.

    A mapping that reached back on another table made it six days, and the sixth had no inputs; a mapping on a table's
    own yesterday broke the backfill into one run per chained table (both seen in the UI).
    """
    graph = repository.asset_graph
    (partitions,) = {node.partitions_def for node in graph.asset_nodes}
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    for node in graph.asset_nodes:
        assert node.key not in node.parent_keys, node.key
        for parent in node.parent_keys:
            mapping = graph.get_partition_mapping(node.key, parent)
            assert mapping == dg.TimeWindowPartitionMapping(), (node.key, parent)


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({}, home=tmp_path / "shop", end_day=dt.date(2024, 3, 31))


def test_a_user_merges_the_code_location_into_definitions_of_their_own(settings):
    """Their assets read ours; the daily run does not take them along, whatever partitions they have."""

    @dg.asset(deps=["user_segments"])
    def mailing_list(shop: ShopResource) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"lake": str(shop.lake().root)})

    mine = dg.Definitions(
        assets=[mailing_list],
        jobs=[dg.define_asset_job("mail", selection=["mailing_list"])],
        resources={"mailer": object()},
    )
    merged = dg.Definitions.merge(build_defs(settings), mine)
    repository = merged.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {"daily", "recluster", "refresh", "mail"}
    for name in ("daily", "refresh"):
        selected = repository.get_job(name).asset_layer.selected_asset_keys
        assert dg.AssetKey("user_segments") in selected
        assert dg.AssetKey("mailing_list") not in selected
    result = merged.resolve_job_def("mail").execute_in_process(instance=dg.DagsterInstance.ephemeral())
    (materialized,) = result.asset_materializations_for_node("mailing_list")
    assert materialized.metadata["lake"].value == str(settings.lake)


def test_a_user_with_an_executor_of_their_own_leaves_ours_out(settings):
    mine = dg.Definitions(executor=dg.multiprocess_executor)
    with pytest.raises(dg.DagsterInvariantViolationError, match="executor"):
        dg.Definitions.merge(build_defs(settings), mine)
    assert dg.Definitions.merge(build_defs(settings, executor=None), mine).executor is dg.multiprocess_executor


HEAD = ",".join(c for c in RAW_USERS if c != "extra")


def test_a_resource_that_is_given_wins_over_ours(settings, tmp_path):
    """A run writes into the shop of the resource, not into the one that the location was built for."""
    other = settings.model_copy(update={"lake": tmp_path / "elsewhere"})
    shop = ShopResource(environment=other.environment())
    job = build_defs(settings, resources={"shop": shop}).resolve_job_def("daily")
    for home in (settings.landing, other.landing):
        (home / "users").mkdir(parents=True, exist_ok=True)
        (home / "users" / "2024-01-01.csv").write_text(f"{HEAD}\nu1{',' * HEAD.count(',')}\n")
    result = job.execute_in_process(
        instance=dg.DagsterInstance.ephemeral(),
        partition_key="2024-01-01",
        asset_selection=[dg.AssetKey("raw_users")],
        raise_on_error=False,
    )
    assert result.success, list(failures(result))
    assert list(other.lake.rglob("*.parquet"))
    assert not settings.lake.exists()


def test_what_is_given_replaces_what_has_its_name_and_stands_beside_the_rest(settings):
    partitions = daily_partitions(settings)

    @dg.asset(key="segment_report", deps=["segment_profiles"], partitions_def=partitions, group_name="mine")
    def my_report() -> None: ...

    @dg.asset(partitions_def=partitions)
    def my_table() -> None: ...

    @dg.asset_check(asset="user_segments")
    def my_check() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.sensor(name="landing_sensor", job_name="daily")
    def my_sensor() -> None: ...

    nightly = dg.define_asset_job("daily", selection=["raw_users", "my_table"])
    weekly = dg.ScheduleDefinition(name="weekly", job_name="refresh", cron_schedule="0 4 * * 1")
    plain = build_defs(settings)
    given = build_defs(
        settings,
        assets=[my_report, my_table],
        asset_checks=[my_check],
        jobs=[nightly],
        schedules=[weekly],
        sensors=[my_sensor],
    )
    assert len(given.assets) == len(plain.assets) + 1
    repository = given.get_repository_def()
    report = dg.AssetKey("segment_report")
    assert repository.assets_defs_by_key[report].group_names_by_key == {report: "mine"}
    assert {s.name for s in repository.schedule_defs} == {"daily_schedule", "weekly"}
    assert {s.name for s in repository.sensor_defs} == {"landing_sensor", "drift_sensor"}
    assert repository.get_sensor_def("landing_sensor").description is None
    selected = repository.get_job("daily").asset_layer.selected_asset_keys
    assert selected == {dg.AssetKey("raw_users"), dg.AssetKey("my_table")}


def test_no_step_leaves_its_retries_to_a_policy_of_dagster_which_retries_a_run_that_is_stopped(settings):
    steps = [asset.node_def for asset in build_defs(settings).assets if isinstance(asset, dg.AssetsDefinition)]
    assert len(steps) > 8
    assert {step.name: step.retry_policy for step in steps} == dict.fromkeys(step.name for step in steps)
