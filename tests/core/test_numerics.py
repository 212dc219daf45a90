"""Samples of users hang on the hash of their ids; draws of rows on a seed."""

import numpy as np
import pandas as pd

from seg_assets.core.numerics import draw_rows, sample_rows


def test_the_sample_is_the_same_users_whatever_the_order_and_almost_the_same_a_day_later():
    def sample(users: pd.Series, seed: int = 1) -> set[str]:
        return set(users.iloc[sample_rows(users, 1000, seed)])

    users = pd.Series([f"u{n}" for n in range(5000)])
    first = sample(users)
    assert sample(pd.Series(np.random.default_rng(0).permutation(users))) == first
    assert len(first & sample(pd.Series([f"u{n}" for n in range(50, 5050)]))) > 950
    assert sample(users, seed=2) != first


def test_drawn_rows_are_in_order_without_repeats_and_all_of_them_when_there_are_few():
    drawn = draw_rows(1000, 100, [4, 1])
    assert len(set(drawn)) == 100
    assert (np.diff(drawn) > 0).all()
    assert (draw_rows(1000, 100, [4, 1]) == drawn).all()
    assert (draw_rows(5, 100, 0) == np.arange(5)).all()
