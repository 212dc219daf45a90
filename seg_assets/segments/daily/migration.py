"""Measure how users migrate between segments over a window: who went where, what is unusual, and what it is worth.

A migration compares `user_segments` of a window's first and last day, beside earlier windows of the same length as the
null. Segment ids are permanent, so counts of before and after a re-clustering can be put side by side. `migrate` and
what it calls are pure: counts in, frames out; `load_*` functions read the lake.

Intervals: Wilson (1927) by default, Clopper and Pearson (1934) on request; Brown, Cai and DasGupta (2001) compare.
Null: a stationary first-order Markov chain (Anderson and Goodman 1957), its transition shares pooled from earlier
windows. A cell's count is tested against the null by the exact conditional (hypergeometric) test where counts are
small and by the two-proportion score test where they are large. Users react to the same promotions, so shares vary from
window to window more than those of independent users would: z is divided by the root of the Pearson overdispersion that
the earlier windows show among themselves. All tested cells are controlled together (Holm 1979).

Not here: why one user moved (`segments.daily.moves`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from seg_assets.core import svg
from seg_assets.core.errors import ConfigError, MissingDaysError
from seg_assets.core.sql import literal
from seg_assets.core.text import shortened
from seg_assets.lake.store import Lake

# Where a user was not known on one of the two days. Parentheses cannot occur in a segment id.
ENTERED = "(entered)"
LEFT = "(left)"

# A year of monthly windows says little more about the null than these, and the shop of long ago is another shop.
MAX_EARLIER = 8
# Overdispersion needs windows that can differ from each other.
MIN_EARLIER_TO_FLAG = 2
FAMILY_ERROR = 0.05
# Below this expected count the normal approximation of the score test is not trusted.
EXACT_BELOW = 25.0

Interval = Literal["wilson", "clopper-pearson"]
# What statsmodels calls them.
INTERVALS = {"wilson": "wilson", "clopper-pearson": "beta"}

CELL_COLUMNS = (
    "from_segment",
    "to_segment",
    "users",
    "from_users",
    "share",
    "low",
    "high",
    "expected_share",
    "expected_users",
    "excess",
    "z",
    "p_value",
    "p_adjusted",
    "unusual",
    "spend",
    "at_risk",
)


@dataclass(frozen=True)
class Migration:
    """A migration matrix in long form.

    Attributes:
        strategy: whose segments.
        first: day the users start from.
        last: day they end on.
        cells: one row per (from, to) with `CELL_COLUMNS`; money in shop currency.
        values: mean 90-day net spend of a segment's users, by segment; orders "higher" and "lower".
        windows: earlier windows that the null was pooled from, newest first.
        overdispersion: factor of variance beyond independent users, from those windows; nan when fewer than two.
    """

    strategy: str
    first: dt.date
    last: dt.date
    cells: pd.DataFrame
    values: Mapping[str, float]
    windows: tuple[tuple[dt.date, dt.date], ...]
    overdispersion: float

    @property
    def value_at_risk(self) -> float:
        """Return the 90-day spend (as of `first`) of users who flowed to a lower-value segment, to dormant, or left."""
        cents = np.rint(self.cells.loc[self.cells["at_risk"], "spend"].to_numpy(float) * 100).astype(np.int64)
        return int(cents.sum()) / 100

    @property
    def unusual(self) -> pd.DataFrame:
        """Return the flagged flows, strongest first."""
        flagged = self.cells[self.cells["unusual"]]
        return flagged.reindex(flagged["z"].abs().sort_values(ascending=False, kind="stable").index)

    def matrix(self, value: str = "share") -> pd.DataFrame:
        """Return one column of the cells as a matrix, segments in order of value, highest first."""
        wide = self.cells.pivot_table(index="from_segment", columns="to_segment", values=value, aggfunc="first")
        return wide.reindex(index=sorted(wide.index, key=self._order), columns=sorted(wide.columns, key=self._order))

    def _order(self, segment: str) -> tuple[int, float, str]:
        if segment in (ENTERED, LEFT):
            return (1, 0.0, segment)
        value = self.values.get(segment, np.nan)
        return (0, -value if np.isfinite(value) else np.inf, segment)


def share_interval(
    hits: np.ndarray, trials: np.ndarray, method: str = "wilson", confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper ends of the interval of each share; nan where there were no trials.

    Args:
        hits: counts.
        trials: counts that they are shares of.
        method: `wilson`, or `clopper-pearson`, whose coverage is never below its confidence.
        confidence: of the interval.
    """
    from statsmodels.stats.proportion import proportion_confint

    with np.errstate(invalid="ignore", divide="ignore"):
        ends = proportion_confint(
            np.asarray(hits, float), np.asarray(trials, float), alpha=1 - confidence, method=INTERVALS[method]
        )
    low, high = (np.clip(end, 0.0, 1.0) for end in ends)
    return low, high


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values; nan (not tested) stays nan and does not count."""
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, float)
    adjusted = np.full(len(p_values), np.nan)
    tested = np.isfinite(p_values)
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], method="holm")[1]
    return adjusted


def migrate(
    strategy: str,
    first: dt.date,
    last: dt.date,
    flows: pd.DataFrame,
    earlier: Sequence[tuple[tuple[dt.date, dt.date], pd.DataFrame | Mapping[tuple[str, str], int]]],
    values: Mapping[str, float],
    *,
    dormant: str | None = None,
    interval: Interval = "wilson",
    confidence: float = 0.95,
) -> Migration:
    """Compare the flows of one window with the null of the earlier ones.

    Args:
        strategy: name of the strategy.
        first: first day of the window.
        last: last day of the window.
        flows: columns from_segment, to_segment, users, spend_cents.
        earlier: earlier windows of the same length with their flows, or only the users by (from, to).
        values: mean spend by segment.
        dormant: id of the rule segment that counts as lost whatever its value.
        interval: method of the intervals of the shares.
        confidence: of the intervals.

    Raises:
        ConfigError: when `interval` is unknown.
    """
    if interval not in INTERVALS:
        raise ConfigError(f"interval = {interval!r}: unknown; one of {', '.join(INTERVALS)}")
    now, cents = _grid(flows, "users"), _grid(flows, "spend_cents")
    past = [_grid(f, "users") if isinstance(f, pd.DataFrame) else f for _, f in earlier]
    pairs = set(now).union(*past)
    rows, columns = sorted({f for f, _ in pairs}), sorted({t for _, t in pairs})
    O = _counts(now, rows, columns)  # noqa: E741 - O and E are the field's names for observed and expected
    before = [_counts(t, rows, columns) for t in past]
    pooled = np.sum(before, axis=0) if before else np.zeros_like(O)
    dispersion = overdispersion(before)
    n = O.sum(axis=1, keepdims=True)
    N = pooled.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = O / n
        null = np.where(N > 0, pooled / N, np.nan)
    p_values, z = _tests(O, n, pooled, N, dispersion)
    low, high = share_interval(O, np.broadcast_to(n, O.shape), interval, confidence)
    adjusted = holm(p_values.ravel()).reshape(O.shape)
    grid = [(i, j) for i in range(len(rows)) for j in range(len(columns)) if O[i, j] or pooled[i, j]]
    # By column: a frame of one dict per cell, and its columns cast afterwards, take ten times as long.
    i, j = np.array(grid, dtype=np.int64).reshape(-1, 2).T
    of, to = [rows[at] for at in i], [columns[at] for at in j]
    users, from_users, expected = O[i, j], n[i, 0], null[i, j]
    flagged = adjusted[i, j] < FAMILY_ERROR if len(earlier) >= MIN_EARLIER_TO_FLAG else np.zeros(len(grid), dtype=bool)
    risky = [_at_risk(*pair, values, dormant) for pair in zip(of, to, strict=True)]
    cells = pd.DataFrame(
        {
            "from_segment": of,
            "to_segment": to,
            "users": users.astype(np.int64),
            "from_users": from_users.astype(np.int64),
            "share": share[i, j],
            "low": low[i, j],
            "high": high[i, j],
            "expected_share": expected,
            "expected_users": expected * from_users,
            "excess": users - expected * from_users,
            "z": z[i, j],
            "p_value": p_values[i, j],
            "p_adjusted": adjusted[i, j],
            "unusual": flagged,
            "spend": np.array([cents.get(pair, 0) for pair in zip(of, to, strict=True)], dtype=np.int64) / 100,
            "at_risk": np.array(risky, dtype=bool) & (users > 0),
        },
        columns=list(CELL_COLUMNS),
    )
    return Migration(strategy, first, last, cells, dict(values), tuple(w for w, _ in earlier), dispersion)


def overdispersion(windows: Sequence[np.ndarray]) -> float:
    """Return the windows' Pearson chi-square of homogeneity over its degrees of freedom: 1 or more.

    Each window is a matrix of counts; a row is compared with itself in the other windows. Fewer than two windows have
    no answer: nan.
    """
    if len(windows) < 2:
        return float("nan")
    counts = np.stack(windows).astype(float)
    trials = counts.sum(axis=2, keepdims=True)
    pooled_rows = trials.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        null = np.where(pooled_rows > 0, counts.sum(axis=0) / pooled_rows, 0.0)
        E = trials * null
        # Cells that expect less than one user blow the statistic up and say nothing.
        used = E >= 1
        statistic = np.where(used, (counts - E) ** 2 / np.where(used, E, 1.0), 0.0).sum()
    alive = (trials > 0).sum(axis=0)[:, 0]
    cells = used.any(axis=0).sum(axis=1)
    freedom = float((np.maximum(alive - 1, 0) * np.maximum(cells - 1, 0)).sum())
    return max(1.0, float(statistic) / freedom) if freedom > 0 else 1.0


def _tests(
    O: np.ndarray,  # noqa: E741
    n: np.ndarray,
    pooled: np.ndarray,
    N: np.ndarray,
    dispersion: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return two-sided p and z per cell; nan where the row has no past or no present, or the cell is always empty."""
    from scipy.special import ndtr, ndtri
    from scipy.stats import hypergeom

    total, hits = n + N, O + pooled
    tested = (n > 0) & (N > 0) & (hits > 0) & (hits < total)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / total
        error = np.sqrt(share * (1 - share) * (1 / n + 1 / N))
        z = (O / n - pooled / N) / error
    small = tested & (np.minimum(share * n, (1 - share) * n) < EXACT_BELOW)
    if small.any():
        i, j = np.nonzero(small)
        law = hypergeom(total[i, 0].astype(int), hits[i, j].astype(int), n[i, 0].astype(int))
        below, above = law.cdf(O[i, j]), law.sf(O[i, j] - 1)
        p = np.minimum(1.0, 2 * np.minimum(below, above))
        z[i, j] = np.where(above < below, 1, -1) * -ndtri(np.clip(p / 2, 1e-300, 0.5))
    z = z / np.sqrt(dispersion if np.isfinite(dispersion) else 1.0)
    return np.where(tested, 2 * ndtr(-np.abs(z)), np.nan), np.where(tested, z, np.nan)


