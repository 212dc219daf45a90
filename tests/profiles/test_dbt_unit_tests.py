"""The dbt project's own unit tests, run by dbt."""

from seg_assets.profiles import runner


def test_every_dbt_unit_test_passes(fresh):
    outcome = runner.unit_tests(fresh)
    assert len(outcome) >= 8
    assert {name: said for name, said in outcome.items() if said != "pass"} == {}
