"""Digest the shop's own files that days are computed with, so that a changed file makes days stale.

Not here: what the files hold (`profiles.features`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from seg_assets.core.digests import digest
from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings

# Input of `user_profiles` in a footer: the digest of the shop's features/*.sql.
FEATURES_KEY = "features:files"


def feature_files(folder: Path | None) -> list[Path]:
    """Return the shop's `features/*.sql`, sorted by name; none when the setting `features` is not set.

    Raises:
        ConfigError: there is no such folder.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise ConfigError(f"features = {folder}: no such folder; make it, or leave the setting out")
    return sorted(path for path in folder.iterdir() if path.suffix == ".sql" and path.is_file())


def features_digest(folder: Path | None) -> str:
    """Return the digest of the shop's feature SQL, empty when the shop has none."""
    files = feature_files(folder)
    return digest({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}) if files else ""


def shop_inputs(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return, by table, the digests of the shop's files that its days are computed with, by input key."""
    features = features_digest(settings.features)
    return {"user_profiles": {FEATURES_KEY: features}} if features else {}
