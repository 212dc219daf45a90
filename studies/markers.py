"""Rewrite the parts of a page that a command writes: what stands between two marker lines.

Not here: what is written (each study, the bench and the soak).
"""

from pathlib import Path

from seg_assets.core.errors import ConfigError
from seg_assets.lake.files import write_text

# Markers of a study's part.
STUDY = "<!-- study:{} -->", "<!-- end of study:{} -->"


def put_between(text: str, begin: str, end: str, content: str, where: str = "the document") -> str:
    """Return `text` with `content` between the first `begin` and the `end` after it; everything else stays.

    Raises:
        ConfigError: the text lacks the markers.
    """
    head, begun, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not begun or not ended:
        raise ConfigError(f"{where}: no lines {begin!r} and {end!r} to write between; put them where the part belongs")
    return f"{head}{begin}\n\n{content.strip()}\n\n{end}{tail}"


def rewrite_study(page: Path, name: str, text: str) -> None:
    """Put `text` between the markers of the study `name`.

    Raises:
        ConfigError: the page lacks the markers.
    """
    begin, end = (marker.format(name) for marker in STUDY)
    write_text(page, put_between(page.read_text(encoding="utf-8"), begin, end, text, str(page)))
