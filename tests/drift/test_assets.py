"""`drift_report` as Dagster runs it: one day, a range, checks per day, reports, and rows that are kept."""

import dataclasses
from pathlib import Path

import dagster as dg
import pytest
import yaml

from seg_assets.core.days import day_range
from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.core.tables import TABLES
from seg_assets.drift import daily
from seg_assets.drift.assets import MATCHES, build_assets
from seg_assets.drift.cli import html, show
from seg_assets.drift.daily import (
    leave_latest_pages,
    page_path,
    publish_day,
    read_rows,
    render_html,
    snapshot_path,
)
from seg_assets.drift.evidently_report import read_snapshot, scores_of
from seg_assets.drift.verdict import SCHEMA
from seg_assets.lake.store import Lake
from seg_assets.orchestration.assets import ShopResource
from seg_assets.orchestration.partitions import daily_partitions
from tests.drift.small_shop import SPEC, Shop, day, decide_order, strategy

SHIFT, LAST = 6, 8
RANGE = {
    "dagster/asset_partition_range_start": day(0).isoformat(),
    "dagster/asset_partition_range_end": day(LAST).isoformat(),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A shop whose drift_report of days 0..8 was made by one ranged run."""
    home = tmp_path_factory.mktemp("a home")
    shop = Shop(home, shift=SHIFT)
    shop.land(day_range(day(0), day(LAST)))
    for table in decide_order()[: decide_order().index("segment_model") + 1]:
        for d in day_range(day(0), day(LAST)):
            shop.make(table, d)
    (home / "strategies").mkdir()
    (home / "strategies" / "value.yaml").write_text(yaml.safe_dump(SPEC))
    shop.settings = shop.settings.model_copy(update={"strategies": home / "strategies"})
    (asset,) = build_assets(shop.settings, daily_partitions(shop.settings))
    instance = dg.DagsterInstance.ephemeral()
    result = dg.materialize(
        [asset],
        instance=instance,
        resources={"shop": ShopResource(environment=shop.settings.environment())},
        tags=RANGE,
    )
    return shop, instance, result


def test_a_range_is_one_run_with_numbers_and_a_check_status_for_each_day(ran):
    _, instance, result = ran
    assert result.success
    records = instance.fetch_materializations(dg.AssetKey("drift_report"), limit=50).records
    by_day = {r.partition_key: r.asset_materialization.metadata for r in records}
    assert set(by_day) == {d.isoformat() for d in day_range(day(0), day(LAST))}
    assert by_day[day(5).isoformat()]["value_top_score_of_limit"].value < 1
    assert by_day[day(7).isoformat()]["value_top_score_of_limit"].value > 1
    assert by_day[day(7).isoformat()]["reclusterings_due"].value == 1
    asked = "seg-assets drift html --strategy value --day 2024-01-08"
    assert by_day[day(7).isoformat()]["value_report"].value == asked
    assert "value_report" not in by_day[day(5).isoformat()], "a day that is not flagged"
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("drift_report"), MATCHES), limit=50
    )
    evaluated = [(c.partition, c.event.dagster_event.event_specific_data) for c in checks if c.partition]
    passed = {d: e.passed for d, e in evaluated if isinstance(e, dg.AssetCheckEvaluation)}
    assert passed == {d.isoformat(): d < day(7) for d in day_range(day(0), day(LAST))}


def test_evidentlys_snapshot_is_stored_each_day_and_the_page_of_the_latest_flagged_day_stands_ready(ran):
    shop, _, _ = ran
    compared = day_range(day(5), day(LAST))
    for d in compared:
        stored = scores_of(read_snapshot(snapshot_path(shop.settings, "value", d)))
        (row,) = read_rows(shop.lake, d)
        assert stored == {c["column"]: (c["score"], c["drifted"]) for c in row["columns"]}
    assert [row["flagged"] for d in compared for row in read_rows(shop.lake, d)] == [False, True, True, True]
    assert with_page(shop) == [day(8)]
    assert "Drift in column" in page_path(shop.settings, "value", day(8)).read_text(encoding="utf-8")


def with_page(shop) -> list:
    return [d for d in day_range(day(0), day(LAST)) if page_path(shop.settings, "value", d).exists()]


def test_days_made_again_in_any_order_leave_the_page_of_the_latest_flagged_day(ran):
    shop, _, _ = ran
    page = page_path(shop.settings, "value", day(8))
    before = page.stat()
    for n in (6, 5, 7):
        leave_latest_pages(shop.lake, shop.settings, [publish_day(shop.lake, shop.strategies, shop.settings, day(n))])
        assert with_page(shop) == [day(8)]
    assert page.stat() == before, "nothing was judged anew, so nothing was drawn"


def test_the_flagged_day_before_gets_its_page_when_the_latest_is_no_longer_flagged(ran):
    shop, _, _ = ran
    made = publish_day(shop.lake, shop.strategies, shop.settings, day(8))
    calm = dataclasses.replace(made, rows=[{**row, "flagged": False} for row in made.rows])
    leave_latest_pages(shop.lake, shop.settings, [calm])
    assert with_page(shop) == [day(7)]
    leave_latest_pages(shop.lake, shop.settings, [made])
    assert with_page(shop) == [day(8)]


def test_the_row_has_the_stated_schema_and_provenance(ran):
    shop, _, _ = ran
    with shop.lake.connect() as con:
        described = con.execute(f"describe select * exclude (day) from {shop.lake.scan('drift_report', [day(7)])}")
        kinds = {row[0]: row[1] for row in described.fetchall()}
    assert list(kinds) == list(SCHEMA)
    assert {k: v.replace('"', "") for k, v in kinds.items()} == {k: v.replace('"', "") for k, v in SCHEMA.items()}
    inputs = shop.lake.provenance("drift_report", day(7)).inputs
    assert {"segment_model:baseline", "drift_report:yesterday", "user_profiles:day", "strategies"} <= set(inputs)
    assert TABLES["drift_report"].key == ("strategy",)


def test_a_page_of_a_day_that_was_not_flagged_is_made_on_request(ran, monkeypatch, capsys):
    shop, _, _ = ran
    for name, value in shop.settings.environment().items():
        monkeypatch.setenv(name, value)

    def run(command, words):
        return command.main(words.split(), standalone_mode=False)

    assert run(html, "--strategy value --day 2024-01-06") == 0
    (page,) = capsys.readouterr().out.split("\n")[:-1]
    assert page.endswith("on_request/day=2024-01-06.html")
    assert "Drift in column" in Path(page).read_text(encoding="utf-8")
    assert with_page(shop) == [day(8)], "a page that was asked for is no latest flagged day"
    ready = page_path(shop.settings, "value", day(8))
    assert render_html(shop.lake, strategy(), shop.settings, day(8)) == ready
    assert run(show, "--day 2024-01-08") == 0
    assert "re-clustering due (drift)" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="valeu"):
        run(html, "--strategy valeu --day 2024-01-06")


def test_a_day_before_the_first_fit_has_no_page_and_says_so(ran):
    shop, _, _ = ran
    with pytest.raises(ConfigError, match=r"no column was compared on this day.*no model yet"):
        render_html(shop.lake, strategy(), shop.settings, day(3))
    with pytest.raises(MissingDaysError, match="drift_report"):
        render_html(shop.lake, strategy(), shop.settings, day(LAST + 1))


def test_promise_03_making_a_day_again_changes_nothing_and_compares_nothing(ran, monkeypatch):
    shop, _, _ = ran
    before = shop.lake.provenance("drift_report", day(7))
    monkeypatch.setattr(daily, "judge_day", lambda *a, **k: pytest.fail("nothing changed, so nothing is compared"))
    made = publish_day(shop.lake, shop.strategies, shop.settings, day(7))
    assert (made.reused, made.provenance.content_hash) == (1, before.content_hash)


def test_a_row_is_made_anew_when_the_report_is_gone_or_the_file_was_tampered_with(ran):
    shop, _, _ = ran
    before = shop.lake.provenance("drift_report", day(7)).content_hash
    snapshot_path(shop.settings, "value", day(7)).unlink()
    with pytest.raises(ConfigError, match="is gone; materialize drift_report of 2024-01-08 again"):
        render_html(shop.lake, strategy(), shop.settings, day(7))
    assert publish_day(shop.lake, shop.strategies, shop.settings, day(7)).reused == 0
    path = shop.lake.path("drift_report", day(7))
    path.write_bytes(path.read_bytes()[:-200])
    fresh = Lake.of(shop.settings)
    made = publish_day(fresh, shop.strategies, shop.settings, day(7))
    assert (made.reused, made.provenance.content_hash) == (0, before)


def test_promise_04_a_day_whose_yesterday_was_never_judged_is_an_error_that_names_it(ran, tmp_path):
    shop, _, _ = ran
    assert read_rows(shop.lake, day(7))
    lonely = Shop(tmp_path)
    lonely.land(day_range(day(0), day(2)))
    for table in decide_order()[: decide_order().index("segment_model")]:
        for d in day_range(day(0), day(2)):
            lonely.make(table, d)
    with pytest.raises(MissingDaysError, match="drift_report of 2024-01-02"):
        publish_day(lonely.lake, lonely.strategies, lonely.settings, day(2))
