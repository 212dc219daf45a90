"""Group users as others do, at equal group counts: RFM cells, quantiles and tiers of spend, hiatus, BG/NBD.

Each baseline takes the profiles of a day (columns of user_profiles) and gives a label or a number per user, from that
day and before only. None is weakened: each is what its users would run, and where a baseline cannot be computed its
numbers are NaN for every user, which is judged as null, never 0 in disguise.

Not here: how a label is judged (`evaluation.validity`), and our own algorithms (`segments.algorithms`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from seg_assets.core.numerics import one_thread
from seg_assets.core.tables import PROFILE_WINDOW
from seg_assets.segments.algorithms.tiers import cum_root_cuts

# Columns of user_profiles that the baselines read.
COLUMNS = ("recency_days", "tenure_days", "orders_90d", "orders_all", "monetary_90d", "monetary_all")
# Below this number of buyers a model of purchases has nothing to be fitted on.
LEAST_BUYERS = 10
# Nodes of the quadrature over the chance to leave. Against 400 nodes, off by 1e-10 of the forecast
# at most for a quarter ahead, by 2e-5 for a year ahead of users of a week.
NODES = 128


def quantile_groups(values: np.ndarray, k: int) -> np.ndarray:
    """Return groups 0..k-1 of equal size, ties broken by row order; 0 is the lowest."""
    rank = pd.Series(np.asarray(values, dtype=np.float64)).rank(method="first").to_numpy() - 1
    return np.minimum(rank * k // max(len(rank), 1), k - 1).astype(np.int64)


def _filled(frame: pd.DataFrame, column: str, missing: float) -> np.ndarray:
    return frame[column].fillna(missing).to_numpy(dtype=np.float64)


def _recency(frame: pd.DataFrame) -> np.ndarray:
    # A user who never bought counts as one whose last purchase is before all others'.
    return _filled(frame, "recency_days", float(np.nan_to_num(frame["tenure_days"].max())) + 1.0)


def monetary_quantile(frame: pd.DataFrame, k: int) -> np.ndarray:
    """Return equal groups of 90-day spend: quintiles, octiles, deciles."""
    return quantile_groups(_filled(frame, "monetary_90d", 0.0), k)


def monetary_tiers(frame: pd.DataFrame, k: int) -> np.ndarray:
    """Cut 90-day spend as our tiers are (Dalenius and Hodges 1959), without a forecast: what the cuts alone gain."""
    spend = _filled(frame, "monetary_90d", 0.0)
    root = np.sign(spend) * np.sqrt(np.abs(spend))
    return np.searchsorted(cum_root_cuts(root, k, jacobian=lambda s: 2.0 * np.abs(s)), root)


def rfm_scores(frame: pd.DataFrame) -> np.ndarray:
    """Return (n, 3) recency, frequency, monetary scores 1..5, 5 the best (Hughes 1994)."""
    r = 5 - quantile_groups(_recency(frame), 5)
    f = quantile_groups(_filled(frame, "orders_90d", 0.0), 5) + 1
    m = quantile_groups(_filled(frame, "monetary_90d", 0.0), 5) + 1
    return np.column_stack([r, f, m])


def rfm_cells(frame: pd.DataFrame) -> np.ndarray:
    """Return the classical 5 x 5 x 5 cells."""
    scores = rfm_scores(frame)
    return scores[:, 0] * 100 + scores[:, 1] * 10 + scores[:, 2]


def rfm_total(frame: pd.DataFrame, k: int) -> np.ndarray:
    """Return equal groups of the sum of the three scores."""
    return quantile_groups(rfm_scores(frame).sum(axis=1), k)


def kmeans_rfm(frame: pd.DataFrame, k: int, seed: int = 0) -> np.ndarray:
    """Cluster scaled log recency, frequency and monetary by k-means, as most packages do."""
    from sklearn.cluster import KMeans

    spend = _filled(frame, "monetary_90d", 0.0)
    X = np.column_stack(
        [
            np.log1p(_recency(frame)),
            np.log1p(_filled(frame, "orders_90d", 0.0)),
            np.sign(spend) * np.log1p(np.abs(spend)),
        ]
    )
    X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    distinct = len(np.unique(X, axis=0))
    with one_thread():
        return KMeans(min(k, distinct), n_init=5, random_state=seed).fit_predict(X)


def hiatus(frame: pd.DataFrame, threshold_days: float) -> np.ndarray:
    """Apply the manager's rule (Wuebben and von Wangenheim 2008): inactive when the last purchase is too long ago."""
    return (_recency(frame) <= threshold_days).astype(np.int64)


def hiatus_threshold(then: pd.DataFrame, lapsed: np.ndarray) -> float:
    """Return the recency that best separated lapsed users in an earlier period (Youden 1950's index)."""
    recency = _recency(then)
    best, at = -1.0, float(np.median(recency)) if len(recency) else 0.0
    if not 0 < lapsed.sum() < len(lapsed):
        return at
    for threshold in np.unique(np.quantile(recency, np.linspace(0.02, 0.98, 49))):
        away = recency > threshold
        index = away[lapsed > 0].mean() - away[lapsed == 0].mean()
        if index > best + 1e-12:
            best, at = float(index), float(threshold)
    return at


