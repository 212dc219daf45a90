"""A few seeded faults of the soak (tests/soak, `make soak`), on the lake that the other tests of this folder share."""

import random
import shutil

import pytest

from tests.end_to_end.shop import DAYS, STRATEGIES, day
from tests.soak.bench import Bench, MissError, Odd
from tests.soak.faults import FAULTS, replace


@pytest.fixture(scope="module")
def bench(ranged, tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("faults"), DAYS, STRATEGIES)
    made.adopt(ranged[0])
    return made


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        *[("process killed", seed) for seed in range(2)],
        ("files removed", 1),
        ("files truncated", 1),
        ("bytes flipped", 1),
        ("bytes flipped before a run", 1),
        ("file in another's place", 1),
        ("disk full", 1),
    ],
)
def test_promise_03_after_a_fault_a_plain_re_run_gives_the_lake_as_it_was(bench, kind, seed):
    FAULTS[kind][0](bench, random.Random(seed))


def test_promise_06_four_overlapping_ranges_at_once_and_their_readers_disturb_nobody(bench):
    FAULTS["overlapping ranges"][0](bench, random.Random(5))


def test_promise_03_a_failure_in_the_middle_keeps_finished_days_and_a_re_run_goes_on_from_there(bench, tmp_path):
    good_landing = bench.landing
    bench.landing = tmp_path / "landing"
    try:
        shutil.copytree(good_landing, bench.landing)
        bench.lay(bench.good, until=DAYS - 4)
        failing = bench.landing / "events" / f"{day(DAYS - 2)}.jsonl"
        content = failing.read_bytes()
        failing.unlink()
        with pytest.raises(MissError, match=str(day(DAYS - 2))):
            bench.must(bench.replay)
        finished = bench.lake / "raw_events" / f"day={day(DAYS - 3)}" / "data.parquet"
        inode = finished.stat().st_ino
        assert not (bench.lake / "raw_events" / f"day={day(DAYS - 2)}").exists()
        failing.write_bytes(content)
        bench.recover(Odd())
        assert finished.stat().st_ino == inode
    finally:
        bench.landing = good_landing


def test_promise_03_a_half_made_day_before_days_still_to_land_heals_in_one_re_run(bench):
    # A replay landed the new day in all rooms first, and failed on the yesterday that a kill had left out.
    bench.lay(bench.good, until=DAYS - 2)
    for table in ("user_lifetime", "user_segments", "drift_report"):
        shutil.rmtree(bench.lake / table / f"day={day(DAYS - 2)}")
    bench.recover(Odd())


def test_promise_03_the_judge_sees_one_changed_row_and_one_lost_day(bench):
    """The soak would pass on anything if its judge were blind."""
    bench.lay(bench.good)
    bench.judge()
    path = bench.files(DAYS - 1)[0]
    good = path.read_bytes()
    replace(path, good[:40] + bytes([good[40] ^ 1]) + good[41:])
    with pytest.raises(Exception, match="other bytes than were written"):
        bench.judge()
    path.unlink()
    with pytest.raises(MissError, match="1 lost"):
        bench.judge()
