"""Run a simulation day after day: scripts move users, populations draw events, the writer writes them.

Memory holds one day. Not here: what is drawn for a user (`simulator.day`), and the files (`simulator.landing`).
"""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from seg_assets.simulator.behaviours import BEHAVIOURS, BOT, GONE, REGIONS, Behaviour
from seg_assets.simulator.config import (
    Birth,
    Bots,
    Corrupt,
    Death,
    Duplicates,
    Late,
    Merge,
    Promotion,
    Shift,
    SimulationConfig,
    Split,
)
from seg_assets.simulator.day import SEND_DAYS, Catalogue, Effects, Today, aftermath, draw_day
from seg_assets.simulator.landing import (
    MARKER,
    TRUTH,
    LandingWriter,
    cookie_numbers,
    day_seconds,
    publish,
    write_json,
)
from seg_assets.simulator.population import (
    BURST_AFTER,
    BURST_BEFORE,
    BehaviourTable,
    Population,
    draw_codes,
)
from seg_assets.simulator.streams import stream
from seg_assets.simulator.truth import Truth

# Users of the start signed up within so many days before it.
OLDEST_SIGNUP = 400
# Users a day who move house: their row comes again in users/<day>.csv.
MOVING = 0.0005
BOT_SESSIONS = 6


def simulate(landing: Path, config: SimulationConfig, progress: bool = False) -> Truth:
    """Write the landing files of a simulated shop, and the truth beside them.

    The same configuration gives the same bytes. A longer run has the same first days. The landing folder's earlier
    simulation, if any, is replaced.

    Args:
        landing: folder of events/, users/, products.csv and truth/; made if need be.
        config: what to simulate.
        progress: show a progress bar when standard error is a terminal.

    Raises:
        ConfigError: when the folder holds event files that no simulation wrote.
        LandingError: when it cannot be written.
    """
    landing = Path(landing)
    shop = config.shop_kind()
    writer = LandingWriter(
        landing,
        config.seed,
        config.time_zone,
        config.format,
        config.late,
        tuple(shop.categories),
        shop.money_only,
    )
    run = _Run(config)
    try:
        writer.products(run.catalogue)
        counts = []
        with tqdm(total=config.days, unit="day", disable=None if progress else True) as bar:
            for n in range(config.days):
                counts.append(run.one_day(n, writer))
                bar.set_postfix(events=sum(c["clean_events"] for c in counts), refresh=False)
                bar.update()
            writer.flush()
    finally:
        writer.close()
    run.write_truth(landing / TRUTH, counts)
    return Truth.load(landing)


