"""Quote names and texts for SQL. Every identifier and literal that reaches SQL passes through this module.

Not here: SQL that a shop writes in its YAML (`events.expressions`).
"""

import re

from seg_assets.core.errors import ConfigError

_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")


def identifier(name: str) -> str:
    """Return `name` quoted for SQL.

    Raises:
        ConfigError: when it is not a plain identifier (letters, digits, underscore, at most 63).
    """
    if not _IDENTIFIER.match(name):
        raise ConfigError(f"SQL identifier {name!r}: use letters, digits and underscore, not starting with a digit")
    return f'"{name}"'


def literal(text: str) -> str:
    """Return `text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