def hiatus_quantile(frame: pd.DataFrame, k: int) -> np.ndarray:
    """Return the hiatus as k equal groups of recency."""
    return quantile_groups(-_recency(frame), k)


def last_period(frame: pd.DataFrame, horizon_days: int) -> np.ndarray:
    """Forecast that the next days will be like the last 90, or like all that the shop has seen where that is less."""
    seen = min(float(PROFILE_WINDOW), float(np.nan_to_num(frame["tenure_days"].max())) + 1.0)
    return _filled(frame, "monetary_90d", 0.0) * (horizon_days / seen)


# ---- BG/NBD and Gamma-Gamma ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BgNbd:
    """Beta-geometric / negative binomial of repeat purchases (Fader, Hardie and Lee 2005)."""

    r: float
    alpha: float
    a: float
    b: float

    def expected(self, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, t: float) -> np.ndarray:
        """Return expected purchases in the next `t` days, given x repeats, the last at age t_x, and age T.

        Equation 10 of the paper is a power that underflows times a hypergeometric function that overflows once r is
        large, as regular buyers make it. This is the integral that it comes from: a user who is still there buys at a
        rate that is Gamma(r + x, alpha + T) and leaves after a purchase with a chance p that is Beta(a, b + x), so the
        expectation is the mean over p of (1 - (1 + p t / (alpha + T))^-(r + x)) / p.
        """
        x, t_x, T = (np.asarray(v, dtype=np.float64) for v in (x, t_x, T))
        purchases = np.empty(len(x))
        for repeats in np.unique(x):
            mine = x == repeats
            p, weight = _beta_nodes(self.a, self.b + repeats)
            step = np.log1p(p * (t / (self.alpha + T[mine]))[:, None])
            purchases[mine] = -np.expm1(-(self.r + repeats) * step) @ (weight / p)
        # Odds of having left, in logarithms: 0 for those who have not bought again.
        silent = np.log1p((T - t_x) / (self.alpha + t_x))
        odds = np.log(self.a / (self.b + np.maximum(x, 1.0) - 1.0)) + (self.r + x) * silent
        alive = np.where(x > 0, np.exp(-np.logaddexp(0.0, odds)), 1.0)
        return purchases * alive


