"""Check mapping expressions: what a source YAML may say in SQL, and nothing more.

An expression is one scalar computation over the columns of one line. DuckDB's own parser reads it; the tree is
then walked, and whatever is not on the list below is refused: a subquery, a second statement, an aggregate, a
function that reads a file, a setting, the clock or a random number. So a source YAML cannot read anything but the
line it maps, and the same line always gives the same event.

Not here: how expressions become the SQL of a feed (`events.mapping`).
"""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

# Node classes of DuckDB's parse tree that compute one value from one line.
_ALLOWED = {
    "COLUMN_REF",
    "CONSTANT",
    "FUNCTION",
    "CAST",
    "CASE",
    "COMPARISON",
    "CONJUNCTION",
    "OPERATOR",
    "BETWEEN",
    "TYPE",
}
# Marked as stable in DuckDB's catalog, yet they show the process, run for ever, or mean nothing in a mapping.
_REFUSED_FUNCTIONS = {
    "aggregate",
    "alias",
    "apply",
    "combine",
    "current_localtime",
    "current_localtimestamp",
    "finalize",
    "generate_series",
    "getenv",
    "hash",
    "invoke",
    "json_deserialize_sql",
    "json_serialize_plan",
    "json_serialize_sql",
    "range",
    "to_aggregate_state",
    "version",
    "write_log",
}
# DuckDB implements these as macros over scalar functions; other macros (pg_*, current_*) are refused.
_ALLOWED_MACROS = {
    "array_to_string",
    "date_add",
    "days_in_month",
    "fdiv",
    "fmod",
    "if",
    "list_first",
    "list_last",
    "list_max",
    "list_min",
    "list_reverse",
    "list_sum",
    "nullif",
    "split_part",
}
# Make a timestamp without a zone out of a count since 1970, which is UTC.
_COUNTS_SINCE_1970 = {"epoch_ms", "make_timestamp", "make_timestamp_ms", "make_timestamp_ns"}
_WORD = re.compile(r"[^\W\d]\w*")
_QUOTED_NAME = re.compile(r'"((?:[^"]|"")+)"')
_OPERATORS_OF_CASE = {"ifnull", "nvl", "coalesce"}


class ExpressionError(ValueError):
    """An expression that a source may not use; the text says why."""


