-- One row per actor and category touched on the day.
with events as (
    select
        events.actor_id,
        coalesce(events.category, products.category, '(unknown)') as category,
        events.event_type,
        events.order_key,
        events.cents
    from {{ ref('stg_events') }} as events
    left join {{ ref('stg_products') }} as products on events.product_id = products.product_id
    where events.event_type in (
        'view_item', 'add_to_cart', 'add_to_wishlist', 'purchase', 'refund', 'review'
    )
)

select
    actor_id,
    category,
    count(*) as events,
    count(*) filter (where event_type = 'view_item') as views,
    count(*) filter (where event_type = 'add_to_cart') as carts,
    count(distinct order_key) filter (where event_type = 'purchase') as orders,
    coalesce(sum(cents) filter (where event_type = 'purchase'), 0)::bigint as gross_cents,
    coalesce(sum(abs(cents)) filter (where event_type = 'refund'), 0)::bigint as refund_cents
from events
group by actor_id, category
