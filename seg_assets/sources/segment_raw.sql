-- An event per product of an order, its revenue spread over them by price; the call itself where it has no products.
with named as (
    select
        file, line, messageId as id, timestamp as called_at, event, userId as user_id, anonymousId as anonymous_id, properties,
        coalesce(properties ->> '$.order_id', properties ->> '$.orderId') as order_id,
        money(coalesce(properties ->> '$.revenue', properties ->> '$.subtotal')) as revenue,
        money(properties ->> '$.total') as total,
        case event
            when 'Product Viewed' then 'view_item' when 'Products Searched' then 'search' when 'Product Added' then 'add_to_cart'
            when 'Product Removed' then 'remove_from_cart' when 'Product Added to Wishlist' then 'add_to_wishlist'
            when 'Checkout Started' then 'begin_checkout' when 'Order Completed' then 'purchase' when 'Order Refunded' then 'refund'
            when 'Product Reviewed' then 'review' when 'Product Shared' then 'share' when 'Coupon Applied' then 'coupon_redeem'
            else event end as kind,
        event in ('Order Completed', 'Order Refunded') as is_order
    from calls
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
    file, line, id || '-' || place as event_id, called_at as event_time, kind as event_type, user_id, anonymous_id,
    order_id,
    coalesce(item ->> '$.product_id', item ->> '$.sku', properties ->> '$.product_id', properties ->> '$.sku') as product_id,
    coalesce(item ->> '$.category', properties ->> '$.category') as category,
    coalesce(item ->> '$.quantity', properties ->> '$.quantity') as quantity,
    case
        when item is null then money_of_order
        when bool_or(price is null) over (partition by file, line) then null
        when money_of_order is null then price
        else coalesce(spread(money_of_order, price, file || '/' || line, place), 0)
    end as amount,
    properties ->> '$.query' as query, properties ->> '$.currency' as currency, 'web' as channel,
    case when event in ('Order Cancelled', 'Order Updated', 'Product Clicked', 'Product List Viewed', 'Product List Filtered', 'Cart Viewed',
                        'Checkout Step Viewed', 'Checkout Step Completed', 'Payment Info Entered', 'Promotion Viewed', 'Promotion Clicked',
                        'Coupon Entered', 'Coupon Denied', 'Coupon Removed', 'Wishlist Product Added to Cart', 'Product Removed from Wishlist',
                        'Cart Shared')
        then 'not of interest' end as left_out
from priced
