"""The shop under fault: its lakes, children that can be killed, and the judge who compares with the oracle.

The parent builds the first lake itself, so that everything is imported and warm; every piece of work after that is a
child forked from it, with database connections of its own. So a fault costs seconds instead of an interpreter's start,
and a SIGKILL hits a process that is nobody else.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from seg_assets.build import build_defs
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.loop.replay import QUIET, replay
from seg_assets.orchestration.tags import of_range
from seg_assets.simulator import SimulationConfig, deliver_late, simulate
from tests.end_to_end.shop import START, contents, day, differences

USERS = 200
DAYS = 14
STRATEGIES = Path(__file__).parent / "strategies"
ZONES = ("UTC", "Pacific/Kiritimati", "America/St_Johns", "Pacific/Marquesas", "Antarctica/Troll", "Asia/Kathmandu")
THREADS = (1, 2, 4)
# A child that takes longer hangs. Generous: on a busy machine a run of seconds takes minutes.
PATIENCE = 1800

SCRIPTS = [
    {"kind": "duplicates", "day": 0, "share": 0.02},
    {"kind": "corrupt", "day": 0, "share": 0.005},
    {"kind": "late", "day": 5, "every": 3, "share": 0.1},
    {"kind": "shift", "day": 8, "segment": "bargain", "multiply": {"sessions_per_day": 3, "buy": 3}},
    {"kind": "split", "day": 10, "segment": "family", "into": {"new_parent": {"share": 0.5, "like": "new_parent"}}},
]


class MissError(Exception):
    """The lake is not what it must be."""


def fork(work: Callable[[], Any], log: Path) -> int:
    """Run `work` in a child; its answer is left beside `log` as JSON. Returns the child's id."""
    log.unlink(missing_ok=True)
    log.with_suffix(".json").unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        # Under pytest these two are files of its own, not the descriptors.
        sys.stdout = sys.stderr = os.fdopen(handle, "a", buffering=1, closefd=False)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        answer = work()
        log.with_suffix(".json").write_text(json.dumps(answer), encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # No exit handlers: the parent's belong to the parent.
        os._exit(code)


def wait(pid: int, seconds: float = PATIENCE) -> int | None:
    """Exit code of a child; minus the signal's number when it was killed; None (and killed) when it took too long."""
    code = ended_within(pid, seconds)
    if code is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return code


def ended_within(pid: int, seconds: float) -> int | None:
    """Exit code of a child; minus the signal's number when it was killed; None when it still runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


@dataclass(frozen=True)
class Odd:
    """What must not matter: the machine's zone and the number of threads."""

    zone: str = "UTC"
    threads: int = 2

    @classmethod
    def draw(cls, rng: random.Random) -> "Odd":
        """A random oddity."""
        return cls(rng.choice(ZONES), rng.choice(THREADS))

    def apply(self) -> None:
        """Make this process live in the zone."""
        os.environ["TZ"] = self.zone
        time.tzset()


class Bench:
    """One simulated shop, its good lake, its lake from before the late files, and the lake under fault.

    Args:
        work: a folder of our own.
        days: days of the shop.
        strategies: folder of strategies.
    """

    def __init__(self, work: Path, days: int = DAYS, strategies: Path = STRATEGIES) -> None:
        self.work = work
        self.days = days
        self.strategies = strategies
        self.lake = work / "lake"
        self.good = work / "good"
        self.before_late = work / "before_late"
        self.landing = work / "landing zone"
        self.oracle: dict[tuple[str, str, str], str] = {}
        self.logs = 0

    # ---- the shop ---------------------------------------------------------------------------------------------

    def settings(self, lake: Path | None = None, odd: Odd = Odd()) -> Settings:
        """The shop's settings over one of the lakes."""
        return Settings.from_env(
            {},
            home=self.work / "home",
            landing=self.landing,
            lake=lake or self.lake,
            source="simulator",
            strategies=self.strategies,
            start_day=START,
            end_day=day(self.days - 1),
            threads=odd.threads,
        )

    def prepare(self) -> None:
        """Simulate the shop; build the lake without the late files, and the oracle with them."""
        delivered = self.work / "late files are delivered"
        if not delivered.exists():  # a folder that was kept is taken up where it was left
            simulate(self.landing, SimulationConfig(users=USERS, days=self.days, start=START, seed=11, scripts=SCRIPTS))
            self.replay(self.before_late)
            late = [deliver_late(self.landing, day(n)) for n in range(self.days)]
            if not any(late):
                raise MissError("the shop has no late files")
            delivered.touch()
        self.must(lambda: self.replay(self.good))
        # Here, not in a child: whatever a run imports is warm from now on.
        self.lay(self.good, until=self.days - 2)
        self.replay()
        self.take_oracle()

    def adopt(self, made: Settings) -> None:
        """Take a shop and its good lake, made elsewhere, instead of preparing one. There are no late files then."""
        self.landing, self.good, self.before_late = made.landing, made.lake, made.lake
        shutil.copytree(made.home / "dbt", self.work / "home" / "dbt")
        self.take_oracle()

    def take_oracle(self) -> None:
        """Remember the content of the good lake."""
        listed = self.must(lambda: [[*key, value] for key, value in contents(self.settings(self.good)).items()])
        self.oracle = {(t, d, p): value for t, d, p, value in listed}

    def replay(self, lake: Path | None = None, odd: Odd = Odd(), *, live: bool = False) -> list[str]:
        """The plain re-run. Returns what was run."""
        odd.apply()
        with dg.DagsterInstance.ephemeral() as instance:
            done = replay(
                self.settings(lake, odd),
                day(0),
                day(self.days - 1),
                build=build_defs,
                instance=instance,
                live=live,
                say=print,
            )
        return [f"{s.job} {s.first} {s.last}" for s in done.steps]

    def run_job(self, job: str, first: int, last: int, assets: list[str] | None, odd: Odd) -> None:
        """One run of a job over days of the calendar, as the UI would launch it."""
        odd.apply()
        settings = self.settings(odd=odd)
        with dg.DagsterInstance.ephemeral() as instance:
            result = build_defs(settings).get_repository_def().get_job(job).execute_in_process(
                instance=instance,
                run_config=QUIET,
                tags=of_range(day(first), day(last)),
                asset_selection=[dg.AssetKey(a) for a in assets] if assets else None,
                raise_on_error=False,
            )  # fmt: skip
            if not result.success:
                raise MissError(f"{job} of days {first}..{last} failed; see the log")

    # ---- lakes under fault ------------------------------------------------------------------------------------

    def lay(self, source: Path, until: int | None = None, into: Path | None = None, *, copied: bool = False) -> None:
        """A fresh lake under fault: the days of `source` up to day `until`.

        Files are hard links, since the product only ever replaces them; `copied` for another file system.
        """
        target = into or self.lake
        last = day(self.days - 1 if until is None else until).isoformat()
        shutil.rmtree(target, ignore_errors=True)
        for table in TABLES:
            for folder in sorted((source / table).glob("day=*")) if (source / table).is_dir() else []:
                if folder.name.removeprefix("day=") <= last:
                    (target / table / folder.name).mkdir(parents=True)
                    for file in folder.glob("*.parquet"):
                        there = target / table / folder.name / file.name
                        shutil.copyfile(file, there) if copied else os.link(file, there)

    def files(self, first: int = 0) -> list[Path]:
        """Published files of the lake under fault from day `first` on."""
        found = self.lake.glob("*/day=*/*.parquet")
        return sorted(p for p in found if p.parent.name.removeprefix("day=") >= day(first).isoformat())

    def judge(self, lake: Path | None = None) -> None:
        """Raise MissError unless the lake under fault is the oracle's, in its footers and in its rows."""
        settings = self.settings(lake)
        ours = contents(settings)
        wrong = differences(ours, self.oracle)
        if wrong:
            lost = [key for key in wrong if key not in ours]
            raise MissError(f"{len(wrong)} files differ from the oracle's ({len(lost)} lost): {wrong[:6]}")
        self.check_rows(settings)

    def check_rows(self, settings: Settings) -> None:
        """Raise when a file that is not one of the oracle's own does not hold what its footer says."""
        lake = Lake.of(settings)
        for table in TABLES:
            for d in lake.days(table):
                for part in lake.parts(table, d):
                    path = lake.path(table, d, part)
                    twin = self.good / path.relative_to(settings.lake)
                    if not (twin.exists() and path.samefile(twin)):
                        lake.verify(table, d, part)

    # ---- children ---------------------------------------------------------------------------------------------

    def start(self, work: Callable[[], Any]) -> tuple[int, Path]:
        """Start a child. Returns its id and its log."""
        self.logs += 1
        log = self.work / "logs" / f"{self.logs:05d}.log"
        log.parent.mkdir(exist_ok=True)
        return fork(work, log), log

    def must(self, work: Callable[[], Any]) -> Any:
        """Run a child to its end and return its answer; MissError with the end of its log when it failed."""
        pid, log = self.start(work)
        code = wait(pid)
        if code != 0:
            raise MissError(f"exit {code}: {tail(log)}")
        return json.loads(log.with_suffix(".json").read_text(encoding="utf-8"))

    def recover(self, odd: Odd, *, doctor: bool = False, lake: Path | None = None) -> Any:
        """The plain re-run, after `doctor --verify --mend` where files were damaged; then the judge."""

        def work() -> list[str]:
            named = self.mend(odd, lake) if doctor else []
            self.replay(lake, odd)
            self.judge(lake)
            return named

        return self.must(work)

    def mend(self, odd: Odd, lake: Path | None = None) -> list[str]:
        """`seg-assets doctor --verify --mend`: the damaged files it named, relative to the lake."""
        from seg_assets.loop import doctor, mending

        settings = self.settings(lake, odd)
        findings = doctor.examine(settings, verify=True)
        named = sorted(f.why.split(".parquet:")[0] + ".parquet" for f in findings if f.kind == "damaged")
        mending.set_aside(settings, findings)
        return [str(Path(n).relative_to(settings.lake)) for n in named]


def tail(log: Path, characters: int = 1500) -> str:
    """The end of a child's log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else "(no log)"
    return text[-characters:]
