"""Write a draft as YAML, with the reason beside each line. Names of columns are quoted, whatever they hold.

Not here: what the draft says (`propose`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import yaml

from seg_assets.core.text import printable, shortened
from seg_assets.events.draft.columns import Proposal
from seg_assets.events.draft.container import FileSample
from seg_assets.events.draft.layouts import Layout
from seg_assets.events.landing import EVENTS

_WIDTH = 110
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# What YAML reads as something else than a text.
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
# A day, a month or a count in a file's name: the next file has another one.
_NO_PATTERN = re.compile(r"[\[\]{}\\*?]")
_CHANGES = re.compile(r"\d{4}[-_.]?\d{2}(?:[-_.]?\d{2})?|\d{6,}")


def text_of(value: str) -> str:
    """Return a text as YAML, quoted where YAML would read something else."""
    if _PLAIN.fullmatch(value) and value not in _WORDS:
        return value
    style = "'" if value.isprintable() else '"'
    # A width that nothing reaches: a line that goes on would need its own indentation.
    return yaml.safe_dump(value, default_style=style, allow_unicode=True, width=10**9).strip()


def name_of(text: str) -> str:
    """Return a name as sources and feeds have them."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_").lstrip("_0123456789")[:40].strip("_") or "shop"


def patterns_of(samples: Sequence[FileSample]) -> list[str]:
    """Return the file patterns of files of one header: their names, with * for a day or count that all may have."""
    out = []
    for sample in samples:
        path = PurePosixPath(sample.relative)
        name, folder = (_NO_PATTERN.sub("?", text) for text in (path.name, str(path.parent)))
        pattern = re.sub(r"\*+", "*", _CHANGES.sub("*", name))
        out.append(pattern if folder == "." else f"{folder}/{pattern}")
    return list(dict.fromkeys(out))


def comment(text: str) -> Iterator[str]:
    """Yield a text as lines of comment."""
    line = "#"
    for word in printable(text).split():
        if len(line) + len(word) > _WIDTH and line != "#":
            yield line
            line = "# "
        line += f" {word}"
    yield line


def head_of(name: str, questions: Sequence[str], remarks: Sequence[str], zone: str | None) -> Iterator[str]:
    """Yield the lines before the feeds: what the draft is, what it asks, its name."""
    for remark in remarks:
        yield from comment(remark)
    if questions:
        yield "# Answer each question: change what the answer changes and remove it. While one stands, nothing runs."
        yield "questions:"
        yield from (f"  - {text_of(printable(question))}" for question in questions)
    yield f"name: {text_of(name)}"
    if zone is not None:
        yield f"time_zone: {text_of(zone)}"


def based_on(
    layout: Layout,
    files: Mapping[str, Sequence[str]],
    answers: Mapping[str, str],
    extra: Mapping[str, Mapping[str, str]],
) -> Iterator[str]:
    """Yield what a source of a known layout says beside its name; `extra`: further keys of a feed, as YAML."""
    yield f"based_on: {layout.name}  # {layout.title}: {printable(layout.evidence)}"
    for key, value in answers.items():
        yield f"{key}: {text_of(value)}"
    if files:
        yield "feeds:"
    for feed, patterns in files.items():
        more = "".join(f", {key}: {value}" for key, value in extra.get(feed, {}).items())
        yield f"  {feed}: {{files: [{', '.join(map(text_of, patterns))}]{more}}}"


def feed_of(name: str, proposal: Proposal) -> Iterator[str]:
    """Yield one feed, or the users or products, indented as it stands in the source."""
    inside = "    " if proposal.kind == EVENTS else "  "
    yield f"{inside[:-2]}{name}:"
    yield from (f"{inside}{line}" for line in _feed(proposal))


def _feed(proposal: Proposal) -> Iterator[str]:
    first = proposal.samples[0]
    files = patterns_of(proposal.samples)
    yield f"files: {text_of(files[0]) if len(files) == 1 else '[' + ', '.join(map(text_of, files)) + ']'}"
    yield from _container(first)
    if proposal.kind == EVENTS:
        yield "day: {from: event_time}"
        yield "closed_days: normal"
    if proposal.time_zone:
        yield f"time_zone: {proposal.time_zone}  # the column's name says so"
    if proposal.decimal != ".":
        yield f"decimal: {text_of(proposal.decimal)}"
    if proposal.thousands:
        yield f"thousands: {text_of(proposal.thousands)}"
    if proposal.time_format:
        yield f"time_format: {text_of(proposal.time_format)}"
    if proposal.event_type:
        doubt = f"CHECK ({printable(proposal.event_type_doubt)}); " if proposal.event_type_doubt else ""
        yield f"event_type: {proposal.event_type}  # {doubt}no column says what a line is"
    if proposal.personal:
        yield "extra: drop"
        yield from comment(f"left out, because they tell of persons: {', '.join(proposal.personal)}")
    yield from (line for note in proposal.notes for line in comment(note))
    yield "columns:"
    for mapped in proposal.mapped:
        doubt = f"CHECK ({mapped.doubt}); " if mapped.doubt else ""
        yield f"  {mapped.column}: {text_of(mapped.expression)}  # {shortened(printable(doubt + mapped.evidence), 200)}"
    if proposal.unmapped:
        kept = "dropped too" if proposal.personal else "kept in extra"
        yield from comment(
            f"not mapped ({kept}): {', '.join(proposal.unmapped[:60])}{' ..' * (len(proposal.unmapped) > 60)}"
        )
    if proposal.values:
        yield "values:"
        for column, values in proposal.values.items():
            yield f"  {column}:"
            for shops, ours in values.items():
                yield f"    {text_of(shops)}: {'null' if ours is None else ours}"


def _container(sample: FileSample) -> Iterator[str]:
    """Yield how the file is written, where that is not what its ending and the defaults say."""
    ending = sample.path.name.lower().removesuffix(".gz").rpartition(".")[2]
    usual = {
        "csv": "csv",
        "tsv": "csv",
        "txt": "csv",
        "jsonl": "jsonl",
        "ndjson": "jsonl",
        "json": "jsonl",
        "parquet": "parquet",
    }
    if usual.get(ending) != sample.format:
        yield f"format: {sample.format}"
    csv = sample.csv
    said = []
    if sample.format == "csv":
        if csv.delimiter != ",":
            said.append(f"delimiter: {text_of(csv.delimiter)}" if csv.delimiter != "\t" else 'delimiter: "\\t"')
        if csv.quote != '"':
            said.append(f"quote: {text_of(csv.quote)}")
        if csv.skip:
            said.append(f"skip: {csv.skip}")
        if not csv.header:
            said += ["header: false", f"columns: [{', '.join(map(text_of, csv.columns or ()))}]"]
    if said:
        yield f"csv: {{{', '.join(said)}}}"
    if sample.format != "parquet" and sample.encoding != "utf-8":
        yield f"encoding: {sample.encoding}"
    yield from (line for note in sample.notes for line in comment(note))
