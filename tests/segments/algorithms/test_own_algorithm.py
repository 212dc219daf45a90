"""A shop's own algorithm, given by an entry point of an installed package: used, kept with its version, made anew."""

import datetime as dt
import importlib
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.segments import algorithms
from seg_assets.segments.decisions.decide import decide_day
from seg_assets.segments.model import SegmentModel
from tests.drift.small_shop import Shop
from tests.drift.small_shop import strategy as drift_strategy
from tests.segments.fit_shop import DAY, lake_at, publish, strategy, users

STRIPES = '''
    """Equal stripes of the first column, wherever users are: no shop would want it."""

    from dataclasses import dataclass
    from typing import ClassVar

    import numpy as np

    from seg_assets.segments.algorithms import Algorithm, Parameter
    from seg_assets.segments.algorithms.prototypes import Prototypes


    @dataclass(frozen=True)
    class StripesFitted(Prototypes):
        ALGORITHM: ClassVar[str] = "stripes"


    class Stripes(Algorithm):
        name = "stripes"
        fitted = StripesFitted
        version = "{version}"
        parameters: ClassVar = {{"reach": Parameter(1.0, float, 0.1, 2)}}

        def fit(self, X, k, *, parameters, **unused):
            low, high = X[:, 0].min(), X[:, 0].max()
            centroids = np.tile(X.mean(axis=0), (k, 1))
            centroids[:, 0] = low + (high - low) * parameters["reach"] * (np.arange(k) + 0.5) / k
            return StripesFitted.of(centroids)
'''


