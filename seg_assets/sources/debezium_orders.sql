-- A purchase when an order is first told as paid, a refund when a paid one is told as given back; what else is told changes nothing.
with versions as (
    select
        file, line, line_key, op, after,
        coalesce(after ->> '$.id', before ->> '$.id') as id,
        try_cast(source ->> '$.ts_ms' as bigint) as changed_at,
        coalesce(after ->> '$.status' in ('completed', 'processing'), false) as is_paid,
        coalesce(after ->> '$.status' in ('refunded', 'cancelled'), false) as is_given_back
    from orders
),
states as (
    select
        *,
        bool_or(op = 'd') over (partition by id) as is_deleted,
        coalesce(bool_or(is_paid) over before, false) as was_paid,
        -- given back before, since it was paid
        coalesce(max(case when is_given_back then changed_at end) over before
            > min(case when is_paid then changed_at end) over before, false) as was_given_back
    from versions
    window before as (partition by id order by changed_at, line_key rows between unbounded preceding and 1 preceding)
),
changes as (
    select
        *,
        case when is_paid and not was_paid then 'purchase' when is_given_back and was_paid and not was_given_back then 'refund' end as kind
    from states
)
select
    file, line, id || '-' || kind as event_id,
    case kind
        when 'purchase' then make_timestamptz(try_cast(after ->> '$.created_at' as bigint) * 1000)
        when 'refund' then make_timestamptz(changed_at * 1000)
    end as event_time,
    kind as event_type, after ->> '$.customer_id' as user_id,
    case when after ->> '$.customer_id' is null then 'order-' || id end as anonymous_id, id as order_id,
    after ->> '$.total' as amount, after ->> '$.currency' as currency, 'web' as channel,
    case when is_deleted then 'deleted' when kind is null then 'no change that counts' end as left_out
from changes
