"""Import large libraries quickly. Not here: which step needs which library (`orchestration.ahead`)."""

import contextlib
import gc
import sys
from collections.abc import Generator


@contextlib.contextmanager
def quick_imports(module: str) -> Generator[None, None, None]:
    """Turn the garbage collector off while `module` is first imported.

    Evidently and dbt allocate a million objects that live as long as the process. Without the collector their import
    takes a fifth to a third less time. Those objects stay out of later collections too. Do nothing when the module has
    been imported.
    """
    if module in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