def quoted(name: str) -> str:
    """Return any column name of a file, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Expression:
    """A checked expression: its SQL text and the columns it reads, in order of first use."""

    text: str
    columns: tuple[str, ...]
    is_column: bool = False
    # The same with a zone, UTC, on every timestamp that is made out of a count since 1970.
    text_in_utc: str = ""

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def parse(cls, text: str) -> "Expression":
        """Check a text and return it as an expression. Checking costs 50 ms, and a source is loaded often.

        Raises:
            ExpressionError: when it is not one scalar expression over the columns of a line.
        """
        text = str(text).strip()
        if not text:
            raise ExpressionError("empty expression")
        if _WORD.fullmatch(text) and text.lower() not in ("true", "false", "null"):
            # A bare word is a column, also one that SQL reserves (order, select, at).
            return cls(f'"{text}"', (text,), is_column=True)
        if name := _QUOTED_NAME.fullmatch(text):
            return cls(text, (name[1].replace('""', '"'),), is_column=True)
        if ";" in _outside_quotes(text):
            raise ExpressionError("one expression is allowed, not several statements (;)")
        answer = json.loads(_serialize(text))
        if answer.get("error"):
            raise ExpressionError(f"not a SQL expression: {answer.get('error_message')}")
        statements = answer.get("statements", [])
        node = statements[0]["node"] if len(statements) == 1 else {}
        items = node.get("select_list", [])
        if node.get("type") != "SELECT_NODE" or len(items) != 1:
            raise ExpressionError("one expression is allowed, not a list or a query")
        if node.get("from_table", {}).get("type") not in ("EMPTY", "EMPTY_FROM", None) or any(
            node.get(part) for part in ("where_clause", "group_expressions", "having", "qualify", "sample")
        ):
            raise ExpressionError("from, where, group by, having and qualify are not part of an expression")
        if node.get("modifiers"):
            raise ExpressionError("order by, limit and distinct are not part of an expression")
        item = items[0]
        if item.get("alias"):
            raise ExpressionError(
                f"no alias is allowed (as {item['alias']}); quote a column with a space in double quotes"
            )
        columns = list(dict.fromkeys(_columns(item)))
        folded = [c.casefold() for c in columns]
        if len(set(folded)) != len(folded):
            raise ExpressionError(f"columns {columns} differ only in upper and lower case; rename one in the file")
        _compute_once(text, columns)
        return cls(text, tuple(columns), item.get("class") == "COLUMN_REF", _in_utc(text, item))


def _compute_once(text: str, columns: list[str]) -> None:
    """Compute an expression on a line of nulls: with a constant pattern or type that is none, every line would fail.

    What depends on the columns' types cannot be judged before there is a file, and passes.
    """
    row = ", ".join(f"null::varchar as {quoted(c)}" for c in columns) or "1"
    with duckdb.connect(":memory:") as con:
        con.execute("pragma disable_optimizer")  # it would not compute what is null anyway
        try:
            con.execute(f"select try({{'v': (\n{text}\n)}}) from (select {row})")
        except (duckdb.InvalidInputException, duckdb.CatalogException) as error:
            raise ExpressionError(str(error).splitlines()[0]) from None
        except duckdb.Error:
            return


def check_time_format(form: str) -> None:
    """Check a strptime format.

    Raises:
        ExpressionError: it has no directive, or one that DuckDB does not know.
    """
    if not re.search("%-?[a-zA-Z]", form):
        raise ExpressionError("no directive; for example %d.%m.%Y %H:%M")
    with duckdb.connect(":memory:") as con:
        try:
            con.execute("select try_strptime('', ?)", [form])
        except duckdb.Error as error:
            raise ExpressionError(f"{str(error).splitlines()[0]}; for example %d.%m.%Y %H:%M") from None


def _serialize(text: str) -> str:
    """Return the parse tree of an expression as DuckDB writes it in JSON."""
    with duckdb.connect(":memory:") as con:
        row = con.execute("select json_serialize_sql('select ' || ?)", [text]).fetchone()
    return row[0] if row else "{}"


def _in_utc(text: str, item: dict[str, Any]) -> str:
    """Return an expression whose timestamps made of counts since 1970 say that they are UTC."""
    data, start = text.encode(), len("select ")
    marks = [
        mark
        for at, length in _counts(item)
        for mark in ((at - start, b"timezone('UTC', ("), (at - start + length, b")::timestamp)"))
    ]
    for at, mark in sorted(marks, reverse=True):
        data = data[:at] + mark + data[at:]
    return data.decode()


def _counts(node: Any) -> Iterator[tuple[int, int]]:
    """Yield place and length of each call that makes a timestamp out of a count, but for those that get a zone."""
    if isinstance(node, list):
        for part in node:
            yield from _counts(part)
    elif isinstance(node, dict):
        name = str(node.get("function_name")).lower()
        if name == "timezone":
            return
        if name in _COUNTS_SINCE_1970 and len(node["arguments"]) == 1:
            yield node["query_location"], node["query_location_length"]
        for part in node.values():
            yield from _counts(part)


def _outside_quotes(text: str) -> str:
    """Return a text without what stands in quotes."""
    out, quote = [], ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            out.append(char)
    return "".join(out)


def _columns(node: Any) -> Iterator[str]:
    """Yield the columns of a parse tree; raise ExpressionError at the first node that is not allowed."""
    if isinstance(node, list):
        for part in node:
            yield from _columns(part)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None:
        if kind not in _ALLOWED:
            names = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "*"}
            node_name = names.get(kind, str(kind).lower())
            raise ExpressionError(f"{node_name} is not allowed; one scalar expression over the columns of a line is")
        if kind == "COLUMN_REF":
            names = node["column_names"]
            if len(names) != 1:
                raise ExpressionError(
                    f"{'.'.join(names)}: a column has one name; reach into JSON with column->>'$.field'"
                )
            yield names[0]
            return
        if kind == "CONSTANT":
            return
        if kind == "FUNCTION":
            name = node["function_name"].lower()
            if node.get("schema") or name not in stable_functions():
                raise ExpressionError(
                    f"function {name} is not allowed; use DuckDB scalar functions of the line's own values"
                )
            if node.get("distinct") or node.get("filter"):
                raise ExpressionError(f"function {name}: distinct and filter are for aggregates")
    for key, part in node.items():
        if key != "cast_type":
            yield from _columns(part)


@functools.cache
def stable_functions() -> frozenset[str]:
    """Return the names that an expression may call: built-in, scalar, and the same answer for the same input."""
    with duckdb.connect(":memory:") as con:
        rows = con.execute(
            "select lower(function_name), bool_and(function_type = 'scalar' and stability = 'CONSISTENT') "
            "from duckdb_functions() where internal group by 1"
        ).fetchall()
    stable = {name for name, ok in rows if ok}
    return frozenset((stable | _ALLOWED_MACROS | _OPERATORS_OF_CASE) - _REFUSED_FUNCTIONS)