def _at_risk(origin: str, target: str, values: Mapping[str, float], dormant: str | None) -> bool:
    if origin in (ENTERED, target, dormant):
        return False
    if target in (LEFT, dormant):
        return True
    return values.get(target, np.nan) < values.get(origin, np.nan)


def _grid(flows: pd.DataFrame, column: str) -> dict[tuple[str, str], int]:
    return {(f, t): int(n) for f, t, n in zip(flows["from_segment"], flows["to_segment"], flows[column], strict=True)}


def _counts(grid: Mapping[tuple[str, str], int], rows: list[str], columns: list[str]) -> np.ndarray:
    return np.array([[grid.get((f, t), 0) for t in columns] for f in rows], float).reshape(len(rows), len(columns))


# ---- reading the lake -----------------------------------------------------------------------------------------


def load_flows(lake: Lake, strategy: str, first: dt.date, last: dt.date, *, spend: bool = True) -> pd.DataFrame:
    """Count users, and sum their 90-day spend as of `first`, by their segments on the two days in one strategy.

    Raises:
        MissingDaysError: when a day was never materialized.
    """
    lake.require("user_segments", [first, last], "migration")
    money = "sum(coalesce(round(p.monetary_90d * 100), 0)::bigint)::bigint" if spend else "0::bigint"
    joined = ""
    if spend:
        lake.require("user_profiles", [first], "migration")
        joined = f"left join {lake.scan('user_profiles', [first])} p using (user_id)"
    side = "select user_id, segment_id from {} where strategy = " + literal(strategy)
    with lake.connect() as con:
        return con.execute(
            f"""
            with
                before as ({side.format(lake.scan("user_segments", [first]))}),
                after as ({side.format(lake.scan("user_segments", [last]))}),
                both_days as (
                    select user_id, before.segment_id as origin, after.segment_id as target
                    from before full join after using (user_id)
                )
            select
                coalesce(origin, {literal(ENTERED)}) as from_segment,
                coalesce(target, {literal(LEFT)}) as to_segment,
                count(*)::bigint as users,
                {money} as spend_cents
            from both_days {joined}
            group by all
            order by all
            """
        ).df()


