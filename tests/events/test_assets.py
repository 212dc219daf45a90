"""The events room in Dagster: runs of one day and of ranges, checks, and the landing sensor."""

import dataclasses
import datetime as dt
import os
import uuid

import dagster as dg
import pytest

from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.events import assets, changes, contract, sensor
from seg_assets.events.reader import Reader
from seg_assets.lake.store import Lake
from seg_assets.loop.staleness import Snapshot
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.tags import RANGE_END, RANGE_START, of_range
from tests.events.landing_zone import ORDERS

YAML = (
    ORDERS
    + """
users: {files: 'users/{day}.csv', columns: {user_id: id, region: region}}
products: {files: products.csv, columns: {product_id: id, category: category}}
"""
)
FIRST = dt.date(2024, 3, 1)
HEAD = "id,customer,at,kind,amount\n"


class World:
    """A shop of five days in a temporary folder, its definitions and an instance."""

    def __init__(self, root) -> None:
        (root / "source.yaml").write_text(YAML)
        self.settings = Settings(
            home=root / "home", landing=root / "landing", source=str(root / "source.yaml"), start_day=FIRST,
            end_day=dt.date(2024, 3, 5), threads=1,
        )  # fmt: skip
        self.landing = self.settings.landing
        self.lake = Lake.of(self.settings)
        self.clock = 1_700_000_000
        self.instance = dg.DagsterInstance.ephemeral()
        partitions = daily_partitions(self.settings)
        job = dg.define_asset_job("daily", selection=dg.AssetSelection.all())
        (self.sensor,) = sensor.build_sensors(self.settings, job)
        self.defs = dg.Definitions(
            assets=assets.build_assets(self.settings, partitions),
            jobs=[job],
            sensors=[self.sensor],
            resources={"shop": ShopResource(environment=self.settings.environment())},
            executor=dg.in_process_executor,
        )
        self.put("products.csv", "id,category\np,books\n")

    def put(self, name: str, text: str) -> None:
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # modification times move on by a clock of our own: two writes in one tick of the disk's are different
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def land(self, *days: int, extra: str = "") -> None:
        for d in days:
            self.put(f"orders/2024-03-0{d}.csv", HEAD + f"{d},u{d},2024-03-0{d} 10:00,purchase,{d}\n" + extra)

    def run(self, first: int, last: int, *tables: str, forget: bool = False) -> dg.ExecuteInProcessResult:
        tags = of_range(f"2024-03-0{first}", f"2024-03-0{last}")
        job = self.defs.get_repository_def().get_job("daily")
        steps = sorted(set(assets.READERS.values())) if forget else []
        return job.execute_in_process(
            instance=self.instance,
            tags=tags,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(t) for t in tables] or None,
            run_config={"ops": {step: {"config": {"forget_vanished": True}} for step in steps}},
        )

    def tick(self, cursor: str | None = None):
        context = dg.build_sensor_context(cursor=cursor, instance=self.instance)
        return self.sensor.evaluate_tick(context)

    def changed(self) -> list[int]:
        return [d.day for d in self.changes()]

    def changes(self) -> dict[dt.date, tuple[str, ...]]:
        days = [dt.date(2024, 3, n) for n in range(1, 6)]
        with Reader.of(self.settings) as reader:
            return {d: change.tables for d, change in changes.changed_days(reader, self.lake, days).items()}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def asked(result) -> list[tuple[str, str]]:
    return [(r.tags[RANGE_START], r.tags[RANGE_END]) for r in result.run_requests or []]


def test_a_range_is_one_run_with_metadata_and_check_status_per_day(world):
    world.land(1, 2, 3)
    world.land(2, extra="bad line\n")
    assert world.run(1, 3).success
    assert [d.day for d in world.lake.days("raw_events")] == [1, 2, 3]
    records = world.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("raw_events"), asset_partitions=["2024-03-02"]), limit=1
    )
    metadata = records.records[0].asset_materialization.metadata
    assert (metadata["lines_read"].value, metadata["lines_rejected"].value, metadata["events"].value) == (2, 1, 1)
    assert "wrong_number_of_columns" in metadata["rejection_reasons"].value
    assert "orders/2024-03-02.csv" in metadata["files"].value
    rejected = world.lake.read("rejected_events", dt.date(2024, 3, 2))
    assert rejected.to_dict("records") == [
        {"source_file": "orders/2024-03-02.csv", "line": 3, "reason": "wrong_number_of_columns", "field": None,
         "original": "bad line"}
    ]  # fmt: skip


