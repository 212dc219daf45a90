"""A reader of simulated files that shares no code with the simulator."""

import datetime as dt
import hashlib
import json
from pathlib import Path

import pandas as pd

from seg_assets.events.contract import EVENT_TYPES


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def accepted(line: str) -> dict | None:
    """The event of a line, None when the contract refuses it."""
    try:
        event = json.loads(line)
        dt.datetime.fromisoformat(event["event_time"])
        amount = event.get("amount")
        fine = (
            event["event_type"] in EVENT_TYPES
            and (event.get("user_id") or event.get("anonymous_id"))
            and (amount is None or isinstance(amount, int | float))
        )
    except (ValueError, KeyError, TypeError):
        return None
    return event if fine else None


def events_of(landing: Path, pattern: str = "*.jsonl") -> pd.DataFrame:
    """Accepted events of all files, first of each id, in order of id."""
    rows = []
    for path in sorted((landing / "events").glob(pattern)):
        for line in lines_of(path):
            event = accepted(line)
            if event:
                rows.append({**event, "day": path.name[:10]})
    frame = pd.DataFrame(rows).drop_duplicates("event_id").sort_values("event_id", ignore_index=True)
    for column in {"quantity", "amount", "discount", "rating"} & set(frame.columns):
        frame[column] = frame[column].astype(float)
    frame["day"] = pd.to_datetime(frame["day"])
    return frame


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
