"""Write docs/tables.md, one chapter for each lake table, from the specs of the tables: `make tables-doc`.

Not here: the specs (`seg_assets.core.tables`, and the YAML of the dbt project for the tables that dbt makes).
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from seg_assets.build import build_defs
from seg_assets.core.settings import Settings, packed_or_beside
from seg_assets.core.table_spec import Input, TableSpec
from seg_assets.core.tables import TABLES
from seg_assets.core.text import markdown_table
from seg_assets.profiles.schema import model_docs

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"
HEAD = """# Tables of the lake

Made from the specs of the tables by `make tables-doc`; a test compares the two. A day D of a table is one Parquet file,
`lake/<table>/day=YYYY-MM-DD/data.parquet`, and its rows are in the order of its key. What a day reads stands in its
footer as digests: when one of these changes, the day is stale. `seg-assets views` prints SQL that makes a view of each
table in any DuckDB.
"""
WINDOWS = {
    "day": "`{table}` of D",
    "yesterday": "`{table}` of D-1",
    "to_yesterday": "every decision of `{table}` before D",
    "trailing": "`{table}` of D-{first} to D",
    "horizon": "`{table}` of D-{days}",
    "files": "the landing files of D",
    "champion": "the models promoted last on or before D",
    "baseline": "the last decisions before D",
}


def descriptions() -> dict[str, str]:
    """Return what the assets say of their tables."""
    with tempfile.TemporaryDirectory() as home:
        graph = build_defs(Settings.from_env({}, home=Path(home))).get_repository_def().asset_graph
    return {node.key.to_user_string(): node.description or "" for node in graph.asset_nodes}


def page(texts: Mapping[str, str]) -> str:
    """Return the page; `texts` are the descriptions of the tables by name."""
    docs = model_docs(packed_or_beside("dbt_project"))
    parts = [HEAD]
    for table in TABLES.values():
        columns = table.columns or docs[table.name].columns
        parts.append(f"## {table.name}\n\n{' '.join(texts[table.name].split())}\n\n{_facts(table)}\n")
        parts.append(
            markdown_table(["column", "type", "meaning"], [(c.name, c.kind, c.description) for c in columns], ours=True)
        )
        parts[-1] += "\n"
    return "\n".join(parts)


def _facts(table: TableSpec) -> str:
    facts = [
        f"- room: {table.room}",
        f"- key: {', '.join(f'`{column}`' for column in table.key)}",
        f"- reads: {', '.join(_say(source) for source in table.inputs)}",
        f"- code version: {table.code_version}",
    ]
    return "\n".join([*facts, f"- {table.notes}"] if table.notes else facts)


def _say(source: Input) -> str:
    return WINDOWS[source.window].format(table=source.table, days=source.days, first=source.days - 1)


if __name__ == "__main__":
    PAGE.write_text(page(descriptions()), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
