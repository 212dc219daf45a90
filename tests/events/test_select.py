"""A SELECT beside the YAML: what it may read, what becomes of each line, and what happens when it is wrong."""

import datetime as dt
import gzip
import json
import re
import textwrap

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.events.selects import SelectError, create_macros, parse_select
from tests.events.landing_zone import DAY, Landing, Read, source_of

FEED = """
feeds:
  orders:
    files: "orders*{ending}"
    day: {{from: event_time}}
    closed_days: normal
    {more}
"""
CSV = FEED.format(ending=".csv", more="optional: []")
JSONL = FEED.format(ending=".jsonl", more="optional: [lines, buyer]")
PLAIN = """
    select file, line, "at" as event_time, 'purchase' as event_type, who as user_id, price as amount from orders
"""


def shop(root, sql: str, yaml: str = CSV, **reader) -> Landing:
    (root / "source.sql").write_text(textwrap.dedent(sql))
    return Landing(root, yaml, **reader)


def money_of(read: Read) -> list[str]:
    return [str(amount) for amount in sorted(row["amount"] for row in read.accepted)]


# ---- what may stand in a SELECT ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select 1", "reads no feed"),
        ("select * from orders; select * from orders", "2 statements"),
        ("delete from orders", "not one SELECT"),
        ("copy orders to '/tmp/x'", "not one SELECT"),
        ("select * from orders, '/etc/passwd'", "relation /etc/passwd"),
        ("select * from orders, read_csv('/etc/passwd')", "read_csv is not allowed"),
        ("select *, read_text('/etc/passwd') from orders", "read_text is not allowed"),
        ("select *, now() from orders", "now is not allowed"),
        ("select *, current_date from orders", "current_date is not allowed"),
        ("select *, random() from orders", "random is not allowed"),
        ("select *, getenv('HOME') from orders", "getenv is not allowed"),
        ("select * from orders, duckdb_settings()", "duckdb_settings is not allowed"),
        ("select * from orders, query('select 1')", "query is not allowed"),
        ("select * from orders using sample 3", "a sample is not allowed"),
        ("select * from main.orders", "a relation is a feed's name"),
        ("select * from ordrs, orders", "did you mean 'orders'"),
        ("with recursive r as (select 1 union all select 1 from r) select * from orders, r", "recursive"),
        ("select first(a) from orders", "first is not allowed"),
        ("select list(a) from orders", "say order by"),
        ("select $1 from orders", "parameter is not allowed"),
    ],
)  # fmt: skip
def test_a_select_that_reads_more_than_its_lines_is_refused_when_the_source_is_loaded(tmp_path, sql, words):
    with pytest.raises(SelectError, match=re.escape(words)):
        parse_select(sql, ("orders",))
    with pytest.raises(ConfigError, match=r"source\.yaml"):
        shop(tmp_path, sql)


def test_joins_windows_lambdas_and_ordered_lists_may_stand_in_a_select():
    text = """
        with a as (select k, row_number() over (partition by k order by line) as n from orders)
        select k, list(n order by n), list_transform([1], lambda x: x + 1), (select max(n) from a)
        from a join orders using (k) where k in (select k from orders) group by k qualify true
    """
    assert parse_select(text, ("orders",)).feeds == ("orders",)


def test_a_source_says_either_columns_or_a_select(tmp_path):
    with pytest.raises(ConfigError, match="columns is required, or a SELECT"):
        source_of(tmp_path, CSV)
    (tmp_path / "source.sql").write_text(PLAIN)
    with pytest.raises(ConfigError, match="every feed has columns"):
        source_of(
            tmp_path, CSV.replace("optional: []", "event_type: refund\n    columns: {event_time: at, user_id: who}")
        )
    with pytest.raises(ConfigError, match=r"decimal.*mark := ','"):
        source_of(tmp_path, CSV.replace("optional: []", 'decimal: ","'))
    with pytest.raises(ConfigError, match="stands in a file of its own"):
        source_of(tmp_path, CSV + "select: select 1\n")


def test_the_text_of_a_select_is_part_of_the_digest(tmp_path):
    before = shop(tmp_path, PLAIN).source.digest()
    assert shop(tmp_path, PLAIN.replace("purchase", "refund")).source.digest() != before
    assert shop(tmp_path, PLAIN).source.digest() == before


# ---- what becomes of a line -------------------------------------------------------------------------------------


