"""gc takes what killed runs left, of every writer, and nothing that somebody may be using."""

import os
import signal
import subprocess
import sys

import pytest

from seg_assets.core.settings import Settings
from seg_assets.lake.scratch import OWNER, SPILL, take
from seg_assets.loop.mending import UNKNOWN_SECONDS, collect_garbage

KILLED = """
import os, signal, sys
from pathlib import Path
from seg_assets.lake.scratch import SPILL, take
roots = [Path(root) for root in sys.argv[1:]]
for folder in [take(None, SPILL), *(take(root) for root in roots)]:
    (folder / "inside").mkdir()
    (folder / "inside" / "file").write_bytes(b"x" * 10)
    print(folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
LONG_AGO = 2 * 3600


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    return Settings.from_env({}, home=tmp_path / "home")


def age(folder, seconds):
    then = folder.stat().st_mtime - seconds
    os.utime(folder, (then, then))


@pytest.fixture
def left(shop, tmp_path):
    """Folders that a killed process left in every place, made two hours ago."""
    roots = [shop.home / "dbt", shop.home / "dbt" / "projects", shop.home / "dbt" / "runs", shop.lake / ".staging"]
    roots += [shop.home / "dagster", shop.reports / "segments" / "value"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, roots)],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folders = {tmp_path / line for line in done.stdout.split()}
    assert len(folders) == len(roots) + 1
    for folder in folders:
        age(folder, LONG_AGO)
    return folders


def test_what_a_killed_process_left_is_listed_and_then_taken_in_every_place(shop, left):
    listed, size = collect_garbage(shop, 3600, dry_run=True)
    assert set(listed) == left
    assert size >= 10 * len(left)
    assert all(folder.is_dir() for folder in left)
    assert set(collect_garbage(shop, 3600)[0]) == left
    assert not any(folder.exists() for folder in left)
    assert collect_garbage(shop, 0) == ([], 0)


def test_what_a_process_that_lives_has_taken_stays_however_old(shop):
    for folder in (take(None, SPILL), take(shop.home / "dbt")):
        age(folder, 10 * UNKNOWN_SECONDS)
        assert collect_garbage(shop, 0) == ([], 0)
        assert folder.is_dir()


def test_what_was_made_in_the_last_hour_stays_as_its_owner_may_be_about_to_sign(shop, left):
    for folder in left:
        os.utime(folder)
    assert collect_garbage(shop, -3600) == ([], 0)


def test_a_retention_counts_for_leftovers_too(shop, left):
    assert collect_garbage(shop, 3 * 3600) == ([], 0)


def test_what_another_machine_or_an_earlier_version_left_stays_for_a_week(shop, left):
    elsewhere, unsigned, *_ = sorted(left)
    (elsewhere / OWNER).write_text("another machine")
    (unsigned / OWNER).unlink()
    staged = shop.lake / ".staging" / "0123456789.parquet"
    staged.write_bytes(b"x")
    for path in (elsewhere, unsigned, staged):
        age(path, LONG_AGO)
    assert not {elsewhere, unsigned, staged} & set(collect_garbage(shop, 0)[0])
    for path in (elsewhere, unsigned, staged):
        age(path, UNKNOWN_SECONDS)
    assert set(collect_garbage(shop, 0)[0]) == {elsewhere, unsigned, staged}


def test_a_link_in_the_folder_for_temporary_files_leads_gc_nowhere(shop, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    link = tmp_path / "tmp" / f"{SPILL}link"
    link.symlink_to(tmp_path / "precious")
    os.utime(link, (0, 0), follow_symlinks=False)
    collect_garbage(shop, 0)
    assert (tmp_path / "precious" / "file").read_text() == "x"


def test_what_another_user_left_stays(shop, left, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert collect_garbage(shop, 0) == ([], 0)
