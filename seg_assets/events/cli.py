"""Commands of the events room: `seg-assets source check` and `source list`.

Not here: how a file is read (`events.reader`), what a source YAML may say (`events.source`), and `load`
(`seg_assets.commands`).
"""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from seg_assets.core.errors import ConfigError, LandingError, did_you_mean
from seg_assets.core.options import Number, json_option
from seg_assets.core.settings import Settings
from seg_assets.events.check import Sample, check_sample
from seg_assets.events.check_page import as_json as json_of
from seg_assets.events.check_page import page
from seg_assets.events.draft import writing
from seg_assets.events.draft.drafting import draft_files
from seg_assets.events.persons import NOBODY, REMEDY
from seg_assets.events.source import PRODUCTS, USERS, load_source, read_source, shipped_sources
from seg_assets.lake.files import write_text

# Of the days that a sample has lines of.
MOST_DAYS = 10


@click.command()
@click.argument("name", metavar="FILE.yaml")
@click.argument("sample", type=click.Path(path_type=Path), metavar="SAMPLE")
@click.option("--feed", metavar="FEED", help="Feed to read the sample with (default: the one whose file pattern fits).")
@click.option(
    "--rows",
    type=Number(0, 100_000),
    default=5,
    metavar="N",
    help="Events and refused lines to show (default: 5).",
)
@click.option("--time-zone", "zone", metavar="ZONE", help="The shop's time zone (default: the shop's setting).")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="PAGE", help="Also write a page, without texts of lines."
)
@json_option
def check(
    name: str, sample: Path, feed: str | None, rows: int, zone: str | None, html: Path | None, as_json: bool
) -> int:
    """Try a source on a sample file: FILE.yaml, or the name of a shipped source, on one landing file, SAMPLE.

    Prints what was read, what was refused and why, and the first events. Exit code 1: nothing was accepted.
    """
    path = sample.expanduser()
    if not path.is_file():
        raise LandingError(f"{path}: no such file")
    settings = Settings.from_env(**({"time_zone": zone} if zone else {}))
    source = load_source(name, open_questions=True).of_shop(settings.currency)
    read = check_sample(
        source,
        path.resolve(),
        settings.time_zone,
        first_day=settings.start_day,
        last_day=settings.end_day,
        feed=feed,
        rows=rows,
    )
    if html is not None:
        write_text(html.expanduser(), page(read, path, source.name, settings.time_zone))
    if as_json:
        print(json.dumps(json_of(read, str(path), source.name, settings.time_zone), indent=2))
        return 0 if read.accepted else 1
    print(f"{path} read as feed {read.feed} of source {source.name} ({read.format}); days in {settings.time_zone}")
    _print_sample(read)
    return 0 if read.accepted else 1


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILES..")
@click.option("--name", metavar="NAME", help="The source's name (default: the first file's).")
@click.option("--time-zone", "zone", metavar="ZONE", help="Zone of times that are written without one.")
@click.option("--currency", metavar="CODE", help="The shop's currency, such as EUR.")
@click.option("--prove", "whole", is_flag=True, help="Read whole files for the account, not samples of them.")
def draft(files: Sequence[Path], name: str | None, zone: str | None, currency: str | None, whole: bool) -> int:
    """Draft a source YAML from FILES, and print it: what each line is, why, and what no file can answer.

    Head, middle and tail of a file are read. Exit code 1: the draft accepts nothing.
    """
    settings = Settings.from_env(**({"time_zone": zone} if zone else {}))
    paths = [path.expanduser() for path in files]
    result = draft_files(
        paths,
        name=writing.name_of(name) if name else None,
        zone=zone,
        currency=currency,
        whole=whole,
        shop_zone=settings.time_zone,
    )
    print(result.text, end="")
    return 0 if result.account.accepted else 1


@click.command()
def list_sources() -> int:
    """List the shipped sources, what each of them asks for, and their files."""
    for name, path in shipped_sources().items():
        said, questions = read_source(path)
        print(f"{name}: {said.get('description', '')}")
        feeds = {**said.get("feeds", {}), **{kind: said[kind] for kind in (USERS, PRODUCTS) if kind in said}}
        for feed, spec in feeds.items():
            files = spec["files"]
            print(f"    {feed}: {files if isinstance(files, str) else ', '.join(files)}")
        for key, question in questions.items():
            print(f"    asks for {key}: {question}")
        print(f"    {path}")
    return 0


