-- One row per actor who did something on the day.
with events as (
    select * from {{ ref('stg_events') }}
),

orders as (
    select
        actor_id,
        order_key,
        count(*) as order_lines,
        sum(cents)::bigint as order_cents
    from events
    where event_type = 'purchase'
    group by actor_id, order_key
),

actor_orders as (
    select
        actor_id,
        count(*) as orders,
        sum(order_lines)::bigint as order_lines,
        sum(order_cents)::bigint as gross_cents,
        sum(order_cents::decimal(19, 0) * order_cents::decimal(19, 0))::decimal(38, 0) as order_cents_squared,
        min(order_cents) as order_cents_min,
        max(order_cents) as order_cents_max
    from orders
    group by actor_id
),

-- A visit in which the visitor logs in is the user's. Many shops number the sessions of each visitor anew: a login
-- without a visitor's id is taken for any visitor's of that session, one with it for that visitor's alone.
logins as (
    select
        session_id,
        anonymous_id,
        min(actor_id) as login_actor_id
    from events
    where session_id is not null and user_id is not null
    group by session_id, anonymous_id
),

visits as (
    select
        case
            when events.user_id is null
                then coalesce(own_logins.login_actor_id, bare_logins.login_actor_id, events.actor_id)
            else events.actor_id
        end as visit_actor_id,
        events.session_id,
        bool_or(events.event_type = 'add_to_cart') as has_cart,
        bool_or(events.event_type = 'purchase') as has_purchase
    from events
    left join logins as own_logins
        on events.session_id = own_logins.session_id and events.anonymous_id = own_logins.anonymous_id
    left join logins as bare_logins
        on events.session_id = bare_logins.session_id and bare_logins.anonymous_id is null
    group by visit_actor_id, events.session_id
),

actor_visits as (
    select
        visit_actor_id,
        count(session_id) as sessions,
        count(*) filter (where has_cart) as cart_visits,
        count(*) filter (where has_cart and has_purchase) as cart_visits_bought
    from visits
    group by visit_actor_id
),

actor_hours as (
    select
        actor_id,
        count(*) as pages
    from events
    where event_type in ('view_item', 'search')
    group by actor_id, date_trunc('hour', event_time)
),

busiest_hours as (
    select
        actor_id,
        max(pages) as busiest_hour_pages
    from actor_hours
    group by actor_id
),

actors as (
    select
        actor_id,
        count(*) as events,
        {% for column, event_type in counted_events().items() -%}
            count(*) filter (where event_type = '{{ event_type }}') as {{ column }},
        {% endfor -%}
        count(*) filter (where event_type = 'review' and rating_tenths is not null) as ratings,
        coalesce(sum(rating_tenths) filter (where event_type = 'review'), 0)::bigint as rating_tenths,
        coalesce(sum(discount_cents) filter (where event_type = 'purchase'), 0)::bigint as discount_cents,
        coalesce(sum(abs(cents)) filter (where event_type = 'refund'), 0)::bigint as refund_cents,
        {% for channel in ['web', 'app', 'store', 'email', 'social'] -%}
            count(*) filter (where channel = '{{ channel }}') as channel_{{ channel }},
        {% endfor -%}
        {% for device in ['desktop', 'mobile', 'tablet', 'other'] -%}
            count(*) filter (where device = '{{ device }}') as device_{{ device }}{{ ',' if not loop.last }}
        {% endfor %}
    from events
    group by actor_id
)

select
    actors.actor_id,
    {% for counter in counters() -%}
        {%- if counter in ['sessions', 'cart_visits', 'cart_visits_bought'] -%}
            coalesce(actor_visits.{{ counter }}, 0) as {{ counter }},
        {%- elif counter in ['orders', 'order_lines', 'gross_cents'] -%}
            coalesce(actor_orders.{{ counter }}, 0) as {{ counter }},
        {%- else -%}
            actors.{{ counter }},
        {%- endif %}
    {% endfor -%}
    coalesce(actor_orders.order_cents_squared, 0) as order_cents_squared,
    actor_orders.order_cents_min,
    actor_orders.order_cents_max,
    coalesce(busiest_hours.busiest_hour_pages, 0) as busiest_hour_pages
from actors
left join actor_orders on actors.actor_id = actor_orders.actor_id
left join actor_visits on actors.actor_id = actor_visits.visit_actor_id
left join busiest_hours on actors.actor_id = busiest_hours.actor_id
