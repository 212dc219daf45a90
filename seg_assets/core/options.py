"""Options that commands of several rooms share, and the types of the values that they take.

A value that cannot be is a ConfigError, which names the option, the value and what is allowed.

Not here: which days a shop has (`core.calendar`), which strategies it has (`segments.strategy`), and the commands
themselves (each room's `cli`).
"""

import datetime as dt
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from seg_assets.core.days import parse_day
from seg_assets.core.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])


# Older releases of click that dbt allows have no type argument.
class Day(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A day, written as YYYY-MM-DD."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """Return the text of an option as a date."""
        return value if isinstance(value, dt.date) else parse_day(value, _option(param))


class Number(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A number between two bounds, both included; whole, or with a fraction."""

    name = "number"

    def __init__(self, least: int, most: int, *, fraction: bool = False) -> None:
        self.least, self.most, self.fraction = least, most, fraction

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the text of an option as a number."""
        try:
            number = float(value) if self.fraction else int(value)
        except ValueError:
            number = math.nan
        # What is no number (nan) lies between no bounds.
        if not self.least <= number <= self.most:
            kind = "number" if self.fraction else "whole number"
            raise ConfigError(f"{_option(param)} {value}: a {kind} from {self.least:,} to {self.most:,}")
        return number


DAY = Day()

day_option = click.option("--day", type=DAY, required=True, metavar="DAY", help="The day, as YYYY-MM-DD.")
strategy_option = click.option("--strategy", "name", metavar="S", help="One strategy (default: all).")
one_strategy_option = click.option("--strategy", "name", required=True, metavar="S", help="A strategy of the shop.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def range_options(first: str, last: str) -> Callable[[Command], Command]:
    """Add `--from` and `--to` to a command, which takes them as `first` and `last`.

    Args:
        first: help of `--from`.
        last: help of `--to`.
    """

    def add(command: Command) -> Command:
        command = click.option("--to", "last", type=DAY, required=True, metavar="DAY", help=last)(command)
        return click.option("--from", "first", type=DAY, required=True, metavar="DAY", help=first)(command)

    return add


def _option(param: click.Parameter | None) -> str:
    return param.opts[0] if param else "value"
