"""Outcome tree: a small honest regression tree on what users did next; one half of the users draws it, one fills it.

Breiman, Friedman, Olshen and Stone (1984), grown best first to k leaves. A leaf is a box of the model space, so a
segment is a rule that can be read: spend above this, last purchase before that. Honesty (Athey and Imbens 2016): the
half that chose the splits does not say what the leaves are worth, so the worth is not flattered by the choice.
Outcomes are evened out by their square root, as in outcome_tiers; several are put in standard deviations, and a split
serves their sum.

The score of a leaf is the squared distance of a row to its box, 0 inside: a sum over columns, so contributions are
exact. Hysteresis reads it as how far past the border a user is.

Not here: which outcomes there are (`outcomes`), and reading one from the lake (`fitting.outcome`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from seg_assets.core.numerics import rounded, spreads
from seg_assets.segments.algorithms.base import Fitted, Outcome, Parameter
from seg_assets.segments.algorithms.outcomes import OUTCOME_PARAMETERS, GuidedAlgorithm, stabilized

# Fewest users of a half in a leaf: below that a mean says little.
LEAST_USERS = 10

# A node: [column, threshold, left, right] with the indices of its children, or [leaf] with the number of the leaf.
Node = tuple[float, ...]


@dataclass(frozen=True)
class OutcomeTreeFitted(Fitted):
    """A tree as its nodes, the root first. Leaf 0 is the one of greatest worth.

    values: (k, t) mean of each outcome by leaf among the users who did not draw the tree, in the outcome's own unit.
    dimensions: d, columns of the model space.
    """

    nodes: tuple[Node, ...]
    values: np.ndarray
    dimensions: int
    notes: Mapping[str, Any] = field(default_factory=dict)
    ALGORITHM: ClassVar[str] = "outcome_tree"

    @property
    def n_clusters(self) -> int:
        """Number of leaves."""
        return len(self.values)

    @cached_property
    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (k, d) lower and upper bounds of the leaves, infinite where a leaf is open."""
        low = np.full((self.n_clusters, self.dimensions), -np.inf)
        high = np.full((self.n_clusters, self.dimensions), np.inf)
        waiting = [(0, np.full(self.dimensions, -np.inf), np.full(self.dimensions, np.inf))]
        while waiting:
            at, lower, upper = waiting.pop()
            node = self.nodes[at]
            if len(node) == 1:
                low[int(node[0])], high[int(node[0])] = lower, upper
                continue
            column, threshold = int(node[0]), node[1]
            left, right = upper.copy(), lower.copy()
            left[column] = right[column] = threshold
            waiting += [(int(node[2]), lower, left), (int(node[3]), right, upper)]
        return low, high

    def _gaps(self, X: np.ndarray, leaf: np.ndarray | int) -> np.ndarray:
        """Return (n, d) squared distance to a leaf's box along each column."""
        low, high = self.boxes
        return np.maximum(np.maximum(low[leaf] - X, X - high[leaf]), 0.0) ** 2

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return (n, k) squared distance to each leaf's box; on a border the lower leaf wins."""
        X = np.asarray(X, dtype=np.float64)
        out = np.empty((len(X), self.n_clusters))
        for j in range(self.n_clusters):
            gaps = self._gaps(X, j)
            out[:, j] = np.einsum("ij->i", gaps)
        return out

    def contributions(self, X: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return (n, d + 1): squared distance to box b less that to box a, by column; the intercept is 0."""
        X = np.asarray(X, dtype=np.float64)
        a, b = np.broadcast_to(a, len(X)), np.broadcast_to(b, len(X))
        out = np.zeros((len(X), X.shape[1] + 1))
        out[:, :-1] = self._gaps(X, b) - self._gaps(X, a)
        return out

    def confidence(self, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return 0 on a border, 1 far inside: 1 - exp(-distance to the next leaf), in model-space units."""
        if scores.shape[1] < 2:
            return np.ones(len(scores))
        return 1.0 - np.exp(-np.sqrt(np.partition(scores, 1, axis=1)[:, 1]))

    def beats(
        self, home: np.ndarray, best: np.ndarray, at_home: np.ndarray, at_best: np.ndarray, margin: float
    ) -> np.ndarray:
        """Tell who is further than `margin` past the border: scores are 0 inside, so that no ratio can be taken."""
        return at_home - at_best > margin**2

    def without(self, cluster: int) -> Self | None:
        """Return the tree less one leaf: its users go to the other side of the split above it."""
        if self.n_clusters < 2:
            return None
        at = next(i for i, node in enumerate(self.nodes) if len(node) == 1 and int(node[0]) == cluster)
        above = next(i for i, node in enumerate(self.nodes) if len(node) > 1 and at in (int(node[2]), int(node[3])))
        sides = (int(self.nodes[above][2]), int(self.nodes[above][3]))
        heir = sides[0] if sides[1] == at else sides[1]
        nodes = list(self.nodes)
        nodes[above] = nodes[heir]
        renumbered = {j: n for n, j in enumerate(j for j in range(self.n_clusters) if j != cluster)}
        return type(self)(
            _compact(nodes, renumbered), np.delete(self.values, cluster, axis=0), self.dimensions, dict(self.notes)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return nodes, values, dimensions, notes."""
        return {
            "nodes": [list(node) for node in self.nodes],
            "values": self.values.tolist(),
            "dimensions": self.dimensions,
            "notes": dict(self.notes),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the tree that `to_dict` wrote."""
        return cls(
            tuple(tuple(float(v) for v in node) for node in content["nodes"]),
            np.array(content["values"], dtype=np.float64),
            int(content["dimensions"]),
            dict(content["notes"]),
        )


class OutcomeTree(GuidedAlgorithm):
    """A regression tree on outcomes of an earlier day. leaf_share: least share of a half's users in a leaf."""

    name = "outcome_tree"
    fitted = OutcomeTreeFitted
    several_outcomes = True
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **OUTCOME_PARAMETERS,
        "leaf_share": Parameter(0.02, float, 0, 0.5),
    }

    def check(self, strategy: Any) -> None:
        """Refuse principal components too."""
        super().check(strategy)
        if strategy.pca:
            raise ValueError("outcome_tree splits on features one at a time: leave `pca` out")

    def fit(
        self,
        X: np.ndarray,
        k: int,
        *,
        seed: int,
        outcome: Outcome | None = None,
        parameters: Mapping[str, Any],
        **unused: Any,
    ) -> OutcomeTreeFitted:
        """Draw the tree with one half of the users of an earlier day, value its leaves with the other.

        Without an outcome (nothing observed yet) the sum of the features takes its place; the notes say so. Fewer than
        k leaves come back when no further split keeps leaf_share of the users on both sides.
        """
        if outcome is None or outcome.X is None or len(outcome.X) < 4 * LEAST_USERS:
            Z, y = X, X.sum(axis=1, keepdims=True)
            names, basis = ["features"], "no outcome known: sum of the features"
        else:
            Z, y = np.asarray(outcome.X, dtype=np.float64), outcome.values.to_numpy(dtype=np.float64)
            names, basis = [str(c) for c in outcome.values.columns], outcome.basis
        root = stabilized(y)
        spread = spreads(root)
        targets = np.where(spread > 0, (root - root.mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)
        drawing, valuing = _halves(Z, seed)
        nodes = _grown(Z[drawing], targets[drawing], k, float(parameters["leaf_share"]), seed)
        leaves = sum(len(node) == 1 for node in nodes)
        bare = OutcomeTreeFitted(nodes, np.zeros((leaves, 1)), X.shape[1])
        leaf = bare.scores(Z).argmin(axis=1)
        worth, values = np.empty(leaves), np.empty((leaves, y.shape[1]))
        for j in range(leaves):
            inside = valuing[leaf[valuing] == j]
            # With nobody of the other half in the leaf, the half that drew it is all there is.
            inside = inside if len(inside) else np.flatnonzero(leaf == j)
            worth[j] = float(targets[inside].mean()) if len(inside) else float(targets.mean())
            values[j] = y[inside].mean(axis=0) if len(inside) else y.mean(axis=0)
        order = np.lexsort((np.arange(leaves), -np.array(rounded(worth))))
        rank = {int(j): n for n, j in enumerate(order)}
        notes = {
            "basis": basis,
            "outcomes": names,
            "outcome_from_day": outcome.day.isoformat() if outcome is not None else "",
            "horizon_days": outcome.horizon_days if outcome is not None else 0,
            "users_drawing": len(drawing),
            "users_valuing": len(valuing),
            "honest_r2": _explained(targets, leaf, drawing, valuing),
        }
        ranked = _compact(list(nodes), rank)
        return OutcomeTreeFitted(ranked, np.array(rounded(values[order])), X.shape[1], rounded(notes))


def _compact(nodes: list[Node], leaf: Mapping[int, int]) -> tuple[Node, ...]:
    """Return the nodes that can be reached from the root, in the order of a walk, leaves renumbered."""
    walked: list[Node] = []

    def walk(at: int) -> int:
        node, position = nodes[at], len(walked)
        walked.append(node)
        if len(node) == 1:
            walked[position] = (float(leaf[int(node[0])]),)
        else:
            left, right = walk(int(node[2])), walk(int(node[3]))
            walked[position] = (node[0], node[1], float(left), float(right))
        return position

    walk(0)
    return tuple(walked)


def _halves(Z: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of two halves. Rows that are alike share one: a user drawn twice must not be on both sides."""
    group = np.unique(Z, axis=0, return_inverse=True)[1].ravel()
    side = np.random.default_rng([seed, 17]).permutation(group.max() + 1) % 2
    first = np.flatnonzero(side[group] == 0)
    second = np.flatnonzero(side[group] == 1)
    return (first, second) if len(first) and len(second) else (np.arange(len(Z)), np.arange(len(Z)))


def _grown(Z: np.ndarray, targets: np.ndarray, k: int, leaf_share: float, seed: int) -> tuple[Node, ...]:
    """Grow a tree of at most k leaves and return its nodes, thresholds rounded to what is stored."""
    from sklearn.tree import DecisionTreeRegressor

    least = min(max(LEAST_USERS, int(np.ceil(leaf_share * len(Z)))), max(len(Z) // 2, 1))
    if k < 2 or len(Z) < 2 * least:
        return ((0.0,),)
    # Rounded, so that splits do not hang on the last bits of a transform.
    tree = DecisionTreeRegressor(max_leaf_nodes=k, min_samples_leaf=least, random_state=seed % 2**32)
    tree.fit(np.round(Z, 9), targets)
    inner = tree.tree_
    nodes: list[Node] = []
    leaf = 0
    for at in range(inner.node_count):
        if inner.children_left[at] < 0:
            nodes.append((float(leaf),))
            leaf += 1
        else:
            threshold = float(rounded(float(inner.threshold[at])))
            children = float(inner.children_left[at]), float(inner.children_right[at])
            nodes.append((float(inner.feature[at]), threshold, *children))
    return tuple(nodes)


def _explained(targets: np.ndarray, leaf: np.ndarray, drawing: np.ndarray, valuing: np.ndarray) -> float:
    """Return the share of the valuing half's variance that means of the drawing half explain: the worth of the tree."""
    means = {j: targets[drawing[leaf[drawing] == j]].mean(axis=0) for j in np.unique(leaf[drawing])}
    predicted = np.array([means.get(j, targets[drawing].mean(axis=0)) for j in leaf[valuing]])
    total = float(((targets[valuing] - targets[valuing].mean(axis=0)) ** 2).sum())
    return 1.0 - float(((targets[valuing] - predicted) ** 2).sum()) / total if spreads(targets[valuing]).any() else 0.0
