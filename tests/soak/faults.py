"""The faults. Each starts from a copy of a good lake, does its harm, and ends with a recovery and the judge.

A fault's function takes the bench and a seeded generator, and raises MissError when the lake is not the oracle's
afterwards or when something that must not happen happened on the way. It returns a few words for the log.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from tests.end_to_end.shop import contents, day
from tests.soak.bench import THREADS, ZONES, Bench, MissError, Odd, ended_within, tail, wait
from tests.soak.sensors import Sensors

Fault = Callable[[Bench, random.Random], str]

ROOMS = ("events", "profiles", "segments", "evaluation", "drift")
# Seconds that each kind of work took when it was last seen to its end: where to strike.
SECONDS: dict[str, float] = {}


def some_work(bench: Bench, rng: random.Random) -> tuple[str, Callable[[], object]]:
    """Lay a lake and choose what a process shall do to it: catch up, take late files in, or run a room again."""
    odd = Odd.draw(rng)
    kind = rng.choice(("catch up", "live", "late files", "again", *["room"] * 5))
    if kind in ("catch up", "live"):
        bench.lay(bench.good, until=rng.choice((bench.days - 3, bench.days - 2, bench.days - 2)))
        return kind, lambda: bench.replay(odd=odd, live=kind == "live")
    if kind == "late files":
        bench.lay(bench.before_late)
        return kind, lambda: bench.replay(odd=odd)
    bench.lay(rng.choice((bench.good, bench.before_late)))
    first = rng.randrange(bench.days - 4, bench.days)
    last = min(bench.days - 1, first + rng.randrange(3))
    if kind == "again":
        return kind, lambda: bench.run_job("daily", first, last, None, odd)
    room = rng.choice(ROOMS)
    return f"room {room}", lambda: bench.run_job("daily", first, last, room_of(room), odd)


def room_of(room: str) -> list[str]:
    """Assets of a room."""
    return [t.name for t in TABLES.values() if t.room == room]


def kill(bench: Bench, rng: random.Random) -> str:
    """SIGKILL of a process that runs a range, a room or a replay, at a random moment; sometimes again and again."""
    told = []
    kind, work = some_work(bench, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        expected = SECONDS.get(kind, 6.0)
        started = time.monotonic()
        pid, _ = bench.start(work)
        code = strike(pid, rng.uniform(0.1, expected))
        if code == 0:
            SECONDS[kind] = time.monotonic() - started
        elif code != -signal.SIGKILL:
            raise MissError(
                f"{kind} failed by itself: exit {code}: {tail(bench.work / 'logs' / f'{bench.logs:05d}.log')}"
            )
        else:
            SECONDS[kind] = max(expected, time.monotonic() - started)
        told.append(f"{kind} at {time.monotonic() - started:.1f} s" + (" (it had ended)" if code == 0 else ""))
        whole_days(bench)
    bench.recover(Odd.draw(rng))
    return "; ".join(told)


def strike(pid: int, seconds: float) -> int | None:
    """Wait that long, then SIGKILL; the child's exit code."""
    code = ended_within(pid, seconds)
    if code is not None:
        return code
    os.kill(pid, signal.SIGKILL)
    return wait(pid)


def whole_days(bench: Bench, lake: Path | None = None) -> None:
    """Every published file is whole: what a reader would see right after the fault."""
    bench.must(lambda: bench.check_rows(bench.settings(lake)))


def removed(bench: Bench, rng: random.Random) -> str:
    """Lake files removed: single ones, a day of every table, or the last days of a table."""
    bench.lay(bench.good)
    files = bench.files(bench.days - rng.choice((2, 2, 5)))
    way = rng.choice(("files", "files", "day", "table"))
    if way == "files":
        gone = rng.sample(files, rng.randrange(1, 5))
    elif way == "day":
        folder = rng.choice(files).parent.name
        gone = [p for p in files if p.parent.name == folder]
    else:
        table = rng.choice(files).parent.parent.name
        gone = [p for p in files if p.parent.parent.name == table]
    for path in gone:
        path.unlink()
        if rng.random() < 0.5:
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    bench.recover(Odd.draw(rng))
    return f"{way}: {len(gone)} files, {gone[0].relative_to(bench.lake)} first"


