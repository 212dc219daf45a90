"""Read what to simulate: the configuration, the scripts and the scenario files. Every wrong value is a ConfigError.

Not here: what a script does to users (`simulator.engine`).
"""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator

from seg_assets.core.days import LAST_YEAR, Zone
from seg_assets.core.days import Day as CalendarDay
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import describe_validation
from seg_assets.core.yaml_file import read_yaml
from seg_assets.simulator.behaviours import BEHAVIOURS, BOT, GONE, SHOPS, Behaviour, ShopKind

SCENARIOS = Path(__file__).parent / "scenarios"
Day = Annotated[int, Field(ge=0, le=20_000, description="Day of the run, 0 is the first")]
Days = Annotated[int, Field(ge=1, le=20_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Change(_Strict):
    """A behaviour: a built-in one (`like`), with fields multiplied and then set."""

    like: str | None = None
    multiply: dict[str, FiniteFloat] = {}
    set_: dict[str, Any] = Field(default={}, alias="set")

    @field_validator("like")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in BEHAVIOURS:
            raise ValueError(f"unknown behaviour {value!r}; one of {', '.join(BEHAVIOURS)}")
        return value

    @model_validator(mode="after")
    def _applies(self) -> "Change":
        self.of(BEHAVIOURS["loyal"])
        return self

    def of(self, base: Behaviour) -> Behaviour:
        """Return the behaviour, starting from `base` unless `like` names another."""
        return (BEHAVIOURS[self.like] if self.like else base).changed(self.set_, self.multiply)


class Segment(Change):
    """A latent segment of the shop at the start: its share of users and its behaviour."""

    share: float = Field(gt=0, le=1000)
    like: str | None = "loyal"


class Child(Change):
    """A part of a segment that splits. Without `like` it starts from the parent's behaviour."""

    share: float = Field(gt=0, le=1)


class _Scripted(_Strict):
    day: Day


class Promotion(_Scripted):
    """For some days more visits, more orders, more coupons; then all is as before."""

    kind: Literal["promotion"]
    days: Days = 3
    visits: float = Field(default=1.5, gt=0, le=50)
    orders: float = Field(default=1.5, gt=0, le=50)
    coupon: float = Field(default=0.7, ge=0, le=1)
    discount: float = Field(default=0.25, ge=0, le=0.95)
    reach: float = Field(default=0.5, ge=0, le=1, description="Share of users exposed to it on its first day")
    segments: list[str] | None = None


class Shift(_Scripted, Change):
    """From this day on a segment behaves differently. Its members and its name stay."""

    kind: Literal["shift"]
    segment: str
    ramp_days: int = Field(default=0, ge=0, le=365, description="Users change one by one over so many days")


class Split(_Scripted):
    """A segment splits: shares of it get behaviours of their own; the rest keeps the old one and the name."""

    kind: Literal["split"]
    segment: str
    into: dict[str, Child] = Field(min_length=1)
    ramp_days: int = Field(default=0, ge=0, le=365)

    @model_validator(mode="after")
    def _shares(self) -> "Split":
        total = sum(c.share for c in self.into.values())
        if total > 1 + 1e-9:
            raise ValueError(f"into: shares sum to {total:g}; at most 1 is allowed")
        return self


class Merge(_Scripted, Change):
    """Several segments become one. Without `like` it behaves as the first of them."""

    kind: Literal["merge"]
    segments: list[str] = Field(min_length=2)
    into: str
    ramp_days: int = Field(default=0, ge=0, le=365)


class Death(_Scripted):
    """A segment dies: its members leave the shop (`gone`) or become members of another segment."""

    kind: Literal["death"]
    segment: str
    into: str = GONE
    ramp_days: int = Field(default=0, ge=0, le=365)


class Birth(_Scripted, Change):
    """A new cohort of users, with a behaviour that was not there before, signs up over some days."""

    kind: Literal["birth"]
    segment: str
    like: str | None = "trend"
    share: float = Field(default=0.15, gt=0, le=10, description="Size against the users at the start")
    days: Days = 7


class Bots(_Scripted):
    """Robots with accounts: many page views at all hours, never an order."""

    kind: Literal["bots"]
    days: Days | None = None
    users: int = Field(default=2, ge=1, le=100_000)
    views_per_day: float = Field(default=300, gt=0, le=100_000)


class Duplicates(_Scripted):
    """Lines that come twice in the same file, with the same event id."""

    kind: Literal["duplicates"]
    days: Days | None = None
    share: float = Field(default=0.01, ge=0, le=1)


class Corrupt(_Scripted):
    """Extra lines that no contract accepts."""

    kind: Literal["corrupt"]
    days: Days | None = None
    share: float = Field(default=0.005, ge=0, le=1)


class Late(_Scripted):
    """Events that are not in the file of their day but in a later one."""

    kind: Literal["late"]
    days: Days | None = None
    every: Days = 1
    share: float = Field(default=0.01, ge=0, le=1)


Script = Annotated[
    Promotion | Shift | Split | Merge | Death | Birth | Bots | Duplicates | Corrupt | Late,
    Field(discriminator="kind"),
]
MESS = (Bots, Duplicates, Corrupt, Late)


class SimulationConfig(BaseModel):
    """One simulated shop. `scenario` (a preset's name or a YAML file) gives the fields that are not set here.

    Raises:
        ConfigError: naming the field, its value and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(default=500, ge=1, le=9_000_000, description="Users at the start")
    days: int = Field(default=40, ge=1, le=20_000)
    start: CalendarDay = dt.date(2024, 1, 1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    scenario: str = "plain"
    title: str = ""
    shop: str = "retail"
    segments: dict[str, Segment] | None = Field(default=None, description="Instead of the shop's own")
    scripts: list[Script] = []
    script_day: int | None = Field(
        default=None, ge=0, le=20_000, description="Move shop scripts so that the first starts on this day"
    )
    events_per_user_day: float | None = Field(default=None, gt=0, le=1000, description="Default: the shop's")
    growth: float = Field(default=0.001, ge=0, le=1, description="New users a day, share of `users`")
    mobility: float = Field(default=0.0, ge=0, le=1, description="Chance a day to change segment, per user")
    products: int = Field(default=400, ge=1, le=1_000_000)
    time_zone: Zone = "UTC"
    format: Literal["jsonl", "parquet"] = "jsonl"
    late: Literal["withheld", "delivered", "on_time"] = "withheld"

    def __init__(self, **data: Any) -> None:
        given = {k: v for k, v in data.items() if v is not None}
        given = {**read_scenario(given.get("scenario", "plain")), **given}
        given["scenario"] = str(given.get("scenario", "plain"))
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise ConfigError(describe_validation(error, f"simulation ({given['scenario']})")) from None

    @field_validator("shop")
    @classmethod
    def _known_shop(cls, value: str) -> str:
        if value not in SHOPS:
            raise ValueError(f"unknown shop; one of {', '.join(SHOPS)}")
        return value

    @field_validator("segments")
    @classmethod
    def _some_segments(cls, value: dict[str, Segment] | None) -> dict[str, Segment] | None:
        if value is not None and not value:
            raise ValueError("give at least one segment, or leave `segments` out")
        return value

    @model_validator(mode="after")
    def _coherent(self) -> "SimulationConfig":
        if self.start + dt.timedelta(days=self.days) > dt.date(LAST_YEAR + 1, 1, 1):
            raise ValueError(f"start {self.start} plus {self.days} days is past the calendar")
        if self.script_day is not None:
            moving = [s for s in self.scripts if not isinstance(s, MESS)]
            if moving:
                by = self.script_day - min(s.day for s in moving)
                moved = [s if isinstance(s, MESS) else s.model_copy(update={"day": s.day + by}) for s in self.scripts]
                object.__setattr__(self, "scripts", moved)
            object.__setattr__(self, "script_day", None)
        self._check_names()
        return self

    def _check_names(self) -> None:
        alive = set(self.initial_segments())
        for name in alive:
            if name in (GONE, BOT):
                raise ValueError(f"segments.{name}: the name is taken; choose another")

        def known(name: str, where: str) -> None:
            if name not in alive:
                raise ValueError(f"{where} = {name!r}: no such segment then; one of {', '.join(sorted(alive))}")

        def fresh(name: str, where: str, taken: set[str]) -> None:
            if name in taken or name in (GONE, BOT):
                raise ValueError(f"{where} = {name!r}: the name is taken; choose another")

        for n, script in sorted(enumerate(self.scripts), key=lambda item: item[1].day):
            where = f"scripts.{n}.{script.kind}"
            if isinstance(script, Promotion):
                for name in script.segments or ():
                    known(name, f"{where}.segments")
            elif isinstance(script, Shift):
                known(script.segment, f"{where}.segment")
            elif isinstance(script, Split):
                known(script.segment, f"{where}.segment")
                for name in script.into:
                    fresh(name, f"{where}.into", alive)
                if sum(c.share for c in script.into.values()) > 1 - 1e-9:
                    alive.discard(script.segment)
                alive.update(script.into)
            elif isinstance(script, Merge):
                for name in script.segments:
                    known(name, f"{where}.segments")
                alive.difference_update(script.segments)
                fresh(script.into, f"{where}.into", alive)
                alive.add(script.into)
            elif isinstance(script, Death):
                known(script.segment, f"{where}.segment")
                alive.discard(script.segment)
                if script.into != GONE:
                    known(script.into, f"{where}.into")
            elif isinstance(script, Birth):
                fresh(script.segment, f"{where}.segment", alive)
                alive.add(script.segment)

    def shop_kind(self) -> ShopKind:
        """Return the kind of shop."""
        return SHOPS[self.shop]

    def initial_segments(self) -> dict[str, tuple[float, Behaviour]]:
        """Return the latent segments at the start: share of users (summing to 1) and behaviour."""
        if self.segments is not None:
            segments = {k: (s.share, s.of(BEHAVIOURS["loyal"])) for k, s in self.segments.items()}
        else:
            segments = {k: (share, BEHAVIOURS[like]) for k, (share, like) in self.shop_kind().segments.items()}
        total = sum(share for share, _ in segments.values())
        return {k: (share / total, behaviour) for k, (share, behaviour) in segments.items()}

    def last_day(self) -> dt.date:
        """Return the last simulated day."""
        return self.start + dt.timedelta(days=self.days - 1)

    def day(self, n: int) -> dt.date:
        """Return the date of day `n` of the run."""
        return self.start + dt.timedelta(days=n)


def scenario_names() -> list[str]:
    """Return the names of the shipped scenarios, sorted."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def read_scenario(name: str | Path) -> dict[str, Any]:
    """Read the fields that a scenario sets: a preset's name, or a path to a YAML file.

    Raises:
        ConfigError: no such scenario, not a mapping, not YAML.
    """
    path = SCENARIOS / f"{name}.yaml"
    if str(name) not in scenario_names():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigError(
                f"scenario = {str(name)!r}: unknown; one of {', '.join(scenario_names())}, or a .yaml file"
            )
    loaded = read_yaml(path)
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping of simulation fields, found {type(loaded).__name__}")
    loaded.pop("scenario", None)
    return {str(name): value for name, value in loaded.items()}
