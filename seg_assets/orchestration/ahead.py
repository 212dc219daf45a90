"""Import in a thread what later steps of a run need, while its first steps wait for DuckDB.

dbt, scikit-learn and Evidently take up to 3 seconds of a day's 20 seconds to import, and DuckDB leaves most of one core
idle meanwhile. The steps import what they need themselves: a run without this module gives the same, a little later.

Not here: which step needs which library. `seg_assets.build` hands that in, since only the rooms know their libraries.
"""

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Importer:
    """A function that imports libraries, and the steps that use them."""

    steps: frozenset[str]
    import_libraries: Callable[[], object]


def import_ahead(steps: Collection[str], importers: Sequence[Importer]) -> threading.Thread | None:
    """Start the importers of these steps, one after the other in a thread of their own; None when no step needs one.

    The process waits for the thread when it ends: an interpreter must not go away under an import.
    """
    needed = [importer for importer in importers if importer.steps & set(steps)]
    if not needed:
        return None
    thread = threading.Thread(target=_import_all, args=(needed,), name="import_ahead")
    thread.start()
    return thread


def _import_all(importers: Sequence[Importer]) -> None:
    for importer in importers:
        # The step that needs the library fails with the reason.
        with contextlib.suppress(Exception):
            importer.import_libraries()
