"""One variable switches seams; a mistyped name is refused."""

import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.seams.switches import SEAMS, VARIABLE, is_on


@pytest.mark.parametrize("text", ["", "on", " on "])
def test_every_seam_is_on_unless_something_else_is_asked_for(text):
    assert all(is_on(seam, {VARIABLE: text}) for seam in SEAMS)
    assert all(is_on(seam, {}) for seam in SEAMS)


def test_all_seams_or_all_but_some_can_be_switched_off(monkeypatch):
    assert not any(is_on(seam, {VARIABLE: "off"}) for seam in SEAMS)
    some = list(SEAMS)[:2]
    monkeypatch.setenv(VARIABLE, ", ".join(some))
    assert [seam for seam in SEAMS if is_on(seam)] == some


def test_a_mistyped_seam_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"no seam 'parquet_foter', did you mean 'parquet_footer'"):
        is_on("parquet_footer", {VARIABLE: "parquet_foter"})


def test_the_switch_is_no_setting():
    Settings.from_env({VARIABLE: "off"})
