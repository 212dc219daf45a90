-- A purchase per line, and a refund per time that its refunded money grew.
with told as (
    select
        *,
        lower(trim(billing_email)) as email,
        coalesce(order_number, order_id) as number,
        coalesce(item_sku, item_product_id, item_name) as product,
        case when status in ('processing', 'completed', 'on-hold', 'refunded') then 'purchase' else status end as kind,
        case when status in ('pending', 'cancelled', 'failed', 'trash', 'checkout-draft') then status end as reason
    from orders
)
select
    file, line, order_id || '-' || item_id as event_id, date as event_time, kind as event_type, email as user_id,
    case when email is null then 'order-' || order_id end as anonymous_id, number as order_id, product as product_id,
    item_quantity as quantity, money(item_total) as amount, money(item_subtotal) - money(item_total) as discount,
    order_currency as currency, 'web' as channel, reason as left_out
from told
union all by name
select
    file, line, coalesce(step.told_on::varchar, date) as event_time, 'refund' as event_type, email as user_id,
    case when email is null then 'order-' || order_id end as anonymous_id, number as order_id, product as product_id,
    -step.amount as amount, order_currency as currency, 'web' as channel, reason as left_out
from (select *, unnest(refund_steps) as step from told)
