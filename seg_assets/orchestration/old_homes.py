"""Mend the `dagster.yaml` of a home that an earlier version made.

Versions before 0.2.0 named our event log in every home, by the module's place of that time. Dagster cannot open such a
home any more.

Not here: making a home, and opening one (`orchestration.instance`).
"""

import hashlib
from pathlib import Path

from seg_assets.lake.files import write_text

_OLD_PLACE = "module: seg_assets.dagster_storage"
_PLACE = "module: seg_assets.seams.dagster_storage"
# SHA-256 of the files as those versions wrote them.
_AS_WRITTEN = {
    "33f56befaae5",
    "fe7b31f87d10",
}


def renew_config(config: Path, template: Path) -> None:
    """Make a `dagster.yaml` of an earlier version usable; leave every other one as it is.

    A file that nobody edited becomes today's, which names no storage. In an edited one the storage stays, by its place
    of today.

    Args:
        config: the home's `dagster.yaml`.
        template: the `dagster.yaml` of a new home.
    """
    content = config.read_bytes() if config.exists() else b""
    if _OLD_PLACE.encode() not in content:
        return
    if hashlib.sha256(content).hexdigest()[:12] in _AS_WRITTEN:
        write_text(config, template.read_text(encoding="utf-8"))
    else:
        write_text(config, content.decode("utf-8").replace(_OLD_PLACE, _PLACE))
