"""Settings and days: bad values fail early, and say the field, the value and what is allowed."""

import datetime as dt
import os
import re
import sys
from pathlib import Path

import pytest

from seg_assets import cli
from seg_assets.core import calendar
from seg_assets.core.calendar import check_in_calendar, check_range
from seg_assets.core.days import ONE_DAY, contiguous, day_range, parse_day, say_days
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import NO_FIELDS, Settings, settings_file
from seg_assets.orchestration.partitions import daily_partitions

DAY = dt.date(2024, 3, 1)
# Names that tests use to be refused.
WRONG_ON_PURPOSE = {"TIMEZONE", "LAK_FILE", "NO_SUCH_SETTING"}


def test_the_environment_wins_over_the_settings_file(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text("time_zone: Europe/Berlin\nstart_day: 2024-02-01\n")
    settings = Settings.from_env({"SEG_ASSETS_SETTINGS": str(file), "SEG_ASSETS_START_DAY": "2024-03-01"})
    assert (settings.time_zone, settings.start_day) == ("Europe/Berlin", DAY)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder, and a process without a variable of ours."""
    for name in [n for n in os.environ if n.startswith("SEG_ASSETS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_settings_yaml_of_the_working_folder_is_read_unless_a_variable_names_another_or_none(folder, monkeypatch):
    (folder / "settings.yaml").write_text("seed: 5\n")
    (folder / "other.yaml").write_text("seed: 7\n")
    assert Settings.from_env().seed == 5
    # A child process, a resource, a test: who hands variables in means these and no others.
    assert Settings.from_env({}).seed == 0
    assert Settings.from_env(Settings.from_env().environment()).seed == 5
    monkeypatch.setenv("SEG_ASSETS_SETTINGS", "other.yaml")
    assert Settings.from_env().seed == 7
    assert settings_file() == folder / "other.yaml"
    assert Settings.from_env(file=folder / "settings.yaml").seed == 7, "the variable wins over the argument"
    monkeypatch.setenv("SEG_ASSETS_SETTINGS", "")
    assert Settings.from_env().seed == 0
    assert Settings.from_env(file=folder / "settings.yaml").seed == 0
    monkeypatch.delenv("SEG_ASSETS_SETTINGS")
    monkeypatch.chdir("/")
    assert Settings.from_env(file=folder / "settings.yaml").seed == 5


def test_relative_paths_of_the_settings_file_are_relative_to_it_and_those_of_variables_to_the_working_folder(
    tmp_path, monkeypatch
):
    """Run from elsewhere, by a daemon or with a variable that names the file, a shop finds its own folders."""
    shop = tmp_path / "shop"
    shop.mkdir()
    file = shop / "settings.yaml"
    file.write_text("landing: drop\nsource: sources/mine.yaml\nstrategies: strategies/\nreports: ~/reports\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    settings = Settings.from_env({"SEG_ASSETS_SETTINGS": "shop/settings.yaml"})
    assert settings.landing == shop / "drop"
    assert settings.source == str(shop / "sources" / "mine.yaml")
    assert settings.strategies == shop / "strategies"
    assert settings.reports == tmp_path / "somebody" / "reports"
    assert settings.home == shop / ".seg_assets", "what the file does not say lies beside it"
    assert settings.lake == shop / ".seg_assets" / "lake"
    settings = Settings.from_env({"SEG_ASSETS_SETTINGS": str(file), "SEG_ASSETS_LANDING": "drop"})
    assert settings.landing == tmp_path / "drop"
    file.write_text("source: simulator\nlake: memory://bucket/lake\nhome: /data\n")
    settings = Settings.from_env({}, file=file)
    assert (settings.source, str(settings.lake), settings.home) == ("simulator", "memory://bucket/lake", Path("/data"))


def test_a_settings_yaml_of_something_else_is_passed_by_with_one_warning(folder, caplog):
    (folder / "settings.yaml").write_text("database:\n  host: db\nlogging: verbose\n")
    for _ in range(2):
        assert Settings.from_env().seed == 0
    (warning,) = [record.getMessage() for record in caplog.records]
    assert str(folder / "settings.yaml") in warning
    assert "SEG_ASSETS_SETTINGS" in warning
    (folder / "settings.yaml").write_text("")
    assert Settings.from_env().home == folder / ".seg_assets"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timezone: Europe/Berlin\n", ["timezone", "did you mean 'time_zone'"]),
        ("database: db\nseed: 1\n", ["database", "no such setting"]),
        ("seed: [1\n", ["line"]),
    ],
)
def test_promise_11_a_settings_yaml_that_may_be_meant_for_us_is_never_passed_by(text, words, folder):
    """A shop in Berlin must not be cut into days of UTC because of a typo; whoever owns the file is told what to do."""
    (folder / "settings.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Settings.from_env()
    for word in [*words, str(folder / "settings.yaml"), "If the file is not for seg-assets, set SEG_ASSETS_SETTINGS"]:
        assert word in str(caught.value)


@pytest.mark.parametrize("key", ["password", "db_password", "api_key", "AWS_SECRET_ACCESS_KEY", "token", "credentials"])
def test_promise_11_a_secret_in_the_settings_file_is_refused_and_not_repeated(key, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(f"seed: 1\n{key}: hunter2\n")
    with pytest.raises(ConfigError, match=rf"settings\.yaml: {key}: looks like a secret.*set the variable") as caught:
        Settings.from_env({}, file=file)
    assert "hunter2" not in str(caught.value)


def test_promise_11_a_password_inside_a_url_of_the_settings_file_is_refused(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("lake: sftp://me:hunter2@host/lake\n")
    with pytest.raises(
        ConfigError, match=r"lake: looks like a secret.*SEG_ASSETS_LAKE, or SEG_ASSETS_LAKE_FILE"
    ) as caught:
        Settings.from_env({}, file=file)
    assert "hunter2" not in str(caught.value)


def test_a_variable_may_name_a_file_that_holds_the_value(tmp_path):
    value = tmp_path / "value"
    value.write_text("memory://bucket/lake\n")
    assert str(Settings.from_env({"SEG_ASSETS_LAKE_FILE": str(value)}).lake) == "memory://bucket/lake"
    for env, words in (
        ({"SEG_ASSETS_LAKE_FILE": str(tmp_path / "gone")}, "SEG_ASSETS_LAKE_FILE = .*gone': no such file"),
        ({"SEG_ASSETS_LAKE_FILE": str(value), "SEG_ASSETS_LAKE": "x"}, "SEG_ASSETS_LAKE is set too"),
        ({"SEG_ASSETS_LAK_FILE": str(value)}, "no such setting"),
        ({"SEG_ASSETS_SOURCE_FILE": __file__}, "the value alone, on one line"),
        ({"SEG_ASSETS_SEED_FILE": str(value)}, r"SEG_ASSETS_SEED_FILE: seed = \(not shown\)"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            Settings.from_env(env)
        assert "bucket" not in str(caught.value)


def test_variables_that_are_no_settings_are_left_alone():
    others = {"SEG_ASSETS_TEST_SHOPS": "20", "SEG_ASSETS_DBT_THREADS": "2", "SEG_ASSETS_SEED": "", "HOME": "y"}
    assert Settings.from_env(others).seed == 0


def test_promise_11_a_mistyped_variable_is_refused_and_the_nearest_one_named():
    """It was ignored: a shop in Berlin was cut into days of UTC."""
    with pytest.raises(ConfigError, match=r"SEG_ASSETS_TIMEZONE = 'Europe/Berlin'.*did you mean 'TIME_ZONE'") as caught:
        Settings.from_env({"SEG_ASSETS_TIMEZONE": "Europe/Berlin"})
    assert "START_DAY" in str(caught.value)


def test_every_variable_that_docs_and_deployment_name_is_taken():
    root = Path(__file__).parents[2]
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("deploy/**/*"), root / "Makefile"]
    pages += [root / "dbt_project" / "profiles.yml", *root.glob("benchmarks/*.py"), *root.glob("tests/**/*.py")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages if page.is_file())
    named = set(re.findall(r"\bSEG_ASSETS_([A-Z_]*[A-Z])\b", text)) - WRONG_ON_PURPOSE
    assert {"HOME", "TIME_ZONE", "DBT_THREADS", "TEST_SHOPS"} <= named
    fields = {field.upper() for field in Settings.model_fields}
    assert named <= {*fields, *(f"{field}_FILE" for field in fields), *NO_FIELDS}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TIME_ZONE", "Berlin", ["time_zone", "Berlin", "Europe/Berlin"]),
        ("START_DAY", "1st of May", ["start_day", "1st of May"]),
        ("SEED", "-1", ["seed", "-1"]),
        ("MEMORY_LIMIT", "lots", ["memory_limit", "lots"]),
        ("END_DAY", "2001-01-01", ["end_day", "2001-01-01", "start_day"]),
        ("END_DAY", "9999-12-31", ["end_day", "9999-12-31", "2200"]),
        ("START_DAY", "0", ["start_day", "'0'", "YYYY-MM-DD"]),
        ("START_DAY", "1704067200", ["start_day", "1704067200", "YYYY-MM-DD"]),
        ("START_DAY", "2024-01-01T00:00", ["start_day", "2024-01-01T00:00", "YYYY-MM-DD"]),
        ("MEMORY_LIMIT", "0GB", ["memory_limit", "0GB", "64MB"]),
        ("MEMORY_LIMIT", "1MB", ["memory_limit", "1MB", "64MB"]),
        ("MEMORY_LIMIT", "9" * 40 + "TB", ["memory_limit", "9TB", "1000TB"]),
        ("TIME_ZONE", "localtime", ["time_zone", "localtime", "Europe/Berlin"]),
        ("TIME_ZONE", "Factory", ["time_zone", "Factory", "Europe/Berlin"]),
        ("HOME", "~nosuchuser/x", ["home", "~nosuchuser/x"]),
        ("LAKE", "s3://", ["lake", "s3://bucket/lake"]),
        ("LAKE", "foo://bucket/lake", ["lake", "foo://bucket/lake"]),
    ],
)
def test_promise_11_a_bad_setting_is_named_with_its_value(name, value, words):
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({f"SEG_ASSETS_{name}": value})
    for word in words:
        assert word in str(caught.value)


def test_promise_11_a_typo_in_the_settings_file_names_file_and_field(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text("time_zon: UTC\n")
    with pytest.raises(ConfigError, match=r"shop\.yaml.*time_zon"):
        Settings.from_env({"SEG_ASSETS_SETTINGS": str(file)})
    file.write_text("- just\n- a list\n")
    with pytest.raises(ConfigError, match="mapping"):
        Settings.from_env({"SEG_ASSETS_SETTINGS": str(file)})
    for text, named in (
        ("1: 2\n", "1 = 2"),
        ("lake: 5\n", "lake = 5"),
        ("timezone: UTC\n", "did you mean 'time_zone'"),
        ("start_day: 20240101\n", "start_day = 20240101"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=rf"shop\.yaml: .*{named}"):
            Settings.from_env({"SEG_ASSETS_SETTINGS": str(file)})
    with pytest.raises(ConfigError, match=r"^SEG_ASSETS_SEED: seed = 'x'"):
        Settings.from_env(
            {"SEG_ASSETS_SETTINGS": str(file), "SEG_ASSETS_SEED": "x", "SEG_ASSETS_START_DAY": "2024-01-01"}
        )
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        Settings.from_env({"SEG_ASSETS_SETTINGS": str(tmp_path / "gone.yaml")})


def test_settings_travel_to_a_child_process_unchanged(tmp_path):
    settings = Settings.from_env({}, home=tmp_path / "with space", time_zone="Asia/Tokyo", end_day=dt.date(2025, 1, 1))
    assert Settings.from_env(settings.environment()) == settings


@pytest.mark.parametrize("text", ["2024-3-1", "20240301", "2024-02-30", "yesterday", "", "2024-03-01T00:00"])
def test_promise_11_only_one_way_of_writing_a_day_is_taken(text):
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        parse_day(text)


def test_promise_11_a_range_that_ends_before_it_begins_is_refused_with_both_days():
    settings = Settings.from_env({}, end_day=dt.date(2024, 12, 31))
    assert check_range(DAY, DAY, settings) == (DAY, DAY)
    with pytest.raises(ConfigError, match=r"2024-03-02 \.\. 2024-03-01.*earlier day first"):
        check_range(DAY + ONE_DAY, DAY, settings)


@pytest.mark.parametrize(
    "words",
    [
        "replay --from 2024-03-02 --to 2024-03-01",
        "migration --strategy value --from 2024-03-02 --to 2024-03-01",
        "validate --strategy value --from 2024-03-02 --to 2024-03-01",
        "load complete_journey --from 2017-03-02 --to 2017-03-01",
        "demo --to 2016-12-31",
    ],
)
def test_every_command_that_takes_a_range_refuses_a_reversed_one(words, tmp_path, monkeypatch, capsys):
    """A reversed range was an empty one: exit 0, and nothing done."""
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    assert cli.main(words.split()) == 2
    assert "the first is after the last" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_promise_11_a_day_that_has_not_closed_in_the_shop_s_zone_is_refused(monkeypatch):
    monkeypatch.setattr(calendar, "_now", lambda: dt.datetime(2024, 3, 2, 4, 30, tzinfo=dt.UTC))
    yesterday, today = DAY, DAY + ONE_DAY
    assert check_in_calendar(yesterday, Settings.from_env({})) == yesterday
    with pytest.raises(ConfigError, match=r"2024-03-02: has not closed yet.*UTC.*last closed day is 2024-03-01"):
        check_in_calendar(today, Settings.from_env({}))
    # There it is still half past eleven of the evening before.
    with pytest.raises(ConfigError, match=r"2024-03-01: has not closed yet.*New_York"):
        check_in_calendar(yesterday, Settings.from_env({}, time_zone="America/New_York"))
    simulated = Settings.from_env({}, end_day=dt.date(2030, 1, 1))
    assert check_in_calendar(dt.date(2030, 1, 1), simulated) == dt.date(2030, 1, 1)


def test_replay_of_days_that_have_not_happened_writes_nothing(tmp_path, monkeypatch, capsys):
    """With `closed_days: normal` they were materialized as days without events."""
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    today = dt.datetime.now(dt.UTC).date()
    first, last = today - ONE_DAY, today + ONE_DAY
    assert cli.main(["replay", "--from", str(first), "--to", str(last)]) == 2
    assert f"day = {last}: has not closed yet" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    "words",
    [
        "gc --older-than-hours -5",
        "gc --older-than-hours nan",
        "ui --port 70000",
        "decisions value --horizon 999999999",
        "validate --strategy value --from 2024-03-01 --to 2024-03-01 --horizon 999999999",
        "source check simulator README.md --rows -1",
    ],
)
def test_promise_11_a_number_that_cannot_be_is_refused_with_what_is_allowed(words, tmp_path, monkeypatch, capsys):
    """A negative retention removed the leftovers of runs at work."""
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    monkeypatch.chdir(Path(__file__).parents[2])
    assert cli.main(words.split()) == 2
    option, value = words.split()[-2:]
    assert re.search(rf"{option} {float(value):.0f}\b.*: a (whole )?number from", capsys.readouterr().err)


def test_a_home_that_cannot_be_made_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert cli.main(["replay", "--from", "2024-03-01", "--to", "2024-03-01"]) == 2
    assert f"home = {tmp_path / 'file' / 'home'}" in capsys.readouterr().err


def test_an_object_store_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"lake = 's3://bucket/lake'.*pip install 'seg-assets\[s3\]'"):
        Settings.from_env({"SEG_ASSETS_LAKE": "s3://bucket/lake"})


def test_promise_11_a_day_outside_the_calendar_is_refused():
    settings = Settings.from_env({}, start_day=DAY, end_day=DAY)
    assert check_in_calendar(DAY, settings) == DAY
    for outside in (dt.date(2024, 2, 29), dt.date(2024, 3, 2)):
        with pytest.raises(ConfigError, match=r"outside the calendar 2024-03-01 \.\. 2024-03-01"):
            check_in_calendar(outside, settings)


def test_the_calendar_has_every_day_once_also_across_a_clock_change():
    settings = Settings.from_env(
        {}, start_day=dt.date(2024, 3, 9), end_day=dt.date(2024, 3, 12), time_zone="America/New_York"
    )
    keys = daily_partitions(settings).get_partition_keys()
    assert keys == ["2024-03-09", "2024-03-10", "2024-03-11", "2024-03-12"]


def test_ranges_cover_the_days_and_nothing_else():
    days = [*day_range(DAY, DAY + dt.timedelta(days=2)), DAY + dt.timedelta(days=5)]
    assert contiguous(reversed(days)) == [(days[0], days[2]), (days[3], days[3])]
    assert say_days(days) == "2024-03-01 .. 2024-03-03, 2024-03-06"
    assert day_range(DAY, DAY - dt.timedelta(days=1)) == []
