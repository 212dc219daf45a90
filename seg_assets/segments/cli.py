"""Commands of the segments room: `explain`, `migration`, `tune`, `rollback`. Thin: read, call, print."""

import argparse
import json
import sys
from typing import Any


def add_commands(subparsers: Any) -> None:
    """Add the commands of this room to the command line."""
    explain = subparsers.add_parser(
        "explain",
        help="why a user is in a segment, what moved them, what would",
        description="Why a user is in a segment of a day, what moved them there, and the smallest change that would "
        "move them on. Reads the lake only.",
    )
    explain.add_argument("user", metavar="USER", help="user_id, whole")
    explain.add_argument("--day", required=True, help="YYYY-MM-DD")
    explain.add_argument("--strategy", help="one strategy; default: all")
    explain.set_defaults(run=run_explain)

    migration = subparsers.add_parser(
        "migration",
        help="who flowed from which segment to which over a window",
        description="The migration matrix of a window with intervals, flows that earlier windows do not explain, and "
        "the value at risk. Reads the lake only.",
    )
    migration.add_argument("--strategy", required=True)
    migration.add_argument("--from", dest="first", required=True, metavar="DAY", help="YYYY-MM-DD")
    migration.add_argument("--to", dest="last", required=True, metavar="DAY", help="YYYY-MM-DD")
    migration.add_argument(
        "--interval", default="wilson", choices=["wilson", "clopper-pearson"], help="method of the intervals"
    )
    migration.add_argument("--json", action="store_true", help="print the cells as JSON records")
    migration.add_argument("--svg", metavar="FILE", help="also write the heat map")
    migration.set_defaults(run=run_migration)

    tune = subparsers.add_parser(
        "tune",
        help="how many segments, by which criteria, and what each feature adds",
        description="The table that a fit of the day would choose the number of segments from, each criterion with its "
        "standard error, the chosen k and why, and what each feature adds. Reads the lake only.",
    )
    tune.add_argument("strategy", metavar="STRATEGY", help="a strategy of the shop")
    tune.add_argument("--day", required=True, help="YYYY-MM-DD")
    tune.add_argument("--k", metavar="MIN-MAX", help="numbers of segments to look at (default: the strategy's range)")
    tune.add_argument("--no-features", action="store_true", help="leave out the table of features")
    tune.add_argument("--json", action="store_true", help="print JSON")
    tune.add_argument("--output", metavar="FILE", help="also write a picture: FILE.html or FILE.svg")
    tune.set_defaults(run=run_tune)

    rollback = subparsers.add_parser(
        "rollback",
        help="return to the champion before the present one, as a decision of a day",
        description="Return a strategy to the champion before the present one. Nothing is erased: it is a new decision "
        "on the day, made by a run of the job `recluster`, and the segments of that day and later become stale.",
    )
    rollback.add_argument("strategy", metavar="STRATEGY", help="a strategy of the shop")
    rollback.add_argument("--day", help="YYYY-MM-DD (default: the last day with profiles)")
    rollback.add_argument("--reason", default="", metavar="TEXT", help="why; kept with the decision")
    rollback.add_argument("--again", action="store_true", help="go one model further back on the same day")
    rollback.set_defaults(run=run_rollback)


def run_explain(args: argparse.Namespace) -> int:
    """Print a user's segments of a day."""
    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.settings import Settings
    from seg_assets.lake.store import Lake
    from seg_assets.segments.explaining.explain import explain_user, say

    settings = Settings.from_env()
    day = check_in_calendar(parse_day(args.day), settings)
    lake = Lake.of(settings)
    for strategy in _strategies(settings, args.strategy):
        sys.stdout.write(say(explain_user(lake, strategy, args.user, day)) + "\n")
    return 0


def run_migration(args: argparse.Namespace) -> int:
    """Print a migration matrix."""
    from pathlib import Path

    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_range
    from seg_assets.core.settings import Settings
    from seg_assets.lake.store import Lake
    from seg_assets.segments.daily.migration import heat_map_svg, load_migration, say
    from seg_assets.segments.decisions.store import champion_as_of
    from seg_assets.segments.model import marked_names
    from seg_assets.segments.rules import DORMANT, rule_id

    settings = Settings.from_env()
    first, last = (check_in_calendar(day, settings) for day in parse_range(args.first, args.last))
    strategy = _strategies(settings, args.strategy)[0]
    lake = Lake.of(settings)
    found = load_migration(
        lake, strategy.name, first, last, dormant=rule_id(strategy.name, DORMANT), interval=args.interval
    )
    names: dict[str, str] = {}
    for day in (first, last):
        decision = champion_as_of(lake, strategy.name, day)
        names.update(marked_names(strategy, decision.segment_model() if decision else None))
    if args.svg:
        Path(args.svg).write_text(heat_map_svg(found, names), encoding="utf-8")
    if args.json:
        sys.stdout.write(json.dumps(json.loads(found.cells.to_json(orient="records")), indent=1) + "\n")
    else:
        sys.stdout.write(say(found, names) + "\n")
    return 0


