"""The week's moves on the page: intervals, flows that other weeks do not explain, and the value at risk."""

import datetime as dt

import pandas as pd
import pytest

from seg_assets.reports.gather import build_report
from seg_assets.reports.history import load_history
from seg_assets.reports.page import render
from seg_assets.segments.daily.assign import SCHEMA as SEGMENTS
from tests.evaluation.small_shop import START, bare_lake, fit_champion, profiles, publish_profiles, strategy
from tests.reports.report_lake import publish_day

LAST = START + dt.timedelta(days=35)
SIZES = {"value-001": 400, "value-002": 500}


def flows(moved):
    return [
        (7, "value-001", "value-001", 400 - moved),
        (7, "value-001", "value-002", moved),
        (7, "value-002", "value-002", 500),
    ]


def publish_users(lake, day, segments):
    rows = [
        {**dict.fromkeys(SEGMENTS), "strategy": "value", "user_id": u, "segment_id": s, "kind": "cluster"}
        for u, s in segments.items()
    ]
    lake.publish_frame("user_segments", day, pd.DataFrame(rows), SEGMENTS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Five weeks in which 8 of 400 leave the big spenders, then one in which 80 do; three users are known by name."""
    lake, who = bare_lake(tmp_path_factory.mktemp("lake")), strategy()
    publish_profiles(lake, START, profiles(120))
    fit_champion(lake, who, START)
    for n in range(7, 36, 7):
        publish_day(lake, START + dt.timedelta(days=n), SIZES, flows=flows(80 if n == 35 else 8))
    before = LAST - dt.timedelta(days=7)
    users = profiles(3).assign(monetary_90d=[900.0, 500.0, 100.0])
    publish_profiles(lake, before, users)
    a, b, c = users["user_id"]
    publish_users(lake, before, {a: "value-001", b: "value-001", c: "value-002"})
    publish_users(lake, LAST, {a: "value-001", b: "value-002", c: "value-002"})
    return lake, who


def report_of(shop, day):
    lake, who = shop
    return build_report(load_history(lake, ["value"], day, day), who, day)


def test_a_flow_that_the_weeks_before_do_not_explain_is_framed_and_listed_with_its_interval(shop):
    report = report_of(shop, LAST)
    assert report.week.windows == 4
    flow = next(u for u in report.week.unusual if (u.old, u.new) == ("value-001", "value-002"))
    assert (flow.users, flow.share, flow.expected) == (80, 0.2, 0.02)
    assert flow.low < 0.2 < flow.high
    assert flow.excess == pytest.approx(72)
    page = render(report)
    assert "Unusual flows" in page
    assert "; unusual" in page
    assert "95 % interval 16.4 % to 24.2 %; earlier weeks 2.0 %" in page


def test_a_week_like_the_others_has_intervals_and_no_frame(shop):
    report = report_of(shop, LAST - dt.timedelta(days=7))
    assert report.week.unusual == ()
    page = render(report)
    assert "No flow is unusual beside the 3 weeks before" in page
    assert "95 % interval" in page
    assert " odd" not in page.split("</style>")[1]


def test_the_first_week_says_that_nothing_can_be_called_unusual(shop):
    assert "fewer than two earlier weeks" in render(report_of(shop, START + dt.timedelta(days=7)))


def test_the_value_at_risk_is_the_spend_of_those_who_went_to_a_lower_segment(shop):
    report = report_of(shop, LAST)
    # value-001 spent 700 a head, value-002 100: the user with 500 went down.
    assert (report.week.at_risk, report.week.spend) == (500.0, 1500.0)
    assert "Value at risk: 500" in render(report)
    assert report_of(shop, LAST - dt.timedelta(days=7)).week.at_risk is None
