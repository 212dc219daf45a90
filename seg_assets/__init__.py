"""User segments that stay right every day, as a Dagster project."""

__version__ = "0.2.0"
