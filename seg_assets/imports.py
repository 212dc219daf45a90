"""Import what is large without the garbage collector looking through it again and again."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports(module: str) -> Iterator[None]:
    """Around the first import of `module` (Evidently, dbt): they make a million objects that stay.

    A fifth to a third of the time. What is there afterwards is kept out of later collections too. Nothing is done
    when the module is there already.
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
