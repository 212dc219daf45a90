"""doctor on a deliberately broken lake, and what mends it; gc takes leftovers and nothing else."""

import json
import os
import shlex
import shutil

import dagster as dg
import pytest
from upath import UPath

from seg_assets.core.tables import TABLES
from seg_assets.lake import cache
from seg_assets.lake.store import Lake
from seg_assets.loop import doctor, mending
from seg_assets.segments.decisions.store import decisions
from tests.end_to_end.shop import DAYS, contents, day, differences, shop

LAST = DAYS - 1


@pytest.fixture
def copy(ranged, tmp_path, monkeypatch):
    """A home with a lake of its own (files are linked: the product replaces them, the tests too) and no instance."""
    settings, _, _ = ranged
    shutil.copytree(settings.lake, tmp_path / "home" / "lake", copy_function=os.link)
    shutil.copytree(settings.home / "dbt", tmp_path / "home" / "dbt")
    broken = shop(tmp_path / "home", settings.landing, end_day=day(LAST))
    for name, value in broken.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return broken


def found_in(settings, **options):
    return {(f.kind, f.table, f.first): f for f in doctor.examine(settings, **options)}


def command(text):
    """Run a printed command line as a user would, in this process. Returns its exit code."""
    from seg_assets.cli import main

    program, *arguments = shlex.split(text)
    assert program == "seg-assets"
    return main(arguments)


def obey(findings):
    """Run exactly the printed commands, each once."""
    for mend in dict.fromkeys(part.strip() for f in findings for part in f.mend.split(";")):
        if mend.startswith("seg-assets"):
            command(mend)


def put(path, data):
    """Other bytes in a file's place; the file it is linked with stays."""
    path.unlink()
    path.write_bytes(data)


