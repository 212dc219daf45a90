-- An event per item of the event's array, and the event itself where it has none.
with params as (
    select
        file, line, event_name, event_timestamp, user_id, user_pseudo_id, items, platform,
        device ->> '$.category' as device,
        nullif(ecommerce ->> '$.transaction_id', '(not set)') as transaction,
        coalesce(ecommerce ->> '$.purchase_revenue', ecommerce ->> '$.refund_value') as revenue,
        try(from_json(event_params, '[{"key":"VARCHAR","value":{"string_value":"VARCHAR","int_value":"VARCHAR"}}]')) as p
    from events
),
calls as (
    select
        * exclude (p),
        list_extract(list_filter(p, lambda x: x.key = 'currency'), 1).value.string_value as currency,
        list_extract(list_filter(p, lambda x: x.key = 'search_term'), 1).value.string_value as term,
        list_extract(list_filter(p, lambda x: x.key = 'ga_session_id'), 1).value.int_value as session,
        items(items) as item
    from params
),
numbered as (
    select *, row_number() over (partition by file, line, item ->> '$.item_id' order by item::varchar) as copy from calls
)
select
    file, line,
    case when event_name = 'purchase' and transaction is not null
        then concat_ws('-', 'purchase', transaction, item ->> '$.item_id', case when item is not null then copy end) end as event_id,
    make_timestamptz(try_cast(event_timestamp as bigint)) as event_time,
    case when event_name = 'view_search_results' then 'search' else event_name end as event_type,
    user_id,
    -- without consent nobody is known: the order stands for the visitor
    coalesce(user_pseudo_id, case when event_name in ('purchase', 'refund') then transaction end) as anonymous_id,
    user_pseudo_id || '-' || session as session_id,
    case when event_name in ('purchase', 'refund') then transaction end as order_id,
    item ->> '$.item_id' as product_id,
    item ->> '$.item_category' as category,
    coalesce(item ->> '$.quantity', case when item is not null then '1' end) as quantity,
    case when item is not null then money(item ->> '$.price') * coalesce(money(item ->> '$.quantity'), 1) else money(revenue) end as amount,
    currency, term as query, device,
    case when platform = 'WEB' then 'web' else 'app' end as channel,
    case when event_name in ('session_start', 'first_visit', 'first_open', 'page_view', 'screen_view', 'user_engagement', 'scroll', 'click',
                             'file_download', 'form_start', 'form_submit', 'video_start', 'video_progress', 'video_complete', 'view_item_list',
                             'select_item', 'view_promotion', 'select_promotion', 'view_cart', 'add_shipping_info', 'add_payment_info',
                             'login', 'sign_up', 'app_update', 'app_remove', 'os_update', 'exception')
        then 'not of interest' end as left_out
from numbered
