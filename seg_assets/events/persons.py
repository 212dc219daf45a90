"""Notice ids that are no person, and days on which nobody is known.

A front end that is not ready writes "undefined" for the user, phones that may not tell their id all tell the same
one, a terminal in a store is everybody's. Such a user would own the visitors of a whole shop.

Not here: what is refused (`events.mapping`), and which visitor is linked to whom (identity_links in the dbt project,
which makes no link by an id that passes the limit below).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from seg_assets.core.sql import literal

# An id passes the limit when it came with more than LEAST ids of the other kind on one day, and with more than this
# share of all that came with any: a person has a handful of devices and browsers, a household shares one in a handful.
# `identity_links.sql` has the same two numbers.
LEAST, LIMIT = 5, 0.01
# A visitor with a tenth of all visitors' events, among a hundred visitors or more, is a crawler or everybody.
BUSY_VISITORS, BUSY_SHARE = 100, 0.1
# Texts that programs write where there is no id, in lower case, and what all devices tell that may not tell theirs.
PLACEHOLDERS = (
    "undefined", "null", "nil", "none", "nan", "(null)", "\\n", "(not set)", "not set", "not_set", "unknown",
    "(unknown)", "anonymous", "guest", "n/a", "[object object]", "true", "false", "-1", "02:00:00:00:00:00",
)  # fmt: skip
# Zeros, with the marks of a UUID or a MAC address; all f.
_OF_ONE_SIGN = r"[{]?(0[0:-]*|[fF]{8}(-[fF]{4}){3}-[fF]{12})[}]?"
REMEDY = (
    "ids that are no person: name them in the source, not_a_person: [undefined, ...]; every day that was read is then "
    "stale and read anew without them"
)
NOBODY = (
    "no event has a user_id, so nobody is known and nobody has a profile; if the visitor's id is the customer's, "
    "map it to user_id"
)


@dataclass(frozen=True)
class Ids:
    """The ids of some events.

    events: how many there are. known: of these, events with a user_id.
    visitors_of_one: the most visitors that one user came with. visitors: those that came with any user.
    users_of_one: the most users that one visitor came with. users: those that came with any visitor.
    busiest: the most events of one visitor. every_visitor: number of visitors. of_visitors: their events.
    placeholders: column, text and events of ids that programs write for nobody, most events first.
    """

    events: int
    known: int
    visitors_of_one: int
    visitors: int
    users_of_one: int
    users: int
    busiest: int
    every_visitor: int
    of_visitors: int
    placeholders: Sequence[tuple[str, str, int]]

    @property
    def nobody_known(self) -> bool:
        """Tell whether there are events, and none has a user_id."""
        return self.events > 0 and self.known == 0

    @property
    def user_share(self) -> float | None:
        """Return the largest share of linked visitors that one user came with; None when no event has both ids."""
        return self.visitors_of_one / self.visitors if self.visitors else None

    @property
    def visitor_share(self) -> float | None:
        """Return the largest share of linked users that one visitor came with; None when no event has both ids."""
        return self.users_of_one / self.users if self.users else None

    @property
    def doubts(self) -> list[str]:
        """Say which ids are likely no person, without an id that could be somebody's."""
        doubts = [f"{column} {text!r} ({events:,} events) is no id" for column, text, events in self.placeholders]
        if passes(self.visitors_of_one, self.visitors):
            doubts.append(
                f"one user_id came with {self.visitors_of_one:,} of {self.visitors:,} visitors in a day "
                f"({self.user_share:.0%}); no visitor is linked to it"
            )
        if passes(self.users_of_one, self.users):
            doubts.append(
                f"one anonymous_id came with {self.users_of_one:,} of {self.users:,} users in a day "
                f"({self.visitor_share:.0%}); it is linked to nobody"
            )
        if self.every_visitor >= BUSY_VISITORS and self.busiest > BUSY_SHARE * self.of_visitors:
            doubts.append(
                f"one anonymous_id has {self.busiest / self.of_visitors:.0%} of the events of all "
                f"{self.every_visitor:,} visitors"
            )
        return doubts


def passes(others: int, of: int) -> bool:
    """Tell whether an id that came with `others` of `of` ids of the other kind on a day is taken for no person."""
    return others > LEAST and others / of > LIMIT


def ids_of(con: duckdb.DuckDBPyConnection, events: str, day: str = "null") -> Ids:
    """Count the ids of a relation of events.

    Args:
        con: has the relation.
        events: its name.
        day: SQL of an event's day, where the relation holds many: the limit is one of a day.
    """
    row = con.execute(
        f"""
        with of_visitor as (select count(*) as n from {events} where anonymous_id is not null group by anonymous_id)
        select
            (select count(*) from {events}),
            (select count(user_id) from {events}),
            (select coalesce(max(n), 0) from of_visitor),
            (select count(*) from of_visitor),
            (select coalesce(sum(n), 0)::bigint from of_visitor)
        """
    ).fetchone()
    assert row is not None
    count, known, *busy = row
    visitors = _most_of_one(con, events, day, "user_id", "anonymous_id")
    users = _most_of_one(con, events, day, "anonymous_id", "user_id")
    return Ids(count, known, *visitors, *users, *busy, _placeholders(con, events))


def _most_of_one(con: duckdb.DuckDBPyConnection, events: str, day: str, one: str, other: str) -> tuple[int, int]:
    """Return how many of `other` came with one of `one` on a day at most, and how many came on that day in all."""
    row = con.execute(
        f"""
        with pairs as (
            select distinct {day} as of_day, {one} as one, {other} as other
            from {events} where {one} is not null and {other} is not null
        ),
        of_one as (select of_day, one, count(*) as others from pairs group by of_day, one),
        of_all as (select of_day, count(distinct other) as others from pairs group by of_day)
        select of_one.others, of_all.others
        from of_one join of_all on of_one.of_day is not distinct from of_all.of_day
        order by of_one.others > {LEAST} desc, of_one.others / of_all.others desc, of_one.others desc
        limit 1
        """
    ).fetchone()
    return row or (0, 0)


def _placeholders(con: duckdb.DuckDBPyConnection, events: str) -> list[tuple[str, str, int]]:
    """Return column, text and number of events of the ids that are written for nobody."""
    texts = ", ".join(literal(text) for text in PLACEHOLDERS)
    parts = " union all ".join(
        f"select '{column}' as name, {column} as id, count(*) as n from {events} where {column} is not null group by id"
        for column in ("user_id", "anonymous_id")
    )
    nobody = f"lower(id) in ({texts}) or regexp_full_match(id, {literal(_OF_ONE_SIGN)})"
    return con.execute(f"select name, id, n from ({parts}) where {nobody} order by n desc, name desc, id").fetchall()
