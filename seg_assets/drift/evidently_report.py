"""Evidently's comparison of two descriptions of a day. The only module that imports Evidently, and only in functions.

Not the users are compared but their quantile frames: a million users by 20 columns cost 70 CPU seconds and 1.5 GB,
2,000 exact quantiles per column cost a quarter of a second and say the same within 0.002 (docs/drift.md). The
verdict is a function of the two descriptions and the limits; report ids and times are not part of it.
"""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seg_assets.core.imports import quick_imports
from seg_assets.segments.fitting.reference import MISSING

WASSERSTEIN = "wasserstein"
JENSEN_SHANNON = "jensenshannon"
NOT_COMPARED = "none"
EVIDENTLY = "evidently==0.7.23"
# Evidently's fonts (0.1 MB) and program (3.5 MB) are the same in every page of 4 MB: pages share them. Scripts under
# this size are the page's own data and stay in it.
SHARED_BYTES = {"style": 50_000, "script": 2_000_000}


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
class Limits:
    """The distance and the change of a missing share from which a column has drifted."""

    distance: float
    missing: float


@dataclass(frozen=True)
class Comparison:
    """Every watched column, in order, and Evidently's own JSON of the comparison (None: nothing to compare)."""

    columns: tuple[ColumnDrift, ...]
    document: Mapping[str, Any] | None


def column_drift(pair: "Pair", score: float | None, drifted: bool, limits: "Limits") -> ColumnDrift:
    """What is said of a pair of columns once it is measured."""
    return ColumnDrift(
        column=pair.column,
        method=pair.method,
        score=score,
        limit=limits.distance,
        drifted=drifted,
        missing_now=pair.missing_now,
        missing_then=pair.missing_then,
        missing_limit=limits.missing,
        note=pair.note,
    )


def compare(now: Mapping[str, Any], then: Mapping[str, Any], limits: Limits, positions: int) -> Comparison:
    """Compare two descriptions (`segments.reference.describe`), column by column.

    Columns that cannot be compared (null for everyone, new in the watch list, changed from text to number) come back
    with method `none` and a note; their missing shares still count.
    """
    pairs = pairs_of(now, then)
    if not pairs:
        return Comparison((), None)
    snapshot = _run(pairs, limits, positions, pictures=False)
    document = json.loads(json.dumps(snapshot.dict(), default=str, sort_keys=True)) if snapshot else None
    read = read_document(document) if document else {}
    columns = []
    for pair in pairs:
        score, drifted = read.get(pair.column, (None, False))
        columns.append(column_drift(pair, score, drifted, limits))
    return Comparison(tuple(columns), document)


def read_document(document: Mapping[str, Any]) -> dict[str, tuple[float | None, bool]]:
    """Column to (score, drifted) from Evidently's JSON. The only place that knows its field names (0.7.23).

    There is no `drift_detected` in it: the verdict is the status of the metric's test, the score its value.
    """
    scores = {
        metric["config"]["column"]: metric["value"] for metric in document["metrics"] if "method" in metric["config"]
    }
    found: dict[str, tuple[float | None, bool]] = {}
    for test in document["tests"]:
        params = test["metric_config"]["params"]
        if "method" not in params:
            continue
        value = scores.get(params["column"])
        score = None if value is None or not np.isfinite(value) else round(float(value), 9)
        found[params["column"]] = (score, str(test["status"]).endswith("FAIL"))
    return found


def write_json(document: Mapping[str, Any], path: Path) -> Path:
    """Write Evidently's JSON, gzipped, whole or not at all."""
    text = json.dumps(document, sort_keys=True)
    _replace(path, gzip.compress(text.encode(), mtime=0))
    return path


def render_html(
    now: Mapping[str, Any], then: Mapping[str, Any], limits: Limits, positions: int, path: Path
) -> Path | None:
    """Write Evidently's page with its pictures (about a second); None when there is nothing to compare.

    Evidently's fonts and program go once to `_evidently` beside the strategies' folders; the page refers to them.
    """
    pairs = pairs_of(now, then)
    snapshot = _run(pairs, limits, positions, pictures=True) if pairs else None
    if snapshot is None:
        return None
    html = snapshot.get_html_str(as_iframe=False)
    _replace(path, _share_parts(html, path).encode())
    return path


@dataclass(frozen=True)
class Pair:
    """One column on both days. `now` and `then` are quantiles or category shares; empty ones are not compared."""

    column: str
    method: str
    now: Any
    then: Any
    missing_now: float
    missing_then: float
    note: str = ""


