"""How many segments: criteria against scikit-learn and planted groups, the one rule, and `seg-assets tune`."""

import datetime as dt
import json
import os
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.segments.algorithms import Outcome
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.decisions.request import DecisionRequest
from seg_assets.segments.fitting import choosing, tuning
from seg_assets.segments.fitting.choosing import CRITERIA, choose_k, elect
from tests.segments.fit_shop import DAY, lake_at, publish, strategy, tune, users


def blobs(each=100, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.array([[0, 0, 0], [7, 0, 0], [0, 7, 0], [6, 6, 6]], dtype=float)
    return np.concatenate([rng.normal(c, 0.8, (each, 3)) for c in centers]), np.repeat(range(4), each)


def test_every_criterion_names_the_planted_number():
    X, _ = blobs()
    rows = choosing.measure(strategy(), X, range(2, 7), seed=0)
    found = elect(strategy(), rows, None, choosing.GEOMETRIC)
    assert found.k == 4
    four = next(r for r in found.rows if r["k"] == 4)
    assert set(four["named_by"]) == set(choosing.GEOMETRIC)
    assert four["prediction_strength"] > 0.95
    assert next(r for r in rows if r["k"] == 6)["prediction_strength"] < 0.8
    assert all(r[f"{c}_error"] is not None for r in rows for c in choosing.GEOMETRIC)
    assert all(r["validity"] is None for r in rows), "nothing to measure it on"


def test_validity_says_how_much_of_held_out_users_outcome_the_groups_explain():
    X, truth = blobs(200)
    y = pd.DataFrame({"monetary": np.array([0.0, 25.0, 100.0, 400.0])[truth]})
    ahead = Outcome(day=DAY, frame=pd.DataFrame({"user_id": [str(i) for i in range(800)]}), values=y, X=X)
    fit = choosing.refitter(strategy(), 4)
    assert choosing.validities(fit, 0, ahead) == [], "an outcome of the same day is none"
    known = Outcome(**{**vars(ahead), "horizon_days": 90})
    assert np.mean(choosing.validities(fit, 0, known)) > 0.99
    noise = Outcome(**{**vars(known), "values": y.sample(frac=1, random_state=0).reset_index(drop=True)})
    assert np.mean(choosing.validities(fit, 0, noise)) < 0.02, "groups that say nothing of other users explain nothing"


def row(k, **values):
    made = {"k": k, "smallest_share": 0.1, "admissible": True}
    for name in CRITERIA:
        made[name], made[f"{name}_error"] = values.get(name), 0.01 if name in values else None
    return made


def test_a_difference_under_one_error_is_no_difference_and_of_equals_the_smallest_wins():
    rows = [row(k, silhouette=s, stability=s) for k, s in ((3, 0.500), (4, 0.505), (5, 0.3))]
    found = elect(strategy(), rows, None, ("silhouette", "stability"))
    assert found.k == 3
    assert [r["votes"] for r in found.rows] == [2, 2, 0]
    assert "smallest" in found.reason
    assert elect(strategy(), [{**rows[0], "admissible": False}, *rows[1:]], None, ("silhouette",)).k == 4


def test_gap_and_prediction_strength_name_as_their_authors_say():
    rising = [row(k, gap=g, prediction_strength=p) for k, g, p in ((2, 0.1, 0.99), (3, 0.5, 0.85), (4, 0.505, 0.4))]
    named = {c: choosing.named_by(CRITERIA[c], rising, rising) for c in ("gap", "prediction_strength")}
    assert named == {"gap": {3}, "prediction_strength": {3}}


def test_the_champions_number_stays_unless_another_is_named_by_two_criteria_more():
    names = ("silhouette", "calinski_harabasz", "stability")
    near = [row(3, silhouette=0.5, calinski_harabasz=0.5, stability=0.1), row(4, silhouette=0.1, stability=0.5)]
    near[1]["calinski_harabasz"], near[1]["calinski_harabasz_error"] = 0.1, 0.01
    assert elect(strategy(), near, None, names).k == 3
    kept = elect(strategy(), near, 4, names)
    assert kept.k == 4
    assert "stays" in kept.reason
    clear = [near[0] | {"stability": 0.9}, near[1]]
    assert elect(strategy(), clear, 4, names).k == 3


def test_compactness_has_no_say_about_an_algorithm_that_learns_from_an_outcome():
    X, truth = blobs(60)
    y = pd.DataFrame({"monetary": np.array([0.0, 25.0, 100.0, 400.0])[truth]})
    frame = pd.DataFrame({"user_id": [str(i) for i in range(len(X))]})
    told = Outcome(day=DAY, frame=frame, values=y, X=X, horizon_days=90)
    found = choose_k(strategy(algorithm="outcome_tiers", k={"min": 3, "max": 5}), X, None, 0, told)
    assert set(found.voters) == set(choosing.GUIDED)
    assert all(r["gap"] is None and r["silhouette"] is not None for r in found.rows)
    young = choose_k(strategy(algorithm="outcome_tiers", k={"min": 3, "max": 5}), X, None, 0, None)
    assert "validity" not in young.voters


def test_k_that_leaves_every_segment_too_small_takes_the_least_bad_and_says_so():
    X, _ = blobs(20)
    found = choose_k(strategy(minimum_share=0.45, k={"min": 3, "max": 5}), X, None, 0)
    assert found.k in (3, 4, 5)
    assert "every k leaves a segment under minimum_share 45.0%" in found.reason


def test_a_noise_feature_adds_nothing_and_the_one_that_carries_the_groups_does():
    X, truth = blobs(150)
    X = np.column_stack([X[:, 0] + X[:, 1] * 2, np.random.default_rng(3).normal(0, 0.5, len(X))])
    y = pd.DataFrame({"monetary": np.array([0.0, 25.0, 100.0, 400.0])[truth]})
    frame = pd.DataFrame({"user_id": [str(i) for i in range(len(X))]})
    told = Outcome(day=DAY, frame=frame, values=y, X=X, horizon_days=90)
    carries, noise = choosing.drop_one(strategy(), X, ["spend", "noise"], 4, 0, told)
    assert carries["validity_added"] > 10 * carries["validity_added_error"] > 0
    assert abs(noise["validity_added"]) < 0.02
    assert noise["agreement"] > 0.95 > carries["agreement"]


# ---- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def lake(tmp_path):
    found = lake_at(tmp_path)
    publish(found, DAY, users().assign(tenure_days=60.0))
    return found


def test_tune_chooses_what_a_fit_of_the_day_chooses_from_the_same_table(lake):
    spec = strategy(k={"min": 3, "max": 5})
    tuned = tune(lake, spec, DAY, features=False)
    fitted = decide_day(lake, spec, DAY, 0).decision.segment_model()
    assert tuned.choice.k == fitted.n_clusters == 4
    assert tuned.choice.rows == fitted.diagnostics["k_table"]
    assert tuned.choice.reason == fitted.diagnostics["k_reason"]
    later = DAY + dt.timedelta(days=9)
    publish(lake, later, users())
    settled = decide_day(lake, spec, later, 0, DecisionRequest("value", later, "manual")).decision.segment_model()
    again = tune(lake, spec, later, features=False)
    assert again.champion_k == 4
    assert again.choice.reason == settled.diagnostics["k_reason"]


def test_tune_measures_validity_when_a_horizon_before_the_day_is_in_the_lake(lake):
    early = tune(lake, strategy(), DAY, (4, 4), features=False)
    assert early.validity.startswith("not measured")
    first, day = DAY, DAY + dt.timedelta(days=90)
    frame = users().assign(tenure_days=200.0, monetary_all=0.0)
    publish(lake, first, frame.assign(tenure_days=110.0))
    publish(lake, day, frame.assign(monetary_all=frame["monetary_90d"]))
    spec = strategy(k={"min": 3, "max": 4})
    found = tune(lake, spec, day)
    assert "90 days" in found.validity
    assert all(r["validity"] > 0.5 for r in found.choice.rows)
    assert "validity" not in found.choice.voters, "these segments are not asked to say anything of spend"
    assert [row["feature"] for row in found.features] == ["monetary_90d", "orders_90d", "recency_days"]
    assert tune(lake, spec, day).to_dict() == found.to_dict()


def test_a_single_k_is_shown_beside_its_neighbours_and_kept(lake):
    found = tune(lake, strategy(k={"min": 5, "max": 5}), DAY, features=False)
    assert [r["k"] for r in found.choice.rows] == [3, 4, 5, 6, 7, 8]
    assert found.choice.k == 5
    assert "4 is named by" in found.choice.reason


def test_what_cannot_be_tuned_is_said(lake):
    with pytest.raises(MissingDaysError, match="2024-04-05"):
        tune(lake, strategy(), dt.date(2024, 4, 5))
    publish(lake, DAY, users(each=3))
    with pytest.raises(ConfigError, match="12 eligible users"):
        tune(lake, strategy(), DAY)


def test_the_picture_and_page_are_whole_self_contained_and_safe(lake):
    found = tune(lake, strategy(title="Value <script>", k={"min": 3, "max": 5}), DAY)
    svg, page = tuning.picture(found), tuning.page(found)
    root = ElementTree.fromstring(svg)
    dots = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(dots) == 3 * len(choosing.GEOMETRIC)
    assert "<script" not in page
    assert not re.search(r"(src|href)=", page)
    assert "What each feature adds" in page
    for text in (page, tuning.say(found)):
        assert "prediction strength" in text
        assert found.choice.reason in text


def test_the_command_prints_json_writes_the_picture_and_refuses_what_it_cannot_do(tmp_path, lake, monkeypatch, capsys):
    from seg_assets import cli
    from seg_assets.segments import strategy as declared

    monkeypatch.setattr(declared, "strategies_of", lambda settings: {"value": strategy(k={"min": 3, "max": 4})})
    for name in [n for n in os.environ if n.startswith("SEG_ASSETS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEG_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("SEG_ASSETS_START_DAY", "2024-01-01")
    picture = tmp_path / "tuned.html"
    asked = ["tune", "value", "--day", str(DAY)]
    assert cli.main([*asked, "--json", "--no-features", "--output", str(picture)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["k"] == 4
    assert [r["k"] for r in told["table"]] == [3, 4]
    assert "<svg" in picture.read_text()
    for wrong, named in (
        (["tune", "valu", "--day", str(DAY)], "did you mean 'value'"),
        ([*asked, "--k", "9-3"], "--k '9-3'"),
        ([*asked, "--output", "x.png"], ".html or .svg"),
        ([*asked[:3], "2031-01-01"], "2031-01-01"),
    ):
        assert cli.main(wrong) == 2
        assert named in capsys.readouterr().err
