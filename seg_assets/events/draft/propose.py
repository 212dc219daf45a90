"""Propose how the columns of an unknown file become events, users or products: by name and by values.

What name and values agree on is taken. What only one of them says is taken with a mark, and what neither says is
listed. What no value can answer becomes a question.

Not here: files of a known layout (`layouts`), money (`amounts`), and how the proposal is written (`writing`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from seg_assets.core.errors import SegAssetsError
from seg_assets.core.sql import literal
from seg_assets.events.contract import CHANNELS, DEVICES, EVENT_TYPES
from seg_assets.events.draft import questions
from seg_assets.events.draft.amounts import Amounts
from seg_assets.events.draft.columns import Proposal, has_clock, is_email, is_key, is_small, is_time
from seg_assets.events.draft.container import FileSample
from seg_assets.events.draft.names import STATES, STRONG, bare, meaning_of, personal_kind, rank_of
from seg_assets.events.draft.questions import shown
from seg_assets.events.draft.values import CARD, CLOCK, CURRENCIES, EMAIL, IP, PHONE, Column, Times
from seg_assets.events.source import PRODUCTS, USERS

# States of more kinds than this are no states.
MOST_STATES = 60
_OTHER_CURRENCY = "other currency"
# The columns that a reader looks for first.
_ORDER = ("event_id", "event_time", "event_type", "user_id", "anonymous_id", "order_id", "product_id", "category",
          "subcategory", "quantity", "amount", "discount")  # fmt: skip


class NoRoleError(SegAssetsError):
    """A file whose columns are neither events, users nor products; the text says what it lacks."""


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


class _Proposing(Amounts):
    """The columns of a file while it is decided what each of them is."""

    # ---- the kind of file -----------------------------------------------------------------------------------------

    def proposal(self) -> Proposal:
        """Return the proposal.

        Raises:
            NoRoleError: the columns are neither events, users nor products.
        """
        order = self._order()
        person = self.best("user_id", lambda c: is_key(c) or is_email(c))
        product = self.best("product_id", is_key)
        acts = self.best("quantity", is_small) or (
            self._state(None)[0] if any(rank_of("event_type", c.name) for c in self.columns) else None
        )
        of_persons = any(
            rank_of(role, c.name)
            for c in self.columns
            for role in ("signup_day", "sex", "household_size", "income_band", "age_band")
        ) or any(personal_kind(c.name) for c in self.columns)
        if person is None and product is None and not order and (own := self.best("own_id", is_key)):
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
        candidates = self.candidates("order_id", is_key)
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
        self.map("user_id", self.sql(person), f"name and values: {person.distinct} ids, each once", "", person)
        for column in ("sex", "age_band", "income_band", "region"):
            self.take(
                column, column, lambda c: c.distinct <= max(12, c.filled // 2) and not is_time(c), "{c.distinct} words"
            )
        self.take("household_size", "household_size", lambda c: c.is_whole or c.distinct <= 12, "{c.distinct} sizes")
        self._day("signup_day")

    def _day(self, column: str) -> None:
        since = self.best(column, is_time)
        times = since.times() if since else None
        if since is None or times is None or times.epoch:
            return
        text, sql = f"{since.distinct} days", self.sql(since)
        if times.form:
            self.map(column, f"strptime({sql}, {literal(times.form)})::date", f"name and values: {text}", "", since)
            if times.ambiguous:
                self._ask_day_order(since, times)
        else:
            self.map(column, sql if not times.clock else f"left({sql}, 10)", f"name and values: {text}", "", since)

    def _products(self, product: Column) -> None:
        self.out.kind = PRODUCTS
        self.map("product_id", self.sql(product), f"name and values: {product.distinct} ids, each once", "", product)
        for column in ("category", "subcategory", "brand"):
            self.take(column, column, lambda c: not c.is_number, "{c.distinct} names")
        price = self.best("price", lambda c: c.is_number or c.is_money_text)
        if price:
            self.map("price", self.amount_sql(price), "name and values: numbers", "", price)
            self.map_marks()

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
            others = [c for _, c in self.candidates("order_id", is_key) if c is not order and not c.unique]
            rivals = [
                shown(c.name)
                for c in others
                if c.distinct <= 1.02 * order.distinct and rank_of("order_id", c.name) == STRONG
            ]
            doubt = f"or {', '.join(rivals[:3])}" if rivals and rank_of("order_id", order.name) == STRONG else ""
            self.map("order_id", self.sql(order), f"name and values: {repeated}", doubt, order)
        self._event_id(order, lines=lines)
        self._event_type(order)
        product = self.take("product_id", "product_id", is_key, "{c.distinct} ids")
        if product is None and (own := self.best("own_id", lambda c: is_key(c) and not c.unique and c.distinct > 1)):
            self.map("product_id", self.sql(own), f"values: {own.distinct} ids", "its name does not say of what", own)
            product = own
        if product is None and (title := self.best("title", lambda c: not c.is_number and not is_email(c))):
            self.map("product_id", self.sql(title), "a product's name, no id", "a name changes, an id does not", title)
        self.map_amounts(order if lines else None)
        self.take("category", "category", lambda c: c.is_words, "{c.distinct} names")
        self.take("session_id", "session_id", is_key, "{c.distinct} ids")
        self.take("campaign_id", "campaign_id", lambda c: not is_time(c), "{c.distinct} names")
        self.take("query", "query", lambda c: not is_time(c) and not c.is_number, "{c.distinct} texts")
        self.take(
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
        candidates = self.candidates("event_time", is_time)
        # A day beside a time of the same name is the lesser of the two.
        candidates.sort(key=lambda x: (-x[0], not has_clock(x[1])))
        by_name = bool(candidates)
        if not by_name:
            candidates = [(0, c) for c in self.columns if c.filled_share > 0.9 and is_time(c)]
            candidates = [(r, c) for r, c in candidates if not (t := c.times()) or not t.epoch]
        if not candidates:
            return False
        rank, time = candidates[0]
        times = time.times()
        assert times is not None
        rivals = [
            c.name
            for r, c in candidates[1:]
            if r == rank and c.filled_share > 0.5 * time.filled_share and has_clock(c) == has_clock(time)
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
        self.map("event_time", sql, f"{'name and values' if by_name else 'values'}: {what}", doubt, *read)
        self.out.time_format = form
        if times.ambiguous:
            self._ask_day_order(time, times)
        in_utc = re.search(r"\b(?:UTC|GMT)\b|_(?:utc|gmt)$", time.name, re.IGNORECASE)
        if clock and not times.zone and in_utc:
            self.out.time_zone = "UTC"
        elif clock and not times.zone and self.zone is None:
            self.out.questions.append(questions.zone(time.name))
        return True

    def _clock(self) -> Column | None:
        return self.best("clock", lambda c: c.share(CLOCK) > 0.97)

    def _ask_day_order(self, column: Column, times: Times) -> None:
        self.out.questions.append(questions.day_order(column.name, times.form))

    def _person(self, order: Column | None) -> bool:
        """Map user_id and anonymous_id; return whether there is one of them."""
        if order is not None:
            self.used.add(order.name)
        visitor = self.best("anonymous_id", is_key)
        account = self.best("user_id", lambda c: (is_key(c) or is_email(c)) and c is not visitor)
        mails = [c for c in self.columns if is_email(c)]
        named = [c for c in mails if rank_of("email", c.name)]
        mail = named[0] if named else mails[0] if mails else None
        hashed = f"sha256(lower(trim({self.sql(mail)})))" if mail else ""
        nobody = account.counts.get("0", 0) if account else 0
        known = 0
        if account is not None and not is_email(account):
            sql = f"nullif({self.sql(account)}, '0')" if nobody else self.sql(account)
            known = account.filled - nobody
            told = f"{account.distinct} ids in {account.lines} lines"
            if known < account.lines and mail is not None and mail.filled > known:
                sql, known = f"coalesce({sql}, {hashed})", mail.filled
                told += ", an e-mail hashed where there is none"
            doubt = "" if self.named else "by its values alone"
            self.map("user_id", sql, f"name and values: {told}", doubt, account)
        elif mail is not None:
            known = mail.filled
            by = "name and values" if mail in named else "values"
            doubt = "" if mail in named or rank_of("user_id", mail.name) else "by its values alone"
            self.map("user_id", hashed, f"{by}: {mail.distinct} e-mails, hashed: no e-mail is kept", doubt, mail)
        if visitor is not None:
            self.map("anonymous_id", self.sql(visitor), f"name and values: {visitor.distinct} ids", "", visitor)
        if order is not None:
            self.used.discard(order.name)
        lines = self.columns[0].lines
        if known and known < lines and visitor is None:
            taken = "they are refused (no_user)"
            if order is not None and order.filled_share > 0.9:
                person = self.out.mapped[-1].expression
                self.map(
                    "anonymous_id",
                    f"case when {person} is null then {self.sql(order)} end",
                    "guests: the order stands for them",
                )
                taken = "each such order is a visitor's of its own, and nobody's profile"
            self.out.questions.append(questions.guests(lines - known, lines, taken))
        elif account is not None and known and account.filled - nobody < lines and mail is not None and visitor is None:
            self.out.questions.append(questions.guests_by_email(lines - account.filled + nobody, lines))
        return bool(known) or visitor is not None

    def _event_id(self, order: Column | None, *, lines: bool) -> None:
        """Map event_id where every line has an id of its own; the order's where it is one line."""
        fits: Callable[[Column], bool] = lambda c: c.unique and c is not order and (is_key(c) or c.is_whole)  # noqa: E731
        own = (
            self.best("event_id", fits) or (self.best("order_id", fits) if lines else None) or self.best("own_id", fits)
        )
        if own is not None:
            self.map("event_id", self.sql(own), f"name and values: {own.distinct} ids, each once", "", own)
        elif order is not None and not lines and order.unique:
            self.map("event_id", self.sql(order), "the order's id: one line is one order")

    # ---- what a line is -------------------------------------------------------------------------------------------

    def _state(self, order: Column | None) -> tuple[Column | None, float, bool]:
        """Return the column that says what a line is, the share of lines with a known word, and if its name agrees."""
        fits: Callable[[Column], bool] = lambda c: c.distinct <= MOST_STATES and not c.is_number and c is not order  # noqa: E731
        known = {c.name: c.share_of(lambda v: bool(meaning_of(v))) for c in self.columns if c.filled and fits(c)}
        # A column that is surely called so counts though its words are not known: no line is a purchase unsaid.
        named = [
            (2 * rank + known[c.name], -n, c)
            for n, (rank, c) in enumerate(self.candidates("event_type", fits))
            if known[c.name] >= 0.5 or (rank == STRONG and not is_time(c))
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
        if column is not None and known < 0.05 and any(self.of_money(c) and c.filled_share > 0.9 for c in self.columns):
            # Every line has money and no word is known: the column says something else than what a line is.
            doubt, column = f"{shown(column.name)} may say what a line is, in words that are not known", None
        if column is None:
            states = [c.name for c in self.columns if re.search(r"status|state$", c.name, re.IGNORECASE)]
            if states and not doubt:
                doubt = f"{', '.join(map(shown, states[:3]))} may say what a line is"
            refund = any(rank_of("refunded", c.name) for c in self.columns) and not self.best("quantity", is_small)
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
                self.map(
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
                self.out.questions.append(questions.whole_refund(value, count))
                meaning = "left_out"
            # A text that is an event type already, as it is written, needs no line.
            meanings[value] = meaning if meaning in EVENT_TYPES else None
            self.out.sells |= meaning == "purchase"
        if is_state and any(bare(v).startswith(("partially refunded", "partiallyrefunded")) for v in meanings):
            meanings = {v: "purchase" if bare(v).startswith("partially") else m for v, m in meanings.items()}
        if unknown:
            self.out.questions.append(questions.unknown_words(column.name, unknown))
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
        self.map("event_type", sql, f"name and values: {counts}", doubt, column)
        plain = {v: m for v, m in meanings.items() if v.lower() != m}
        if plain:
            self.out.values["event_type"] = plain

    def _is_state(self, column: Column, known: float) -> bool:
        meanings = {meaning_of(v) for v in column.counts}
        return known > 0 and "left_out" in meanings and meanings <= {*STATES, ""}

    def _negative_where(self, column: Column, value: str) -> bool:
        """Say whether lines of a state have negative money: they are refunds then, not purchases that were refunded."""
        for money in (c for c in self.columns if self.of_money(c)):
            numbers = self.money.numbers(money)
            if any(v == value and n is not None and n < 0 for v, n in zip(column.values, numbers, strict=True)):
                return True
        return False

    def _currency(self) -> tuple[Column, str] | None:
        """Note the currencies; return their column and the shop's where there are several."""
        column = self.best("currency", lambda c: c.share_of(lambda v: v.upper() in CURRENCIES) > 0.9)
        if column is None:
            return None
        self.used.add(column.name)
        counts = ", ".join(f"{value} {count}" for value, count in column.counts.most_common(8))
        self.out.notes.append(f"currencies in {shown(column.name)}: {counts}")
        common = next(
            (v for v in column.counts if v.upper() == (self.currency or "").upper()), column.counts.most_common(1)[0][0]
        )
        if self.currency and common.upper() != self.currency.upper():
            self.out.questions.append(questions.shop_currency(self.currency, counts, common))
            return None
        if column.distinct < 2:
            return None
        self.out.questions.append(questions.other_currencies(common, counts))
        return column, common

    # ---- the rest -------------------------------------------------------------------------------------------------

    def _words(self, column: str, known: Sequence[str]) -> None:
        best = self.best(column, lambda c: c.distinct <= 20 and not c.is_number)
        if best is None:
            return
        words = {v: v.lower() if v.lower() in known else meaning_of(v, known) for v in best.counts}
        share = best.share_of(lambda v: bool(words[v]))
        if share < 0.5:
            return
        doubt = "" if share > 0.9 else f"{1 - share:.0%} of the words are not known"
        self.map(
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
        if not masks:
            return
        mask, names = max(masks.items(), key=lambda x: len(x[1]))
        taken = [n for n in names if n in self.used]
        if len(names) >= 3 and taken and mask[0] and mask.count(False) > 0.05 * len(mask):
            self.out.questions.append(questions.further_lines(taken, len(names), mask.count(False), len(mask)))
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


def _only(column: Column, currency: str, sql: str, columns: _Proposing) -> str:
    # A line without a currency is in the shop's, like a further line of an order.
    return f"case when {columns.sql(column)} <> {literal(currency)} then {literal(_OTHER_CURRENCY)} else {sql} end"


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


def _personal_values(column: Column) -> str:
    """Return what of a person the values of a column tell."""
    for kind, pattern in (("e-mail", EMAIL), ("phone", PHONE), ("ip", IP), ("card", CARD)):
        if column.share(pattern) > 0.5 and not (kind == "card" and column.is_number):
            return kind
    return ""
