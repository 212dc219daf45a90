"""Store decisions: which model was fitted when, why, and whether it was promoted. Nothing else says who is champion.

A decision and the model it fitted are one row of `segment_model`, one file per day and strategy, so they are
atomic. Every row that is read is checked: its `decision_id` is the hash of what it holds.

Decisions are read, changed and written by several runs (a replay, a rollback): who writes holds the strategy's lock, or
on an object store replaces only what was read, and starts over where the past changed since it was looked at.

Not here: making a decision (`decide`, `challenge`, `rollback`), and whether one still stands (`inputs`).
"""

import contextlib
import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from seg_assets.core.digests import digest
from seg_assets.core.errors import ChangedMeanwhileError, DamagedFileError
from seg_assets.core.tables import TABLES
from seg_assets.lake import guard
from seg_assets.lake.cache import FileCache
from seg_assets.lake.provenance import NONE, Provenance
from seg_assets.lake.publish import Over
from seg_assets.lake.stamps import stamp_of
from seg_assets.lake.store import Lake
from seg_assets.segments.model import SegmentModel

TABLE = "segment_model"
# The key of an input that is the content hash of a day: of the decision's own, or of one so many days before.
_DAY_READ = re.compile(r"(\w+):(?:day|horizon-(\d+))")
# In a footer's `extra`: content hashes that decisions name, and those of the same rows of today's kind.
REHASHED_KEY = "rehashed"
BOOTSTRAP, DRIFT, AGE, MANUAL, ROLLBACK = "bootstrap", "drift", "age", "manual", "rollback"
CAUSES = (BOOTSTRAP, DRIFT, AGE, MANUAL, ROLLBACK)
# Inputs, not derived: someone asked for them, so they stay when the past changes.
BY_HAND = (MANUAL, ROLLBACK)

SCHEMA = TABLES[TABLE].types


@dataclass(frozen=True)
class Decision:
    """One decision. `model` and `reference` are plain data; `segment_model()` gives the model to use."""

    strategy: str
    day: dt.date
    cause: str
    model: Mapping[str, Any]
    promoted: bool
    reason: str
    sequence: int = 0
    against_model_id: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    lineage: list[Mapping[str, Any]] = field(default_factory=list)
    reference: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    # Content hashes among `inputs`, and those of the same rows as `seg-assets rehash` computed them. Not decided on.
    rehashed: Mapping[str, str] = field(default_factory=dict)

    @property
    def current_inputs(self) -> dict[str, str]:
        """`inputs`, with each content hash of rows as it is since `seg-assets rehash`: compare these with the lake."""
        return {key: self.rehashed.get(value, value) for key, value in self.inputs.items()}

    def days_read(self) -> dict[str, tuple[str, dt.date]]:
        """Return table and day of each input that is the content hash of a day, by input key."""
        matches = ((key, _DAY_READ.fullmatch(key)) for key in self.inputs)
        return {key: (m[1], self.day - dt.timedelta(days=int(m[2] or 0))) for key, m in matches if m}

    @property
    def model_id(self) -> str:
        """Id of the fitted model."""
        return str(self.model["model_id"])

    @property
    def by_hand(self) -> bool:
        """Whether a person asked for it, so that it stays when the past changes."""
        return self.cause in BY_HAND

    @cached_property
    def decision_id(self) -> str:
        """Hash of all fields but the sequence."""
        return _hash(self._texts(), self.day)

    @cached_property
    def _parsed(self) -> SegmentModel:
        """The model, read once."""
        return SegmentModel.from_document(self.model, f"{TABLE} of {self.day}, strategy {self.strategy}")

    def segment_model(self) -> SegmentModel:
        """Return the fitted model, ready to assign. Checked by hash."""
        return self._parsed

    def _texts(self) -> dict[str, Any]:
        """Return the columns of the row that the hash is taken of."""
        stored = self.reference
        reference = stored.text() if isinstance(stored, StoredReference) else _json(stored)
        return {
            "strategy": self.strategy,
            "cause": self.cause,
            "against_model_id": self.against_model_id,
            "model_id": self.model_id,
            "promoted": bool(self.promoted),
            "reason": self.reason,
            "numbers": _json(self.numbers),
            "lineage": _json(list(self.lineage)),
            "model": _json(self.model),
            "reference": reference,
            "inputs": _json(self.inputs),
        }

    def _row(self) -> dict[str, Any]:
        """Return the row of `segment_model`."""
        return {**self._texts(), "sequence": self.sequence, "decision_id": self.decision_id}


