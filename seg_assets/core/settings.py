"""One Settings object. Read from the environment when asked, never at import.

Every field can be set as an environment variable `SEG_ASSETS_<FIELD>`, or in the YAML file that
`SEG_ASSETS_SETTINGS` names; the environment wins. Nothing else in the project reads the environment.
"""

import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator
from upath import UPath

from seg_assets.core.days import Day, zone_names
from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.yaml_file import read_yaml

PREFIX = "SEG_ASSETS_"
# Variables with our prefix that are no fields: the settings file, dbt's threads (dbt_project/profiles.yml), how many
# shops a test makes up, and the switch of `seams`. Any other is a mistyped field.
NO_FIELDS = ("SETTINGS", "DBT_THREADS", "TEST_SHOPS", "SEAMS")
MEMORY = re.compile(r"^([0-9]{1,6}(?:\.[0-9]{1,6})?)(MB|GB|TB)$")
MEGABYTES = {"MB": 1, "GB": 1e3, "TB": 1e6}
# Measured: six days of 250 users run in 64 MB, and not in 30 MB. No machine has a petabyte.
LEAST_MEGABYTES, MOST_MEGABYTES = 64, 1e9
PACKAGE = Path(__file__).parents[1]


def default_dbt_project() -> Path:
    """The dbt project beside the package (a checkout) or inside it (a wheel)."""
    beside = PACKAGE.parent / "dbt_project"
    return beside if (beside / "dbt_project.yml").exists() else PACKAGE / "_dbt_project"


class Settings(BaseModel):
    """Where things are, which shop this is, and which days it has.

    Paths may be relative: they are resolved against the working directory once, here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".seg_assets"), description="Folder of everything we write")
    landing: Path | None = Field(default=None, description="Landing zone; default <home>/landing")
    lake: Any = Field(default=None, description="Lake root, a folder or s3://bucket/prefix; default <home>/lake")
    reports: Path | None = Field(default=None, description="Reports root; default <home>/reports")
    source: str = Field(default="simulator", description="A shipped source's name, or a path to a source YAML")
    strategies: Path = Field(default=PACKAGE / "segments" / "strategies", description="Folder of strategy YAMLs")
    dbt_project: Path = Field(default_factory=default_dbt_project, description="Folder of dbt_project.yml")
    time_zone: str = Field(default="UTC", description="The shop's time zone: it decides which day an event is of")
    start_day: Day = Field(default=dt.date(2024, 1, 1), description="First day of the shop's history")
    end_day: Day | None = Field(default=None, description="Last day of the calendar; none: grows with the clock")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of everything random")
    memory_limit: str = Field(default="8GB", description="DuckDB memory limit")
    automation: bool = Field(default=False, description="Switch schedule and sensors on when the location loads")
    sensor_seconds: int = Field(default=30, ge=1, le=86_400, description="Least seconds between two looks of a sensor")
    threads: int = Field(default=2, ge=1, le=512, description="DuckDB threads of one run")

    @field_validator("lake")
    @classmethod
    def _folder_or_url(cls, value: Any) -> Any:
        if value is None or isinstance(value, Path):
            return value
        if not isinstance(value, str | UPath):
            raise ValueError("a folder, or an object-store URL such as s3://bucket/lake")  # noqa: TRY004
        return _object_store(str(value)) if "://" in str(value) else Path(str(value))

    @field_serializer("lake")
    def _lake_text(self, value: Any) -> str:
        return str(value)

    @field_validator("memory_limit")
    @classmethod
    def _some_memory(cls, value: str) -> str:
        found = MEMORY.match(value)
        if not found or not LEAST_MEGABYTES <= float(found[1]) * MEGABYTES[found[2]] <= MOST_MEGABYTES:
            raise ValueError(f"a number with MB, GB or TB, from {LEAST_MEGABYTES}MB to 1000TB, for example 8GB")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in zone_names():
            raise ValueError(f"unknown time zone {value!r}; use an IANA name such as 'Europe/Berlin'")
        return value

    @model_validator(mode="after")
    def _resolve(self) -> "Settings":
        for name, base in (("landing", "landing"), ("lake", "lake"), ("reports", "reports")):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.home / base)
        for name in ("home", "landing", "lake", "reports", "strategies", "dbt_project"):
            path = getattr(self, name)
            if not isinstance(path, UPath) or path.protocol in ("", "file"):
                try:
                    object.__setattr__(self, name, Path(str(path)).expanduser().resolve())
                except (RuntimeError, OSError, ValueError) as error:  # no such user, a loop of links, a null byte
                    raise ValueError(f"{name} = {str(path)!r}: no path: {error}") from None
        if self.end_day is not None and self.end_day < self.start_day:
            raise ValueError(f"end_day {self.end_day} is before start_day {self.start_day}")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.time_zone)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Read the settings from `env` (default: the process environment).

        Raises:
            ConfigError: naming the source (file or variable), the field and the remedy.
        """
        env = os.environ if env is None else env
        values: dict[str, Any] = {}
        file = env.get(PREFIX + "SETTINGS")
        if file:
            values.update(_read_settings_file(Path(file), cls.model_fields))
        origins = dict.fromkeys(values, file)
        for name, text in env.items():
            word = name.removeprefix(PREFIX)
            if word == name or word in NO_FIELDS or text == "":
                continue
            if word.lower() not in cls.model_fields:
                known = [field.upper() for field in cls.model_fields]
                raise ConfigError(
                    f"{name} = {shown(text)}: no such setting{did_you_mean(word.upper(), known)}; "
                    f"there are, after {PREFIX}: {', '.join(known)}"
                )
            values[word.lower()], origins[word.lower()] = text, name
        values.update(overrides)
        try:
            return cls(**values)
        except ValidationError as error:
            where = f"environment ({PREFIX}*)" + (f" or {file}" if file else "")
            raise ConfigError(describe_validation(error, where, origins)) from None

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, to hand them to a child process."""
        dump = self.model_dump(mode="json", exclude_none=True)
        return {PREFIX + name.upper(): str(value) for name, value in dump.items()}


def _object_store(url: str) -> UPath:
    protocol, _, rest = url.partition("://")
    if not protocol or not rest.strip("/"):
        raise ValueError("a URL names its store and a place in it, for example s3://bucket/lake")
    # An object store's listings change under us: never remember them.
    path = UPath(url, use_listings_cache=False)
    try:
        _ = path.fs
    except ImportError as error:
        mend = ": pip install 'seg-assets[s3]'" if protocol == "s3" else ""
        raise ValueError(f"the package that reads {protocol}:// is not installed ({error}){mend}") from None
    return path


def _read_settings_file(path: Path, known: Iterable[str]) -> dict[str, Any]:
    loaded = read_yaml(path)
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(loaded).__name__}")
    values = cast(dict[str, Any], loaded)
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise ConfigError(f"{path}: {key} = {shown(value)}: no such setting{hint}; there are: {', '.join(known)}")
    return values


def shown(value: Any) -> str:
    """A value in a message, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def describe_validation(error: ValidationError, where: str, origins: Mapping[str, str | None] | None = None) -> str:
    """One line per wrong field: where (by `origins`, the field's own place), field, value, what is allowed."""
    lines: list[str] = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"]) or "(whole)"
        place = (origins or {}).get(str(item["loc"][0]) if item["loc"] else "") or where
        lines.append(f"{place}: {field} = {shown(item.get('input'))}: {item['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
