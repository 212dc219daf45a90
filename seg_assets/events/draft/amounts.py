"""Find the money of a line: which column is the amount, with the sum that shows it, and what is asked about the rest.

Not here: sums themselves (`arithmetic`), and every other column (`propose`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seg_assets.events.draft import questions
from seg_assets.events.draft.arithmetic import Money
from seg_assets.events.draft.columns import Columns, is_small, without_currency
from seg_assets.events.draft.names import bare
from seg_assets.events.draft.questions import shown
from seg_assets.events.draft.values import Column, marks_of

_NET_WORDS = {"net", "netto", "ht", "excl"}


@dataclass(frozen=True)
class Parts:
    """Columns that an amount is computed with or compared to; `order` where an order has several lines."""

    order: Column | None
    price: Column | None
    quantity: Column | None
    discount: Column | None
    tax: Column | None
    shipping: Column | None


@dataclass(frozen=True)
class Total:
    """A column that may be the amount: its role, and how sure its name is."""

    role: str
    rank: int
    column: Column


class Amounts(Columns):
    """The columns of a file whose money is looked for."""

    def map_amounts(self, order: Column | None) -> None:
        """Map quantity, amount and discount; `order` where an order has several lines."""
        quantity = self.take("quantity", "quantity", is_small, "whole numbers")
        price = self.best("unit_price", _is_number)
        discount = self.best("discount", lambda c: _is_number(c) and "%" not in c.name)
        parts = Parts(order, price, quantity, discount, self.best("tax", _is_number), self.best("shipping", _is_number))
        taken, is_net = self._map_amount(self._totals(price), parts)
        if discount is not None and not self._is_of_the_order(discount, order):
            negative = self.money.negatives(discount)
            sql = f"abs({self.number_sql(discount)})" if negative else self.amount_sql(discount)
            self.map("discount", sql, "name and values: numbers", "", discount)
        if taken and not is_net:
            self.out.questions.append(questions.tax(taken))
        refunded = self.best("refunded", _is_number)
        if refunded is not None and taken and shown(refunded.name) != taken:
            self.out.questions.append(questions.refunded_number(refunded.name))
        self.map_marks()

    def map_marks(self) -> None:
        """Say how numbers are written, and ask where they can be read in two ways."""
        marks = self.money.marks
        self.out.decimal, self.out.thousands = marks.decimal, marks.thousands
        if marks.ambiguous and not self.json:
            self.out.questions.append(questions.decimal_mark(marks.decimal))

    def amount_sql(self, column: Column) -> str:
        """Return the expression of a number that the reader casts."""
        return without_currency(self.sql(column)) if column.is_money_text else self.sql(column)

    def _is_of_the_order(self, column: Column, order: Column | None) -> bool:
        return order is not None and column.distinct > 2 and self.money.is_of_the_order(column, order)

    def _totals(self, price: Column | None) -> list[Total]:
        """Return the columns that may be an amount, each once."""
        out: list[Total] = []
        for role in ("line_total", "net_total", "amount", "gross_total"):
            for rank, column in self.candidates(role, _is_number):
                if column is not price and all(column is not total.column for total in out):
                    out.append(Total(role, rank, column))
        return out

    def _map_amount(self, totals: Sequence[Total], parts: Parts) -> tuple[str, bool]:
        """Map amount; return the name of what it is made of, and whether it is surely without tax."""
        money, order = self.money, parts.order
        scored = []
        for n, total in enumerate(totals):
            proof = self._proof(total.column, parts)
            if order is not None and not proof and money.is_of_the_order(total.column, order):
                continue
            net = total.role == "net_total" or bool(_NET_WORDS & set(bare(total.column.name).split()))
            scored.append(((total.role == "gross_total", not proof, not net, -total.rank, n), total.column, proof, net))
        if not scored:
            if parts.price is not None:
                return self._from_price(parts.price, parts, totals)
            if totals:
                self.out.questions.append(questions.money_of_a_line(totals[0].column.name))
            return "", True
        _, column, proof, net = min(scored, key=lambda s: s[0])
        sql, evidence, doubt, read = self.amount_sql(column), f"name and values: {proof or 'numbers'}", "", [column]
        gross = next((t.column for t in totals if t.role == "gross_total" and t.column is not column), None)
        if said := self._gross_is(gross, column, parts):
            evidence, net = f"{evidence}; {said}", True
        elif parts.tax is not None and not net and order is None and not proof:
            off = [c for c in (parts.tax, parts.shipping) if c is not None]
            sql = " - ".join([self.number_sql(column)] + [f"coalesce({self.number_sql(c)}, 0)" for c in off])
            names = " and ".join(shown(c.name) for c in off)
            evidence, doubt, net, read = f"{evidence}; less {names}", f"are {names} in it?", True, [column, *off]
        if order is not None:
            evidence += self._adds_up(column, totals, order, money)
        if order is not None and not proof and self._prices_differ(column, parts):
            doubt = "the price times the pieces is another number"
        self.map("amount", sql, evidence, doubt, *read)
        return shown(column.name), net

    def _from_price(self, price: Column, parts: Parts, totals: Sequence[Total]) -> tuple[str, bool]:
        """Map amount to price times pieces, less the discount."""
        name, quantity, discount, order = shown(price.name), parts.quantity, parts.discount, parts.order
        if quantity is None:
            evidence = "name and values: a price, and no number of pieces"
            self.map("amount", self.amount_sql(price), evidence, "one piece a line?", price)
            return name, False
        sql, doubt = f"{self.number_sql(price)} * {self.number_sql(quantity)}", ""
        evidence = f"{name} x {shown(quantity.name)}: no column has a line's money"
        if discount is not None and not self._is_of_the_order(discount, order):
            sign = "+" if self.money.negatives(discount) else "-"
            sql = f"{sql} {sign} coalesce({self.number_sql(discount)}, 0)"
            evidence, doubt = f"{evidence}, less {shown(discount.name)}", "is the discount of the line, and once?"
        elif order is not None:
            pairs = zip(self.money.numbers(price), self.money.numbers(quantity), strict=True)
            pieces = Column("", [None if p is None or q is None else f"{p * q:.2f}" for p, q in pairs])
            evidence += self._adds_up(pieces, totals, order, Money(marks_of([pieces])))
        self.map("amount", sql, evidence, doubt, price)
        return name, False

    def _adds_up(self, line: Column, totals: Sequence[Total], order: Column, money: Money) -> str:
        """Say which of the order's totals its lines add up to; empty where none."""
        for total in totals:
            if total.column is line or not self.money.is_of_the_order(total.column, order):
                continue
            stated = [None if v is None else f"{v:.2f}" for v in self.money.numbers(total.column)]
            whole = total.column if money is self.money else Column(total.column.name, stated)
            if where := money.adds_up(line, whole, order):
                return f"; lines add up to {shown(total.column.name)} {where}"
        return ""

    def _gross_is(self, gross: Column | None, net: Column, parts: Parts) -> str:
        """Say that a total is an amount with tax, or with tax and shipping; empty where that does not hold."""
        if gross is None or parts.tax is None:
            return ""
        if where := self.money.holds([gross, net, parts.tax], lambda a, b: a + b):
            return f"with tax it is {shown(gross.name)} {where}"
        if parts.shipping is None:
            return ""
        where = self.money.holds([gross, net, parts.tax, parts.shipping], lambda a, b, c: a + b + c)
        return f"with tax and shipping it is {shown(gross.name)} {where}" if where else ""

    def _prices_differ(self, column: Column, parts: Parts) -> bool:
        if parts.price is None or parts.quantity is None:
            return False
        return self.money.differs(column, parts.price)

    def _proof(self, column: Column, parts: Parts) -> str:
        """Say which sum of price, pieces and discount a column is; empty where none."""
        price, quantity, discount, holds = parts.price, parts.quantity, parts.discount, self.money.holds
        if price is None or quantity is None:
            return ""
        p, q = shown(price.name), shown(quantity.name)
        if discount is not None:
            d = shown(discount.name)
            if where := holds([column, price, quantity, discount], lambda a, b, c: a * b - abs(c)):
                return f"{p} x {q} - {d} {where}"
            if where := holds([column, price, quantity, discount], lambda a, b, c: (a - abs(c)) * b):
                return f"({p} - {d}) x {q} {where}"
        where = holds([column, price, quantity], lambda a, b: a * b)
        return f"{p} x {q} {where}" if where else ""


def _is_number(column: Column) -> bool:
    return column.is_number or column.is_money_text
