"""Hash JSON values. Not here: the content hash of a table, which the lake computes in SQL."""

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """Return a short stable hash of a JSON value (16 hex digits of SHA-256)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