def load_values(lake: Lake, strategy: str, first: dt.date, last: dt.date) -> dict[str, float]:
    """Return the mean 90-day net spend of each segment's users as of `first`; as of `last` for newer segments."""
    values: dict[str, float] = {}
    with lake.connect() as con:
        for day in (last, first):
            lake.require("user_profiles", [day], "migration")
            rows = con.execute(
                f"""
                select segment_id, sum(coalesce(round(p.monetary_90d * 100), 0)::bigint)::bigint, count(*)
                from {lake.scan("user_segments", [day])} s
                join {lake.scan("user_profiles", [day])} p using (user_id)
                where s.strategy = {literal(strategy)}
                group by all
                order by all
                """
            ).fetchall()
            values.update({segment: cents / users / 100 for segment, cents, users in rows})
    return values


def load_migration(
    lake: Lake,
    strategy: str,
    first: dt.date,
    last: dt.date,
    *,
    dormant: str | None = None,
    interval: Interval = "wilson",
    max_earlier: int = MAX_EARLIER,
) -> Migration:
    """Read `first`..`last` and the earlier windows that the lake holds whole, and compare them.

    Raises:
        ConfigError: when `last` is not after `first`, or the strategy has no rows on one of the days.
        MissingDaysError: when a day was never materialized.
    """
    if last <= first:
        raise ConfigError(f"migration --from {first} --to {last}: the window must end after it starts")
    flows = load_flows(lake, strategy, first, last)
    if not len(flows) and lake.provenance("user_segments", first):
        known = sorted(lake.read("user_segments", first, ["strategy"])["strategy"].unique())
        if known and strategy not in known:
            raise ConfigError(f"strategy = {strategy!r}: no rows on {first}; the lake has {', '.join(known)}")
    span = last - first
    earlier = []
    start = first
    while len(earlier) < max_earlier and start - span >= lake.start_day:
        start, end = start - span, start
        try:
            past = load_flows(lake, strategy, start, end, spend=False)
        except MissingDaysError:
            break
        earlier.append(((start, end), past))
    values = load_values(lake, strategy, first, last)
    return migrate(strategy, first, last, flows, earlier, values, dormant=dormant, interval=interval)


