-- One row per known user and category touched in the last 90 days.
with {{ touched_ctes() }}

activity as (
    select
        {{ user_of('activity.actor_id', 'links.user_id') }} as user_id,
        activity.*
    from {{ ref('user_category_activity') }} as activity
    semi join touched_actors on activity.actor_id = touched_actors.actor_id
    left join links on activity.actor_id = links.actor_id
),

totals as (
    select
        user_id,
        category,
        sum(orders)::bigint as orders_90d,
        sum(gross_cents)::bigint as gross_cents,
        sum(refund_cents)::bigint as refund_cents,
        sum(views)::bigint as views_90d,
        sum(carts)::bigint as carts_90d,
        sum(events)::bigint as events
    from activity
    where user_id is not null
    group by user_id, category
),

users as (
    select
        user_id,
        sum(greatest(gross_cents, 0))::bigint as gross_cents,
        sum(events)::bigint as events
    from totals
    group by user_id
)

-- Users whom no window sees otherwise than yesterday.
select
    carried.user_id,
    carried.category,
    carried.orders_90d,
    carried.monetary_90d,
    carried.views_90d,
    carried.carts_90d,
    carried.share_90d
from {{ source('carry', 'user_category_profiles') }} as carried
anti join touched on carried.user_id = touched.user_id

union all

select
    totals.user_id,
    totals.category,
    totals.orders_90d,
    (totals.gross_cents - totals.refund_cents)::double / 100 as monetary_90d,
    totals.views_90d,
    totals.carts_90d,
    case
        when users.gross_cents > 0 then greatest(totals.gross_cents, 0)::double / users.gross_cents::double
        else totals.events::double / users.events::double
    end as share_90d
from totals
inner join users on totals.user_id = users.user_id
