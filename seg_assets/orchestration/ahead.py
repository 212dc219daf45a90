"""Import in a thread what later steps of a run need, while its first steps wait for DuckDB.

dbt, scikit-learn and Evidently take 3 seconds to import in a day of 20, and DuckDB leaves most of one core idle. The
steps import what they need themselves: a run is the same without this module, and a little slower.
"""

import contextlib
import importlib
import threading
from collections.abc import Callable, Collection

from seg_assets.core.imports import quick_imports


def import_ahead(steps: Collection[str]) -> threading.Thread | None:
    """Start importing what these steps import; None when they need nothing of it.

    The process waits for the thread when it ends: an interpreter must not go away under an import.
    """
    wanted = [bring for users, bring in _BROUGHT if users & set(steps)]
    if not wanted:
        return None
    thread = threading.Thread(target=_bring, args=(wanted,), name="import_ahead")
    thread.start()
    return thread


def _bring(wanted: list[Callable[[], object]]) -> None:
    for bring in wanted:
        # The step that needs it fails with the reason.
        with contextlib.suppress(Exception):
            bring()


def _dbt() -> None:
    with quick_imports("dbt.cli.main"):
        importlib.import_module("dbt.cli.main")
        importlib.import_module("dbt.adapters.duckdb")


def _scikit_learn() -> None:
    from seg_assets.core.numerics import libraries

    libraries()


def _evidently() -> None:
    from seg_assets.drift.evidently_report import import_evidently

    import_evidently()


# Steps, and what they use; in the order in which a day needs it.
_LEARNS = frozenset({"segment_model", "user_segments", "segment_evaluation", "segment_validity", "drift_report"})
_BROUGHT: tuple[tuple[frozenset[str], Callable[[], object]], ...] = (
    (frozenset({"dbt_profiles"}), _dbt),
    (_LEARNS, _scikit_learn),
    (frozenset({"drift_report"}), _evidently),
)
