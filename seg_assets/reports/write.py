"""Pages on disk: each written whole or not at all, and an index of those that are there."""

import contextlib
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from seg_assets.core.settings import Settings
from seg_assets.lake.files import write_text
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
