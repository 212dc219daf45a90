"""Read a file of JSON as tables of records, with the numbers of every record written in one way.

Mostly a line is a record. A file that begins with an array, or of which a source says where its records stand, is a
document: its elements are the records, numbered from 1.

JSON has many ways to write one number: an integer column with gaps is 4711.0 and NaN where pandas writes it, 4.711E3
where Java does. An id is the text of its number, so that text must not depend on the writer.

Not here: what the JSON of a line holds (`events.mapping`).
"""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.events.formats.lines import LONGEST_TEXT, BytesRead, begins_an_array, read_lines, read_text
from seg_assets.events.formats.names import DAMAGED_GZIP, JSON, LINE, NO_RECORDS, PROBLEM, TEXT, TOO_LONG

# What a line may hold that is to be written in another way: a whole number with a fraction, an exponent, no number.
_NO_NUMBER = r"-?(?i:nan|infinity|inf)"
_ODD = r"\.0+\s*[,}\]]|[:,\[]\s*-?(?:[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]|[nN][aA]|[iI][nN])"
# The value of a key: a quote after any of \ , : { [ and blanks opens a text or belongs to one, all others end a key.
_KEY = r'[^\\,:{\[\s]":\s*'
_WHOLE = rf"({_KEY}-?[0-9]+)\.0+(\s*[,}}\]])"
_MISSING = rf"({_KEY}){_NO_NUMBER}(\s*[,}}\]])"
_TEXT_OR_NUMBER = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?<![\w.+-])(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|' + _NO_NUMBER + r")(?![\w.+-])"
)
# Numbers of more digits are no ids; they stay as they are written.
_MOST_DIGITS = 64
# Records of a document in one table, and characters of their texts.
_ROWS, _SIZE = 60_000, 32 << 20
_DECODER = json.JSONDecoder()
_NEXT = re.compile(r"\n(?=[{\[])")
_BLANK = re.compile(r"[\s\ufeff]*")


def json_tables(
    path: Path, read: BytesRead, encoding: str = "utf-8", limit: int = 1 << 20, records: str | None = None
) -> Iterator[pa.Table]:
    """Yield the records of a file as tables of line, text, JSON to parse, and problem.

    Args:
        path: the file.
        read: gets the hash and the size of what was read.
        encoding: of the text.
        limit: bytes of a record from which on it is refused.
        records: where the records of a document stand, for example `$.orders[*]`.
    """
    if records is None and not begins_an_array(path):
        yield from jsonl_tables(path, read, encoding, limit)
        return
    text = read_text(path, read, encoding)
    keys = tuple(records.removeprefix("$").removesuffix("[*]").split(".")[1:]) if records else ()
    number, texts, problems, size = 1, [], [], 0
    for record, problem in _records(text, keys, damaged=read.damaged):
        texts.append(record)
        problems.append(problem or (TOO_LONG if len(record.encode("utf-8", "replace")) > limit else None))
        size += len(record)
        if len(texts) == _ROWS or size > _SIZE:
            yield _table(number, texts, problems)
            number, texts, problems, size = number + len(texts), [], [], 0
    if texts:
        yield _table(number, texts, problems)


def _table(first: int, texts: Sequence[str], problems: Sequence[str | None]) -> pa.Table:
    text = pa.array(texts, pa.large_string())
    return pa.table({
        LINE: pa.array(range(first, first + len(texts)), pa.int64()),
        TEXT: text, JSON: plain_numbers(text), PROBLEM: pa.array(problems, pa.string()),
    })  # fmt: skip


def _records(text: str, keys: Sequence[str], *, damaged: bool) -> Iterator[tuple[str, str | None]]:
    """Yield the records of a document as they are written, each with its problem.

    What cannot be read comes as one, up to the next line that begins with an object or array: the file may be one of
    JSON lines after all.
    """
    at = _after_blanks(text, 0)
    while at < len(text):
        start = at
        try:
            if keys:
                array, end = _below(text, at, keys)
                if array is None:
                    yield text[at:end], NO_RECORDS
                    at = _after_blanks(text, end)
                    continue
            else:
                array, end = (at, None) if text[at] == "[" else (None, _DECODER.raw_decode(text, at)[1])
            if array is None:
                yield text[at:end], None
            else:
                for first, stop in _elements(text, array):
                    if first < stop:
                        yield text[first:stop], None
                    start = stop
                end = start if end is None else end
            at = _after_blanks(text, end or len(text))
        except (ValueError, RecursionError):
            again = _NEXT.search(text, start)
            end = again.start() if again else len(text)
            yield text[start : min(end, start + LONGEST_TEXT)].strip(" \r\n\t,"), DAMAGED_GZIP if damaged else None
            at = _after_blanks(text, end)


def _elements(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield where each element of the array at this place begins and ends, and at last twice where the array ends."""
    at = _after_blanks(text, at + 1)
    while text[at : at + 1] != "]":
        stop = _DECODER.raw_decode(text, at)[1]
        yield at, stop
        at = _after_blanks(text, stop)
        if text[at : at + 1] == ",":
            at = _after_blanks(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError("neither a comma nor the end of the array")
    yield at + 1, at + 1


def _below(text: str, at: int, keys: Sequence[str]) -> tuple[int | None, int]:
    """Return where the array below these keys of an object begins (None: nowhere), and where the object ends."""
    end = _DECODER.raw_decode(text, at)[1]
    for key in keys:
        if text[at : at + 1] != "{":
            return None, end
        place, at = at + 1, -1
        while text[_after_blanks(text, place)] != "}":
            name, place = _DECODER.raw_decode(text, _after_blanks(text, place))
            value = _after_blanks(text, _after_blanks(text, place) + 1)
            at = value if name == key else at
            place = _after_blanks(text, _DECODER.raw_decode(text, value)[1])
            place += text[place] == ","
        if at < 0:
            return None, end
    return (at if text[at] == "[" else None), end


def _after_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def jsonl_tables(path: Path, read: BytesRead, encoding: str = "utf-8", limit: int = 1 << 20) -> Iterator[pa.Table]:
    """Yield the lines of a file as tables of line, text, JSON to parse, and problem; blank lines are no lines."""
    for lines in read_lines(path, read, encoding, limit):
        table = pa.table(
            {LINE: lines.number, TEXT: lines.text, JSON: plain_numbers(lines.text), PROBLEM: lines.problem}
        )
        yield table.filter(pc.not_equal(pc.ascii_trim_whitespace(lines.text), ""))


def plain_numbers(text: pa.Array) -> pa.Array:
    """Return lines of JSON with whole numbers as digits only, and null for NaN and infinity; texts stay as they are."""
    odd = pc.match_substring_regex(text, _ODD)
    if not pc.any(odd).as_py():
        return text
    values = pc.replace_substring_regex(text.filter(odd), _WHOLE, r"\1\2")
    values = pc.replace_substring_regex(values, _MISSING, r"\1null\2")
    # Exponents and arrays; and texts that only look like numbers.
    rest = pc.match_substring_regex(values, _ODD)
    if pc.any(rest).as_py():
        plain = [_TEXT_OR_NUMBER.sub(_plain, value) for value in values.filter(rest).to_pylist()]
        values = pc.replace_with_mask(values, rest, pa.array(plain, values.type))
    return pc.replace_with_mask(text, odd, values)


def _plain(match: re.Match[str]) -> str:
    number = match[1]
    if number is None:
        return match[0]
    if number.lstrip("-")[0] not in "0123456789":
        return "null"
    value = Decimal(number)
    if abs(value.adjusted()) > _MOST_DIGITS:
        return number
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
