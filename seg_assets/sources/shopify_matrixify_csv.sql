-- A purchase per line item, a refund per refund line, and one for money given back without a product.
with filled as (
    select
        file, line, ID, Name, "Row #", "Line: Type", "Line: ID", "Transaction: Kind",
        "Line: SKU" as sku, "Line: Title" as title,
        money("Line: Quantity") as quantity,
        money("Line: Price") as price,
        money("Line: Total") as total,
        money("Transaction: Amount") as paid,
        carry("Processed At", ID) as processed_at,
        carry("Cancelled At", ID) as cancelled_at,
        carry("Currency", ID) as currency,
        carry("Payment: Status", ID) as status,
        carry("Customer: ID", ID) as customer,
        lower(trim(carry("Customer: Email", ID))) as email,
        carry("Refund: Created At", ID || '/' || "Refund: ID") as refunded_at,
        -- the mark of a test stands on a later row of the order
        coalesce(bool_or(upper("Transaction: Test") = 'TRUE') over (partition by ID), false) as is_test,
        "Refund: ID" is not null
            and coalesce(bool_or("Line: Type" = 'Refund Line') over (partition by ID, "Refund: ID"), false) as has_refund_lines
    from orders
),
kinds as (
    select
        *,
        case
            when "Line: Type" = 'Line Item' then 'purchase'
            when "Line: Type" = 'Refund Line' then 'refund'
            when "Line: Type" = 'Transaction' and "Transaction: Kind" = 'refund' and not has_refund_lines then 'refund'
        end as kind
    from filled
)
select
    file, line, ID || '-' || coalesce("Line: ID", 'row-' || "Row #") as event_id,
    case kind when 'refund' then coalesce(refunded_at, processed_at) else processed_at end as event_time,
    -- a state that nobody thought of is refused by its name
    case when status in ('paid', 'partially_paid', 'partially_refunded', 'refunded') then kind else status end as event_type,
    coalesce(customer, email) as user_id,
    case when customer is null and email is null then Name end as anonymous_id,
    Name as order_id,
    case when kind = 'purchase' or "Line: Type" = 'Refund Line' then coalesce(sku, title) end as product_id,
    quantity,
    case when "Line: Type" = 'Transaction' then paid else coalesce(total, price * quantity) end as amount,
    currency,
    'web' as channel,
    case
        when kind is null then 'row of another kind'
        when cancelled_at is not null then 'cancelled'
        when status in ('voided', 'pending', 'authorized', 'expired') then 'not paid'
        when is_test then 'test order'
    end as left_out
from kinds
