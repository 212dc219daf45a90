"""Say what a column or a value is by its name, in seven languages; the words stand in `names.yaml`.

Not here: whether the values agree (`values`, `propose`).
"""

import functools
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from seg_assets.core.yaml_file import read_yaml

STRONG, WEAK = 2, 1
# What the states of orders and the kinds of events are.
STATES = ("purchase", "refund", "left_out")
OF_LINES = (*STATES, "view_item", "search", "add_to_cart", "remove_from_cart", "add_to_wishlist", "begin_checkout")
WORDS = Path(__file__).with_name("names.yaml")
# What joins two words, or ends the first of them: Bestell-ung-s-nummer, numéro de commande, n° d'ordre.
_JOINTS = ("", "de", "do", "da", "di", "del", "della", "dell", "du", "d", "des", "la", "le", "l", "of", "the", "to",
           "van", "der", "den", "al", "au", "o", "a", "s", "es", "n", "en")  # fmt: skip
# Beginnings of names that say whose a column is, and nothing of what it is.
_BEGINNINGS = ("", "shop", "total", "fk", "pk", "the", "la", "le", "l", "el", "il", "id")
_MOST_WORDS, _LONGEST = 4, 60
# What may hold a value without changing what it is.
_NEUTRAL = {"order", "product", "line", "event", "amount", "net", "gross", "refund"}


def bare(name: str, *, umlauts: bool = False) -> str:
    """Return a name in small letters without accents, words apart.

    Args:
        name: a name of a column, or a value.
        umlauts: whether ä becomes ae; otherwise it becomes a.
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).casefold()
    if umlauts:
        text = text.translate(str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"}))
    text = text.replace("#", " nr ").replace("°", " ").replace("ß", "ss")
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", text))


def rank_of(role: str, name: str) -> int:
    """Return how sure a column's name is of a role: STRONG, WEAK or 0.

    A path (`customer.id`) counts as a whole; what stands behind its last point counts little, and only where it is held
    by nothing that has columns of that name itself: the category of a device is none of ours.
    """
    name = re.sub(r"\W*\b(?:UTC|GMT)\b\W*$", "", name, flags=re.IGNORECASE) or name
    rank = max(_rank(role, form) for form in _forms(name))
    holder, point, last = name.rpartition(".")
    if not rank and point and role != "own_id":
        holds = {groups for form in _forms(holder.rpartition(".")[2]) for groups in _spelled(form)}
        if all(set(groups) <= _NEUTRAL for groups in holds):
            rank = min(WEAK, max(_rank(role, form) for form in _forms(last)))
    return rank


def personal_kind(name: str) -> str:
    """Return what of a person a column tells by its name; empty where nothing."""
    forms = {form for whole in (name, name.rpartition(".")[2]) for form in _forms(whole)}
    for kind, words in _personal().items():
        if forms & words:
            return kind
    return ""


def meaning_of(value: str, meanings: Collection[str] = ()) -> str:
    """Return what a value means by its first words; empty where nobody knows.

    Args:
        value: a state, a kind of event, a place of sale.
        meanings: those of `names.yaml` that may be meant; by default what lines of a shop are.
    """
    text = bare(value)
    first, _, rest = text.partition(" ")
    # Order Completed is completed.
    texts = [text, rest] if rest and ("order",) in _spelled(first) else [text]
    texts += [whole.replace(" ", "") for whole in texts]
    best, longest = "", 0
    for meaning, beginnings in _values().items():
        if meaning not in (meanings or OF_LINES):
            continue
        for begin in beginnings:
            if len(begin) > longest and any(whole.startswith(begin) for whole in texts):
                best, longest = meaning, len(begin)
    return best


def _forms(name: str) -> set[str]:
    return {bare(name).replace(" ", ""), bare(name, umlauts=True).replace(" ", "")}


def _rank(role: str, squashed: str) -> int:
    strong, weak = _roles()[role]
    spelled = _spelled(squashed)
    return STRONG if spelled & strong else WEAK if spelled & weak else 0


@functools.cache
def _data() -> Mapping[str, Any]:
    return read_yaml(WORDS)


@functools.cache
def _roles() -> dict[str, tuple[frozenset[tuple[str, ...]], frozenset[tuple[str, ...]]]]:
    """Return of each role the groups of words that its names are put together of: the sure ones, and the others."""
    return {
        role: (
            frozenset(tuple(sorted(groups)) for groups in names.get("strong", ())),
            frozenset(tuple(sorted(groups)) for groups in names.get("weak", ())),
        )
        for role, names in _data()["roles"].items()
    }


@functools.cache
def _groups() -> dict[str, list[str]]:
    """Return the groups that each word belongs to; a word that a role names and no group has is a group of its own."""
    out: dict[str, list[str]] = {}
    for group, words in _data()["words"].items():
        for word in dict.fromkeys(bare(word).replace(" ", "") for word in words):
            out.setdefault(word, []).append(group)
    for names in _data()["roles"].values():
        for group in {group for kind in names.values() for groups in kind for group in groups}:
            if group not in _data()["words"]:
                out.setdefault(group, []).append(group)
    return out


@functools.cache
def _spelled(squashed: str) -> frozenset[tuple[str, ...]]:
    """Return the groups of words, sorted, that a name without blanks can be put together of."""
    out: set[tuple[str, ...]] = set()

    def go_on(at: int, groups: tuple[str, ...]) -> None:
        if at == len(squashed):
            out.add(tuple(sorted(groups)))
            return
        if len(groups) == _MOST_WORDS:
            return
        for joint in _JOINTS if groups else _BEGINNINGS:
            if squashed.startswith(joint, at):
                start = at + len(joint)
                for end in range(start + 1, len(squashed) + 1):
                    for group in _groups().get(squashed[start:end], ()):
                        go_on(end, (*groups, group))

    if 0 < len(squashed) <= _LONGEST:
        go_on(0, ())
    return frozenset(out)


@functools.cache
def _personal() -> dict[str, set[str]]:
    return {kind: {bare(w).replace(" ", "") for w in words} for kind, words in _data()["personal"].items()}


@functools.cache
def _values() -> dict[str, list[str]]:
    return {
        meaning: [form for word in words for form in {bare(str(word)), bare(str(word)).replace(" ", "")}]
        for meaning, words in _data()["values"].items()
    }
