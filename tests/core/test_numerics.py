"""Samples of users that hang on the users alone."""

import numpy as np

from seg_assets.core.numerics import draw_rows, sample_rows


def test_the_sample_is_the_same_users_whatever_the_order_and_almost_the_same_a_day_later():
    users = np.array([f"u{n}" for n in range(5000)], dtype=object)
    first = set(users[sample_rows(users, 1000, seed=1)])
    shuffled = np.random.default_rng(0).permutation(users)
    assert set(shuffled[sample_rows(shuffled, 1000, seed=1)]) == first
    later = np.array([f"u{n}" for n in range(50, 5050)], dtype=object)
    assert len(first & set(later[sample_rows(later, 1000, seed=1)])) > 950
    assert set(users[sample_rows(users, 1000, seed=2)]) != first


def test_drawn_rows_are_in_order_without_repeats_and_all_of_them_when_there_are_few():
    drawn = draw_rows(1000, 100, [4, 1])
    assert len(set(drawn)) == 100
    assert (np.diff(drawn) > 0).all()
    assert (draw_rows(1000, 100, [4, 1]) == drawn).all()
    assert (draw_rows(5, 100, 0) == np.arange(5)).all()
