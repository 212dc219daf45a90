import math

import numpy as np
import pytest
from sklearn import metrics

from seg_assets.evaluation.internal import adjusted_rand_index, balance, labels_table, moved_share


def test_balance_is_one_for_equal_sizes_and_zero_for_one_that_holds_everybody():
    assert balance([10, 10, 10]) == pytest.approx(1)
    assert balance([30, 0, 0]) == 0
    assert balance([90, 5, 5]) < balance([60, 20, 20])
    assert math.isnan(balance([]))


def test_adjusted_rand_index_equals_scikit_learn_and_is_one_for_renamed_labels():
    rng = np.random.default_rng(3)
    a = rng.integers(4, size=500)
    b = np.where(rng.random(500) < 0.7, a, rng.integers(4, size=500))
    assert adjusted_rand_index(labels_table(a, b)) == pytest.approx(metrics.adjusted_rand_score(a, b), abs=1e-12)
    assert adjusted_rand_index(labels_table(a, (a + 1) % 4)) == 1
    assert math.isnan(adjusted_rand_index(np.zeros((0, 0))))


def test_adjusted_rand_index_is_exact_for_a_hundred_million_users():
    assert adjusted_rand_index(np.diag([50_000_000, 50_000_000])) == 1


def test_moved_share_counts_users_of_both_days():
    assert moved_share({("a", "a"): 90, ("a", "b"): 6, ("b", "a"): 4}) == (0.1, 10, 100)
    assert math.isnan(moved_share({})[0])
