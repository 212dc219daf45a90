"""A source YAML is checked when it is loaded, and its expressions read nothing but the line."""

import ast
import datetime as dt
import re
from pathlib import Path

import duckdb
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.events import mapping
from seg_assets.events.expressions import Expression, ExpressionError
from seg_assets.events.file_pattern import FilePattern
from seg_assets.events.formats import names
from seg_assets.events.source import CsvOptions, EventFeed, Source, load_source, shipped_sources
from seg_assets.events.store import close_file_access
from tests.events.landing_zone import EVENTS, ORDERS, Landing, source_of


@pytest.mark.parametrize("name", ["complete_journey", "simulator", "simulator_parquet"])
def test_shipped_sources_load(name):
    assert name in shipped_sources()
    assert load_source(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    columns:", "    colums: {}\n    columns:", ["feeds.orders.colums", "allowed in feeds.orders"]),
        ("customer", "customer)", ["user_id", "customer)"]),
        ("      user_id: customer\n", "", ["columns.user_id or columns.anonymous_id is required"]),
        ("user_id: customer", "usr_id: customer", ["columns.usr_id", "unknown column", "anonymous_id"]),
        ("      event_type: kind\n", "", ["event_type"]),
        ("    columns:", "    event_type: buy\n    columns:", ["event_type", "not both"]),
        ("{day}", "orders", ["orders/orders*.csv", "{day}"]),
        ("{day}", "{date}", ["{day}"]),
        ("{day}", "{day:%H}", ["%Y"]),
        ("orders/{day}", "../{day}", ["relative to the landing folder"]),
        ("orders/{day}", "/etc/{day}", ["relative to the landing folder"]),
        (".csv", ".xlsx", ["csv, jsonl, parquet"]),
        ("    columns:", "    time_zone: Berlin\n    columns:", ["time_zone", "'Berlin'", "Europe/Berlin"]),
        ("    columns:", "    encoding: utf8000\n    columns:", ["encoding", "utf8000", "latin-1"]),
        *[
            ("    columns:", f"    encoding: {e}\n    columns:", ["orders.encoding", e, "encoding of texts", "latin-1"])
            for e in ("base64", "hex", "rot13", "zlib", "idna", "punycode", "undefined")
        ],
        *[
            ("    columns:", f"    time_format: '{f}'\n    columns:", ["orders.time_format", f"'{f}'", "%d.%m.%Y"])
            for f in ("%Q", "%s", "", "now", "%Y%")
        ],
        ("amount: amount", "amount: regexp_extract(amount, '(')", ["amount", "'('", "missing )"]),
        ("amount: amount", "amount: amount::money", ["amount", "amount::money", "Type with name money"]),
        ("    columns:", "    thousands: '.'\n    columns:", ["feeds.orders.thousands = '.'", "decimal: ','"]),
        ("    columns:", "    decimal: ','\n    thousands: ','\n    columns:", ["thousands = ','", "decimal: '.'"]),
        ("    columns:", "    thousands: '..'\n    columns:", ["feeds.orders.thousands", "'..'"]),
        ("    columns:", "    csv: {delimiter: '||'}\n    columns:", ["csv.delimiter", "one ASCII character"]),
        ("    columns:", "    values: {event_type: {x: buy}}\n    columns:", ["event_type.x", "buy", "purchase"]),
        ("    columns:", "    defaults: {amount: 3}\n    columns:", ["defaults.amount"]),
        ("    columns:", "    closed_days: maybe\n    columns:", ["closed_days", "maybe", "normal"]),
    ],
)  # fmt: skip
def test_promise_11_a_wrong_source_names_file_field_value_and_what_is_allowed(tmp_path, old, new, words):
    assert old in ORDERS
    with pytest.raises(ConfigError) as error:
        source_of(tmp_path, ORDERS.replace(old, new, 1))
    assert "source.yaml" in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00", "name: x", "feeds: {}", "a: 1\na: 2", "feeds: 3"])
def test_promise_11_what_is_no_source_is_said_so(tmp_path, text):
    with pytest.raises(ConfigError, match=r"source\.yaml"):
        source_of(tmp_path, text)


def test_a_source_that_is_neither_shipped_nor_a_file_names_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"complete_journey, .*simulator"):
        load_source("complete_jorney")


@pytest.mark.parametrize("expression", [
    "(select 1)", "a in (select x from t)", "exists (select 1)", "read_text('/etc/passwd')", "read_csv('/etc/passwd')",
    "glob('*')", "getenv('HOME')", "current_setting('home_directory')", "getvariable('x')", "a; drop table t", "a, b",
    "sum(a)", "row_number() over ()", "*", "columns('x')", "a) from t --", "a from 'file.csv'", "a order by 1",
    "a limit 1",
    "distinct a", "now()", "today()", "random()", "uuid()", "nextval('s')", "query('select 1')", "a as b", "t.a",
    "unnest([1, 2])", "list_transform([1], lambda x: x)", "generate_series(1, 1000000000)", "a union select 1", "",
    "main.read_text('x')", "write_log('x')", "pg_sleep(10)",
])  # fmt: skip
def test_expressions_that_are_more_than_a_computation_on_the_line_are_refused(expression):
    with pytest.raises(ExpressionError):
        Expression.parse(expression)


