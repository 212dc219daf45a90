"""Made-up sources and files, and plain Python that says what becomes of each line and what its values are.

The oracle knows nothing of how files are read: every field comes with what it means beside how it is written.
Some shops in the normal run; `make fuzz` makes up as many as FUZZ says, and prints what they held.
"""

import collections
import datetime as dt
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.events.landing_zone import Landing

EXAMPLES = int(os.environ.get("FUZZ", "25"))
DAY = dt.date(2024, 3, 4)
NO_TIME, NO_NUMBER = object(), object()
COUNTED: collections.Counter[str] = collections.Counter()

BLANKS = st.sampled_from(["", "", "", " ", "\u00a0", "\u202f\t", "\u3000", "\ufeff", "\v"])
WORDS = st.sampled_from(
    ["u1", "u2", "é-7", "C:\\temp", "a,b;c|d", 'q"t', "x\ty", "line\nbreak", "0012", "-5", "e5", "1e", "\\x41"]
)
WHOLE = st.integers(-(10**20), 10**20) | st.integers(0, 3)


@dataclass(frozen=True)
class Field:
    """A value as it is written (None: absent), what it means, and whether it is written as a JSON number."""

    text: str | None
    means: object
    bare: bool = False


@dataclass(frozen=True)
class Shop:
    """How the files of a source are written."""

    ending: str
    csv: str
    zone: str
    shop_zone: str
    decimal: str
    thousands: str
    with_ids: bool


def ids(json_lines: bool) -> st.SearchStrategy[Field]:
    texts = st.builds(lambda a, w, b: Field(a + w + b, w), BLANKS, WORDS, BLANKS)
    nothing = st.sampled_from([Field(None, None), Field("", None), Field("\u00a0 ", None)])
    if not json_lines:
        return texts | nothing | WHOLE.map(lambda n: Field(str(n), str(n))) | st.just(Field("4711.0", "4711.0"))
    numbers = st.builds(
        lambda n, form: Field(form.format(n), str(n), bare=True),
        WHOLE,
        st.sampled_from(["{}", "{}.0", "{}.000", "{}0e-1", "{}E0"]),
    )
    return texts | nothing | numbers | st.sampled_from([Field("NaN", None, bare=True), Field("4711.0", "4711.0")])


@st.composite
def times(draw: st.DrawFn, zone: str, shop_zone: str) -> Field:
    local = dt.datetime.combine(
        DAY, dt.time(draw(st.integers(0, 23)), draw(st.integers(0, 59)), draw(st.integers(0, 59)))
    )
    local += dt.timedelta(days=draw(st.sampled_from([0, 0, 0, 0, 0, 1, -1])))
    form = draw(
        st.sampled_from(["T", " ", "Z", " UTC", "+0530", " -05:00", "+01", "name", "own", "foreign", "date", "odd", ""])
    )
    text, offset = local.isoformat(sep="T" if form == "T" else " "), dt.timedelta()
    in_zone = local.replace(tzinfo=ZoneInfo(zone))
    if form in ("T", " "):
        at = in_zone
    elif form == "name":
        text, at = f"{text} Asia/Tokyo", local.replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    elif form == "own":
        text, at = f"{text} {in_zone.tzname()}", in_zone
    elif form == "foreign":
        return Field(f"{text} PKT", NO_TIME)
    elif form == "date":
        text, at = str(local.date()), dt.datetime.combine(local.date(), dt.time(), ZoneInfo(shop_zone))
    elif form == "odd":
        return Field(
            draw(st.sampled_from(["1/11/09", "yesterday", "2024-02-30", "20240304", "epoch", f"{text} GMT+1"])), NO_TIME
        )
    elif form == "":
        return Field(draw(st.sampled_from(["", "\u2003"])), None)
    else:
        if form not in ("Z", " UTC"):
            digits = form.strip().replace(":", "").ljust(5, "0")
            offset = dt.timedelta(hours=int(digits[1:3]), minutes=int(digits[3:])) * (-1 if digits[0] == "-" else 1)
        text, at = text + form, local.replace(tzinfo=dt.timezone(offset))
    return Field(draw(BLANKS) + text + draw(BLANKS), at.astimezone(dt.UTC).replace(tzinfo=None))