def truncated(bench: Bench, rng: random.Random) -> str:
    """Files cut short (also to nothing): doctor names exactly them; set aside, re-run."""
    return damaged(
        bench, rng, lambda data: data[: rng.choice((0, 1, len(data) // 2, len(data) - rng.randrange(1, 200)))]
    )


def flipped(bench: Bench, rng: random.Random) -> str:
    """Bytes flipped anywhere in a file: doctor names exactly these files; set aside, re-run."""
    return damaged(bench, rng, lambda data: flip(data, rng))


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to forty neighbouring bytes changed."""
    found = bytearray(data)
    at = rng.randrange(4, len(data))
    for n in range(at, min(len(data), at + rng.choice((1, 1, 4, 40)))):
        found[n] ^= rng.randrange(1, 256)
    return bytes(found)


def damaged(bench: Bench, rng: random.Random, harm: Callable[[bytes], bytes]) -> str:
    """Harm one to three files, let doctor find them, mend, re-run."""
    bench.lay(bench.good)
    chosen = sorted(rng.sample(bench.files(bench.days - rng.choice((2, 2, 5))), rng.randrange(1, 4)))
    for path in chosen:
        replace(path, harm(path.read_bytes()))
    named = bench.recover(Odd.draw(rng), doctor=True)
    told = {str(p.relative_to(bench.lake)) for p in chosen}
    if not set(named) <= told:
        raise MissError(f"doctor named {sorted(set(named) - told)}, which nobody touched")
    if set(named) != told:
        raise MissError(f"doctor did not name {sorted(told - set(named))}")
    return f"{len(named)} of {len(told)} harmed files named: {', '.join(sorted(told))}"


def swapped(bench: Bench, rng: random.Random) -> str:
    """A file in another day's place, good in itself: doctor names it; set aside, re-run."""
    bench.lay(bench.good)
    path = rng.choice([p for p in bench.files(bench.days - 3) if p.stem == "data"])
    other = rng.choice([p for p in path.parent.parent.glob("day=*/data.parquet") if p.parent != path.parent])
    replace(path, other.read_bytes())
    named = bench.recover(Odd.draw(rng), doctor=True)
    if named != [str(path.relative_to(bench.lake))]:
        raise MissError(f"{path} holds the rows of {other.parent.name}; doctor named {named}")
    return f"{path.relative_to(bench.lake)} with {other.parent.name}"


def flipped_before_a_run(bench: Bench, rng: random.Random) -> str:
    """Bytes flipped, before doctor looks, in a file that later days read: a run names or leaves it; doctor, re-run."""
    until = rng.randrange(bench.days - 4, bench.days - 1)
    bench.lay(bench.good, until=until)
    path = rng.choice(bench.files(bench.days - 6))
    replace(path, flip(path.read_bytes(), rng))
    odd = Odd.draw(rng)
    pid, log = bench.start(lambda: bench.replay(odd=odd))
    code = wait(pid)
    if code != 0 and ("DamagedFileError" not in log.read_text() or path.parent.name not in log.read_text()):
        raise MissError(f"a run on altered bytes failed and did not name the file: {tail(log)}")
    named = bench.recover(Odd.draw(rng), doctor=True)
    if named != [str(path.relative_to(bench.lake))]:
        raise MissError(f"{path} has altered bytes; doctor named {named}")
    return f"{path.relative_to(bench.lake)}, {'no run read it' if code == 0 else 'the run over it refused it'}"


def replace(path: Path, data: bytes) -> None:
    """Put other bytes in a file's place, and leave the file it is a hard link of alone."""
    path.unlink()
    path.write_bytes(data)


def overlapping(bench: Bench, rng: random.Random) -> str:
    """Four overlapping ranges at once, with readers that check every file they read; then a re-run."""
    bench.lay(bench.before_late)
    stop = bench.work / "stop"
    stop.unlink(missing_ok=True)
    readers = [bench.start(lambda n=n: read_until(bench, stop, n)) for n in range(2)]
    writers = []
    for _ in range(4):
        first = rng.randrange(bench.days - 6, bench.days - 2)
        last = min(bench.days - 1, first + rng.randrange(1, 3))
        assets = rng.choice((None, room_of("profiles"), room_of("segments"), room_of("events")))
        odd = Odd.draw(rng)
        writers.append(bench.start(lambda f=first, z=last, a=assets, o=odd: bench.run_job("daily", f, z, a, o)))
    failed = [tail(log) for pid, log in writers if wait(pid) != 0]
    stop.touch()
    for pid, log in readers:
        if wait(pid) != 0:
            failed.append(tail(log))
    if failed:
        raise MissError(f"{len(failed)} of 4 writers and 2 readers failed: {failed[0]}")
    reads = sum(json.loads(log.with_suffix(".json").read_text()) for _, log in readers)
    bench.recover(Odd.draw(rng))
    return f"{reads} reads by two readers, each of one version of one day"


def read_until(bench: Bench, stop: Path, seed: int) -> int:
    """Read random days whole until told to stop; each must hold what its footer says, old or new."""
    rng = random.Random(seed)
    lake = Lake.of(bench.settings())
    known = {bench.oracle[k] for k in bench.oracle if k[0] == "raw_events"}
    known |= {v for k, v in contents(bench.settings(bench.before_late)).items() if k[0] == "raw_events"}
    tables = [t.name for t in TABLES.values() if not t.per_strategy_parts]
    reads = 0
    while not stop.exists():
        table, d = rng.choice((*tables, "raw_events")), day(rng.randrange(bench.days - 6, bench.days))
        found = lake.verify(table, d)
        if table == "raw_events" and found.content_hash not in known:
            raise MissError(f"raw_events of {d} is neither the old day nor the new one")
        reads += 1
    return reads


def disk_full(bench: Bench, rng: random.Random) -> str:
    """No space left at a random moment: days stay whole; with room again, a re-run. tmpfs, else RLIMIT_FSIZE."""
    disk = bench.work / "disk"
    disk.mkdir(exist_ok=True)
    if not mount(disk, "size=64m"):
        return small_files(bench, rng)
    try:
        lake = disk / "lake"
        until = rng.randrange(bench.days - 4, bench.days - 1)
        bench.lay(bench.good, until=until, into=lake, copied=True)
        used = os.statvfs(disk)
        taken = (used.f_blocks - used.f_bfree) * used.f_frsize
        room = rng.randrange(4, 400) * 1024
        mount(disk, f"remount,size={taken + room}")
        odd = Odd.draw(rng)
        pid, log = bench.start(lambda: bench.replay(lake, odd))
        code = wait(pid)
        text = log.read_text()
        if code != 0 and not any(word in text for word in ("space left", "No space", "not enough space")):
            raise MissError(f"the disk was full and the error does not say so: {tail(log)}")
        whole_days(bench, lake)
        mount(disk, "remount,size=64m")
        bench.recover(Odd.draw(rng), lake=lake)
    finally:
        unmount(disk)
    return f"{room // 1024} kB left, {'the run fitted' if code == 0 else 'the run said no space'}"


def small_files(bench: Bench, rng: random.Random) -> str:
    """Files may not grow past a limit: what a full disk is like where nothing can be mounted."""
    bench.lay(bench.good, until=rng.randrange(bench.days - 4, bench.days - 1))
    limit = rng.randrange(2, 60) * 1024

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        bench.replay(odd=Odd())

    pid, _ = bench.start(work)
    code = wait(pid)
    whole_days(bench)
    bench.recover(Odd.draw(rng))
    return f"RLIMIT_FSIZE {limit // 1024} kB, exit {code}"


def mount(folder: Path, options: str) -> bool:
    """Mount (or remount) a tmpfs; False where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return (
        sys.platform == "linux" and os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    )


def unmount(folder: Path) -> None:
    """Unmount, also when a child still holds a file open."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def tick_killed(bench: Bench, rng: random.Random) -> str:
    """The daemon's ticks and the runs they ask for, killed in the middle and started again on the same instance."""
    home = bench.work / "instance"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    bench.lay(*rng.choice(((bench.good, bench.days - 2), (bench.before_late,))))
    odd = Odd.draw(rng)
    told = []
    for _ in range(rng.choice((1, 2))):
        pid, log = bench.start(lambda: ticking(bench, home, odd))
        after = rng.uniform(0.2, 10)
        code = strike(pid, after)
        if code not in (0, -signal.SIGKILL):
            raise MissError(f"ticks failed by themselves: {tail(log)}")
        told.append(f"at {after:.1f} s" + (" (at rest by then)" if code == 0 else ""))
        whole_days(bench)
    asked = bench.must(lambda: ticking(bench, home, odd))
    if len(asked) != len(set(asked)):
        raise MissError(f"one cause led to more than one run: {asked}")
    # Nobody's hand: the sensors alone have made the lake what it must be.
    bench.must(lambda: bench.judge())
    return "; ".join(told) + f"; then {len(asked)} runs to rest"


def ticking(bench: Bench, home: Path, odd: Odd) -> list[str]:
    """Let the sensors come to rest within five minutes of sensor time. Returns the run keys of what they asked for."""
    odd.apply()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        sensors = Sensors(bench.settings(odd=odd), instance, cursors=home)
        sensors.until_rest(minutes=5)
        if sensors.failed:
            raise MissError(f"runs failed: {sensors.failed}")
        return sensors.keys


def odd_zone(bench: Bench, rng: random.Random) -> str:
    """Another zone of the machine, other threads: the same days from the same files."""
    odd = Odd(rng.choice(ZONES[1:]), rng.choice(THREADS))
    bench.lay(bench.good, until=rng.choice((bench.days - 3, bench.days - 2, bench.days - 2)))
    bench.recover(odd)
    return f"{odd.zone}, {odd.threads} threads"


def odd_interpreter(bench: Bench, rng: random.Random) -> str:
    """The command line in an interpreter of its own: another hash seed, zone and number of threads."""
    odd = Odd(rng.choice(ZONES[1:]), rng.choice(THREADS))
    seed = rng.randrange(1, 2**32)
    bench.lay(bench.good, until=bench.days - 2)
    environment = {
        **os.environ,
        **bench.settings(odd=odd).environment(),
        "TZ": odd.zone,
        "PYTHONHASHSEED": str(seed),
        "DAGSTER_HOME": str(bench.work / "home" / "dagster"),
    }
    command = [
        sys.executable,
        "-m",
        "seg_assets.cli",
        "replay",
        "--from",
        str(day(0)),
        "--to",
        str(day(bench.days - 1)),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissError(f"replay failed: {done.stderr[-1500:]}")
    bench.must(bench.judge)
    return f"{odd.zone}, {odd.threads} threads, PYTHONHASHSEED {seed}"


# Kind, function, share of the faults. Dear ones are rarer.
FAULTS: dict[str, tuple[Fault, float]] = {
    "process killed": (kill, 0.46),
    "files removed": (removed, 0.12),
    "files truncated": (truncated, 0.08),
    "bytes flipped": (flipped, 0.09),
    "file in another's place": (swapped, 0.04),
    "bytes flipped before a run": (flipped_before_a_run, 0.06),
    "disk full": (disk_full, 0.06),
    "ticks killed": (tick_killed, 0.06),
    "overlapping ranges": (overlapping, 0.03),
    "odd zone and threads": (odd_zone, 0.03),
    "odd interpreter": (odd_interpreter, 0.01),
}
