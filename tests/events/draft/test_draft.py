"""Drafts of files that nobody has described: what is taken, asked, left out, refused, and what runs do meanwhile."""

import gzip
import json
import os
import random
import zipfile

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seg_assets import cli
from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.core.settings import Settings
from seg_assets.core.yaml_file import read_yaml
from seg_assets.events.draft.drafting import draft_files, draft_folder
from seg_assets.events.reader import Reader
from seg_assets.events.sensor import build_sensors
from seg_assets.events.source import load_source

ORDERS = "order_no,ordered_at,customer_no,total,state\n" + "".join(
    f"A{n},2024-03-{n % 4 + 1:02d}T10:{n % 60:02d}:00Z,{100 + n % 7},{n}.50,{'paid' if n % 5 else 'cancelled'}\n"
    for n in range(40)
)


@pytest.fixture
def orders(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(ORDERS)
    return path


def columns_of(draft):
    return next(iter(draft.source.feeds.values())).columns


# ---- what is taken -----------------------------------------------------------------------------------------------


def test_the_command_prints_a_source_that_loads_with_its_account(orders, tmp_path, capsys):
    assert cli.main(["source", "draft", str(orders), "--name", "My Shop"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "my_shop.yaml").write_text(text)
    source = load_source(tmp_path / "my_shop.yaml", open_questions=True)
    assert source.name == "my_shop"
    assert "40 lines: 32 accepted, 8 left out on purpose, 0 rejected, 0 duplicates" in text
    assert "7 users" in text


def test_the_same_files_give_the_same_text_in_whatever_order_they_are_named(orders, tmp_path):
    users = tmp_path / "customers.csv"
    users.write_text("customer_no,gender,signup_date\n" + "".join(f"{100 + n},f,2020-01-0{n + 1}\n" for n in range(7)))
    one, other = draft_files([orders, users], name="s"), draft_files([users, orders], name="s")
    assert one.text == other.text
    assert one.source.users is not None


def test_files_of_one_header_are_one_feed_and_a_day_in_the_name_is_a_star(tmp_path):
    paths = [tmp_path / f"orders-2024-0{month}.csv" for month in (1, 2)]
    for path in paths:
        path.write_text(ORDERS)
    (feed,) = draft_files(paths).source.feeds.values()
    assert [pattern.text for pattern in feed.files] == ["orders-*.csv"]


def test_a_name_alone_or_values_alone_are_marked(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(
        "Bestellung Nr,wann,Kundennr,Betrag\n"
        + "".join(f"{n},2024-03-01 10:{n:02d}:00,{n % 3 + 10},{n}.50\n" for n in range(20))
    )
    text = draft_files([path]).text
    assert "CHECK (by its values alone)" in next(line for line in text.splitlines() if "event_time:" in line)
    assert "CHECK" not in next(line for line in text.splitlines() if " user_id:" in line)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([(2, "10,00", "20,00"), (1, "7,50", "7,50"), (3, "1,10", "3,30")] * 4, "Preis x Menge in 12 of 12 lines"),
        (
            [(2, "10,00", "17,00"), (1, "7,50", "4,50"), (3, "1,10", "0,30")] * 4,
            "Preis x Menge - Rabatt in 12 of 12 lines",
        ),
    ],
)
def test_the_sum_that_holds_is_the_reason_for_the_amount(rows, reason, tmp_path):
    path = tmp_path / "positionen.csv"
    path.write_text(
        "Bestellnr;Datum;Kundennr;Menge;Preis;Rabatt;Summe\n"
        + "".join(f"{n // 2};{n + 1:02d}.03.2024;{n % 3};{q};{p};3,00;{t}\n" for n, (q, p, t) in enumerate(rows))
    )
    draft = draft_files([path])
    assert columns_of(draft)["amount"] == '"Summe"'
    assert reason in draft.text


def test_without_a_line_s_money_it_is_price_times_pieces_in_the_shop_s_own_marks(tmp_path):
    path = tmp_path / "positionen.csv"
    path.write_text(
        "Bestellnr;Datum;Kundennr;Menge;Preis\n"
        + "".join(f"{n // 2};{n + 1:02d}.03.2024;{n % 3 + 1};2;1.0{n % 10}0,50\n" for n in range(20))
    )
    draft = draft_files([path])
    assert draft.account.kinds["purchase"] == (20, sum(2 * (1000 + 10 * (n % 10)) + 1 for n in range(20)))


def test_an_order_s_total_on_each_of_its_lines_is_not_a_line_s_money(tmp_path):
    path = tmp_path / "lines.csv"
    rng = random.Random(5)
    lines = []
    for order in range(12):
        prices = [rng.randrange(100, 900) for _ in range(3)]
        lines += [f"{order},2024-03-01 10:00:00,{order % 4},SKU-{p},{p / 100},1,{sum(prices) / 100}\n" for p in prices]
    path.write_text("order_id,order_date,customer_id,sku,price,quantity,order_total\n" + "".join(lines))
    draft = draft_files([path])
    assert "order_total" not in columns_of(draft)["amount"]
    assert "lines add up to order_total in 12 of 12 orders" in draft.text


def test_times_in_parquet_and_packed_json_are_read(tmp_path):
    table = pa.table({"event": ["purchase"] * 9, "user_id": [f"u{n % 3}" for n in range(9)], "value": [1.5] * 9,
                      "timestamp": [1709280000000 + n * 1000 for n in range(9)]})  # fmt: skip
    pq.write_table(table, tmp_path / "events.parquet")
    assert draft_files([tmp_path / "events.parquet"]).account.accepted == 9
    with gzip.open(tmp_path / "events.jsonl.gz", "wt") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
    draft = draft_files([tmp_path / "events.jsonl.gz"])
    assert (draft.account.accepted, str(draft.first_day)) == (9, "2024-03-01")


def test_a_file_without_header_gets_names_and_every_column_of_it_is_marked(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("".join(f"2024-03-01 10:00:{n:02d},b{n % 4}@example.com,{n}.25\n" for n in range(30)))
    draft = draft_files([path])
    (feed,) = draft.source.feeds.values()
    assert feed.csv.header is False
    assert draft.account.lines == 30
    assert all("CHECK" in line for line in draft.text.splitlines() if "event_time:" in line or " user_id:" in line)


# ---- what is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row", "asked"),
    [
        ("order_no,ordered_at,customer_no,net_amount", "{n},0{d}/03/2024,{d},1.50", "day or the month first"),
        ("order_no,ordered_at,customer_no,net_amount", "{n},2024-03-0{d} 10:00:00,{d},1.50", "Which zone"),
        ("order_no,ordered_at,customer_no,amount", "{n},2024-03-0{d},{d},1.50", "Is tax in amount"),
        ("order_no,ordered_at,customer_no,net_amount", "{n},2024-03-0{d},{d},1.{d}34", "between thousands"),
        (
            "order_no,ordered_at,customer_no,net_amount,currency",
            "{n},2024-03-0{d},{d},1.50,{c}",
            "other currencies than EUR (EUR 13",
        ),
        (
            "order_no,ordered_at,customer_no,net_amount,status",
            "{n},2024-03-0{d},{d},1.50,{s}",
            "the values 'quux' (10)",
        ),
        (
            "order_no,ordered_at,customer_no,net_amount",
            "{n},2024-03-0{d},{g},1.50",
            "10 of 20 lines without a customer",
        ),
    ],
)
def test_what_values_cannot_answer_stands_as_a_question_with_what_is_taken_meanwhile(header, row, asked, tmp_path):
    path = tmp_path / "orders.csv"
    rows = [row.format(n=500 + n, d=n % 9 + 1, c="USD" if n % 3 == 2 else "EUR", s="quux" if n % 2 else "paid",
                       g=n % 4 + 7 if n % 2 else "") for n in range(20)]  # fmt: skip
    path.write_text("\n".join([header, *rows]) + "\n")
    asks = [q for q in draft_files([path]).source.questions if asked.replace("13", "14") in q or asked in q]
    assert len(asks) == 1
    assert "aken meanwhile" in asks[0]


def test_what_somebody_has_said_is_not_asked(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(
        "order_no,ordered_at,customer_no,net_amount\n"
        + "".join(f"{n},2024-03-01 10:00:0{n},{n % 3 + 1},2.50\n" for n in range(9))
    )
    draft = draft_files([path], zone="Europe/Berlin")
    assert draft.source.questions == ()
    assert draft.source.time_zone == "Europe/Berlin"


def test_a_dot_means_the_day_is_first_and_a_thirteenth_says_which_is_the_day(tmp_path):
    for text, form in (("0{d}.03.2024", "%d.%m.%Y"), ("03/1{d}/2024", "%m/%d/%Y"), ("1{d}/03/2024", "%d/%m/%Y")):
        path = tmp_path / "orders.csv"
        path.write_text(
            "order_no,date,customer_no,net_amount\n"
            + "".join(f"{n},{text.format(d=n % 9 + 1)},{n % 3 + 1},2.50\n" for n in range(20))
        )
        draft = draft_files([path])
        assert next(iter(draft.source.feeds.values())).time_format == (form,)
        assert not any("month first" in q for q in draft.source.questions)


def test_a_draft_with_open_questions_is_tried_and_never_run(orders, tmp_path, capsys):
    text = draft_files([orders]).text
    asked = read_yaml_text(text, tmp_path)["questions"]
    source = tmp_path / "shop.yaml"
    source.write_text(text)
    assert cli.main(["source", "check", str(source), str(orders)]) == 0
    printed = capsys.readouterr().out
    assert all(question in printed for question in asked)
    with pytest.raises(ConfigError, match="questions: the draft asks") as refused:
        load_source(source)
    assert all(question in str(refused.value) for question in asked)
    settings = Settings.from_env({}, source=str(source), landing=tmp_path, home=tmp_path / "home")
    with pytest.raises(ConfigError, match="nothing is read by it yet"):
        Reader.of(settings)
    (sensor,) = build_sensors(settings, dg.define_asset_job("daily", dg.AssetSelection.all()))
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance) as context:
        skipped = sensor(context).skip_reason
    assert asked[0] in str(skipped)


def read_yaml_text(text, folder):
    path = folder / "read.yaml"
    path.write_text(text)
    return read_yaml(path)


def test_an_answered_question_makes_no_day_stale(orders, tmp_path):
    draft = draft_files([orders])
    assert draft.source.questions
    assert draft.source.digest() == draft.source.model_copy(update={"questions": ()}).digest()


# ---- persons -----------------------------------------------------------------------------------------------------


def test_columns_that_tell_of_persons_are_dropped_and_named_and_no_value_of_theirs_is_shown(tmp_path):
    secret = {"Nachname": "Sommerfeld", "Straße": "Geheimweg 7", "Telefon": "+49 30 1234567",
              "Kartennummer": "4111 1111 1111 1111", "Herkunft": "10.11.12.13",
              "E-Mail": "wer@example.com"}  # fmt: skip
    path = tmp_path / "orders.csv"
    path.write_text(
        ",".join(["Bestellnr", "Datum", "Betrag netto", *secret]) + "\n"
        + "".join(f"{n},2024-03-0{n % 9 + 1},2.50,{','.join(secret.values())}\n" for n in range(20))
    )  # fmt: skip
    draft = draft_files([path])
    (feed,) = draft.source.feeds.values()
    assert feed.extra == "drop"
    assert not any(value in draft.text for value in secret.values())
    left_out = " ".join(draft.text.replace("\n    #", " ").split())
    for name, kind in (
        ("Nachname", "name"),
        ("Straße", "street"),
        ("Telefon", "phone"),
        ("Kartennummer", "card"),
        ("Herkunft", "ip"),
    ):
        assert f"{name} ({kind})" in left_out
    assert feed.columns["user_id"] == 'sha256(lower(trim("E-Mail")))'


# ---- names and bad input -----------------------------------------------------------------------------------------


def test_hostile_names_of_columns_are_quoted_and_read(tmp_path):
    names = [
        "order: no #",
        'customer "no"',
        "date: [it's]",
        "net amount }{",
        "- status: &x",
        "select",
        "a\nb",
        "drop table; --",
    ]
    rows = [[f"A{n}", f"{n % 3 + 1}", f"2024-03-0{n % 9 + 1}", "1.50", "paid", "x", "y", "z"] for n in range(20)]
    quoted = [",".join('"' + v.replace('"', '""') + '"' for v in row) for row in [names, *rows]]
    path = tmp_path / "hostile.csv"
    path.write_text("\n".join(quoted) + "\n")
    draft = draft_files([path])
    assert draft.account.accepted == 20
    assert columns_of(draft)["order_id"] == '"order: no #"'
    assert columns_of(draft)["user_id"] == '"customer ""no"""'
    path = tmp_path / "hostile.jsonl"
    records = (
        {
            "order": {"no": f"A{n}", "the date.x": 1},
            "at": f"2024-03-01T10:00:{n:02d}Z",
            "customer": {"it's id": n % 3},
            "customer_no": str(n % 3),
            "net_amount": 1.5,
        }
        for n in range(20)
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert draft_files([path]).account.accepted == 20


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


BAD = {
    "empty.csv": (b"", "empty"),
    "blank.csv": (b" \r\n\r\n", "empty"),
    "photo.csv": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a photo"),
    "picture.png": (b"\x89PNG\r\n\x1a\n\x00", "a picture"),
    "book.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1", "old workbook"),
    "page.csv": (b"<!DOCTYPE html><html><body>Log in</body></html>", "a web page"),
    "binary.csv": (b"a,b\n1,\x00\x00\n", "NUL bytes"),
    "prose.txt": (b"Dear all,\nplease find the export below.\nBest\n", "no column has times|neither delimited"),
    "header.csv": (b"order_no,ordered_at,customer_no\n", "header without a line"),
    "wide.csv": (
        (",".join(f"c{n}" for n in range(10_000)) + "\n" + ",".join("1" * 10_000) + "\n").encode(),
        "10,000 columns",
    ),
    "cut.json": (b'[{"a": ', "begins like JSON|neither"),
    "packed.csv": (gzip.compress(b"a,b\n1,2\n"), "ending .gz"),
    "none.csv.gz": (b"a,b\n1,2\n", "no gzip"),
    "nobody.csv": (b"order_no,ordered_at,total\n1,2024-03-01,2\n2,2024-03-02,3\n", "no column tells whose"),
    "no_time.csv": (b"order_no,customer_no,total\n1,1,2\n2,2,3\n3,1,5\n", "no column has times"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_data_is_one_clear_error_with_exit_code_2(name, tmp_path, capsys):
    data, said = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    assert cli.main(["source", "draft", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    with pytest.raises(LandingError, match=said):
        draft_files([path])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"orders.csv": "a,b\n"}, "unpack it and draft what it holds"),
        ({"../orders.csv": "a,b\n"}, "lies outside of it"),
        ({"in/orders.zip": "PK"}, "holds others"),
        ({"orders.csv": "0" * 20_000_000}, "would unpack to"),
        ({"[Content_Types].xml": "", "xl/workbook.xml": ""}, "a workbook"),
    ],
)
def test_a_zip_archive_is_never_unpacked_and_says_what_to_do(members, said, tmp_path):
    zipped(tmp_path / "export.zip", members)
    with pytest.raises(LandingError, match=said):
        draft_files([tmp_path / "export.zip"])


def test_a_file_that_is_not_there_or_a_folder_is_an_error(tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(LandingError):
            draft_files([path])


def test_a_folder_without_rights_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "exports" / "closed").mkdir(parents=True)
    listed = os.scandir

    def refuse(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    # Whoever runs the tests as root may read everything.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(LandingError, match="closed: cannot be listed: Permission denied"):
        draft_folder(tmp_path / "exports", name="s")


def test_a_header_in_the_middle_is_said_and_a_name_twice_is_read(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(ORDERS + ORDERS)
    draft = draft_files([path])
    assert "the header stands 2 times" in draft.text
    assert draft.account.rejected == 1
    path.write_text(
        "order_no,ordered_at,customer_no,net_amount,note,note\n"
        + "".join(f"{n},2024-03-01,{n % 3 + 1},1.50,x,y\n" for n in range(9))
    )
    assert draft_files([path]).account.accepted == 9


# ---- large files -------------------------------------------------------------------------------------------------


def test_head_middle_and_tail_of_a_large_file_are_read_and_the_account_says_so(tmp_path):
    path = tmp_path / "orders.csv"
    with path.open("w") as handle:
        handle.write("order_no,ordered_at,customer_no,net_amount\n")
        for n in range(60_000):
            handle.write(f"{n},2024-{1 + n // 20_000:02d}-{n % 4 + 1:02d}T10:00:00Z,{n % 900},{n % 50}.50\n")
    draft = draft_files([path])
    assert "the samples that were read (--prove reads all)" in draft.text
    assert draft.account.lines < 50_000
    assert draft.account.duplicates == 0
    assert (str(draft.first_day)[:7], str(draft.last_day)[:7]) == ("2024-01", "2024-03")
    whole = draft_files([path], whole=True)
    assert "the whole files" in whole.text
    assert whole.account.accepted == 60_000


# ---- a folder ----------------------------------------------------------------------------------------------------


def test_a_folder_of_files_becomes_a_shop_and_files_that_are_no_data_are_passed_by(orders, tmp_path, capsys):
    exports = tmp_path / "exports"
    (exports / "old").mkdir(parents=True)
    orders.rename(exports / "old" / "orders-2024-03.csv")
    (exports / "logo.png").write_bytes(b"\x89PNG\r\n")
    (exports / "readme.txt").write_text("see below\nthank you\n")
    shop = tmp_path / "my_shop"
    assert cli.main(["init", str(shop), "--from", str(exports), "--time-zone", "Europe/Berlin"]) == 0
    printed = capsys.readouterr()
    assert f"passed by: {exports / 'logo.png'}: a picture (PNG)" in printed.err
    assert "passed by:" in printed.err.replace(str(exports / "logo.png"), "")
    settings = Settings.from_env({}, file=shop / "settings.yaml")
    assert (settings.landing, settings.time_zone, str(settings.start_day)) == (exports, "Europe/Berlin", "2024-03-01")
    source = load_source(shop / "sources" / "my_shop.yaml", open_questions=True)
    assert [p.text for p in next(iter(source.feeds.values())).files] == ["old/orders-*.csv"]
    assert "seg-assets replay --from 2024-03-01 --to 2024-03-04" in printed.err
    assert "simulate" not in "".join(
        p.read_text() for p in (shop / "README.md", shop / "Makefile", shop / "settings.yaml")
    )
    assert not (shop / "sources" / "orders-2024-01-01.csv").exists()
    assert "{" not in (shop / "settings.yaml").read_text()
    assert cli.main(["init", str(shop), "--from", str(exports)]) == 2


def test_a_shop_is_not_made_inside_its_exports_nor_of_a_folder_without_data(tmp_path, capsys):
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "logo.png").write_bytes(b"\x89PNG\r\n")
    assert cli.main(["init", str(exports / "shop"), "--from", str(exports)]) == 2
    assert cli.main(["init", str(tmp_path / "shop"), "--from", str(exports)]) == 2
    assert "no file in it is data" in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_two_feeds_that_tell_purchases_are_asked_about(orders, tmp_path):
    events = tmp_path / "clicks.jsonl"
    records = (
        {"event": kind, "timestamp": f"2024-03-01T10:00:{n:02d}Z", "user_id": f"u{n % 3}", "value": 2.5}
        for n, kind in enumerate(["view_item", "purchase"] * 10)
    )
    events.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert any("tell the same purchases?" in q for q in draft_files([orders, events]).source.questions)
