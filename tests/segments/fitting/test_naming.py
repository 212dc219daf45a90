"""Readable names: what they say, that they are unique, and that they stay."""

import pytest

from seg_assets.segments.fitting.naming import Named, compose, name_segments, name_tiers


def name(distinctions, means=None):
    return compose(distinctions, means or {}).name


def test_names_say_what_sets_a_segment_apart():
    assert name({"orders_90d": 1.5, "monetary_90d": 1.6}) == "Frequent big spenders"
    assert name({"recency_days": 1.9, "orders_90d": -1.0}, {"orders_90d": 1.0}) == "Lapsing one-time buyers"
    assert name({"discount_share_90d": 2.0, "basket_size_90d": 0.1}) == "Bargain hunters"
    assert name({"category:grocery": 2.0, "category:DAIRY": 1.0}) == "Grocery and Dairy lovers"
    assert name({"age_band=35-44": 1.8, "sex=female": 1.2}) == "Age band 35-44, female"
    assert name({"device_mobile_share_90d": 1.2}) == "Mobile shoppers"


def test_a_column_of_a_projects_own_still_gets_words():
    assert name({"loyalty_points_90d": 2.0}) == "High loyalty points customers"


def test_a_segment_like_everyone_is_called_average():
    assert compose({"orders_90d": 0.1, "monetary_90d": -0.2}, {}) == Named("Average customers", ())


def test_odd_words_of_a_shop_stay_on_one_short_line():
    said = name({"category:" + "tea\n| <b>x</b> " * 20: 2.0})
    assert "\n" not in said
    assert len(said) < 60


def test_names_within_a_strategy_are_unique():
    same = {"orders_90d": 1.0, "monetary_90d": 1.2}
    named = name_segments(["v-001", "v-002", "v-003"], [same, same, {**same, "views_90d": 0.9}], [{}] * 3)
    assert len({n.name for n in named}) == 3
    assert "browsing" in named[2].name.lower(), "told apart by what differs, where something does"


def test_promise_08_a_name_stays_while_its_story_holds_and_changes_when_it_does_not():
    first = name_segments(["v-001"], [{"orders_90d": 1.0, "monetary_90d": 1.1}], [{}])[0]
    before = {"v-001": first}
    drifted = {"orders_90d": 0.6, "monetary_90d": 0.5, "views_90d": 0.8}
    assert name_segments(["v-001"], [drifted], [{}], before) == [first]
    turned = {"orders_90d": -1.0, "monetary_90d": -1.1}
    assert name_segments(["v-001"], [turned], [{}], before)[0].name != first.name
    outshone = {"orders_90d": 0.4, "monetary_90d": 0.4, "discount_share_90d": 3.0}
    assert name_segments(["v-001"], [outshone], [{}], before)[0].name != first.name


def test_a_kept_name_is_not_given_to_another_segment():
    story = {"orders_90d": 1.0, "monetary_90d": 1.1}
    first = name_segments(["v-001"], [story], [{}])[0]
    named = name_segments(["v-009", "v-001"], [story, story], [{}, {}], {"v-001": first})
    assert named[1] == first
    assert named[0].name != first.name


@pytest.mark.parametrize("count", [2, 5, 7, 12])
def test_ordered_tiers_are_named_by_their_order_and_differ(count):
    named = name_tiers([f"value-{n:03d}" for n in range(count)], "value", [{}] * count, [{}] * count)
    names = [n.name for n in named]
    assert len(set(names)) == count
    assert all("value" in name for name in names)
    if count == 5:
        assert names == ["Top value", "High value", "Middle value", "Low value", "Lowest value"]
