"""What is in the files: the same bytes again, the contract, the counts, late events, time zones."""

import datetime as dt
import json
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.events import contract
from seg_assets.simulator import SimulationConfig, Truth, copy_day, deliver_late, simulate
from tests.simulator.reading import accepted, events_of, hashes, lines_of


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Truth:
    landing = tmp_path_factory.mktemp("plain")
    return simulate(landing, SimulationConfig(users=400, days=20, seed=7, events_per_user_day=2))


@pytest.fixture(scope="module")
def messy(tmp_path_factory) -> Truth:
    landing = tmp_path_factory.mktemp("messy")
    config = SimulationConfig(users=400, days=20, seed=7, events_per_user_day=2, scenario="messy")
    return simulate(landing, config)


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path, file_format):
    fields = {"users": 120, "days": 8, "scenario": "demo", "script_day": 3, "format": file_format}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        simulate(tmp_path / name, SimulationConfig(seed=seed, **fields))
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_longer_run_has_the_same_first_days(tmp_path, file_format):
    fields = {"users": 150, "seed": 3, "scenario": "demo", "script_day": 4, "mobility": 0.01, "format": file_format}
    for days in (10, 20):
        simulate(tmp_path / str(days), SimulationConfig(days=days, **fields))
    short, long = hashes(tmp_path / "10"), hashes(tmp_path / "20")
    data = {name for name in short if name.startswith(("events", "users", "products", "truth/late"))}
    assert len(data) > 20
    assert {name: short[name] for name in data} == {name: long[name] for name in data}


def test_a_second_simulation_replaces_the_first_one_in_its_folder(tmp_path):
    simulate(tmp_path / "a", SimulationConfig(users=50, days=9, seed=1, scenario="messy"))
    simulate(tmp_path / "a", SimulationConfig(users=50, days=4, seed=2, scenario="messy"))
    simulate(tmp_path / "b", SimulationConfig(users=50, days=4, seed=2, scenario="messy"))
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_files_that_no_simulation_wrote_are_not_touched(tmp_path):
    mine = tmp_path / "events" / "2024-01-01.jsonl"
    mine.parent.mkdir()
    mine.write_text("precious\n")
    with pytest.raises(ConfigError, match="no simulation wrote"):
        simulate(tmp_path, SimulationConfig(users=10, days=2))
    assert mine.read_text() == "precious\n"


def test_dirt_and_bots_do_not_change_the_clean_events_of_users(plain, messy, tmp_path):
    clean = events_of(plain.landing)
    for day in messy.late_days():
        deliver_late(messy.landing, day, into=tmp_path)
    dirty = pd.concat([events_of(messy.landing), events_of(tmp_path)]).sort_values("event_id", ignore_index=True)
    bots = set(messy.users[messy.users["is_bot"]]["user_id"])
    known = dirty["user_id"].isin(bots)
    assert known.sum() > 500
    pd.testing.assert_frame_equal(clean, dirty[~known].reset_index(drop=True), check_dtype=False)


def test_counts_are_what_the_files_hold_to_the_line(messy):
    assert messy.counts[["duplicates", "corrupt_lines", "late_events", "late_duplicates"]].sum().min() > 0
    for row in messy.counts.itertuples():
        on_time = lines_of(messy.landing / "events" / f"{row.day:%Y-%m-%d}.jsonl")
        late_file = messy.folder / "late" / f"{row.day:%Y-%m-%d}.late-1.jsonl"
        late = lines_of(late_file) if late_file.exists() else []
        good = [e for e in map(accepted, on_time) if e]
        assert (len(on_time), len(late)) == (row.lines_on_time, row.lines_late)
        assert len(on_time) - len(good) == row.corrupt_lines
        ids, late_ids = {e["event_id"] for e in good}, {json.loads(line)["event_id"] for line in late}
        assert len(late_ids) == row.late_events
        assert len(ids) + len(late_ids) == row.clean_events
        assert not ids & late_ids
        assert len(good) - len(ids) == row.duplicates - row.late_duplicates
        assert len(late) - len(late_ids) == row.late_duplicates