def pairs_of(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[Pair]:
    """Every watched column as it is compared."""
    pairs = []
    for column in [*now["numeric"], *now["categories"]]:
        kinds = [kind for kind in ("numeric", "categories") if column in now[kind] and column in then[kind]]
        here = now["numeric"].get(column) or now["categories"][column]
        there = then["numeric"].get(column) or then["categories"].get(column)
        if there is None:
            missing = float(here["missing"])
            pairs.append(Pair(column, NOT_COMPARED, (), (), missing, missing, "not in the baseline"))
            continue
        missing = float(here["missing"]), float(there["missing"])
        if not kinds or missing[0] == 1.0 or missing[1] == 1.0:
            note = "null for everyone" if 1.0 in missing else "text on one day, a number on the other"
            pairs.append(Pair(column, NOT_COMPARED, (), (), *missing, note))
        elif kinds[0] == "numeric" and len(set(there["quantiles"])) == 1:
            # A distance in standard deviations has none to divide by: one user of a thousand would be drift.
            usual = there["quantiles"][0]
            pairs.append(Pair(column, JENSEN_SHANNON, _apart(here, usual), _apart(there, usual), *missing))
        elif kinds[0] == "numeric":
            pairs.append(Pair(column, WASSERSTEIN, here["quantiles"], there["quantiles"], *missing))
        else:
            pairs.append(Pair(column, JENSEN_SHANNON, _levels(here), _levels(there), *missing))
    return pairs


def _levels(description: Mapping[str, Any]) -> dict[str, float]:
    levels = dict(description["shares"])
    if description["missing"]:
        levels[MISSING] = levels.get(MISSING, 0.0) + description["missing"]
    return levels


def _apart(description: Mapping[str, Any], usual: float) -> dict[str, float]:
    """Shares of users that have the value everyone had at the baseline, and of those that do not."""
    values = description["quantiles"]
    same = sum(value == usual for value in values) / len(values)
    known = 1 - description["missing"]
    shares = {"same": same * known, "other": (1 - same) * known}
    return _levels({"shares": shares, "missing": description["missing"]})


def import_evidently() -> None:
    """Import what a comparison uses of Evidently, without its statistics."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with quick_imports("evidently"):
        from evidently import DataDefinition, Dataset, Report  # noqa: F401
        from evidently.metrics import MissingValueCount, ValueDrift  # noqa: F401
        from evidently.tests import Reference, gte, lte  # noqa: F401


def _run(pairs: Sequence[Pair], limits: Limits, positions: int, *, pictures: bool) -> Any:
    """Evidently's snapshot of the columns that can be compared; None when there is none."""
    import_evidently()
    from evidently import DataDefinition, Report
    from evidently.metrics import MissingValueCount
    from evidently.tests import Reference, gte, lte

    compared = [pair for pair in pairs if pair.method != NOT_COMPARED]
    if not compared:
        return None
    numeric = [pair.column for pair in compared if pair.method == WASSERSTEIN]
    # Every list is named, also the empty ones: what is left out is inferred, and then silently unmonitored.
    definition = DataDefinition(
        numerical_columns=numeric,
        categorical_columns=[pair.column for pair in compared if pair.method == JENSEN_SHANNON],
        text_columns=[],
        datetime_columns=[],
        unknown_columns=[],
        list_columns=[],
    )
    drift = _distance(pictures)
    metrics: list[Any] = [drift(column=pair.column, method=pair.method, threshold=limits.distance) for pair in compared]
    allowed = Reference(absolute=limits.missing)
    metrics += [MissingValueCount(column=column, share_tests=[lte(allowed), gte(allowed)]) for column in numeric]
    current, reference = (
        pd.DataFrame({pair.column: column_of(pair, side, positions) for pair in compared}) for side in ("now", "then")
    )
    table = _table()
    return Report(metrics, include_tests=True).run(table(current, definition), table(reference, definition))


@cache
def _table() -> Any:
    """Evidently's table without statistics by column, which no metric of ours reads: a third of what was left.

    A column is taken out of the frame once, not each time that a metric or a test asks for it.
    """
    from evidently.core.datasets import DatasetColumn, PandasDataset

    class Table(PandasDataset):
        def _collect_stats(self, column_type: Any, data: Any) -> Any:
            return None

        def column(self, column_name: str) -> DatasetColumn:
            kept = self.__dict__.setdefault("_kept", {})
            if column_name not in kept:
                kept[column_name] = super().column(column_name)
            return kept[column_name]

    return Table


@cache
def _distance(pictures: bool) -> Any:
    """ValueDrift with its histogram or without; its two pictures are four fifths of the time and of the JSON.

    The other picture, values by row number, is left out of both: the rows of a quantile frame are sorted.
    """
    from evidently.core.metric_types import MetricTestResult, SingleValueCalculation
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.tests.base_test import TestStatus
    from evidently.metrics import ValueDrift
    from evidently.metrics.column_statistics import ValueDriftBoundTest, ValueDriftCalculation, ValueDriftTest

    if pictures:

        class ColumnDistancePage(ValueDrift):
            pass

        class ColumnDistancePageCalculation(SingleValueCalculation[ColumnDistancePage]):
            calculate = ValueDriftCalculation.calculate
            display_name = ValueDriftCalculation.display_name

            def _render(self, result: Any, options: Any, color_options: Any) -> list[Any]:
                result.scatter = None
                return ValueDriftCalculation._render(self, result, options, color_options)

        return ColumnDistancePage

    class ColumnDistance(ValueDrift):
        pass

    class ColumnDistanceCalculation(SingleValueCalculation[ColumnDistance]):
        display_name = ValueDriftCalculation.display_name

        def calculate(self, context: Any, current_data: Any, reference_data: Any) -> Any:
            """What ValueDriftCalculation says, with Evidently's own test, less what it prepares for pictures only.

            That was two thirds of a comparison of 16 columns: 0.1 s a day.
            """
            column, method, threshold = self.metric.column, self.metric.method, self.metric.threshold
            kind = current_data.column(column).type
            # Nothing is infinite in what `column_of` makes, and no text is missing.
            then, now = (data.column(column).data for data in (reference_data, current_data))
            if then.dtype == np.float64:
                then, now = (values[~np.isnan(values.to_numpy())] for values in (then, now))
            test = get_stattest(then, now, kind, method)
            found = test(then, now, kind, threshold)
            result = self.result(found.drift_score)
            result.widget = []
            result.set_tests(
                [
                    MetricTestResult(
                        id="drift",
                        name=f"Value Drift for column {column}",
                        description=f"Drift score is {found.drift_score:0.2f}. "
                        f"The drift detection method is {test.display_name}. "
                        f"The drift threshold is {found.actual_threshold:0.2f}.",
                        status=TestStatus.FAIL if found.drifted else TestStatus.SUCCESS,
                        metric_config=self.to_metric_config(),
                        test_config={},
                        bound_test=ValueDriftBoundTest(
                            test=ValueDriftTest(), metric_fingerprint=self.to_metric().metric_id
                        ),
                    )
                ]
            )
            return result

    return ColumnDistance


def column_of(pair: Pair, side: str, positions: int) -> Any:
    """`positions` rows that have the column's distribution: float64 with NaN, or plain strings."""
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
    """Whole rows per category that add up to `seats` (largest remainder)."""
    exact = np.asarray(shares, dtype=np.float64)
    exact = exact / exact.sum() * seats
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: seats - int(counts.sum())]] += 1
    return counts


def _share_parts(html: str, page: Path) -> str:
    """Move Evidently's own fonts and program to files named by their content, beside the strategies' folders."""
    import hashlib
    import re

    folder = page.parents[1] / "_evidently"
    out, rest = [], html
    while found := re.search(r"<(script|style)>", rest):
        kind, start = found.group(1), found.end()
        end = rest.find(f"</{kind}>", start)
        if end < 0:
            break
        body = rest[start:end]
        if len(body) < SHARED_BYTES[kind]:
            out.append(rest[: end + len(kind) + 3])
        else:
            name = hashlib.sha256(body.encode()).hexdigest()[:12] + (".js" if kind == "script" else ".css")
            if not (folder / name).exists():
                _replace(folder / name, body.encode())
            link = f"../_evidently/{name}"
            tag = f'<script src="{link}"></script>' if kind == "script" else f'<link rel="stylesheet" href="{link}">'
            out += [rest[: found.start()], tag]
        rest = rest[end + len(kind) + 3 :]
    return "".join([*out, rest])


def _replace(path: Path, content: bytes) -> None:
    import uuid

    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        staged.write_bytes(content)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
