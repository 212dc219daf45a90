"""The clustering algorithms: the shipped ones, one file each in this folder, and a shop's own by entry point.

A package with an algorithm of its own derives one class from `Algorithm` and one from `Fitted`, gives the algorithm a
`version`, and names it in its pyproject.toml:

    [project.entry-points."seg_assets.algorithms"]
    stripes = "my_shop.stripes:Stripes"

Nothing else is needed: a strategy asks for `algorithm: stripes`, its parameters are checked, and its fits are judged,
stored and explained like those of any other. scikit-learn is imported inside functions, so that this loads light.

Not here: the contract itself (`base`), and what is made of a fit (`fitting`).
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.numerics import one_thread
from seg_assets.segments.algorithms.base import Algorithm, Fitted, Outcome, Parameter
from seg_assets.segments.algorithms.density import Density
from seg_assets.segments.algorithms.ensemble import Ensemble
from seg_assets.segments.algorithms.gaussian_mixture import GaussianMixture
from seg_assets.segments.algorithms.kmeans import KMeans
from seg_assets.segments.algorithms.minibatch import MiniBatch
from seg_assets.segments.algorithms.outcome_kmeans import OutcomeKMeans
from seg_assets.segments.algorithms.outcome_tiers import OutcomeTiers
from seg_assets.segments.algorithms.outcome_tree import OutcomeTree
from seg_assets.segments.algorithms.outcomes import GuidedAlgorithm
from seg_assets.segments.algorithms.rules_sql import RulesSql
from seg_assets.segments.algorithms.tiers import Tiers
from seg_assets.segments.algorithms.ward import Ward

__all__ = ["Algorithm", "Fitted", "GuidedAlgorithm", "Outcome", "Parameter", "fit", "named", "names", "restore"]

GROUP = "seg_assets.algorithms"
_SHIPPED: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Density(),
        Ensemble(),
        GaussianMixture(),
        KMeans(),
        MiniBatch(),
        OutcomeKMeans(),
        OutcomeTiers(),
        OutcomeTree(),
        RulesSql(),
        Tiers(),
        Ward(),
    )
}


def names() -> tuple[str, ...]:
    """Return the name of every algorithm, sorted."""
    return tuple(sorted({*_SHIPPED, *_entry_points()}))


def named(name: str) -> Algorithm:
    """Return an algorithm by its name.

    Raises:
        ConfigError: naming the algorithms there are, or what is wrong with one that an entry point gives.
    """
    return _SHIPPED[name] if name in _SHIPPED else _from_entry_point(name)


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by name. Asked for names that are not shipped: it takes 50 ms."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in _SHIPPED:
            raise ConfigError(f"{_where(point)}: an algorithm of that name is shipped; give it another")
        if point.name in points:
            raise ConfigError(f"{_where(point)}: {_where(points[point.name])} has the same name; uninstall one of them")
        points[point.name] = point
    return points


@cache
def _from_entry_point(name: str) -> Algorithm:
    """Load an algorithm of another package, and refuse one that does not keep to the contract."""
    known = _entry_points()
    if name not in known:
        raise ConfigError(
            f"algorithm = {name!r}: unknown{did_you_mean(name, names())}; allowed: {', '.join(names())}; one of "
            f"another package is there once that package is installed (entry point group {GROUP})"
        )
    where = _where(known[name])
    try:
        algorithm = known[name].load()()
    except Exception as error:  # whatever a package of somebody else raises while it loads
        raise ConfigError(f"{where}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(algorithm, Algorithm):
        raise ConfigError(f"{where}: a {type(algorithm).__name__}, not a class derived from {GROUP}.Algorithm")
    for stated, value in (("name", algorithm.name), ("fitted.ALGORITHM", algorithm.fitted.ALGORITHM)):
        if value != name:
            raise ConfigError(f"{where}: {stated} = {value!r}: must be {name!r}, the name of the entry point")
    if not isinstance(algorithm.version, str) or not algorithm.version:
        raise ConfigError(
            f"{where}: version = {algorithm.version!r}: a text, to be changed when fits come out differently, so that "
            "decisions are then made anew"
        )
    return algorithm


def _where(point: EntryPoint) -> str:
    """Say which entry point an error is about."""
    package = f" of {point.dist.name}" if point.dist else ""
    return f"entry point {point.name} = {point.value!r}{package}"


def forget_entry_points() -> None:
    """Look for entry points again: for a process that installs packages while it runs."""
    _entry_points.cache_clear()
    _from_entry_point.cache_clear()


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
        X: (n, d) model space.
        k: clusters asked for.
        seed: of everything random.
        weights: (n,) row weights.
        start: (k, d) centroids to start from, for algorithms that can.
        outcome: for algorithms that learn from one.
        parameters: over the algorithm's defaults.

    Raises:
        ConfigError: unknown algorithm or parameter.
        ValueError: no rows, no columns, or a value that is not finite.
    """
    algorithm = named(name)
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"{name}: nothing to cluster in a matrix of shape {X.shape}")
    if not np.isfinite(X).all():
        raise ValueError(f"{name}: the matrix has values that are not finite")
    unknown = set(parameters or {}) - set(algorithm.parameters)
    if unknown:
        raise ConfigError(f"{name}: unknown parameters {sorted(unknown)}; allowed: {sorted(algorithm.parameters)}")
    with one_thread():
        return algorithm.fit(
            X,
            k,
            seed=seed,
            weights=weights,
            start=start,
            outcome=outcome,
            parameters=algorithm.values_of(parameters),
        )


def restore(name: str, content: Mapping[str, Any]) -> Fitted:
    """Return the fitted clustering of a stored model."""
    return named(name).restore(content)
