"""Content cannot change under a version: the content of a small shop is pinned beside each table's code version.

Tables that a fit decides are not among them: the last bits of a fit depend on the processor. `make golden` holds those.
"""

import json
from pathlib import Path

from seg_assets.core.digests import digest
from seg_assets.core.tables import TABLES
from seg_assets.lake import content_hash
from seg_assets.lake.store import Lake

PINNED = Path(__file__).parent / "content_of_versions.json"
ROOMS = ("events", "profiles")


def test_promise_20_the_content_of_each_table_changes_with_its_code_version_only(ranged, tmp_path):
    lake = Lake.of(ranged[0])
    now = {
        table.name: {
            "code_version": table.code_version,
            "content": digest([[str(day), f.content_hash] for day, f in sorted(lake.provenances(table.name).items())]),
        }
        for table in TABLES.values()
        if table.room in ROOMS
    }
    pinned = json.loads(PINNED.read_text())
    assert pinned["hash_kind"] == content_hash.HASH_KIND, "record the content anew by the hashes of this DuckDB"
    wrong = {
        name: values["code_version"]
        for name, values in now.items()
        if pinned["tables"].get(name) != values
        and pinned["tables"].get(name, {}).get("code_version") == values["code_version"]
    }
    assert not wrong, (
        f"the content of {', '.join(wrong)} is another one, under the version of before: raise code_version in "
        "core/tables.py, or days that were made before would stand beside days that mean something else"
    )
    fresh = tmp_path / PINNED.name
    fresh.write_text(json.dumps({"hash_kind": content_hash.HASH_KIND, "tables": now}, indent=2) + "\n")
    assert now == pinned["tables"], f"versions were raised: cp '{fresh}' '{PINNED}'"
