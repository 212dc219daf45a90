"""Compose readable names of segments from what sets them apart. A name stays as long as its story holds.

A distinction is (mean of the segment - mean of all users) / standard deviation of all users, in model space without
weights, so that heavy tails do not speak. Phrases come from the family of a profile column; a column of a project's own
gets "High <its words>".

Not here: the words of each column (`core.columns`), and the sentences that say what sets a segment apart on a day
(`daily.summaries`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg_assets.core.columns import CATEGORY_PREFIX, FAMILIES, share_of, split_window

# A distinction under this is not worth a word; under HOLDS a word already given is taken back.
SPEAKS = 0.35
HOLDS = 0.15
# Mean orders per user up to which a segment is said to buy once.
ONE_TIME = 1.25


@dataclass(frozen=True)
class Phrase:
    """A true statement about a segment: a column is high or low in it, and the words for that."""

    column: str
    high: bool
    strength: float
    adjective: str | None
    noun: str | None

    @property
    def key(self) -> str:
        """Column and direction: what a story remembers."""
        return f"{self.column}:{'high' if self.high else 'low'}"


def words_of(column: str) -> str:
    """Return a column name in plain words: `loyalty_points_90d` is "loyalty points"."""
    return split_window(column)[0].replace("_", " ").strip() or column


def phrase(column: str, distinction: float) -> Phrase:
    """Return the words for one distinction."""
    high = distinction > 0
    adjective, noun = _words(column, high)
    return Phrase(column, high, abs(distinction), adjective, noun)


def _words(column: str, high: bool) -> tuple[str | None, str | None]:
    """Return adjective and noun of a column that is high or low; None for a word that there is not."""
    if column.startswith(CATEGORY_PREFIX):
        name = _readable(column.removeprefix(CATEGORY_PREFIX))
        return (f"{name}-loving", f"{name} lovers") if high else (f"Little {name}", None)
    if "=" in column:
        attribute, level = column.split("=", 1)
        return (_level_words(attribute, level), None) if high else (None, None)
    stem, _ = split_window(column)
    share = share_of(stem)
    if share:
        return (f"{share[1].capitalize()}", f"{share[1]} shoppers") if high else (f"Rarely {share[1]}", None)
    family = FAMILIES.get(stem)
    if family is None:
        return (f"{'High' if high else 'Low'} {words_of(column)}", None)
    return (family.high, family.high_noun) if high else (family.low, family.low_noun)


def _stem(column: str) -> str:
    """Return a column without its window."""
    return split_window(column)[0]


def _level_words(attribute: str, level: str) -> str:
    """Return the words for one level of a text column."""
    text = _readable(level)
    if level == "(missing)":
        return f"Unknown {words_of(attribute)}"
    if re.search(r"[A-Za-z]{3}", text) and attribute in ("sex", "region"):
        return text
    return f"{words_of(attribute).capitalize()} {text}"


def _readable(text: str) -> str:
    """Bring a shop's own word to one line, no longer than a name can bear."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    plain = plain.capitalize() if plain.isupper() and len(plain) > 3 else plain
    return (plain[:37] + "...") if len(plain) > 40 else (plain or "(blank)")


def phrases(distinctions: Mapping[str, float]) -> list[Phrase]:
    """Return every distinction worth a word, strongest first, ties by column name; one for all windows of a column."""
    speaking = [phrase(c, z) for c, z in distinctions.items() if abs(z) >= SPEAKS]
    speaking = [p for p in speaking if p.adjective or p.noun]
    speaking.sort(key=lambda p: (-round(p.strength, 6), p.column))
    strongest: dict[str, Phrase] = {}
    for p in speaking:
        quantity = p.column if ("=" in p.column or p.column.startswith(CATEGORY_PREFIX)) else _stem(p.column)
        strongest.setdefault(quantity, p)
    return list(strongest.values())


@dataclass(frozen=True)
class Named:
    """A name and the story behind it."""

    name: str
    story: tuple[str, ...]


def compose(distinctions: Mapping[str, float], means: Mapping[str, float], depth: int = 2) -> Named:
    """Compose a name of `depth` phrases.

    Args:
        distinctions: model-space column to distinction.
        means: frame column to the segment's mean in the shop's own unit.
        depth: phrases at most; more make a name more telling and longer.
    """
    known = phrases(distinctions)
    levels = [p for p in known if "=" in p.column and p.high]
    tastes = [p for p in known if p.column.startswith(CATEGORY_PREFIX) and p.high]
    if not known:
        return Named("Average customers", ())
    if levels and levels[0] is known[0]:
        chosen = levels[:depth]
        return Named(", ".join(str(p.adjective) for p in chosen), tuple(p.key for p in chosen))
    if tastes and tastes[0] is next(p for p in known if p.high):
        chosen = tastes[:depth]
        categories = [_readable(p.column.removeprefix(CATEGORY_PREFIX)) for p in chosen]
        text = f"{_and(categories)} lovers"
        return Named(text[:1].upper() + text[1:], tuple(p.key for p in chosen))
    chosen = known[:depth]
    once = _buys_once(chosen, means)
    noun_phrase = next((p for p in chosen if p.noun), None)
    # The noun is about money or orders where there is a choice: "Frequent big spenders".
    for stem in ("monetary", "gross", "orders"):
        noun_phrase = next((p for p in chosen if p.noun and _stem(p.column) == stem), None) or noun_phrase
        if noun_phrase and _stem(noun_phrase.column) in ("monetary", "gross"):
            break
    noun = "one-time buyers" if once else (noun_phrase.noun if noun_phrase else "customers")
    spoken = [p for p in chosen if p is not noun_phrase and not (once and _stem(p.column) == "orders")]
    adjectives = [p.adjective for p in spoken if p.adjective]
    text = " ".join([*([", ".join(adjectives)] if adjectives else []), str(noun)])
    return Named(_sentence(text), tuple(p.key for p in chosen))


