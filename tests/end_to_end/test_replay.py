"""The whole chain on a simulated shop with a planted shift: the promises, end to end."""

import datetime as dt
import json
import shutil

import dagster as dg
import pytest

from seg_assets.build import build_defs
from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.loop import planner
from seg_assets.loop.replay import replay
from seg_assets.segments.decisions.store import decisions
from seg_assets.segments.strategy import load_strategies
from seg_assets.simulator import deliver_late
from tests.end_to_end.shop import BY_FILE, DAYS, SHIFT, STRATEGIES, contents, day, differences, land, run, shop


def test_every_table_has_every_day_and_every_file_holds_what_its_footer_says(ranged):
    settings, _, _ = ranged
    lake = Lake.of(settings)
    for table in TABLES.values():
        days = lake.days(table.name)
        if table.required:
            assert days == [day(n) for n in range(DAYS)], table.name
        for d in days:
            for part in lake.parts(table.name, d):
                lake.verify(table.name, d, part)


def test_coverage_is_complete_on_every_day(ranged):
    settings, _, _ = ranged
    lake = Lake.of(settings)
    with lake.connect() as con:
        for n in (0, 5, 12, DAYS - 1):
            users = con.execute(f"select count(*) from {lake.scan('user_profiles', [day(n)])}").fetchone()[0]
            rows = con.execute(
                f"select strategy, count(*), count(distinct user_id) from {lake.scan('user_segments', [day(n)])} "
                "group by strategy order by strategy"
            ).fetchall()
            assert users > 0
            assert rows == [("behaviour", users, users), ("value", users, users)]


def test_pages_of_days_after_a_re_clustering_tell_of_it(ranged):
    # The first run wrote the pages before the drift was decided on.
    settings, _, _ = ranged
    lake = Lake.of(settings)
    last = day(DAYS - 1)
    for strategy in ("value", "behaviour"):
        page = (settings.reports / "segments" / strategy / f"day={last}.html").read_text(encoding="utf-8")
        for decision in decisions(lake, strategy):
            assert decision.day.isoformat() in page, (strategy, decision.cause, decision.day)


def test_promise_07_the_planted_shift_leads_to_exactly_one_reclustering_and_the_loop_rests(ranged):
    settings, _, _ = ranged
    lake = Lake.of(settings)
    for strategy in ("value", "behaviour"):
        made = decisions(lake, strategy)
        assert made[0].cause == "bootstrap"
        assert made[0].promoted
        causes = [(d.against_model_id, d.day, d.cause) for d in made]
        assert len(causes) == len(set(causes))
    shifted = [d for s in ("value", "behaviour") for d in decisions(lake, s) if d.cause == "drift"]
    assert shifted, "the planted shift was not found"
    assert all(d.day >= day(SHIFT) for d in shifted), "a decision came before the shift"
    plan = planner.plan(lake, load_strategies(STRATEGIES), settings)
    assert plan.runs == []
    assert plan.resting_because


def test_a_second_replay_changes_nothing_and_runs_nothing(ranged):
    settings, _, _ = ranged
    before = contents(settings)
    again = run(settings, 0, DAYS - 1)
    assert again.steps == []
    assert contents(settings) == before


def test_promise_01_live_day_by_day_equals_one_range(tmp_path, landing, ranged):
    settings, _, _ = ranged
    live = shop(tmp_path, landing)
    run(live, 0, DAYS - 1, live=True)
    assert differences(contents(live), contents(settings)) == []


def test_promise_02_events_after_a_day_change_nothing_up_to_it(tmp_path, landing, ranged):
    settings, _, _ = ranged
    early = shop(tmp_path, landing)
    last = SHIFT - 2
    run(early, 0, last)
    until = {key: value for key, value in contents(settings).items() if key[1] <= day(last).isoformat()}
    assert differences(contents(early), until) == []


def test_promise_03_a_range_run_again_gives_the_same_lake(ranged):
    settings, _, instance = ranged
    before = contents(settings)
    job = build_defs(settings).resolve_job_def("daily")
    tags = {
        "dagster/asset_partition_range_start": day(8).isoformat(),
        "dagster/asset_partition_range_end": day(14).isoformat(),
    }
    assert job.execute_in_process(instance=instance, tags=tags).success
    assert differences(contents(settings), before) == []


