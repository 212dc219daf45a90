"""Write the folder of a new shop, and say how Dagster loads one.

A shop is a folder with its settings, sources, strategies and features; the package is installed and never edited. What
`seg-assets init` writes stands in `shop_template/`, one file each, beside the shipped strategies; where files of the
shop are at hand, the source is drafted from them, and what tells of them stands in `shop_template_from/`.

Not here: what the files mean (`core.settings`, `events.source`, `segments.strategy`), the command itself (`commands`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import PACKAGE, Settings
from seg_assets.events.draft.drafting import Draft
from seg_assets.events.draft.writing import text_of

TEMPLATE, TEMPLATE_FROM = PACKAGE / "shop_template", PACKAGE / "shop_template_from"
# The example that a shop with files of its own does not need.
EXAMPLE = ("sources/shop.yaml", "sources/orders-2024-01-01.csv")
# A template has another name where its own would be taken for a module, a feature or a rule of this repository's git.
RENAMED = {
    "definitions.py.txt": "definitions.py",
    "gitignore.txt": ".gitignore",
    "sources/shop.yaml": "sources/{shop}.yaml",
}


def write_shop(folder: Path, exports: Path | None = None, draft: Draft | None = None) -> list[Path]:
    """Write a new shop into `folder`, which is made; return the files written, as paths inside it.

    Args:
        folder: the shop's.
        exports: the folder of the shop's files; without it the shop begins with an example.
        draft: the source that was drafted from them.

    Raises:
        ConfigError: the folder is not empty, is no folder, cannot be written, or its name gives no name for a shop.
    """
    shop = shop_name(folder)
    try:
        check_free(folder)
        written = []
        for name, text in _files(shop, exports, draft):
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


def check_free(folder: Path) -> None:
    """Raise ConfigError unless a shop can be written into a folder: it is new or empty, and its name gives one."""
    shop_name(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file stands there; name a folder that is new or empty")
    nearest = next(iter(sorted(folder.iterdir())), None) if folder.exists() else None
    if nearest is not None:
        raise ConfigError(
            f"{folder}: not empty ({nearest.name} is there), and nothing is overwritten; name a folder that is new or "
            "empty"
        )


def _files(shop: str, exports: Path | None, draft: Draft | None) -> Iterator[tuple[str, str]]:
    """Yield the files of a new shop: path and text."""
    words = {"shop": shop}
    templates = {path.relative_to(TEMPLATE).as_posix(): path for path in sorted(TEMPLATE.rglob("*")) if path.is_file()}
    if exports is not None and draft is not None:
        first, last = draft.first_day, draft.last_day
        if first is None or last is None:
            raise ConfigError(f"{exports}: no line of its files has a day, so there is nothing to begin with")
        words |= {
            "landing": str(exports),
            "landing_yaml": text_of(str(exports)),
            "first": f"{first}",
            "last": f"{last}",
        }
        words["time_zone"] = draft.zone
        templates |= {path.name: path for path in sorted(TEMPLATE_FROM.iterdir())}
        templates = {n: path for n, path in templates.items() if n not in EXAMPLE}
        yield f"sources/{shop}.yaml", draft.text
    for name, path in templates.items():
        text = path.read_text("utf-8")
        if exports is not None and name == "Makefile":
            text = _makefile(text, words)
        yield RENAMED.get(name, name).replace("{shop}", shop), _filled(text, words)
    for path in sorted(Settings.model_fields["strategies"].default.glob("*.yaml")):
        yield f"strategies/{path.name}", path.read_text("utf-8")


def _filled(text: str, words: Mapping[str, str]) -> str:
    """Return a template with its words filled in, each once: what a word holds is not looked at again."""
    return re.sub(r"\{(" + "|".join(words) + r")\}", lambda m: words[m[1]], text)


def _makefile(text: str, words: Mapping[str, str]) -> str:
    """Return the Makefile of a shop with files of its own: their days, and nothing made-up beside them."""
    text = re.sub(
        r"^(FROM|TO) \?=.*$", lambda m: f"{m[1]} ?= {words['first' if m[1] == 'FROM' else 'last']}", text, flags=re.M
    )
    return re.sub(r"^simulate:.*\n\t.*\n\n", "", text, flags=re.M).replace("help simulate replay", "help replay")
