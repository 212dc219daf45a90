"""Readable names of segments, from what sets them apart. A name is kept as long as its story holds.

A distinction is (mean of the segment - mean of all users) / standard deviation of all users, in model space without
weights, so that heavy tails do not speak. Phrases come from the words of a profile column's family; a column of a
project's own gets "High <its words>".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg_assets.segments.strategy import CATEGORY_PREFIX

# A distinction under this is not worth a word; under HOLDS a word already given is taken back.
SPEAKS = 0.35
HOLDS = 0.15
# Mean orders per user up to which a segment is said to buy once.
ONE_TIME = 1.25

# Family of a column stem: (adjective when high, adjective when low, noun when high, noun when low).
# None: that side makes no name.
_FAMILIES: tuple[tuple[str, tuple[str | None, str | None, str | None, str | None]], ...] = (
    (r"monetary|gross", ("High-spending", "Low-spending", "big spenders", "small spenders")),
    (r"orders|purchase_days", ("Frequent", "Occasional", "frequent buyers", "occasional buyers")),
    (r"active_days", ("Often active", "Rarely active", "regulars", "rare visitors")),
    (r"recency_days", ("Lapsing", "Recent", "lapsing buyers", "recent buyers")),
    (r"inactive_days", ("Quiet", "Active", "quiet users", "active users")),
    (r"tenure_days", ("Long-standing", "Newer", "long-standing users", "newer users")),
    (r"sessions", ("Often visiting", "Rarely visiting", "frequent visitors", "rare visitors")),
    (r"views", ("Browsing", "Little-browsing", "browsers", "direct buyers")),
    (r"searches", ("Searching", "Rarely searching", "searchers", None)),
    (r"carts", ("Cart-filling", "Cart-shy", "cart fillers", None)),
    (r"cart_to_purchase_rate", ("Decided", "Hesitant", "decided buyers", "cart abandoners")),
    (r"basket_size", ("Big-basket", "Small-basket", "big-basket buyers", "small-basket buyers")),
    (r"order_value_(mean|max|min)", ("High-ticket", "Low-ticket", "high-ticket buyers", "low-ticket buyers")),
    (r"order_value_var", ("Uneven", "Even", None, None)),
    (r"inter_purchase_days", ("Slow-cycle", "Fast-cycle", "slow-cycle buyers", "fast-cycle buyers")),
    (r"discount_share", ("Bargain-hunting", "Full-price", "bargain hunters", "full-price buyers")),
    (r"coupons", ("Coupon-using", None, "coupon users", None)),
    (r"campaigns", ("Often reached", "Rarely reached", None, None)),
    (r"refunds|refund_amount", ("Often returning", None, "returners", None)),
    (r"service", ("Service-seeking", None, "service seekers", None)),
    (r"review_mean", ("Satisfied", "Critical", "satisfied customers", "critics")),
    (r"reviews", ("Reviewing", None, "reviewers", None)),
    (r"categories", ("Many-category", "Single-minded", "many-category buyers", "specialists")),
    (r"household_size", ("Large-household", "Small-household", "large households", "small households")),
    (r"is_suspected_bot", ("Bot-like", None, None, None)),
)
_WINDOW = re.compile(r"_(7d|28d|90d|all)$")
_SHARE = re.compile(r"^(channel|device)_(\w+?)_share$")


@dataclass(frozen=True)
class Phrase:
    """A true statement of a segment: `column` is high or low, and the words for it."""

    column: str
    high: bool
    strength: float
    adjective: str | None
    noun: str | None

    @property
    def key(self) -> str:
        """What a story remembers: column and direction."""
        return f"{self.column}:{'high' if self.high else 'low'}"


def stem_of(column: str) -> str:
    """The column without its window: `orders_90d` -> `orders`."""
    return _WINDOW.sub("", column)


def words_of(column: str) -> str:
    """A column name in plain words: `loyalty_points_90d` -> `loyalty points`."""
    return stem_of(column).replace("_", " ").strip() or column


def phrase(column: str, distinction: float) -> Phrase:
    """The words for one distinction."""
    high = distinction > 0
    adjective, noun = _words(column, high)
    return Phrase(column, high, abs(distinction), adjective, noun)


def _words(column: str, high: bool) -> tuple[str | None, str | None]:
    if column.startswith(CATEGORY_PREFIX):
        name = _readable(column.removeprefix(CATEGORY_PREFIX))
        return (f"{name}-loving", f"{name} lovers") if high else (f"Little {name}", None)
    if "=" in column:
        attribute, level = column.split("=", 1)
        return (_level_words(attribute, level), None) if high else (None, None)
    stem = stem_of(column)
    share = _SHARE.match(stem)
    if share:
        where = share.group(2)
        return (f"{where.capitalize()}", f"{where} shoppers") if high else (f"Rarely {where}", None)
    for pattern, (up, down, noun_up, noun_down) in _FAMILIES:
        if re.fullmatch(pattern, stem):
            return (up, noun_up) if high else (down, noun_down)
    return (f"{'High' if high else 'Low'} {words_of(column)}", None)


def _level_words(attribute: str, level: str) -> str:
    text = _readable(level)
    if level == "(missing)":
        return f"Unknown {words_of(attribute)}"
    if re.search(r"[A-Za-z]{3}", text) and attribute in ("sex", "region"):
        return text
    return f"{words_of(attribute).capitalize()} {text}"


def _readable(text: str) -> str:
    """A shop's own word on one line, no longer than a name can bear."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    plain = plain.capitalize() if plain.isupper() and len(plain) > 3 else plain
    return (plain[:37] + "...") if len(plain) > 40 else (plain or "(blank)")


