"""Write the landing files: events as JSON lines or Parquet, users and products as CSV; dirt and late files on the way.

Each file is written under another name and renamed, so that a landing sensor never meets half of one. Late files
wait in `truth/late` until they are delivered.

Not here: what happens on a day (`simulator.day`), and the files of the truth (`simulator.engine`).
"""

import datetime as dt
import functools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.events.contract import CHANNELS, DEVICES, EVENT_TYPES
from seg_assets.simulator.behaviours import AGE_BANDS, INCOME_BANDS, REGIONS, SEXES
from seg_assets.simulator.day import Catalogue
from seg_assets.simulator.streams import stream

TRUTH = "truth"
MARKER = "script.json"
_OURS = re.compile(r"^\d{4}-\d\d-\d\d(\.late-\d+)?\.(jsonl|parquet|csv)$")
# Rows that go through the database at once: small days wait for each other, a large day goes alone.
FLUSH_ROWS = 50_000
# What makes a line unacceptable to any reader of the contract.
_BROKEN_JSON = ("half", "noise", "time", "type", "nobody", "amount")
_BROKEN_PARQUET = ("time", "type", "nobody")
# A bijection of 48-bit numbers (odd multiplier), so that cookies do not give users away.
_SCRAMBLE = np.uint64(0x9E3779B97F4B)
_BITS_48 = np.uint64(2**48 - 1)

EVENT_COLUMNS = (
    "event_id", "user_id", "anonymous_id", "event_time", "event_type", "product_id", "category", "order_id",
    "quantity", "amount", "discount", "rating", "session_id", "channel", "device", "query", "campaign_id",
)  # fmt: skip
MONEY_COLUMNS = ("event_id", "user_id", "event_time", "event_type", "amount")
_NUMERIC = ("quantity", "amount", "discount", "rating")
USER_COLUMNS = ("user_id", "sex", "age_band", "region", "income_band", "household_size", "signup_day")

_CENTS = "({}::decimal(18, 2) * 0.01::decimal(3, 2))::decimal(18, 2)"
_SQL = {
    "event_id": "format('e{}-{}-{}', stamp, population, n)",
    "user_id": "case when named then format('u{:08d}', user_number) end",
    "anonymous_id": "case when cookie then format('a{:012x}', cookie_number) end",
    "event_time": (
        "format('{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}.{:03d}{}', stamp // 10000, stamp // 100 % 100, stamp % 100, "
        "local_ms // 3600000, local_ms // 60000 % 60, local_ms // 1000 % 60, local_ms % 1000, utc_offset::varchar)"
    ),
    "event_type": "event_type::varchar",
    "product_id": "case when product >= 0 then format('p{:06d}', product) end",
    "category": "category::varchar",
    "order_id": "case when order_n >= 0 then format('o{}-{}-{}', order_day, population, order_n) end",
    "quantity": "case when quantity > 0 then quantity end",
    "amount": f"case when event_type in ('purchase', 'refund') then {_CENTS.format('cents')} end",
    "discount": f"case when discount >= 0 then {_CENTS.format('discount')} end",
    "rating": "case when rating > 0 then rating::integer end",
    "session_id": "case when session >= 0 then format('s{}-{}-{}', stamp, population, session) end",
    "channel": "channel::varchar",
    "device": "device::varchar",
    "query": "query::varchar",
    "campaign_id": ("case when campaign > 0 then 'news-' || campaign when campaign < 0 then 'promo-' || -campaign end"),
}


def queries(categories: Sequence[str]) -> list[str]:
    """Return search texts, six per category, some with quotes, commas and letters outside ASCII."""
    return [
        text
        for c in categories
        for text in (c, f"{c} sale", f'best "{c}"', f"{c}, new", f"{c} größe xl", f"cheap {c} & more")
    ]


def cookie_numbers(user_number: np.ndarray, device: np.ndarray) -> np.ndarray:
    """Return the number in the anonymous id of a user's device: stable, unique, and silent about the user."""
    key = (user_number.astype(np.uint64) << np.uint64(2)) | device.astype(np.uint64)
    return (key * _SCRAMBLE) & _BITS_48


