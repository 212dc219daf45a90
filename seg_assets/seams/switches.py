"""Read which seams are on: `SEG_ASSETS_SEAMS`, the one switch of everything in this package.

A seam is a file that uses private names of another library, or its file format. Each has a name (`SEAMS`) and a plain
way that gives the same with public names only. The variable is `on` (the default), `off`, or a comma-separated list of
the seams that are on.

Not here: the seams, each of which asks `is_on` where it would be used, and what each saves (docs/performance.md).
"""

import os
from collections.abc import Mapping

from seg_assets.core.errors import ConfigError, did_you_mean

VARIABLE = "SEG_ASSETS_SEAMS"
SEAMS = {
    "dagster_storage": "keep the connections of Dagster's SQLite event log open (a home opts in: deploy/dagster.yaml)",
    "dbt": "read the manifest that an earlier parse of the dbt project left, and close its database afterwards",
    "parquet_footer": "read our JSON out of a Parquet footer without parsing the rest of it",
}


def is_on(seam: str, env: Mapping[str, str] | None = None) -> bool:
    """Return whether a seam is on.

    Args:
        seam: a name of `SEAMS`.
        env: variables to read; default: those of the process, each time anew.

    Raises:
        ConfigError: the variable names a seam that does not exist.
    """
    if seam not in SEAMS:
        raise KeyError(f"{seam}: no seam; there are {', '.join(SEAMS)}")
    text = (os.environ if env is None else env).get(VARIABLE, "").strip()
    if text in ("", "on"):
        return True
    if text == "off":
        return False
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SEAMS:
            raise ConfigError(
                f"{VARIABLE} = {text!r}: no seam {name!r}{did_you_mean(name, SEAMS)}; "
                f"on, off, or a comma-separated list of {', '.join(SEAMS)}"
            )
    return seam in names