# ---- showing --------------------------------------------------------------------------------------------------


def say(migration: Migration, names: Mapping[str, str] | None = None) -> str:
    """Return the matrix in words and as a text table."""
    names = names or {}
    days = (migration.last - migration.first).days
    lines = [f"{migration.strategy}: migration {migration.first} -> {migration.last} ({days} days)"]
    if not len(migration.cells):
        return lines[0] + "\nno users on either day"
    shares = migration.matrix("share")
    users = migration.cells.groupby("from_segment")["users"].sum()
    width = max(len(s) for s in [*shares.index, *shares.columns, "from \\ to"]) + 2
    lines.append("".join(t.rjust(width) for t in ["from \\ to", "users", *shares.columns]))
    for origin, row in shares.iterrows():
        cells = ["" if not np.isfinite(v) or v == 0 else f"{v:.1%}" for v in row.to_numpy(float)]
        lines.append("".join(t.rjust(width) for t in [str(origin), str(users[origin]), *cells]))
    lines += [f"  {segment} = {name}" for segment, name in sorted(names.items()) if segment in set(shares.index)]
    if migration.windows:
        spread = (
            f", shares vary {migration.overdispersion:.2f} times as much between windows as independent users would"
            if np.isfinite(migration.overdispersion)
            else "; one window shows no variation, so nothing is flagged"
        )
        lines.append(f"null: pooled from {len(migration.windows)} earlier window(s) of {days} days{spread}")
    else:
        lines.append("null: no earlier window of this length in the lake, so nothing is tested or flagged")
    flagged = migration.unusual
    lines.append(f"unusual flows (family error {FAMILY_ERROR:.0%}, Holm): {len(flagged) or 'none'}")
    for cell in flagged.itertuples():
        lines.append(
            f"  {cell.from_segment} -> {cell.to_segment}: {cell.users} users, {cell.share:.1%} "
            f"[{cell.low:.1%}, {cell.high:.1%}], expected {cell.expected_share:.1%}, "
            f"excess {cell.excess:+.0f} users, adjusted p {cell.p_adjusted:.2g}"
        )
    lines.append(f"value at risk: {migration.value_at_risk:,.2f} of 90-day spend moved to lower value, dormant or left")
    risky = migration.cells[migration.cells["at_risk"]].sort_values("spend", ascending=False, kind="stable")
    for cell in risky.head(5).itertuples():
        lines.append(f"  {cell.from_segment} -> {cell.to_segment}: {cell.users} users, {cell.spend:,.2f}")
    return "\n".join(lines)


