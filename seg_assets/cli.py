"""The entry of the command line: which commands there are, where each is defined, and how a command ends.

A command's module is imported when the command is named, so that `seg-assets --help` imports none of them.

Exit codes: 0 fine, 1 the command reports something, 2 it could not run or its output could not be written, 128 and the
signal's number when it was stopped (130 by Ctrl-C, 143 by SIGTERM) or its reader went away before the end (141).

The command runs in a thread of its own, and the main thread waits: Python hands signals to the main thread, where
Dagster puts handlers of its own and DuckDB hides what they raise. A command can be ended at any moment, since a day is
replaced whole or not at all.

Not here: what a command does and takes. That stands in the `cli` module of its room, and in `commands` for commands
that concern the whole chain.
"""

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

import click

from seg_assets import __version__
from seg_assets.core.errors import SegAssetsError
from seg_assets.core.stopping import stop_all

PROGRAM = "seg-assets"
# A command that is told to stop has this long to end what is under way; then it ends all the same.
STOP_SECONDS = 10.0
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
        "draft": Verb("seg_assets.events.cli", "draft", "Draft a source YAML from the files of a shop."),
        "list": Verb("seg_assets.events.cli", "list_sources", "List the shipped sources."),
        "show": Verb("seg_assets.events.cli", "show", "Show a shipped source, YAML and SELECT."),
    },
    help="Draft a source YAML, try one on a sample file, or list the shipped sources.",
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


class Stopped(BaseException):
    """The process was told to stop, by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def entry() -> None:
    """Run the command line and end the process; the console script and `python -m seg_assets.cli` call this."""
    codes: list[int] = []

    def work() -> None:
        try:
            codes.append(main())
        except OSError as error:
            codes.append(_unwritten(error))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            codes.append(1)

    # The work is done and every file is closed, so the process ends with the exit handlers. What comes after them in
    # Python would let DuckDB's binding print pages about leaked instances that dbt and Dagster hold (duckdb 2.0).
    # Handlers run in reverse order: this one is registered before those of what a command imports.
    atexit.register(lambda: os._exit(codes[0]))
    try:
        _listen()
        command = threading.Thread(target=work, name="command", daemon=True)
        command.start()
        command.join()
    except Stopped as stopped:
        _stop(stopped.signal)
    _end_on_signals()
    try:
        sys.stdout.flush()
    except OSError as error:
        codes[0] = _unwritten(error) if codes[0] or not isinstance(error, BrokenPipeError) else 0
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    sys.exit(codes[0])


def _listen() -> None:
    """Have SIGTERM and Ctrl-C raise `Stopped` in the main thread.

    A shell without job control starts what ends in & with SIGINT ignored, and so it stays. A handler is set all the
    same: programs that a command starts then have the default again, and Dagster treats SIGTERM as it does SIGINT.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.signal(signal.SIGINT, (lambda number, frame: None) if ignored else stop)
    signal.signal(signal.SIGTERM, stop)


def _end_on_signals() -> None:
    """Have a signal end the process at once, from now on."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: os._exit(128 + number))


def _stop(number: signal.Signals) -> None:
    """End what is under way, say in one line what was finished, and end the process without waiting for the command."""
    _end_on_signals()
    # What the command says of what is taken from it would be no news.
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    said: list[str] = []
    ending = threading.Thread(target=lambda: said.extend(stop_all()), daemon=True)
    ending.start()
    ending.join(STOP_SECONDS)
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    line = "; ".join([f"{PROGRAM}: stopped by {name}", *said])
    with contextlib.suppress(OSError):
        # A progress bar may stand in the terminal's line.
        os.write(stderr, f"{chr(10) if os.isatty(stderr) else ''}{line}\n".encode(errors="replace"))
    os._exit(128 + number)


def _unwritten(error: OSError) -> int:
    """Return the exit code for an error of a command's output, and say it in a line; a closed pipe is no news.

    An error of another file is a defect: what cannot be written is an error of ours, by name.
    """
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if error.filename is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    with contextlib.suppress(OSError):
        os.write(2, f"{PROGRAM}: the output could not be written: {error.strerror or error}\n".encode())
    return 2


if __name__ == "__main__":
    entry()
