import datetime as dt
import math
from dataclasses import replace

import dagster as dg
import pandas as pd
import pytest

from seg_assets.core.errors import MissingDaysError
from seg_assets.core.settings import Settings
from seg_assets.evaluation import assets, daily
from seg_assets.evaluation.daily import SCHEMA, TABLE, evaluate_day, model_quality
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.tags import of_range
from seg_assets.segments.decisions.store import champion_as_of
from seg_assets.segments.fitting import indices
from tests.evaluation.small_shop import START, profiles, publish_profiles, publish_segments, shop

STRATEGY = """
name: value
title: Customer value
features:
  - {column: monetary_90d, transform: signed_log1p}
  - {column: orders_90d, transform: log1p}
  - {column: views_90d, transform: log1p}
k: {min: 3, max: 3}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("a shop")
    lake, who, days = shop(home / "lake")
    for day in days:
        lake.publish_frame(
            "user_category_profiles",
            day,
            pd.DataFrame({"user_id": [], "category": [], "share_90d": []}),
            {"user_id": "VARCHAR", "category": "VARCHAR", "share_90d": "DOUBLE"},
        )
    (home / "strategies").mkdir()
    (home / "strategies" / "value.yaml").write_text(STRATEGY)
    settings = Settings(
        home=home, start_day=START, end_day=START + dt.timedelta(days=60), strategies=home / "strategies"
    )
    return settings, who, days


def materialize(settings, instance, first, last=None):
    """One run of one day, or of a range."""
    made = assets.build_assets(settings, daily_partitions(settings))
    tags = of_range(first, last)
    return dg.materialize(
        made,
        instance=instance,
        resources={"shop": ShopResource(environment=settings.environment())},
        **({"tags": tags} if last else {"partition_key": str(first)}),
    )


def values(settings, day):
    frame = Lake.of(settings).read(TABLE, day)
    return {(r.segment_id, r.metric): r.value for r in frame.itertuples()}


def test_a_range_and_single_days_give_the_same_content_and_each_day_its_own_checks(built):
    settings, _, days = built
    lake = Lake.of(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(settings, instance, days[0], days[-1]).success
        ranged = {day: lake.provenance(TABLE, day).content_hash for day in days}
        key = dg.AssetCheckKey(dg.AssetKey(TABLE), assets.REAL)
        found = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
        told = {r.evaluation.partition for r in found if isinstance(r.evaluation, dg.AssetCheckEvaluation)}
        assert {str(day) for day in days} <= told
        events = instance.fetch_materializations(dg.AssetKey(TABLE), limit=50).records
        numbers = {r.partition_key: r.asset_materialization.metadata for r in events}
        assert numbers[str(days[-1])]["value_silhouette_value"].value > 0.6
    with dg.DagsterInstance.ephemeral() as instance:
        for day in (days[-1], days[2], days[0]):
            result = materialize(settings, instance, day)
            assert result.success
        assert {c.check_name for c in result.get_asset_check_evaluations()} == {
            assets.REAL,
            assets.COVERED,
            assets.TRUSTED,
            assets.MOVED,
        }
    assert {day: lake.provenance(TABLE, day).content_hash for day in days} == ranged


def test_footers_name_the_champion_so_that_a_refit_makes_the_day_stale(built):
    settings, _, days = built
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(settings, instance, days[0])
        materialize(settings, instance, days[-1])
    lake = Lake.of(settings)
    before, after = (lake.provenance(TABLE, d).inputs["segment_model:champion"] for d in (days[0], days[-1]))
    assert before != after


def test_the_day_before_any_model_has_coverage_and_sizes_and_no_made_up_index(built):
    settings, who, days = built
    frame = evaluate_day(Lake.of(settings), {"value": who}, settings, days[0])
    found = {(r.segment_id, r.metric): r.value for r in frame.itertuples()}
    assert found[("", "coverage")] == 1
    assert found[("value-unassigned", "size")] == 300
    assert ("", "silhouette") not in found
    assert math.isnan(found[("", "moved_share")])
    assert all(c.passed for c in assets.checks_of(frame, {"value": who}, set()))


def test_planted_groups_are_real_trusted_and_steady(built):
    settings, who, days = built
    frame = evaluate_day(Lake.of(settings), {"value": who}, settings, days[-1])
    found = {(r.segment_id, r.metric): r.value for r in frame.itertuples()}
    assert found[("", "beats_null")] == 1
    assert found[("", "silhouette")] > found[("", "null_copula_mean")] + 0.1
    assert all(found[(f"value-00{n}", "trusted")] == 1 for n in (1, 2, 3))
    assert found[("value-001", "jaccard")] > 0.9
    assert sum(v for (s, m), v in found.items() if m == "size") == found[("", "users")] == 300


def test_what_is_stored_does_not_hang_on_the_last_bits_of_a_machines_blas(built, monkeypatch):
    settings, who, days = built
    lake = Lake.of(settings)
    here = evaluate_day(lake, {"value": who}, settings, days[-1])
    measured = indices.silhouette

    def elsewhere(*args):
        found = measured(*args)
        return replace(found, value=found.value * (1 + 3e-13), sd=found.sd * (1 - 3e-13))

    monkeypatch.setattr(indices, "silhouette", elsewhere)
    pd.testing.assert_frame_equal(evaluate_day(lake, {"value": who}, settings, days[-1]), here, check_exact=True)


def test_moves_flips_and_weekly_agreement_count_the_users_that_moved(tmp_path):
    lake, who, days = shop(tmp_path / "lake", days=9, fit_on=0)
    settings = Settings(home=tmp_path, start_day=START)
    day = days[-1]
    today = lake.read("user_segments", day)
    clustered = today.loc[today["kind"] == "cluster", "user_id"]
    wanderers, returners = set(clustered.iloc[:12]), set(clustered.iloc[12:20])
    other = {"value-001": "value-002", "value-002": "value-003", "value-003": "value-001"}

    def rewrite(at, users):
        frame = lake.read("user_segments", at)
        hit = frame["user_id"].isin(users)
        frame.loc[hit, "segment_id"] = frame.loc[hit, "segment_id"].map(other)
        lake.publish_frame("user_segments", at, frame, daily_schema())

    rewrite(day, wanderers)  # they moved today, to where they have not been
    rewrite(days[-2], returners)  # they were elsewhere yesterday only
    found = {(r.segment_id, r.metric): r.value for r in evaluate_day(lake, {"value": who}, settings, day).itertuples()}
    assert found[("", "moved_users")] == 20
    assert found[("", "moved_share")] == pytest.approx(20 / 300)
    assert found[("", "moved_share_clusters")] == pytest.approx(20 / 285)
    assert found[("", "flip_back_share")] == pytest.approx(8 / 20)
    assert found[("", "moved_share_week")] == pytest.approx(12 / 300)
    assert 0.8 < found[("", "weekly_ari")] < 1
    flows = {k: v for k, v in found.items() if k[1].startswith("flow_7d_to:")}
    assert sum(flows.values()) == 300


def daily_schema():
    from seg_assets.segments.daily.assign import SCHEMA as SEGMENTS

    return SEGMENTS


def test_a_user_without_a_segment_fails_the_coverage_check_as_an_error(tmp_path):
    lake, who, days = shop(tmp_path / "lake", days=3, fit_on=0)
    lost = lake.read("user_segments", days[-1]).iloc[5:]
    lake.publish_frame("user_segments", days[-1], lost, daily_schema())
    frame = evaluate_day(lake, {"value": who}, Settings(home=tmp_path, start_day=START), days[-1])
    check = next(c for c in assets.checks_of(frame, {"value": who}, set()) if c.name == assets.COVERED)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "value: 98.3333%" in check.metadata["not_covered"]


def test_a_shop_without_groups_is_told_so_and_is_warned_never_stopped(tmp_path):
    lake, who, days = shop(tmp_path / "lake", days=1, fit_on=9)
    publish_profiles(lake, days[0], profiles(400, grouped=False))
    from tests.evaluation.small_shop import fit_champion

    fit_champion(lake, who, days[0], k=3)
    publish_segments(lake, who, days[0])
    frame = evaluate_day(lake, {"value": who}, Settings(home=tmp_path, start_day=START), days[0])
    check = next(c for c in assets.checks_of(frame, {"value": who}, set()) if c.name == assets.REAL)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["strategies_not_shown_to_be_real"] == "value"


def test_many_moves_warn_except_on_the_day_a_new_model_took_over(built):
    _, who, _ = built
    rows = [("value", "", "moved_share_clusters", 0.4), ("value", "", "coverage", 1.0), ("value", "", "users", 10.0)]
    frame = pd.DataFrame(rows, columns=list(SCHEMA))
    moved = lambda today: next(c for c in assets.checks_of(frame, {"value": who}, today) if c.name == assets.MOVED)  # noqa: E731
    assert not moved(set()).passed
    assert "40.0%" in moved(set()).metadata["moved"]
    assert moved({"value"}).passed


def test_an_untrusted_segment_is_named(built):
    _, who, _ = built
    frame = pd.DataFrame([("value", "value-007", "trusted", 0.0)], columns=list(SCHEMA))
    check = next(c for c in assets.checks_of(frame, {"value": who}, set()) if c.name == assets.TRUSTED)
    assert not check.passed
    assert check.metadata["untrusted"] == "value-007"


def test_the_null_and_stability_are_computed_once_per_model_and_a_damaged_memo_is_computed_again(built, monkeypatch):
    settings, who, days = built
    lake = Lake.of(settings)
    model = champion_as_of(lake, "value", days[-1]).segment_model()
    first = model_quality(lake, who, model, 0)
    calls = []
    real = daily.measure_model
    monkeypatch.setattr(daily, "measure_model", lambda *a: calls.append(1) or real(*a))
    assert model_quality(lake, who, model, 0) == first
    assert not calls
    for memo in (lake.root / daily.MEMO / "evaluation").iterdir():
        memo.write_text('{"test": ')
    assert model_quality(lake, who, model, 0) == first
    assert calls == [1]
    # Whole JSON with another number in it is found out by its hash.
    for memo in (lake.root / daily.MEMO / "evaluation").iterdir():
        memo.write_text(memo.read_text().replace('"ari": ', '"ari": -'))
    assert model_quality(lake, who, model, 0) == first
    assert calls == [1, 1]


def test_a_missing_yesterday_is_an_error_that_names_the_day(tmp_path):
    lake, who, days = shop(tmp_path / "lake", days=3, fit_on=0)
    lake.drop("user_segments", days[1])
    with pytest.raises(MissingDaysError, match=str(days[1])):
        evaluate_day(lake, {"value": who}, Settings(home=tmp_path, start_day=START), days[2])


def test_promise_02_events_after_a_day_do_not_change_its_evaluation(tmp_path):
    lake, who, days = shop(tmp_path / "lake", days=4, fit_on=1)
    settings = Settings(home=tmp_path, start_day=START)
    before = evaluate_day(lake, {"value": who}, settings, days[2])
    publish_profiles(lake, days[3], profiles(500, seed=99, shift=2.0))
    publish_segments(lake, who, days[3])
    pd.testing.assert_frame_equal(evaluate_day(lake, {"value": who}, settings, days[2]), before)


def test_a_day_without_users_is_evaluated_without_an_error(tmp_path):
    lake, who, days = shop(tmp_path / "lake", days=1, fit_on=9)
    publish_profiles(lake, days[0], profiles(0))
    publish_segments(lake, who, days[0])
    frame = evaluate_day(lake, {"value": who}, Settings(home=tmp_path, start_day=START), days[0])
    assert all(c.passed for c in assets.checks_of(frame, {"value": who}, set()))


def test_a_champion_is_judged_by_its_own_algorithm_when_the_yaml_asks_for_another_one_since(built):
    settings, who, days = built
    model = champion_as_of(Lake.of(settings), "value", days[-1]).segment_model()
    other = who.model_copy(update={"algorithm": "ward"})
    found = daily.measure_model(Lake.of(settings), other, model, 0)
    assert found == daily.measure_model(Lake.of(settings), who, model, 0)


@pytest.mark.parametrize("algorithm", ["gaussian_mixture", "ward", "minibatch", "outcome_tiers"])
def test_every_kind_of_algorithm_can_be_tested_and_refitted(tmp_path, algorithm):
    from seg_assets.segments import algorithms

    name = next(n for n in algorithms.names() if n.replace("_", "").startswith(algorithm.replace("_", "")[:8]))
    lake, who, days = shop(tmp_path / "lake", days=1, fit_on=0, algorithm=name)
    model = champion_as_of(lake, "value", days[0]).segment_model()
    found = daily.measure_model(lake, who, model, 0)
    assert len(found.test.results) == 2
    assert found.same_algorithm is (algorithm != "outcome_tiers")
    assert set(found.by_segment) == set(model.segment_ids)
