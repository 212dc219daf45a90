"""Write the made-up exports that `source draft` is measured on, and beside them what a person would map.

They were written before the code that reads them and are not to be fitted to it: a file that is drafted badly is a
finding. Run as `python -m tests.events.draft.make_files`; the same seed gives the same files.

Not here: how a draft is judged (`test_made_up_files`).
"""

import csv
import datetime as dt
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILES = Path(__file__).parent / "files"
SEED = 20240301
LETTERS = "abcdefghijklmnopqrstuvwxyz"
GOODS = ("Kitchen", "Bags", "Garden", "Books", "Toys", "Sport")
CITIES = ("Ulm", "Lyon", "Porto", "Gent", "Siena", "Leeds")
STREETS = ("Main Street", "Rue Haute", "Via Roma", "Lindenweg", "Calle Mayor")
FIRST = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo")
LAST = ("Moser", "Blanc", "Rossi", "Jansen", "Silva", "Clark", "Ortega")


@dataclass
class Line:
    """One line of an order, with everything that any of the files may tell of it."""

    number: int
    order: dict[str, Any]
    sku: str
    name: str
    goods: str
    pieces: int
    price: float
    rebate: float

    @property
    def net(self) -> float:
        return round(self.price * self.pieces - self.rebate, 2)


def orders(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Return made-up orders with their lines."""
    people = [
        {
            "no": 10_000 + 37 * n,
            "first": rng.choice(FIRST),
            "last": rng.choice(LAST),
            "mail": f"{''.join(rng.choices(LETTERS, k=7))}{n}@example.com",
            "zip": f"{rng.randrange(10_000, 99_999)}",
            "city": rng.choice(CITIES),
            "street": f"{rng.choice(STREETS)} {rng.randrange(1, 90)}",
            "phone": f"+49 30 {rng.randrange(1_000_000, 9_999_999)}",
            "since": dt.date(2020, 1, 1) + dt.timedelta(days=rng.randrange(1_200)),
            "born": dt.date(1950, 1, 1) + dt.timedelta(days=rng.randrange(18_000)),
            "sex": rng.choice("fm"),
            "head": rng.randrange(1, 6),
        }
        for n in range(60)
    ]
    at, out, number = dt.datetime(2024, 1, 3, 8, 11, 5), [], 0  # noqa: DTZ001
    for n in range(count):
        at += dt.timedelta(minutes=rng.randrange(20, 900), seconds=rng.randrange(60))
        order: dict[str, Any] = {
            "no": 500_100 + n,
            "at": at,
            "who": rng.choice(people),
            "state": rng.choices((0, 1, 2), (8, 1, 1))[0],
            "pay": rng.choice((0, 1, 2)),
            "shipping": rng.choice((0.0, 4.9)),
            "device": rng.choice(("mobile", "desktop", "tablet")),
            "channel": rng.choice(("web", "app", "store")),
        }
        order["lines"] = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            number += 1
            article = rng.randrange(40)
            price = round(4 + article * 1.35, 2)
            pieces = rng.choice((1, 1, 1, 2, 3))
            rebate = rng.choice((0.0, 0.0, 0.0, 1.5))
            goods = GOODS[article % len(GOODS)]
            line = Line(number, order, f"AR-{article:03d}", f"Item {article} {goods}", goods, pieces, price, rebate)
            order["lines"].append(line)
        order["net"] = round(sum(line.net for line in order["lines"]), 2)
        order["tax"] = round(order["net"] * 0.2, 2)
        order["gross"] = round(order["net"] + order["tax"], 2)
        out.append(order)
    return out


def comma(value: float, grouped: bool = False) -> str:
    """Return a number as much of Europe writes it."""
    text = f"{value:,.2f}" if grouped else f"{value:.2f}"
    return text.translate(str.maketrans(",.", ".,"))


def write_csv(name: str, columns: dict[str, Callable[[Any], Any]], rows: list[Any], mark: str, encoding: str) -> None:
    with (FILES / name).open("w", encoding=encoding, newline="") as handle:
        writer = csv.writer(handle, delimiter=mark)
        writer.writerow(columns)
        writer.writerows([value(row) for value in columns.values()] for row in rows)


def write_jsonl(name: str, columns: dict[str, Callable[[Any], Any]], rows: list[Any]) -> None:
    with (FILES / name).open("w", encoding="utf-8") as handle:
        for row in rows:
            out: dict[str, Any] = {}
            for key, value in columns.items():
                place, parts = out, key.split(".")
                for part in parts[:-1]:
                    place = place.setdefault(part, {})
                place[parts[-1]] = value(row)
            handle.write(json.dumps(out, ensure_ascii=False) + "\n")


def clicks(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Return made-up clicks, a purchase among them now and then."""
    at, out = dt.datetime(2024, 2, 1, 6, 0, 1), []  # noqa: DTZ001
    for n in range(count):
        at += dt.timedelta(seconds=rng.randrange(5, 3000))
        person = rng.randrange(40)
        kind = rng.choices((0, 1, 2, 3), (6, 2, 1, 1))[0]
        article = rng.randrange(40)
        out.append(
            {
                "n": n,
                "at": at,
                "user": f"u{person:04d}" if person % 3 else None,
                "visitor": f"{person:08x}-aaaa-4bbb-8ccc-{person * 7919:012x}",
                "session": f"s{person}-{at.date().toordinal()}",
                "kind": kind,
                "sku": f"AR-{article:03d}" if kind != 1 else None,
                "goods": GOODS[article % len(GOODS)] if kind != 1 else None,
                "words": rng.choice(("mug", "red bag", "lamp", "ball")) if kind == 1 else None,
                "pieces": rng.choice((1, 1, 2)) if kind >= 2 else None,
                "price": round(4 + article * 1.35, 2) if kind >= 2 else None,
                "device": rng.choice(("mobile", "desktop", "tablet")),
                "ip": f"10.0.{rng.randrange(250)}.{rng.randrange(250)}",
            }
        )
    return out


def main() -> None:
    """Write every file, and what a person would map of it."""
    rng = random.Random(SEED)
    FILES.mkdir(exist_ok=True)
    for old in FILES.iterdir():
        old.unlink()
    told = orders(rng, 90)
    lines = [line for order in told for line in order["lines"]]
    people = list({o["who"]["no"]: o["who"] for o in told}.values())
    seen = clicks(rng, 150)
    goods = list({line.sku: line for line in lines}.values())
    expected: dict[str, dict[str, Any]] = {}

    def state(*words: str) -> Callable[[Line], str]:
        return lambda x: words[(x.order if isinstance(x, Line) else x)["state"]]

    # ---- German ----
    write_csv("de_bestellpositionen.csv", {
        "Bestellnummer": lambda x: x.order["no"], "Positionsnummer": lambda x: x.number,
        "Bestelldatum": lambda x: f"{x.order['at']:%d.%m.%Y %H:%M}", "Kundennummer": lambda x: x.order["who"]["no"],
        "Kundenname": lambda x: f"{x.order['who']['first']} {x.order['who']['last']}",
        "E-Mail": lambda x: x.order["who"]["mail"], "Artikelnummer": lambda x: x.sku, "Bezeichnung": lambda x: x.name,
        "Warengruppe": lambda x: x.goods, "Menge": lambda x: x.pieces, "Einzelpreis": lambda x: comma(x.price),
        "Rabattbetrag": lambda x: comma(x.rebate), "Positionswert": lambda x: comma(x.net),
        "Status": state("abgeschlossen", "storniert", "offen"),
    }, lines, ";", "latin-1")  # fmt: skip
    expected["de_bestellpositionen.csv"] = {
        "role": "feeds", "event_time": [["Bestelldatum"]], "event_type": [["Status"]], "user_id": [["Kundennummer"]],
        "order_id": [["Bestellnummer"]], "event_id": [["Positionsnummer"]], "product_id": [["Artikelnummer"]],
        "category": [["Warengruppe"]], "quantity": [["Menge"]], "amount": [["Positionswert"]],
        "discount": [["Rabattbetrag"]],
    }  # fmt: skip
    write_csv("de_auftraege.csv", {
        "Auftrags-Nr.": lambda o: f"A{o['no']}", "Datum": lambda o: f"{o['at']:%d.%m.%Y}",
        "Uhrzeit": lambda o: f"{o['at']:%H:%M}", "Kd.-Nr.": lambda o: o["who"]["no"],
        "Nachname": lambda o: o["who"]["last"], "PLZ": lambda o: o["who"]["zip"], "Ort": lambda o: o["who"]["city"],
        "Zahlungsart": lambda o: ("Rechnung", "Karte", "PayPal")[o["pay"]],
        "Nettobetrag": lambda o: comma(o["net"], True), "MwSt": lambda o: comma(o["tax"], True),
        "Bruttobetrag": lambda o: comma(o["gross"], True), "Währung": lambda o: "EUR",
    }, told, ";", "utf-8")  # fmt: skip
    expected["de_auftraege.csv"] = {
        "role": "feeds", "event_time": [["Datum", "Uhrzeit"]], "event_type": "purchase", "user_id": [["Kd.-Nr."]],
        "order_id": [["Auftrags-Nr."]], "amount": [["Nettobetrag"]], "allowed": {"event_id": [["Auftrags-Nr."]]},
    }  # fmt: skip
    write_csv("de_kasse.tsv", {
        "Bon-Nr": lambda x: x.order["no"], "Zeitpunkt": lambda x: f"{x.order['at']:%Y-%m-%d %H:%M:%S}",
        "Filiale": lambda x: x.order["who"]["city"], "Kundenkarte": lambda x: f"K{x.order['who']['no']}",
        "Artikel": lambda x: x.sku, "Abteilung": lambda x: x.goods, "Anzahl": lambda x: x.pieces,
        "VK-Preis": lambda x: comma(x.price), "Nachlass": lambda x: comma(x.rebate), "Summe": lambda x: comma(x.net),
    }, lines, "\t", "utf-8-sig")  # fmt: skip
    expected["de_kasse.tsv"] = {
        "role": "feeds", "event_time": [["Zeitpunkt"]], "event_type": "purchase", "user_id": [["Kundenkarte"]],
        "order_id": [["Bon-Nr"]], "product_id": [["Artikel"]], "category": [["Abteilung"]], "quantity": [["Anzahl"]],
        "amount": [["Summe"]], "discount": [["Nachlass"]],
    }  # fmt: skip
    write_csv("de_kunden.csv", {
        "Kundennr": lambda p: p["no"], "Anrede": lambda p: "Frau" if p["sex"] == "f" else "Herr",
        "Vorname": lambda p: p["first"], "Nachname": lambda p: p["last"], "Straße": lambda p: p["street"],
        "PLZ": lambda p: p["zip"], "Bundesland": lambda p: ("Bayern", "Hessen", "Berlin")[p["no"] % 3],
        "Registriert am": lambda p: f"{p['since']:%Y-%m-%d}", "Geburtsdatum": lambda p: f"{p['born']:%Y-%m-%d}",
        "Haushaltsgröße": lambda p: p["head"],
    }, people, ";", "utf-8")  # fmt: skip
    expected["de_kunden.csv"] = {
        "role": "users", "user_id": [["Kundennr"]], "region": [["Bundesland"]], "signup_day": [["Registriert am"]],
        "household_size": [["Haushaltsgröße"]], "allowed": {"sex": [["Anrede"]]},
    }  # fmt: skip
    write_jsonl("de_klicks.jsonl", {
        "zeit": lambda e: f"{e['at']:%Y-%m-%dT%H:%M:%SZ}",
        "ereignis": lambda e: ("artikelansicht", "suche", "in_den_warenkorb", "kauf")[e["kind"]],
        "kunde": lambda e: e["user"], "besucher": lambda e: e["visitor"], "sitzung": lambda e: e["session"],
        "artikel": lambda e: e["sku"], "kategorie": lambda e: e["goods"], "suchbegriff": lambda e: e["words"],
        "menge": lambda e: e["pieces"], "betrag": lambda e: e["price"], "geraet": lambda e: e["device"],
    }, seen)  # fmt: skip
    expected["de_klicks.jsonl"] = {
        "role": "feeds", "event_time": [["zeit"]], "event_type": [["ereignis"]], "user_id": [["kunde"]],
        "anonymous_id": [["besucher"]], "session_id": [["sitzung"]], "product_id": [["artikel"]],
        "category": [["kategorie"]], "query": [["suchbegriff"]], "quantity": [["menge"]], "amount": [["betrag"]],
        "device": [["geraet"]],
    }  # fmt: skip

    # ---- English ----
    write_csv("en_order_lines.csv", {
        "order_id": lambda x: x.order["no"], "line_id": lambda x: x.number,
        "order_date": lambda x: f"{x.order['at']:%Y-%m-%d %H:%M:%S}", "customer_id": lambda x: x.order["who"]["no"],
        "email": lambda x: x.order["who"]["mail"], "sku": lambda x: x.sku, "product_name": lambda x: x.name,
        "category": lambda x: x.goods, "qty": lambda x: x.pieces, "unit_price": lambda x: f"{x.price:.2f}",
        "discount": lambda x: f"{x.rebate:.2f}", "line_total": lambda x: f"{x.net:.2f}", "currency": lambda x: "GBP",
        "status": state("completed", "cancelled", "pending"),
    }, lines, ",", "utf-8")  # fmt: skip
    expected["en_order_lines.csv"] = {
        "role": "feeds", "event_time": [["order_date"]], "event_type": [["status"]], "user_id": [["customer_id"]],
        "order_id": [["order_id"]], "event_id": [["line_id"]], "product_id": [["sku"]], "category": [["category"]],
        "quantity": [["qty"]], "amount": [["line_total"]], "discount": [["discount"]],
    }  # fmt: skip
    write_csv("en_orders_us.csv", {
        "Order #": lambda o: f"#{o['no']}", "Placed On": lambda o: f"{o['at']:%m/%d/%Y %I:%M %p}",
        "Customer Email": lambda o: o["who"]["mail"],
        "Ship To Name": lambda o: f"{o['who']['first']} {o['who']['last']}",
        "Ship To Phone": lambda o: o["who"]["phone"], "Subtotal": lambda o: f"{o['net']:.2f}",
        "Tax": lambda o: f"{o['tax']:.2f}", "Shipping": lambda o: f"{o['shipping']:.2f}",
        "Grand Total": lambda o: f"{o['gross'] + o['shipping']:.2f}",
        "Payment Status": state("Paid", "Voided", "Pending"), "Channel": lambda o: o["channel"],
    }, told, ",", "utf-8")  # fmt: skip
    expected["en_orders_us.csv"] = {
        "role": "feeds", "event_time": [["Placed On"]], "event_type": [["Payment Status"]],
        "user_id": [["Customer Email"]], "order_id": [["Order #"]], "amount": [["Subtotal"]],
        "channel": [["Channel"]], "allowed": {"event_id": [["Order #"]]},
    }  # fmt: skip
    write_jsonl("en_events.jsonl", {
        "ts": lambda e: int(e["at"].replace(tzinfo=dt.UTC).timestamp() * 1000),
        "event": lambda e: ("view_item", "search", "add_to_cart", "purchase")[e["kind"]], "uid": lambda e: e["user"],
        "anon_id": lambda e: e["visitor"], "session": lambda e: e["session"], "item_id": lambda e: e["sku"],
        "category": lambda e: e["goods"], "search_term": lambda e: e["words"], "quantity": lambda e: e["pieces"],
        "value": lambda e: e["price"], "device": lambda e: e["device"], "ip": lambda e: e["ip"],
    }, seen)  # fmt: skip
    expected["en_events.jsonl"] = {
        "role": "feeds", "event_time": [["ts"]], "event_type": [["event"]], "user_id": [["uid"]],
        "anonymous_id": [["anon_id"]], "session_id": [["session"]], "product_id": [["item_id"]],
        "category": [["category"]], "query": [["search_term"]], "quantity": [["quantity"]], "amount": [["value"]],
        "device": [["device"]],
    }  # fmt: skip
    write_jsonl("en_transactions.jsonl", {
        "transactionId": lambda o: f"T-{o['no']}", "createdAt": lambda o: f"{o['at']:%Y-%m-%dT%H:%M:%S}+01:00",
        "customer.id": lambda o: o["who"]["no"], "customer.email": lambda o: o["who"]["mail"],
        "amounts.net": lambda o: o["net"], "amounts.tax": lambda o: o["tax"], "amounts.gross": lambda o: o["gross"],
        "status": state("complete", "cancelled", "pending"), "channel": lambda o: o["channel"],
    }, told)  # fmt: skip
    expected["en_transactions.jsonl"] = {
        "role": "feeds", "event_time": [["createdAt"]], "event_type": [["status"]], "user_id": [["customer.id"]],
        "order_id": [["transactionId"]], "amount": [["amounts.net"]], "channel": [["channel"]],
        "allowed": {"event_id": [["transactionId"]]},
    }  # fmt: skip
    write_csv("en_customers.csv", {
        "Customer ID": lambda p: p["no"], "First Name": lambda p: p["first"], "Last Name": lambda p: p["last"],
        "Email": lambda p: p["mail"], "Gender": lambda p: p["sex"], "State": lambda p: ("TX", "NY", "CA")[p["no"] % 3],
        "Household Size": lambda p: p["head"], "Income": lambda p: ("low", "middle", "high")[p["head"] % 3],
        "Age Group": lambda p: ("18-34", "35-54", "55+")[p["no"] % 3],
        "Signup Date": lambda p: f"{p['since']:%Y-%m-%d}",
    }, people, ",", "utf-8")  # fmt: skip
    expected["en_customers.csv"] = {
        "role": "users", "user_id": [["Customer ID"]], "sex": [["Gender"]], "region": [["State"]],
        "household_size": [["Household Size"]], "income_band": [["Income"]], "age_band": [["Age Group"]],
        "signup_day": [["Signup Date"]],
    }  # fmt: skip
    write_csv("en_products.csv", {
        "SKU": lambda x: x.sku, "Title": lambda x: x.name, "Department": lambda x: x.goods,
        "Subcategory": lambda x: f"{x.goods} {int(x.price) % 4}", "Brand": lambda x: f"Brand {int(x.price) % 7}",
        "List Price": lambda x: f"{x.price:.2f}", "In Stock": lambda x: x.pieces * 7,
    }, goods, ",", "utf-8")  # fmt: skip
    expected["en_products.csv"] = {
        "role": "products", "product_id": [["SKU"]], "category": [["Department"]], "subcategory": [["Subcategory"]],
        "brand": [["Brand"]], "price": [["List Price"]],
    }  # fmt: skip
    back = [order for order in told if order["state"] == 1]
    write_csv("en_returns.csv", {
        "Return ID": lambda o: f"R{o['no']}", "Refunded At": lambda o: f"{o['at']:%Y-%m-%dT%H:%M:%SZ}",
        "Order ID": lambda o: o["no"], "Customer No": lambda o: o["who"]["no"],
        "Refund Amount": lambda o: f"{o['net']:.2f}", "Reason": lambda o: ("damaged", "too small")[o["no"] % 2],
    }, back, ",", "utf-8")  # fmt: skip
    expected["en_returns.csv"] = {
        "role": "feeds", "event_time": [["Refunded At"]], "event_type": "refund", "user_id": [["Customer No"]],
        "order_id": [["Order ID"]], "event_id": [["Return ID"]], "amount": [["Refund Amount"]],
    }  # fmt: skip

    # ---- French ----
    write_csv("fr_commandes.csv", {
        "N° commande": lambda x: x.order["no"], "Date de commande": lambda x: f"{x.order['at']:%d/%m/%Y %H:%M}",
        "Référence client": lambda x: x.order["who"]["no"], "Nom": lambda x: x.order["who"]["last"],
        "Prénom": lambda x: x.order["who"]["first"], "Référence produit": lambda x: x.sku,
        "Désignation": lambda x: x.name, "Famille": lambda x: x.goods, "Quantité": lambda x: x.pieces,
        "Prix unitaire HT": lambda x: comma(x.price), "Remise": lambda x: comma(x.rebate),
        "Montant HT": lambda x: comma(x.net), "Montant TTC": lambda x: comma(round(x.net * 1.2, 2)),
        "Statut": state("Terminée", "Annulée", "En attente"),
    }, lines, ";", "cp1252")  # fmt: skip
    expected["fr_commandes.csv"] = {
        "role": "feeds", "event_time": [["Date de commande"]], "event_type": [["Statut"]],
        "user_id": [["Référence client"]], "order_id": [["N° commande"]], "product_id": [["Référence produit"]],
        "category": [["Famille"]], "quantity": [["Quantité"]], "amount": [["Montant HT"]], "discount": [["Remise"]],
    }  # fmt: skip
    write_jsonl("fr_ventes.jsonl", {
        "date_vente": lambda x: f"{x.order['at']:%Y-%m-%d %H:%M:%S}", "ticket": lambda x: x.order["no"],
        "client_id": lambda x: x.order["who"]["no"], "magasin": lambda x: x.order["who"]["city"],
        "produit": lambda x: x.sku, "rayon": lambda x: x.goods, "quantite": lambda x: x.pieces,
        "prix_unitaire": lambda x: x.price, "remise": lambda x: x.rebate, "montant": lambda x: x.net,
    }, lines)  # fmt: skip
    expected["fr_ventes.jsonl"] = {
        "role": "feeds", "event_time": [["date_vente"]], "event_type": "purchase", "user_id": [["client_id"]],
        "order_id": [["ticket"]], "product_id": [["produit"]], "category": [["rayon"]], "quantity": [["quantite"]],
        "amount": [["montant"]], "discount": [["remise"]],
    }  # fmt: skip
    write_csv("fr_clients.csv", {
        "id_client": lambda p: p["no"], "civilite": lambda p: "Mme" if p["sex"] == "f" else "M.",
        "nom": lambda p: p["last"], "prenom": lambda p: p["first"], "adresse": lambda p: p["street"],
        "code_postal": lambda p: p["zip"], "region": lambda p: ("Bretagne", "Corse", "Normandie")[p["no"] % 3],
        "date_inscription": lambda p: f"{p['since']:%Y-%m-%d}", "sexe": lambda p: p["sex"].upper(),
    }, people, ";", "utf-8")  # fmt: skip
    expected["fr_clients.csv"] = {
        "role": "users", "user_id": [["id_client"]], "region": [["region"]], "signup_day": [["date_inscription"]],
        "sex": [["sexe"]],
    }  # fmt: skip

    # ---- Spanish ----
    write_csv("es_pedidos.csv", {
        "Nº pedido": lambda x: x.order["no"], "Fecha": lambda x: f"{x.order['at']:%d/%m/%Y}",
        "Hora": lambda x: f"{x.order['at']:%H:%M:%S}", "Código cliente": lambda x: x.order["who"]["no"],
        "Correo electrónico": lambda x: x.order["who"]["mail"], "Teléfono": lambda x: x.order["who"]["phone"],
        "Referencia": lambda x: x.sku, "Producto": lambda x: x.name, "Categoría": lambda x: x.goods,
        "Cantidad": lambda x: x.pieces, "Precio unitario": lambda x: comma(x.price),
        "Descuento": lambda x: comma(x.rebate), "Importe": lambda x: comma(x.net),
        "Estado": state("Completado", "Cancelado", "Pendiente"), "Canal": lambda x: x.order["channel"],
    }, lines, ";", "utf-8")  # fmt: skip
    expected["es_pedidos.csv"] = {
        "role": "feeds", "event_time": [["Fecha", "Hora"]], "event_type": [["Estado"]],
        "user_id": [["Código cliente"]], "order_id": [["Nº pedido"]], "product_id": [["Referencia"]],
        "category": [["Categoría"]], "quantity": [["Cantidad"]], "amount": [["Importe"]],
        "discount": [["Descuento"]], "channel": [["Canal"]],
    }  # fmt: skip
    write_jsonl("es_eventos.jsonl", {
        "fecha_hora": lambda e: f"{e['at']:%Y-%m-%d %H:%M:%S}",
        "evento": lambda e: ("view_item", "search", "add_to_cart", "purchase")[e["kind"]],
        "id_usuario": lambda e: e["user"], "id_visitante": lambda e: e["visitor"], "id_sesion": lambda e: e["session"],
        "id_producto": lambda e: e["sku"], "categoria": lambda e: e["goods"], "busqueda": lambda e: e["words"],
        "cantidad": lambda e: e["pieces"], "importe": lambda e: e["price"], "dispositivo": lambda e: e["device"],
    }, seen)  # fmt: skip
    expected["es_eventos.jsonl"] = {
        "role": "feeds", "event_time": [["fecha_hora"]], "event_type": [["evento"]], "user_id": [["id_usuario"]],
        "anonymous_id": [["id_visitante"]], "session_id": [["id_sesion"]], "product_id": [["id_producto"]],
        "category": [["categoria"]], "query": [["busqueda"]], "quantity": [["cantidad"]], "amount": [["importe"]],
        "device": [["dispositivo"]],
    }  # fmt: skip
    write_csv("es_productos.csv", {
        "codigo": lambda x: x.sku, "nombre": lambda x: x.name, "categoria": lambda x: x.goods,
        "subcategoria": lambda x: f"{x.goods} {int(x.price) % 4}", "marca": lambda x: f"Marca {int(x.price) % 7}",
        "precio": lambda x: comma(x.price),
    }, goods, ";", "utf-8")  # fmt: skip
    expected["es_productos.csv"] = {
        "role": "products", "product_id": [["codigo"]], "category": [["categoria"]],
        "subcategory": [["subcategoria"]], "brand": [["marca"]], "price": [["precio"]],
    }  # fmt: skip

    # ---- Italian ----
    write_csv("it_ordini.csv", {
        "Numero ordine": lambda x: x.order["no"], "Data ordine": lambda x: f"{x.order['at']:%d/%m/%Y %H:%M}",
        "Codice cliente": lambda x: x.order["who"]["no"], "Cognome": lambda x: x.order["who"]["last"],
        "Indirizzo": lambda x: x.order["who"]["street"], "Codice articolo": lambda x: x.sku,
        "Descrizione": lambda x: x.name, "Reparto": lambda x: x.goods, "Quantità": lambda x: x.pieces,
        "Prezzo": lambda x: comma(x.price), "Sconto": lambda x: comma(x.rebate),
        "Totale riga": lambda x: comma(x.net), "Valuta": lambda x: "EUR",
        "Stato ordine": state("Completato", "Annullato", "In attesa"),
    }, lines, ";", "utf-8")  # fmt: skip
    expected["it_ordini.csv"] = {
        "role": "feeds", "event_time": [["Data ordine"]], "event_type": [["Stato ordine"]],
        "user_id": [["Codice cliente"]], "order_id": [["Numero ordine"]], "product_id": [["Codice articolo"]],
        "category": [["Reparto"]], "quantity": [["Quantità"]], "amount": [["Totale riga"]], "discount": [["Sconto"]],
    }  # fmt: skip
    write_jsonl("it_scontrini.jsonl", {
        "data_ora": lambda x: f"{x.order['at']:%Y-%m-%dT%H:%M:%S}", "numero_scontrino": lambda x: x.order["no"],
        "tessera": lambda x: f"T{x.order['who']['no']}", "articolo": lambda x: x.sku, "categoria": lambda x: x.goods,
        "pezzi": lambda x: x.pieces, "importo": lambda x: x.net, "negozio": lambda x: x.order["who"]["city"],
    }, lines)  # fmt: skip
    expected["it_scontrini.jsonl"] = {
        "role": "feeds", "event_time": [["data_ora"]], "event_type": "purchase", "user_id": [["tessera"]],
        "order_id": [["numero_scontrino"]], "product_id": [["articolo"]], "category": [["categoria"]],
        "quantity": [["pezzi"]], "amount": [["importo"]],
    }  # fmt: skip
    write_csv("it_clienti.csv", {
        "codice_cliente": lambda p: p["no"], "nome": lambda p: p["first"], "cognome": lambda p: p["last"],
        "telefono": lambda p: p["phone"], "citta": lambda p: p["city"],
        "regione": lambda p: ("Lazio", "Toscana", "Umbria")[p["no"] % 3], "sesso": lambda p: p["sex"].upper(),
        "data_registrazione": lambda p: f"{p['since']:%Y-%m-%d}",
    }, people, ",", "utf-8")  # fmt: skip
    expected["it_clienti.csv"] = {
        "role": "users", "user_id": [["codice_cliente"]], "region": [["regione"]], "sex": [["sesso"]],
        "signup_day": [["data_registrazione"]],
    }  # fmt: skip

    # ---- Dutch and Portuguese ----
    write_csv("nl_bestellingen.csv", {
        "Bestelnummer": lambda x: x.order["no"], "Besteldatum": lambda x: f"{x.order['at']:%d-%m-%Y %H:%M}",
        "Klantnummer": lambda x: x.order["who"]["no"], "Artikelnummer": lambda x: x.sku,
        "Omschrijving": lambda x: x.name, "Categorie": lambda x: x.goods, "Aantal": lambda x: x.pieces,
        "Prijs per stuk": lambda x: comma(x.price), "Korting": lambda x: comma(x.rebate),
        "Regeltotaal": lambda x: comma(x.net), "Status": state("Afgerond", "Geannuleerd", "In behandeling"),
    }, lines, ";", "utf-8")  # fmt: skip
    expected["nl_bestellingen.csv"] = {
        "role": "feeds", "event_time": [["Besteldatum"]], "event_type": [["Status"]], "user_id": [["Klantnummer"]],
        "order_id": [["Bestelnummer"]], "product_id": [["Artikelnummer"]], "category": [["Categorie"]],
        "quantity": [["Aantal"]], "amount": [["Regeltotaal"]], "discount": [["Korting"]],
    }  # fmt: skip
    write_jsonl("nl_orders.jsonl", {
        "ordernummer": lambda o: o["no"], "aangemaakt_op": lambda o: f"{o['at']:%Y-%m-%dT%H:%M:%S}+01:00",
        "klant.nummer": lambda o: o["who"]["no"], "klant.email": lambda o: o["who"]["mail"],
        "totaal_excl_btw": lambda o: o["net"], "totaal_incl_btw": lambda o: o["gross"],
        "status": state("voltooid", "geannuleerd", "in behandeling"), "kanaal": lambda o: o["channel"],
    }, told)  # fmt: skip
    expected["nl_orders.jsonl"] = {
        "role": "feeds", "event_time": [["aangemaakt_op"]], "event_type": [["status"]], "user_id": [["klant.nummer"]],
        "order_id": [["ordernummer"]], "amount": [["totaal_excl_btw"]], "channel": [["kanaal"]],
        "allowed": {"event_id": [["ordernummer"]]},
    }  # fmt: skip
    write_csv("pt_pedidos.csv", {
        "Número do pedido": lambda x: x.order["no"], "Data do pedido": lambda x: f"{x.order['at']:%d/%m/%Y %H:%M}",
        "ID do cliente": lambda x: x.order["who"]["no"], "Código do produto": lambda x: x.sku,
        "Nome do produto": lambda x: x.name, "Categoria": lambda x: x.goods, "Quantidade": lambda x: x.pieces,
        "Valor unitário": lambda x: comma(x.price), "Desconto": lambda x: comma(x.rebate),
        "Valor total": lambda x: comma(x.net), "Situação": state("Concluído", "Cancelado", "Pendente"),
    }, lines, ";", "latin-1")  # fmt: skip
    expected["pt_pedidos.csv"] = {
        "role": "feeds", "event_time": [["Data do pedido"]], "event_type": [["Situação"]],
        "user_id": [["ID do cliente"]], "order_id": [["Número do pedido"]], "product_id": [["Código do produto"]],
        "category": [["Categoria"]], "quantity": [["Quantidade"]], "amount": [["Valor total"]],
        "discount": [["Desconto"]],
    }  # fmt: skip
    write_jsonl("pt_itens.jsonl", {
        "pedido_id": lambda x: x.order["no"], "data_criacao": lambda x: f"{x.order['at']:%Y-%m-%d %H:%M:%S}",
        "cliente_id": lambda x: x.order["who"]["no"], "produto_id": lambda x: x.sku,
        "quantidade": lambda x: x.pieces, "preco_unitario": lambda x: x.price,
        "total_item": lambda x: round(x.price * x.pieces, 2), "situacao": state("pago", "cancelado", "pendente"),
    }, lines)  # fmt: skip
    expected["pt_itens.jsonl"] = {
        "role": "feeds", "event_time": [["data_criacao"]], "event_type": [["situacao"]], "user_id": [["cliente_id"]],
        "order_id": [["pedido_id"]], "product_id": [["produto_id"]], "quantity": [["quantidade"]],
        "amount": [["total_item"]],
    }  # fmt: skip
    text = "# Written by make_files.py. Contract column: the columns of the file that its expression may read.\n"
    text += yaml.safe_dump(expected, allow_unicode=True, sort_keys=False, default_flow_style=None, width=120)
    (FILES / "expected.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
