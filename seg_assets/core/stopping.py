"""Know what is under way, so that a process that is told to stop can end it in order and say how far it got.

Not here: signals and exit codes (`seg_assets.cli`), and what is done about each kind of work (beside that work).
"""

import contextlib
from collections.abc import Callable, Generator

_under_way: list[Callable[[], str]] = []


@contextlib.contextmanager
def when_stopped(act: Callable[[], str]) -> Generator[None]:
    """Have `act` called if the process is told to stop while the block runs.

    Args:
        act: called in a thread beside the work, which goes on meanwhile; returns what to say of it, '' for nothing.
    """
    _under_way.append(act)
    try:
        yield
    finally:
        _under_way.remove(act)


def at_stop(act: Callable[[], str]) -> None:
    """Have `act` called last if the process is told to stop, from now on."""
    _under_way.insert(0, act)


def stop_all() -> list[str]:
    """Call what was registered, the innermost first, and return what is to be said; a failure keeps none from it."""
    said: list[str] = []
    for act in reversed(_under_way.copy()):
        with contextlib.suppress(Exception):
            said.append(act())
    return [text for text in said if text]
