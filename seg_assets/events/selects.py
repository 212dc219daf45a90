"""Check the SELECT of a source (`sources/NAME.sql`): what may stand in it, what it reads, and its macros.

DuckDB's own parser reads the text; the tree is then walked, and whatever is not on the lists below is refused when the
source is loaded: another statement, a relation that is no feed, a function that reads a file, a setting, the clock or a
random number. So a SELECT sees the lines of its feeds and nothing else, and the same lines always give the same events.

Not here: running it (`events.select_files`), and what becomes of its rows (`events.mapping`).
"""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from seg_assets.core.errors import did_you_mean
from seg_assets.core.sql import literal
from seg_assets.events.expressions import quoted, stable_functions

# Columns that every relation has beside those of its file.
FILE, LINE_NUMBER, DELIVERY, LINE_KEY, REFUND_STEPS = "file", "line", "delivery", "line_key", "refund_steps"
OWN_COLUMNS = (FILE, LINE_NUMBER, DELIVERY, LINE_KEY, REFUND_STEPS)

_MONEY_FORM = (
    r"\s*\(?\s*[-+\x{2212}]?\s*(?:[A-Za-z]{0,3}\s?\p{Sc}|[A-Za-z]{3}|kr\.?|z\x{142})?\s*[-+\x{2212}]?\s*"
    r"((?:\d{1,3}(?:[MARKS]\d{3})+|\d+)(?:POINT(?:\d+|[-\x{2013}]{1,2}))?|POINT\d+)"
    r"\s*(?:[A-Za-z]{0,3}\p{Sc}|[A-Za-z]{3}|kr\.?|z\x{142})?\s*-?\s*\)?\s*"
)


def _money_form(point: str) -> str:
    others = {".": r",'\x{2019}\s\x{a0}\x{2009}\x{202f}", ",": r".'\x{2019}\s\x{a0}\x{2009}\x{202f}"}[point]
    return literal(_MONEY_FORM.replace("MARKS", others).replace("POINT", "[" + point + "]"))


def _money_text(point: str) -> str:
    """Return the SQL of a text of money as digits, its point and a minus; null where the text is no money."""
    form = _money_form(point)
    digits = (
        f"replace(regexp_replace(regexp_extract(t, {form}, 1), '[^0-9{'.' if point == '.' else ','}]', '', 'g'), "
        f"'{point}', '.')"
    )
    minus = "case when regexp_matches(t, '[-(\\x{2212}].*\\d|\\d\\s*-\\s*$') then '-' else '' end"
    return f"case when regexp_full_match(t, {form}) then {minus} || {digits} end"


# A macro never fails. A bad value is null, and so is the money computed of it, which is refused on a purchase.
# Where the value is a column of the file as it stands, its line is refused with that column's name.
MACROS = {
    "money": f"""money(t, mark := '.') as
        case when t is null or trim(t::varchar) = '' then null
             when mark = '.' then coalesce(
               case when not contains(t::varchar, '_') then try_cast(t as decimal(18,4)) end,
               try_cast(({_money_text(".")}) as decimal(18,4)))
             else try_cast(({_money_text(",")}) as decimal(18,4)) end""",
    "carry": "carry(value, key) as case when key is null then value else min(value) over (partition by key) end",
    "spread": """spread(total, share, key, place) as
        (round(total::double
               * (sum(share) over (partition by key order by place rows unbounded preceding))::double
               / nullif(sum(share) over (partition by key), 0)::double, 2)::decimal(18,2)
         - round(total::double
               * (sum(share) over (partition by key order by place rows unbounded preceding) - share)::double
               / nullif(sum(share) over (partition by key), 0)::double, 2)::decimal(18,2))""",
    "items": """items(list) as unnest(
        case when list is null or trim(list::varchar) in ('', 'null') or try(json_array_length(list)) = 0
                  and try(json_type(list)) = 'ARRAY' then [null::json]
             else coalesce(try(from_json(list, '["JSON"]')), [to_json(list::varchar)]) end)""",
}
# The macros whose bad value is known by the value alone: why a line is refused, and the test of a column.
_BAD = {
    "money": ("not_a_number", "{column} is not null and {call} is null"),
    "items": (
        "not_an_array",
        "{column} is not null and coalesce(try(json_type({column})), '') not in ('ARRAY', 'NULL')",
    ),
}

# Functions over many rows that give one answer whatever the order of the rows.
_AGGREGATES = {
    "arg_max", "arg_min", "array_agg", "avg", "bool_and", "bool_or", "count", "count_star", "list", "max", "max_by",
    "median", "min", "min_by", "mode", "string_agg", "sum",
}  # fmt: skip
_ORDERED = {"array_agg", "list", "string_agg"}
_WINDOWS = {
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank", "rank",
    "row_number",
}  # fmt: skip
_TABLE_FUNCTIONS = {"unnest", "json_each"}
_EXPRESSIONS = {
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA",
    "LAMBDA_REF", "OPERATOR", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE", "WINDOW",
}  # fmt: skip
# Words that DuckDB takes for a function where no column has the name.
_CLOCKS = {
    "current_date", "current_localtime", "current_localtimestamp", "current_time", "current_timestamp", "localtime",
    "localtimestamp",
}  # fmt: skip
_REFUSED_NODES = {
    "PIVOT": "pivot", "SHOW_REF": "show", "RECURSIVE_CTE_NODE": "a recursive query", "COLUMN_DATA": "a data relation",
    "TABLE_REF": "a relation of another kind", "DELIM_GET": "a relation of another kind",
    "BOUND_TABLE_REF": "a relation of another kind",
}  # fmt: skip


class SelectError(ValueError):
    """A SELECT that a source may not have; the text says why."""


