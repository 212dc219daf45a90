"""Know where pages lie, and write the index of those that exist.

Not here: what a page says (`gather`) and how it looks (`page`).
"""

import contextlib
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from seg_assets.core.settings import Settings
from seg_assets.lake.files import write_text
from seg_assets.reports.page import render_index

FOLDER = "segments"


def root(settings: Settings) -> Path:
    """Return the root folder of all reports."""
    return Path(settings.reports or settings.home / "reports")


def page_path(settings: Settings, strategy: str, day: dt.date) -> Path:
    """Return where the page of one day and strategy lies."""
    return root(settings) / FOLDER / strategy / f"day={day.isoformat()}.html"


def index_path(settings: Settings) -> Path:
    """Return where the index of all pages lies."""
    return root(settings) / "index.html"


def pages(settings: Settings) -> dict[str, list[dt.date]]:
    """Return the days that have a page by strategy, newest first."""
    folder = root(settings) / FOLDER
    by_strategy: dict[str, list[dt.date]] = {}
    for child in sorted(folder.iterdir()) if folder.is_dir() else []:
        days = []
        for file in child.glob("day=*.html"):
            with contextlib.suppress(ValueError):
                days.append(dt.date.fromisoformat(file.stem.removeprefix("day=")))
        if days:
            by_strategy[child.name] = sorted(days, reverse=True)
    return by_strategy


def write_index(settings: Settings, titles: Mapping[str, str]) -> Path:
    """Write the index of the pages that exist; again when another run added one meanwhile."""
    path = index_path(settings)
    while True:
        listed = pages(settings)
        strategies = []
        for name, days in listed.items():
            months: dict[str, list[tuple[str, str]]] = {}
            for day in days:
                months.setdefault(f"{day:%B %Y}", []).append((str(day), f"{FOLDER}/{name}/day={day}.html"))
            strategies.append((titles.get(name, name), list(months.items())))
        write_text(path, render_index(strategies))
        if pages(settings) == listed:
            return path
