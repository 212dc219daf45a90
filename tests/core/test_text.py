"""Numbers, names and tables as people read them."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from seg_assets.core.text import (
    code_block,
    code_span,
    markdown_cell,
    markdown_table,
    number,
    percent,
    picture,
    printable,
    short,
    shortened,
)


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


def test_text_that_is_no_more_than_text_is_shown_as_it_is():
    plain = "landing_to_events: 12 lines, 3.5 % < 5 (Müller & Söhne; north-west!)"
    assert markdown_cell(plain) == plain
    assert markdown_cell(np.int64(1_234)) == "1,234"
    assert markdown_cell(True) == "True"
    assert markdown_cell(Markup("ours<br>theirs")) == "ours<br>theirs"
    assert markdown_cell("see **this**|that<b>", ours=True) == "see **this**\\|that&lt;b>"


HOSTILE = [
    "![a](http://outside.example/a.png)",
    "[click](//outside.example)",
    "<img src=//outside.example>",
    "http://outside.example/a",
    "WWW.outside.example",
    "someone@outside.example",
    "&lt;b&gt;",
    "`![a](http://outside.example/a.png)",
    "``` ![a](http://outside.example/a.png) `",
    "a|![a](http://outside.example/a.png)",
    "a\\|![a](http://outside.example/a.png)",
    "a\\\\|![a](http://outside.example/a.png)",
    "line\n\n![a](http://outside.example/a.png)",
    "line\u2028![a](http://outside.example/a.png)",
    "[a]: http://outside.example",
    "_emphasis_ and *more* and ~less~",
]


def inside_one_code_span(cell: str) -> str:
    """What a cell shows, which must be one code span from end to end; nothing in it ends the cell either."""
    fence = re.match("`+", cell)[0]
    shown = cell[len(fence) : -len(fence)]
    assert cell.endswith(fence), cell
    assert fence not in re.findall("`+", shown), cell
    for backslashes in re.findall(r"(\\*)\|", shown):
        # For renderers that pair backslashes, and for those that look at the last one.
        assert len(backslashes) % 2 == 1, cell
    assert len(shown.splitlines()) == 1
    return shown.strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_markdown_would_read_as_more_is_a_code_span_which_it_cannot_leave(text):
    shown = inside_one_code_span(markdown_cell(text))
    assert "](" not in shown
    shown = shown.replace("\u200b", "")
    assert re.sub(r"\\+\|", "|", shown) == re.sub(r"\\+\|", "|", " ".join(text.split()))


@given(st.text(alphabet=st.sampled_from("`\\|![](<a>&_*\n ")))
def test_no_text_leaves_its_code_span(text):
    cell = code_span(text)
    assert not cell or inside_one_code_span(cell) is not None


def test_no_sql_ends_its_block_of_code():
    block = code_block("select 1\n````\n![a](http://outside.example)", "sql")
    assert block.splitlines()[0] == "`````sql"
    assert block.splitlines()[-1] == "`````"


def test_names_of_columns_and_pictures_are_text_too():
    assert "`[a]\u200b(b)`" in markdown_table(["[a](b)"], [])
    assert "](http" not in picture("<svg/>", "x](http://outside.example)![")


def test_a_table_is_aligned_right_from_the_column_that_is_named():
    assert markdown_table(["name", "users"], [["one", 1_000]]) == "| name | users |\n|---|---|\n| one | 1,000 |"
    assert markdown_table(["name", "users"], [["one", 1]], right=1).splitlines()[1] == "|---|---:|"