class StoredReference(Mapping[str, Any]):
    """The reference of a stored decision, parsed when it is first looked at: it is most of a file."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._content: dict[str, Any] | None = None

    def text(self) -> str:
        """Return the JSON as stored."""
        return self._text

    def _load(self) -> dict[str, Any]:
        """Parse the JSON, once."""
        if self._content is None:
            self._content = json.loads(self._text)
        return self._content or {}

    def __getitem__(self, key: str) -> Any:
        return self._load()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


_PARTS: FileCache[list[Decision]] = FileCache()
# Bytes of parsed decisions for each byte of their file, which is compressed JSON: a guess on the safe side.
_PARSED = 20


def decisions(lake: Lake, strategy: str) -> list[Decision]:
    """Read every decision of a strategy, oldest first.

    Raises:
        DamagedFileError: naming the file that does not hold what it says.
    """
    return [d for day in lake.days(TABLE) for d in decisions_of_day(lake, strategy, day)]


def decisions_of_day(lake: Lake, strategy: str, day: dt.date) -> list[Decision]:
    """Read the decisions of one day, by sequence."""
    path = lake.path(TABLE, day, strategy)
    stamp = stamp_of(path)
    if stamp is None:
        return []
    of_day = _PARTS.get(str(path), stamp)
    if of_day is None:
        of_day = _read(lake, path, day, strategy)
        _PARTS.put(str(path), stamp, of_day, _PARSED * int(str(stamp[1])))
    return list(of_day)


def _read(lake: Lake, path: Path, day: dt.date, strategy: str) -> list[Decision]:
    """Read one part file and check every row of it."""
    lake.check(TABLE, day, strategy)
    footer = lake.provenance(TABLE, day, strategy)
    try:
        with path.open("rb") as handle:
            rows = pq.ParquetFile(handle).read(columns=list(SCHEMA)).to_pylist()
    except FileNotFoundError:
        return []
    except Exception as error:  # pyarrow raises several kinds for damaged files
        raise DamagedFileError(f"{path}: cannot be read ({error}); {_remedy(day)}") from None
    if footer is None or footer.rows != len(rows):
        raise DamagedFileError(f"{path}: holds {len(rows)} decisions, its footer says otherwise; {_remedy(day)}")
    of_day = []
    for row in sorted(rows, key=lambda r: r["sequence"]):
        actual = _hash_of(row, day)
        if actual != row["decision_id"] or row["strategy"] != strategy:
            raise DamagedFileError(
                f"{path}: decision {row['decision_id']} (sequence {row['sequence']}): its content has the hash "
                f"{actual}; the file was changed after it was written; {_remedy(day)}"
            )
        model = json.loads(row["model"])
        decision = Decision(
            strategy=strategy,
            day=day,
            cause=row["cause"],
            model=model,
            promoted=row["promoted"],
            reason=row["reason"],
            sequence=row["sequence"],
            against_model_id=row["against_model_id"],
            numbers=json.loads(row["numbers"]),
            lineage=json.loads(row["lineage"]),
            reference=StoredReference(row["reference"]),
            inputs=json.loads(row["inputs"]),
            rehashed=footer.extra.get(REHASHED_KEY, {}),
        )
        if row["model_id"] != model.get("model_id"):
            raise DamagedFileError(f"{path}: model_id = {row['model_id']}: not the model of this row; {_remedy(day)}")
        SegmentModel.from_document(model, str(path))
        of_day.append(decision)
    return of_day


def holds_all(lake: Lake, strategy: str, day: dt.date) -> bool:
    """Tell whether every decision of a damaged part is what its hash says.

    The damage is then beside the rows: in Parquet's first letters, in padding, in our footer.
    """
    return bool(_good_rows(lake, strategy, day))


def rescue(lake: Lake, strategy: str, day: dt.date) -> bool:
    """Write a damaged part anew when every decision in it is what its hash says, and tell whether that was so."""
    with _guarded(lake, strategy, day, None):
        over = Over(stamp_of(lake.path(TABLE, day, strategy)))
        rows = _good_rows(lake, strategy, day)
        if not rows:
            return False
        footer = _readable_footer(lake, strategy, day)
        inputs = footer.inputs if footer else {f"{TABLE}:to_yesterday": history_digest(lake, strategy, day)}
        extra = footer.extra if footer else None
        frame = pd.DataFrame(rows)
        lake.publish_frame(TABLE, day, frame, SCHEMA, inputs=inputs, extra=extra, part=strategy, over=over)
    return True


def _good_rows(lake: Lake, strategy: str, day: dt.date) -> list[dict[str, Any]]:
    """Return the rows of a part when all of them, and as many as the footer says, are what their hashes say."""
    rows = _columns(lake.path(TABLE, day, strategy), list(SCHEMA)) or []
    footer = _readable_footer(lake, strategy, day)
    if footer is not None and footer.rows != len(rows):
        return []
    good = all(_hash_of(row, day) == row["decision_id"] and row["strategy"] == strategy for row in rows)
    return rows if good else []


def _readable_footer(lake: Lake, strategy: str, day: dt.date) -> Provenance | None:
    """Return the footer of a part, None where it cannot be read."""
    try:
        return lake.provenance(TABLE, day, strategy)
    except DamagedFileError:
        return None


def lost_by_hand(lake: Lake, strategy: str, day: dt.date) -> str:
    """Say what a damaged part holds, or may hold, that a person decided; '' when it holds no such decision.

    Such a decision is nowhere else: made anew, the day would come out without it.
    """
    path = lake.path(TABLE, day, strategy)
    try:
        if stamp_of(path) is None:
            return ""
    except DamagedFileError:
        return ""  # a folder, a pipe: no decision was ever in there
    footer = _readable_footer(lake, strategy, day)
    if footer and footer.day != day.isoformat() and lake.has(TABLE, dt.date.fromisoformat(footer.day), footer.part):
        return ""  # a copy of another day's, which is in its own place
    causes = _columns(path, ["cause"])
    if causes is None:
        unknown = "it may hold a decision taken by hand, which cannot be told from what is left of it"
        return unknown if _mark(lake, strategy, day).exists() else ""
    if all(row["cause"] in CAUSES and row["cause"] not in BY_HAND for row in causes):
        return ""
    by_hand = [
        f"{row['cause']} to model {row['model_id']} ({row['reason']})"
        for row in _columns(path, ["cause", "model_id", "reason"]) or []
        if row["cause"] in BY_HAND
    ]
    return f"it holds decisions taken by hand: {'; '.join(by_hand) or 'which ones cannot be read'}"


def _columns(path: Path, names: list[str]) -> list[dict[str, Any]] | None:
    """Read columns of a part as they are, unchecked; None where they cannot be read."""
    try:
        with path.open("rb") as handle:
            return pq.ParquetFile(handle).read(columns=names).to_pylist()
    except Exception:  # pyarrow raises several kinds for damaged files
        return None


def _hash_of(row: Mapping[str, Any], day: dt.date) -> str:
    """Return what the `decision_id` of a stored row should be."""
    return _hash({k: v for k, v in row.items() if k not in ("sequence", "decision_id")}, day)


def _remedy(day: dt.date) -> str:
    """Say what to do about a damaged file."""
    return f"remove the file and re-materialize {TABLE} for {day}, or restore it from a copy"


def champion_as_of(lake: Lake, strategy: str, day: dt.date) -> Decision | None:
    """Return the latest promoted decision on or before `day`; None before the first fit."""
    return _latest(lake, strategy, lambda d: d <= day, promoted=True)


def champion_before(lake: Lake, strategy: str, day: dt.date) -> Decision | None:
    """Return the latest promoted decision strictly before `day`."""
    return _latest(lake, strategy, lambda d: d < day, promoted=True)


def baseline_before(lake: Lake, strategy: str, day: dt.date) -> Decision | None:
    """Return the latest decision strictly before `day`, promoted or not: what drift of `day` is measured against."""
    return _latest(lake, strategy, lambda d: d < day, promoted=False)


def _latest(lake: Lake, strategy: str, within: Callable[[dt.date], bool], promoted: bool) -> Decision | None:
    """Return the last decision on a day for which `within` holds; `promoted`: the last promoted one."""
    for day in reversed(lake.days(TABLE)):
        if within(day):
            for decision in reversed(decisions_of_day(lake, strategy, day)):
                if decision.promoted or not promoted:
                    return decision
    return None


def champion_digest(lake: Lake, strategies: Iterable[str], day: dt.date) -> str:
    """Return the `champion` input of a footer: which model each strategy has as of `day`. strategies: their names."""
    champions = [(s, champion_as_of(lake, s, day)) for s in sorted(strategies)]
    return digest([(s, d.model_id if d else NONE) for s, d in champions])


def baseline_digest(lake: Lake, strategies: Iterable[str], day: dt.date) -> str:
    """Return the `baseline` input of a footer: last decision and champion of each strategy strictly before `day`."""
    rows = []
    for name in sorted(strategies):
        last, champion = baseline_before(lake, name, day), champion_before(lake, name, day)
        rows.append((name, last.decision_id if last else NONE, champion.model_id if champion else NONE))
    return digest(rows)


def history_digest(lake: Lake, strategy: str, day: dt.date) -> str:
    """Return the `to_yesterday` input of a decision: every decision strictly before `day`."""
    before = [d.decision_id for d in decisions(lake, strategy) if d.day < day]
    return digest(before) if before else NONE


def used_ids(lake: Lake, strategy: str, day: dt.date) -> set[str]:
    """Return every segment id that is taken on `day`: given before that day, promoted or not, or by hand at any time.

    Decisions made by hand stay when the past is made anew, so their ids stay taken too.
    """
    known = [d for d in decisions(lake, strategy) if d.day < day or d.by_hand]
    return {segment["id"] for d in known for segment in d.model["segments"]}


def past_of(lake: Lake, strategy: str, day: dt.date) -> str:
    """Return a digest of the decisions up to a day: what a decision of the day is made from, and written over."""
    return digest([d.decision_id for d in decisions(lake, strategy) if d.day <= day])


@contextlib.contextmanager
def _guarded(lake: Lake, strategy: str, day: dt.date, past: str | None) -> Iterator[None]:
    """Hold the strategy's lock; raise ChangedMeanwhileError when the past is not the one that was looked at."""
    with guard.hold(lake.root, f"{TABLE}-{strategy}"):
        if past is not None and past_of(lake, strategy, day) != past:
            raise ChangedMeanwhileError(
                f"{TABLE} of {day}, strategy {strategy}: another run decided while this one did; run this again"
            )
        yield


