"""The command line as a whole: what each command is called, what it imports, and how it ends."""

import subprocess
import sys

import click
import pytest

from seg_assets import cli
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


def test_a_reader_that_has_read_enough_is_no_error():
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
    assert done.stdout.split()[-1] == "0"
    assert done.stderr == ""
