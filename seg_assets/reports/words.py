"""The report in plain sentences: what a reader in a hurry takes away. Numbers in, text out; nothing is markup."""

from seg_assets.core import columns
from seg_assets.reports.charts import number, percent, short
from seg_assets.reports.contents import Apart, Report, SegmentRow

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
    """Why most users of a flow moved, in words."""
    if feature_name is None:
        return "a wait was over: the move had been proposed for some days"
    if feature_name == "(no champion)":
        return "a model was fitted: users left “not segmented yet”"
    if feature_name == "(outlier)":
        return "near no segment, or near one again"
    told = "a weighting of the model" if feature_name == "(intercept)" else feature(feature_name)
    return f"rule on {told}" if rule else f"mostly {told}"


def value(name: str, number_: float | None) -> str:
    """A feature's value for a reader."""
    return percent(number_, 0) if columns.is_share(name) else short(number_)


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
    """'much higher spend, 90 days; fewer visits, 28 days', strongest first."""
    strongest = sorted(items, key=lambda a: (-abs(a.score), a.feature))[:most]
    return "; ".join(_compared(item) for item in strongest)


def change(row: SegmentRow) -> float | None:
    """Relative change of a segment's users since a week ago."""
    if row.users_week_ago is None or row.users_week_ago == 0:
        return None
    return row.users / row.users_week_ago - 1.0


def summary(report: Report) -> list[str]:
    """Four to seven sentences about the day."""
    clusters = [s for s in report.segments if s.is_cluster and s.users]
    sentences = []
    if report.users == 0:
        return [f"No known user on {report.day}, so there is nothing to segment yet."]
    if not clusters:
        sentences.append(
            f"All {number(report.users)} users are in rule segments: no model has been fitted yet. The first fit comes "
            "on the first day with enough eligible users and history."
        )
        return sentences
    rules = report.users - sum(s.users for s in clusters)
    rest = f"; {number(rules)} more are placed by rule (new, dormant or unassigned)" if rules else ""
    sentences.append(
        f"{number(report.users - rules)} of {number(report.users)} users fall into {len(clusters)} segments{rest}."
    )
    largest = max(clusters, key=lambda s: (s.users, s.segment_id))
    said = apart_words(largest.apart)
    sentences.append(
        f"The largest is “{largest.name}” with {percent(largest.share, 0)} of all users"
        + (f": {said}." if said else ".")
    )
    valued = [s for s in clusters if s.value_share is not None and s.value_share == s.value_share]
    if valued:
        top = max(valued, key=lambda s: (s.value_share or 0.0, s.segment_id))
        sentences.append(
            f"“{top.name}” brings {percent(top.value_share, 0)} of the last 90 days' spend with "
            f"{percent(top.share, 0)} of the users ({short(top.value_mean)} each)."
        )
    movers = [(change(s), s) for s in clusters if change(s) is not None and s.users + (s.users_week_ago or 0) >= 20]
    if movers:
        strongest = max(movers, key=lambda m: (abs(m[0] or 0.0), m[1].segment_id))
        if abs(strongest[0] or 0.0) >= 0.02:
            verb = "grew" if (strongest[0] or 0) > 0 else "shrank"
            sentences.append(
                f"Within a week “{strongest[1].name}” {verb} by {percent(abs(strongest[0] or 0.0), 0)}, "
                f"from {number(strongest[1].users_week_ago)} to {number(strongest[1].users)} users."
            )
        else:
            sentences.append("No segment grew or shrank by more than 2 % within a week.")
    moved = report.metrics.get("moved_share")
    if moved is not None and moved == moved:
        sentences.append(f"{percent(moved)} of the users changed segment since yesterday.")
    sentences.append(_drift_sentence(report))
    sentences.append(_trust_sentence(report, clusters))
    return [s for s in sentences if s]


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


def _trust_sentence(report: Report, clusters: list[SegmentRow]) -> str:
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
        names = ", ".join(f"“{n}”" for n in doubtful[:3]) + (
            f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
        )
        parts.append(f"do not trust {names}: another sample of the same users would not show it again")
    elif clusters and all(s.trusted for s in clusters):
        parts.append("every segment is found again in other samples of the same users")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""
