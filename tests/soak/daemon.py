"""Faults under the real Dagster daemon: nobody's hand, healed within five minutes. `make soak DAEMON=1 FAULTS=30`.

One home, one daemon with its schedule and sensors on, one fault after the other. Each does its harm and waits until the
lake is the oracle's again, with no run at work. A lake that does not heal is a miss, and is laid anew for the next one.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.orchestration.instance import prepare_instance
from tests.end_to_end.shop import contents, day, differences, land, run, shop
from tests.soak.bench import STRATEGIES, MissError

DAYS = 8
LANDED = ("raw_events", "raw_users", "raw_products", "rejected_events", "landed_files")
DERIVED = ("user_profiles", "user_segments", "segment_profiles", "drift_report", "segment_evaluation")
SENSOR_SECONDS = 5
# Time that a fault has to heal in.
PATIENCE = 300.0
# The lake is the oracle's for so long before a fault counts as healed.
QUIET = 10.0


class House:
    """The shop, its oracle, its daemon.

    Args:
        work: a folder of our own.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.landing = work / "landing"
        self.strategies = work / "strategies"
        self.strategies.mkdir(parents=True)
        shutil.copy(STRATEGIES / "value.yaml", self.strategies / "value.yaml")
        land(self.landing, users=60, days=DAYS, scenario="plain")
        options = {"strategies": self.strategies, "end_day": day(DAYS - 1), "threads": 1}
        good = shop(work / "good", self.landing, **options)
        run(good, 0, DAYS - 1)
        self.good = good.lake
        self.oracle = contents(good)
        self.settings: Settings = shop(
            work / "home", self.landing, automation=True, sensor_seconds=SENSOR_SECONDS, **options
        )
        self.folder = prepare_instance(self.settings)
        self.log = work / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon."""
        environment = {
            **os.environ,
            **self.settings.environment(),
            "DAGSTER_HOME": str(self.folder),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
        }
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("dagster-daemon"), "run", "-m", "seg_assets.definitions"],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the daemon with all that it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            self.process.wait(60)
            self.process = None

    def runs_at_work(self) -> list[dg.DagsterRun]:
        """Runs that have not ended."""
        with dg.DagsterInstance.from_config(str(self.folder)) as instance:
            return [r for r in instance.get_runs(limit=20) if not r.is_finished]

    def wait_for_run(self, seconds: float) -> dg.DagsterRun:
        """Wait until a run has started."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for at_work in self.runs_at_work():
                if at_work.status == dg.DagsterRunStatus.STARTED:
                    return at_work
            time.sleep(0.2)
        raise MissError("the daemon started no run")

    def kill_run(self, at_work: dg.DagsterRun) -> bool:
        """SIGKILL the process of a run; False when it has ended."""
        with dg.DagsterInstance.from_config(str(self.folder)) as instance:
            messages = [entry.message or entry.user_message for entry in instance.all_logs(at_work.run_id)]
        pids = [int(m[1]) for text in messages if (m := re.search(r"\(pid: (\d+)\)", text))]
        for pid in pids[-1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def wrong(self) -> list[tuple[str, str, str]]:
        """Files of the lake that are not the oracle's."""
        return differences(contents(self.settings), self.oracle)

    def healed(self) -> float:
        """Wait until the lake is the oracle's and stays so; return the seconds until then.

        Raises:
            MissError: not within PATIENCE.
        """
        begun, since = time.monotonic(), None
        while time.monotonic() - begun < PATIENCE + QUIET:
            with contextlib.suppress(Exception):  # a file is being replaced just now
                if self.wrong() or self.runs_at_work():
                    since = None
                elif since is None:
                    since = time.monotonic()
                elif time.monotonic() - since > QUIET:
                    return since - begun
            time.sleep(1)
        raise MissError(f"not healed after {PATIENCE:.0f} s: {self.wrong()[:5]}; {self.last_words()}")

    def last_words(self) -> str:
        """The last reasons that the sensors gave."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(line[-300:] for line in lines if "Sensor" in line)[-1500:]

    def lay_anew(self) -> None:
        """Put the good lake in place, with the daemon stopped."""
        self.stop()
        shutil.rmtree(self.settings.lake, ignore_errors=True)
        shutil.copytree(self.good, self.settings.lake)
        self.start()

    def lose(self, table: str, n: int) -> None:
        """Remove a day of a table."""
        shutil.rmtree(self.settings.lake / table / f"day={day(n)}", ignore_errors=True)


def landed_lost(house: House, rng: random.Random) -> str:
    """A landed table of a past day is lost."""
    table, n = rng.choice(LANDED), rng.randrange(DAYS)
    house.lose(table, n)
    return f"{table} of {day(n)}"


def derived_lost(house: House, rng: random.Random) -> str:
    """A derived table of a past day is lost."""
    table, n = rng.choice(DERIVED), rng.randrange(DAYS)
    house.lose(table, n)
    return f"{table} of {day(n)}"


def day_lost(house: House, rng: random.Random) -> str:
    """Every table of a day is lost, decisions too."""
    n = rng.randrange(DAYS)
    for table in TABLES:
        house.lose(table, n)
    return str(day(n))


def wrong_file(house: House, rng: random.Random) -> str:
    """A wrong file is read, and the right one is put back with its time."""
    n = rng.randrange(DAYS)
    (path,) = (house.landing / "events").glob(f"{day(n)}.jsonl")
    kept = house.work / "kept"
    path.rename(kept)
    path.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[: rng.choice((1, 20))]))
    deadline = time.monotonic() + PATIENCE
    while not house.wrong() and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(rng.uniform(0, 10))
    path.unlink()
    kept.rename(path)
    return f"{day(n)}"


def strategy_edited(house: House, rng: random.Random) -> str:
    """A strategy is edited, taken up, and edited back."""
    path = house.strategies / "value.yaml"
    text = path.read_text()
    path.write_text(text.replace("new_within_days: 2", "new_within_days: 3"))
    house.wait_for_run(PATIENCE)
    time.sleep(rng.uniform(0, 20))
    path.write_text(text)
    return "new_within_days 3 and back"


def run_killed(house: House, rng: random.Random) -> str:
    """The process of a run is killed."""
    for table in LANDED + DERIVED:
        house.lose(table, DAYS - 1)
    at_work = house.wait_for_run(PATIENCE)
    time.sleep(rng.uniform(0, 4))
    killed = house.kill_run(at_work)
    return f"run {at_work.run_id[:8]}" + ("" if killed else " (it had ended)")


def daemon_killed(house: House, rng: random.Random) -> str:
    """The daemon is killed with all its processes while a run is at work, and started again."""
    for table in LANDED + DERIVED:
        house.lose(table, DAYS - 2)
    house.wait_for_run(PATIENCE)
    time.sleep(rng.uniform(0, 4))
    house.stop(signal.SIGKILL)
    house.start()
    return "while a run was at work"


FAULTS: dict[str, Callable[[House, random.Random], str]] = {
    "landed table lost": landed_lost,
    "derived table lost": derived_lost,
    "day lost": day_lost,
    "wrong file, right one back": wrong_file,
    "strategy edited and back": strategy_edited,
    "run killed": run_killed,
    "daemon killed": daemon_killed,
}


def soak(folder: Path, faults: int, seed: int) -> dict:
    """Do the faults one after the other under one daemon; return the summary. Each kind comes in turn."""
    started = time.monotonic()
    house = House(folder)
    by_kind: dict[str, dict[str, float]] = {kind: {"faults": 0, "seconds": 0.0, "longest": 0.0} for kind in FAULTS}
    misses = []
    house.start()
    try:
        print(f"the daemon makes the first lake: {house.healed():.0f} s", flush=True)
        for n in range(faults):
            kind = list(FAULTS)[n % len(FAULTS)]
            rng = random.Random(f"{seed}:{n}:{kind}")
            at = time.monotonic()
            try:
                told = FAULTS[kind](house, rng)
                seconds = house.healed()
            except MissError as error:
                seconds = time.monotonic() - at
                misses.append({"fault": n, "kind": kind, "why": str(error)[-3000:]})
                told = f"MISS: {str(error)[-1500:]}"
                house.lay_anew()
            count = by_kind[kind]
            count["faults"] += 1
            count["seconds"] += seconds
            count["longest"] = max(count["longest"], seconds)
            print(f"{n + 1:>3}/{faults} healed after {seconds:5.0f} s  {kind}: {told}", flush=True)
    finally:
        house.stop()
    return {
        "faults": faults,
        "misses": misses,
        "by_kind": {kind: count for kind, count in by_kind.items() if count["faults"]},
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }


def table(summary: dict) -> str:
    """The summary as a Markdown table."""
    lines = ["| fault | times | not healed | seconds to heal, mean | longest |", "|---|---|---|---|---|"]
    for kind, count in summary["by_kind"].items():
        wrong = sum(miss["kind"] == kind for miss in summary["misses"])
        mean = count["seconds"] / count["faults"]
        lines.append(f"| {kind} | {count['faults']:.0f} | {wrong} | {mean:.0f} | {count['longest']:.0f} |")
    lines.append(f"| **all** | {summary['faults']} | {len(summary['misses'])} | | {summary['seconds']:.0f} s in all |")
    return "\n".join(lines)
