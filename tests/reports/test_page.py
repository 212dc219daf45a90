import datetime as dt
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from seg_assets.reports import charts, words
from seg_assets.reports.contents import Apart, DecisionRow, DriftDay, Flow, MoveReason, SegmentRow
from seg_assets.reports.page import render, render_index
from tests.reports.fakes import bare_report, full_report

EVIL = (
    '"><script>alert(1)</script><img src="http://evil.example/x.png" onerror=\'x()\'>\n&amp;{{ 7*7 }}</style></title>'
)


class Tags(HTMLParser):
    """Every element and attribute of a page, and what of it is not closed."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.crossed, self.text = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page():
    return render(full_report())


def said(page):
    return re.sub(r"\s+", " ", " ".join(Tags(page).text))


def test_a_page_asks_the_network_for_nothing_and_runs_nothing(page):
    tags = Tags(page)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(tags.tags)
    fetched = [v for t, n, v in tags.attributes if n in ("src", "srcset", "action") or (t == "link" and n == "href")]
    assert fetched == ["data:,"]
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page
    assert not [n for _, n, _ in tags.attributes if n.startswith("on")]


def test_a_page_is_well_formed_and_its_own_links_lead_somewhere(page):
    for text in (page, render(bare_report()), render_index([("Value", [("May 2024", [("2024-05-01", "a.html")])])])):
        tags = Tags(text)
        assert not tags.crossed
        assert not tags.open
    ids = {v for _, n, v in Tags(page).attributes if n == "id"}
    assert {v[1:] for _, n, v in Tags(page).attributes if n == "href" and v.startswith("#")} <= ids


def test_every_picture_has_words_for_a_screen_reader(page):
    charts_ = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(charts_) > 8
    for svg in charts_:
        assert 'role="img"' in svg
        assert re.search(r'aria-label="[^"]{10,}"', svg)
        assert "<title>" in svg


def test_hostile_names_ids_and_reasons_are_shown_as_text():
    row = SegmentRow(
        EVIL, EVIL, "cluster", 10, 0.5, "c0", 9, 3.0, 0.2, (Apart(f"category:{EVIL}", 1.5, 0.4, 0.1),), 0.7
    )
    day = full_report().day
    report = replace(
        full_report(),
        title=EVIL,
        description=EVIL,
        segments=(row, *full_report().segments),
        names={EVIL: EVIL, **full_report().names},
        sizes={EVIL: full_report().sizes["new"], **full_report().sizes},
        week_flows=(Flow(EVIL, EVIL, 5), Flow(EVIL, "new", 3)),
        reasons=(MoveReason(EVIL, EVIL, 5, EVIL, 0.5),),
        drift=(DriftDay(day, True, 1.5, 1.0, EVIL, day, ((EVIL, 1.5, 1.0),)),),
        decisions=(DecisionRow(day, EVIL, True, EVIL, EVIL, EVIL, (("birth", (), (EVIL,), None),), {}, {EVIL: EVIL}),),
        missing=((EVIL, EVIL),),
        sources=((EVIL, EVIL),),
    )
    text = render(report)
    tags = Tags(text)
    assert not {"script", "img"} & set(tags.tags)
    assert not [n for _, n, _ in tags.attributes if n.startswith("on")]
    assert not tags.crossed
    assert "alert(1)" in "".join(tags.text)
    assert "49" not in "".join(t for t in tags.text if "alert(1)" in t)


def test_the_same_report_gives_the_same_page(page):
    assert render(full_report()) == page


def test_every_segment_is_there_with_its_name_id_users_and_trust(page):
    text = said(page)
    for row in full_report().segments:
        assert row.name in text
        assert row.segment_id in text
        assert f"{row.users:,}" in text
    assert "untrusted" in text
    assert "highly stable" in text


def test_the_summary_says_what_a_reader_in_a_hurry_needs():
    told = " ".join(words.summary(full_report()))
    assert "16,765 of 20,067 users fall into 5 segments" in told
    assert "“Loyal high spenders” brings 44 %" in told
    assert "no need to re-cluster" in told
    assert "do not trust “Occasional visitors”" in told


@pytest.mark.parametrize(
    ("value", "badge", "sentence"),
    [
        (1.0, ">real<", "The groups are real"),
        (0.0, ">not shown<", "not shown to be real"),
        (None, ">not tested<", "could not be tested"),
    ],
)
def test_whether_the_groups_are_real_is_said_in_all_three_cases(value, badge, sentence):
    numbers = {k: v for k, v in full_report().metrics.items() if not k.startswith(("null", "beats"))}
    if value is not None:
        nulls = {k: v for k, v in full_report().metrics.items() if k.startswith("null")}
        numbers = {**numbers, **nulls, "beats_null": value}
    text = render(replace(full_report(), metrics=numbers))
    assert badge in text
    assert sentence in text


def test_a_drifted_day_and_a_day_with_a_decision_say_so():
    report = full_report()
    drifted = DriftDay(report.day, True, 1.4, 1.0, "spend, 28 days beyond its limit", report.fit_day)
    told = " ".join(words.summary(replace(report, drift=(*report.drift[:-1], drifted))))
    assert "drifted away" in told
    assert "beyond its limit" in told
    decision = replace(report.decisions[-1], day=report.day)
    assert "A new model was fitted today (drift); it was promoted." in words.summary(
        replace(report, decisions=(decision,))
    )


def test_the_first_day_of_a_shop_says_what_is_not_there_yet():
    text = said(render(bare_report()))
    assert "no model has been fitted yet" in text
    assert "No decision so far" in text
    assert "No drift verdicts so far" in text
    assert "No comparison with a week ago" in text
    assert "Not yet known: out-of-time validity" in text


def test_a_day_without_users_is_said():
    text = said(render(replace(bare_report(), users=0, segments=())))
    assert "nothing to segment" in text
    assert "No segments on this day." in text


def test_what_is_missing_is_listed_with_its_remedy():
    text = said(render(replace(full_report(), missing=(("drift verdict", "materialize drift_report"),))))
    assert "Not on this page" in text
    assert "materialize drift_report" in text


def test_one_day_one_segment_and_broken_numbers_make_a_page_too():
    report = full_report()
    one = replace(
        report,
        days=(report.day,),
        sizes={"value-001": (5,)},
        segments=(replace(report.segments[0], value_mean=float("nan"), jaccard=float("nan"), users_week_ago=0),),
        drift=(DriftDay(report.day, False, None, None),),
        metrics={"silhouette": float("nan")},
        series={"silhouette": (None,)},
        week_flows=(Flow("value-001", "value-001", 0),),
    )
    assert "nan" not in said(render(one)).lower().split()


def test_heat_map_rows_are_shares_of_where_users_came_from(page):
    report = full_report()
    total = sum(f.users for f in report.week_flows if f.old == "value-001")
    stay = next(f.users for f in report.week_flows if f.old == f.new == "value-001")
    assert f"{100 * stay / total:.0f} %" in said(page)
    assert f"Loyal high spenders → Loyal high spenders: {stay:,} users" in page


def test_a_retired_segment_stays_in_the_picture_of_sizes_and_in_the_lineage(page):
    assert "Bargain splurgers" in page
    assert "merged: value-003, value-004 into value-003" in said(page)


def test_colours_follow_the_number_in_the_id_and_rules_are_grey():
    found = charts.colours(["value-001", "value-004", "new"], ["new"])
    assert found == {"new": "g0", "value-001": "c0", "value-004": "c3"}
    assert charts.colours(["value-004", "value-009"], [])["value-004"] == "c3"


@pytest.mark.parametrize(
    ("name", "words_"),
    [
        ("monetary_90d", "spend, 90 days"),
        ("channel_app_share_90d", "channel app"),
        ("category:BEAUTY & CARE", "share spent on BEAUTY & CARE"),
        ("sex=F", "sex F"),
        ("loyalty_points_28d", "loyalty points, 28 days"),
        ("recency_days", "days since last purchase"),
    ],
)
def test_features_have_names_for_people(name, words_):
    assert words.feature(name) == words_


def test_a_page_costs_well_under_a_tenth_of_a_second():
    import time

    render(full_report())
    started = time.process_time()
    for _ in range(5):
        render(full_report())
    assert (time.process_time() - started) / 5 < 0.1


def test_the_index_lists_strategies_and_days_and_escapes_them():
    text = render_index([(EVIL, [("May 2024", [("2024-05-02", "segments/value/day=2024-05-02.html")])])])
    assert "script" not in Tags(text).tags
    assert 'href="segments/value/day=2024-05-02.html"' in text
    assert "No reports yet" in render_index([])
    assert dt.date(2024, 5, 2).isoformat() in text
