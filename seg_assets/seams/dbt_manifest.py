"""Read a dbt manifest that an earlier parse left, so that dbt does not parse the project again.

dbt documents that a manifest can be handed to `dbtRunner(manifest=...)`, and not how to store one between processes.
The file is `partial_parse.msgpack`, which dbt writes beside its other artefacts and reads with the class named below.

The plain way is no manifest at all: dbt then parses the project, 1.4 CPU seconds in each run. A run of one small day
takes as long, its data tests included.

Not here: when a manifest is out of date (`profiles.runner` names the file by a hash of all that is parsed).
"""

from typing import Any

from seg_assets.seams.switches import is_on


def read_manifest(content: bytes) -> Any | None:
    """Return the manifest that a file holds for `dbtRunner`, None when this seam is off."""
    if not is_on("dbt"):
        return None
    from dbt.contracts.graph.manifest import Manifest

    return Manifest.from_msgpack(content)
