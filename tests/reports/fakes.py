"""A report as a shop of some months would have it, from plain numbers: what the page is looked at with."""

import datetime as dt
import math
from dataclasses import replace

from seg_assets.reports.charts import colours
from seg_assets.reports.contents import Apart, DecisionRow, DriftDay, Flow, MoveReason, Report, SegmentRow, Validity
from seg_assets.segments.fitting.stability import band

DAY = dt.date(2024, 6, 14)

SEGMENTS = [
    (
        "value-001",
        "Loyal high spenders",
        1840,
        0.91,
        ("monetary_90d", 2.3, 812.4, 190.2),
        ("orders_90d", 1.8, 14.2, 4.1),
    ),
    (
        "value-002",
        "Regular basket builders",
        4630,
        0.83,
        ("basket_size_90d", 0.9, 7.2, 4.9),
        ("orders_90d", 0.4, 5.0, 4.1),
    ),
    (
        "value-003",
        "Discount hunters",
        3120,
        0.72,
        ("discount_share_90d", 1.9, 0.41, 0.12),
        ("monetary_90d", -0.3, 121, 190.2),
    ),
    ("value-005", "Occasional visitors", 6215, 0.55, ("recency_days", 0.8, 41, 19), ("orders_90d", -1.1, 1.2, 4.1)),
    ("value-006", "New enthusiasts", 960, 0.88, ("tenure_days", -2.0, 34, 310), ("views_28d", 1.2, 41, 17)),
]
RULES = [("new", "New", 412), ("dormant", "Dormant", 2890)]