def test_every_line_is_accounted_for_and_events_beside_them(tmp_path):
    sql = """
        select file, line, "at" as event_time, 'purchase' as event_type, who as user_id, price as amount,
               case when who = 'shop' then 'our own' end as left_out
        from orders where who <> 'lost'
        union all by name
        select file, line, back_at as event_time, 'refund' as event_type, who as user_id, back as amount
        from orders where back_at is not null
    """
    landing = shop(tmp_path, sql)
    landing.put("orders.csv", """\
        who,at,price,back,back_at
        ann,2024-03-04,10,4,2024-03-09
        shop,2024-03-04,10,,
        lost,2024-03-04,10,,
        bob,2024-03-04,ten,,
        cyd,2024-03-04,10,x,2024-03-04
        dan,2024-03-04
        ann,2024-03-04,5,,
        """)  # fmt: skip
    first, later = landing.read(), landing.read(dt.date(2024, 3, 9))
    assert money_of(first) == ["5.00", "10.00"]
    # A refused refund takes its purchase with it: half a line is worse than none.
    assert first.reasons() == {
        3: "left_out", 4: "dropped_by_select", 5: "not_a_number", 6: "not_a_number", 7: "wrong_number_of_columns",
    }  # fmt: skip
    assert {r["field"] for r in first.rejected if r["line"] == 3} == {"our own"}
    (account,) = first.day.files
    assert (account.lines_read, account.accepted, account.left_out, account.rejected) == (7, 2, 1, 4)
    assert (account.duplicates, account.events) == (0, 2)
    # The refund is an event of its own day; its line was counted on the first day of its events.
    assert money_of(later) == ["-4.00"]
    (account,) = later.day.files
    assert (account.lines_read, account.accepted, account.events) == (0, 0, 1)
    assert not later.day.unusable


def test_a_line_may_give_an_event_per_element_of_an_array(tmp_path):
    sql = """
        select file, line, id || '-' || (item ->> '$.sku') as event_id, "at" as event_time, 'purchase' as event_type,
               buyer as user_id, item ->> '$.sku' as product_id, money(item ->> '$.price') as amount
        from (select *, items(lines) as item from orders)
    """
    landing = shop(tmp_path, sql, JSONL)
    rows = [
        {
            "id": 1,
            "at": "2024-03-04",
            "buyer": "ann",
            "lines": [{"sku": "a", "price": 1}, {"sku": "b", "price": "$2.50"}],
        },
        {"id": 2, "at": "2024-03-04", "buyer": "ann", "lines": [{"sku": "a", "price": 1}, {"sku": "b"}]},
        {"id": 3, "at": "2024-03-04", "buyer": "ann", "lines": {"sku": "a"}},
        {"id": 4, "at": "2024-03-04", "buyer": "ann", "lines": [{"sku": "a", "price": 1}, {"sku": "a", "price": 1}]},
    ]
    landing.put("orders.jsonl", "\n".join(map(json.dumps, rows)))
    read = landing.read()
    assert money_of(read) == ["1.00", "2.50"]
    assert read.reasons() == {2: "missing_amount", 3: "not_an_array", 4: "same_event_twice"}
    assert {r["original"] for r in read.rejected} == {json.dumps(row) for row in rows[1:]}


def test_lines_of_two_feeds_are_joined_whichever_comes_first(tmp_path):
    yaml = """
feeds:
  orders: {files: "orders*.csv", day: {from: event_time}, closed_days: normal}
  items: {files: "items*.csv", day: {from: event_time}, closed_days: normal}
"""
    sql = """
        select i.file, i.line, o."at" as event_time, 'purchase' as event_type, o.who as user_id, i.price as amount
        from items i left join orders o on o.id = i.of_order
        union all by name
        select file, line, "at" as event_time, 'told by its items' as left_out from orders
    """
    landing = shop(tmp_path, sql, yaml)
    landing.put("items-1.csv", "of_order,price\n1,10\n2,20\n")
    landing.put("orders-1.csv", "id,who,at\n1,ann,2024-03-04\n")
    first = landing.read()
    assert (money_of(first), first.reasons()[3]) == (["10.00"], "missing_time")
    with landing.open() as reader:
        before = reader.contents(DAY, "events")
    landing.put("orders-2.csv", "id,who,at\n2,bob,2024-03-04\n")
    assert money_of(landing.read()) == ["10.00", "20.00"]
    with landing.open() as reader:
        assert reader.contents(DAY, "events") != before


