"""The lake: days are replaced whole, know what they hold, and what they were built from."""

import datetime as dt
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor

import duckdb
import pandas as pd
import pytest

from seg_assets.core.errors import ConfigError, DamagedFileError, MissingDaysError
from seg_assets.core.sql import identifier
from seg_assets.core.table_spec import Input
from seg_assets.core.tables import TABLES
from seg_assets.lake import publish
from seg_assets.lake.provenance import NONE, Provenance
from seg_assets.lake.store import Lake

D1 = dt.date(2024, 1, 1)
D2 = dt.date(2024, 1, 2)
SCHEMA = {"actor_id": "VARCHAR", "orders": "BIGINT", "spend": "DECIMAL(18,2)"}
TABLE = "user_daily_activity"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "a lake's folder", D1)


@pytest.fixture
def standalone(monkeypatch):
    """The activity table without inputs, so that these tests need no other table."""
    import dataclasses

    monkeypatch.setitem(TABLES, TABLE, dataclasses.replace(TABLES[TABLE], inputs=()))


def frame(n=3, start=0, spend="1.10"):
    ids = [f"u{i:05d}" for i in range(start, start + n)]
    return pd.DataFrame({"actor_id": ids, "orders": range(n), "spend": [spend] * n})


@pytest.mark.usefixtures("standalone")
def test_a_day_reads_back_as_written_with_its_types(lake):
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    back = lake.read(TABLE, D1)
    assert list(back.actor_id) == ["u00000", "u00001", "u00002"]
    with lake.connect() as con:
        kinds = con.execute(f"describe select * from {lake.scan(TABLE, [D1])}").fetchall()
    assert {row[0]: row[1] for row in kinds} == {**SCHEMA, "day": "DATE"}


@pytest.mark.usefixtures("standalone")
def test_rows_are_ordered_by_key_and_the_hash_ignores_the_order_they_came_in(lake):
    first = lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    again = lake.publish_frame(TABLE, D1, frame()[::-1], SCHEMA)
    assert list(lake.read(TABLE, D1).actor_id) == ["u00000", "u00001", "u00002"]
    assert first.content_hash == again.content_hash


@pytest.mark.usefixtures("standalone")
@pytest.mark.parametrize(
    "changed",
    [frame(2), frame(spend="1.11"), pd.concat([frame(), frame(1)]), frame(start=1)],
    ids=["row gone", "value changed", "row doubled", "other keys"],
)
def test_the_hash_tells_any_change_of_content(lake, changed):
    first = lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    assert lake.publish_frame(TABLE, D1, changed, SCHEMA).content_hash != first.content_hash


@pytest.mark.usefixtures("standalone")
def test_the_hash_does_not_depend_on_threads(tmp_path):
    hashes = {
        Lake(tmp_path / str(n), D1, threads=n).publish_frame(TABLE, D1, frame(30_000), SCHEMA).content_hash
        for n in (1, 2, 7)
    }
    assert len(hashes) == 1


@pytest.mark.usefixtures("standalone")
def test_an_empty_day_is_a_valid_typed_file(lake):
    assert lake.publish_frame(TABLE, D1, frame(0), SCHEMA).rows == 0
    assert lake.has(TABLE, D1)
    assert len(lake.read(TABLE, D1)) == 0
    lake.verify(TABLE, D1)


@pytest.mark.usefixtures("standalone")
def test_promise_03_a_failed_write_leaves_the_old_day_and_no_stray_file(lake, monkeypatch):
    old = lake.publish_frame(TABLE, D1, frame(), SCHEMA)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "rename_into_place", full)
    with pytest.raises(OSError, match="No space left"):
        lake.publish_frame(TABLE, D1, frame(5), SCHEMA)
    monkeypatch.undo()
    assert lake.verify(TABLE, D1).content_hash == old.content_hash
    assert list((lake.root / ".staging").iterdir()) == []


FULL = """
    import dataclasses, datetime as dt, resource, signal, sys
    from pathlib import Path
    import pandas as pd
    from seg_assets.lake import store as lm
    from seg_assets.core.errors import LakeWriteError
    lm.TABLES["user_daily_activity"] = dataclasses.replace(lm.TABLES["user_daily_activity"], inputs=())
    lake = lm.Lake(Path(sys.argv[1]), dt.date(2024, 1, 1))
    # The kernel refuses to let any file grow beyond 4 kB, as a full disk would.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    ids = [f"user {i * 7919 % 100003}" for i in range(20000)]
    frame = pd.DataFrame({"actor_id": ids, "orders": range(20000), "spend": ["1.10"] * 20000})
    try:
        lake.publish_frame("user_daily_activity", dt.date(2024, 1, 1), frame,
                           {"actor_id": "VARCHAR", "orders": "BIGINT", "spend": "DECIMAL(18,2)"})
    except LakeWriteError as error:
        print(error)
        sys.exit(7)
"""


