r"""Say what an escape in a CSV text stands for.

A plain escape makes a text of the quote, delimiter, line break or escape after it, and is a character like any other
elsewhere (`C:\temp`). In a dialect of a database it has its own meaning before every character.

Not here: where a text ends (`csv`).
"""

import functools
import re

from seg_assets.events.source import CsvOptions

_LETTERS = {
    "postgres_text": {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"},
    "mysql": {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"},
}
# PostgreSQL writes a byte as up to three octal or two hexadecimal digits too.
_BYTE = {"postgres_text": rb"([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|", "mysql": rb"(?!)()|(?!)()|"}


def unescaped(value: str, options: CsvOptions) -> tuple[str, bool]:
    """Return a text without its escapes, and whether what comes out is no text."""
    if options.dialect is None:
        return _plain(options.quote + options.delimiter + options.escape, options.escape).sub(r"\1", value), False
    pattern, letters = _of_dialect(options.dialect, options.escape), _LETTERS[options.dialect]

    def meant(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, character = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal, 8) & 255 if octal else int(hexadecimal, 16)])
        return letters.get(character, character)

    data = pattern.sub(meant, value.encode())
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode(errors="backslashreplace"), True


@functools.cache
def _plain(special: str, escape: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(escape)}([{re.escape(special)}\r\n])")


@functools.cache
def _of_dialect(dialect: str, escape: str) -> re.Pattern[bytes]:
    return re.compile(re.escape(escape.encode()) + rb"(?:" + _BYTE[dialect] + rb"([\s\S]))")
