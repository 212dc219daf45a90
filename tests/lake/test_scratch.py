"""Scratch folders belong to their process while it lives, and to nobody afterwards."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from seg_assets.core.settings import Settings
from seg_assets.core.stopping import stop_all
from seg_assets.lake import scratch as scratch_module
from seg_assets.lake.connections import connect
from seg_assets.lake.files import locked, write_text
from seg_assets.lake.scratch import OWNER, SPILL, give_back, owner, places, scratch, take

CHILD = """
import sys, time
from pathlib import Path
from seg_assets.lake.scratch import take
print(take(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def another_process(root):
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(root)], stdout=subprocess.PIPE, text=True)
    return process, root / process.stdout.readline().strip()


def test_a_scratch_folder_is_for_one_user_and_goes_on_leaving(tmp_path):
    before = os.umask(0)
    try:
        with scratch(tmp_path / "new") as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            assert owner(folder) == "lives"
            (folder / "file").write_text("x")
    finally:
        os.umask(before)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_owner_lives_until_its_process_was_killed(tmp_path):
    process, folder = another_process(tmp_path)
    assert owner(folder) == "lives"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert owner(folder) == "gone"
    assert folder.is_dir(), "asking takes nothing"


def test_of_another_machine_or_where_nobody_signed_nothing_is_known(tmp_path):
    process, folder = another_process(tmp_path)
    process.kill()
    process.communicate()
    (folder / OWNER).write_text("another machine")
    assert owner(folder) == "unknown"
    (folder / OWNER).unlink()
    assert owner(folder) == "unknown"
    loose = tmp_path / "loose.parquet"
    loose.write_bytes(b"x")
    assert owner(loose) == "unknown"


def test_what_another_user_owns_and_what_leads_elsewhere_is_left(tmp_path, monkeypatch):
    with scratch(tmp_path) as folder:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert owner(folder) == "lives"
        monkeypatch.undo()
        (tmp_path / "secret").write_text("mine")
        (folder / OWNER).unlink()
        (folder / OWNER).symlink_to(tmp_path / "secret")
        assert owner(folder) == "lives"


def test_a_file_system_without_locks_leaves_the_question_open(tmp_path, monkeypatch):
    def no_locks(handle, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with scratch(tmp_path) as folder:
        assert owner(folder) == "unknown"
    with locked(tmp_path / "lock"):
        pass


def test_a_child_that_ends_takes_nothing_of_its_parent(tmp_path):
    with scratch(tmp_path) as folder:
        child = os.fork()
        if not child:
            scratch_module._give_all_back()
            os._exit(0)
        os.waitpid(child, 0)
        assert owner(folder) == "lives"


def test_a_process_that_is_told_to_stop_leaves_no_scratch_folder(tmp_path):
    folder = take(tmp_path)
    stop_all()
    assert not folder.exists()


def test_every_writer_s_place_is_one_that_gc_looks_at(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    settings = Settings.from_env({}, home=tmp_path / "home")
    roots = [settings.home / "dbt", settings.home / "dbt" / "projects", settings.home / "dbt" / "runs"]
    roots += [settings.lake / ".staging", settings.home / "dagster", settings.reports / "segments" / "value"]
    taken = {take(root) for root in roots} | {take(None, SPILL)}
    assert taken <= set(places(settings, settings.home / "dagster"))
    for folder in taken:
        give_back(folder)


def test_what_a_database_spills_lies_in_a_scratch_folder_of_its_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with connect(1, "64MB", private=True) as con:
        (folder,) = tmp_path.iterdir()
        assert con.execute("select current_setting('temp_directory')").fetchone() == (str(folder),)
        assert owner(folder) == "lives"
    assert list(tmp_path.iterdir()) == []
    # A full disk is no news to who has nothing to spill.
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/nowhere")
    with connect(1, "64MB", private=True) as con:
        assert con.execute("select 1").fetchone() == (1,)


def test_a_file_is_replaced_whole_and_what_it_may_be_read_by_is_decided_by_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "page.html", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_one_process_at_a_time_holds_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr("seg_assets.lake.files.MOST_WAIT_SECONDS", 0.2)
    code = (
        "import sys, time; from pathlib import Path; from seg_assets.lake.files import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    handle = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with locked(tmp_path / "lock"):
        pass  # a process that was halted holds up nobody for ever
    process.kill()
    process.communicate()
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
