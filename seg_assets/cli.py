"""The entry of the command line: which commands there are, where each is defined, and how a command ends.

A command's module is imported when the command is named, so that `seg-assets --help` imports none of them.

Not here: what a command does and takes. That stands in the `cli` module of its room, and in `commands` for commands
that concern the whole chain.
"""

import atexit
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from seg_assets import __version__
from seg_assets.core.errors import SegAssetsError

PROGRAM = "seg-assets"
# Of every command.
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass(frozen=True)
class Verb:
    """A command: the module that defines it, its name there, and the line that stands for it in a list."""

    module: str
    attribute: str
    help: str


class LazyGroup(click.Group):
    """A group of commands whose modules are imported when a command is named."""

    def __init__(self, name: str, verbs: Mapping[str, "Verb | LazyGroup"], help: str) -> None:
        super().__init__(name, help=help, context_settings=CONTEXT)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which they are listed."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name, and None for a name that is no command."""
        verb = self.verbs.get(cmd_name)
        return getattr(importlib.import_module(verb.module), verb.attribute) if isinstance(verb, Verb) else verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help or "") for name, verb in self.verbs.items()])


SOURCE = LazyGroup(
    "source",
    {
        "check": Verb("seg_assets.events.cli", "check", "Try a source YAML on a sample file."),
        "list": Verb("seg_assets.events.cli", "list_sources", "List the shipped sources."),
        "show": Verb("seg_assets.events.cli", "show", "Show a shipped source, YAML and SELECT."),
    },
    help="Try a source YAML on a sample file, or list the shipped sources.",
)
STRATEGY = LazyGroup(
    "strategy",
    {
        "list": Verb("seg_assets.segments.cli", "list_strategies", "List the shipped strategies."),
        "show": Verb("seg_assets.segments.cli", "show_strategy", "Print the YAML of a shipped strategy."),
    },
    help="List the shipped strategies, or print one as a start for your own.",
)
DRIFT = LazyGroup(
    "drift",
    {
        "show": Verb("seg_assets.drift.cli", "show", "Print the verdicts of a day with their reasons."),
        "html": Verb("seg_assets.drift.cli", "html", "Write Evidently's page of a day, flagged or not."),
        "plan": Verb("seg_assets.loop.cli", "drift_plan", "Print what the drift sensor would run next; run nothing."),
    },
    help="Show drift verdicts and reports, and what the re-clustering loop would run next.",
)
VERBS = LazyGroup(
    PROGRAM,
    {
        "init": Verb("seg_assets.commands", "init", "Write the folder of a new shop."),
        "replay": Verb("seg_assets.commands", "replay", "Materialize days and run the loop, without a daemon."),
        "demo": Verb("seg_assets.commands", "demo", "Take a real shop through every room, and print a summary."),
        "ui": Verb("seg_assets.commands", "ui", "Start the Dagster UI and daemon of this shop."),
        "doctor": Verb("seg_assets.loop.cli", "doctor", "Name what is missing, stale, damaged or undecided."),
        "rehash": Verb("seg_assets.loop.cli", "rehash_files", "Hash files of an earlier DuckDB anew; make no day."),
        "gc": Verb("seg_assets.loop.cli", "gc", "Remove old leftovers, never a file in use."),
        "views": Verb("seg_assets.commands", "views", "Print SQL with one view per lake table, for any DuckDB."),
        "source": SOURCE,
        "strategy": STRATEGY,
        "load": Verb("seg_assets.commands", "load", "Write a public data set as landing files."),
        "simulate": Verb("seg_assets.simulator.cli", "simulate", "Write a simulated shop as landing files."),
        "explain": Verb("seg_assets.segments.cli", "explain", "Explain why a user is in a segment."),
        "migration": Verb("seg_assets.segments.cli", "migration", "Show who moved from which segment to which."),
        "tune": Verb("seg_assets.segments.cli", "tune", "Show how many segments fit a strategy, and why."),
        "rollback": Verb("seg_assets.commands", "rollback", "Return a strategy to its previous champion."),
        "evaluate": Verb("seg_assets.evaluation.cli", "evaluate", "Show how good the segments of a day are."),
        "decisions": Verb("seg_assets.evaluation.cli", "decisions", "List a strategy's decisions and their worth."),
        "validate": Verb("seg_assets.evaluation.cli", "validate", "Compare what segments say about the future."),
        "drift": DRIFT,
        "report": Verb("seg_assets.reports.cli", "report", "Write the HTML page of a day and strategy."),
    },
    help="User segments that stay right every day. Settings come from settings.yaml and SEG_ASSETS_* variables.",
)
click.version_option(__version__, message="%(prog)s %(version)s")(VERBS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 the command reports something, 2 it could not run."""
    # Evidently's own service and Dagster's uploader would post statistics otherwise.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with VERBS.make_context(PROGRAM, words) as context:
            return VERBS.invoke(context) or 0
    except click.exceptions.Exit as stop:  # --help and --version end so
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except SegAssetsError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (`head`, say) has read enough; what is still to be flushed goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def entry() -> None:
    """Run the command line and end the process; the console script and `python -m seg_assets.cli` call this."""
    code: int | None = None

    def end() -> None:
        # An error that nobody caught ends the process in Python's own way.
        if code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    # The work is done and every file is closed, so the process ends with the exit handlers. What comes after them in
    # Python would let DuckDB's binding print pages about leaked instances that dbt and Dagster hold (duckdb 2.0).
    # Handlers run in reverse order: this one is registered before those of what a command imports.
    atexit.register(end)
    code = main()
    sys.exit(code)


if __name__ == "__main__":
    entry()
