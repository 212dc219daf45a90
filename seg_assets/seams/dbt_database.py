"""Close the in-memory database that dbt leaves open when a command has ended.

dbt-duckdb keeps its database in a class variable for the next command of the process. Nothing of ours reads that
database again. Left open, its memory stays taken, and a process that is forked later waits for threads which the fork
did not copy.

The plain way is to leave the database open until the process ends.

Not here: which connections our own code opens (`lake.connections`).
"""

from seg_assets.seams.switches import is_on


def close_database() -> None:
    """Close dbt's database and forget its adapter; nothing happens when this seam is off."""
    if not is_on("dbt"):
        return
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters

    DuckDBConnectionManager.close_all_connections()
    reset_adapters()