@st.composite
def amounts(draw: st.DrawFn, shop: Shop) -> Field:
    if draw(st.integers(0, 5)) == 0:
        odd = ["12_000", "abc", "1\u00a0000\u00a00", "--1", "0x10"]
        return Field(draw(st.sampled_from(odd)), NO_NUMBER) if draw(st.booleans()) else Field("", None)
    cents = draw(st.integers(-200_000, 2_000_000))
    value = Decimal(cents) / 1000
    if shop.ending == "jsonl" and draw(st.booleans()):
        return Field(str(value), value, bare=True)
    text = f"{value:{',' if shop.thousands else ''}f}"
    mark = {" ": draw(st.sampled_from(" \u00a0\u202f")), "'": draw(st.sampled_from("'\u2019"))}.get(
        shop.thousands, shop.thousands
    )
    text = text.replace(",", "\0").replace(".", shop.decimal).replace("\0", mark)
    return Field(draw(BLANKS) + text + draw(BLANKS), value)


KINDS = st.sampled_from([
    Field("purchase", "purchase"), Field("view_item", "view_item"), Field(" VIEW_ITEM\u00a0", "view_item"),
    Field("refund", "refund"), Field("probe", "probe"), Field("bogus", "bogus"), Field("", None),
])  # fmt: skip
SHOPS = st.builds(
    Shop,
    ending=st.sampled_from(["csv", "csv", "jsonl"]),
    csv=st.sampled_from(["{}", '{delimiter: ";"}', "{escape: '\\'}", "{dialect: postgres_text}", "{dialect: mysql}"]),
    zone=st.sampled_from(["UTC", "Europe/London", "America/Halifax", "Asia/Shanghai"]),
    shop_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from(["", " ", "'"]),
    with_ids=st.booleans(),
)
CONTRACT = ("user_id", "anonymous_id", "event_time", "event_type", "amount", "category")
COLUMNS = ("id", "user", "anon", "at", "kind", "amount", "cat", "rest")


def yaml_of(shop: Shop) -> str:
    header = "" if "dialect" not in shop.csv else ", header: false, columns: [" + ", ".join(COLUMNS) + "]"
    return f"""
name: made_up
time_zone: {shop.zone}
feeds:
  f:
    files: "{{day}}*.{shop.ending}"
    csv: {shop.csv[:-1]}{header.removeprefix(", ") if shop.csv == "{}" else header}}}
    decimal: "{shop.decimal}"
    thousands: "{shop.thousands}"
    columns: {{event_time: at, event_type: kind, user_id: user, anonymous_id: anon, amount: amount, category: cat
              {", event_id: id" if shop.with_ids else ""}}}
    values: {{event_type: {{probe: null}}}}
"""


def written(shop: Shop, rows: list[dict[str, Field]]) -> str:
    """Return the text of a file."""
    if shop.ending == "jsonl":
        return "".join(json_line(row) + "\n" for row in rows)
    if "dialect" in shop.csv:
        special = {"\\": "\\\\", "\t": "\\\t", "\n": "\\\n", "\v": "\\\v"}
        if "postgres" in shop.csv:
            special |= {"\t": "\\t", "\n": "\\n", "\v": "\\v"}
        return lines(rows, "\t", lambda t: "\\N" if t is None else "".join(special.get(c, c) for c in t))
    mark = ";" if ";" in shop.csv else ","
    if "escape" in shop.csv:
        plain = {c: "\\" + c for c in ("\\", '"', mark, "\n")}
        field: Callable[[str | None], str] = lambda t: "\\N" if t is None else "".join(plain.get(c, c) for c in t)  # noqa: E731
    else:
        field = lambda t: "NULL" if t is None else '"' + t.replace('"', '""') + '"'  # noqa: E731
    return mark.join(COLUMNS) + "\n" + lines(rows, mark, field)


def lines(rows: list[dict[str, Field]], mark: str, field: Callable[[str | None], str]) -> str:
    return "".join(mark.join(field(row[c].text) for c in COLUMNS) + "\n" for row in rows)


