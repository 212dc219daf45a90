"""What Evidently misses by itself is seen here: nulls, odd number types, all-null columns, few users."""

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import DamagedFileError
from seg_assets.drift.evidently_report import (
    Limits,
    compare,
    read_snapshot,
    scores_of,
    write_page,
    write_snapshot,
)
from seg_assets.segments.fitting.reference import describe
from tests.drift.small_shop import strategy

LIMITS = Limits(0.1, 0.02)
POSITIONS = 2000


def described(columns: dict, positions: int = POSITIONS) -> dict:
    one = strategy(drift={"positions": positions, "columns": ["monetary_28d"]})
    watched = one.model_copy(update={"drift": one.drift.model_copy(update={"columns": tuple(columns)})})
    return describe(watched, pd.DataFrame(columns), None)


def compared(now: dict, then: dict, limits: Limits = LIMITS) -> dict:
    found = compare(described(now), described(then), limits, POSITIONS)
    return {column.column: column for column in found.columns}


def spend(seed: int, users: int = 20_000, factor: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(3, 1, users) * factor


def test_the_same_distribution_is_no_drift_and_a_fifth_more_spend_is():
    found = compared(
        {"same": spend(1), "more": spend(2, factor=1.2)},
        {"same": spend(3), "more": spend(4)},
    )
    assert not found["same"].drifted
    assert found["more"].drifted


def test_sixty_percent_new_nulls_are_drift_though_the_distance_of_the_rest_is_nought():
    then, now = spend(1), spend(1)
    then[::100] = np.nan
    now[np.arange(len(now)) % 10 < 6] = np.nan
    found = compared({"x": now}, {"x": then})["x"]
    assert not found.drifted, "the distance drops nulls; if it saw them, this test would prove nothing"
    assert found.missing_drifted
    assert (round(found.missing_then, 2), round(found.missing_now, 2)) == (0.01, 0.6)


def test_nulls_that_vanish_are_drift_too():
    then = spend(1)
    then[np.arange(len(then)) % 10 < 6] = np.nan
    assert compared({"x": spend(1)}, {"x": then})["x"].missing_drifted


@pytest.mark.parametrize("kind", ["uint8", "Int64", "Float64", "boolean", "float32", "UInt16"])
def test_every_number_type_is_watched(kind):
    rng = np.random.default_rng(0)
    then, now = rng.integers(0, 2, 5000), rng.integers(0, 2, 5000) | (rng.random(5000) < 0.5)
    found = compared({"x": pd.array(now, dtype=kind)}, {"x": pd.array(then, dtype=kind)})["x"]
    assert found.method == "wasserstein"
    assert found.drifted


def test_infinite_values_count_as_missing_and_break_nothing():
    now = spend(1)
    now[:5000] = np.inf
    found = compared({"x": now}, {"x": spend(2)})["x"]
    assert found.missing_now == 0.25
    assert found.missing_drifted


def test_a_column_null_for_everyone_does_not_stop_the_others():
    empty = np.full(20_000, np.nan)
    found = compared({"gone": empty, "x": spend(1, factor=2)}, {"gone": spend(2), "x": spend(3)})
    assert found["x"].drifted
    assert (found["gone"].method, found["gone"].score, found["gone"].note) == ("none", None, "null for everyone")
    assert found["gone"].missing_drifted


def test_text_with_odd_values_is_compared_by_shares_and_nulls_are_a_level():
    rng = np.random.default_rng(0)
    names = np.array(["it's", 'a "b"', "x\ny", "select", ""], dtype=object)
    then, now = names[rng.integers(0, 5, 9000)], names[rng.integers(0, 5, 9000)]
    same = compared({"t": pd.array(now, dtype="str")}, {"t": pd.array(then, dtype="str")})["t"]
    assert (same.method, same.drifted) == ("jensenshannon", False)
    now[: len(now) // 2] = None
    changed = compared({"t": pd.array(now, dtype="str")}, {"t": pd.array(then, dtype="str")})["t"]
    assert changed.drifted
    assert changed.missing_drifted


def test_constants_one_user_and_columns_new_in_the_watch_list_have_a_stated_outcome():
    found = compared({"c": np.ones(500), "new": np.ones(500)}, {"c": np.ones(800)})
    assert (found["c"].score, found["c"].drifted) == (0.0, False)
    assert (found["new"].method, found["new"].note) == ("none", "not in the baseline")
    assert compared({"c": np.array([1.0])}, {"c": np.array([1.0])})["c"].score == 0.0


def test_a_value_that_was_the_same_for_everyone_needs_more_than_a_few_users_to_drift():
    then, few, many = np.zeros(20_000), np.zeros(20_000), np.zeros(20_000)
    few[:20], many[:4000] = 5.0, 5.0
    assert not compared({"c": few}, {"c": then})["c"].drifted
    assert compared({"c": many}, {"c": then})["c"].drifted


def test_a_column_that_turns_from_text_to_number_is_said_not_compared():
    now = {"x": np.ones(100)}
    found = compared(now, {"x": pd.array(["a"] * 100, dtype="str")})["x"]
    assert (found.method, found.drifted) == ("none", False)
    assert "text on one day" in found.note


def test_2000_quantiles_say_what_all_values_say_within_two_thousandths():
    from scipy.stats import wasserstein_distance

    for seed, factor in enumerate((1.0, 1.05, 1.1, 1.3)):
        then, now = np.log1p(spend(seed, 50_000)), np.log1p(spend(seed + 10, 50_000, factor))
        exact = wasserstein_distance(then, now) / then.std()
        found = compared({"x": np.expm1(now)}, {"x": np.expm1(then)})["x"].score
        assert abs(found - exact) < 0.002


@pytest.fixture(scope="module")
def both() -> tuple[dict, dict]:
    """Today and the baseline: one column that drifted, one that did not, one of text, some nulls."""
    now = {"x": spend(1, factor=1.3), "y": spend(2), "city": np.array(["Ulm", "Bonn"] * 10_000, dtype=object)}
    then = {"x": spend(3), "y": spend(4), "city": np.array(["Ulm", "Bonn", "Bonn", "Bonn"] * 5_000, dtype=object)}
    then["y"][::7] = np.nan
    return described(now), described(then)


def test_a_stored_snapshot_says_what_was_said_on_the_day_and_the_next_comparison_says_the_same(both, tmp_path):
    first, second = (compare(*both, LIMITS, POSITIONS) for _ in range(2))
    assert first.columns == second.columns
    path = tmp_path / "value" / "day=2024-01-01.json.gz"
    write_snapshot(first.snapshot, path)
    stored = scores_of(read_snapshot(path))
    assert stored == {c.column: (c.score, c.drifted) for c in first.columns}
    assert [drifted for _, drifted in stored.values()] == [True, False, True]


def test_the_page_of_a_stored_snapshot_is_evidentlys_own_with_every_picture(both, tmp_path):
    snapshot = compare(*both, LIMITS, POSITIONS).snapshot
    write_snapshot(snapshot, tmp_path / "day=2024-01-01.json.gz")
    write_page(tmp_path / "day=2024-01-01.json.gz", tmp_path / "day=2024-01-01.html")
    text = (tmp_path / "day=2024-01-01.html").read_text(encoding="utf-8")
    assert text.count("Drift in column") >= 3
    assert text.count("DATA DISTRIBUTION") >= 3
    assert 'src="' not in text.replace('src="data:', ""), "the page needs no other file and no network"


def test_a_file_that_is_no_snapshot_is_refused_by_name(tmp_path):
    path = tmp_path / "day=2024-01-01.json.gz"
    write_snapshot('{"metrics": [], "tests": []}', path)
    with pytest.raises(DamagedFileError, match=r"2024-01-01\.json\.gz.*delete the file"):
        read_snapshot(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DamagedFileError, match=r"2024-01-01\.json\.gz"):
        read_snapshot(path)
