"""Late files by hand: days that are not neighbours, a late day beside today's, a day of which nothing is accepted."""

import dataclasses
import datetime as dt
import os
import shutil

import dagster as dg
import pytest

from seg_assets.build import build_defs
from seg_assets.core.errors import ConfigError
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.loop import doctor
from seg_assets.loop.replay import RunFailedError, _Runner, replay
from seg_assets.segments.decisions.store import decisions
from tests.end_to_end.shop import START, contents, day, differences, shop
from tests.soak.bench import STRATEGIES as SOAK_STRATEGIES

SOURCE = """
name: orders
feeds:
  orders:
    files: ["{day}.csv", "{day}.*.csv"]
    event_type: purchase
    columns: {event_id: id, user_id: u, event_time: t, amount: amount, category: c}
"""
HEAD = "id,u,t,amount,c\n"
DAYS = 5


class Till:
    """A shop whose twenty users buy once a day, but for what a test adds."""

    def __init__(self, root) -> None:
        (root / "landing").mkdir(parents=True)
        (root / "orders.yaml").write_text(SOURCE)
        self.landing = root / "landing"
        self.settings = shop(
            root / "home", self.landing, source=str(root / "orders.yaml"), end_day=day(DAYS - 1), threads=1
        )
        self.lake = Lake.of(self.settings)
        self.instance = dg.DagsterInstance.ephemeral()

    def land(self, *days: int) -> None:
        for n in days:
            rows = (f"{n}-{k},u{k},{day(n)}T10:00:00Z,{k + n}.00,toys\n" for k in range(20))
            (self.landing / f"{day(n)}.csv").write_text(HEAD + "".join(rows))

    def late(self, n: int, user: str) -> None:
        (self.landing / f"{day(n)}.late.csv").write_text(HEAD + f"late-{n},{user},{day(n)}T11:00:00Z,5,books\n")

    def replay(self, last: int, **options):
        return replay(self.settings, START, day(last), build=build_defs, instance=self.instance, **options)


@pytest.fixture
def till(tmp_path):
    return Till(tmp_path / "till")


def assert_as_if_on_time(till: Till, tmp_path, *late: tuple[int, str]) -> None:
    other = Till(tmp_path / "on time")
    other.land(*range(DAYS))
    for n, user in late:
        other.late(n, user)
    other.replay(DAYS - 1)
    assert differences(contents(till.settings), contents(other.settings)) == []


@pytest.mark.parametrize("live", [False, True])
def test_promise_05_a_late_purchase_beside_todays_file_gives_the_lake_of_files_on_time(till, tmp_path, live):
    till.land(*range(DAYS - 1))
    till.replay(DAYS - 2)
    till.late(1, "u3")
    till.land(DAYS - 1)
    till.replay(DAYS - 1, live=live)
    assert_as_if_on_time(till, tmp_path, (1, "u3"))
    assert till.replay(DAYS - 1).steps == []


def test_promise_05_late_files_of_days_that_are_not_neighbours_give_the_lake_of_files_on_time(till, tmp_path):
    till.land(*range(DAYS))
    till.replay(DAYS - 1)
    till.late(1, "newcomer")
    till.late(3, "u1")
    till.replay(DAYS - 1)
    assert_as_if_on_time(till, tmp_path, (1, "newcomer"), (3, "u1"))


def test_a_day_made_by_hand_from_stale_ones_says_which_come_first(till, tmp_path):
    till.land(*range(DAYS - 1))
    till.replay(DAYS - 2)
    till.late(1, "u3")
    till.land(DAYS - 1)
    runner = _Runner(build_defs(till.settings), till.instance, lambda text: None)
    runner.run("daily", day(1), day(1), "late")
    with pytest.raises(RunFailedError, match=r"Earlier days are not up to date .*--from 2024-01-03 --to 2024-01-04"):
        runner.run("daily", day(DAYS - 1), day(DAYS - 1), "today")
    till.replay(DAYS - 1)
    assert_as_if_on_time(till, tmp_path, (1, "u3"))


def test_promise_04_nothing_is_made_of_a_day_without_one_accepted_line_until_it_is_mended(till, tmp_path):
    till.land(0, 1, 3, 4)
    (till.landing / f"{day(2)}.csv").write_text("id,customer\n1,2\n")
    with pytest.raises(RunFailedError, match=r"rejected_share_is_small \(.*first_rejected_share: 1"):
        till.replay(DAYS - 1)
    # Nothing was mended: asked again, the command fails again.
    with pytest.raises(
        RunFailedError, match=r"3 of 5 days were not made, the first is 2024-01-03: feed \w+: not one of 1"
    ):
        till.replay(DAYS - 1)
    assert till.lake.days("user_daily_activity") == [day(n) for n in (0, 1, 3, 4)]
    assert till.lake.days("user_profiles") == [day(0), day(1)]
    refused = [f for f in doctor.examine(till.settings) if f.kind == "refused"]
    assert [(f.table, f.first) for f in refused] == [("raw_events", day(2))]
    till.land(2)
    till.replay(DAYS - 1)
    assert_as_if_on_time(till, tmp_path)


