"""`seg-assets report`: write the page of a day from what the lake holds, and open it when asked to.

Not here: what a page says (`gather`, `words`) and how it looks (`page`, `charts`).
"""

import datetime as dt
import webbrowser
from pathlib import Path

import click

from seg_assets.core.calendar import check_in_calendar
from seg_assets.core.errors import ConfigError
from seg_assets.core.options import day_option, strategy_option
from seg_assets.core.settings import Settings
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.reports.gather import build_report
from seg_assets.reports.history import PROFILES, load_history
from seg_assets.reports.page import render
from seg_assets.reports.write import page_path, write_index
from seg_assets.segments.strategy import choose_strategies, strategies_of

# `--open` without a path: the page's usual place.
USUAL = ""


@click.command()
@strategy_option
@day_option
@click.option(
    "--open",
    "target",
    is_flag=False,
    flag_value=USUAL,
    metavar="[PATH]",
    help="Also open the page in a browser. With PATH, one strategy's page is written there instead.",
)
def report(name: str | None, day: dt.date, target: str | None) -> int:
    """Write the HTML page of a day and strategy, and print where it is."""
    settings = Settings.from_env()
    check_in_calendar(day, settings)
    chosen = choose_strategies(settings, name)
    if target and name is None:
        raise ConfigError("--open PATH: one path holds one page; give --strategy too")
    lake = Lake.of(settings)
    lake.require(PROFILES, [day], f"the report of {day}")
    history = load_history(lake, list(chosen), day, day)
    for strategy in chosen.values():
        path = Path(target).expanduser().resolve() if target else page_path(settings, strategy.name, day)
        write_text(path, render(build_report(history, strategy, day)))
        print(path)
        if target is not None:
            webbrowser.open(path.as_uri())
    if not target:
        write_index(settings, {each.name: each.title for each in strategies_of(settings).values()})
    return 0
