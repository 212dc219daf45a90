"""The clustering algorithms, one module each, behind one small interface.

A module of this folder is an algorithm when it defines

- `PARAMETERS`: dict, names a strategy's `parameters` may give, each a `Parameter`: its default and what is allowed;
- `FITTED`: the class its fits return (see `Fitted`), also what reads a stored model back;
- `fit(X, k, *, seed, weights, start, outcome, parameters) -> Fitted`;

and, where it needs them, `CHOOSES_K = True` (it finds its own number of clusters, at most k), `STARTS_WARM = True`
(it can begin from `start`), `SELECTS_WITH = "kmeans"` (k is chosen with a cheaper algorithm of the same geometry),
`refine(X, fitted, steps) -> Fitted` (a few steps over all users, after a fit on a sample), `check(strategy)` (raise
ValueError for a strategy it cannot serve, or for a parameter that is no number), `columns(strategy)` (profile columns
it reads beside the features), `load_outcome(lake, strategy, day) -> Outcome | None` (earlier features and what users
did since). Modules load light: scikit-learn is imported inside functions. Modules without `fit` are helpers.
"""

import datetime as dt
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.core.numerics import one_thread


@runtime_checkable
class Fitted(Protocol):
    """A fitted clustering. Clusters are 0..n_clusters-1 in an order that does not depend on chance."""

    ALGORITHM: ClassVar[str]

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        ...

    def scores(self, X: np.ndarray) -> np.ndarray:
        """(n, k) dissimilarity of each row to each cluster; smaller is closer. Ties go to the lower cluster."""
        ...

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, d + 1) by column of X, intercept last; row sums are scores[i, b[i]] - scores[i, a[i]]."""
        ...

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """(n,) in 0..1: how sure the assignment to the nearest cluster is."""
        ...

    def outliers(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Boolean (n,): rows that belong to no cluster (rule segment `outlier`)."""
        ...

    def without(self, cluster: int) -> "Fitted | None":
        """The same clustering less one cluster; None when it cannot be taken away."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        ...

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Fitted":
        """The clustering that `to_dict` wrote."""
        ...


@dataclass(frozen=True)
class Parameter:
    """What a strategy's `parameters` may give under one name.

    kind, least, most: of a number, bounds included; kind None: the module's `check` says what is allowed.
    hint: said of a number below `least`.
    """

    default: Any
    kind: type[int] | type[float] | None = None
    least: float = 0
    most: float = 0
    hint: str = ""

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError unless the value is a number of the kind and within bounds."""
        if self.kind is None:
            return
        numbers = int if self.kind is int else int | float
        of_kind = isinstance(value, numbers) and not isinstance(value, bool)
        if not of_kind or not self.least <= value <= self.most:
            below = f"; {self.hint}" if self.hint and of_kind and value < self.least else ""
            whole = "whole " if self.kind is int else ""
            raise ValueError(f"parameters.{name} = {value!r}: a {whole}number from {self.least} to {self.most}{below}")


@dataclass(frozen=True)
class Outcome:
    """What users did after an earlier day, beside what was known of them on that day.

    frame: features as of `day` (as from load_features), m rows.
    values: m rows in the same order, one column per outcome.
    X: (m, d) `frame` in the model space of the fit; set by fit_challenger.
    inputs: digests of what was read, for the decision's provenance.
    """

    day: dt.date
    frame: pd.DataFrame
    values: pd.DataFrame
    X: np.ndarray | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)

    def take(self, rows: np.ndarray, columns: np.ndarray | None = None) -> "Outcome":
        """The outcome of these rows only, as often as they are given; of these columns of X only."""
        X = None if self.X is None else self.X[rows]
        return replace(
            self,
            frame=self.frame.iloc[rows].reset_index(drop=True),
            values=self.values.iloc[rows].reset_index(drop=True),
            X=X if X is None or columns is None else X[:, columns],
        )


@cache
def names() -> tuple[str, ...]:
    """Every algorithm, sorted."""
    found = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return tuple(sorted(name for name in found if hasattr(_module(name), "fit")))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def module_of(name: str) -> ModuleType:
    """The module of an algorithm.

    Raises:
        ConfigError: naming the algorithms there are.
    """
    if name not in names():
        raise ConfigError(f"algorithm = {name!r}: unknown; allowed: {', '.join(names())}")
    return _module(name)


def parameters_of(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every parameter of an algorithm: as given, else its default."""
    return {key: known.default for key, known in module_of(name).PARAMETERS.items()} | dict(given or {})


def check_strategy(strategy: Any) -> None:
    """Refuse parameters that are out of bounds, and what the algorithm cannot serve.

    Raises:
        ValueError: naming the parameter, its value and what is allowed. ConfigError: written rules that do not bind.
    """
    module = module_of(strategy.algorithm)
    for key, value in strategy.parameters.items():
        module.PARAMETERS[key].check(key, value)
    if hasattr(module, "check"):
        module.check(strategy)


def is_guided(name: str) -> bool:
    """Whether an algorithm learns from an outcome."""
    return hasattr(module_of(name), "load_outcome")


def outcome_for(name: str, lake: Any, strategy: Any, day: dt.date) -> Any:
    """What an outcome-guided algorithm learns from on a day, None for the others."""
    return module_of(name).load_outcome(lake, strategy, day) if is_guided(name) else None


def fit(
    name: str,
    X: np.ndarray,
    k: int,
    *,
    seed: int,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    outcome: Outcome | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Fitted:
    """Fit an algorithm on one thread, so that results do not depend on how many there are.

    Args:
        name: an algorithm of `names()`.
        X: (n, d) model space, finite.
        k: clusters asked for; fewer come back when X has fewer distinct rows.
        seed: of everything random.
        weights: (n,) row weights.
        start: (k, d) centroids to start from, for algorithms that can.
        outcome: for outcome-guided algorithms.
        parameters: over the algorithm's PARAMETERS.

    Raises:
        ConfigError: unknown algorithm or parameter.
        ValueError: no rows, no columns, or a value that is not finite.
    """
    module = module_of(name)
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"{name}: nothing to cluster in a matrix of shape {X.shape}")
    if not np.isfinite(X).all():
        raise ValueError(f"{name}: the matrix has values that are not finite")
    unknown = set(parameters or {}) - set(module.PARAMETERS)
    if unknown:
        raise ConfigError(f"{name}: unknown parameters {sorted(unknown)}; allowed: {sorted(module.PARAMETERS)}")
    with one_thread():
        return module.fit(
            X,
            k,
            seed=seed,
            weights=weights,
            start=start,
            outcome=outcome,
            parameters=parameters_of(name, parameters),
        )


def restore(name: str, content: Mapping[str, Any]) -> Fitted:
    """The fitted clustering of a stored model."""
    return module_of(name).FITTED.from_dict(content)
