import datetime as dt
import json

import dagster as dg
import numpy as np
import pytest
import yaml

from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.core.settings import Settings
from seg_assets.evaluation import baselines, validity_assets
from seg_assets.evaluation.baselines import monetary_tiers
from seg_assets.evaluation.cli import validate
from seg_assets.evaluation.validity_lake import SCHEMA, validity_of_day
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.segments.strategy import parse_strategy, strategies_of
from studies import shops
from tests.segments.daily_shop import BareLake, publish_profiles, publish_segments

START = dt.date(2024, 1, 1)
FEATURES = ["recency_days", "orders_90d", "orders_all", "monetary_28d", "monetary_90d", "monetary_all"]
STRATEGY = {
    "name": "value",
    "title": "Value",
    "algorithm": "outcome_tiers",
    "features": [{"column": c, "transform": "sqrt"} for c in FEATURES],
    "k": {"min": 4, "max": 4},
}


def day(n):
    return START + dt.timedelta(days=n)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    home = tmp_path_factory.mktemp("shop")
    (home / "strategies").mkdir()
    (home / "strategies" / "value.yaml").write_text(yaml.safe_dump(STRATEGY))
    settings = Settings(home=home, strategies=home / "strategies", start_day=START, end_day=day(400))
    lake = BareLake(settings.lake, START)
    money = shops.make("grocery", users=400).money
    for n in (60, 74, 75, 82, 150, 164, 240, 254):
        frame = shops.profiles(money, n)
        publish_profiles(lake, day(n), frame.assign(coupons_all=0.0))
        shares = frame[["user_id"]].assign(category=np.where(frame.index % 2, "tea", "nuts"), share_90d=1.0)
        kinds = {"user_id": "VARCHAR", "category": "VARCHAR", "share_90d": "DOUBLE"}
        lake.publish_frame("user_category_profiles", day(n), shares, kinds)
    frame = shops.profiles(money, 150)
    tiers = [f"value-00{t}" for t in monetary_tiers(frame, 4)]
    publish_segments(lake, day(150), "value", dict(zip(frame["user_id"], tiers, strict=True)))
    return settings, lake


def test_a_day_judges_the_segments_of_90_days_ago_by_what_users_did_since(shop):
    settings, lake = shop
    table = validity_of_day(lake, strategies_of(settings), day(240), 0)
    assert list(table.columns) == list(SCHEMA)
    r2 = table[(table["outcome"] == "spend") & (table["metric"] == "r2")].set_index("predictor")
    assert {"value", "rfm_total", "kmeans_rfm", "monetary_quantile", "monetary_tiers", "bg_nbd"} <= set(r2.index)
    assert r2.loc["value", "groups"] == r2.loc["rfm_total", "groups"] == 4
    money = shops.make("grocery", users=400).money
    frame = lake.read("user_profiles", day(150), ["user_id"])
    spend = shops.next_spend(money, frame, 150)
    segments = lake.read("user_segments", day(150)).set_index("user_id")["segment_id"].loc[frame["user_id"]].to_numpy()
    means = np.array([spend[segments == s].mean() for s in segments])
    expected = 1 - ((spend - means) ** 2).sum() / ((spend - spend.mean()) ** 2).sum()
    assert r2.loc["value", "value"] == pytest.approx(expected, abs=1e-6)
    assert r2.loc["value", "lower"] < expected < r2.loc["value", "upper"]


def test_before_the_horizon_has_passed_the_day_is_empty_and_says_so(shop):
    settings, lake = shop
    table = validity_of_day(lake, strategies_of(settings), day(60), 0)
    assert len(table) == 0
    told = validity_assets.day_result(day(60), table, {})
    assert "horizon has not passed" in told.metadata["why_empty"]


def test_promise_04_segments_never_materialized_are_named(shop):
    settings, lake = shop
    with pytest.raises(MissingDaysError, match=str(day(151))):
        validity_of_day(lake, strategies_of(settings), day(241), 0)


def test_a_strategy_that_says_less_than_rfm_fails_its_check(shop):
    settings, lake = shop
    table = validity_of_day(lake, strategies_of(settings), day(240), 0)
    strategies = {"value": parse_strategy(STRATEGY)}
    assert validity_assets.day_result(day(240), table, strategies).checks[0].passed
    mine = (table["predictor"] == "value") & (table["metric"] == "r2_crossfit")
    table.loc[mine, "value"] = 0.01
    check = validity_assets.day_result(day(240), table, strategies).checks[0]
    assert not check.passed
    assert "value 0.010" in check.metadata["lost"]


