"""Reach Python from dbt: the dbt-duckdb plugin `lake`, and the Python job that the materialization `lake_day` runs.

Both are ways that dbt documents. A plugin configures connections; a materialization runs Python with
`statement(language='python')`, which dbt-duckdb executes in this process on the model's own connection. What is wanted
comes in as dbt variables (`runner.DbtRun`); what was published, and what failed, goes out as dbt's own log events.

Only dbt imports this module. Not here: the loop over the days (`engine.days`), running dbt (`profiles.runner`).
"""

import contextlib
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.events.logging import AdapterLogger
from duckdb import DuckDBPyConnection

from seg_assets.core.errors import ConfigError, SegAssetsError
from seg_assets.core.sql import literal
from seg_assets.lake.shop_files import FEATURES_KEY
from seg_assets.lake.store import Lake
from seg_assets.profiles.engine.base import Feature
from seg_assets.profiles.engine.days import DayBuilder, ShopColumns, check_days
from seg_assets.profiles.engine.duckdb import DuckDBEngine, show, show_empty
from seg_assets.profiles.project import project_of
from seg_assets.profiles.runner import LOGGER, DbtRun, spill_folder_of_run

_LOG = AdapterLogger(LOGGER)


class Plugin(BasePlugin):
    """Puts the shop's settings on dbt's in-memory database, and a view for every name that a model reads."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read what is wanted from the plugin's `config` in profiles.yml."""
        self.run = DbtRun.read(plugin_config)

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Configure the database once, when it is opened."""
        settings, builder = self.run.settings, _builder(self.run)
        conn.execute(f"set threads = {int(settings.threads)}")
        conn.execute(f"set memory_limit = {literal(settings.memory_limit)}")
        conn.execute(f"set temp_directory = {literal(str(spill_folder_of_run()))}")
        conn.execute("set enable_progress_bar = false")
        conn.execute("set global timezone = 'UTC'")
        builder.lake.attach(conn)
        show_empty(conn, builder.lake, builder.schemas)
        # A test may compare a model of this run with one that is not built now.
        for table in builder.docs if self.run.models else ():
            if table not in self.run.models:
                with contextlib.suppress(duckdb.Error):
                    show(conn, builder.lake, builder.schemas, table, self.run.days)


def _builder(run: DbtRun) -> DayBuilder:
    """Return the builder of a run's days."""
    return DayBuilder(Lake.of(run.settings), project_of(run.settings))


class Job:
    """The Python job of one model, as dbt-duckdb calls it: `model`, `materialize` and `dbtObj` of its module.

    Args:
        spec: of the module, whose source dbt-duckdb wrote to a temporary file.
        table: the model.
        sql: its compiled SQL.
        asked: the variables `run`, `start_date` and `end_date`.
        shop: what the macro `shop_features` says: the shop's features for this model, and the digest of their files.
    """

    def __init__(self, spec: ModuleSpec, table: str, sql: str, asked: dict[str, Any], shop: dict[str, Any]) -> None:
        self.table, self.sql, self.asked = table, sql, asked
        features = [Feature(**feature) for feature in shop["features"]]
        self.shop = ShopColumns(features, shop["digest"]) if features else None
        # dbt-duckdb removes the source and leaves the bytecode.
        if spec.cached:
            Path(spec.cached).unlink(missing_ok=True)

    def model(self, dbt: Any, con: DuckDBPyConnection) -> None:
        """Compute and publish the days, and show them to the tests that follow."""
        try:
            run = DbtRun.read(self.asked)
            builder = _builder(run)
            days = check_days(run.days, builder.lake)
            self._check_features(run, builder.lake)
            with DuckDBEngine(con, builder.lake, builder.schemas, keep_windows=len(days) > 1) as engine:
                for provenance in builder.build(engine, self.table, days, self.sql, self.shop):
                    _LOG.info("{} of {}: {} rows", self.table, provenance.day, str(provenance.rows))
            show(con, builder.lake, builder.schemas, self.table, days)
        except SegAssetsError as error:
            _LOG.debug("{}: {}", type(error).__name__, str(error))
            # dbt-duckdb shows the whole traceback, and the message says what to do.
            raise error.with_traceback(None) from None
        except Exception as error:
            _LOG.debug("{}: {}", type(error).__name__, str(error))
            raise

    def _check_features(self, run: DbtRun, lake: Lake) -> None:
        """Refuse a dbt project that holds other features than the shop has now."""
        wanted = lake.shop_inputs.get(self.table, {}).get(FEATURES_KEY, "")
        if wanted != (self.shop.digest if self.shop else ""):
            raise ConfigError(
                f"features = {run.settings.features}: this dbt project holds other features; run dbt in the shop's own "
                f"project, {project_of(run.settings)}"
            )

    def materialize(self, result: None, con: DuckDBPyConnection) -> None:
        """Do nothing: the days are published."""

    def dbtObj(self, load: Any) -> None:  # noqa: N802  dbt's name
        """Do nothing: the model's SQL reads its inputs itself."""