def _beta_nodes(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes in (0, 1) and weights that integrate over a Beta(a, b) (Golub and Welsch 1969).

    The eigenvalues of the matrix of the recurrence of Jacobi polynomials on [0, 1], whose entries are ratios: nothing
    in them overflows, whatever a and b.
    """
    from scipy.linalg import eigh_tridiagonal

    n = np.arange(1, NODES, dtype=np.float64)
    s = a + b
    diagonal = np.empty(NODES)
    diagonal[0] = a / s
    diagonal[1:] = 0.5 + 0.5 * ((a - 1.0) ** 2 - (b - 1.0) ** 2) / ((2 * n + s - 2.0) * (2 * n + s))
    # The first coefficient is the variance of the Beta; the general form is 0/0 there when a + b is 1.
    beside = np.empty(NODES - 1)
    beside[0] = a * b / (s * s * (s + 1.0))
    m = n[1:]
    middle = 2 * m + s - 2.0
    beside[1:] = m * (m + a - 1) * (m + b - 1) * (m + s - 2) / (middle**2 * (middle + 1.0) * (middle - 1.0))
    nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(beside))
    return np.maximum(nodes, 1e-300), vectors[0] ** 2


def fit_bg_nbd(x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> BgNbd:
    """Fit by maximum likelihood, with its exact gradient. x repeats, t_x age at the last of them, T age; one unit."""
    from scipy.optimize import minimize
    from scipy.special import betaln, gammaln, psi

    x, t_x, T = (np.asarray(v, dtype=np.float64) for v in (x, t_x, T))
    # Time in units that keep the likelihood well scaled; alpha is scaled back.
    unit = max(float(T.mean()), 1e-9)
    t_x, T = t_x / unit, T / unit
    # Users with equal data count once, with their number.
    rows, counts = np.unique(np.column_stack([x, t_x, T]), axis=0, return_counts=True)
    _, t_x, T = rows.T
    # What hangs on the number of repeats alone is computed once per number.
    x, at = np.unique(rows[:, 0], return_inverse=True)
    again = (x > 0)[at]
    weight = counts / counts.sum()

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        r, alpha, a, b = parameters = np.exp(np.clip(theta, -12, 12))
        before = np.maximum(b + x - 1.0, 1e-9)
        aged, last = np.log(alpha + T), np.log(alpha + t_x)
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        alive = (common + betaln(a, b + x))[at] - (r + x)[at] * aged
        gone = np.where(again, (common + betaln(a + 1.0, before))[at] - (r + x)[at] * last, -np.inf)
        likely = np.logaddexp(alive, gone)
        # Chances that a user is still alive, and that they left after their last purchase.
        lives, left = np.exp(alive - likely), np.exp(gone - likely)
        both = psi(a + b) - psi(a + b + x)
        slope = np.array(
            [
                weight @ ((psi(r + x) - psi(r) + np.log(alpha))[at] - lives * aged - left * last),
                weight @ (r / alpha - (r + x)[at] * (lives / (alpha + T) + left / (alpha + t_x))),
                weight @ (both[at] + left * (psi(a + 1.0) - psi(a))),
                weight @ ((both - psi(b))[at] + lives * psi(b + x)[at] + left * psi(before)[at]),
            ]
        )
        return -float(weight @ likely), -slope * parameters * (np.abs(theta) < 12)

    best = min(
        (minimize(loss, np.log(start), jac=True, method="L-BFGS-B") for start in ([1, 1, 1, 1], [0.3, 0.2, 0.8, 2.5])),
        key=lambda result: result.fun,
    )
    r, alpha, a, b = np.exp(np.clip(best.x, -12, 12))
    return BgNbd(float(r), float(alpha * unit), float(a), float(b))


@dataclass(frozen=True)
class GammaGamma:
    """Gamma-Gamma of the value of a purchase (Fader and Hardie 2013)."""

    p: float
    q: float
    gamma: float

    def expected(self, x: np.ndarray, mean_value: np.ndarray) -> np.ndarray:
        """Return the expected value of a purchase, given x purchases of mean value `mean_value`."""
        population = self.gamma * self.p / max(self.q - 1.0, 1e-6)
        weight = self.p * x / (self.p * x + self.q - 1.0)
        return (1.0 - weight) * population + weight * mean_value


def fit_gamma_gamma(x: np.ndarray, mean_value: np.ndarray) -> GammaGamma:
    """Fit by maximum likelihood over users with x > 0 purchases of a positive mean value."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    use = (x > 0) & (mean_value > 0)
    x, m = np.asarray(x, dtype=np.float64)[use], np.asarray(mean_value, dtype=np.float64)[use]
    unit = max(float(np.median(m)), 1e-9) if len(m) else 1.0
    m = m / unit

    def loss(theta: np.ndarray) -> float:
        p, extra, g = np.exp(np.clip(theta, -12, 12))
        q = 1.0 + extra  # a finite mean
        ll = (
            gammaln(p * x + q)
            - gammaln(p * x)
            - gammaln(q)
            + q * np.log(g)
            + (p * x - 1.0) * np.log(m)
            + p * x * np.log(x)
            - (p * x + q) * np.log(g + x * m)
        )
        return -float(ll.mean())

    if not len(m):
        return GammaGamma(1.0, 2.0, unit)
    best = minimize(loss, np.log([3.0, 2.0, 1.0]), method="L-BFGS-B")
    p, extra, g = np.exp(np.clip(best.x, -12, 12))
    return GammaGamma(float(p), float(1.0 + extra), float(g * unit))


def bg_nbd_spend(frame: pd.DataFrame, horizon_days: int) -> np.ndarray:
    """Forecast the spend of the next days: BG/NBD purchases times Gamma-Gamma value, both fitted on the day.

    NaN for everybody where it cannot be computed: fewer than LEAST_BUYERS users have bought, or the fit has no
    finite forecast for one of them.
    """
    orders = _filled(frame, "orders_all", 0.0)
    bought = orders > 0
    if bought.sum() < LEAST_BUYERS:
        return np.full(len(frame), np.nan)
    value = np.zeros(len(frame))
    T = _filled(frame, "tenure_days", 0.0)[bought]
    x = np.maximum(orders[bought] - 1.0, 0.0)
    t_x = np.where(x > 0, np.clip(T - _recency(frame)[bought], 0.0, None), 0.0)
    T = np.maximum(T, 0.5)
    mean_value = _filled(frame, "monetary_all", 0.0)[bought] / orders[bought]
    often = fit_bg_nbd(x, t_x, T).expected(x, t_x, T, float(horizon_days))
    each = fit_gamma_gamma(orders[bought], mean_value).expected(orders[bought], np.maximum(mean_value, 0.0))
    value[bought] = often * each
    return value if np.isfinite(value).all() else np.full(len(frame), np.nan)


def baseline_labels(frame: pd.DataFrame, k: int, seed: int = 0) -> Mapping[str, np.ndarray]:
    """Return every group baseline at k groups, by name."""
    return {
        "monetary_quantile": monetary_quantile(frame, k),
        "monetary_tiers": monetary_tiers(frame, k),
        "rfm_total": rfm_total(frame, k),
        "kmeans_rfm": kmeans_rfm(frame, k, seed),
        "hiatus_quantile": hiatus_quantile(frame, k),
    }


def forecast_labels(forecast: np.ndarray, k: int) -> np.ndarray:
    """Return a forecast as k equal groups, which is how a lifetime-value score is used; one without values stays so."""
    return quantile_groups(forecast, k) if np.isfinite(forecast).all() else forecast