def write_decision(
    lake: Lake, decision: Decision, extra: Mapping[str, Any] | None = None, past: str | None = None
) -> bool:
    """Write a decision; return False when the lake holds just this one already, and nothing was done.

    A derived decision replaces the derived one of its day; one made by hand is added after those of its day.
    Derived decisions of later days rested on a past that is now another: they go first, newest first, so that a
    kill in between leaves a lake from which the loop finds its way.

    Args:
        lake: the lake.
        decision: its `sequence` is set here.
        extra: facts about the making (seconds) for the footer.
        past: `past_of` when the work on the decision began; None: whatever it is.

    Raises:
        ChangedMeanwhileError: other decisions were taken since then, and nothing was written.
    """
    with _guarded(lake, decision.strategy, decision.day, past):
        over, of_day = _version_of(lake, decision.strategy, decision.day)
        if any(d.decision_id == decision.decision_id for d in of_day):
            return False
        _drop_after(lake, decision.strategy, decision.day)
        by_hand = [d for d in of_day if d.by_hand]
        derived = [d for d in of_day if not d.by_hand]
        rows = [*derived, *by_hand, decision] if decision.by_hand else [decision, *by_hand]
        _publish(lake, decision.strategy, decision.day, rows, extra, over)
    return True


def withdraw(lake: Lake, strategy: str, day: dt.date, past: str | None = None) -> list[Decision]:
    """Remove the derived decision of a day, and with it the derived ones after it. Return what was removed.

    Raises:
        ChangedMeanwhileError: other decisions were taken since `past` (see `past_of`), and nothing was removed.
    """
    with _guarded(lake, strategy, day, past):
        over, of_day = _version_of(lake, strategy, day)
        derived = [d for d in of_day if not d.by_hand]
        if not derived:
            return []
        dropped = _drop_after(lake, strategy, day)
        _publish(lake, strategy, day, [d for d in of_day if d.by_hand], None, over)
    return [*derived, *dropped]


