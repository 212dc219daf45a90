"""Segments as rules say how good they are."""

import numpy as np
import pandas as pd

from seg_assets.segments.fitting.surrogate import surrogate_rules


def test_rules_of_planted_boxes_are_found_with_full_fidelity_and_nulls_are_said():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.uniform(0, 10, 2000), "b": rng.uniform(0, 10, 2000), "sex": "F"})
    frame.loc[rng.random(2000) < 0.3, "sex"] = "M"
    frame.loc[rng.random(2000) < 0.1, "b"] = np.nan
    labels = np.where(frame["sex"] == "M", "men", np.where(frame["a"] > 6, "high", "low"))
    labels = np.where((labels == "high") & frame["b"].isna(), "unknown b", labels)
    rules, fidelity = surrogate_rules(frame, labels)
    told = {r.segment_id: r for r in rules}
    assert fidelity > 0.99
    assert told["men"].text in ("sex is M", "sex is not F")
    assert told["high"].precision > 0.99 and told["high"].recall > 0.99 and "a > " in told["high"].text
    assert told["low"].recall > 0.99


def test_rules_of_labels_that_follow_nothing_admit_it():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.uniform(0, 1, 4000)})
    _, fidelity = surrogate_rules(frame, rng.choice(["x", "y"], 4000))
    assert fidelity < 0.56


def test_a_frame_without_users_or_columns_has_no_rules():
    assert surrogate_rules(pd.DataFrame({"a": []}), [])[0] == []
    assert surrogate_rules(pd.DataFrame({"user_id": ["u"]}), ["x"])[0] == []


def test_rules_of_two_days_name_the_same_levels_of_a_text_with_many():
    """Each day named its own commonest ten: a segment was told by other levels where nobody had moved."""
    names = [f"town {n:02d}" for n in range(12)]
    labels = np.array(["mine", *["others"] * 11])

    def told(counts):
        frame = pd.DataFrame({"region": np.repeat(names, counts)})
        given = {"region": names[:6]}
        return {r.segment_id: r.text for r in surrogate_rules(frame, np.repeat(labels, counts), levels=given)[0]}

    assert told([50] * 12) == told([20] + [80] * 11) == {"mine": "region is town 00", "others": "region is not town 00"}


def test_a_single_border_is_told_as_one_condition():
    frame = pd.DataFrame({"a": np.r_[np.zeros(500), np.ones(500)]})
    rules, _ = surrogate_rules(frame, ["low"] * 500 + ["high"] * 500)
    assert {r.segment_id: r.text for r in rules} == {"low": "a <= 0.5", "high": "a > 0.5"}
    assert all(r.precision == 1 and r.recall == 1 for r in rules)
