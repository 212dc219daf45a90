"""Segments of a day as codes: the counts are those that SQL makes of the same tables."""

import datetime as dt
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from seg_assets.core.errors import DamagedFileError, MissingDaysError
from seg_assets.segments.daily.assign import SCHEMA, TABLE, index_in, texts
from seg_assets.segments.daily.members import flows_between, segmented
from tests.segments.daily_shop import DAY, BareLake

ONE = dt.timedelta(days=1)


def rows(strategies, users, seed):
    rng = np.random.default_rng(seed)
    made = []
    for name in strategies:
        codes = rng.integers(0, 4, len(users))
        names = [f"{name}-{'new' if c == 3 else f'{c:03d}'}" for c in codes]
        made.append(pd.DataFrame({"strategy": name, "user_id": users, "segment_id": names}))
    frame = pd.concat(made, ignore_index=True)
    frame["kind"] = np.where(frame["segment_id"].str.endswith("new"), "rule", "cluster")
    return frame


def publish(lake, day, frame):
    lake.publish_frame(TABLE, day, frame.reindex(columns=list(SCHEMA)), SCHEMA)


@pytest.fixture
def lake(tmp_path):
    return BareLake(tmp_path / "lake", DAY - ONE)


def test_sizes_and_flows_are_what_a_join_counts(lake):
    users = np.array([f"u{n:04d}" for n in range(600)])
    before, now = rows("ab", users[:500], 1), rows("abc", users[50:], 2)
    publish(lake, DAY - ONE, before)
    publish(lake, DAY, now)
    days = [segmented(lake, d) for d in (DAY - ONE, DAY)]
    assert [sorted(found) for found in days] == [["a", "b"], ["a", "b", "c"]]
    for name in "ab":
        mine = now[now["strategy"] == name]
        counts = mine.groupby(["segment_id", "kind"]).size()
        assert {(s, c): n for s, c, n in days[1][name].sizes()} == {
            (s, kind == "cluster"): n for (s, kind), n in counts.items()
        }
        joined = before[before["strategy"] == name].merge(mine, on="user_id")
        flows = flows_between(days[1][name], days[0][name], index_in(days[1][name].users, days[0][name].users))
        assert flows.every == Counter(zip(joined["segment_id_x"], joined["segment_id_y"], strict=True))
        both = joined[(joined["kind_x"] == "cluster") & (joined["kind_y"] == "cluster")]
        assert flows.clusters == Counter(zip(both["segment_id_x"], both["segment_id_y"], strict=True))


def test_users_without_a_segment_are_left_out(lake):
    frame = rows("a", [f"u{n}" for n in range(9)], 1)
    frame.loc[4, ["segment_id", "kind"]] = None
    publish(lake, DAY, frame)
    assert segmented(lake, DAY)["a"].users.to_pylist() == [f"u{n}" for n in range(9) if n != 4]


def test_a_day_never_segmented_is_named_and_one_before_the_calendar_is_empty(lake):
    with pytest.raises(MissingDaysError, match=str(DAY)):
        segmented(lake, DAY)
    assert segmented(lake, DAY - 2 * ONE) == {}


def test_rows_in_another_order_than_the_tables_are_refused(lake):
    with lake.connect() as con:
        con.register("frame", rows("ba", ["u1", "u2"], 1).reindex(columns=list(SCHEMA)).astype("str"))
        con.execute("create temp table other as select * from frame")
        lake.publish_table(con, "other", TABLE, DAY)
    with pytest.raises(DamagedFileError, match="order"):
        segmented(lake, DAY)


def test_positions_are_found_in_equal_shuffled_and_other_lists_alike():
    users = pd.Series([f"u{n:03d}" for n in range(40)], dtype="str")
    for among in (users, users.sample(frac=1, random_state=1), users[::3], users[:0], pd.Series(["u001", "u001"])):
        listed = among.to_list()
        expected = [listed.index(u) if u in listed else -1 for u in users]
        assert index_in(texts(users), texts(among)).tolist() == expected


def test_a_day_is_read_once_until_it_is_replaced(lake, monkeypatch):
    reads = []
    read = type(lake).read_arrow
    monkeypatch.setattr(type(lake), "read_arrow", lambda self, *a, **k: reads.append(a[1]) or read(self, *a, **k))
    users = [f"u{n}" for n in range(9)]
    publish(lake, DAY, rows("a", users, 1))
    first = segmented(lake, DAY)
    again = segmented(lake, DAY)
    assert reads == [DAY]
    assert again["a"].sizes() == first["a"].sizes()
    with pytest.raises(ValueError, match="read-only"):
        again["a"].codes[0] = 1
    # What a caller does to the answer is not what the next one gets.
    del again["a"]
    assert "a" in segmented(lake, DAY)
    publish(lake, DAY, rows("ab", users, 2))
    assert sorted(segmented(lake, DAY)) == ["a", "b"]
    assert reads == [DAY, DAY]
