"""Read a strategy, one way to segment, from YAML: what it may say, and what is wrong when it says something else.

Not here: reading profiles (`features`), the numbers that a distance sees (`space`), and what an algorithm's
`parameters` may be (each file of `algorithms`).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from seg_assets.core.columns import CATEGORY_PREFIX, COLUMNS
from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.settings import Settings
from seg_assets.core.yaml_file import read_yaml
from seg_assets.events.contract import CHANNELS, DEVICES
from seg_assets.profiles.project import profile_types
from seg_assets.segments import algorithms

SLUG = r"^[a-z][a-z0-9_]{0,30}$"
# The largest number that a distance takes: the squares of greater ones run over when users are summed up.
LARGEST = 1e100
# The most that a count of users or orders may be: no shop has more, and comparisons with far greater ones overflow.
MANY = 1_000_000_000
# Key of the strategies' settings among the inputs in a footer.
STRATEGIES_KEY = "strategies"
SHIPPED = Path(__file__).parent / "strategies"
Transform = Literal["none", "log1p", "signed_log1p", "sqrt", "rank", "winsor"]


# The columns that every user_profiles has. A shop may add more: `strategies_of` asks the profiles room.
PROFILE_COLUMNS = frozenset(
    [
        *COLUMNS,
        *(f"channel_{name}_share_90d" for name in CHANNELS),
        *(f"device_{name}_share_90d" for name in DEVICES),
    ]
)
TEXT_COLUMNS = frozenset({"user_id", *(name for name, quantity in COLUMNS.items() if quantity.unit == "text")})


def _no_truth(value: Any) -> Any:
    """Refuse a truth value: Python takes true for 1, so `starts: yes` would be one start."""
    if isinstance(value, bool):
        raise ValueError("a truth value, where none is asked for")  # noqa: TRY004  pydantic reads ValueErrors
    return value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return value if cls.model_fields[str(info.field_name)].annotation is bool else _no_truth(value)


class OneHot(_Part):
    """A text column as indicator columns of its commonest levels; the block as a whole has variance 1."""

    top: int = Field(default=8, ge=1, le=100, description="Levels kept; the others share one point")


class CategoryShares(_Part):
    """The shares of the shop's commonest categories as a block of columns with total variance 1."""

    top: int = Field(default=12, ge=1, le=200, description="Categories kept, by users who bought in them")
    transform: Transform = "sqrt"
    weight: float = Field(default=1.0, gt=0, le=100)


class Feature(_Part):
    """One thing that a distance sees: a profile column, or the block of category shares."""

    column: str | None = None
    category_shares: CategoryShares | None = None
    transform: Transform = "none"
    weight: float = Field(
        default=1.0, gt=0, le=100, description="Factor on the coordinate; squared distance takes its square"
    )
    missing: Literal["median", "zero", "minimum", "maximum"] | float = Field(
        default="median", description="What a null counts as, in the column's own unit"
    )
    limits: tuple[float, float] = Field(default=(0.01, 0.99), description="Quantiles that winsor clips at")
    one_hot: OneHot | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Feature":
        if (self.column is None) == (self.category_shares is None):
            raise ValueError("give either `column` or `category_shares`, one of the two")
        if self.category_shares is not None and self.model_fields_set - {"category_shares"}:
            extra = ", ".join(sorted(self.model_fields_set - {"category_shares"}))
            raise ValueError(f"{extra} beside category_shares: write it inside category_shares, or leave it out")
        if isinstance(self.missing, float) and abs(self.missing) > LARGEST:
            raise ValueError(f"missing = {self.missing!r}: a number from {-LARGEST:g} to {LARGEST:g}")
        low, high = self.limits
        if not 0 <= low < high <= 1:
            raise ValueError("limits are two quantiles, 0 <= low < high <= 1")
        if self.one_hot and "transform" in self.model_fields_set:
            raise ValueError("a one_hot column takes no transform")
        return self

    @property
    def name(self) -> str:
        """Profile column, or `category_shares`."""
        return self.column or "category_shares"


