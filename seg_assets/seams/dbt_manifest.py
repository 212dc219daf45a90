"""Read a dbt manifest that an earlier parse left, so that dbt does not parse the project again.

dbt documents that a manifest can be handed to `dbtRunner(manifest=...)`, and not how to store one between processes.
The file is `partial_parse.msgpack`, which dbt writes beside its other artefacts and reads with the class named below.

The plain way is no manifest at all: dbt then parses the project, 9 CPU seconds in each run.

Not here: when a manifest is out of date (`profiles.runner` names the file by a hash of all that is parsed).
"""

from pathlib import Path
from typing import Any

from seg_assets.seams.switches import is_on


def read_manifest(file: Path) -> Any | None:
    """Return the manifest in the file for `dbtRunner`, None when this seam is off."""
    if not is_on("dbt"):
        return None
    from dbt.contracts.graph.manifest import Manifest

    return Manifest.from_msgpack(file.read_bytes())