def test_a_day_of_which_nothing_is_accepted_stops_what_is_downstream(world):
    world.put("orders/2024-03-01.csv", "a,b\n1,2\n")
    result = world.run(1, 1)
    checks = {
        e.check_name: (e.passed, e.severity)
        for e in result.get_asset_check_evaluations()
        if e.asset_key == dg.AssetKey("raw_events")
    }
    assert checks["rejected_share_is_small"] == (False, dg.AssetCheckSeverity.ERROR)
    assert checks["lines_reconcile"][0]
    assert checks["day_is_not_empty"] == (False, dg.AssetCheckSeverity.WARN)
    assert not result.success


def test_a_delivery_without_one_accepted_line_that_is_taken_away_re_opens_its_day(world):
    world.land(1, 2)
    world.put("orders/2024-03-01.csv", "a,b\n1,2\n")
    world.run(1, 2)
    assert world.changed() == [3, 4, 5]
    (world.landing / "orders/2024-03-01.csv").unlink()
    assert world.changed() == [1, 3, 4, 5]
    world.put("orders/2024-03-01.mended.csv", HEAD + "1,u1,2024-03-01 10:00,purchase,1\n")
    assert world.run(1, 1).success
    assert world.changed() == [3, 4, 5]


def test_a_day_without_a_file_fails_clearly_and_keeps_the_days_before(world):
    world.land(1, 2)
    result = world.run(1, 3)
    assert not result.success
    message = " ".join(str(e.step_failure_data.error) for e in result.all_events if e.is_step_failure)
    assert "no data yet: feed orders has no landing file for 2024-03-03" in message
    assert [d.day for d in world.lake.days("raw_events")] == [1, 2]


def test_promise_05_days_whose_files_changed_are_named_and_no_others(world):
    world.land(1, 2, 3, 4, 5)
    assert world.changed() == [1, 2, 3, 4, 5]
    assert world.run(1, 5).success
    assert world.changed() == []
    world.land(2)  # written again with the same content: another time, the same digest
    assert world.changed() == []
    world.put("orders/2024-03-03.late.csv", HEAD + "99,u,2024-03-03 11:00,purchase,9\n")
    assert world.changed() == [3]
    assert world.run(3, 3).success
    assert world.changed() == []
    assert len(world.lake.read("raw_events", dt.date(2024, 3, 3))) == 2


def test_promise_05_a_late_file_gives_the_same_events_as_one_on_time(world, tmp_path):
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    late = "99,u,2024-03-01 11:00,purchase,9\n"
    world.land(1)
    assert world.run(1, 1).success
    world.put("orders/2024-03-01.late.csv", HEAD + late)
    assert world.run(1, 1).success
    other.land(1, extra=late)
    assert other.run(1, 1).success
    day = dt.date(2024, 3, 1)
    assert (
        world.lake.provenance("raw_events", day).content_hash == other.lake.provenance("raw_events", day).content_hash
    )


def test_promise_05_users_that_change_late_re_open_their_day_and_make_the_days_that_carry_them_stale(world):
    world.land(1, 2, 3, 4)
    world.put("users/2024-03-01.csv", "id,region\nu1,north\n")
    assert world.run(1, 4).success
    assert world.changed() == [5]
    world.put("users/2024-03-02.csv", "id,region\nu1,south\n")
    assert world.changed() == [2, 5]
    assert world.run(2, 2).success
    assert world.changed() == [5]
    stale = Snapshot(world.lake, {}).dirty()["raw_users"]
    assert [d.day for d in stale] == [3, 4]
    assert world.run(3, 4).success
    assert list(world.lake.read("raw_users", dt.date(2024, 3, 4))["region"]) == ["south"]


