"""The vocabulary of profile columns is that of the dbt project."""

from seg_assets.core import columns
from seg_assets.core.settings import Settings
from seg_assets.profiles.project import profile_types
from seg_assets.segments.strategy import PROFILE_COLUMNS, TEXT_COLUMNS


def test_every_column_of_the_profiles_is_in_the_vocabulary_and_every_word_is_of_a_column():
    types = profile_types(Settings())
    # The one column that a shop's own profiles need not have.
    assert set(types) - {"user_id", "purchase_days_all"} == PROFILE_COLUMNS
    assert {c for c, kind in types.items() if kind == "VARCHAR"} == TEXT_COLUMNS
    days = {c for c, kind in types.items() if kind == "DATE"}
    assert days == {c for c, quantity in columns.COLUMNS.items() if quantity.unit == "day"}


def test_a_column_is_split_into_what_it_holds_and_its_window():
    assert columns.split_window("orders_90d") == ("orders", "90d")
    assert columns.split_window("inter_purchase_days_all") == ("inter_purchase_days", "all")
    assert columns.split_window("tenure_days") == ("tenure_days", "")
    assert columns.share_of("channel_web_share") == ("channel", "web")
    assert columns.share_of("discount_share") is None


def test_shares_and_counts_are_told_from_the_rest():
    assert all(map(columns.is_share, ("discount_share_90d", "cart_to_purchase_rate_all", "category:tea", "sex=F")))
    assert not columns.is_share("monetary_90d")
    assert all(map(columns.is_counted, ("orders_28d", "recency_days", "categories_90d")))
    assert not any(map(columns.is_counted, ("monetary_90d", "household_size", "loyalty_points_90d")))
    assert columns.words_for("loyalty_points") == "loyalty points"
