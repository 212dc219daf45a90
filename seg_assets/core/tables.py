"""What every lake table is made from: the one place that provenance, staleness and `doctor` read.

A table's inputs are other tables over a window of days. Anything that a day of a table reads and that is not
listed here is a defect: the day would not be recomputed when it changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Window = Literal["day", "yesterday", "to_yesterday", "trailing", "files", "champion", "baseline", "horizon"]


@dataclass(frozen=True)
class Input:
    """One thing that a day D of a table reads.

    window:
        day: D. yesterday: D-1 (nothing on the first day of the calendar).
        to_yesterday: every decision before D (segment_model only).
        trailing: the last `days` days up to D, cut at the first day of the calendar.
        files: the landing files of D.
        champion: the model promoted last on or before D, per strategy.
        baseline: the last decision before D, per strategy.
        horizon: `days` days before D, that one day.
    """

    table: str
    window: Window = "day"
    days: int = 0


@dataclass(frozen=True)
class Table:
    """A day table of the lake. `key` columns are unique within a day and give the row order."""

    name: str
    room: str
    key: tuple[str, ...]
    inputs: tuple[Input, ...]
    # Raised by hand when the meaning of a table changes: older days are then stale.
    code_version: str = "1"
    per_strategy_parts: bool = False
    required: bool = True
    # Where yesterday's rows may stand for users whom no window sees otherwise (profiles/engine/days.py): tables of
    # activity, and the ages in days at which activity enters or leaves one of this table's windows. The first input
    # then names all actors.
    edges: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: str = field(default="", compare=False)


# Longest trailing window of a profile feature, in days.
PROFILE_WINDOW = 90

_TABLES = (
    Table("landed_files", "events", ("source_file",), (Input("landing", "files"),)),
    Table("rejected_events", "events", ("source_file", "line"), (Input("landing", "files"),)),
    Table("raw_events", "events", ("event_time", "event_id"), (Input("landing", "files"),)),
    Table("raw_users", "events", ("user_id",), (Input("landing", "files"), Input("raw_users", "yesterday"))),
    Table(
        "raw_products",
        "events",
        ("product_id",),
        (Input("landing", "files"), Input("raw_products", "yesterday")),
    ),
    Table("user_daily_activity", "profiles", ("actor_id",), (Input("raw_events"),), code_version="2"),
    Table(
        "user_category_activity",
        "profiles",
        ("actor_id", "category"),
        (Input("raw_events"), Input("raw_products")),
    ),
    Table(
        "identity_links",
        "profiles",
        ("anonymous_id",),
        (Input("raw_events"), Input("identity_links", "yesterday")),
    ),
    Table(
        "user_lifetime",
        "profiles",
        ("actor_id",),
        (Input("user_daily_activity"), Input("user_lifetime", "yesterday")),
    ),
    Table(
        "user_category_profiles",
        "profiles",
        ("user_id", "category"),
        (Input("user_category_activity", "trailing", PROFILE_WINDOW), Input("identity_links")),
        edges={"user_category_activity": (0, PROFILE_WINDOW)},
    ),
    Table(
        "user_profiles",
        "profiles",
        ("user_id",),
        (
            Input("user_lifetime"),
            Input("user_daily_activity", "trailing", PROFILE_WINDOW),
            Input("identity_links"),
            Input("user_category_profiles"),
            Input("raw_users"),
        ),
        edges={
            "user_daily_activity": (0, 7, 28, PROFILE_WINDOW),
            "user_category_activity": (0, PROFILE_WINDOW),
        },
    ),
    Table(
        "segment_model",
        "segments",
        ("strategy", "sequence"),
        (Input("user_profiles"), Input("user_category_profiles"), Input("segment_model", "to_yesterday")),
        per_strategy_parts=True,
        required=False,
        notes="Sparse: only days with a decision. One part per strategy.",
    ),
    Table(
        "user_segments",
        "segments",
        ("strategy", "user_id"),
        (
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "champion"),
            Input("user_segments", "yesterday"),
        ),
    ),
    Table(
        "segment_profiles",
        "segments",
        ("strategy", "segment_id"),
        (
            Input("user_segments"),
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "champion"),
        ),
    ),
    Table(
        "segment_moves",
        "segments",
        ("strategy", "user_id"),
        (
            Input("user_segments"),
            Input("user_segments", "yesterday"),
            Input("user_profiles"),
            Input("user_profiles", "yesterday"),
            Input("user_category_profiles"),
            Input("user_category_profiles", "yesterday"),
            Input("segment_model", "champion"),
        ),
    ),
    Table(
        "segment_evaluation",
        "evaluation",
        ("strategy", "segment_id", "metric"),
        (
            Input("user_segments"),
            Input("user_segments", "yesterday"),
            Input("user_segments", "horizon", 7),
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "champion"),
        ),
    ),
    Table(
        "segment_validity",
        "evaluation",
        ("strategy", "predictor", "outcome", "metric"),
        (
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("user_profiles", "horizon", 90),
            Input("user_segments", "horizon", 90),
        ),
        notes="Empty until 90 days after the calendar began.",
        code_version="2",
    ),
    Table(
        "drift_report",
        "drift",
        ("strategy",),
        (
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "baseline"),
            Input("drift_report", "yesterday"),
        ),
        code_version="2",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}


def downstream_of(names: set[str]) -> list[str]:
    """Tables that read, directly or not, one of `names`, in the order they must be computed."""
    found = set(names)
    for table in _TABLES:
        if any(i.table in found for i in table.inputs):
            found.add(table.name)
    return [t.name for t in _TABLES if t.name in found and t.name not in names]