def test_late_events_once_delivered_give_the_same_events_as_in_time(tmp_path):
    fields = {"users": 150, "days": 10, "seed": 4, "scenario": "messy"}
    withheld = simulate(tmp_path / "withheld", SimulationConfig(**fields))
    simulate(tmp_path / "delivered", SimulationConfig(late="delivered", **fields))
    oracle = simulate(tmp_path / "oracle", SimulationConfig(late="on_time", **fields))
    days = withheld.late_days()
    assert days
    before = events_of(withheld.landing)
    for day in days:
        assert deliver_late(withheld.landing, day) is not None
        assert deliver_late(withheld.landing, day) is None
    after = events_of(withheld.landing)
    assert len(before) < len(after)
    pd.testing.assert_frame_equal(after, events_of(oracle.landing))
    pd.testing.assert_frame_equal(after, events_of(tmp_path / "delivered"))
    assert not list((oracle.landing / "events").glob("*late*"))


def test_a_shop_can_be_lived_day_by_day(messy, tmp_path):
    day = dt.date(2024, 1, 3)
    copied = {str(path.relative_to(tmp_path)) for path in copy_day(messy.landing, tmp_path, day)}
    assert copied == {"products.csv", "users/2024-01-03.csv", "events/2024-01-03.jsonl"}
    assert hashes(tmp_path).items() <= hashes(messy.landing).items()


def test_parquet_holds_the_same_values_as_json(tmp_path):
    fields = {"users": 100, "days": 4, "seed": 9, "scenario": "messy", "late": "on_time"}
    simulate(tmp_path / "j", SimulationConfig(**fields))
    simulate(tmp_path / "p", SimulationConfig(format="parquet", **fields))
    for name in ("2024-01-01", "2024-01-04"):
        frame = pd.read_parquet(tmp_path / "p" / "events" / f"{name}.parquet")
        good = frame[frame["event_id"].str.startswith("e")].drop_duplicates("event_id")
        lines = map(json.loads, filter(accepted, lines_of(tmp_path / "j" / "events" / f"{name}.jsonl")))
        by_id = {event["event_id"]: event for event in lines}
        assert len(good) == len(by_id)
        for row in good.to_dict("records"):
            for column, value in by_id[row["event_id"]].items():
                cell = None if pd.isna(row[column]) else row[column]
                assert cell == value if not isinstance(value, float) else f"{cell:.2f}" == f"{value:.2f}"


def test_every_event_type_of_the_contract_is_present(plain):
    assert set(events_of(plain.landing)["event_type"]) == set(contract.EVENT_TYPES)


def test_every_event_keeps_the_contract(plain):
    events = events_of(plain.landing)
    assert set(events.columns) - {"day"} == set(contract.RAW_EVENTS) - {"extra"}
    assert events["event_id"].is_unique
    assert set(events["channel"]) == set(contract.CHANNELS)
    assert set(events["device"]) <= set(contract.DEVICES)
    assert (events["user_id"].notna() | events["anonymous_id"].notna()).all()
    assert set(events["rating"].dropna()) <= {1, 2, 3, 4, 5}
    assert (events["discount"].dropna() >= 0).all()
    assert (events["quantity"].dropna() >= 1).all()
    times = pd.to_datetime(events["event_time"], utc=True)
    assert (times.dt.tz_localize(None).dt.normalize() == events["day"]).all()
    money = events["amount"].notna()
    assert (money == events["event_type"].isin(["purchase", "refund"])).all()
    products = pd.read_csv(plain.landing / "products.csv").set_index("product_id")["category"]
    sold = events[events["product_id"].notna()]
    assert (sold["product_id"].map(products) == sold["category"]).all()


def test_users_of_events_are_in_the_users_files_by_then_and_know_their_sign_up(plain):
    events = events_of(plain.landing)
    files = sorted((plain.landing / "users").glob("*.csv"))
    assert len(files) == 20
    users = pd.concat([pd.read_csv(f, dtype=str).assign(day=pd.Timestamp(f.stem)) for f in files])
    first = users.groupby("user_id")["day"].min()
    named = events[events["user_id"].notna()]
    assert (named["user_id"].map(first) <= named["day"]).all()
    signup = users.groupby("user_id")["signup_day"].agg(["min", "max"])
    assert (signup["min"] == signup["max"]).all()
    truth = plain.users.set_index("user_id")["signup_day"].dt.strftime("%Y-%m-%d")
    assert (signup["min"] == truth.loc[signup.index]).all()


