"""Read back what was planted, from the truth files beside the data. Not here: writing them (`simulator.engine`)."""

import datetime as dt
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from seg_assets.core.errors import ConfigError
from seg_assets.simulator.landing import MARKER, TRUTH


@dataclass(frozen=True)
class Truth:
    """The planted truth of one simulated landing folder. Frames are read when first asked for."""

    landing: Path

    @classmethod
    def load(cls, landing: Path) -> "Truth":
        """Open the truth beside a landing folder.

        Raises:
            ConfigError: when the folder was not simulated, or only partly.
        """
        landing = Path(landing)
        if not (landing / TRUTH / "counts.parquet").exists():
            raise ConfigError(f"landing = {landing}: no complete simulation there; run `seg-assets simulate`")
        return cls(landing)

    @property
    def folder(self) -> Path:
        """The folder of the truth files."""
        return self.landing / TRUTH

    @cached_property
    def users(self) -> pd.DataFrame:
        """One row per user: user_id, segment (last one), first_segment, signup_day, is_bot."""
        return self._frame("users")

    @cached_property
    def membership(self) -> pd.DataFrame:
        """One row per user and change of latent segment: user_id, from_day, segment."""
        return self._frame("membership")

    @cached_property
    def identities(self) -> pd.DataFrame:
        """One row per cookie: anonymous_id, user_id, first_day, linked_day (null: never logged in)."""
        return self._frame("identities")

    @cached_property
    def counts(self) -> pd.DataFrame:
        """One row per day: what its files hold (see docs/simulator.md)."""
        return self._frame("counts")

    @cached_property
    def script(self) -> dict[str, Any]:
        """`config`, `segments` (behaviour at the start) and `scripts` (what happened on which day)."""
        return json.loads((self.folder / MARKER).read_text(encoding="utf-8"))

    @property
    def scripts(self) -> list[dict[str, Any]]:
        """What was scripted: kind, day, last_day, users, expected, ..."""
        return self.script["scripts"]

    def segments_on(self, day: dt.date) -> pd.Series:
        """Return the latent segment of each user known on `day`, indexed by user_id."""
        past = self.membership[self.membership["from_day"] <= pd.Timestamp(day)]
        return past.groupby("user_id")["segment"].last()

    def late_days(self) -> list[dt.date]:
        """Return the days whose late file waits for `deliver_late`."""
        return sorted(dt.date.fromisoformat(p.name[:10]) for p in (self.folder / "late").glob("*.late-1.*"))

    def _frame(self, name: str) -> pd.DataFrame:
        frame = pd.read_parquet(self.folder / f"{name}.parquet")
        for column in frame.columns:
            if column == "day" or column.endswith("_day"):
                frame[column] = pd.to_datetime(frame[column])
        return frame