def test_files_with_a_day_in_their_name_are_read_day_by_day(tmp_path):
    yaml = CSV.replace('"orders*.csv"', '"orders-{day}*.csv"').replace("    day: {from: event_time}\n", "")
    landing = shop(tmp_path, PLAIN, yaml)
    landing.put("orders-2024-03-04.csv", "who,at,price\nann,2024-03-04,1\nann,2024-03-05,2\n")
    landing.put("orders-2024-03-05.csv", "who,at,price\nann,2024-03-05,3\n")
    with landing.open() as reader:
        assert money_of(landing.read(DAY, reader)) == ["1.00"]
    read = landing.read()
    assert read.reasons() == {3: "wrong_day"}
    assert read.day.files[0].sha256
    assert money_of(landing.read(dt.date(2024, 3, 5))) == ["3.00"]


def test_parquet_comes_as_texts(tmp_path):
    sql = """
        select file, line, "at" as event_time, 'purchase' as event_type, who as user_id,
               money(item ->> '$.price') as amount
        from (select *, items(goods) as item from orders)
    """
    landing = shop(tmp_path, sql, FEED.format(ending=".parquet", more="optional: []"))
    table = pa.table({
        "who": [12.0, 13.5], "at": ["2024-03-04 10:00", "2024-03-04 11:00"],
        "goods": [[{"price": 1.5}, {"price": 2.0}], [{"price": 3.0}]],
    })  # fmt: skip
    pq.write_table(table, landing.root / "orders.parquet")
    read = landing.read()
    assert sorted((r["user_id"], str(r["amount"])) for r in read.accepted) == [
        ("12", "1.50"), ("12", "2.00"), ("13.5", "3.00"),
    ]  # fmt: skip


# ---- what fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        (PLAIN.replace("price as", "price::decimal(18,2) as"), LandingError, "column price, first in orders.csv:3"),
        (PLAIN.replace("file, line,", "file, line + 90 as line,"), LandingError, "gives line 92 of orders.csv"),
        (PLAIN.replace("file, line,", "'x' as file, line,"), LandingError, "of x, which no feed of it has"),
        (PLAIN.replace("who as", "nobody as"), ConfigError, "nobody"),
        (PLAIN.replace("as user_id", "as usr_id"), ConfigError, "usr_id, did you mean 'user_id'"),
        (PLAIN.replace("who as user_id, ", ""), ConfigError, "user_id or anonymous_id"),
        (PLAIN.replace("file, line,", "file,"), ConfigError, "must give the column line"),
    ],
)
def test_a_wrong_select_is_one_error_that_says_where(tmp_path, sql, error, words):
    landing = shop(tmp_path, sql)
    landing.put("orders.csv", "who,at,price\nann,2024-03-04,1\nbob,2024-03-04,one\n")
    with pytest.raises(error, match=words) as caught:
        landing.read()
    assert "SELECT" in str(caught.value)


def test_a_column_that_one_file_lacks_refuses_its_lines_unless_it_is_optional(tmp_path):
    landing = shop(tmp_path, PLAIN)
    landing.put("orders1.csv", "who,at,price\nann,2024-03-04,1\n")
    landing.put("orders2.csv", "who,at\nbob,2024-03-04\n")
    assert money_of(landing.read()) == ["1.00"]
    # No line of the file has a day: it is accounted for under the first of the calendar.
    rejected = landing.read(dt.date(1970, 1, 1)).rejected
    assert [(r["source_file"], r["reason"], r["field"]) for r in rejected] == [
        ("orders2.csv", "missing_column", "price")
    ]
    landing = shop(tmp_path, PLAIN, CSV.replace("[]", "[price]"))
    assert {r["reason"] for r in landing.read().rejected} == {"missing_amount"}


def test_no_file_and_an_empty_one_are_empty_days(tmp_path):
    landing = shop(tmp_path, PLAIN)
    assert landing.read().accepted == []
    landing.put("orders.csv", "")
    assert landing.read().accepted == []


# ---- macros -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mark", "number"),
    [
        ("$1,020.00", ".", "1020"), ("1.040,50 €", ",", "1040.5"), ("€ 12,00", ",", "12"), ("($5.00)", ".", "-5"),
        ("-$5.00", ".", "-5"), ("CHF 5.-", ".", "5"), ("12.5-", ".", "-12.5"), ("1 234.50", ".", "1234.5"),
        ("1.234", ",", "1234"), ("1.234", ".", "1.234"), ("US$ 3.50", ".", "3.5"), ("\u22124.00", ".", "-4"),
        ("12_000", ".", None), ("ten", ".", None), ("1,2", ".", None), ("", ".", None), ("1.2.3", ".", None),
    ],
)  # fmt: skip
def test_money_is_read_as_shops_write_it(text, mark, number):
    with duckdb.connect() as con:
        create_macros(con)
        ((value,),) = con.execute("select money(?::varchar, mark := ?)", [text, mark]).fetchall()
    assert (None if value is None else float(value)) == (None if number is None else float(number))


