"""Judge whether a challenger earns the place of the champion: the gate.

Three questions, each a number in the decision: does it fit held-out users better, would it come out again from other
users, and is the gain worth the users it relabels. Models of different features, algorithms and numbers of segments
are compared by their labels only, on one yardstick.

The yardstick. Both models label the same users. The mean of each label is taken on one half of the users, and the
squared distance of the other half to it is the loss; both ways, pooled. The challenger is fitted anew on each half, so
that it never saw the users it is measured on; the champion's labels come from an earlier day. Distances are measured

- `space`: in the challenger's model space, what the strategy asks for today. More segments always lower such a loss,
  so it is multiplied by k^(2/d) (Krzanowski and Lai, 1988), with d the effective dimension of the space;
- `outcome`: where the algorithm learns from an outcome, in the square root of what users did next, with their
  features of the earlier day: out of time, and nothing to charge for, since more segments do not predict by themselves.

Not here: fitting the challenger (`fit`), and anything that reads or writes a day (`decisions`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.errors import SegAssetsError
from seg_assets.core.numerics import FLAT, draw_rows, one_thread, spreads
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted, Outcome
from seg_assets.segments.algorithms.outcomes import stabilized
from seg_assets.segments.fitting.indices import adjusted_rand
from seg_assets.segments.fitting.stability import bootstrap
from seg_assets.segments.model import SegmentModel
from seg_assets.segments.rules import population
from seg_assets.segments.strategy import Strategy

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
    champion: SegmentModel | None,
    challenger: SegmentModel,
    lineage: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    *,
    outcome: Outcome | None = None,
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
            each where that is known already.

    Returns:
        `numbers`: users, k, k_champion, yardstick, loss, loss_champion, gain, charge, dimension, stability, relabelled,
        relabelled_budget, refitted, lineage (count by event); and what the decision costs: audiences (segments of
        either model), audiences_changed (those that exchange more than a tenth of their users), work (estimated
        row-to-segment distances of all that is fitted and labelled for it: compute, the same on any machine).
    """
    with one_thread():
        return _judge(strategy, population(strategy, frame), champion, challenger, lineage, seed, outcome, known)


def _judge(
    strategy: Strategy,
    users: pd.DataFrame,
    champion: SegmentModel | None,
    challenger: SegmentModel,
    lineage: Sequence[Mapping[str, Any]],
    seed: int,
    outcome: Outcome | None,
    known: tuple[np.ndarray | None, np.ndarray | None],
) -> Judgement:
    """Judge on one thread; `users` are those that take part."""
    gate = strategy.gate
    k = challenger.fitted.n_clusters
    numbers: dict[str, Any] = {"users": len(users), "k": k, "lineage": _lineage_counts(lineage)}
    sample = users.iloc[draw_rows(len(users), YARDSTICK_USERS, [seed, 0])].reset_index(drop=True)
    numbers["work"] = _estimated_distances(len(users), len(sample), champion, challenger)
    enough = len(sample) >= 2 * USERS_PER_SEGMENT * max(k, 1)
    if enough:
        numbers["stability"] = _stability(strategy, sample, challenger, seed, outcome)
    if champion is None:
        return Judgement(True, _first_reason(numbers, gate.minimum_stability), numbers)
    names = list(dict.fromkeys([*champion.segment_ids, *challenger.segment_ids]))
    try:
        before = _positions(champion, users, names, known[0])
        yardstick = _yardstick(sample, champion, challenger, seed, outcome)
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
    after = _positions(challenger, users, names, known[1])
    relabelled = round(float((before != after).mean()), 6)
    numbers.update(audiences_changed(before, after))
    numbers.update(_gain(strategy, yardstick, challenger, seed, outcome))
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
    """Count `audiences`, segments of both labelings, and `audiences_changed`, which exchange over a tenth of users.

    Measured as 1 - Jaccard similarity of the two sets of users; a birth or a death is a change.
    """
    ids = np.unique(np.concatenate([before, after]))
    shared = [float(((before == i) & (after == i)).sum() / ((before == i) | (after == i)).sum()) for i in ids]
    return {"audiences": len(ids), "audiences_changed": sum(1 - same > AUDIENCE_CHANGE for same in shared)}


def _estimated_distances(users: int, sample: int, champion: SegmentModel | None, challenger: SegmentModel) -> int:
    """Estimate the row-to-segment distances that a decision computes, one pass over the rows for each fit.

    Two fits (cold and warm); six for each k that was tried; a refit for each bootstrap sample of the gate; the sample
    labelled once; and all users labelled by both models.
    """
    k, tried = challenger.fitted.n_clusters, challenger.diagnostics.get("k_table") or []
    fits = 2 * int(challenger.diagnostics.get("sample", sample)) * k
    choosing = sum(int(row["k"]) for row in tried) * min(sample, BOOTSTRAP_USERS) * 6
    refits = BOOTSTRAPS * min(sample, BOOTSTRAP_USERS) * k + sample * k
    return fits + choosing + refits + users * (k + (champion.fitted.n_clusters if champion else 0))


