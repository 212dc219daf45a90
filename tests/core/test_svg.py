"""Pictures are well formed whatever their texts hold, and say in words what they show."""

import xml.etree.ElementTree as ET

import pytest

from seg_assets.core import svg

SPACE = "{http://www.w3.org/2000/svg}"
EVIL = '"><script>alert(1)</script>&amp;\x00\x1b[31m\n'


def test_text_from_outside_is_shown_as_text_and_breaks_nothing():
    parts = [svg.text(1, 2, EVIL), svg.rect(0, 0, 1, 1, EVIL, class_=EVIL), svg.circle((1, 2), 3, EVIL)]
    root = ET.fromstring(svg.drawing(10, 10, parts, title=EVIL))
    assert not list(root.iter(f"{SPACE}script"))
    assert "<script>alert(1)</script>&amp;" in root.find(f"{SPACE}text").text
    assert root.find(f"{SPACE}title").text.startswith('"><script>')


def test_a_picture_has_a_title_and_a_description_for_a_screen_reader():
    root = ET.fromstring(svg.document(20.5, 10, [], title="Sizes", description="two segments", class_="chart"))
    assert (root.get("aria-label"), root.get("role"), root.get("viewBox")) == (
        "Sizes. two segments",
        "img",
        "0 0 20.5 10",
    )
    assert [child.text for child in root] == ["Sizes", "two segments"]


def test_attributes_have_the_names_and_digits_that_svg_expects():
    assert svg.line((0, 1.23456), (2.0, 3), stroke_width=1.5, class_="grid", stroke=None) == (
        '<line x1="0" y1="1.23" x2="2" y2="3" stroke-width="1.5" class="grid"/>'
    )
    assert svg.polyline([(0, 0), (1.5, 2)]) == '<polyline points="0,0 1.5,2" fill="none"/>'


def test_a_scale_is_linear_and_puts_a_single_value_at_its_start():
    assert [svg.scale(10, 20, 100, 0)(value) for value in (10, 15, 20)] == [100, 50, 0]
    assert svg.scale(7, 7, 100, 0)(7) == 100


@pytest.mark.parametrize("bars", [[], [("one", 0)], [(EVIL * 9, 3), ("two", 1_234_567)]])
def test_bars_are_as_long_as_their_counts_and_names_fit(bars):
    root = ET.fromstring(svg.bar_chart("Sizes", bars))
    widths = [int(rect.get("width")) for rect in root.findall(f"{SPACE}rect")[1:]]
    assert len(widths) == len(bars)
    assert all(1 <= width <= 320 for width in widths)
    names = [text.text for text in root.findall(f"{SPACE}text")[::2]]
    assert all(len(name) <= 32 for name in names)
    if len(bars) == 2:
        assert widths[1] == 320
        assert root.findall(f"{SPACE}text")[-1].text == "1,234,567"
