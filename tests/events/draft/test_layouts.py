"""Known headers are recognised, whatever their order and case, and by no more than what they need."""

import csv
import json
import random

import pytest

from seg_assets.core.errors import LandingError
from seg_assets.events.draft import drafting
from seg_assets.events.draft.container import look_into
from seg_assets.events.draft.drafting import draft_files, draft_folder
from seg_assets.events.draft.layouts import layouts, layouts_of
from seg_assets.events.draft.proof import Account
from seg_assets.events.source import load_source

# Columns that exports of a layout have beside the needed ones.
BESIDE = {
    "shopify_orders_csv": ["Email", "Currency", "Subtotal", "Lineitem sku", "Vendor"],
    "squarespace_orders_csv": ["Email", "Currency", "Subtotal", "Lineitem sku", "Lineitem variant", "Billing Name"],
    "stripe_payments_csv": ["Created (UTC)", "Customer Email"],
    "etsy_items_csv": ["Currency", "Quantity", "Price", "Buyer"],
}
VALUES = {"id": "gid://shopify/Order/1"}


def headers() -> dict[str, list[str]]:
    """Return the needed columns of each layout with a header, and some beside them."""
    out = {}
    for name, spec in layouts().items():
        for table, rule in (spec.get("tables") or {"": spec}).items():
            if "needs" in rule:
                out[f"{name}{table and ' '}{table}"] = [*rule["needs"], *BESIDE.get(name, [])]
    return out


def write(path, columns, jsonl=False):
    row = {c: VALUES.get(c, "x1") if "shopify_bulk" in path.name else "x1" for c in columns}
    if jsonl:
        path.write_text("".join(json.dumps(row) + "\n" for _ in range(3)))
        return path
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows([list(row.values())] * 3)
    return path


@pytest.mark.parametrize("name", headers())
def test_each_layout_is_recognised_and_no_other_also_shuffled_in_small_letters_and_as_json(name, tmp_path):
    wanted, columns = name.split(" ")[0], headers()[name]
    for n, header in enumerate((columns, random.Random(3).sample(columns, len(columns)), [c.lower() for c in columns])):
        for jsonl in (False, True):
            path = write(tmp_path / f"{wanted}_{n}.{'jsonl' if jsonl else 'csv'}", header, jsonl)
            assert {layout.name for layout in layouts_of(look_into(path))} == {wanted}


def test_a_file_without_header_is_recognised_by_its_width_and_values(tmp_path):
    row = [""] * 131
    row[5], row[6] = "page_view", "0d0e7a1c-1111-4222-8333-444455556666"
    path = tmp_path / "part-0001.tsv"
    path.write_text(("\t".join(row) + "\n") * 5)
    assert [layout.name for layout in layouts_of(look_into(path))] == ["snowplow_enriched_tsv"]
    path.write_text(("\t".join([*row, ""]) + "\n") * 5)
    assert layouts_of(look_into(path)) == []


def test_an_answer_of_an_api_is_recognised_over_many_lines(tmp_path):
    order = {
        "id": 1,
        "status": "completed",
        "line_items": [],
        "customer_id": 0,
        "date_created_gmt": "2024-03-01T08:00:00",
    }
    path = tmp_path / "page.json"
    for whole in ([order], {"orders": [order, order]}):
        path.write_text(json.dumps(whole, indent=2))
        assert [layout.name for layout in layouts_of(look_into(path))] == ["woocommerce_rest"]


@pytest.mark.parametrize(
    ("columns", "better"),
    [
        (["amazon-order-id", "purchase-date", "item-price", "sku"], "report of fulfilled shipments"),
        (["Date", "Order #", "Net Sales", "Product(s)"], "woocommerce_items_csv"),
    ],
)
def test_a_layout_without_a_buyer_is_refused_and_the_better_export_named(columns, better, tmp_path):
    with pytest.raises(LandingError, match=r"no user could have|two persons of one name") as refused:
        draft_files([write(tmp_path / "orders.csv", columns)])
    assert better in " ".join(str(refused.value).split())


