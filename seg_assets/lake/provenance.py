"""State what a published file is and what it was built from, and read that from its Parquet footer.

Not here: which inputs a table has (`core.tables`), what a day's inputs are now (`Lake.inputs_of`), whether a day is
stale (`loop.staleness`).
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from upath import UPath

from seg_assets.core.digests import digest
from seg_assets.core.errors import DamagedFileError
from seg_assets.lake.cache import FileCache
from seg_assets.lake.content_hash import FIRST_KIND
from seg_assets.lake.stamps import FileStamp, stamp_of
from seg_assets.seams import parquet_footer
from seg_assets.seams.switches import is_on

FOOTER_KEY = "seg_assets"
# The digest of an input that has no day: yesterday on the first day, no decision yet.
NONE = "none"


@dataclass(frozen=True)
class Provenance:
    """What one published file is and what it was built from.

    inputs: digest of everything that the rows were made from, by input.
    extra: facts about the making (seconds, counts) that are not part of the content.
    summed: whether the file carries a checksum of its bytes (`lake.checksum`).
    hash_kind: which kind of hash `content_hash` is (`lake.content_hash`).
    """

    table: str
    day: str
    part: str
    rows: int
    content_hash: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    code_version: str = "1"
    extra: Mapping[str, Any] = field(default_factory=dict)
    summed: bool = False
    hash_kind: str = FIRST_KIND

    def to_json(self) -> str:
        """Return canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)

    def is_of(self, table: str, day: dt.date, part: str) -> bool:
        """Return whether the file belongs in this place."""
        return (self.table, self.day, self.part) == (table, day.isoformat(), part)


_FOOTERS: FileCache[Provenance] = FileCache()


def provenance_at(
    path: str | Path | UPath, about: str, stamp: FileStamp | None = None
) -> tuple[FileStamp, Provenance] | None:
    """Return the version of a file and the provenance in its footer, None where there is no file.

    Args:
        path: the file.
        about: table and day, for the remedy in an error.
        stamp: the file's stamp when the caller has just looked.

    Raises:
        DamagedFileError: the file is there and its footer cannot be read.
    """
    name = str(path)
    while True:
        stamp = stamp or stamp_of(path)
        if stamp is None:
            return None
        known = _FOOTERS.get(name, stamp)
        if known is not None:
            return stamp, known
        damage, text, provenance = "", b"", None
        try:
            text = _footer_text(path)
            provenance = Provenance(**json.loads(text))
        except FileNotFoundError:
            return None
        except Exception as error:  # pyarrow raises several kinds for damaged files
            damage = str(error)
        # A rename between the two looks would pair one version's stamp with another's footer.
        now = stamp_of(path)
        if now == stamp:
            break
        stamp = now
    if provenance is None:
        raise DamagedFileError(f"{path}: no readable provenance footer ({damage}); re-materialize {about}")
    _FOOTERS.put(name, stamp, provenance, 1000 + 2 * len(text))
    return stamp, provenance


def _footer_text(path: str | Path | UPath) -> bytes:
    text = None
    if not isinstance(path, UPath) and is_on("parquet_footer"):
        try:
            text = parquet_footer.read_value(str(path), FOOTER_KEY)
        except FileNotFoundError:
            raise
        except OSError:
            text = None  # the plain reader says what is wrong
    if text is None:
        place = Path(path) if isinstance(path, str) else path
        with place.open("rb") as handle:
            text = (pq.read_metadata(handle).metadata or {})[FOOTER_KEY.encode()]
    return text


def input_digest(contents: Sequence[str]) -> str:
    """Return the digest of an input from the content hashes of the days that it reads, oldest first."""
    if not contents:
        return NONE
    return contents[0] if len(contents) == 1 else digest(list(contents))
