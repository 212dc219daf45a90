"""Escapes and nulls of CSV: a text means what the program that wrote it meant (docs/sources.md, escapes and nulls)."""

import pytest

from seg_assets.core.errors import ConfigError
from tests.events.landing_zone import Landing, source_of

SHOP = """
name: dump
feeds:
  f:
    files: "{{day}}.tsv"
    event_type: view_item
    csv: {{{csv}, header: false, columns: [id, user, anon, at, note, rest]}}
    columns: {{event_id: id, user_id: user, anonymous_id: anon, event_time: at, category: note}}
"""
PLAIN = 'delimiter: "\\t", quote: "", escape: "\\\\"'
POSTGRES, MYSQL = "dialect: postgres_text", "dialect: mysql"
QUOTED = "dialect: mysql, delimiter: ',', quote: '\"'"


def read(tmp_path, csv: str, *records: str):
    """Read records of id, user, anon and note, with tabs between them; {t} is the time."""
    shop = Landing(tmp_path, SHOP.format(csv=csv))
    shop.put("2024-03-04.tsv", "".join(r.replace("{t}", "2024-03-04 10:00:00") + "\n" for r in records).encode())
    return shop.read()


@pytest.mark.parametrize("csv", [PLAIN, POSTGRES, MYSQL])
def test_an_unquoted_null_is_nobody(tmp_path, csv):
    result = read(
        tmp_path, csv, "1\tu1\t\\N\t{t}\t\\N\t\\N", "2\t\\N\tc7\t{t}\tmugs \\\\ cups\tx", "3\t\\N\t\\N\t{t}\tx\t\\N"
    )
    assert [(r["user_id"], r["anonymous_id"], r["category"]) for r in result.accepted] == [
        ("u1", None, None), (None, "c7", "mugs \\ cups")
    ]  # fmt: skip
    assert [r["extra"] for r in result.accepted] == [None, '{"rest":"x"}']
    assert result.reasons() == {3: "no_user"}


@pytest.mark.parametrize(("csv", "written", "text"), [
    (PLAIN, "C:\\temp", "C:\\temp"), (PLAIN, "a\\\\b", "a\\b"), (PLAIN, "a\\\tb", "a\tb"), (PLAIN, "a\\\nb", "a\nb"),
    (PLAIN, "\\\\N", "\\N"), (PLAIN, "x\\N", "x\\N"),
    (POSTGRES, "a\\tb\\nc", "a\tb\nc"), (POSTGRES, "a\\\tb\\\nc", "a\tb\nc"),
    (POSTGRES, "\\\\N", "\\N"),
    (POSTGRES, "\\xc3\\251\\q\\x41", "éqA"), (POSTGRES, "\\é", "é"), (POSTGRES, "NULL", "NULL"),
    (MYSQL, "a\\tb\\Zc", "a\tb\x1ac"), (MYSQL, "a\\\tb\\\nc", "a\tb\nc"), (MYSQL, "\\x41", "x41"),
    (MYSQL, "NULL", "NULL"),
])  # fmt: skip
def test_an_escape_stands_for_what_its_writer_means(tmp_path, csv, written, text):
    result = read(tmp_path, csv, f"1\tu\ta\t{{t}}\t{written}\tx", "2\tu2\ta\t{t}\tafter\tx")
    assert [r["category"] for r in result.accepted] == [text, "after"]


def test_quotes_decide_between_null_and_its_text_in_mysql(tmp_path):
    result = read(tmp_path, QUOTED, '"1","u",\\N,"{t}","a\\"b, \\nc",NULL', '"2",NULL,"NULL","{t}","\\N","x"')
    assert [(r["user_id"], r["anonymous_id"], r["category"]) for r in result.accepted] == [
        ("u", None, 'a"b, \nc'), (None, "NULL", "N")
    ]  # fmt: skip
    assert result.accepted[0]["extra"] is None


def test_a_plain_escape_in_quotes_goes_before_a_quote_or_itself_only(tmp_path):
    result = read(tmp_path, 'escape: "\\\\"', '1,u,\\N,{t},"C:\\temp ""x"" \\"y\\" \\\\",', "2,u,a\\,b,{t},C:\\dir,")
    assert [r["category"] for r in result.accepted] == ['C:\\temp "x" "y" \\', "C:\\dir"]
    assert [r["anonymous_id"] for r in result.accepted] == [None, "a,b"]


def test_half_a_record_before_an_escaped_line_break_is_not_accepted(tmp_path):
    result = read(tmp_path, PLAIN, "1\tu\ta\t{t}\tx\tlast\\", "2\tu2\ta\t{t}\ty\tz")
    assert [r["event_id"] for r in result.accepted] == ["2"]
    assert result.reasons() == {1: "wrong_number_of_columns"}


def test_escaped_bytes_that_are_no_text_are_said(tmp_path):
    result = read(tmp_path, POSTGRES, "1\tu\ta\t{t}\t\\xff\tx")
    assert result.reasons() == {1: "wrong_encoding"}
    assert read(tmp_path, MYSQL, "1\tu\ta\t{t}\t\\0\tx").reasons() == {1: "nul_byte"}


def test_the_end_of_a_copy_is_no_line(tmp_path):
    result = read(tmp_path, POSTGRES, "1\tu\ta\t{t}\tx\ty", "\\.")
    assert result.day.total("lines_read") == 1


@pytest.mark.parametrize(("csv", "word"), [
    ("dialect: oracle", "postgres_text"), ("dialect: mysql, escape: ''", "escape"),
    ("dialect: postgres_text, quote: '\"'", "quote")
])  # fmt: skip
def test_promise_11_a_dialect_that_cannot_be_is_refused(tmp_path, csv, word):
    with pytest.raises(ConfigError, match=word):
        source_of(tmp_path, SHOP.format(csv=csv))


def test_days_of_sources_without_a_dialect_are_not_read_anew_for_it(tmp_path):
    source = source_of(tmp_path, SHOP.format(csv=PLAIN))
    assert "dialect" not in source.model_dump()["feeds"]["f"]["csv"]
    assert (
        source_of(tmp_path, SHOP.format(csv=POSTGRES)).digest() != source_of(tmp_path, SHOP.format(csv=MYSQL)).digest()
    )
