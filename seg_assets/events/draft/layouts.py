"""Recognise the layout of an export by its header, and read from the file what its source has to be told.

Not here: sources of these layouts (`seg_assets/sources`), and headers that nobody knows (`propose`).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_assets.core.yaml_file import read_yaml
from seg_assets.events.draft.container import FileSample
from seg_assets.events.draft.values import Column

LAYOUTS = Path(__file__).with_name("layouts.yaml")


@dataclass(frozen=True)
class Layout:
    """A known layout: its name, which is that of its source, and what is known of it."""

    name: str
    spec: Mapping[str, Any]
    table: str = ""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.spec["title"]

    @property
    def unusable(self) -> str:
        """Why a file of it cannot be read, and what to export in its place; empty where it can."""
        return self.spec.get("unusable", "")

    @property
    def evidence(self) -> str:
        """Say by what it was recognised."""
        if "headerless" in self.spec:
            return f"{self.spec['headerless']['columns']} columns without a header, by their values"
        rule = self.spec["tables"][self.table] if self.table else self.spec
        return "columns " + ", ".join(rule["needs"])

    @property
    def feed(self) -> str:
        """The feed of the shipped source that reads the table; empty for a layout of one file: its first feed."""
        return self.spec["tables"][self.table].get("feed", self.table) if self.table else ""

    def column(self, sample: FileSample, what: str) -> Column | None:
        """Return the column of a file that answers a question (`time`, `currency`, `state`)."""
        wanted = plain(str(self.spec.get(what, "")))
        name = next((c for c in sample.columns if plain(c) == wanted), None) if wanted else None
        return Column(name, sample.values(name)) if name is not None else None


@functools.cache
def layouts() -> dict[str, Mapping[str, Any]]:
    """Return the known layouts by name."""
    return read_yaml(LAYOUTS)


def layouts_of(sample: FileSample) -> list[Layout]:
    """Return the layouts whose rules a file keeps; mostly none or one."""
    have = {plain(c) for c in sample.columns}
    out = []
    for name, spec in layouts().items():
        if "tables" in spec:
            out += [Layout(name, spec, table) for table, rule in spec["tables"].items() if _fits(rule, sample, have)]
        elif _fits(spec, sample, have):
            out.append(Layout(name, spec))
    return out


def nearly(sample: FileSample) -> list[tuple[Layout, list[str]]]:
    """Return layouts of which a file lacks one needed column, each with that column."""
    have, out = {plain(c) for c in sample.columns}, []
    for name, spec in layouts().items():
        lacking = [c for c in spec.get("needs", ()) if plain(c) not in have]
        if len(lacking) == 1 and len(spec["needs"]) >= 5 and not any(plain(c) in have for c in spec.get("never", ())):
            out.append((Layout(name, spec), lacking))
    return out


def plain(name: str) -> str:
    """Return a column's name as headers are compared."""
    return re.sub(r"[\s_\ufeff]+", "", name.casefold())


def _fits(rule: Mapping[str, Any], sample: FileSample, have: set[str]) -> bool:
    if "headerless" in rule:
        return _fits_headerless(rule["headerless"], sample)
    every = all(plain(c) in have or _holds(c, have) for c in rule["needs"])
    if not every or any(plain(c) in have for c in rule.get("never", ())):
        return False
    if not all(any(plain(c) in have for c in names) for names in rule.get("one_of", ())):
        return False
    for name, pattern in rule.get("values", {}).items():
        column = next((c for c in sample.columns if plain(c) == plain(name)), None)
        if column is None or Column(column, sample.values(column)).share(re.compile(pattern)) < 0.9:
            return False
    return True


def _holds(name: str, have: set[str]) -> bool:
    """Say whether a key of JSON holds an object, of which the paths below are the columns."""
    begin = plain(name) + "."
    return any(column.startswith(begin) for column in have)


def _fits_headerless(rule: Mapping[str, Any], sample: FileSample) -> bool:
    if len(sample.columns) != rule["columns"] or sample.format != "csv":
        return False
    rows: Sequence[Sequence[str | None]] = sample.rows
    return all(
        sum(re.fullmatch(pattern, row[int(at)] or "") is not None for row in rows) > 0.9 * len(rows)
        for at, pattern in rule["match"].items()
    )
