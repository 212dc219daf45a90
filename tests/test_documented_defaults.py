"""Every default that a table of the documentation names is the one in the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from seg_assets.core.settings import Settings
from seg_assets.events.source import CsvOptions, EventFeed, Source
from seg_assets.segments.strategy import Drift, Gate, Strategy

DOCS = Path(__file__).parents[1] / "docs"
# Words for a default that is no value of YAML, and what they stand for.
WORDS: dict[str, tuple[Any, ...]] = {
    "required": (PydanticUndefined,), "empty": ("", ()), "none": (None, "", ()), "all": (None,), "": (None, (), "", {}),
    "the features": ((),), "the shop's": (None,), "the source's": (None,), "by ending": (None,), "see below": (None,),
    "ISO 8601": ((),), "file name": (PydanticUndefined,), "the longest window that adds up": (None,),
}  # fmt: skip
# Defaults of settings that depend on where the shop is.
PLACES = {"landing", "lake", "reports", "strategies", "dbt_project"}
TABLE = re.compile(r"\| (?:key|name) \| default \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)")


def rows_below(page: str, heading: str) -> list[tuple[list[str], str]]:
    """Return the keys and the default of every row of the tables below a heading."""
    text = "\n" + (DOCS / page).read_text(encoding="utf-8")
    part = text.split(f"\n{heading}\n", 1)[1]
    if heading.startswith("## "):
        part = part.split("\n## ", 1)[0]
    rows = []
    for block in TABLE.findall(part):
        for row in block.splitlines():
            names, default = (cell.strip() for cell in row.split("|")[1:3])
            rows.append((re.findall(r"`([^`]+)`", names), default))
    assert rows, (page, heading)
    return rows


def default_of(model: type[BaseModel], key: str) -> Any:
    first, _, rest = key.partition(".")
    value = model.model_fields[first].get_default(call_default_factory=True)
    for part in filter(None, rest.split(".")):
        value = getattr(value, part)
    return value


def same(text: str, value: Any) -> bool:
    if text in WORDS:
        return value in WORDS[text]
    if isinstance(value, str | Path) or value.__class__.__name__ == "date":
        return str(value) == text.strip("`")
    return (list(value) if isinstance(value, tuple) else value) == yaml.safe_load(text.strip("`"))


@pytest.mark.parametrize(("page", "heading", "model"), [
    ("strategies.md", "## Keys", Strategy), ("sources.md", "## Keys of a source", Source),
    ("sources.md", "## Keys of a feed", EventFeed), ("settings.md", "# Settings", Settings),
    ("drift.md", "# Drift, and how re-clustering decides", Drift),
])  # fmt: skip
def test_defaults_in_tables_are_those_of_the_code(page, heading, model):
    for keys, default in rows_below(page, heading):
        if model is Settings and keys[0] in PLACES:
            continue
        full = [keys[0].rpartition(".")[0] + k if k.startswith(".") else k for k in keys]
        texts = default.split(", ") if len(full) > 1 else [default]
        for key, text in zip(full, texts * len(full) if len(texts) == 1 else texts, strict=True):
            value = default_of(model, key)
            # A part of its own, whose keys have rows of their own.
            part = isinstance(value, BaseModel) and value == type(value)()
            assert part or same(text, value), f"{page}: {key}: the page says {text!r}, the code {value!r}"


def test_defaults_of_csv_and_of_drift_in_the_text_are_those_of_the_code():
    row = re.search(r"^\| `csv` \|.*$", (DOCS / "sources.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    said = dict(re.findall(r"`(\w+)` \((`,`|`\"`|\w+)[;,)]", row[0]))
    assert set(said) == set(CsvOptions.model_fields)
    for key, text in said.items():
        assert same(text, CsvOptions.model_fields[key].default), (key, text)
    page = (DOCS / "drift.md").read_text(encoding="utf-8")
    assert [key for key in Gate.model_fields if f"`{key}`" not in page] == []
    for key in ("limit", "missing_points", "share_variation"):
        assert re.search(rf"\| `{key}` \| {Drift.model_fields[key].default} \|", page), key
    assert f"`limit_users` ({Drift.model_fields['limit_users'].default:,})" in page
