"""The command line as a whole: what each command is called, what it imports, and how it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from seg_assets import cli
from seg_assets import commands as chain
from seg_assets.segments import cli as segments
from seg_assets.segments.strategy import load_strategies

HEAVY = ("dagster", "duckdb", "pandas", "pyarrow", "dbt", "evidently", "pydantic", "sklearn")


def commands(group=cli.VERBS, path=()):
    """Every command with the words that name it."""
    context = click.Context(group, info_name=group.name)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def python(code, *words, **options):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, **options)


def test_every_command_of_the_table_exists_and_explains_itself_and_its_options(capsys):
    known = list(commands())
    assert len(known) > 20
    for words, command in known:
        assert cli.main([*words, "--help"]) == 0, words
        page = capsys.readouterr().out
        assert page.startswith(f"Usage: seg-assets {' '.join(words)} "), words
        assert command.help, words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (words, parameter.name)
                assert parameter.help.endswith("."), (words, parameter.name)


def test_the_shipped_strategies_are_listed_and_shown_as_yaml_that_a_shop_can_take(tmp_path, capsys):
    assert cli.main(["strategy", "list"]) == 0
    listed = capsys.readouterr().out
    for name in ("attributes", "behaviour", "interest", "value"):
        assert f"{name}: " in listed
        assert cli.main(["strategy", "show", name]) == 0
        (tmp_path / f"{name}.yaml").write_text(capsys.readouterr().out)
    assert list(load_strategies(tmp_path)) == ["attributes", "behaviour", "interest", "value"]
    assert cli.main(["strategy", "show", "valeu"]) == 2
    assert "did you mean 'value'" in capsys.readouterr().err


def test_the_list_of_commands_imports_none_of_them():
    code = (
        "import sys; from seg_assets import cli; code = cli.main(['--help']);"
        f"print(code, [m for m in {HEAVY!r} if m in sys.modules], [m for m in sys.modules if m.endswith('.cli')])"
    )
    done = python(code)
    assert done.stdout.splitlines()[-1] == "0 [] ['seg_assets.cli']"
    assert all(f"\n  {words[0]} " in done.stdout for words, _ in commands())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("", "Usage: seg-assets [OPTIONS] COMMAND"),
        ("replya", "No such command 'replya'"),
        ("replay", "--from"),
        ("drift", "Usage: seg-assets drift"),
        ("drift shwo", "No such command 'shwo'"),
        ("replay --form 2024-01-01", "--from"),
        ("evaluate --day", "--day"),
        ("load other", "complete_journey"),
        ("evaluate --day 2024-1-31", "--day '2024-1-31': not a day; write it as YYYY-MM-DD"),
        ("ui --port web", "--port web: a whole number from 1 to 65,535"),
    ],
)
def test_words_that_are_no_command_exit_with_2_and_say_what_is_wrong(words, named, capsys):
    assert cli.main(words.split()) == 2
    printed = capsys.readouterr()
    assert named in printed.err
    assert not printed.out


@pytest.mark.parametrize("user", ["-17", "-.5", "--", "--help", "-x y"])
def test_a_user_id_may_begin_with_a_dash(user, tmp_path, monkeypatch):
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("SEG_ASSETS_START_DAY", "2024-01-01")
    asked = []
    monkeypatch.setattr(segments, "explain_user", lambda lake, strategy, user, day: asked.append(user))
    monkeypatch.setattr(segments, "explanation_text", str)
    number = user in ("-17", "-.5")
    words = [user] if number else ["--", user]
    assert cli.main(["explain", "--day", "2024-01-02", "--strategy", "value", *words]) == 0
    assert asked == [user]


def test_a_mistyped_option_is_not_taken_for_a_user_id(capsys):
    assert cli.main(["explain", "--strat", "value", "u", "--day", "2024-01-02"]) == 2
    assert "--strat" in capsys.readouterr().err


def test_the_process_ends_with_the_code_after_its_exit_handlers_and_nothing_after_them():
    code = (
        "import atexit, sys\nfrom seg_assets import cli\n"
        "class Late:\n    def __del__(self):\n        print('torn down', flush=True)\n"
        "late = Late()\n"
        "def main():\n    atexit.register(print, 'handler')\n    print('worked')\n    return int(sys.argv[1])\n"
        "cli.main = main\ncli.entry()\n"
    )
    for number in (0, 1, 2):
        done = python(code, str(number))
        assert (done.returncode, done.stdout.split(), done.stderr) == (number, ["worked", "handler"], "")


def test_an_error_that_nobody_caught_ends_the_process_with_1_and_is_shown():
    done = python(
        "from seg_assets import cli\ndef main():\n    raise RuntimeError('odd')\ncli.main = main\ncli.entry()"
    )
    assert done.returncode == 1
    assert "RuntimeError: odd" in done.stderr


def test_a_reader_that_has_read_enough_hears_no_more_and_the_code_says_that_the_command_did_not_end():
    done = subprocess.run(
        f'"{sys.executable}" -c "import sys; from seg_assets import cli;'
        "cli.VERBS.invoke = lambda context: [print('x' * 1000) for _ in range(1000)] and 0;"
        "sys.argv = ['seg-assets', 'views']; cli.entry()\" | head -1; echo ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    # Not 0: of doctor that would say healthy.
    assert done.stdout.split()[-1] == "141"
    assert done.stderr == ""


@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_that_cannot_be_written_is_one_line(lines):
    code = (
        "import sys; from seg_assets import cli\n"
        f"def main():\n    for _ in range({lines}):\n        print('word')\n    return 0\n"
        "cli.main = main\ncli.entry()"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "seg-assets: the output could not be written: No space left on device\n"


# At work in a way that swallows whatever is raised, as libraries do. Its first line says whether a program that
# it starts would hear Ctrl-C.
AT_WORK = """
import subprocess, sys, time
from seg_assets import cli
from seg_assets.core.stopping import when_stopped

def main():
    heard = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    with when_stopped(lambda: "finished: 2 runs"), when_stopped(lambda: 1 / 0):
        print(subprocess.run([sys.executable, "-c", heard], capture_output=True, text=True).stdout.strip(), flush=True)
        while True:
            try:
                time.sleep(0.01)
                print("more", file=sys.stderr, end="")
            except BaseException:
                pass

cli.main = main
cli.entry()
"""


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_ends_a_command_in_a_line_of_what_was_finished(number, code, name, in_background):
    if in_background and number == signal.SIGINT:
        pytest.skip("a shell has it ignored")
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_IGN if in_background else signal.default_int_handler
        ),
    )
    assert process.stdout.readline() == "True\n", "what a command starts hears Ctrl-C"
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert said.removeprefix("more" * said.count("more")) == f"seg-assets: stopped by {name}; finished: 2 runs\n"


def test_a_command_in_the_background_does_not_hear_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.kill()
    process.communicate()


def test_the_services_of_the_ui_are_ended_with_all_that_they_started(monkeypatch):
    monkeypatch.setattr(chain, "STOP_SERVICES_SECONDS", 1.0)
    deaf = "trap '' TERM INT; (trap '' TERM INT; sleep 60) & (sleep 60) & echo begun; wait; sleep 60"
    services = subprocess.Popen(["bash", "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
    services.stdout.readline()
    chain._stop_services([services])
    services.wait(5)
    deadline = time.monotonic() + 5
    while chain._has_processes(services.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not chain._has_processes(services.pid)
    services.stdout.close()
