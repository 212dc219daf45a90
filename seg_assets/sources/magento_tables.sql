-- A purchase per item, with person, state and time of the order that it names; and a refund per time that an order's grew.
with told as (
    select
        file, line, entity_id, refund_steps, created_at, increment_id, base_currency_code as currency,
        lower(trim(customer_email)) as email,
        case when state in ('processing', 'complete', 'closed') then 'purchase' else state end as kind,
        case when state in ('canceled', 'pending_payment', 'payment_review', 'new', 'holded') then state end as reason
    from orders
)
select
    i.file, i.line, i.item_id as event_id, o.created_at as event_time, o.kind as event_type, o.email as user_id,
    case when o.email is null then 'order-' || o.entity_id end as anonymous_id, o.increment_id as order_id, i.sku as product_id,
    i.qty_ordered as quantity, money(i.base_row_total) - coalesce(money(i.base_discount_amount), 0) as amount,
    i.base_discount_amount as discount, o.currency, 'web' as channel,
    case when i.parent_item_id is not null then 'variant of another item' else o.reason end as left_out
from items as i
left join told as o on o.entity_id = i.order_id
union all by name
select
    file, line, coalesce(step.told_on::varchar, created_at) as event_time, 'refund' as event_type, email as user_id,
    case when email is null then 'order-' || entity_id end as anonymous_id, increment_id as order_id, -step.amount as amount,
    currency, 'web' as channel, reason as left_out
from (select *, unnest(refund_steps) as step from told)
union all by name
select file, line, created_at as event_time, kind as event_type, coalesce(reason, 'told by its items') as left_out from told