def test_a_total_is_spread_to_the_cent_whatever_the_number_of_lines(tmp_path):
    with duckdb.connect() as con:
        create_macros(con)
        for n in range(1, 40):
            rows = con.execute(
                f"select k, spread(10.00, w, k, i), sum(spread) over (partition by k) from (select i, i % 3 as k, "
                f"(i * 7 % 5 + 1)::decimal(18,2) as w, 0 as spread from range({n}) r(i))"
            ).fetchall()
            by_key: dict[int, float] = {}
            for key, part, _ in rows:
                by_key[key] = by_key.get(key, 0) + part
            assert {float(total) for total in by_key.values()} == {10.0}


def test_a_bad_value_in_a_macro_refuses_its_line_with_field_and_text(tmp_path):
    sql = PLAIN.replace("price as", "coalesce(money(price), 0) as")
    landing = shop(tmp_path, sql)
    landing.put("orders.csv", "who,at,price\nann,2024-03-04,1\nbob,2024-03-04,one\ncyd,2024-03-04,\n")
    read = landing.read()
    assert money_of(read) == ["0.00", "1.00"]
    assert [(r["line"], r["reason"], r["field"], r["original"]) for r in read.rejected] == [
        (3, "not_a_number", "price", "bob,2024-03-04,one")
    ]


