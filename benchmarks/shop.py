"""The shop that is measured: its sizes, its settings, where each subject reads and writes. Imports nothing heavy."""

import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent
STRATEGY = "bench"
START = dt.date(2024, 1, 1)
FEATURES = (
    "active_days_28d", "active_days_90d", "sessions_90d", "views_28d", "views_90d", "searches_90d", "carts_90d",
    "orders_28d", "orders_90d", "gross_28d", "gross_90d", "coupons_90d", "campaigns_90d", "order_value_mean_90d",
    "inactive_days", "tenure_days",
)  # fmt: skip
SEGMENTS = 10
DRIFT_LIMIT = 0.1
SEED = 1


@dataclass(frozen=True)
class Size:
    """How large the bench is.

    users, days, pace: the shop of the rooms and the whole day; pace is events per user and day.
    range_users, range_days: the shop of one run over many days beside a run of one day.
    flat_users, flat_days: the shop of a late day beside an early one; the shop of the range when it has as many users.
    at_once: pieces of work that run at a time. Two is quicker, and adds to every wall time and a little to CPU time.
    """

    name: str
    users: int
    days: int
    pace: float
    range_users: int
    range_days: int
    flat_users: int
    flat_days: tuple[int, int]
    at_once: int = 1


SIZES = {
    "full": Size("full", 1_000_000, 90, 0.1, 10_000, 365, 100_000, (60, 365)),
    "small": Size("small", 100_000, 10, 0.9, 2_000, 16, 2_000, (8, 16), at_once=2),
    "tiny": Size("tiny", 250, 10, 0.5, 50, 4, 50, (2, 4)),
}


@dataclass(frozen=True)
class Place:
    """One shop on disk: landing files, lake, and what each subject wrote for the last day."""

    home: str
    first: str
    last: str
    time_zone: str = "UTC"

    @classmethod
    def of(cls, home: Path, days: int) -> "Place":
        """The shop of `days` days under `home`."""
        return cls(str(home), START.isoformat(), (START + dt.timedelta(days=days - 1)).isoformat())

    @property
    def landing(self) -> Path:
        """Where the landing files are."""
        return Path(self.home) / "landing"

    @property
    def lake(self) -> Path:
        """Where ours publishes."""
        return Path(self.home) / "lake"

    @property
    def day(self) -> dt.date:
        """The day that is measured: the last one."""
        return dt.date.fromisoformat(self.last)

    @property
    def days(self) -> list[dt.date]:
        """Every day of the shop."""
        start = dt.date.fromisoformat(self.first)
        return [start + dt.timedelta(days=n) for n in range((self.day - start).days + 1)]

    def out(self, subject: str, room: str) -> Path:
        """Folder of what a subject other than ours writes for a room."""
        folder = Path(self.home) / "out" / subject / room
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def events(self, day: dt.date) -> Path:
        """The landing file of a day's events."""
        return self.landing / "events" / f"{day}.parquet"

    def table(self, name: str, day: dt.date) -> Path:
        """One day of a lake table."""
        return self.lake / name / f"day={day}" / "data.parquet"

    def environment(self) -> dict[str, str]:
        """The shop's settings, as a user of seg-assets would set them."""
        return {
            "SEG_ASSETS_HOME": self.home,
            "SEG_ASSETS_SOURCE": "simulator_parquet",
            "SEG_ASSETS_STRATEGIES": str(ROOT / "strategies"),
            "SEG_ASSETS_START_DAY": self.first,
            "SEG_ASSETS_END_DAY": self.last,
            "SEG_ASSETS_SEED": str(SEED),
            "DAGSTER_HOME": str(Path(self.home) / "dagster"),
            "DO_NOT_TRACK": "1",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }

    def to_json(self) -> str:
        """For a child process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Place":
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process' environment without any other shop's settings (the switch of the seams stays), and with `extra`.

    Compiled bytecode is kept, as in any ordinary installation: compiling Dagster anew takes longer than a day.
    """
    dropped = ("DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE")
    ours = [name for name in os.environ if name.startswith("SEG_ASSETS_") and name != "SEG_ASSETS_SEAMS"]
    kept = {k: v for k, v in os.environ.items() if k not in ours and k not in dropped}
    return {**kept, **extra}
