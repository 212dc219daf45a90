"""Migration matrices: intervals against published numbers, a null that rests, planted flows that are found."""

import datetime as dt
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.segments.daily import migration
from tests.segments.daily_shop import BareLake, publish_profiles, publish_segments

DAY = dt.date(2024, 3, 1)
WEEK = dt.timedelta(days=7)


def flows(cells: dict[tuple[str, str], int], cents: dict[tuple[str, str], int] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        [(f, t, n, (cents or {}).get((f, t), 0)) for (f, t), n in cells.items()],
        columns=["from_segment", "to_segment", "users", "spend_cents"],
    )


def windows(tables: list[pd.DataFrame]) -> list:
    return [((DAY - WEEK * (n + 1), DAY - WEEK * n), t) for n, t in enumerate(tables)]


def stationary(rng: np.random.Generator, users: int, chain: dict[str, list[float]]) -> pd.DataFrame:
    states = list(chain)
    cells = {}
    for state in states:
        for target, n in zip(states, rng.multinomial(users, chain[state]), strict=True):
            if n:
                cells[state, target] = int(n)
    return flows(cells)


CHAIN = {"v-001": [0.9, 0.08, 0.02], "v-002": [0.05, 0.9, 0.05], "v-003": [0.01, 0.09, 0.9]}


def test_wilson_gives_the_interval_that_newcombe_published():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81/263, 15/148, 0/20, 1/29.
    low, high = migration.share_interval(np.array([81, 15, 0, 1]), np.array([263, 148, 20, 29]))
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


def test_clopper_pearson_gives_the_interval_that_newcombe_published():
    low, high = migration.share_interval(np.array([81, 15, 0, 1]), np.array([263, 148, 20, 29]), "clopper-pearson")
    assert low == pytest.approx([0.2527, 0.0578, 0.0, 0.0009], abs=5e-5)
    assert high == pytest.approx([0.3676, 0.1617, 0.1684, 0.1776], abs=5e-5)


def test_an_interval_without_users_is_unknown_not_zero():
    for method in migration.INTERVALS:
        low, high = migration.share_interval(np.array([0]), np.array([0]), method)
        assert np.isnan(low[0]) and np.isnan(high[0])


