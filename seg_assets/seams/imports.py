"""Old place of `core.imports`."""

from seg_assets.core.imports import quick_imports

__all__ = ["quick_imports"]
