"""Read a JSON lines file as tables of records, with the numbers of every line written in one way.

JSON has many ways to write one number: an integer column with gaps is 4711.0 and NaN where pandas writes it, 4.711E3
where Java does. An id is the text of its number, so that text must not depend on the writer.

Not here: what the JSON of a line holds (`events.mapping`).
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from seg_assets.events.formats.lines import BytesRead, read_lines
from seg_assets.events.formats.names import JSON, LINE, PROBLEM, TEXT

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
