"""The checksum inside a lake file: every byte counts, every reader of Parquet still reads the file."""

import datetime as dt
import shutil

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import DamagedFileError
from seg_assets.lake import checksum
from seg_assets.lake.store import Lake

D1, D2 = dt.date(2024, 1, 1), dt.date(2024, 1, 2)
TABLE = "landed_files"
SCHEMA = {"source_file": "VARCHAR", "feed": "VARCHAR", "lines_read": "BIGINT"}


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake", D1)


def publish(lake, day, rows=3):
    frame = pd.DataFrame(
        {"source_file": [f"f{n}.csv" for n in range(rows)], "feed": ["orders"] * rows, "lines_read": range(rows)}
    )
    return lake.publish_frame(TABLE, day, frame, SCHEMA)


def test_promise_03_not_one_byte_of_a_published_file_can_change_unseen(lake):
    publish(lake, D1)
    path = lake.path(TABLE, D1)
    good = path.read_bytes()
    for at in range(4, len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        with pytest.raises(DamagedFileError, match=r"landed_files.*2024-01-01"):
            Lake(lake.root, D1).read(TABLE, D1)
    path.write_bytes(good)
    assert len(Lake(lake.root, D1).read(TABLE, D1)) == 3


def test_every_reader_of_parquet_reads_the_file(lake):
    publish(lake, D1)
    path = lake.path(TABLE, D1)
    assert checksum.holds(path)
    assert pq.ParquetFile(path).read().num_rows == 3
    assert len(pd.read_parquet(path, partitioning=None)) == 3
    assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(3,)]


def test_a_file_in_another_days_place_is_not_read(lake):
    publish(lake, D1)
    publish(lake, D2, rows=4)
    shutil.copyfile(lake.path(TABLE, D2), lake.path(TABLE, D1))
    with pytest.raises(DamagedFileError, match="is landed_files of 2024-01-02"):
        Lake(lake.root, D1).scan(TABLE, [D1])


def test_a_version_is_summed_once_in_a_process(lake, monkeypatch):
    publish(lake, D1)
    looked = []
    holds = checksum.holds
    monkeypatch.setattr(checksum, "holds", lambda path: looked.append(path) or holds(path))
    for _ in range(3):
        lake.scan(TABLE, [D1])
    assert len(looked) == 1
    publish(lake, D1, rows=5)
    lake.scan(TABLE, [D1])
    assert len(looked) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 40, b"PAR1" + b"\xff" * 8 + b"PAR1"])
def test_what_is_no_parquet_file_has_no_checksum(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not checksum.holds(path)
    with pytest.raises(OSError, match="Parquet"):
        checksum.add(path)
    assert path.read_bytes() == content
