-- One row per event of the day.
select
    event_id,
    event_time,
    event_type,
    user_id,
    anonymous_id,
    {{ actor_of('user_id', 'anonymous_id') }} as actor_id,
    product_id,
    category,
    coalesce(order_id, session_id, event_id) as order_key,
    {{ cents('amount') }} as cents,
    {{ cents('discount') }} as discount_cents,
    (rating * 10)::bigint as rating_tenths,
    session_id,
    channel,
    device
from {{ source('lake', 'raw_events') }}