class LandingWriter:
    """Writes one simulated shop into a landing folder.

    Raises:
        ConfigError: when the folder holds event files that no simulation wrote.
    """

    def __init__(
        self, landing: Path, seed: int, zone: str, file_format: str, late: str, categories: Sequence[str], money: bool
    ) -> None:
        self.landing = landing
        self.seed = seed
        self.zone = ZoneInfo(zone)
        self.format = file_format
        self.late = late
        self.money = money
        self.categories = tuple(categories)
        self.columns = MONEY_COLUMNS if money else EVENT_COLUMNS
        self.queries = queries(categories)
        self.offsets: dict[str, int] = {}
        # (file, how each line is broken or -1, columns) that wait for `flush`.
        self.jobs: list[tuple[Path, np.ndarray, dict[str, np.ndarray]]] = []
        self.con = duckdb.connect(":memory:")
        # One thread: the order of rows, and so the bytes of a file, must not depend on the machine.
        self.con.execute("set threads = 1")
        self._clear()

    def _clear(self) -> None:
        """Remove the files of an earlier simulation, and mark the folder as ours."""
        ours = (self.landing / TRUTH / MARKER).exists()
        folders = [self.landing / "events", self.landing / "users"]
        if not ours and any(f.is_dir() and any(f.iterdir()) for f in folders):
            raise ConfigError(f"landing = {self.landing}: holds files that no simulation wrote; choose an empty folder")
        for folder in folders:
            for path in folder.glob("*"):
                if _OURS.match(path.name):
                    path.unlink()
        shutil.rmtree(self.landing / TRUTH, ignore_errors=True)
        try:
            (self.landing / TRUTH).mkdir(parents=True)
            # From here on the folder is known as ours, also when this run is killed.
            (self.landing / TRUTH / MARKER).write_text("{}\n", encoding="utf-8")
            (self.landing / "events").mkdir(exist_ok=True)
            if not self.money:
                (self.landing / "users").mkdir(exist_ok=True)
        except OSError as error:
            raise LandingError(f"landing = {self.landing}: cannot be written: {error}") from None

    def products(self, catalogue: Catalogue) -> None:
        """Write products.csv."""
        if self.money:
            return
        rows = ["product_id,category,subcategory,brand,price"]
        for n, (category, cents) in enumerate(zip(catalogue.category, catalogue.cents, strict=True)):
            name = self.categories[category]
            rows.append(f"p{n:06d},{name},{name}-{n % 3 + 1},brand-{n * 7 % 23 + 1},{cents // 100}.{cents % 100:02d}")
        text = "\n".join(rows) + "\n"
        publish(self.landing / "products.csv", lambda path: path.write_text(text, encoding="utf-8"))

    def users(self, day: dt.date, columns: dict[str, np.ndarray]) -> None:
        """Write the users that are new or changed on a day; only the header when there are none."""
        if self.money:
            return
        names = {"sex": SEXES, "age_band": AGE_BANDS, "region": REGIONS, "income_band": INCOME_BANDS}

        def write(path: Path) -> None:
            with path.open("w", encoding="utf-8", newline="") as handle:
                handle.write(",".join(USER_COLUMNS) + "\n")
                for first in range(0, len(columns["signup"]), FLUSH_ROWS):
                    part = {k: v[first : first + FLUSH_ROWS].tolist() for k, v in columns.items()}
                    texts = [
                        [names[k][c] if c >= 0 else "" for c in part[k]] if k in names else part[k]
                        for k in ("sex", "age_band", "region", "income_band", "household_size")
                    ]
                    ids = [f"u{number:08d}" for number in part["user_number"]]
                    days = {since: (day + dt.timedelta(days=since)).isoformat() for since in set(part["signup"])}
                    signups = [days[since] for since in part["signup"]]
                    rows = zip(ids, *texts, signups, strict=True)
                    handle.writelines(f"{u},{s},{a},{r},{i},{h},{d}\n" for u, s, a, r, i, h, d in rows)

        publish(self.landing / "users" / f"{day}.csv", write)

    def events(self, day: dt.date, n: int, columns: dict[str, np.ndarray], shares: dict[str, float]) -> dict[str, int]:
        """Plan the files of one day and say what will be in them; they are on disk after `flush`.

        Args:
            day: the day.
            n: its number in the run, the key of the streams of dirt.
            columns: clean events in order of time.
            shares: of duplicates, corrupt and late lines.
        """
        clean = len(columns["type"])
        is_late = np.zeros(clean, bool)
        if shares["late"] > 0 and self.late != "on_time":
            is_late = stream(self.seed, "late", n).random(clean) < shares["late"]
        twice = spots = np.empty(0, np.int64)
        if shares["duplicates"] > 0:
            rng = stream(self.seed, "duplicates", n)
            twice = np.flatnonzero(rng.random(clean) < shares["duplicates"])
            # A copy comes at most 50 lines after the first.
            spots = twice + 0.5 + np.floor(50 * rng.random(len(twice)))
        like, between, way = self._corrupt(n, clean, shares["corrupt"])

        row = np.concatenate([np.arange(clean), twice, like])
        place = np.concatenate([np.arange(clean), spots, between])
        ways = np.concatenate([np.full(clean + len(twice), -1, np.int8), way])
        order = np.argsort(place, kind="stable")
        row, ways = row[order], ways[order]
        late = is_late[row] & (ways < 0)
        self._plan(self.landing / "events" / f"{day}.{self.format}", day, columns, row[~late], ways[~late])
        if late.any():
            folder = self.landing / ("events" if self.late == "delivered" else f"{TRUTH}/late")
            folder.mkdir(exist_ok=True)
            self._plan(folder / f"{day}.late-1.{self.format}", day, columns, row[late], ways[late])
        if sum(len(job[1]) for job in self.jobs) >= FLUSH_ROWS:
            self.flush()
        return {
            "clean_events": clean,
            "late_events": int(is_late.sum()),
            "duplicates": len(twice),
            "late_duplicates": int(is_late[twice].sum()),
            "corrupt_lines": len(like),
            "lines_on_time": int((~late).sum()),
            "lines_late": int(late.sum()),
        }

    def _corrupt(self, n: int, clean: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw lines that must be refused: which event each is like, where each stands, and what is wrong with each."""
        rng = stream(self.seed, "corrupt", n)
        count = int(rng.binomial(clean, share)) if share > 0 else 0
        like = rng.integers(0, max(clean, 1), count)
        between = np.sort(rng.random(count) * clean)
        ways = _BROKEN_JSON if self.format == "jsonl" else _BROKEN_PARQUET
        return like, between, rng.integers(0, len(ways), count).astype(np.int8)

    def _plan(
        self, path: Path, day: dt.date, columns: dict[str, np.ndarray], row: np.ndarray, ways: np.ndarray
    ) -> None:
        """Note the lines of one file. A way of 0 or more is how a line is broken."""
        taken = {k: v[row] for k, v in columns.items()}
        taken["local_ms"], texts, which = local_times(day, taken.pop("ms"), self.zone)
        for text in texts:
            self.offsets.setdefault(text, len(self.offsets))
        taken["offset"] = np.array([self.offsets[text] for text in texts])[which]
        taken["stamp"] = np.full(len(row), day.year * 10_000 + day.month * 100 + day.day, np.int32)
        self.jobs.append((path, ways, taken))

    def flush(self) -> None:
        """Write the files that are planned. Small days go through the database together: a query costs 20 ms.

        Raises:
            LandingError: when a file cannot be written.
        """
        if not self.jobs:
            return
        columns = {k: np.concatenate([taken[k] for _, _, taken in self.jobs]) for k in self.jobs[0][2]}
        planned = [(path, ways) for path, ways, _ in self.jobs]
        self.jobs = []
        rows = self._rows(columns)
        first = 0
        for path, ways in planned:
            table = self._broken(rows.slice(first, len(ways)), ways)
            first += len(ways)
            if self.format == "jsonl":
                publish(path, functools.partial(_write_lines, table["line"]))
            else:
                # In one piece, so that pages do not depend on where the database cut.
                publish(path, functools.partial(_write_parquet, table.combine_chunks()))

    def _rows(self, columns: dict[str, np.ndarray]) -> pa.Table:
        """Return the contract columns of these rows; for JSON one column `line`."""
        data = {
            "cookie_number": pa.array(cookie_numbers(columns["user_number"], columns["device"])),
            "utc_offset": _texts_of(columns["offset"], list(self.offsets)),
            "event_type": _texts_of(columns["type"], EVENT_TYPES),
            "category": _texts_of(columns["category"], self.categories),
            "channel": _texts_of(columns["channel"], CHANNELS),
            "device": _texts_of(columns["device"], DEVICES),
            "query": _texts_of(columns["query"], self.queries),
        }
        data |= {k: pa.array(v) for k, v in columns.items() if k not in data and k not in ("type", "offset")}
        self.con.register("rows", pa.table(data))
        sql = f"select {', '.join(f'{_SQL[c]} as {c}' for c in self.columns)} from rows"
        if self.format == "jsonl":
            sql = f"select {self._json()} as line from ({sql})"
        table = self.con.sql(sql).to_arrow_table()
        self.con.unregister("rows")
        return table

    def _json(self) -> str:
        """Return the SQL of a row's line of JSON."""
        parts = []
        for n, name in enumerate(self.columns):
            text = f"{name}::varchar" if name in _NUMERIC else f"'\"' || {name} || '\"'"
            if name == "query":  # the one column whose text needs escapes
                text = "to_json(query)::varchar"
            lead = ("{" if n == 0 else ", ") + f'"{name}": '
            parts.append(f"'{lead}' || coalesce({text}, 'null')")
        return " || ".join(parts) + " || '}' || chr(10)"

    def _broken(self, table: pa.Table, ways: np.ndarray) -> pa.Table:
        """Return the table with its rows broken where a way says so."""
        bad = np.flatnonzero(ways >= 0)
        if not len(bad):
            return table
        names = _BROKEN_JSON if self.format == "jsonl" else _BROKEN_PARQUET
        how = [names[k] for k in ways[bad]]
        rows = table.take(pa.array(bad))
        if self.format == "jsonl":
            lines = [break_line(line, way) for line, way in zip(rows["line"].to_pylist(), how, strict=True)]
            rows = pa.table({"line": pa.array(lines, pa.string())})
        else:
            rows = _break_columns(rows, how)
        source = np.arange(len(ways))
        source[bad] = len(ways) + np.arange(len(bad))
        return pa.concat_tables([table, rows.cast(table.schema)]).take(pa.array(source))

    def close(self) -> None:
        """Free the database."""
        self.con.close()


def _texts_of(codes: np.ndarray, names: Sequence[str]) -> pa.Array:
    """Return codes as a dictionary column of their names; a negative code is null."""
    codes = codes.astype(np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, mask=codes < 0), pa.array([str(n) for n in names], pa.string())
    )


