"""The record: sections of sorted lines, how they are written, and in what two records differ.

A line is a key and its fields, two spaces between them, so that a diff of the committed files can be read. How a
record comes about is in `lake` and `names`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "record"
GAP = "  "
# Key of a line to its fields, in the written form.
Section = dict[str, str]
Record = dict[str, Section]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def fields(values: Mapping[str, object]) -> str:
    """Write fields as `name=value`, two spaces apart; spaces within a value are made single."""
    return GAP.join(f"{name}={' '.join(str(value).split())}" for name, value in values.items())


def write_record(record: Record, folder: Path = FOLDER) -> None:
    """Write each section to a file of its own. Sections that are not in `record` stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, section in record.items():
        lines = [f"{key}{GAP}{section[key]}".rstrip() for key in sorted(section)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_record(folder: Path = FOLDER) -> Record:
    """Read every section of a folder."""
    record: Record = {}
    for path in sorted(folder.glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        record[path.stem] = {key: rest for key, _, rest in (line.partition(GAP) for line in lines)}
    return record


@dataclass(frozen=True)
class Difference:
    """One line that is not the same in both records."""

    section: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.section}: {self.key}: {self.text}"


def compare(recorded: Record, built: Record) -> list[Difference]:
    """Tell in what `built` differs from `recorded`, in the sections that `built` has; earliest day first.

    A difference of a file names the inputs that differ too. Where none does, the change begins in that file.
    """
    differences = []
    for name in sorted(built):
        if name.endswith(".inputs"):
            continue  # shown with the file or decision that they belong to
        ours, theirs = built[name], recorded.get(name, {})
        for key in sorted(ours.keys() | theirs.keys()):
            if key not in ours:
                differences.append(Difference(name, key, f"missing (recorded: {theirs[key] or 'present'})"))
            elif key not in theirs:
                differences.append(Difference(name, key, f"extra, not in the record ({ours[key] or 'present'})"))
            elif ours[key] != theirs[key]:
                text = changed_fields(theirs[key], ours[key])
                differences.append(Difference(name, key, text + _inputs_text(recorded, built, name, key)))
    return sorted(differences, key=_by_day)


def changed_fields(before: str, after: str) -> str:
    """Tell which fields changed, `name old -> new`."""
    old, new = _parse(before), _parse(after)
    names = [*old, *(name for name in new if name not in old)]
    changed = [
        f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in names if old.get(name) != new.get(name)
    ]
    return ", ".join(changed)


def count_by_table(differences: list[Difference]) -> str:
    """Tell how many differences each table or kind of name has, most first."""
    counts = Counter(f"{d.section.partition('.')[0]} {d.key.partition(' ')[0]}" for d in differences)
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())


def summary(record: Record) -> str:
    """Count what a record holds: `N files, N decisions, N models, N names`."""
    files = sum(len(section) for name, section in record.items() if name.endswith(".files"))
    decided = {
        f"{key} {name}": text
        for name, section in record.items()
        if name.endswith(".decisions")
        for key, text in section.items()
    }
    decision_count = sum(key.startswith("decision ") for key in decided)
    models = {_parse(text)["id"] for key, text in decided.items() if key.startswith("model ")}
    return f"{files} files, {decision_count} decisions, {len(models)} models, {len(record.get('names', {}))} names"


def _inputs_text(recorded: Record, built: Record, section: str, key: str) -> str:
    """Tell which inputs of a file or a decision differ, '' where there are none to compare."""
    name = f"{section.partition('.')[0]}.inputs"
    before, after = recorded.get(name, {}).get(key), built.get(name, {}).get(key)
    if before is None or after is None:
        return ""
    if before == after:
        return "; its inputs are equal: the change begins in this line"
    return f"; its inputs: {changed_fields(before, after)}"


def _parse(text: str) -> dict[str, str]:
    pairs = (field.partition("=") for field in text.split(GAP) if field)
    return {name: value for name, _, value in pairs}


def _by_day(difference: Difference) -> tuple[str, str, str, str]:
    day = _DAY.search(difference.key)
    return difference.section.partition(".")[0], day[0] if day else "", difference.section, difference.key
