"""Word the questions that no value answers, each with the answer that is taken meanwhile.

Not here: when a question is asked (`propose`, `amounts`), and what stops while one stands (`events.source`).
"""

from collections.abc import Sequence

from seg_assets.core.text import printable, shortened


def shown(text: str) -> str:
    """Return a text of a file as one short line."""
    return shortened(printable(text), 60)


def zone(column: str) -> str:
    """Ask for the zone of times that do not say it."""
    return (
        f"Which zone are the times of {shown(column)} written in? They do not say it; taken meanwhile: the shop's. "
        "Say time_zone in the source, or draft with --time-zone"
    )


def day_order(column: str, form: str) -> str:
    """Ask whether the day or the month is first."""
    return (
        f"Is the day or the month first in {shown(column)}? Every value of the sample can be read both ways; "
        f"taken meanwhile: {form}"
    )


def decimal_mark(mark: str) -> str:
    """Ask what a mark in numbers separates."""
    return (
        f"Is {mark!r} in numbers such as 1{mark}234 a decimal mark or between thousands? Both fit every value; "
        f"taken meanwhile: decimal: {mark!r}"
    )


def guests(without: int, lines: int, taken: str) -> str:
    """Ask what becomes of lines without a customer."""
    return f"What becomes of the {without} of {lines} lines without a customer (guests)? Taken meanwhile: {taken}"


def guests_by_email(without: int, lines: int) -> str:
    """Ask whether an e-mail may stand for a guest."""
    return (
        f"May guests be known by their e-mail? {without} of {lines} lines have no customer's number; taken meanwhile: "
        "the hashed e-mail, so that who buys as a guest and with an account is two users"
    )


def whole_refund(state: str, lines: int) -> str:
    """Ask about orders that were refunded, of which purchase and refund are one line."""
    return (
        f"What becomes of {lines} lines of the state {shown(state)!r}? Purchase and refund are one line there; taken "
        "meanwhile: left out, which is no money"
    )


def unknown_words(column: str, words: Sequence[str]) -> str:
    """Ask what states or kinds of events mean."""
    more = " .." if len(words) > 8 else ""
    return f"What are the values {', '.join(words[:8])}{more} of {shown(column)}? Taken meanwhile: left out"


def other_currencies(common: str, counts: str) -> str:
    """Ask about money in several currencies."""
    return (
        f"What becomes of lines in other currencies than {common} ({counts})? Taken meanwhile: left out, so that no "
        "two are added up"
    )


def shop_currency(said: str, counts: str, common: str) -> str:
    """Ask about a currency that was said and that no line has."""
    return f"No line is in {said}: {counts}. Which is the shop's currency? Taken meanwhile: {common}"


def tax(column: str) -> str:
    """Ask whether an amount is net."""
    return f"Is tax in {column}? The contract's amount is net; taken meanwhile: as it stands, without tax"


def refunded_number(column: str) -> str:
    """Ask about refunds that are a number beside the purchase."""
    return f"Refunds are a number on the purchase ({shown(column)}); taken meanwhile: they are not read"


def money_of_a_line(column: str) -> str:
    """Ask for the money of a line where only the order's is there."""
    return f"What is a line's money? {shown(column)} is the order's, on each of its lines; taken meanwhile: none"


def further_lines(columns: Sequence[str], together: int, empty: int, lines: int) -> str:
    """Ask about lines that lack what the line above has."""
    return (
        f"Are lines without {', '.join(map(shown, columns[:4]))} further lines of the order above? {together} columns "
        f"are empty together in {empty} of {lines} lines; taken meanwhile: each line stands for itself"
    )


def same_purchases(feeds: Sequence[str]) -> str:
    """Ask whether feeds tell the same purchases."""
    return (
        f"Do {', '.join(feeds)} tell the same purchases? Taken meanwhile: no, so that what two of them tell counts "
        "twice; leave purchases of one out (values: event_type: null)"
    )