class Clusters(_Part):
    """How many segments may be chosen."""

    min: int = Field(default=4, ge=1, le=200)
    max: int = Field(default=8, ge=1, le=200)

    @model_validator(mode="after")
    def _ordered(self) -> "Clusters":
        if self.min > self.max:
            raise ValueError(f"k.min {self.min} is above k.max {self.max}")
        return self


class Eligibility(_Part):
    """Who is clustered. The others carry a rule segment."""

    minimum_orders: int = Field(default=0, ge=0, le=MANY, description="Least orders_all")
    minimum_active_days: int = Field(default=0, ge=0, le=MANY, description="Least active_days_all")
    minimum: dict[str, Annotated[float, BeforeValidator(_no_truth)]] = Field(
        default_factory=dict, description="Least value of any profile column"
    )
    any_known: tuple[str, ...] = Field(default=(), description="At least one of these columns is not null")

    @property
    def minimums(self) -> dict[str, float]:
        """Least value by profile column, of every column that excludes anybody."""
        counts = {"orders_all": self.minimum_orders, "active_days_all": self.minimum_active_days}
        least = {**counts, **self.minimum}
        return {column: float(value) for column, value in least.items() if column in self.minimum or value > 0}


class Rules(_Part):
    """Rule segments that come before clustering."""

    new_within_days: int | None = Field(
        default=14, ge=1, le=3650, description="First seen fewer days ago than this: new"
    )
    dormant_after_days: int | None = Field(
        default=90, ge=1, le=3650, description="No event for this many days: dormant"
    )
    bots: bool = Field(default=True, description="Suspected bots get their own rule segment")


class Fit(_Part):
    """How a model is fitted."""

    sample: int = Field(default=20_000, ge=50, le=1_000_000, description="Users drawn for the fit")
    starts: int = Field(default=10, ge=1, le=100, description="Random starts; the best is kept")
    minimum_users: int = Field(default=100, ge=2, le=MANY, description="Eligible users below which nothing is fitted")
    minimum_history_days: int = Field(default=28, ge=1, le=3650, description="Days of history before a first fit")


class Hysteresis(_Part):
    """When a user changes segment. Measured trade-off: docs/strategies.md."""

    margin: float = Field(default=0.2, ge=0, lt=1, description="Relative margin past which a move is at once")
    dwell_days: int = Field(default=3, ge=0, le=365, description="Days in a row after which a move is made anyway")


class Drift(_Part):
    """What drift_report watches, and when a day counts as drifted."""

    columns: tuple[str, ...] = Field(default=(), description="Profile columns compared; empty: the features")
    limit: float = Field(default=0.1, gt=0, le=10, description="Distance from which a column has drifted")
    limit_users: int = Field(
        default=5_000, ge=1, le=MANY, description="Users at which `limit` holds; below it grows as 1/sqrt(users)"
    )
    missing_points: float = Field(default=0.02, ge=0, le=1, description="Rise of the missing share that is drift")
    share_variation: float = Field(
        default=0.05, gt=0, le=1, description="Total variation of segment shares that is drift"
    )
    days_in_row: int = Field(default=3, ge=1, le=365)
    cool_down_days: int = Field(default=14, ge=0, le=3650, description="Least days between two decisions")
    maximum_age_days: int | None = Field(default=180, ge=1, le=36500, description="Champion's greatest age")
    settled_after_days: int | None = Field(
        default=None,
        ge=0,
        le=36500,
        description="Days of history before drift or age may ask; default: the longest window that adds up",
    )
    positions: int = Field(default=2_000, ge=10, le=50_000, description="Quantiles kept per column")


class Gate(_Part):
    """What a challenger must show before it is promoted."""

    minimum_gain: float = Field(default=0.03, ge=-1, le=1, description="Least relative gain out of sample")
    minimum_stability: float = Field(default=0.6, ge=0, le=1, description="Least bootstrap agreement")
    maximum_relabelled: float = Field(default=0.6, ge=0, le=1, description="Greatest share of users relabelled")
    maximum_relabelled_per_gain: float = Field(
        default=10.0, gt=0, le=MANY, description="Greatest share relabelled per unit of relative gain"
    )


