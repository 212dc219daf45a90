"""Promise 1 as a property: whatever the order of the work, the same history gives the same lake, row for row.

Each shop is simulated from a seed with a random script (shift, split, merge, death, late files, dirt) and lived in
several ways; each way must end in the lake of one ranged run. Two shops take a minute; SEG_ASSETS_TEST_SHOPS=20 gives
a night's worth, with every way for every shop.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from seg_assets.build import build_defs
from seg_assets.lake.store import Lake
from seg_assets.loop.replay import QUIET, replay
from seg_assets.orchestration.tags import of_range
from seg_assets.segments.decisions.store import decisions
from seg_assets.simulator import deliver_late
from tests.end_to_end.shop import contents, day, differences, land, shop
from tests.soak.bench import STRATEGIES

DAYS = 9
SHOPS = int(os.environ.get("SEG_ASSETS_TEST_SHOPS", "2"))
ALL_WAYS = SHOPS > 2


def script(rng):
    """A random history: something changes, files are dirty, some events come late."""
    changes = [
        {"kind": "shift", "segment": "bargain", "multiply": {"sessions_per_day": rng.uniform(0.3, 4), "buy": 2}},
        {"kind": "split", "segment": "family", "into": {"new_parent": {"share": 0.5, "like": "new_parent"}}},
        {"kind": "death", "segment": "browser"},
        {"kind": "merge", "segments": ["loyal", "bargain"], "into": "all_round", "like": "all_round"},
    ]
    change = {**rng.choice(changes), "day": rng.randrange(3, DAYS - 2)}
    mess = [
        {"kind": "late", "day": 2, "every": rng.randrange(2, 4), "share": 0.1},
        {"kind": "duplicates", "day": 0, "share": 0.02},
        {"kind": "corrupt", "day": 0, "share": 0.01},
    ]
    return [change, *mess]


class Lived:
    """One shop's landing zone, and lakes of it."""

    def __init__(self, folder, seed):
        self.folder, self.rng = folder, random.Random(seed)
        self.late_landing = folder / "landing, late files still to come"
        self.landing = folder / "landing"
        config = {"users": self.rng.randrange(80, 120), "days": DAYS, "seed": seed, "scripts": script(self.rng)}
        for target in (self.landing, self.late_landing):
            land(target, scenario="plain", **config)
        self.delivered = [n for n in range(DAYS) if deliver_late(self.landing, day(n))]
        assert self.delivered, "no file came late"

    def home(self, name, landing=None, **overrides):
        return shop(
            self.folder / name, landing or self.landing, strategies=STRATEGIES, end_day=day(DAYS - 1), **overrides
        )


def replayed(settings, first=0, last=DAYS - 1, **options):
    with dg.DagsterInstance.ephemeral() as instance:
        return replay(settings, day(first), day(last), build=build_defs, instance=instance, **options)


def launched(settings, first, last):
    """One run of all rooms, as somebody launches it by hand: no reconciling after it. Returns its errors."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = build_defs(settings).get_repository_def().get_job("daily").execute_in_process(
            instance=instance,
            run_config=QUIET,
            tags=of_range(day(first), day(last)),
            raise_on_error=False,
        )  # fmt: skip
        return [e.step_failure_data.error.to_string() for e in result.all_events if e.is_step_failure]


def live(lived):
    """Day by day, deciding after each; late files arrive in the middle and at the end."""
    settings = lived.home("live", lived.late_landing)
    pause = DAYS - 2
    replayed(settings, last=pause, live=True)
    first_fit = decisions(Lake.of(settings), "value")[0]
    assert day(lived.delivered[0]) < first_fit.day
    deliver_late(lived.late_landing, day(lived.delivered[0]))
    done = replayed(settings, live=True)
    # A late file of a day before a fit day re-opens the fit.
    assert "recluster" in {step.job for step in done.steps if step.first == first_fit.day}
    assert decisions(Lake.of(settings), "value")[0].decision_id != first_fit.decision_id
    for n in lived.delivered[1:]:
        deliver_late(lived.late_landing, day(n))
    before = {path: path.stat().st_ino for path in settings.lake.glob("*/day=*/*.parquet")}
    replayed(settings)
    if lived.delivered[1:]:
        # Files of days before the late ones are the very same files.
        until = day(lived.delivered[1]).isoformat()
        again = {p.parent.name for p, inode in before.items() if not p.exists() or p.stat().st_ino != inode}
        assert again
        assert min(again) == f"day={until}"
    return settings


def any_order(lived):
    """Single days in any order with one thread, some of them twice, and overlapping ranges; then reconciled."""
    settings = lived.home("any order", threads=1)
    days = list(range(DAYS))
    lived.rng.shuffle(days)
    done = set()
    for n in days[: DAYS // 2]:
        # A day whose yesterday is not there is refused by name, and what of it needs no yesterday is kept.
        errors = launched(settings, n, n)
        assert bool(errors) == (n > 0 and n - 1 not in done), errors
        assert all(str(day(n - 1)) in error for error in errors), errors
        done |= set() if errors else {n}
    middle = lived.rng.randrange(3, DAYS - 2)
    assert launched(settings, 0, middle) == []
    assert launched(settings, lived.rng.randrange(1, middle), DAYS - 1) == []
    for _ in range(2):
        again = lived.rng.randrange(1, DAYS)
        assert launched(settings, again, again) == []
        assert launched(settings, again, again) == []
    replayed(settings)
    return settings


def two_processes(lived):
    """The second half by two interpreters at once, over days that overlap, each odd in its own way; then reconciled."""
    settings = lived.home("two processes")
    half = DAYS // 2
    replayed(settings, last=half)
    ranges = [
        (2, {"SEG_ASSETS_THREADS": "1", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"}),
        (half, {"SEG_ASSETS_THREADS": "4", "TZ": "America/St_Johns", "PYTHONHASHSEED": "2"}),
    ]
    script = (
        "import sys; from seg_assets.core.settings import Settings; "
        "from tests.end_to_end import test_replay_property as t; "
        f"sys.exit(''.join(t.launched(Settings.from_env(), int(sys.argv[1]), {DAYS - 1})) or None)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(first)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **settings.environment(), **odd},
            stderr=subprocess.PIPE,
            text=True,
        )
        for first, odd in ranges
    ]
    for process in running:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said[-3000:]
    replayed(settings)
    return settings


WAYS = {"live": live, "any_order": any_order, "two_processes": two_processes}
CASES = [(n, way) for n in range(SHOPS) for way in WAYS] if ALL_WAYS else [
    (0, "live"), (0, "two_processes"), (1, "any_order"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """Shops by number, each with the lake of one ranged run."""
    made = {}

    def get(n):
        if n not in made:
            lived = Lived(tmp_path_factory.mktemp(f"shop{n}"), 100 + n)
            settings = lived.home("ranged")
            replayed(settings)
            made[n] = lived, settings
        return made[n]

    return get


@pytest.mark.parametrize(("number", "way"), CASES)
def test_promise_01_promise_05_any_way_of_living_a_history_gives_the_lake_of_one_range(shops, number, way):
    lived, ranged = shops(number)
    ours = WAYS[way](lived)
    assert differences(contents(ours), contents(ranged)) == []
    for strategy in ("value", "behaviour"):
        made = [decisions(Lake.of(s), strategy) for s in (ours, ranged)]
        assert made[1], "nothing was decided: the history is too short to prove anything"
        told = [[(d.day, d.decision_id, d.model_id, list(d.lineage)) for d in those] for those in made]
        assert told[0] == told[1]
