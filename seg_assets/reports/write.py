"""Pages on disk: each written whole or not at all, and an index of those that are there."""

import contextlib
import datetime as dt
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from seg_assets.core.settings import Settings
from seg_assets.reports.page import render_index

FOLDER = "segments"


def root(settings: Settings) -> Path:
    """The reports root."""
    return Path(settings.reports or settings.home / "reports")


def page_path(settings: Settings, strategy: str, day: dt.date) -> Path:
    """Where the page of one day and strategy is."""
    return root(settings) / FOLDER / strategy / f"day={day.isoformat()}.html"


def index_path(settings: Settings) -> Path:
    """Where the index of all pages is."""
    return root(settings) / "index.html"


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text`: a reader sees the old page or the new one, and a kill leaves one of the two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with staged.open("w", encoding="utf-8", newline="\n") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        staged.replace(path)
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def pages(settings: Settings) -> dict[str, list[dt.date]]:
    """Strategy to the days that have a page, newest first."""
    folder = root(settings) / FOLDER
    found: dict[str, list[dt.date]] = {}
    for child in sorted(folder.iterdir()) if folder.is_dir() else []:
        days = []
        for file in child.glob("day=*.html"):
            with contextlib.suppress(ValueError):
                days.append(dt.date.fromisoformat(file.stem.removeprefix("day=")))
        if days:
            found[child.name] = sorted(days, reverse=True)
    return found


def write_index(settings: Settings, titles: Mapping[str, str]) -> Path:
    """Write the index of the pages that are there; again when another run added one meanwhile."""
    path = index_path(settings)
    while True:
        there = pages(settings)
        strategies = []
        for name, days in there.items():
            months: dict[str, list[tuple[str, str]]] = {}
            for day in days:
                months.setdefault(f"{day:%B %Y}", []).append((str(day), f"{FOLDER}/{name}/day={day}.html"))
            strategies.append((titles.get(name, name), list(months.items())))
        write_text(path, render_index(strategies))
        if pages(settings) == there:
            return path
