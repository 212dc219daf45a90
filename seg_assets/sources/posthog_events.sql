-- An event per product of an order, its revenue spread over them by price; the event itself where it has no products.
with named as (
    select
        file, line, uuid as id, timestamp as sent_at, event, distinct_id, person_id, properties,
        money(coalesce(properties ->> '$.revenue', properties ->> '$.subtotal')) as revenue,
        money(properties ->> '$.total') as total,
        case event
            when 'Product Viewed' then 'view_item' when 'Products Searched' then 'search' when 'Product Added' then 'add_to_cart'
            when 'Product Removed' then 'remove_from_cart' when 'Product Added to Wishlist' then 'add_to_wishlist'
            when 'Checkout Started' then 'begin_checkout' when 'Order Completed' then 'purchase' when 'Order Refunded' then 'refund'
            when 'Product Reviewed' then 'review' when 'Product Shared' then 'share' when 'Coupon Applied' then 'coupon_redeem'
            else event end as kind,
        event in ('Order Completed', 'Order Refunded') as is_order
    from events
),
products as (
    select *, items(case when is_order then properties ->> '$.products' end) as item from named
),
priced as (
    select
        *,
        case kind when 'purchase' then coalesce(revenue, total) when 'refund' then coalesce(total, revenue) end as money_of_order,
        money(item ->> '$.price') * coalesce(money(item ->> '$.quantity'), 1) as price,
        row_number() over (partition by file, line order by item::varchar) as place
    from products
)
select
    file, line, id || '-' || place as event_id, sent_at as event_time, kind as event_type,
    -- before $identify distinct_id is a random UUID; person_id joins a visitor's ids
    case when not regexp_full_match(distinct_id, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}') then distinct_id end as user_id,
    coalesce(person_id, distinct_id) as anonymous_id,
    properties ->> '$."$session_id"' as session_id,
    coalesce(properties ->> '$.order_id', properties ->> '$.orderId') as order_id,
    coalesce(item ->> '$.product_id', item ->> '$.sku', properties ->> '$.product_id', properties ->> '$.sku') as product_id,
    coalesce(item ->> '$.category', properties ->> '$.category') as category,
    coalesce(item ->> '$.quantity', properties ->> '$.quantity') as quantity,
    case
        when item is null then money_of_order
        when bool_or(price is null) over (partition by file, line) then null
        when money_of_order is null then price
        else coalesce(spread(money_of_order, price, file || '/' || line, place), 0)
    end as amount,
    properties ->> '$.query' as query, properties ->> '$.currency' as currency, lower(properties ->> '$."$device_type"') as device,
    'web' as channel,
    case when event like '$%' or event in ('Order Cancelled', 'Order Updated', 'Product Clicked', 'Product List Viewed', 'Cart Viewed')
        then 'not of interest' end as left_out
from priced
