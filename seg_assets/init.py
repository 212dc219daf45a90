"""Write the folder of a new shop, and say how Dagster loads one.

A shop is a folder with its settings, sources, strategies and features; the package is installed and never edited. What
`seg-assets init` writes stands in `shop_template/`, one file each, beside the shipped strategies.

Not here: what the files mean (`core.settings`, `events.source`, `segments.strategy`), the command itself (`commands`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import PACKAGE, Settings

TEMPLATE = PACKAGE / "shop_template"
# A template has another name where its own would be taken for a module, a feature or a rule of this repository's git.
RENAMED = {
    "definitions.py.txt": "definitions.py",
    "gitignore.txt": ".gitignore",
    "sources/shop.yaml": "sources/{shop}.yaml",
}


def write_shop(folder: Path) -> list[Path]:
    """Write a new shop into `folder`, which is made; return the files written, as paths inside it.

    Raises:
        ConfigError: the folder is not empty, is no folder, cannot be written, or its name gives no name for a shop.
    """
    shop = shop_name(folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: a file stands there; name a folder that is new or empty")
        nearest = next(iter(sorted(folder.iterdir())), None) if folder.exists() else None
        if nearest is not None:
            raise ConfigError(
                f"{folder}: not empty ({nearest.name} is there), and nothing is overwritten; name a folder that is new "
                "or empty"
            )
        written = []
        for name, text in _files(shop):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as handle:
                handle.write(text)
            written.append(Path(name))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error}") from None
    return written


def shop_name(folder: Path) -> str:
    """Return the name of the shop in a folder, as sources and code locations may be named.

    Raises:
        ConfigError: there is no letter in the folder's name.
    """
    words = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    name = words.lstrip("_0123456789")
    if not name:
        raise ConfigError(f"{folder}: the folder's name becomes the shop's, so it needs a letter from a to z")
    return name


def dagster_location(settings_file: Path | None) -> list[str]:
    """Return the arguments by which `dagster dev` loads the shop: its own workspace, or ours where it has none."""
    workspace = settings_file.with_name("workspace.yaml") if settings_file else None
    if workspace is not None and workspace.is_file():
        return ["-w", str(workspace)]
    return ["-m", "seg_assets.definitions"]


def _files(shop: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a new shop: path and text."""
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_file():
            name = path.relative_to(TEMPLATE).as_posix()
            yield RENAMED.get(name, name).replace("{shop}", shop), path.read_text("utf-8").replace("{shop}", shop)
    for path in sorted(Settings.model_fields["strategies"].default.glob("*.yaml")):
        yield f"strategies/{path.name}", path.read_text("utf-8")
