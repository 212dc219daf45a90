import json

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms
from seg_assets.segments.strategy import parse_strategy

COLUMNS = ["recency_days", "orders_90d", "monetary_90d"]
RULES = [
    "recency_days <= 14 and monetary_90d >= {monetary_90d@80}",
    "recency_days <= 14",
    "recency_days > 60 and orders_90d > 3",
]


def strategy(segments=RULES, columns=COLUMNS, **over):
    return parse_strategy(
        {
            "name": "classic",
            "title": "Classic",
            "algorithm": "rules_sql",
            "scaling": "none",
            "parameters": {"columns": columns, "segments": segments},
            "features": [{"column": c, "missing": "zero"} for c in columns],
            **over,
        }
    )


def users(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, 90, n), rng.poisson(4, n), rng.gamma(1, 100, n)]).astype(float)


def fitted(X, segments=RULES):
    return algorithms.fit("rules_sql", X, 9, seed=0, parameters={"columns": COLUMNS, "segments": segments})


def test_the_first_condition_that_holds_gives_the_segment_and_the_rest_are_the_last():
    X = users()
    r, f, m = X.T
    top = np.percentile(m, 80)
    expected = np.select([(r <= 14) & (m >= top), r <= 14, (r > 60) & (f > 3)], [0, 1, 2], 3)
    assert (fitted(X).scores(X).argmin(axis=1) == expected).all()


def test_percentiles_are_those_of_the_fit_day_ever_after():
    X = users()
    model = fitted(X)
    richer = X * [1, 1, 10]
    assert (model.labels(richer) == 0).sum() > (model.labels(X) == 0).sum()


def test_contributions_are_exact_and_lie_on_the_columns_that_the_rules_read():
    X, rng = users(), np.random.default_rng(3)
    model = fitted(X)
    a, b = rng.integers(0, 4, len(X)), rng.integers(0, 4, len(X))
    scores, rows = model.scores(X), np.arange(len(X))
    parts = model.contributions(X, a, b)
    assert np.abs(parts.sum(axis=1) - (scores[rows, b] - scores[rows, a])).max() < 1e-12
    between_the_recent = (a == 1) & (b == 1)
    assert (parts[between_the_recent][:, 1:] == 0).all()


def test_rules_survive_their_json_and_a_tampered_model_cannot_read_a_file():
    X = users()
    model = fitted(X)
    document = json.loads(json.dumps(model.to_dict()))
    again = algorithms.restore("rules_sql", document)
    assert (again.scores(X) == model.scores(X)).all()
    document["conditions"][0] = "(select count(*) from read_csv('/etc/passwd')) > 0"
    with pytest.raises(ConfigError):
        algorithms.restore("rules_sql", document)


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("monetary_90d >", "monetary_90d >"),
        ("money > 3", "money"),
        ("monetary_90d + 1", "not true or false"),
        ("monetary_90d > (select 1)", "select 1"),
        ("true; drop table rows", "several statements"),
        ("getenv('HOME') = 'x'", "getenv"),
        ("random() > 0.5", "random"),
        ("monetary_90d > {luck@50}", "luck"),
        ("count(*) > 1", "count"),
    ],
)
def test_a_condition_that_is_not_one_is_refused_in_the_yaml(condition, named):
    with pytest.raises(ConfigError, match=r"(?s)" + named.replace("(", r"\(").replace(")", r"\)").replace("*", r"\*")):
        strategy([condition])


def test_tamed_features_and_unlisted_columns_are_refused():
    with pytest.raises(ConfigError, match="scaling: none"):
        strategy(scaling="standard")
    with pytest.raises(ConfigError, match=r"parameters\.columns"):
        strategy(columns=COLUMNS, features=[{"column": "orders_90d"}])


def test_a_column_that_is_the_same_for_everyone_is_named_as_the_cause():
    with pytest.raises(ConfigError, match="differs between users"):
        fitted(users()[:, :2])


def test_classic_rfm_cells_can_be_written_as_rules():
    X = users(2000)
    cells = [
        f"recency_days <= {{recency_days@{r}}} and orders_90d >= {{orders_90d@{f}}}" for r in (20, 50) for f in (80, 50)
    ]
    counts = np.bincount(fitted(X, cells).labels(X), minlength=5)
    assert (counts > 0).all()
    assert counts.sum() == 2000
