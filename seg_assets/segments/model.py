"""A segment model: fitted transforms, clusters and their permanent ids, as JSON that carries its own hash.

No pickle: what is read from the lake is numbers and text, checked against the hash before use.

Not here: fitting one (`fitting.fit`), measuring its stability (`fitting.stability`), and when it counts (`decisions`).
"""

import datetime as dt
import hashlib
import json
import math
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
from seg_assets.segments.rules import OUTLIER, TITLES, rule_ids
from seg_assets.segments.space import FeatureSpace
from seg_assets.segments.strategy import Strategy

FORMAT = 1
# Bootstrap Jaccard from which a segment is trusted (Hennig 2007).
TRUSTED = 0.6


@dataclass(frozen=True)
class Stability:
    """Bootstrap stability: mean Jaccard per label, the mean ARI, and how many replications they rest on."""

    jaccard: dict[int, float]
    ari: float
    replications: int
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready content."""
        return {
            "jaccard": {str(label): value for label, value in self.jaccard.items()},
            "ari": None if math.isnan(self.ari) else self.ari,
            "replications": self.replications,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Stability":
        """Return the stability that `to_dict` wrote."""
        return cls(
            {int(label): value for label, value in document["jaccard"].items()},
            math.nan if document["ari"] is None else document["ari"],
            document["replications"],
            document["reason"],
        )


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

    diagnostics: part of the content, and of the hash; they never hold seconds.
    algorithm_version: of an algorithm that is not shipped, as it was when the model was fitted; else empty, and then
        the document does not mention it.
    """

    strategy: str
    fit_day: dt.date
    space: FeatureSpace
    fitted: Fitted
    segments: tuple[Segment, ...]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    algorithm_version: str = ""

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
        stored = self.diagnostics.get("stability")
        return Stability.from_dict(stored) if stored and stored["replications"] else None

    @property
    def jaccard(self) -> dict[str, float]:
        """Bootstrap Jaccard by segment id, of the segments it was measured for (Hennig 2007)."""
        measured = self.stability.jaccard if self.stability else {}
        return {self.segment_ids[label]: value for label, value in measured.items()}

    @property
    def trusted(self) -> dict[str, bool]:
        """Whether a segment came out again from resampled users, by id; one that was not tested is left out."""
        return {segment: value >= TRUSTED for segment, value in self.jaccard.items()}

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return (n, k) dissimilarities of model-space rows; smaller is closer."""
        return self.fitted.scores(X)

    def assign(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Assign each row of `frame` to its nearest segment. No rules, no hysteresis.

        Returns:
            user_id, segment_id (`outlier` where the algorithm says so), distance (score of the nearest cluster),
            margin (score of the second nearest minus that; inf with one cluster), confidence (0..1), second_id
            (null with one cluster). Row order is the frame's.
        """
        return self.assign_matrix(self.space.transform(frame), frame["user_id"])

    def assign_matrix(self, X: np.ndarray, user_ids: pd.Series) -> pd.DataFrame:
        """Do what `assign` does, from rows that are in model space already."""
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
        """Return (n,) the index of each row's segment in `segment_ids`, -1 for an outlier: `assign` without texts."""
        X = self.space.transform(frame)
        scores = self.scores(X)
        return np.where(self.fitted.outliers(X, scores), -1, scores.argmin(axis=1))

    def renamed(self, segments: tuple[Segment, ...]) -> "SegmentModel":
        """Return the same clustering with other ids, names or numbers on its segments."""
        return replace(self, segments=segments)

    def _content(self) -> dict[str, Any]:
        """Return what the hash is taken of."""
        return {
            "format": FORMAT,
            "strategy": self.strategy,
            "fit_day": self.fit_day.isoformat(),
            "algorithm": self.fitted.ALGORITHM,
            **({"algorithm_version": self.algorithm_version} if self.algorithm_version else {}),
            "space": self.space.to_dict(),
            "fitted": self.fitted.to_dict(),
            "segments": [{**vars(s), "story": list(s.story)} for s in self.segments],
            "diagnostics": dict(self.diagnostics),
        }

    def to_document(self) -> dict[str, Any]:
        """Return JSON-ready content with its `model_id`."""
        return {**json.loads(_canonical(self._content())), "model_id": self.model_id}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "segment model") -> "SegmentModel":
        """Return the model of a document.

        Raises:
            DamagedFileError: naming `where`, when the content is not what its hash says, or cannot be a model.
        """
        content = {k: v for k, v in document.items() if k != "model_id"}
        try:
            actual = _hash(content)
            if actual != document.get("model_id"):
                raise DamagedFileError(
                    f"{where}: model {document.get('model_id')}: its content has the hash {actual}; the file was "
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
                algorithm_version=content.get("algorithm_version", ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{where}: not a segment model ({type(error).__name__}: {error})") from None


def texts_of(names: Sequence[str], codes: np.ndarray) -> pd.Series:
    """Return texts by position, null for a negative one."""
    known = pa.array(codes, mask=codes < 0)
    return pd.Series(pd.array(pa.array(names, pa.large_string()).take(known), dtype="str"))


def segment_names(strategy: Strategy, champion: SegmentModel | None) -> dict[str, str]:
    """Return the readable name of each segment id: the champion's clusters and every rule."""
    names = {segment: TITLES[rule] for rule, segment in rule_ids(strategy.name).items()}
    return {**names, **({s.id: s.name for s in champion.segments} if champion else {})}


def marked_names(strategy: Strategy, champion: SegmentModel | None) -> dict[str, str]:
    """Return names as they are shown: a segment that did not come out again from resampled users says so."""
    doubted = {s for s, fine in (champion.trusted if champion else {}).items() if not fine}
    return {s: f"{n} (untrusted)" if s in doubted else n for s, n in segment_names(strategy, champion).items()}


def as_stored(model: SegmentModel) -> SegmentModel:
    """Return the model as it will be read back: numbers rounded to what is stored, so both give equal labels."""
    content = rounded(json.loads(_canonical(model._content())))
    return SegmentModel.from_document({**content, "model_id": _hash(content)})


def _canonical(content: Any) -> str:
    """Write content as the JSON that the hash is taken of."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _hash(content: Any) -> str:
    """Return 12 hex digits of the content's SHA-256."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:12]
