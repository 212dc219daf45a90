"""What an algorithm states and does, and what a fit of it can be asked: `Algorithm`, `Fitted`, `Parameter`, `Outcome`.

A clustering algorithm is one class derived from `Algorithm` and one derived from `Fitted`, in a file of their own. The
shipped ones are the other files of this folder; a shop adds its own by an entry point (see the package's docstring).

Not here: which algorithms there are, and the checks before a fit (`algorithms/__init__`); loading an outcome from the
lake (`fitting.outcome`); what an algorithm that learns from an outcome has in common with others (`outcomes`).
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from seg_assets.core.errors import did_you_mean


@dataclass(frozen=True)
class Parameter:
    """State what a strategy's `parameters` may give under one name.

    default: the value of a strategy that gives none.
    kind, least, most: of a number, bounds included; kind None: the algorithm's own `check` says what is allowed.
    hint: added to the error text of a number below `least`.
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
    """Hold what users did after an earlier day, beside what was known of them on that day.

    day: the earlier day.
    frame: features as of `day` (as from load_features), m rows.
    values: m rows in the same order, one column per outcome.
    X: (m, d) `frame` in the model space of the fit; set by fit_challenger.
    inputs: digests of the lake days that were read, for the decision's provenance.
    horizon_days: days from `day` to the end of the outcome; 0: what users had done up to `day` itself, because the
        shop is too young to look further.
    basis: the same in words.
    """

    day: dt.date
    frame: pd.DataFrame
    values: pd.DataFrame
    X: np.ndarray | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    horizon_days: int = 0
    basis: str = ""

    def take(self, rows: np.ndarray, columns: np.ndarray | None = None) -> "Outcome":
        """Return the outcome of these rows only, as often as they are given; of these columns of X only."""
        X = None if self.X is None else self.X[rows]
        return replace(
            self,
            frame=self.frame.iloc[rows].reset_index(drop=True),
            values=self.values.iloc[rows].reset_index(drop=True),
            X=X if X is None or columns is None else X[:, columns],
        )


class Fitted(ABC):
    """A fitted clustering: data that scores rows, explains a score, and reads back from JSON.

    Clusters are 0..n_clusters-1 in an order that does not depend on chance. Numbers are rounded to what is stored, so
    that a clustering read back gives the same labels. `ALGORITHM` is the name of the algorithm that reads it back.
    """

    ALGORITHM: ClassVar[str]

    @property
    @abstractmethod
    def n_clusters(self) -> int:
        """Number of clusters."""

    @abstractmethod
    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return the (n, k) dissimilarity of each row to each cluster; smaller is closer. Of a tie, the lower wins."""

    @abstractmethod
    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (n, d + 1) by column of X, intercept last; row sums are scores[i, b[i]] - scores[i, a[i]]."""

    @abstractmethod
    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return (n,) in 0..1: how sure the assignment to the nearest cluster is."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready content."""

    @classmethod
    @abstractmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the clustering that `to_dict` wrote."""

    def outliers(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return boolean (n,): rows that belong to no cluster (rule segment `outlier`). By default there are none."""
        return np.zeros(len(scores), dtype=bool)

    def without(self, cluster: int) -> "Fitted | None":
        """Return the same clustering less one cluster; None, the default, when none can be taken away."""
        return None

    def beats(
        self, home: np.ndarray, best: np.ndarray, at_home: np.ndarray, at_best: np.ndarray, margin: float
    ) -> np.ndarray:
        """Tell for each row whether cluster `best` beats cluster `home` by a relative margin: the rule of hysteresis.

        By default scores are squared distances, and `best` wins below (1 - margin) times the score at home.

        Args:
            home: (n,) the cluster that each row was in.
            best: (n,) the cluster that each row is nearest to.
            at_home: (n,) score of each row at home.
            at_best: (n,) score of each row in the nearest cluster.
            margin: from 0 to under 1.
        """
        return at_best < (1.0 - margin) * at_home


class Algorithm(ABC):
    """State what one algorithm is called, takes and can do, and fit it. Without state: one object serves every fit.

    name: how a strategy's `algorithm` asks for it.
    fitted: class of its fits, whose `ALGORITHM` is the same name.
    parameters: what a strategy's `parameters` may give.
    version: of an algorithm that is not shipped; kept in the model and among the inputs of a decision, so that another
        version asks for decisions to be made anew. Shipped ones leave it empty: `FIT_VERSION` speaks for them.
    chooses_k: finds its own number of clusters, at most the one asked for.
    starts_warm: can begin from given centroids.
    is_ordered: clusters are tiers in an order, cluster 0 the highest, and are named so.
    is_guided: learns from an outcome, `horizon_days` long, that ends on the fit day (derive from `GuidedAlgorithm`).
    selects_with: a cheaper algorithm of the same geometry that the number of clusters is chosen with; empty: itself.
    """

    name: ClassVar[str]
    fitted: ClassVar[type[Fitted]]
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    version: ClassVar[str] = ""
    chooses_k: ClassVar[bool] = False
    starts_warm: ClassVar[bool] = False
    is_ordered: ClassVar[bool] = False
    is_guided: ClassVar[bool] = False
    selects_with: ClassVar[str] = ""

    @abstractmethod
    def fit(
        self,
        X: np.ndarray,
        k: int,
        *,
        seed: int,
        weights: np.ndarray | None,
        start: np.ndarray | None,
        outcome: Outcome | None,
        parameters: Mapping[str, Any],
    ) -> Fitted:
        """Cluster rows. Called by `algorithms.fit`, which checks the input and runs on one thread.

        An algorithm names the arguments that it uses, and takes the others as `**unused`.

        Args:
            X: (n, d) model space, float64, finite, not empty.
            k: clusters asked for; fewer come back when X has fewer distinct rows.
            seed: of everything random.
            weights: (n,) row weights.
            start: (k, d) centroids to begin from, for an algorithm that `starts_warm`.
            outcome: for an algorithm that `is_guided`; None while nothing was observed.
            parameters: a value for every name in `parameters`.
        """

    def refine(self, X: np.ndarray, fitted: Any, steps: int) -> Fitted | None:
        """Take a few steps over all users after a fit on a sample; None, the default: the fit stays as it is."""
        return None

    def check(self, strategy: Any) -> None:
        """Refuse parameters that it does not have or that are out of bounds; a subclass adds what it cannot serve.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        unknown = next((key for key in strategy.parameters if key not in self.parameters), None)
        if unknown is not None:
            raise ValueError(
                f"parameters.{unknown}: {self.name} has no such parameter{did_you_mean(unknown, self.parameters)}; "
                f"allowed: {', '.join(sorted(self.parameters)) or '(none)'}"
            )
        for key, value in strategy.parameters.items():
            self.parameters[key].check(key, value)

    def columns(self, strategy: Any) -> list[str]:
        """Return the profile columns that it reads beside the strategy's features."""
        return []

    def restore(self, content: Mapping[str, Any]) -> Fitted:
        """Return the fitted clustering of a stored model, also of one that an earlier version stored."""
        return self.fitted.from_dict(content)

    def values_of(self, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return every parameter: as given, else its default."""
        return {key: known.default for key, known in self.parameters.items()} | dict(parameters or {})
