{#- Windows of days: which rows of the last 90 days lie in each, none said for all of them. -#}
{%- set inside = {'7d': 'age < 7', '28d': 'age < 28', '90d': none} -%}
-- One row per known user: everything known at the end of the day, history of linked visitors included.
with {{ touched_ctes() }}

-- All days: the lifetimes of the actors of each user, added up.
lifetime as (
    select
        {{ user_of('lifetime.actor_id', 'links.user_id') }} as user_id,
        lifetime.*
    from {{ ref('user_lifetime') }} as lifetime
    semi join touched_actors on lifetime.actor_id = touched_actors.actor_id
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
    from {{ ref('user_lifetime') }}
),

-- One row per user. Few users have more than one actor: only those rows are added up, which halves the cost.
several_actors as (
    select distinct user_id from links
),

one_actor as (
    select
        user_id,
        first_seen_day,
        last_seen_day,
        first_purchase_day,
        last_purchase_day,
        {{ day_set_count('active_days') }} as active_days_all,
        {{ day_set_count('purchase_days') }} as purchase_days_all,
        {% for counter in counters() -%}
            {{ counter }}::bigint as {{ counter }}_all,
        {% endfor -%}
        order_cents_squared::decimal(38, 0) as order_cents_squared_all,
        order_cents_min as order_cents_min_all,
        order_cents_max as order_cents_max_all
    from lifetime
    where user_id is not null and user_id not in (select several_actors.user_id from several_actors)
),

merged_actors as (
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
    where user_id in (select several_actors.user_id from several_actors)
    group by user_id
),

all_days as (
    select * from one_actor
    union all
    select * from merged_actors
),

-- The last 90 days. Days as bits, the last 28 and the 62 before them: a user's actors share days.
activity as (
    select
        {{ user_of('activity.actor_id', 'links.user_id') }} as user_id,
        ({{ as_of() }} - activity.day)::int as age,
        activity.*
    from {{ ref('user_daily_activity') }} as activity
    semi join touched_actors on activity.actor_id = touched_actors.actor_id
    left join links on activity.actor_id = links.actor_id
),

recent as (
    select
        user_id,
        coalesce(bit_count(bit_or(1::bigint << least(age, 7)) filter (where age < 7)), 0)::bigint as active_days_7d,
        coalesce(bit_count(bit_or(1::bigint << least(age, 28)) filter (where age < 28)), 0)::bigint as active_days_28d,
        (
            coalesce(bit_count(bit_or(1::bigint << least(age, 28)) filter (where age < 28)), 0)
            + coalesce(bit_count(bit_or(1::bigint << greatest(age - 28, 0)) filter (where age >= 28)), 0)
        )::bigint as active_days_90d,
        {% for window, rows in inside.items() -%}
            {%- for column in shown_counts().values() | list + ['gross_cents', 'refund_cents'] -%}
                sum({{ column if rows is none else 'case when ' ~ rows ~ ' then ' ~ column ~ ' else 0 end' }})::bigint
                    as {{ column }}_{{ window }},
            {% endfor -%}
        {% endfor -%}
        {% for counter in [
            'cart_visits', 'cart_visits_bought', 'order_lines', 'discount_cents', 'reviews', 'ratings', 'rating_tenths',
            'channel_web', 'channel_app', 'channel_store', 'channel_email', 'channel_social',
            'device_desktop', 'device_mobile', 'device_tablet', 'device_other',
        ] -%}
            sum({{ counter }})::bigint as {{ counter }}_90d,
        {% endfor -%}
        max(busiest_hour_pages) as busiest_hour_pages,
        max(views + searches) as busiest_day_pages,
        sum(order_cents_squared)::decimal(38, 0) as order_cents_squared_90d,
        min(order_cents_min) as order_cents_min_90d,
        max(order_cents_max) as order_cents_max_90d
    from activity
    where user_id is not null
    group by user_id
),

shares as (
    select *
    from {{ ref('user_category_profiles') }}
    where user_id in (select touched.user_id from touched)
),

categories as (
    select
        user_id,
        count(*) filter (where category != '(unknown)') as categories_90d
    from shares
    group by user_id
),

-- The category with the largest share; ties go to more orders, more views, then the name.
top_categories as (
    select
        user_id,
        category as top_category_90d
    from shares
    where category != '(unknown)'
    qualify row_number() over (
        partition by user_id order by share_90d desc, orders_90d desc, views_90d desc, category asc
    ) = 1
),

computed as (
    select
        all_days.user_id,
        all_days.first_seen_day,
        all_days.last_seen_day,
        ({{ as_of() }} - all_days.first_seen_day)::int as tenure_days,
        ({{ as_of() }} - all_days.last_purchase_day)::int as recency_days,
        ({{ as_of() }} - all_days.last_seen_day)::int as inactive_days,
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
        coalesce(categories.categories_90d, 0) as categories_90d
    from all_days
    left join recent on all_days.user_id = recent.user_id
    left join categories on all_days.user_id = categories.user_id
    left join top_categories on all_days.user_id = top_categories.user_id
),

-- Users whom no window sees otherwise than yesterday: their row of yesterday, a day older.
untouched as (
    select yesterday.*
    from {{ source('carry', 'user_profiles') }} as yesterday
    anti join touched on yesterday.user_id = touched.user_id
),

carried as (
    select
        * exclude (dimensions, sex, age_band, region, income_band, household_size)
        replace (
            tenure_days + 1 as tenure_days,
            recency_days + 1 as recency_days,
            inactive_days + 1 as inactive_days
        )
    from untouched
),

profiles as (
    select * from computed
    union all by name
    select * from carried
)

select
    profiles.*,
    shop.dimensions,
    users.sex,
    users.age_band,
    users.region,
    users.income_band,
    users.household_size
from profiles
cross join shop
left join {{ source('lake', 'raw_users') }} as users on profiles.user_id = users.user_id
