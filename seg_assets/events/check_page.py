"""Show what `source check` read as JSON, and as one HTML page that can be sent to whoever made the export.

The page has no script and fetches nothing; numbers, reasons and line numbers stand on it, and no text of any line, so
that nobody's data goes with it.

Not here: how a file is read (`events.check`), and the text that the command prints (`events.cli`).
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from markupsafe import Markup

from seg_assets.core import svg
from seg_assets.core.svg import element
from seg_assets.events.accounts import Rejections
from seg_assets.events.check import Sample

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#333;max-width:960px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse}
td,th{padding:.2em .8em .2em 0;text-align:left;border-bottom:1px solid #ddd}td.n,th.n{text-align:right}
.quiet{color:#777}svg{max-width:100%;height:auto}li{margin:.3em 0}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_WIDTH, _HEIGHT, _LEFT = 640, 130, 60


def as_json(read: Sample, file: str, source: str, zone: str) -> dict[str, Any]:
    """Return what became of a file as plain values; no text of a line is among them.

    Args:
        read: what became of the file.
        file: its name.
        source: the source's name.
        zone: the shop's zone, whose days count.
    """
    return {
        "file": file,
        "source": source,
        "feed": read.feed,
        "format": read.format,
        "time_zone": zone,
        "note": read.note,
        "lines": {
            "read": read.lines_read,
            "accepted": read.accepted,
            "left_out": read.left_out,
            "rejected": read.rejected,
            "duplicates": read.duplicates,
        },
        "left_out": _reasons(read.omitted),
        "rejected": _reasons(read.reasons),
        "users": read.users,
        "events_without_user": read.guests,
        "events": [{"type": t, "events": n, "amount": _plain(a)} for t, n, a in read.kinds],
        "months": [{"month": m, "type": t, "events": n, "amount": _plain(a)} for m, t, n, a in read.months],
        "days": [{"day": _plain(day), "lines": n} for day, n in read.days],
        "hours": [{"hour": hour, "events": n} for hour, n in read.hours],
        "unmapped_columns": read.unmapped,
        "absent_columns": read.absent,
        "hints": read.hints,
        "questions": list(read.questions),
    }


def page(read: Sample, file: Path, source: str, zone: str) -> str:
    """Return the page of a file."""
    counts = [("lines read", read.lines_read), ("accepted", read.accepted), ("left out on purpose", read.left_out),
              ("rejected", read.rejected), ("duplicates", read.duplicates)]  # fmt: skip
    parts = [
        element("h1", f"{file.name}, as {source} reads it"),
        element("p", f"Feed {read.feed} ({read.format}); days in {zone}. {read.note}", class_="quiet"),
        _table(("Lines", "#"), counts),
    ]
    if read.questions:
        parts += [element("h2", "Questions"), element("ul", *(element("li", q) for q in read.questions))]
    for title, reasons in (("Left out on purpose", read.omitted), ("Rejected", read.reasons)):
        if reasons:
            rows = [(f"{r.reason}{f' ({r.column})' if r.column else ''}", r.lines, r.first_line) for r in reasons]
            parts += [element("h2", title), svg.bar_chart(title, [(row[0], row[1]) for row in rows[:10]])]
            parts.append(_table(("Reason", "#Lines", "#First in line"), rows))
    if read.days:
        parts += [element("h2", "Events by day"), _over_days("Events", [(d, float(n)) for d, n in read.days])]
        if read.money:
            parts += [element("h2", "Money by day"), _over_days("Money", [(d, float(a)) for d, a in read.money])]
        parts += [element("h2", f"Events by hour of day, {zone}"), _over_hours(read.hours)]
        parts += [
            element("h2", "Events and money by month"),
            _table(
                ("Month", "Type", "#Events", "#Amount"),
                [(m, t, n, "" if a is None else a) for m, t, n, a in read.months],
            ),
            element("p", f"{read.users:,} users; {read.guests:,} events without one."),
        ]
    if read.hints:
        parts += [element("h2", "Hints"), element("ul", *(element("li", hint) for hint in read.hints))]
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),  # noqa: S704  a constant
        element("title", f"{file.name}, as {source} reads it"),
        Markup(f"<style>{_STYLE}</style>"),  # noqa: S704  a constant
    )
    return f"<!doctype html>\n{element('html', head, element('body', *parts), lang='en')}\n"


def _reasons(reasons: Iterable[Rejections]) -> list[dict[str, Any]]:
    return [{"reason": r.reason, "column": r.column, "lines": r.lines, "first_line": r.first_line} for r in reasons]


def _plain(value: Any) -> Any:
    return f"{value}" if isinstance(value, Decimal | dt.date) else value


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; a head that begins with # is of numbers."""
    kinds = ["n" if head.startswith("#") else None for head in heads]
    first = element("tr", *(element("th", h.removeprefix("#"), class_=k) for h, k in zip(heads, kinds, strict=True)))
    shown = ([f"{v:,}" if isinstance(v, int | Decimal) else v for v in row] for row in rows)
    body = [element("tr", *(element("td", v, class_=k) for v, k in zip(row, kinds, strict=True))) for row in shown]
    return element("table", first, *body)


def _over_days(what: str, points: Sequence[tuple[dt.date, float]]) -> Markup:
    """Return values by day as thin bars, so that a day without any is a gap."""
    days = [day.toordinal() for day, _ in points]
    values = [value for _, value in points]
    x = svg.scale(min(days), max(days), _LEFT, _WIDTH - 20)
    y = svg.scale(min(0.0, *values), max(0.0, *values), _HEIGHT - 25, 10)
    bars = [
        svg.line(
            (x(day.toordinal()), y(0)),
            (x(day.toordinal()), y(value)),
            f"{day}: {value:,.2f}".removesuffix(".00"),
            stroke=svg.BLUE,
            stroke_width=2,
        )
        for day, value in points
    ]
    words = [
        svg.text(_LEFT, _HEIGHT - 6, points[0][0], fill=svg.QUIET),
        svg.text(_WIDTH - 20, _HEIGHT - 6, points[-1][0], anchor="end", fill=svg.QUIET),
        svg.text(_LEFT - 8, 18, f"{max(values):,.0f}", anchor="end", fill=svg.QUIET),
    ]
    return svg.drawing(_WIDTH, _HEIGHT, [*bars, *words], title=f"{what} by day")


def _over_hours(hours: Sequence[tuple[int, int]]) -> Markup:
    """Return events by hour of day: a zone that is wrong moves the night."""
    most = max(count for _, count in hours)
    y, step = svg.scale(0, most, _HEIGHT - 25, 10), (_WIDTH - _LEFT - 20) / 24
    bars = [
        svg.rect(
            _LEFT + hour * step, y(count), step - 3, _HEIGHT - 25 - y(count), f"{hour}:00: {count:,}", fill=svg.BLUE
        )
        for hour, count in hours
    ]
    words = [svg.text(_LEFT + hour * step, _HEIGHT - 6, hour, fill=svg.QUIET) for hour in range(0, 24, 3)]
    return svg.drawing(_WIDTH, _HEIGHT, [*bars, *words], title="Events by hour of day")
