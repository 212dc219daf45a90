"""Measure whether segments help: what segments of a day say about what users did after it, with intervals.

A predictor is a label (or a number) per user, known on a day O; an outcome is what the user did in the days after O.
The same measures judge our segments and every baseline, on the same users. Definitions are in docs/validity.md.

Not here: the baselines (`evaluation.baselines`), reading the lake (`evaluation.validity_lake`), and measures that need
no outcome (`evaluation.internal`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from seg_assets.core.numerics import one_thread

# Metrics of a predictor, in the order in which they are shown; docs/validity.md defines each. Greater is better, and 0
# (AUC: .5) says nothing.
METRICS = ("r2", "r2_crossfit", "spearman", "lapse_auc", "active_r2", "mix", "coupon_auc")
# Folds of r2_crossfit; users in the order of their ids.
FOLDS = 5
# Value plus and minus 1.96 bootstrap standard errors (Efron 1979). Not percentiles: a resample holds 63 % of the
# users, so what is learned in it is worse, and the percentiles of a cross-fitted share lie below the share itself.
# 100 replications know the standard error to 7 %.
REPLICATIONS = 100
NORMAL_95 = 1.96
# Share of a sum of squares below which what is left of a subtraction is its rounding, and the outcome a constant.
ROUNDING = 1e-10
# Users times replications held at once (float64, a few copies): 32 MB each.
CHUNK_CELLS = 4_000_000


@dataclass(frozen=True)
class Outcomes:
    """What n users did in the period after a day; rows in one order for all arrays.

    user_id: (n,). spend, active_days: (n,). lapsed, coupon: (n,) 0/1; all 0 where the shop has none of it.
    mix: (n, c) category shares of spend, NaN rows for users who bought nothing; (n, 0) without categories.
    """

    user_id: np.ndarray
    spend: np.ndarray
    active_days: np.ndarray
    lapsed: np.ndarray
    coupon: np.ndarray
    mix: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.spend)

    def rows(self, at: np.ndarray) -> "Outcomes":
        """Return the users at these positions only."""
        mix = self.mix[at] if self.mix.size else self.mix
        return Outcomes(self.user_id[at], self.spend[at], self.active_days[at], self.lapsed[at], self.coupon[at], mix)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; NaN where it means nothing."""

    value: float
    lower: float = float("nan")
    upper: float = float("nan")


@dataclass(frozen=True)
class Judged:
    """How well one predictor did.

    groups: number of groups, 0 for a number per user.
    origins: days that were judged.
    estimates: by metric.
    not_computed: days of these on which the predictor could not be computed; its numbers leave them out.
    """

    predictor: str
    groups: int
    origins: int
    estimates: Mapping[str, Estimate]
    not_computed: int = 0

    def record(self) -> dict[str, object]:
        """Return the result as one flat JSON record."""
        row: dict[str, object] = {"predictor": self.predictor, "groups": self.groups, "origins": self.origins}
        intervals: dict[str, list[float | None]] = {}
        for name, e in self.estimates.items():
            row[name] = _or_none(e.value)
            if np.isfinite(e.lower):
                intervals[name] = [_or_none(e.lower), _or_none(e.upper)]
        row["intervals"] = intervals
        row["not_computed"] = self.not_computed
        return row


def _or_none(x: float) -> float | None:
    return round(float(x), 6) if np.isfinite(x) else None


# ---- one origin, many weightings -------------------------------------------------------------------------------


