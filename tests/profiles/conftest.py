"""One random shop of 97 days, built once by dbt for all tests of the room that only read."""

from dataclasses import dataclass

import pytest

from seg_assets.core.settings import Settings
from seg_assets.lake.store import Lake
from seg_assets.profiles import runner
from tests.profiles.shop import History, settings_of

DAYS = 97
# First day, edges of the windows, the day the first days leave the longest window, the last.
SHOWN = (0, 1, 6, 7, 27, 28, 89, 90, 91, 96)


@dataclass
class BuiltShop:
    settings: Settings
    lake: Lake
    history: History
    built: runner.Built


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home whose prepared manifest the tests of the session share."""
    home = tmp_path_factory.mktemp("profiles home")
    runner.load_project(settings_of(home))
    return home


@pytest.fixture(scope="session")
def models(home):
    return [m.name for m in runner.load_project(settings_of(home)).models]


@pytest.fixture(scope="session")
def tests(home):
    return [t.name for t in runner.load_project(settings_of(home)).tests]


@pytest.fixture
def fresh(home, tmp_path):
    """Settings of an empty lake that shares the prepared manifest."""
    return settings_of(home, lake=tmp_path / "lake")


@pytest.fixture(scope="session")
def shop(home, models, tests, tmp_path_factory) -> BuiltShop:
    settings = settings_of(home, lake=tmp_path_factory.mktemp("lake"))
    lake = Lake.of(settings)
    history = History(seed=1, days=DAYS)
    history.put(lake)
    profiles = {"user_profiles", "user_category_profiles"}
    runner.build(settings, history.days, [m for m in models if m not in profiles])
    runner.build(settings, [history.days[n] for n in SHOWN[:-3]], sorted(profiles))
    built = runner.build(settings, [history.days[n] for n in SHOWN[-3:]], sorted(profiles), tests)
    return BuiltShop(settings, lake, history, built)
