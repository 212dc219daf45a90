"""Import what is large quickly: without the garbage collector, and packages of re-exports name by name."""

import ast
import contextlib
import gc
import importlib
import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType


@contextlib.contextmanager
def quick_imports(module: str, by_name: Collection[str] = (), of: str = "") -> Iterator[None]:
    """Around the first import of `module` (Evidently, dbt): they make a million objects that stay.

    Without the collector it takes a fifth to a third less time. What is there afterwards is kept out of later
    collections too. Nothing is done when the module is there already.

    Args:
        module: what is imported; nothing is done when it is there already.
        by_name: packages that import a name when it is asked for, not all names at once (`NameByName`).
        of: the one release that this was tried with, as `name==version`; any other is imported plainly.
    """
    if module in sys.modules or not gc.isenabled():
        yield
        return
    finder = NameByName(by_name) if by_name and _is_installed(of) else None
    gc.disable()
    if finder:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder:
            sys.meta_path.remove(finder)
        gc.freeze()
        gc.enable()


def _is_installed(release: str) -> bool:
    name, _, wanted = release.partition("==")
    try:
        return version(name) == wanted
    except PackageNotFoundError:
        return False


class NameByName:
    """Finds packages whose `__init__` only re-exports, and has them import a name when it is asked for.

    `from evidently.legacy.metrics import DatasetDriftMetric` is one class, and behind it 88 modules, nltk and a web
    framework. What a package offers stays the same: a name not used yet is imported when it is, as plainly as before.
    A package that does anything else is imported plainly.
    """

    def __init__(self, packages: Collection[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package's spec with a loader that does so, None for every other module."""
        found = PathFinder.find_spec(name, path, target) if name in self.packages else None
        if found is None or type(found.loader) is not SourceFileLoader:
            return None
        found.loader = _Loader(found.loader.name, found.loader.path)
        return found


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        source = self.get_source(self.name) or ""
        names = reexports(source, self.name)
        if names is None:
            super().exec_module(module)
            return
        module.__doc__ = ast.get_docstring(ast.parse(source), clean=False)

        def find(name: str) -> object:
            if name == "__all__":
                return [n for n in names if not n.startswith("_")]
            if name not in names:
                raise AttributeError(f"module {self.name!r} has no attribute {name!r}")
            home, there = names[name]
            if there is None or home == self.name:
                found = importlib.import_module(f"{self.name}.{there or name}")
                # A plain import would have brought these modules of it.
                for below in sorted({h for h, _ in names.values() if h.startswith(f"{found.__name__}.")}):
                    importlib.import_module(below)
            else:
                found = getattr(__import__(home, fromlist=[there]), there)
            setattr(module, name, found)
            return found

        # Python asks these for a name that a module does not have (PEP 562).
        module.__dict__["__getattr__"] = find
        module.__dict__["__dir__"] = lambda: sorted({*module.__dict__, *names})


def reexports(source: str, package: str) -> dict[str, tuple[str, str | None]] | None:
    """Names of a package, each with the module it is from and its name there (None: a module of the package).

    None when `__init__` has anything beside a docstring, `from ... import ...` and `__all__`, or when a name is also
    that of a module of the package: which of the two it is would depend on what was imported before.
    """
    names: dict[str, tuple[str, str | None]] = {}
    modules = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom):
            above = package.split(".")
            above = above[: len(above) - statement.level + 1] if statement.level else []
            home = ".".join([*above, *filter(None, [statement.module])])
            for alias in statement.names:
                if alias.name == "*":
                    return None
                names[alias.asname or alias.name] = (home, alias.name)
            if home.startswith(package + "."):
                modules.add(home.removeprefix(package + ".").split(".")[0])
        elif isinstance(statement, ast.Assign):
            if [ast.unparse(t) for t in statement.targets] != ["__all__"]:
                return None
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return None
    if modules & set(names):
        return None
    return {**names, **dict.fromkeys(modules, (package, None))}
