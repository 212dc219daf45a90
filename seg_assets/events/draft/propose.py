"""Propose how the columns of an unknown file become events, users or products: by name and by values, with the evidence.

What name and values agree on is taken. What only one of them says is taken with a mark, and what neither says is listed.
What no value can answer becomes a question.

Not here: files of a known layout (`layouts`), and how the proposal is written (`writing`).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from seg_assets.core.errors import SegAssetsError
from seg_assets.core.sql import literal
from seg_assets.core.text import printable, shortened
from seg_assets.events.contract import CHANNELS, DEVICES, EVENT_TYPES
from seg_assets.events.draft.arithmetic import Money
from seg_assets.events.draft.container import FileSample
from seg_assets.events.draft.names import STATES, STRONG, bare, meaning_of, personal_kind, rank_of
from seg_assets.events.draft.values import (
    CARD,
    CLOCK,
    CURRENCIES,
    EMAIL,
    IP,
    PHONE,
    Column,
    Times,
    marks_of,
)
from seg_assets.events.expressions import quoted
from seg_assets.events.source import PRODUCTS, USERS

EVENTS = "events"
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
# States of more kinds than this are no states.
MOST_STATES = 60
_OTHER_CURRENCY = "other currency"


class NoRoleError(SegAssetsError):
    """A file whose columns are neither events, users nor products; the text says what it lacks."""


@dataclass(frozen=True)
class Mapped:
    """One line of a draft: contract column, SQL expression, why, why it is unsure (empty where it is not), what it reads."""

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
    sells: whether some lines are purchases. personal: columns that tell of persons and are left out. unmapped: the other columns that nothing reads.
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


def propose(samples: Sequence[FileSample], zone: str | None = None, currency: str | None = None) -> Proposal:
    """Return a proposal for files of one header.

    Args:
        samples: what was seen of them.
        zone: zone of times without one, where somebody has said it.
        currency: the shop's currency, where somebody has said it.

    Raises:
        NoRoleError: the columns are neither events, users nor products.
    """
    return _Proposing(samples, zone, currency).proposal()


def shown(text: str) -> str:
    """Return a text of a file as one short line."""
    return shortened(printable(text), 60)


class _Proposing:
    """The columns of a file while roles are given to them."""

    def __init__(self, samples: Sequence[FileSample], zone: str | None, currency: str | None) -> None:
        first = samples[0]
        rows = [row for sample in samples for row in sample.rows[: max(1500 // len(samples), 50)]]
        self.samples, self.zone, self.currency = samples, zone, currency
        self.columns = [Column(name, [row[n] for row in rows]) for n, name in enumerate(first.columns)]
        self.json = first.format != "csv"
        self.named = first.csv.header or self.json
        numeric = [c for c in self.columns if self._of_money(c) or (rank_of("quantity", c.name) and c.is_number)] or [
            c for c in self.columns if c.is_number
        ]
        self.money = Money(marks_of(numeric))
        self.used: set[str] = set()
        self.out = Proposal(EVENTS, samples)

    def _of_money(self, column: Column) -> bool:
        named = any(rank_of(role, column.name) for role in _MONEY_ROLES)
        return named and (column.is_number or column.is_money_text)

    # ---- which columns --------------------------------------------------------------------------------------------

    def _candidates(self, role: str, fits: Callable[[Column], bool]) -> list[tuple[int, Column]]:
        """Return the columns that could be of a role by name and values, best first."""
        ranked = [
            (rank_of(role, c.name), n, c) for n, c in enumerate(self.columns) if c.filled and c.name not in self.used
        ]
        fine = [(rank, n, c) for rank, n, c in ranked if rank and fits(c)]
        return [(rank, c) for rank, _, c in sorted(fine, key=lambda x: (-x[0], -round(x[2].filled_share, 1), x[1]))]

    def _best(self, role: str, fits: Callable[[Column], bool]) -> Column | None:
        candidates = self._candidates(role, fits)
        return candidates[0][1] if candidates else None

    def _take(self, column: str, role: str, fits: Callable[[Column], bool], what: str) -> Column | None:
        """Map a contract column to the best column of a role; mark it where two are equally good."""
        candidates = self._candidates(role, fits)
        if not candidates:
            return None
        rank, best = candidates[0]
        rivals = [c.name for r, c in candidates[1:] if r == rank and c.filled_share > 0.5 * best.filled_share]
        doubt = f"or {', '.join(map(shown, rivals[:3]))}" if rivals else ""
        self._map(column, self.sql(best), f"name and values: {what.format(c=best)}", doubt, best)
        return best

    def _map(self, column: str, expression: str, evidence: str, doubt: str = "", *read: Column) -> None:
        names = tuple(c.name for c in read)
        self.out.mapped.append(Mapped(column, expression, evidence, doubt, names))
        self.used.update(names)

    def sql(self, column: Column) -> str:
        """Return the expression that reads a column, or a value in an object of JSON."""
        if not self.json or column.name in self._top_level:
            return quoted(column.name)
        top, _, rest = column.name.partition(".")
        path = "$." + ".".join(part if part.isidentifier() else json.dumps(part) for part in rest.split("."))
        return f"{quoted(top)}->>{literal(path)}"

    @property
    def _top_level(self) -> set[str]:
        return {c.name for c in self.columns if "." not in c.name}

    def number_sql(self, column: Column) -> str:
        """Return the expression of a number to compute with, whatever its marks."""
        text, marks = f"({self.sql(column)})" if "->>" in self.sql(column) else self.sql(column), self.money.marks
        if column.is_money_text:
            text = _without_currency(text)
        if not self.json or column.is_money_text:
            if marks.thousands:
                text = f"replace({text}, {literal(marks.thousands)}, '')"
            if marks.decimal == ",":
                text = f"replace({text}, ',', '.')"
        return f"{text}::decimal(18,4)"

    # ---- the kind of file -----------------------------------------------------------------------------------------

    def proposal(self) -> Proposal:
        """Return the proposal.

        Raises:
            NoRoleError: the columns are neither events, users nor products.
        """
        order = self._order()
        person = self._best("user_id", lambda c: _is_key(c) or _is_email(c))
        product = self._best("product_id", _is_key)
        acts = self._best("quantity", _is_small) or (
            self._state(None)[0] if any(rank_of("event_type", c.name) for c in self.columns) else None
        )
        of_persons = any(
            rank_of(role, c.name)
            for c in self.columns
            for role in ("signup_day", "sex", "household_size", "income_band", "age_band")
        ) or any(personal_kind(c.name) for c in self.columns)
        if person is None and product is None and not order and (own := self._best("own_id", _is_key)):
            # A list whose key is called id: whose, its other columns say.
            person, product = (None, own) if self._of_a_product() or not of_persons else (own, None)
        if person and not order and not acts and person.unique and of_persons:
            self._users(person)
        elif product and not person and not order and product.unique and self._of_a_product():
            self._products(product)
        else:
            self._events(order)
        self._continued()
        self._rest()
        return self.out

    def _order(self) -> Column | None:
        """Return the column of the order's id: of several the one with the fewest ids, the others are of its lines."""
        candidates = self._candidates("order_id", _is_key)
        equal = [
            c
            for rank, c in candidates
            if rank == candidates[0][0] and c.filled_share > 0.9 * candidates[0][1].filled_share
        ]
        return min(equal, key=lambda c: c.distinct, default=None)

    def _of_a_product(self) -> bool:
        roles = ("price", "category", "brand", "subcategory", "title")
        return sum(any(rank_of(role, c.name) for c in self.columns) for role in roles) >= 2

    def _users(self, person: Column) -> None:
        self.out.kind = USERS
        self._map("user_id", self.sql(person), f"name and values: {person.distinct} ids, each once", "", person)
        for column in ("sex", "age_band", "income_band", "region"):
            self._take(
                column, column, lambda c: c.distinct <= max(12, c.filled // 2) and not _is_time(c), "{c.distinct} words"
            )
        self._take("household_size", "household_size", lambda c: c.is_whole or c.distinct <= 12, "{c.distinct} sizes")
        self._day("signup_day")

    def _day(self, column: str) -> None:
        since = self._best(column, _is_time)
        times = since.times() if since else None
        if since is None or times is None or times.epoch:
            return
        text, sql = f"{since.distinct} days", self.sql(since)
        if times.form:
            self._map(column, f"strptime({sql}, {literal(times.form)})::date", f"name and values: {text}", "", since)
            if times.ambiguous:
                self._ask_day_order(since, times)
        else:
            self._map(column, sql if not times.clock else f"left({sql}, 10)", f"name and values: {text}", "", since)

    def _products(self, product: Column) -> None:
        self.out.kind = PRODUCTS
        self._map("product_id", self.sql(product), f"name and values: {product.distinct} ids, each once", "", product)
        for column in ("category", "subcategory", "brand"):
            self._take(column, column, lambda c: not c.is_number, "{c.distinct} names")
        price = self._best("price", lambda c: c.is_number or c.is_money_text)
        if price:
            self._map("price", self.amount_sql(price), "name and values: numbers", "", price)
            self._marks()

    # ---- events ---------------------------------------------------------------------------------------------------

    def _events(self, order: Column | None) -> None:
        time = self._time()
        if not time:
            self._no_events("no column has times that are read", "the times of orders or events")
        person = self._person(order)
        if not person:
            self._no_events("no column tells whose an order or event is", "the customer's number or e-mail")
        lines = order is not None and order.distinct < order.filled
        if order is not None:
            repeated = (
                f"{order.distinct} orders in {order.filled} lines" if lines else f"{order.distinct} orders, each once"
            )
            others = [c for _, c in self._candidates("order_id", _is_key) if c is not order and not c.unique]
            rivals = [
                shown(c.name)
                for c in others
                if c.distinct <= 1.02 * order.distinct and rank_of("order_id", c.name) == STRONG
            ]
            doubt = f"or {', '.join(rivals[:3])}" if rivals and rank_of("order_id", order.name) == STRONG else ""
            self._map("order_id", self.sql(order), f"name and values: {repeated}", doubt, order)
        self._event_id(order, lines=lines)
        self._event_type(order)
        product = self._take("product_id", "product_id", _is_key, "{c.distinct} ids")
        if product is None and (own := self._best("own_id", lambda c: _is_key(c) and not c.unique and c.distinct > 1)):
            self._map("product_id", self.sql(own), f"values: {own.distinct} ids", "its name does not say of what", own)
            product = own
        if product is None and (title := self._best("title", lambda c: not c.is_number and not _is_email(c))):
            self._map("product_id", self.sql(title), "a product's name, no id", "a name changes, an id does not", title)
        self._amounts(order if lines else None)
        self._take("category", "category", lambda c: c.is_words, "{c.distinct} names")
        self._take("session_id", "session_id", _is_key, "{c.distinct} ids")
        self._take("campaign_id", "campaign_id", lambda c: not _is_time(c), "{c.distinct} names")
        self._take("query", "query", lambda c: not _is_time(c) and not c.is_number, "{c.distinct} texts")
        self._take(
            "rating", "rating", lambda c: c.is_number and all(v[0] in "12345" for v in c.counts), "numbers of 1 to 5"
        )
        self._words("channel", CHANNELS)
        self._words("device", DEVICES)

    def _no_events(self, why: str, lacking: str) -> None:
        names = ", ".join(shown(c.name) for c in self.columns[:12]) + (" .." if len(self.columns) > 12 else "")
        raise NoRoleError(
            f"{self.samples[0].path}: {why}, so it holds no events, and it is no list of users or products ({names}); "
            f"export it with {lacking}, or write the source by hand (docs/sources.md)"
        )

    def _time(self) -> bool:
        """Map event_time; return whether there is one."""
        candidates = self._candidates("event_time", _is_time)
        # A day beside a time of the same name is the lesser of the two.
        candidates.sort(key=lambda x: (-x[0], not _has_clock(x[1])))
        by_name = bool(candidates)
        if not by_name:
            candidates = [(0, c) for c in self.columns if c.filled_share > 0.9 and _is_time(c)]
            candidates = [(r, c) for r, c in candidates if not (t := c.times()) or not t.epoch]
        if not candidates:
            return False
        rank, time = candidates[0]
        times = time.times()
        assert times is not None
        rivals = [
            c.name
            for r, c in candidates[1:]
            if r == rank and c.filled_share > 0.5 * time.filled_share and _has_clock(c) == _has_clock(time)
        ]
        doubt = "" if by_name else "by its values alone"
        if rivals:
            doubt = f"or {', '.join(map(shown, rivals[:3]))}"
        sql, form, read, clock = self.sql(time), times.form, [time], times.clock
        if times.epoch:
            count = {"s": "to_timestamp({}::double)", "ms": "epoch_ms({}::bigint)", "us": "make_timestamp({}::bigint)",
                     "ns": "make_timestamp_ns({}::bigint)"}[times.epoch]  # fmt: skip
            sql = count.format(f"({sql})")
        elif not clock and (of_day := self._clock()):
            sql, clock = f"{sql} || ' ' || {self.sql(of_day)}", True
            read.append(of_day)
            form = _joined_form(form, of_day)
        if time.filled_share < 0.99:
            doubt = doubt or f"empty in {1 - time.filled_share:.0%} of the lines, which are refused"
        what = "a count since 1970" if times.epoch else form or "ISO 8601"
        self._map("event_time", sql, f"{'name and values' if by_name else 'values'}: {what}", doubt, *read)
        self.out.time_format = form
        if times.ambiguous:
            self._ask_day_order(time, times)
        in_utc = re.search(r"\b(?:UTC|GMT)\b|_(?:utc|gmt)$", time.name, re.IGNORECASE)
        if clock and not times.zone and in_utc:
            self.out.time_zone = "UTC"
        elif clock and not times.zone and self.zone is None:
            self.out.questions.append(
                f"Which zone are the times of {shown(time.name)} written in? They do not say it; taken meanwhile: the shop's. "
                "Say time_zone in the source, or draft with --time-zone"
            )
        return True

    def _clock(self) -> Column | None:
        return self._best("clock", lambda c: c.share(CLOCK) > 0.97)

    def _ask_day_order(self, column: Column, times: Times) -> None:
        self.out.questions.append(
            f"Is the day or the month first in {shown(column.name)}? Every value of the sample can be read both ways; taken "
            f"meanwhile: {times.form}"
        )

    def _person(self, order: Column | None) -> bool:
        """Map user_id and anonymous_id; return whether there is one of them."""
        if order is not None:
            self.used.add(order.name)
        visitor = self._best("anonymous_id", _is_key)
        account = self._best("user_id", lambda c: (_is_key(c) or _is_email(c)) and c is not visitor)
        mails = [c for c in self.columns if _is_email(c)]
        named = [c for c in mails if rank_of("email", c.name)]
        mail = named[0] if named else mails[0] if mails else None
        hashed = f"sha256(lower(trim({self.sql(mail)})))" if mail else ""
        nobody = account.counts.get("0", 0) if account else 0
        known = 0
        if account is not None and not _is_email(account):
            sql = f"nullif({self.sql(account)}, '0')" if nobody else self.sql(account)
            known = account.filled - nobody
            told = f"{account.distinct} ids in {account.lines} lines"
            if known < account.lines and mail is not None and mail.filled > known:
                sql, known = f"coalesce({sql}, {hashed})", mail.filled
                told += ", an e-mail hashed where there is none"
            doubt = "" if self.named else "by its values alone"
            self._map("user_id", sql, f"name and values: {told}", doubt, account)
        elif mail is not None:
            known = mail.filled
            by = "name and values" if mail in named else "values"
            doubt = "" if mail in named or rank_of("user_id", mail.name) else "by its values alone"
            self._map("user_id", hashed, f"{by}: {mail.distinct} e-mails, hashed: no e-mail is kept", doubt, mail)
        if visitor is not None:
            self._map("anonymous_id", self.sql(visitor), f"name and values: {visitor.distinct} ids", "", visitor)
        if order is not None:
            self.used.discard(order.name)
        lines = self.columns[0].lines
        if known and known < lines and visitor is None:
            taken = "they are refused (no_user)"
            if order is not None and order.filled_share > 0.9:
                person = self.out.mapped[-1].expression
                self._map(
                    "anonymous_id",
                    f"case when {person} is null then {self.sql(order)} end",
                    "guests: the order stands for them",
                )
                taken = "each such order is a visitor's of its own, and nobody's profile"
            self.out.questions.append(
                f"What becomes of the {lines - known} of {lines} lines without a customer (guests)? Taken meanwhile: {taken}"
            )
        elif account is not None and known and account.filled - nobody < lines and mail is not None and visitor is None:
            self.out.questions.append(
                f"May guests be known by their e-mail? {lines - account.filled + nobody} of {lines} lines have no customer's number; taken meanwhile: "
                "the hashed e-mail, so that who buys as a guest and with an account is two users"
            )
        return bool(known) or visitor is not None

    def _event_id(self, order: Column | None, *, lines: bool) -> None:
        """Map event_id where every line has an id of its own; the order's where it is one line."""
        fits: Callable[[Column], bool] = lambda c: c.unique and c is not order and (_is_key(c) or c.is_whole)  # noqa: E731
        own = (
            self._best("event_id", fits)
            or (self._best("order_id", fits) if lines else None)
            or self._best("own_id", fits)
        )
        if own is not None:
            self._map("event_id", self.sql(own), f"name and values: {own.distinct} ids, each once", "", own)
        elif order is not None and not lines and order.unique:
            self._map("event_id", self.sql(order), "the order's id: one line is one order")

    # ---- what a line is -------------------------------------------------------------------------------------------

    def _state(self, order: Column | None) -> tuple[Column | None, float, bool]:
        """Return the column that says what a line is, the share of its lines whose word is known, and whether its name agrees."""
        fits: Callable[[Column], bool] = lambda c: c.distinct <= MOST_STATES and not c.is_number and c is not order  # noqa: E731
        known = {c.name: c.share_of(lambda v: bool(meaning_of(v))) for c in self.columns if c.filled and fits(c)}
        # A column that is surely called so counts though its words are not known: no line is a purchase unsaid.
        named = [
            (2 * rank + known[c.name], -n, c)
            for n, (rank, c) in enumerate(self._candidates("event_type", fits))
            if known[c.name] >= 0.5 or (rank == STRONG and not _is_time(c))
        ]
        if named:
            column = max(named, key=lambda x: x[:2])[2]
            return column, known[column.name], True
        several = [
            c for c in self.columns if known.get(c.name, 0.0) > 0.9 and c.distinct > 1 and c.name not in self.used
        ]
        best = max(
            several, key=lambda c: (c.name.lower().rstrip().endswith(("status", "state")), c.filled), default=None
        )
        return best, known[best.name] if best else 0.0, False

    def _event_type(self, order: Column | None) -> None:
        column, known, by_name = self._state(order)
        currency = self._currency()
        doubt = ""
        if (
            column is not None
            and known < 0.05
            and any(self._of_money(c) and c.filled_share > 0.9 for c in self.columns)
        ):
            # Every line has money and no word is known: the column says something else than what a line is.
            doubt, column = f"{shown(column.name)} may say what a line is, in words that are not known", None
        if column is None:
            states = [c.name for c in self.columns if re.search(r"status|state$", c.name, re.IGNORECASE)]
            if states and not doubt:
                doubt = f"{', '.join(map(shown, states[:3]))} may say what a line is"
            refund = any(rank_of("refunded", c.name) for c in self.columns) and not self._best("quantity", _is_small)
            dated = next((m for m in self.out.mapped if m.column == "event_time"), None)
            refund = (
                refund
                and dated is not None
                and any(
                    rank_of("event_time", c.name) and bare(c.name).startswith(("refund", "return"))
                    for c in self.columns
                )
            )
            kind = "refund" if refund else "purchase"
            self.out.sells = kind == "purchase"
            if currency is None:
                self.out.event_type, self.out.event_type_doubt = kind, doubt
            else:
                self._map(
                    "event_type", _only(currency[0], currency[1], literal(kind), self), "money of one currency only"
                )
                self.out.values["event_type"] = {_OTHER_CURRENCY: None}
            return
        meanings, unknown, is_state = {}, [], self._is_state(column, known)
        for value, count in sorted(column.counts.items(), key=lambda x: (-x[1], x[0])):
            meaning = meaning_of(value)
            if not meaning:
                unknown.append(f"{shown(value)!r} ({count})")
            if meaning == "refund" and is_state and not self._negative_where(column, value):
                self.out.questions.append(
                    f"What becomes of {count} lines of the state {shown(value)!r}? Purchase and refund are one line there; "
                    "taken meanwhile: left out, which is no money"
                )
                meaning = "left_out"
            # A text that is an event type already, as it is written, needs no line.
            meanings[value] = meaning if meaning in EVENT_TYPES else None
            self.out.sells |= meaning == "purchase"
        if is_state and any(bare(v).startswith(("partially refunded", "partiallyrefunded")) for v in meanings):
            meanings = {v: "purchase" if bare(v).startswith("partially") else m for v, m in meanings.items()}
        if unknown:
            self.out.questions.append(
                f"What are the values {', '.join(unknown[:8])}{' ..' if len(unknown) > 8 else ''} of {shown(column.name)}? "
                "Taken meanwhile: left out"
            )
        counts = ", ".join(f"{shown(v)} {n}" for v, n in column.counts.most_common(6))
        sql = self.sql(column)
        if currency is not None:
            sql = _only(currency[0], currency[1], sql, self)
            meanings[_OTHER_CURRENCY] = None
        doubt = "" if known >= 0.8 else f"the words of {1 - known:.0%} of the lines are not known"
        if not by_name:
            doubt = doubt or "by its values alone"
        if column.filled_share < 0.99:
            doubt = doubt or f"empty in {1 - column.filled_share:.0%} of the lines, which are refused"
        self._map("event_type", sql, f"name and values: {counts}", doubt, column)
        plain = {v: m for v, m in meanings.items() if v.lower() != m}
        if plain:
            self.out.values["event_type"] = plain

    def _is_state(self, column: Column, known: float) -> bool:
        meanings = {meaning_of(v) for v in column.counts}
        return known > 0 and "left_out" in meanings and meanings <= {*STATES, ""}

    def _negative_where(self, column: Column, value: str) -> bool:
        """Say whether lines of a state have negative money: they are refunds then, not purchases that were refunded."""
        for money in (c for c in self.columns if self._of_money(c)):
            numbers = self.money.numbers(money)
            if any(v == value and n is not None and n < 0 for v, n in zip(column.values, numbers, strict=True)):
                return True
        return False

    def _currency(self) -> tuple[Column, str] | None:
        """Note the currencies; return their column and the shop's where there are several."""
        column = self._best("currency", lambda c: c.share_of(lambda v: v.upper() in CURRENCIES) > 0.9)
        if column is None:
            return None
        self.used.add(column.name)
        counts = ", ".join(f"{value} {count}" for value, count in column.counts.most_common(8))
        self.out.notes.append(f"currencies in {shown(column.name)}: {counts}")
        common = next(
            (v for v in column.counts if v.upper() == (self.currency or "").upper()), column.counts.most_common(1)[0][0]
        )
        if self.currency and common.upper() != self.currency.upper():
            self.out.questions.append(
                f"No line is in {self.currency}: {counts}. Which is the shop's currency? Taken meanwhile: {common}"
            )
            return None
        if column.distinct < 2:
            return None
        self.out.questions.append(
            f"What becomes of lines in other currencies than {common} ({counts})? Taken meanwhile: left out, so that no two are added up"
        )
        return column, common

    # ---- money ----------------------------------------------------------------------------------------------------

    def _amounts(self, order: Column | None) -> None:
        """Map quantity, amount and discount; `order` where an order has several lines."""
        number = lambda c: c.is_number or c.is_money_text  # noqa: E731  a test, used four times
        quantity = self._take("quantity", "quantity", _is_small, "whole numbers")
        price = self._best("unit_price", number)
        discount = self._best("discount", lambda c: number(c) and "%" not in c.name)
        tax, shipping = self._best("tax", number), self._best("shipping", number)
        totals = self._totals(number, price)
        taken, is_net = self._chosen(totals, order, price, quantity, discount, tax, shipping)
        if discount is not None and not (
            order is not None and self.money.is_of_the_order(discount, order) and discount.distinct > 2
        ):
            sql = self.amount_sql(discount)
            if self.money.negatives(discount):
                sql = f"abs({self.number_sql(discount)})"
            self._map("discount", sql, "name and values: numbers", "", discount)
        if taken and not is_net:
            self.out.questions.append(
                f"Is tax in {taken}? The contract's amount is net; taken meanwhile: as it stands, without tax"
            )
        refunded = self._best("refunded", number)
        if refunded is not None and taken and shown(refunded.name) != taken:
            self.out.questions.append(
                f"Refunds are a number on the purchase ({shown(refunded.name)}); taken meanwhile: they are not read"
            )
        self._marks()

    def _totals(self, number: Callable[[Column], bool], price: Column | None) -> list[tuple[str, int, Column]]:
        """Return the columns that may be an amount: role, rank and column, each once, the net ones first."""
        out, seen = [], set()
        for role in ("line_total", "net_total", "amount", "gross_total"):
            for rank, column in self._candidates(role, number):
                if column.name not in seen and column is not price:
                    seen.add(column.name)
                    out.append((role, rank, column))
        return out

    def _chosen(
        self,
        totals: Sequence[tuple[str, int, Column]],
        order: Column | None,
        price: Column | None,
        quantity: Column | None,
        discount: Column | None,
        tax: Column | None,
        shipping: Column | None,
    ) -> tuple[str, bool]:
        """Map amount; return the name of what it is made of, and whether it is surely without tax."""
        money = self.money
        of_lines = [
            t
            for t in totals
            if order is None
            or not money.is_of_the_order(t[2], order)
            or _proven(money, t[2], price, quantity, discount)
        ]
        scored = []
        for n, (role, rank, column) in enumerate(of_lines):
            proof = _proven(money, column, price, quantity, discount)
            net = role == "net_total" or any(w in bare(column.name).split() for w in ("net", "netto", "ht", "excl"))
            scored.append((role == "gross_total", not proof, not net, -rank, n, column, proof, net))
        if scored:
            _, unproven, _, _, _, column, proof, net = min(scored, key=lambda x: x[:5])
            evidence = f"name and values: {proof}" if proof else "name and values: numbers"
            sql, read = self.amount_sql(column), [column]
            gross = next((c for role, _, c in of_lines if role == "gross_total" and c is not column), None)
            if (
                tax is not None
                and gross is not None
                and (where := money.holds([gross, column, tax], lambda a, b: a + b))
            ):
                evidence, net = f"{evidence}; with tax it is {shown(gross.name)} {where}", True
            elif (
                tax is not None
                and shipping is not None
                and gross is not None
                and (where := money.holds([gross, column, tax, shipping], lambda a, b, c: a + b + c))
            ):
                evidence, net = f"{evidence}; with tax and shipping it is {shown(gross.name)} {where}", True
            elif not net and order is None and not proof:
                sql, read, evidence, net = self._less_tax(column, tax, shipping, evidence)
            if order is not None:
                for role, _, whole in totals:
                    if (
                        whole is not column
                        and money.is_of_the_order(whole, order)
                        and (where := money.adds_up(column, whole, order))
                    ):
                        evidence += f"; lines add up to {shown(whole.name)} {where}"
                        break
                if (
                    unproven
                    and price is not None
                    and quantity is not None
                    and not self._prices_agree(column, price, quantity)
                ):
                    self._map(
                        "amount",
                        sql,
                        evidence,
                        f"{shown(price.name)} x {shown(quantity.name)} is another number",
                        *read,
                    )
                    return shown(column.name), net
            self._map("amount", sql, evidence, "", *read)
            return shown(column.name), net
        if price is not None:
            return self._from_price(price, quantity, discount, order, totals)
        if totals:
            name = shown(totals[0][2].name)
            self.out.questions.append(
                f"What is a line's money? {name} is the order's, on each of its lines; taken meanwhile: none"
            )
        return "", True

    def _prices_agree(self, column: Column, price: Column, quantity: Column) -> bool:
        return bool(self.money.holds([column, price, quantity], lambda p, q: p * q)) or not self.money.differs(
            column, price
        )

    def _less_tax(
        self, column: Column, tax: Column | None, shipping: Column | None, evidence: str
    ) -> tuple[str, list[Column], str, bool]:
        """Return the amount of an order without its tax and shipping, where the file tells them."""
        off = [c for c in (tax, shipping) if c is not None]
        if tax is None:
            return self.amount_sql(column), [column], evidence, False
        sql = " - ".join([self.number_sql(column)] + [f"coalesce({self.number_sql(c)}, 0)" for c in off])
        return sql, [column, *off], f"{evidence}; less {' and '.join(shown(c.name) for c in off)}", True

    def _from_price(
        self,
        price: Column,
        quantity: Column | None,
        discount: Column | None,
        order: Column | None,
        totals: Sequence[tuple[str, int, Column]],
    ) -> tuple[str, bool]:
        """Map amount to price times pieces, less the discount where that adds up to the order's money."""
        name = shown(price.name)
        if quantity is None:
            self._map(
                "amount",
                self.amount_sql(price),
                "name and values: a price, and no number of pieces",
                "one piece a line?",
                price,
            )
            return name, False
        sql = f"{self.number_sql(price)} * {self.number_sql(quantity)}"
        evidence, doubt = f"{name} x {shown(quantity.name)}: no column has a line's money", ""
        if (
            discount is not None
            and self.money.numbers(discount)
            and not (order and self.money.is_of_the_order(discount, order) and discount.distinct > 2)
        ):
            sign = "+" if self.money.negatives(discount) else "-"
            sql = f"{sql} {sign} coalesce({self.number_sql(discount)}, 0)"
            evidence, doubt = f"{evidence}, less {shown(discount.name)}", "is the discount of the line, and once?"
        elif order is not None:
            pieces = Column("pieces", [
                None if p is None or q is None else f"{p * q:.2f}"
                for p, q in zip(self.money.numbers(price), self.money.numbers(quantity), strict=True)
            ])  # fmt: skip
            plain = Money(marks_of([pieces]))
            for _, _, whole in totals:
                stated = Column(whole.name, [None if v is None else f"{v:.2f}" for v in self.money.numbers(whole)])
                if where := plain.adds_up(pieces, stated, order):
                    evidence += f"; lines add up to {shown(whole.name)} {where}"
                    break
        self._map("amount", sql, evidence, doubt, price)
        return name, False

    def amount_sql(self, column: Column) -> str:
        """Return the expression of a number that the reader casts."""
        return _without_currency(self.sql(column)) if column.is_money_text else self.sql(column)

    def _marks(self) -> None:
        marks = self.money.marks
        self.out.decimal, self.out.thousands = marks.decimal, marks.thousands
        if marks.ambiguous and not self.json:
            self.out.questions.append(
                f"Is {marks.decimal!r} in numbers such as 1{marks.decimal}234 a decimal mark or between thousands? Both fit every value; "
                f"taken meanwhile: decimal: {marks.decimal!r}"
            )

    # ---- the rest -------------------------------------------------------------------------------------------------

    def _words(self, column: str, known: Sequence[str]) -> None:
        best = self._best(column, lambda c: c.distinct <= 20 and not c.is_number)
        if best is None:
            return
        words = {v: v.lower() if v.lower() in known else meaning_of(v, known) for v in best.counts}
        share = best.share_of(lambda v: bool(words[v]))
        if share < 0.5:
            return
        doubt = "" if share > 0.9 else f"{1 - share:.0%} of the words are not known"
        self._map(
            column,
            self.sql(best),
            f"name and values: {', '.join(sorted(set(filter(None, words.values()))))}",
            doubt,
            best,
        )
        changed = {v: w for v, w in words.items() if w and v.lower() != w}
        if changed:
            self.out.values[column] = dict(sorted(changed.items()))

    def _continued(self) -> None:
        """Ask about fields that stand on the first line of an order alone."""
        masks: dict[tuple[bool, ...], list[str]] = {}
        for column in self.columns:
            if 0 < column.filled < column.lines and not (self.json or column.distinct < 2):
                masks.setdefault(tuple(bool(v) for v in column.values), []).append(column.name)
        mask, names = max(masks.items(), key=lambda x: len(x[1]), default=((), []))
        taken = [n for n in names if n in self.used]
        if len(names) >= 3 and taken and mask[0] and mask.count(False) > 0.05 * len(mask):
            self.out.questions.append(
                f"Are lines without {', '.join(map(shown, taken[:4]))} further lines of the order above? {len(names)} columns are "
                f"empty together in {mask.count(False)} of {len(mask)} lines; taken meanwhile: each line stands for itself"
            )
            first = "stands on the first line of an order alone?"
            self.out.mapped = [
                replace(m, doubt=m.doubt or first) if set(m.read) & set(names) else m for m in self.out.mapped
            ]

    def _rest(self) -> None:
        """List the columns that nothing reads, those that tell of persons apart."""
        for column in self.columns:
            if column.name in self.used:
                continue
            kind = personal_kind(column.name) or _personal_values(column)
            (self.out.personal if kind else self.out.unmapped).append(
                f"{shown(column.name)} ({kind})" if kind else shown(column.name)
            )
        self.out.mapped.sort(key=lambda m: _ORDER.index(m.column) if m.column in _ORDER else len(_ORDER))


_ORDER = ("event_id", "event_time", "event_type", "user_id", "anonymous_id", "order_id", "product_id", "category", "subcategory",
          "quantity", "amount", "discount")  # fmt: skip


def _proven(
    money: Money, column: Column, price: Column | None, quantity: Column | None, discount: Column | None
) -> str:
    """Say which sum of price, pieces and discount a column is; empty where none."""
    if price is None or quantity is None or column is price:
        return ""
    names = f"{shown(price.name)} x {shown(quantity.name)}"
    if discount is not None:
        if where := money.holds([column, price, quantity, discount], lambda p, q, d: p * q - abs(d)):
            return f"{names} - {shown(discount.name)} {where}"
        if where := money.holds([column, price, quantity, discount], lambda p, q, d: (p - abs(d)) * q):
            return f"({shown(price.name)} - {shown(discount.name)}) x {shown(quantity.name)} {where}"
    where = money.holds([column, price, quantity], lambda p, q: p * q)
    return f"{names} {where}" if where else ""


def _only(column: Column, currency: str, sql: str, columns: _Proposing) -> str:
    # A line without a currency is in the shop's, like a further line of an order.
    return f"case when {columns.sql(column)} <> {literal(currency)} then {literal(_OTHER_CURRENCY)} else {sql} end"


def _without_currency(sql: str) -> str:
    """Return a text of money without signs and codes of currencies; brackets are minus."""
    return f"if(starts_with({sql}, '('), '-', '') || regexp_replace({sql}, '[^0-9.,+-]', '', 'g')"


def _joined_form(form: str, clock: Column) -> str:
    """Return the strptime format of a date and a time of day put together; empty for ISO 8601."""
    one = next(iter(clock.counts))
    match = CLOCK.fullmatch(one)
    half = match["half"] if match else None
    seconds = ":%S" if one.count(":") == 2 else ""
    if not form and not half:
        return ""
    last = "" if not half else " %p" if half.startswith(" ") else "%p"
    return (form or "%Y-%m-%d") + (" %I:%M" if half else " %H:%M") + seconds + last


def _is_time(column: Column) -> bool:
    return column.times() is not None


def _has_clock(column: Column) -> bool:
    times = column.times()
    return times is not None and times.clock


def _is_email(column: Column) -> bool:
    return column.share(EMAIL) > 0.9


def _is_key(column: Column) -> bool:
    """Say whether values could be ids: one word each, and neither times, e-mails nor prices."""
    if column.is_id:
        return not _is_email(column) and not _is_telephone(column)
    blanks = column.share_of(lambda v: " " in v or len(v) > 80)
    return (
        blanks < 0.05
        and not column.is_number
        and not _is_time(column)
        and not _is_email(column)
        and column.distinct > 1
    )


def _is_telephone(column: Column) -> bool:
    return column.share(PHONE) > 0.9


def _is_small(column: Column) -> bool:
    """Say whether values are numbers of pieces."""
    return column.is_number and column.share_of(lambda v: len(v.lstrip("+-").split(".")[0].split(",")[0]) <= 4) > 0.99


def _personal_values(column: Column) -> str:
    """Return what of a person the values of a column tell."""
    for kind, pattern in (("e-mail", EMAIL), ("phone", PHONE), ("ip", IP), ("card", CARD)):
        if column.share(pattern) > 0.5 and not (kind == "card" and column.is_number):
            return kind
    return ""