def _buys_once(chosen: Sequence[Phrase], means: Mapping[str, float]) -> bool:
    """Tell whether a segment's low orders are hardly more than one a user."""
    low_orders = [p for p in chosen if _stem(p.column) == "orders" and not p.high]
    return any(0 < means.get(p.column, 9.0) <= ONE_TIME for p in low_orders)


def _and(words: Sequence[str]) -> str:
    """Join words by commas and a last "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _sentence(text: str) -> str:
    """Write the first word with a capital, those after commas without."""
    first, *rest = text.split(", ")
    text = ", ".join([first, *(r[:1].lower() + r[1:] for r in rest)])
    return text[:1].upper() + text[1:]


def story_holds(story: Sequence[str], distinctions: Mapping[str, float]) -> bool:
    """Tell whether every phrase of an earlier story is still true, and no other speaks twice as strongly."""
    if not story:
        return not phrases(distinctions)
    for key in story:
        column, direction = key.rsplit(":", 1)
        z = distinctions.get(column)
        if z is None or (z if direction == "high" else -z) < HOLDS:
            return False
    strongest = phrases(distinctions)[:1]
    of_story = max(abs(distinctions[key.rsplit(":", 1)[0]]) for key in story)
    return not strongest or strongest[0].strength <= 2.0 * of_story


def name_segments(
    ids: Sequence[str],
    distinctions: Sequence[Mapping[str, float]],
    means: Sequence[Mapping[str, float]],
    before: Mapping[str, Named] | None = None,
) -> list[Named]:
    """Name all segments of a model, each differently.

    Args:
        ids: permanent ids, in cluster order.
        distinctions: per segment.
        means: per segment.
        before: names that ids carried so far; they stay where their story holds.
    """
    before = before or {}
    named: dict[str, Named] = {}
    for i, segment_id in enumerate(ids):
        old = before.get(segment_id)
        if old and story_holds(old.story, distinctions[i]) and old.name not in {n.name for n in named.values()}:
            named[segment_id] = old
    taken = {n.name for n in named.values()}
    waiting = [i for i, segment_id in enumerate(ids) if segment_id not in named]
    for depth in (2, 3, 4):
        proposals = {i: compose(distinctions[i], means[i], depth) for i in waiting}
        names = [p.name for p in proposals.values()]
        for i in list(waiting):
            if names.count(proposals[i].name) == 1 and proposals[i].name not in taken:
                named[ids[i]] = proposals[i]
                taken.add(proposals[i].name)
                waiting.remove(i)
        if not waiting:
            break
    for i in waiting:
        base = compose(distinctions[i], means[i], 2)
        number = next(n for n in range(1, len(ids) + len(taken) + 2) if _numbered(base.name, n) not in taken)
        named[ids[i]] = Named(_numbered(base.name, number), base.story)
        taken.add(named[ids[i]].name)
    return [named[segment_id] for segment_id in ids]


# Steps of a ladder of ordered groups, highest first; from eight on they are numbered.
_LADDERS = {
    1: ("All",),
    2: ("High", "Low"),
    3: ("High", "Middle", "Low"),
    4: ("Top", "High", "Middle", "Low"),
    5: ("Top", "High", "Middle", "Low", "Lowest"),
    6: ("Top", "Very high", "High", "Middle", "Low", "Lowest"),
    7: ("Top", "Very high", "High", "Middle", "Low", "Very low", "Lowest"),
}


def name_tiers(
    ids: Sequence[str], what: str, distinctions: Sequence[Mapping[str, float]], means: Sequence[Mapping[str, float]]
) -> list[Named]:
    """Name ordered tiers, highest first: the order makes the name, and `compose` gives the story.

    Args:
        ids: permanent ids, highest tier first.
        what: what the tiers order, such as "value".
        distinctions: per tier.
        means: per tier.
    """
    count = len(ids)
    steps = _LADDERS.get(count) or [f"Tier {n} of {count}:" for n in range(1, count + 1)]
    stories = [compose(distinctions[i], means[i], 2).story for i in range(count)]
    return [Named(f"{step} {what}", story) for step, story in zip(steps, stories, strict=True)]


def _numbered(name: str, number: int) -> str:
    """Return a name that was given before, with its number."""
    return name if number == 1 else f"{name} ({number})"
