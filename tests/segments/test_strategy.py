"""Strategies as YAML: the shipped ones, and what is said about wrong ones."""

import copy

import pytest
import yaml

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.segments.strategy import PROFILE_COLUMNS, load_strategies, parse_strategy, read_strategy
from tests.segments.fit_shop import SPEC


def test_the_four_shipped_strategies_load_in_order_of_name():
    found = load_strategies(Settings().strategies)
    assert list(found) == ["attributes", "behaviour", "interest", "value"]
    assert all(s.description and s.drift.columns for s in found.values())


WRONG = [
    ({"features": [{"column": "monetry_90d"}]}, ["monetry_90d", "monetary_90d", "no such column"]),
    ({"features": [{"column": "monetary_90d", "wieght": 2}]}, ["features.0.wieght", "did you mean 'weight'"]),
    ({"algorithm": "kmean"}, ["algorithm = 'kmean'", "did you mean 'kmeans'", "ward"]),
    ({"parameters": {"start": 3}}, ["parameters.start", "starts"]),
    ({"k": {"min": 9, "max": 3}}, ["k.min 9", "k.max 3"]),
    ({"k": {"min": 0, "max": 3}}, ["k.min", "0"]),
    ({"minimum_shares": 0.1}, ["minimum_shares", "did you mean 'minimum_share'"]),
    ({"hysteresis": {"margins": 0.1}}, ["hysteresis.margins", "did you mean 'margin'", "dwell_days"]),
    ({"features": [{"column": "orders_90d"}, {"column": "orders_90d"}]}, ["orders_90d given twice"]),
    ({"features": [{"column": "sex"}]}, ["'sex'", "one_hot"]),
    ({"features": [{"column": "orders_90d", "transform": "log"}]}, ["features.0.transform", "'log'", "log1p"]),
    ({"features": [{"category_shares": {"top": 4}, "weight": 2}]}, ["weight beside category_shares"]),
    ({"features": []}, ["features"]),
    ({"eligibility": {"minimum": {"orders_alll": 1}}}, ["eligibility.minimum", "orders_alll", "orders_all"]),
    ({"drift": {"columns": ["nope"]}}, ["drift.columns", "nope"]),
    ({"name": "Robert'); drop table"}, ["name", "drop table"]),
    ({"scaling": "zscore"}, ["scaling", "standard", "robust"]),
    ({"pca": 0}, ["pca"]),
    ({"parameters": {"starts": -1}}, ["parameters.starts = -1", "a whole number from 1 to 1000"]),
    ({"parameters": {"starts": 0}}, ["parameters.starts = 0"]),
    ({"parameters": {"starts": "many"}}, ["parameters.starts = 'many'"]),
    ({"parameters": {"starts": None}}, ["parameters.starts = None"]),
    ({"parameters": {"starts": True}}, ["parameters.starts = True"]),
    ({"parameters": {"starts": 2.5}}, ["parameters.starts = 2.5"]),
    ({"parameters": {"starts": 10**9}}, ["parameters.starts = 1000000000"]),
    ({"parameters": {"iterations": -5}}, ["parameters.iterations = -5", "from 1 to 100000"]),
    ({"algorithm": "ward", "parameters": {"sample": 0}}, ["parameters.sample = 0", "from 2 to 50000"]),
    ({"algorithm": "minibatch", "parameters": {"batch": 0}}, ["parameters.batch = 0"]),
    ({"algorithm": "ensemble", "parameters": {"members": 0}}, ["parameters.members = 0"]),
    ({"algorithm": "ensemble", "parameters": {"bootstrap": -3}}, ["parameters.bootstrap = -3"]),
    ({"algorithm": "gaussian_mixture", "parameters": {"variance_floor": -1}}, ["variance_floor = -1", "from 1e-09"]),
    ({"algorithm": "gaussian_mixture", "parameters": {"variance_floor": float("nan")}}, ["variance_floor = nan"]),
    ({"algorithm": "density", "parameters": {"radius_quantile": 3}}, ["radius_quantile = 3", "from 0 to 1"]),
    ({"algorithm": "density", "parameters": {"neighbours": "x"}}, ["neighbours = 'x'", "from 1 to 1000"]),
    ({"algorithm": "outcome_kmeans", "parameters": {"starts": "x"}}, ["parameters.starts = 'x'"]),
    ({"algorithm": "outcome_tree", "parameters": {"leaf_share": float("inf")}}, ["leaf_share = inf", "to 0.5"]),
    ({"features": [{"column": "orders_90d", "missing": float("nan")}]}, ["features.0.missing", "nan", "finite"]),
    ({"features": [{"column": "orders_90d", "missing": float("-inf")}]}, ["features.0.missing", "-inf", "finite"]),
    (
        {"features": [{"column": "orders_90d", "missing": 1e300}]},
        ["features.0", "missing = 1e+300", "from -1e+100 to 1e+100"],
    ),
    ({"features": [{"column": "orders_90d", "weight": True}]}, ["features.0.weight = True", "truth value"]),
    ({"eligibility": {"minimum": {"sex": 1}}}, ["eligibility.minimum", "'sex'", "holds text", "any_known"]),
    ({"eligibility": {"minimum": {"orders_all": float("nan")}}}, ["eligibility.minimum.orders_all", "nan", "finite"]),
    ({"eligibility": {"minimum": {"orders_all": True}}}, ["eligibility.minimum.orders_all = True", "truth value"]),
    ({"eligibility": {"minimum_orders": 10**400}}, ["eligibility.minimum_orders", "1000000000"]),
    ({"gate": {"maximum_relabelled_per_gain": float("inf")}}, ["maximum_relabelled_per_gain = inf", "finite"]),
    ({"hysteresis": {"margin": float("nan")}}, ["hysteresis.margin = nan", "finite"]),
    ({"fit": {"starts": True}}, ["fit.starts = True", "truth value"]),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_promise_11_a_wrong_key_or_value_is_named_with_file_value_and_what_is_allowed(tmp_path, change, said):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**copy.deepcopy(SPEC), **change}))
    with pytest.raises(ConfigError) as error:
        load_strategies(tmp_path)
    assert str(file) in str(error.value)
    for words in said:
        assert words in str(error.value)