def _write_lines(lines: pa.ChunkedArray, path: Path) -> None:
    """Write the texts one after the other, straight from the buffers."""
    with path.open("wb") as handle:
        for chunk in lines.chunks:
            if len(chunk):
                text = chunk.cast(pa.large_string())
                offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]
                handle.write(memoryview(text.buffers()[2])[offsets[0] : offsets[-1]])


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=250_000)


def break_line(line: str, way: str) -> str:
    """Return a line that no reader of the contract accepts: half a line, noise, or one impossible value."""
    line = line.replace('"event_id": "e', '"event_id": "x', 1)
    if way == "half":
        return line[: len(line) // 2] + "\n"
    if way == "noise":
        return "<<< upstream timeout, retrying >>>\n"
    if way == "time":
        return re.sub(r'"event_time": "[^"]*"', '"event_time": "yesterday at noon"', line)
    if way == "type":
        return re.sub(r'"event_type": "[^"]*"', '"event_type": "teleport"', line)
    if way == "amount":
        return re.sub(r'"amount": [^,}]*', '"amount": "12,3x"', line)
    return re.sub(r'"(user_id|anonymous_id)": "[^"]*"', r'"\1": null', line)


def _break_columns(rows: pa.Table, way: Sequence[str]) -> pa.Table:
    """Return rows that no reader of the contract accepts, each broken its own way."""
    ways = pa.array(way)
    changes = {
        "event_time": ("time", "yesterday at noon"),
        "event_type": ("type", "teleport"),
        "user_id": ("nobody", None),
        "anonymous_id": ("nobody", None),
    }
    ids = pc.binary_join_element_wise("x", pc.utf8_slice_codeunits(rows["event_id"], 1), "")
    rows = rows.set_column(rows.schema.get_field_index("event_id"), "event_id", ids)
    for name, (kind, value) in changes.items():
        if name in rows.column_names:
            changed = pc.if_else(pc.equal(ways, kind), pa.scalar(value, pa.string()), rows[name])
            rows = rows.set_column(rows.schema.get_field_index(name), name, changed)
    return rows


def day_seconds(day: dt.date, zone: ZoneInfo) -> int:
    """Return the length of a day in a time zone: 23, 24 or 25 hours in most."""
    return round(_midnight(day + dt.timedelta(days=1), zone) - _midnight(day, zone))


def _midnight(day: dt.date, zone: ZoneInfo) -> float:
    return dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def local_times(day: dt.date, ms: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the local milliseconds of times since the day's first moment, UTC offsets as text, and which each has.

    A change of the clock within the day is located to the second.
    """
    first = int(_midnight(day, zone))
    last = first + day_seconds(day, zone) - 1

    def offset(second: int) -> int:
        difference = dt.datetime.fromtimestamp(second, zone).utcoffset()
        return round(difference.total_seconds()) if difference else 0

    edges, offsets = [first], [offset(first)]
    if offset(last) != offsets[0]:
        low, high = first, last
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[0] else (low, middle)
        edges.append(high)
        offsets.append(offset(last))
    part = np.searchsorted(np.array(edges) * 1000, first * 1000 + ms, side="right") - 1
    epoch = int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp())
    local = first * 1000 + ms + np.array(offsets)[part] * 1000 - epoch * 1000
    return local.astype(np.int64), [_offset_text(o) for o in offsets], part


def _offset_text(seconds: int) -> str:
    sign, rest = ("-", -seconds) if seconds < 0 else ("+", seconds)
    text = f"{sign}{rest // 3600:02d}:{rest // 60 % 60:02d}"
    return text + (f":{rest % 60:02d}" if rest % 60 else "")


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a hidden name, then rename.

    Raises:
        LandingError: when the folder cannot be written.
    """
    staged = path.with_name(f".{path.name}.part")
    try:
        write(staged)
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise LandingError(f"{path}: cannot be written: {error}") from None


def deliver_late(landing: Path, day: dt.date, into: Path | None = None) -> Path | None:
    """Bring the withheld late file of a day into the landing folder (or copy it into another one).

    Returns:
        The delivered file, None when the day has no withheld file.
    """
    landing = Path(landing)
    for path in sorted((landing / TRUTH / "late").glob(f"{day}.late-1.*")):
        target = (Path(into) if into else landing) / "events" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if into:
            publish(target, lambda staged, path=path: shutil.copyfile(path, staged))
        else:
            path.replace(target)
        return target
    return None


def copy_day(landing: Path, into: Path, day: dt.date) -> list[Path]:
    """Copy the files of one day (and the catalogue) into another landing folder: a shop that is lived day by day.

    Late files that wait are not copied; see `deliver_late`.
    """
    names = [Path("products.csv"), *(Path("users") / p.name for p in (landing / "users").glob(f"{day}.*"))]
    names += [Path("events") / p.name for p in sorted((landing / "events").glob(f"{day}.*"))]
    copied = []
    for name in names:
        if (landing / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            publish(into / name, lambda staged, name=name: shutil.copyfile(landing / name, staged))
            copied.append(into / name)
    return copied


def write_json(path: Path, value: object) -> None:
    """Write JSON for people."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    publish(path, lambda staged: staged.write_text(text, encoding="utf-8"))
