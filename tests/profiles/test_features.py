"""Columns that a shop adds to the profiles by `features/*.sql`: what they may read, what they are, what goes stale."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seg_assets.core.errors import ConfigError, DamagedFileError
from seg_assets.core.settings import Settings
from seg_assets.init import write_shop
from seg_assets.lake.shop_files import FEATURES_KEY, features_digest
from seg_assets.lake.store import Lake
from seg_assets.loop.staleness import Snapshot
from seg_assets.profiles import runner
from seg_assets.profiles.engine import duckdb as duckdb_engine
from seg_assets.profiles.engine.days import DayBuilder
from seg_assets.profiles.project import profile_types, project_of
from seg_assets.segments.strategy import strategies_of
from tests.profiles.shop import History, day_of, event, put_day, settings_of

PROFILES = ["user_category_profiles", "user_profiles"]

# Sums of fractions over users and over days, which another order of rows would give another last digit.
FRACTIONS = """
with spent as (
    select
        {{ user_of('activity.actor_id', 'links.user_id') }} as user_id,
        sum(activity.gross_cents / 7.0::double / (1 + {{ as_of() }} - activity.day)) as faded
    from {{ ref('user_daily_activity') }} as activity
    left join (select 'anon:' || anonymous_id as actor_id, user_id from {{ ref('identity_links') }}) as links
        on activity.actor_id = links.actor_id
    group by all
)

select
    profiles.user_id,
    spent.faded as faded_spend_14d,
    profiles.monetary_90d / (select sum(sqrt(abs(monetary_90d)) / 3 + 1) from {{ ref('user_profiles') }}) as standing,
    users.region like 'r%' as is_regional
from {{ ref('user_profiles') }} as profiles
left join spent on profiles.user_id = spent.user_id
left join {{ source('lake', 'raw_users') }} as users on profiles.user_id = users.user_id
"""
TOP = """
select
    user_id,
    max_by(category, (share_90d, category)) as favourite
from {{ ref('user_category_profiles') }}
group by user_id
"""
DESCRIBED = """
models:
  - name: top
    data_tests:
      - holds:
          name: favourites_are_not_toys
          arguments: {expression: "favourite is distinct from 'toys'"}
    columns:
      - name: favourite
        data_type: VARCHAR
        description: "What the user likes best"
