"""The gate: does a challenger earn the place of the champion?

Three questions, each a number in the decision: does it fit held-out users better, would it come out again from other
users, and is the gain worth the users it relabels. Models of different features, algorithms and numbers of segments
are compared by their labels only, on one yardstick. Nothing here writes or knows days.

The yardstick. Both models label the same users. The mean of each label is taken on one half of the users, and the
squared distance of the other half to it is the loss; both ways, pooled. The challenger is fitted anew on each half, so
that it never saw the users it is measured on; the champion's labels come from an earlier day. Distances are measured

- `space`: in the challenger's model space, what the strategy asks for today. More segments always lower such a loss,
  so it is multiplied by k^(2/d) (Krzanowski and Lai, 1988), with d the effective dimension of the space;
- `outcome`: where the algorithm learns from an outcome, in the square root of what users did next, with their
  features of the earlier day: out of time, and nothing to charge for, since more segments do not predict by themselves.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seg_assets.core import numerics
from seg_assets.core.errors import SegAssetsError
from seg_assets.core.numerics import one_thread
from seg_assets.segments import algorithms
from seg_assets.segments.fitting.reference import population
from seg_assets.segments.strategy import Strategy

if TYPE_CHECKING:
    from seg_assets.segments.model import SegmentModel

# Halves of 5 k users give the relative loss within half a percent.
YARDSTICK_USERS = 10_000
# Ten resamples of 4 k users: the standard error of the mean ARI is about 0.02 where it matters (0.5 to 0.9).
BOOTSTRAPS = 10
BOOTSTRAP_USERS = 4_000
# A campaign built on a segment notices when this share of its audience is exchanged.
AUDIENCE_CHANGE = 0.1
# Below this many users per segment neither loss nor stability says anything.
USERS_PER_SEGMENT = 8


@dataclass(frozen=True)
class Judgement:
    """Whether the challenger is promoted, why in one line, and every number that it hangs on."""

    promote: bool
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


def judge(
    strategy: Strategy,
    frame: pd.DataFrame,
    champion: "SegmentModel | None",
    challenger: "SegmentModel",
    lineage: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    *,
    outcome: Any = None,
    known: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Judgement:
    """Judge `challenger` against `champion` on the users of `frame`.

    Args:
        strategy: its `gate` says what is asked.
        frame: profiles of the day as `load_features` gives them, with the columns both models need.
        champion: the model in force; None: the challenger is the first one.
        challenger: fitted on this day, its segments already carry permanent ids.
        lineage: what became of each segment, for the numbers.
        seed: of halves and resamples.
        outcome: handed to an outcome-guided algorithm when it is fitted anew.
        known: (n,) what `labels` of the champion and of the challenger say of the users of `frame` that take part,
            each where it is known already.

    Returns:
        `numbers`: users, k, k_champion, yardstick, loss, loss_champion, gain, charge, dimension, stability, relabelled,
        relabelled_budget, refitted, lineage (count by event); and what the decision costs: audiences (segments of
        either model), audiences_changed (those that exchange more than a tenth of their users), work (rows times
        segments of all that is fitted and labelled for it, one pass each: compute, the same on any machine).
    """
    with one_thread():
        return _judge(strategy, population(strategy, frame), champion, challenger, lineage, seed, outcome, known)


def _judge(
    strategy: Strategy,
    users: pd.DataFrame,
    champion: "SegmentModel | None",
    challenger: "SegmentModel",
    lineage: Sequence[Mapping[str, Any]],
    seed: int,
    outcome: Any,
    known: tuple[np.ndarray | None, np.ndarray | None],
) -> Judgement:
    gate = strategy.gate
    k = challenger.fitted.n_clusters
    numbers: dict[str, Any] = {"users": len(users), "k": k, "lineage": _lineage_counts(lineage)}
    sample = _sampled(users, YARDSTICK_USERS, seed)
    numbers["work"] = _work(len(users), len(sample), champion, challenger)
    enough = len(sample) >= 2 * USERS_PER_SEGMENT * max(k, 1)
    if enough:
        numbers["stability"] = _stability(strategy, sample, challenger, seed, outcome)
    if champion is None:
        return Judgement(True, _first_reason(numbers, gate.minimum_stability), numbers)
    names = list(dict.fromkeys([*champion.segment_ids, *challenger.segment_ids]))
    try:
        before = _labels(champion, users, names, known[0])
        stick = _yardstick(sample, champion, challenger, seed, outcome)
    except (SegAssetsError, KeyError, ValueError) as error:
        why = f"promoted: the champion can no longer be applied to these profiles ({type(error).__name__}: {error})"
        return Judgement(True, why, numbers)
    numbers["k_champion"] = champion.fitted.n_clusters
    if not enough:
        return Judgement(
            False,
            f"kept the champion: {len(sample)} users are too few to judge {k} segments "
            f"(at least {2 * USERS_PER_SEGMENT * k})",
            numbers,
        )
    after = _labels(challenger, users, names, known[1])
    relabelled = round(float((before != after).mean()), 6)
    numbers.update(audiences_changed(before, after))
    numbers.update(_gain(strategy, stick, challenger, seed, outcome))
    gain = numbers["gain"]
    budget = round(min(gate.maximum_relabelled, max(gain, 0.0) * gate.maximum_relabelled_per_gain), 6)
    numbers.update(relabelled=relabelled, relabelled_budget=budget)
    refusals = []
    if gain < gate.minimum_gain:
        refusals.append(f"gain {gain:+.1%} out of sample is under {gate.minimum_gain:.1%}")
    stability = numbers["stability"]
    if stability is not None and stability < gate.minimum_stability:
        refusals.append(f"stability {stability:.2f} is under {gate.minimum_stability:.2f}")
    if gain >= gate.minimum_gain and relabelled > budget:
        refusals.append(f"{relabelled:.1%} of users relabelled is over the budget of {budget:.1%} for this gain")
    if refusals:
        return Judgement(False, "kept the champion: " + "; ".join(refusals), numbers)
    shown = "not measured" if stability is None else f"{stability:.2f}"
    return Judgement(
        True,
        f"promoted: gain {gain:+.1%} out of sample, stability {shown}, {relabelled:.1%} of users relabelled",
        numbers,
    )


def audiences_changed(before: np.ndarray, after: np.ndarray) -> dict[str, int]:
    """`audiences`, `audiences_changed`: segments of both labelings, and those that exchange more than a tenth of users.

    Measured as 1 - Jaccard similarity of the two sets of users; a birth or a death is a change.
    """
    ids = np.unique(np.concatenate([before, after]))
    shared = [float(((before == i) & (after == i)).sum() / ((before == i) | (after == i)).sum()) for i in ids]
    return {"audiences": len(ids), "audiences_changed": sum(1 - same > AUDIENCE_CHANGE for same in shared)}


def _work(users: int, sample: int, champion: "SegmentModel | None", challenger: "SegmentModel") -> int:
    k, tried = challenger.fitted.n_clusters, challenger.diagnostics.get("k_table") or []
    fits = 2 * int(challenger.diagnostics.get("sample", sample)) * k
    choosing = sum(int(row["k"]) for row in tried) * min(sample, BOOTSTRAP_USERS) * 6
    again = BOOTSTRAPS * min(sample, BOOTSTRAP_USERS) * k + sample * k
    return fits + choosing + again + users * (k + (champion.fitted.n_clusters if champion else 0))


def _first_reason(numbers: Mapping[str, Any], minimum: float) -> str:
    stability = numbers.get("stability")
    if stability is None:
        return f"promoted: the first model; too few users ({numbers['users']}) to measure its stability"
    weak = f", under {minimum:.2f}: trust its segments little" if stability < minimum else ""
    return f"promoted: the first model; stability {stability:.2f}{weak}"


@dataclass(frozen=True)
class _Yardstick:
    """What both labelings are measured on: model-space rows to label, targets to explain, the champion's labels."""

    kind: str
    users: pd.Series
    Z: np.ndarray
    targets: np.ndarray
    before: np.ndarray


