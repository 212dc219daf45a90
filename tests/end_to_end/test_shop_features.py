"""A shop adds a column to the profiles by a file, clusters by it and watches it: from landing files to segments."""

import pytest

from seg_assets.lake.store import Lake
from seg_assets.segments.decisions.store import champion_as_of
from tests.end_to_end.shop import contents, day, differences, land, run, shop

DAYS = 11
LOYALTY = """
select
    user_id,
    sum({weight} * views + 10 * orders)::bigint as loyalty_points
from {{{{ ref('user_daily_activity') }}}}
where actor_id not like 'anon:%'
group by user_id
"""
STRATEGY = """
name: loyalty
title: Loyalty
algorithm: kmeans
features:
  - {column: loyalty_points, transform: log1p, missing: zero}
  - {column: views_28d, transform: log1p, missing: zero}
k: {min: 3, max: 3}
minimum_share: 0.02
eligibility: {minimum_active_days: 1}
rules: {new_within_days: 3, dormant_after_days: 25, bots: true}
fit: {minimum_history_days: 7, minimum_users: 50, starts: 3}
drift: {columns: [loyalty_points], maximum_age_days: null, settled_after_days: 0, positions: 500}
gate: {minimum_gain: 0.01, minimum_stability: 0.3, maximum_relabelled: 0.9, maximum_relabelled_per_gain: 100}
"""


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landing")
    land(folder, users=150, days=DAYS)
    return folder


def with_features(home, landing, weight=1):
    features, strategies = home / "features", home / "strategies"
    for folder in (features, strategies):
        folder.mkdir(parents=True, exist_ok=True)
    sql = LOYALTY.format(weight=weight).replace("    user_id,", "    {{ user_of('actor_id', 'null') }} as user_id,")
    (features / "loyalty.sql").write_text(sql)
    (strategies / "loyalty.yaml").write_text(STRATEGY)
    return shop(home, landing, features=features, strategies=strategies)


def test_promise_01_a_column_of_the_shops_makes_segments_and_a_changed_file_makes_the_lake_of_a_fresh_one(
    landing, tmp_path
):
    settings = with_features(tmp_path / "first", landing)
    assert run(settings, 0, DAYS - 1).steps
    lake = Lake.of(settings)
    profiles = lake.read("user_profiles", day(DAYS - 1))
    assert profiles["loyalty_points"].max() > 0
    champion = champion_as_of(lake, "loyalty", day(DAYS - 1))
    assert champion is not None
    assert "loyalty_points" in str(champion)
    assert lake.read("user_segments", day(DAYS - 1))["segment_id"].str.startswith("loyalty-").any()
    assert "loyalty_points" in lake.read("drift_report", day(DAYS - 1)).to_json(date_format="iso")
    assert run(settings, 0, DAYS - 1).steps == []

    # the file changes: every day is made again, and the decision taken again
    before = contents(settings)
    changed = with_features(tmp_path / "first", landing, weight=3)
    assert run(changed, 0, DAYS - 1).steps
    fresh = with_features(tmp_path / "fresh", landing, weight=3)
    run(fresh, 0, DAYS - 1)
    assert differences(contents(changed), contents(fresh)) == []
    changed_tables = {table for table, _, _ in differences(before, contents(changed))}
    assert {"user_profiles", "user_segments", "segment_model"} <= changed_tables
    assert not changed_tables & {"raw_events", "user_lifetime", "user_category_profiles"}
