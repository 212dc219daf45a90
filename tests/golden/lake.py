"""Read a lake into lines of the record: every file by its footer, every decision and model by its content.

Read with pyarrow alone, by the lake's layout and its footer key. Comparing is in `record`.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.golden.product import GoldenError
from tests.golden.record import Section, fields

FOOTER_KEY = b"seg_assets"
DECISIONS = "segment_model"
# Of a footer, what says how a file was made and not what is in it, is left out: hash_kind, extra (seconds), summed.
_PLACE = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})/([A-Za-z_][A-Za-z0-9_-]*)\.parquet")


def read_lake(lake: Path, part: str) -> dict[str, Section]:
    """Read a lake as three sections: files, inputs of files and decisions, decisions with their models.

    Args:
        lake: the lake's folder.
        part: first word of the sections' names.

    Raises:
        GoldenError: no file, or a file without our footer.
    """
    files: Section = {}
    inputs: Section = {}
    decisions: Section = {}
    for path in sorted(lake.glob("*/day=*/*.parquet")):
        place = _PLACE.fullmatch(f"{path.parent.name}/{path.name}")
        if path.parent.parent.name.startswith(".") or place is None:
            continue
        table, day, name = path.parent.parent.name, place[1], place[2]
        footer = _footer(path)
        if (footer["table"], footer["day"], footer["part"]) != (table, day, name):
            raise GoldenError(f"{path}: its footer says {footer['table']} of {footer['day']}, {footer['part']}")
        read_from = fields({key: footer["inputs"][key] for key in sorted(footer["inputs"])})
        key = f"{table} {day} {name}"
        inputs[key] = read_from
        files[key] = fields(
            {
                "rows": footer["rows"],
                "content": footer["content_hash"],
                "code": footer["code_version"],
                "inputs": _short(read_from),
            }
        )
        if table == DECISIONS:
            for row in pq.read_table(path, partitioning=None).to_pylist():
                _add_decision(decisions, inputs, day, row)
    if not files:
        raise GoldenError(f"{lake}: holds no file")
    return {f"{part}.files": files, f"{part}.inputs": inputs, f"{part}.decisions": decisions}


def _add_decision(decisions: Section, inputs: Section, day: str, row: dict[str, Any]) -> None:
    """Add the lines of one decision: itself, its model, what became of which segment, what it rested on."""
    which = f"{row['strategy']} {day} {row['sequence']}"
    decisions[f"decision {which}"] = fields(
        {
            "cause": row["cause"],
            "promoted": "yes" if row["promoted"] else "no",
            "id": row["decision_id"],
            "against": row["against_model_id"] or "none",
            "model": row["model_id"],
            "numbers": _short(_canonical(row["numbers"])),
            "lineage": _short(_canonical(row["lineage"])),
            "reference": _short(_canonical(row["reference"])),
            "reason": row["reason"],
        }
    )
    decisions[f"model {which}"] = fields(
        {"id": row["model_id"], "sha256": hashlib.sha256(_canonical(row["model"]).encode()).hexdigest()}
    )
    steps = [
        f"{step['event']} {','.join(step['old_ids']) or 'nothing'} > {','.join(step['new_ids']) or 'nothing'} "
        f"({step['shared_users']})"
        for step in json.loads(row["lineage"])
    ]
    decisions[f"lineage {which}"] = fields({"steps": "; ".join(steps) or "none"})
    rested_on = json.loads(row["inputs"])
    inputs[f"decision {which}"] = fields({key: rested_on[key] for key in sorted(rested_on)})


def _footer(path: Path) -> dict[str, Any]:
    text = (pq.read_metadata(path).metadata or {}).get(FOOTER_KEY)
    if text is None:
        raise GoldenError(f"{path}: no footer {FOOTER_KEY.decode()}")
    return json.loads(text)


def _canonical(text: str) -> str:
    """Write a JSON text anew, so that neither spaces nor the order of keys count."""
    return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
