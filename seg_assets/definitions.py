"""Hold the code location of the shop that the settings describe: `defs` is all that Dagster loads.

Not here: how it is put together (`build`).
"""

from seg_assets.build import build_defs

defs = build_defs()
