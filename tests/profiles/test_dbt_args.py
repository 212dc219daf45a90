"""What we ask of dbt."""

import datetime as dt
from pathlib import Path

from seg_assets.profiles import dbt_args

PROJECT, SCRATCH = Path("/some where/project"), Path("/scratch")


def test_dbt_builds_what_was_named_and_nothing_else():
    args = dbt_args.build_args(PROJECT, SCRATCH, ["b", "a"], ["t"])
    chosen = args[args.index("--select") + 1 : args.index("--indirect-selection")]
    assert chosen == ["a", "b", "t"]
    assert args[args.index("--indirect-selection") + 1] == "empty"
    assert args[args.index("--exclude-resource-type") + 1] == "unit_test"


def test_dbt_writes_into_the_scratch_folder_only():
    for args in (
        dbt_args.parse_args(PROJECT, SCRATCH),
        dbt_args.build_args(PROJECT, SCRATCH, ["a"], []),
        dbt_args.unit_test_args(PROJECT, SCRATCH),
    ):
        assert args[args.index("--target-path") + 1] == "/scratch/target"
        assert args[args.index("--log-path") + 1] == "/scratch/logs"
        assert "--vars" not in args, "new variables would switch partial parsing off"


def test_by_hand_days_travel_as_variables():
    args = dbt_args.by_hand_args(PROJECT, SCRATCH, dt.date(2024, 1, 1), dt.date(2024, 1, 3), ["user_profiles"])
    assert args[args.index("--vars") + 1] == "{start_date: '2024-01-01', end_date: '2024-01-03'}"


def test_unit_tests_can_be_asked_of_one_model():
    args = dbt_args.unit_test_args(PROJECT, SCRATCH, ["user_profiles"])
    assert "user_profiles,test_type:unit" in args
