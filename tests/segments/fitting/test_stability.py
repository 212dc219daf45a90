"""A segment that does not come out again is marked wherever it appears, from one number kept with the model."""

import numpy as np
import pandas as pd
import pytest

from seg_assets.segments.assets import assign_lake_day, profile_lake_day
from seg_assets.segments.daily import summaries
from seg_assets.segments.daily.assign import assign_day
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.store import champion_as_of
from seg_assets.segments.explaining.text import say
from seg_assets.segments.explaining.user import explain_user
from seg_assets.segments.fitting import stability
from seg_assets.segments.fitting.fit import fit_challenger
from seg_assets.segments.model import marked_names
from tests.segments.fit_shop import DAY, strategy, users


def cloudy(each=150):
    """Two clear groups, and a cloud that k-means must cut somewhere: another place in every sample."""
    frame = users({"whales": (20.0, 4000.0, 3.0), "lapsing": (1.0, 30.0, 70.0)}, each)
    rng = np.random.default_rng(5)
    cloud = users({"cloud": (6.0, 300.0, 15.0)}, each)
    cloud["monetary_90d"] = np.round(np.exp(rng.normal(5.5, 0.8, each)), 2)
    cloud["orders_90d"] = np.maximum(1, np.round(np.exp(rng.normal(1.5, 0.5, each))))
    cloud["recency_days"] = np.round(np.exp(rng.normal(2.5, 0.5, each)))
    return pd.concat([frame, cloud]).sort_values("user_id", ignore_index=True)


SPLIT = {"k": {"min": 6, "max": 6}, "minimum_share": 0.001}


def test_planted_segments_are_trusted_and_cuts_of_a_cloud_are_not():
    model = fit_challenger(strategy(), users(), DAY, None).model
    assert set(model.trusted) == set(model.segment_ids)
    assert all(model.trusted.values())
    frame = cloudy()
    shaky = fit_challenger(strategy(**SPLIT), frame, DAY, None).model
    labels = shaky.assign(frame)["segment_id"]
    whales = labels[frame["user_id"].str.startswith("whales")].mode()[0]
    assert shaky.trusted[whales]
    doubted = {s for s, fine in shaky.trusted.items() if not fine}
    assert doubted
    who = frame.loc[labels.isin(doubted), "user_id"]
    assert who.str.startswith("cloud").mean() > 0.6
    assert not who.str.startswith("whales").any()


def test_promise_12_the_verdict_is_data_of_the_model_and_part_of_its_hash():
    from seg_assets.segments.model import SegmentModel

    model = fit_challenger(strategy(), users(), DAY, None).model
    again = SegmentModel.from_document(model.to_document())
    assert again.jaccard == model.jaccard
    assert fit_challenger(strategy(), users(), DAY, None).model.model_id == model.model_id
    untested = fit_challenger(strategy(), users(), DAY, None, replications=0).model
    assert (untested.jaccard, untested.trusted, untested.stability) == ({}, {}, None)
    assert untested.model_id != model.model_id


def test_too_few_users_to_tell_are_not_called_untrusted():
    few = fit_challenger(strategy(fit={"minimum_users": 10}), users(each=4), DAY, None).model
    assert few.trusted == {}
    assert "too few" in few.diagnostics["stability"]["reason"]


@pytest.mark.parametrize("name", ["outcome_tree", "density"])
def test_a_clustering_is_refitted_with_its_own_algorithm_and_without_its_outliers(name):
    frame = users(each=100)
    model = fit_challenger(strategy(algorithm=name), frame, DAY, None).model
    assert model.stability.replications == stability.REPLICATIONS
    assert len(model.jaccard) == model.n_clusters


def test_an_untrusted_segment_says_so_in_profiles_names_and_explanations():
    frame = cloudy()
    for window in summaries.SPEND_WINDOWS:
        frame[f"monetary_{window}"] = frame["monetary_90d"]
    spec = strategy(**SPLIT)
    model = fit_challenger(spec, frame, DAY, None).model
    doubted = {s for s, fine in model.trusted.items() if not fine}
    rows = summaries.profile_day(spec, frame, assign_day(spec, frame, model, None, DAY), model)
    assert set(rows.loc[rows["trusted"] == False, "segment_id"]) == doubted  # noqa: E712  null is not False
    assert rows.loc[rows["kind"] == "rule", "trusted"].isna().all()
    names = marked_names(spec, model)
    assert {s for s, n in names.items() if n.endswith("(untrusted)")} == doubted


def test_the_lake_shows_it_and_evaluation_reads_the_same_number(tmp_path):
    from seg_assets.evaluation.daily import measure_model
    from tests.segments.daily_shop import BareLake, publish_day

    lake = BareLake(tmp_path / "lake", DAY)
    frame = cloudy()
    for window in summaries.SPEND_WINDOWS:
        frame[f"monetary_{window}"] = frame["monetary_90d"]
    publish_day(lake, DAY, frame)
    spec = strategy(**SPLIT)
    assert decide_day(lake, spec, DAY, 0).action == "written"
    model = champion_as_of(lake, "value", DAY).segment_model()
    assign_lake_day(lake, {"value": spec}, DAY)
    told = profile_lake_day(lake, {"value": spec}, DAY)
    doubted = sorted(s for s, fine in model.trusted.items() if not fine)
    shown = lake.read("segment_profiles", DAY, where="trusted = false")
    assert sorted(shown["segment_id"]) == doubted
    assert told.metadata["value_untrusted_segments"] == len(doubted)
    assert "**no**" in told.metadata["value_profiles"].value
    assert dict(measure_model(lake, spec, model, 0).by_segment) == model.jaccard
    there = lake.read("user_segments", DAY).set_index("segment_id")["user_id"]
    said = say(explain_user(lake, spec, str(there[[doubted[0]]].iloc[0]), DAY))
    assert "(untrusted)" in said
    assert "do not rely on this segment" in said
    fine = next(s for s in model.segment_ids if s not in doubted)
    said = say(explain_user(lake, spec, str(there[[fine]].iloc[0]), DAY))
    assert "do not rely" not in said