class Strategy(_Part):
    """One way to segment. `docs/strategies.md` describes every key."""

    name: str = Field(pattern=SLUG)
    title: str = Field(min_length=1, max_length=80)
    description: str = ""
    algorithm: str = "kmeans"
    parameters: dict[str, Any] = Field(default_factory=dict)
    features: tuple[Feature, ...] = Field(min_length=1)
    scaling: Literal["standard", "robust", "none"] = "standard"
    pca: int | None = Field(default=None, ge=1, le=MANY, description="Principal components kept; none: all")
    k: Clusters = Clusters()
    minimum_share: float = Field(default=0.02, ge=0, lt=0.5)
    eligibility: Eligibility = Eligibility()
    rules: Rules = Rules()
    fit: Fit = Fit()
    hysteresis: Hysteresis = Hysteresis()
    drift: Drift = Drift()
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _no_twins(self) -> "Strategy":
        names = [f.name for f in self.features]
        twins = sorted({n for n in names if names.count(n) > 1})
        if twins:
            raise ValueError(f"features: {', '.join(twins)} given twice; a feature counts once, use `weight`")
        return self

    def digest(self) -> str:
        """Hash everything that changes a result (not the title and description)."""
        return digest(self.model_dump(mode="json", exclude={"title", "description"}))

    def fit_digest(self) -> str:
        """Hash what a fit and its gate depend on: a new hysteresis or cool-down does not ask for a refit."""
        dump = self.model_dump(mode="json", exclude={"title", "description", "hysteresis", "drift"})
        return digest([dump, list(self.drift.columns), self.drift.positions])

    @property
    def category_top(self) -> int | None:
        """Categories of the category_shares block, None without one."""
        return next((f.category_shares.top for f in self.features if f.category_shares), None)

    def columns(self) -> list[str]:
        """Return every profile column the strategy names, sorted."""
        named = {f.column for f in self.features if f.column}
        named.update(self.eligibility.minimum, self.eligibility.any_known)
        named.update(c for c in self.drift.columns if not c.startswith(CATEGORY_PREFIX))
        return sorted(named)


def shipped_strategies() -> dict[str, Path]:
    """Return names and files of the strategies that come with the package."""
    return {p.stem: p for p in sorted(SHIPPED.glob("*.yaml"))}


def load_strategies(folder: Path, columns: Iterable[str] | None = None) -> dict[str, Strategy]:
    """Read every `*.yaml` / `*.yml` of a folder, sorted by name.

    Args:
        folder: the strategies folder.
        columns: columns of user_profiles, or a mapping of them to DuckDB types; default: those that every project
            has. `strategies_of(settings)` also knows the ones a project has added, so rooms use that.

    Raises:
        ConfigError: naming file, field, value and what is allowed.
    """
    if not folder.is_dir():
        raise ConfigError(f"strategies = {folder}: no such folder")
    known = PROFILE_COLUMNS if columns is None else columns
    strategies: dict[str, Strategy] = {}
    origin: dict[str, Path] = {}
    for file in sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file()):
        strategy = read_strategy(file, known)
        if strategy.name in strategies:
            raise ConfigError(f"{file}: name = {strategy.name!r}: also the name in {origin[strategy.name]}")
        strategies[strategy.name], origin[strategy.name] = strategy, file
    if not strategies:
        raise ConfigError(f"strategies = {folder}: holds no *.yaml file; a shop needs at least one strategy")
    return dict(sorted(strategies.items()))


def strategies_of(settings: Settings) -> dict[str, Strategy]:
    """Read the shop's strategies and check them against the columns that its own user_profiles has."""
    return load_strategies(settings.strategies, profile_types(settings))


def choose_strategies(settings: Settings, name: str | None, place: str = "--strategy") -> dict[str, Strategy]:
    """Return the strategy that a user named, or all of the shop's when `name` is None.

    Raises:
        ConfigError: the shop has no such strategy; `place` says where it was named.
    """
    known = strategies_of(settings)
    if name is None:
        return known
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"{place} {name!r}: no such strategy{hint}; there are: {', '.join(known)}")
    return {name: known[name]}


