"""The measurements behind docs/choosing.md."""

from pathlib import Path

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms
from studies import compare, shops

CHOOSING = Path(__file__).parents[2] / "docs" / "choosing.md"


def test_every_algorithm_takes_part():
    assert set(compare.recipes()) == set(algorithms.names())


def test_what_is_known_of_a_planted_shop_is_measured():
    found = compare.simulated(("groups",), ("kmeans", "outcome_tiers", "density"), users=400, count=2, refits=2)
    by_name = {m.algorithm: m for m in found}
    assert by_name["kmeans"].means["truth_ari"] > 0.3
    assert by_name["outcome_tiers"].means["r2"] > 0.2
    assert by_name["density"].means["left_out"] > 0 == by_name["kmeans"].means["left_out"]
    assert all(m.errors["r2"] is not None for m in found)
    again = compare.simulated(("groups",), ("kmeans",), users=400, count=2, refits=2)
    assert again[0].record() == by_name["kmeans"].record()
    made = compare.sections(found)
    assert set(made) == {"simulated"}
    assert "`outcome_tiers`" in made["simulated"]


def test_a_shop_of_degrees_has_no_truth_to_agree_with():
    (found,) = compare.simulated(("grocery",), ("kmeans",), users=300, count=1, refits=1)
    assert found.means["truth_ari"] is None
    assert "ARI with truth" not in compare.table([found])


def test_tables_stand_between_their_markers_and_the_words_around_them_stay():
    text = "before\n<!-- measured: panel -->\nold\n<!-- end -->\nbetween\n<!-- measured: seconds -->\nold\n<!-- end -->"
    made = compare.between_markers(text, {"panel": "| new |"})
    assert made.splitlines()[0] == "before"
    assert "| new |" in made
    assert "<!-- measured: seconds -->\nold" in made
    assert compare.between_markers(made, {"panel": "| new |"}) == made
    with pytest.raises(ConfigError, match="measured: other"):
        compare.between_markers(text, {"other": "x"})


def test_the_document_has_a_place_for_every_table():
    text = CHOOSING.read_text(encoding="utf-8")
    made = {name: f"| {name} |" for name in ("panel", "simulated", "seconds")}
    assert all(f"| {name} |" in compare.between_markers(text, made) for name in made)


def test_made_up_shops_are_the_same_for_the_same_seed_and_know_their_groups():
    for kind in shops.KINDS:
        one, two = shops.make(kind, users=60), shops.make(kind, users=60)
        assert np.array_equal(one.money, two.money)
        if one.truth is not None:
            assert len(one.truth) == 60
            assert len(np.unique(one.truth)) > 1
