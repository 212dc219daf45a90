-- One row per actor ever seen up to the day: what the actor did in all.
with before as (
    select * from {{ source('yesterday', 'user_lifetime') }}
),

today as (
    select * from {{ ref('user_daily_activity') }}
)

select
    coalesce(before.actor_id, today.actor_id) as actor_id,
    coalesce(before.first_seen_day, {{ as_of() }}) as first_seen_day,
    case when today.actor_id is null then before.last_seen_day else {{ as_of() }} end as last_seen_day,
    case
        when before.first_purchase_day is not null then before.first_purchase_day
        when today.orders > 0 then {{ as_of() }}
    end as first_purchase_day,
    case when today.orders > 0 then {{ as_of() }} else before.last_purchase_day end as last_purchase_day,
    {{ day_set_add('before.active_days', 'today.actor_id is not null') }} as active_days,
    case
        when before.purchase_days is not null or today.orders > 0
            then {{ day_set_add('before.purchase_days', 'coalesce(today.orders, 0) > 0') }}
    end as purchase_days,
    {% for counter in counters() -%}
        coalesce(before.{{ counter }}, 0) + coalesce(today.{{ counter }}, 0) as {{ counter }},
    {% endfor -%}
    (coalesce(before.order_cents_squared, 0) + coalesce(today.order_cents_squared, 0))::decimal(38, 0)
        as order_cents_squared,
    least(before.order_cents_min, today.order_cents_min) as order_cents_min,
    greatest(before.order_cents_max, today.order_cents_max) as order_cents_max
from before
full outer join today on before.actor_id = today.actor_id
