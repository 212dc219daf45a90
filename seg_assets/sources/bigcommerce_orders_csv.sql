-- A purchase per packed product. Their prices are with tax: the order's money without tax is spread over them by price.
with told as (
    select
        file, line, "Order ID" as id, refund_steps, "Order Date" as created_at, "Order Currency Code" as currency,
        lower(trim("Customer Email")) as email,
        money("Subtotal (ex tax)") as net,
        money("Subtotal (inc tax)") as gross,
        "Order Status" as status,
        case when "Order Status" in ('Cancelled', 'Incomplete', 'Declined', 'Pending', 'Awaiting Payment') then lower("Order Status") end as left_out,
        case when "Order Status" in ('Completed', 'Shipped', 'Partially Shipped', 'Awaiting Fulfillment', 'Awaiting Shipment', 'Awaiting Pickup',
                                     'Manual Verification Required', 'Disputed', 'Refunded', 'Partially Refunded')
            then 'purchase' else "Order Status" end as kind,
        unnest(string_split(coalesce("Product Details", ''), '|Product ID: ')) as packed
    from orders
),
products as (
    select
        *,
        nullif(regexp_extract(packed, 'Product SKU: (.*?), Product Name: ', 1), '') as sku,
        nullif(regexp_extract(packed, '^(?:Product ID: )?(\d+), Product Qty', 1), '') as product,
        nullif(regexp_extract(packed, 'Product Qty: (.*?), Product SKU: ', 1), '') as quantity,
        money(nullif(regexp_extract(packed, 'Product Total Price: ([^,|]*)$', 1), '')) as price
    from told
)
select
    file, line, created_at as event_time, kind as event_type, email as user_id,
    case when email is null then 'order-' || id end as anonymous_id, id as order_id, coalesce(sku, product) as product_id, quantity,
    case when count(*) over (partition by file, line) = 1 then net
         when bool_or(price is null) over (partition by file, line) then null
         else coalesce(spread(net, price, file || '/' || line, packed), 0) end as amount,
    currency, 'web' as channel, left_out
from products
union all by name
select
    file, line, coalesce(step.told_on::varchar, created_at) as event_time, 'refund' as event_type, email as user_id,
    case when email is null then 'order-' || id end as anonymous_id, id as order_id,
    -round(step.amount * net / nullif(gross, 0), 2) as amount, currency, 'web' as channel, left_out
from (
    select
        file, line, "Order ID" as id, "Order Date" as created_at, "Order Currency Code" as currency,
        lower(trim("Customer Email")) as email,
        money("Subtotal (ex tax)") as net,
        money("Subtotal (inc tax)") as gross,
        case when "Order Status" in ('Cancelled', 'Incomplete', 'Declined', 'Pending', 'Awaiting Payment') then lower("Order Status") end as left_out,
        unnest(refund_steps) as step
    from orders
)
