"""Say a report in plain sentences: what a reader in a hurry takes away. Numbers in, text out; nothing is markup.

Not here: numbers as text (`core.text`), words of profile columns (`core.columns`), and the words of the page's template
(`templates/report.html`).
"""

from collections.abc import Sequence

from seg_assets.core import columns
from seg_assets.core.text import number, percent, short
from seg_assets.reports.contents import Apart, Report, SegmentRow

# A change of a segment's size that is worth a sentence, and the users of both days together that it takes to see one.
LEAST_CHANGE, LEAST_USERS = 0.02, 20

CAUSES = {
    "bootstrap": "first model",
    "drift": "drift",
    "age": "renewal by age",
    "manual": "asked by hand",
    "rollback": "rolled back",
}


def feature(name: str) -> str:
    """Return a feature's name for a reader: `monetary_90d` is 'spend, 90 days'."""
    if "=" in name:
        attribute, _, level = name.partition("=")
        return f"{columns.words_for(attribute)} {level}"
    if name.startswith(columns.CATEGORY_PREFIX):
        return f"share spent on {name.removeprefix(columns.CATEGORY_PREFIX)}"
    stem, window = columns.split_window(name)
    if not window:
        return columns.words_for(name)
    share = columns.share_of(stem)
    return " ".join(share) if share else f"{columns.words_for(stem)}, {columns.WINDOWS[window]}"


def move_reason(feature_name: str | None, *, rule: bool) -> str:
    """Say why most users of a flow moved."""
    if feature_name is None:
        return "a wait was over: the move had been proposed for some days"
    if feature_name == "(no champion)":
        return "a model was fitted: users left “not segmented yet”"
    if feature_name == "(outlier)":
        return "near no segment, or near one again"
    cause = "a weighting of the model" if feature_name == "(intercept)" else feature(feature_name)
    return f"rule on {cause}" if rule else f"mostly {cause}"


def value(name: str, amount: float | None) -> str:
    """Return a feature's value for a reader."""
    return percent(amount, 0) if columns.is_share(name) else short(amount)


def _compared(item: Apart) -> str:
    up = item.score > 0
    if "=" in item.feature:
        return ("mostly " if up else "rarely ") + feature(item.feature)
    size = "much " if abs(item.score) >= 1 else "" if abs(item.score) >= 0.4 else "slightly "
    if columns.is_counted(item.feature):
        many = size.replace("much", "many" if up else "far")
        return f"{many}{'more' if up else 'fewer'} {feature(item.feature)}"
    return f"{size}{'higher' if up else 'lower'} {feature(item.feature)}"


def apart_words(items: tuple[Apart, ...], most: int = 2) -> str:
    """Say what sets a segment apart, strongest first: 'much higher spend, 90 days; fewer visits, 28 days'."""
    strongest = sorted(items, key=lambda a: (-abs(a.score), a.feature))[:most]
    return "; ".join(_compared(item) for item in strongest)


def change(row: SegmentRow) -> float | None:
    """Return the relative change of a segment's users since a week ago."""
    if row.users_week_ago is None or row.users_week_ago == 0:
        return None
    return row.users / row.users_week_ago - 1.0


def summary(report: Report) -> list[str]:
    """Say the day in one to seven sentences."""
    if report.users == 0:
        return [
            f"No known user on {report.day}, so there is nothing to segment yet: no event so far has a user_id, or no "
            "event has come."
        ]
    clusters = [segment for segment in report.segments if segment.is_cluster and segment.users]
    if not clusters:
        return [
            f"All {number(report.users)} users are in rule segments: no model has been fitted yet. The first fit comes "
            "on the first day with enough eligible users and history."
        ]
    sentences = [
        _coverage_sentence(report, clusters),
        _largest_sentence(clusters),
        _spend_sentence(clusters),
        _change_sentence(clusters),
        _moves_sentence(report),
        _drift_sentence(report),
        _trust_sentence(report, clusters),
    ]
    return [sentence for sentence in sentences if sentence]


def _coverage_sentence(report: Report, clusters: Sequence[SegmentRow]) -> str:
    rules = report.users - sum(segment.users for segment in clusters)
    rest = f"; {number(rules)} more are placed by rule (new, dormant or unassigned)" if rules else ""
    return f"{number(report.users - rules)} of {number(report.users)} users fall into {len(clusters)} segments{rest}."


def _largest_sentence(clusters: Sequence[SegmentRow]) -> str:
    largest = max(clusters, key=lambda segment: (segment.users, segment.segment_id))
    apart = apart_words(largest.apart)
    described = f": {apart}" if apart else ""
    return f"The largest is “{largest.name}” with {percent(largest.share, 0)} of all users{described}."


def _spend_sentence(clusters: Sequence[SegmentRow]) -> str:
    shares = [(segment.value_share, segment) for segment in clusters if segment.value_share is not None]
    known = [(share, segment.segment_id, segment) for share, segment in shares if share == share]
    if not known:
        return ""
    share, _, top = max(known, key=lambda item: item[:2])
    return (
        f"“{top.name}” brings {percent(share, 0)} of the last 90 days' spend with "
        f"{percent(top.share, 0)} of the users ({short(top.value_mean)} each)."
    )


def _change_sentence(clusters: Sequence[SegmentRow]) -> str:
    large = [segment for segment in clusters if segment.users + (segment.users_week_ago or 0) >= LEAST_USERS]
    changes = [(size, segment) for segment in large if (size := change(segment)) is not None]
    if not changes:
        return ""
    size, segment = max(changes, key=lambda item: (abs(item[0]), item[1].segment_id))
    if abs(size) < LEAST_CHANGE:
        return f"No segment grew or shrank by more than {percent(LEAST_CHANGE, 0)} within a week."
    return (
        f"Within a week “{segment.name}” {'grew' if size > 0 else 'shrank'} by {percent(abs(size), 0)}, "
        f"from {number(segment.users_week_ago)} to {number(segment.users)} users."
    )


def _moves_sentence(report: Report) -> str:
    moved = report.metrics.get("moved_share")
    if moved is None or moved != moved:
        return ""
    return f"{percent(moved)} of the users changed segment since yesterday."


def _drift_sentence(report: Report) -> str:
    verdict = report.verdict
    todays = [d for d in report.decisions if d.day == report.day]
    if todays:
        last = todays[-1]
        outcome = "was promoted" if last.promoted else "was not good enough and the old one stays"
        return f"A new model was fitted today ({CAUSES.get(last.cause, last.cause)}); it {outcome}."
    if verdict is None:
        return ""
    if verdict.drifted:
        why = f": {verdict.reason}" if verdict.reason else ""
        return f"Customers have drifted away from what the model was fitted on{why.rstrip('.')}."
    return "Customers still look like those the model was fitted on, so there is no need to re-cluster."


def _trust_sentence(report: Report, clusters: Sequence[SegmentRow]) -> str:
    doubtful = [s.name for s in clusters if s.trusted is False]
    parts = []
    if report.real is True:
        parts.append("The groups are real: they beat the same clustering of data without groups")
    elif report.real is False:
        parts.append(
            "The groups are not shown to be real: data without groups clusters as well, so read them as convenient "
            "cuts of a continuum"
        )
    if doubtful:
        names = ", ".join(f"“{name}”" for name in doubtful[:3])
        names += f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
        parts.append(f"do not trust {names}: another sample of the same users would not show it again")
    elif clusters and all(s.trusted for s in clusters):
        parts.append("every segment is found again in other samples of the same users")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""