def _yardstick(
    sample: pd.DataFrame, champion: "SegmentModel", challenger: "SegmentModel", seed: int, outcome: Any
) -> _Yardstick:
    k = challenger.fitted.n_clusters
    if outcome is not None and len(outcome.frame) >= 2 * USERS_PER_SEGMENT * k:
        chosen = _chosen(len(outcome.frame), YARDSTICK_USERS, seed)
        frame = outcome.frame.iloc[chosen].reset_index(drop=True)
        values = outcome.values.iloc[chosen].to_numpy(dtype=np.float64)  # noqa: PD011  our own table
        root = np.sign(values) * np.sqrt(np.abs(values))
        spread = numerics.spreads(root)
        if np.isfinite(root).all() and (spread > 0).any():
            targets = root[:, spread > 0] / spread[spread > 0]
            Z = np.asarray(challenger.space.transform(frame))
            return _Yardstick("outcome", frame["user_id"], Z, targets, champion.labels(frame))
    Z = np.asarray(challenger.space.transform(sample))
    return _Yardstick("space", sample["user_id"], Z, Z, champion.labels(sample))


def _gain(strategy: Strategy, stick: _Yardstick, challenger: "SegmentModel", seed: int, outcome: Any) -> dict[str, Any]:
    """Held-out losses of both labelings and the relative gain, with more segments charged for."""
    order = np.random.default_rng([seed, 1]).permutation(len(stick.Z))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    old = new = 0.0
    refitted = True
    k_new = k_old = 0
    for here, there in (halves, halves[::-1]):
        fitted = _refit(strategy, stick.Z[here], challenger, seed, _outcome_of(outcome, stick.users.iloc[here]))
        refitted = refitted and fitted is not None
        after = (fitted or challenger.fitted).scores(stick.Z).argmin(axis=1)
        new += _held_out(stick.targets, after, here, there)
        old += _held_out(stick.targets, stick.before, here, there)
        k_new += len(np.unique(after))
        k_old += len(np.unique(stick.before))
    dimension = effective_dimension(stick.Z)
    charge = (k_new / k_old) ** (2 / dimension) if stick.kind == "space" else 1.0
    # A champion that leaves nothing but rounding cannot be bettered.
    rounding = numerics.FLAT**2 * float((stick.targets**2).sum())
    gain = 1 - charge * new / old if old > rounding else 0.0
    return {
        "yardstick": stick.kind,
        "loss": round(new / len(stick.Z), 9),
        "loss_champion": round(old / len(stick.Z), 9),
        "gain": round(float(gain), 6),
        "dimension": round(dimension, 3),
        "charge": round(float(charge), 6),
        "refitted": refitted,
    }