@dataclass
class _Run:
    """The state of one simulation between two days."""

    config: SimulationConfig
    table: BehaviourTable = field(init=False)
    populations: dict[int, Population] = field(init=False)
    catalogue: Catalogue = field(init=False)
    # Behaviour codes that new users come into, with their shares.
    shares: dict[int, float] = field(init=False)
    scale: float = field(init=False)
    pending: dict[tuple[int, int], list[dict[str, np.ndarray]]] = field(default_factory=dict)
    # What the truth says of each script.
    script_log: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.config
        shop = config.shop_kind()
        self.table = BehaviourTable(shop)
        initial = config.initial_segments()
        self.shares = {self.table.add(name, b): share for name, (share, b) in initial.items()}
        self.scale = visit_scale(config)
        self.catalogue = Catalogue.draw(config.seed, list(shop.categories.values()), config.products)
        self.populations = {0: Population(0, config.seed)}

    def one_day(self, n: int, writer: LandingWriter) -> dict[str, Any]:
        """Simulate day `n` and write its files; return its counts."""
        day = self.config.day(n)
        joined = self._move_people(n)
        effects = self._effects(n)
        today = Today(
            n=n,
            stamp=_stamp(day),
            weekday=day.weekday(),
            seconds=day_seconds(day, writer.zone),
            last_send=_stamp(_last_send(day)),
        )
        parts = []
        for number, population in self.populations.items():
            if not len(population):
                continue
            events, purchases = draw_day(
                population,
                self.table,
                self.catalogue,
                today,
                self.scale,
                effects,
                self.pending.pop((number, n), []),
                writer.money,
            )
            for later, items in aftermath(population, self.table, purchases, today).items():
                self.pending.setdefault((number, later), []).extend(items)
            size = len(events["type"])
            events["n"] = np.arange(size, dtype=np.int32)
            events["population"] = np.full(size, number, np.int16)
            events["user_number"] = population.user_numbers(events.pop("user"))
            parts.append(events)
        columns = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        if len(parts) > 1:
            order = np.argsort(columns["ms"], kind="stable")
            columns = {k: v[order] for k, v in columns.items()}
        known = columns["product"] >= 0
        columns["category"] = np.where(known, self.catalogue.category[columns["product"]], -1)
        writer.users(day, self._upserts(n, joined))
        return {"day": day, **writer.events(day, n, columns, self._dirt(n))}

    # ---- people -----------------------------------------------------------------------------------------------

    def _move_people(self, n: int) -> dict[int, np.ndarray]:
        """Let users sign up, and scripts and chance move them; return the new rows by population."""
        config = self.config
        joined: dict[int, np.ndarray] = {}
        own = self.populations[0]
        if n == 0:
            rng = stream(config.seed, "signup", 0)
            codes = draw_codes(rng, config.users, self.shares)
            signup = -1 - np.floor(OLDEST_SIGNUP * rng.random(config.users))
            joined[0] = own.join(0, codes, signup, self.table)
        for k, script in enumerate(config.scripts):
            if script.day == n:
                self._apply(n, k, script)
            if isinstance(script, Birth) and script.day <= n < script.day + script.days:
                total = max(round(script.share * config.users), 1)
                today = n - script.day
                size = total * (today + 1) // script.days - total * today // script.days
                code = self._newest(script.segment)
                joined[k + 1] = self._sign_up(k + 1, n, np.full(size, code))
            if isinstance(script, Bots) and script.day == n:
                behaviour = BEHAVIOURS[BOT].changed(
                    {
                        "sessions_per_day": BOT_SESSIONS / self.scale,
                        "views": min(script.views_per_day / BOT_SESSIONS, 1000.0),
                    },
                    {},
                )
                joined[k + 1] = self._sign_up(k + 1, n, np.full(script.users, self.table.add(BOT, behaviour)))
            if isinstance(script, Bots) and script.days and script.day + script.days == n:
                bots = self.populations[k + 1]
                rows = np.arange(len(bots))
                bots.plan(rows, np.full(len(rows), n), np.zeros(len(rows)))
        for population in self.populations.values():
            population.move(n, self.table)
        own.mix(n, config.mobility, self.shares, self.table)
        if n > 0 and config.growth > 0:
            rng = stream(config.seed, "signup", n)
            codes = draw_codes(rng, int(rng.poisson(config.growth * config.users)), self.shares)
            joined[0] = own.join(n, codes[codes > 0], np.full(int((codes > 0).sum()), n), self.table)
        return joined

    def _sign_up(self, number: int, n: int, codes: np.ndarray) -> np.ndarray:
        population = self.populations.setdefault(number, Population(number, self.config.seed))
        return population.join(n, codes, np.full(len(codes), n), self.table)

    def _newest(self, segment: str) -> int:
        """Return the code of a segment's latest version."""
        return max(k for k, name in enumerate(self.table.names) if name == segment)

    def _codes(self, segment: str) -> list[int]:
        """Return the codes of all versions of a segment."""
        return [k for k, name in enumerate(self.table.names) if name == segment]

    def _apply(self, n: int, k: int, script: Any) -> None:
        """Let script number `k` begin on day `n`: plan what becomes of users, and log what to expect."""
        affected, expected = 0, ""
        if isinstance(script, Shift):
            for old in self._codes(script.segment):
                new = self.table.add(script.segment, script.of(self.table.behaviours[old]))
                affected += self._transfer(n, k, old, {new: 1.0}, script.ramp_days)
            expected = f"users of {script.segment} behave differently from now on; the segment and its members stay"
        elif isinstance(script, Split):
            for old in self._codes(script.segment):
                base = self.table.behaviours[old]
                targets = {self.table.add(name, c.of(base)): c.share for name, c in script.into.items()}
                affected += self._transfer(n, k, old, targets, script.ramp_days)
            expected = f"{script.segment} splits: parts of it become {', '.join(script.into)}"
        elif isinstance(script, Merge):
            new = self.table.add(script.into, script.of(self.table.behaviours[self._newest(script.segments[0])]))
            for segment in script.segments:
                for old in self._codes(segment):
                    if old != new:
                        affected += self._transfer(n, k, old, {new: 1.0}, script.ramp_days)
            expected = f"{', '.join(script.segments)} become one segment, {script.into}"
        elif isinstance(script, Death):
            new = 0 if script.into == GONE else self._newest(script.into)
            for old in self._codes(script.segment):
                affected += self._transfer(n, k, old, {new: 1.0}, script.ramp_days)
            self.shares.pop(0, None)
            went = "have no more events" if new == 0 else f"behave as {script.into}"
            expected = f"{script.segment} dies: its users {went}"
        elif isinstance(script, Birth):
            self.table.add(script.segment, script.of(BEHAVIOURS["trend"]))
            affected = max(round(script.share * self.config.users), 1)
            expected = f"a new segment {script.segment} of users who were never here before"
        elif isinstance(script, Promotion):
            affected = int(self._in_promotion(script)[self.populations[0].code].sum())
            expected = "more visits, orders and coupons for some days, then all is as before; nobody changes segment"
        elif isinstance(script, Bots):
            affected = script.users
            expected = "a few accounts with page views only; to be suspected as bots"
        elif isinstance(script, Duplicates):
            expected = "lines that come twice; counted as duplicates, no event counts twice"
        elif isinstance(script, Corrupt):
            expected = "extra lines that are rejected, each with its reason and text"
        elif isinstance(script, Late):
            expected = "events missing from their day's file until the late file is delivered"
        self.script_log.append(
            {
                **script.model_dump(mode="json", by_alias=True),
                "number": k,
                "day": self.config.day(n).isoformat(),
                "last_day": self._last_day_of(n, script),
                "users": affected,
                "expected": expected,
            }
        )

    def _last_day_of(self, n: int, script: Any) -> str | None:
        """Return the last day on which a script that begins on day `n` changes anything; None when it goes on."""
        ramp = getattr(script, "ramp_days", None)
        days = ramp + 1 if ramp is not None else script.days
        return None if days is None else self.config.day(n + days - 1).isoformat()

    def _transfer(self, n: int, k: int, old: int, targets: dict[int, float], ramp: int) -> int:
        """Plan the move of a code's users to other codes (shares of at most 1), and of those yet to come."""
        affected = 0
        for number, population in self.populations.items():
            rows = np.flatnonzero(population.code == old)
            rng = stream(self.config.seed, "script", k, number, old)
            edges = np.cumsum(list(targets.values()))
            chosen = np.searchsorted(edges, rng.random(len(rows)) * max(edges[-1], 1.0), side="right")
            due = n + np.floor((ramp + 1) * rng.random(len(rows))).astype(np.int64)
            moving = chosen < len(targets)
            codes = np.array(list(targets))[chosen[moving]]
            population.plan(rows[moving], due[moving], codes)
            affected += int(moving.sum())
        share = self.shares.pop(old, 0.0)
        if share:
            for code, part in targets.items():
                self.shares[code] = self.shares.get(code, 0.0) + share * part
            rest = share * (1 - sum(targets.values()))
            if rest > 1e-12:
                self.shares[old] = rest
        return affected

    def _upserts(self, n: int, joined: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the users whose row is new or changed today."""
        fields = {
            "sex": "sex",
            "age_band": "age",
            "region": "region",
            "income_band": "income",
            "household_size": "household",
        }
        upserts: dict[str, list[np.ndarray]] = {name: [] for name in ("user_number", *fields, "signup")}
        for number, population in self.populations.items():
            rows = joined.get(number, np.empty(0, np.int64))
            if n > 0 and number == 0:
                rng = stream(self.config.seed, "attributes", n)
                moving = np.flatnonzero(rng.random(len(population)) < MOVING)
                population.region[moving] = rng.integers(0, len(REGIONS), len(moving))
                rows = np.union1d(rows, moving)
            upserts["user_number"].append(population.user_numbers(rows))
            for name, attribute in fields.items():
                upserts[name].append(getattr(population, attribute)[rows])
            upserts["signup"].append(population.signup[rows] - n)
        return {name: np.concatenate(parts) for name, parts in upserts.items()}

    # ---- what is on today -------------------------------------------------------------------------------------

    def _in_promotion(self, script: Promotion) -> np.ndarray:
        """Return which behaviour codes a promotion is for."""
        wanted = script.segments
        return np.array([name not in (GONE, BOT) and (not wanted or name in wanted) for name in self.table.names])

    def _effects(self, n: int) -> Effects:
        """Return what the promotions of day `n` do."""
        one = np.ones(len(self.table.names))
        effects = Effects(one.copy(), one.copy(), 0 * one, 0 * one)
        for script in self.config.scripts:
            if isinstance(script, Promotion) and script.day <= n < script.day + script.days:
                codes = self._in_promotion(script)
                effects.visits[codes] *= script.visits
                effects.orders[codes] *= script.orders
                effects.coupon[codes] = np.maximum(effects.coupon[codes], script.coupon)
                effects.discount[codes] = np.maximum(effects.discount[codes], script.discount)
                effects.campaign = -_stamp(self.config.day(script.day))
                if script.day == n:
                    effects.exposures.append((effects.campaign, script.reach, codes))
        return effects

    def _dirt(self, n: int) -> dict[str, float]:
        """Return the shares of duplicates, corrupt and late lines on day `n`."""
        shares = {"duplicates": 0.0, "corrupt": 0.0, "late": 0.0}
        for script in self.config.scripts:
            if isinstance(script, Duplicates | Corrupt | Late) and script.day <= n:
                if script.days is not None and n >= script.day + script.days:
                    continue
                if isinstance(script, Late) and (n - script.day) % script.every:
                    continue
                shares[script.kind] = max(shares[script.kind], script.share)
        return shares

    # ---- truth ------------------------------------------------------------------------------------------------

    def write_truth(self, folder: Path, counts: list[dict[str, Any]]) -> None:
        """Write users, membership, identities, script and, last, counts."""
        names = np.array(self.table.names, dtype=object)
        start = self.config.start
        user: dict[str, list[np.ndarray]] = {k: [] for k in ("number", "code", "first", "signup")}
        member: dict[str, list[np.ndarray]] = {k: [] for k in ("number", "day", "code")}
        cookie: dict[str, list[np.ndarray]] = {k: [] for k in ("cookie", "number", "visited", "linked")}
        for population in self.populations.values():
            rows = np.arange(len(population))
            first = np.zeros(len(population), np.int16)
            for moved, day, code in reversed(population.history):
                first[moved] = code
                member["number"].append(population.user_numbers(moved))
                member["day"].append(np.full(len(moved), day))
                member["code"].append(code)
            user["number"].append(population.user_numbers(rows))
            user["code"].append(population.code)
            user["first"].append(first)
            user["signup"].append(population.signup)
            at, device = np.nonzero(population.visited >= 0)
            numbers = population.user_numbers(at)
            cookie["cookie"].append(cookie_numbers(numbers, device))
            cookie["number"].append(numbers)
            cookie["visited"].append(population.visited[at, device])
            cookie["linked"].append(population.linked[at, device])
        con = duckdb.connect(":memory:")
        try:
            con.execute("set threads = 1")
            tables = {}
            for name, parts in (("users", user), ("membership", member), ("identities", cookie)):
                data = {k: np.concatenate(v) for k, v in parts.items()}
                tables[name] = pa.table(data)
                con.register(f"truth_{name}", tables[name])
            codes = pa.table({"code": np.arange(len(names)), "segment": [str(n) for n in names]})
            con.register("codes", codes)
            for name, sql in _TRUTH_SQL.items():
                table = con.sql(sql, params=[start]).to_arrow_table()
                _write_table(folder / f"{name}.parquet", table)
        finally:
            con.close()
        write_json(
            folder / MARKER,
            {
                "config": self.config.model_dump(mode="json", by_alias=True),
                "visit_scale": self.scale,
                "segments": {
                    name: {"share": share, **behaviour.model_dump(mode="json")}
                    for name, (share, behaviour) in self.config.initial_segments().items()
                },
                "scripts": sorted(self.script_log, key=lambda entry: (entry["day"], entry["number"])),
            },
        )
        table = pa.Table.from_pylist(counts)
        _write_table(folder / "counts.parquet", table)


_TRUTH_SQL = {
    "users": (
        "select format('u{:08d}', number) as user_id, b.segment, a.segment as first_segment, "
        f"?::date + signup as signup_day, b.segment = '{BOT}' or a.segment = '{BOT}' as is_bot "
        "from truth_users u join codes b on u.code = b.code join codes a on u.first = a.code order by number"
    ),
    "membership": (
        "select format('u{:08d}', number) as user_id, ?::date + day::integer as from_day, segment "
        "from truth_membership m join codes using (code) order by number, day"
    ),
    "identities": (
        "select format('a{:012x}', cookie) as anonymous_id, format('u{:08d}', number) as user_id, "
        "d + visited as first_day, case when linked >= 0 then d + linked end as linked_day "
        "from truth_identities, (select ?::date as d) order by anonymous_id"
    ),
}


def _write_table(path: Path, table: pa.Table) -> None:
    publish(path, lambda staged: pq.write_table(table, staged, compression="zstd"))


def _stamp(day: dt.date) -> int:
    """Return a day as the number YYYYMMDD."""
    return day.year * 10_000 + day.month * 100 + day.day


def _last_send(day: dt.date) -> dt.date:
    """Return the day of the last newsletter, up to this day."""
    while day.weekday() not in SEND_DAYS:
        day -= dt.timedelta(days=1)
    return day


def visit_scale(config: SimulationConfig) -> float:
    """Return the factor on visits that gives the wanted events per user and day at the start, scripts left aside."""
    shop = config.shop_kind()
    wanted = config.events_per_user_day or shop.events_per_user_day
    by_visits = fixed = 0.0
    for share, b in config.initial_segments().values():
        duty = min(b.burst_days / (BURST_BEFORE + BURST_AFTER), 1.0) if b.burst_days else 1.0
        per_session = b.buy * b.basket if shop.money_only else b.events_per_session()
        by_visits += share * (b.sessions_per_day * duty * per_session)
        if not shop.money_only:
            by_visits += share * b.campaigns_per_week / 7
        if b.period_days:
            fixed += share * _regular_order(b) / b.period_days
    if by_visits <= 0:
        return 1.0
    return max((wanted - fixed) / by_visits, 0.02 * wanted / by_visits)


def _regular_order(b: Behaviour) -> float:
    """Return the mean number of events of an order that comes by itself."""
    return b.changed({"buy": 1.0}, {}).events_per_session()
