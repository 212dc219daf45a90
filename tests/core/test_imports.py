"""The garbage collector is off during a first import, and on afterwards whatever happens."""

import gc

import pytest

from seg_assets.core.imports import quick_imports


def test_the_collector_is_off_during_a_first_import_and_on_again_after_it():
    with quick_imports("no_such_library"):
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), quick_imports("no_such_library"):
        import no_such_library  # noqa: F401  # pyright: ignore[reportMissingImports]
    assert gc.isenabled()


def test_the_collector_stays_on_when_the_library_has_been_imported():
    with quick_imports("pytest"):
        assert gc.isenabled()