def _version_of(lake: Lake, strategy: str, day: dt.date) -> tuple[Over, list[Decision]]:
    """Return the version of a part that may be replaced, and its decisions."""
    while True:
        stamp = stamp_of(lake.path(TABLE, day, strategy))
        of_day = decisions_of_day(lake, strategy, day)
        if stamp_of(lake.path(TABLE, day, strategy)) == stamp:
            return Over(stamp), of_day


def _drop_after(lake: Lake, strategy: str, day: dt.date) -> list[Decision]:
    """Drop every derived decision of a strategy on days after `day`; those made by hand stay. Newest first."""
    dropped: list[Decision] = []
    for later in reversed([d for d in lake.days(TABLE) if d > day]):
        over, of_day = _version_of(lake, strategy, later)
        derived = [d for d in of_day if not d.by_hand]
        if derived:
            _publish(lake, strategy, later, [d for d in of_day if d.by_hand], None, over)
            dropped += derived
    return dropped[::-1]


def refresh_footer(lake: Lake, strategy: str, day: dt.date) -> bool:
    """Write a day's rows again, unchanged, when its footer names other inputs than there are now.

    For a day whose decisions were looked at and stand: after that it is not stale any more.
    """
    with _guarded(lake, strategy, day, None):
        over, of_day = _version_of(lake, strategy, day)
        footer = lake.provenance(TABLE, day, strategy)
        if footer is None:
            return False
        now = {**lake.inputs_of(TABLE, day), f"{TABLE}:to_yesterday": history_digest(lake, strategy, day)}
        if dict(footer.inputs) == now:
            return False
        _publish(lake, strategy, day, of_day, footer.extra, over)
    return True


