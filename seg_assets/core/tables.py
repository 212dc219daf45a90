"""List every lake table: its columns, and what a day of it is made from.

Provenance, staleness, `doctor`, the dependencies and column schemas of the assets, and docs/tables.md are all made from
this list. Anything that a day of a table reads and that is not among its inputs is a defect: the day would not be
recomputed when it changes.

Not here: what a spec can say (`core.table_spec`), the columns of tables that dbt makes (the YAML of the dbt project),
and how rows are computed (each room).
"""

from seg_assets.core.table_spec import Column, Input, TableSpec

# Longest trailing window of a profile feature, in days.
PROFILE_WINDOW = 90

_TABLES = (
    TableSpec(
        name="landed_files",
        room="events",
        key=("source_file", "feed"),
        inputs=(Input("landing", "files"),),
        code_version="3",
        columns=(
            Column("source_file", "VARCHAR", "Path below the landing folder"),
            Column("feed", "VARCHAR", "Feed of the source that reads it"),
            Column("bytes", "BIGINT", "Size; of the day's lines, in a file of many days"),
            Column("sha256", "VARCHAR", "Hash of the file; of the day's lines, in a file of many days"),
            Column(
                "lines_read",
                "BIGINT",
                "Records without header and blank lines = accepted + left out + rejected + duplicates",
            ),
            Column("accepted", "BIGINT", "Lines that are events (users, products) now"),
            Column("left_out", "BIGINT", "Lines left out on purpose, in rejected_events with the reason"),
            Column("rejected", "BIGINT", "Lines refused, in rejected_events with the reason"),
            Column("duplicates", "BIGINT", "Lines whose id was read already, on this day"),
            Column("events", "BIGINT", "Events of the day that the file gives; a line may give several, or none"),
        ),
    ),
    TableSpec(
        name="rejected_events",
        room="events",
        key=("source_file", "line"),
        inputs=(Input("landing", "files"),),
        code_version="2",
        columns=(
            Column("source_file", "VARCHAR", "Path below the landing folder"),
            Column("line", "BIGINT", "Line of the file, from 1, the header counted; row of a Parquet file"),
            Column("reason", "VARCHAR", "Why it was refused; docs/sources.md lists all reasons"),
            Column("field", "VARCHAR", "The column at fault, where there is one"),
            Column("original", "VARCHAR", "The line as it stood in the file; bytes that are no text as \\xNN"),
        ),
    ),
    TableSpec(
        name="raw_events",
        room="events",
        key=("event_time", "event_id"),
        inputs=(Input("landing", "files"),),
        code_version="2",
        columns=(
            Column("event_id", "VARCHAR", "Unique within a day; what duplicates are found by"),
            Column("user_id", "VARCHAR", "The shop's id of a known user; null only when anonymous_id is set"),
            Column(
                "anonymous_id",
                "VARCHAR",
                "Cookie or device id of a visitor, linked to a user once both come on one event",
            ),
            Column("event_time", "TIMESTAMP", "When it happened, in UTC; the day is taken in the shop's time zone"),
            Column("event_type", "VARCHAR", "One of the contract's event types"),
            Column("product_id", "VARCHAR", "Product, where the event has one"),
            Column("category", "VARCHAR", "Product category, as the event or the catalogue names it"),
            Column(
                "order_id",
                "VARCHAR",
                "Order of a purchase or refund line (GA4 transaction_id); lines of one order share it",
            ),
            Column(
                "quantity",
                "DECIMAL(18,3)",
                "Units of the line; never summed across products, shops put grams and litres here",
            ),
            Column("amount", "DECIMAL(18,2)", "Net amount in shop currency; negative for refunds"),
            Column("discount", "DECIMAL(18,2)", "Amount taken off in shop currency, zero or more"),
            Column("rating", "DECIMAL(3,1)", "Review rating from 1 to 5"),
            Column("session_id", "VARCHAR", "Visit the event belongs to"),
            Column("channel", "VARCHAR", "web, app, store, email or social"),
            Column("device", "VARCHAR", "desktop, mobile, tablet or other"),
            Column("query", "VARCHAR", "Search text"),
            Column("campaign_id", "VARCHAR", "Campaign of an exposure or a coupon"),
            Column("extra", "VARCHAR", "JSON object of the columns the source did not map"),
        ),
    ),
    TableSpec(
        name="raw_users",
        room="events",
        key=("user_id",),
        inputs=(
            Input("landing", "files"),
            Input("raw_users", "yesterday"),
        ),
        code_version="2",
        columns=(
            Column("user_id", "VARCHAR", "The shop's id of a user"),
            Column("sex", "VARCHAR", "As the shop writes it"),
            Column("age_band", "VARCHAR", "As the shop writes it"),
            Column("region", "VARCHAR", "As the shop writes it"),
            Column("income_band", "VARCHAR", "As the shop writes it"),
            Column("household_size", "INTEGER", "Persons"),
            Column("signup_day", "DATE", "Day the user signed up"),
            Column("extra", "VARCHAR", "JSON object of the columns the source did not map"),
        ),
    ),
    TableSpec(
        name="raw_products",
        room="events",
        key=("product_id",),
        inputs=(
            Input("landing", "files"),
            Input("raw_products", "yesterday"),
        ),
        code_version="2",
        columns=(
            Column("product_id", "VARCHAR", "The shop's id of a product"),
            Column("category", "VARCHAR", "What interest segments are made of; 5 to 50 values work best"),
            Column("subcategory", "VARCHAR", "Finer category"),
            Column("brand", "VARCHAR", "Brand"),
            Column("price", "DECIMAL(18,2)", "List price in shop currency"),
            Column("extra", "VARCHAR", "JSON object of the columns the source did not map"),
        ),
    ),
    TableSpec(
        name="user_daily_activity",
        room="profiles",
        key=("actor_id",),
        inputs=(Input("raw_events"),),
        code_version="2",
    ),
    TableSpec(
        name="user_category_activity",
        room="profiles",
        key=("actor_id", "category"),
        inputs=(
            Input("raw_events"),
            Input("raw_products"),
        ),
    ),
    TableSpec(
        name="identity_links",
        room="profiles",
        key=("anonymous_id",),
        inputs=(
            Input("raw_events"),
            Input("identity_links", "yesterday"),
        ),
        code_version="2",
    ),
    TableSpec(
        name="user_lifetime",
        room="profiles",
        key=("actor_id",),
        inputs=(
            Input("user_daily_activity"),
            Input("user_lifetime", "yesterday"),
        ),
    ),
    TableSpec(
        name="user_category_profiles",
        room="profiles",
        key=("user_id", "category"),
        inputs=(
            Input("user_category_activity", "trailing", PROFILE_WINDOW),
            Input("identity_links"),
        ),
        edges={"user_category_activity": (0, PROFILE_WINDOW)},
    ),
    TableSpec(
        name="user_profiles",
        room="profiles",
        key=("user_id",),
        inputs=(
            Input("user_lifetime"),
            Input("user_daily_activity", "trailing", PROFILE_WINDOW),
            Input("identity_links"),
            Input("user_category_profiles"),
            Input("raw_users"),
        ),
        edges={"user_daily_activity": (0, 7, 28, PROFILE_WINDOW), "user_category_activity": (0, PROFILE_WINDOW)},
    ),
    TableSpec(
        name="segment_model",
        room="segments",
        key=("strategy", "sequence"),
        inputs=(
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "to_yesterday"),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy that was decided on"),
            Column(
                "sequence",
                "INTEGER",
                "0, 1, .. within the day; the derived decision comes first, those made by hand after it",
            ),
            Column("cause", "VARCHAR", "bootstrap, drift, age, manual or rollback"),
            Column(
                "against_model_id", "VARCHAR", "Champion that the challenger was held against; empty at a bootstrap"
            ),
            Column("model_id", "VARCHAR", "Content hash of the fitted model"),
            Column("promoted", "BOOLEAN", "Whether the fitted model became champion"),
            Column("reason", "VARCHAR", "Why, in words"),
            Column("numbers", "VARCHAR", "What the gate measured (JSON)"),
            Column("lineage", "VARCHAR", "Which segment survived, split, merged, was born or died (JSON)"),
            Column(
                "model",
                "VARCHAR",
                "The model as data: transforms, clusters, segments (JSON, checked by hash when read)",
            ),
            Column("reference", "VARCHAR", "The fit day's distributions, what drift is measured against (JSON)"),
            Column("inputs", "VARCHAR", "Digests of all that the decision was made from (JSON)"),
            Column("decision_id", "VARCHAR", "Hash of everything above but the sequence"),
        ),
        per_strategy_parts=True,
        required=False,
        notes="Sparse: only days with a decision. One part per strategy.",
    ),
    TableSpec(
        name="user_segments",
        room="segments",
        key=("strategy", "user_id"),
        inputs=(
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "champion"),
            Input("user_segments", "yesterday"),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy that the segment belongs to"),
            Column("user_id", "VARCHAR", "Known user"),
            Column("segment_id", "VARCHAR", "Permanent id of the user's one segment of this strategy"),
            Column(
                "kind",
                "VARCHAR",
                "cluster (the champion assigned it) or rule (unassigned, suspected_bot, dormant, new, outlier)",
            ),
            Column(
                "distance",
                "DOUBLE",
                "Score of the user in the segment, in model space (k-means: squared distance); null for rules",
            ),
            Column(
                "margin",
                "DOUBLE",
                "Score of the best other segment minus distance; negative while hysteresis holds the user, null "
                "for rules and where there is one cluster",
            ),
            Column(
                "confidence",
                "DOUBLE",
                "0 to 1, how sure the assignment is (k-means: 1 - nearest / second nearest distance; mixtures: "
                "posterior); 0 while hysteresis holds the user, 1 for rules that read a profile",
            ),
            Column("model_id", "VARCHAR", "Segment model that assigned it; null for rules that need no model"),
            Column("since_day", "DATE", "First day of the unbroken stay in this segment"),
            Column(
                "proposed_segment_id",
                "VARCHAR",
                "Nearer segment that the user is not moved to yet; null when there is none",
            ),
            Column("proposed_days", "INTEGER", "Days in a row with that proposal, this one included"),
        ),
    ),
    TableSpec(
        name="segment_profiles",
        room="segments",
        key=("strategy", "segment_id"),
        inputs=(
            Input("user_segments"),
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "champion"),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy that the segment belongs to"),
            Column("segment_id", "VARCHAR", "Permanent id"),
            Column("kind", "VARCHAR", "cluster or rule"),
            Column("name", "VARCHAR", "Readable name; follows the id across re-clusterings as long as its story holds"),
            Column("users", "BIGINT", "Users in it on the day; 0 for a cluster of the champion that nobody is in"),
            Column("share", "DOUBLE", "Of all known users of the day"),
            Column(
                "trusted",
                "BOOLEAN",
                "Whether the segment came out again from resampled users when the model was fitted (bootstrap "
                "Jaccard of at least 0.6); null for rule segments, and where too few users could tell",
            ),
            Column("model_id", "VARCHAR", "Champion of the day; null for rule segments"),
            Column("confidence_mean", "DOUBLE", "Mean confidence of its users"),
            Column("held_users", "BIGINT", "Users in it by hysteresis, who are nearer to another segment"),
            Column("spend_7d", "DECIMAL(38,2)", "Net spend of its users (7d), exact, shop currency"),
            Column("spend_28d", "DECIMAL(38,2)", "Net spend of its users (28d), exact, shop currency"),
            Column("spend_90d", "DECIMAL(38,2)", "Net spend of its users (90d), exact, shop currency"),
            Column("spend_all", "DECIMAL(38,2)", "Net spend of its users (all), exact, shop currency"),
            Column(
                "spend_share_90d", "DOUBLE", "Of the 90-day net spend of all users; null where that is not positive"
            ),
            Column(
                "features",
                "STRUCT(feature VARCHAR, mean DOUBLE, median DOUBLE, population_mean DOUBLE, population_median "
                "DOUBLE, z DOUBLE, lift DOUBLE)[]",
                "Per feature of the champion: mean and median of users with a value, in the shop's own unit, "
                "beside all users'; z = distance of the means in model space, in standard deviations of all "
                "users; lift = ratio of means",
            ),
            Column("story", "VARCHAR", "What sets it apart, in words, strongest first"),
            Column(
                "rule",
                "VARCHAR",
                "The segment told as a rule on profile columns (a shallow tree); null where the tree has none for it",
            ),
            Column(
                "rule_precision",
                "DOUBLE",
                "Of held-out users who satisfy the rule, share that is in the segment; null without one",
            ),
            Column(
                "rule_recall",
                "DOUBLE",
                "Of held-out users in the segment, share that satisfies the rule; null without one",
            ),
            Column(
                "rules_fidelity",
                "DOUBLE",
                "Share of held-out users whom the strategy's tree gives their segment; null without one",
            ),
        ),
        code_version="2",
    ),
    TableSpec(
        name="segment_moves",
        room="segments",
        key=("strategy", "user_id"),
        inputs=(
            Input("user_segments"),
            Input("user_segments", "yesterday"),
            Input("user_profiles"),
            Input("user_profiles", "yesterday"),
            Input("user_category_profiles"),
            Input("user_category_profiles", "yesterday"),
            Input("segment_model", "champion"),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy that the segments belong to"),
            Column("user_id", "VARCHAR", "User whose segment is another than the day before"),
            Column("kind", "VARCHAR", "moved, entered (not known the day before) or left (not known any more)"),
            Column("from_segment", "VARCHAR", "Segment of the day before; null when entered"),
            Column("to_segment", "VARCHAR", "Segment of the day; null when left"),
            Column(
                "cause",
                "VARCHAR",
                "user or model when it makes up two thirds of the push towards the new segment or more, else both; "
                "rule when one of the two is a rule segment",
            ),
            Column(
                "margin_before",
                "DOUBLE",
                "How much nearer to the new segment than to the old one, the day before, in that day's model",
            ),
            Column(
                "margin_after",
                "DOUBLE",
                "The same on the day, in the day's model; below 0 where hysteresis or an outlier rule had a say",
            ),
            Column(
                "margin_change",
                "DOUBLE",
                "margin_after - margin_before; of rules in the unit of the deciding column; 0 if entered or left",
            ),
            Column("user_part", "DOUBLE", "What of it the user did"),
            Column("model_part", "DOUBLE", "What of it the change of the champion did"),
            Column("waited_days", "INTEGER", "Days that the move had been proposed before it was made"),
            Column(
                "contributions",
                'STRUCT(feature VARCHAR, "user" DOUBLE, model DOUBLE)[]',
                "By feature; their sum is margin_change to 1e-9; strongest first, zeros left out",
            ),
        ),
    ),
    TableSpec(
        name="segment_evaluation",
        room="evaluation",
        key=("strategy", "segment_id", "metric"),
        inputs=(
            Input("user_segments"),
            Input("user_segments", "yesterday"),
            Input("user_segments", "horizon", 7),
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "champion"),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy that was evaluated"),
            Column("segment_id", "VARCHAR", "Segment the number is of; empty for the segmentation as a whole"),
            Column("metric", "VARCHAR", "Name of the number; docs/evaluation.md explains each"),
            Column("value", "DOUBLE", "The number; null where it has no meaning on this day"),
        ),
        code_version="2",
    ),
    TableSpec(
        name="segment_validity",
        room="evaluation",
        key=("strategy", "predictor", "outcome", "metric"),
        inputs=(
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("user_profiles", "horizon", 90),
            Input("user_segments", "horizon", 90),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy whose segments of 90 days ago are judged"),
            Column("predictor", "VARCHAR", "The strategy's own name, or a baseline; docs/validity.md describes each"),
            Column("groups", "INTEGER", "Number of groups of the predictor; 0: a number per user"),
            Column(
                "outcome",
                "VARCHAR",
                "What users did in the 90 days since: spend, activity, lapse, category_mix or coupon",
            ),
            Column("metric", "VARCHAR", "r2, r2_crossfit, spearman, auc or explained"),
            Column(
                "value",
                "DOUBLE",
                "The number; null where it means nothing (nobody lapsed, no categories) or could not be computed",
            ),
            Column("lower", "DOUBLE", "Lower end of its 95 % interval"),
            Column("upper", "DOUBLE", "Upper end of its 95 % interval"),
        ),
        code_version="3",
        notes="Empty until 90 days after the calendar began.",
    ),
    TableSpec(
        name="drift_report",
        room="drift",
        key=("strategy",),
        inputs=(
            Input("user_profiles"),
            Input("user_category_profiles"),
            Input("segment_model", "baseline"),
            Input("drift_report", "yesterday"),
        ),
        columns=(
            Column("strategy", "VARCHAR", "Strategy that is judged"),
            Column("model_id", "VARCHAR", "Champion on the day before; empty before the first fit"),
            Column("fit_day", "DATE", "Day the champion was fitted on"),
            Column(
                "baseline_day",
                "DATE",
                "Day of the last decision before this day, promoted or not: what the day is compared with",
            ),
            Column("baseline_id", "VARCHAR", "That decision"),
            Column("strategy_digest", "VARCHAR", "Hash of the strategy's settings"),
            Column("users", "BIGINT", "Users that take part in clustering"),
            Column("flagged", "BOOLEAN", "Whether this day alone shows drift"),
            Column("streak", "INTEGER", "Flagged days in a row up to this one, against the same baseline"),
            Column("drifted", "BOOLEAN", "Whether the streak is long enough to count as drift"),
            Column("cause", "VARCHAR", "bootstrap, drift or age when a re-clustering is due on this day, else empty"),
            Column("reasons", "VARCHAR[]", "Why, in words"),
            Column(
                "columns",
                'STRUCT("column" VARCHAR, method VARCHAR, score DOUBLE, "limit" DOUBLE, drifted BOOLEAN, '
                "missing_now DOUBLE, missing_then DOUBLE)[]",
                "Every watched column: distance, limit, missing shares now and at the baseline",
            ),
            Column("share_variation", "DOUBLE", "Total variation between segment shares now and at the baseline, 0..1"),
            Column("shadow_gain", "DOUBLE", "Out-of-sample gain of a refit on this day above that on the baseline day"),
            Column("verdict_digest", "VARCHAR", "Hash of what a decision depends on"),
        ),
        code_version="3",
    ),
)

TABLES: dict[str, TableSpec] = {table.name: table for table in _TABLES}
