"""`python -m tests.soak --faults 200`: seeded random faults against a small shop, and whether all of them heal."""

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from studies.markers import put_between
from tests.soak import daemon
from tests.soak.bench import Bench, MissError
from tests.soak.faults import FAULTS


def main(argv: list[str] | None = None) -> int:
    """Run the faults; 0 when every one healed."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--daemon", action="store_true", help="under the real daemon, with nobody's hand")
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--kind", action="append", choices=sorted(FAULTS), help="only these kinds")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the summary there")
    parser.add_argument(
        "--docs", type=Path, default=None, metavar="FILE", help="put the table between its markers there"
    )
    parser.add_argument(
        "--folder", type=Path, default=None, help="work there and keep it; a prepared one is used again"
    )
    args = parser.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="seg soak "))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if args.daemon:
            summary = daemon.soak(folder.resolve(), args.faults, args.seed)
        else:
            summary = soak(folder.resolve(), args.faults, args.seed, args.seconds, args.kind)
    finally:
        if not args.folder:
            shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if args.docs:
        into_docs(args.docs, summary, "daemon" if args.daemon else "soak")
    print(_table(summary))
    return 1 if summary["misses"] or summary["faults"] == 0 else 0


def soak(folder: Path, faults: int, seed: int, seconds: float | None, kinds: list[str] | None) -> dict:
    """Prepare the shop, do the faults one after the other, return the summary."""
    started = time.monotonic()
    bench = Bench(folder)
    with Path(os.devnull).open("w") as quiet, contextlib.redirect_stdout(quiet):
        bench.prepare()
    print(f"the shop and its oracle: {time.monotonic() - started:.0f} s, {len(bench.oracle)} files", flush=True)
    count: Counter[str] = Counter()
    spent: dict[str, float] = defaultdict(float)
    misses = []
    begun = time.monotonic()
    for n, kind in enumerate(order(faults, seed, kinds)):
        if seconds is not None and time.monotonic() - begun > seconds:
            break
        at = time.monotonic()
        rng = random.Random(f"{seed}:{n}:{kind}")
        try:
            told = FAULTS[kind][0](bench, rng)
        except MissError as error:
            misses.append({"fault": n, "kind": kind, "why": str(error)[-3000:]})
            told = f"MISS: {str(error)[-1500:]}"
        count[kind] += 1
        spent[kind] += time.monotonic() - at
        print(f"{n + 1:>4}/{faults} {time.monotonic() - at:5.1f} s  {kind}: {told}", flush=True)
    bench.must(lambda: bench.judge(bench.good))
    return {
        "faults": sum(count.values()),
        "misses": misses,
        "by_kind": {k: {"faults": count[k], "seconds": round(spent[k], 1)} for k in FAULTS if count[k]},
        "seed": seed,
        "files_of_the_oracle": len(bench.oracle),
        "seconds": round(time.monotonic() - started, 1),
    }


def order(faults: int, seed: int, kinds: list[str] | None) -> list[str]:
    """The kinds in the order they are done: each once to begin with, then by their shares."""
    rng = random.Random(seed)
    chosen = {k: share for k, (_, share) in FAULTS.items() if not kinds or k in kinds}
    first = list(chosen)
    more = rng.choices(list(chosen), list(chosen.values()), k=max(0, faults - len(first)))
    return (first + more)[:faults]


def table(summary: dict) -> str:
    """The summary as a Markdown table."""
    wrong = Counter(m["kind"] for m in summary["misses"])
    lines = ["| fault | times | lost or mixed | seconds each |", "|---|---|---|---|"]
    for kind, found in summary["by_kind"].items():
        lines.append(f"| {kind} | {found['faults']} | {wrong[kind]} | {found['seconds'] / found['faults']:.1f} |")
    lines.append(f"| **all** | {summary['faults']} | {len(summary['misses'])} | {summary['seconds']:.0f} s in all |")
    return "\n".join(lines)


def into_docs(page: Path, summary: dict, mark: str) -> None:
    """Replace what stands between the soak's markers on a page."""
    told = f"Seed {summary['seed']}, 2 shared cores:\n\n{_table(summary)}"
    text = page.read_text(encoding="utf-8")
    text = put_between(text, f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->", told, str(page))
    page.write_text(text, encoding="utf-8")


def _table(summary: dict) -> str:
    return table(summary) if "files_of_the_oracle" in summary else daemon.table(summary)


if __name__ == "__main__":
    sys.exit(main())
