"""Permanent ids under planted survivals, splits, merges, births and deaths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_assets.segments.fitting.identity import match, new_ids

OLD = ["v-001", "v-002", "v-003"]


def labels(*sizes):
    """(label, count) pairs as one array."""
    return np.concatenate([np.full(n, label) for label, n in sizes])


def events(found):
    return {(r["event"], tuple(r["old_ids"]), tuple(r["new_ids"])) for r in found.lineage}


def test_promise_08_the_same_groups_in_another_order_keep_their_ids():
    old = labels((0, 50), (1, 30), (2, 20))
    new = np.array([2, 0, 1])[old]
    found = match("v", OLD, old, new, 3)
    assert found.ids == ("v-002", "v-003", "v-001")
    assert found.relabelled == 0
    assert events(found) == {("survive", (i,), (i,)) for i in OLD}


def test_promise_08_of_a_split_the_larger_part_keeps_the_id_and_the_other_gets_a_new_one():
    old = labels((0, 100), (1, 50), (2, 40))
    new = np.concatenate([labels((0, 60), (3, 40)), labels((1, 50)), labels((2, 40))])
    found = match("v", OLD, old, new, 4, used={"v-007"})
    assert found.ids == ("v-001", "v-002", "v-003", "v-008")
    assert ("split", ("v-001",), ("v-001", "v-008")) in events(found)
    assert not any(r["event"] in ("birth", "death", "merge") for r in found.lineage)


def test_promise_08_a_split_in_three_with_two_stayers_is_one_split():
    old = labels((0, 99), (1, 50))
    new = np.concatenate([labels((0, 40), (1, 30), (2, 29)), labels((3, 50))])
    found = match("v", OLD[:2], old, new, 4)
    assert found.ids == ("v-001", "v-003", "v-004", "v-002")
    assert ("split", ("v-001",), ("v-001", "v-003", "v-004")) in events(found)


def test_promise_08_of_a_merge_the_larger_contributors_id_lives_on():
    old = labels((0, 100), (1, 80), (2, 40))
    new = labels((0, 180), (1, 40))
    found = match("v", OLD, old, new, 2)
    assert found.ids == ("v-001", "v-003")
    assert ("merge", ("v-001", "v-002"), ("v-001",)) in events(found)
    assert not any(r["event"] == "death" for r in found.lineage), "its users live on in the merged segment"


def test_promise_08_a_birth_from_everywhere_gets_a_new_id_and_takes_none():
    old = labels((0, 100), (1, 100), (2, 100))
    new = old.copy()
    for start in (0, 100, 200):
        new[start : start + 20] = 3
    found = match("v", OLD, old, new, 4)
    assert found.ids == ("v-001", "v-002", "v-003", "v-004")
    assert [r["new_ids"] for r in found.lineage if r["event"] == "birth"] == [["v-004"]]
    assert found.relabelled == pytest.approx(0.2)


def test_promise_08_users_unknown_to_the_old_model_are_born_without_sources():
    old = np.concatenate([labels((0, 50), (1, 50)), np.full(60, -1)])
    new = np.concatenate([labels((0, 50), (1, 50)), np.full(60, 2)])
    found = match("v", OLD[:2], old, new, 3)
    assert found.ids == ("v-001", "v-002", "v-003")
    assert ("birth", (), ("v-003",)) in events(found)


def test_promise_08_a_segment_scattered_over_the_others_dies_and_its_id_is_never_used_again():
    old = labels((0, 100), (1, 100), (2, 30))
    new = np.concatenate([labels((0, 100)), labels((1, 100)), labels((0, 15), (1, 15))])
    found = match("v", OLD, old, new, 2)
    assert found.ids == ("v-001", "v-002")
    assert [r["old_ids"] for r in found.lineage if r["event"] == "death"] == [["v-003"]]
    assert new_ids("v", {*OLD}, 1) == ["v-004"]


def test_promise_08_a_segment_whose_users_all_left_dies():
    old = labels((0, 100), (1, 100))
    found = match("v", OLD, old, labels((0, 100), (1, 100)), 2)
    assert ("death", ("v-003",), ()) in events(found)


def test_a_split_and_a_merge_at_once_keep_most_users_under_their_id():
    old = labels((0, 100), (1, 50))
    new = np.concatenate([labels((0, 60), (1, 40)), labels((0, 50))])
    found = match("v", OLD[:2], old, new, 2)
    assert found.ids == ("v-002", "v-001"), "90 users keep their id; the other way round only 60 would"


def test_ids_of_other_strategies_and_rules_do_not_count():
    assert new_ids("v", ["v-009", "value-050", "v-new", "v-010x", "v--3"], 2) == ["v-010", "v-011"]
    assert new_ids("v", ["v-999"], 1) == ["v-1000"]


partitions = st.integers(1, 6).flatmap(
    lambda k_old: st.integers(1, 6).flatmap(
        lambda k_new: st.lists(
            st.tuples(st.integers(-1, k_old - 1), st.integers(-1, k_new - 1)), min_size=1, max_size=120
        ).map(lambda rows: (k_old, k_new, np.array(rows)))
    )
)


@settings(max_examples=150, deadline=None)
@given(partitions)
def test_promise_08_every_id_is_accounted_for_once_and_never_minted_twice(case):
    k_old, k_new, rows = case
    old_ids = [f"v-{n:03d}" for n in range(1, k_old + 1)]
    used = {*old_ids, "v-040"}
    found = match("v", old_ids, rows[:, 0], rows[:, 1], k_new, used)
    assert len(set(found.ids)) == k_new
    assert all(i in old_ids or int(i[2:]) > 40 for i in found.ids)
    kept = set(found.ids) & set(old_ids)
    survived = {i for r in found.lineage if r["event"] == "survive" for i in r["old_ids"]}
    dead = {i for r in found.lineage if r["event"] == "death" for i in r["old_ids"]}
    merged = {i for r in found.lineage if r["event"] == "merge" for i in r["old_ids"]}
    born = {i for r in found.lineage if r["event"] == "birth" for i in r["new_ids"]}
    parts = {i for r in found.lineage if r["event"] == "split" for i in r["new_ids"]}
    assert survived == kept
    assert survived | dead | merged == set(old_ids)
    assert not survived & dead
    assert not merged & dead
    assert survived | born | parts == set(found.ids)
    assert not born & parts
    again = match("v", old_ids, rows[::-1, 0], rows[::-1, 1], k_new, used)
    assert again.ids == found.ids, "the order of users does not matter"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 60), min_size=2, max_size=7), st.integers(0, 10**6), st.floats(0, 0.2))
def test_promise_08_users_that_did_not_change_keep_their_id_when_few_others_moved(sizes, seed, moved):
    rng = np.random.default_rng(seed)
    old = np.repeat(range(len(sizes)), sizes)
    order = rng.permutation(len(sizes))
    new = order[old]
    for i, size in enumerate(sizes):
        mine = np.flatnonzero(old == i)[: int(moved * size)]
        new[mine] = order[(i + 1) % len(sizes)]
    ids = [f"v-{n:03d}" for n in range(1, len(sizes) + 1)]
    # Who stays must be at least a quarter of the segment they stay in, else it is another segment.
    stays = np.bincount(new[new == order[old]], minlength=len(sizes)) / np.bincount(new, minlength=len(sizes))
    if stays.min() < 0.5:
        return
    found = match("v", ids, old, new, len(sizes))
    unchanged = new == order[old]
    assert all(found.ids[n] == ids[o] for o, n in zip(old[unchanged], new[unchanged], strict=True))


# ---- a whole history through fits, decisions and the lake ------------------------------------------------------


def _told(decision, event):
    return [(sorted(r["old_ids"]), sorted(r["new_ids"])) for r in decision.lineage if r["event"] == event]


@pytest.mark.parametrize("algorithm", ["kmeans", "ward"])
def test_promise_08_a_history_of_a_birth_a_death_a_split_and_a_merge_has_the_right_ids_in_all(tmp_path, algorithm):
    import datetime as dt

    import pandas as pd

    from seg_assets.segments.decisions.decide import decide_day
    from seg_assets.segments.decisions.request import DecisionRequest
    from tests.segments.fit_shop import DAY, lake_at, publish, strategy, users

    lake = lake_at(tmp_path)

    def group(frame):
        return frame["user_id"].str.split("-").str[0]

    def changed(frame, name, half=None, **factors):
        frame = frame.copy()
        mine = np.flatnonzero(group(frame) == name)
        mine = mine if half is None else mine[half::2]
        for column, factor in factors.items():
            frame.loc[mine, column] = np.round(frame.loc[mine, column] * factor, 2)
        return frame

    def fitted(n, frame, k):
        day = DAY + dt.timedelta(days=n)
        publish(lake, day, frame)
        spec = strategy(algorithm=algorithm, k={"min": k, "max": k})
        made = decide_day(lake, spec, day, 0, DecisionRequest("value", day, "manual")).decision
        labels = made.segment_model().assign(frame)["segment_id"]
        return made, {g: labels[group(frame) == g].mode()[0] for g in sorted(group(frame).unique())}, labels

    plain = users()
    _, ids, _ = fitted(0, plain, 4)
    assert len(set(ids.values())) == 4

    # The lapsing leave, and buyers come who are like nobody: a death, and a new number.
    bulk = users({"bulk": (2.0, 90000.0, 45.0)})
    other = pd.concat([plain[group(plain) != "lapsing"], bulk]).sort_values("user_id", ignore_index=True)
    made, now, _ = fitted(1, other, 4)
    kept = ("whales", "regulars", "samplers")
    assert {g: now[g] for g in kept} == {g: ids[g] for g in kept}
    assert now["bulk"] == "value-005"
    assert [ids["lapsing"]] in [old for old, _ in _told(made, "death")]
    assert any("value-005" in new for _, new in _told(made, "birth") + _told(made, "split"))

    # Half of the regulars spend far more, the others less: one segment becomes two.
    parted = changed(changed(other, "regulars", 0, monetary_90d=9.0), "regulars", 1, monetary_90d=0.35)
    made, then, labels = fitted(2, parted, 5)
    steady = ("whales", "samplers", "bulk")
    assert {g: then[g] for g in steady} == {g: now[g] for g in steady}
    assert _told(made, "split") == [([ids["regulars"]], [ids["regulars"], "value-006"])]
    assert set(labels[group(parted) == "regulars"]) == {ids["regulars"], "value-006"}

    # They come closer, each still on its side of the border: two segments become one, whose id is one of theirs.
    alike = changed(changed(parted, "regulars", 0, monetary_90d=0.45), "regulars", 1, monetary_90d=2.4)
    made, last, _ = fitted(3, alike, 4)
    assert {g: last[g] for g in steady} == {g: now[g] for g in steady}
    assert _told(made, "merge") == [([ids["regulars"], "value-006"], [last["regulars"]])]
    assert last["regulars"] in (ids["regulars"], "value-006")

    # The lapsing come back: a dead id does not.
    lapsing = plain[group(plain) == "lapsing"]
    back = pd.concat([alike, lapsing]).sort_values("user_id", ignore_index=True)
    made, end, _ = fitted(4, back, 5)
    assert end["lapsing"] == "value-007"
    assert {g: end[g] for g in steady} == {g: now[g] for g in steady}