def test_promise_04_a_broken_delivery_of_a_past_day_leaves_the_day_and_what_was_made_of_it(till):
    till.land(*range(DAYS))
    till.replay(DAYS - 1)
    before = contents(till.settings)
    (till.landing / f"{day(2)}.csv").write_text("id,customer\n1,2\n")
    for _ in range(2):
        with pytest.raises(RunFailedError, match="the day stays as it was read before"):
            till.replay(DAYS - 1)
        assert contents(till.settings) == before
    till.land(2)
    till.replay(DAYS - 1)
    assert contents(till.settings) == before


def test_promise_04_a_late_file_for_a_day_whose_files_were_archived_is_refused_by_name(till):
    till.land(*range(3))
    till.replay(2)
    before = contents(till.settings)
    (till.landing / f"{day(1)}.csv").unlink()
    till.late(1, "u1")
    with pytest.raises(RunFailedError, match=r"would lose 20 of its events.*2024-01-02\.csv\. Put them back"):
        till.replay(2)
    assert contents(till.settings) == before
    till.replay(2, forget_vanished=True)
    assert len(till.lake.read("raw_events", day(1))) == 1
    assert till.lake.read("raw_events", day(1))["event_time"].dt.date.unique() == [dt.date(2024, 1, 2)]


def test_a_hole_in_the_days_stops_what_needs_it_and_late_files_are_taken_in(till):
    till.land(0, 1, 3, 4)
    with pytest.raises(
        RunFailedError, match="3 of 5 days were not made, the first is 2024-01-03: no data yet: feed orders"
    ):
        till.replay(DAYS - 1)
    assert till.lake.days("user_segments") == [day(0), day(1)]
    till.late(0, "newcomer")
    with pytest.raises(RunFailedError, match="3 of 5 days were not made"):
        till.replay(DAYS - 1)
    assert till.lake.provenance("raw_events", day(0)).rows == 21
    missing = [f for f in doctor.examine(till.settings) if f.kind == "missing"]
    assert not missing, "a hole after the last day is no gap"
    till.land(2)
    till.replay(DAYS - 1)
    assert doctor.examine(till.settings) == []


def test_days_after_an_end_day_that_moved_back_stay_and_nobody_speaks_of_them(till):
    till.land(*range(DAYS))
    till.replay(DAYS - 1)
    before = contents(till.settings)
    shorter = till.settings.model_copy(update={"end_day": day(2)})
    till.late(1, "newcomer")
    replay(shorter, START, day(2), build=build_defs, instance=till.instance)
    assert doctor.examine(shorter) == []
    after = contents(shorter)
    late = {key for key in before if key[1] > day(2).isoformat()}
    assert {key: after[key] for key in late} == {key: before[key] for key in late}
    assert [f.first for f in doctor.examine(till.settings) if f.kind == "stale"], (
        "with the calendar of before they count"
    )


