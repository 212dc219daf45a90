"""Write the SQL that reads a text as an instant, and decide which texts are times.

DuckDB's own cast reads any abbreviation as the zone of some country (BST as Bangladesh's) and three numbers as a date
(1/11/09 as a day of the year 1). So a text must first have one of the forms below; what has none is no time.

A date without a time is that day of the shop, in whatever zone the feed's times are.

Not here: times that are no texts (`events.mapping`).
"""

import datetime as dt
import functools
import re
from zoneinfo import ZoneInfo

from seg_assets.core.sql import literal

_DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
_OFFSET = r"[+-](?:0\d|1[0-4])(?::?[0-5]\d)?"
_ZONE = rf"{_OFFSET}|[A-Za-z][A-Za-z0-9_+/-]*"
# ISO 8601 with T or a blank, as DuckDB reads it: nearly every text has this form, the others are taken apart.
_ISO = rf"{_DATE}(?:T| +){_CLOCK}(?:Z|{_OFFSET})?"
_ISO_AND_ZONE = rf"^({_DATE}(?:T| +){_CLOCK}) ?({_ZONE})$"
# ICU reads this name, of no zone, as UTC.
_NO_ZONE = "Etc/Unknown"

_DIRECTIVE = re.compile(r"%-?[a-zA-Z%]")
_FORM_OF_DIRECTIVE = {
    **dict.fromkeys("aAbB", r"\pL+\.?"),
    "p": r"[AaPp]\.?[Mm]\.?",
    **dict.fromkeys("cxX", r".+?"),
    "%": "%",
}
_TIME_OF_DAY = re.compile(r"%-?[HIMSfgnpcX]")


def iso_instant(text: str, feed_zone: str, shop_zone: str) -> str:
    """Return SQL of the instant of a trimmed text, null when it is no time; the connection's zone is the feed's."""
    naive = f"try_cast(regexp_extract({text}, {literal(_ISO_AND_ZONE)}, 1) as timestamp)"
    zone = f"regexp_extract({text}, {literal(_ISO_AND_ZONE)}, 2)"
    return (
        f"case when regexp_full_match({text}, {literal(_ISO)}) then try_cast({text} as timestamptz) "
        f"when regexp_full_match({text}, {literal(_DATE)}) "
        f"then timezone({literal(shop_zone)}, try_cast({text} as timestamp)) "
        f"when {text} is not null then {_in_zone(naive, zone, feed_zone)} end"
    )


def instant_by_format(text: str, form: str, feed_zone: str, shop_zone: str) -> str:
    """Return SQL of the instant of a trimmed text that a strptime format reads, null where it does not."""
    if "%Z" not in form and "%z" not in form:
        zone = feed_zone if _TIME_OF_DAY.search(form) else shop_zone
        return f"timezone({literal(zone)}, try_strptime({text}, {literal(form)}))"
    # Where both stand the offset decides.
    named = "%z" not in form
    pieces = literal(_around_zone(form, "%Z" if "%Z" in form else "%z"))
    rest = f"regexp_replace({text}, {pieces}, '\\1\\3')"
    zoneless = form.replace("%Z" if "%Z" in form else "%z", "")
    parsed = f"try_strptime({rest}, {literal(zoneless)})"
    if "%Z" in form and not named:
        return parsed
    in_zone = _in_zone(parsed, f"regexp_extract({text}, {pieces}, 2)", feed_zone)
    return in_zone if named else f"coalesce(try_strptime({text}, {literal(form)}), {in_zone})"


@functools.cache
def abbreviations(zone: str) -> dict[str, tuple[int, ...]]:
    """Return the abbreviations that a zone has used since 1970, each with its offsets in seconds."""
    info = ZoneInfo(zone)
    used: dict[str, set[int]] = {}
    at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    while at.year < 2040:
        local = at.astimezone(info)
        name, offset = local.tzname() or "", local.utcoffset()
        if name.isalpha() and offset is not None:
            used.setdefault(name, set()).add(int(offset.total_seconds()))
        at += dt.timedelta(days=7)
    return {name: tuple(sorted(offsets)) for name, offsets in used.items()}


def _in_zone(naive: str, zone: str, feed_zone: str) -> str:
    """Return SQL of the instant of a timestamp in the zone of a text; null when the zone is not known for sure."""
    own = [
        f"when {zone} = {literal(name)} then coalesce({', '.join(_at(naive, offset, feed_zone) for offset in offsets)})"
        for name, offsets in abbreviations(feed_zone).items()
    ]
    return (
        f"case when {naive} is null then null when upper({zone}) in ('Z', 'UTC', 'GMT') then timezone('UTC', {naive}) "
        f"when regexp_full_match({zone}, {literal(_OFFSET)}) then try_cast({naive}::varchar || {zone} as timestamptz) "
        f"when contains({zone}, '/') and {zone} <> '{_NO_ZONE}' "
        f"then try_cast({naive}::varchar || ' ' || {zone} as timestamptz) {' '.join(own)} end"
    )


def _at(naive: str, offset: int, feed_zone: str) -> str:
    """Return SQL of a timestamp at an offset, null when the feed's zone has another one at that moment."""
    instant = f"timezone('UTC', {naive} - to_seconds({offset}))"
    return f"case when timezone({literal(feed_zone)}, {instant}) = {naive} then {instant} end"


def _around_zone(form: str, directive: str) -> str:
    """Return a regular expression of texts in a format: what stands before the zone, the zone, what stands after."""
    out, at = ["^("], 0
    for match in _DIRECTIVE.finditer(form):
        out.append(_literally(form[at : match.start()]))
        at = match.end()
        if match[0] == directive:
            out.append(f")({_ZONE})(")
        else:
            out.append(_OFFSET if match[0] == "%z" else _FORM_OF_DIRECTIVE.get(match[0][-1], r"\d+"))
    return "".join([*out, _literally(form[at:]), ")$"])


def _literally(text: str) -> str:
    return re.sub(r"(?:\\ |\s)+", r"\\s+", re.escape(text))