class _Weighted:
    """The outcomes of one origin under R weightings of its n users; what no predictor changes is computed once."""

    def __init__(self, outcomes: Outcomes, W: np.ndarray) -> None:
        self.outcomes, self.W = outcomes, W
        self.n = W.sum(axis=1)
        # Codes that rise with the value: mid-ranks under any weighting follow from them.
        codes = np.unique(outcomes.spend, return_inverse=True)[1].ravel()
        rank = _midranks(codes, W)
        rank -= _ratio((W * rank).sum(axis=1), self.n)[:, None]
        self.weighted_rank = W * rank
        self.rank_scatter = (self.weighted_rank * rank).sum(axis=1)
        self.spend_scatter = self._scatter(outcomes.spend[:, None], W)
        self.active_scatter = self._scatter(outcomes.active_days[:, None], W)
        self.spend_squares = W @ outcomes.spend**2
        # What is summed over the users of a group: (n, 5), with categories (n, 6 + c).
        ones = np.ones(len(outcomes))
        facts = [ones, outcomes.spend, outcomes.lapsed, outcomes.coupon, outcomes.active_days]
        if outcomes.mix.size:
            Y = np.nan_to_num(outcomes.mix)
            bought = np.isfinite(outcomes.mix).all(axis=1)
            self.mix_scatter = self._scatter(Y, W * bought)
            self.mix_squares = (W * bought) @ (Y**2).sum(axis=1)
            facts += [bought.astype(np.float64), *(Y * bought[:, None]).T]
        self.facts = np.column_stack(facts)
        self.weights = np.ascontiguousarray(W.T)
        self.fold = np.arange(len(outcomes)) % FOLDS

    @staticmethod
    def _scatter(Y: np.ndarray, W: np.ndarray) -> np.ndarray:
        """Return (R,) the weighted scatter of Y; 0 where nobody differs, so that no share of it is told."""
        centered = Y - Y.mean(axis=0)
        sums, n = W @ centered, W.sum(axis=1)
        squares = W @ (centered * centered).sum(axis=1)
        scatter = squares - _ratio((sums * sums).sum(axis=1), n)
        return np.where(scatter > ROUNDING * squares, scatter, 0.0)

    def of_groups(self, codes: np.ndarray, k: int) -> dict[str, np.ndarray]:
        """Return each metric (R,) of a predictor given as group codes 0..k-1."""
        o = self.outcomes
        sums = self._by_fold(codes, k)
        masses, spends = sums[:2]
        mass, spend, lapsed, coupon, active = sums[:5].sum(axis=1)
        metrics = {
            "r2": _explained(mass, spend, o.spend.mean(), self.spend_scatter),
            "r2_crossfit": 1.0 - _ratio(self.spend_squares + _learned(masses, spends[None]), self.spend_scatter),
            "spearman": self._group_spearman(codes, mass, spend),
            "lapse_auc": _group_auc(mass, lapsed),
            "active_r2": _explained(mass, active, o.active_days.mean(), self.active_scatter),
            "coupon_auc": _group_auc(mass, coupon),
            "mix": np.full(len(self.W), np.nan),
        }
        if o.mix.size:
            metrics["mix"] = 1.0 - _ratio(self.mix_squares + _learned(sums[5], sums[6:]), self.mix_scatter)
        return metrics

    def _by_fold(self, codes: np.ndarray, k: int) -> np.ndarray:
        """Return (facts, FOLDS, R, k) weighted sums of each fact over the users of a fold and group.

        Users are put in the order of their fold and group, so that each sum is over a slice: a product with a 0/1
        matrix of members would do k times the work.
        """
        group = self.fold * k + codes
        order = np.argsort(group, kind="stable")
        facts, weights = self.facts[order], self.weights[order]
        ends = np.bincount(group, minlength=FOLDS * k).cumsum()
        sums = np.empty((facts.shape[1], FOLDS * k, len(self.W)))
        start = 0
        for at, end in enumerate(ends):
            sums[:, at] = facts[start:end].T @ weights[start:end]
            start = end
        return sums.reshape(-1, FOLDS, k, len(self.W)).swapaxes(2, 3)

    def of_number(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric (R,) of a number per user, which predicts as it stands: its r2 may be under 0."""
        o, W = self.outcomes, self.W
        codes = np.unique(x, return_inverse=True)[1].ravel()
        rank = _midranks(codes, W)
        rank -= _ratio((W * rank).sum(axis=1), self.n)[:, None]
        size = np.sqrt((W * rank * rank).sum(axis=1) * self.rank_scatter)
        metrics = {m: np.full(len(W), np.nan) for m in METRICS}
        metrics["r2"] = 1.0 - _ratio(W @ (o.spend - x) ** 2, self.spend_scatter)
        metrics["spearman"] = _ratio((self.weighted_rank * rank).sum(axis=1), size)
        metrics["lapse_auc"] = _number_auc(codes.max() - codes, o.lapsed, W)
        metrics["coupon_auc"] = _number_auc(codes, o.coupon, W)
        return metrics

    def _group_spearman(self, codes: np.ndarray, mass: np.ndarray, total: np.ndarray) -> np.ndarray:
        member = np.zeros((len(codes), mass.shape[1]))
        member[np.arange(len(codes)), codes] = 1.0
        rank = _group_midranks(mass, _ratio(total, mass, 0.0))
        rank -= _ratio((mass * rank).sum(axis=1), self.n)[:, None]
        size = np.sqrt((mass * rank * rank).sum(axis=1) * self.rank_scatter)
        return _ratio((rank * (self.weighted_rank @ member)).sum(axis=1), size)


def _ratio(top: np.ndarray, bottom: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    positive = bottom > 1e-12
    return np.where(positive, top / np.where(positive, bottom, 1.0), otherwise)


def _explained(mass: np.ndarray, sums: np.ndarray, mean: float, scatter: np.ndarray) -> np.ndarray:
    """Return the share of the scatter that lies between groups of weight `mass` (R, k) and weighted sums `sums`."""
    sums = sums - mean * mass
    between = _ratio(sums * sums, mass, 0.0).sum(axis=1) - _ratio(sums.sum(axis=1) ** 2, mass.sum(axis=1))
    return _ratio(between, scatter)


def _learned(masses: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return by how much the squared error of means learned on other folds is above sum w y^2, summed over columns y.

    sum w (y - m_g)^2 = sum w y^2 - 2 sum_g m_g sum_g w y + sum_g m_g^2 sum_g w

    Args:
        masses: (FOLDS, R, k) weight of each group in each fold.
        sums: (c, FOLDS, R, k) weighted sums of c columns.
    """
    mass, total = masses.sum(axis=0), sums.sum(axis=1)
    above = np.zeros(masses.shape[1])
    for fold, held in enumerate(masses):
        own = sums[:, fold]
        others, learned = mass - held, total - own
        grand = _ratio(learned.sum(axis=2), others.sum(axis=1), 0.0)
        means = np.where(others > 0, _ratio(learned, others, 0.0), grand[:, :, None])
        above += ((means * held - 2.0 * own) * means).sum(axis=(0, 2))
    return above


def _midranks(codes: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return (R, n) weighted middle ranks of a column given as codes that rise with the value."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(int(codes.max()) + 1))
    mass = np.add.reduceat(W[:, order], starts, axis=1)
    return (np.cumsum(mass, axis=1) - mass / 2.0)[:, codes]


def _group_midranks(mass: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return (R, k) weighted middle ranks of groups by `value`."""
    below = (value[:, None, :] < value[:, :, None]) + 0.5 * (value[:, None, :] == value[:, :, None])
    return np.einsum("rgh,rh->rg", below, mass)


def _group_auc(mass: np.ndarray, yes: np.ndarray) -> np.ndarray:
    """Return the probability that a user with the event is in a group of higher rate than one without, ties half."""
    no = mass - yes
    ahead = _group_midranks(no, _ratio(yes, mass, 0.0))
    return _ratio((yes * ahead).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))


def _number_auc(codes: np.ndarray, truth: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the probability that a true one has a higher code than a false one, ties half (Mann and Whitney 1947)."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(int(codes.max()) + 1))
    yes = np.add.reduceat((W * truth)[:, order], starts, axis=1)
    no = np.add.reduceat((W * (1.0 - truth))[:, order], starts, axis=1)
    below = np.cumsum(no, axis=1) - no / 2.0
    return _ratio((yes * below).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))


def is_computed(predictor: np.ndarray) -> bool:
    """Tell whether a predictor has a label or a finite number for every user."""
    predictor = np.asarray(predictor)
    return not np.issubdtype(predictor.dtype, np.floating) or bool(np.isfinite(predictor).all())


def _measured(predictor: np.ndarray, weighted: _Weighted) -> dict[str, np.ndarray]:
    if not is_computed(predictor):
        return {m: np.full(len(weighted.W), np.nan) for m in METRICS}
    if np.issubdtype(predictor.dtype, np.floating):
        return weighted.of_number(predictor)
    values, codes = np.unique(predictor, return_inverse=True)
    return weighted.of_groups(codes.ravel(), len(values))


def measure(predictor: np.ndarray, outcomes: Outcomes) -> dict[str, float]:
    """Measure one predictor at one origin. Text or integer labels are groups, floats are numbers."""
    if not len(outcomes):
        return dict.fromkeys(METRICS, float("nan"))
    metrics = _measured(np.asarray(predictor), _Weighted(outcomes, np.ones((1, len(outcomes)))))
    return {m: float(metrics[m][0]) for m in METRICS}


def difference(
    old: np.ndarray, new: np.ndarray, outcomes: Outcomes, *, seed: int = 0, replications: int = REPLICATIONS
) -> dict[str, Estimate]:
    """Return by how much each metric of `new` is above that of `old`, with an interval from the same draws."""
    if len(outcomes) < 2:
        return {m: Estimate(float("nan")) for m in METRICS}
    old, new = np.asarray(old), np.asarray(new)
    with one_thread():
        once = _Weighted(outcomes, np.ones((1, len(outcomes))))
        point = [_measured(labels, once) for labels in (old, new)]
        drawn: list[list[np.ndarray]] = [[], []]
        chunk = max(1, CHUNK_CELLS // len(outcomes))
        for first in range(0, replications, chunk):
            rows = range(first, min(first + chunk, replications))
            weighted = _Weighted(outcomes, np.stack([_draw(len(outcomes), seed, r) for r in rows]))
            for side, labels in zip(drawn, (old, new), strict=True):
                metrics = _measured(labels, weighted)
                side.append(np.stack([metrics[m] for m in METRICS]))
    estimates = {}
    for i, metric in enumerate(METRICS):
        value = float(point[1][metric][0] - point[0][metric][0])
        apart = np.concatenate([b[i] - a[i] for a, b in zip(*drawn, strict=True)]) if replications else np.empty(0)
        apart = apart[np.isfinite(apart)]
        reach = NORMAL_95 * float(apart.std(ddof=1)) if len(apart) >= 20 else float("nan")
        estimates[metric] = Estimate(value, value - reach, value + reach)
    return estimates


# ---- many origins ----------------------------------------------------------------------------------------------


def judge(
    predictors: Mapping[str, Sequence[np.ndarray]],
    outcomes: Sequence[Outcomes],
    *,
    seed: int = 0,
    replications: int = REPLICATIONS,
) -> list[Judged]:
    """Judge predictors over rolling origins: the mean over origins of each metric, with an interval.

    The interval is a bootstrap over users, the same draws for every predictor: a user drawn twice
    counts twice at every origin, so the interval covers the overlap of the origins' periods. It does not cover what
    another season would change.

    Args:
        predictors: name to one array per origin, rows as in that origin's outcomes.
        outcomes: one per origin.
        seed: of the draws.
        replications: how many; 0 for no intervals.
    """
    populated = [i for i, o in enumerate(outcomes) if len(o)]
    point: dict[str, list[dict[str, float]]] = {name: [] for name in predictors}
    drawn = {name: [np.full((len(populated), replications), np.nan) for _ in METRICS] for name in predictors}
    everyone = (
        np.unique(np.concatenate([outcomes[i].user_id for i in populated])) if populated else np.empty(0, dtype=str)
    )
    with one_thread():
        for at, i in enumerate(populated):
            o = outcomes[i]
            place = np.searchsorted(everyone, o.user_id)
            # A baseline that stands beside several strategies is one array: it is measured once.
            mine = {name: np.asarray(labels[i]) for name, labels in predictors.items()}
            given = {id(array): array for array in mine.values()}
            once = _Weighted(o, np.ones((1, len(o))))
            measured = {key: _measured(labels, once) for key, labels in given.items()}
            for name, array in mine.items():
                point[name].append({m: float(v[0]) for m, v in measured[id(array)].items()})
            chunk = max(1, CHUNK_CELLS // len(o))
            for first in range(0, replications, chunk):
                rows = range(first, min(first + chunk, replications))
                weighted = _Weighted(o, np.stack([_draw(len(everyone), seed, r)[place] for r in rows]))
                measured = {key: _measured(labels, weighted) for key, labels in given.items()}
                for name, array in mine.items():
                    for m, metric in enumerate(METRICS):
                        drawn[name][m][at, rows.start : rows.stop] = measured[id(array)][metric]
    return [_judged(name, predictors[name], populated, point[name], drawn[name]) for name in predictors]


def _draw(users: int, seed: int, replication: int) -> np.ndarray:
    """Return (users,) how often each user is drawn in a replication."""
    rng = np.random.default_rng([seed, 11, replication])
    return np.bincount(rng.integers(0, users, users), minlength=users).astype(np.float64)


def _judged(
    name: str,
    labels: Sequence[np.ndarray],
    populated: Sequence[int],
    point: Sequence[Mapping[str, float]],
    drawn: Sequence[np.ndarray],
) -> Judged:
    estimates = {}
    for m, metric in enumerate(METRICS):
        values = np.array([p[metric] for p in point])
        known = np.isfinite(values)
        if not known.any():
            estimates[metric] = Estimate(float("nan"))
            continue
        # Origins at which a metric means nothing (nobody lapsed) are left out, of the draws too.
        means = drawn[m][known].mean(axis=0)
        means = means[np.isfinite(means)]
        value = float(values[known].mean())
        reach = NORMAL_95 * float(means.std(ddof=1)) if len(means) >= 20 else float("nan")
        estimates[metric] = Estimate(value, value - reach, value + reach)
    counts = [
        0 if np.issubdtype(np.asarray(labels[i]).dtype, np.floating) else len(np.unique(labels[i])) for i in populated
    ]
    groups = round(float(np.mean(counts))) if counts else 0
    return Judged(name, groups, len(populated), estimates, sum(not is_computed(labels[i]) for i in populated))


def outcomes_between(then: pd.DataFrame, later: pd.DataFrame, shares: pd.DataFrame | None = None) -> Outcomes:
    """Return what the users of `then` (profiles of O) did up to the day of `later` (profiles of O + horizon).

    Lifetime totals are subtracted, so only the days between count. `shares`: user_category_profiles of the later day
    (user_id, category, share_90d), which cover the horizon when that is 90 days. A user who is not in `later` did
    nothing.
    """
    after = later.set_index("user_id").reindex(then["user_id"])

    def grown(column: str) -> np.ndarray:
        if column not in then.columns or column not in after.columns:
            return np.zeros(len(then))
        start = then[column].fillna(0.0).to_numpy(dtype=np.float64)
        end = after[column].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.round(np.where(np.isfinite(end), end - start, 0.0), 2)

    mix = np.empty((0, 0))
    if shares is not None and len(shares):
        wide = shares.pivot_table(index="user_id", columns="category", values="share_90d", aggfunc="max")
        wide = wide.reindex(columns=sorted(wide.columns)).reindex(then["user_id"])
        none = wide.isna().all(axis=1).to_numpy()
        mix = wide.fillna(0.0).to_numpy(dtype=np.float64, copy=True)
        mix[none] = np.nan
    return Outcomes(
        user_id=then["user_id"].to_numpy(dtype=object).astype(str),
        spend=grown("monetary_all"),
        active_days=grown("active_days_all"),
        lapsed=(grown("orders_all") <= 0).astype(np.float64),
        coupon=(grown("coupons_all") > 0).astype(np.float64),
        mix=mix,
    )