def test_promise_04_every_line_is_accounted_for(ranged):
    settings, _, _ = ranged
    lake = Lake.of(settings)
    days = [day(n) for n in range(DAYS)]
    with lake.connect() as con:
        account = "accepted + left_out + rejected + duplicates"
        read, counted = con.execute(
            f"select sum(lines_read), sum({account}) from {lake.scan('landed_files', days)}"
        ).fetchone()
        accepted = con.execute(f"select count(*) from {lake.scan('raw_events', days)}").fetchone()[0]
    lines = sum(len(file.read_bytes().splitlines()) for file in sorted((settings.landing / "events").glob("*.jsonl")))
    assert read == counted
    assert lines >= accepted > 0
    with lake.connect() as con:
        events = con.execute(
            f"select sum(lines_read) from {lake.scan('landed_files', days)} where source_file like 'events/%'"
        ).fetchone()[0]
    assert events == lines


def test_promise_08_users_that_did_not_change_keep_their_id_across_a_reclustering(ranged):
    settings, _, _ = ranged
    lake = Lake.of(settings)
    promoted = [d for s in ("value", "behaviour") for d in decisions(lake, s) if d.promoted and d.cause == "drift"]
    if not promoted:
        pytest.skip("the gate refused every challenger of this shop")
    for decision in promoted:
        ended = {old for row in decision.lineage if row["event"] != "survive" for old in row["old_ids"]}
        moves = lake.read("segment_moves", decision.day)
        moves = moves[(moves.strategy == decision.strategy) & (moves["cause"] == "model")]
        assert set(moves["from_segment"].dropna()) <= ended | {""} or len(moves) < 0.5 * len(
            lake.read("user_profiles", decision.day, ["user_id"])
        )


def test_promise_05_late_events_lead_to_the_lake_that_on_time_events_give(tmp_path):
    config = {"days": 18, "scenario": "messy", "users": 150, "seed": 3}
    land(tmp_path / "late", **config)
    land(tmp_path / "on_time", **config, late="delivered")
    late = shop(tmp_path / "a", tmp_path / "late")
    run(late, 0, 17)
    before = contents(late)
    delivered = [n for n in range(18) if deliver_late(tmp_path / "late", day(n))]
    assert delivered, "the scenario withheld nothing"
    done = run(late, 0, 17)
    assert {s.job for s in done.steps} & {"refresh"}
    oracle = shop(tmp_path / "b", tmp_path / "on_time")
    run(oracle, 0, 17)
    assert differences(contents(late, without=BY_FILE), contents(oracle, without=BY_FILE)) == []
    # Days before the first late one are as they were.
    untouched = {k: v for k, v in before.items() if k[1] < day(min(delivered)).isoformat()}
    assert untouched.items() <= contents(late).items()


def test_promise_12_no_pickle_and_a_forged_model_is_refused(ranged, tmp_path):
    settings, _, _ = ranged
    copy = tmp_path / "lake"
    shutil.copytree(settings.lake, copy)
    assert not [p for p in copy.rglob("*") if p.suffix in (".pkl", ".pickle", ".joblib", ".npy")]
    lake = Lake(copy, settings.start_day)
    decision = decisions(lake, "value")[0]
    path = lake.path("segment_model", decision.day, "value")
    document = json.dumps(decision.model)
    data = path.read_bytes()
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    column = table.column("model").to_pylist()
    forged = [text.replace('"value-001"', '"value-666"', 1) for text in column]
    assert forged != column, document[:200]
    index = table.schema.get_field_index("model")
    import pyarrow as pa

    pq.write_table(
        table.set_column(index, "model", pa.array(forged)).replace_schema_metadata(pq.read_metadata(path).metadata),
        path,
    )
    assert path.read_bytes() != data
    from seg_assets.core.errors import DamagedFileError

    with pytest.raises(DamagedFileError, match="value"):
        decisions(Lake(copy, settings.start_day), "value")


def test_a_day_outside_the_calendar_is_refused_before_anything_runs(tmp_path, landing):
    from seg_assets.core.errors import ConfigError

    settings = shop(tmp_path, landing)
    with pytest.raises(ConfigError, match="outside the calendar"):
        replay(settings, dt.date(2023, 12, 31), day(3), build=build_defs, instance=dg.DagsterInstance.ephemeral())
    assert not settings.lake.exists()
