"""Collect the names that users and other programs rely on: commands, options, settings, assets, checks, jobs.

They are taken from `--help`, from messages and pages, and from Dagster's own view of the definitions. Texts are left
out.
"""

import json
import re
import tempfile
from pathlib import Path

from tests.golden.product import GoldenError, Product
from tests.golden.record import Section, fields

PACKAGE = Path(__file__).parent
# A setting that cannot be: the message that refuses it lists those that can.
NO_SETTING = "SEG_ASSETS_" + "NO_SUCH_SETTING"  # no variable that a page names is unknown (tests/core/test_settings.py)
DEEPEST_COMMAND = 3

_HELP = ("-h", "--help")
# A row of a help page: what is listed, then its text after at least two spaces, or on the next line.
_OPTION_ROW = re.compile(r"^\s+(?:-\w(?:[ =]\S+)?, )?(--[a-z][a-z0-9-]*)((?:[ =]| / )\S.*?)?(?:\s{2,}|$)")
_COMMAND_ROW = re.compile(r"^\s{2,8}([a-z][a-z0-9-]*)(?:\s{2,}|$)")
# Capital words, comma by comma: the settings in that message, however it is worded.
_LISTING = re.compile(r"(?:[A-Z][A-Z_]+, )+[A-Z][A-Z_]+")
_SETTING_ROW = re.compile(r"^\| `([a-z_]+)` \| ([^|]*) \|")


def read_names(product: Product) -> Section:
    """Collect all names of a product.

    Raises:
        GoldenError: a page of help, the list of settings or the definitions cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="golden names ") as folder:
        work = Path(folder)
        return {**read_commands(product, work), **read_settings(product, work), **read_definitions(product, work)}


def read_commands(product: Product, work: Path) -> Section:
    """Read every page of help, from the top down, into commands, options and arguments."""
    section: Section = {}
    asked: list[list[str]] = [[]]
    for _ in range(DEEPEST_COMMAND + 1):
        given = json.dumps([[*words, "--help"] for words in asked])
        pages = json.loads(product.script((PACKAGE / "probe_help.py").read_text(encoding="utf-8"), {}, work, given))
        deeper = []
        for words, page in zip(asked, pages, strict=True):
            # What only looks like a command in a list of the page above has no page of its own.
            if is_page_of(page, words):
                section.update(page_names(page, words))
                deeper += [[*words, word] for word in listed_commands(page)]
        asked = deeper
        if not asked:
            break
    if not section:
        raise GoldenError("`seg-assets --help` shows no commands")
    return section


def is_page_of(page: str, words: list[str]) -> bool:
    """Tell whether a page of help is that of a command, by its line of usage."""
    usage = _usage(page).split()
    return usage[1 : len(words) + 1] == words if usage else False


def page_names(page: str, words: list[str]) -> Section:
    """List a command's name, options and arguments, from argparse's page or click's."""
    command = " ".join(words) or "(top)"
    listing: Section = {f"command {command}": ""}
    usage = _usage(page)
    required = set(_required_options(usage))
    for name, value, text in _options(page):
        if name in _HELP:
            continue
        needed = name in required or re.search(r"\[[^\]]*\brequired\]", text) is not None
        shape = {"takes": "value" if value else "nothing", "required": "yes" if needed else "no"}
        listing[f"option {command} {name}"] = fields(shape)
    for place, word in enumerate(_positionals(usage, len(words) + 1)):
        listing[f"argument {command} {place}"] = fields({"name": word})
    return listing


def listed_commands(page: str) -> list[str]:
    """List words that stand as commands on a page of help; some may be none."""
    return list(dict.fromkeys(match[1] for line in page.splitlines() if (match := _COMMAND_ROW.match(line))))


def read_settings(product: Product, work: Path) -> Section:
    """Take settings' names from the message that refuses an unknown one, their defaults from the page of settings."""
    done = product.python(["-m", "seg_assets.cli", "doctor"], {NO_SETTING: "1"}, cwd=work)
    listed = max(_LISTING.findall(" ".join(done.stderr.split())), key=len, default="")
    if not listed:
        raise GoldenError(f"an unknown setting is not answered with a list of settings: {done.stderr[-500:]}")
    page = product.root / "docs" / "settings.md"
    rows = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    defaults = {match[1]: match[2].strip() for line in rows if (match := _SETTING_ROW.match(line))}
    names = [name.strip().removeprefix("SEG_ASSETS_").lower() for name in listed.split(",")]
    return {f"setting {name}": fields({"default": defaults.get(name, "not documented")}) for name in names}


def read_definitions(product: Product, work: Path) -> Section:
    """Ask Dagster for assets, checks, jobs, schedules and sensors."""
    settings = {"SEG_ASSETS_HOME": str(work / "home"), "SEG_ASSETS_END_DAY": "2024-12-31"}
    code = (PACKAGE / "probe_definitions.py").read_text(encoding="utf-8")
    rows = json.loads(product.script(code, settings, work).splitlines()[-1])
    return {key: fields(values) for key, values in rows.items()}


def _usage(page: str) -> str:
    """The words of the usage without `usage:`, on one line: they end at the first empty line."""
    lines = page.strip("\n").split("\n\n", 1)[0]
    return " ".join(re.sub(r"^\s*usage:", "", lines, flags=re.IGNORECASE).split())


def _bare(usage: str) -> str:
    """A usage without what stands in brackets with an option, or is `[OPTIONS]` or `[ARGS]...`."""
    bare = re.sub(r"\[(?:-(?:[^\[\]]|\[[^\[\]]*\])*|OPTIONS)\]", " ", usage)
    return re.sub(r"(?:COMMAND|ACTION)\s+(?:\[ARGS\])?\.\.\.", " ", bare)


def _required_options(usage: str) -> list[str]:
    return re.findall(r"(--[a-z][a-z0-9-]*)", _bare(usage))


def _positionals(usage: str, skip: int) -> list[str]:
    """Arguments of a usage; `skip` words before them are the program and the command."""
    rest = re.sub(r"--[a-z][a-z0-9-]*[ =]\S+", " ", _bare(usage))
    # argparse parts choices by commas, click by bars.
    return [word.replace("|", ",") for word in rest.split()[skip:]]


def _options(page: str) -> list[tuple[str, str, str]]:
    """(name, value, text) of every option on a page."""
    listing: list[tuple[str, str, str]] = []
    for line in page.splitlines():
        match = _OPTION_ROW.match(line)
        if match:
            listing.append((match[1], (match[2] or "").strip(), line[match.end() :]))
        elif listing and line.startswith("  "):
            name, value, text = listing[-1]
            listing[-1] = (name, value, f"{text} {line.strip()}")
    return listing
