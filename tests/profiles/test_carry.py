"""A day that takes over yesterday's rows is the day that is computed from its inputs alone."""

import datetime as dt
import re
import shutil
from dataclasses import replace

import pytest

from seg_assets.core.tables import TABLES
from seg_assets.lake.store import Lake
from seg_assets.profiles import runner
from seg_assets.profiles.engine.days import SQL_KEY, DayBuilder
from seg_assets.profiles.schema import ModelColumn
from tests.profiles.shop import History, day_of, event, put_day, settings_of

PROFILES = ["user_category_profiles", "user_profiles"]


def never(self, table, day, made_by) -> bool:
    return False


@pytest.fixture
def counted(monkeypatch):
    """Table and day of each day that was built, and whether it took over yesterday's rows."""
    carried: dict[tuple[str, dt.date], bool] = {}
    original = DayBuilder.carries

    def carries(self, table, day, made_by):
        carried[table, day] = original(self, table, day, made_by)
        return carried[table, day]

    monkeypatch.setattr(DayBuilder, "carries", carries)
    return carried


@pytest.mark.parametrize("span", [(5, 10), (26, 31), (88, 93)])
def test_promise_01_days_that_carry_rows_equal_days_computed_alone_at_the_edges_of_every_window(
    shop, home, tmp_path, monkeypatch, counted, span
):
    days = shop.history.days[slice(*span)]
    hashes = []
    for name in ("carried", "alone"):
        settings = settings_of(home, lake=tmp_path / name)
        shutil.copytree(shop.lake.root, settings.lake)
        lake = Lake.of(settings)
        for table in PROFILES:
            for day in days:
                lake.drop(table, day)
        if name == "alone":
            monkeypatch.setattr(DayBuilder, "carries", never)
        runner.build(settings, days, PROFILES)
        hashes.append({(t, d): lake.verify(t, d).content_hash for t in PROFILES for d in days})
    assert hashes[0] == hashes[1]
    # all but the first day of the span took over rows
    assert all(counted[t, d] for t in PROFILES for d in days[1:])


@pytest.mark.parametrize("seed", [12, 13])
def test_promise_01_visitors_who_become_known_late_are_computed_anew(home, models, tmp_path, monkeypatch, seed):
    history = History(seed=seed, days=12, users=6, events_a_day=12)
    hashes = []
    for name in ("carried", "alone"):
        settings = settings_of(home, lake=tmp_path / name)
        lake = Lake.of(settings)
        history.put(lake)
        if name == "alone":
            monkeypatch.setattr(DayBuilder, "carries", never)
        # in two runs: rows are taken over from days that another run wrote, too
        for span in (slice(0, 6), slice(6, 12)):
            runner.build(settings, history.days[span], models)
        hashes.append({(t, d): lake.verify(t, d).content_hash for t in models for d in history.days})
    assert hashes[0] == hashes[1]


@pytest.fixture
def built(fresh, models):
    """A lake of four days, all tables of profiles."""
    lake = Lake.of(fresh)
    history = History(seed=5, days=4, users=5)
    history.put(lake)
    runner.build(fresh, history.days, models)
    return fresh, lake, history


def asks(settings, table="user_profiles", n=3) -> bool:
    """Whether day n of the table may take over rows, asked by a fresh process' lake."""
    lake = Lake.of(settings)
    published = lake.provenance(table, day_of(n))
    made_by = published.extra[SQL_KEY] if published else ""
    return DayBuilder(lake, settings.dbt_project).carries(table, day_of(n), made_by)


@pytest.mark.parametrize("table", PROFILES)
def test_the_first_day_and_a_day_after_a_gap_carry_nothing(built, table):
    settings, lake, _ = built
    assert asks(settings, table)
    assert not asks(settings, table, 0)
    lake.drop(table, day_of(2))
    assert not asks(settings, table)


@pytest.mark.parametrize("table", PROFILES)
def test_other_sql_carries_nothing(built, table):
    settings, lake, _ = built
    assert not DayBuilder(lake, settings.dbt_project).carries(table, day_of(3), "another")


