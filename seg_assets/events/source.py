"""Read a source YAML: which landing files a shop has, and how their columns become events, users and products.

Everything a source may say is a field below, with its default and its reason; docs/sources.md is the same for
readers. A wrong YAML is refused when it is loaded (ConfigError: file, field, value, what is allowed), never at the
first file. A source may stand on another one (`based_on`), and may have a SELECT in a file beside it.

Not here: what an expression may compute (`events.expressions`), what a SELECT may read (`events.selects`), and names of
files (`events.file_pattern`).
"""

import codecs
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from seg_assets.core.days import Zone
from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError, did_you_mean
from seg_assets.core.settings import describe_validation
from seg_assets.core.tables import TABLES
from seg_assets.core.yaml_file import read_yaml
from seg_assets.events.contract import EVENT_TYPES, RAW_EVENTS
from seg_assets.events.expressions import Expression, ExpressionError, check_time_format, quoted
from seg_assets.events.file_pattern import FilePattern
from seg_assets.events.selects import MACROS, Select, SelectError, parse_select

SHIPPED = Path(__file__).parent.parent / "sources"
# Texts that exports write for "nothing" in CSV, which knows no null of its own.
CSV_NULLS = ("", "NULL", "null", "\\N", "NaN", "nan", "None", "N/A", "n/a")
# How the dumps of databases are written, but for what a source says.
_DIALECTS: dict[str, dict[str, str]] = {
    name: {"delimiter": "\t", "quote": "", "escape": "\\"} for name in ("postgres_text", "mysql")
}
# Thousands marks that look alike are one mark, whichever of them a text has.
_BLANKS, _APOSTROPHES = " \xa0\u2009\u202f", "'\u2019"
THOUSANDS = {mark: marks for marks in (_BLANKS, _APOSTROPHES) for mark in marks}
USERS, PRODUCTS = "users", "products"
# Contract and key of the tables that are no events.
KEYED_TABLES = {kind: (TABLES[f"raw_{kind}"].types, TABLES[f"raw_{kind}"].key[0]) for kind in (USERS, PRODUCTS)}
# Endings of files that are still being written or are no data; never read.
IGNORED_ENDINGS = (".tmp", ".part", ".partial", ".crdownload", ".swp", "~")
# A Mac puts a second file beside each one that it copies to a foreign disk.
IGNORED_BEGINNING = "._"

# What an event says beside the contract: it decides what becomes of a line and is stored nowhere.
DECIDING = {"currency": "VARCHAR", "left_out": "VARCHAR"}

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_CURRENCY = re.compile(r"^[A-Z]{3}$")
_RECORDS = re.compile(r"^\$(\.[^.\[\]*]+)*\[\*\]$")

Format = Literal["csv", "jsonl", "parquet"]


def _is_unsaid(value: Any) -> bool:
    """Say whether a key has nothing to say: days that were read before there was such a key are not read anew."""
    return not value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CsvOptions(_Model):
    """How the CSV files of a feed are written."""

    dialect: Literal["postgres_text", "mysql"] | None = Field(
        default=None,
        # Days that were read before there were dialects are not read anew for that.
        exclude_if=lambda value: value is None,
        description="Escapes and nulls of COPY ... TO in text format, or of SELECT ... INTO OUTFILE",
    )
    delimiter: str = Field(default=",", description="One character between columns; \\t for a tab")
    quote: str = Field(default='"', description="One character around texts; empty: none")
    escape: str = Field(
        default="", description="One character before a quote, a delimiter, a line break or itself, where it is text"
    )
    header: bool = Field(default=True, description="The first line names the columns")
    columns: tuple[str, ...] | None = Field(
        default=None, description="Column names, for files without a header (or to rename all of them)"
    )
    skip: int = Field(default=0, ge=0, le=1000, description="Lines before the header that are no data")

    @model_validator(mode="before")
    @classmethod
    def _as_in_the_dialect(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("dialect"), str):
            return {**_DIALECTS.get(value["dialect"], {}), **value}
        return value

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = "\t" if value == "\\t" else value
        if len(value) > 1 or (value and (ord(value) > 126 or value in "\n\r\0")):
            raise ValueError("one ASCII character")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "CsvOptions":
        if not self.delimiter:
            raise ValueError("delimiter: one ASCII character")
        if self.delimiter in (self.quote, self.escape):
            raise ValueError("delimiter, quote and escape must differ")
        if self.escape and self.escape == self.quote:
            raise ValueError("a doubled quote is always understood; leave escape empty")
        if self.dialect and not self.escape:
            raise ValueError(f"escape: dialect {self.dialect} has one; leave it out for a backslash")
        if self.dialect == "postgres_text" and self.quote:
            raise ValueError("quote: dialect postgres_text has none; for COPY ... (FORMAT csv) leave dialect out")
        if not self.header and not self.columns:
            raise ValueError("header: false needs columns: the names in file order")
        if self.columns and len({c.casefold() for c in self.columns}) != len(self.columns):
            raise ValueError("columns: each name once (upper and lower case are the same)")
        return self