def full_report() -> Report:
    days = [DAY - dt.timedelta(days=n) for n in range(74, -1, -1)]
    fit = days[50]
    total = sum(s[2] for s in SEGMENTS) + sum(r[2] for r in RULES)
    names = {s[0]: s[1] for s in SEGMENTS} | {r[0]: r[1] for r in RULES} | {"value-004": "Bargain splurgers"}
    colour = colours(list(names), [r[0] for r in RULES])
    sizes = {}
    for n, (segment, _, users, *_) in enumerate([*SEGMENTS, *RULES]):
        past = [int(users * (0.8 + 0.2 * i / 74 + 0.02 * math.sin(i / 3 + n))) for i in range(74)]
        sizes[segment] = (*(0 if segment == "value-006" and i < 50 else v for i, v in enumerate(past)), users)
    sizes["value-004"] = tuple(1100 - 3 * i if i < 50 else 0 for i in range(75))
    money = {
        "value-001": (812.4, 0.44),
        "value-002": (240.1, 0.33),
        "value-003": (121.0, 0.11),
        "value-005": (38.2, 0.07),
        "value-006": (148.0, 0.04),
    }
    rows = [
        SegmentRow(
            s,
            name,
            "cluster",
            users,
            users / total,
            colour[s],
            sizes[s][-8],
            *money[s],
            apart=(
                *(Apart(*a) for a in apart),
                Apart("sessions_28d", 0.3, 6.1, 5.0),
                Apart("category:BEAUTY & CARE", -0.5, 0.02, 0.08),
            ),
            jaccard=jaccard,
            band=band(jaccard),
            silhouette=0.3,
            representativeness=0.6,
        )
        for s, name, users, jaccard, *apart in SEGMENTS
    ] + [
        SegmentRow(s, name, "rule", users, users / total, colour[s], sizes[s][-8], 12.0, 0.01)
        for s, name, users in RULES
    ]
    ids = [r.segment_id for r in rows]
    week = [
        Flow(a, b, int(r.users * (0.93 if a == b else 0.07 / 6 * (1 + (n + m) % 3) / 2)))
        for n, (a, r) in enumerate(zip(ids, rows, strict=True))
        for m, b in enumerate(ids)
    ]
    daily = [
        Flow(a, b, int(r.users * (0.985 if a == b else 0.003 if abs(n - m) == 1 else 0)))
        for n, (a, r) in enumerate(zip(ids, rows, strict=True))
        for m, b in enumerate(ids)
    ]
    drift = []
    for i, day in enumerate(days):
        score = 0.04 + 0.0021 * (i if i <= 50 else i - 50) + 0.008 * math.sin(i * 1.7)
        drift.append(
            DriftDay(
                day,
                score > 0.1 and i <= 50 and i > 30,
                score if i > 14 else None,
                0.11 if i > 14 else None,
                "spend, 28 days beyond its limit" if score > 0.1 else "all features within their limits",
                fit if i > 50 else days[14],
                (("monetary_28d", score, 0.11), ("orders_28d", score / 2, 0.11)),
            )
        )
    lineage0 = tuple(
        ("birth", (), (s,), None) for s in ("value-001", "value-002", "value-003", "value-004", "value-005")
    )
    lineage1 = (
        ("survive", ("value-001",), ("value-001",), 0.93),
        ("survive", ("value-002",), ("value-002",), 0.9),
        ("merge", ("value-003", "value-004"), ("value-003",), 0.8),
        ("survive", ("value-005",), ("value-005",), 0.85),
        ("birth", (), ("value-006",), None),
    )
    old_names = {k: v for k, v in names.items() if k.startswith("value") and k != "value-006"}
    new_names = {s[0]: s[1] for s in SEGMENTS}
    decisions = (
        DecisionRow(
            days[14],
            "bootstrap",
            True,
            "first day with enough users and history",
            "a1b2c3d4e5f6",
            "",
            lineage0,
            {},
            old_names,
        ),
        DecisionRow(
            days[40],
            "drift",
            False,
            "gain 1.2 % is under the margin of 3 %",
            "0f9e8d7c6b5a",
            "a1b2c3d4e5f6",
            lineage1,
            {},
            new_names,
        ),
        DecisionRow(
            fit,
            "drift",
            True,
            "gain 6.3 % with 8 % of the users relabelled",
            "77aa88bb99cc",
            "a1b2c3d4e5f6",
            lineage1,
            {},
            new_names,
        ),
    )
    metrics = {
        "silhouette": 0.312,
        "simplified_silhouette": 0.35,
        "davies_bouldin": 1.21,
        "calinski_harabasz": 5123.0,
        "explained_share": 0.52,
        "representativeness": 0.55,
        "balance": 0.88,
        "coverage": 1.0,
        "moved_share": 0.0132,
        "flip_back_share": 0.06,
        "weekly_ari": 0.87,
        "moved_share_week": 0.07,
        "bootstrap_ari": 0.81,
        "beats_null": 1.0,
        "null_observed": 0.309,
        "null_copula_mean": 0.262,
        "null_copula_sd": 0.006,
        "null_permuted_mean": 0.181,
        "null_permuted_sd": 0.009,
    }
    series = {
        m: tuple(v * (1 + 0.03 * math.sin(i / 5)) if i > 14 else None for i in range(75)) for m, v in metrics.items()
    }
    validity = tuple(
        Validity(p, metric, v, v - 0.03, min(v + 0.03, 1), g, p == "value")
        for metric, shift in (
            ("Next 90 days' spend, share explained (R²)", 0.0),
            ("Rank of next 90 days' spend (Spearman)", 0.12),
        )
        for p, v, g in (
            ("value", 0.69 + shift, 5),
            ("RFM quintile", 0.55 + shift, 5),
            ("monetary decile", 0.6 + shift, 10),
            ("k-means on RFM", 0.4 + shift, 5),
        )
    )
    return Report(
        "value",
        "Customer value",
        "Groups by how much, how often and how recently customers buy",
        DAY,
        total,
        tuple(rows),
        "77aa88bb99cc",
        fit,
        tuple(days),
        sizes,
        names,
        colour,
        tuple(week),
        tuple(daily),
        (
            MoveReason("value-002", "value-001", 14, "spend, 90 days went up", 0.0),
            MoveReason("value-005", "dormant", 9, "no visit for 90 days", 0.0),
        ),
        tuple(drift),
        "largest distance of a feature",
        decisions,
        metrics,
        series,
        validity,
        "",
        (),
        (("user_segments", "0123456789abcdef"),),
        (),
    )


def bare_report() -> Report:
    """A strategy without a model on the shop's first day."""
    rows = (SegmentRow("unassigned", "Unassigned", "rule", 37, 1.0, "g0"),)
    return replace(
        Report("value", "Customer value", "", dt.date(2024, 1, 1), 37, rows),
        names={"unassigned": "Unassigned"},
        colours={"unassigned": "g0"},
    )
