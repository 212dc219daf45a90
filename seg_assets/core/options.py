"""Numbers that a command takes."""

from seg_assets.core.errors import ConfigError


def check_number(option: str, value: float, least: float, most: float) -> None:
    """Raise ConfigError unless `value` lies in least..most; a value that is no number (nan) lies nowhere."""
    if not least <= value <= most:
        raise ConfigError(f"{option} {value}: a number from {least:,} to {most:,}")
