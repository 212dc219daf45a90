"""Days of the profile tables: ranges, order, repetition, late events, faults, and what a day reads."""

import datetime as dt

import duckdb
import pandas as pd
import pytest

from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, DamagedFileError, MissingDaysError
from seg_assets.core.settings import Settings
from seg_assets.core.tables import PROFILE_WINDOW, TABLES
from seg_assets.events.contract import RAW_EVENTS
from seg_assets.lake.store import Lake
from seg_assets.profiles import runner
from seg_assets.profiles.engine import duckdb as duckdb_engine
from seg_assets.profiles.engine.base import Days
from seg_assets.profiles.engine.days import DayBuilder
from seg_assets.profiles.engine.duckdb import DuckDBEngine, Windows
from tests.profiles.shop import LANDED, START, History, day_of, event, put_day


def hashes(lake: Lake, models, days) -> dict[tuple[str, dt.date], str]:
    return {(m, d): lake.verify(m, d).content_hash for m in models for d in days}


@pytest.fixture(scope="module")
def ranged(home, models, tmp_path_factory):
    """A short random history built as one range."""
    settings = Settings(home=home, lake=tmp_path_factory.mktemp("ranged"), start_day=START)
    lake = Lake.of(settings)
    history = History(seed=7, days=4, users=5)
    history.put(lake)
    runner.build(settings, history.days, models)
    return settings, lake, history


def test_promise_01_single_days_give_the_lake_of_one_range_whatever_the_number_of_threads(
    ranged, home, models, tmp_path
):
    _, lake, history = ranged
    settings = Settings(home=home, lake=tmp_path / "lake", start_day=START, threads=1)
    single = Lake.of(settings)
    history.put(single)
    for day in history.days:
        runner.build(settings, [day], models)
    assert hashes(single, models, history.days) == hashes(lake, models, history.days)
    footers = {(m, d): single.provenance(m, d) for m in models for d in history.days}
    assert footers == {(m, d): lake.provenance(m, d) for m in models for d in history.days}


def test_an_id_that_is_no_person_links_nobody_and_leaves_the_profiles_of_all_others(fresh, models):
    """A front end wrote "undefined" before the login: the visitors of a whole shop belonged to that user, for good."""
    lake = Lake.of(fresh)
    days = [day_of(0), day_of(1), day_of(2)]

    def view(day, number, user, visitor, second=0):
        return event(day, f"{day}-{number}", "view_item", second, user_id=user, anonymous_id=visitor)

    put_day(
        lake, days[0], [view(days[0], n, "undefined", f"c{n}") for n in range(6)] + [view(days[0], 9, "ann", "home")]
    )
    late = [view(days[1], n, f"u{n}", f"c{n}") for n in range(6)] + [view(days[1], 9, "undefined", "c9")]
    put_day(lake, days[1], late)
    put_day(lake, days[2], [view(days[2], n, None, f"c{n}") for n in range(6)] + [view(days[2], 9, None, "home")])
    runner.build(fresh, days, models)
    links = lake.read("identity_links", days[2])
    persons = links[links["user_id"].notna()].set_index("anonymous_id")["user_id"].to_dict()
    assert persons == {"home": "ann"} | {f"c{n}": f"u{n}" for n in range(6)}
    assert links[links["user_id"].isna()]["anonymous_id"].tolist() == ["undefined"]
    views = lake.read("user_profiles", days[2]).set_index("user_id")["views_all"].to_dict()
    assert views == {"undefined": 7, "ann": 2} | {f"u{n}": 2 for n in range(6)}
    # As known on the first day: nothing of what came later.
    assert set(lake.read("identity_links", days[0])["anonymous_id"]) == {"home", "undefined"}


def test_promise_02_later_events_change_nothing_of_an_earlier_day(ranged, home, models, tmp_path):
    _, lake, history = ranged
    settings = Settings(home=home, lake=tmp_path / "lake", start_day=START)
    short = Lake.of(settings)
    known, later = history.days[:2], history.days[2:]
    history.put(short, known)
    runner.build(settings, known, models)
    before = hashes(short, models, known)
    history.put(short, later)
    runner.build(settings, history.days, models)
    assert hashes(short, models, known) == before
    assert hashes(short, models, history.days) == hashes(lake, models, history.days)