def phrases(distinctions: Mapping[str, float]) -> list[Phrase]:
    """Every distinction worth a word, strongest first; ties by column name. One phrase per family."""
    found = [phrase(c, z) for c, z in distinctions.items() if abs(z) >= SPEAKS]
    found = [p for p in found if p.adjective or p.noun]
    found.sort(key=lambda p: (-round(p.strength, 6), p.column))
    kept, stems = [], set()
    for p in found:
        mark = p.column if ("=" in p.column or p.column.startswith(CATEGORY_PREFIX)) else stem_of(p.column)
        if mark not in stems:
            stems.add(mark)
            kept.append(p)
    return kept


@dataclass(frozen=True)
class Named:
    """A name and the story behind it."""

    name: str
    story: tuple[str, ...]


def compose(distinctions: Mapping[str, float], means: Mapping[str, float], depth: int = 2) -> Named:
    """A name of `depth` phrases.

    Args:
        distinctions: model-space column to distinction.
        means: frame column to the segment's mean in the shop's own unit.
        depth: phrases at most; more make a name more telling and longer.
    """
    said = phrases(distinctions)
    levels = [p for p in said if "=" in p.column and p.high]
    tastes = [p for p in said if p.column.startswith(CATEGORY_PREFIX) and p.high]
    if not said:
        return Named("Average customers", ())
    if levels and levels[0] is said[0]:
        chosen = levels[:depth]
        return Named(", ".join(str(p.adjective) for p in chosen), tuple(p.key for p in chosen))
    if tastes and tastes[0] is next(p for p in said if p.high):
        chosen = tastes[:depth]
        tasted = [_readable(p.column.removeprefix(CATEGORY_PREFIX)) for p in chosen]
        text = f"{_and(tasted)} lovers"
        return Named(text[:1].upper() + text[1:], tuple(p.key for p in chosen))
    chosen = said[:depth]
    once = _buys_once(chosen, means)
    noun_phrase = next((p for p in chosen if p.noun), None)
    # The noun is about money or orders where there is a choice: "Frequent big spenders".
    for stem in ("monetary", "gross", "orders"):
        noun_phrase = next((p for p in chosen if p.noun and stem_of(p.column) == stem), None) or noun_phrase
        if noun_phrase and stem_of(noun_phrase.column) in ("monetary", "gross"):
            break
    noun = "one-time buyers" if once else (noun_phrase.noun if noun_phrase else "customers")
    spoken = [p for p in chosen if p is not noun_phrase and not (once and stem_of(p.column) == "orders")]
    adjectives = [p.adjective for p in spoken if p.adjective]
    text = " ".join([*([", ".join(adjectives)] if adjectives else []), str(noun)])
    return Named(_sentence(text), tuple(p.key for p in chosen))


def _buys_once(chosen: Sequence[Phrase], means: Mapping[str, float]) -> bool:
    low_orders = [p for p in chosen if stem_of(p.column) == "orders" and not p.high]
    return any(0 < means.get(p.column, 9.0) <= ONE_TIME for p in low_orders)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _sentence(text: str) -> str:
    first, *rest = text.split(", ")
    text = ", ".join([first, *(r[:1].lower() + r[1:] for r in rest)])
    return text[:1].upper() + text[1:]


def story_holds(story: Sequence[str], distinctions: Mapping[str, float]) -> bool:
    """Whether every phrase of an earlier story is still true, and none stronger speaks against it."""
    if not story:
        return not phrases(distinctions)
    for key in story:
        column, direction = key.rsplit(":", 1)
        z = distinctions.get(column)
        if z is None or (z if direction == "high" else -z) < HOLDS:
            return False
    strongest = phrases(distinctions)[:1]
    told = max(abs(distinctions[key.rsplit(":", 1)[0]]) for key in story)
    return not strongest or strongest[0].strength <= 2.0 * told


def name_segments(
    ids: Sequence[str],
    distinctions: Sequence[Mapping[str, float]],
    means: Sequence[Mapping[str, float]],
    before: Mapping[str, Named] | None = None,
) -> list[Named]:
    """Names of all segments of a model, unique.

    Args:
        ids: permanent ids, in cluster order.
        distinctions: per segment.
        means: per segment.
        before: names that ids carried so far; kept where the story holds.
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
    """Names of ordered tiers, highest first: the order is their story, and `compose` tells the rest of it.

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
    return name if number == 1 else f"{name} ({number})"