def test_a_baseline_without_numbers_is_null_in_the_table_and_named_beside_it(shop, monkeypatch):
    settings, lake = shop
    monkeypatch.setattr(baselines, "LEAST_BUYERS", 10_000)
    table = validity_of_day(lake, strategies_of(settings), day(240), 0)
    assert table[table["predictor"].isin(["bg_nbd", "bg_nbd_quantile"])]["value"].isna().all()
    assert table[(table["predictor"] == "last_period") & (table["metric"] == "spearman")]["value"].notna().all()
    shown = validity_assets.day_result(day(240), table, strategies_of(settings)).metadata["unknown"]
    assert "bg_nbd, bg_nbd_quantile: not computed" in shown
    assert "coupon: nothing to measure" in shown


def test_a_day_on_which_no_spend_differed_wins_and_loses_against_nobody(shop):
    settings, lake = shop
    table = validity_of_day(lake, strategies_of(settings), day(240), 0)
    table.loc[table["outcome"] == "spend", ["value", "lower", "upper"]] = np.nan
    result = validity_assets.day_result(day(240), table, strategies_of(settings))
    assert result.checks[0].passed
    assert result.checks[0].metadata["judged"] == "nothing"
    assert "value" in result.checks[0].metadata["nothing_to_measure"]


def test_the_asset_publishes_the_day_with_numbers_the_ui_can_plot(shop, monkeypatch):
    settings, lake = shop
    monkeypatch.setattr(Lake, "inputs_of", lambda self, table, day, known=(): {})
    (asset,) = validity_assets.build_assets(settings, daily_partitions(settings))
    result = dg.materialize(
        [asset],
        partition_key=day(240).isoformat(),
        resources={"shop": ShopResource(environment=settings.environment())},
    )
    assert result.success
    metadata = result.asset_materializations_for_node("segment_validity")[0].metadata
    assert metadata["spend_r2_value"].value > metadata["spend_r2_value_rfm"].value
    first = lake.provenance("segment_validity", day(240)).content_hash
    lake.publish_frame(
        "segment_validity", day(240), validity_of_day(lake, strategies_of(settings), day(240), 0), SCHEMA
    )
    assert lake.provenance("segment_validity", day(240)).content_hash == first


def command(settings, monkeypatch, *words):
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return validate.main(list(words), standalone_mode=False)


def test_validate_prints_records_of_our_tiers_and_the_baselines_at_the_group_counts_asked(shop, monkeypatch, capsys):
    settings, _ = shop
    first, last = day(150).isoformat(), day(164).isoformat()
    words = f"--strategy value --from {first} --to {last} --step 14 --groups 4,6 --json --replications 20 --stability 2"
    assert command(settings, monkeypatch, *words.split()) == 0
    records = json.loads(capsys.readouterr().out)
    at = {(r["predictor"], r["groups"]): r for r in records}
    for k in (4, 6):
        assert at["value", k]["origins"] == 2
        assert at["value", k]["r2"] > at["kmeans_rfm", k]["r2"]
        assert at["value", k]["intervals"]["r2"][0] < at["value", k]["r2"]
        assert 0.3 < at["value", k]["bootstrap_ari"] <= 1
    assert ("rfm_cells" in {r["predictor"] for r in records}) and at["last_period", 0]["spearman"] > 0.3


def test_validate_says_which_baseline_could_not_be_computed(shop, monkeypatch, capsys):
    settings, _ = shop
    monkeypatch.setattr(baselines, "LEAST_BUYERS", 10_000)
    words = f"--strategy value --from {day(150)} --to {day(150)} --groups 4 --replications 0 --stability 0"
    assert command(settings, monkeypatch, *words.split(), "--json") == 0
    at = {(r["predictor"], r["groups"]): r for r in json.loads(capsys.readouterr().out)}
    assert at["bg_nbd", 0]["r2"] is None
    assert at["bg_nbd_quantile", 4]["r2"] is None
    assert at["bg_nbd_quantile", 4]["not_computed"] == 1
    assert command(settings, monkeypatch, *words.split()) == 0
    text = capsys.readouterr().out
    assert "bg_nbd: not computed at 1 of 1 origins" in text
    assert "coupon_auc: nothing to measure" in text


def test_validate_names_the_days_it_lacks_and_the_command_that_makes_them(shop, monkeypatch):
    settings, _ = shop
    with pytest.raises(MissingDaysError, match=rf"(?s){day(290)}.*seg-assets replay"):
        command(settings, monkeypatch, "--strategy", "value", "--from", str(day(200)), "--to", str(day(200)))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--strategy luck --from 2024-03-01 --to 2024-03-02", "luck"),
        ("--strategy value --from 2024-03-01 --to 2024-03-02 --groups one", "one"),
        ("--strategy value --from 2024-03-01 --to 2024-03-02 --step 0", "--step"),
        ("--strategy value --from 2024-03-05 --to 2024-03-02", "after"),
        ("--strategy value --from 2020-03-05 --to 2024-03-02", "calendar"),
    ],
)
def test_validate_refuses_what_cannot_be_asked(shop, monkeypatch, words, named):
    with pytest.raises(ConfigError, match=named):
        command(shop[0], monkeypatch, *words.split())