def test_promise_03_a_range_built_again_is_the_same(ranged, models):
    settings, lake, history = ranged
    before = {(m, d): lake.provenance(m, d) for m in models for d in history.days}
    runner.build(settings, history.days, models)
    assert {(m, d): lake.provenance(m, d) for m in models for d in history.days} == before


def test_promise_03_a_day_that_fails_stays_as_it_was_and_finished_days_are_kept(ranged, home, models, tmp_path):
    _, _, history = ranged
    settings = Settings(home=home, lake=tmp_path / "lake", start_day=START)
    lake = Lake.of(settings)
    history.put(lake)
    runner.build(settings, history.days, models)
    before = hashes(lake, ["user_lifetime"], history.days)
    # a new first day, and a broken file in the middle
    put_day(lake, history.days[0], [event(history.days[0], "late", "purchase", user_id="late", amount=5)])
    path = lake.path("raw_events", history.days[2])
    path.write_bytes(path.read_bytes()[:-200] + b"\0" * 200)
    with pytest.raises(DamagedFileError, match="raw_events/day=2024-01-03"):
        runner.build(settings, history.days, ["user_daily_activity"])
    assert "late" in lake.read("user_daily_activity", history.days[0])["actor_id"].tolist()
    assert hashes(lake, ["user_lifetime"], history.days) == before
    assert lake.verify("user_daily_activity", history.days[2])
    assert not list((lake.root / ".staging").glob("*")), "no litter"


def test_promise_04_a_missing_day_in_the_window_is_named_and_nothing_is_written(fresh, models):
    lake = Lake.of(fresh)
    for n in range(4):
        put_day(lake, day_of(n))
    activity = ["user_daily_activity", "user_category_activity", "identity_links", "user_lifetime"]
    runner.build(fresh, [day_of(n) for n in range(4)], activity)
    lake.drop("user_daily_activity", day_of(1))
    with pytest.raises(MissingDaysError, match="user_profiles of 2024-01-04 reads user_daily_activity of 2024-01-02"):
        runner.build(fresh, [day_of(3)], ["user_category_profiles", "user_profiles"])
    assert not lake.has("user_profiles", day_of(3))


def test_a_chain_that_skips_yesterday_is_refused_by_name(fresh):
    lake = Lake.of(fresh)
    lake.publish_frame("raw_events", day_of(5), pd.DataFrame(columns=list(RAW_EVENTS)), RAW_EVENTS, inputs=LANDED)
    with pytest.raises(MissingDaysError, match="identity_links of 2024-01-06 reads identity_links of 2024-01-05"):
        runner.build(fresh, [day_of(5)], ["identity_links"])


def test_a_closed_day_is_a_published_day_without_rows(fresh, models):
    lake = Lake.of(fresh)
    put_day(lake, day_of(0))
    runner.build(fresh, [day_of(0)], models)
    assert {m: lake.verify(m, day_of(0)).rows for m in models} == dict.fromkeys(models, 0)


def test_a_day_before_the_calendar_is_refused(fresh):
    with pytest.raises(ConfigError, match="2023-12-31: before the calendar"):
        runner.build(fresh, [dt.date(2023, 12, 31)], ["user_daily_activity"])


@pytest.mark.parametrize("table", ["user_daily_activity", "identity_links", "user_lifetime", "user_profiles"])
def test_promise_10_a_day_reads_its_window_and_never_all_history(shop, table):
    """The files that the day's SQL can see are those of the catalog's windows: at most 90 of one table."""
    builder = DayBuilder(shop.lake, shop.settings.dbt_project)
    last = shop.history.days[-1]
    with shop.lake.connect() as con:
        DuckDBEngine(con, shop.lake, builder.schemas).open_day(builder.inputs(table, last))
        views = dict(con.execute("select view_name, sql from duckdb_views() where temporary").fetchall())
        read = {name: sql.count("data.parquet") for name, sql in views.items() if "read_parquet" in sql}
    wanted = {
        (f"yesterday_{i.table}" if i.window == "yesterday" else i.table): (i.days if i.window == "trailing" else 1)
        for i in TABLES[table].inputs
    }
    assert read == wanted
    assert max(read.values()) <= PROFILE_WINDOW < len(shop.history.days)


