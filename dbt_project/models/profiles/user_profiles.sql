{#- Windows of days, and the last bucket of each: bucket 0 holds the last 7 days, bucket 1 the 21 before, bucket 2
    the 62 before those. -#}
{%- set last_buckets = {'7d': 'bucket = 0', '28d': 'bucket <= 1', '90d': 'bucket <= 2'} -%}
-- One row per known user: everything known at the end of the day, history of linked visitors included.
with links as (
    select
        'anon:' || anonymous_id as actor_id,
        user_id
    from {{ ref('identity_links') }}
),

-- All days: the lifetimes of the actors of each user, added up.
lifetime as (
    select
        {{ user_of('lifetime.actor_id', 'links.user_id') }} as user_id,
        lifetime.*
    from {{ ref('user_lifetime') }} as lifetime
    left join links on lifetime.actor_id = links.actor_id
),

shop as (
    select
        concat_ws(
            ',',
            case when sum(orders) > 0 then 'orders' end,
            case when sum(views) > 0 then 'browse' end,
            case when sum(searches) > 0 then 'search' end,
            case when sum(carts) > 0 then 'cart' end,
            case when sum(wishlists) > 0 then 'wishlist' end,
            case when sum(checkouts) > 0 then 'checkout' end,
            case when sum(refunds) > 0 then 'refunds' end,
            case when sum(discount_cents) > 0 then 'discounts' end,
            case when sum(reviews) > 0 then 'reviews' end,
            case when sum(shares) > 0 then 'shares' end,
            case when sum(coupons) > 0 then 'coupons' end,
            case when sum(campaigns) > 0 then 'campaigns' end,
            case when sum(service) > 0 then 'service' end,
            case when sum(sessions) > 0 then 'sessions' end,
            case
                when sum(channel_web + channel_app + channel_store + channel_email + channel_social) > 0
                    then 'channels'
            end,
            case when sum(device_desktop + device_mobile + device_tablet + device_other) > 0 then 'devices' end
        ) as dimensions
    from lifetime
),

all_days as (
    select
        user_id,
        min(first_seen_day) as first_seen_day,
        max(last_seen_day) as last_seen_day,
        min(first_purchase_day) as first_purchase_day,
        max(last_purchase_day) as last_purchase_day,
        {{ day_set_count(day_set_union('active_days')) }} as active_days_all,
        {{ day_set_count(day_set_union('purchase_days')) }} as purchase_days_all,
        {% for counter in counters() -%}
            sum({{ counter }})::bigint as {{ counter }}_all,
        {% endfor -%}
        sum(order_cents_squared)::decimal(38, 0) as order_cents_squared_all,
        min(order_cents_min) as order_cents_min_all,
        max(order_cents_max) as order_cents_max_all
    from lifetime
    where user_id is not null
    group by user_id
),

-- The last 90 days, in two steps: sums by bucket, then windows from buckets.
activity as (
    select
        {{ user_of('activity.actor_id', 'links.user_id') }} as user_id,
        ({{ as_of() }} - activity.day)::int as age,
        activity.*
    from {{ ref('user_daily_activity') }} as activity
    left join links on activity.actor_id = links.actor_id
),

buckets as (
    select
        user_id,
        case when age < 7 then 0 when age < 28 then 1 else 2 end as bucket,
        -- a bit for each day of the bucket, which has at most 62
        bit_count(
            bit_or(1::bigint << case when age < 7 then age when age < 28 then age - 7 else age - 28 end)
        ) as active_days,
        max(busiest_hour_pages) as busiest_hour_pages,
        max(views + searches) as busiest_day_pages,
        {% for counter in counters() -%}
            sum({{ counter }})::bigint as {{ counter }},
        {% endfor -%}
        sum(order_cents_squared)::decimal(38, 0) as order_cents_squared,
        min(order_cents_min) as order_cents_min,
        max(order_cents_max) as order_cents_max
    from activity
    where user_id is not null
    group by user_id, bucket
),

recent as (
    select
        user_id,
        {% for window, last in last_buckets.items() -%}
            coalesce(sum(active_days) filter (where {{ last }}), 0)::bigint as active_days_{{ window }},
            {% for counter in shown_counts().values() -%}
                coalesce(sum({{ counter }}) filter (where {{ last }}), 0)::bigint as {{ counter }}_{{ window }},
            {% endfor -%}
            coalesce(sum(gross_cents) filter (where {{ last }}), 0)::bigint as gross_cents_{{ window }},
            coalesce(sum(refund_cents) filter (where {{ last }}), 0)::bigint as refund_cents_{{ window }},
        {% endfor -%}
        {% for counter in [
            'cart_visits', 'cart_visits_bought', 'order_lines', 'discount_cents', 'reviews', 'ratings', 'rating_tenths',
            'channel_web', 'channel_app', 'channel_store', 'channel_email', 'channel_social',
            'device_desktop', 'device_mobile', 'device_tablet', 'device_other',
        ] -%}
            sum({{ counter }})::bigint as {{ counter }}_90d,
        {% endfor -%}
        max(busiest_hour_pages) as busiest_hour_pages,
        max(busiest_day_pages) as busiest_day_pages,
        sum(order_cents_squared)::decimal(38, 0) as order_cents_squared_90d,
        min(order_cents_min) as order_cents_min_90d,
        max(order_cents_max) as order_cents_max_90d
    from buckets
    group by user_id
),

categories as (
    select
        user_id,
        count(*) filter (where category != '(unknown)') as categories_90d
    from {{ ref('user_category_profiles') }}
    group by user_id
),

-- The category with the largest share; ties go to more orders, more views, then the name.
top_categories as (
    select
        user_id,
        category as top_category_90d
    from {{ ref('user_category_profiles') }}
    where category != '(unknown)'
    qualify row_number() over (
        partition by user_id order by share_90d desc, orders_90d desc, views_90d desc, category asc
    ) = 1
)

select
    all_days.user_id,
    all_days.first_seen_day,
    all_days.last_seen_day,
    ({{ as_of() }} - all_days.first_seen_day)::int as tenure_days,
    ({{ as_of() }} - all_days.last_purchase_day)::int as recency_days,
    ({{ as_of() }} - all_days.last_seen_day)::int as inactive_days,
    shop.dimensions,
    all_days.orders_all = 0
    and (
        coalesce(recent.busiest_hour_pages, 0) >= {{ var('bot_pages_per_hour') }}
        or coalesce(recent.busiest_day_pages, 0) >= {{ var('bot_pages_per_day') }}
    ) as is_suspected_bot,
    {% for window in ['7d', '28d', '90d', 'all'] -%}
        {%- set source = 'all_days' if window == 'all' else 'recent' -%}
        {%- for shown, counter in shown_counts().items() -%}
            coalesce({{ source }}.{{ counter }}_{{ window }}, 0) as {{ shown }}_{{ window }},
        {% endfor -%}
        coalesce({{ source }}.active_days_{{ window }}, 0) as active_days_{{ window }},
        coalesce({{ source }}.gross_cents_{{ window }}, 0)::double / 100 as gross_{{ window }},
        coalesce({{ source }}.refund_cents_{{ window }}, 0)::double / 100 as refund_amount_{{ window }},
        coalesce({{ source }}.gross_cents_{{ window }} - {{ source }}.refund_cents_{{ window }}, 0)::double / 100
            as monetary_{{ window }},
    {% endfor -%}
    {% for window in ['90d', 'all'] -%}
        {%- set source = 'all_days' if window == 'all' else 'recent' -%}
        coalesce({{ source }}.reviews_{{ window }}, 0) as reviews_{{ window }},
        {{ source }}.rating_tenths_{{ window }}::double / nullif({{ source }}.ratings_{{ window }} * 10, 0)::double
            as review_mean_{{ window }},
        {{ source }}.cart_visits_bought_{{ window }}::double / nullif({{ source }}.cart_visits_{{ window }}, 0)::double
            as cart_to_purchase_rate_{{ window }},
        {{ source }}.order_lines_{{ window }}::double / nullif({{ source }}.orders_{{ window }}, 0)::double
            as basket_size_{{ window }},
        {{ source }}.discount_cents_{{ window }}::double
        / nullif({{ source }}.gross_cents_{{ window }} + {{ source }}.discount_cents_{{ window }}, 0)::double
            as discount_share_{{ window }},
        {{ order_value_mean(
            source ~ '.orders_' ~ window, source ~ '.gross_cents_' ~ window
        ) }} as order_value_mean_{{ window }},
        {{ order_value_var(
            source ~ '.orders_' ~ window, source ~ '.gross_cents_' ~ window, source ~ '.order_cents_squared_' ~ window
        ) }} as order_value_var_{{ window }},
        {{ source }}.order_cents_min_{{ window }}::double / 100 as order_value_min_{{ window }},
        {{ source }}.order_cents_max_{{ window }}::double / 100 as order_value_max_{{ window }},
    {% endfor -%}
    all_days.purchase_days_all,
    (all_days.last_purchase_day - all_days.first_purchase_day)::double
    / nullif(all_days.purchase_days_all - 1, 0)::double as inter_purchase_days_all,
    {% for kind, names in {
        'channel': ['web', 'app', 'store', 'email', 'social'], 'device': ['desktop', 'mobile', 'tablet', 'other'],
    }.items() -%}
        {%- for name in names -%}
            recent.{{ kind }}_{{ name }}_90d::double
            / nullif(
                {% for other in names -%}
                    recent.{{ kind }}_{{ other }}_90d{{ ' + ' if not loop.last }}
                {%- endfor %}, 0
            )::double as {{ kind }}_{{ name }}_share_90d,
        {% endfor -%}
    {% endfor -%}
    top_categories.top_category_90d,
    coalesce(categories.categories_90d, 0) as categories_90d,
    users.sex,
    users.age_band,
    users.region,
    users.income_band,
    users.household_size
from all_days
cross join shop
left join recent on all_days.user_id = recent.user_id
left join categories on all_days.user_id = categories.user_id
left join top_categories on all_days.user_id = top_categories.user_id
left join {{ ref('stg_users') }} as users on all_days.user_id = users.user_id
