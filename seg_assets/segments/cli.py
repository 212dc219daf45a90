"""Commands of the segments room: `seg-assets explain`, `migration`, `tune` and `strategy`.

The first three read the lake and print, `strategy list` and `strategy show` read the shipped YAMLs.

Not here: `rollback`, which runs a job (`seg_assets.commands`).
"""

import datetime as dt
import json
import re
from pathlib import Path

import click

from seg_assets.core.calendar import check_in_calendar, check_range
from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.options import day_option, json_option, one_strategy_option, range_options, strategy_option
from seg_assets.core.settings import Settings
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.segments.daily import migration as migrations
from seg_assets.segments.decisions.store import champion_as_of, champion_before
from seg_assets.segments.explaining.text import say as explanation_text
from seg_assets.segments.explaining.user import explain_user
from seg_assets.segments.fitting import tuning
from seg_assets.segments.model import marked_names
from seg_assets.segments.rules import DORMANT, rule_id
from seg_assets.segments.strategy import choose_strategies, choose_strategy, read_strategy, shipped_strategies

_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
PICTURES = (".html", ".svg")


class _TakesNegativeNumbers(click.Command):
    """A command whose argument may look like a negative number (some user ids do), without `--` before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = any(_NEGATIVE_NUMBER.fullmatch(word) for word in args)
        return super().parse_args(ctx, args)


@click.command()
def list_strategies() -> int:
    """List the shipped strategies with what each is for, and its file."""
    for name, path in shipped_strategies().items():
        strategy = read_strategy(path)
        print(f"{name}: {strategy.title}")
        print(f"    {' '.join(strategy.description.split())}")
        print(f"    {path}")
    return 0


@click.command()
@click.argument("name", metavar="NAME")
def show_strategy(name: str) -> int:
    """Print the YAML of the shipped strategy NAME, a start for one of your own."""
    shipped = shipped_strategies()
    if name not in shipped:
        hint = did_you_mean(name, shipped)
        raise ConfigError(f"NAME {name!r}: no such shipped strategy{hint}; there are: {', '.join(shipped)}")
    print(shipped[name].read_text(encoding="utf-8"), end="")
    return 0


@click.command(cls=_TakesNegativeNumbers)
@click.argument("user", metavar="USER")
@day_option
@strategy_option
def explain(user: str, day: dt.date, name: str | None) -> int:
    """Explain why USER (a whole user_id) is in a segment of a day.

    Also says what moved the user there, and the smallest change that would move the user on. Reads the lake only.
    """
    settings = Settings.from_env()
    check_in_calendar(day, settings)
    lake = Lake.of(settings)
    for strategy in choose_strategies(settings, name).values():
        print(explanation_text(explain_user(lake, strategy, user, day)))
    return 0


@click.command()
@one_strategy_option
@range_options("First day of the window, as YYYY-MM-DD.", "Last day of the window.")
@click.option(
    "--interval",
    type=click.Choice(["wilson", "clopper-pearson"]),
    default="wilson",
    help="Method of the intervals (default: wilson).",
)
@json_option
@click.option("--svg", "picture", type=click.Path(path_type=Path), metavar="FILE", help="Also write a heat map.")
def migration(
    name: str, first: dt.date, last: dt.date, interval: migrations.Interval, as_json: bool, picture: Path | None
) -> int:
    """Show who moved from which segment to which over a window.

    Prints the migration matrix with intervals, the flows that earlier windows do not explain, and the value at risk.
    Reads the lake only.
    """
    settings = Settings.from_env()
    check_range(first, last, settings)
    strategy = choose_strategy(settings, name)
    lake = Lake.of(settings)
    matrix = migrations.load_migration(
        lake, strategy.name, first, last, dormant=rule_id(strategy.name, DORMANT), interval=interval
    )
    names: dict[str, str] = {}
    for day in (first, last):
        decision = champion_as_of(lake, strategy.name, day)
        names.update(marked_names(strategy, decision.segment_model() if decision else None))
    if picture:
        _write("--svg", picture, migrations.heat_map_svg(matrix, names))
    if as_json:
        print(json.dumps(json.loads(matrix.cells.to_json(orient="records")), indent=1))
    else:
        print(migrations.say(matrix, names))
    return 0


@click.command()
@click.argument("name", metavar="STRATEGY")
@day_option
@click.option("--k", "numbers", metavar="MIN-MAX", help="Numbers of segments to try (default: the strategy's range).")
@click.option("--no-features", is_flag=True, help="Leave out the table of features.")
@json_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a picture, to a file that ends in .html or .svg.",
)
def tune(name: str, day: dt.date, numbers: str | None, no_features: bool, as_json: bool, output: Path | None) -> int:
    """Show how many segments fit STRATEGY on a day, by which criteria, and what each feature adds.

    This is the table from which a fit of the day would choose the number of segments, k: each criterion with its
    standard error, the chosen k, and why. Reads the lake only.
    """
    settings = Settings.from_env()
    check_in_calendar(day, settings)
    strategy = choose_strategy(settings, name, "STRATEGY")
    if output and output.suffix not in PICTURES:
        raise ConfigError(f"--output {str(output)!r}: a file that ends in {' or '.join(PICTURES)}")
    lake, counts = Lake.of(settings), _range_of_k(numbers)
    champion = champion_before(lake, strategy.name, day)
    champion_k = champion.segment_model().n_clusters if champion else None
    tuned = tuning.tune(lake, strategy, day, settings.seed, counts, not no_features, champion_k=champion_k)
    if output:
        _write("--output", output, tuning.page(tuned) if output.suffix == ".html" else tuning.picture(tuned))
    print(json.dumps(tuned.to_dict(), indent=1, allow_nan=False) if as_json else tuning.say(tuned))
    return 0


def _write(option: str, path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ConfigError(f"{option} {str(path)!r}: cannot be written: {error}") from None


def _range_of_k(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    low, _, high = text.partition("-")
    if not low.isdecimal() or not (high or low).isdecimal() or not 2 <= int(low) <= int(high or low) <= 50:
        raise ConfigError(f"--k {text!r}: two whole numbers from 2 to 50, for example 3-8")
    return int(low), int(high or low)
