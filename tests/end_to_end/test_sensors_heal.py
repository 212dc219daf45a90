"""Whatever a re-run heals, the sensors heal by themselves, also what they healed before: no run key stands in the way.

One shop, one instance that remembers every run, and one fault after the other; each comes twice where a memory of the
first time could hide the second.
"""

import shutil

import dagster as dg
import pytest

from seg_assets.lake.store import Lake
from seg_assets.loop import doctor, mending
from tests.end_to_end.shop import contents, day, differences, land, run, shop
from tests.soak.bench import STRATEGIES
from tests.soak.sensors import NotAtRestError, Sensors

DAYS = 8
LAST = DAYS - 1
MINUTES = 5


class World:
    def __init__(self, root) -> None:
        self.landing = root / "landing"
        self.strategies = root / "strategies"
        self.strategies.mkdir()
        shutil.copy(STRATEGIES / "value.yaml", self.strategies / "value.yaml")
        self.yaml = self.strategies / "value.yaml"
        land(self.landing, users=60, days=DAYS, scenario="plain")
        self.settings = shop(root / "home", self.landing, strategies=self.strategies, end_day=day(LAST), threads=1)
        self.lake = Lake.of(self.settings)
        self.instance = dg.DagsterInstance.ephemeral()
        self.oracle = self.by_replay(root / "oracle")
        self.sensors = Sensors(self.settings, self.instance)
        self.heal()

    def by_replay(self, home):
        """What a re-run of this landing zone and these strategies gives."""
        fresh = self.settings.model_copy(update={"home": home, "lake": home / "lake"})
        run(fresh, 0, LAST)
        return contents(fresh)

    def heal(self) -> None:
        self.sensors.until_rest(MINUTES)
        assert differences(contents(self.settings), self.oracle) == []
        assert doctor.examine(self.settings, verify=True) == []

    def lose(self, table, n):
        shutil.rmtree(self.lake.path(table, day(n)).parent)

    def file(self, n):
        (path,) = (self.landing / "events").glob(f"{day(n)}.jsonl")
        return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("healed"))


@pytest.mark.parametrize("table", ["raw_events", "raw_users", "raw_products", "rejected_events", "landed_files"])
def test_promise_19_a_landed_table_that_is_lost_is_made_again(world, table):
    world.lose(table, 3)
    world.heal()


@pytest.mark.parametrize("table", ["user_profiles", "user_segments", "segment_model", "drift_report"])
def test_promise_19_a_derived_table_that_is_lost_is_made_again(world, table):
    lost = next(d for d in world.lake.days(table) if d >= day(3))
    shutil.rmtree(world.lake.path(table, lost).parent)
    world.heal()


def test_promise_19_the_same_loss_comes_twice(world):
    for _ in range(2):
        world.lose("raw_users", LAST)
        world.heal()


@pytest.mark.parametrize("left", [("landed_files",), ("landed_files", "rejected_events", "raw_events")])
def test_promise_19_a_nightly_run_killed_between_two_landed_tables_is_finished(world, left):
    for folder in world.settings.lake.glob(f"*/day={day(LAST)}"):
        if folder.parent.name not in left:
            shutil.rmtree(folder)
    world.heal()


def test_promise_19_a_right_file_put_back_after_a_wrong_one_is_read_again_each_time(world, tmp_path):
    path, kept = world.file(LAST), tmp_path / "kept"
    for _ in range(2):
        path.rename(kept)
        path.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:20]))
        world.sensors.until_rest(MINUTES)
        assert differences(contents(world.settings), world.oracle)
        path.unlink()
        kept.rename(path)  # keeps its time
        world.heal()


def test_promise_19_a_file_that_is_refused_whole_fails_its_run_and_the_right_one_heals_without_a_hand(world, tmp_path):
    path, kept = world.file(2), tmp_path / "kept"
    path.rename(kept)
    path.write_text('{"nothing": 1}\n')
    with pytest.raises(NotAtRestError, match=r"not one of 1 lines was accepted.*mend that: the next attempt is in"):
        world.sensors.until_rest(10)
    path.unlink()
    kept.rename(path)
    world.heal()


def test_promise_19_a_strategy_edited_and_edited_back_gives_the_lake_of_before_each_time(world):
    text = world.yaml.read_text()
    for _ in range(2):
        world.yaml.write_text(text.replace("new_within_days: 2", "new_within_days: 3"))
        world.sensors.until_rest(MINUTES)
        assert differences(contents(world.settings), world.oracle)
        world.yaml.write_text(text)
        world.heal()


def test_promise_19_a_damaged_file_that_doctor_set_aside_is_made_again(world):
    path = world.lake.path("user_profiles", day(5))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])
    findings = doctor.examine(world.settings, verify=True)
    assert [(f.kind, f.table, f.first) for f in findings] == [("damaged", "user_profiles", day(5))]
    mending.set_aside(world.settings, findings)
    world.heal()


def test_promise_07_at_rest_nothing_is_asked_for_and_one_cause_had_one_run(world):
    before = len(world.sensors.keys)
    assert world.sensors.until_rest(MINUTES) == 0
    assert len(world.sensors.keys) == before == len(set(world.sensors.keys))