def _outcome_of(outcome: Any, users: pd.Series) -> Any:
    """The outcome of these users only, as often as they were drawn; None when there is none."""
    if outcome is None:
        return None
    rows = pd.Index(outcome.frame["user_id"]).get_indexer(pd.Index(users))
    rows = rows[rows >= 0]
    return replace(
        outcome,
        frame=outcome.frame.iloc[rows].reset_index(drop=True),
        values=outcome.values.iloc[rows].reset_index(drop=True),  # noqa: PD011  our own table
        X=None if outcome.X is None else outcome.X[rows],
    )


def _held_out(Z: np.ndarray, labels: np.ndarray, here: np.ndarray, there: np.ndarray) -> float:
    """Squared distance of the users `there` to the mean of their label over the users `here`."""
    everyone = Z[here].mean(axis=0)
    loss = 0.0
    for label in np.unique(labels):
        taught = here[labels[here] == label]
        measured = Z[there[labels[there] == label]]
        center = Z[taught].mean(axis=0) if len(taught) else everyone
        loss += float(((measured - center) ** 2).sum())
    return loss


def effective_dimension(Z: np.ndarray) -> float:
    """Participation ratio of the covariance, tr(C)^2 / tr(C^2): 1 for a line, d for d equal independent columns."""
    covariance = np.atleast_2d(np.cov(Z, rowvar=False))
    square = float((covariance**2).sum())
    return max(1.0, float(np.trace(covariance)) ** 2 / square) if square > 0 else 1.0


def _stability(
    strategy: Strategy, sample: pd.DataFrame, challenger: "SegmentModel", seed: int, outcome: Any
) -> float | None:
    """Mean adjusted Rand index between the challenger's labels and those of fits on bootstrap samples."""
    from sklearn.metrics import adjusted_rand_score

    Z = np.asarray(challenger.space.transform(sample))
    labels = challenger.fitted.scores(Z).argmin(axis=1)
    rng = np.random.default_rng([seed, 2])
    agreement = []
    for _ in range(BOOTSTRAPS):
        drawn = rng.integers(0, len(Z), min(len(Z), BOOTSTRAP_USERS))
        taught = _outcome_of(outcome, sample["user_id"].iloc[drawn])
        fitted = _refit(strategy, Z[drawn], challenger, seed, taught)
        if fitted is None:
            return None
        agreement.append(adjusted_rand_score(labels, fitted.scores(Z).argmin(axis=1)))
    return round(float(np.mean(agreement)), 6)


def _refit(strategy: Strategy, Z: np.ndarray, challenger: "SegmentModel", seed: int, outcome: Any) -> Any:
    """The challenger's algorithm fitted cold on other users; None when it cannot be fitted on these."""
    try:
        return algorithms.fit(
            strategy.algorithm,
            Z,
            challenger.fitted.n_clusters,
            seed=seed,
            outcome=outcome,
            parameters=strategy.parameters,
        )
    except (SegAssetsError, ValueError):
        return None


def _labels(model: "SegmentModel", users: pd.DataFrame, names: Sequence[str], known: np.ndarray | None) -> np.ndarray:
    """(n,) position of each user's segment in `names`, -1 for an outlier."""
    positions = np.array([*(names.index(i) for i in model.segment_ids), -1])
    return positions[model.labels(users) if known is None else known]


def _chosen(count: int, most: int, seed: int) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 0]).choice(count, most, replace=False))


def _sampled(users: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    return users.iloc[_chosen(len(users), most, seed)].reset_index(drop=True)


def _lineage_counts(lineage: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(str(item.get("event", item.get("kind", "?"))) for item in lineage).items()))
