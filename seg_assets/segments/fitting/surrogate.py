"""Describe segments as rules on profile columns: a shallow tree (Craven and Shavlik 1996), with its fidelity.

The rules describe a model; they are not the model. Each states how often held-out users bear it out.

Not here: the rule segments that need no model (`segments.rules`), and the rules as clusters of their own
(`segments.algorithms.rules_sql`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.segments.space import numbers_of, text_of

# The smallest leaf then holds 40 users (one in 500 of those learned from), and a tree costs the same at any shop size.
TREE_USERS = 20_000
# Of fewer users none can be spared for measuring the rules.
SPLIT_FROM = 100
# Leaves per segment: two say "this or that"; nobody reads more.
LEAVES = 2
MOST_LEAVES = 40
# Levels of a text column that rules may name.
LEVELS = 10


@dataclass(frozen=True)
class Condition:
    """low < column <= high, or column = level / is not level. `unknown`: a null satisfies it too."""

    column: str
    low: float = -np.inf
    high: float = np.inf
    unknown: bool = False
    level: str | None = None

    @property
    def text(self) -> str:
        """Say the condition in words."""
        if self.level is not None:
            return f"{self.column} is {self.level}" if self.low > 0 else f"{self.column} is not {self.level}"
        also = " (or unknown)" if self.unknown else ""
        if np.isinf(self.low):
            return f"{self.column} <= {self.high:g}{also}"
        if np.isinf(self.high):
            return f"{self.column} > {self.low:g}{also}"
        return f"{self.low:g} < {self.column} <= {self.high:g}{also}"

    @property
    def tree_column(self) -> str:
        """Return the name of the tree's column that the condition is about."""
        return self.column if self.level is None else f"{self.column}={self.level}"

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Return (n,) whether each value satisfies the condition."""
        with np.errstate(invalid="ignore"):
            inside = (values > self.low) & (values <= self.high)
        return np.where(np.isnan(values), self.unknown, inside)


@dataclass(frozen=True)
class Rule:
    """A segment as a rule: any of `terms`, each all of its conditions.

    Precision and recall are of held-out users: NaN where none satisfies the rule, where none is in the segment.
    """

    segment_id: str
    text: str
    precision: float
    recall: float
    terms: tuple[tuple[Condition, ...], ...] = field(default=(), compare=False)


def surrogate_rules(
    frame: pd.DataFrame,
    labels: pd.Series | Sequence[str],
    seed: int = 0,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Rule], float]:
    """Describe segments as rules on columns, and say how faithful the tree behind them is.

    Args:
        frame: columns that rules may speak of, numbers or text; `user_id` is left out.
        labels: segment of each row.
        seed: of the sample and of the tree's ties.
        levels: those that rules may name of a text column with many, so that rules of two days speak of the same;
            default: its commonest ones.

    Returns:
        One rule per segment that the tree speaks of, by segment id; share of held-out users whom the tree gives their
        segment, NaN without users or columns. With fewer than SPLIT_FROM users the tree is measured on those that it
        has seen.
    """
    from sklearn.tree import DecisionTreeClassifier

    y = np.asarray(pd.Series(labels), dtype=object)
    order = np.random.default_rng(seed).permutation(len(y))
    half = len(y) // 2
    if len(y) < SPLIT_FROM:
        learn = test = np.arange(len(y))
        chosen = order
    else:
        chosen = np.concatenate([order[:half][:TREE_USERS], order[half:][:TREE_USERS]])
        learn, test = np.split(np.arange(len(chosen)), [min(half, TREE_USERS)])
    # Only the sample becomes a matrix, not every user of the day.
    y = y[chosen].astype(str)
    names, X, indicators = _tree_columns(frame.iloc[chosen], levels or {})
    segments = sorted(set(y))
    if not len(y) or not names:
        return [], np.nan
    tree = DecisionTreeClassifier(
        max_leaf_nodes=int(np.clip(LEAVES * len(segments), 2, MOST_LEAVES)),
        min_samples_leaf=max(1, len(learn) // 500),
        random_state=seed,
    )
    tree.fit(X[learn], y[learn])
    fidelity = float((tree.predict(X[test]) == y[test]).mean())
    leaves: dict[str, list[tuple[int, tuple[Condition, ...]]]] = {}
    for segment, users, conditions in _leaves(tree, names, indicators, np.isnan(X).any(axis=0)):
        leaves.setdefault(segment, []).append((users, conditions))
    rules = []
    index = {name: j for j, name in enumerate(names)}
    for segment in sorted(leaves):
        terms = tuple(c for _, c in sorted(leaves[segment], key=lambda leaf: -leaf[0])[:LEAVES])
        satisfies = np.zeros(len(test), dtype=bool)
        for conditions in terms:
            each = [c.holds(X[test, index[c.tree_column]]) for c in conditions]
            satisfies |= np.all(each or [np.ones(len(test), bool)], axis=0)
        mine = y[test] == segment
        both = int((satisfies & mine).sum())
        text = " or ".join(_all_of(c, len(terms) > 1) for c in terms)
        precision = both / int(satisfies.sum()) if satisfies.any() else np.nan
        recall = both / int(mine.sum()) if mine.any() else np.nan
        rules.append(Rule(segment, text, precision, recall, terms))
    return rules, fidelity


def _all_of(conditions: Sequence[Condition], bracket: bool) -> str:
    text = " and ".join(c.text for c in conditions) or "everyone"
    return f"({text})" if bracket and len(conditions) > 1 else text


def _tree_columns(
    frame: pd.DataFrame, given: Mapping[str, Sequence[str]]
) -> tuple[list[str], np.ndarray, dict[str, tuple[str, str]]]:
    """Return names and matrix of the tree's columns, and (column, level) of those that indicate a level.

    Numbers stay as they are; a text becomes indicators of its levels: all of them, or of many those given, else its
    commonest ones.
    """
    names: list[str] = []
    parts: list[np.ndarray] = []
    levels: dict[str, tuple[str, str]] = {}
    for column in frame.columns:
        if column == "user_id":
            continue
        if pd.api.types.is_numeric_dtype(frame[column]):
            names.append(column)
            parts.append(numbers_of(frame[column], np.nan))
            continue
        values = text_of(frame[column])
        counts = pd.Series(values).value_counts()
        named = sorted(counts.index, key=lambda v: (-counts[v], v))
        if len(named) > LEVELS:
            named = list(given.get(column, named))[:LEVELS]
        for level in named:
            name = f"{column}={level}"
            names.append(name)
            levels[name] = (column, level)
            parts.append((values == level).astype(float))
    # The tree compares in float32. Rounding to it first makes its borders the numbers that the text shows.
    X = np.column_stack(parts).astype(np.float32).astype(np.float64) if parts else np.zeros((len(frame), 0))
    X[~np.isfinite(X)] = np.nan
    return names, X, levels


def _leaves(
    tree: Any, names: list[str], levels: Mapping[str, tuple[str, str]], has_null: np.ndarray
) -> Iterator[tuple[str, int, tuple[Condition, ...]]]:
    """Yield (segment, users, conditions) of each leaf; conditions on one column are merged."""
    nodes = tree.tree_
    stack: list[tuple[int, dict[int, tuple[float, float, bool]]]] = [(0, {})]
    while stack:
        node, bounds = stack.pop()
        if nodes.children_left[node] == -1:
            segment = str(tree.classes_[int(nodes.value[node][0].argmax())])
            conditions = (
                _condition(names[j], low, high, unknown and bool(has_null[j]), levels)
                for j, (low, high, unknown) in bounds.items()
            )
            yield segment, int(nodes.n_node_samples[node]), tuple(conditions)
            continue
        j, border = int(nodes.feature[node]), float(f"{nodes.threshold[node]:.6g}")
        low, high, unknown = bounds.get(j, (-np.inf, np.inf, True))
        left_null = bool(nodes.missing_go_to_left[node])
        stack.append((nodes.children_right[node], {**bounds, j: (max(low, border), high, unknown and not left_null)}))
        stack.append((nodes.children_left[node], {**bounds, j: (low, min(high, border), unknown and left_null)}))


def _condition(name: str, low: float, high: float, unknown: bool, levels: Mapping[str, tuple[str, str]]) -> Condition:
    if name in levels:
        column, level = levels[name]
        return Condition(column, low, high, unknown, level)
    return Condition(name, low, high, unknown)
