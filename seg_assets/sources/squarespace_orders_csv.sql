-- A purchase per line, and a refund per time that an order's refunded money grew.
with filled as (    -- what stands on an order's first line, on each of its lines
    select
        file, line, line_key, refund_steps,
        "Order ID" as order_id,
        lower(trim(carry("Email", "Order ID"))) as email,
        carry("Created at", "Order ID") as created_at,
        carry("Currency", "Order ID") as currency,
        upper(carry("Financial Status", "Order ID")) as status,
        carry("Cancelled at", "Order ID") as cancelled_at,
        carry(money("Discount Amount"), "Order ID") as order_discount,
        coalesce("Lineitem sku", "Lineitem name") as product_id,
        money("Lineitem quantity") as quantity,
        money("Lineitem price") * money("Lineitem quantity") as value
    from orders
),
discounted as (
    select
        *,
        coalesce(spread(order_discount, value, order_id, line_key), 0) as discount,
        case
            when cancelled_at is not null then 'cancelled'
            when status in ('PENDING', 'UNPAID', 'VOIDED', 'AUTHORIZED') then 'not paid'
        end as left_out,
        case when email is null then order_id end as anonymous_id
    from filled
)
select
    file, line, created_at as event_time, email as user_id, anonymous_id, order_id, product_id, quantity,
    value - discount as amount, discount, currency, 'web' as channel, left_out,
    case when status in ('PAID', 'PARTIALLY REFUNDED', 'REFUNDED') then 'purchase' else status end as event_type
from discounted
union all by name
select
    file, line, coalesce(step.told_on::varchar, created_at) as event_time, email as user_id, anonymous_id, order_id,
    -step.amount as amount, currency, 'web' as channel, left_out, 'refund' as event_type
from (select *, unnest(refund_steps) as step from discounted)