def heat_map_svg(migration: Migration, names: Mapping[str, str] | None = None, cell: int = 56) -> str:
    """Draw the matrix: darker is a larger share of the row; a red frame marks an unusual flow."""
    names = names or {}
    shares = migration.matrix("share")
    flagged = {(c.from_segment, c.to_segment) for c in migration.unusual.itertuples()}
    # Names of columns lean to the right, over the end of the matrix.
    left, top, row, right = 190, 120, 34, 120

    def label(segment: str) -> str:
        return shortened(names.get(segment) or segment, 28)

    parts = []
    for column, target in enumerate(shares.columns):
        x, y = left + cell * column + cell // 2, top - 6
        parts.append(svg.text(x, y, label(target), transform=f"rotate(-40 {x} {y})"))
    for line, (origin, values) in enumerate(shares.iterrows()):
        y = top + row * line
        parts.append(svg.text(left - 6, y + 20, label(str(origin)), anchor="end"))
        for column, (target, share) in enumerate(values.items()):
            if not np.isfinite(share) or share == 0:
                continue
            x, ink = left + cell * column, svg.WHITE if share > 0.5 else svg.INK
            frame, opacity = svg.RED if (origin, target) in flagged else "none", 0.08 + 0.92 * float(share)
            parts.append(
                svg.rect(
                    x + 1, y + 1, cell - 2, row - 2, fill=svg.BLUE, fill_opacity=opacity, stroke=frame, stroke_width=2
                )
            )
            parts.append(svg.text(x + cell // 2, y + 20, f"{share:.1%}", anchor="middle", fill=ink))
    width, height = left + cell * len(shares.columns) + right, top + row * len(shares.index) + 10
    return svg.drawing(width, height, parts, title=f"Migration {migration.first} to {migration.last}", font_size=11)
