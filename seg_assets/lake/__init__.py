"""Day files: read a day, replace it whole, know what it was built from.

Not here: what any table means (`core.tables`), and Dagster.
"""