def _first_reason(numbers: Mapping[str, Any], minimum: float) -> str:
    """Say why a first model is promoted, and how far to trust it."""
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
    sample: pd.DataFrame, champion: SegmentModel, challenger: SegmentModel, seed: int, outcome: Outcome | None
) -> _Yardstick:
    """Return the outcome as the yardstick where enough users of it are known, else the model space."""
    k = challenger.fitted.n_clusters
    if outcome is not None and len(outcome.frame) >= 2 * USERS_PER_SEGMENT * k:
        drawn = draw_rows(len(outcome.frame), YARDSTICK_USERS, [seed, 0])
        frame = outcome.frame.iloc[drawn].reset_index(drop=True)
        root = stabilized(outcome.values.iloc[drawn].to_numpy(dtype=np.float64))  # noqa: PD011  our own table
        spread = spreads(root)
        if np.isfinite(root).all() and (spread > 0).any():
            targets = root[:, spread > 0] / spread[spread > 0]
            Z = np.asarray(challenger.space.transform(frame))
            return _Yardstick("outcome", frame["user_id"], Z, targets, champion.labels(frame))
    Z = np.asarray(challenger.space.transform(sample))
    return _Yardstick("space", sample["user_id"], Z, Z, champion.labels(sample))


def _gain(
    strategy: Strategy, yardstick: _Yardstick, challenger: SegmentModel, seed: int, outcome: Outcome | None
) -> dict[str, Any]:
    """Return held-out losses of both labelings and the relative gain, with more segments charged for."""
    Z, targets, before = yardstick.Z, yardstick.targets, yardstick.before
    order = np.random.default_rng([seed, 1]).permutation(len(Z))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    old = new = 0.0
    refitted = True
    k_new = k_old = 0
    for train, held_out in (halves, halves[::-1]):
        fitted = _refit(strategy, Z[train], challenger, seed, _outcome_of(outcome, yardstick.users.iloc[train]))
        refitted = refitted and fitted is not None
        after = (fitted or challenger.fitted).scores(Z).argmin(axis=1)
        new += _held_out_loss(targets, after, train, held_out)
        old += _held_out_loss(targets, before, train, held_out)
        k_new += len(np.unique(after))
        k_old += len(np.unique(before))
    dimension = effective_dimension(Z)
    charge = (k_new / k_old) ** (2 / dimension) if yardstick.kind == "space" else 1.0
    # A champion that leaves nothing but rounding cannot be bettered.
    rounding = FLAT**2 * float((targets**2).sum())
    gain = 1 - charge * new / old if old > rounding else 0.0
    return {
        "yardstick": yardstick.kind,
        "loss": round(new / len(Z), 9),
        "loss_champion": round(old / len(Z), 9),
        "gain": round(float(gain), 6),
        "dimension": round(dimension, 3),
        "charge": round(float(charge), 6),
        "refitted": refitted,
    }


def _outcome_of(outcome: Outcome | None, users: pd.Series) -> Outcome | None:
    """Return the outcome of these users only, as often as they were drawn; None when there is none."""
    if outcome is None:
        return None
    rows = pd.Index(outcome.frame["user_id"]).get_indexer(pd.Index(users))
    return outcome.take(rows[rows >= 0])


def _held_out_loss(Z: np.ndarray, labels: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> float:
    """Return the squared distance of the held-out users to the mean of their label over the training users."""
    everyone = Z[train].mean(axis=0)
    loss = 0.0
    for label in np.unique(labels):
        learned = train[labels[train] == label]
        measured = Z[held_out[labels[held_out] == label]]
        center = Z[learned].mean(axis=0) if len(learned) else everyone
        loss += float(((measured - center) ** 2).sum())
    return loss


def effective_dimension(Z: np.ndarray) -> float:
    """Return the participation ratio of the covariance, tr(C)^2 / tr(C^2): 1 on a line, d of d equal free columns."""
    covariance = np.atleast_2d(np.cov(Z, rowvar=False))
    square = float((covariance**2).sum())
    return max(1.0, float(np.trace(covariance)) ** 2 / square) if square > 0 else 1.0


def _stability(
    strategy: Strategy, sample: pd.DataFrame, challenger: SegmentModel, seed: int, outcome: Outcome | None
) -> float | None:
    """Return the mean adjusted Rand index of the challenger's labels with those of fits on bootstrap samples.

    None when the algorithm cannot be fitted on one of them, and of one group, which comes out of any sample.
    """
    Z = np.asarray(challenger.space.transform(sample))
    labels = challenger.fitted.scores(Z).argmin(axis=1)
    if len(np.unique(labels)) < 2:
        return None

    def refit(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        teacher = _outcome_of(outcome, sample["user_id"].iloc[drawn])
        fitted = _refit(strategy, Z[drawn], challenger, seed, teacher)
        return np.empty(0) if fitted is None else fitted.scores(Z).argmin(axis=1)

    agreement = []
    generators = repeat(np.random.default_rng([seed, 2]), BOOTSTRAPS)
    for _, others in bootstrap(len(Z), min(len(Z), BOOTSTRAP_USERS), generators, refit):
        if not len(others):
            return None
        agreement.append(adjusted_rand(labels, others))
    return round(float(np.mean(agreement)), 6)


def _refit(
    strategy: Strategy, Z: np.ndarray, challenger: SegmentModel, seed: int, outcome: Outcome | None
) -> Fitted | None:
    """Fit the challenger's algorithm cold on other users; None when it cannot be fitted on these."""
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


def _positions(model: SegmentModel, users: pd.DataFrame, names: Sequence[str], known: np.ndarray | None) -> np.ndarray:
    """Return (n,) the position of each user's segment in `names`, -1 for an outlier."""
    positions = np.array([*(names.index(i) for i in model.segment_ids), -1])
    return positions[model.labels(users) if known is None else known]


def _lineage_counts(lineage: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count lineage events by kind."""
    return dict(sorted(Counter(str(item.get("event", item.get("kind", "?"))) for item in lineage).items()))
