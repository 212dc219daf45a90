"""One Settings object. Read from the environment when asked, never at import.

Every field can be set as an environment variable `SEG_ASSETS_<FIELD>`, or in the YAML file that
`SEG_ASSETS_SETTINGS` names; the environment wins. Nothing else in the project reads the environment.
"""

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator
from upath import UPath

from seg_assets.errors import ConfigError
from seg_assets.zones import zone_names

PREFIX = "SEG_ASSETS_"
PACKAGE = Path(__file__).parent


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
    start_day: dt.date = Field(default=dt.date(2024, 1, 1), description="First day of the shop's history")
    end_day: dt.date | None = Field(default=None, description="Last day of the calendar; none: grows with the clock")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of everything random")
    memory_limit: str = Field(default="8GB", pattern=r"^\d+(\.\d+)?(MB|GB|TB)$", description="DuckDB memory limit")
    automation: bool = Field(default=False, description="Switch schedule and sensors on when the location loads")
    sensor_seconds: int = Field(default=30, ge=1, le=86_400, description="Least seconds between two looks of a sensor")
    threads: int = Field(default=2, ge=1, le=512, description="DuckDB threads of one run")

    @field_validator("lake")
    @classmethod
    def _folder_or_url(cls, value: Any) -> Any:
        if value is None or isinstance(value, Path):
            return value
        if not isinstance(value, str | UPath):
            raise TypeError("a folder, or an object-store URL such as s3://bucket/lake")
        # An object store's listings change under us: never remember them.
        return UPath(value, use_listings_cache=False) if "://" in str(value) else Path(str(value))

    @field_serializer("lake")
    def _lake_text(self, value: Any) -> str:
        return str(value)

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
                object.__setattr__(self, name, Path(path).expanduser().resolve())
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
            values.update(_read_settings_file(Path(file)))
        known = set(cls.model_fields)
        for name, text in env.items():
            if not name.startswith(PREFIX) or name == PREFIX + "SETTINGS":
                continue
            field = name.removeprefix(PREFIX).lower()
            if field in known and text != "":
                values[field] = text
        values.update(overrides)
        try:
            return cls(**values)
        except ValidationError as error:
            where = f"environment ({PREFIX}*)" + (f" or {file}" if file else "")
            raise ConfigError(describe_validation(error, where)) from None

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, to hand them to a child process."""
        dump = self.model_dump(mode="json", exclude_none=True)
        return {PREFIX + name.upper(): str(value) for name, value in dump.items()}


def _read_settings_file(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(loaded).__name__}")
    return loaded


def describe_validation(error: ValidationError, where: str) -> str:
    """One line per wrong field: where, field, value, what is allowed."""
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"]) or "(whole)"
        value = repr(item.get("input"))
        lines.append(f"{where}: {field} = {value[:200]}: {item['msg']}")
    return "\n".join(lines)
