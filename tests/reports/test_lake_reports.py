import datetime as dt

import dagster as dg
import pandas as pd
import pytest

from seg_assets.cli import main
from seg_assets.core.settings import Settings
from seg_assets.evaluation.validity_lake import SCHEMA as VALIDITY
from seg_assets.lake.files import write_text
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from seg_assets.orchestration.tags import of_range
from seg_assets.reports import assets
from seg_assets.reports.contents import Flow
from seg_assets.reports.gather import build_report
from seg_assets.reports.history import load_history
from seg_assets.reports.page import render
from seg_assets.reports.summary import summarize
from seg_assets.reports.write import index_path, page_path, pages, write_index
from tests.evaluation.small_shop import START
from tests.evaluation.test_assets import STRATEGY
from tests.reports.report_lake import NAMES, publish_day, publish_sizes, small_history

ONE = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("my shop")
    lake, who, last = small_history(home / "lake")
    (home / "strategies").mkdir()
    (home / "strategies" / "value.yaml").write_text(STRATEGY)
    settings = Settings(home=home, start_day=START, end_day=last, strategies=home / "strategies")
    return settings, lake, who, last


def report_of(lake, who, day, first=None):
    return build_report(load_history(lake, [who.name], first or day, day), who, day)


def test_a_report_says_what_the_tables_of_the_day_say(built):
    _, lake, who, last = built
    report = report_of(lake, who, last)
    top = report.segments[0]
    assert (report.users, len(report.segments), report.fit_day) == (114, 4, START)
    assert {s.segment_id: s.users for s in report.segments} == {
        "value-001": 39,
        "value-002": 50,
        "value-003": 20,
        "value-new": 5,
    }
    by_id = {s.segment_id: s for s in report.segments}
    assert by_id["value-001"].users_week_ago == 32
    assert by_id["value-001"].value_mean == pytest.approx(10)
    assert [a.feature for a in top.apart] == ["monetary_90d", "views_90d"]
    assert by_id["value-new"].apart == ()
    assert report.days == tuple(START + ONE * n for n in range(10))
    assert report.sizes["value-001"] == tuple(range(30, 40))
    assert report.day_flows == (Flow("value-001", "value-001", 29), Flow("value-001", "value-002", 1))
    assert report.week_flows == (Flow("value-001", "value-003", 4),)
    assert report.verdict.drifted
    assert report.verdict.score == pytest.approx(1.2)
    assert report.real is True
    assert "flip_back_share" not in report.metrics
    assert f"seg-assets drift html --strategy value --day {last}" in render(report)


def test_the_reason_of_a_flow_is_what_most_of_its_users_were_moved_by(built):
    _, lake, who, last = built
    (reason,) = report_of(lake, who, last).reasons
    assert (reason.users, reason.reason) == (3, "mostly spend, 90 days")
    assert reason.model_share == pytest.approx(1 / 3)


def test_promise_02_a_page_of_a_day_does_not_change_when_later_days_come(tmp_path):
    lake, who, last = small_history(tmp_path / "lake")
    earlier = last - ONE * 3
    before = render(report_of(lake, who, earlier))
    publish_day(lake, last, {"value-001": 999}, drifted=True)
    publish_day(lake, last + ONE, {"value-001": 5})
    assert render(report_of(lake, who, earlier)) == before
    # The same page as a slice of a longer run.
    whole = load_history(lake, ["value"], earlier - ONE, last)
    assert render(build_report(whole, who, earlier)) == before


def test_validity_is_shown_beside_baselines_also_when_we_lose(tmp_path):
    lake, who, last = small_history(tmp_path / "lake")
    rows = [
        ("value", "value", 5, "spend", "r2_crossfit", 0.41, 0.38, 0.44),
        ("value", "rfm_total", 5, "spend", "r2_crossfit", 0.52, 0.49, 0.55),
        ("value", "bg_nbd", 0, "spend", "r2_crossfit", None, None, None),
        ("value", "value", 5, "lapse", "auc", 0.8, None, None),
    ]
    lake.publish_frame("segment_validity", last, pd.DataFrame(rows, columns=list(VALIDITY)), VALIDITY)
    report = report_of(lake, who, last)
    assert {(v.predictor, v.value, v.ours) for v in report.validity} == {
        ("Customer value", 0.41, True),
        ("RFM score", 0.52, False),
        ("Customer value", 0.8, True),
    }
    text = render(report)
    assert text.index("RFM score (5 groups)") < text.index("Customer value (5 groups)")
    assert "BG/NBD forecast, per user: not computed" in text
    assert "nothing to measure" not in text


def test_what_nobody_differs_in_is_said_and_not_drawn(tmp_path):
    lake, who, last = small_history(tmp_path / "lake")
    rows = [
        ("value", "value", 5, "spend", "r2_crossfit", 0.41, 0.38, 0.44),
        *(("value", name, 5, "category_mix", "explained", None, None, None) for name in ("value", "rfm_total")),
    ]
    lake.publish_frame("segment_validity", last, pd.DataFrame(rows, columns=list(VALIDITY)), VALIDITY)
    text = render(report_of(lake, who, last))
    assert "category mix: nothing to measure" in text
    assert "category mix explained" not in text
    assert "Not yet known" not in text


def test_missing_tables_are_said_with_the_remedy_and_the_rest_is_shown(tmp_path):
    lake, who, last = small_history(tmp_path / "lake")
    for table in ("segment_moves", "segment_evaluation", "drift_report"):
        lake.drop(table, last)
    report = report_of(lake, who, last)
    assert {what for what, _ in report.missing} >= {
        "reasons of moves",
        "drift verdict",
        "evaluation, moves and stability",
    }
    text = render(report)
    assert f"drift_report of {last} was never materialized" in text
    assert "Big spenders" in text


