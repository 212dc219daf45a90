"""The code location: `defs` is all that Dagster loads."""

from seg_assets.build import build_defs

defs = build_defs()