@pytest.mark.usefixtures("standalone")
def test_promise_03_a_full_disk_is_named_and_the_old_day_stays(lake):
    old = lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(lake.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "user_daily_activity of 2024-01-01 could not be written" in done.stdout
    assert "the day stays as it was" in done.stdout
    assert lake.verify(TABLE, D1).content_hash == old.content_hash
    assert list((lake.root / ".staging").iterdir()) == []


KILLED = """
    import datetime as dt, os, signal, sys
    import dataclasses, pandas as pd
    from pathlib import Path
    from seg_assets.lake import store as lm
    lm.TABLES["user_daily_activity"] = dataclasses.replace(lm.TABLES["user_daily_activity"], inputs=())
    at = sys.argv[2]
    real_sync, real_rename = os.fsync, os.replace
    if at == "before_sync":
        os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
    if at == "before_rename":
        os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL)
    if at == "after_rename":
        os.replace = lambda a, b: (real_rename(a, b), os.kill(os.getpid(), signal.SIGKILL))
    lake = lm.Lake(Path(sys.argv[1]), dt.date(2024, 1, 1))
    frame = pd.DataFrame({"actor_id": ["new"], "orders": [1], "spend": ["2.00"]})
    lake.publish_frame("user_daily_activity", dt.date(2024, 1, 1), frame,
                       {"actor_id": "VARCHAR", "orders": "BIGINT", "spend": "DECIMAL(18,2)"})
"""


@pytest.mark.usefixtures("standalone")
@pytest.mark.parametrize(("at", "rows"), [("before_sync", 3), ("before_rename", 3), ("after_rename", 1)])
def test_promise_03_a_kill_leaves_the_old_day_or_the_new_day(lake, at, rows):
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(lake.root), at], check=False)
    assert done.returncode == -9
    assert lake.verify(TABLE, D1).rows == rows
    assert lake.days(TABLE) == [D1]


def _write_often(args):
    root, worker = args
    import dataclasses

    TABLES[TABLE] = dataclasses.replace(TABLES[TABLE], inputs=())
    lake = Lake(root, D1)
    for n in range(5):
        lake.publish_frame(TABLE, D1, frame(10 + worker, start=worker * 100, spend=f"{n}.00"), SCHEMA)
        lake.publish_frame(TABLE, dt.date(2024, 2, 1 + worker), frame(worker + 1), SCHEMA)
        day = Lake(root, D1).verify(TABLE, D1)
        assert day.rows in (10, 11, 12)
    return True


@pytest.mark.usefixtures("standalone")
def test_promise_06_parallel_writers_of_the_same_and_of_other_days_never_fail_or_mix(lake):
    import multiprocessing

    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert all(pool.map(_write_often, [(lake.root, w) for w in range(3)]))
    assert [lake.verify(TABLE, dt.date(2024, 2, 1 + w)).rows for w in range(3)] == [1, 2, 3]


@pytest.mark.usefixtures("standalone")
def test_damage_is_named_never_read_silently(lake):
    lake.publish_frame(TABLE, D1, frame(500), SCHEMA)
    path = lake.path(TABLE, D1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="user_daily_activity"):
        lake.provenance(TABLE, D1)
    with pytest.raises(DamagedFileError, match="re-materialize"):
        lake.read(TABLE, D1)
    # Another day's rows under this day's footer: only the hash can tell.
    other = lake.publish_frame(TABLE, D2, frame(500, spend="9.99"), SCHEMA)
    with lake.connect() as con:
        con.execute("create table seg_other as select * from " + lake.scan(TABLE, [D2]))
        con.execute("alter table seg_other drop column day")
        changes = {"content_hash": "0" * 16, "day": D1.isoformat(), "summed": False}
        forged = Provenance(**{**vars(other), **changes})
        con.execute(publish.copy_sql("seg_other", lake.path(TABLE, D1), forged))
    with pytest.raises(DamagedFileError, match="hash"):
        lake.verify(TABLE, D1)


def test_promise_04_reading_a_day_never_materialized_names_the_days(lake):
    with pytest.raises(MissingDaysError, match=r"raw_events of 2024-01-01.*materialize raw_events"):
        lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    with pytest.raises(MissingDaysError, match=r"2024-01-01 \.\. 2024-01-02"):
        lake.scan("raw_events", [D1, D2])


@pytest.mark.usefixtures("standalone")
def test_a_changed_input_changes_the_digest_and_an_equal_rewrite_does_not(lake):
    week = Input(TABLE, "trailing", 2)
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    lake.publish_frame(TABLE, D2, frame(), SCHEMA)
    before = lake.input_digest(week, "test", D2)
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    assert lake.input_digest(week, "test", D2) == before
    lake.publish_frame(TABLE, D1, frame(4), SCHEMA)
    assert lake.input_digest(week, "test", D2) != before


def test_the_first_day_of_the_calendar_has_no_yesterday(lake):
    assert lake.input_digest(Input(TABLE, "yesterday"), "test", D1) == NONE