def test_landing_files_archived_after_they_were_read_do_not_reopen_their_day(world):
    world.land(1, 2)
    world.put("orders/2024-03-01.more.csv", HEAD + "7,u,2024-03-01 11:00,purchase,9\n")
    assert world.run(1, 2).success
    (world.landing / "orders/2024-03-01.csv").unlink()
    assert world.changed() == [3, 4, 5], "archived in part"
    (world.landing / "orders/2024-03-01.more.csv").unlink()
    assert world.changed() == [3, 4, 5]


def test_promise_04_users_that_come_after_a_days_events_were_archived_do_not_empty_it(world):
    world.land(1, 2, 3)
    assert world.run(1, 3).success
    for day in (1, 2):
        (world.landing / f"orders/2024-03-0{day}.csv").unlink()
    world.put("users/2024-03-01.csv", "id,region\nu1,north\n")
    world.put("products.csv", "id,category\np,games\n")
    users, products, everything = ("raw_users", "raw_products"), ("raw_products",), changes.LANDED
    assert list(world.changes().values()) == [users, products, *[everything] * 3]
    cursor = world.tick().cursor
    # Beside whole days, so that only landing tables are asked for.
    requests = world.tick(cursor).run_requests
    assert [[k.to_user_string() for k in r.asset_selection or []] for r in requests] == [
        list(users), list(products), list(everything),
    ]  # fmt: skip
    assert world.run(1, 1, *users).success
    assert world.run(2, 2, *users).success
    assert [len(world.lake.read("raw_events", dt.date(2024, 3, d))) for d in (1, 2)] == [1, 1]
    assert list(world.lake.read("raw_users", dt.date(2024, 3, 2))["region"]) == ["north"]
    assert [d.day for d in world.changes()] == [3, 4, 5]


def lines_of(world, day: int) -> tuple[list, list]:
    """Refused lines of a day, and read, accepted and rejected lines of each of its files."""
    d = dt.date(2024, 3, day)
    refused = world.lake.read("rejected_events", d)[["source_file", "line", "reason", "original"]]
    accounts = world.lake.read("landed_files", d)[["source_file", "lines_read", "accepted", "rejected"]]
    return refused.to_numpy().tolist(), accounts.to_numpy().tolist()


@pytest.mark.parametrize("order", [["raw_users", "raw_products"], ["raw_products", "raw_users"]])
def test_promise_04_refused_lines_of_users_and_products_read_alone_stay_with_those_of_the_events(world, order):
    world.land(1, 2, extra="bad line\n")
    world.put("users/2024-03-02.csv", "id,region\nu1,north\n,nowhere\n")
    assert world.run(1, 2).success
    events = [["orders/2024-03-02.csv", 3, "wrong_number_of_columns", "bad line"]]
    assert lines_of(world, 2)[0] == [*events, ["users/2024-03-02.csv", 3, "missing_id", ",nowhere"]]
    (world.landing / "orders/2024-03-02.csv").unlink()
    world.put("users/2024-03-02.csv", "id,region\nu1,north\nu2,south\n,first\n,second\n")
    world.put("products.csv", "id,category\np,books\n,none\n")
    for table in order:
        assert world.run(2, 2, table).success
    refused, accounts = lines_of(world, 2)
    assert refused == [
        *events,
        ["products.csv", 3, "missing_id", ",none"],
        ["users/2024-03-02.csv", 4, "missing_id", ",first"],
        ["users/2024-03-02.csv", 5, "missing_id", ",second"],
    ]
    assert accounts == [
        ["orders/2024-03-02.csv", 2, 1, 1],
        ["products.csv", 2, 1, 1],
        ["users/2024-03-02.csv", 4, 2, 2],
    ]
    before = world.lake.path("rejected_events", dt.date(2024, 3, 2)).stat()
    assert world.run(2, 2, "raw_users", "raw_products").success
    assert world.lake.path("rejected_events", dt.date(2024, 3, 2)).stat() == before, "as it is, it is not written again"