def json_line(row: dict[str, Field]) -> str:
    said = {c: f for c, f in row.items() if f.text is not None}
    return (
        "{" + ", ".join(f"{json.dumps(c)}: {f.text if f.bare else json.dumps(f.text)}" for c, f in said.items()) + "}"
    )


def outcome(shop: Shop, row: dict[str, Field]) -> str | tuple:
    """Return the reason why a line is refused, or its values."""
    kind, at, amount = row["kind"].means, row["at"].means, row["amount"].means
    if kind == "probe":
        return "ignored_event_type"
    if at is NO_TIME or at is None:
        return "not_a_time" if at is NO_TIME else "missing_time"
    assert isinstance(at, dt.datetime)
    if at.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(shop.shop_zone)).date() != DAY:
        return "wrong_day"
    if kind is None or kind == "bogus":
        return "missing_event_type" if kind is None else "unknown_event_type"
    if row["user"].means is None and row["anon"].means is None:
        return "no_user"
    if amount is NO_NUMBER:
        return "not_a_number"
    if isinstance(amount, Decimal):
        kind = "refund" if kind == "purchase" and amount < 0 else kind
        amount = (-abs(amount) if kind == "refund" else amount).quantize(Decimal("0.01"), ROUND_HALF_UP)
    elif kind in ("purchase", "refund"):
        return "missing_amount"
    return (row["user"].means, row["anon"].means, at, kind, amount, row["cat"].means)


@given(st.data())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
def test_promise_04_made_up_files_are_read_as_plain_python_reads_them(data):
    shop = data.draw(SHOPS)
    anything = ids(shop.ending == "jsonl")
    row = st.fixed_dictionaries({
        "id": anything if shop.with_ids else st.just(Field("", None)), "user": anything, "anon": anything,
        "at": times(shop.zone, shop.shop_zone), "kind": KINDS, "amount": amounts(shop), "cat": anything,
        "rest": st.sampled_from([Field("x", "x"), Field("y", "y")]),
    })  # fmt: skip
    first = data.draw(st.lists(row, max_size=8))
    first += data.draw(st.lists(st.sampled_from(first), max_size=3)) if first else []
    again = (
        [{**r, "rest": Field("again", "again")} for r in data.draw(st.permutations(first))]
        if data.draw(st.booleans())
        else []
    )
    if shop.ending == "jsonl":
        again = [dict(reversed(r.items())) for r in again]
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder), yaml_of(shop), shop.shop_zone)
        landing.put(f"{DAY}.{shop.ending}", written(shop, first).encode())
        if again:
            landing.put(f"{DAY}.again.{shop.ending}", written(shop, again).encode())
        read = landing.read(DAY)
    outcomes = [[(r["id"].means, outcome(shop, r)) for r in rows] for rows in (first, again)]
    refused = collections.Counter(o for rows in outcomes for _, o in rows if isinstance(o, str))
    assert collections.Counter(r["reason"] for r in read.rejected) == refused
    # Lines with an id are one event an id; the others one event a copy, and a second delivery adds none.
    named = collections.defaultdict(list)
    for rows in outcomes:
        for name, values in rows:
            if name is not None and not isinstance(values, str):
                named[name].append(values)
    copies = collections.Counter(v for n, v in outcomes[0] if n is None and not isinstance(v, str))
    got = [(r["event_id"], tuple(r[c] for c in CONTRACT))
           for r in read.accepted]  # fmt: skip
    assert len(got) == len(named) + sum(copies.values())
    assert collections.Counter(v for n, v in got if n not in named) == copies
    for name, values in got:
        assert name not in named or (values in named[name] and values[2] == min(v[2] for v in named[name]))
    COUNTED.update(refused)
    COUNTED.update(shops=1, lines=len(first) + len(again), accepted=len(got))
    COUNTED["duplicates"] += read.day.total("duplicates")


@pytest.fixture(scope="module", autouse=True)
def _counts():
    yield
    if "FUZZ" in os.environ:
        print("\n" + "\n".join(f"{count:>9,}  {what}" for what, count in sorted(COUNTED.items(), key=lambda c: -c[1])))
