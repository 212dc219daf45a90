"""The study's loop is the product's: the same distances as Evidently's, and a verdict that sees planted shifts."""

import numpy as np
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.drift.evidently_report import Limits, compare
from seg_assets.segments.fitting.reference import describe
from studies import drift as study
from studies import shops
from studies.rehearse import plain_compare, rehearse
from studies.shops import SHIFT_DAY, SHIFTS, WARM_DAYS, PlantedShop, Shift
from tests.drift.small_shop import strategy, users
from tests.drift.test_verdict import fitted

NOTHING, SPLIT = SHIFTS[0], next(s for s in SHIFTS if s.kind == "split")


def test_the_distances_of_the_study_are_those_of_evidently():
    one = strategy(drift={"columns": ["monetary_28d", "orders_28d", "tenure_days", "region"], "positions": 300})
    frame = users(1, False).assign(region="north")
    model = fitted(one, frame)
    later = users(9, True).assign(region=np.where(np.arange(180) % 4 > 0, "north", "south"))
    later["orders_28d"] = later["orders_28d"].where(np.arange(180) % 5 > 0)
    then, now = (describe(one, f, model) for f in (frame, later))
    real, ours = (f(now, then, Limits(0.1, 0.02), 300) for f in (compare, plain_compare))
    assert [(c.column, c.method, c.drifted, c.missing_drifted) for c in ours.columns] == [
        (c.column, c.method, c.drifted, c.missing_drifted) for c in real.columns
    ]
    assert [c.score for c in ours.columns] == pytest.approx([c.score for c in real.columns], abs=1e-6)


def test_days_before_the_shift_do_not_depend_on_it_and_a_profile_sees_nothing_later():
    calm, split = (PlantedShop(60, shift, 0) for shift in (NOTHING, SPLIT))
    one = study.studied("behaviour")
    before, after = (shops.START + shops.dt.timedelta(days=n) for n in (SHIFT_DAY - 1, SHIFT_DAY + 20))
    assert calm.frame(one, before).equals(split.frame(one, before))
    assert not calm.frame(one, after).equals(split.frame(one, after))
    assert set(split.truth(after)) - set(split.truth(before)) == {len(shops.GROUPS)}


def test_a_rehearsed_shop_has_a_first_fit_sees_its_split_and_tells_whether_the_new_model_helped():
    shop, shipped = PlantedShop(600, SPLIT, 1), study.studied("behaviour")
    # So few users that the shipped limits, which grow as they get fewer, see nothing in four weeks.
    one = shipped.model_copy(update={"drift": shipped.drift.model_copy(update={"limit": 0.04})})
    first = [shop.day_of(WARM_DAYS)]
    days = first + [shop.day_of(n) for n in range(SHIFT_DAY, SHIFT_DAY + 28)]
    done = rehearse(one, days, lambda day, model: shop.frame(one, day))
    assert done.decisions[0].cause == "bootstrap"
    assert any(v.drifted for v in done.verdicts)
    old = done.decisions[0].segment_model()
    frame = shop.frame(one, days[-1])
    assert study.gains(one, shop, frame, days[-1], old, old) == (0.0, 0.0)


def test_a_page_without_the_markers_is_refused_and_one_with_them_keeps_the_rest(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- study:x -->\nold\n<!-- end of study:x -->\nafter\n", encoding="utf-8")
    study.replace_between(page, "x", "new")
    study.replace_between(page, "x", "newer")
    text = page.read_text(encoding="utf-8")
    assert text == "before\n<!-- study:x -->\n\nnewer\n\n<!-- end of study:x -->\nafter\n"
    with pytest.raises(ConfigError, match="no lines"):
        study.replace_between(page, "y", "new")


def test_tables_say_how_many_were_seen_and_when():
    shift = Shift("nothing", 0.0, "nothing", False, False)
    runs = [study.Run(shift, 1000, "value", s, 14, 1, 42, 1, n, None) for s in study.SETTINGS for n in (3, 9, None)]
    text = study.shift_tables(runs)
    assert "| nothing | 2 of 3 | 6 / 9 |" in text
    assert "| default | 1,000 | 3.6 |" in text
    assert study.shift_chart([*runs, *_seen(4)]).startswith("<svg")


def _seen(delay):
    return [study.Run(SPLIT, 1000, "value", s, 0, 0, 42, 1, delay, None) for s in study.SETTINGS]