@pytest.mark.parametrize(("expression", "columns"), [
    ("a", ("a",)), ("order", ("order",)), ("Straße", ("Straße",)), ('"a b"', ("a b",)), ("'purchase'", ()), ("1", ()),
    ("a || '-' || b", ("a", "b")), ("case when a = 'x' then b end", ("a", "b")), ("replace(a, ';', ',')", ("a",)),
    ("try_cast(replace(a, ',', '.') as decimal(18,2))", ("a",)), ("a::date + interval 1 day", ("a",)),
    ("strptime(a, '%d.%m.%Y')", ("a",)), ("to_timestamp(a::double)", ("a",)), ("a->>'$.x'", ("a",)),
    ("coalesce(a, nullif(b, ''))", ("a", "b")), ("regexp_extract(a, '[0-9]+')", ("a",)),
    ("split_part(a, '-', 1)", ("a",)),
    ("a between 1 and 2", ("a",)), ("a in ('x', 'y')", ("a",)), ("a is not null", ("a",)),
    ("if(a = '1', b, c)", ("a", "b", "c")),
    ("a -- a comment", ("a",)),
])  # fmt: skip
def test_computations_on_the_line_are_expressions(expression, columns):
    assert Expression.parse(expression).columns == columns


def test_a_connection_without_file_access_reads_and_writes_no_file(tmp_path):
    secret, allowed = tmp_path / "secret.csv", tmp_path / "allowed"
    secret.write_text("a\n1\n")
    allowed.mkdir()
    with duckdb.connect() as con:
        close_file_access(con, allowed)
        with pytest.raises(duckdb.Error):
            con.execute(f"select * from '{secret}'").fetchall()
        with pytest.raises(duckdb.Error):
            con.execute(f"copy (select 1) to '{tmp_path / 'out.csv'}'")
        con.execute(f"copy (select 1) to '{allowed / 'out.parquet'}' (format parquet)")
        with pytest.raises(duckdb.Error):
            con.execute("set enable_external_access = true")


def test_an_expression_that_does_not_fit_the_types_names_its_column(tmp_path):
    shop = Landing(tmp_path, ORDERS.replace("amount: amount", "amount: sqrt(amount || kind) + [1]"))
    shop.put("orders/2024-03-04.csv", "id,customer,at,kind,amount\n1,u,2024-03-04,purchase,4\n")
    with pytest.raises(ConfigError, match=r"feed orders: columns\.amount"):
        shop.read()


def test_names_give_their_day_and_days_their_names():
    pattern = FilePattern(text="in/{day:%Y}/{day:%m}/o_{day:%Y%m%d}_*.csv")
    day = dt.date(2024, 2, 29)
    assert pattern.glob(day) == "in/2024/02/o_20240229_*.csv"
    assert pattern.day_of("in/2024/02/o_20240229_7.csv") == day
    assert pattern.day_of("in/2023/02/o_20240229_7.csv") is None
    assert pattern.day_of("in/2024/02/o_20240230_7.csv") is None
    assert FilePattern(text="{day:%y-%j}.csv").day_of("24-060.csv") == day
    assert not FilePattern(text="{day:%Y-%m}.csv").names_one_day


def test_the_digest_changes_with_the_mapping_and_not_with_the_description(tmp_path):
    plain = source_of(tmp_path, EVENTS).digest()
    assert source_of(tmp_path, EVENTS.replace("amount: amount", "amount: price")).digest() != plain
    assert source_of(tmp_path, EVENTS + "description: other words\n").digest() == plain


def test_the_example_of_the_docs_is_a_source(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    source = source_of(tmp_path, example)
    assert set(source.all_feeds()) == {"bestellungen", "users", "products"}


def test_the_docs_name_every_key_and_every_reason():
    docs = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
    keys = [k for model in (Source, EventFeed, CsvOptions) for k in model.model_fields]
    assert [k for k in keys if f"`{k}`" not in docs] == []
    code = Path(mapping.__file__).read_text()
    calls = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "_rule"]
    # Reasons that are the same for every line, reasons in SQL, and those of records that cannot be parsed.
    reasons = {call.args[1].value for call in calls} | set(re.findall(r"'([a-z]+(?:_[a-z]+)+)'", code))
    reasons |= {v for k, v in vars(names).items() if k.isupper() and k not in ("LINE", "TEXT", "PROBLEM", "JSON")}
    assert len(reasons) > 30
    assert [r for r in sorted(reasons) if f"`{r}`" not in docs] == []
