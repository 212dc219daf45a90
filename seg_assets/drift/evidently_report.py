"""Compare two descriptions of a day with Evidently, and store, read and draw what it says.

The only module that imports Evidently; it does so inside functions and by public names. Evidently does not see the
users but their quantile frames. A million users by 20 columns cost it 70 CPU seconds and 1.5 GB; 2,000 exact quantiles
per column cost half a second and agree within 0.002 with all values (docs/drift.md). The verdict is a function of the
two descriptions and the limits; a snapshot's ids and times are no part of it.

Not here: what a day's description holds (`segments.fitting.reference`), what a score means for the day
(`drift.verdict`), and where files are (`drift.daily`).
"""

import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.errors import DamagedFileError
from seg_assets.core.imports import quick_imports
from seg_assets.lake.files import write_bytes, write_text
from seg_assets.segments.fitting.reference import MISSING

WASSERSTEIN = "wasserstein"
JENSEN_SHANNON = "jensenshannon"
NOT_COMPARED = "none"


@dataclass(frozen=True)
class Limits:
    """The distance and the change of a missing share from which a column has drifted."""

    distance: float
    missing: float


@dataclass(frozen=True)
class ColumnDrift:
    """What Evidently says about one column.

    method: `wasserstein` (in standard deviations of the baseline), `jensenshannon`, or `none`; `note` says why.
    score: the distance; None when nothing could be compared.
    missing_limit: change of the missing share from which the column has drifted.
    """

    column: str
    method: str
    score: float | None
    limit: float
    drifted: bool
    missing_now: float
    missing_then: float
    missing_limit: float
    note: str = ""

    @property
    def missing_drifted(self) -> bool:
        """Whether the missing share moved by the limit or more, up or down. Distances drop nulls and never see it."""
        return abs(self.missing_now - self.missing_then) >= self.missing_limit - 1e-12


@dataclass(frozen=True)
class ColumnPair:
    """One column on both days. `now` and `then` are quantiles or category shares; empty ones are not compared."""

    column: str
    method: str
    now: Any
    then: Any
    missing_now: float
    missing_then: float
    note: str = ""

    def drift(self, score: float | None, drifted: bool, limits: Limits) -> ColumnDrift:
        """Return the pair with its score."""
        return ColumnDrift(
            column=self.column,
            method=self.method,
            score=score,
            limit=limits.distance,
            drifted=drifted,
            missing_now=self.missing_now,
            missing_then=self.missing_then,
            missing_limit=limits.missing,
            note=self.note,
        )


@dataclass(frozen=True)
class Comparison:
    """Every watched column, in order, and Evidently's snapshot as JSON text (None: nothing could be compared)."""

    columns: tuple[ColumnDrift, ...]
    snapshot: str | None


def compare(now: Mapping[str, Any], then: Mapping[str, Any], limits: Limits, positions: int) -> Comparison:
    """Compare two descriptions (`segments.fitting.reference.describe`), column by column.

    Columns that cannot be compared (null for everyone, new in the watch list, changed from text to number) come back
    with method `none` and a note; their missing shares still count.
    """
    pairs = pairs_of(now, then)
    snapshot = _run_report(pairs, limits, positions)
    scores = scores_of(snapshot) if snapshot else {}
    columns = tuple(pair.drift(*scores.get(pair.column, (None, False)), limits) for pair in pairs)
    return Comparison(columns, snapshot.dumps() if snapshot else None)


def scores_of(snapshot: Any) -> dict[str, tuple[float | None, bool]]:
    """Return column to (score, drifted) of a snapshot. The only place that knows Evidently's field names (0.7.23).

    Evidently states no `drift_detected`: the verdict is the status of the metric's test, the score its value.
    """
    document = snapshot.dict()
    values = {
        metric["config"]["column"]: metric["value"] for metric in document["metrics"] if "method" in metric["config"]
    }
    scores: dict[str, tuple[float | None, bool]] = {}
    for test in document["tests"]:
        params = test["metric_config"]["params"]
        if "method" not in params:
            continue
        value = values.get(params["column"])
        score = None if value is None or not np.isfinite(value) else round(float(value), 9)
        scores[params["column"]] = (score, str(test["status"]).endswith("FAIL"))
    return scores


# ---- files ---------------------------------------------------------------------------------------------------------


def write_snapshot(snapshot: str, path: Path) -> None:
    """Write a snapshot's JSON, gzipped, whole or not at all."""
    write_bytes(path, gzip.compress(snapshot.encode(), mtime=0))


def read_snapshot(path: Path) -> Any:
    """Read a stored snapshot back as Evidently's own object.

    Raises:
        DamagedFileError: the file is no snapshot that this release of Evidently reads.
    """
    import_evidently()
    from evidently import Run

    try:
        return Run.loads(gzip.decompress(path.read_bytes()).decode())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedFileError(
            f"{path}: no snapshot of Evidently that can be read ({type(error).__name__}); delete the file and "
            "materialize drift_report of that day again"
        ) from error


def write_page(snapshot: Path, page: Path) -> None:
    """Write Evidently's page of a stored snapshot, 4 MB of HTML that needs no network.

    Raises:
        DamagedFileError: the stored snapshot cannot be read.
    """
    write_text(page, read_snapshot(snapshot).get_html_str(as_iframe=False))


