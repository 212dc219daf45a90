"""The quick reader of a Parquet footer says what pyarrow says, or nothing; the lake is the same without it."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets.core.errors import DamagedFileError
from seg_assets.lake import cache
from seg_assets.lake.provenance import FOOTER_KEY, Provenance
from seg_assets.lake.store import Lake
from seg_assets.seams.parquet_footer import read_value
from seg_assets.seams.switches import VARIABLE

D1 = dt.date(2024, 1, 1)


@pytest.mark.parametrize("columns", [1, 60, 900])
@pytest.mark.parametrize("value", ["", "x", "{}", "ü" * 200, "y" * 70_000])
def test_it_says_what_pyarrow_says_whatever_the_size_of_the_footer(tmp_path, columns, value):
    path = str(tmp_path / "file.parquet")
    table = pa.table({f"column_{n}": [n] for n in range(columns)})
    pq.write_table(table.replace_schema_metadata({"before": "b", "key": value, "later": "l"}), path)
    assert read_value(path, "key") == pq.read_metadata(path).metadata[b"key"] == value.encode()
    assert read_value(path, "none") is None


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"x" * 40, b"\xff\xff\xff\xffPAR1", b"\x18\x03key\x18\xff\x0f\0\0\0PAR1"]
)
def test_of_what_is_no_parquet_file_it_says_nothing(tmp_path, content):
    path = tmp_path / "file.parquet"
    path.write_bytes(content)
    assert read_value(str(path), "key") is None


@pytest.mark.parametrize("seams", ["on", "off"])
def test_a_footer_is_the_same_with_and_without_it_and_damage_is_named(tmp_path, monkeypatch, seams):
    monkeypatch.setenv(VARIABLE, seams)
    provenance = Provenance("raw_events", D1.isoformat(), "data", 1, "c" * 16, {"landing:files": "d"}, extra={"a": 1})
    lake = Lake(tmp_path, D1)
    path = lake.path("raw_events", D1)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}, metadata={FOOTER_KEY: provenance.to_json()}), path)
    cache.forget()
    assert lake.provenance("raw_events", D1) == provenance
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DamagedFileError, match=r"raw_events.*no readable provenance footer"):
        lake.provenance("raw_events", D1)