def run_tune(args: argparse.Namespace) -> int:
    """Print the choice of k and what each feature adds."""
    from pathlib import Path

    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.errors import ConfigError
    from seg_assets.core.settings import Settings
    from seg_assets.lake.store import Lake
    from seg_assets.segments.decisions.store import champion_before
    from seg_assets.segments.fitting import tuning

    settings = Settings.from_env()
    day = check_in_calendar(parse_day(args.day), settings)
    strategy = _strategies(settings, args.strategy, "STRATEGY")[0]
    output = Path(args.output) if args.output else None
    if output and output.suffix not in (".html", ".svg"):
        raise ConfigError(f"--output {args.output!r}: a file that ends in .html or .svg")
    lake = Lake.of(settings)
    champion = champion_before(lake, strategy.name, day)
    champion_k = champion.segment_model().n_clusters if champion else None
    counts = _range(args.k)
    found = tuning.tune(lake, strategy, day, settings.seed, counts, not args.no_features, champion_k=champion_k)
    if output:
        text = tuning.page(found) if output.suffix == ".html" else tuning.picture(found)
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--output {args.output!r}: cannot be written: {error}") from None
    sys.stdout.write(
        (json.dumps(found.to_dict(), indent=1, allow_nan=False) if args.json else tuning.say(found)) + "\n"
    )
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """Make the decision, in a run that the UI shows, and say what is stale now."""
    from seg_assets.core.calendar import check_in_calendar
    from seg_assets.core.days import parse_day
    from seg_assets.core.errors import ConfigError
    from seg_assets.core.settings import Settings
    from seg_assets.lake.store import Lake
    from seg_assets.segments.decisions import store as decisions
    from seg_assets.segments.decisions.rollback import rollback_request

    settings = Settings.from_env()
    strategy = _strategies(settings, args.strategy, "STRATEGY")[0]
    lake = Lake.of(settings)
    known = lake.days("user_profiles")
    if not known:
        raise ConfigError(
            f"rollback of {strategy.name}: the lake has no user_profiles yet, so there is nothing to undo"
        )
    day = check_in_calendar(parse_day(args.day), settings) if args.day else known[-1]
    lake.require("user_profiles", [day], f"rollback of {strategy.name}")
    request, done = rollback_request(lake, strategy.name, day, args.reason, args.again)
    if done is not None:
        sys.stdout.write(
            f"{strategy.name}: done already on {day}: {done.reason}. One model further back: --again, or a later day\n"
        )
        return 0
    _run_request(settings, request)
    made = decisions.decisions_of_day(lake, strategy.name, day)[-1]
    sys.stdout.write(f"{strategy.name}, {day}: {made.reason}\n")
    for row in made.lineage:
        olds, news = ", ".join(row["old_ids"]) or "nothing", ", ".join(row["new_ids"]) or "nothing"
        sys.stdout.write(f"  {row['event']:<8} {olds} -> {news} ({row['shared_users']:,} users)\n")
    sys.stdout.write(
        f"Stale now: segments, moves, evaluation and verdicts from {day} on. The drift sensor refreshes them, or: "
        f"seg-assets replay --from {day} --to {known[-1]}\n"
    )
    return 0


def _run_request(settings: Any, request: Any) -> None:
    """One run of the job `recluster` in this process, recorded like any other."""
    import dagster as dg

    from seg_assets.build import build_defs
    from seg_assets.core.errors import SegAssetsError
    from seg_assets.orchestration.instance import open_instance, prepare_instance

    asked = {
        "strategy": request.strategy,
        "day": request.day.isoformat(),
        "cause": request.cause,
        "attempt": request.attempt,
        "note": request.note,
    }
    with open_instance(prepare_instance(settings)) as instance:
        result = (
            build_defs(settings)
            .resolve_job_def("recluster")
            .execute_in_process(
                instance=instance,
                partition_key=request.day.isoformat(),
                run_config={
                    "loggers": {"console": {"config": {"log_level": "ERROR"}}},
                    "ops": {"segment_model": {"config": {"requests": [asked]}}},
                },
                asset_selection=[dg.AssetKey("segment_model")],
                tags={"seg/strategy": request.strategy, "seg/day": request.day.isoformat(), "seg/cause": request.cause},
                raise_on_error=False,
            )
        )
    if not result.success:
        told = [e.step_failure_data.error for e in result.all_events if e.is_step_failure and e.step_failure_data]
        why = "; ".join((e.cause or e).message.strip() for e in told if e)
        raise SegAssetsError(f"{request.cause} of {request.strategy} on {request.day} failed: {why or 'see the run'}")


def _range(text: str | None) -> tuple[int, int] | None:
    from seg_assets.core.errors import ConfigError

    if text is None:
        return None
    low, _, high = text.partition("-")
    if not low.isdecimal() or not (high or low).isdecimal() or not 2 <= int(low) <= int(high or low) <= 50:
        raise ConfigError(f"--k {text!r}: two whole numbers from 2 to 50, for example 3-8")
    return int(low), int(high or low)


def _strategies(settings: Any, name: str | None, option: str = "--strategy") -> list[Any]:
    from seg_assets.core.errors import ConfigError, did_you_mean
    from seg_assets.segments.strategy import strategies_of

    known = strategies_of(settings)
    if name is None:
        return list(known.values())
    if name not in known:
        raise ConfigError(
            f"{option} = {name!r}: no such strategy{did_you_mean(name, known)}; there are: {', '.join(known)}"
        )
    return [known[name]]