def test_money_is_exact_to_the_cent_and_a_refund_gives_back_its_line(plain):
    text = "".join(path.read_text() for path in (plain.landing / "events").glob("*.jsonl"))
    amounts = re.findall(r'"(?:amount|discount)": ([^,]+),', text)
    written = [amount for amount in amounts if amount != "null"]
    assert len(written) > 1000
    assert all(re.fullmatch(r"-?\d+\.\d\d", amount) for amount in written)
    events = events_of(plain.landing)
    bought = events[events["event_type"] == "purchase"]
    refunds = events[events["event_type"] == "refund"]
    assert len(refunds) > 5
    assert (bought["amount"] > 0).all()
    assert (refunds["amount"] < 0).all()
    key = ["order_id", "product_id", "user_id"]
    lines = bought.groupby(key).agg(
        amounts=("amount", lambda amounts: {round(a * 100) for a in amounts}), sold=("day", "max")
    )
    for refund in refunds.itertuples():
        line = lines.loc[(refund.order_id, refund.product_id, refund.user_id)]
        assert round(-refund.amount * 100) in line["amounts"]
        assert line["sold"] < refund.day


def test_lines_of_an_order_share_user_and_time(plain):
    events = events_of(plain.landing)
    orders = events[events["event_type"] == "purchase"].groupby("order_id")
    assert orders.size().max() > 3
    assert (orders[["user_id", "event_time", "session_id"]].nunique() == 1).all().all()


def test_visitors_are_anonymous_before_they_log_in_and_one_event_links_them(plain):
    events = events_of(plain.landing)
    both = events[events["user_id"].notna() & events["anonymous_id"].notna()]
    nameless = events[events["user_id"].isna()]
    assert len(both) > 20
    assert len(nameless) > 200
    truth = plain.identities.set_index("anonymous_id")
    assert (both["anonymous_id"].map(truth["user_id"]) == both["user_id"]).all()
    assert both.groupby("anonymous_id")["day"].min().to_dict() == truth["linked_day"].dropna().to_dict()
    linked = both.groupby(["session_id", "anonymous_id"])["event_time"].first()
    for (session, cookie), at in linked.items():
        visit = events[events["session_id"] == session]
        before = visit[visit["user_id"].isna()]
        assert (before["anonymous_id"] == cookie).all()
        assert (before["event_time"] <= at).all()
    assert not nameless["event_type"].isin(["purchase", "refund", "review"]).any()
    # Some cookies are seen on days before the day on which they are linked, and some never.
    assert (truth["first_day"] < truth["linked_day"]).any()
    assert truth["linked_day"].isna().any()


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("America/New_York", "2024-03-08"),
        ("America/New_York", "2024-11-01"),
        ("Australia/Lord_Howe", "2024-04-05"),
        ("America/Sao_Paulo", "2018-11-02"),  # midnight of 4 November does not exist there
    ],
)
def test_events_are_of_their_file_s_day_in_the_shop_s_zone_also_when_clocks_change(tmp_path, zone, start):
    config = SimulationConfig(users=60, days=4, start=start, time_zone=zone, events_per_user_day=10)
    simulate(tmp_path, config)
    events = events_of(tmp_path)
    offsets = set()
    for row in events.itertuples():
        at = dt.datetime.fromisoformat(row.event_time)
        local = at.astimezone(ZoneInfo(zone))
        assert local.date() == row.day.date()
        assert local.utcoffset() == at.utcoffset()
        offsets.add(at.utcoffset())
    assert len(offsets) == 2


def test_one_user_and_days_without_any_event_still_give_every_file(tmp_path):
    for file_format in ("jsonl", "parquet"):
        config = SimulationConfig(
            users=1, days=15, growth=0, events_per_user_day=0.01, format=file_format, scenario="messy", scripts=[]
        )
        truth = simulate(tmp_path / file_format, config)
        assert (truth.counts["clean_events"] == 0).any()
        assert len(list((tmp_path / file_format / "events").glob(f"*.{file_format}"))) == 15
        assert len(truth.users) == 1


def test_an_unfinished_simulation_has_no_truth(tmp_path):
    with pytest.raises(ConfigError, match="no complete simulation"):
        Truth.load(Path(tmp_path))
