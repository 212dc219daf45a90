"""Read files of users and products: the latest line of a key wins, and each file has an account.

Not here: what carries over from the day before (`events.reader`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa

from seg_assets.core.sql import literal
from seg_assets.events.accounts import ON_PURPOSE_SQL, FileAccount, Rejections
from seg_assets.events.contract import REJECTED_EVENTS
from seg_assets.events.day import BAD_LINES
from seg_assets.events.landing import LandingFile
from seg_assets.events.mapping import FeedMapping
from seg_assets.events.records import read_records
from seg_assets.events.store import (
    MAPPED,
    TABLE_REJECTED,
    TABLE_ROWS,
    column_names,
    column_types,
    insert_rows,
    map_records,
    rejections,
)

_LINES = "seg_table_lines"


class TableFiles:
    """Files of users and products of one run; what does not change from day to day is parsed once.

    Args:
        mapping_of: the mapping of `users` or `products`.
    """

    def __init__(self, mapping_of: Callable[[str], FeedMapping]) -> None:
        self._mapping_of = mapping_of
        self._whole: dict[tuple, tuple[list[FileAccount], list[Rejections], pa.Table]] = {}
        self._accounts: dict[tuple, tuple[FileAccount, pa.Table]] = {}

    def close(self) -> None:
        """Forget every file."""
        self._whole.clear()
        self._accounts.clear()

    def read(
        self, kind: str, files: Sequence[LandingFile], con: duckdb.DuckDBPyConnection, *, undated: bool
    ) -> tuple[list[FileAccount], list[Rejections]]:
        """Fill TABLE_ROWS of `con` from files; undated ones are the same every day."""
        key = (kind, *(f.stat_key() for f in files))
        if undated and key in self._whole:
            accounts, refused, rows = self._whole[key]
            self._create(kind, con)
            insert_rows(con, TABLE_ROWS, rows)
            return accounts, refused
        accounts, refused = self._parse(kind, files, con)
        if undated:
            self._whole[key] = (accounts, refused, con.sql(f"select * from {TABLE_ROWS}").to_arrow_table())
        return accounts, refused

    def account(self, kind: str, file: LandingFile, con: duckdb.DuckDBPyConnection, number: int) -> FileAccount:
        """Return the account of one file, and add its rejected lines to those of a day. Parsed once a run."""
        key = (kind, *file.stat_key())
        if key not in self._accounts:
            (account,), _ = self._parse(kind, [file], con)
            refused = con.sql(
                f"select line, reason, field, original, null::decimal(18,2) as money from {TABLE_REJECTED}"
            ).to_arrow_table()
            con.execute(f"drop table {TABLE_ROWS}")
            con.execute(f"drop table {TABLE_REJECTED}")
            self._accounts[key] = (account, refused)
        account, refused = self._accounts[key]
        insert_rows(con, BAD_LINES, refused, first=str(number))
        # The day counts its refused lines with all the others.
        return replace(account, rejected=0, left_out=0)

    def _create(self, kind: str, con: duckdb.DuckDBPyConnection) -> None:
        contract = self._mapping_of(kind).contract
        con.execute(f"create or replace temp table {TABLE_ROWS} ({column_types(contract)})")
        con.execute(f"create or replace temp table {TABLE_REJECTED} ({column_types(REJECTED_EVENTS)})")

    def _parse(
        self, kind: str, files: Sequence[LandingFile], con: duckdb.DuckDBPyConnection
    ) -> tuple[list[FileAccount], list[Rejections]]:
        mapping = self._mapping_of(kind)
        columns = column_names(mapping.contract)
        accounts = [FileAccount(file.relative, kind, file.size) for file in files]
        self._create(kind, con)
        con.execute(
            f"create or replace temp table {_LINES} (file_no integer, line bigint, {column_types(mapping.contract)})"
        )
        for number, (file, account) in enumerate(zip(files, accounts, strict=True)):
            map_records(con, mapping, read_records(file, mapping, con, account), (
                f"insert into {_LINES} select {number}, line, {columns} from {MAPPED} where reason is null",
                f"insert into {TABLE_REJECTED} select {literal(file.relative)}, line, reason, field, original "
                f"from {MAPPED} where reason is not null",
            ))  # fmt: skip
        # Files in the order of their names, lines in the order of the file: the last one wins.
        ranked = (
            f"select *, row_number() over (partition by {mapping.key} order by file_no desc, line desc) as place "
            f"from {_LINES}"
        )
        con.execute(f"insert into {TABLE_ROWS} select {columns} from ({ranked}) where place = 1")
        for number, accepted, duplicates in con.execute(
            f"select file_no, count(*) filter (where place = 1), count(*) filter (where place > 1) from ({ranked}) "
            "group by 1"
        ).fetchall():
            accounts[number].accepted, accounts[number].duplicates = accepted, duplicates
        con.execute(f"drop table {_LINES}")
        counts = con.execute(
            f"select source_file, count(*) filter (where reason in ({ON_PURPOSE_SQL})), count(*) from {TABLE_REJECTED} "
            "group by 1"
        ).fetchall()
        refused = {name: (left_out, every - left_out) for name, left_out, every in counts}
        for account in accounts:
            account.left_out, account.rejected = refused.get(account.source_file, (0, 0))
        return accounts, rejections(con, TABLE_REJECTED)
