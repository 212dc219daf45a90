"""Say of a column what its values look like: times and their format, numbers and their marks, ids, words.

Values are texts as the file has them. Shares are of the values that are not empty.

Not here: what a column is called (`names`).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What no header has in it: a time, a number, an e-mail, an id of a machine.
DATA_OF_A_LINE = re.compile(
    r"[+-]?\d+([.,]\d+)*|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?|[^@\s]+@[^@\s]+\.\w+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}"
)
_DATE_FIRST = r"(?P<year>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})"
_CLOCK = r"\d{1,2}:\d{2}(?P<seconds>:\d{2}(?P<fraction>\.\d+)?)?"
_ZONE = r"Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?|[A-Z][a-z]+/[A-Za-z_/]+"
ISO = re.compile(rf"{_DATE_FIRST}(?:(?:T| +)(?P<clock>{_CLOCK}) ?(?P<zone>{_ZONE})?)?")
_LOCAL = re.compile(
    r"(?P<a>\d{1,2})(?P<mark>[./-])(?P<b>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})"
    rf"(?:(?P<gap>, | +|T| - )(?P<clock>{_CLOCK})(?P<half> ?[AaPp][Mm])?(?P<zone> ?(?:{_ZONE}))?)?"
)
_MONTH = re.compile(
    r"(?:(?P<week>[A-Z][a-z]{2}), )?(?:(?P<d1>\d{1,2}) (?P<m1>[A-Z][a-z]+)|(?P<m2>[A-Z][a-z]+) (?P<d2>\d{1,2}),) "
    rf"(?P<year>\d{{4}})(?:(?P<gap>,? )(?P<clock>{_CLOCK})(?P<half> ?[AaPp][Mm])?(?P<zone> ?(?:{_ZONE}))?)?"
)
_COMPACT = re.compile(
    r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?P<clock>[0-2]\d[0-5]\d(?P<s>[0-5]\d)?)?"
)
CLOCK = re.compile(rf"{_CLOCK}(?P<half> ?[AaPp][Mm])?")
_EPOCH = re.compile(r"1[0-9]{9}(?:\.\d+)?|1[0-9]{12}|1[0-9]{15}|1[0-9]{18}")
NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:[.,' \xa0\u202f\u2019]\d{3})+)(?:[.,]\d+)?")
# A currency's sign or code around a number, and brackets for minus.
MONEY = re.compile(
    r"\(?[+-]? ?(?:[$€£¥]|[A-Z]{3})? ?(?P<number>[+-]?\d[\d.,' \xa0\u202f\u2019]*) ?(?:[$€£¥]|[A-Z]{3})?\)?"
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
IP = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-fA-F]{1,4}:){4,7}[0-9a-fA-F]{1,4}")
PHONE = re.compile(r"\+\d[\d /()-]{6,18}\d|0\d{2,5}[ /-]\d[\d -]{4,12}\d|\(\d{3}\) ?\d{3}-\d{4}")
CARD = re.compile(r"(?:\d{4}[ -]){3}\d{4}|[\dXx*•]{6,12}[ -]?\d{4}")
STREET = re.compile(r"\D{4,40} \d{1,4} ?[a-z]?|\d{1,5} \w[\w .'-]{3,40}")
_ID = re.compile(r"[#\w.:/+@|=~-]{1,80}")
# Of ISO 4217, those that shops sell in.
CURRENCIES = frozenset((
    "AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP", "HKD",
    "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KES", "KRW", "KWD", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD", "PEN",
    "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "UYU",
    "VND", "ZAR",
))  # fmt: skip


@dataclass(frozen=True)
class Times:
    """How the times of a column are written.

    form: strptime format; empty for ISO 8601. clock: whether there is a time of day. zone: whether each says its zone.
    ambiguous: whether day and month could be changed round. epoch: unit of a count since 1970.
    """

    form: str = ""
    clock: bool = True
    zone: bool = False
    ambiguous: bool = False
    epoch: str = ""


@dataclass(frozen=True)
class Marks:
    """How numbers are written: decimal and thousands mark, and whether the one text could mean two numbers."""

    decimal: str = "."
    thousands: str = ""
    ambiguous: bool = False


class Column:
    """The values of one column, and what they look like."""

    def __init__(self, name: str, values: Sequence[str | None]) -> None:
        self.name = name
        self.values = [(v or "").strip() for v in values]
        self.lines = len(values)
        self.counts = Counter(v for v in self.values if v)
        self.filled = sum(self.counts.values())
        self._shares: dict[str, float] = {}

    @property
    def filled_share(self) -> float:
        """Share of lines with a value."""
        return self.filled / self.lines if self.lines else 0.0

    @property
    def distinct(self) -> int:
        """Number of different values."""
        return len(self.counts)

    @property
    def unique(self) -> bool:
        """Whether every line has a value of its own."""
        return self.lines > 1 and self.distinct == self.filled == self.lines

    def share(self, pattern: re.Pattern[str]) -> float:
        """Return the share of values that a pattern fits."""
        if pattern.pattern not in self._shares:
            self._shares[pattern.pattern] = self.share_of(lambda v: pattern.fullmatch(v) is not None)
        return self._shares[pattern.pattern]

    def share_of(self, test: Callable[[str], bool]) -> float:
        """Return the share of values that pass a test."""
        return sum(n for v, n in self.counts.items() if test(v)) / self.filled if self.filled else 0.0

    @property
    def is_number(self) -> bool:
        """Whether nearly all values are numbers."""
        return self.share(NUMBER) > 0.97

    @property
    def is_money_text(self) -> bool:
        """Whether values are numbers beside a currency, or in brackets."""
        return (
            not self.is_number
            and self.share(MONEY) > 0.97
            and self.share_of(lambda v: any(c.isdigit() for c in v)) > 0.97
        )

    @property
    def is_whole(self) -> bool:
        """Whether nearly all values are whole numbers."""
        return self.is_number and self.share(_WHOLE) > 0.97

    @property
    def is_id(self) -> bool:
        """Whether values could be ids: one word each, no money, no times."""
        odd = self.share(ISO) > 0.5 or self.share(_LOCAL) > 0.5 or self.share(_DECIMAL) > 0.3
        return (
            self.filled > 0 and not odd and self.share(_ID) > 0.9 and self.share_of(_has_digit) + self.share(UUID) > 0.5
        )

    @property
    def is_words(self) -> bool:
        """Whether values are few and repeated texts: categories, states."""
        few = self.distinct <= max(12, min(400, self.filled // 2))
        return (
            self.filled > 0 and few and not self.is_number and self.share(_HAS_LETTER) > 0.9 and self.share(EMAIL) < 0.1
        )

    def times(self) -> Times | None:
        """Return how the times of this column are written; None when they are none."""
        if self.share(ISO) > 0.97:
            found = [ISO.fullmatch(v) for v in self.counts]
            matches = [m for m in found if m]
            clocks = [m for m in matches if m["clock"]]
            return Times(clock=bool(clocks), zone=bool(clocks) and all(m["zone"] for m in clocks))
        if self.share(_LOCAL) > 0.97:
            return self._local()
        if self.share(_MONTH) > 0.97:
            return self._by_month_name()
        if self.share(_COMPACT) > 0.97:
            match = _COMPACT.fullmatch(next(iter(self.counts)))
            assert match
            clock = "" if not match["clock"] else "%H%M%S" if match["s"] else "%H%M"
            return Times(form="%Y%m%d" + clock, clock=bool(clock))
        if self.share(_EPOCH) > 0.97:
            return Times(
                zone=True, epoch={10: "s", 13: "ms", 16: "us", 19: "ns"}[len(next(iter(self.counts)).split(".")[0])]
            )
        return None

    def _local(self) -> Times | None:
        matches = [m for v in self.counts if (m := _LOCAL.fullmatch(v))]
        first, second = max(int(m["a"]) for m in matches), max(int(m["b"]) for m in matches)
        if min(first, second) > 12 or max(first, second) > 31:
            return None
        one, mark = matches[0], matches[0]["mark"]
        # Dots mean day first everywhere; a slash with am and pm is American.
        american = second > 12 or (first <= 12 and mark == "/" and bool(one["half"]))
        date = mark.join(("%m", "%d") if american else ("%d", "%m")) + mark + ("%Y" if len(one["year"]) == 4 else "%y")
        unsure = first <= 12 and second <= 12 and mark != "."
        return Times(date + _clock_form(one), bool(one["clock"]), bool(one["zone"]), unsure)

    def _by_month_name(self) -> Times | None:
        one = next(m for v in self.counts if (m := _MONTH.fullmatch(v)))
        name = one["m1"] or one["m2"]
        long = any(len(m["m1"] or m["m2"]) > 3 for v in self.counts if (m := _MONTH.fullmatch(v)))
        month = "%B" if long or len(name) > 3 else "%b"
        date = f"%d {month} %Y" if one["d1"] else f"{month} %d, %Y"
        return Times(("%a, " if one["week"] else "") + date + _clock_form(one), bool(one["clock"]), bool(one["zone"]))


_WHOLE = re.compile(r"[+-]?\d+(?:[.,]0+)?")
_DECIMAL = re.compile(r"[+-]?\d+[.,]\d{1,2}")
_HAS_LETTER = re.compile(r".*[^\W\d_].*", re.DOTALL)


def _has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def _clock_form(match: re.Match[str]) -> str:
    if not match["clock"]:
        return ""
    hour = "%I" if match["half"] else "%H"
    half = "" if not match["half"] else " %p" if match["half"].startswith(" ") else "%p"
    zone = "" if not match["zone"] else (" " if match["zone"].startswith(" ") else "") + "%z"
    return (
        match["gap"]
        + hour
        + ":%M"
        + (":%S" if match["seconds"] else "")
        + (".%f" if match["fraction"] else "")
        + half
        + zone
    )


def marks_of(columns: Sequence[Column]) -> Marks:
    """Return how the numbers of these columns are written, taken together.

    A mark that stands alone with other than three digits behind is a decimal mark; one that stands twice, or before
    the other, separates thousands.
    """
    decimal: Counter[str] = Counter()
    thousands: Counter[str] = Counter()
    unsure: Counter[str] = Counter()
    for column in columns:
        for value, count in column.counts.items():
            match = MONEY.fullmatch(value)
            text = match["number"].strip() if match else ""
            marks = [c for c in text if not c.isdigit() and c not in "+-"]
            if not marks:
                continue
            last, behind = marks[-1], len(text) - text.rindex(marks[-1]) - 1
            if last in ".," and (len(set(marks)) > 1 or (marks.count(last) == 1 and behind != 3)):
                decimal[last] += count
                thousands.update(m for m in marks[:-1] if m != last)
            elif marks.count(last) > 1 or last not in ".,":
                thousands[last] += count
            elif not text.lstrip("+-").startswith("0"):
                unsure[last] += count
            else:
                decimal[last] += count
    if decimal:
        mark = decimal.most_common(1)[0][0]
        others = [m for m in (*thousands, *unsure) if m != mark]
        return Marks(mark, others[0] if others else "")
    if thousands:
        mark = thousands.most_common(1)[0][0]
        return Marks("," if mark == "." else ".", mark)
    if unsure:
        mark = unsure.most_common(1)[0][0]
        return Marks(mark, "", ambiguous=True)
    return Marks()


def number_of(text: str, marks: Marks) -> float | None:
    """Return the number that a text is, by its marks; None where it is none."""
    match = MONEY.fullmatch(text)
    if match is None:
        return None
    bare = match["number"].strip()
    for mark in (marks.thousands, " ", "\xa0", "\u202f", "'", "\u2019"):
        bare = bare.replace(mark, "") if mark else bare
    bare = bare.replace(marks.decimal, ".")
    try:
        value = float(bare)
    except ValueError:
        return None
    return -value if text.startswith(("(", "-")) and value > 0 else value
