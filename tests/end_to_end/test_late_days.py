"""Late files by hand: days that are not neighbours, a late day beside today's, a day of which nothing is accepted."""

import datetime as dt

import dagster as dg
import pytest

from seg_assets.build import build_defs
from seg_assets.lake.store import Lake
from seg_assets.loop import doctor
from seg_assets.loop.replay import RunFailedError, _Runner, replay
from tests.end_to_end.shop import BY_FILE, START, contents, day, differences, shop

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
    resting = till.replay(DAYS - 1).resting_because
    assert "nothing can be made of 2024-01-03 and of later days: not one of 1 lines was accepted" in resting
    assert "2024-01-03.csv:" in resting
    assert till.lake.days("user_daily_activity") == [day(n) for n in (0, 1, 3, 4)]
    assert till.lake.days("user_profiles") == [day(0), day(1)]
    refused = [f for f in doctor.examine(till.settings) if f.kind == "refused"]
    assert [(f.table, f.first) for f in refused] == [("raw_events", day(2))]
    till.land(2)
    till.replay(DAYS - 1)
    assert_as_if_on_time(till, tmp_path)


def test_promise_04_a_broken_delivery_of_a_past_day_leaves_what_was_made_of_it(till):
    till.land(*range(DAYS))
    till.replay(DAYS - 1)
    before = contents(till.settings, without={*BY_FILE, "raw_events"})
    (till.landing / f"{day(2)}.csv").write_text("id,customer\n1,2\n")
    with pytest.raises(RunFailedError):
        till.replay(DAYS - 1)
    till.replay(DAYS - 1)
    assert contents(till.settings, without={*BY_FILE, "raw_events"}) == before
    till.land(2)
    till.replay(DAYS - 1)
    assert contents(till.settings, without={*BY_FILE, "raw_events"}) == before


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
