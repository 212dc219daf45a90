"""Errors that a user can act on. Each message names the file or table, the field, the value and the remedy.

Not here: defects of our own, which are raised as Python's own errors.
"""

import difflib
from collections.abc import Iterable


class SegAssetsError(Exception):
    """Base of every error that seg-assets raises on purpose."""


class ConfigError(SegAssetsError):
    """A setting, a source YAML or a strategy YAML is wrong."""


class MissingDaysError(SegAssetsError):
    """A computation needs days that were never materialized."""


class DamagedFileError(SegAssetsError):
    """A lake file does not hold what its footer says it holds."""


class HashKindError(SegAssetsError):
    """Lake files carry content hashes of another kind than this version computes, so that nothing can be compared."""


class LandingError(SegAssetsError):
    """The landing zone of a day cannot be read, or holds no data yet."""


class LakeWriteError(SegAssetsError, OSError):
    """A day could not be written (full disk, no permission, store away). The old day stays; a retry may help."""


class ChangedMeanwhileError(SegAssetsError):
    """Somebody else changed what a decision was made from before it was written; nothing was written."""


class InstanceError(SegAssetsError):
    """Dagster's instance (its dagster.yaml, its storage) cannot be used. The lake does not depend on it."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ', did you mean X?' when one of `known` is near, else ''."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""