class Package:
    """A package in a folder on sys.path, as pip would have put it there."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        monkeypatch.syspath_prepend(str(folder))

    def install(self, source=STRIPES, version="1", name="stripes", target="own_stripes:Stripes", package="own-stripes"):
        (self.folder / "own_stripes.py").write_text(dedent(source.format(version=version)))
        info = self.folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[seg_assets.algorithms]\n{name} = {target}\n")
        forget()


def forget():
    sys.modules.pop("own_stripes", None)
    importlib.invalidate_caches()
    algorithms.forget_entry_points()


@pytest.fixture
def package(tmp_path, monkeypatch):
    # Two versions of one second have the same length and time: the compiled one must not stand for the other.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "site-packages"
    folder.mkdir()
    yield Package(folder, monkeypatch)
    monkeypatch.undo()
    forget()


def test_it_stands_beside_the_shipped_ones_and_its_parameters_are_checked(package):
    assert "stripes" not in algorithms.names()
    package.install()
    assert set(algorithms.names()) > {"kmeans", "stripes"}
    spec = strategy(algorithm="stripes", parameters={"reach": 1.5})
    assert spec.algorithm == "stripes"
    with pytest.raises(ConfigError, match=r"parameters\.reach = 9: a number from 0\.1 to 2"):
        strategy(algorithm="stripes", parameters={"reach": 9})
    with pytest.raises(ConfigError, match=r"parameters\.reech: stripes has no such parameter, did you mean 'reach'"):
        strategy(algorithm="stripes", parameters={"reech": 1})
    with pytest.raises(ConfigError, match="did you mean 'stripes'"):
        strategy(algorithm="stripe")


def test_the_example_of_the_docs_works_as_it_stands_there(package):
    page = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text()
    lines = page[page.index('    """Equal stripes of the first feature."""') : page.index("A package makes it known")]
    package.install(source=lines.replace("{", "{{").replace("}", "}}"))
    X = np.random.default_rng(0).normal(size=(500, 2))
    fitted = algorithms.fit("stripes", X, 4, seed=0, parameters={"part": 0.9})
    assert np.bincount(fitted.scores(X).argmin(axis=1)).min() > 20


def test_promise_09_its_contributions_sum_to_the_change_in_score(package):
    package.install()
    X = np.random.default_rng(0).normal(size=(60, 3))
    fitted = algorithms.fit("stripes", X, 4, seed=0)
    scores, rows = fitted.scores(X), np.arange(60)
    a, b = rows % 4, rows // 15
    terms = fitted.contributions(X, a, b)
    assert np.abs(terms.sum(axis=1) - (scores[rows, b] - scores[rows, a])).max() < 1e-9


def test_its_version_is_kept_in_the_model_and_the_decision_and_another_one_asks_for_the_decision_anew(
    package, tmp_path
):
    lake = lake_at(tmp_path)
    publish(lake, DAY, users())
    package.install(version="1")
    spec = strategy(algorithm="stripes", fit={"minimum_users": 40, "minimum_history_days": 28}, minimum_share=0.0)
    first = decide_day(lake, spec, DAY, 0)
    assert first.action == "written"
    assert first.decision.model["algorithm_version"] == "1"
    assert first.decision.inputs["algorithm_version"] == "1"
    again = SegmentModel.from_document(first.decision.model)
    assert (again.algorithm_version, again.model_id) == ("1", first.challenger.model.model_id)
    assert decide_day(lake, spec, DAY, 0).action == "kept"
    package.install(version="2")
    again = decide_day(lake, spec, DAY, 0)
    assert again.action == "written"
    assert again.decision.model["algorithm_version"] == "2"
    assert again.decision.model_id != first.decision.model_id, "so that the segments of the day are made anew"
    assert decide_day(lake, spec, DAY, 0).action == "kept"


def test_a_shipped_algorithm_leaves_no_version_behind(tmp_path):
    lake = lake_at(tmp_path)
    publish(lake, DAY, users())
    made = decide_day(lake, strategy(), DAY, 0).decision
    assert "algorithm_version" not in made.model
    assert "algorithm_version" not in made.inputs


def test_promise_07_the_loop_sees_another_version_makes_the_decision_anew_and_rests(package, tmp_path, monkeypatch):
    from seg_assets.drift import verdict
    from tests.drift.small_shop import compare_without_evidently

    monkeypatch.setattr(verdict, "compare", compare_without_evidently)
    package.install(version="1")
    shop = Shop(tmp_path, drift_strategy(algorithm="stripes", fit={"minimum_users": 60}, minimum_share=0.0))
    shop.daily(0, 7)
    shop.settle()
    assert shop.plan().runs == []
    package.install(version="2")
    (request,) = shop.plan().runs
    assert (request.kind, request.strategy) == ("recluster", "value")
    assert request.reason.endswith("rests on what has changed: algorithm_version")
    package.install(version="3")
    assert shop.plan().runs[0].key != request.key, "a version that mends a failed one is asked for again"
    shop.settle()
    assert shop.plan().runs == []


def test_a_model_whose_algorithm_is_gone_is_refused_by_name(package, tmp_path):
    package.install()
    spec = strategy(algorithm="stripes", fit={"minimum_users": 40}, minimum_share=0.0)
    lake = lake_at(tmp_path)
    publish(lake, DAY, users())
    document = decide_day(lake, spec, DAY, 0).decision.model
    (package.folder / "own_stripes-1.0.dist-info" / "entry_points.txt").write_text("")
    forget()
    with pytest.raises(ConfigError, match=r"'stripes': unknown.*once that package is installed"):
        SegmentModel.from_document(document)
    with pytest.raises(ConfigError, match="'stripes': unknown"):
        strategy(algorithm="stripes")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"version": ""}, "version = '': a text"),
        ({"name": "bands"}, "name = 'stripes': must be 'bands'"),
        ({"target": "own_stripes:StripesFitted"}, "cannot be loaded: TypeError"),
        ({"target": "own_stripes:Prototypes"}, "cannot be loaded: TypeError"),
        ({"target": "own_stripes:dt.date.today"}, "cannot be loaded"),
        ({"target": "own_stripes:object"}, "cannot be loaded: AttributeError"),
        ({"target": "nowhere:Stripes"}, "cannot be loaded: ModuleNotFoundError"),
        ({"target": "builtins:dict"}, "a dict, not a class derived from"),
        ({"source": STRIPES.replace('= "stripes"', '= "strips"', 1)}, "fitted.ALGORITHM = 'strips': must be 'stripes'"),
        ({"name": "kmeans"}, "an algorithm of that name is shipped"),
    ],
)
def test_promise_11_an_entry_point_that_is_wrong_is_named_with_what_is_wrong(package, given, named):
    package.install(**given)
    name = given.get("name", "stripes")
    with pytest.raises(ConfigError) as error:
        algorithms.named("no_such" if name == "kmeans" else name)
    assert named in str(error.value)
    assert "entry point" in str(error.value)


def test_two_packages_of_one_name_are_refused(package):
    package.install()
    package.install(package="other-stripes")
    with pytest.raises(ConfigError, match="has the same name; uninstall one of them"):
        algorithms.named("stripes")


def test_an_outcome_of_a_day_is_handed_to_an_own_algorithm_that_is_guided(package, tmp_path):
    guided = (
        STRIPES.replace("import Algorithm, Parameter", "import GuidedAlgorithm, Parameter")
        .replace("import Prototypes", "import Prototypes\n    from seg_assets.segments.algorithms.outcomes import *")
        .replace("Stripes(Algorithm)", "Stripes(GuidedAlgorithm)")
        .replace('"reach"', '**OUTCOME_PARAMETERS, "reach"', 1)
    )
    package.install(source=guided)
    spec = strategy(
        algorithm="stripes",
        parameters={"outcome": "monetary", "horizon_days": 30},
        fit={"minimum_users": 40},
        minimum_share=0.0,
    )
    lake = lake_at(tmp_path)
    frame = users().assign(active_days_all=5.0)
    earlier = DAY - dt.timedelta(days=30)
    publish(lake, earlier, frame.assign(tenure_days=30.0, monetary_all=frame["monetary_90d"]))
    publish(lake, DAY, frame.assign(monetary_all=frame["monetary_90d"] * 1.5))
    made = decide_day(lake, spec, DAY, 0)
    assert "user_profiles:horizon-30" in made.decision.inputs
