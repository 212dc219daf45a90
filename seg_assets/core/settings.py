"""The settings of a shop: what they are, and where they come from.

A setting is an environment variable `SEG_ASSETS_<FIELD>`, a variable `SEG_ASSETS_<FIELD>_FILE` that names a file with
the value, or a line of the settings file; variables win. The settings file is what `SEG_ASSETS_SETTINGS` names, else
`settings.yaml` in the working folder. Everything is read when asked, never at import, and nothing else in the project
reads the environment.

Not here: how YAML is read (`yaml_file`), what a source or a strategy may say (`events.source`, `segments.strategy`).
"""

import datetime as dt
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator
from upath import UPath

from seg_assets.core.days import Day, zone_names
from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.yaml_file import read_yaml

PREFIX = "SEG_ASSETS_"
FILE_NAME = "settings.yaml"
# Variables with our prefix that are no fields: the settings file, dbt's threads (dbt_project/profiles.yml), how many
# shops a test makes up, and the switch of `seams`. Any other is a mistyped field.
NO_FIELDS = ("SETTINGS", "DBT_THREADS", "TEST_SHOPS", "SEAMS")
# `SEG_ASSETS_<FIELD>_FILE` names a file with the value: how container platforms hand secrets in.
FILE_SUFFIX = "_FILE"
MOST_CHARACTERS_OF_A_VALUE = 10_000
SECRET_KEY = re.compile(r"(^|[_-])(password|passwd|passphrase|secret|token|credential|api_?key|key)s?($|[_-])", re.I)
SECRET_URL = re.compile(r"://[^/@]*:[^/@]*@")
NOT_OURS = f"If the file is not for seg-assets, set {PREFIX}SETTINGS to the one that is, or to nothing"
MEMORY = re.compile(r"^([0-9]{1,6}(?:\.[0-9]{1,6})?)(MB|GB|TB)$")
MEGABYTES = {"MB": 1, "GB": 1e3, "TB": 1e6}
# Measured: six days of 250 users run in 64 MB, and not in 30 MB. No machine has a petabyte.
LEAST_MEGABYTES, MOST_MEGABYTES = 64, 1e9
PACKAGE = Path(__file__).parents[1]
# Fields that hold a path; `source` may be the name of a shipped source instead.
PATHS = ("home", "landing", "lake", "reports", "source", "strategies", "features", "dbt_project")


def packed_or_beside(folder: str) -> Path:
    """Return a folder of the project: `_<folder>` inside the package in a wheel, beside the package in a checkout."""
    packed = PACKAGE / f"_{folder}"
    return packed if packed.is_dir() else PACKAGE.parent / folder


class Settings(BaseModel):
    """Where things are, which shop this is, and which days it has.

    Relative paths are resolved once, here: against the folder of the settings file when they stand in it, else against
    the working folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".seg_assets"), description="Folder of everything we write")
    landing: Path | None = Field(default=None, description="Landing zone; default <home>/landing")
    lake: Any = Field(default=None, description="Lake root, a folder or s3://bucket/prefix; default <home>/lake")
    reports: Path | None = Field(default=None, description="Reports root; default <home>/reports")
    source: str = Field(default="simulator", description="A shipped source's name, or a path to a source YAML")
    strategies: Path = Field(default=PACKAGE / "segments" / "strategies", description="Folder of strategy YAMLs")
    features: Path | None = Field(default=None, description="Folder of the shop's features/*.sql; default: none")
    dbt_project: Path = Field(
        default_factory=lambda: packed_or_beside("dbt_project"), description="Folder of dbt_project.yml"
    )
    time_zone: str = Field(default="UTC", description="The shop's time zone: it decides which day an event is of")
    currency: str = Field(
        default="", pattern="^([A-Z]{3})?$", description="The shop's currency, for sources whose lines name theirs"
    )
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
        match = MEMORY.match(value)
        if not match or not LEAST_MEGABYTES <= float(match[1]) * MEGABYTES[match[2]] <= MOST_MEGABYTES:
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
        for name in PATHS:
            path = getattr(self, name)
            if name == "source" or path is None:
                continue
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
    def from_env(cls, env: Mapping[str, str] | None = None, file: Path | None = None, **overrides: Any) -> "Settings":
        """Read the settings from variables and the settings file.

        Args:
            env: the variables; default: those of the process, and then a `settings.yaml` in the working folder counts.
            file: the settings file, unless `SEG_ASSETS_SETTINGS` names another one or is empty.
            overrides: values of fields, which win over everything.

        Raises:
            ConfigError: naming the source (file or variable), the field and the remedy.
        """
        path = settings_file(env, file)
        env = os.environ if env is None else env
        values = _read_settings_file(path, cls.model_fields) if path else {}
        origins: dict[str, str | None] = dict.fromkeys(values, str(path))
        secrets: list[str] = []
        for name, text in env.items():
            word = name.removeprefix(PREFIX)
            if word == name or word in NO_FIELDS or text == "":
                continue
            field = word.lower()
            if field not in cls.model_fields and word.removesuffix(FILE_SUFFIX).lower() in cls.model_fields:
                field = word.removesuffix(FILE_SUFFIX).lower()
                values[field], origins[field] = _read_value(name, text, env), name
                secrets.append(field)
            elif field in cls.model_fields:
                values[field], origins[field] = text, name
            else:
                known = [field.upper() for field in cls.model_fields]
                raise ConfigError(
                    f"{name} = {shown(text)}: no such setting{did_you_mean(word.upper(), known)}; "
                    f"there are, after {PREFIX}: {', '.join(known)}"
                )
        values.update(overrides)
        try:
            return cls(**values)
        except ValidationError as error:
            where = f"environment ({PREFIX}*)" + (f" or {path}" if path else "")
            raise ConfigError(describe_validation(error, where, origins, secrets)) from None

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables, to hand them to a child process, which reads no file then."""
        dump = self.model_dump(mode="json", exclude_none=True)
        return {PREFIX + "SETTINGS": "", **{PREFIX + name.upper(): str(value) for name, value in dump.items()}}


