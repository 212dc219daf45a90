"""Commands that look at the whole lake: `seg-assets doctor`, `rehash`, `gc` and `drift plan`.

Not here: commands that run Dagster jobs (`seg_assets.commands`), and what is examined and planned (`loop.doctor`,
`loop.planner`).
"""

import json
import sys

import click

from seg_assets.core.options import Number, json_option
from seg_assets.core.settings import Settings
from seg_assets.lake.store import Lake
from seg_assets.loop.doctor import examine, look_around, require_days
from seg_assets.loop.mending import collect_garbage, set_aside
from seg_assets.loop.planner import plan
from seg_assets.loop.rehash import rehash
from seg_assets.segments.strategy import strategies_of

# Leftovers that are listed by name; the rest is counted.
MOST_NAMED = 50


@click.command()
@click.option("--verify", is_flag=True, help="Read every file whole and compare it with its hash.")
@click.option("--mend", is_flag=True, help="Set damaged files aside, so that a replay rebuilds them.")
@json_option
def doctor(verify: bool, mend: bool, as_json: bool) -> int:
    """Name what is missing, stale, damaged or undecided, and the command that mends it.

    Exit code 0: healthy; 1: something needs attention; 2: there is no lake to look at.
    """
    settings = Settings.from_env()
    if not as_json:
        for line in look_around(settings):
            print(line, flush=True)
    require_days(settings)
    findings = examine(settings, verify=verify)
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding.text())
        print(f"{len(findings)} findings" if findings else "healthy: nothing missing, stale, damaged or undecided")
    if mend:
        mended = set_aside(settings, findings)
        notes = [f"set aside {path}" for path in mended.moved]
        notes += [f"wrote {path} anew: its decisions are what their hashes say" for path in mended.rewritten]
        for note in [*notes, *mended.left]:
            print(note, file=sys.stderr, flush=True)
    return 1 if findings else 0


@click.command()
def rehash_files() -> int:
    """Hash the rows of lake files anew whose hashes are of another kind, without making a day again.

    Needed once after DuckDB was upgraded to a release whose hashes differ; doctor then names the files. No row
    changes and nothing becomes stale. Let no run be under way; after an interruption, run it again.
    """
    written = rehash(Lake.of(Settings.from_env()))
    print(f"wrote {written} files anew" if written else "every file has a hash of today's kind")
    return 0


@click.command()
@click.option(
    "--older-than-hours",
    "hours",
    type=Number(0, 1_000_000, fraction=True),
    default=24.0,
    metavar="H",
    help="Age from which a leftover is removed (default: 24 hours).",
)
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
def gc(hours: float, dry_run: bool) -> int:
    """Remove what killed runs left behind, once it is old enough; never a file in use."""
    removed, size = collect_garbage(Settings.from_env(), hours * 3600, dry_run=dry_run)
    print(f"{'would remove' if dry_run else 'removed'} {len(removed)} leftovers, {size / 1e6:.1f} MB")
    for path in removed[:MOST_NAMED]:
        print(f"  {path}")
    return 0


@click.command()
def drift_plan() -> int:
    """Print what the drift sensor would run next, and why; run nothing.

    Exit code 0: the loop rests; 1: something is due.
    """
    settings = Settings.from_env()
    planned = plan(Lake.of(settings), strategies_of(settings), settings)
    for request in planned.runs:
        days = f"{request.first}" if request.first == request.last else f"{request.first} .. {request.last}"
        print(f"{request.kind:<10}{days:<26}{request.strategy or ', '.join(request.tables)}: {request.reason}")
    if not planned.runs:
        print(f"the loop rests: {planned.resting_because}")
    return 1 if planned.runs else 0
