-- A purchase per line, and a refund per time that its refunded pieces grew. What an order's further lines leave empty is its first's.
with filled as (
    select
        file, line, refund_steps, "Order number" as number,
        carry("Date created", "Order number") || ' ' || carry("Time", "Order number") as created_at,
        lower(trim(carry("Contact email", "Order number"))) as email,
        carry("Payment status", "Order number") as status,
        carry("Currency", "Order number") as currency,
        coalesce(SKU, Item) as product_id,
        money(Qty) as quantity,
        money(Price) as price
    from orders
)
select
    file, line, created_at as event_time, email as user_id, case when email is null then number end as anonymous_id,
    number as order_id, product_id, quantity, price * quantity as amount, currency, 'web' as channel,
    case when status in ('Paid', 'Partially refunded', 'Fully refunded', 'Refunded') then 'purchase' else status end as event_type,
    case when status in ('Unpaid', 'Pending', 'Declined', 'Canceled', 'Voided') then 'not paid' end as left_out
from filled
union all by name
select
    file, line, coalesce(step.told_on::varchar, created_at) as event_time, email as user_id,
    case when email is null then number end as anonymous_id, number as order_id, product_id, -step.amount as amount, currency,
    'web' as channel, 'refund' as event_type, case when status in ('Unpaid', 'Pending', 'Declined', 'Canceled', 'Voided') then 'not paid' end as left_out
from (select *, unnest(refund_steps) as step from filled)