def test_a_file_rewritten_with_the_same_size_and_time_is_unchanged_until_it_is_read_again(till):
    till.land(*range(DAYS))
    till.replay(DAYS - 1)
    path = till.landing / f"{day(2)}.csv"
    status = path.stat()
    path.write_text(path.read_text().replace("toys", "food"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert till.replay(DAYS - 1).steps == []
    replay(till.settings, day(2), day(2), build=build_defs, instance=till.instance, again=True)
    assert set(till.lake.read("raw_events", day(2))["category"]) == {"food"}


def test_a_shop_of_the_future_waits_and_a_command_names_the_calendar(till):
    future = till.settings.model_copy(update={"start_day": dt.date(2190, 1, 1), "end_day": None})
    till.land(0)
    repository = build_defs(future).get_repository_def()
    for name in ("landing_sensor", "drift_sensor"):
        context = dg.build_sensor_context(instance=till.instance, repository_def=repository)
        tick = repository.get_sensor_def(name).evaluate_tick(context)
        assert not tick.run_requests
        assert tick.skip_message
    with pytest.raises(ConfigError, match="has not closed yet"):
        replay(future, dt.date(2190, 1, 1), dt.date(2190, 1, 1), build=build_defs, instance=till.instance)


def test_decisions_of_a_strategy_that_is_gone_stay_and_the_loop_rests_without_them(till, tmp_path):
    folder = tmp_path / "strategies"
    shutil.copytree(SOAK_STRATEGIES, folder)
    settings = till.settings.model_copy(update={"strategies": folder})
    till.land(*range(DAYS))
    replay(settings, START, day(DAYS - 1), build=build_defs, instance=till.instance)
    before = decisions(till.lake, "value")
    assert before
    text = (folder / "value.yaml").read_text()
    (folder / "value.yaml").unlink()
    replay(settings, START, day(DAYS - 1), build=build_defs, instance=till.instance)
    assert decisions(till.lake, "value") == before
    assert set(till.lake.read("user_segments", day(DAYS - 1))["strategy"]) == {"behaviour"}
    (folder / "value.yaml").write_text(text)
    replay(settings, START, day(DAYS - 1), build=build_defs, instance=till.instance)
    assert decisions(till.lake, "value") == before
    assert doctor.examine(settings) == []


def test_doctor_says_what_it_looked_at_and_when_the_first_event_is_far_from_start_day(till, tmp_path):
    till.land(*range(DAYS))
    till.replay(DAYS - 1)
    (till.landing / "notes.txt").write_text("not an order")
    lake, landing = doctor.look_around(till.settings)
    assert f"{DAYS} days, 2024-01-01 .. 2024-01-05, up to date" in lake
    assert f"{DAYS} files that feeds of orders read, 1 that no feed reads: notes.txt" in landing
    early = till.settings.model_copy(update={"start_day": dt.date(2023, 11, 1)})
    *_, far = doctor.look_around(early)
    assert "the first event is of 2024-01-01, 61 days after start_day = 2023-11-01" in far
    behind, _ = doctor.look_around(till.settings.model_copy(update={"end_day": day(DAYS + 1)}))
    assert "2 days behind 2024-01-07" in behind
    nowhere = till.settings.model_copy(update={"lake": tmp_path / "nowhere"})
    assert doctor.look_around(nowhere)[0].endswith("nowhere: no day")
    with pytest.raises(ConfigError, match="holds no day, so there is nothing to examine"):
        doctor.require_days(nowhere)


def test_days_in_any_order_a_run_asks_of_each_table_only_days_that_can_be_made(till):
    till.land(*range(DAYS))
    with pytest.raises(RunFailedError):
        replay(till.settings, day(3), day(4), build=build_defs, instance=till.instance)
    assert till.lake.days("raw_events") == [day(3), day(4)]
    till.replay(2)
    assert till.lake.days("user_segments")[:3] == [day(0), day(1), day(2)]
    till.replay(DAYS - 1)
    assert doctor.examine(till.settings) == []


def test_promise_20_doctor_names_each_table_whose_code_is_another_version(till, monkeypatch):
    till.land(0, 1)
    till.replay(1)
    for name, table in TABLES.items():
        if name == "segment_model":
            continue  # decisions have a version of their own
        with monkeypatch.context() as older:
            older.setitem(TABLES, name, dataclasses.replace(table, code_version="next"))
            assert name in {f.table for f in doctor.examine(till.settings)}


def test_promise_20_a_calendar_that_moves_reopens_just_the_days_whose_lines_move(tmp_path):
    (tmp_path / "landing").mkdir()
    source = SOURCE.replace('["{day}.csv", "{day}.*.csv"]', '"orders*.csv"\n    day: {from: event_time}')
    (tmp_path / "orders.yaml").write_text(source)
    rows = (f"{n}-{k},u{k},{day(n)}T10:00:00Z,5,toys\n" for n in range(4) for k in range(12))
    (tmp_path / "landing" / "orders.csv").write_text(HEAD + "".join(rows))

    def shop_of(name, first, last):
        return shop(
            tmp_path / name, tmp_path / "landing", source=str(tmp_path / "orders.yaml"), threads=1,
            start_day=day(first), end_day=day(last),
        )  # fmt: skip

    def made(name, first, last):
        settings = shop_of(name, first, last)
        with dg.DagsterInstance.ephemeral() as instance:
            done = replay(settings, day(first), day(last), build=build_defs, instance=instance)
        return settings, done

    fresh, _ = made("fresh", 0, 3)
    for name, first, last in (("start", 2, 3), ("end", 0, 1)):
        made(name, first, last)
        moved, done = made(name, 0, 3)
        assert differences(contents(moved), contents(fresh)) == []
        accounts = [row for n in range(4) for row in Lake.of(moved).read("landed_files", day(n)).to_dict("records")]
        assert sum(row["lines_read"] for row in accounts) == 48
        assert {row["rejected"] for row in accounts} == {0}
        assert doctor.examine(moved) == []
    # Lines that lay outside were accounted for under the first day of the file: only that one is read again.
    assert next((s.first, s.last) for s in done.steps if s.job == "daily") == (day(0), day(0))