@pytest.mark.parametrize("table", PROFILES)
@pytest.mark.parametrize(("column", "carries"), [((14,), False), ((None,), False), ((28, 90), None), (("all",), True)])
def test_a_window_that_has_no_edge_or_is_not_declared_carries_nothing(built, table, column, carries):
    """Somebody adds a column over 14 days to the SQL and its YAML: rows of yesterday would lose its edge.

    A column that merely sounds like a window, and says that it is none, changes nothing.
    """
    settings, lake, _ = built
    builder = DayBuilder(lake, settings.dbt_project)
    made_by = lake.provenance(table, day_of(3)).extra[SQL_KEY]
    assert builder.carries(table, day_of(3), made_by)
    doc = builder.docs[table]
    more = tuple(ModelColumn(f"views_14d_{n}", "BIGINT", "", window) for n, window in enumerate(column))
    builder.docs = {**builder.docs, table: replace(doc, columns=doc.columns + more)}
    covered = {28, 90} <= {age for ages in TABLES[table].edges.values() for age in ages}
    assert builder.carries(table, day_of(3), made_by) == (covered if carries is None else carries)


def test_every_column_of_a_table_that_carries_says_its_window_and_its_description_agrees(built):
    settings, lake, _ = built
    for table in PROFILES:
        for column in DayBuilder(lake, settings.dbt_project).docs[table].columns:
            assert column.window_days is not None, column.name
            described = re.findall(r"last (\d+) days", column.description)
            assert described in ([], [str(column.window_days)]), column.name
            named = re.findall(r"_(\d+)d$", column.name)
            assert named in ([], [str(column.window_days)]), column.name


@pytest.mark.parametrize("remade", [["user_daily_activity", "user_category_activity"], ["user_lifetime"], []])
def test_promise_05_a_yesterday_made_from_other_inputs_carries_nothing(built, models, remade):
    """A late event of day 1: whatever part of the chain was made anew, rows of a stale yesterday are not taken over."""
    settings, lake, history = built
    late = event(day_of(1), "late", "purchase", user_id="u1", amount=5, product_id="p1")
    put_day(lake, day_of(1), [e for e in history.events if e["day"] == day_of(1)] + [late])
    order = ["user_daily_activity", "user_category_activity", "identity_links", "user_lifetime"]
    runner.build(settings, [day_of(1)], order)
    if remade:
        runner.build(settings, [day_of(2), day_of(3)], remade)
    assert not asks(settings, "user_category_profiles")
    assert not asks(settings, "user_profiles")
    runner.build(settings, history.days[1:], models)
    assert asks(settings, "user_category_profiles")
    assert asks(settings, "user_profiles")


def test_a_lifetime_that_rests_on_another_yesterday_carries_nothing(built):
    settings, lake, _ = built
    with lake.connect() as con:
        rows = f"select * exclude (day) replace (views + 1 as views) from {lake.scan('user_lifetime', [day_of(2)])}"
        lake.publish(con, "user_lifetime", day_of(2), rows)
    assert not asks(settings)


def test_promise_03_a_damaged_edge_that_is_no_input_does_not_stop_today(shop, home, tmp_path):
    """The day that left the longest window is read for the edge only."""
    settings = settings_of(home, lake=tmp_path / "lake")
    shutil.copytree(shop.lake.root, settings.lake)
    lake, day = Lake.of(settings), shop.history.days[90]
    wanted = {table: lake.provenance(table, day) for table in PROFILES}
    path = lake.path("user_category_activity", shop.history.days[0])
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1
    path.write_bytes(whole)
    runner.build(settings, [day], PROFILES)
    assert {table: lake.provenance(table, day) for table in PROFILES} == wanted


@pytest.mark.parametrize("table", PROFILES)
def test_promise_03_a_damaged_yesterday_is_not_taken_over_and_does_not_stop_today(built, table):
    settings, lake, _ = built
    wanted = lake.provenance(table, day_of(3))
    path = lake.path(table, day_of(2))
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1
    path.write_bytes(whole)
    assert not asks(settings, table)
    lake.drop(table, day_of(3))
    runner.build(settings, [day_of(3)], [table])
    assert lake.verify(table, day_of(3)) == wanted