def test_a_gap_of_days_and_a_retired_segment_do_not_break_a_page(tmp_path):
    lake, who, last = small_history(tmp_path / "lake")
    lake.drop("segment_profiles", last - ONE * 4)
    publish_day(lake, last, {"value-001": 10, "value-003": 5})
    report = report_of(lake, who, last)
    assert len(report.days) == 9
    assert report.sizes["value-002"][-1] == 0
    assert report.names["value-002"] == "Browsers"
    assert "Browsers" in render(report)


def test_a_quarter_of_history_is_shown_and_no_more(tmp_path):
    lake, who, last = small_history(tmp_path / "lake", days=1)
    for n in range(1, 93):
        publish_sizes(lake, last + ONE * n, {"value-001": n})
    assert len(report_of(lake, who, last + ONE * 92).days) == 90


def materialize(settings, first, last=None):
    tags = of_range(first, last)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            assets.build_assets(settings, daily_partitions(settings)),
            instance=instance,
            resources={"shop": ShopResource(environment=settings.environment())},
            raise_on_error=False,
            **({"tags": tags} if last else {"partition_key": str(first)}),
        )
        events = instance.fetch_materializations(dg.AssetKey(assets.KEY), limit=100).records
        return result, {r.partition_key: r.asset_materialization.metadata for r in events}


def test_a_range_writes_the_pages_of_every_day_and_an_index_and_links_them_from_the_ui(built):
    settings, _, _, last = built
    result, metadata = materialize(settings, START, last)
    assert result.success
    assert pages(settings) == {"value": [last - ONE * n for n in range(10)]}
    index = index_path(settings).read_text()
    assert f'href="segments/value/day={last}.html"' in index
    path = metadata[str(last)]["value_page"].value
    assert path == str(page_path(settings, "value", last))
    assert "file://" in metadata[str(last)]["value_link"].value
    assert "| value | 114 | 3 | Browsers (44 %) | yes | yes | 2.0 % |" in metadata[str(last)]["overview"].value
    ranged = page_path(settings, "value", last).read_bytes()
    assert materialize(settings, last)[0].success
    assert page_path(settings, "value", last).read_bytes() == ranged


def test_a_day_without_segments_fails_and_names_the_day(built):
    settings, _, _, last = built
    later = settings.model_copy(update={"end_day": last + ONE})
    result, _ = materialize(later, last + ONE)
    assert not result.success
    assert str(last + ONE) in str(result.get_step_failure_events()[0].event_specific_data.error)


def test_promise_03_a_kill_while_writing_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "segments" / "value" / "day=2024-01-01.html"
    write_text(path, "old")
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_leftovers_of_a_killed_write_are_no_pages(tmp_path):
    settings = Settings(home=tmp_path)
    write_text(page_path(settings, "value", START), "page")
    (page_path(settings, "value", START).parent / ".day=2024-01-02.html.abc.tmp").write_text("half")
    write_index(settings, {"value": "Value"})
    assert "2024-01-02" not in index_path(settings).read_text()


def test_the_report_command_writes_a_page_and_prints_where(built, monkeypatch, capsys, tmp_path):
    settings, _, _, last = built
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["report", "--strategy", "value", "--day", str(last)]) == 0
    assert capsys.readouterr().out.strip() == str(page_path(settings, "value", last))
    target = tmp_path / "a page.html"
    assert main(["report", "--strategy", "value", "--day", str(last), "--open", str(target)]) == 0
    assert target.read_text() == page_path(settings, "value", last).read_text()
    assert opened == [target.as_uri()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategy", "valeu", "--day", "2024-01-03"], "did you mean 'value'"),
        (["--strategy", "value", "--day", "2031-01-01"], "outside the calendar"),
        (["--strategy", "value", "--day", "yesterday"], "YYYY-MM-DD"),
    ],
)
def test_the_report_command_says_what_is_wrong(built, monkeypatch, capsys, arguments, said):
    settings, *_ = built
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["report", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_summary_tells_days_users_segments_drift_decisions_and_where_the_pages_are(built):
    settings, _, who, last = built
    text = summarize(Lake.of(settings), {"value": who}, settings, last)
    for words in (
        f"10 with segments: {START} .. {last}",
        "114 known",
        "Big spenders",
        "much higher spend, 90 days",
        f"drifted on {last}",
        "first model",
        "promoted",
        str(index_path(settings)),
        str(page_path(settings, "value", last)),
    ):
        assert words in text
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 140


def test_the_summary_of_an_empty_lake_says_what_to_do(tmp_path):
    settings = Settings(home=tmp_path)
    assert "seg-assets replay" in summarize(Lake.of(settings), {}, settings, START)


def test_a_hostile_name_in_the_lake_does_not_break_the_summary_or_the_page(tmp_path):
    lake, who, last = small_history(tmp_path / "lake")
    evil = 'x"\n<b>|' + "y" * 80
    publish_day(lake, last, {"value-001": 10}, names={**NAMES, "value-001": evil})
    settings = Settings(home=tmp_path, start_day=START)
    assert "\n<b>" not in summarize(lake, {"value": who}, settings, last)
    assert "<b>|" not in render(report_of(lake, who, last))
    overview = assets.overview([report_of(lake, who, last)])
    assert len(overview.splitlines()) == 3