# ---- what is compared ----------------------------------------------------------------------------------------------


def pairs_of(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[ColumnPair]:
    """Return every watched column as it is compared."""
    pairs = []
    for column in [*now["numeric"], *now["categories"]]:
        kinds = [kind for kind in ("numeric", "categories") if column in now[kind] and column in then[kind]]
        today = now["numeric"].get(column) or now["categories"][column]
        baseline = then["numeric"].get(column) or then["categories"].get(column)
        if baseline is None:
            missing = float(today["missing"])
            pairs.append(ColumnPair(column, NOT_COMPARED, (), (), missing, missing, "not in the baseline"))
            continue
        missing = float(today["missing"]), float(baseline["missing"])
        if not kinds or missing[0] == 1.0 or missing[1] == 1.0:
            note = "null for everyone" if 1.0 in missing else "text on one day, a number on the other"
            pairs.append(ColumnPair(column, NOT_COMPARED, (), (), *missing, note))
        elif kinds[0] == "numeric" and len(set(baseline["quantiles"])) == 1:
            # The standard deviation of a constant is 0: one user of a thousand with another value would be drift.
            usual = baseline["quantiles"][0]
            shares = (_shares_apart(side, usual) for side in (today, baseline))
            pairs.append(ColumnPair(column, JENSEN_SHANNON, *shares, *missing))
        elif kinds[0] == "numeric":
            pairs.append(ColumnPair(column, WASSERSTEIN, today["quantiles"], baseline["quantiles"], *missing))
        else:
            pairs.append(ColumnPair(column, JENSEN_SHANNON, _levels(today), _levels(baseline), *missing))
    return pairs


def _levels(description: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of a text column's levels; null is a level."""
    levels = dict(description["shares"])
    if description["missing"]:
        levels[MISSING] = levels.get(MISSING, 0.0) + description["missing"]
    return levels


def _shares_apart(description: Mapping[str, Any], usual: float) -> dict[str, float]:
    """Return the shares of users that have the value everyone had at the baseline, and of those that do not."""
    values = description["quantiles"]
    same = sum(value == usual for value in values) / len(values)
    known = 1 - description["missing"]
    shares = {"same": same * known, "other": (1 - same) * known}
    return _levels({"shares": shares, "missing": description["missing"]})


def column_of(pair: ColumnPair, side: str, positions: int) -> np.ndarray:
    """Return `positions` rows that have the column's distribution: float64 with NaN, or plain strings.

    Args:
        pair: the column.
        side: `now` or `then`.
        positions: number of rows.
    """
    values = getattr(pair, side)
    if pair.method == JENSEN_SHANNON:
        names = sorted(values)
        counts = _apportion([values[name] for name in names], positions)
        return np.repeat(np.array(names, dtype=object), counts)
    missing = min(round(getattr(pair, f"missing_{side}") * positions), positions - 1)
    known = positions - missing
    ordered = np.asarray(values, dtype=np.float64)
    at = np.floor((np.arange(known) + 0.5) / known * len(ordered)).astype(np.int64)
    return np.concatenate([ordered[at], np.full(missing, np.nan)])


def _apportion(shares: Sequence[float], seats: int) -> np.ndarray:
    """Return whole rows per category that add up to `seats` (largest remainder)."""
    exact = np.asarray(shares, dtype=np.float64)
    exact = exact / exact.sum() * seats
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: seats - int(counts.sum())]] += 1
    return counts


# ---- Evidently -----------------------------------------------------------------------------------------------------


def import_evidently() -> None:
    """Import what a comparison uses of Evidently, without its telemetry."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with quick_imports("evidently"):
        import evidently.metrics
        import evidently.tests  # noqa: F401


def _run_report(pairs: Sequence[ColumnPair], limits: Limits, positions: int) -> Any:
    """Return Evidently's snapshot of the columns that can be compared; None when there is none."""
    compared = [pair for pair in pairs if pair.method != NOT_COMPARED]
    if not compared:
        return None
    import_evidently()
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MissingValueCount, ValueDrift
    from evidently.tests import Reference, gte, lte

    numeric = [pair.column for pair in compared if pair.method == WASSERSTEIN]
    # Every list is named, also the empty ones: Evidently infers what is left out, and then watches nothing of it.
    definition = DataDefinition(
        numerical_columns=numeric,
        categorical_columns=[pair.column for pair in compared if pair.method == JENSEN_SHANNON],
        text_columns=[],
        datetime_columns=[],
        unknown_columns=[],
        list_columns=[],
    )
    metrics: list[Any] = [ValueDrift(column=p.column, method=p.method, threshold=limits.distance) for p in compared]
    allowed = Reference(absolute=limits.missing)
    metrics += [MissingValueCount(column=column, share_tests=[lte(allowed), gte(allowed)]) for column in numeric]
    current, reference = (
        Dataset.from_pandas(pd.DataFrame({p.column: column_of(p, side, positions) for p in compared}), definition)
        for side in ("now", "then")
    )
    return Report(metrics, include_tests=True).run(current, reference)
