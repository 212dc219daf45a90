-- An event per product entity of an action, its money spread over them by price; the action itself where it has no products.
with actions as (
    select
        file, line, event_id as id, coalesce(derived_tstamp, collector_tstamp) as sent_at, user_id,
        coalesce(domain_userid, network_userid) as visitor, domain_sessionid as session, lower(dvce_type) as device, event_name,
        ti_orderid, ti_sku, ti_category, ti_price, ti_quantity, ti_currency,
        case when event_name = 'snowplow_ecommerce_action' then coalesce(try(unstruct_event ->> '$.data.data.type'), 'action of no type')
             else event_name end as action,
        try(from_json(contexts ->> '$.data', '[{"schema":"VARCHAR","data":"JSON"}]')) as entities
    from events
),
entities as (
    select
        * exclude (entities),
        list_extract(list_filter(entities, lambda x: x.schema like '%/transaction/%' or x.schema like '%/refund/%'), 1).data as money_entity,
        unnest(case when len(list_filter(entities, lambda x: x.schema like '%.ecommerce/product/%')) > 0
            then list_filter(entities, lambda x: x.schema like '%.ecommerce/product/%')
            else [{'schema': null::varchar, 'data': null::json}] end).data as product
    from actions
),
priced as (
    select
        *,
        money(product ->> '$.price') * coalesce(money(product ->> '$.quantity'), 1) as price,
        money(coalesce(money_entity ->> '$.refund_amount', money_entity ->> '$.revenue')) as money_of_order,
        row_number() over (partition by file, line order by product::varchar) as place
    from entities
)
select
    file, line, id || '-' || place as event_id, sent_at as event_time,
    case action
        when 'product_view' then 'view_item' when 'checkout_step' then 'begin_checkout' when 'transaction_item' then 'purchase'
        when 'transaction' then 'purchase' else action end as event_type,
    user_id, visitor as anonymous_id, session as session_id,
    coalesce(ti_orderid, money_entity ->> '$.transaction_id') as order_id,
    coalesce(ti_sku, product ->> '$.id') as product_id,
    coalesce(ti_category, product ->> '$.category') as category,
    coalesce(ti_quantity, product ->> '$.quantity') as quantity,
    case
        when event_name = 'transaction_item' then money(ti_price) * coalesce(money(ti_quantity), 1)
        when product is null then money_of_order
        when bool_or(price is null) over (partition by file, line) then null
        when money_of_order is null or action not in ('transaction', 'refund') then price
        else coalesce(spread(money_of_order, price, file || '/' || line, place), 0)
    end as amount,
    coalesce(ti_currency, product ->> '$.currency', money_entity ->> '$.currency') as currency, device, 'web' as channel,
    case
        when event_name = 'transaction' then 'told by its items'
        when action in ('list_view', 'list_click', 'page_view', 'page_ping', 'link_click', 'promo_view', 'promo_click', 'trns_error')
            then 'not of interest'
    end as left_out
from priced
