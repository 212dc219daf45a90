"""The interface of an engine that computes days of profiles, and the engine on DuckDB.

Not here: how dbt reaches an engine (`profiles.dbt_plugin`).
"""
