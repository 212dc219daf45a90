-- A purchase per line item, joined to the order that it names, and a refund per refund in the order's list.
with orders as (
    select
        file, line, id, name, createdAt as created_at, lower(trim(email)) as email, refunds,
        case
            when cancelledAt is not null then 'cancelled'
            when test = 'true' then 'test order'
            when displayFinancialStatus in ('VOIDED', 'PENDING', 'AUTHORIZED', 'EXPIRED') then 'not paid'
        end as left_out,
        case when displayFinancialStatus in ('PAID', 'PARTIALLY_PAID', 'PARTIALLY_REFUNDED', 'REFUNDED')
            then 'purchase' else displayFinancialStatus end as kind
    from nodes
    where "__parentId" is null
),
refunded as (
    select *, items(refunds) as refund from orders
)
select
    l.file, l.line, l.id as event_id, o.created_at as event_time, o.kind as event_type, o.email as user_id,
    case when o.email is null then o.name end as anonymous_id, o.name as order_id, l.sku as product_id,
    json_extract_string(l.product, '$.productType') as category, l.quantity,
    json_extract_string(l.discountedTotalSet, '$.shopMoney.amount') as amount,
    json_extract_string(l.discountedTotalSet, '$.shopMoney.currencyCode') as currency,
    'web' as channel,
    case when l.id not like 'gid://shopify/LineItem/%' then 'node of another kind' else o.left_out end as left_out
from nodes as l
left join orders as o on o.id = l."__parentId"
where l."__parentId" is not null
union all by name
select
    file, line, refund ->> '$.id' as event_id,
    coalesce(refund ->> '$.processedAt', refund ->> '$.createdAt', created_at) as event_time,
    'refund' as event_type, email as user_id, case when email is null then name end as anonymous_id, name as order_id,
    refund ->> '$.totalRefundedSet.shopMoney.amount' as amount,
    refund ->> '$.totalRefundedSet.shopMoney.currencyCode' as currency,
    'web' as channel,
    coalesce(left_out, case when refund is null then 'told by its line items' end) as left_out
from refunded
