-- A purchase per line item; the order itself where it has none; and a refund per time that its refunds grew.
with told as (
    select
        file, line, id, line_items, refund_steps, date_created_gmt as created_at, currency,
        nullif(lower(trim(billing ->> '$.email')), '') as email,
        money(total) - money(total_tax) - money(shipping_total) as order_amount,
        case when status in ('processing', 'completed', 'on-hold', 'refunded') then 'purchase' else status end as kind,
        case when status in ('pending', 'cancelled', 'failed', 'trash', 'checkout-draft') then status end as left_out
    from orders
),
products as (
    select *, items(line_items) as item from told
)
select
    file, line, case when item is not null then id || '-' || (item ->> '$.id') else id end as event_id,
    created_at as event_time, kind as event_type, email as user_id,
    case when email is null then 'order-' || id end as anonymous_id, id as order_id,
    coalesce(nullif(item ->> '$.sku', ''), item ->> '$.product_id') as product_id, item ->> '$.quantity' as quantity,
    case when item is not null then money(item ->> '$.total') else order_amount end as amount,
    money(item ->> '$.subtotal') - money(item ->> '$.total') as discount,
    currency, 'web' as channel, left_out
from products
union all by name
select
    file, line, coalesce(step.told_on::varchar, created_at) as event_time, 'refund' as event_type, email as user_id,
    case when email is null then 'order-' || id end as anonymous_id, id as order_id, -step.amount as amount,
    currency, 'web' as channel, left_out
from (select *, unnest(refund_steps) as step from told)
