"""User segments that stay right every day, as a Dagster project.

Not here: anything but the version. docs/architecture.md says which room holds what; `build` puts the rooms together.
"""

__version__ = "0.2.0"
