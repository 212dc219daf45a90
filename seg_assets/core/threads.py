"""BLAS and OpenMP on one thread, so that sums come out the same on any machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from seg_assets.seams.imports import quick_imports

_LIMITED: ContextVar[bool] = ContextVar("limited", default=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread. Nested it is free."""
    if _LIMITED.get():
        yield
        return
    token = _LIMITED.set(True)
    try:
        with libraries().limit(limits=1):
            yield
    finally:
        _LIMITED.reset(token)


@cache
def libraries() -> Any:
    """The libraries of this process, looked up once: that takes as long as a small fit."""
    # Loaded first: a library that comes later would not be limited.
    with quick_imports("sklearn.cluster"):
        import scipy.linalg  # noqa: F401
        import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