def test_users_read_before_any_event_have_their_account_and_a_day_read_whole_is_as_it_would_have_been(world):
    world.land(1)
    world.put("users/2024-03-01.csv", "id,region\nu1,north\n,nowhere\n")
    assert world.run(1, 1, "raw_users").success
    refused, accounts = lines_of(world, 1)
    assert refused == [["users/2024-03-01.csv", 3, "missing_id", ",nowhere"]]
    assert accounts == [["users/2024-03-01.csv", 2, 1, 1]]
    assert world.run(1, 1).success
    for name in ("landed_files", "rejected_events"):
        assert world.lake.provenance(name, FIRST).rows == {"landed_files": 3, "rejected_events": 1}[name]


def test_a_link_in_the_landing_folder_is_followed_wherever_it_leads(world, tmp_path):
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(HEAD + "1,u1,2024-03-01 10:00,purchase,1\n")
    (world.landing / "orders").mkdir(parents=True)
    (world.landing / "orders" / "2024-03-01.csv").symlink_to(elsewhere)
    assert world.run(1, 1).success
    assert world.lake.read("raw_events", FIRST)["event_id"].tolist() == ["1"]
    assert world.changed() == [2, 3, 4, 5]
    elsewhere.write_text(HEAD + "1,u1,2024-03-01 10:00,purchase,2\n")
    os.utime(elsewhere, (world.clock + 9, world.clock + 9))
    assert world.changed() == [1, 2, 3, 4, 5], "what it leads to decides whether it changed"


def test_the_ui_is_handed_no_id_of_a_person_no_text_of_theirs_and_no_markup_of_the_files(world):
    markup = "![a](http://outside.example/a.png)"
    world.land(1, extra=f"secret line {markup}\n" + f"{markup},{markup},2024-03-01 10:00,purchase,1\n")
    world.put("users/2024-03-01.csv", f"id,region\nsecret-user,{markup}\n")
    world.put("products.csv", f"id,category\np,{markup}\n")
    assert world.run(1, 1).success
    shown = {}
    for table in assets.READERS:
        (record,) = world.instance.fetch_materializations(dg.AssetKey(table), limit=1).records
        for key, value in record.asset_materialization.metadata.items():
            shown[f"{table}.{key}"] = str(value.value)
    everything = "\n".join(shown.values())
    assert "secret" not in everything
    assert "u1" not in everything
    assert "](" not in everything
    # The product's category is shown, as text.
    assert "`![a]\u200b(http://outside.example/a.png)`" in shown["raw_products.sample"]
    assert "2024-03-01 10:00" in shown["raw_events.sample"]


def test_promise_04_a_late_file_beside_archived_ones_is_refused_and_nothing_is_lost(world):
    world.land(1, 2)
    assert world.run(1, 2).success
    tables = ("landed_files", "rejected_events", "raw_events")
    before = [world.lake.provenance(t, FIRST) for t in tables]
    (world.landing / "orders/2024-03-01.csv").unlink()
    world.put("orders/2024-03-01.late.csv", HEAD + "99,u,2024-03-01 11:00,purchase,9\n")
    assert world.changed() == [1, 3, 4, 5]
    result = world.run(1, 1)
    message = " ".join(str(e.step_failure_data.error) for e in result.all_events if e.is_step_failure)
    assert "2024-03-01: read anew it would lose 1 of its events" in message
    assert "no longer in" in message
    assert "orders/2024-03-01.csv. Put them back" in message
    assert "--forget-vanished" in message
    assert [world.lake.provenance(t, FIRST) for t in tables] == before
    # The same events in another file are no loss, and a person may say that the old ones are to be forgotten.
    world.put("orders/2024-03-01.again.csv", HEAD + "1,u1,2024-03-01 10:00,purchase,1\n")
    assert world.run(1, 1).success
    assert len(world.lake.read("raw_events", FIRST)) == 2
    (world.landing / "orders/2024-03-01.again.csv").unlink()
    world.put("orders/2024-03-01.late.csv", HEAD + "99,u,2024-03-01 11:00,purchase,8\n")
    assert not world.run(1, 1).success
    assert world.run(1, 1, forget=True).success
    assert list(world.lake.read("raw_events", FIRST)["event_id"]) == ["99"]


