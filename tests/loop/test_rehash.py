"""Content hashes of another kind stop the comparison by name; `rehash` makes them anew and nothing becomes stale."""

import shutil
from dataclasses import replace

import pytest

from seg_assets.core.errors import DamagedFileError, HashKindError
from seg_assets.core.tables import TABLES
from seg_assets.drift import verdict
from seg_assets.lake import content_hash
from seg_assets.loop import doctor
from seg_assets.loop.rehash import rehash
from seg_assets.loop.staleness import stale
from seg_assets.segments.decisions.store import MANUAL, decisions, write_decision
from tests.drift.small_shop import Shop, compare_without_evidently, day

LAST = 13


@pytest.fixture(autouse=True, scope="module")
def without_evidently():
    patch = pytest.MonkeyPatch()
    patch.setattr(verdict, "compare", compare_without_evidently)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory) -> Shop:
    """A shop with a bootstrap and a re-clustering, at rest; content hashes of today's kind."""
    shop = Shop(tmp_path_factory.mktemp("rest"), shift=6)
    shop.daily(0, LAST)
    shop.settle()
    assert [d.cause for d in decisions(shop.lake, "value")] == ["bootstrap", "drift"]
    return shop


@pytest.fixture
def shop(at_rest, tmp_path) -> Shop:
    shutil.copytree(at_rest.settings.home, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path, *at_rest.strategies.values(), shift=at_rest.shift)


@pytest.fixture
def other_kind(monkeypatch):
    """From now on this process computes hashes of another kind."""
    formula = content_hash.content_hash_sql
    monkeypatch.setattr(content_hash, "HASH_KIND", "another-1")
    monkeypatch.setattr(
        content_hash,
        "content_hash_sql",
        lambda con, source: formula(con, source).replace("concat_ws('|', ", "concat_ws('|', 'another', "),
    )


def rows(shop: Shop) -> dict[tuple, list[tuple]]:
    """Every row of every file, in order."""
    lake, read = shop.lake, {}
    for table in TABLES:
        for d in lake.days(table):
            for part in lake.parts(table, d):
                with lake.connect() as con:
                    path = lake.path(table, d, part)
                    read[table, d, part] = con.execute(
                        f"select * from read_parquet('{path}', hive_partitioning = false)"
                    ).fetchall()
    return read


def kinds(shop: Shop) -> set[str]:
    lake = shop.lake
    return {lake.provenance(t, d, p).hash_kind for t in TABLES for d in lake.days(t) for p in lake.parts(t, d)}


def test_a_footer_that_names_no_kind_is_of_the_first_one(shop):
    assert content_hash.HASH_KIND == content_hash.FIRST_KIND, "another DuckDB: the lake must be hashed anew"
    assert kinds(shop) == {content_hash.FIRST_KIND}


@pytest.mark.usefixtures("other_kind")
def test_days_of_another_kind_are_neither_stale_nor_fresh_and_doctor_names_them(shop):
    with pytest.raises(HashKindError, match=r"another kind \(duckdb-2.0/xor-sum-1\).*seg-assets rehash"):
        stale(shop.lake, shop.strategies)
    with pytest.raises(HashKindError, match="seg-assets rehash"):
        shop.plan()
    findings = [f for f in doctor.examine(shop.settings) if f.kind == "other hash"]
    assert {f.table for f in findings} == {t for t in TABLES if shop.lake.days(t)}
    assert {f.mend for f in findings} == {"seg-assets rehash"}
    assert not [f for f in doctor.examine(shop.settings, verify=True) if f.kind == "damaged"]


@pytest.mark.usefixtures("other_kind")
def test_after_rehash_nothing_is_stale_and_every_row_and_decision_is_as_it_was(shop):
    before, made = rows(shop), [d.decision_id for d in decisions(shop.lake, "value")]
    assert rehash(shop.lake) == len(before)
    assert kinds(shop) == {"another-1"}
    assert stale(shop.lake, shop.strategies) == {}
    assert shop.plan().runs == []
    assert rows(shop) == before
    assert [d.decision_id for d in decisions(shop.lake, "value")] == made
    assert rehash(shop.lake) == 0


@pytest.mark.usefixtures("other_kind")
def test_what_was_stale_stays_stale_and_is_made_again(shop):
    shop.land([day(5)], "late")
    rehash(shop.lake)
    assert set(stale(shop.lake, shop.strategies)) == {"user_daily_activity", "user_category_activity", "identity_links"}
    shop.settle()
    assert stale(shop.lake, shop.strategies) == {}


@pytest.mark.usefixtures("other_kind")
def test_a_decision_keeps_what_its_inputs_are_now_when_another_is_added_to_its_day(shop):
    rehash(shop.lake)
    derived = decisions(shop.lake, "value")[1]
    assert derived.current_inputs != derived.inputs
    assert write_decision(shop.lake, replace(derived, cause=MANUAL, rehashed={}))
    again, by_hand = decisions(shop.lake, "value")[1:]
    assert (again.decision_id, again.current_inputs) == (derived.decision_id, derived.current_inputs)
    assert by_hand.cause == MANUAL


@pytest.mark.usefixtures("other_kind")
def test_a_rehash_that_was_killed_is_ended_by_the_next_one(shop, monkeypatch):
    from seg_assets.lake import publish

    before, written = rows(shop), []
    write = publish.write_day

    def killed(*args):
        if len(written) == len(before) // 2:
            raise KeyboardInterrupt
        written.append(args[2])
        write(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "write_day", killed)
        rehash(shop.lake)
    assert len(kinds(shop)) == 2
    assert rehash(shop.lake) == len(before) - len(written)
    assert stale(shop.lake, shop.strategies) == {}
    assert shop.plan().runs == []
    assert rows(shop) == before


@pytest.mark.usefixtures("other_kind")
def test_a_damaged_file_is_never_given_a_good_hash(shop):
    path = shop.lake.path("user_profiles", day(3))
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedFileError, match="user_profiles"):
        rehash(shop.lake)
    assert shop.lake.provenance("user_profiles", day(3)).hash_kind == content_hash.FIRST_KIND
