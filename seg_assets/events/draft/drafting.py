"""Draft a source from files: what each of them is, one feed for all of one header, and the proof on the same files.

The same files give the same text; nothing is asked of a network or a clock.

Not here: the command (`events.cli`), and the folder of a new shop (`seg_assets.init`).
"""

import datetime as dt
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seg_assets.core.errors import ConfigError, LandingError, SegAssetsError
from seg_assets.events.draft import questions, writing
from seg_assets.events.draft.columns import Proposal
from seg_assets.events.draft.container import FileSample, NoDataError, look_into
from seg_assets.events.draft.layouts import Layout, layouts_of, nearly
from seg_assets.events.draft.proof import Account, prove
from seg_assets.events.draft.propose import NoRoleError, propose
from seg_assets.events.draft.questions import shown
from seg_assets.events.draft.values import CURRENCIES
from seg_assets.events.landing import EVENTS, files_below
from seg_assets.events.source import Source, load_source, read_source, shipped_sources


@dataclass
class Draft:
    """A drafted source: its YAML, what it becomes when loaded, the account, and the files that it does not read.

    zone: the shop's. passed_by: files that are no data, or not this source's, each with the reason.
    """

    text: str
    source: Source
    account: Account
    zone: str = "UTC"
    passed_by: list[str] = field(default_factory=list)

    @property
    def first_day(self) -> dt.date | None:
        """The first day that the files were seen to have."""
        return min(self.account.days, default=None)

    @property
    def last_day(self) -> dt.date | None:
        """The last day that the files were seen to have."""
        return max(self.account.days, default=None)


# Stands in a draft until somebody says the shop's, which its question asks for.
PLACEHOLDER_CURRENCY = "EUR"


def draft_files(
    paths: Sequence[Path],
    *,
    name: str | None = None,
    zone: str | None = None,
    currency: str | None = None,
    whole: bool = False,
    shop_zone: str = "UTC",
) -> Draft:
    """Return a draft of files that somebody has named; one that is no data is an error.

    Raises:
        LandingError: a file that holds no rows, has no role or cannot be used.
    """
    relatives = [path.name for path in paths]
    if len(set(relatives)) < len(relatives):
        raise ConfigError(
            "FILES: two of them have one name; a source names files, so rename one or name their folder apart"
        )
    samples = [
        look_into(path, relative) for path, relative in sorted(zip(paths, relatives, strict=True), key=lambda p: p[1])
    ]
    return _drafted(
        samples,
        [],
        name or writing.name_of(Path(relatives[0]).name.partition(".")[0]),
        zone,
        currency,
        shop_zone,
        whole=whole,
    )


def draft_folder(
    folder: Path, *, name: str, zone: str | None = None, currency: str | None = None, shop_zone: str = "UTC"
) -> Draft:
    """Return a draft of what lies in a folder; files that are no data are passed by and listed.

    Raises:
        LandingError: nothing in the folder is data, or the folder cannot be listed.
    """
    if not folder.is_dir():
        raise NoDataError(f"{folder}: no folder; name the one that your exports lie in")
    samples, passed_by = [], []
    for path in files_below(folder):
        try:
            samples.append(look_into(path, path.relative_to(folder).as_posix()))
        except NoDataError as error:
            passed_by.append(str(error))
    if not samples:
        raise NoDataError(f"{folder}: no file in it is data" + "".join(f"\n  {line}" for line in passed_by[:10]))
    return _drafted(samples, passed_by, name, zone, currency, shop_zone, strict=False)