class DayFrom(_Model):
    """The day is taken from each line's event_time; a file may hold many days."""

    from_: Literal["event_time"] = Field(alias="from")
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Feed(_Model):
    files: tuple[FilePattern, ...] = Field(description="Paths relative to the landing folder")
    format: Format | None = Field(default=None, description="csv, jsonl or parquet; default: by the ending")
    csv: CsvOptions = CsvOptions()
    encoding: str = Field(default="utf-8", description="Text encoding of CSV and JSON lines")
    time_zone: Zone | None = Field(default=None, description="Zone of times written without one")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of numbers in texts")
    thousands: Literal["", ".", ",", "'", "\u2019", " ", "\xa0", "\u2009", "\u202f", "_"] = Field(
        default="", description="Thousands mark in texts"
    )
    nulls: tuple[str, ...] | None = Field(default=None, description="Texts that mean nothing is known")
    records: str | None = Field(
        default=None, exclude_if=_is_unsaid, description="Where the records of a JSON document stand: $.orders[*]"
    )
    where: str | None = Field(
        default=None, exclude_if=_is_unsaid, description="Lines for which this is not true are left out on purpose"
    )
    columns: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="Contract column: SQL expression over the file's columns, or a list of names that headers may have",
    )
    values: dict[str, dict[str, str | None]] = Field(
        default_factory=dict, description="Contract column: the shop's value -> ours"
    )
    defaults: dict[str, str | int | float] = Field(
        default_factory=dict, description="Contract column: value where there is none"
    )
    optional: tuple[str, ...] = Field(
        default=(), description="Columns of the file that may be absent from its header (they are then null)"
    )
    extra: Literal["keep", "drop"] = Field(default="keep", description="What happens to unmapped columns")
    max_line_bytes: int = Field(
        default=1 << 20, ge=64, le=1 << 26, description="Longer lines are rejected, with their text"
    )

    @field_validator("files", mode="before")
    @classmethod
    def _patterns(cls, value: Any) -> Any:
        value = [value] if isinstance(value, str | dict) else value
        if isinstance(value, list | tuple) and value:
            return tuple({"text": v} if isinstance(v, str) else v for v in value)
        raise ValueError("a path or a list of paths relative to the landing folder")

    @field_validator("thousands")
    @classmethod
    def _another_mark(cls, value: str, info: ValidationInfo) -> str:
        decimal = info.data.get("decimal")
        if value == decimal:
            other = "," if decimal == "." else "."
            raise ValueError(f"that is the decimal mark too: say decimal: {other!r}, or another mark")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        text = "a,1\n"
        try:
            raw = text.encode(value)
            known = codecs.getincrementaldecoder(value)("backslashreplace").decode(raw, final=True) == text
        except (LookupError, UnicodeError):  # base64 and its like are codecs, not encodings of text
            known = False
        if not known:
            raise ValueError("unknown as an encoding of texts; for example utf-8, latin-1, cp1252, utf-16")
        return codecs.lookup(value).name

    @field_validator("columns", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                k: str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for k, v in value.items()
            }
        return value

    @field_validator("records")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and not _RECORDS.match(value):
            raise ValueError(f"{value!r}: a path of keys to an array, for example $.orders[*]")
        return value

    @field_validator("where")
    @classmethod
    def _condition(cls, value: str | None) -> str | None:
        return _checked_expression(value)

    @field_validator("values", mode="before")
    @classmethod
    def _text_values(cls, value: Any) -> Any:
        def text(v: Any) -> Any:
            if isinstance(v, bool):
                return "true" if v else "false"
            return str(v) if isinstance(v, int | float) else v

        if isinstance(value, dict):
            return {
                c: {text(k): (None if v is None else text(v)) for k, v in m.items()} if isinstance(m, dict) else m
                for c, m in value.items()
            }
        return value

    @field_validator("columns")
    @classmethod
    def _checked(cls, value: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        for column, text in value.items():
            if isinstance(text, tuple):
                if not all(text) or len({name.casefold() for name in text}) != len(text):
                    raise ValueError(f"{column}: a list of names that the header may have, each once")
                continue
            try:
                Expression.parse(text)
            except ExpressionError as error:
                raise ValueError(f"{column}: {text!r}: {error}") from None
        return value

    def _check_columns(self, allowed: Mapping[str, str], required: tuple[str, ...]) -> None:
        names = [n for n in allowed if n != "extra"]
        for field in ("columns", "values", "defaults"):
            for column in getattr(self, field):
                if column not in names:
                    near = did_you_mean(column, names)
                    raise ValueError(f"{field}.{column}: unknown column{near}; one of {', '.join(names)}")
        for column in self.defaults:
            if allowed[column] != "VARCHAR":
                raise ValueError(f"defaults.{column}: only text columns can have a default")
        for column in self.values:
            if allowed[column] != "VARCHAR":
                raise ValueError(f"values.{column}: only text columns can be mapped value by value")
        for column in required:
            if column not in self.columns:
                raise ValueError(f"columns.{column} is required")
        if self.records and any(self.format_of(p.text) != "jsonl" for p in self.files):
            raise ValueError("records: only files of JSON (format: jsonl) have them")
        formats = {self.format_of(p.text) for p in self.files}
        if None in formats:
            raise ValueError(
                "format: cannot be told from the ending; one of csv, jsonl, parquet "
                "(a workbook such as .xlsx: save as CSV)"
            )
        if len(formats) > 1:
            raise ValueError(f"files of different formats ({', '.join(map(str, sorted(formats)))}); use two feeds")

    def format_of(self, path: str) -> Format | None:
        """Return the format of a file by the feed's setting or the file's ending."""
        if self.format:
            return self.format
        name = path.lower().removesuffix(".gz")
        for ending, kind in ((".csv", "csv"), (".tsv", "csv"), (".txt", "csv"), (".jsonl", "jsonl"),
                             (".ndjson", "jsonl"), (".json", "jsonl"), (".parquet", "parquet")):  # fmt: skip
            if name.rstrip("*").endswith(ending):
                return kind  # type: ignore[return-value]
        return None

    @functools.cached_property
    def expressions(self) -> dict[str, Expression]:
        """The mapped columns, parsed; first of all, where there is one, the condition `where`."""
        said = {"where": self.where} if self.where else {}
        return {
            c: _first_of(t) if isinstance(t, tuple) else Expression.parse(t) for c, t in (said | self.columns).items()
        }

    @property
    def one_of(self) -> list[tuple[str, ...]]:
        """Lists of names of which a header needs one."""
        return [names for names in self.columns.values() if isinstance(names, tuple)]

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The file's columns that some expression reads."""
        return tuple(dict.fromkeys(c for e in self.expressions.values() for c in e.columns))

    @property
    def null_texts(self) -> tuple[str, ...]:
        """Texts that are read as null."""
        if self.format_of(self.files[0].text) != "csv":
            return tuple(dict.fromkeys(("", *(self.nulls or ()))))
        csv, texts = self.csv, ("", *(self.nulls or ()))
        if csv.dialect or csv.escape == "\\":
            texts += (f"{csv.escape}N",)
        if self.nulls is None:
            # MySQL writes a bare NULL where texts stand in quotes.
            texts += CSV_NULLS if not csv.dialect else ("NULL",) if csv.quote else ()
        return tuple(dict.fromkeys(texts))

    def matches(self, relative: str) -> bool:
        """Say whether a path relative to the landing folder is one of this feed's files."""
        return not ignored(relative) and any(p.matches(relative) for p in self.files)


class EventFeed(_Feed):
    """Files of events."""

    day: Literal["name"] | DayFrom = Field(
        default="name", description="name: the file's name has the day; {from: event_time}: each line has it"
    )
    time_format: tuple[str, ...] = Field(default=(), description="strptime formats of event_time; default ISO 8601")
    event_type: str | None = Field(default=None, description="Every line is an event of this type")
    negative_purchase: Literal["refund", "reject"] = Field(
        default="refund", description="A purchase with a negative amount is a refund, or is rejected"
    )
    closed_days: Literal["normal", "error"] = Field(
        default="error", description="A day without a file: an empty day, or no data yet"
    )
    record: str | None = Field(
        default=None,
        exclude_if=_is_unsaid,
        description="What lines of one record share; a record is told anew as a whole",
    )
    version: str | None = Field(
        default=None, exclude_if=_is_unsaid, description="Of the lines told of a record, those with the largest count"
    )
    refunded: str | None = Field(
        default=None,
        exclude_if=_is_unsaid,
        description="How much of a record was given back so far, a number that grows",
    )
    refunded_at: str | None = Field(default=None, exclude_if=_is_unsaid, description="When, as far as the file says it")

    @field_validator("record", "version", "refunded", "refunded_at")
    @classmethod
    def _words(cls, value: str | None) -> str | None:
        return _checked_expression(value)

    @field_validator("time_format", mode="before")
    @classmethod
    def _formats(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("time_format")
    @classmethod
    def _known_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for form in value:
            try:
                check_time_format(form)
            except ExpressionError as error:
                raise ValueError(f"{form!r}: {error}") from None
        return value

    @model_validator(mode="after")
    def _complete(self) -> "EventFeed":
        self._check_columns(RAW_EVENTS | DECIDING, ("event_time",) if self.columns else ())
        if (self.version or self.refunded) and not self.record:
            raise ValueError("record: say what the lines of one record share, for version and refunded")
        if self.refunded_at and not self.refunded:
            raise ValueError("refunded_at: says when what `refunded` counts was given back; say that too")
        if self.is_selected:
            for name in ("decimal", "thousands"):
                if name in self.model_fields_set:
                    raise ValueError(
                        f"{name}: a feed that a SELECT reads has none; say money(column, mark := ',') there"
                    )
        elif self.refunded:
            raise ValueError("refunded: needs a SELECT, which says what a refund is (docs/sources.md)")
        if self.is_selected:
            pass
        elif self.event_type is None and "event_type" not in self.columns:
            raise ValueError("event_type: name one for all lines, or map columns.event_type")
        if self.event_type is not None and "event_type" in self.columns:
            raise ValueError("event_type: give a constant or columns.event_type, not both")
        if self.event_type is not None and self.event_type not in EVENT_TYPES:
            raise ValueError(f"event_type: unknown; one of {', '.join(EVENT_TYPES)}")
        for old, new in self.values.get("event_type", {}).items():
            if new is not None and new not in EVENT_TYPES:
                raise ValueError(
                    f"values.event_type.{old} = {new!r}: unknown; one of {', '.join(EVENT_TYPES)}, or null to leave out"
                )
        if not self.is_selected and "user_id" not in self.columns and "anonymous_id" not in self.columns:
            raise ValueError("columns.user_id or columns.anonymous_id is required")
        for pattern in self.files:
            if self.day == "name" and not pattern.names_one_day:
                raise ValueError(
                    f"files = {pattern.text!r}: the name has no {{day}}; put it in, or say day: {{from: event_time}}"
                )
        return self

    @property
    def is_selected(self) -> bool:
        """Whether the source's SELECT maps the lines, and no columns here."""
        return not self.columns

    @property
    def is_read_whole(self) -> bool:
        """Whether what becomes of a line hangs on lines of other files too, so that they are read together."""
        return self.is_selected or self.record is not None

    @property
    def words(self) -> dict[str, Expression]:
        """The expressions about records, parsed."""
        names = ("record", "version", "refunded", "refunded_at")
        return {name: Expression.parse(text) for name in names if (text := getattr(self, name))}

    @property
    def many_days(self) -> bool:
        """Whether a file may hold many days."""
        return self.day != "name"


class TableFeed(_Feed):
    """Files of users or products: undated files are the same every day, dated ones update the day before."""

    @property
    def dated(self) -> bool:
        """Whether files are of a day."""
        return self.files[0].has_day

    def check(self, kind: str) -> None:
        """Check the columns against the contract of users or products."""
        contract, key = KEYED_TABLES[kind]
        self._check_columns(contract, (key,))
        if len({p.has_day for p in self.files}) > 1:
            raise ValueError("files: all with {day}, or all without")
        if self.dated and not all(p.names_one_day for p in self.files):
            raise ValueError("files: {day} must name one day")


class Source(_Model):
    """One shop's landing zone. `feeds` are events by feed name; `users` and `products` are optional."""

    name: str = Field(description="Short name, lower case")
    description: str = ""
    time_zone: Zone | None = Field(default=None, description="Zone of times written without one; default: the shop's")
    feeds: dict[str, EventFeed] = Field(min_length=1)
    users: TableFeed | None = None
    products: TableFeed | None = None
    select: str | None = Field(
        default=None, exclude_if=_is_unsaid, description="Text of the SELECT in the file beside the YAML"
    )
    currency: str | None = Field(
        default=None, exclude_if=_is_unsaid, description="The shop's currency; default: the settings'"
    )
    rates: dict[str, float] = Field(
        default_factory=dict,
        exclude_if=_is_unsaid,
        description="What one unit of another currency is worth in the shop's; without one its lines are left out",
    )
    not_a_person: tuple[str, ...] = Field(
        default=(), description="Ids of users and visitors that are nobody's; they are read as null"
    )
    questions: tuple[str, ...] = Field(
        default=(), description="What a draft could not answer; while one stands, nothing is read but by source check"
    )

    @field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError("lower-case letters, digits and underscore, starting with a letter")
        return value

    @field_validator("feeds")
    @classmethod
    def _feed_names(cls, value: dict[str, EventFeed]) -> dict[str, EventFeed]:
        for name in value:
            if not _NAME.match(name) or name in (USERS, PRODUCTS):
                raise ValueError(f"{name!r}: lower-case letters, digits, underscore; not users or products")
        return value

    @field_validator("currency")
    @classmethod
    def _code(cls, value: str | None) -> str | None:
        if value is not None and not _CURRENCY.match(value):
            raise ValueError(f"{value!r}: three capital letters, for example EUR")
        return value

    @field_validator("rates")
    @classmethod
    def _rates(cls, value: dict[str, float]) -> dict[str, float]:
        for code, rate in value.items():
            if not _CURRENCY.match(code) or not 0 < rate < 1e9:
                raise ValueError(
                    f"{code}: {rate}: three capital letters and a number above zero, for example USD: 0.92"
                )
        return value

    @model_validator(mode="after")
    def _of_the_select(self) -> "Source":
        those = self.selected_feeds
        if self.select is None and those:
            raise ValueError(f"feeds.{those[0]}.columns is required, or a SELECT in a file beside the YAML")
        if self.select is None:
            return self
        if not those:
            raise ValueError("select: every feed has columns, so the SELECT reads none; leave out one or the other")
        if len({self.feeds[name].many_days for name in those}) > 1:
            raise ValueError(
                f"feeds.{', '.join(those)}: a SELECT reads files of one day each, or of many days; say day alike"
            )
        try:
            query = parse_select(self.select, those)
        except SelectError as error:
            raise ValueError(f"select: {error}") from None
        if unread := [name for name in those if name not in query.feeds]:
            raise ValueError(f"feeds.{unread[0]}: has no columns, and the SELECT does not read it")
        return self

    @model_validator(mode="after")
    def _tables(self) -> "Source":
        for kind in (USERS, PRODUCTS):
            feed = getattr(self, kind)
            if feed is not None:
                try:
                    feed.check(kind)
                except ValueError as error:
                    raise ValueError(f"{kind}.{error}") from None
        return self

    def zone_of(self, feed: _Feed, shop_zone: str) -> str:
        """Return the time zone of times without one in a feed: the feed's, the source's or the shop's."""
        return feed.time_zone or self.time_zone or shop_zone

    @property
    def selected_feeds(self) -> tuple[str, ...]:
        """The event feeds whose lines the SELECT maps."""
        return tuple(name for name in sorted(self.feeds) if self.feeds[name].is_selected)

    @property
    def query(self) -> Select | None:
        """The SELECT, parsed."""
        return parse_select(self.select, self.selected_feeds) if self.select else None

    @property
    def has_currency(self) -> bool:
        """Whether some line may say its currency."""
        return self.select is not None or any("currency" in feed.columns for feed in self.feeds.values())

    def of_shop(self, currency: str) -> "Source":
        """Return the source with the currency of the settings, where lines may say theirs and the YAML says none."""
        if not currency or self.currency is not None or not self.has_currency:
            return self
        return self.model_copy(update={"currency": currency})

    def all_feeds(self) -> dict[str, EventFeed | TableFeed]:
        """Return event feeds by name (sorted), then users and products where there are any."""
        events: dict[str, EventFeed | TableFeed] = {n: self.feeds[n] for n in sorted(self.feeds)}
        return events | {n: f for n in (USERS, PRODUCTS) if (f := getattr(self, n)) is not None}

    def digest(self, shop_zone: str = "UTC") -> str:
        """Return the hash of everything that decides how files become events (not the description)."""
        unsaid = set() if self.not_a_person else {"not_a_person"}
        said = self.model_dump(mode="json", exclude={"description", "name", "questions", *unsaid})
        if self.select:
            said["macros"] = MACROS
        return digest(said | {"time_zone": self.time_zone or shop_zone})


def ignored(relative: str) -> bool:
    """Say whether a path is one of those that are never read: still being written, or no data."""
    return relative.endswith(IGNORED_ENDINGS) or relative.rpartition("/")[2].startswith(IGNORED_BEGINNING)


def shipped_sources() -> dict[str, Path]:
    """Return names and files of the sources that come with the package."""
    return {p.stem: p for p in sorted(SHIPPED.glob("*.yaml"))}


def load_source(name_or_path: str | Path, *, open_questions: bool = False) -> Source:
    """Load a shipped source by name, or a source YAML by path, with its SELECT and what it is based on.

    Args:
        name_or_path: the name or the path.
        open_questions: whether a draft may be loaded that asks something; nothing goes into a lake by way of one.

    Raises:
        ConfigError: naming the file, the field, its value and what is allowed; or an answer that the source asks for,
            or the questions of a draft.
    """
    text = str(name_or_path)
    path = shipped_sources().get(text) or Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"source = {text!r}: no such file, and not a shipped source ({', '.join(shipped_sources())})")
    said, asked = _load(path, ())
    # The settings may answer this one: `Source.of_shop`.
    asked.pop("currency", None)
    if asked:
        questions = "; ".join(f"{key} ({question})" for key, question in asked.items())
        based = f"a YAML of your own with `based_on: {path.stem}` and this key" if path.parent == SHIPPED else "it"
        raise ConfigError(f"{path}: asks for {questions}; say it in {based}")
    said.setdefault("name", re.sub(r"[^a-z0-9_]", "_", path.stem.lower()).lstrip("_0123456789") or "source")
    try:
        source = Source(**said)
    except ValidationError as error:
        raise ConfigError(describe_validation(error, str(path)) + _allowed_fields(error)) from None
    except TypeError as error:
        raise ConfigError(f"{path}: {error}") from None
    if source.questions and not open_questions:
        asked = "".join(f"\n  {n}. {question}" for n, question in enumerate(source.questions, 1))
        raise ConfigError(
            f"{path}: questions: the draft asks what the files do not say, so nothing is read by it yet:{asked}\n"
            "Change what an answer changes, remove the question, and try it: seg-assets source check"
        )
    return source


def read_source(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a YAML says together with what it is based on, and its open questions by the key that answers.

    Raises:
        ConfigError: the file, or one that it is based on, cannot be read.
    """
    return _load(path, ())


def _load(path: Path, below: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a YAML says together with what it is based on, and the questions that are not answered in it."""
    path = path.resolve()
    if path in below:
        chain = " -> ".join(p.stem for p in (*below, path))
        raise ConfigError(f"{path}: based_on: goes round in a circle ({chain})")
    loaded = read_yaml(path)
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping with name and feeds, found {type(loaded).__name__}")
    if "select" in loaded:
        raise ConfigError(f"{path}: select: stands in a file of its own beside this one: {path.stem}.sql")
    own = dict(loaded)
    base, questions = own.pop("based_on", None), own.pop("asks", {})
    if not isinstance(questions, dict) or not all(isinstance(text, str) for text in questions.values()):
        raise ConfigError(f"{path}: asks = {questions!r}: expected keys of a source, each with its question")
    said: dict[str, Any] = {}
    asked: dict[str, str] = {}
    if base is not None:
        other = shipped_sources().get(str(base)) or path.parent / str(base)
        if not other.is_file():
            near = did_you_mean(str(base), list(shipped_sources()))
            raise ConfigError(f"{path}: based_on = {base!r}: no shipped source{near}, and no file beside this one")
        said, asked = _load(other, (*below, path))
    beside = path.with_suffix(".sql")
    if beside.is_file():
        try:
            own["select"] = beside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{beside}: cannot be read: {error}") from None
    open_questions = {key: text for key, text in asked.items() if not _says(own, key.split("."))}
    return _merged(said, own), {str(key): text for key, text in (open_questions | questions).items()}


def _says(said: Any, keys: list[str]) -> bool:
    return not keys or (isinstance(said, dict) and keys[0] in said and _says(said[keys[0]], keys[1:]))


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with another one's keys over it, level by level; a list is replaced as a whole."""
    both = dict(base)
    for key, value in own.items():
        below = both.get(key)
        both[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _checked_expression(text: str | None) -> str | None:
    if text is not None:
        try:
            Expression.parse(text)
        except ExpressionError as error:
            raise ValueError(f"{text!r}: {error}") from None
    return text


def _first_of(names: tuple[str, ...]) -> Expression:
    """Return the column of the first of these names that a header has."""
    return Expression.parse(f"coalesce({', '.join(map(quoted, names))})")


def _allowed_fields(error: ValidationError) -> str:
    """Return which keys a source may have where an unknown one stands."""
    lines = []
    for item in error.errors():
        if item["type"] != "extra_forbidden":
            continue
        where = [str(p) for p in item["loc"][:-1]]
        model: type[BaseModel] = Source
        if where[:1] == ["feeds"]:
            model = EventFeed
        elif where[:1] in (["users"], ["products"]):
            model = TableFeed
        if where[-1:] == ["csv"]:
            model = CsvOptions
        lines.append(f"\nallowed in {'.'.join(where) or 'a source'}: {', '.join(model.model_fields)}")
    return "".join(dict.fromkeys(lines))
