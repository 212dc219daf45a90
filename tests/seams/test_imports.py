"""Packages imported name by name offer what they offer when they are imported plainly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seg_assets.drift.evidently_report import EVIDENTLY, NAME_BY_NAME
from seg_assets.seams.imports import quick_imports, reexports


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a package; forgets it afterwards."""
    names = []

    def write(name: str, files: dict[str, str]) -> None:
        names.append(name)
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for loaded in [m for m in sys.modules if m.split(".")[0] in names]:
        del sys.modules[loaded]


def test_a_name_brings_its_own_module_and_every_other_name_is_still_there(package):
    package(
        "shelf",
        {
            "__init__.py": '"""Doc."""\nfrom . import _marks\nfrom .one import One\nfrom .two import Two as Deux\n'
            'from .deep.three import Three\n__all__ = ["One", "Deux", "Three"]\n',
            "_marks.py": "",
            "one.py": "One = 1\n",
            "two.py": "from shelf.one import One\nTwo = One + 1\n",
            "deep/__init__.py": "",
            "deep/three.py": "Three = 3\n",
        },
    )
    with quick_imports("shelf", ["shelf"], f"pytest=={pytest.__version__}"):
        import shelf  # pyright: ignore[reportMissingImports]
        from shelf import One  # pyright: ignore[reportMissingImports]
    assert (One, "shelf.two" in sys.modules, "shelf.deep" in sys.modules) == (1, False, False)
    assert shelf.__doc__ == "Doc."
    assert shelf.Deux == 2
    assert shelf.deep.three.Three == 3, "a module of the package, which its __init__ would have imported"
    assert {"One", "Deux", "Three", "deep"} <= set(dir(shelf))
    everything: dict = {}
    exec("from shelf import *", everything)
    assert (everything["One"], everything["Deux"], everything["Three"]) == (1, 2, 3)
    with pytest.raises(AttributeError, match="no attribute 'Four'"):
        _ = shelf.Four
    with pytest.raises(ImportError):
        from shelf import Four  # noqa: F401  # pyright: ignore[reportMissingImports]


@pytest.mark.parametrize(
    "source",
    [
        "from .a import A\nprint(A)\n",  # does something
        "import os\nfrom .a import A\n",
        "from .a import *\n",
        "from .a import a\n",  # the function or the module: depends on what was imported before
        "from .a import A\nB = A\n",
    ],
)
def test_a_package_that_does_more_than_re_export_is_imported_plainly(source, package):
    assert reexports(source, "busy") is None
    package("busy", {"__init__.py": source, "a.py": "A = a = 1\n"})
    with quick_imports("busy", ["busy"], f"pytest=={pytest.__version__}"):
        import busy  # pyright: ignore[reportMissingImports]
    assert "__getattr__" not in vars(busy)
    assert "busy.a" in sys.modules


def test_another_release_than_the_one_it_was_tried_with_is_imported_plainly(package):
    package("shelf", {"__init__.py": "from .one import One\n", "one.py": "One = 1\n"})
    with quick_imports("shelf", ["shelf"], "pytest==0.0.1"):
        import shelf  # noqa: F401  # pyright: ignore[reportMissingImports]
    assert "shelf.one" in sys.modules


WHAT_A_USER_DOES_LATER = """
import json, sys
import numpy as np, pandas as pd
from seg_assets.drift.evidently_report import Limits, compare
by_name = sys.argv[1] == "by name"
if by_name:
    day = {"numeric": {"x": {"missing": 0.0, "quantiles": [0.0, 1.0, 2.0]}}, "categories": {}}
    assert compare(day, day, Limits(0.1, 0.02), 50).document
    assert "nltk" not in sys.modules and "evidently.legacy.metrics.recsys" not in sys.modules
from evidently import Dataset, DataDefinition, Report
from evidently.core.report import Run
from evidently.presets import DataDriftPreset, DataSummaryPreset
from evidently.metrics import *
from evidently.legacy.metrics import ClassificationQualityMetric
from evidently.legacy.test_preset import DataStabilityTestPreset
from evidently.ui.workspace import Workspace
import evidently
rng = np.random.default_rng(0)
frames = [pd.DataFrame({"x": rng.normal(m, 1, 300), "t": rng.choice(["a", "b"], 300)}) for m in (0, 1)]
definition = DataDefinition(numerical_columns=["x"], categorical_columns=["t"])
now, then = (Dataset.from_pandas(f, definition) for f in frames)
run = Report([DataDriftPreset(), DataSummaryPreset(), MaxValue(column="x")], include_tests=True).run(now, then)
again = Run.loads(run.dumps())
print(json.dumps({
    "report": [(m["metric_name"], str(m["value"])) for m in run.dict()["metrics"]],
    "tests": [(t["name"], str(t["status"])) for t in run.dict()["tests"]],
    "loaded": [str(m["value"]) for m in again.dict()["metrics"]],
    "page": len(run.get_html_str(as_iframe=False)) > 1_000_000,
    "offered": sorted(n for n in dir(evidently.metrics) if not n.startswith("_")),
    "presets": sorted(n for n in dir(evidently.presets) if n[0].isupper()),
    "names": [ClassificationQualityMetric.__module__, DataStabilityTestPreset.__module__, Workspace.__module__],
}))
"""


def test_after_our_import_evidently_does_all_it_does_after_a_plain_one():
    said, env = {}, {**os.environ, "PYTHONHASHSEED": "0"}  # Evidently lists the levels of a text in a set's order
    for how in ("by name", "plainly"):
        command = [sys.executable, "-c", WHAT_A_USER_DOES_LATER, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        said[how] = json.loads(done.stdout.splitlines()[-1])
    assert said["by name"].pop("offered") == said["plainly"].pop("offered")
    assert said["by name"] == said["plainly"]
    assert said["plainly"]["page"]


def test_the_packages_named_are_those_of_the_pinned_evidently():
    from importlib.util import find_spec

    pins = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"{EVIDENTLY}"' in pins, "another Evidently: look again at what can be imported name by name"
    found = find_spec("evidently")
    assert found and found.origin
    for name in NAME_BY_NAME:
        source = Path(found.origin).parents[1].joinpath(*name.split("."), "__init__.py")
        assert reexports(source.read_text(), name) is not None, name
