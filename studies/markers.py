"""Parts of a page that a command writes: what stands between two marker lines."""

from seg_assets.core.errors import ConfigError


def put_between(text: str, begin: str, end: str, content: str, where: str = "the document") -> str:
    """`text` with `content` between the first `begin` and the `end` after it; everything else stays.

    Raises:
        ConfigError: the text lacks the markers.
    """
    head, begun, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not begun or not ended:
        raise ConfigError(f"{where}: no lines {begin!r} and {end!r} to write between; put them where the part belongs")
    return f"{head}{begin}\n\n{content.strip()}\n\n{end}{tail}"