def test_promise_11_a_strategy_file_that_is_no_yaml_or_no_mapping_is_named(tmp_path):
    for text in ("name: [", "- a\n- b\n", "just words", "1: 2\n"):
        (tmp_path / "broken.yml").write_text(text)
        with pytest.raises(ConfigError, match=r"broken\.yml"):
            load_strategies(tmp_path)


def test_promise_11_two_files_of_one_name_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no"):
        load_strategies(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        load_strategies(tmp_path / "absent")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(SPEC))
    with pytest.raises(ConfigError, match=r"b\.yaml: name = 'value': also the name in .*a\.yaml"):
        load_strategies(tmp_path)


def test_a_column_that_a_project_added_is_allowed_when_its_profiles_have_it(tmp_path):
    spec = {**SPEC, "features": [{"column": "loyalty_points_90d"}]}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(spec))
    assert read_strategy(file, PROFILE_COLUMNS | {"loyalty_points_90d"}).features[0].column == "loyalty_points_90d"


def test_a_new_title_or_cool_down_asks_for_no_refit_and_a_new_weight_does():
    base = parse_strategy(SPEC)
    assert parse_strategy({**SPEC, "title": "Other"}).digest() == base.digest()
    calmer = parse_strategy({**SPEC, "drift": {**SPEC["drift"], "cool_down_days": 30}})
    assert calmer.fit_digest() == base.fit_digest()
    assert calmer.digest() != base.digest()
    heavier = copy.deepcopy(SPEC)
    heavier["features"][0]["weight"] = 3.0
    assert parse_strategy(heavier).fit_digest() != base.fit_digest()


def test_a_text_column_that_a_project_added_needs_one_hot_and_the_shops_own_profiles_have_every_contract_column():
    from seg_assets.segments.strategy import strategies_of

    own = {**dict.fromkeys(PROFILE_COLUMNS, "DOUBLE"), "loyalty_tier": "VARCHAR"}
    with pytest.raises(ConfigError, match="'loyalty_tier': holds text"):
        parse_strategy({**SPEC, "features": [{"column": "loyalty_tier"}]}, columns=own)
    assert parse_strategy({**SPEC, "features": [{"column": "loyalty_tier", "one_hot": {}}]}, columns=own)
    assert list(strategies_of(Settings())) == ["attributes", "behaviour", "interest", "value"]
