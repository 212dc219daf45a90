import numpy as np
import pandas as pd
import pytest
from scipy.special import hyp2f1
from sklearn.metrics import roc_auc_score

from seg_assets.evaluation import baselines
from seg_assets.evaluation.baselines import BgNbd, fit_bg_nbd, fit_gamma_gamma


def purchases(r, alpha, a, b, users=6000, seed=1):
    """Repeat purchases of a simulated BG/NBD population, as (x, t_x, T) in weeks."""
    rng = np.random.default_rng(seed)
    T = rng.uniform(27, 39, users)
    rate, leave = rng.gamma(r, 1 / alpha, users), rng.beta(a, b, users)
    x, t_x = np.zeros(users), np.zeros(users)
    for i in range(users):
        t = 0.0
        while True:
            t += rng.exponential(1 / rate[i])
            if t > T[i]:
                break
            x[i], t_x[i] = x[i] + 1, t
            if rng.random() < leave[i]:
                break
    return x, t_x, T


def test_bg_nbd_finds_the_parameters_it_was_simulated_with():
    planted = BgNbd(0.6, 4.4, 0.8, 2.4)
    found = fit_bg_nbd(*purchases(planted.r, planted.alpha, planted.a, planted.b))
    assert found.r == pytest.approx(planted.r, rel=0.12)
    assert found.alpha == pytest.approx(planted.alpha, rel=0.2)
    assert found.a / (found.a + found.b) == pytest.approx(0.25, rel=0.2)


def test_bg_nbd_expects_what_fader_hardie_and_lee_publish_for_a_cdnow_customer():
    # Their note "Implementing the BG/NBD model in Excel": x = 2, t_x = 30.43, T = 38.86 weeks, next 39 weeks: 1.226.
    cdnow = BgNbd(0.243, 4.414, 0.793, 2.426)
    one = cdnow.expected(np.array([2.0]), np.array([30.43]), np.array([38.86]), 39.0)
    assert one[0] == pytest.approx(1.226, abs=0.001)


@pytest.mark.parametrize("horizon", [7.0, 90.0])
def test_bg_nbd_expects_what_the_paper_s_formula_says_where_that_can_be_computed(horizon):
    rng = np.random.default_rng(4)
    model = BgNbd(0.243, 4.414, 0.793, 2.426)
    x, T = rng.integers(0, 60, 500).astype(float), rng.uniform(1, 400, 500)
    t_x = np.where(x > 0, rng.uniform(0, 1, 500) * T, 0.0)
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    aged = (alpha + T) / (alpha + T + horizon)
    series = aged ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, horizon / (alpha + T + horizon))
    gone = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * ((alpha + T) / (alpha + t_x)) ** (r + x), 0.0)
    published = (a + b + x - 1) / (a - 1) * (1 - series) / (1 + gone)
    assert np.allclose(model.expected(x, t_x, T, horizon), published, rtol=1e-9, atol=1e-12)


def cadence(every, jitter, skips, days=364, users=150, seed=6):
    """Profiles of users who buy each `every` days for 20.00, of whom a third stops half way, and who has stopped."""
    rng = np.random.default_rng(seed)
    rows, stopped = [], rng.random(users) < 1 / 3
    for user in range(users):
        end = days // 2 if stopped[user] else days
        at = np.arange(rng.integers(0, every), end, every)
        at = at[rng.random(len(at)) >= skips] if len(at) > 2 else at
        bought = np.unique(np.clip(at + rng.integers(-jitter, jitter + 1, len(at)), 0, days - 1))
        recent = (bought >= days - 90).sum()
        rows.append((days - 1 - bought.max(), days - 1 - bought.min(), recent, len(bought)))
    frame = pd.DataFrame(rows, columns=["recency_days", "tenure_days", "orders_90d", "orders_all"]).astype(float)
    return frame.assign(monetary_90d=20 * frame["orders_90d"], monetary_all=20 * frame["orders_all"]), stopped


@pytest.mark.parametrize(
    ("every", "jitter", "skips"),
    [(1, 0, 0.0), (1, 0, 0.15), (7, 0, 0.0), (7, 2, 0.0), (7, 1, 0.15), (30, 0, 0.0), (30, 2, 0.1)],
)
def test_bg_nbd_tells_who_stopped_among_regular_buyers_of_any_cadence(every, jitter, skips):
    frame, stopped = cadence(every, jitter, skips)
    forecast = baselines.bg_nbd_spend(frame, 28)
    assert np.isfinite(forecast).all()
    assert roc_auc_score(~stopped, forecast) > 0.97
    # And those who stay are expected to go on as they did.
    usual = 20 * 28 / every * (1 - skips)
    assert np.median(forecast[~stopped]) == pytest.approx(usual, rel=0.3)


