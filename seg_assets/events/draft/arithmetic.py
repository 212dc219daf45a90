"""Find which sums hold between the columns of money: price times pieces, lines and orders, tax in or out.

Not here: what a column is called (`names`), and which of them becomes the amount (`propose`).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from seg_assets.events.draft.values import Column, Marks, number_of

# Share of the lines in which a sum must hold, and how many lines must have all its parts.
HOLDS, FEWEST = 0.9, 5
# Orders of several lines that decide whether a value is the order's.
FEWEST_ORDERS = 3


class Money:
    """The numbers of a file's columns, line by line."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self._numbers: dict[str, list[float | None]] = {}

    def numbers(self, column: Column) -> list[float | None]:
        """Return a column's values as numbers; None where there is none."""
        if column.name not in self._numbers:
            known = {v: number_of(v, self.marks) for v in column.counts}
            self._numbers[column.name] = [known.get(v) for v in column.values]
        return self._numbers[column.name]

    def holds(self, columns: Sequence[Column], sum_of: Callable[..., float]) -> str:
        """Say in how many lines the first column is a sum of the others; empty where that does not hold.

        Args:
            columns: the column, and those that `sum_of` takes.
            sum_of: returns the number that the first column should be.
        """
        rows = [row for row in zip(*map(self.numbers, columns), strict=True) if None not in row]
        if len(rows) < min(FEWEST, columns[0].lines):
            return ""
        good = sum(abs(row[0] - sum_of(*row[1:])) < 0.0151 for row in rows)  # type: ignore[operator]
        return f"in {good} of {len(rows)} lines" if rows and good >= HOLDS * len(rows) else ""

    def differs(self, one: Column, other: Column) -> bool:
        """Say whether two columns have different numbers in some line."""
        pairs = zip(self.numbers(one), self.numbers(other), strict=True)
        return any(a is not None and b is not None and abs(a - b) > 0.0151 for a, b in pairs)

    def is_of_the_order(self, column: Column, order: Column) -> bool:
        """Say whether a value is the order's: the same on all lines of an order, or on its first line only."""
        lines = defaultdict(list)
        for number, key in zip(self.numbers(column), order.values, strict=True):
            if key:
                lines[key].append(number)
        several = [numbers for numbers in lines.values() if len(numbers) > 1 and numbers[0] is not None]
        alike = [n for n in several if len({v for v in n if v is not None}) == 1]
        return len(several) >= FEWEST_ORDERS and len(alike) >= 0.97 * len(several)

    def adds_up(self, line: Column, order_value: Column, order: Column) -> str:
        """Say in how many orders the lines add up to a value of the order; empty where they do not."""
        sums: dict[str, float] = defaultdict(float)
        stated: dict[str, float] = {}
        for key, part, whole in zip(order.values, self.numbers(line), self.numbers(order_value), strict=True):
            if key:
                sums[key] += part or 0.0
                if whole is not None:
                    stated.setdefault(key, whole)
        good = sum(abs(sums[key] - whole) < 0.0151 for key, whole in stated.items())
        return f"in {good} of {len(stated)} orders" if stated and good >= HOLDS * len(stated) else ""

    def negatives(self, column: Column) -> int:
        """Return the number of values below zero."""
        return sum(v is not None and v < 0 for v in self.numbers(column))