def test_promise_10_a_year_of_range_keeps_no_more_than_the_window_in_memory(shop):
    builder = DayBuilder(shop.lake, shop.settings.dbt_project)
    with shop.lake.connect() as con:
        windows = Windows(con, shop.lake, builder.schemas)
        for last in shop.history.days[88:]:
            days = [d for d in shop.history.days if 0 <= (last - d).days < 90]
            rows = windows.rows_of(Days("user_daily_activity", days))
            held = con.execute(f"select count(distinct day), min(day) from ({rows})").fetchone()
            there = {d for d in days if shop.lake.provenance("user_daily_activity", d).rows}
            assert held == (len(there), min(there))


def test_a_large_window_is_left_in_its_files(shop, monkeypatch):
    monkeypatch.setattr(duckdb_engine, "MOST_WINDOW_ROWS", 10)
    with shop.lake.connect() as con:
        windows = Windows(con, shop.lake, DayBuilder(shop.lake, shop.settings.dbt_project).schemas)
        assert windows.rows_of(Days("user_daily_activity", shop.history.days[:90])) == ""


@pytest.mark.parametrize(("most", "during"), [(200_000, 1), (0, 2)])
def test_days_of_few_rows_are_computed_in_one_thread_and_the_threads_are_given_back(shop, monkeypatch, most, during):
    monkeypatch.setattr(duckdb_engine, "ONE_THREAD_ROWS", most)
    builder = DayBuilder(shop.lake, shop.settings.dbt_project)
    with shop.lake.connect(private=True) as con:

        def threads() -> int:
            return con.execute("select current_setting('threads')").fetchone()[0]

        with DuckDBEngine(con, shop.lake, builder.schemas) as engine:
            engine.open_day(builder.inputs("user_profiles", shop.history.days[-1]))
            assert threads() == during
        assert threads() == shop.lake.threads == 2


def test_the_footer_names_what_was_read(shop):
    last = shop.history.days[-1]
    found = shop.lake.provenance("user_profiles", last)
    trailing = [shop.lake.provenance("user_daily_activity", d).content_hash for d in shop.history.days[-90:]]
    assert found.inputs["user_daily_activity:trailing-90"] == digest(trailing)
    assert found.inputs["user_lifetime:day"] == shop.lake.provenance("user_lifetime", last).content_hash
    assert set(found.inputs) == {
        "identity_links:day",
        "raw_users:day",
        "user_category_profiles:day",
        "user_daily_activity:trailing-90",
        "user_lifetime:day",
    }


def test_an_input_replaced_while_a_day_is_computed_leaves_the_day_stale_not_silently_fresh(fresh):
    lake = Lake.of(fresh)
    put_day(lake, day_of(0), [event(day_of(0), "e1", "view_item", user_id="ann")])
    builder = DayBuilder(lake, fresh.dbt_project)
    sql = "select actor_id, 1 as n from (select user_id as actor_id from raw_events)"
    with lake.connect() as con:

        class ChangedMeanwhile(DuckDBEngine):
            def stage(self, inputs, sql):
                put_day(Lake.of(fresh), day_of(0), [event(day_of(0), "e2", "view_item", user_id="bob")])
                return super().stage(inputs, sql)

        engine = ChangedMeanwhile(con, lake, builder.schemas)
        (found,) = builder.build(engine, "user_daily_activity", [day_of(0)], sql)
    now = lake.provenance("raw_events", day_of(0)).content_hash
    assert found.inputs["raw_events:day"] != now


def test_profiles_of_a_damaged_input_name_the_file(fresh):
    lake = Lake.of(fresh)
    put_day(lake, day_of(0), [event(day_of(0), "e1", "view_item", user_id="ann")])
    path = lake.path("raw_events", day_of(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 200 + whole[204:])
    with pytest.raises(DamagedFileError, match="raw_events/day=2024-01-01"):
        runner.build(fresh, [day_of(0)], ["user_daily_activity"])
    assert not lake.has("user_daily_activity", day_of(0))


def test_any_parquet_reader_reads_money_exactly(shop):
    """DuckDB writes wide integers as doubles unless they are cast: no column of ours is one."""
    for table in ("user_daily_activity", "user_lifetime"):
        path = shop.lake.path(table, shop.history.days[-1])
        kinds = dict(duckdb.sql(f"select column_name, column_type from (describe select * from '{path}')").fetchall())
        assert "DOUBLE" not in kinds.values()
        assert kinds["order_cents_squared"] == "DECIMAL(38,0)"
