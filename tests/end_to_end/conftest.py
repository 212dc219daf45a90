"""One simulated shop with a planted shift, run as a range once for all tests of this folder."""

import dagster as dg
import pytest

from tests.end_to_end.shop import DAYS, SHIFT, land, run, shop


@pytest.fixture(scope="session")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shift") / "landing zone"
    land(folder, days=DAYS, scenario="shift", script_day=SHIFT)
    return folder


@pytest.fixture(scope="session")
def ranged(tmp_path_factory, landing):
    settings = shop(tmp_path_factory.mktemp("ranged"), landing)
    instance = dg.DagsterInstance.ephemeral()
    return settings, run(settings, 0, DAYS - 1, instance=instance), instance
