-- One row per visitor who is known to be a user as of the day. The first link wins and is never changed.
with known as (
    select
        anonymous_id,
        user_id,
        linked_day
    from {{ source('yesterday', 'identity_links') }}
),

seen as (
    select
        anonymous_id,
        user_id,
        {{ as_of() }} as linked_day
    from {{ ref('stg_events') }}
    where anonymous_id is not null and user_id is not null
    qualify row_number() over (partition by anonymous_id order by event_time, event_id) = 1
)

select
    anonymous_id,
    user_id,
    linked_day
from known
union all
select
    seen.anonymous_id,
    seen.user_id,
    seen.linked_day
from seen
left join known on seen.anonymous_id = known.anonymous_id
where known.anonymous_id is null
