"""What is read, changed and written again is guarded: a lock in a folder, a condition on an object store."""

import multiprocessing
import time

import pytest
from upath import UPath

from seg_assets.core.errors import ChangedMeanwhileError, ConfigError, LakeWriteError
from seg_assets.lake import guard, publish
from seg_assets.lake.publish import Over
from seg_assets.lake.stamps import stamp_of


def add_one(root, times):
    for _ in range(times):
        with guard.hold(root, "counter"):
            number = int((root / "counter").read_text())
            time.sleep(0.002)
            (root / "counter").write_text(str(number + 1))


def test_who_reads_changes_and_writes_under_the_lock_loses_nothing(tmp_path):
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_one, args=(tmp_path, 20)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (tmp_path / "counter").read_text() == "60"


def test_a_lock_that_is_held_for_long_is_named_with_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "LONGEST_WAIT_SECONDS", 0.2)
    with (
        guard.hold(tmp_path, "segment_model-value"),
        pytest.raises(LakeWriteError, match=r"segment_model-value\.lock: another process has held this lock"),
        guard.hold(tmp_path, "segment_model-value"),
    ):
        pass


def test_a_lock_is_gone_with_its_process(tmp_path):
    def hold_and_die(root):
        with guard.hold(root, "x"):
            time.sleep(600)

    worker = multiprocessing.get_context("fork").Process(target=hold_and_die, args=(tmp_path,))
    worker.start()
    while not (tmp_path / guard.LOCKS / "x.lock").exists():
        time.sleep(0.01)
    worker.kill()
    worker.join(10)
    with guard.hold(tmp_path, "x"):
        pass


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b"])
def test_a_lock_has_a_plain_name(tmp_path, name):
    with pytest.raises(ConfigError, match="lock ="), guard.hold(tmp_path, name):
        pass


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_only_the_version_that_was_read_is_replaced(tmp_path, where):
    target = tmp_path / "x.parquet" if where == "folder" else UPath(f"memory://guard-{time.monotonic_ns()}/x.parquet")
    staged = tmp_path / "staged"

    def put(content, over=None):
        staged.write_bytes(content)
        publish.rename_into_place(staged, target, over)

    put(b"one", Over(None))
    read = Over(stamp_of(target))
    put(b"another one")
    with pytest.raises(ChangedMeanwhileError, match="was changed by another run since it was read"):
        put(b"two", read)
    with pytest.raises(ChangedMeanwhileError):
        put(b"two", Over(None))
    put(b"two", Over(stamp_of(target)))
    assert target.read_bytes() == b"two"


class Store:
    """An S3 file system as far as a conditional PUT goes."""

    def __init__(self):
        self.asked = {}

    def put_file(self, staged, target, **condition):
        self.asked = condition
        if condition.get("IfMatch") == "old":
            raise OSError(22, "An error occurred (PreconditionFailed) when calling the PutObject operation")


class S3Path(UPath):
    protocol = "s3"
    fs = Store()


def test_s3_itself_compares_and_replaces(tmp_path, monkeypatch):
    target = object.__new__(S3Path)
    monkeypatch.setattr(S3Path, "__str__", lambda self: "s3://bucket/x.parquet")
    publish._put(tmp_path / "staged", target, Over(None))
    assert S3Path.fs.asked == {"IfNoneMatch": "*"}
    publish._put(tmp_path / "staged", target, Over(('"tag"', 3)))
    assert S3Path.fs.asked == {"IfMatch": '"tag"'}
    with pytest.raises(ChangedMeanwhileError, match=r"s3://bucket/x\.parquet"):
        publish._put(tmp_path / "staged", target, Over(("old", 3)))
    monkeypatch.setattr(S3Path, "protocol", "gcs")
    with pytest.raises(ConfigError, match="use a folder, or S3"):
        publish._put(tmp_path / "staged", target, Over(None))
