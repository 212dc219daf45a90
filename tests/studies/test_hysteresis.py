"""The hysteresis study counts moves and flip-backs as a user would, and chooses by its stated rule."""

import pandas as pd

from seg_assets.segments.strategy import Hysteresis
from studies.hysteresis import NONE, Weighed, _Track, chart, chosen, table


def day(*segments, rule=()):
    users = [f"u{n}" for n in range(len(segments))]
    kinds = ["rule" if n in rule else "cluster" for n in range(len(segments))]
    return pd.DataFrame({"user_id": users, "segment_id": list(segments), "kind": kinds})


def test_moves_between_clusters_are_counted_and_those_undone_within_a_week_once():
    track = _Track()
    for labels in (day("a", "a", "b"), day("b", "a", "b"), day("a", "a", "b"), day("b", "a", "b")):
        track.step(labels)
    assert track.both == 9
    assert track.moves == 3
    # Back on day 2; the third move undoes the second.
    assert track.flips == 2


def test_a_move_undone_after_more_than_a_week_is_no_flip_back():
    track = _Track()
    for labels in [day("a", "b"), *[day("b", "b")] * 8, day("a", "b")]:
        track.step(labels)
    assert (track.moves, track.flips) == (2, 0)


def test_rule_segments_take_no_part():
    track = _Track()
    track.step(day("a", "a"))
    track.step(day("b", "dormant", rule=(1,)))
    assert (track.both, track.moves) == (1, 1)


def weighed(margin, dwell, moved, flipped):
    return Weighed(Hysteresis(margin=margin, dwell_days=dwell), moved, flipped, 0.6, -0.001, 0.002)


def test_the_rule_takes_the_shortest_dwell_that_meets_both_targets_and_else_the_fewest_moves():
    none = Weighed(NONE, 0.05, 0.4, 0.6, 0.0, 0.0)
    rows = [none, weighed(0.4, 14, 0.01, 0.05), weighed(0.6, 7, 0.015, 0.09), weighed(0.4, 7, 0.018, 0.1)]
    assert chosen(rows).setting == Hysteresis(margin=0.4, dwell_days=7)
    failing = [none, weighed(0.2, 3, 0.03, 0.2), weighed(0.4, 7, 0.025, 0.2)]
    assert chosen(failing).setting.dwell_days == 7
    text = table({"value": failing}, {"value": Hysteresis(margin=0.2, dwell_days=3)})
    assert "| **0.4, 7** | **2.50%** | **20%** |" in text
    assert "no setting meets both targets" in text
    assert chart({"value": failing}).count("<circle") == 5 + 3