def _mark(lake: Lake, strategy: str, day: dt.date) -> Path:
    """Return the path of the mark beside a part: an empty file where the part holds, or held, a decision by hand.

    When the part cannot be read any more, the mark still tells that a person decided something in it.
    """
    return lake.path(TABLE, day, strategy).with_suffix(".by_hand")


def _publish(
    lake: Lake, strategy: str, day: dt.date, rows: list[Decision], extra: Mapping[str, Any] | None, over: Over
) -> None:
    """Write the decisions of a day over the version that was read, in their order; without any, remove the part."""
    if not rows:
        if stamp_of(lake.path(TABLE, day, strategy)) != over.stamp:
            raise ChangedMeanwhileError(
                f"{TABLE} of {day}, strategy {strategy}: changed by another run; run this again"
            )
        lake.drop(TABLE, day, strategy)
        return
    rows = [replace(d, sequence=n) for n, d in enumerate(rows)]
    rehashed = {old: new for d in rows for old, new in d.rehashed.items()}
    if rehashed:
        extra = {**(extra or {}), REHASHED_KEY: rehashed}
    mark = _mark(lake, strategy, day)
    if any(d.by_hand for d in rows):
        # First: a kill in between leaves a mark too many, never one too few.
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_bytes(b"")
    lake.publish_frame(
        TABLE,
        day,
        pd.DataFrame([d._row() for d in rows]),
        SCHEMA,
        inputs={f"{TABLE}:to_yesterday": history_digest(lake, strategy, day)},
        extra=extra,
        part=strategy,
        over=over,
    )


def _json(value: Any) -> str:
    """Write a value as the JSON that a row holds."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=str)


def _hash(texts: Mapping[str, Any], day: dt.date) -> str:
    """Return the hash of a row's columns and its day, 16 hex digits."""
    return hashlib.sha256(_json({**texts, "day": day.isoformat()}).encode()).hexdigest()[:16]