"""


@pytest.fixture
def features(tmp_path) -> Path:
    folder = tmp_path / "a shop's features"
    folder.mkdir()
    return folder


def write(features: Path, **files: str) -> None:
    for name, text in files.items():
        (features / f"{name}.sql").write_text(text)


def shop_of(home, tmp_path, features: Path | None, name: str = "lake", **overrides):
    return settings_of(home, lake=tmp_path / name, features=features, **overrides)


def rows(settings, day):
    return Lake.of(settings).read("user_profiles", day).set_index("user_id")


def build(settings, days, models, tests=()):
    return runner.build(settings, days, models, tests)


def hashes(settings, days):
    lake = Lake.of(settings)
    return {day: lake.verify("user_profiles", day).content_hash for day in days}


def test_the_shops_columns_stand_in_the_profiles_beside_the_plain_ones(home, models, tmp_path, features):
    write(features, fractions=FRACTIONS, top=TOP)
    (features / "top.yml").write_text(DESCRIBED)
    settings, plain = shop_of(home, tmp_path, features), shop_of(home, tmp_path, None, "plain")
    history = History(seed=7, days=4, users=5)
    for each in (settings, plain):
        history.put(Lake.of(each))
        build(each, history.days, models)
    last = history.days[-1]
    profiles, wanted = rows(settings, last), rows(plain, last)
    added = ["faded_spend_14d", "standing", "is_regional", "favourite"]
    assert list(profiles.columns) == [*wanted.columns, *added]
    assert profiles.drop(columns=added).equals(wanted)
    share = Lake.of(settings).read("user_category_profiles", last)
    best = share.sort_values(["share_90d", "category"]).groupby("user_id")["category"].last()
    assert profiles["favourite"].dropna().equals(best.reindex(profiles["favourite"].dropna().index).astype("str"))
    assert profiles["favourite"].isna().any(), "a user without a row in the feature has nulls"
    total = (wanted["monetary_90d"].abs() ** 0.5 / 3 + 1).sum()
    assert profiles["standing"].to_list() == pytest.approx((wanted["monetary_90d"] / total).to_list())
    footer = Lake.of(settings).provenance("user_profiles", last)
    assert footer.inputs[FEATURES_KEY] == features_digest(features)
    assert FEATURES_KEY not in Lake.of(plain).provenance("user_profiles", last).inputs
    assert Lake.of(settings).provenance("user_lifetime", last) == Lake.of(plain).provenance("user_lifetime", last)


def test_the_example_of_the_documentation_works(home, models, tmp_path, features):
    page = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text(encoding="utf-8")
    section = page.split("## Columns of your own")[1].split("\n## ")[0]
    sql, described = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)[:2]
    write(features, loyalty=textwrap.dedent(sql))
    (features / "loyalty.yml").write_text(textwrap.dedent(described))
    settings = shop_of(home, tmp_path, features)
    assert "points_are_never_negative" in [t.name for t in runner.load_project(settings).tests]
    history = History(seed=7, days=20, users=5)
    history.put(Lake.of(settings))
    build(settings, history.days, models)
    profiles = rows(settings, history.days[-1])
    assert (profiles["loyalty_points"] == 10 * profiles["orders_90d"] + profiles["views_90d"]).all()
    assert (profiles["orders_14d"].fillna(0) < profiles["orders_90d"]).any()


def test_the_example_of_a_new_shop_is_a_feature_once_it_is_named_sql(home, tmp_path):
    folder = tmp_path / "shop"
    write_shop(folder)
    settings = Settings.from_env({}, file=folder / "settings.yaml")
    assert project_of(settings) == settings.dbt_project, "as it stands, the example is none"
    (folder / "features" / "loyalty.sql.txt").rename(folder / "features" / "loyalty.sql")
    assert profile_types(settings)["loyalty_points"] == "BIGINT"


@pytest.mark.parametrize("harm", ["cut", "altered", "gone"])
def test_a_copy_of_the_project_that_is_not_as_it_was_put_together_is_put_together_again(home, tmp_path, features, harm):
    write(features, top=TOP)
    settings = shop_of(home, tmp_path, features)
    folder = project_of(settings)
    model = next(folder.rglob("user_daily_activity.sql"))
    good = model.read_bytes()
    harmed = {"cut": good[: len(good) // 2], "altered": good.replace(b"1", b"2", 1)}
    model.unlink()
    if harm != "gone":
        model.write_bytes(harmed[harm])
    assert project_of(settings) == folder
    assert model.read_bytes() == good


@pytest.mark.parametrize("span", [(5, 9), (88, 92)])
def test_promise_01_days_with_features_are_the_same_alone_or_in_a_range_carried_or_not_in_any_threads(
    shop, home, tmp_path, features, monkeypatch, span
):
    write(features, fractions=FRACTIONS)
    days = shop.history.days[slice(*span)]
    lakes = []
    for name in ("range", "alone", "threads"):
        settings = shop_of(home, tmp_path, features, name)
        shutil.copytree(shop.lake.root, settings.lake)
        for table in PROFILES:
            for day in days:
                Lake.of(settings).drop(table, day)
        if name == "alone":
            monkeypatch.setattr(DayBuilder, "carries", lambda *args: False)
        if name == "threads":
            monkeypatch.undo()
            monkeypatch.setattr(duckdb_engine, "ONE_THREAD_ROWS", 0)
        for part in [days] if name == "range" else [[day] for day in days]:
            build(settings, part, PROFILES)
        lakes.append(hashes(settings, days))
    assert lakes[0] == lakes[1] == lakes[2]


def test_promise_02_later_events_change_no_shop_column_of_an_earlier_day(home, models, tmp_path, features):
    write(features, fractions=FRACTIONS)
    settings = shop_of(home, tmp_path, features)
    lake, history = Lake.of(settings), History(seed=9, days=4, users=5)
    history.put(lake, history.days[:2])
    build(settings, history.days[:2], models)
    before = hashes(settings, history.days[:2])
    history.put(lake, history.days[2:])
    build(settings, history.days, models)
    assert hashes(settings, history.days[:2]) == before


def test_promise_05_a_changed_file_makes_days_stale_and_days_made_again_are_those_of_a_fresh_lake(
    home, models, tmp_path, features
):
    history = History(seed=9, days=3, users=5)
    settings = shop_of(home, tmp_path, features)
    history.put(Lake.of(settings))

    def stale_days(tables=("user_profiles",)):
        # each time as another process would: the features are read when the lake is opened
        return [i.day for i in Snapshot(Lake.of(settings), {}).stale() if i.table in tables]

    def fresh_hashes(name, folder):
        other = shop_of(home, tmp_path, folder, name)
        history.put(Lake.of(other))
        build(other, history.days, models)
        return hashes(other, history.days)

    build(settings, history.days, models)
    assert stale_days() == []
    assert hashes(settings, history.days) == fresh_hashes("none", None)
    write(features, fractions=FRACTIONS)
    assert stale_days() == history.days
    assert set(stale_days(models)) == set(history.days)
    build(settings, history.days, ["user_profiles"])
    assert stale_days() == []
    assert hashes(settings, history.days) == fresh_hashes("first", features)
    write(features, fractions=FRACTIONS.replace("7.0", "8.0"), top=TOP)
    assert stale_days() == history.days
    build(settings, history.days, ["user_profiles"])
    assert hashes(settings, history.days) == fresh_hashes("second", features)
    (features / "top.yml").write_text(DESCRIBED)
    assert stale_days() == [], "a description changes no row"
    for path in features.iterdir():
        path.unlink()
    assert stale_days() == history.days
    build(settings, history.days, ["user_profiles"])
    assert stale_days() == []
    assert hashes(settings, history.days) == fresh_hashes("gone", None)


REFUSED = {
    "select user_id, now() as a from {{ ref('user_profiles') }}": r"now\(\) gives another value in another run",
    "select user_id, current_date - last_seen_day as a from {{ ref('user_profiles') }}": "current_date gives another",
    "select user_id, today() as a from {{ ref('user_profiles') }}": r"today\(\) gives another value",
    "select user_id, age(first_seen_day) as a from {{ ref('user_profiles') }}": r"age\(\) gives another value",
    "select user_id, random() as a from {{ ref('user_profiles') }}": r"random\(\) gives another value.*as_of\(\)",
    "select user_id, uuid()::varchar as a from {{ ref('user_profiles') }}": r"uuid\(\) gives another value",
    "select user_id, ago(interval 1 day) as a from {{ ref('user_profiles') }}": r"ago\(\) gives another value",
    "select user_id, getvariable('home') as a from {{ ref('user_profiles') }}": r"getvariable\(\) gives another value",
    "select user_id, current_setting('threads') as a from {{ ref('user_profiles') }}": r"current_setting\(\)",
    "select user_id, 1 as a from {{ ref('user_profiles') }} using sample 10": "a sample holds other rows",
    "select user_id, 1 as a from read_csv('/etc/passwd')": r"read_csv\(\) reads what is no table of its day",
    "select user_id, 1 as a from 'points.parquet'": "reads 'points.parquet'; a feature reads the tables of its day",
    "select user_id, (select max(size) from read_text('x')) as a from {{ ref('user_profiles') }}": r"read_text\(\)",
    "select user_id, 1 as a from {{ ref('raw_events') }}": "reads 'raw_events'",
    "select user_id, 1 as a from {{ ref('user_profile') }}": "did you mean 'user_profiles'",
    "select user_id, 1 as a from {{ source('yesterday', 'identity_links') }}": "the source 'lake' only",
    "select user_id, 1 as a from information_schema.tables": "reads 'information_schema.tables'",
    "select user_id, '{{ env_var('HOME') }}' as a from {{ ref('user_profiles') }}": "env_var .* is nothing",
    "select user_id, '{{ run_started_at }}' as a from {{ ref('user_profiles') }}": "run_started_at .* is nothing",
    "{{ config(materialized='table') }} select user_id, 1 as a": "put types, descriptions and tests into the .yml",
    "select user_id, {{ [1, 2] | random }} as a from {{ ref('user_profiles') }}": "filter `random`",
    "select user_id, {{ 1 / 0 }} as a from {{ ref('user_profiles') }}": "its Jinja fails: division by zero",
    "select user_id, {% if %} as a": "line 1: Expected an expression",
    "drop table x": "is not one select",
    "select user_id, 1 as a from {{ ref('user_profiles') }}; select 2": "2 statements; a feature is one select",
    "select user_id from {{ ref('user_profiles') }}": "at least one column beside user_id",
    "select 1 as a": "has no text column `user_id`",
    "select user_id, 1 as orders_90d from {{ ref('user_profiles') }}": "is a column of user_profiles already",
    "select user_id, 1 as day from {{ ref('user_profiles') }}": "'day' is a column of user_profiles already",
    "select user_id, 1 as favourite from {{ ref('user_profiles') }}": "'favourite' is a column of .*a_top.sql already",
    "select user_id, 1 as \"My Points\" from {{ ref('user_profiles') }}": "lower-case letters, digits and underscore",
    "select user_id, sum(orders_90d) as a from {{ ref('user_profiles') }} group by 1": "is HUGEINT.*`...::bigint as a`",
    "select user_id, [1] as a from {{ ref('user_profiles') }}": r"is INTEGER\[\], which a profile cannot hold",
    "select user_id, nothing as a from {{ ref('user_profiles') }}": 'Referenced column "nothing" not found',
    "describe {{ ref('user_profiles') }}": "describes a table",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_promise_11_a_feature_that_reads_more_than_its_day_or_fits_no_profile_is_refused_by_name(
    home, tmp_path, features, sql
):
    write(features, a_top=TOP, points=sql)
    with pytest.raises(ConfigError, match=REFUSED[sql]) as refused:
        project_of(shop_of(home, tmp_path, features))
    assert str(refused.value).startswith(str(features / "points.sql"))


def test_promise_11_names_and_descriptions_of_feature_files_are_checked(home, tmp_path, features):
    settings = shop_of(home, tmp_path, features)
    cases = {
        ("User Points.sql", TOP): "lower-case letters, digits and underscores",
        ("user_profiles.sql", TOP): "and not a table's",
        ("other.yml", DESCRIBED): "describes no file: there is no other.sql",
        ("top.yml", "columns: []"): "expected `models:` with one entry, `name: top`",
        ("top.yml", DESCRIBED + "    unit_tests: []\n"): "unit_tests: a feature has no such property",
        ("top.yml", DESCRIBED.replace("name: favourite\n", "name: favorite\n")): "did you mean 'favourite'",
        ("top.yml", DESCRIBED.replace("VARCHAR", "BIGINT")): "data_type BIGINT is promised, top.sql gives VARCHAR",
    }
    write(features, top=TOP)
    for (name, text), message in cases.items():
        (features / name).write_text(text)
        with pytest.raises(ConfigError, match=message) as refused:
            project_of(settings)
        assert str(refused.value).startswith(str(features / name))
        (features / name).unlink()
    with pytest.raises(ConfigError, match=r"features = .*nowhere: no such folder"):
        Lake.of(shop_of(home, tmp_path, tmp_path / "nowhere"))


def test_promise_03_a_feature_that_fails_on_a_day_is_named_and_the_day_stays_as_it_was(
    home, models, tmp_path, features
):
    settings = shop_of(home, tmp_path, features)
    lake = Lake.of(settings)
    for n, band in enumerate(("18-24", "none of yours")):
        put_day(
            lake,
            day_of(n),
            [event(day_of(n), f"e{n}", "view_item", user_id="ann")],
            [{"user_id": "ann", "age_band": band}],
        )
    write(features, age="select user_id, left(age_band, 2)::int as age_from from {{ source('lake', 'raw_users') }}")
    with pytest.raises(ConfigError, match=r"age.sql: fails on 2024-01-02: Conversion Error.*mend it, then re-run"):
        build(settings, [day_of(0), day_of(1)], models)
    assert rows(settings, day_of(0)).loc["ann", "age_from"] == 18
    assert not lake.has("user_profiles", day_of(1))


def test_a_user_twice_in_a_feature_is_named_and_the_day_stays_as_it_was(home, models, tmp_path, features):
    settings = shop_of(home, tmp_path, features)
    put_day(
        Lake.of(settings),
        day_of(0),
        [event(day_of(0), f"e{n}", "view_item", user_id="ann", category=str(n)) for n in range(3)],
    )
    write(features, liked="select user_id, category as likes from {{ ref('user_category_profiles') }}")
    with pytest.raises(ConfigError, match=r"liked.sql: gives user_id 'ann' 3 times on 2024-01-01.*group by user_id"):
        build(settings, [day_of(0)], models)
    assert not Lake.of(settings).has("user_profiles", day_of(0))


def test_a_damaged_input_is_named_rather_than_the_feature_that_met_it(home, models, tmp_path, features):
    settings = shop_of(home, tmp_path, features)
    lake = Lake.of(settings)
    put_day(lake, day_of(0), [event(day_of(0), "e", "view_item", user_id="ann")], [{"user_id": "ann", "sex": "F"}])
    build(settings_of(home, lake=settings.lake), [day_of(0)], models)
    path = lake.path("raw_users", day_of(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 60 + whole[64:])
    write(features, sexes="select user_id, sex || '!' as shouted from {{ source('lake', 'raw_users') }}")
    with pytest.raises(DamagedFileError, match="raw_users/day=2024-01-01"):
        build(settings, [day_of(0)], ["user_profiles"])


def test_the_shops_data_tests_are_run_by_dbt_and_fail_by_day(home, models, tmp_path, features):
    from seg_assets.profiles import facts

    write(features, top=TOP)
    (features / "top.yml").write_text(DESCRIBED)
    settings = shop_of(home, tmp_path, features)
    project = runner.load_project(settings)
    assert "favourites_are_not_toys" in [t.name for t in project.tests_of({"user_profiles"})]
    lake = Lake.of(settings)
    for n, category in enumerate(("books", "toys")):
        put_day(lake, day_of(n), [event(day_of(n), f"e{n}", "view_item", user_id=f"u{n}", category=category)])
    built = build(settings, [day_of(0), day_of(1)], models, ["favourites_are_not_toys"])
    failed = built.tests["favourites_are_not_toys"]
    assert failed.failures == 1
    builder = DayBuilder(lake, project_of(settings))
    assert facts.failing_days(builder, failed.sql, [day_of(0), day_of(1)]) == {day_of(1): 1}
    assert DayBuilder(lake, project_of(settings)).docs["user_profiles"].descriptions["favourite"] == (
        "What the user likes best"
    )


def test_a_strategy_may_name_the_shops_columns_and_only_in_the_shop_that_has_them(home, tmp_path, features):
    write(features, fractions=FRACTIONS, top=TOP)
    strategies = tmp_path / "strategies"
    strategies.mkdir()
    (strategies / "own.yaml").write_text(
        "name: own\ntitle: Own\nalgorithm: kmeans\n"
        "features:\n  - {column: faded_spend_14d, transform: log1p, missing: zero}\n"
        "  - {column: favourite, one_hot: {top: 3}}\n"
        "drift: {columns: [standing]}\n"
    )
    settings = shop_of(home, tmp_path, features, strategies=strategies)
    assert strategies_of(settings)["own"].columns() == ["faded_spend_14d", "favourite", "standing"]
    assert profile_types(settings)["is_regional"] == "BOOLEAN"
    with pytest.raises(ConfigError, match="column = 'faded_spend_14d': user_profiles has no such column"):
        strategies_of(shop_of(home, tmp_path, None, strategies=strategies))


def test_dbt_by_hand_is_run_in_the_shops_own_project(home, models, tmp_path, features):
    write(features, top=TOP)
    settings = shop_of(home, tmp_path, features)
    put_day(Lake.of(settings), day_of(0), [event(day_of(0), "e", "view_item", user_id="ann", category="books")])
    build(settings, [day_of(0)], models)
    wanted = Lake.of(settings).provenance("user_profiles", day_of(0))
    Lake.of(settings).drop("user_profiles", day_of(0))
    args = ["build", "--vars", "{start_date: 2024-01-01}", "--select", "user_profiles", "--exclude-resource-type"]
    code = f"import sys; from dbt.cli.main import cli; sys.argv[1:] = {[*args, 'unit_test']}; cli()"
    done = []
    for n, project in enumerate((settings.dbt_project, project_of(settings))):
        copy = tmp_path / f"project {n}"
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns("target", "logs"))
        environment = {**settings.environment(), "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"}
        done.append(
            subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True)
        )
    assert "run dbt in the shop's own project" in done[0].stdout
    assert str(project_of(settings)) in done[0].stdout
    assert done[1].returncode == 0, done[1].stdout
    assert Lake.of(settings).provenance("user_profiles", day_of(0)) == wanted


def test_a_shop_without_feature_files_works_with_the_project_as_it_is_shipped(home, tmp_path, features):
    settings = shop_of(home, tmp_path, features)
    assert project_of(settings) == settings.dbt_project
    assert Lake.of(settings).shop_inputs == {}


def test_text_of_a_feature_cannot_break_out_of_the_project_that_is_put_together(home, models, tmp_path, features):
    odd = "select user_id, '{{ '{% endraw %}{{ x }}' }}\\n''ü🙂' as odd from {{ ref('user_profiles') }}"
    write(features, odd=odd)
    settings = shop_of(home, tmp_path, features)
    put_day(Lake.of(settings), day_of(0), [event(day_of(0), "e", "view_item", user_id="ann")])
    build(settings, [day_of(0)], models)
    assert rows(settings, day_of(0)).loc["ann", "odd"] == "{% endraw %}{{ x }}\\n'ü🙂"