def choose_strategy(settings: Settings, name: str, place: str = "--strategy") -> Strategy:
    """Return the one strategy that a user named, as `choose_strategies` does."""
    return choose_strategies(settings, name, place)[name]


def read_strategy(file: Path, columns: Iterable[str] = PROFILE_COLUMNS) -> Strategy:
    """Read and check one strategy YAML."""
    loaded = read_yaml(file)
    if not isinstance(loaded, dict):
        raise ConfigError(f"{file}: expected a mapping with name, title, features, found {type(loaded).__name__}")
    return parse_strategy(loaded, str(file), columns)


def parse_strategy(
    values: Mapping[str, Any], where: str = "strategy", columns: Iterable[str] = PROFILE_COLUMNS
) -> Strategy:
    """Check one strategy given as a mapping; `where` is named in errors."""
    try:
        strategy = Strategy(**values)
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise ConfigError(f"{where}: {error}; keys must be text") from None
        raise ConfigError(_describe(error, where)) from None
    _check_columns(strategy, where, columns)
    _check_algorithm(strategy, where)
    return strategy


def _describe(error: ValidationError, where: str) -> str:
    """Say what pydantic refused, a line each: field, value and what is allowed."""
    lines = []
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        field = ".".join(path) or "(whole)"
        if item["type"] == "extra_forbidden":
            allowed = _allowed_keys(item["loc"][:-1])
            lines.append(
                f"{where}: {field}: unknown key{did_you_mean(path[-1], allowed)}; allowed: {', '.join(allowed)}"
            )
        elif item["type"] == "missing":
            lines.append(f"{where}: {field}: required, and not there")
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = "" if isinstance(item.get("input"), Mapping) else f" = {item.get('input')!r}"[:200]
            lines.append(f"{where}: {field}{shown}: {message}")
    return "\n".join(lines)


def _allowed_keys(path: Iterable[str | int]) -> list[str]:
    """Return the keys of the part of a strategy that a path leads to."""
    part: type[BaseModel] = Strategy
    for key in path:
        if key in part.model_fields:
            part = next(_parts_in(part.model_fields[key].annotation), part)
    return list(part.model_fields)


def _parts_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation names, within tuples, unions and the like too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts_in(inner)


def strategies_digest(strategies: Mapping[str, Strategy]) -> str:
    """Return the `strategies` input of a footer: a day is stale when a strategy that it was made with changed."""
    return digest({name: strategy.digest() for name, strategy in strategies.items()})


def _check_columns(strategy: Strategy, where: str, columns: Iterable[str]) -> None:
    """Refuse columns that the profiles do not have, and text where numbers are needed."""
    kinds = columns if isinstance(columns, Mapping) else {}
    known = frozenset(columns) - {"user_id"}
    texts = TEXT_COLUMNS | {c for c, kind in kinds.items() if kind.upper() == "VARCHAR"}
    for place, names in (
        ("features", [f.column for f in strategy.features if f.column]),
        ("eligibility.minimum", list(strategy.eligibility.minimum)),
        ("eligibility.any_known", list(strategy.eligibility.any_known)),
        ("drift.columns", list(strategy.drift.columns)),
    ):
        for name in names:
            if place == "drift.columns" and name.startswith(CATEGORY_PREFIX):
                continue
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(
                    f"{where}: {place}: column = {name!r}: user_profiles has no such column{hint or ';'} "
                    f"it has {len(known)}: {', '.join(sorted(known)[:12])}, ..."
                )
    for feature in strategy.features:
        if feature.column in texts and not feature.one_hot:
            raise ConfigError(f"{where}: features: column = {feature.column!r}: holds text; add `one_hot: {{top: 8}}`")
    for name in strategy.eligibility.minimum:
        if name in texts:
            raise ConfigError(
                f"{where}: eligibility.minimum: column = {name!r}: holds text, which has no least value; "
                "name a column of numbers, or `any_known` to ask that it is known"
            )


def _check_algorithm(strategy: Strategy, where: str) -> None:
    """Refuse an algorithm that is not there, a parameter it does not have, and what it cannot serve."""
    try:
        algorithms.named(strategy.algorithm).check(strategy)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from None