def _drafted(
    samples: Sequence[FileSample],
    passed_by: list[str],
    name: str,
    zone: str | None,
    currency: str | None,
    shop_zone: str,
    *,
    whole: bool = False,
    strict: bool = True,
) -> Draft:
    """Return the draft of samples; `strict`: a file without a role is an error, and is passed by otherwise."""
    if currency is not None and currency.upper() not in CURRENCIES:
        raise ConfigError(f"--currency {currency}: a code of three letters, such as EUR")
    known: dict[str, list[tuple[Layout, list[FileSample]]]] = {}
    feeds: dict[str, Proposal] = {}
    remarks: list[str] = []
    for group in _by_header(samples):
        try:
            layout = _layout(group[0], remarks)
            if layout is not None and layout.name in shipped_sources():
                known.setdefault(layout.name, []).append((layout, group))
                continue
            _is_read(group[0])
            proposal = propose(group, zone, currency)
            _add(feeds, proposal)
        except (NoRoleError, LandingError) as error:
            recognised = "".join(f"\n{remark}" for remark in remarks)
            if strict:
                raise LandingError(f"{error}{recognised}") from None
            passed_by.append(str(error))
    others = [name for name, proposal in feeds.items() if proposal.kind == EVENTS]
    if len(known) > 1 or (known and others):
        names = ", ".join([*known, *others])
        why = f"files of several layouts ({names}): one source is based on one; draft them apart"
        if strict:
            raise ConfigError(why)
        passed_by.append(f"{', '.join([*list(known)[1:], *others])}: {why}")
        feeds = {name: proposal for name, proposal in feeds.items() if name not in others}
    command = (
        "seg-assets source draft "
        + " ".join(sample.relative for sample in samples[:3])
        + (" .." if len(samples) > 3 else "")
    )
    about = [
        f"Drafted by `{command}`: each line says why; CHECK marks what is unsure. Try it: seg-assets source check.",
        *remarks,
    ]
    if known:
        asked = [question for proposal in feeds.values() for question in proposal.questions]
        lines, proofs = _based_on(next(iter(known.values())), asked, name, zone, currency, about)
        for kind, proposal in feeds.items():
            lines += writing.feed_of(kind, proposal)
            proofs.append((kind, proposal))
    elif any(p.kind == EVENTS for p in feeds.values()):
        lines, proofs = _feeds(feeds, name, zone, about)
    else:
        raise LandingError(
            "no file holds events, and a source needs them: add an export of orders"
            + "".join(f"\n  {line}" for line in passed_by[:10])
        )
    text = "\n".join(lines) + "\n"
    source = _loaded(text)
    account = prove(source, proofs, zone or shop_zone, whole=whole)
    said = [*account.says(), *(f"passed by: {line}" for line in passed_by)]
    text += "\n" + "\n".join(line for remark in said for line in _as_comment(remark)) + "\n"
    return Draft(text, source, account, zone or shop_zone, passed_by)


def _as_comment(text: str) -> list[str]:
    """Return a line of the account as comment; its indentation stays."""
    indent = len(text) - len(text.lstrip())
    return ["# " + " " * indent + line[2:] for line in writing.comment(text)]


def _by_header(samples: Sequence[FileSample]) -> list[list[FileSample]]:
    """Return the files of each header together, in the order of their names."""
    groups: dict[tuple, list[FileSample]] = {}
    for sample in sorted(samples, key=lambda s: s.relative):
        # Lines of JSON need not have the same keys: what a file is called, without its day, holds them together.
        header = writing.patterns_of([sample])[0] if sample.format in ("json", "jsonl") else tuple(sample.columns)
        groups.setdefault((sample.format, sample.csv, sample.encoding, header), []).append(sample)
    return list(groups.values())


def _layout(sample: FileSample, remarks: list[str]) -> Layout | None:
    """Return the known layout of a file, and say what is known of it.

    Raises:
        LandingError: it is one that cannot be used.
    """
    layouts = layouts_of(sample)
    if len({layout.name for layout in layouts}) > 1:
        names = ", ".join(layout.name for layout in layouts)
        remarks.append(
            f"{shown(sample.relative)} could be each of {names}: none is taken, it is drafted by names and values."
        )
        return None
    if not layouts:
        for layout, lacking in nearly(sample):
            remarks.append(
                f"{shown(sample.relative)} is nearly {layout.name} ({layout.title}), and lacks {lacking[0]}: "
                "export it with all columns."
            )
        return None
    layout = layouts[0]
    if layout.unusable:
        raise LandingError(f"{sample.path}: {layout.title} ({layout.name}): {layout.unusable}")
    if layout.name not in shipped_sources():
        remarks.append(
            f"{shown(sample.relative)} is recognised as {layout.name} ({layout.title}), by {layout.evidence}; no "
            "built-in source of that name is there yet, so it is drafted by names and values: what the layout means by "
            "further lines, refunds and states is for you to check."
        )
    return layout


def _is_read(sample: FileSample) -> None:
    """Raise LandingError for JSON that is not one object a line, which no feed reads without a built-in source."""
    if sample.format == "json":
        raise LandingError(
            f"{sample.path}: JSON, and not one object a line; write it so, for example with: jq -c '.[]' (or .orders[])"
        )


def _add(feeds: dict[str, Proposal], proposal: Proposal) -> None:
    """Add a feed under a name of its own; users and products there are once.

    Raises:
        LandingError: a second file of users or products with another header.
    """
    relative = proposal.samples[0].relative
    if proposal.kind != EVENTS:
        if proposal.kind in feeds:
            raise LandingError(f"{relative}: a second file of {proposal.kind}, with another header; a source has one")
        feeds[proposal.kind] = proposal
        return
    stem = writing.name_of(relative.rpartition("/")[2].partition(".")[0])
    stem = stem if stem not in ("users", "products") else f"{stem}_events"
    name, n = stem, 2
    while name in feeds:
        name, n = f"{stem}_{n}", n + 1
    feeds[name] = proposal