@dataclass(frozen=True)
class Check:
    """A test of one column of the file that refuses a line: the reason, and the SQL of the test."""

    reason: str
    column: str
    test: str


@dataclass(frozen=True)
class Select:
    """A checked SELECT: its text, the feeds it reads, every column name in it, and its tests of single columns.

    star: a `*` stands in it, so that columns reach its result without being named.
    """

    text: str
    feeds: tuple[str, ...]
    names: tuple[str, ...]
    star: bool
    checks: tuple[Check, ...]


@functools.lru_cache(maxsize=64)
def parse_select(text: str, feeds: tuple[str, ...]) -> Select:
    """Check the SELECT of a source over these feeds.

    Raises:
        SelectError: it is no single SELECT over the feeds, or calls what may not be called.
    """
    text = text.strip().rstrip(";").rstrip()
    if not text:
        raise SelectError("empty; write one SELECT over the feeds")
    with duckdb.connect(":memory:") as con:
        row = con.execute("select json_serialize_sql(?)", [text]).fetchone()
    answer = json.loads(row[0]) if row else {"error": True}
    if answer.get("error"):
        raise SelectError(f"not one SELECT: {answer.get('error_message')}")
    statements = answer.get("statements", [])
    if len(statements) != 1:
        raise SelectError(f"{len(statements)} statements; one SELECT is allowed")
    tree = statements[0]["node"]
    ctes = {entry["key"].casefold() for entry in _entries(tree)}
    read: dict[str, None] = {}
    names: dict[str, None] = {}
    checks: dict[Check, None] = {}
    star = False
    for node in _nodes(tree):
        kind = node.get("class")
        if kind is None:
            _check_relation(node, feeds, ctes, read)
            continue
        if kind not in _EXPRESSIONS:
            raise SelectError(f"{str(kind).lower()} is not allowed in the SELECT of a source")
        if kind == "STAR":
            star = True
        elif kind == "COLUMN_REF":
            if clocks := _CLOCKS.intersection(map(str.lower, node["column_names"])):
                raise SelectError(f"{clocks.pop()} is not allowed: the clock is no part of a line")
            names.update(dict.fromkeys(node["column_names"]))
        elif kind in ("FUNCTION", "WINDOW"):
            _check_function(node)
            if check := _check_of(node):
                checks[check] = None
    if not read:
        raise SelectError(f"it reads no feed; one of {', '.join(feeds)}")
    return Select(text, tuple(read), tuple(names), star, tuple(checks))


def create_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Make the macros known to a connection."""
    for macro in MACROS.values():
        con.execute(f"create or replace temp macro {macro}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every expression, relation and query of a parse tree."""
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)
    elif isinstance(tree, dict):
        if "class" in tree or "type" in tree:
            yield tree
        for key, part in tree.items():
            if key != "cast_type":
                yield from _nodes(part)


def _entries(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every common table expression of a parse tree."""
    if isinstance(tree, list):
        for part in tree:
            yield from _entries(part)
    elif isinstance(tree, dict):
        if isinstance(tree.get("cte_map"), dict):
            yield from tree["cte_map"].get("map", [])
        for part in tree.values():
            yield from _entries(part)


def _check_relation(node: dict[str, Any], feeds: Iterable[str], ctes: set[str], read: dict[str, None]) -> None:
    """Check a node that is no expression, and note the feed that it reads."""
    kind = str(node.get("type"))
    if kind in _REFUSED_NODES:
        raise SelectError(f"{_REFUSED_NODES[kind]} is not allowed in the SELECT of a source")
    if node.get("sample"):
        raise SelectError("a sample is not allowed: the same lines must always give the same events")
    if kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise SelectError(f"function {name} is not allowed as a relation; a SELECT reads the lines of its feeds")
    if kind != "BASE_TABLE":
        return
    name = str(node["table_name"])
    if node.get("schema_name") or node.get("catalog_name"):
        raise SelectError(f"relation {node.get('schema_name')}.{name}: a relation is a feed's name")
    if name.casefold() in feeds:
        read[name.casefold()] = None
    elif name.casefold() not in ctes:
        near = did_you_mean(name, list(feeds))
        raise SelectError(f"relation {name}: no feed of the source without columns{near}; one of {', '.join(feeds)}")


def _check_function(node: dict[str, Any]) -> None:
    name = str(node["function_name"]).lower()
    allowed = name in MACROS or name in _AGGREGATES or name == "unnest" or name in stable_functions()
    if node.get("class") == "WINDOW":
        allowed = name in _WINDOWS or name in _AGGREGATES
    if node.get("schema") or node.get("catalog") or not allowed:
        raise SelectError(
            f"function {name} is not allowed: files, settings, the clock and random numbers are no part of a line, and "
            "an aggregate must give one answer whatever the order of the lines"
        )
    orders = node.get("order_bys")
    if name in _ORDERED and node["class"] == "FUNCTION" and not (isinstance(orders, dict) and orders.get("orders")):
        raise SelectError(f"function {name}: say order by in it, so that the same lines always give the same answer")


def _check_of(node: dict[str, Any]) -> Check | None:
    """Return the test of a macro's argument, where that is a column as it stands."""
    name = str(node["function_name"]).lower()
    if name not in _BAD or not node.get("arguments"):
        return None
    first, *others = (a.get("expression", a) for a in node["arguments"])
    if first.get("class") != "COLUMN_REF":
        return None
    column = str(first["column_names"][-1])
    marks = [
        literal(str(a["literal"].get("text", "."))) for a in others if a.get("class") == "CONSTANT" and "literal" in a
    ]
    call = f"{name}({quoted(column)}{''.join(f', mark := {mark}' for mark in marks[:1])})"
    reason, test = _BAD[name]
    return Check(reason, column, test.format(column=quoted(column), call=call))
