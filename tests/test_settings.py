"""Settings and days: bad values fail early, and say the field, the value and what is allowed."""

import datetime as dt

import pytest

from seg_assets.errors import ConfigError
from seg_assets.partitions import check_in_calendar, contiguous, daily_partitions, day_range, parse_day, say_days
from seg_assets.settings import Settings

DAY = dt.date(2024, 3, 1)


def test_the_environment_wins_over_the_settings_file(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text("time_zone: Europe/Berlin\nstart_day: 2024-02-01\n")
    settings = Settings.from_env({"SEG_ASSETS_SETTINGS": str(file), "SEG_ASSETS_START_DAY": "2024-03-01"})
    assert (settings.time_zone, settings.start_day) == ("Europe/Berlin", DAY)


def test_nothing_is_read_at_import_and_unrelated_variables_are_left_alone():
    assert Settings.from_env({"SEG_ASSETS_TESTING": "x", "HOME": "y"}).seed == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TIME_ZONE", "Berlin", ["time_zone", "Berlin", "Europe/Berlin"]),
        ("START_DAY", "1st of May", ["start_day", "1st of May"]),
        ("SEED", "-1", ["seed", "-1"]),
        ("MEMORY_LIMIT", "lots", ["memory_limit", "lots"]),
        ("END_DAY", "2001-01-01", ["end_day", "2001-01-01", "start_day"]),
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
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        Settings.from_env({"SEG_ASSETS_SETTINGS": str(tmp_path / "gone.yaml")})


def test_settings_travel_to_a_child_process_unchanged(tmp_path):
    settings = Settings.from_env({}, home=tmp_path / "with space", time_zone="Asia/Tokyo", end_day=dt.date(2025, 1, 1))
    assert Settings.from_env(settings.environment()) == settings


@pytest.mark.parametrize("text", ["2024-3-1", "20240301", "2024-02-30", "yesterday", "", "2024-03-01T00:00"])
def test_promise_11_only_one_way_of_writing_a_day_is_taken(text):
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        parse_day(text)


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
