-- A purchase per line, and a refund per time that an order's refunded money grew.
with filled as (    -- what stands on an order's first line, on each of its lines
    select
        file, line, line_key, refund_steps,
        "Name" as order_id,
        lower(trim(carry("Email", "Name"))) as email,
        carry("Created at", "Name") as created_at,
        carry("Currency", "Name") as currency,
        carry("Financial Status", "Name") as status,
        carry("Cancelled at", "Name") as cancelled_at,
        carry("Payment Method", "Name") as payment,
        carry("Source", "Name") as source,
        carry(money("Discount Amount"), "Name") as order_discount,
        coalesce("Lineitem sku", "Lineitem name") as product_id,
        money("Lineitem quantity") as quantity,
        coalesce(money("Lineitem discount"), 0) as line_discount,
        money("Lineitem price") * money("Lineitem quantity") - coalesce(money("Lineitem discount"), 0) as value
    from orders
),
discounted as (     -- the order's discount, spread over its lines to the cent
    select
        *,
        coalesce(spread(order_discount, value, order_id, line_key), 0) as discount,
        case
            when cancelled_at is not null then 'cancelled'
            when status in ('voided', 'pending', 'authorized', 'expired') then 'not paid'
            when payment ilike '%bogus%' then 'test order'
        end as left_out,
        case when source = 'pos' then 'store' else 'web' end as channel,
        case when email is null then order_id end as anonymous_id
    from filled
)
select
    file, line, created_at as event_time, email as user_id, anonymous_id, order_id, product_id, quantity,
    value - discount as amount, line_discount + discount as discount, currency, channel, left_out,
    -- a state that nobody thought of is refused by its name, not lost
    case when status in ('paid', 'partially_paid', 'partially_refunded', 'refunded') then 'purchase' else status end as event_type
from discounted
union all by name
select
    file, line, coalesce(step.told_on::varchar, created_at) as event_time, email as user_id, anonymous_id, order_id,
    -step.amount as amount, currency, channel, left_out, 'refund' as event_type
from (select *, unnest(refund_steps) as step from discounted)