def test_promise_04_users_are_not_carried_past_a_day_whose_users_file_is_gone(world):
    world.land(1, 2)
    world.put("users/2024-03-01.csv", "id,region\nu1,north\n")
    world.put("users/2024-03-02.csv", "id,region\nu2,south\n")
    assert world.run(1, 2).success
    (world.landing / "users/2024-03-02.csv").unlink()
    world.put("users/2024-03-01.csv", "id,region\nu1,west\n")
    assert world.run(1, 1).success
    for chosen in ((), ("raw_users",)):
        result = world.run(2, 2, *chosen)
        message = " ".join(str(e.step_failure_data.error) for e in result.all_events if e.is_step_failure)
        assert "2024-03-02: read anew it would lose users of it" in message
    assert len(world.lake.read("raw_users", dt.date(2024, 3, 2))) == 2


def test_another_mapping_makes_every_day_stale(world, tmp_path):
    world.land(1, 2)
    assert world.run(1, 2).success
    (tmp_path / "source.yaml").write_text(YAML.replace("amount: amount", "amount: amount::decimal(18,2) * 2"))
    assert world.changed() == [1, 2, 3, 4, 5]


def test_promise_03_running_a_day_again_changes_nothing(world):
    world.land(1)
    assert world.run(1, 1).success
    tables = ("raw_events", "rejected_events", "landed_files", "raw_users", "raw_products")
    day = dt.date(2024, 3, 1)
    before = [world.lake.provenance(t, day) for t in tables]
    assert world.run(1, 1).success
    assert [world.lake.provenance(t, day) for t in tables] == before


def test_the_sensor_takes_a_day_when_its_files_look_the_same_on_two_ticks(world):
    world.land(1, 2, 3)
    first = world.tick()
    assert asked(first) == []
    assert "taken when they look the same at the next tick: 2024-03-01 .. 2024-03-03" in first.skip_message
    world.land(3, extra="9,u,2024-03-03 11:00,purchase,1\n")  # still growing
    second = world.tick(first.cursor)
    assert asked(second) == [("2024-03-01", "2024-03-02")]
    assert second.run_requests[0].tags["seg/why"] == "new: 2024-03-01 .. 2024-03-02"
    run = dg.DagsterRun("daily", tags=dict(second.run_requests[0].tags), status=dg.DagsterRunStatus.STARTED)
    world.instance.add_run(run)
    waiting = world.tick(second.cursor)
    assert asked(waiting) == []
    assert f"read by run {run.run_id[:8]} now: 2024-03-01 .. 2024-03-02" in waiting.skip_message
    assert "waits for the day before it, which was never read" in waiting.skip_message
    world.instance.delete_run(run.run_id)
    assert world.run(1, 2).success
    third = world.tick(waiting.cursor)
    assert asked(third) == [("2024-03-03", "2024-03-03")]
    assert second.run_requests[0].run_key != third.run_requests[0].run_key


def test_the_sensor_asks_once_and_rests_when_all_is_read(world):
    world.land(1, 2)
    cursor = world.tick().cursor
    asking = world.tick(cursor)
    assert asked(asking) == [("2024-03-01", "2024-03-02")]
    # The same state again has the same run key, so that Dagster launches one run.
    again = world.tick(asking.cursor)
    assert [r.run_key for r in again.run_requests] == [r.run_key for r in asking.run_requests]
    assert world.run(1, 2).success
    rest = world.tick(again.cursor)
    assert asked(rest) == []
    assert "every landed day has been read" in rest.skip_message
    # and a lost cursor asks for nothing that was read
    fresh = world.tick(world.tick().cursor)
    assert asked(fresh) == []


def test_the_sensor_re_reads_a_past_day_whose_file_changed(world):
    world.land(1, 2, 3)
    assert world.run(1, 3).success
    cursor = world.tick(world.tick().cursor).cursor
    world.put("orders/2024-03-02.late.csv", HEAD + "99,u,2024-03-02 11:00,purchase,9\n")
    waiting = world.tick(cursor)
    assert asked(waiting) == []
    asking = world.tick(waiting.cursor)
    assert asked(asking) == [("2024-03-02", "2024-03-02")]
    # The run carries the reason into the UI.
    (request,) = asking.run_requests
    assert request.tags["seg/why"] == "landing files changed after they were read: 2024-03-02"


