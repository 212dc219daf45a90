"""What may be asked of a strategy on a day, and what came of it.

Not here: answering (`decide`), and Dagster's run config with the same fields (`segments.model_assets`).
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from seg_assets.core.digests import digest
from seg_assets.segments.decisions.store import Decision
from seg_assets.segments.fitting.fit import Challenger


@dataclass(frozen=True)
class DecisionRequest:
    """A decision that somebody asks for. against_model_id: the champion to be challenged; empty: whichever it is."""

    strategy: str
    day: dt.date
    cause: str
    against_model_id: str = ""
    attempt: int = 0
    note: str = ""

    @property
    def digest(self) -> str:
        """Hash of what is asked, without the note: the same request makes one decision, however often it comes."""
        return digest([self.strategy, self.day.isoformat(), self.cause, self.against_model_id, self.attempt])


@dataclass(frozen=True)
class DecisionResult:
    """What became of one strategy on one day.

    action: none (nothing due), kept (a decision was in the lake and its inputs are unchanged), written, withdrawn.
    challenger: the fit, when one was made.
    dropped: later days whose derived decisions went, because they rested on another past.
    """

    strategy: str
    day: dt.date
    action: Literal["none", "kept", "written", "withdrawn"]
    reason: str
    decision: Decision | None = None
    challenger: Challenger | None = None
    dropped: tuple[dt.date, ...] = ()
