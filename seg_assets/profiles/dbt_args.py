"""Arguments of dbt commands, from plain values. Nothing here runs dbt."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path


def common_args(project: Path, scratch: Path) -> list[str]:
    """Where the project is, and that dbt writes into `scratch` only, never into the project."""
    return [
        "--project-dir",
        str(project),
        "--profiles-dir",
        str(project),
        "--target-path",
        str(scratch / "target"),
        "--log-path",
        str(scratch / "logs"),
    ]


def parse_args(project: Path, scratch: Path) -> list[str]:
    """Parse the project."""
    return ["parse", *common_args(project, scratch)]


def build_args(project: Path, scratch: Path, models: Sequence[str], tests: Sequence[str]) -> list[str]:
    """Build `models` and run `tests`, by name and in dbt's order; nothing that was not named, and no unit tests."""
    return [
        "build",
        "--select",
        *sorted(models),
        *sorted(tests),
        "--indirect-selection",
        "empty",
        "--exclude-resource-type",
        "unit_test",
        "--quiet",
        # Nobody reads the artefacts of a run: writing them takes a third of its fixed cost.
        "--no-write-json",
        "--log-level-file",
        "none",
        *common_args(project, scratch),
    ]


def unit_test_args(project: Path, scratch: Path, models: Sequence[str] = ()) -> list[str]:
    """Run the dbt unit tests, of `models` or of all."""
    selected = (
        ["--select", *(f"{m},test_type:unit" for m in sorted(models))] if models else ["--select", "test_type:unit"]
    )
    return ["test", *selected, *common_args(project, scratch)]


def by_hand_args(project: Path, scratch: Path, first: dt.date, last: dt.date, models: Sequence[str] = ()) -> list[str]:
    """What a person types to build days without Dagster; days travel as variables."""
    days = f"{{start_date: '{first.isoformat()}', end_date: '{last.isoformat()}'}}"
    selected = ["--select", *sorted(models)] if models else []
    return [
        "build",
        "--vars",
        days,
        *selected,
        "--exclude-resource-type",
        "unit_test",
        *common_args(project, scratch),
    ]
