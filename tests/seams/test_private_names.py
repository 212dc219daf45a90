"""Private names of other libraries stand in `seg_assets/seams` only, and nobody writes to another library's names.

What counts as private: a module or name with one leading underscore, and the modules of PRIVATE, which their library
does not document for its users. What counts as another library: whatever is imported and is neither ours nor Python's.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("seg_assets", "tests", "studies", "benchmarks")
# Modules without an underscore that are their library's own business all the same.
PRIVATE = (
    "dbt.adapters.base",
    "dbt.adapters.contracts",
    "dbt.adapters.duckdb.connections",
    "dbt.adapters.factory",
    "dbt.clients",
    "dbt.compilation",
    "dbt.config",
    "dbt.contracts",
    "dbt.flags",
    "dbt.graph",
    "dbt.parser",
    "dbt.task",
    "dbt_common",
    "evidently.core",
    "evidently.legacy",
    "evidently.metrics.column_statistics",
    "upath.implementations",
)
# Names with an underscore that are documented for everybody.
PUBLIC = {"os._exit"}
# The list of what may use private names, file by file: the seams, the tests that look behind them, and this list.
SEAMS = {
    "seg_assets/seams/dagster_storage.py",
    "seg_assets/seams/dbt_database.py",
    "seg_assets/seams/dbt_manifest.py",
    "tests/seams/test_dagster_storage.py",
    "tests/seams/test_private_names.py",
}

FILES = sorted(str(path.relative_to(ROOT)) for top in OURS for path in (ROOT / top).rglob("*.py"))
# Modules as they are reached through a module of ours: `publish.os`.
MODULES = sys.stdlib_module_names | {"dg", "duckdb", "evidently", "np", "pa", "pd", "pq", "yaml"}
PATCHERS = ("setattr", "setitem", "delattr", "delitem", "object")


def our_private_names() -> set[str]:
    """Names with one leading underscore that our own code defines: functions, classes, attributes, variables."""
    names: set[str] = set()
    for file in FILES:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names |= {node.attr} if ast.unparse(node.value) in ("self", "cls") else set()
    return {name for name in names if is_private(name)}


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in OURS and top not in sys.stdlib_module_names and top != "__future__"


def is_private_module(module: str) -> bool:
    return is_private(module) or any(module == known or module.startswith(known + ".") for known in PRIVATE)


class Finder(ast.NodeVisitor):
    """Collects the lines of one file that break the rule."""

    def __init__(self, ours: set[str]) -> None:
        self.ours = ours
        self.foreign: dict[str, str] = {}
        self.lines: list[str] = []

    def note(self, node: ast.AST, text: str) -> None:
        self.lines.append(f"line {getattr(node, 'lineno', 0)}: {text}")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if is_foreign(alias.name):
                self.foreign[alias.asname or alias.name.partition(".")[0]] = alias.name
                if is_private_module(alias.name):
                    self.note(node, f"imports {alias.name}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level or module.partition(".")[0] in OURS:
            return
        for alias in node.names:
            whole = f"{module}.{alias.name}"
            if is_foreign(module):
                self.foreign[alias.asname or alias.name] = whole
            if is_private(whole) or (is_foreign(module) and is_private_module(whole)):
                self.note(node, f"imports {whole}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        text = ast.unparse(node)
        if is_private(node.attr) and node.attr not in self.ours and text not in PUBLIC:
            self.note(node, f"uses {text}")
        if isinstance(node.ctx, ast.Store | ast.Del) and self.root_of(node.value) in self.foreign:
            self.note(node, f"writes to {text}")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.generic_visit(node)
        bases = [self.foreign.get(self.root_of(base), "") for base in node.bases]
        # Of pydantic and of Dagster's Config the private methods are ours: they are given to validators by name.
        foreign = [base for base in bases if base and not base.startswith(("pydantic.", "dagster"))]
        for item in node.body:
            if foreign and isinstance(item, ast.FunctionDef) and is_private(item.name):
                self.note(item, f"may override {node.name}.{item.name} of {foreign[0]}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if named in ("getattr", "hasattr", "setattr", "delattr") and len(node.args) > 1:
            asked = getattr(node.args[1], "value", None)
            if isinstance(asked, str) and is_private(asked) and asked not in self.ours:
                self.note(node, f"asks for {asked}")
        if named in PATCHERS and node.args and (named != "object" or "patch" in ast.unparse(node.func)):
            target = node.args[0]
            text = target.value if isinstance(target, ast.Constant) else ast.unparse(target)
            named_module = isinstance(target, ast.Constant) and "." in str(text) and is_foreign(str(text))
            through_ours = isinstance(target, ast.Attribute) and target.attr in MODULES
            if named_module or through_ours or self.root_of(target) in self.foreign:
                self.note(node, f"patches {text}")

    def visit_Constant(self, node: ast.Constant) -> None:
        # A module named in a text: an argument of `python -m`, say.
        text = node.value if isinstance(node.value, str) and " " not in node.value else ""
        if text.partition(".")[0] in ("dagster", "dbt", "evidently", "duckdb") and is_private_module(text):
            self.note(node, f"names {text}")

    @staticmethod
    def root_of(node: ast.expr) -> str:
        while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
            node = node.func if isinstance(node, ast.Call) else node.value
        return node.id if isinstance(node, ast.Name) else ""


def broken_rules(source: str, ours: set[str]) -> Iterator[str]:
    finder = Finder(ours)
    finder.visit(ast.parse(source))
    yield from finder.lines


OUR_NAMES = our_private_names()


@pytest.mark.parametrize("file", [file for file in FILES if file not in SEAMS])
def test_private_names_of_other_libraries_stand_in_seams_only(file):
    assert list(broken_rules((ROOT / file).read_text(encoding="utf-8"), OUR_NAMES)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from dagster._core.storage import x",
        "import dagster._core",
        "from dagster import _core",
        "from evidently.legacy.tests import x",
        "import evidently.core.datasets",
        "from atexit import _run_exitfuncs",
        "import atexit\natexit._run_exitfuncs()",
        "def f(instance): return instance._base_dir_of_dagster",
        "def f(instance): return getattr(instance, '_base_dir_of_dagster')",
        "import duckdb\nduckdb.connect = None",
        "import duckdb\ndel duckdb.connect",
        "import evidently\nevidently.Report.run = None",
        "import duckdb\nsetattr(duckdb, 'connect', None)",
        "import duckdb\ndef test(monkeypatch): monkeypatch.setattr(duckdb, 'connect', None)",
        "def test(monkeypatch): monkeypatch.setattr('duckdb.connect', None)",
        "from seg_assets.lake import publish\ndef test(monkeypatch): monkeypatch.setattr(publish.os, 'replace', None)",
        "from evidently import Report\nclass Mine(Report):\n    def _run(self): ...",
        "command = ['python', '-m', 'dagster._daemon']",
    ],
)
def test_what_breaks_the_rule_is_seen(source):
    assert list(broken_rules(source, OUR_NAMES))


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(0)",
        "class A:\n    def f(self): return self._is_private",
        "from seg_assets.lake import store\ndef test(monkeypatch): monkeypatch.setattr(store, 'x', None)",
        "from pydantic import BaseModel\nclass A(BaseModel):\n    def _known(self): ...",
        "text = 'see dagster._core for more'",
    ],
)
def test_what_is_ours_or_public_is_let_be(source):
    assert list(broken_rules(source, OUR_NAMES | {"_is_private"})) == []


def test_the_list_of_seams_names_files_that_are_there():
    assert {file for file in SEAMS if not (ROOT / file).exists()} == set()
