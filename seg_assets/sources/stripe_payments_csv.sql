-- A purchase per charge, and a refund per time that its refunded money grew.
with told as (
    select
        file, line, id, refund_steps,
        coalesce("Created date (UTC)", "Created (UTC)", "Created") as created_at,
        coalesce("Customer ID", lower(trim("Customer Email"))) as person,
        coalesce("order_id (metadata)", "PaymentIntent ID", id) as number,
        money("Converted Amount") as amount,
        "Converted Currency" as currency,
        case when "Status" in ('Paid', 'Refunded') then 'purchase' else "Status" end as kind,
        case
            when "Mode" <> 'Live' then 'test'
            when lower("Status") in ('failed', 'pending', 'canceled', 'incomplete', 'blocked') or "Status" like 'requires%' then 'not paid'
        end as left_out
    from payments
)
select
    file, line, id as event_id, created_at as event_time, kind as event_type, person as user_id,
    case when person is null then id end as anonymous_id, number as order_id, amount, currency, 'web' as channel, left_out
from told
union all by name
select
    file, line, coalesce(step.refunded_at, step.told_on::varchar, created_at) as event_time, 'refund' as event_type,
    person as user_id, case when person is null then id end as anonymous_id, number as order_id, -step.amount as amount,
    currency, 'web' as channel, left_out
from (select *, unnest(refund_steps) as step from told)