def settings_file(env: Mapping[str, str] | None = None, default: Path | None = None) -> Path | None:
    """Return the file that settings are read from; None: variables only.

    It is what `SEG_ASSETS_SETTINGS` names (empty: none), else `default`, else `settings.yaml` in the working folder if
    `env` is not given. A file there that has no key like a setting belongs to something else: it is ignored with a
    warning.
    """
    variables = os.environ if env is None else env
    named = variables.get(PREFIX + "SETTINGS")
    if named is not None:
        return Path(named).expanduser().absolute() if named else None
    if default is not None or env is not None:
        return default.absolute() if default else None
    try:
        nearby = Path.cwd() / FILE_NAME
        return nearby if nearby.is_file() and _is_ours(nearby) else None
    except OSError:  # a working folder that is gone or may not be read
        return None


def _is_ours(path: Path) -> bool:
    """Whether a file in the working folder is for us: it is empty, or a key is a setting, or nearly one."""
    try:
        loaded = read_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"{error}. {NOT_OURS}") from None
    if loaded is None:
        return True
    keys = [str(key) for key in cast(dict[Any, Any], loaded)] if isinstance(loaded, dict) else []
    if any(key in Settings.model_fields or did_you_mean(key, Settings.model_fields) for key in keys):
        return True
    _warn_once(f"{path}: ignored, since none of its keys is a setting of seg-assets. {NOT_OURS}")
    return False


@cache
def _warn_once(text: str) -> None:
    logging.getLogger(__name__).warning(text)


def _read_settings_file(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """Read the settings of a file, with its relative paths made absolute; `home` is beside it unless it says where."""
    loaded = read_yaml(path)
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(loaded).__name__}")
    values = cast(dict[Any, Any], loaded)
    for key, value in values.items():
        _refuse_secret(path, str(key), value)
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise ConfigError(
                f"{path}: {key} = {shown(value)}: no such setting{hint}; there are: {', '.join(known)}. {NOT_OURS}"
            )
    return {"home": path.parent / ".seg_assets", **{key: _beside(path, key, value) for key, value in values.items()}}


def _beside(path: Path, field: str, value: Any) -> Any:
    """Resolve a relative path against the folder of the settings file; return every other value as written."""
    if not isinstance(value, str) or field not in PATHS or "://" in value:
        return value
    if field == "source" and not (value.endswith((".yaml", ".yml")) or "/" in value):
        return value  # the name of a shipped source
    return str(path.parent / Path(value).expanduser()) if not value.startswith("~") else value


def _refuse_secret(path: Path, key: str, value: Any) -> None:
    if not SECRET_KEY.search(key) and not (isinstance(value, str) and SECRET_URL.search(value)):
        return
    name = PREFIX + key.upper()
    remedy = f"set {name}, or {name}{FILE_SUFFIX} to a file that holds it"
    if key not in Settings.model_fields:
        remedy = "set the variable that whatever needs it reads (for s3://, AWS_SECRET_ACCESS_KEY)"
    raise ConfigError(
        f"{path}: {key}: looks like a secret, and the file is shared and kept in history. Remove it there, and {remedy}"
    )


def _read_value(name: str, file: str, env: Mapping[str, str]) -> str:
    """Read the line in the file that the variable `name` names; white space around it is dropped."""
    path = Path(file).expanduser()
    if env.get(name.removesuffix(FILE_SUFFIX)):
        raise ConfigError(f"{name} = {file!r}: {name.removesuffix(FILE_SUFFIX)} is set too; keep one of the two")
    try:
        if not path.is_file():
            raise ConfigError(f"{name} = {file!r}: no such file")
        with path.open(encoding="utf-8") as handle:
            text = handle.read(MOST_CHARACTERS_OF_A_VALUE + 1).strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} = {file!r}: cannot be read: {error}") from None
    if len(text) > MOST_CHARACTERS_OF_A_VALUE or "\n" in text:
        raise ConfigError(f"{name} = {file!r}: expected the value alone, on one line")
    return text


def _object_store(url: str) -> UPath:
    """Return an object-store URL as a path.

    Raises:
        ValueError: no store or no place in it, or the package that reads the store is not installed.
    """
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


def shown(value: Any) -> str:
    """Return a value as a message shows it: cut when it is long."""
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def describe_validation(
    error: ValidationError,
    where: str,
    origins: Mapping[str, str | None] | None = None,
    secrets: Collection[str] = (),
) -> str:
    """Return one line per wrong field: where (by `origins`, the field's own place), field, value, what is allowed.

    The values of the fields in `secrets` are not shown.
    """
    lines: list[str] = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"]) or "(whole)"
        top = str(item["loc"][0]) if item["loc"] else ""
        value = "(not shown)" if top in secrets else shown(item.get("input"))
        # A whole section as a value hides the message behind it.
        said = field if isinstance(item.get("input"), Mapping) else f"{field} = {value}"
        lines.append(f"{(origins or {}).get(top) or where}: {said}: {item['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
