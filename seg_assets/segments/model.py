"""A segment model: fitted transforms, clusters and their permanent ids, as JSON that carries its own hash.

No pickle: what is read from the lake is numbers and text, checked against the hash before use. Fitting is in
`fit`, when a model counts is in `decisions`.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from seg_assets.core.errors import DamagedFileError
from seg_assets.core.numerics import rounded
from seg_assets.segments import algorithms
from seg_assets.segments.algorithms import Fitted
from seg_assets.segments.fitting.stability import TRUSTED, Stability
from seg_assets.segments.space import FeatureSpace

FORMAT = 1
OUTLIER = "outlier"


@dataclass(frozen=True)
class Segment:
    """One cluster of a model, on its fit day.

    means, medians: in the shop's own units, of users that are in it, nulls left out.
    distinctions: model-space column to (mean of the segment - mean of all) / standard deviation of all.
    story: the phrases behind the name, as "column:direction".
    """

    id: str
    name: str
    size: int
    share: float
    means: Mapping[str, float] = field(default_factory=dict)
    medians: Mapping[str, float] = field(default_factory=dict)
    distinctions: Mapping[str, float] = field(default_factory=dict)
    story: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentModel:
    """A fitted clustering of one strategy. `segments[j]` is cluster j of `fitted`.

    diagnostics are part of the content (and of the hash); they never hold seconds.
    """

    strategy: str
    fit_day: dt.date
    space: FeatureSpace
    fitted: Fitted
    segments: tuple[Segment, ...]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def model_id(self) -> str:
        """Content hash, 12 hex digits."""
        return _hash(self._content())

    @property
    def segment_ids(self) -> list[str]:
        """Permanent ids in cluster order."""
        return [s.id for s in self.segments]

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return self.fitted.n_clusters

    @property
    def stability(self) -> Stability | None:
        """Bootstrap stability as the fit measured it, by cluster; None when it was not measured."""
        kept = self.diagnostics.get("stability")
        return Stability.from_dict(dict(kept)) if kept and kept["replications"] else None

    @property
    def jaccard(self) -> dict[str, float]:
        """Bootstrap Jaccard by segment id, of the segments it was measured for (Hennig 2007)."""
        found = self.stability
        return {self.segment_ids[label]: value for label, value in found.jaccard.items()} if found else {}

    @property
    def trusted(self) -> dict[str, bool]:
        """Whether a segment came out again from resampled users, by id; one that was not tested is left out."""
        return {segment: value >= TRUSTED for segment, value in self.jaccard.items()}

    def scores(self, X: np.ndarray) -> np.ndarray:
        """(n, k) dissimilarities of model-space rows; smaller is closer."""
        return self.fitted.scores(X)

    def assign(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Each row of `frame` to its nearest segment. No rules, no hysteresis.

        Returns:
            user_id, segment_id (`outlier` where the algorithm says so), distance (score of the nearest cluster),
            margin (score of the second nearest minus that; inf with one cluster), confidence (0..1), second_id
            (null with one cluster). Row order is the frame's.
        """
        return self.assign_matrix(self.space.transform(frame), frame["user_id"])

    def assign_matrix(self, X: np.ndarray, user_ids: pd.Series) -> pd.DataFrame:
        """Like `assign`, from rows that are in model space already."""
        scores = self.scores(X)
        rows = np.arange(len(scores))
        nearest = scores.argmin(axis=1)
        best = scores[rows, nearest]
        alone = scores.shape[1] < 2
        names = [*self.segment_ids, OUTLIER]
        segment = np.where(self.fitted.outliers(X, scores), len(names) - 1, nearest)
        if alone:
            margin, second = np.full(len(scores), np.inf), np.full(len(scores), -1)
        else:
            others = scores.copy()
            others[rows, nearest] = np.inf
            second = others.argmin(axis=1)
            margin = scores[rows, second] - best
        return pd.DataFrame(
            {
                "user_id": user_ids.to_numpy(),
                "segment_id": texts_of(names, segment),
                "distance": best,
                "margin": margin,
                "confidence": self.fitted.confidence(X, scores),
                "second_id": texts_of(names, second),
            }
        )

    def labels(self, frame: pd.DataFrame) -> np.ndarray:
        """(n,) index of each row's segment in `segment_ids`, -1 for an outlier. What `assign` says, without texts."""
        X = self.space.transform(frame)
        scores = self.scores(X)
        return np.where(self.fitted.outliers(X, scores), -1, scores.argmin(axis=1))

    def renamed(self, segments: tuple[Segment, ...]) -> "SegmentModel":
        """The same clustering with other ids, names or numbers on its segments."""
        return replace(self, segments=segments)

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "strategy": self.strategy,
            "fit_day": self.fit_day.isoformat(),
            "algorithm": self.fitted.ALGORITHM,
            "space": self.space.to_dict(),
            "fitted": self.fitted.to_dict(),
            "segments": [{**vars(s), "story": list(s.story)} for s in self.segments],
            "diagnostics": dict(self.diagnostics),
        }

    def to_document(self) -> dict[str, Any]:
        """JSON-ready content with its `model_id`."""
        return {**json.loads(_canonical(self._content())), "model_id": self.model_id}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "segment model") -> "SegmentModel":
        """The model of a document.

        Raises:
            DamagedFileError: naming `where`, when the content is not what its hash says, or cannot be a model.
        """
        content = {k: v for k, v in document.items() if k != "model_id"}
        try:
            found = _hash(content)
            if found != document.get("model_id"):
                raise DamagedFileError(
                    f"{where}: model {document.get('model_id')}: its content has the hash {found}; the file was "
                    "changed after it was written. Restore it, or re-materialize segment_model for that day"
                )
            if content["format"] != FORMAT:
                raise DamagedFileError(f"{where}: model format {content['format']}, this version reads {FORMAT}")
            return cls(
                strategy=content["strategy"],
                fit_day=dt.date.fromisoformat(content["fit_day"]),
                space=FeatureSpace.from_dict(content["space"]),
                fitted=algorithms.restore(content["algorithm"], content["fitted"]),
                segments=tuple(Segment(**{**s, "story": tuple(s["story"])}) for s in content["segments"]),
                diagnostics=content["diagnostics"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{where}: not a segment model ({type(error).__name__}: {error})") from None


def texts_of(names: Sequence[str], codes: np.ndarray) -> pd.Series:
    """Texts by position, null for a negative one."""
    known = pa.array(codes, mask=codes < 0)
    return pd.Series(pd.array(pa.array(names, pa.large_string()).take(known), dtype="str"))


def settled(model: SegmentModel) -> SegmentModel:
    """The model as it will be read back: numbers rounded to what is stored, so both give equal labels."""
    content = rounded(json.loads(_canonical(model._content())))
    return SegmentModel.from_document({**content, "model_id": _hash(content)})


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _hash(content: Any) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:12]