@pytest.mark.usefixtures("standalone")
def test_hostile_values_survive_the_round_trip(lake):
    ids = ["o'brien", 'say "x"', "line\nbreak", "semi;colon--", "snow\u2603", "", "{brace}", "%d", "\\"]
    data = pd.DataFrame({"actor_id": sorted(ids), "orders": range(len(ids)), "spend": ["0.01"] * len(ids)})
    lake.publish_frame(TABLE, D1, data, SCHEMA)
    assert sorted(lake.read(TABLE, D1).actor_id) == sorted(ids)


def test_unknown_tables_parts_and_patterns_are_refused(tmp_path, lake):
    with pytest.raises(ConfigError, match="unknown"):
        lake.path("raw_evnets", D1)
    with pytest.raises(ConfigError, match="identifier"):
        lake.path("segment_model", D1, "../../etc")
    with pytest.raises(ConfigError, match="pattern"):
        Lake(tmp_path / "lake[1]", D1)
    with pytest.raises(ConfigError, match="identifier"):
        identifier('x"; drop table y; --')


@pytest.mark.usefixtures("standalone")
def test_the_views_script_opens_in_a_plain_duckdb(lake):
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    lake.publish_frame(TABLE, D2, frame(), SCHEMA)
    con = duckdb.connect()
    con.execute(lake.views_sql())
    assert con.execute(f"select day, count(*) from {TABLE} group by day order by day").fetchall() == [
        (D1, 3),
        (D2, 3),
    ]


@pytest.mark.usefixtures("standalone")
def test_a_reader_that_opened_the_old_day_reads_it_to_the_end(lake):
    lake.publish_frame(TABLE, D1, frame(100), SCHEMA)
    handle = os.open(lake.path(TABLE, D1), os.O_RDONLY)
    size = os.fstat(handle).st_size
    lake.publish_frame(TABLE, D1, frame(5), SCHEMA)
    assert len(os.pread(handle, size, 0)) == size
    os.close(handle)


@pytest.mark.usefixtures("standalone")
def test_an_input_that_goes_away_is_missing_by_name_however_often_it_was_asked_for(lake):
    week = Input(TABLE, "trailing", 2)
    for day in (D1, D2):
        lake.publish_frame(TABLE, day, frame(), SCHEMA)
    assert lake.input_digest(week, "test", D2) != NONE
    lake.drop(TABLE, D1)
    with pytest.raises(MissingDaysError, match=f"test of {D2} reads {TABLE} of {D1}, never materialized"):
        lake.input_digest(week, "test", D2)


# What people and programs leave in the folders of a table, none of it a day.
STRAY = ["day=20240103", "day=2024-W01-3", "day=2024-01-01.bak", "day=2024-02-30", "day=9999-12-31", "backup"]


@pytest.mark.usefixtures("standalone")
def test_what_is_no_day_beside_the_days_is_no_day_and_no_row_of_a_view(lake):
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    good = lake.path(TABLE, D1)
    for name in STRAY:
        (lake.root / TABLE / name).mkdir()
        shutil.copy(good, lake.root / TABLE / name)
    for name in (".DS_Store", "notes.txt", "day=2024-01-05"):
        (lake.root / TABLE / name).write_text("x")
    for name in ("data (copy).parquet", "._data.parquet"):
        good.with_name(name).write_bytes(b"junk")
    assert lake.days(TABLE) == [D1]
    assert lake.parts(TABLE, D1) == ["data"]
    con = duckdb.connect()
    con.execute(lake.views_sql())
    assert con.execute(f"select day, count(*) from {TABLE} group by day").fetchall() == [(D1, 3)]
    assert con.execute(f"describe {TABLE}").fetchall()[-1][:2] == ("day", "DATE")


@pytest.mark.usefixtures("standalone")
def test_a_link_to_nothing_is_no_day_and_the_next_write_takes_its_place(lake):
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    path = lake.path(TABLE, D1)
    path.unlink()
    path.symlink_to("not there.parquet")
    assert lake.days(TABLE) == []
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    assert lake.verify(TABLE, D1).rows == 3


@pytest.mark.usefixtures("standalone")
@pytest.mark.parametrize("thing", ["pipe", "folder", "loop of links"])
def test_what_is_no_file_in_a_days_place_is_damage_by_name_and_never_waited_for(lake, thing):
    lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    path = lake.path(TABLE, D1)
    path.unlink()
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "loop of links": lambda: path.symlink_to(path.name)}[
        thing
    ]()
    for look in (lake.provenance, lake.verify, lake.check):
        with pytest.raises(DamagedFileError, match=r"data\.parquet: (is no regular file|cannot be looked at)"):
            look(TABLE, D1)


@pytest.mark.usefixtures("standalone")
def test_umask_alone_decides_who_may_read_a_day(lake):
    before = os.umask(0o077)
    try:
        lake.publish_frame(TABLE, D1, frame(), SCHEMA)
    finally:
        os.umask(before)
    published = [path for path in lake.root.rglob("*") if path.name != ".staging"]
    assert len(published) == 3
    assert {path.stat().st_mode & 0o077 for path in [lake.root, *published]} == {0}