def test_holm_matches_the_textbook_example_and_leaves_untested_cells_out():
    adjusted = migration.holm(np.array([0.01, np.nan, 0.04, 0.03, 0.005]))
    assert adjusted[[0, 2, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(adjusted[1])


def test_a_stationary_shop_is_seldom_flagged():
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(60):
        past = windows([stationary(rng, 2000, CHAIN) for _ in range(5)])
        found = migration.migrate("v", DAY, DAY + WEEK, stationary(rng, 2000, CHAIN), past, {})
        flagged += len(found.unusual) > 0
    # Family error is 5 %: of 60 shops 3 are expected, 9 or more have probability 0.001.
    assert flagged <= 8


def test_a_planted_flow_is_flagged_with_its_excess():
    rng = np.random.default_rng(2)
    past = windows([stationary(rng, 2000, CHAIN) for _ in range(4)])
    shifted = {**CHAIN, "v-001": [0.82, 0.08, 0.10]}
    found = migration.migrate("v", DAY, DAY + WEEK, stationary(rng, 2000, shifted), past, {})
    first = found.unusual.iloc[0]
    assert (first["from_segment"], first["to_segment"]) == ("v-001", "v-003")
    assert 100 < first["excess"] < 220
    assert first["low"] < 0.10 < first["high"]
    assert set(found.unusual["from_segment"]) == {"v-001"}


def test_a_restless_past_makes_the_same_flow_unremarkable():
    rng = np.random.default_rng(3)
    restless = []
    for away in (0.02, 0.12, 0.04, 0.15, 0.01):
        restless.append(stationary(rng, 2000, {**CHAIN, "v-001": [0.92 - away, 0.08, away]}))
    now = stationary(rng, 2000, {**CHAIN, "v-001": [0.82, 0.08, 0.10]})
    found = migration.migrate("v", DAY, DAY + WEEK, now, windows(restless), {})
    assert found.overdispersion > 5
    assert not len(found.unusual)


def test_nothing_is_flagged_without_a_past_or_with_a_single_earlier_window():
    rng = np.random.default_rng(4)
    now = flows({("v-001", "v-002"): 900, ("v-001", "v-001"): 100})
    alone = migration.migrate("v", DAY, DAY + WEEK, now, [], {})
    assert not len(alone.unusual) and alone.cells["p_value"].isna().all()
    assert "no earlier window" in migration.say(alone)
    one = migration.migrate("v", DAY, DAY + WEEK, now, windows([stationary(rng, 1000, CHAIN)]), {})
    assert not len(one.unusual) and one.cells["excess"].abs().max() > 500


def test_rows_of_shares_add_up_to_one_and_hold_their_intervals():
    rng = np.random.default_rng(5)
    found = migration.migrate("v", DAY, DAY + WEEK, stationary(rng, 500, CHAIN), [], {})
    assert found.cells.groupby("from_segment")["share"].sum().to_numpy() == pytest.approx(1)
    assert ((found.cells["low"] <= found.cells["share"]) & (found.cells["share"] <= found.cells["high"])).all()


def test_value_at_risk_counts_each_cent_of_downward_dormant_and_leaving_users_once():
    now = flows(
        {
            ("v-001", "v-002"): 2,
            ("v-002", "v-001"): 3,
            ("v-002", "v-dormant"): 1,
            ("v-001", migration.LEFT): 1,
            ("v-001", "v-001"): 4,
            (migration.ENTERED, "v-002"): 5,
            ("v-dormant", "v-002"): 1,
        },
        {
            ("v-001", "v-002"): 10_01,
            ("v-002", "v-001"): 999_99,
            ("v-002", "v-dormant"): 20_10,
            ("v-001", migration.LEFT): 5_05,
            ("v-001", "v-001"): 777_77,
            ("v-dormant", "v-002"): 3_33,
        },
    )
    values = {"v-001": 100.0, "v-002": 10.0, "v-dormant": 50.0}
    found = migration.migrate("v", DAY, DAY + WEEK, now, [], values, dormant="v-dormant")
    assert found.value_at_risk == 35.16


def test_the_matrix_of_two_lake_days_counts_every_user_and_orders_segments_by_value(tmp_path):
    lake = BareLake(tmp_path / "lake", DAY - WEEK)
    users = [f"u{n}" for n in range(10)] + ["o'hara", "two\nlines", "ünï—✓"]
    for day, shift in ((DAY - WEEK, 0), (DAY, 1)):
        publish_profiles(lake, day, pd.DataFrame({"user_id": users, "monetary_90d": 10.10 + shift}))
    publish_segments(lake, DAY - WEEK, "v", dict.fromkeys(users, "v-001"))
    after = dict.fromkeys(users[:-1], "v-002") | {"newcomer": "v-001"}
    publish_segments(lake, DAY, "v", after)
    found = migration.load_migration(lake, "v", DAY - WEEK, DAY)
    counts = {(c.from_segment, c.to_segment): c.users for c in found.cells.itertuples()}
    assert counts == {
        ("v-001", "v-002"): 12,
        ("v-001", migration.LEFT): 1,
        (migration.ENTERED, "v-001"): 1,
    }
    assert found.value_at_risk == 10.10
    text = migration.say(found, {"v-001": "Regulars"})
    assert "v-001 = Regulars" in text and "92.3%" in text


def test_a_day_that_is_not_there_is_named_and_a_backward_window_refused(tmp_path):
    lake = BareLake(tmp_path / "lake", DAY - WEEK)
    with pytest.raises(MissingDaysError, match=str(DAY - WEEK)):
        migration.load_migration(lake, "v", DAY - WEEK, DAY)
    with pytest.raises(ConfigError, match="must end after"):
        migration.load_migration(lake, "v", DAY, DAY)


def test_an_unknown_strategy_is_answered_with_the_known_ones(tmp_path):
    lake = BareLake(tmp_path / "lake", DAY)
    for day in (DAY, DAY + WEEK):
        publish_profiles(lake, day, pd.DataFrame({"user_id": ["a"], "monetary_90d": [1.0]}))
        publish_segments(lake, day, "value", {"a": "value-001"})
    with pytest.raises(ConfigError, match="the lake has value"):
        migration.load_migration(lake, "vlaue", DAY, DAY + WEEK)


def test_the_heat_map_is_well_formed_whatever_the_names_hold():
    found = migration.migrate("v", DAY, DAY + WEEK, flows({("v-001", "v-002"): 3, ("v-001", "v-001"): 5}), [], {})
    picture = migration.heat_map_svg(found, {"v-001": '<b>"Big" & bold</b>'})
    root = ET.fromstring(picture)
    cells = [rect for rect in root.findall("{http://www.w3.org/2000/svg}rect") if rect.get("fill-opacity")]
    assert len(cells) == 2