def test_the_sensor_asks_for_landing_tables_alone_behind_days_that_wait_for_the_drift_sensor(world):
    world.land(1, 2)
    job = world.defs.get_job_def("daily")
    (behind,) = sensor.build_sensors(world.settings, job, lambda lake: True)
    cursor = world.tick().cursor
    (whole,) = world.tick(cursor).run_requests
    assert whole.asset_selection is None
    (landing,) = behind.evaluate_tick(dg.build_sensor_context(cursor=cursor, instance=world.instance)).run_requests
    assert {key.to_user_string() for key in landing.asset_selection} == set(changes.LANDED)
    # Beside another run of our tables, too.
    world.instance.add_run(
        dg.DagsterRun("daily", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, asset_selection=None)
    )
    (landing,) = world.tick(cursor).run_requests
    assert {key.to_user_string() for key in landing.asset_selection} == set(changes.LANDED)


def test_the_sensor_says_which_days_wait_and_for_what(world):
    world.land(1, 4)
    world.put("users/2024-03-02.csv", "id,region\nu1,north\n")
    world.put("orders/2024-03-09.csv", HEAD)
    result = world.tick(world.tick().cursor)
    assert asked(result) == [("2024-03-01", "2024-03-01")]
    assert world.run(1, 1).success
    message = world.tick(result.cursor).skip_message
    assert "no data yet from feed orders: 2024-03-02" in message
    assert "waits for the day before it, which was never read (start_day sets the first): 2024-03-04" in message
    assert "outside the calendar's closed days: 2024-03-09" in message


def test_the_sensor_says_what_is_wrong_with_the_landing_zone(world, tmp_path):
    world.settings.landing.rename(tmp_path / "gone")
    result = world.tick('{"seen": {}}')
    assert "does not exist" in result.skip_message
    assert result.cursor == '{"seen": {}}'


def test_every_table_of_the_room_has_its_contracts_columns(world):
    world.land(1)
    assert world.run(1, 1).success
    for table in ("raw_events", "rejected_events", "landed_files", "raw_users", "raw_products"):
        schema = getattr(contract, table.upper())
        with world.lake.connect() as con:
            path = world.lake.path(table, dt.date(2024, 3, 1))
            rows = con.execute(f"describe select * from read_parquet('{path}', hive_partitioning = false)").fetchall()
        assert {r[0]: r[1] for r in rows} == schema
        (spec,) = [s for a in world.defs.assets for s in a.specs if s.key == dg.AssetKey(table)]
        described = spec.metadata["dagster/column_schema"].columns
        assert [c.name for c in described] == list(schema)
        assert all(c.description for c in described)
        assert spec.owners
        assert spec.kinds
        assert spec.group_name == "events"


def of_the_old_kind(world, day, monkeypatch):
    """Write a day's events and accounts as version 1 of the code would have."""
    with world.lake.connect() as con:
        new_id = "'line-old-' || row_number() over () as event_id"
        of_old = f"select * replace ({new_id}) from {world.lake.scan('raw_events', [day])}"
        con.execute(f"create or replace temp table of_old as {of_old}")
        for table, rows in (
            ("raw_events", "from of_old"),
            ("landed_files", f"from {world.lake.scan('landed_files', [day])}"),
        ):
            was = world.lake.provenance(table, day)
            with monkeypatch.context() as older:
                older.setitem(TABLES, table, dataclasses.replace(TABLES[table], code_version="1"))
                world.lake.publish(con, table, day, rows, inputs=was.inputs, extra=was.extra)
    assert TABLES["raw_events"].code_version != world.lake.provenance("raw_events", day).code_version == "1"


def nameless_world(tmp_path, monkeypatch):
    """A shop whose lines have no id, with two equal lines on the first day."""
    monkeypatch.setitem(globals(), "YAML", YAML.replace("      event_id: id\n", ""))
    world = World(tmp_path)
    world.put("orders/2024-03-01.csv", EXPORTED + "5 March,u1,2024-03-01 10:00,purchase,7\n" * 2)
    world.land(2)
    assert world.run(1, 2).success
    return world


