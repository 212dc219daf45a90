"""Hold the columns of a file while roles are given to them, and what becomes of each.

Not here: which role is which column's (`propose`, `amounts`).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from seg_assets.core.sql import literal
from seg_assets.events.draft.arithmetic import Money
from seg_assets.events.draft.container import FileSample
from seg_assets.events.draft.names import rank_of
from seg_assets.events.draft.questions import shown
from seg_assets.events.draft.values import EMAIL, PHONE, Column, marks_of
from seg_assets.events.expressions import quoted
from seg_assets.events.landing import EVENTS

_MONEY_ROLES = (
    "line_total",
    "net_total",
    "gross_total",
    "amount",
    "unit_price",
    "price",
    "tax",
    "shipping",
    "discount",
)


@dataclass(frozen=True)
class Mapped:
    """One line of a draft.

    column: of the contract. expression: SQL. evidence: why. doubt: why it is unsure; empty where it is not.
    read: the columns of the file that it reads.
    """

    column: str
    expression: str
    evidence: str
    doubt: str = ""
    read: tuple[str, ...] = ()


@dataclass
class Proposal:
    """How files of one header are read.

    kind: events, users or products. event_type: what every line is, where no column says it; event_type_doubt: why that
    is unsure.
    sells: whether some lines are purchases. personal: columns that tell of persons and are left out.
    unmapped: the other columns that nothing reads.
    """

    kind: str
    samples: Sequence[FileSample]
    mapped: list[Mapped] = field(default_factory=list)
    event_type: str = ""
    event_type_doubt: str = ""
    values: dict[str, dict[str, str | None]] = field(default_factory=dict)
    time_format: str = ""
    time_zone: str = ""
    decimal: str = "."
    thousands: str = ""
    personal: list[str] = field(default_factory=list)
    unmapped: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sells: bool = False


class Columns:
    """The columns of a file while roles are given to them."""

    def __init__(self, samples: Sequence[FileSample], zone: str | None, currency: str | None) -> None:
        first = samples[0]
        rows = [row for sample in samples for row in sample.rows[: max(1500 // len(samples), 50)]]
        self.samples, self.zone, self.currency = samples, zone, currency
        self.columns = [Column(name, [row[n] for row in rows]) for n, name in enumerate(first.columns)]
        self.json = first.format != "csv"
        self.named = first.csv.header or self.json
        numeric = [c for c in self.columns if self.of_money(c) or (rank_of("quantity", c.name) and c.is_number)] or [
            c for c in self.columns if c.is_number
        ]
        self.money = Money(marks_of(numeric))
        self.used: set[str] = set()
        self.out = Proposal(EVENTS, samples)

    def of_money(self, column: Column) -> bool:
        """Say whether a column is money by name and values."""
        named = any(rank_of(role, column.name) for role in _MONEY_ROLES)
        return named and (column.is_number or column.is_money_text)

    # ---- which columns --------------------------------------------------------------------------------------------

    def candidates(self, role: str, fits: Callable[[Column], bool]) -> list[tuple[int, Column]]:
        """Return the columns that could be of a role by name and values, best first."""
        ranked = [
            (rank_of(role, c.name), n, c) for n, c in enumerate(self.columns) if c.filled and c.name not in self.used
        ]
        fine = [(rank, n, c) for rank, n, c in ranked if rank and fits(c)]
        return [(rank, c) for rank, _, c in sorted(fine, key=lambda x: (-x[0], -round(x[2].filled_share, 1), x[1]))]

    def best(self, role: str, fits: Callable[[Column], bool]) -> Column | None:
        """Return the best column of a role; None where there is none."""
        candidates = self.candidates(role, fits)
        return candidates[0][1] if candidates else None

    def take(self, column: str, role: str, fits: Callable[[Column], bool], what: str) -> Column | None:
        """Map a contract column to the best column of a role; mark it where two are equally good."""
        candidates = self.candidates(role, fits)
        if not candidates:
            return None
        rank, best = candidates[0]
        rivals = [c.name for r, c in candidates[1:] if r == rank and c.filled_share > 0.5 * best.filled_share]
        doubt = f"or {', '.join(map(shown, rivals[:3]))}" if rivals else ""
        self.map(column, self.sql(best), f"name and values: {what.format(c=best)}", doubt, best)
        return best

    def map(self, column: str, expression: str, evidence: str, doubt: str = "", *read: Column) -> None:
        """Map a contract column; what it reads is not read again."""
        names = tuple(c.name for c in read)
        self.out.mapped.append(Mapped(column, expression, evidence, doubt, names))
        self.used.update(names)

    def sql(self, column: Column) -> str:
        """Return the expression that reads a column, or a value in an object of JSON."""
        if not self.json or "." not in column.name:
            return quoted(column.name)
        top, _, rest = column.name.partition(".")
        path = "$." + ".".join(part if part.isidentifier() else json.dumps(part) for part in rest.split("."))
        return f"{quoted(top)}->>{literal(path)}"

    def number_sql(self, column: Column) -> str:
        """Return the expression of a number to compute with, whatever its marks."""
        text, marks = f"({self.sql(column)})" if "->>" in self.sql(column) else self.sql(column), self.money.marks
        if column.is_money_text:
            text = without_currency(text)
        if not self.json or column.is_money_text:
            if marks.thousands:
                text = f"replace({text}, {literal(marks.thousands)}, '')"
            if marks.decimal == ",":
                text = f"replace({text}, ',', '.')"
        return f"{text}::decimal(18,4)"


def without_currency(sql: str) -> str:
    """Return a text of money without signs and codes of currencies; brackets are minus."""
    return f"if(starts_with({sql}, '('), '-', '') || regexp_replace({sql}, '[^0-9.,+-]', '', 'g')"


def is_time(column: Column) -> bool:
    """Say whether values are times or days."""
    return column.times() is not None


def has_clock(column: Column) -> bool:
    """Say whether values are times with a time of day."""
    times = column.times()
    return times is not None and times.clock


def is_email(column: Column) -> bool:
    """Say whether values are e-mails."""
    return column.share(EMAIL) > 0.9


def is_key(column: Column) -> bool:
    """Say whether values could be ids: one word each, and neither times, e-mails nor prices."""
    if column.is_id:
        return not is_email(column) and not _is_telephone(column)
    blanks = column.share_of(lambda v: " " in v or len(v) > 80)
    return (
        blanks < 0.05 and not column.is_number and not is_time(column) and not is_email(column) and column.distinct > 1
    )


def _is_telephone(column: Column) -> bool:
    return column.share(PHONE) > 0.9


def is_small(column: Column) -> bool:
    """Say whether values are numbers of pieces."""
    return column.is_number and column.share_of(lambda v: len(v.lstrip("+-").split(".")[0].split(",")[0]) <= 4) > 0.99