# ---- JSON documents, conditions, currencies ---------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_json_document_is_read_record_by_record(tmp_path, packed):
    yaml = """
feeds:
  orders:
    files: ["orders*.json", "orders*.json.gz"]
    day: {from: event_time}
    closed_days: normal
    RECORDS
    columns: {event_time: at, user_id: who, amount: price, event_type: kind}
"""
    page = [{"at": "2024-03-04", "who": "ann", "price": 1.50, "kind": "purchase"}, 7]
    for name, records, document in (
        ("a", "", page), ("b", 'records: "$.data.orders[*]"', {"n": 1, "data": {"x": [], "orders": page}, "z": [{}]}),
        ("c", 'records: "$.orders[*]"', {"error": "no"}), ("d", "", page),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        landing = Landing(tmp_path / name, yaml.replace("RECORDS", records))
        text = json.dumps(document, indent=2)
        text = text[:-4] if name == "d" else text
        landing.put("orders.json" + ".gz" * packed, gzip.compress(text.encode()) if packed else text)
        days = [DAY] if name != "c" else [dt.date(1970, 1, 1)]
        read = landing.read(days[0])
        assert money_of(read) == ([] if name == "c" else ["1.50"])
        assert read.reasons() == {"c": {1: "no_records"}, "d": {2: "not_json"}}.get(name, {2: "not_an_object"})


def test_one_file_feeds_events_and_users_where_both_say_which_lines(tmp_path):
    yaml = """
feeds:
  calls:
    files: calls.jsonl
    day: {from: event_time}
    closed_days: normal
    WHERE
    columns: {event_time: at, event_type: event, user_id: who}
users: {files: calls.jsonl, where: type = 'identify', columns: {user_id: who, region: region}}
"""
    landing = Landing(tmp_path, yaml.replace("WHERE", "where: type = 'track'"))
    landing.put("calls.jsonl", "\n".join(map(json.dumps, [
        {"type": "track", "at": "2024-03-04", "event": "search", "who": "ann"},
        {"type": "identify", "who": "ann", "region": "north"},
    ])))  # fmt: skip
    read = landing.read()
    assert len(read.accepted) == 1
    assert [(f.feed, f.lines_read, f.accepted, f.left_out, f.rejected) for f in read.day.files] == [
        ("calls", 2, 1, 1, 0), ("users", 2, 1, 1, 0),
    ]  # fmt: skip
    (tmp_path / "other").mkdir()
    greedy = Landing(tmp_path / "other", yaml.replace("WHERE", ""))
    greedy.put("calls.jsonl", '{"type": "track"}\n')
    with pytest.raises(ConfigError, match="matches the feeds calls and users"):
        greedy.read()


def test_a_condition_that_fails_on_a_line_refuses_it(tmp_path):
    yaml = CSV.replace(
        "optional: []", "where: n::int > 1\n    event_type: search\n    columns: {event_time: at, user_id: who}"
    )
    landing = Landing(tmp_path, yaml)
    landing.put("orders.csv", "who,at,n\nann,2024-03-04,2\nann,2024-03-04,1\nann,2024-03-04,x\nann,2024-03-04,\n")
    read = landing.read()
    assert (len(read.accepted), read.reasons()) == (1, {3: "left_out", 4: "expression_failed", 5: "left_out"})


MONEY = CSV.replace(
    "optional: []",
    "event_type: purchase\n    columns: {event_time: at, user_id: who, amount: price, currency: cur}",
)


def test_money_in_another_currency_is_left_out_or_converted(tmp_path):
    landing = Landing(tmp_path, "currency: EUR\n" + MONEY)
    landing.put("orders.csv", "who,at,price,cur\na,2024-03-04,10,eur\nb,2024-03-04,10,USD\nc,2024-03-04,5,\n")
    read = landing.read()
    assert (money_of(read), read.reasons()) == (["5.00", "10.00"], {3: "other_currency"})
    assert read.day.files[0].left_out == 1
    (tmp_path / "rates").mkdir()
    rated = Landing(tmp_path / "rates", "currency: EUR\nrates: {USD: 0.915}\n" + MONEY)
    rated.put("orders.csv", "who,at,price,cur\nb,2024-03-04,10.01,USD\nb,2024-03-04,1,GBP\n")
    assert (money_of(rated.read()), rated.read().reasons()) == (["9.16"], {3: "other_currency"})


def test_the_currency_is_asked_for_by_name_and_the_settings_may_say_it(tmp_path):
    landing = Landing(tmp_path, MONEY)
    landing.put("orders.csv", "who,at,price,cur\na,2024-03-04,10,EUR\n")
    with pytest.raises(ConfigError, match="SEG_ASSETS_CURRENCY"):
        landing.read()
    landing.source = landing.source.of_shop("EUR")
    assert money_of(landing.read()) == ["10.00"]
    assert landing.source.digest() != landing.source.of_shop("").model_copy(update={"currency": None}).digest()
    no_money = source_of(tmp_path, MONEY.replace(", currency: cur", ""))
    assert no_money.of_shop("EUR").digest() == no_money.digest()


def test_a_list_of_names_is_the_first_that_the_header_has(tmp_path):
    yaml = CSV.replace(
        "optional: []",
        'event_type: search\n    columns: {event_time: ["Created (UTC)", Created], user_id: who}',
    )
    landing = Landing(tmp_path, yaml)
    landing.put("orders1.csv", "who,Created\nann,2024-03-04\n")
    landing.put("orders2.csv", "who,Created (UTC)\nbob,2024-03-04\n")
    landing.put("orders3.csv", "who,Made\ncyd,2024-03-04\n")
    assert {r["user_id"] for r in landing.read().accepted} == {"ann", "bob"}
    read = landing.read(dt.date(1970, 1, 1))
    assert {r["reason"] for r in read.rejected} == {"missing_column"}


# ---- standing on another source ---------------------------------------------------------------------------------


def test_a_source_stands_on_another_one_and_says_only_what_differs(tmp_path):
    own = source_of(tmp_path, 'based_on: etsy_items_csv\ncurrency: GBP\nfeeds: {items: {files: "mine.csv"}}\n')
    assert own.currency == "GBP"
    assert own.feeds["items"].files[0].text == "mine.csv"
    assert own.feeds["items"].columns["event_id"] == '"Transaction ID"'
    (tmp_path / "base.yaml").write_text(CSV)
    (tmp_path / "base.sql").write_text(PLAIN)
    assert source_of(tmp_path, "based_on: base.yaml\n").query is not None


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("based_on: etsy_item_csv\n", "did you mean 'etsy_items_csv'"),
        ("based_on: source.yaml\n", "goes round in a circle"),
        ("based_on: bigcommerce_orders_csv\ncurrency: EUR\n", "asks for feeds.orders.time_format"),
        ("based_on: etsy_items_csv\ncurrency: euro\n", "currency"),
        ("asks: [currency]\n" + CSV, "asks"),
    ],
)
def test_a_source_that_stands_wrong_is_refused_by_name(tmp_path, yaml, words):
    with pytest.raises(ConfigError, match=words):
        source_of(tmp_path, yaml)