@click.command()
@click.argument("name", metavar="NAME")
def show(name: str) -> int:
    """Show a shipped source, NAME: its YAML, and its SELECT where it has one."""
    path = shipped_sources().get(name)
    if path is None:
        near = did_you_mean(name, list(shipped_sources()))
        raise ConfigError(f"source {name!r}: not a shipped source{near}; one of {', '.join(shipped_sources())}")
    for file, comment in ((path, "#"), (path.with_suffix(".sql"), "--")):
        if file.is_file():
            print(f"{comment} {file}\n{file.read_text(encoding='utf-8')}")
    return 0


def _print_sample(read: Sample) -> None:
    if read.note:
        print(read.note)
    print()
    print(f"  lines read  {read.lines_read:>10,}")
    print(f"  accepted    {read.accepted:>10,}")
    print(f"  left out    {read.left_out:>10,}")
    print(f"  rejected    {read.rejected:>10,}")
    print(f"  duplicates  {read.duplicates:>10,}")
    if read.what == "events":
        print(f"  events      {read.events:>10,}")
    if read.unmapped:
        becomes = "kept in extra" if read.extra == "keep" else "dropped"
        print(f"\nunmapped columns ({becomes}): {', '.join(read.unmapped)}")
    if read.absent:
        print(f"\ncolumns of the mapping that the file lacks: {', '.join(read.absent)}")
    if read.omitted:
        print("\nleft out on purpose")
        for reason, field, count, _, line in read.omitted:
            print(f"  {count:>10,}  {reason}{' (' + field + ')' if field else ''}, first in line {line}")
        for code, money in read.other_money.items():
            print(f"  {code}: {money:,}; say rates: {{{code}: ..}} in the source where it is to count")
    if read.reasons:
        print("\nrejected because")
        for reason, field, count, _, line in read.reasons:
            print(f"  {count:>10,}  {reason}{' (' + field + ')' if field else ''}, first in line {line}")
        for line, reason, field, text in read.refused:
            print(f"    line {line}: {reason}{' ' + field if field else ''}: {_short(text, 160)}")
    if read.days:
        print("\nlines by day")
        for day, count in read.days[:MOST_DAYS]:
            print(f"  {day}  {count:>10,}")
        if len(read.days) > MOST_DAYS:
            print(f"  and {len(read.days) - MOST_DAYS} more days, to {read.days[-1][0]}")
    if len({month for month, *_ in read.months}) > 1:
        print("\nevents by month")
        for month, kind, count, amount in read.months:
            print(f"  {month}  {kind:<18}{count:>10,}" + (f"   amount {amount:,}" if amount is not None else ""))
    if read.kinds:
        print("\nevents by type")
        for kind, count, amount in read.kinds:
            print(f"  {kind:<18}{count:>10,}" + (f"   amount {amount:,}" if amount is not None else ""))
        print(f"\n{read.users:,} users; {read.guests:,} events without one")
    if read.ids and read.ids.nobody_known:
        print(f"\n{NOBODY}")
    if read.ids and read.ids.doubts:
        print("\nids that are likely no person")
        for doubt in read.ids.doubts:
            print(f"  {doubt}")
        print(f"  {REMEDY}")
    if read.rows:
        print(f"\nfirst {len(read.rows)} rows as {read.what}")
        _print_rows(read.columns, read.rows)
    for hint in read.hints:
        print(f"\nhint: {hint}")
    if read.questions:
        print("\nquestions of the draft; while one stands in the source, no run reads anything")
        for question in read.questions:
            print(f"  {question}")
    if not read.accepted:
        print("\nnothing was accepted: mend the mapping; docs/sources.md says what each reason means")


def _print_rows(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    shown = [n for n, _ in enumerate(columns) if any(row[n] is not None for row in rows)]
    width = max((len(columns[n]) for n in shown), default=0)
    for row in rows:
        print()
        for n in shown:
            value = row[n]
            text = value.isoformat(sep=" ") if isinstance(value, dt.datetime) else value
            print(f"  {columns[n]:<{width}}  {_short('' if text is None else str(text), 120)}")


def _short(text: str, limit: int) -> str:
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."