def test_a_recognised_layout_without_a_built_in_source_is_named_and_drafted_by_names_and_values(tmp_path, monkeypatch):
    monkeypatch.setattr(drafting, "shipped_sources", dict)
    path = tmp_path / "orders.csv"
    path.write_text(
        "order_id,date,status,item_total,item_quantity,billing_email\n"
        + "".join(
            f"{n // 2},2024-03-0{n % 9 + 1} 10:00:0{n % 10},completed,{n}.50,1,b{n // 4}@example.com\n"
            for n in range(20)
        )
    )
    draft = draft_files([path])
    assert "woocommerce_items_csv" in draft.text.split("name:")[0]
    assert draft.account.accepted == 20


def test_a_header_that_lacks_one_needed_column_is_told_which(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(
        "Name,Financial Status,Created at,Lineitem quantity,Email,Total\n"
        "#1,paid,2024-03-01 10:00:00,1,a@example.com,5.00\n#2,paid,2024-03-02 10:00:00,1,b@example.com,6.00\n"
    )
    assert "nearly shopify_orders_csv" in " ".join(draft_files([path]).text.split())
    assert "lacks Lineitem price" in " ".join(draft_files([path]).text.replace("\n#", " ").split())


def test_a_known_layout_with_a_built_in_source_is_based_on_it_with_the_answers_read_from_the_file(
    tmp_path, monkeypatch
):
    path = tmp_path / "orders-2024-03.csv"
    path.write_text(
        "order_id,date,status,item_total,item_quantity,billing_email,order_currency\n"
        + "".join(f"{n},2024-03-0{n + 1} 10:00:00,{s},5.00,1,b@example.com,{c}\n" for n, (s, c) in enumerate(
            [("completed", "EUR"), ("completed", "EUR"), ("packing", "USD")]))
    )  # fmt: skip
    built_in = tmp_path / "woocommerce_items_csv.yaml"
    built_in.write_text(
        "feeds: {orders: {files: 'x-*.csv', day: {from: event_time}, event_type: purchase, "
        "columns: {event_time: date, user_id: billing_email}}}\n"
    )
    texts = []

    def load(text):
        texts.append(text)
        return load_source(built_in)

    monkeypatch.setattr(drafting, "shipped_sources", lambda: {"woocommerce_items_csv": built_in})
    monkeypatch.setattr(drafting, "load_source", lambda name, **_: load_source(built_in))
    monkeypatch.setattr(drafting, "_loaded", load)
    draft_files([path], name="laden")
    text = texts[0]
    assert "based_on: woocommerce_items_csv" in text
    assert "feeds:\n  orders: {files: ['orders-*.csv']}" in text
    questions = text.split("questions:")[1].split("name: laden")[0]
    assert "Which zone" in questions
    assert "EUR 2, USD 1" in questions
    assert "packing" in questions
    assert "completed 2" in text
    assert "packing 1 (unknown)" in text


def test_in_a_folder_files_beside_a_known_layout_are_passed_by_and_lists_of_customers_are_taken_with_it(
    tmp_path, monkeypatch
):
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "orders.csv").write_text(
        "order_id,date,status,item_total,item_quantity,billing_email\n"
        "1,2024-03-01 10:00:00,completed,5.00,1,b@example.com\n" * 2
    )
    (exports / "clicks.csv").write_text(
        "event,timestamp,user_id\n" + "".join(f"view_item,2024-03-01 10:00:0{n},u{n}\n" for n in range(5))
    )
    (exports / "customers.csv").write_text("customer_id,gender\n1,f\n2,m\n3,f\n")
    built_in = tmp_path / "built_in.yaml"
    built_in.write_text(
        "feeds: {o: {files: 'o*.csv', day: {from: event_time}, event_type: purchase, "
        "columns: {event_time: date, user_id: billing_email}}}"
    )
    texts = []
    monkeypatch.setattr(drafting, "shipped_sources", lambda: {"woocommerce_items_csv": built_in})
    monkeypatch.setattr(drafting, "load_source", lambda name, **_: load_source(built_in))
    monkeypatch.setattr(drafting, "_loaded", lambda text: texts.append(text) or load_source(built_in))
    monkeypatch.setattr(drafting, "prove", lambda *_, **__: Account(partial=False))
    draft = draft_folder(exports, name="laden")
    assert "based_on: woocommerce_items_csv" in texts[0]
    assert "users:\n  files: 'customers.csv'" in texts[0]
    assert "clicks:" not in texts[0]
    assert any("clicks" in line and "draft them apart" in line for line in draft.passed_by)