def test_a_forecast_from_too_few_buyers_is_null_and_not_nothing():
    frame = profiles(n=200)
    frame.loc[9:, ["orders_all", "orders_90d", "monetary_90d", "monetary_all", "recency_days"]] = np.nan
    frame.loc[:8, "orders_all"] = 2.0
    forecast = baselines.bg_nbd_spend(frame, 90)
    assert np.isnan(forecast).all()
    assert np.isnan(baselines.forecast_labels(forecast, 5)).all()


@pytest.mark.parametrize("horizon", [7, 28, 90, 180])
def test_last_period_forecasts_the_days_that_are_asked_for(horizon):
    old = profiles()
    assert np.allclose(baselines.last_period(old, horizon), old["monetary_90d"] * horizon / 90)
    # A shop of fourteen days has seen fourteen days, not ninety.
    young = old.assign(tenure_days=np.minimum(old["tenure_days"], 13.0))
    assert np.allclose(baselines.last_period(young, horizon), young["monetary_90d"] * horizon / 14)


def test_bg_nbd_does_not_hang_on_the_unit_of_time():
    x, t_x, T = purchases(0.6, 4.4, 0.8, 2.4, users=1500)
    weeks, days = fit_bg_nbd(x, t_x, T), fit_bg_nbd(x, 7 * t_x, 7 * T)
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=1e-3)
    assert np.allclose(weeks.expected(x, t_x, T, 10.0), days.expected(x, 7 * t_x, 7 * T, 70.0), rtol=1e-3)


def test_gamma_gamma_finds_the_parameters_it_was_simulated_with():
    rng = np.random.default_rng(2)
    p, q, gamma = 6.0, 4.0, 15.0
    x = rng.integers(2, 20, 8000).astype(float)
    scale = 1 / rng.gamma(q, 1 / gamma, 8000)
    mean_value = rng.gamma(p * x, scale / x)
    found = fit_gamma_gamma(x, mean_value)
    assert found.gamma * found.p / (found.q - 1) == pytest.approx(gamma * p / (q - 1), rel=0.05)
    assert found.q == pytest.approx(q, rel=0.15)
    pulled = found.expected(np.array([1.0, 100.0]), np.array([100.0, 100.0]))
    assert pulled[0] < pulled[1] < 100.0


def profiles(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    orders = rng.poisson(4, n).astype(float)
    spend = orders * rng.gamma(2, 15, n)
    recency = np.where(orders > 0, rng.integers(0, 90, n), np.nan)
    return pd.DataFrame(
        {
            "recency_days": recency,
            "tenure_days": 200.0,
            "orders_90d": orders,
            "orders_all": orders * 2,
            "monetary_90d": spend,
            "monetary_all": spend * 2,
        }
    )


@pytest.mark.parametrize("k", [2, 5, 10])
def test_every_group_baseline_has_the_groups_asked_for(k):
    for name, labels in baselines.baseline_labels(profiles(), k).items():
        assert len(np.unique(labels)) == k, name


def test_rfm_scores_are_best_for_recent_frequent_big_spenders():
    frame = profiles()
    scores = baselines.rfm_scores(frame)
    assert scores.min() == 1
    assert scores.max() == 5
    assert scores[frame["monetary_90d"].idxmax(), 2] == 5
    assert scores[frame["recency_days"].idxmin(), 0] == 5
    assert (scores[frame["recency_days"].isna(), 0] <= 2).all()


def test_the_hiatus_threshold_is_the_one_that_told_lapsed_users_apart():
    frame = profiles()
    lapsed = (frame["recency_days"].fillna(999) > 40).astype(float).to_numpy()
    threshold = baselines.hiatus_threshold(frame, lapsed)
    assert 35 <= threshold <= 45
    assert set(baselines.hiatus(frame, threshold)) == {0, 1}


def test_bg_nbd_spend_is_finite_and_zero_for_users_who_never_bought():
    frame = profiles()
    forecast = baselines.bg_nbd_spend(frame, 90)
    assert np.isfinite(forecast).all()
    assert (forecast >= 0).all()
    assert (forecast[frame["orders_all"] == 0] == 0).all()
    assert np.corrcoef(forecast, frame["monetary_90d"])[0, 1] > 0.6


def test_refunds_and_shops_without_orders_break_no_baseline():
    frame = profiles()
    frame["monetary_90d"] -= 80.0
    frame["monetary_all"] -= 500.0
    assert np.isfinite(baselines.bg_nbd_spend(frame, 90)).all()
    empty = frame.assign(
        orders_all=np.nan, orders_90d=np.nan, recency_days=np.nan, monetary_all=np.nan, monetary_90d=np.nan
    )
    assert np.isnan(baselines.bg_nbd_spend(empty, 90)).all()
    for labels in baselines.baseline_labels(empty, 4).values():
        assert len(labels) == len(empty)