def _feeds(
    feeds: dict[str, Proposal], name: str, zone: str | None, about: Sequence[str]
) -> tuple[list[str], list[tuple[str, Proposal | Sequence[FileSample]]]]:
    several = len(feeds) > 1
    asked = [f"{feed}: {q}" if several else q for feed, proposal in feeds.items() for q in proposal.questions]
    sellers = [feed for feed, proposal in feeds.items() if proposal.sells]
    if len(sellers) > 1:
        asked.append(questions.same_purchases(sellers))
    lines = [*writing.head_of(name, asked, about, zone), "feeds:"]
    for feed, proposal in feeds.items():
        if proposal.kind == EVENTS:
            lines += writing.feed_of(feed, proposal)
    for feed, proposal in feeds.items():
        if proposal.kind != EVENTS:
            lines += writing.feed_of(feed, proposal)
    return lines, list(feeds.items())


def _based_on(
    groups: Sequence[tuple[Layout, list[FileSample]]],
    asked: list[str],
    name: str,
    zone: str | None,
    currency: str | None,
    about: Sequence[str],
) -> tuple[list[str], list[tuple[str, Proposal | Sequence[FileSample]]]]:
    """Return a source of a known layout, with the answers that were read from its files."""
    layout, group = groups[0]
    answers: dict[str, str] = {}
    remarks = list(about)
    first = group[0]
    time, money, state = (layout.column(first, what) for what in ("time", "currency", "state"))
    times = time.times() if time is not None else None
    if time is not None and times is not None:
        if times.clock and not times.zone and zone is None:
            asked.append(questions.zone(time.name))
        if times.ambiguous:
            asked.append(questions.day_order(time.name, times.form))
    if money is not None and money.counts:
        counts = ", ".join(f"{value} {count}" for value, count in money.counts.most_common(8))
        remarks.append(f"currencies in {shown(money.name)}: {counts}.")
        if money.distinct > 1 and currency is None:
            asked.append(f"Which is the shop's currency ({counts})?")
        answers["currency"] = (currency or money.counts.most_common(1)[0][0]).upper()
    if state is not None and state.counts and "states" in layout.spec:
        words = {str(s).lower() for s in layout.spec["states"]}
        known = (f"{shown(v)} {n}{'' if v.lower() in words else ' (unknown)'}" for v, n in state.counts.most_common(12))
        remarks.append(f"states in {shown(state.name)}: {', '.join(known)}.")
        unknown = [shown(v) for v in sorted(state.counts) if v.lower() not in words]
        if unknown:
            asked.append(f"What becomes of lines of the states {', '.join(unknown[:8])}? The source does not know them")
    said, open_asks = read_source(shipped_sources()[layout.name])
    if "currency" in open_asks and "currency" not in answers:
        answers["currency"] = (currency or PLACEHOLDER_CURRENCY).upper()
        if currency is None:
            asked.append(
                f"Which is the shop's currency? The files do not say it; taken meanwhile: {PLACEHOLDER_CURRENCY}"
            )
    built_in = said["feeds"]
    # The files of a layout are its first feed's, unless its tables say whose they are.
    files: dict[str, list[FileSample]] = {}
    for each, samples in groups:
        files.setdefault(each.feed or next(iter(built_in)), []).extend(samples)
    patterns = {feed: writing.patterns_of(samples) for feed, samples in files.items()}
    # The day stands in the lines where the shipped source has it in the name of the file and these names have none.
    extra = {
        feed: {"day": "{from: event_time}", "closed_days": "normal"}
        for feed, names in patterns.items()
        if built_in[feed].get("day", "name") == "name" and not all("{day" in text for text in names)
    }
    for key, question in open_asks.items():
        feed, _, field = key.removeprefix("feeds.").partition(".")
        if key == "currency" or feed not in patterns:
            continue
        form = times.form if times is not None and field == "time_format" else None
        asked.append(f"{key}: {question}" + (f" Taken meanwhile: {form}" if form else ""))
        extra.setdefault(feed, {})[field] = writing.text_of(form or "%Y-%m-%d")
    lines = [*writing.head_of(name, asked, remarks, zone), *writing.based_on(layout, patterns, answers, extra)]
    return lines, list(files.items())


def _loaded(text: str) -> Source:
    """Return a draft as runs would load it."""
    with tempfile.TemporaryDirectory(prefix="seg_assets_draft_") as folder:
        path = Path(folder) / "draft.yaml"
        path.write_text(text, "utf-8")
        try:
            return load_source(path, open_questions=True)
        except SegAssetsError as error:
            raise ConfigError(
                f"the draft does not load ({str(error).replace(str(path), 'draft')}); it is:\n{text}"
            ) from None
