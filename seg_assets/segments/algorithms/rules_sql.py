"""Rules: segments by SQL conditions on profile columns, the first that holds wins; who meets none is the last segment.

For marketers' own definitions and for the classics (RFM cells, tiers). `{column@80}` in a condition is the fit day's
80th percentile of that column, kept in the model, so that yesterday's rule means the same today. A condition is parsed,
and refused unless it is one scalar expression over the listed columns; it runs in a DuckDB that cannot reach a file.

Not here: rule segments such as `new` and `dormant`, which come before any algorithm (`segments.rules`); what an
expression may hold (`events.expressions`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import duckdb
import numpy as np
import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.core.numerics import rounded
from seg_assets.core.sql import identifier
from seg_assets.events.expressions import Expression, ExpressionError
from seg_assets.segments.algorithms.base import Algorithm, Fitted, Parameter

_PERCENTILE = re.compile(r"\{\s*(\w+)\s*@\s*(\d{1,2}(?:\.\d+)?)\s*\}")


@dataclass(frozen=True)
class RulesFitted(Fitted):
    """Conditions in order. Cluster j is the j-th condition; the last cluster is everybody else.

    columns: names of the columns of X. conditions: SQL with its percentiles filled in.
    """

    columns: tuple[str, ...]
    conditions: tuple[str, ...]
    ALGORITHM: ClassVar[str] = "rules_sql"

    @property
    def n_clusters(self) -> int:
        """Number of the conditions, and one for the rest."""
        return len(self.conditions) + 1

    @cached_property
    def _reads(self) -> list[list[int]]:
        """Return positions of the columns that decide between each cluster and those after it."""
        read = [[self.columns.index(c) for c in _parsed(text).columns] for text in self.conditions]
        return [*read, sorted({i for columns in read for i in columns})]

    def labels(self, X: np.ndarray) -> np.ndarray:
        """Return (n,) the position of the first condition that holds."""
        return _first_true(self.columns, self.conditions, np.asarray(X, dtype=np.float64))

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return (n, k) 0 for the own segment, 1 for every other: a rule knows no nearness."""
        labels = self.labels(X)
        return (labels[:, None] != np.arange(self.n_clusters)[None, :]).astype(np.float64)

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (n, d + 1): the change of score in equal parts on the columns that the two conditions read."""
        X = np.asarray(X, dtype=np.float64)
        a, b = np.broadcast_to(a, len(X)), np.broadcast_to(b, len(X))
        scores, everyone = self.scores(X), np.arange(len(X))
        change = scores[everyone, b] - scores[everyone, a]
        out = np.zeros((len(X), X.shape[1] + 1))
        for pair in np.unique(np.column_stack([a, b]), axis=0):
            rows = np.flatnonzero((a == pair[0]) & (b == pair[1]))
            columns = sorted({*self._reads[pair[0]], *self._reads[pair[1]]}) or [X.shape[1]]
            out[np.ix_(rows, columns)] = (change[rows] / len(columns))[:, None]
        return out

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return 1 for everyone: a condition holds or does not."""
        return np.ones(len(scores))

    def to_dict(self) -> dict[str, Any]:
        """Return columns and conditions."""
        return {"columns": list(self.columns), "conditions": list(self.conditions)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the rules that `to_dict` wrote, checked again: a model file is data, not code."""
        fitted = cls(tuple(content["columns"]), tuple(content["conditions"]))
        for text in fitted.conditions:
            _check_bound(fitted.columns, text)
        return fitted


class RulesSql(Algorithm):
    """Conditions that a strategy writes down: they say how many segments there are, and no small one is dissolved."""

    name = "rules_sql"
    fitted = RulesFitted
    chooses_k = True
    parameters: ClassVar[Mapping[str, Parameter]] = {"columns": Parameter(()), "segments": Parameter(())}

    def check(self, strategy: Any) -> None:
        """Refuse conditions that do not bind to the listed columns, and features that are not raw profile columns.

        Raises:
            ConfigError: a condition that cannot be understood.
        """
        super().check(strategy)
        given = self.values_of(strategy.parameters)
        columns = _list_of_text(given["columns"], "columns")
        conditions = _list_of_text(given["segments"], "segments")
        named = [f.column for f in strategy.features]
        if columns != named:
            raise ValueError(f"parameters.columns = {columns!r}: list the features' columns in their order: {named!r}")
        transformed = any(f.transform != "none" or f.one_hot for f in strategy.features)
        if strategy.scaling != "none" or strategy.pca or transformed:
            raise ValueError(
                "rules_sql compares the shop's own units: set `scaling: none`, and no transform, one_hot or pca"
            )
        if any(f.weight != 1.0 for f in strategy.features):
            raise ValueError("rules_sql takes no weights: leave `weight` out")
        for text in conditions:
            _check_bound(columns, _filled(text, columns, None))

    def fit(self, X: np.ndarray, k: int, *, parameters: Mapping[str, Any], **unused: Any) -> RulesFitted:
        """Fill in the percentiles of the day.

        Raises:
            ConfigError: when X does not have the listed columns (one that is the same for everyone is not in X).
        """
        columns = tuple(_list_of_text(parameters["columns"], "columns"))
        if len(columns) != X.shape[1]:
            raise ConfigError(
                f"rules_sql: parameters.columns lists {len(columns)} columns ({', '.join(columns)}), {X.shape[1]} of "
                "them hold anything that differs between users; take the others out of columns, features and segments"
            )
        conditions = [_filled(text, columns, X) for text in _list_of_text(parameters["segments"], "segments")]
        for text in conditions:
            _check_bound(columns, text)
        return RulesFitted(columns, tuple(conditions))


def _list_of_text(value: Any, key: str) -> list[str]:
    """Return a parameter that must be a list of different texts, at least one."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) and v.strip() for v in value):
        raise ConfigError(f"rules_sql: parameters.{key} = {value!r}: a list of texts, at least one")
    if len(set(value)) != len(value):
        raise ConfigError(f"rules_sql: parameters.{key}: one is given twice")
    return list(value)


def _filled(text: str, columns: Any, X: np.ndarray | None) -> str:
    """Return the condition with the day's percentiles (any number when X is None) for `{column@percent}`."""

    def number(match: re.Match[str]) -> str:
        name, percent = match[1], float(match[2])
        if name not in columns:
            raise ConfigError(f"rules_sql: {match[0]}: no such column; listed: {', '.join(columns)}")
        if X is None:
            return "0.0"
        value = float(rounded(float(np.percentile(X[:, list(columns).index(name)], percent))))
        return f"({value!r}::double)"

    return _PERCENTILE.sub(number, text)


def _parsed(text: str) -> Expression:
    """Return a condition as an expression."""
    try:
        return Expression.parse(text)
    except ExpressionError as error:
        raise ConfigError(f"rules_sql: segment condition {text!r}: {error}") from None


def _check_bound(columns: Any, text: str) -> None:
    """Raise ConfigError unless the condition is a true-or-false expression over the columns."""
    unknown = [c for c in _parsed(text).columns if c not in columns]
    if unknown:
        raise ConfigError(
            f"rules_sql: segment condition {text!r}: no such column: {', '.join(unknown)}; listed: {', '.join(columns)}"
        )
    with _sandbox() as con:
        typed = ", ".join(f"null::double as {identifier(c)}" for c in columns)
        try:
            kind = con.execute(f"select typeof({_parsed(text).text}) from (select {typed})").fetchone()
        except duckdb.Error as error:
            raise ConfigError(f"rules_sql: segment condition {text!r}: {error}") from None
    if kind is None or kind[0] != "BOOLEAN":
        raise ConfigError(f"rules_sql: segment condition {text!r}: gives {kind and kind[0]}, not true or false")


def _sandbox() -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that can reach no file."""
    con = duckdb.connect(":memory:", config={"threads": "1"})
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    return con


def _first_true(columns: tuple[str, ...], conditions: tuple[str, ...], X: np.ndarray) -> np.ndarray:
    """Return (n,) the position of the first condition that holds, the number of conditions where none does."""
    if not len(X):
        return np.zeros(0, dtype=np.int64)
    cases = " ".join(f"when ({_parsed(text).text}) then {j}" for j, text in enumerate(conditions))
    names = [f"c{j}" for j in range(len(columns))]
    frame = pd.DataFrame(dict(zip(names, X.T, strict=True)))
    renamed = ", ".join(f"{n} as {identifier(c)}" for n, c in zip(names, columns, strict=True))
    with _sandbox() as con:
        con.register("rows", frame.assign(seg_row=np.arange(len(X))))
        positions = con.execute(
            f"select (case {cases} else {len(conditions)} end)::integer from "
            f"(select seg_row, {renamed} from rows) order by seg_row"
        ).fetchnumpy()
    return next(iter(positions.values())).astype(np.int64)
