"""A wrong configuration fails before anything is written, and says what is allowed. The command line."""

import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.simulator import SimulationConfig, Truth, cli

TOO_MUCH = {"a": {"share": 0.7}, "b": {"share": 0.7}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"users": 0}, "users = 0"),
        ({"users": "many"}, "users = 'many'"),
        ({"days": -1}, "days = -1"),
        ({"start": "2024-13-01"}, "start = '2024-13-01'"),
        ({"start": "2200-12-01", "days": 400}, "past the calendar"),
        ({"scenario": "nope"}, "one of birth"),
        ({"shop": "bakery"}, "one of retail"),
        ({"format": "xml"}, "format = 'xml'"),
        ({"late": "never"}, "late = 'never'"),
        ({"time_zone": "Mars/Base"}, "time_zone = 'Mars/Base'"),
        ({"growht": 0.1}, "growht"),
        ({"events_per_user_day": 0}, "events_per_user_day = 0"),
        ({"segments": {}}, "at least one segment"),
        ({"segments": {"a": {"share": 1, "multiply": {"period_days": float("inf")}}}}, "multiply.period_days = inf"),
        ({"start": "0"}, "start = '0'"),
        ({"segments": {"a": {"share": 0.5, "like": "nobody"}}}, "unknown behaviour 'nobody'"),
        ({"segments": {"gone": {"share": 1}}}, "the name is taken"),
        ({"scripts": [{"kind": "quake", "day": 1}]}, "quake"),
        ({"scripts": [{"kind": "shift", "day": 1, "segment": "lojal"}]}, "one of bargain"),
        ({"scripts": [{"kind": "shift", "day": 1, "segment": "loyal", "multiply": {"speed": 2}}]}, "speed"),
        ({"scripts": [{"kind": "shift", "day": 1, "segment": "loyal", "set": {"buy": 3}}]}, "buy"),
        (
            {"scripts": [{"kind": "shift", "day": 1, "segment": "loyal", "set": {"channels": {"fax": 1}}}]},
            "unknown name 'fax'",
        ),
        (
            {"scripts": [{"kind": "split", "day": 1, "segment": "loyal", "into": TOO_MUCH}]},
            "shares sum to 1.4",
        ),
        ({"scripts": [{"kind": "birth", "day": 1, "segment": "loyal"}]}, "the name is taken"),
        (
            {
                "scripts": [
                    {"kind": "death", "day": 1, "segment": "loyal"},
                    {"kind": "shift", "day": 9, "segment": "loyal"},
                ]
            },
            "'loyal': no such segment then",
        ),
    ],
)  # fmt: skip
def test_promise_11_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields, said):
    with pytest.raises(ConfigError, match=r"simulation|scenario") as error:
        SimulationConfig(**fields)
    assert said in str(error.value)


def test_a_scenario_file_brings_its_own_shop_and_fields_given_beside_it_win(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: Two kinds of people\nusers: 70\ndays: 6\n"
        "segments:\n  few: {share: 1, like: occasional}\n  many: {share: 3, like: loyal, multiply: {buy: 1.5}}\n"
        "scripts:\n  - {kind: death, day: 3, segment: few}\n"
    )
    config = SimulationConfig(scenario=path, users=80)
    assert (config.users, config.days) == (80, 6)
    shares = {name: share for name, (share, _) in config.initial_segments().items()}
    assert shares == {"few": 0.25, "many": 0.75}
    path.write_text("users: [1")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        SimulationConfig(scenario=path)


def command(*words: str) -> int:
    return cli.simulate.main(list(words), standalone_mode=False)


def test_the_command_writes_a_shop_says_what_is_in_it_and_delivers_late_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--landing", "shop", "--users", "60", "--days", "6", "--start", "2025-05-01", "--seed", "3"]
    assert command(*words, "--scenario", "messy", "--events-per-user-day", "3") == 0
    said = capsys.readouterr().out
    truth = Truth.load(tmp_path / "shop")
    assert f"{truth.counts['clean_events'].sum():,} events" in said
    assert "late files wait" in said
    assert truth.counts["day"].min().date().isoformat() == "2025-05-01"
    assert command("--landing", "shop", "--deliver-late", "all") == 0
    assert len(list((tmp_path / "shop" / "events").glob("*.late-1.jsonl"))) == 2
    assert command("--landing", "shop", "--deliver-late", "all") == 1


def test_the_command_takes_the_shop_s_settings_where_nothing_else_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path / "a home"))
    monkeypatch.setenv("SEG_ASSETS_START_DAY", "2023-02-01")
    monkeypatch.setenv("SEG_ASSETS_TIME_ZONE", "Asia/Tokyo")
    assert command("--users", "20", "--days", "2") == 0
    truth = Truth.load(tmp_path / "a home" / "landing")
    assert truth.script["config"]["time_zone"] == "Asia/Tokyo"
    assert truth.counts["day"].min().date().isoformat() == "2023-02-01"
