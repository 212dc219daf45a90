"""Fits of these tests resample four times, not twenty: what hangs on the number is in test_stability."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def few_resamples(request):
    from seg_assets.segments.fitting import stability

    patch = pytest.MonkeyPatch()
    if not request.module.__name__.endswith("test_stability"):
        patch.setattr(stability, "REPLICATIONS", 4)
    yield
    patch.undo()