EXPORTED = HEAD.replace("id,", "exported,")


def ids_of(world, day):
    return world.lake.read_arrow("raw_events", day, ["event_id"])["event_id"].to_pylist()


def test_a_lake_with_ids_of_the_old_kind_is_read_anew_day_by_day_and_doubles_nothing(tmp_path, monkeypatch):
    # 0.2 made ids of what is not mapped too, so that the lines of a second delivery were other events.
    world, day = nameless_world(tmp_path, monkeypatch), dt.date(2024, 3, 1)
    ids = ids_of(world, day)
    of_the_old_kind(world, day, monkeypatch)
    assert 1 in world.changed()
    world.put("orders/2024-03-01.again.csv", EXPORTED + "6 March,u1,2024-03-01 10:00,purchase,7\n" * 2)
    assert world.run(1, 2).success
    assert ids_of(world, day) == ids
    assert [float(a) for a in world.lake.read("raw_events", day)["amount"]] == [7, 7]
    assert world.lake.provenance("raw_events", day).code_version == TABLES["raw_events"].code_version


def test_a_day_of_the_old_kind_whose_files_are_archived_is_brought_forward_and_knows_its_files_again(
    tmp_path, monkeypatch
):
    world, day = nameless_world(tmp_path, monkeypatch), dt.date(2024, 3, 1)
    ids, path = ids_of(world, day), world.landing / "orders/2024-03-01.csv"
    of_the_old_kind(world, day, monkeypatch)
    content = path.read_text()
    path.unlink()
    assert 1 in world.changed()
    assert world.run(1, 1).success
    assert ids_of(world, day) == ids
    assert {t: world.lake.provenance(t, day).code_version for t in changes.LANDED} == {
        t: TABLES[t].code_version for t in changes.LANDED
    }
    assert 1 not in world.changed()
    # The archived file comes back under another name: the same events, no loss.
    world.put("orders/2024-03-01.back.csv", content)
    assert world.run(1, 1).success
    assert ids_of(world, day) == ids


def test_promise_05_a_second_export_re_opens_the_days_that_it_changes_and_no_others(tmp_path):
    shop = World(tmp_path)
    (tmp_path / "source.yaml").write_text("based_on: shopify_orders_csv\ncurrency: EUR\n")
    head = "Name,Email,Financial Status,Currency,Created at,Lineitem quantity,Lineitem name,Lineitem price,"
    head += "Refunded Amount\n"
    orders = [
        f"#{n},u{n}@x.example,paid,EUR,2024-03-0{n} 10:00:00 +0000,1,cup,10.00,0.00\n"
        f"#{n},,,,,2,pot,3.00,\n"
        for n in (1, 2, 3)
    ]  # fmt: skip
    shop.put("orders_export_2024-03-03.csv", head + "".join(orders))
    assert shop.run(1, 5).success
    assert shop.changed() == []
    hashes = [shop.lake.provenance("raw_events", dt.date(2024, 3, n)).content_hash for n in range(1, 6)]
    # The same state again, cut in the middle of an order: lines are counted where they were told first.
    text = head + orders[0] + orders[1]
    shop.put("orders_export_2024-03-04.csv", text)
    # The first day of the calendar accounts for repeats.
    assert shop.changed() == [1]
    # One order has changed, and money was given back on the day of the delivery.
    given_back = "".join(orders).replace("02 10:00:00 +0000,1,cup,10.00,0.00", "02 10:00:00 +0000,1,cup,10.00,4.00")
    shop.put("orders_export_2024-03-05.csv", head + given_back)
    assert shop.changed() == [1, 2, 5]
    assert shop.run(1, 5).success
    again = [shop.lake.provenance("raw_events", dt.date(2024, 3, n)).content_hash for n in range(1, 6)]
    assert [n for n in range(1, 6) if again[n - 1] != hashes[n - 1]] == [5]
    columns = ["lines_read", "events"]
    files = shop.lake.read_arrow("landed_files", dt.date(2024, 3, 5), columns).to_pylist()
    assert [(f["lines_read"], f["events"]) for f in files] == [(0, 1)]
