"""Match names of landing files with the patterns of a source, and read the day in them.

Not here: which files exist (`events.landing`).
"""

import datetime as dt
import functools
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

_DAY = re.compile(r"\{day(?::([^{}]*))?\}")
_DIRECTIVES = {"Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}", "y": r"\d{2}", "j": r"\d{3}"}


class FilePattern(BaseModel):
    """A path relative to the landing folder, with `{day}` and the globs * and ?."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str

    @field_validator("text")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not value or value.startswith(("/", "~")) or ".." in Path(value).parts or "\\" in value:
            raise ValueError("a path relative to the landing folder, with / and without ..")
        rest = _DAY.sub("", value)
        if "{" in rest or "}" in rest or "[" in rest or "]" in rest:
            raise ValueError("only {day} or {day:%Y%m%d} may stand in braces, and the globs are * and ?")
        if "**" in value:
            raise ValueError("** is not read; name each folder, or use * for one of them")
        for match in _DAY.finditer(value):
            form = match.group(1)
            if form is not None:
                used = re.findall(r"%(.)", form)
                if not used or any(d not in _DIRECTIVES for d in used):
                    raise ValueError(f"{{day:{form}}}: use the directives %Y %m %d %y %j, for example {{day:%Y%m%d}}")
        return value

    @property
    def has_day(self) -> bool:
        """Whether the name speaks of a day or a longer period."""
        return _DAY.search(self.text) is not None

    @property
    def names_one_day(self) -> bool:
        """Whether the name fixes one day (a month in the name does not)."""
        used = set(re.findall(r"%(.)", "".join(m.group(1) or "%Y%m%d" for m in _DAY.finditer(self.text))))
        return bool(used & {"Y", "y"}) and ({"m", "d"} <= used or "j" in used)

    def glob(self, day: dt.date) -> str:
        """Return the pattern of the files of one day, as a glob."""
        return _DAY.sub(lambda m: day.strftime(m.group(1) or "%Y-%m-%d"), self.text)

    def glob_any(self) -> str:
        """Return the pattern of the files of every day, as a glob."""
        # {day}*.csv becomes *.csv: two stars would mean folders
        return re.sub(r"\*+", "*", _DAY.sub("*", self.text))

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        """What a matching relative path looks like, with the parts of the day as groups."""
        out, at = [], 0
        for n, match in enumerate(_DAY.finditer(self.text)):
            out.append(_glob_regex(self.text[at : match.start()]))
            form = match.group(1) or "%Y-%m-%d"
            pieces = re.split(r"%(.)", form)
            for i, piece in enumerate(pieces):
                out.append(f"(?P<{piece}_{n}_{i}>{_DIRECTIVES[piece]})" if i % 2 else re.escape(piece))
            at = match.end()
        out.append(_glob_regex(self.text[at:]))
        return re.compile("".join(out) + r"\Z")

    def matches(self, relative: str) -> bool:
        """Say whether this path is one of the pattern's, whatever its day."""
        return self.regex.match(relative) is not None

    def day_of(self, relative: str) -> dt.date | None:
        """Return the day in a file's name; None when it names none, or a day that does not exist (2024-02-30)."""
        match = self.regex.match(relative)
        if match is None or not self.names_one_day:
            return None
        values: dict[str, str] = {}
        for group, value in match.groupdict().items():
            if values.setdefault(group[0], value) != value:
                return None
        year = values.get("Y") or f"20{values['y']}"
        try:
            if "j" in values:
                return dt.datetime.strptime(f"{year} {values['j']}", "%Y %j").date()  # noqa: DTZ007
            return dt.date(int(year), int(values["m"]), int(values["d"]))
        except ValueError:
            return None


def _glob_regex(text: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c)) for c in text)
