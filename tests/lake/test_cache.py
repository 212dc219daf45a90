"""One cache for all that a process reads of files: valid for one version of a file, bounded, and forgotten at once."""

import pytest

from seg_assets.lake import cache
from seg_assets.lake.cache import FileCache

OLD, NEW = (1, 10), (2, 10)


@pytest.fixture(autouse=True)
def empty():
    cache.forget()
    yield
    cache.forget()


def test_a_value_holds_for_the_version_of_the_file_that_it_was_read_from():
    lines: FileCache[int] = FileCache()
    lines.put("a", OLD, 3, 1)
    assert (lines.get("a", OLD), lines.get("a", NEW), lines.get("b", OLD)) == (3, None, None)
    lines.put("a", NEW, 4, 1)
    assert (lines.get("a", OLD), lines.get("a", NEW)) == (None, 4)
    lines.discard("a")
    assert lines.get("a", NEW) is None


def test_kinds_of_values_do_not_mix():
    lines: FileCache[int] = FileCache()
    words: FileCache[int] = FileCache()
    lines.put("a", OLD, 3, 1)
    assert words.get("a", OLD) is None
    words.put("a", OLD, 30, 1)
    assert (lines.get("a", OLD), words.get("a", OLD)) == (3, 30)


def test_what_was_not_asked_for_longest_goes_first_whatever_its_kind(monkeypatch):
    monkeypatch.setattr(cache, "BUDGET_BYTES", 10)
    lines: FileCache[int] = FileCache()
    words: FileCache[int] = FileCache()
    lines.put("a", OLD, 1, 4)
    words.put("a", OLD, 2, 4)
    lines.get("a", OLD)
    words.put("b", OLD, 3, 4)
    assert (lines.paths(), words.paths()) == (["a"], ["b"])
    lines.put("a", NEW, 5, 6)
    assert (lines.get("a", NEW), words.get("b", OLD)) == (5, 3)
    lines.put("huge", OLD, 6, 11)
    assert (lines.paths(), words.paths()) == (["a"], ["b"]), "what has no room at all drives nothing out"


def test_everything_is_forgotten_at_once():
    lines: FileCache[int] = FileCache()
    lines.put("a", OLD, 3, cache.BUDGET_BYTES)
    cache.forget()
    assert lines.paths() == []
    lines.put("b", OLD, 4, cache.BUDGET_BYTES)
    assert lines.get("b", OLD) == 4