def alter_rows(lake, table, d):
    """Flip one byte of the rows."""
    path = lake.path(table, d)
    good = path.read_bytes()
    at = len(good) // 4
    put(path, good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
    return path


def test_a_good_lake_is_healthy(copy, capsys):
    assert doctor.examine(copy, verify=True) == []
    assert command("seg-assets doctor --verify") == 0
    assert "healthy" in capsys.readouterr().out


def test_missing_stale_and_undecided_days_are_named_and_the_printed_commands_mend_them(copy, ranged, capsys):
    lake = Lake.of(copy)
    last = max(decisions(lake, "value"), key=lambda d: d.day)
    lake.drop("segment_model", last.day, "value")
    lake.drop("user_segments", day(LAST - 1))
    lake.drop("raw_events", day(LAST))
    findings = found_in(copy)
    assert ("undecided", "segment_model/value", last.day) in findings
    assert ("missing", "user_segments", day(LAST - 1)) in findings
    assert any(kind == "stale" and table == "segment_profiles" for kind, table, _ in findings)
    assert command("seg-assets doctor") == 1
    out = capsys.readouterr().out
    assert "undecided" in out
    assert "mend: seg-assets replay" in out
    obey(findings.values())
    assert doctor.examine(copy) == []
    assert differences(contents(copy), contents(ranged[0])) == []


def test_a_gap_and_changed_landing_files_are_named_and_the_printed_commands_mend_them(copy, ranged, tmp_path):
    lake = Lake.of(copy)
    landing = tmp_path / "landing"
    shutil.copytree(copy.landing, landing)
    copy = shop(copy.home, landing, end_day=day(LAST))
    os.environ["SEG_ASSETS_LANDING"] = str(landing)
    changed = next((landing / "events").glob(f"{day(LAST)}*.jsonl"))
    good = changed.read_bytes()
    changed.write_bytes(b"".join(good.splitlines(keepends=True)[:-3]))
    assert command(f"seg-assets replay --from {day(LAST)} --to {day(LAST)}") == 0
    assert doctor.examine(copy) == []
    changed.write_bytes(good)
    lake.drop("raw_events", day(LAST - 1))
    findings = found_in(copy)
    assert findings["missing", "raw_events", day(LAST - 1)].mend.startswith("seg-assets replay --from")
    assert "landing files changed" in findings["stale", "raw_events", day(LAST)].why
    obey(findings.values())
    assert doctor.examine(copy) == []
    assert differences(contents(copy), contents(ranged[0])) == []


def test_damage_is_named_by_its_file_and_the_printed_commands_mend_it(copy, ranged, capsys):
    lake = Lake.of(copy)
    cut = lake.path("user_profiles", day(LAST - 1))
    put(cut, cut.read_bytes()[:-100])
    swapped = lake.path("segment_profiles", day(LAST - 2))
    put(swapped, lake.path("segment_profiles", day(LAST - 3)).read_bytes())
    flipped = alter_rows(lake, "segment_moves", day(LAST))
    quick = doctor.examine(copy)
    assert {(f.table, f.first) for f in quick} == {
        ("user_profiles", day(LAST - 1)),
        ("segment_profiles", day(LAST - 2)),
    }
    findings = doctor.examine(copy, verify=True)
    assert {f.kind for f in findings} == {"damaged"}
    assert {f.why.split(".parquet")[0] + ".parquet" for f in findings} == {str(cut), str(swapped), str(flipped)}
    obey(findings)
    assert "set aside" in capsys.readouterr().err
    assert doctor.examine(copy, verify=True) == []
    assert differences(contents(copy), contents(ranged[0])) == []


def test_a_run_refuses_altered_rows_by_name_and_the_printed_commands_mend_them(copy, ranged, capfd):
    lake = Lake.of(copy)
    for table in TABLES:
        for part in lake.parts(table, day(LAST)):
            lake.drop(table, day(LAST), part)
    altered = alter_rows(lake, "user_segments", day(LAST - 1))
    assert command(f"seg-assets replay --from {day(LAST)} --to {day(LAST)}") != 0
    assert f"{altered}: has other bytes than were written" in "".join(capfd.readouterr()).replace("\n", " ")
    assert not lake.has("user_segments", day(LAST))
    findings = [f for f in doctor.examine(copy, verify=True) if f.kind == "damaged"]
    assert [f.why.split(".parquet")[0] + ".parquet" for f in findings] == [str(altered)]
    obey(findings)
    obey(doctor.examine(copy, verify=True))
    assert doctor.examine(copy, verify=True) == []
    assert differences(contents(copy), contents(ranged[0])) == []


def test_a_failed_run_is_found_in_the_instance_and_the_printed_command_clears_it(copy, ranged, tmp_path, monkeypatch):
    from seg_assets.build import build_defs
    from seg_assets.loop.replay import QUIET
    from seg_assets.orchestration.instance import prepare_instance
    from seg_assets.orchestration.tags import of_range

    folder = prepare_instance(copy)
    assert doctor.examine(copy) == []
    elsewhere = shop(copy.home, tmp_path / "not there", end_day=day(LAST))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        failed = build_defs(elsewhere).get_repository_def().get_job("daily").execute_in_process(
            instance=instance,
            run_config=QUIET,
            tags=of_range(day(LAST), day(LAST)),
            asset_selection=[dg.AssetKey("raw_users")],
            raise_on_error=False,
        )  # fmt: skip
    assert not failed.success
    findings = doctor.examine(copy)
    assert {(f.kind, f.table, f.first) for f in findings} == {("failed run", "raw_users", day(LAST))}
    obey(findings)
    assert doctor.examine(copy) == []
    assert differences(contents(copy), contents(ranged[0])) == []


def roll_back(settings):
    """A rollback of the last day, and where it is."""
    assert command(f"seg-assets rollback value --day {day(LAST)} --reason 'a bad week'") == 0
    obey(doctor.examine(settings))
    assert doctor.examine(settings) == []
    lake = Lake.of(settings)
    assert decisions(lake, "value")[-1].cause == "rollback"
    return lake, lake.path("segment_model", day(LAST), "value")


def test_damage_beside_the_rows_of_a_rollback_is_mended_and_the_rollback_stays(copy):
    lake, path = roll_back(copy)
    before = contents(copy)
    good = path.read_bytes()
    put(path, b"pAR1" + good[4:])
    findings = doctor.examine(copy, verify=True)
    assert [(f.kind, f.table, f.first) for f in findings] == [("damaged", "segment_model", day(LAST))]
    obey(findings)
    assert doctor.examine(copy, verify=True) == []
    assert contents(copy) == before
    assert decisions(lake, "value")[-1].cause == "rollback"


def test_a_file_that_may_hold_a_rollback_is_never_moved_and_what_is_lost_is_said(copy, capsys):
    _, path = roll_back(copy)
    good = path.read_bytes()
    for harmed, lost in (
        (alter_decision(path), "it holds decisions taken by hand: rollback to model"),
        (good[:-9], "it may hold a decision taken by hand"),
    ):
        put(path, harmed)
        capsys.readouterr()
        assert command("seg-assets doctor --verify --mend") == 1
        told = capsys.readouterr()
        assert f"{path}: " in told.out
        assert lost in told.out
        assert f"seg-assets rollback value --day {day(LAST)}" in told.out
        assert f"{path}: left in its place, {lost}" in told.err
        assert path.read_bytes() == harmed


def alter_decision(path):
    """The part's bytes with a byte flipped in the column of the model, the largest one but the reference."""
    import pyarrow.parquet as pq

    group = pq.ParquetFile(path).metadata.row_group(0)
    column = next(c for n in range(group.num_columns) if (c := group.column(n)).path_in_schema == "model")
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0x55
    return bytes(data)


def test_a_damaged_decision_of_the_loops_own_is_set_aside_and_made_again(copy, ranged):
    lake = Lake.of(copy)
    last = max((d for d in decisions(lake, "value") if not d.by_hand), key=lambda d: d.day)
    path = lake.path("segment_model", last.day, "value")
    whole = path.read_bytes()
    put(path, whole[: len(whole) // 2])
    obey(doctor.examine(copy, verify=True))
    assert differences(contents(copy), contents(ranged[0])) == [], "nobody decided anything by hand on that day"
    put(path, alter_decision(path))
    # Not only with --verify: deciding reads decisions and verdicts.
    findings = doctor.examine(copy)
    assert [(f.kind, f.table, f.first) for f in findings] == [("damaged", "segment_model", last.day)]
    obey(findings)
    assert doctor.examine(copy, verify=True) == []
    assert differences(contents(copy), contents(ranged[0])) == []


def test_a_damaged_verdict_is_a_finding_of_the_plain_doctor(copy, capsys):
    cache.forget()  # as a process that just began
    lake = Lake.of(copy)
    flipped = alter_rows(lake, "drift_report", day(LAST - 3))
    assert command("seg-assets doctor --json") == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert (finding["kind"], finding["table"], finding["first"]) == ("damaged", "drift_report", str(day(LAST - 3)))
    assert str(flipped) in finding["why"]


def test_what_is_no_folder_or_no_file_in_a_days_place_is_named_and_the_printed_commands_mend_it(copy, ranged):
    lake = Lake.of(copy)
    blocked = lake.path("segment_moves", day(LAST)).parent
    shutil.rmtree(blocked)
    blocked.write_text("x")
    looped = lake.path("segment_profiles", day(LAST))
    looped.unlink()
    looped.symlink_to(looped.name)
    piped = lake.path("segment_evaluation", day(LAST))
    piped.unlink()
    os.mkfifo(piped)
    nowhere = lake.path("segment_validity", day(LAST))
    nowhere.unlink()
    nowhere.symlink_to("nowhere")
    findings = doctor.examine(copy, verify=True)
    assert {f.kind for f in findings} == {"damaged"}
    assert {f.why.split(": ")[0] for f in findings} == {str(blocked), str(looped), str(piped)}
    obey(findings)
    assert doctor.examine(copy, verify=True) == []
    assert differences(contents(copy), contents(ranged[0])) == []
    mending.collect_garbage(copy, -3600)
    assert [p for p in (lake.root / mending.DAMAGED).rglob("*") if not p.is_dir()] == []


def test_a_damaged_instance_is_one_finding_beside_those_of_the_lake(copy):
    from seg_assets.orchestration.instance import prepare_instance

    folder = prepare_instance(copy)
    Lake.of(copy).drop("segment_moves", day(LAST))
    for path in folder.rglob("*.db"):
        path.write_bytes(b"garbage" * 500)
    findings = doctor.examine(copy)
    assert {(f.kind, f.table) for f in findings} >= {("missing", "segment_moves"), ("instance", "dagster")}
    assert sum(f.kind == "instance" for f in findings) == 1


def test_gc_keeps_what_was_set_aside_just_now_however_old_the_file(copy):
    altered = alter_rows(Lake.of(copy), "segment_moves", day(LAST))
    os.utime(altered, (0, 0))
    (moved,) = mending.set_aside(copy, doctor.examine(copy, verify=True)).moved
    assert moved not in mending.collect_garbage(copy, 3600)[0]
    assert moved in mending.collect_garbage(copy, -1)[0]


def test_gc_takes_no_published_day(copy):
    before = contents(copy)
    mending.collect_garbage(copy, -3600)
    assert contents(copy) == before


def test_on_an_object_store_damage_is_named_and_set_aside_and_gc_takes_it_later(copy, tmp_path):
    remote = copy.model_copy(update={"lake": UPath(f"memory://seg-{tmp_path.name}/lake", use_listings_cache=False)})
    here, there = Lake.of(copy), Lake.of(remote)
    tables = ("raw_events", "user_daily_activity", "segment_moves")
    for table in tables:
        for n in (LAST - 1, LAST):
            there.root.fs.put_file(str(here.path(table, day(n))), str(there.path(table, day(n))))
    assert doctor.damaged_files(there, there.verify) == []
    altered = alter_rows(here, "raw_events", day(LAST))
    there.root.fs.put_file(str(altered), str(there.path("raw_events", day(LAST))))
    findings = doctor.damaged_files(there, there.verify)
    assert [(f.table, f.first) for f in findings] == [("raw_events", day(LAST))]
    moved = mending.set_aside(remote, findings).moved
    # With it goes the day that was made from it; what was not is left.
    assert {m.parent.name for m in moved} == {"raw_events", "user_daily_activity"}
    assert there.days("raw_events") == there.days("user_daily_activity") == [day(LAST - 1)]
    assert there.days("segment_moves") == [day(LAST - 1), day(LAST)]
    assert {p.name for p in mending.collect_garbage(remote, 3600)[0]} == set()
    removed, size = mending.collect_garbage(remote, -3600)
    assert {str(m) for m in moved} <= {str(r) for r in removed}
    assert size > 0
    assert not any(m.exists() for m in moved)
