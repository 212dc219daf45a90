"""Numbers, names and tables as people read them."""

import math

import numpy as np
import pytest
from markupsafe import Markup

from seg_assets.core.text import markdown_cell, markdown_table, number, percent, printable, short, shortened


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_no_number_reads_as_a_dash(nothing):
    assert {number(nothing), short(nothing), percent(nothing)} == {"–"}


def test_a_small_share_never_reads_as_nothing():
    assert percent(0.0001) == "< 0.1 %"
    assert percent(0.004, 0) == "< 1 %"
    assert percent(0) == "0.0 %"
    assert percent(0.256, 0) == "26 %"


@pytest.mark.parametrize(
    ("value", "words"), [(1_234_567, "1.2M"), (34_000, "34k"), (-1_200, "-1.2k"), (812.4, "812"), (12.34, "12.3"),
                         (5, "5"), (0.046, "0.05"), (2e9, "2.0G")],
)  # fmt: skip
def test_a_short_number_keeps_what_matters(value, words):
    assert short(value) == words


def test_a_name_is_cut_and_control_characters_go():
    assert shortened("segment", 7) == "segment"
    assert shortened("segments", 7) == "segmen…"
    assert printable("a\x00b\nc") == "a b c"
    assert printable("Bücher") == "Bücher"


def test_text_from_data_cannot_break_out_of_a_cell():
    assert markdown_cell("a|b\n<b>c</b> < 5") == "a\\|b &lt;b>c&lt;/b> < 5"
    assert markdown_cell(np.int64(1_234)) == "1,234"
    assert markdown_cell(True) == "True"
    assert markdown_cell(Markup("ours<br>theirs")) == "ours<br>theirs"


def test_a_table_is_aligned_right_from_the_column_that_is_named():
    assert markdown_table(["name", "users"], [["one", 1_000]]) == "| name | users |\n|---|---|\n| one | 1,000 |"
    assert markdown_table(["name", "users"], [["one", 1]], right=1).splitlines()[1] == "|---|---:|"
