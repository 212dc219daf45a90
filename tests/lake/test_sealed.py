"""What was sealed is read as it was written, or not at all."""

import pytest

from seg_assets.lake.sealed import SUMS, put_in_place, read_sealed, seal


@pytest.fixture
def folder(tmp_path):
    fresh = tmp_path / "scratch" / "fresh"
    (fresh / "models").mkdir(parents=True)
    (fresh / "models" / "a b.sql").write_text("select 7")
    (fresh / "project.json").write_text("{}")
    seal(fresh)
    put_in_place(fresh, tmp_path / "sealed")
    return tmp_path / "sealed"


def test_a_sealed_folder_gives_what_was_written(folder):
    assert read_sealed(folder) == {"models/a b.sql": b"select 7", "project.json": b"{}"}


@pytest.mark.parametrize("name", ["models/a b.sql", "project.json", SUMS])
@pytest.mark.parametrize("harm", ["cut", "altered", "gone", "garbage"])
def test_what_is_not_as_it_was_sealed_is_nothing_and_a_fresh_one_takes_its_place(folder, name, harm, tmp_path):
    content = (folder / name).read_bytes()
    harmed = {
        "cut": content[: len(content) // 2],
        "altered": content[:-2] + b"3" + content[-1:],
        "garbage": b"\xff\xfe",
    }
    (folder / name).unlink()
    if harm != "gone":
        (folder / name).write_bytes(harmed[harm])
    assert read_sealed(folder) is None
    fresh = tmp_path / "scratch" / "again"
    fresh.mkdir()
    (fresh / "project.json").write_text("{}")
    seal(fresh)
    put_in_place(fresh, folder)
    assert read_sealed(folder) == {"project.json": b"{}"}


def test_a_good_folder_that_another_process_put_there_stays(folder, tmp_path):
    fresh = tmp_path / "scratch" / "again"
    fresh.mkdir()
    (fresh / "other").write_text("x")
    seal(fresh)
    put_in_place(fresh, folder)
    assert "other" not in read_sealed(folder)


def test_a_place_that_cannot_be_had_is_an_error(tmp_path):
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "file").write_text("x")
    seal(fresh)
    with pytest.raises(OSError, match="No such file"):
        put_in_place(fresh, tmp_path / "nowhere" / "sealed")
