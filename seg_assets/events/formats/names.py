"""Name the columns that every table of records has, whatever the format, and the reasons why a record cannot be parsed.

Not here: what refuses a record that was parsed (`events.mapping`).
"""

from collections.abc import Sequence

# Number of the record's line in its file, its text, and why it was not parsed (null when it was).
LINE, TEXT, PROBLEM = "__seg_line", "__seg_text", "__seg_problem"
# The text of a JSON line with its numbers written in one way.
JSON = "__seg_json"

NOT_TEXT = "wrong_encoding"
NUL = "nul_byte"
TOO_LONG = "line_too_long"
OPEN_QUOTE = "unclosed_quote"
RAGGED = "wrong_number_of_columns"
DAMAGED_GZIP = "damaged_gzip"
NO_RECORDS = "no_records"
OUT_OF_RANGE = "time_out_of_range"


def unique_names(names: Sequence[str]) -> list[str]:
    """Return column names as a table can have them: trimmed, none empty, none twice whatever its case."""
    taken = {LINE.casefold(), TEXT.casefold(), PROBLEM.casefold()}
    unique = []
    for n, name in enumerate(names, 1):
        base = name.strip().replace("\x00", "") or f"column_{n}"
        candidate, k = base, 2
        while candidate.casefold() in taken:
            candidate, k = f"{base}_{k}", k + 1
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique
